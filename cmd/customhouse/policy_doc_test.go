package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rogpeppe/go-internal/txtar"
)

// TestPolicyDoc runs docs/policy.md, and what is marked as console in the README. Each section is a script: fenced blocks that name a file ("yaml customhouse.yml")
// are its files, and "console" blocks are commands after "$ " with what they print.
func TestPolicyDoc(t *testing.T) {
	t.Run("policy.md", func(t *testing.T) { runDoc(t, "../../docs/policy.md", true) })
	t.Run("README.md", func(t *testing.T) { runDoc(t, "../../README.md", false) })
}

// runDoc runs a document; with all, something has to be run in each section.
func runDoc(t *testing.T, file string, all bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for i, section := range strings.Split(string(text), "\n## ")[1:] {
		title, body, _ := strings.Cut(section, "\n")
		script, commands := docScript(body)
		if commands == 0 && !all {
			continue
		}
		if commands == 0 {
			t.Errorf("nothing is run in the section %q", title)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.txtar", i+1)), txtar.Format(script), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	testscript.Run(t, testscript.Params{Dir: dir})
}

// docScript returns the script of a section. A file that stands twice is written anew in between.
func docScript(body string) (script *txtar.Archive, commands int) {
	script = &txtar.Archive{}
	add := func(name, text string) string {
		name = fmt.Sprintf("%d-%s", len(script.Files), name)
		script.Files = append(script.Files, txtar.File{Name: name, Data: []byte(text)})
		return name
	}
	run := func(format string, args ...any) { script.Comment = fmt.Appendf(script.Comment, format+"\n", args...) }
	blocks := strings.Split(body, "```")
	for i := 1; i < len(blocks); i += 2 {
		info, text, _ := strings.Cut(blocks[i], "\n")
		if file, ok := strings.CutPrefix(info, "yaml "); ok {
			run("cp %s %s", add(file, text), file)
		}
		if info != "console" {
			continue
		}
		for _, step := range strings.Split("\n"+text, "\n$ ")[1:] {
			command, output, _ := strings.Cut(step, "\n")
			if output != "" && !strings.HasSuffix(output, "\n") {
				output += "\n"
			}
			run("exec sh %s", add("command", command+" 2>&1 || true\n"))
			run("cmp stdout %s", add("output", output))
			commands++
		}
	}
	return script, commands
}
