package authn_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"customhouse/authn"
)

// forge stands for GitHub and GitLab, as their documentation describes what is used of them: neither can be reached from
// where tests run.
type forge struct {
	*httptest.Server
	mu      sync.Mutex
	gitlab  bool
	user    string // JSON
	org     string // state of the membership; "" is none
	teams   []string
	groups  []string
	revoked bool
	limited bool
	broken  bool
	access  string
	refresh string
	form    url.Values // of the last token request
	n       int
}

func newForge(t *testing.T, gitlab bool) *forge {
	f := &forge{gitlab: gitlab}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *forge) with(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *forge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	status := func(code int, body string) {
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}
	if f.broken {
		status(http.StatusBadGateway, `{"login":"admin","id":1,"username":"admin","state":"active"}`)
		return
	}
	if r.Method == http.MethodPost && (r.URL.Path == "/login/oauth/access_token" || r.URL.Path == "/oauth/token") {
		_ = r.ParseForm()
		f.form = r.PostForm
		ok := r.PostForm.Get("client_id") == "id" && r.PostForm.Get("client_secret") == "s&=cret" &&
			(r.PostForm.Get("code") == "good" && len(r.PostForm.Get("code_verifier")) >= 43 || f.refresh != "" && r.PostForm.Get("refresh_token") == f.refresh)
		if !ok && f.gitlab {
			status(http.StatusBadRequest, `{"error":"invalid_grant"}`)
			return
		}
		if !ok {
			status(http.StatusOK, `{"error":"bad_verification_code","error_description":"canary"}`) // GitHub says so with 200
			return
		}
		f.n++
		f.access = "access-" + strconv.Itoa(f.n)
		if f.gitlab {
			f.refresh = "refresh-" + strconv.Itoa(f.n)
			fmt.Fprintf(w, `{"access_token":%q,"token_type":"bearer","expires_in":7200,"refresh_token":%q}`, f.access, f.refresh)
			return
		}
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"bearer","scope":"read:org"}`, f.access)
		return
	}
	switch {
	case f.revoked || r.Header.Get("Authorization") != "Bearer "+f.access:
		status(http.StatusUnauthorized, `{"message":"Bad credentials","login":"admin","id":1}`)
	case f.limited:
		w.Header().Set("X-RateLimit-Remaining", "0")
		status(http.StatusForbidden, `{"message":"API rate limit exceeded"}`)
	case r.URL.Path == "/user" || r.URL.Path == "/api/v4/user":
		fmt.Fprint(w, f.user)
	case r.URL.Path == "/oauth/userinfo":
		_ = json.NewEncoder(w).Encode(map[string]any{"sub": "17", "groups": f.groups})
	case strings.HasPrefix(r.URL.Path, "/user/memberships/orgs/"):
		if f.org == "" || r.URL.Path != "/user/memberships/orgs/acme" {
			status(http.StatusNotFound, `{"message":"Not Found"}`)
			return
		}
		fmt.Fprintf(w, `{"state":%q,"role":"member"}`, f.org)
	case r.URL.Path == "/user/teams":
		page, _ := strconv.Atoi(r.URL.Query().Get("page"))
		size, _ := strconv.Atoi(r.URL.Query().Get("per_page"))
		from, to := min((page-1)*size, len(f.teams)), min(page*size, len(f.teams))
		if to < len(f.teams) {
			w.Header().Set("Link", fmt.Sprintf(`<http://evil.example/user/teams?page=%d>; rel="next"`, page+1))
		}
		fmt.Fprint(w, "["+strings.Join(f.teams[from:to], ",")+"]")
	default:
		status(http.StatusNotFound, `{}`)
	}
}

func team(slug, org, parent string) string {
	if parent == "" {
		return fmt.Sprintf(`{"slug":%q,"organization":{"login":%q},"parent":null}`, slug, org)
	}
	return fmt.Sprintf(`{"slug":%q,"organization":{"login":%q},"parent":{"slug":%q}}`, slug, org, parent)
}

func wantNotVouched(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.As(err, new(*authn.NotVouched)) {
		t.Fatalf("%s = %v, want NotVouched", what, err)
	}
	if strings.Contains(err.Error(), "canary") {
		t.Fatalf("%s = %v, which quotes the answer", what, err)
	}
}

func wantOutage(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil || errors.As(err, new(*authn.NotVouched)) {
		t.Fatalf("%s = %v, want an outage", what, err)
	}
}

