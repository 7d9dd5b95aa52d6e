package gate_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/authn"
	"customhouse/authz"
	"customhouse/gate"
	"customhouse/policy"
	"customhouse/token"
)

const service = "r.example"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// accounts is an authenticator in memory, with passwords in the clear.
type accounts struct {
	byName map[string]customhouse.Account
	sets   int64
	err    error
}

var (
	_ authn.Authenticator = (*accounts)(nil)
	_ authn.Directory     = (*accounts)(nil)
)

func (a *accounts) Name() string { return "accounts" }

func (a *accounts) Authenticate(ctx context.Context, cred customhouse.Credential) (customhouse.Identity, error) {
	id, err := a.Lookup(ctx, cred.Account)
	if err == nil && a.byName[cred.Account].Password != cred.Secret {
		return customhouse.Identity{}, authn.ErrWrongPassword
	}
	return id, err
}

func (a *accounts) Lookup(_ context.Context, name string) (customhouse.Identity, error) {
	have, ok := a.byName[name]
	switch {
	case a.err != nil:
		return customhouse.Identity{}, a.err
	case !ok:
		return customhouse.Identity{}, authn.ErrUnknownUser
	}
	return customhouse.Identity{Account: name, Labels: have.Labels, Method: a.Name(), Stamp: have.Created.String()}, nil
}

// set makes an account, or gives it another password and groups.
func (a *accounts) set(name, password string, groups ...string) {
	a.sets++
	a.byName[name] = customhouse.Account{
		Name: name, Password: customhouse.Secret(password), Labels: map[string][]string{"group": groups}, Created: time.Unix(a.sets, 0),
	}
}

// refreshes is a gate.RefreshStore in memory.
type refreshes struct {
	byHash map[[32]byte]customhouse.RefreshToken
	err    error
}

func (r *refreshes) PutRefresh(_ context.Context, t customhouse.RefreshToken) error {
	if r.err == nil {
		r.byHash[t.Hash] = t
	}
	return r.err
}

func (r *refreshes) Refresh(_ context.Context, hash [32]byte) (customhouse.RefreshToken, error) {
	if have, ok := r.byHash[hash]; ok || r.err != nil {
		return have, r.err
	}
	return customhouse.RefreshToken{}, fmt.Errorf("refresh token: %w", customhouse.ErrNotFound)
}

func (r *refreshes) RotateRefresh(_ context.Context, hash [32]byte, next customhouse.RefreshToken, at time.Time) error {
	old, ok := r.byHash[hash]
	if !ok || r.err != nil {
		return cmp.Or(r.err, customhouse.ErrNotFound)
	}
	if old.Rotated.IsZero() {
		old.Rotated = at
		r.byHash[hash] = old
	}
	r.byHash[next.Hash] = next
	return nil
}

func (r *refreshes) DeleteRefreshes(_ context.Context, family string) error {
	maps.DeleteFunc(r.byHash, func(_ [32]byte, t customhouse.RefreshToken) bool { return t.Family == family })
	return r.err
}

// house is a gate with its surroundings.
type house struct {
	*gate.Gate
	t         testing.TB
	options   gate.Options
	now       time.Time
	accounts  *accounts
	refreshes *refreshes
	outsider  *token.Authority // another authority with the same keys
}

type list = []customhouse.Action

// rules of the houses in these tests.
var rules = []policy.Rule{
	{Match: policy.Match{Labels: map[string]policy.Values{"group": {"admin"}}}, Actions: list{"*"}, Source: "c.yml:1"},
	{Match: policy.Match{Name: policy.Values{"public/**"}}, Actions: list{"pull"}, Source: "c.yml:2"},
	{Match: policy.Match{Account: policy.Values{"**"}, Name: policy.Values{"${account}/**"}}, Actions: list{"pull", "push", "delete"}, Source: "c.yml:3"},
	{Match: policy.Match{Labels: map[string]policy.Values{"group": {"dev"}}, Name: policy.Values{"team/**"}}, Actions: list{"pull", "create"}, Source: "c.yml:4"},
}

