//go:build linux

package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"customhouse/e2e/backend"
)

// docker_auth's sign-ins in Google Cloud Storage: who had signed in there has the same password here, also when the key of the
// bucket is gone later. Without it the first start says what is missing.
func TestTakesOverGCS(t *testing.T) {
	t.Parallel()
	g := backend.NewGCS(t, "tokens")
	hash, err := bcrypt.GenerateFromPassword([]byte("of-docker-auth-1"), bcrypt.MinCost)
	must(t, err)
	g.Put(t, "tokens", "former", fmt.Sprintf(`{"access_token":"a","valid_until":%q,"docker_password":%q}`, time.Now().Add(time.Hour).Format(time.RFC3339), hash))
	dir := t.TempDir()
	config := write(t, dir, "customhouse.yml", fmt.Sprintf(`auth:
  github: {client_id: x, client_secret: y}
  app_passwords:
    import: [{provider: github, gcs: tokens, gcs_key_file: reader.json, gcs_endpoint: %q}]
rules:
  - {match: {account: former}, actions: [pull]}
`, g.Endpoint))
	data := filepath.Join(dir, "data")
	client{path: binary}.refuse(t, []string{"error: auth.app_passwords.import[0]: gcs_key_file: open "}, "serve", "-c", config, "--data", data)
	key := write(t, dir, "reader.json", string(g.Key))
	s := serveData(t, data, "-c", config)
	for password, want := range map[string]int{"of-docker-auth-1": http.StatusOK, "of-docker-auth-2": http.StatusUnauthorized} {
		if got := s.login(t, "former", password); got != want {
			t.Errorf("login with %q = %d, want %d", password, got, want)
		}
	}
	must(t, s.stop(), os.Remove(key))
	if got := serveData(t, data, "-c", config).login(t, "former", "of-docker-auth-1"); got != http.StatusOK {
		t.Errorf("login after a restart without the key = %d, want 200", got)
	}
}
