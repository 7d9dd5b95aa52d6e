package config_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"customhouse/config"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestR24_BadFiles: every file of testdata/bad is refused with every fault in it, at its place.
func TestR24_BadFiles(t *testing.T) {
	golden(t, "bad", func(t *testing.T, files []txtar.File, _ string) string {
		_, err := config.Parse("customhouse.yml", files[0].Data)
		if !errors.As(err, new(config.Errors)) {
			t.Fatalf("Parse = %v, want Errors", err)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a password is in the message:\n%v", err)
		}
		return err.Error() + "\n"
	})
}

// TestS83_Bombs: what is made to exhaust a reader is refused at once.
func TestS83_Bombs(t *testing.T) {
	const quickly = 2 * time.Second
	// fill repeats s as often as the bounds on bytes and values leave room for.
	fill := func(s string) string {
		n := (1<<20 - 100) / len(s)
		for _, separator := range ",:[{\n" {
			if c := strings.Count(s, string(separator)); c > 0 {
				n = min(n, 45_000/c)
			}
		}
		return strings.Repeat(s, n)
	}
	tests := map[string]struct{ text, want string }{
		"over 2 MiB":       {"# " + strings.Repeat("x", 2<<20), "customhouse.yml: larger than 2 MiB"},
		"100 MiB":          {strings.Repeat("x", 100<<20), "customhouse.yml: larger than 2 MiB"},
		"1,000,000 values": {"[" + strings.Repeat("x,", 500_000) + "]", "customhouse.yml: more than 200000 values"},
		"alias bomb":       {aliasBomb(), "more than 200000 values, counting each use of an alias"},
		"billion laughs":   {billionLaughs(), "unknown key"},
		"alias of itself":  {"rules: &a [*a]", "customhouse.yml:1:12: rules[0]: want a section of keys and values"},
		"depth 10,000":     {"rules: " + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000), "depth"},
		"depth in blocks":  {indented(1000), "depth"},
		"open brackets":    {fill("["), "depth"},
		"open braces":      {fill("{a: "), "depth"},
		"dashes":           {fill("- "), "depth"},
		"question marks":   {fill("? "), "depth"},
		"custom tag":       {"listen: !hunter2 x", "customhouse.yml:1:9: listen: tags are not supported; quote text that begins with !"},
		"standard tag":     {"data: !!binary aHVudGVyMg==", "customhouse.yml:1:7: data: tags are not supported; quote text that begins with !"},
		"not UTF-8":        {"listen: x\ndata: \"\u00e4\xff\"", "customhouse.yml:2:9: not UTF-8"},
		"UTF-16":           {"\xff\xfea\x00:\x00", "customhouse.yml:1:1: not UTF-8"},
		"NUL":              {"listen: x\x00", "customhouse.yml:1:10: a control character"},
		"unknown keys":     {distinct(40_000), "unknown key"},
		"users":            {"auth:\n  users:\n" + strings.ReplaceAll(distinct(40_000), "k", "    k"), "want a section"},
		"the same key":     {fill("data: x\n"), "duplicate key"},
		"long key":         {strings.Repeat("x", 1<<19) + ": 1", "unknown key"},
		"long line":        {fill("x"), "want a section"},
		"many anchors":     {"hosts:\n" + fill("- &a x y\n"), "hosts[0]"},
		"comments":         {fill("# x\n"), "nothing is configured here"},
		"open quotes":      {fill("\"x\n"), "not YAML"},
		"words":            {fill("x\n"), "want a section"},
		"flow keys":        {"{" + fill("x,"), "not YAML"},
		"many documents":   {fill("--- x\n"), "more than one document"},
		"many directives":  {fill("%YAML 1.2\n"), "not YAML"},
		"tag directives":   {"%TAG ! " + fill("x"), "not YAML"},
		"escapes":          {`data: "` + fill(`\U0010FFFF`), "not YAML"},
		"long text":        {"listen: " + fill("x"), "customhouse.yml:1:9: listen: longer than 4096 bytes"},
		"patterns":         {"rules:\n" + strings.Repeat("- {actions: [], match: {name: \"/"+strings.Repeat("(a*)*", 800)+"/\"}}\n", 250) + "- x", "rules[250]: want a section"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := config.Parse("customhouse.yml", []byte(tt.text))
			if took := time.Since(start); took > quickly {
				t.Errorf("Parse took %v, want at most %v", took, quickly)
			} else if took > 200*time.Millisecond {
				t.Logf("took %v", took)
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Parse = %.300v, want an error with %q", err, tt.want)
			} else if len(err.Error()) > 100_000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

// aliasBomb is a valid configuration of a few lines that would be millions of values without aliases.
func aliasBomb() string {
	return "rules:\n  - actions: &actions [" + strings.Repeat("pull,", 7000) + "]\n    match: {}\n" +
		strings.Repeat("  - {match: {}, actions: *actions}\n", 7000)
}

func billionLaughs() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := range 9 {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 10), ", "))
	}
	return b.String()
}

func indented(depth int) string {
	var b strings.Builder
	for i := range depth {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func distinct(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d: 1\n", i)
	}
	return b.String()
}

func FuzzParse(f *testing.F) {
	f.Add(config.Example())
	f.Add([]byte("rules: &a [*a]"))
	archives, _ := filepath.Glob("testdata/bad/*.txtar")
	for _, path := range archives {
		a, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(a.Files[0].Data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := config.Parse("customhouse.yml", data)
		if err == nil {
			if err := c.Validate(); err != nil {
				t.Fatalf("Parse accepts what Validate refuses: %v", err)
			}
			return
		}
		var errs config.Errors
		if !errors.As(err, &errs) || len(errs) == 0 {
			t.Fatalf("Parse = %v (%T), want Errors", err, err)
		}
		for _, e := range errs {
			if e.File != "customhouse.yml" || e.Message == "" || e.Line < 0 || e.Line > 0 && e.Column < 1 {
				t.Fatalf("Parse = %#v, want file, place and message", e)
			}
		}
	})
}
