package compat_test

import (
	"errors"
	"path/filepath"
	"testing"

	"customhouse/compat"
	"customhouse/config"

	"github.com/rogpeppe/go-internal/txtar"
)

// Whatever stands in a file, it is refused with its place or becomes a valid configuration that can be written.
func FuzzDockerAuth(f *testing.F) {
	archives, _ := filepath.Glob("testdata/docker_auth/*.txtar")
	for _, path := range archives {
		a, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(a.Files[0].Data, false)
		f.Add(a.Files[0].Data, true)
	}
	f.Add([]byte("users: &a {<<: *a}"), true)
	f.Add([]byte("acl: &a [*a]"), true)
	f.Fuzz(func(t *testing.T, data []byte, lenient bool) {
		c, warnings, err := compat.ParseDockerAuth("auth.yml", data, compat.Options{Dir: "/srv", Lenient: lenient})
		for _, w := range warnings {
			if w.File != "auth.yml" || w.Message == "" || w.Line < 0 || w.Line > 0 && w.Column < 1 {
				t.Fatalf("a warning without place or message: %#v", w)
			}
		}
		if err != nil {
			var errs config.Errors
			if !errors.As(err, &errs) || len(errs) == 0 {
				t.Fatalf("ParseDockerAuth = %v (%T), want Errors", err, err)
			}
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("ParseDockerAuth accepts what Validate refuses: %v", err)
		}
		native(t, c)
	})
}
