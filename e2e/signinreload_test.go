//go:build linux

package e2e_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
)

// R23: where docker_auth's file, or the secret that it names, changes what is said to a provider, the next sign-in goes by
// it. Sessions and app passwords stay good, and no request fails meanwhile.
func TestR23_AuthServerReloadsSignIn(t *testing.T) {
	t.Parallel()
	const account, client = "test-user@localhost", "auth-server"
	mux := http.NewServeMux()
	op := httptest.NewServer(mux)
	defer op.Close()
	issuer := strings.Replace(op.URL, "127.0.0.1", "localhost", 1) + "/"
	mux.Handle("/", exampleop.SetupServer(issuer, storage.NewStorage(storage.NewUserStore(issuer)), nil, false))

	dir := t.TempDir()
	issueCertificate(t, dir)
	secret := write(t, dir, "client.secret", "first\n")
	addr := "127.0.0.1:" + freePort(t)
	content := func(claim string) string {
		return authConfig(t, dir, true, "server: {addr: "+addr+"}\n") + fmt.Sprintf(`  - match: {labels: {family_name: User}}
    actions: [pull]
oidc_auth:
  issuer: %s
  redirect_url: http://%s/oidc_auth
  client_id: %s
  client_secret_file: %s
  level_token_db: {path: %s}
  user_claim: preferred_username
  scopes: [openid, profile, offline_access]
  labels_claims: [%s]
`, issuer, addr, client, secret, filepath.Join(dir, "tokens"), claim)
	}
	config := write(t, dir, "auth.yml", content("given_name"))
	storage.RegisterClients(storage.WebClient(client, "first", "http://"+addr+"/oidc_auth"))
	a := serveAuth(t, nil, config)

	ann := newPerson(t)
	if status, text := ann.signIn(a.url); status != 200 || !strings.Contains(text, account) {
		t.Fatalf("sign in = %d\n%s", status, text)
	}
	status, _, text := ann.at(a.url+"/ui/passwords", url.Values{"name": {"laptop"}, "days": {"30"}})
	found := regexp.MustCompile(`<code id="password">(chp_[0-9a-z]+)<`).FindStringSubmatch(text)
	if status != 200 || found == nil {
		t.Fatalf("make a password = %d\n%s", status, text)
	}
	pulls := func() (bool, error) { return a.pulls(account, found[1]) }
	if got, err := pulls(); got || err != nil {
		t.Fatalf("the account may pull: %t, %v; want that it may not", got, err)
	}
	running := startLoad(func() error {
		_, err := a.open()
		if err == nil {
			_, err = pulls()
		}
		return err
	})
	stays := func(what string) {
		t.Helper()
		if status, _, text := ann.at(a.url+"/ui/", nil); status != 200 || !strings.Contains(text, account) {
			t.Errorf("%s: the session is gone: %d", what, status)
		}
	}

	storage.RegisterClients(storage.WebClient(client, "second", "http://"+addr+"/oidc_auth"))
	if status, _ := newPerson(t).signIn(a.url); status == 200 {
		t.Error("a sign-in with the old secret succeeds")
	}
	replace(t, secret, "second\n")
	await(t, startTime, func() bool { status, _ := newPerson(t).signIn(a.url); return status == 200 })
	stays("another secret")

	replace(t, config, content("family_name"))
	await(t, startTime, func() bool {
		status, _ := newPerson(t).signIn(a.url)
		got, err := pulls()
		must(t, err)
		return status == 200 && got
	})
	stays("another mapping")
	running.stop(t)
}

// signIn signs in at the provider of zitadel by the page of a service.
func (p person) signIn(service string) (status int, text string) {
	p.t.Helper()
	status, form, text := p.at(service+"/ui/sign-in/oidc", nil)
	if status != 200 {
		return status, text
	}
	at := form.ResolveReference(&url.URL{Path: "/login/username"})
	status, _, text = p.at(at.String(), url.Values{
		"id": {form.Query().Get("authRequestID")}, "username": {"test-user@localhost"}, "password": {"verysecure"},
	})
	return status, text
}

// pulls tells whether a token for an account lets it pull.
func (a *authServer) pulls(account, password string) (bool, error) {
	r, err := http.NewRequest("GET", a.url+"/auth?service=registry&scope=repository:one:pull", nil)
	if err != nil {
		return false, err
	}
	r.SetBasicAuth(account, password)
	res, err := a.http.Do(r)
	if err != nil {
		return false, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 {
		return false, errors.Join(err, fmt.Errorf("status %d: %s", res.StatusCode, body))
	}
	var answer struct{ Token string }
	if err := json.Unmarshal(body, &answer); err != nil {
		return false, err
	}
	_, rest, _ := strings.Cut(answer.Token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	b, err := base64.RawURLEncoding.DecodeString(payload)
	return strings.Contains(string(b), `"pull"`), err
}
