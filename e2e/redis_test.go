//go:build linux

package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"customhouse/e2e/backend"
)

// docker_auth's file with a redis_token_db: who had signed in there has the same password here, also when Redis has gone
// away later. Without it the first start says what is missing.
func TestAuthServerTakesOverRedis(t *testing.T) {
	t.Parallel()
	r := backend.NewRedis(t, false)
	hash, err := bcrypt.GenerateFromPassword([]byte("of-docker-auth-1"), bcrypt.MinCost)
	must(t, err)
	r.Do(t, "SET", "t:former", fmt.Sprintf(`{"access_token":"a","valid_until":%q,"docker_password":%q}`, time.Now().Add(time.Hour).Format(time.RFC3339), hash))
	dir := t.TempDir()
	issueCertificate(t, dir)
	config := write(t, dir, "auth.yml", authConfig(t, dir, true, "")+fmt.Sprintf(`  - match: {account: former}
    actions: [pull]
github_auth:
  client_id: x
  client_secret: y
  redis_token_db: {redis_options: {addr: %q, password: %s}}
customhouse: {data: %s}
`, r.Addr, backend.RedisPassword, dir+"/data"))

	r.Stop()
	client{path: binary}.refuse(t, []string{"error: auth.app_passwords.import[0]: read docker_auth's database in Redis at " + r.Addr}, "auth", "serve", config)
	r.Start()
	r.Do(t, "SET", "t:former", fmt.Sprintf(`{"access_token":"a","valid_until":%q,"docker_password":%q}`, time.Now().Add(time.Hour).Format(time.RFC3339), hash))
	pulls := func(a *authServer, password string, want bool) {
		t.Helper()
		if got, err := a.pulls("former", password); got != want || err != nil && want {
			t.Errorf("password %q may pull: %t, %v, want %t", password, got, err, want)
		}
	}
	a := serveAuth(t, nil, config)
	pulls(a, "of-docker-auth-1", true)
	pulls(a, "of-docker-auth-2", false)
	must(t, a.stop())
	r.Stop()
	pulls(serveAuth(t, nil, config), "of-docker-auth-1", true)
}
