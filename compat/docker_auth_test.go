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
