package compat_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"customhouse/compat"
	"customhouse/config"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden checks the golden files of a program. Each holds input, a configuration of that program, and what parse makes of
// it: customhouse.yml, or else errors; and the warnings, if there are any. The first word of its comment may be lenient.
func golden(t *testing.T, program, input string, parse func([]byte, compat.Options, *txtar.Archive) (*config.Config, []compat.Warning, error)) {
	t.Helper()
	archives, err := filepath.Glob("testdata/" + program + "/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no files in testdata/%s: %v", program, err)
	}
	for _, path := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			in := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == input })
			if in < 0 {
				t.Fatalf("no %s", input)
			}
			got := &txtar.Archive{Comment: a.Comment, Files: slices.Clone(a.Files[:in+1])}
			add := func(name, text string) {
				if text != "" {
					got.Files = append(got.Files, txtar.File{Name: name, Data: []byte(text)})
				}
			}
			o := compat.Options{Dir: "/srv", Lenient: strings.HasPrefix(string(a.Comment), "lenient")}
			c, warnings, err := parse(a.Files[in].Data, o, a)
			switch {
			case err == nil:
				add("customhouse.yml", native(t, c))
			case errors.As(err, new(config.Errors)):
				add("errors", err.Error()+"\n")
			default:
				t.Fatalf("%s: %v, want Errors", input, err)
			}
			var lines strings.Builder
			for _, w := range warnings {
				fmt.Fprintln(&lines, w)
			}
			add("warnings", lines.String())
			if text := string(txtar.Format(&txtar.Archive{Files: got.Files[in+1:]})); strings.Contains(text, "hunter2") && !strings.Contains(text, "-- customhouse.yml --") {
				t.Errorf("a password is in a message:\n%s", text)
			}
			if *update {
				if err := os.WriteFile(path, txtar.Format(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(txtar.Format(a)), string(txtar.Format(got))); diff != "" {
				t.Errorf("differs (-want +got):\n%s", diff)
			}
		})
	}
}

// native returns c as a customhouse.yml, which is read as c.
func native(t *testing.T, c *config.Config) string {
	t.Helper()
	text, err := c.YAML()
	if err != nil {
		t.Fatal(err)
	}
	again, err := config.Parse("customhouse.yml", text)
	if err != nil {
		t.Fatalf("Parse = %v, want nil for\n%s", err, text)
	}
	if diff := cmp.Diff(c, again, cmpopts.IgnoreFields(config.Default().Rules[0], "Source"), cmpopts.IgnoreFields(config.Config{}, "SetSources"), cmpopts.EquateComparable(config.Prefix{})); diff != "" {
		t.Errorf("what is written is read as another (-translated +read):\n%s\n%s", diff, text)
	}
	return string(text)
}
