package gate_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"customhouse"
	"customhouse/authz"
	"customhouse/gate"
	"customhouse/policy"
	"customhouse/token"
)

// foreign is another issuer: its authority for our service, and its public keys.
type foreign struct {
	*token.Authority
	keys *token.Keys
}

func newForeign(t testing.TB, issuer, audience string) foreign {
	t.Helper()
	key, err := token.Generate(token.ES256)
	must(t, err)
	keys, err := token.NewKeys(key)
	must(t, err)
	a, err := token.NewAuthority(issuer, audience, keys)
	must(t, err)
	return foreign{a, keys}
}

// trust returns trust in f by a file of its keys.
func (f foreign) trust(t testing.TB) *token.Trust {
	t.Helper()
	path := filepath.Join(t.TempDir(), "jwks.json")
	must(t, os.WriteFile(path, f.keys.JWKS(), 0o600))
	set, err := token.LoadKeySet(path)
	must(t, err)
	trust, err := token.NewTrust(token.TrustOptions{Issuer: f.Issuer(), Service: service, Keys: set})
	must(t, err)
	return trust
}

// token returns what f signs for account and scopes.
func (f foreign) token(t testing.TB, now time.Time, account string, labels map[string][]string, scopes ...string) customhouse.Credential {
	t.Helper()
	claims := token.Claims{Subject: account, IssuedAt: now, NotBefore: now, Expires: now.Add(time.Minute), Labels: labels}
	for _, s := range scopes {
		a, err := customhouse.ParseScope(s)
		must(t, err)
		claims.Access = append(claims.Access, a)
	}
	text, err := f.Sign(claims)
	must(t, err)
	c := nobody
	c.Scheme, c.Secret = customhouse.Bearer, customhouse.Secret(text)
	return c
}

// TestTrust admits by tokens of another issuer, with and without rules of our own.
func TestTrust(t *testing.T) {
	f := newForeign(t, "Auth Service", service)
	alone := newHouse(t, func(o *gate.Options) { o.Trust = []gate.Trust{{Trust: f.trust(t)}} })
	narrowed := newHouse(t, func(o *gate.Options) { o.Trust = []gate.Trust{{Trust: f.trust(t), Rules: true}} })
	short := func(scopes string) verdict {
		return verdict{customhouse.Unauthorized, gate.InsufficientScope, scopes}
	}
	denied := verdict{customhouse.Denied, "no challenge", ""}
	dev := map[string][]string{"group": {"dev"}}
	for _, tt := range []struct {
		name        string
		account     string
		labels      map[string][]string
		scopes      []string
		need        []gate.Need
		alone, both verdict
	}{
		{"login", "eve", nil, nil, nil, verdict{}, verdict{}},
		{"what the token says", "eve", nil, []string{"repository:eve/a:pull,push"}, []gate.Need{repo("eve/a", "push")}, verdict{}, verdict{}},
		{"a half of push", "eve", nil, []string{"repository:eve/a:pull,push"}, []gate.Need{repo("eve/a", "create")}, verdict{}, verdict{}},
		{"what rules do not allow", "eve", nil, []string{"repository:x/y:pull"}, []gate.Need{repo("x/y", "pull")}, verdict{}, denied},
		{"what neither allows", "eve", nil, nil, []gate.Need{repo("x/y", "pull")}, short("repository:x/y:pull"), denied},
		{"what rules alone allow", "eve", nil, nil, []gate.Need{repo("eve/a", "pull")}, short("repository:eve/a:pull"), short("repository:eve/a:pull")},
		{"another action", "eve", nil, []string{"repository:eve/a:pull"}, []gate.Need{repo("eve/a", "delete")}, short("repository:eve/a:delete"), short("repository:eve/a:delete")},
		{"another name", "eve", nil, []string{"repository:eve/a:pull"}, []gate.Need{repo("eve/a/b", "pull")}, short("repository:eve/a/b:pull"), short("repository:eve/a/b:pull")},
		{"a star is a word", "eve", nil, []string{"repository:eve/a:*"}, []gate.Need{repo("eve/a", "pull")}, short("repository:eve/a:pull"), short("repository:eve/a:pull")},
		{"nobody's token", "", nil, []string{"repository:public/a:pull"}, []gate.Need{repo("public/a", "pull")}, verdict{}, verdict{}},
		{"nobody's token elsewhere", "", nil, nil, []gate.Need{repo("public/a", "pull")}, short("repository:public/a:pull"), short("repository:public/a:pull")},
		{"labels of the issuer", "eve", dev, []string{"repository:team/a:pull"}, []gate.Need{repo("team/a", "pull")}, verdict{}, verdict{}},
		{"no labels of ours", "root", nil, []string{"repository:x/y:pull"}, []gate.Need{repo("x/y", "pull")}, verdict{}, denied},
		{"the catalog", "eve", nil, []string{"registry:catalog:*"}, []gate.Need{catalog}, verdict{}, verdict{}},
		{"the catalog without", "eve", nil, []string{"repository:eve/a:pull"}, []gate.Need{catalog}, short("registry:catalog:*"), short("registry:catalog:*")},
	} {
		for h, want := range map[*house]verdict{alone: tt.alone, narrowed: tt.both} {
			cred := f.token(t, h.now, tt.account, tt.labels, tt.scopes...)
			for range 2 { // the second is remembered
				if got := h.verdict(cred, tt.need...); got != want {
					t.Errorf("%s (rules: %v): Admit = %+v, want %+v", tt.name, h == narrowed, got, want)
				}
			}
		}
	}
	grant, err := alone.Admit(t.Context(), f.token(t, alone.now, "eve", nil, "repository:eve/a:pull"))
	must(t, err)
	if id := grant.Identity; id.Account != "eve" || id.Method != "trust:Auth Service" {
		t.Errorf("identity = %+v", id)
	}
	if alone.verdict(own("bob"), repo("x/y", "pull")) != denied {
		t.Errorf("our own accounts are not asked of the rules any more")
	}
}

