package compat_test

import (
	"os"
	"path/filepath"
	"strings"
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

// A folder that the command line names is one: the file need not name any, and does not count beside it.
func TestDockerAuthData(t *testing.T) {
	const signIn = "server: {addr: ':5001', certificate: s.pem, key: s.key}\ntoken: {issuer: i, expiration: 900}\nacl: []\n" +
		"github_auth: {client_id: id, client_secret: s, redis_token_db: {redis_options: {addr: 'redis:6379'}}}\n"
	for _, file := range []string{signIn, signIn + "customhouse: {data: /elsewhere}\n"} {
		c, _, err := compat.ParseDockerAuth("auth.yml", []byte(file), compat.Options{Dir: "/srv", Data: "data"})
		if err != nil {
			t.Fatalf("ParseDockerAuth = %v, want nil for\n%s", err, file)
		}
		if c.Data != "/srv/data" {
			t.Errorf("Data = %q, want /srv/data for\n%s", c.Data, file)
		}
	}
}

// What our section names has to be there too.
func TestDockerAuthOwnFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "auth.yml")
	text := "server: {addr: ':5001'}\ntoken: {issuer: i, expiration: 900, certificate: s.pem, key: s.key}\nusers: {}\nacl: []\n" +
		"customhouse: {auth: {htpasswd: none, worker: {command: ./none}}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := compat.LoadDockerAuth(file, compat.Options{Dir: t.TempDir()})
	for _, key := range []string{"customhouse.auth.htpasswd: cannot read", "customhouse.auth.worker.command: cannot be started"} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("LoadDockerAuth = %v, want among it %q", err, key)
		}
	}
}
