package compat_test

import (
	"slices"
	"strings"
	"testing"

	"customhouse/compat"
	"customhouse/config"

	"github.com/rogpeppe/go-internal/txtar"
)

// A golden file holds config.yml, a configuration of distribution, and what is made of it. Before that it may have the
// environment, a variable a line. Distribution's reader ignores unknown keys, so ours does unless the comment says strict.
func TestDistribution(t *testing.T) {
	golden(t, "distribution", "config.yml", func(data []byte, o compat.Options, a *txtar.Archive) (*config.Config, []compat.Warning, error) {
		o.Lenient = !strings.HasPrefix(string(a.Comment), "strict")
		if i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == "environment" }); i >= 0 {
			o.Env = strings.Split(strings.TrimSpace(string(a.Files[i].Data)), "\n")
		}
		return compat.ParseDistribution("config.yml", data, o)
	})
}