// TestTrustCatalog: what a token of another issuer shows of the catalog is what it is for.
func TestTrustCatalog(t *testing.T) {
	f := newForeign(t, "Auth Service", service)
	for _, tt := range []struct {
		rules  bool
		scopes []string
		all    bool
		sees   map[string]bool
	}{
		{false, []string{"repository:eve/a:pull"}, false, map[string]bool{"eve/a": true, "eve/b": false, "public/a": false}},
		{false, []string{"registry:catalog:*"}, true, map[string]bool{"eve/a": true, "x/y": true}},
		{true, []string{"registry:catalog:*"}, false, map[string]bool{"eve/a": true, "public/a": true, "x/y": false}},
		{true, []string{"repository:eve/a:pull", "repository:x/y:pull"}, false, map[string]bool{"eve/a": true, "public/a": false, "x/y": false}},
	} {
		h := newHouse(t, func(o *gate.Options) { o.Trust = []gate.Trust{{Trust: f.trust(t), Rules: tt.rules}} })
		grant, err := h.Admit(t.Context(), f.token(t, h.now, "eve", nil, tt.scopes...))
		must(t, err)
		if all, err := grant.SeesAll(t.Context()); err != nil || all != tt.all {
			t.Errorf("%v, rules %v: SeesAll = %v, %v", tt.scopes, tt.rules, all, err)
		}
		for name, want := range tt.sees {
			r, err := customhouse.ParseRepo(name)
			must(t, err)
			if sees, _, err := grant.Sees(t.Context(), r); err != nil || sees != want {
				t.Errorf("%v, rules %v: Sees(%s) = %v, %v, want %v", tt.scopes, tt.rules, name, sees, err, want)
			}
		}
	}
}

// TestS25_Issuers lets no token of one issuer pass as that of another or as ours, and none for another service.
func TestS25_Issuers(t *testing.T) {
	a, b := newForeign(t, "a", service), newForeign(t, "b", service)
	h := newHouse(t, func(o *gate.Options) { o.Trust = []gate.Trust{{Trust: a.trust(t)}, {Trust: b.trust(t), Rules: true}} })
	invalid := verdict{customhouse.Unauthorized, gate.InvalidToken, "repository:x/y:pull"}
	asA, err := token.NewAuthority("a", service, b.keys) // b's key in a's name
	must(t, err)
	asUs, err := token.NewAuthority(h.options.Issuer, service, a.keys)
	must(t, err)
	usAsA, err := token.NewAuthority("a", service, h.options.Keys)
	must(t, err)
	elsewhere, err := token.NewAuthority("a", "other.example", a.keys)
	must(t, err)
	for name, f := range map[string]foreign{"b as a": {asA, b.keys}, "a as us": {asUs, a.keys}, "we as a": {usAsA, nil}, "a for another service": {elsewhere, a.keys}} {
		if got := h.verdict(f.token(t, h.now, "root", map[string][]string{"group": {"admin"}}, "repository:x/y:pull"), repo("x/y", "pull")); got != invalid {
			t.Errorf("%s: Admit = %+v, want %+v", name, got, invalid)
		}
	}
	if got := h.verdict(a.token(t, h.now, "eve", nil, "repository:x/y:pull"), repo("x/y", "pull")); got != (verdict{}) {
		t.Errorf("a: Admit = %+v", got)
	}
	if got := h.verdict(b.token(t, h.now, "eve", nil, "repository:x/y:pull"), repo("x/y", "pull")); got.Code != customhouse.Denied {
		t.Errorf("b, which rules narrow: Admit = %+v", got)
	}
}