func TestGitHub(t *testing.T) {
	f := newForge(t, false)
	f.user, f.org = `{"id":17,"login":"Alice"}`, "active"
	for i := range 150 {
		f.teams = append(f.teams, team(fmt.Sprintf("other-%d", i), "elsewhere", "boss"))
	}
	f.teams = append(f.teams, team("web", "Acme", "dev"), team("ops", "acme", ""), team("api", "acme", "dev"))
	p, err := authn.NewGitHub(authn.GitHubOptions{ClientID: "id", ClientSecret: "s&=cret", Organization: "acme", WebURL: f.URL, APIURL: f.URL + "/"})
	if err != nil {
		t.Fatal(err)
	}
	a := authn.NewAttempt("https://registry.example.com/cb")
	begin, _ := p.Begin(t.Context(), a)
	if u, _ := url.Parse(begin); u.Path != "/login/oauth/authorize" || u.Query().Get("scope") != "read:org" || u.Query().Get("code_challenge") == "" || u.Query().Get("state") != a.State {
		t.Fatalf("Begin = %s", begin)
	}
	who, err := p.Finish(t.Context(), a, "good")
	if err != nil {
		t.Fatalf("Finish = %v", err)
	}
	want := authn.Person{Issuer: f.URL, Subject: "17", Account: "Alice", Labels: map[string][]string{"teams": {"api", "dev", "ops", "web"}}, Tokens: who.Tokens}
	if diff := cmp.Diff(want, who); diff != "" {
		t.Fatalf("Person (-want +got):\n%s", diff)
	}
	_, err = p.Finish(t.Context(), a, "bad")
	wantNotVouched(t, "Finish with a bad code", err)

	f.with(func() { f.teams = f.teams[:151] })
	if again, err := p.Refresh(t.Context(), who.Tokens); err != nil || !slices.Equal(again.Labels["teams"], []string{"dev", "web"}) {
		t.Fatalf("Refresh = %v, %v, want the present teams", again.Labels, err)
	}
	f.with(func() { f.limited = true })
	_, err = p.Refresh(t.Context(), who.Tokens)
	wantOutage(t, "Refresh beyond the rate limit", err)
	f.with(func() { f.limited, f.broken = false, true })
	_, err = p.Refresh(t.Context(), who.Tokens)
	wantOutage(t, "Refresh while GitHub fails", err)
	for _, state := range []string{"pending", ""} {
		f.with(func() { f.broken, f.org = false, state })
		_, err = p.Refresh(t.Context(), who.Tokens)
		wantNotVouched(t, "Refresh as "+state+" member", err)
	}
	f.with(func() { f.revoked = true })
	_, err = p.Refresh(t.Context(), who.Tokens)
	wantNotVouched(t, "Refresh with a revoked token", err)
	for _, user := range []string{`{}`, `{"id":17}`, `{"id":17,"login":""}`, `{"id":17,"login":"a b"}`, `{"login":"alice"}`} {
		f.with(func() { f.revoked, f.org, f.user = false, "active", user })
		_, err = p.Refresh(t.Context(), who.Tokens)
		wantNotVouched(t, "Refresh as "+user, err)
	}
}

func TestGitLab(t *testing.T) {
	f := newForge(t, true)
	f.user, f.groups = `{"id":17,"username":"alice","state":"active"}`, []string{"acme", "acme/web"}
	now := time.Now()
	start := func(group string, scopes []string) *authn.GitLab {
		p, err := authn.NewGitLab(authn.GitLabOptions{
			ClientID: "id", ClientSecret: "s&=cret", Group: group, Scopes: scopes, WebURL: f.URL, Client: authn.ClientOptions{Now: func() time.Time { return now }},
		})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := start("Acme", nil)
	a := authn.NewAttempt("https://registry.example.com/cb")
	who, err := p.Finish(t.Context(), a, "good")
	if err != nil || who.Account != "alice" || who.Subject != "17" || !slices.Equal(who.Labels["groups"], f.groups) {
		t.Fatalf("Finish = %+v, %v", who, err)
	}
	for _, group := range []string{"acm", "acme/webs", "web", "acme/web/x"} {
		_, err := start(group, nil).Finish(t.Context(), a, "good")
		wantNotVouched(t, "Finish without the group "+group, err)
	}
	if who, err := start("", []string{"read_user"}).Finish(t.Context(), a, "good"); err != nil || len(who.Labels) != 0 {
		t.Fatalf("Finish without openid = %+v, %v, want no labels", who, err)
	}
	who, err = p.Finish(t.Context(), a, "good")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 { // the access token has expired each time, and the refresh token is another
		now = now.Add(3 * time.Hour)
		next, err := p.Refresh(t.Context(), who.Tokens)
		if err != nil || next.Tokens.Refresh == who.Tokens.Refresh {
			t.Fatalf("Refresh %d = %v", i, err)
		}
		next.Tokens.Expires = now.Add(time.Hour) // the library goes by the clock of the machine
		who = next
	}
	if f.form.Get("grant_type") != "refresh_token" || f.form.Get("client_secret") != "s&=cret" {
		t.Fatalf("the token request was %v", f.form)
	}
	f.with(func() { f.user = `{"id":17,"username":"alice","state":"blocked"}` })
	_, err = p.Refresh(t.Context(), who.Tokens)
	wantNotVouched(t, "Refresh of a blocked account", err)
	f.with(func() { f.limited = true })
	now = now.Add(3 * time.Hour)
	next, err := p.Refresh(t.Context(), who.Tokens)
	wantOutage(t, "Refresh beyond the rate limit", err)
	if next.Tokens.Refresh == "" || next.Tokens.Refresh == who.Tokens.Refresh {
		t.Fatal("Refresh loses the token that took the place of the one it had")
	}
	f.with(func() { f.limited, f.broken = false, true })
	_, err = p.Refresh(t.Context(), who.Tokens)
	wantOutage(t, "Refresh while GitLab fails", err)
	if _, err := authn.NewGitLab(authn.GitLabOptions{ClientID: "id", Group: "acme", Scopes: []string{"read_user"}}); err == nil {
		t.Fatal("a group without the scope that tells groups is taken")
	}
}