// newHouse returns a gate with these accounts: root (an admin), alice (a dev) and bob, whose passwords are their names
// and "-secret".
func newHouse(t testing.TB, change func(*gate.Options)) *house {
	t.Helper()
	h := &house{
		t: t, now: time.Now(), accounts: &accounts{byName: map[string]customhouse.Account{}},
		refreshes: &refreshes{byHash: map[[32]byte]customhouse.RefreshToken{}},
	}
	h.accounts.set("root", "root-secret", "admin")
	h.accounts.set("alice", "alice-secret", "dev")
	h.accounts.set("bob", "bob-secret")
	chain, err := authn.NewChain(authn.NewPasswords(authn.PasswordOptions{}), h.accounts)
	must(t, err)
	p, err := policy.Compile(rules, policy.Options{})
	must(t, err)
	key, err := token.Generate(token.ES256)
	must(t, err)
	keys, err := token.NewKeys(key)
	must(t, err)
	h.outsider, err = token.NewAuthority("https://r.example", "other.example", keys)
	must(t, err)
	h.options = gate.Options{
		Chain: chain, Policy: authz.NewRules(p), Issuer: "https://r.example", Service: service, Keys: keys, Refresh: h.refreshes, AllowBasic: true,
		Now: func() time.Time { return h.now },
	}
	if change != nil {
		change(&h.options)
	}
	h.Gate, err = gate.New(h.options)
	must(t, err)
	return h
}

// rebuild swaps the gate for one with changed options, as a reload does.
func (h *house) rebuild(change func(*gate.Options)) {
	h.t.Helper()
	h.options.Previous = h.Gate
	change(&h.options)
	var err error
	h.Gate, err = gate.New(h.options)
	must(h.t, err)
}

var nobody = customhouse.Credential{Client: netip.MustParseAddr("192.0.2.7")}

func basic(account, password string) customhouse.Credential {
	c := nobody
	c.Scheme, c.Account, c.Secret = customhouse.Basic, account, customhouse.Secret(password)
	return c
}

func bearer(t gate.Token) customhouse.Credential {
	c := nobody
	c.Scheme, c.Secret = customhouse.Bearer, t.Token
	return c
}

func own(account string) customhouse.Credential { return basic(account, account+"-secret") }

func repo(name string, actions ...customhouse.Action) gate.Need {
	return gate.Need{Access: customhouse.Access{Type: customhouse.TypeRepository, Name: name, Actions: actions}}
}

var catalog = gate.Need{Access: customhouse.Access{Type: customhouse.TypeRegistry, Name: customhouse.Catalog, Actions: list{customhouse.All}}}

// issue returns a token for scopes.
func (h *house) issue(cred customhouse.Credential, scopes ...string) gate.Token {
	h.t.Helper()
	tok, err := h.Issue(h.t.Context(), gate.TokenRequest{Credential: cred, Services: []string{service}, Scopes: scopes})
	if err != nil {
		h.t.Fatalf("Issue(%v) = %v", scopes, err)
	}
	return tok
}

// verdict is what a client sees of Admit.
type verdict struct {
	Code   customhouse.Code // "" is admitted
	Error  string           // of the challenge; "no challenge" without one
	Scopes string
}

func (h *house) verdict(cred customhouse.Credential, needs ...gate.Need) verdict {
	h.t.Helper()
	grant, err := h.Admit(h.t.Context(), cred, needs...)
	if err == nil {
		if grant.ID == "" || grant.Reason == "" {
			h.t.Fatalf("Admit = %+v, want an id and a reason", grant)
		}
		return verdict{}
	}
	var r *gate.Refusal
	var e *customhouse.Error
	if !errors.As(err, &r) || !errors.As(err, &e) || r.ID == "" || r.Reason == "" {
		h.t.Fatalf("Admit = %#v, want a Refusal with an id and a reason", err)
	}
	v := verdict{Code: e.Code, Error: "no challenge"}
	if r.Challenge != nil {
		v.Error = r.Challenge.Error
		var scopes []string
		for _, s := range r.Challenge.Scopes {
			scopes = append(scopes, s.String())
		}
		v.Scopes = strings.Join(scopes, " ")
	}
	return v
}

