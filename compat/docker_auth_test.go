package compat_test

import (
	"testing"

	"customhouse/compat"
	"customhouse/config"

	"github.com/rogpeppe/go-internal/txtar"
)

// A golden file holds auth.yml, a configuration of docker_auth, and what is made of it.
func TestDockerAuth(t *testing.T) {
	golden(t, "docker_auth", "auth.yml", func(data []byte, o compat.Options, _ *txtar.Archive) (*config.Config, []compat.Warning, error) {
		return compat.ParseDockerAuth("auth.yml", data, o)
	})
}