// TestTrustReload: what was verified counts under the settings that hold, and not longer than the trust does.
func TestTrustReload(t *testing.T) {
	f := newForeign(t, "Auth Service", service)
	trust := f.trust(t)
	h := newHouse(t, func(o *gate.Options) { o.Trust = []gate.Trust{{Trust: trust}} })
	cred := f.token(t, h.now, "eve", nil, "repository:x/y:pull")
	need := repo("x/y", "pull")
	check := func(name string, want customhouse.Code) {
		t.Helper()
		if got := h.verdict(cred, need); got.Code != want {
			t.Fatalf("%s: Admit = %+v, want %q", name, got, want)
		}
	}
	check("trusted", "")
	h.rebuild(func(o *gate.Options) { o.Trust = []gate.Trust{{Trust: f.trust(t), Rules: true}} })
	check("narrowed", customhouse.Denied)
	h.rebuild(func(o *gate.Options) {
		p, err := policy.Compile([]policy.Rule{{Match: policy.Match{Account: policy.Values{"eve"}}, Actions: list{"pull"}}}, policy.Options{})
		must(t, err)
		o.Policy = authz.NewRules(p)
	})
	check("narrowed by other rules", "")
	h.now = h.now.Add(3 * time.Minute)
	check("expired", customhouse.Unauthorized)
	h.now = h.now.Add(-3 * time.Minute)
	check("trusted again", "")
	h.rebuild(func(o *gate.Options) { o.Trust = nil })
	check("no longer trusted", customhouse.Unauthorized)
}

// TestTrustOutage: where the keys cannot be had nobody is let in, nobody is told that their token is bad, and our own
// tokens are as good as ever.
func TestTrustOutage(t *testing.T) {
	f := newForeign(t, "Auth Service", service)
	var up atomic.Bool
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !up.Load() {
			w.WriteHeader(http.StatusBadGateway)
		}
		w.Write(f.keys.JWKS())
	}))
	defer site.Close()
	remote, err := token.NewRemote(site.URL, token.RemoteOptions{})
	must(t, err)
	trust, err := token.NewTrust(token.TrustOptions{Issuer: "Auth Service", Service: service, Remote: remote})
	must(t, err)
	h := newHouse(t, func(o *gate.Options) { o.Trust = []gate.Trust{{Trust: trust}} })
	cred := f.token(t, h.now, "eve", nil, "repository:x/y:pull")
	if got := h.verdict(cred, repo("x/y", "pull")); got.Code != customhouse.Unavailable {
		t.Fatalf("without keys: Admit = %+v, want UNAVAILABLE", got)
	}
	if got := h.verdict(bearer(h.issue(own("bob"), "repository:bob/a:pull")), repo("bob/a", "pull")); got != (verdict{}) {
		t.Fatalf("our own token: Admit = %+v", got)
	}
	garbage := nobody
	garbage.Scheme, garbage.Secret = customhouse.Bearer, "a.b.c"
	if got := h.verdict(garbage, repo("bob/a", "pull")); got.Error != gate.InvalidToken {
		t.Fatalf("garbage: Admit = %+v, want invalid_token", got)
	}
	up.Store(true)
	h.now = h.now.Add(11 * time.Second)
	if got := h.verdict(cred, repo("x/y", "pull")); got != (verdict{}) {
		t.Fatalf("with keys: Admit = %+v", got)
	}
}

// BenchmarkAdmitTrusted is what a request costs with a token of another issuer that is remembered.
func BenchmarkAdmitTrusted(b *testing.B) {
	f := newForeign(b, "Auth Service", service)
	h := newHouse(b, func(o *gate.Options) { o.Trust = []gate.Trust{{Trust: f.trust(b)}} })
	cred, need := f.token(b, h.now, "eve", nil, "repository:x/y:pull"), repo("x/y", "pull")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Admit(b.Context(), cred, need); err != nil {
			b.Fatal(err)
		}
	}
}
