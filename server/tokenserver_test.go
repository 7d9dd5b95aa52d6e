package server_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/authn"
	"customhouse/authz"
	"customhouse/gate"
	"customhouse/index"
	"customhouse/policy"
	"customhouse/server"
	"customhouse/token"
)

const issuer = `Acme "auth" server`

// authServer is a token service alone, with the endpoints of docker_auth. Everybody may do everything but nobody, who
// may pull, and bob, who may do nothing.
type authServer struct {
	t   testing.TB
	url string
	log *logbook
}

func newAuthServer(t testing.TB, change func(*gate.Options, *server.State)) *authServer {
	t.Helper()
	a := &authServer{t: t, log: &logbook{}}
	log := slog.New(slog.NewJSONHandler(a.log, nil))
	nobody, bob := "", "bob"
	policies, err := policy.CompileDockerAuth([]policy.Rule{
		{Match: policy.Match{Account: policy.Values{nobody}}, Actions: []customhouse.Action{customhouse.Pull}},
		{Match: policy.Match{Account: policy.Values{bob}}, Actions: []customhouse.Action{}},
		{Actions: []customhouse.Action{customhouse.All}},
	}, policy.DockerAuthOptions{})
	must(t, err)
	passwords := authn.NewPasswords(authn.PasswordOptions{})
	users, err := authn.NewStatic([]customhouse.Account{{Name: "admin", Password: hashes()["admin"]}, {Name: "bob", Password: hashes()["bob"]}},
		passwords, customhouse.Account{Name: "guest"})
	must(t, err)
	chain, err := authn.NewChain(passwords, users)
	must(t, err)
	key, err := token.Generate(token.ES256)
	must(t, err)
	keys, err := token.NewKeys(key)
	must(t, err)
	db, err := index.Open(t.Context(), t.TempDir()+"/index.db", index.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	o := gate.Options{
		Chain: chain, Policy: authz.NewRules(policies), Issuer: issuer, Service: "own", Services: []string{"*"}, Keys: keys,
		Refresh: db, NoAnonymous: true, AnswerInFull: true, Limits: gate.Limits{PerAccount: 5, PerClient: 5},
	}
	st := server.State{TokenServer: &server.TokenServer{Issuer: issuer}, Requests: true}
	if change != nil {
		change(&o, &st)
	}
	st.Gate, err = gate.New(o)
	must(t, err)
	s, err := server.New(st, log)
	must(t, err)
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	a.url = h.URL
	return a
}

// answer is what the server says.
type authAnswer struct {
	status int
	header http.Header
	body   string
	claims struct {
		Subject  string `json:"sub"`
		Issuer   string `json:"iss"`
		Audience string `json:"aud"`
		Access   json.RawMessage
	}
	refresh string
}

func (a *authServer) do(method, path, user, password, contentType, body string) authAnswer {
	a.t.Helper()
	r, err := http.NewRequestWithContext(a.t.Context(), method, a.url+path, strings.NewReader(body))
	must(a.t, err)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	if user != "" {
		r.SetBasicAuth(user, password)
	}
	return a.send(r)
}

func (a *authServer) send(r *http.Request) authAnswer {
	a.t.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(r)
	must(a.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	must(a.t, err)
	got := authAnswer{status: res.StatusCode, header: res.Header, body: strings.TrimSuffix(string(text), "\n")}
	if res.StatusCode == http.StatusOK && res.Header.Get("Content-Type") == "application/json" {
		var answer struct {
			Token        string
			AccessToken  string `json:"access_token"`
			ExpiresIn    int    `json:"expires_in"`
			IssuedAt     string `json:"issued_at"`
			RefreshToken string `json:"refresh_token"`
		}
		must(a.t, json.Unmarshal(text, &answer))
		if answer.Token == "" || answer.Token != answer.AccessToken || answer.ExpiresIn != 300 || answer.IssuedAt == "" {
			a.t.Errorf("answer = %s, want the token twice, expires_in and issued_at", text)
		}
		if got := res.Header.Get("Cache-Control"); got != "no-store" {
			a.t.Errorf("Cache-Control = %q, want no-store", got)
		}
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(answer.Token, ".")[1])
		must(a.t, err)
		must(a.t, json.Unmarshal(payload, &got.claims))
		got.refresh = answer.RefreshToken
	}
	return got
}

// scope asks as admin.
func (a *authServer) scope(query string) authAnswer {
	a.t.Helper()
	return a.do("GET", "/auth?service=s&"+query, "admin", passwordOf("admin"), "", "")
}

// The vectors of docker_auth for scopes, and what is done otherwise, each with the reason.
func TestS27_ScopesOfDockerAuth(t *testing.T) {
	a := newAuthServer(t, nil)
	access := func(typ, name, actions string) string {
		return fmt.Sprintf(`{"type":"%s","name":"%s","actions":[%s]}`, typ, name, actions)
	}
	many := strings.TrimSuffix(strings.Repeat("scope=repository:a:pull&", 21), "&")
	for name, tt := range map[string]struct {
		query string
		want  string // the access claim, or the text of a 400
	}{
		"none":                           {"", "[]"},
		"one":                            {"scope=repository:a/b:push,pull", "[" + access("repository", "a/b", `"pull","push"`) + "]"},
		"two parameters, in order":       {"scope=repository:b:pull&scope=repository:a:push", "[" + access("repository", "b", `"pull"`) + "," + access("repository", "a", `"push"`) + "]"},
		"two behind each other":          {"scope=repository:b:pull%20repository:a:push", "[" + access("repository", "b", `"pull"`) + "," + access("repository", "a", `"push"`) + "]"},
		"two with a plus":                {"scope=repository:b:pull+repository:a:push", "[" + access("repository", "b", `"pull"`) + "," + access("repository", "a", `"push"`) + "]"},
		"the same twice is not merged":   {"scope=repository:a:pull&scope=repository:a:pull", "[" + access("repository", "a", `"pull"`) + "," + access("repository", "a", `"pull"`) + "]"},
		"two spaces":                     {"scope=repository:a:pull++repository:b:pull", "Bad request: malformed scope request"},
		"space in front":                 {"scope=+repository:a:pull", "Bad request: malformed scope request"},
		"space behind":                   {"scope=repository:a:pull+", "Bad request: malformed scope request"},
		"empty first":                    {"scope=&scope=repository:a:pull", "[]"},
		"empty second":                   {"scope=repository:a:pull&scope=", "Bad request: malformed scope request"},
		"host and port":                  {"scope=repository:host:5000/a/b:pull", "[" + access("repository", "host:5000/a/b", `"pull"`) + "]"},
		"two parts":                      {"scope=repository:a", `Bad request: invalid scope: "repository:a"`},
		"five parts":                     {"scope=repository:a:b:c:pull", `Bad request: invalid scope: "repository:a:b:c:pull"`},
		"catalog":                        {"scope=registry:catalog:*", "[" + access("registry", "catalog", `"*"`) + "]"},
		"all actions are echoed, sorted": {"scope=repository:a:pull,frobnicate,*", "[" + access("repository", "a", `"*","frobnicate","pull"`) + "]"},
		"no action":                      {"scope=repository:a:", "[" + access("repository", "a", "") + "]"}, // docker_auth echoes one without a name
		"A3 class is kept":               {"scope=repository(plugin):a:pull", `[{"type":"repository","class":"plugin","name":"a","actions":["pull"]}]`},
		"A3 Repository is no epository":  {"scope=Repository:a:pull", `Bad request: invalid scope: "Repository:a:pull"`},
		"A3 my-type is no my":            {"scope=my-type:a:pull", `Bad request: invalid scope: "my-type:a:pull"`},
		"A3 junk before the type":        {"scope=REPOSITORYrepository:a:pull", `Bad request: invalid scope: "REPOSITORYrepository:a:pull"`},
		"A3 junk around the type":        {"scope=!!repository!!:a:pull", `Bad request: invalid scope: "!!repository!!:a:pull"`},
		"upper case":                     {"scope=REPO:a:pull", `Bad request: invalid scope: "REPO:a:pull"`},
		"S27 empty name":                 {"scope=repository::pull", `Bad request: invalid scope: "repository::pull"`},
		"S27 newline in the name":        {"scope=repository:alice/x%0a:pull", `Bad request: invalid scope: "repository:alice/x\n:pull"`},
		"S27 placeholder in the name":    {"scope=repository:${account}:pull", `Bad request: invalid scope: "repository:${account}:pull"`},
		"S27 dots in the name":           {"scope=repository:a/../b:pull", `Bad request: invalid scope: "repository:a/../b:pull"`},
		"A19 more than 20":               {many, "Bad request: more than 20 scopes"},
		"a query that cannot be read":    {"scope=%zz", "Bad request: invalid parameters in the URL"},
		"another type":                   {"scope=plugin:a:pull", "[" + access("plugin", "a", `"pull"`) + "]"},
	} {
		t.Run(name, func(t *testing.T) {
			got := a.scope(tt.query)
			text := got.body
			if got.status == http.StatusOK {
				text = string(got.claims.Access)
			}
			if ok := strings.HasPrefix(tt.want, "["); text != tt.want || ok != (got.status == 200) || !ok && got.status != 400 {
				t.Errorf("answer = %d %s, want %s", got.status, text, tt.want)
			}
		})
	}
}

// Who is asking, by every way that docker_auth knows, and by none other.
func TestS33_AccountsOfDockerAuth(t *testing.T) {
	a := newAuthServer(t, nil)
	form := "application/x-www-form-urlencoded"
	login := url.Values{"username": {"admin"}, "password": {passwordOf("admin")}, "service": {"s"}, "scope": {"repository:a:pull"}}.Encode()
	boundary := "multipart/form-data; boundary=x"
	parts := ""
	for key, value := range map[string]string{"username": "admin", "password": passwordOf("admin"), "service": "s"} {
		parts += "--x\r\nContent-Disposition: form-data; name=\"" + key + "\"\r\n\r\n" + value + "\r\n"
	}
	failed := "401 Auth failed."
	for name, tt := range map[string]struct {
		method, path, user, password, contentType, body string
		want                                            string // the subject of the token, or status and text
	}{
		"basic":                            {"GET", "/auth?service=s", "admin", passwordOf("admin"), "", "", "admin"},
		"basic at /auth/token":             {"GET", "/auth/token?service=s", "admin", passwordOf("admin"), "", "", "admin"},
		"wrong password":                   {"GET", "/auth?service=s", "admin", "wrong", "", "", failed},
		"unknown account":                  {"GET", "/auth?service=s", "eve", "wrong", "", "", failed},
		"empty password":                   {"GET", "/auth?service=s", "admin", "", "", "", failed},
		"account beside":                   {"GET", "/auth?service=s&account=admin", "admin", passwordOf("admin"), "", "", "admin"},
		"another account beside":           {"GET", "/auth?service=s&account=other", "admin", passwordOf("admin"), "", "", `400 Bad request: user and account are not the same ("admin" vs "other")`},
		"A6 account alone":                 {"GET", "/auth?service=s&account=admin", "", "", "", "", failed},
		"A5 account of an open user alone": {"GET", "/auth?service=s&account=guest", "", "", "", "", "guest"},
		"A5 open user with any password":   {"GET", "/auth?service=s", "guest", "whatever", "", "", "guest"},
		"nobody where nobody is let in":    {"GET", "/auth?service=s", "", "", "", "", failed},
		"form":                             {"POST", "/auth", "", "", form, login, "admin"},
		"form with account for username":   {"POST", "/auth", "", "", form, strings.Replace(login, "username=", "account=", 1), "admin"},
		"form in parts":                    {"POST", "/auth", "", "", boundary, parts + "--x--\r\n", "admin"},
		"form beside basic":                {"POST", "/auth", "bob", passwordOf("bob"), form, login, "bob"},
		"password in the URL":              {"POST", "/auth?" + login, "", "", form, "", failed},
		"form of a GET":                    {"GET", "/auth", "", "", form, login, failed},
		"JSON":                             {"POST", "/auth", "", "", "application/json", `{"username":"admin"}`, "415 Bad request: want a form"},
		"S31 large form":                   {"POST", "/auth", "", "", form, "scope=" + strings.Repeat("a", 65<<10), "413 Bad request: the form is larger than 65536 bytes"},
		"S31 large form in parts":          {"POST", "/auth", "", "", boundary, strings.Repeat(parts, 400) + "--x--\r\n", "413 Bad request: the form is larger than 65536 bytes"},
		"S31 PUT":                          {"PUT", "/auth?service=s", "admin", passwordOf("admin"), "", "", "405 Method not allowed"},
		"S31 DELETE":                       {"DELETE", "/auth?service=s", "admin", passwordOf("admin"), "", "", "405 Method not allowed"},
		"OPTIONS":                          {"OPTIONS", "/auth?service=s", "admin", passwordOf("admin"), "", "", "405 Method not allowed"},
		"a slash behind":                   {"GET", "/auth/", "admin", passwordOf("admin"), "", "", "404 Not found"},
		"elsewhere":                        {"GET", "/v2/", "admin", passwordOf("admin"), "", "", "404 Not found"},
		"the provider that is not there":   {"GET", "/google_auth", "", "", "", "", "404 Not found"},
		"our own token endpoint":           {"GET", "/token?service=s", "admin", passwordOf("admin"), "", "", "admin"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAuthServer(t, nil) // for each its own count of failures
			got := a.do(tt.method, tt.path, tt.user, tt.password, tt.contentType, tt.body)
			text := got.claims.Subject
			if got.status != http.StatusOK {
				text = fmt.Sprint(got.status, " ", got.body)
			}
			if text != tt.want {
				t.Errorf("answer = %s, want %s", text, tt.want)
			}
			if got.status == http.StatusUnauthorized {
				if challenge := got.header.Get("WWW-Authenticate"); challenge != `Basic realm="Acme \"auth\" server"` {
					t.Errorf("challenge = %s, want Basic with the issuer", challenge)
				}
			}
		})
	}
	for _, authorization := range []string{"Bearer x", "Basic ???", "Basic", "Digest x"} {
		r, err := http.NewRequest("GET", a.url+"/auth?service=s", nil)
		must(t, err)
		r.Header.Set("Authorization", authorization)
		if got := a.send(r); got.status != http.StatusUnauthorized && got.status != http.StatusBadRequest {
			t.Errorf("answer to %s = %d, want a refusal: it is not anonymous", authorization, got.status)
		}
	}
}

