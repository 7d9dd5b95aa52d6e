package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// golden runs a test for each archive in a folder of testdata. The last file of an archive is what is to come of those
// before; got makes it of them, and is told its name. -update writes what has come.
func golden(t *testing.T, folder string, got func(t *testing.T, files []txtar.File, want string) string) {
	t.Helper()
	archives, err := filepath.Glob(filepath.Join("testdata", folder, "*.txtar"))
	if err != nil || len(archives) == 0 {
		t.Fatalf("no files in testdata/%s: %v", folder, err)
	}
	for _, path := range archives {
		path, err := filepath.Abs(path) // a test may change the folder
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			last := len(a.Files) - 1
			if last < 1 {
				t.Fatalf("want two files and more in %s", path)
			}
			want := &a.Files[last]
			has := got(t, a.Files[:last], want.Name)
			if *update {
				want.Data = []byte(has)
				if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(want.Data), has); diff != "" {
				t.Errorf("%s differ (-want +got):\n%s", want.Name, diff)
			}
		})
	}
}
