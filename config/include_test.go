package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"customhouse/config"

	"github.com/rogpeppe/go-internal/txtar"
)

// unpack writes the files of an archive into a new folder and makes it the present one.
func unpack(t *testing.T, a *txtar.Archive) {
	t.Helper()
	dir := t.TempDir()
	for _, f := range a.Files {
		path := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

// TestR24_Includes: each archive of testdata/include is loaded from its customhouse.yml; its file "rules" lists the
// rules in their order and the files to look at, its file "errors" all that is wrong.
func TestR24_Includes(t *testing.T) {
	golden(t, "include", func(t *testing.T, files []txtar.File, want string) string {
		unpack(t, &txtar.Archive{Files: files})
		c, err := config.Load("customhouse.yml")
		var got strings.Builder
		switch want {
		case "rules":
			if err != nil {
				t.Fatalf("Load = %v, want nil", err)
			}
			for _, r := range c.Rules {
				fmt.Fprintln(&got, r.Source, r.Comment)
			}
			if c.Shadowed != nil {
				for _, r := range c.Shadowed.Rules {
					fmt.Fprintln(&got, "shadow:", r.Source, r.Comment)
				}
			}
			fmt.Fprintln(&got, "looks at", strings.Join(c.Files(), ", "))
		case "errors":
			if !errors.As(err, new(config.Errors)) {
				t.Fatalf("Load = %v, want Errors", err)
			}
			fmt.Fprintln(&got, err)
		default:
			t.Fatalf("the last file is %s, want rules or errors", want)
		}
		return got.String()
	})
}

// A file that is no regular one is not waited for, and no more is read than a policy may have.
func TestS83_IncludeBounds(t *testing.T) {
	unpack(t, &txtar.Archive{Files: []txtar.File{{Name: "rules.d/0.yml", Data: []byte("rules: []\n")}}})
	for i := 1; i < 1002; i++ {
		if err := os.WriteFile(fmt.Sprintf("rules.d/%d.yml", i), []byte("rules: []\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, err := config.Parse("customhouse.yml", []byte("rules: [include: rules.d/*.yml]\n"))
	if want := "customhouse.yml:1:18: rules[0].include: more than 1000 files are included"; err == nil || err.Error() != want {
		t.Errorf("Parse = %v, want %s", err, want)
	}
	large := append([]byte("rules: []\n#"), make([]byte, 1<<20-20)...)
	for i := range large[11:] {
		large[11+i] = '-'
	}
	for i := range 18 {
		if err := os.WriteFile(fmt.Sprintf("rules.d/large%02d.yml", i), large, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, err = config.Parse("customhouse.yml", []byte("rules: [include: rules.d/l*.yml]\n"))
	if want := "customhouse.yml:1:18: rules[0].include: the files up to rules.d/large16.yml are larger than 16 MiB together"; err == nil || err.Error() != want {
		t.Errorf("Parse = %v, want %s", err, want)
	}
	_, err = config.Parse("customhouse.yml", []byte("rules: [include: /dev/zero]\n"))
	if want := "customhouse.yml:1:18: rules[0].include: cannot read /dev/zero: it is no regular file"; err == nil || err.Error() != want {
		t.Errorf("Parse = %v, want %s", err, want)
	}
}
