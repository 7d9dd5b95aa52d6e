//go:build linux

package e2e_test

import (
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"golang.org/x/crypto/bcrypt"
)

// person is a browser without a screen.
type person struct {
	*http.Client
	t *testing.T
}

func newPerson(t *testing.T) person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	must(t, err)
	return person{&http.Client{Jar: jar, Timeout: commandTime}, t}
}

// at returns status, place and text of a page; with a form it is sent from a page of ours.
func (p person) at(address string, form url.Values) (status int, where *url.URL, text string) {
	p.t.Helper()
	method, body := "GET", ""
	if form != nil {
		method, body = "POST", form.Encode()
	}
	r, err := http.NewRequestWithContext(p.t.Context(), method, address, strings.NewReader(body))
	must(p.t, err)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	res, err := p.Do(r)
	must(p.t, err)
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	must(p.t, err)
	return res.StatusCode, res.Request.URL, string(content)
}

// login asks for a token with a password.
func (s *server) login(t *testing.T, account, password string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.url+"/token?service=customhouse", nil)
	must(t, err)
	r.SetBasicAuth(account, password)
	res, err := http.DefaultClient.Do(r)
	must(t, err)
	res.Body.Close()
	return res.StatusCode
}

// TestSignIn: the program with a provider that is down at the start, comes up, and vouches; with docker_auth's database;
// and after a restart.
func TestSignIn(t *testing.T) {
	var provider atomic.Pointer[http.Handler]
	op := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := provider.Load(); h != nil {
			(*h).ServeHTTP(w, r)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer op.Close()
	issuer := strings.Replace(op.URL, "127.0.0.1", "localhost", 1) + "/"

	dir := t.TempDir()
	tokens := filepath.Join(dir, "tokens")
	db, err := leveldb.OpenFile(tokens, nil)
	must(t, err)
	hash, err := bcrypt.GenerateFromPassword([]byte("of-docker-auth-1"), bcrypt.MinCost)
	must(t, err)
	record := fmt.Sprintf(`{"access_token":"upstream-access","refresh_token":"upstream-refresh","valid_until":%q,"docker_password":%q}`,
		time.Now().Add(time.Hour).Format(time.RFC3339), hash)
	must(t, db.Put([]byte("t:former"), []byte(record), nil))
	must(t, db.Close())
	write(t, dir, "secret", "secret\n")
	config := write(t, dir, "customhouse.yml", fmt.Sprintf(`auth:
  oidc:
    issuer: %s
    client_id: web
    client_secret_file: secret
    account_claim: preferred_username
    scopes: [openid, profile, offline_access]
  app_passwords:
    docker_auth_paths: true
    import: [{provider: oidc, level_db: tokens}]
`, issuer))
	data := filepath.Join(dir, "data")
	s := serveData(t, data, "-c", config)
	if status := s.login(t, "former", "of-docker-auth-1"); status != 200 {
		t.Fatalf("login with docker_auth's password = %d, want 200", status)
	}
	if status := s.login(t, "former", "of-docker-auth-2"); status != 401 {
		t.Fatalf("login with another = %d, want 401", status)
	}
	p := newPerson(t)
	if status, _, text := p.at(s.url+"/oidc_auth", nil); status != 200 || !strings.Contains(text, "Continue with localhost") {
		t.Fatalf("the page = %d\n%s", status, text)
	}
	if status, _, _ := p.at(s.url+"/ui/sign-in/oidc", nil); status != 503 {
		t.Fatalf("sign in while the provider is down = %d, want 503", status)
	}

	storage.RegisterClients(storage.WebClient("web", "secret", s.url+"/oidc_auth"))
	var h http.Handler = exampleop.SetupServer(issuer, storage.NewStorage(storage.NewUserStore(issuer)), nil, false)
	provider.Store(&h)
	var form *url.URL
	await(t, startTime, func() bool {
		status, where, _ := p.at(s.url+"/ui/sign-in/oidc", nil)
		form = where
		return status == 200
	})
	where := form.ResolveReference(&url.URL{Path: "/login/username"})
	id := form.Query().Get("authRequestID")
	status, at, text := p.at(where.String(), url.Values{"id": {id}, "username": {"test-user@localhost"}, "password": {"verysecure"}})
	if status != 200 || at.Host != s.host || at.Path != "/ui/" || !strings.Contains(text, "test-user@localhost") {
		t.Fatalf("signed in: %d at %s\n%s", status, at, text)
	}
	status, _, text = p.at(s.url+"/ui/passwords", url.Values{"name": {"laptop"}, "days": {"30"}})
	found := regexp.MustCompile(`<code id="password">(chp_[0-9a-z]+)<`).FindStringSubmatch(text)
	if status != 200 || found == nil {
		t.Fatalf("make a password = %d\n%s", status, text)
	}
	password := found[1]
	if status := s.login(t, "test-user@localhost", password); status != 200 {
		t.Fatalf("login = %d, want 200", status)
	}

	// S51: what is at rest, while it runs.
	must(t, filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		for _, secret := range []string{password, "upstream-access", "upstream-refresh", "of-docker-auth-1", "verysecure"} {
			if strings.Contains(string(content), secret) {
				t.Errorf("%s holds a secret in clear", d.Name())
			}
		}
		return err
	}))
	must(t, s.stop())
	s = serveData(t, data, "-c", config)
	if status := s.login(t, "test-user@localhost", password); status != 200 {
		t.Fatalf("login after a restart = %d, want 200", status)
	}
	for _, secret := range []string{password, "upstream-refresh", "of-docker-auth-1"} {
		if strings.Contains(s.all.String(), secret) {
			t.Error("a secret is in the log")
		}
	}

	tool := client{path: binary, env: []string{"HOME=" + t.TempDir()}}
	tool.run(t, "user", "remove", "test-user@localhost", "--data", data)
	await(t, startTime, func() bool { return s.login(t, "test-user@localhost", password) == 401 })
	tool.refuse(t, []string{"no account"}, "user", "remove", "test-user@localhost", "--data", data)
}