// What a token says.
func TestTokensOfDockerAuth(t *testing.T) {
	a := newAuthServer(t, func(o *gate.Options, _ *server.State) { o.NoAnonymous = false })
	for name, tt := range map[string]struct {
		path, user string
		want       [4]string // sub, iss, aud, access
	}{
		"the service that was asked for": {"/auth?service=Docker+registry&scope=repository:a:pull", "admin",
			[4]string{"admin", issuer, "Docker registry", `[{"type":"repository","name":"a","actions":["pull"]}]`}},
		"the first of two services": {"/auth?service=one&service=two", "admin", [4]string{"admin", issuer, "one", "[]"}},
		"what is denied stays, without actions": {"/auth?service=s&scope=repository:a:pull&scope=repository:b:push", "bob",
			[4]string{"bob", issuer, "s", `[{"type":"repository","name":"a","actions":[]},{"type":"repository","name":"b","actions":[]}]`}},
		"nobody": {"/auth?service=s&scope=repository:a:pull,push", "",
			[4]string{"", issuer, "s", `[{"type":"repository","name":"a","actions":["pull"]}]`}},
	} {
		t.Run(name, func(t *testing.T) {
			got := a.do("GET", tt.path, tt.user, passwordOf(tt.user), "", "")
			c := got.claims
			if diff := cmp.Diff(tt.want, [4]string{c.Subject, c.Issuer, c.Audience, string(c.Access)}); got.status != 200 || diff != "" {
				t.Errorf("%d %s, claims (-want +got):\n%s", got.status, got.body, diff)
			}
		})
	}
}

