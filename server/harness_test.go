package server_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"customhouse"
	"customhouse/audit"
	"customhouse/authn"
	"customhouse/authz"
	"customhouse/blob"
	"customhouse/gate"
	"customhouse/index"
	"customhouse/policy"
	"customhouse/registry"
	"customhouse/server"
	"customhouse/token"
)

const service = "registry.test"

// As serve has them.
const (
	headerTime = 10 * time.Second
	maxHeader  = 28 << 10
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// long skips a test that takes minutes or many cores.
func long(t testing.TB) {
	t.Helper()
	if os.Getenv("CUSTOMHOUSE_LONG") != "1" {
		t.Skip("takes long; CUSTOMHOUSE_LONG=1 (make test-long) runs it")
	}
}

// setup is what a test wants to be different.
type setup struct {
	rules    []policy.Rule // nil: usual
	sets     map[string]policy.Values
	registry registry.Options
	noDelete bool
	noBasic  bool
	off      bool                        // authorization
	realm    server.RealmURL             //
	store    func(blob.Store) blob.Store // wraps the store
	fails    bool                        // 5xx and panics are what is tested
	sources  []authn.Authenticator       // of accounts, beside the usual ones
}

// accounts are everybody there is; each has the password of passwordOf.
var accounts = []string{"admin", "alice", "bob", "creator", "deleter", "robot", "project", "updater", "carol"}

func passwordOf(account string) string { return account + "-Canary-secret" }

func allow(account, name string, actions ...customhouse.Action) policy.Rule {
	return policy.Rule{Match: policy.Match{Account: policy.Values{account}, Name: policy.Values{name}}, Actions: append([]customhouse.Action{}, actions...)}
}

// usual are the rules where a test has none of its own.
func usual() []policy.Rule {
	public, repository := "pub/**", customhouse.TypeRepository
	return []policy.Rule{
		allow("admin", "**", customhouse.All),
		allow("alice", "a/**", customhouse.Pull),
		allow("bob", "b/**", customhouse.Pull, customhouse.Push),
		allow("creator", "a/**", customhouse.Pull, customhouse.Create),
		allow("updater", "a/**", customhouse.Pull, customhouse.Update),
		allow("deleter", "a/**", customhouse.Pull, customhouse.Delete),
		allow("robot", "a/app", customhouse.Pull, customhouse.Push),
		allow("project", "a/**", customhouse.Pull, customhouse.Push, customhouse.Delete),
		{Match: policy.Match{Type: policy.Values{repository}, Name: policy.Values{public}}, Actions: []customhouse.Action{customhouse.Pull}},
	}
}

// hashes are the bcrypt hashes of the accounts, made once: the cheapest takes a millisecond.
var hashes = sync.OnceValue(func() map[string]customhouse.Secret {
	m := map[string]customhouse.Secret{}
	for _, name := range accounts {
		hash, err := bcrypt.GenerateFromPassword([]byte(passwordOf(name)), bcrypt.MinCost)
		if err != nil {
			panic(err)
		}
		m[name] = customhouse.Secret(hash)
	}
	return m
})

// house is a whole registry in this process.
type house struct {
	t      testing.TB
	dir    string
	index  *index.DB
	audit  *audit.Log
	state  server.State
	server *server.Server
	http   *httptest.Server
	log    *logbook
	keys   *token.Keys
	client *http.Client
	fails  bool
}

// open builds a house in a folder of its own.
func open(t testing.TB, s setup) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir(), log: &logbook{}, fails: s.fails}
	logger := slog.New(slog.NewJSONHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	db, err := index.Open(context.Background(), filepath.Join(h.dir, "index.db"), index.Options{Log: logger})
	must(t, err)
	h.index = db
	h.audit, err = audit.Open(context.Background(), audit.Options{Index: db, Log: logger}, audit.Settings{Allow: 1})
	must(t, err)
	dir, err := blob.OpenDir(h.dir, blob.Reserve{})
	must(t, err)
	var store blob.Store = dir
	if s.store != nil {
		store = s.store(store)
	}
	s.registry.Log = logger
	if s.registry.ScrubInterval == 0 {
		s.registry.ScrubInterval = time.Hour
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	key, err := token.NewKey(private)
	must(t, err)
	h.keys, err = token.NewKeys(key)
	must(t, err)
	if s.rules == nil {
		s.rules = usual()
	}
	h.state = server.State{
		Gate: h.gate(s, logger), Registry: registry.New(db, store, s.registry),
		Audit: h.audit.Reader(), Accounts: func(context.Context) ([]string, error) { return []string{"alice", "bob", "robot"}, nil }, Delete: !s.noDelete, Service: service, Realm: s.realm, Requests: true,
	}
	h.server, err = server.New(h.state, logger)
	must(t, err)
	h.http = httptest.NewUnstartedServer(h.server)
	h.http.Config.ReadHeaderTimeout, h.http.Config.MaxHeaderBytes = headerTime, maxHeader
	h.http.Config.ErrorLog = slog.NewLogLogger(logger.Handler(), slog.LevelDebug)
	h.http.Start()
	h.client = &http.Client{
		Transport:     &witness{house: h, next: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 100}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(func() {
		h.http.Close()
		h.closeAudit(s.fails)
		if err := db.Close(); err != nil && !s.fails {
			t.Error(err)
		}
		h.log.check(t, h.fails)
	})
	return h
}

// secret finds a password of a test, a token, or a refresh token.
var secret = regexp.MustCompile(`-Canary-|eyJ[\w-]+\.eyJ|ch_refresh_`)

// closeAudit ends the audit log and looks at all of it: S76 and S78.
func (h *house) closeAudit(fails bool) {
	h.t.Helper()
	if err := h.audit.Close(); err != nil && !fails {
		h.t.Error(err)
	}
	for e, err := range h.audit.Reader().Find(context.Background(), audit.Question{}) {
		if err != nil {
			if !fails {
				h.t.Error(err)
			}
			return
		}
		if text := encode(e); secret.Match(text) {
			h.t.Errorf("S76: the audit log has a secret: %s", text)
		}
	}
	if _, err := h.audit.Reader().Verify(context.Background(), ""); err != nil && !fails {
		h.t.Errorf("S78: %v", err)
	}
}

// gate builds the gate of a setup.
func (h *house) gate(s setup, logger *slog.Logger) *gate.Gate {
	h.t.Helper()
	if s.off {
		g, err := gate.New(gate.Options{Off: true, Audit: h.audit})
		must(h.t, err)
		return g
	}
	var users []customhouse.Account
	for name, hash := range hashes() {
		users = append(users, customhouse.Account{Name: name, Password: hash})
	}
	passwords := authn.NewPasswords(authn.PasswordOptions{})
	static, err := authn.NewStatic(users, passwords)
	must(h.t, err)
	chain, err := authn.NewChain(passwords, append([]authn.Authenticator{static}, s.sources...)...)
	must(h.t, err)
	rules, err := policy.Compile(s.rules, policy.Options{Sets: s.sets})
	must(h.t, err)
	g, err := gate.New(gate.Options{
		Chain: chain, Policy: authz.NewRules(rules), Issuer: "customhouse", Service: service, Keys: h.keys,
		Refresh: h.index, AllowBasic: !s.noBasic, Audit: h.audit, Trace: rules.Explain, Log: logger,
	})
	must(h.t, err)
	return g
}

// person is somebody who sends requests.
type person struct {
	*house
	auth string // the Authorization header; "" for none
}

// as returns an account that sends its password; "" is anonymous.
func (h *house) as(account string) person {
	if account == "" {
		return person{house: h}
	}
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(account, passwordOf(account))
	return person{h, r.Header.Get("Authorization")}
}

// with returns whoever has a token.
func (h *house) with(token string) person { return person{h, "Bearer " + token} }

// in returns the same person for a subtest.
func (p person) in(t testing.TB) person {
	h := *p.house
	h.t = t
	return person{&h, p.auth}
}

// token fetches a token for an account, as the token endpoint gives it.
func (h *house) token(account string, scopes ...string) string {
	h.t.Helper()
	path := "/token?service=" + service
	for _, s := range scopes {
		path += "&scope=" + s
	}
	var v struct{ Token string }
	h.as(account).get(path).want(http.StatusOK, "").into(&v)
	return v.Token
}

// answer is a whole response.
type answer struct {
	t      testing.TB
	what   string
	status int
	header http.Header
	body   []byte
}

// do sends a request. Headers are pairs of key and value.
func (p person) do(method, path string, body []byte, headers ...string) answer {
	p.t.Helper()
	r, err := http.NewRequest(method, p.http.URL+path, bytes.NewReader(body))
	must(p.t, err)
	if p.auth != "" {
		r.Header.Set("Authorization", p.auth)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
	}
	return p.send(r)
}

func (p person) send(r *http.Request) answer {
	p.t.Helper()
	resp, err := p.client.Do(r)
	must(p.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(p.t, err)
	what := r.Method + " " + r.URL.RequestURI()
	if len(what) > 300 {
		what = what[:300] + "..."
	}
	return answer{p.t, what, resp.StatusCode, resp.Header, body}
}

func (p person) get(path string, headers ...string) answer {
	p.t.Helper()
	return p.do("GET", path, nil, headers...)
}

func (p person) head(path string, headers ...string) answer {
	p.t.Helper()
	return p.do("HEAD", path, nil, headers...)
}

// code is the error code of an answer, "" for none.
func (a answer) code() string {
	var v struct{ Errors []struct{ Code string } }
	if json.Unmarshal(a.body, &v) != nil || len(v.Errors) == 0 {
		return ""
	}
	return v.Errors[0].Code
}

// want checks status and error code, "" being none or any that a HEAD does not show.
func (a answer) want(status int, code string) answer {
	a.t.Helper()
	if a.status != status || code != "" && a.code() != code {
		a.t.Fatalf("%s = %d %s, want %d %s\n%s", a.what, a.status, a.code(), status, code, clip(a.body))
	}
	return a
}

// wantHeader checks a header, "" being absent.
func (a answer) wantHeader(key, value string) answer {
	a.t.Helper()
	if got := strings.Join(a.header.Values(key), ", "); got != value {
		a.t.Errorf("%s: %s = %q, want %q", a.what, key, got, value)
	}
	return a
}

func (a answer) into(v any) answer {
	a.t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		a.t.Fatalf("%s: %v in %s", a.what, err, clip(a.body))
	}
	return a
}

func clip(b []byte) string { return string(b[:min(len(b), 500)]) }

// digestOf is the sha256 of content.
func digestOf[T ~string | ~[]byte](b T) string {
	return customhouse.DigestOf(customhouse.SHA256, []byte(b)).String()
}

// object is a JSON object.
type object = map[string]any

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func descriptor(mediaType string, content []byte) object {
	return object{"mediaType": mediaType, "digest": digestOf(content), "size": len(content)}
}

const (
	ociImage  = customhouse.MediaTypeImageManifest
	ociIndex  = customhouse.MediaTypeImageIndex
	ociConfig = "application/vnd.oci.image.config.v1+json"
	ociLayer  = "application/vnd.oci.image.layer.v1.tar"
)

// image is a manifest of one config and one layer, changed by change.
func image(config, layer []byte, change object) []byte {
	m := object{
		"schemaVersion": 2, "mediaType": ociImage, "config": descriptor(ociConfig, config),
		"layers": []any{descriptor(ociLayer, layer)},
	}
	for k, v := range change {
		if v == nil {
			delete(m, k)
		} else {
			m[k] = v
		}
	}
	return encode(m)
}

// pushBlob pushes content in one go.
func (p person) pushBlob(repo string, content []byte) string {
	p.t.Helper()
	d := digestOf(content)
	p.do("POST", "/v2/"+repo+"/blobs/uploads/?digest="+d, content).want(http.StatusCreated, "")
	return d
}

// putManifest pushes a manifest whose mediaType says what it is.
func (p person) putManifest(repo, ref string, manifest []byte) answer {
	p.t.Helper()
	var m struct{ MediaType string }
	_ = json.Unmarshal(manifest, &m)
	return p.do("PUT", "/v2/"+repo+"/manifests/"+ref, manifest, "Content-Type", m.MediaType)
}

// stored is an image in a repository.
type stored struct {
	repo, tag                   string
	config, layer, manifest     []byte
	configD, layerD, manifestDg string
}

// pushImage pushes an image made of text under a tag.
func (p person) pushImage(repo, tag, text string) stored {
	p.t.Helper()
	s := stored{repo: repo, tag: tag, config: []byte(`{"os":"linux","text":"` + text + `"}`), layer: []byte("layer of " + text)}
	s.configD, s.layerD = p.pushBlob(repo, s.config), p.pushBlob(repo, s.layer)
	s.manifest = image(s.config, s.layer, nil)
	s.manifestDg = digestOf(s.manifest)
	p.putManifest(repo, tag, s.manifest).want(http.StatusCreated, "")
	return s
}

// begin begins an upload and returns its path.
func (p person) begin(repo, query string) string {
	p.t.Helper()
	return p.do("POST", "/v2/"+repo+"/blobs/uploads/"+query, nil).want(http.StatusAccepted, "").header.Get("Location")
}

// witness looks at every answer of every test: S64, S75 and what else holds always.
type witness struct {
	house *house
	next  http.RoundTripper
}

func (w *witness) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		return nil, fmt.Errorf("body after %d bytes: %w", len(body), err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	w.check(r, resp, body)
	return resp, nil
}

// leaks are what no answer ever says.
var leaks = []string{"goroutine ", "sqlite", "SQLITE", "select ", "insert into", "/blobs/sha", "index.db", ".go:", "runtime error", "-Canary-"}

func (w *witness) check(r *http.Request, resp *http.Response, body []byte) {
	t, h := w.house.t, resp.Header
	if resp.StatusCode == http.StatusRequestHeaderFieldsTooLarge {
		return // net/http's own
	}
	what := r.Method + " " + clip([]byte(r.URL.RequestURI()))
	if d := h.Get("Docker-Content-Digest"); d != "" && r.Method == "GET" && resp.StatusCode == http.StatusOK {
		parsed, err := customhouse.ParseDigest(d)
		if err != nil || customhouse.DigestOf(parsed.Algorithm(), body) != parsed {
			t.Errorf("S64: %s: Docker-Content-Digest is not that of the body (%v)", what, err)
		}
	}
	if resp.StatusCode >= 400 {
		for _, leak := range append(leaks, w.house.dir) {
			if bytes.Contains(body, []byte(leak)) {
				t.Errorf("S75: %s says %q: %s", what, leak, clip(body))
			}
		}
	}
	if resp.StatusCode >= 500 && !w.house.fails {
		t.Errorf("%s = %d: %s", what, resp.StatusCode, clip(body))
	}
	if h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("S49: %s = %d without nosniff", what, resp.StatusCode)
	}
	if strings.Contains(h.Get("Content-Type"), "html") {
		t.Errorf("S49: %s is %s", what, h.Get("Content-Type"))
	}
	if r.URL.Path == "/v2/" || strings.HasPrefix(r.URL.Path, "/v2/") {
		if cache := h.Get("Cache-Control"); !strings.Contains(cache, "private") && cache != "no-store" {
			t.Errorf("S75: %s = %d with Cache-Control %q", what, resp.StatusCode, cache)
		}
		if resp.StatusCode < 300 && !strings.Contains(h.Get("Vary"), "Authorization") {
			t.Errorf("S75: %s = %d with Vary %q", what, resp.StatusCode, h.Get("Vary"))
		}
	}
	if resp.StatusCode >= 400 && r.Method != "HEAD" && resp.StatusCode != http.StatusPreconditionFailed {
		w.checkEnvelope(what, resp, body)
	}
}

// checkEnvelope checks the form of an error (OCI distribution-spec "Error Codes").
func (w *witness) checkEnvelope(what string, resp *http.Response, body []byte) {
	var v struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.Unmarshal(body, &v); err != nil || len(v.Errors) == 0 || v.Errors[0].Code == "" || v.Errors[0].Message == "" ||
		resp.Header.Get("Content-Type") != "application/json" {
		w.house.t.Errorf("%s = %d without an error envelope: %s", what, resp.StatusCode, clip(body))
	}
	if resp.StatusCode == http.StatusUnauthorized && resp.Header.Get("WWW-Authenticate") == "" {
		w.house.t.Errorf("%s = 401 without a challenge", what)
	}
	if resp.StatusCode == http.StatusMethodNotAllowed && resp.Header.Get("Allow") == "" {
		w.house.t.Errorf("%s = 405 without Allow", what)
	}
}

// logbook is the log of a house.
type logbook struct {
	mu    sync.Mutex
	lines [][]byte
}

// Write takes one line.
func (l *logbook) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, bytes.Clone(line))
	return len(line), nil
}

// contains tells whether a line has the text.
func (l *logbook) contains(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if bytes.Contains(line, []byte(text)) {
			return true
		}
	}
	return false
}

// check checks S76 and S77 for everything that a test has logged.
func (l *logbook) check(t testing.TB, fails bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		var v map[string]any
		if err := json.Unmarshal(line, &v); err != nil {
			t.Errorf("S77: log line is not a JSON object: %v: %q", err, line)
		}
		for _, c := range string(bytes.TrimSuffix(line, []byte("\n"))) {
			if c < 0x20 || c == 0x7f || c == 0x2028 || c == 0x2029 || c >= 0x80 && c < 0xa0 {
				t.Errorf("S77: log line has the raw character %U: %q", c, line)
			}
		}
		for key, field := range v {
			if s, ok := field.(string); ok && len(s) > 1100 && key != "stack" {
				t.Errorf("S77: log field %s has %d bytes", key, len(s))
			}
		}
		if secret.Match(line) {
			t.Errorf("S76: log line has a secret: %q", line)
		}
		if !fails && (v["msg"] == "panic" || v["level"] == "ERROR") {
			t.Errorf("log has an error: %s", line)
		}
	}
}
