package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// documented finds command lines in pages and in the comments of examples: in code, or on a line of their own.
var documented = regexp.MustCompile("(?m)(`|^ExecStart=/usr/local/bin/|^[ #]*(?:\\$ )?(?:\\./)?(?:CICD_SECRET=\\S+ )?)customhouse( +[^`|<>&;#\n]+)")

// Each command line that a page shows is one: command, flags and number of arguments.
func TestCommandsOfPages(t *testing.T) {
	var files []string
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../deploy/*", "../../deploy/seed/*", "../../examples/*/*.md", "../../examples/*/*.yml", "../../config/example.yml"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	lines := 0
	for _, file := range files {
		if info, err := os.Stat(file); err != nil || info.IsDir() {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range documented.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[2], " listening on ") { // what the program prints
				continue
			}
			lines++
			if err := understand(strings.Fields(m[2]), m[1] != "`"); err != nil {
				t.Errorf("%s: customhouse%s: %v", filepath.ToSlash(file), m[2], err)
			}
		}
	}
	if lines < 80 {
		t.Errorf("found %d command lines, want all that the pages show", lines)
	}
}

// understand does with a command line what comes before it is run. In a sentence, one may be named without its arguments.
func understand(args []string, whole bool) error {
	cmd, rest, err := commands(new(bool)).Find(args)
	if err != nil {
		return err
	}
	err = cmd.ParseFlags(rest)
	if errors.Is(err, pflag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if rest = cmd.Flags().Args(); len(rest) == 0 && !whole {
		return nil
	}
	return cmd.ValidateArgs(rest)
}