// docker_auth has no refresh tokens; clients that ask for one get one, and one that is wrong never becomes anonymous.
func TestS29_RefreshTokensOfATokenServer(t *testing.T) {
	a := newAuthServer(t, func(o *gate.Options, _ *server.State) { o.NoAnonymous = false })
	got := a.do("GET", "/auth?service=s&offline_token=true&client_id=docker", "admin", passwordOf("admin"), "", "")
	if got.status != 200 || got.refresh == "" {
		t.Fatalf("answer = %d %s, want a refresh token", got.status, got.body)
	}
	grant := func(refresh string) authAnswer {
		return a.do("POST", "/auth", "", "", "application/x-www-form-urlencoded", url.Values{
			"grant_type": {"refresh_token"}, "refresh_token": {refresh}, "service": {"s"}, "scope": {"repository:a:pull"}, "client_id": {"docker"},
		}.Encode())
	}
	if got := grant(got.refresh); got.status != 200 || got.claims.Subject != "admin" || !strings.Contains(string(got.claims.Access), `"pull"`) {
		t.Errorf("answer = %d %s, want a token for admin", got.status, got.body)
	}
	if got := grant("ch_refresh_wrong"); got.status != 400 || !strings.Contains(got.body, `"invalid_grant"`) {
		t.Errorf("answer = %d %s, want invalid_grant", got.status, got.body)
	}
	without := newAuthServer(t, func(o *gate.Options, _ *server.State) { o.Refresh = nil })
	got = without.do("GET", "/auth?service=s&offline_token=true", "admin", passwordOf("admin"), "", "")
	if got.status != 200 || got.refresh != "" {
		t.Errorf("answer without a place to keep refresh tokens = %d, refresh token %q, want none", got.status, got.refresh)
	}
}

