package main

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"customhouse/config"
	"customhouse/index"
)

// TestA16_NamesOfPrograms: beside sign-in with a browser, a source whose names cannot be protected is warned of.
func TestA16_NamesOfPrograms(t *testing.T) {
	dir := t.TempDir()
	db, err := index.Open(t.Context(), filepath.Join(dir, "index.db"), index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for name, test := range map[string]struct {
		change func(*config.Config)
		warned bool
	}{
		"a program":                            {func(c *config.Config) { c.Auth.Exec.Command = "true" }, true},
		"a program, merged":                    {func(c *config.Config) { c.Auth.Exec.Command, c.Auth.AppPasswords.MergeIdentities = "true", true }, false},
		"no program":                           {func(*config.Config) {}, false},
		"certificates":                         {func(c *config.Config) { c.Auth.Certificates.Account = "${cn}" }, true},
		"certificates with names of their own": {func(c *config.Config) { c.Auth.Certificates.Account = "cert:${cn}" }, false},
		"no browser":                           {func(c *config.Config) { c.Auth.Exec.Command, c.Auth.GitHub.ClientID = "true", "" }, false},
	} {
		c := config.Default()
		c.Data = dir
		c.Auth.GitHub.ClientID, c.Auth.GitHub.ClientSecret = "registry", "secret"
		test.change(c)
		var log bytes.Buffer
		p := newParts(slog.New(slog.NewTextHandler(&log, nil)), db, c.Health)
		p.ends, p.chained = &ends{}, &chained{}
		if _, err := p.chain(c); err != nil {
			t.Fatalf("%s: chain = %v", name, err)
		}
		p.ends.end()
		if warned := strings.Contains(log.String(), "source="); warned != test.warned {
			t.Errorf("%s: warned = %v, want %v: %s", name, warned, test.warned, &log)
		}
	}
}