func TestAdmit(t *testing.T) {
	h := newHouse(t, nil)
	const unauthorized, denied = customhouse.Unauthorized, customhouse.Denied
	admitted := verdict{}
	forbidden := verdict{Code: denied, Error: "no challenge"}
	paper := func(cred customhouse.Credential, scopes ...string) customhouse.Credential {
		return bearer(h.issue(cred, scopes...))
	}
	for _, tt := range []struct {
		name  string
		cred  customhouse.Credential
		needs []gate.Need
		want  verdict
	}{
		{"ping without credential", nobody, nil, verdict{unauthorized, "", ""}},
		{"ping with password", own("bob"), nil, admitted},
		{"ping with token", paper(own("bob")), nil, admitted},
		{"ping with anonymous token", paper(nobody), nil, admitted},

		{"public pull by nobody", nobody, []gate.Need{repo("public/a", "pull")}, admitted},
		{"public pull by anonymous token", paper(nobody, "repository:public/a:pull"), []gate.Need{repo("public/a", "pull")}, admitted},
		{"public pull by a token for nothing", paper(nobody), []gate.Need{repo("public/a", "pull")}, verdict{unauthorized, gate.InsufficientScope, "repository:public/a:pull"}},
		{"public push by nobody", nobody, []gate.Need{repo("public/a", "pull", "push")}, verdict{unauthorized, "", "repository:public/a:pull,push"}},
		{"public push by anonymous token", paper(nobody, "repository:public/a:pull,push"), []gate.Need{repo("public/a", "pull", "push")}, verdict{unauthorized, gate.InsufficientScope, "repository:public/a:pull,push"}},
		{"public push by bob", own("bob"), []gate.Need{repo("public/a", "pull", "push")}, forbidden},
		{"private pull by nobody", nobody, []gate.Need{repo("bob/a", "pull")}, verdict{unauthorized, "", "repository:bob/a:pull"}},

		{"own push by password", own("bob"), []gate.Need{repo("bob/a", "pull", "push")}, admitted},
		{"own push by token", paper(own("bob"), "repository:bob/a:pull,push"), []gate.Need{repo("bob/a", "pull", "push")}, admitted},
		{"own update by push token", paper(own("bob"), "repository:bob/a:pull,push"), []gate.Need{repo("bob/a", "update")}, admitted},
		{"own push by pull token", paper(own("bob"), "repository:bob/a:pull"), []gate.Need{repo("bob/a", "pull", "push")}, verdict{unauthorized, gate.InsufficientScope, "repository:bob/a:pull,push"}},
		{"own update by pull token", paper(own("bob"), "repository:bob/a:pull"), []gate.Need{repo("bob/a", "pull", "update")}, verdict{unauthorized, gate.InsufficientScope, "repository:bob/a:pull,push"}},
		{"another repository by token", paper(own("bob"), "repository:bob/a:pull"), []gate.Need{repo("bob/b", "pull")}, verdict{unauthorized, gate.InsufficientScope, "repository:bob/b:pull"}},
		{"others' pull", own("bob"), []gate.Need{repo("alice/a", "pull")}, forbidden},
		{"others' pull by token", paper(own("bob"), "repository:alice/a:pull"), []gate.Need{repo("alice/a", "pull")}, forbidden},
		{"token for everything is cut", paper(own("bob"), "repository:public/a:*"), []gate.Need{repo("public/a", "push")}, forbidden},
		{"class of a plugin", paper(own("bob"), "repository(plugin):bob/a:pull"), []gate.Need{repo("bob/a", "pull")}, admitted},
		{"two needs", own("bob"), []gate.Need{repo("bob/a", "pull", "push"), repo("public/a", "pull")}, admitted},
		{"two needs of nobody", nobody, []gate.Need{repo("bob/a", "pull", "push"), repo("public/a", "pull")}, verdict{unauthorized, "", "repository:bob/a:pull,push repository:public/a:pull"}},
		{"a need without actions", own("root"), []gate.Need{repo("bob/a")}, forbidden},

		{"creator starts a push", own("alice"), []gate.Need{repo("team/a", "pull", "push")}, admitted},
		{"creator makes", own("alice"), []gate.Need{repo("team/a", "create")}, admitted},
		{"creator moves", own("alice"), []gate.Need{repo("team/a", "update")}, forbidden},
		{"creator moves by token", paper(own("alice"), "repository:team/a:pull,push"), []gate.Need{repo("team/a", "update")}, forbidden},

		{"catalog by nobody", nobody, []gate.Need{catalog}, verdict{unauthorized, "", "registry:catalog:*"}},
		{"catalog by bob", own("bob"), []gate.Need{catalog}, admitted},
		{"catalog by anonymous token", paper(nobody), []gate.Need{catalog}, admitted},
		{"another registry need", own("bob"), []gate.Need{{Access: customhouse.Access{Type: "registry", Name: "users", Actions: list{"*"}}}}, forbidden},

		{"wrong password", basic("bob", "x"), []gate.Need{repo("public/a", "pull")}, verdict{unauthorized, "", "repository:public/a:pull"}},
		{"no token at all", customhouse.Credential{Scheme: customhouse.Bearer, Secret: "x"}, []gate.Need{repo("public/a", "pull")}, verdict{unauthorized, gate.InvalidToken, "repository:public/a:pull"}},
		{"unknown scheme", customhouse.Credential{Scheme: 7}, nil, verdict{customhouse.Unavailable, "no challenge", ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := gocmp.Diff(tt.want, h.verdict(tt.cred, tt.needs...)); diff != "" {
				t.Fatalf("Admit (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRefusalTellsWhatTheCallerMayKnow(t *testing.T) {
	h := newHouse(t, nil)
	_, err := h.Admit(t.Context(), own("bob"), repo("team/a", "pull", "push"))
	var r *gate.Refusal
	if !errors.As(err, &r) {
		t.Fatalf("Admit = %v, want a Refusal", err)
	}
	want := "bob may not pull team/a: needs the label group=admin, or the label group=dev (decision " + r.ID + ")"
	if r.Err.Message != want || r.Identity.Account != "bob" || strings.Contains(r.Err.Error(), "rule") {
		t.Fatalf("Refusal = %q, want %q", r.Err.Message, want)
	}
	if r.Reason != "no rule matches" || r.Rule != "" {
		t.Fatalf("Refusal = %q, %q", r.Reason, r.Rule)
	}
	grant, err := h.Admit(t.Context(), own("bob"), repo("bob/a", "pull", "push"))
	if err != nil || grant.Rule != "c.yml:3" || grant.Identity.Account != "bob" {
		t.Fatalf("Admit = %+v, %v", grant, err)
	}
	seen := map[string]bool{}
	for range 1000 {
		grant, err := h.Admit(t.Context(), nobody, repo("public/a", "pull"))
		if err != nil || len(grant.ID) != 16 || seen[grant.ID] {
			t.Fatalf("Admit = id %q, %v", grant.ID, err)
		}
		seen[grant.ID] = true
	}
}

// Docker pushes again and again when an error has no text but the one that belongs to its code.
func TestUnauthorizedHasTextOfItsOwn(t *testing.T) {
	h := newHouse(t, nil)
	for _, need := range [][]gate.Need{nil, {repo("team/a", "pull")}} {
		_, err := h.Admit(t.Context(), nobody, need...)
		var r *gate.Refusal
		if !errors.As(err, &r) || r.Err.Message == "" || r.Err.Message == "authentication required" {
			t.Errorf("Admit = %v, want a Refusal with a text of its own", err)
		}
	}
}

func TestGrant(t *testing.T) {
	h := newHouse(t, nil)
	admit := func(cred customhouse.Credential, needs ...gate.Need) gate.Grant {
		t.Helper()
		g, err := h.Admit(t.Context(), cred, needs...)
		if err != nil {
			t.Fatalf("Admit = %v", err)
		}
		return g
	}
	is := func(yes bool, err error) bool {
		t.Helper()
		must(t, err)
		return yes
	}
	sees := func(g gate.Grant, name string) bool {
		t.Helper()
		r, err := customhouse.ParseRepo(name)
		must(t, err)
		yes, _, err := g.Sees(t.Context(), r)
		return is(yes, err)
	}
	seesAll := func(g gate.Grant) bool {
		t.Helper()
		return is(g.SeesAll(t.Context()))
	}
	g := admit(bearer(h.issue(own("bob"), "repository:bob/a:pull,push", "repository:public/a:pull")), repo("bob/a", "pull", "push"))
	for _, tt := range []struct {
		need gate.Need
		want bool
	}{
		{repo("bob/a", "create", "update"), true},
		{repo("public/a", "pull"), true},
		{repo("bob/a", "delete"), false}, // not in the token
		{repo("public/b", "pull"), false},
		{repo("alice/a", "pull"), false},
		{repo("bob/a"), false},
	} {
		if got := is(g.Allows(t.Context(), tt.need)); got != tt.want {
			t.Errorf("Allows(%v) = %v, want %v", tt.need, got, tt.want)
		}
	}
	if !sees(g, "bob/z") || !sees(g, "public/b") || sees(g, "alice/a") || seesAll(g) {
		t.Errorf("bob sees bob/z %v, public/b %v, alice/a %v, all %v", sees(g, "bob/z"), sees(g, "public/b"), sees(g, "alice/a"), seesAll(g))
	}
	if root := admit(own("root"), catalog); !seesAll(root) || !sees(root, "bob/a") {
		t.Errorf("root does not see everything")
	}
	if root := admit(bearer(h.issue(own("root"), "registry:catalog:*")), catalog); !seesAll(root) {
		t.Errorf("root with a token for the catalog does not see everything")
	}
	if root := admit(bearer(h.issue(own("root"))), catalog); seesAll(root) {
		t.Errorf("a token for nothing sees everything")
	}
}

func TestOff(t *testing.T) {
	g, err := gate.New(gate.Options{Off: true})
	if err != nil {
		t.Fatalf("New = %v", err)
	}
	grant, err := g.Admit(t.Context(), basic("x", "y"), repo("a", "delete"))
	must(t, err)
	allows, err := grant.Allows(t.Context(), catalog)
	must(t, err)
	all, err := grant.SeesAll(t.Context())
	must(t, err)
	one, _, err := grant.Sees(t.Context(), customhouse.Repo{})
	if err != nil || !allows || !all || !one || !grant.Identity.Anonymous() {
		t.Fatalf("Admit = %+v, which allows %v, all %v, one %v, %v", grant, allows, all, one, err)
	}
	if _, err := g.Issue(t.Context(), gate.TokenRequest{}); err == nil || g.JWKS() != nil {
		t.Fatalf("Issue = %v, JWKS = %q", err, g.JWKS())
	}
}

// broken is an authorizer that is down once it has been asked so often.
type broken struct {
	authz.Rules
	after int
	short bool // answers less than it was asked, where it were down otherwise
}

func (b *broken) Authorize(ctx context.Context, q policy.Query, actions []customhouse.Action) ([]policy.Decision, error) {
	decisions, err := b.Rules.Authorize(ctx, q, actions)
	if b.after--; b.after >= 0 {
		return decisions, err
	}
	if b.short {
		return decisions[1:], nil
	}
	return decisions, errors.New("dial tcp 10.0.0.9:5432: connection refused")
}

// TestS61AuthorizerOutage shows that whoever decides and cannot tell lets nobody in, neither with a token nor to one.
func TestS61AuthorizerOutage(t *testing.T) {
	for _, short := range []bool{false, true} {
		h := newHouse(t, nil)
		paper := bearer(h.issue(own("root"), "repository:public/a:pull,delete", "registry:catalog:*"))
		b := &broken{Rules: authz.NewRules(compile(t, rules)), short: short}
		h.rebuild(func(o *gate.Options) { o.Policy = b })
		unavailable := verdict{customhouse.Unavailable, "no challenge", ""}
		for name, cred := range map[string]customhouse.Credential{"nobody": nobody, "password": own("root"), "token": paper} {
			if got := h.verdict(cred, repo("public/a", "pull")); got != unavailable {
				t.Errorf("%s: Admit = %+v, want %+v", name, got, unavailable)
			}
		}
		_, err := h.Admit(t.Context(), own("root"), repo("public/a", "pull"))
		var r *gate.Refusal
		if !errors.As(err, &r) || r.RetryAfter == 0 || r.Err.Detail != nil || r.Err.Message != "what is allowed cannot be told at present" || r.Identity.Account != "root" {
			t.Errorf("Admit = %+v", err)
		}
		if tok, err := h.Issue(t.Context(), gate.TokenRequest{Credential: own("root"), Scopes: []string{"repository:a:pull"}}); !errors.As(err, &r) || r.Err.Code != customhouse.Unavailable {
			t.Errorf("Issue = %v, %v, want UNAVAILABLE", tok.Access, err)
		}
		b.after = 1
		g, err := h.Admit(t.Context(), paper, repo("public/a", "pull"))
		must(t, err)
		if yes, err := g.Allows(t.Context(), repo("public/a", "delete")); yes || !errors.As(err, &r) || r.Err.Code != customhouse.Unavailable {
			t.Errorf("Allows = %v, %v, want UNAVAILABLE", yes, err)
		}
		if yes, err := g.SeesAll(t.Context()); yes || !errors.As(err, &r) {
			t.Errorf("SeesAll = %v, %v, want UNAVAILABLE", yes, err)
		}
	}
}

// compile makes a policy of rules.
func compile(t testing.TB, rules []policy.Rule) *policy.Policy {
	t.Helper()
	p, err := policy.Compile(rules, policy.Options{})
	must(t, err)
	return p
}

func TestNewRefuses(t *testing.T) {
	h := newHouse(t, nil)
	for name, change := range map[string]func(*gate.Options){
		"S25 no service":  func(o *gate.Options) { o.Service = "" },
		"no issuer":       func(o *gate.Options) { o.Issuer = "" },
		"no keys":         func(o *gate.Options) { o.Keys = nil },
		"short tokens":    func(o *gate.Options) { o.AccessTTL = time.Second },
		"short refresh":   func(o *gate.Options) { o.RefreshTTL = time.Minute },
		"negative limits": func(o *gate.Options) { o.Limits.PerClient = -1 },
	} {
		o := h.options
		change(&o)
		if _, err := gate.New(o); err == nil {
			t.Errorf("New with %s = nil, want an error", name)
		}
	}
}

// TestS59_ExcessiveDecisionsAreTold: what is denied because there was too much to try is told, and nothing else.
func TestS59_ExcessiveDecisionsAreTold(t *testing.T) {
	told := 0
	h := newHouse(t, func(o *gate.Options) {
		o.Excessive = func() { told++ }
		o.Policy = excessive{}
	})
	_, err := h.Issue(t.Context(), gate.TokenRequest{Scopes: []string{"repository:a/app:pull,push"}})
	must(t, err)
	if told != 1 {
		t.Errorf("told of %d decisions, want 1", told)
	}
}

// excessive denies all, and pulls because there is too much to try.
type excessive struct{}

func (excessive) Authorize(_ context.Context, _ policy.Query, actions []customhouse.Action) ([]policy.Decision, error) {
	decisions := make([]policy.Decision, len(actions))
	for i, a := range actions {
		if decisions[i].Reason = "no"; a == customhouse.Pull {
			decisions[i].Reason = "rule 1: " + policy.Excessive
		}
	}
	return decisions, nil
}