func TestTokenServerPrefixAndIndex(t *testing.T) {
	a := newAuthServer(t, func(_ *gate.Options, st *server.State) {
		st.Prefix, st.Headers = "/svc", http.Header{"Strict-Transport-Security": {"max-age=63072000; includeSubDomains"}}
		st.TokenServer = &server.TokenServer{Issuer: "<b>Acme</b>"}
	})
	for path, want := range map[string]string{
		"/svc/":          "200 <h1>&lt;b&gt;Acme&lt;/b&gt;</h1>",
		"/svc/livez":     "200 ok",
		"/svc/readyz":    "200 ok",
		"/svc/auth/":     "404 Not found",
		"/svc/oidc_auth": "404 Not found",
	} {
		got := a.do("GET", path, "", "", "", "")
		if text := fmt.Sprint(got.status, " ", got.body); text != want {
			t.Errorf("GET %s = %s, want %s", path, text, want)
		}
		if got.header.Get("Strict-Transport-Security") == "" {
			t.Errorf("GET %s has no Strict-Transport-Security", path)
		}
	}
	if got := a.do("GET", "/svc/auth", "admin", passwordOf("admin"), "", ""); got.status != 200 {
		t.Errorf("GET /svc/auth = %d %s", got.status, got.body)
	}
	if got := a.do("GET", "/auth", "admin", passwordOf("admin"), "", ""); got.status != 404 {
		t.Errorf("GET /auth = %d, want 404 in front of the prefix", got.status)
	}
	if got := a.do("GET", "/svc/.well-known/jwks.json", "", "", "", ""); got.status != 200 || !strings.Contains(got.body, `"keys"`) {
		t.Errorf("GET the keys = %d %s", got.status, got.body)
	}
}

