package config_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"customhouse/config"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/txtar"
)

// TestFormat: each archive of testdata/format has a file and what is made of it, which stays as it is.
func TestFormat(t *testing.T) {
	golden(t, "format", func(t *testing.T, files []txtar.File, _ string) string {
		got, err := config.Format("rules.yml", files[0].Data)
		if err != nil {
			t.Fatal(err)
		}
		again, err := config.Format("rules.yml", got)
		if diff := cmp.Diff(string(got), string(again)); diff != "" || err != nil {
			t.Errorf("Format of what it made differs, error %v (-want +got):\n%s", err, diff)
		}
		return string(got)
	})
}

// yamlTexts returns files in YAML and the blocks of YAML in documents of this repository.
func yamlTexts(t testing.TB) map[string]string {
	t.Helper()
	texts := map[string]string{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			return filepath.SkipDir
		}
		ext := filepath.Ext(path)
		if d.IsDir() || ext != ".yml" && ext != ".txtar" && ext != ".md" {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		switch ext {
		case ".yml":
			texts[path] = string(data)
		case ".txtar":
			for _, f := range txtar.Parse(data).Files {
				if strings.HasSuffix(f.Name, ".yml") {
					texts[path+"/"+f.Name] = string(f.Data)
				}
			}
		case ".md":
			for i, block := range strings.Split(string(data), "```") {
				if info, text, _ := strings.Cut(block, "\n"); i%2 == 1 && strings.HasPrefix(info, "yaml") {
					texts[path+strings.Repeat("'", i)] = text
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

// What is in this repository can be formatted, means the same afterwards, and formatting it again changes nothing.
func TestFormatKeepsMeaning(t *testing.T) {
	changed, same := 0, 0
	for name, text := range yamlTexts(t) {
		before, err := config.Parse(name, []byte(text))
		if err != nil {
			continue
		}
		got, err := config.Format(name, []byte(text))
		if err != nil {
			t.Errorf("Format(%s) = %v", name, err)
			continue
		}
		after, err := config.Parse(name, got)
		if err != nil {
			t.Errorf("Parse of the formatted %s = %v:\n%s", name, err, got)
			continue
		}
		if diff := cmp.Diff(before, after, ignoreSource, cmpopts.EquateComparable(config.Prefix{})); diff != "" {
			t.Errorf("%s says something else (-before +after):\n%s", name, diff)
		}
		if again, err := config.Format(name, got); err != nil || string(again) != string(got) {
			t.Errorf("Format of the formatted %s differs, error %v:\n%s", name, err, cmp.Diff(string(got), string(again)))
		}
		if same++; string(got) != text {
			changed++
		}
	}
	if t.Logf("%d files, %d of them changed", same, changed); same < 30 {
		t.Errorf("%d files were formatted, want 30 at least", same)
	}
}

func FuzzFormat(f *testing.F) {
	for _, text := range yamlTexts(f) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := config.Format("rules.yml", []byte(text))
		if err != nil {
			return
		}
		if again, err := config.Format("rules.yml", got); err != nil || string(again) != string(got) {
			t.Errorf("Format of what it made differs, error %v:\n%s", err, cmp.Diff(string(got), string(again)))
		}
	})
}
