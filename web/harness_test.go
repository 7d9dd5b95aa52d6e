package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"customhouse"
	"customhouse/authn"
	"customhouse/authz"
	"customhouse/blob"
	"customhouse/gate"
	"customhouse/index"
	"customhouse/policy"
	"customhouse/registry"
	"customhouse/server"
	"customhouse/token"
	"customhouse/web"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// logbook takes what is logged.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// house is a registry with pages, in this process.
type house struct {
	*httptest.Server
	dir   string
	index *index.DB
	log   *logbook

	mu  sync.Mutex
	now time.Time
}

// later moves the clock.
func (h *house) later(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

func (h *house) clock() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

// open starts a registry where people sign in at the provider that at makes, given the URL of the registry. Everybody who
// has signed in may pull and push in shared/.
func open(t testing.TB, at func(base string) authn.Provider, change func(*web.Options)) *house {
	t.Helper()
	h := &house{dir: t.TempDir(), log: &logbook{}, now: time.Now()}
	log := slog.New(slog.NewJSONHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	h.index, err = index.Open(t.Context(), filepath.Join(h.dir, "index.db"), index.Options{Log: log, Now: h.clock})
	must(t, err)
	t.Cleanup(func() { must(t, h.index.Close()) })
	store, err := blob.OpenDir(h.dir, blob.Reserve{})
	must(t, err)
	var handler http.Handler
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(h.Close)

	seal, err := authn.LoadOrCreateSeal(filepath.Join(h.dir, "sign-in.key"))
	must(t, err)
	passwords := authn.NewPasswords(authn.PasswordOptions{})
	browser := authn.NewBrowser(at(h.URL), h.index, seal, passwords, authn.BrowserOptions{
		Log: log, Now: h.clock, Memory: -1, Owner: func(context.Context, string) (string, error) { return "", nil },
	})
	chain, err := authn.NewChain(passwords, browser)
	must(t, err)
	everybody, shared := "**", "shared/**"
	rules, err := policy.Compile([]policy.Rule{{
		Match: policy.Match{Account: policy.Values{everybody}, Name: policy.Values{shared}}, Actions: []customhouse.Action{customhouse.Pull, customhouse.Push},
	}}, policy.Options{})
	must(t, err)
	key, err := token.Generate(token.ES256)
	must(t, err)
	keys, err := token.NewKeys(key)
	must(t, err)
	g, err := gate.New(gate.Options{
		Chain: chain, Policy: authz.NewRules(rules), Issuer: "customhouse", Service: "customhouse", Keys: keys, Refresh: h.index, AllowBasic: true, Log: log, Now: h.clock,
	})
	must(t, err)
	o := web.Options{Providers: []*authn.Browser{browser}, Sessions: h.index, Seal: seal, Log: log, Now: h.clock}
	if change != nil {
		change(&o)
	}
	pages, err := web.New(o)
	must(t, err)
	handler, err = server.New(server.State{
		Gate: g, Registry: registry.New(h.index, store, registry.Options{Log: log}), Service: "customhouse", Prefix: o.Prefix, Pages: pages,
		Requests: true,
	}, log)
	must(t, err)
	return h
}

// stage is a provider that vouches for whom it is told.
type stage struct {
	mu  sync.Mutex
	who authn.Person
	err error
}

func (s *stage) Name() string   { return "oidc" }
func (s *stage) Title() string  { return "Stage" }
func (s *stage) Issuer() string { return "https://id.example" }

func (s *stage) Begin(_ context.Context, a authn.Attempt) (string, error) {
	q := url.Values{"state": {a.State}, "redirect_uri": {a.Redirect}}
	return "https://id.example/auth?" + q.Encode(), nil
}

func (s *stage) Finish(_ context.Context, _ authn.Attempt, code string) (authn.Person, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if code != "good" {
		return authn.Person{}, &authn.NotVouched{Reason: "the code is wrong"}
	}
	return s.who, s.err
}

func (s *stage) Refresh(context.Context, authn.Tokens) (authn.Person, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.who, s.err
}

func (s *stage) with(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// onStage opens a house whose provider is a stage, with Alice on it.
func onStage(t testing.TB, change func(*web.Options)) (*house, *stage) {
	s := &stage{who: authn.Person{Issuer: "https://id.example", Subject: "1", Account: "alice", Labels: map[string][]string{"group": {"ci"}}}}
	return open(t, func(string) authn.Provider { return s }, change), s
}

// client is a browser without a screen: it keeps cookies and follows nothing.
type client struct {
	t    testing.TB
	base string
	http *http.Client
}

func (h *house) client(t testing.TB) *client {
	jar, err := cookiejar.New(nil)
	must(t, err)
	return &client{t, h.URL, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

type answer struct {
	*http.Response
	body string
}

func (c *client) do(method, path string, form url.Values, header http.Header) answer {
	c.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, body)
	must(c.t, err)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for k, v := range header {
		r.Header[k] = v
	}
	res, err := c.http.Do(r)
	must(c.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	must(c.t, err)
	return answer{res, string(text)}
}

func (c *client) get(path string) answer { c.t.Helper(); return c.do("GET", path, nil, nil) }

// begin goes to the provider and returns what it is told.
func (c *client) begin() url.Values {
	c.t.Helper()
	a := c.get("/ui/sign-in/oidc")
	u, err := url.Parse(a.Header.Get("Location"))
	if err != nil || a.StatusCode != http.StatusSeeOther || u.Host != "id.example" {
		c.t.Fatalf("begin = %d to %v, %v", a.StatusCode, u, err)
	}
	return u.Query()
}

// signIn goes all the way.
func (c *client) signIn() {
	c.t.Helper()
	q := c.begin()
	a := c.get("/ui/callback/oidc?" + url.Values{"state": {q.Get("state")}, "code": {"good"}}.Encode())
	if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/ui/" {
		c.t.Fatalf("callback = %d %s to %s", a.StatusCode, a.body, a.Header.Get("Location"))
	}
}

var passwordIn = regexp.MustCompile(`<code id="password">([^<]*)</code>`)

// password makes an app password.
func (c *client) password(name string) string {
	c.t.Helper()
	a := c.do("POST", "/ui/passwords", url.Values{"name": {name}, "days": {"30"}}, nil)
	m := passwordIn.FindStringSubmatch(a.body)
	if a.StatusCode != http.StatusOK || m == nil {
		c.t.Fatalf("make a password = %d\n%s", a.StatusCode, a.body)
	}
	return m[1]
}

// login asks for a token as docker login does, and returns the status and the token.
func (h *house) login(t testing.TB, account, password string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", h.URL+"/token?service=customhouse&scope=repository:shared/app:pull", nil)
	must(t, err)
	r.SetBasicAuth(account, password)
	res, err := http.DefaultClient.Do(r)
	must(t, err)
	defer res.Body.Close()
	var body struct {
		Token string `json:"token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&body); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return res.StatusCode, body.Token
}

// pull asks for a manifest with a token; 404 is being let in.
func (h *house) pull(t testing.TB, bearer string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", h.URL+"/v2/shared/app/manifests/latest", nil)
	must(t, err)
	r.Header.Set("Authorization", "Bearer "+bearer)
	res, err := http.DefaultClient.Do(r)
	must(t, err)
	res.Body.Close()
	return res.StatusCode
}