// The address of the client decides nothing that it can make up (docker_auth's real_ip_header was believed by everybody).
func TestS93_SpoofedAddressesAreOneClient(t *testing.T) {
	a := newAuthServer(t, func(_ *gate.Options, st *server.State) {
		st.Proxies = server.Proxies{Trusted: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Header: "X-Forwarded-For", Position: -1}
	})
	counts := map[int]int{}
	for i := range 100 {
		r, err := http.NewRequest("GET", a.url+"/auth?service=s", nil)
		must(t, err)
		r.Header.Set("X-Forwarded-For", fmt.Sprintf("10.1.2.%d", i))
		r.SetBasicAuth("admin", "wrong")
		counts[a.send(r).status]++
	}
	if counts[401] != 5 || counts[429] != 95 {
		t.Errorf("answers = %v, want five 401 and then 429", counts)
	}
}

// Behind a trusted proxy a request without an address is refused, as in docker_auth; none brings the server down.
func TestS60_TokenServerBehindProxy(t *testing.T) {
	for position, want := range map[int]int{-1: 200, 0: 200, 7: 400, -7: 400} {
		a := newAuthServer(t, func(_ *gate.Options, st *server.State) {
			st.Proxies = server.Proxies{Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Header: "X-Real-Ip", Position: position}
		})
		r, err := http.NewRequest("GET", a.url+"/auth?service=s", nil)
		must(t, err)
		r.SetBasicAuth("admin", passwordOf("admin"))
		if got := a.send(r); got.status != 400 || !strings.HasPrefix(got.body, "Bad request: the address of the client is missing") {
			t.Errorf("answer without the header = %d %s, want 400", got.status, got.body)
		}
		r.Header.Set("X-Real-Ip", "192.0.2.1")
		if got := a.send(r); got.status != want {
			t.Errorf("answer with position %d = %d %s, want %d", position, got.status, got.body, want)
		}
	}
}
