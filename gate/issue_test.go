package gate_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/authz"
	"customhouse/gate"
	"customhouse/policy"
	"customhouse/token"
)

func TestIssue(t *testing.T) {
	h := newHouse(t, nil)
	for _, tt := range []struct {
		name   string
		cred   customhouse.Credential
		scopes []string
		want   string
	}{
		{"login", own("bob"), nil, ""},
		{"anonymous", nobody, []string{"repository:public/a:pull,push"}, "repository:public/a:pull"},
		{"own", own("bob"), []string{"repository:bob/a:pull,push"}, "repository:bob/a:pull,push"},
		{"the order of the request", own("bob"), []string{"repository:bob/a:push,pull"}, "repository:bob/a:push,pull"},
		{"some of several", own("bob"), []string{"repository:bob/a:push,pull", "repository:alice/a:pull", "repository:public/x:pull"}, "repository:bob/a:push,pull repository:public/x:pull"},
		{"one resource twice", own("bob"), []string{"repository:bob/a:pull", "repository:bob/a:push,pull"}, "repository:bob/a:pull,push"},
		{"empty scopes say nothing", own("bob"), []string{"", "repository:bob/a:pull", ""}, "repository:bob/a:pull"},
		{"a half of push", own("alice"), []string{"repository:team/a:create,update,push"}, "repository:team/a:create,push"},
		{"star where a rule lists it", own("root"), []string{"repository:any:*"}, "repository:any:pull,push,delete,*"},
		{"S28 star where none does", own("bob"), []string{"repository:bob/a:*", "repository:public/a:*"}, "repository:bob/a:pull,push,delete repository:public/a:pull"},
		{"catalog", own("root"), []string{"registry:catalog:*"}, "registry:catalog:*"},
		{"S28 catalog of others", own("bob"), []string{"registry:catalog:*"}, ""},
		{"unknown types and actions", own("root"), []string{"artifact:a:pull", "repository:a:frobnicate,pull"}, "repository:a:pull"},
		{"class", own("bob"), []string{"repository(plugin):bob/a:pull"}, "repository(plugin):bob/a:pull"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tok := h.issue(tt.cred, tt.scopes...)
			if got := tok.Scope(); got != tt.want {
				t.Fatalf("Issue grants %q, want %q", got, tt.want)
			}
			if tok.ExpiresIn != 5*time.Minute || tok.IssuedAt.After(h.now) || tok.Identity.Account != tt.cred.Account || tok.RefreshToken != "" {
				t.Fatalf("Issue = %+v", tok)
			}
			if strings.Contains(fmt.Sprintf("%v %+v %#v", tok, tok, tok), string(tok.Token)) {
				t.Fatalf("a token prints itself")
			}
		})
	}
}

// The log tells what a token is not for, and which rule says so: with registries of others nobody else ever does.
func TestIssueTellsWhatIsDenied(t *testing.T) {
	h := newHouse(t, nil)
	for _, tt := range []struct {
		cred         customhouse.Credential
		scopes       []string
		reason, rule string // the rule: whether there is one
	}{
		{own("bob"), nil, "token without a scope", ""},
		{own("bob"), []string{"repository:bob/a:pull,push"}, "token for repository:bob/a:pull,push", ""},
		{nobody, []string{"repository:public/a:pull,push"}, "token for repository:public/a:pull; not repository:public/a:push: ", "a rule"},
		{own("bob"), []string{"repository:alice/a:pull", "registry:catalog:*"}, "token without a scope; not repository:alice/a:pull: ", ""},
	} {
		tok := h.issue(tt.cred, tt.scopes...)
		got, more := strings.CutPrefix(tok.Reason(), tt.reason)
		if !more || (got != "") != strings.HasSuffix(tt.reason, ": ") {
			t.Errorf("Reason of %s for %v = %q, want %q and why", tt.cred.Account, tt.scopes, tok.Reason(), tt.reason)
		}
		if tt.rule != "" && tok.Denied.Rule == "" {
			t.Errorf("what %s is denied of %v names no rule", tt.cred.Account, tt.scopes)
		}
	}
}

func TestIssueRefuses(t *testing.T) {
	h := newHouse(t, func(o *gate.Options) { o.Limits = gate.Limits{} })
	many := slices.Repeat([]string{"repository:a:pull"}, gate.MaxScopes+1)
	for _, tt := range []struct {
		name    string
		request gate.TokenRequest
		want    string // of an OAuthError, or the code of a Refusal
	}{
		{"another service", gate.TokenRequest{Credential: own("bob"), Services: []string{"other"}}, gate.InvalidRequest},
		{"S31 too many scopes", gate.TokenRequest{Credential: own("bob"), Scopes: many}, gate.InvalidRequest},
		{"malformed scope", gate.TokenRequest{Credential: own("bob"), Scopes: []string{"x"}}, gate.InvalidScope},
		{"malformed scope of nobody", gate.TokenRequest{Scopes: []string{"repository:A:pull"}}, gate.InvalidScope},
		{"an account without a password", gate.TokenRequest{Account: "bob"}, "UNAUTHORIZED"},
		{"another account", gate.TokenRequest{Credential: own("bob"), Account: "root"}, "UNAUTHORIZED"},
		{"wrong password", gate.TokenRequest{Credential: basic("bob", "x")}, "UNAUTHORIZED"},
		{"unknown account", gate.TokenRequest{Credential: basic("eve", "x")}, "UNAUTHORIZED"},
		{"a token for a token", gate.TokenRequest{Credential: customhouse.Credential{Scheme: customhouse.Bearer, Secret: "x"}}, gate.InvalidRequest},
		{"password grant without", gate.TokenRequest{GrantType: gate.GrantPassword}, gate.InvalidRequest},
		{"refresh grant without", gate.TokenRequest{GrantType: gate.GrantRefresh}, gate.InvalidRequest},
		{"refresh grant with anything", gate.TokenRequest{GrantType: gate.GrantRefresh, RefreshToken: "ch_refresh_x"}, gate.InvalidGrant},
		{"other grants", gate.TokenRequest{GrantType: "authorization_code"}, gate.UnsupportedGrantType},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tok, err := h.Issue(t.Context(), tt.request)
			var wrong *gate.OAuthError
			var refusal *gate.Refusal
			switch {
			case errors.As(err, &wrong) && wrong.Code == tt.want:
			case errors.As(err, &refusal) && string(refusal.Err.Code) == tt.want && refusal.Challenge == nil:
			default:
				t.Fatalf("Issue = %+v, %v, want %s", tok, err, tt.want)
			}
		})
	}
}

// TestS25Services asks for tokens for other services than our own: which are issued, and that none of them opens this one.
func TestS25Services(t *testing.T) {
	list := func(s ...string) []string { return s }
	other := "other"
	for _, tt := range []struct {
		name     string
		services []string // that are configured
		asked    []string
		want     []string // nil is refused
	}{
		{"none asked", nil, nil, list(service)},
		{"an empty one", nil, list(""), list(service)},
		{"ours", list("other"), list(service), list(service)},
		{"not configured", nil, list("other"), nil},
		{"another than configured", list("other"), list("third"), nil},
		{"configured", list("other", "third"), list("third"), list("third")},
		{"several", list("other", "third"), list("third", service), list("third", service)},
		{"one of several not configured", list("other"), list("other", "third"), nil},
		{"any", list("*"), list("Docker registry"), list("Docker registry")},
		{"a star is no service", list("other"), list("*"), nil},
		{"any, with a newline", list("*"), list("a\nb"), nil},
		{"any, too long", list("*"), list(strings.Repeat("a", 256)), nil},
		{"twice", list("*"), list("a", "a"), nil},
		{"too many", list("*"), list("a", "b", "c", "d", "e", "f", "g", "h", "i"), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, func(o *gate.Options) { o.Services = tt.services })
			tok, err := h.Issue(t.Context(), gate.TokenRequest{Credential: own("bob"), Services: tt.asked, Scopes: []string{"repository:bob/a:pull"}})
			var wrong *gate.OAuthError
			if tt.want == nil {
				if !errors.As(err, &wrong) || wrong.Code != gate.InvalidRequest {
					t.Fatalf("Issue = %v, %v, want invalid_request", tok.Access, err)
				}
				return
			}
			must(t, err)
			for _, name := range append(tt.want, "elsewhere") {
				a, err := token.NewAuthority(h.options.Issuer, name, h.options.Keys)
				must(t, err)
				if _, err := a.Verify(string(tok.Token), h.now); (err == nil) != slices.Contains(tt.want, name) {
					t.Errorf("Verify by %q = %v", name, err)
				}
			}
			want := verdict{}
			if !slices.Contains(tt.want, service) {
				want = verdict{customhouse.Unauthorized, gate.InvalidToken, "repository:bob/a:pull"}
			}
			if got := h.verdict(bearer(tok), repo("bob/a", "pull")); got != want {
				t.Errorf("Admit = %+v, want %+v", got, want)
			}
		})
	}

	// The rules are asked for the service that the token is for, and for each of them.
	h := newHouse(t, func(o *gate.Options) {
		p, err := policy.Compile([]policy.Rule{
			{Match: policy.Match{Service: policy.Values{other}}, Actions: []customhouse.Action{"pull"}},
			{Match: policy.Match{}, Actions: []customhouse.Action{"pull", "push"}},
		}, policy.Options{})
		must(t, err)
		o.Policy, o.Services = authz.NewRules(p), []string{"*"}
	})
	for _, tt := range []struct{ services, want string }{
		{"", "pull,push"}, {other, "pull"}, {"third", "pull,push"}, {"third " + other, "pull"}, {other + " third", "pull"},
	} {
		tok, err := h.Issue(t.Context(), gate.TokenRequest{Credential: own("bob"), Services: strings.Fields(tt.services), Scopes: []string{"repository:a:pull,push"}})
		if err != nil || tok.Scope() != "repository:a:"+tt.want {
			t.Errorf("Issue for %q = %q, %v, want %s", tt.services, tok.Scope(), err, tt.want)
		}
	}

	// A refresh token is for the service that it was issued for.
	offline := gate.TokenRequest{Credential: own("bob"), Offline: true, Services: []string{other}}
	tok, err := h.Issue(t.Context(), offline)
	must(t, err)
	for _, services := range [][]string{nil, {service}, {"third"}, {other, "third"}} {
		if _, err := h.Issue(t.Context(), gate.TokenRequest{GrantType: gate.GrantRefresh, RefreshToken: tok.RefreshToken, Services: services}); err == nil {
			t.Errorf("a refresh token for %s is good for %v", other, services)
		}
	}
	if _, err := h.Issue(t.Context(), gate.TokenRequest{GrantType: gate.GrantRefresh, RefreshToken: tok.RefreshToken, Services: []string{other}}); err != nil {
		t.Errorf("Issue for a refresh token = %v", err)
	}
	offline.Services = []string{other, service}
	if tok, err = h.Issue(t.Context(), offline); err != nil || tok.RefreshToken != "" {
		t.Errorf("Issue for two services = %v, and a refresh token", err)
	}
}

// TestS26LeastGrant compares random tokens with what the policy says about each action.
func TestS26LeastGrant(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 6))
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	var h *house
	var p *policy.Policy
	for i := range 10_000 {
		if i%50 == 0 { // another policy
			var random []policy.Rule
			for range 1 + r.IntN(5) {
				rule := policy.Rule{Effect: pick("allow", "allow", "deny"), Actions: list{}}
				if r.IntN(2) == 0 {
					rule.Match.Account = policy.Values{pick("", "bob", "alice", "**")}
				}
				if r.IntN(2) == 0 {
					rule.Match.Name = policy.Values{pick("a", "b/*", "**", "${account}", "[ab]", "catalog")}
				}
				for range r.IntN(4) {
					rule.Actions = append(rule.Actions, customhouse.Action(pick("pull", "push", "create", "update", "delete", "*")))
				}
				random = append(random, rule)
			}
			var err error
			p, err = policy.Compile(random, policy.Options{})
			must(t, err)
			if h == nil {
				h = newHouse(t, nil)
			}
			h.rebuild(func(o *gate.Options) { o.Policy = authz.NewRules(p) })
		}
		cred := []customhouse.Credential{nobody, own("bob"), own("alice")}[r.IntN(3)]
		var scopes []string
		for range r.IntN(4) {
			var actions []string
			for range 1 + r.IntN(3) {
				actions = append(actions, pick("pull", "push", "create", "update", "delete", "*", "other"))
			}
			scopes = append(scopes, pick("repository", "repository", "registry", "artifact")+":"+pick("a", "b/c", "bob", "catalog")+":"+strings.Join(actions, ","))
		}
		tok := h.issue(cred, scopes...)

		// The reference: the set of everything asked for, asked one by one.
		want := map[string]bool{}
		for _, s := range scopes {
			part := strings.Split(s, ":")
			if part[0] == "artifact" {
				continue
			}
			asked := strings.Split(part[2], ",")
			if part[0] == "repository" && slices.Contains(asked, "*") {
				asked = append(asked, "pull", "push", "delete")
			}
			for _, a := range asked {
				q := policy.Query{Identity: tok.Identity, Client: nobody.Client, Service: service, Type: part[0], Name: part[1], Action: customhouse.Action(a)}
				if p.Decide(q).Allowed {
					want[part[0]+":"+part[1]+":"+a] = true
				}
			}
		}
		got := map[string]bool{}
		claims, err := h.claims(tok)
		must(t, err)
		for _, a := range claims.Access {
			for _, action := range a.Actions {
				got[a.Type+":"+a.Name+":"+string(action)] = true
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("Issue(%v) (-want +got):\n%s", scopes, diff)
		}
	}
}

// claims reads a token as another verifier with the same keys would.
func (h *house) claims(tok gate.Token) (token.Claims, error) {
	a, err := token.NewAuthority(h.options.Issuer, h.options.Service, h.options.Keys)
	must(h.t, err)
	return a.Verify(string(tok.Token), h.now)
}

// TestS27ScopeGrammar asks for scopes that are none, as somebody who may do everything.
func TestS27ScopeGrammar(t *testing.T) {
	h := newHouse(t, nil)
	var bad []string
	for _, name := range []string{
		"../a", "a/../b", "a//b", "/a", "a/", "%2e%2e/a", "a%2fb", "a\x00", "a\n", " a", "a ", "*", "a/*", "**", "A", "a/B", "a.", ".a", "a..b", "a___b",
		"-a", "a-", "_a", "é", "а", "", "a:b:c:d", "[a]", "a?b", "a#b", "a@sha256", "${account}", strings.Repeat("a", 256), strings.Repeat("a/", 200) + "a",
		"host:port/a", "host:5000:1/a", "ho st:5000/a", ":5000/a", "a\\b", "a\tb", "a\u202eb", "a,b",
	} {
		bad = append(bad, "repository:"+name+":pull")
	}
	for _, typ := range []string{
		"REPOSITORYrepository", "!!repository!!", "Repository", "repository ", " repository", "repository\n", "re-pository", "repository(", "repository()",
		"repository(plugin", "repository(Plugin)", "repository(plug-in)", "repository(plugin)x", "(plugin)repository", "repository((plugin))", "",
	} {
		bad = append(bad, typ+":a:pull")
	}
	for _, actions := range []string{"Pull", "pull ", " pull", "pull,,push", ",pull", "pull,", "pull;push", "pull push", "pull\n", "**", "pu*", "pull/push", "püll"} {
		bad = append(bad, "repository:a:"+actions)
	}
	bad = append(bad, "repository", "repository:", ":", "::", "a", "repository:a", "pull", ":::", "repository::pull", "::pull", "a:b", "\x00", "repository:a:pull\x00",
		"registry:../catalog:*", "registry:CATALOG:*", "registry:catalog\n:*", "registry::*", "registry:catalog:**", "repository:a:pull:x!", "repository:a:b:c:pull",
		"repository\x00:a:pull", "repository:a:\x00", "repository:a\u00a0:pull", "repository:a：pull", "ｒepository:a:pull", "repository:a/.:pull", "repository:a/./b:pull", "repository:~a:pull", "repository:a+b:pull", "repository:a=b:pull", "repository:(a):pull")
	if len(bad) < 100 {
		t.Fatalf("%d forms, want at least 100", len(bad))
	}
	for _, s := range bad {
		tok, err := h.Issue(t.Context(), gate.TokenRequest{Credential: own("root"), Scopes: []string{s}})
		var wrong *gate.OAuthError
		if err == nil && len(tok.Access) > 0 || err != nil && !errors.As(err, &wrong) {
			t.Errorf("Issue(%q) = %v, %v", s, tok.Access, err)
		}
	}
}

// TestS28ActionsOfTokens tries each token at each action of a repository of which everything is allowed.
func TestS28ActionsOfTokens(t *testing.T) {
	h := newHouse(t, nil)
	carries := map[string]string{
		"pull": "pull", "push": "push create update", "create": "push create", "update": "push update", "delete": "delete",
		"*": "pull push create update delete *",
	}
	for scope, actions := range carries {
		cred := bearer(h.issue(own("root"), "repository:x/y:"+scope))
		for _, action := range []string{"pull", "push", "create", "update", "delete", "*"} {
			want := verdict{}
			if !slices.Contains(strings.Fields(actions), action) {
				challenged := action
				if action == "create" || action == "update" {
					challenged = "push"
				}
				want = verdict{customhouse.Unauthorized, gate.InsufficientScope, "repository:x/y:" + challenged}
			}
			if got := h.verdict(cred, repo("x/y", customhouse.Action(action))); got != want {
				t.Errorf("a token for %s at %s = %+v, want %+v", scope, action, got, want)
			}
		}
	}
}

// refreshed exchanges a refresh token.
func (h *house) refreshed(refresh customhouse.Secret, client string, scopes ...string) (gate.Token, error) {
	return h.Issue(h.t.Context(), gate.TokenRequest{GrantType: gate.GrantRefresh, RefreshToken: refresh, ClientID: client, Scopes: scopes, Credential: nobody})
}

// TestS29RefreshTokens follows a refresh token through its life.
func TestS29RefreshTokens(t *testing.T) {
	h := newHouse(t, nil)
	offline := func(account, grantType, client string) customhouse.Secret {
		t.Helper()
		tok, err := h.Issue(t.Context(), gate.TokenRequest{Credential: own(account), Offline: true, GrantType: grantType, ClientID: client})
		if err != nil || !strings.HasPrefix(string(tok.RefreshToken), "ch_refresh_") {
			t.Fatalf("Issue = %q, %v, want a refresh token", string(tok.RefreshToken), err)
		}
		return tok.RefreshToken
	}
	invalid := func(name string, refresh customhouse.Secret, client string) {
		t.Helper()
		_, err := h.refreshed(refresh, client)
		var wrong *gate.OAuthError
		if !errors.As(err, &wrong) || wrong.Code != gate.InvalidGrant {
			t.Fatalf("%s: Issue = %v, want invalid_grant", name, err)
		}
	}

	if tok := h.issue(own("alice")); tok.RefreshToken != "" {
		t.Fatalf("a refresh token without a wish for one")
	}
	if tok, err := h.Issue(t.Context(), gate.TokenRequest{Offline: true}); err != nil || tok.RefreshToken != "" {
		t.Fatalf("Issue for nobody = a refresh token, %v", err)
	}

	refresh := offline("alice", "", "docker")
	for hash, kept := range h.refreshes.byHash {
		if strings.Contains(fmt.Sprint(hash, kept), string(refresh)) || kept.Identity.Account != "alice" || kept.ClientID != "" {
			t.Fatalf("kept %+v", kept)
		}
	}
	for range 1000 { // never more than the policy allows
		tok, err := h.refreshed(refresh, "another client", "repository:team/a:pull,push,delete", "repository:bob/a:pull", "repository:team/a:*")
		if err != nil || tok.Scope() != "repository:team/a:pull,push" || tok.Identity.Account != "alice" || tok.RefreshToken != "" {
			t.Fatalf("Issue = %q, %v", tok.Scope(), err)
		}
	}
	h.accounts.byName["alice"] = func(a customhouse.Account) customhouse.Account { a.Labels = nil; return a }(h.accounts.byName["alice"])
	if tok, err := h.refreshed(refresh, "", "repository:team/a:pull"); err != nil || tok.Scope() != "" {
		t.Fatalf("Issue after leaving the group = %q, %v", tok.Scope(), err)
	}

	bound := offline("alice", gate.GrantPassword, "ci")
	invalid("another client", bound, "docker")
	if _, err := h.refreshed(bound, "ci"); err != nil {
		t.Fatalf("Issue for its own client = %v", err)
	}
	invalid("guessed", bound[:len(bound)-1]+"-", "ci") // 32 bytes never end in "-"

	h.refreshes.err = errors.New("disk on fire")
	var refusal *gate.Refusal
	if _, err := h.refreshed(refresh, ""); !errors.As(err, &refusal) || refusal.Err.Code != customhouse.Unavailable {
		t.Fatalf("Issue with a broken store = %v, want UNAVAILABLE", err)
	}
	h.refreshes.err = nil

	h.accounts.set("alice", "alice-secret", "dev") // another hash: another credential
	invalid("after a new password", refresh, "")
	invalid("after a new password", bound, "ci")
	refresh = offline("alice", "", "")
	delete(h.accounts.byName, "alice")
	invalid("account removed", refresh, "")
	if len(h.refreshes.byHash) != 0 {
		t.Fatalf("%d refresh tokens that are good for nothing are kept", len(h.refreshes.byHash))
	}

	refresh = offline("bob", "", "")
	other := newHouse(t, func(o *gate.Options) { o.Service = "other.example"; o.Refresh = h.refreshes; o.Chain = h.options.Chain })
	if _, err := other.refreshed(refresh, ""); err == nil {
		t.Fatalf("a refresh token for one service is good for another")
	}
	h.now = h.now.Add(gate.DefaultRefreshTTL - time.Second)
	if _, err := h.refreshed(refresh, ""); err != nil {
		t.Fatalf("Issue before expiry = %v", err)
	}
	h.now = h.now.Add(time.Second)
	invalid("expired", refresh, "")
}

// TestVerbatim answers scopes as docker_auth does with its dialect.
func TestVerbatim(t *testing.T) {
	h := newHouse(t, func(o *gate.Options) {
		p, err := policy.CompileDockerAuth([]policy.Rule{
			{Match: policy.Match{Name: policy.Values{"/^all/"}}, Actions: list{"*"}},
			{Match: policy.Match{Name: policy.Values{"some"}}, Actions: list{"push", "pull"}},
			{Match: policy.Match{Name: policy.Values{"none"}}, Actions: list{}},
		}, policy.DockerAuthOptions{})
		must(t, err)
		o.Policy, o.Verbatim = authz.NewRules(p), true
	})
	tok, err := h.Issue(t.Context(), gate.TokenRequest{Credential: own("bob"), Scopes: []string{
		"repository:all/x:push,frobnicate,pull", "thing:all/y:*", "repository:some:*,pull", "repository:none:pull",
		"repository:nobody:pull", "registry:catalog:*", "repository:some:push", "repository:some:pull",
	}})
	must(t, err)
	want := []customhouse.Access{
		repo("all/x", "frobnicate", "pull", "push").Access, {Type: "thing", Name: "all/y", Actions: list{"*"}}, repo("some", "pull").Access,
		{Type: "repository", Name: "none", Actions: list{}}, {Type: "repository", Name: "nobody", Actions: list{}},
		{Type: "registry", Name: "catalog", Actions: list{}}, repo("some", "push").Access, repo("some", "pull").Access,
	}
	if diff := cmp.Diff(want, tok.Access); diff != "" {
		t.Errorf("Issue (-want +got):\n%s", diff)
	}
	if got, want := tok.Scope(), "repository:all/x:frobnicate,pull,push thing:all/y:* repository:some:pull repository:some:push repository:some:pull"; got != want {
		t.Errorf("Scope = %q, want %q", got, want)
	}
}

// BenchmarkIssue is what a token costs without a password to hash.
func BenchmarkIssue(b *testing.B) {
	h := newHouse(b, nil)
	for name, cred := range map[string]customhouse.Credential{"anonymous": nobody, "remembered password": own("alice")} {
		b.Run(name, func(b *testing.B) {
			r := gate.TokenRequest{Credential: cred, Services: []string{service}, Scopes: []string{"repository:public/a:pull,push"}}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := h.Issue(b.Context(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Where nobody is let in without an account, the policy is not asked: neither for a token, nor with one that was issued
// when others were let in.
func TestNoAnonymous(t *testing.T) {
	h := newHouse(t, nil)
	paper := h.issue(nobody, "repository:public/a:pull")
	need := repo("public/a", "pull")
	if _, err := h.Admit(t.Context(), nobody, need); err != nil {
		t.Fatalf("Admit = %v, want nil where the policy decides", err)
	}
	h = newHouse(t, func(o *gate.Options) { o.NoAnonymous, o.Previous = true, h.Gate })
	_, err := h.Issue(t.Context(), gate.TokenRequest{Credential: nobody, Scopes: []string{"repository:public/a:pull"}})
	var refusal *gate.Refusal
	if !errors.As(err, &refusal) || refusal.Err.Code != customhouse.Unauthorized {
		t.Errorf("Issue = %v, want a refusal with %v", err, customhouse.Unauthorized)
	}
	for name, cred := range map[string]customhouse.Credential{
		"no credential": nobody, "a token": {Scheme: customhouse.Bearer, Secret: paper.Token},
	} {
		if _, err := h.Admit(t.Context(), cred, need); !errors.As(err, &refusal) || refusal.Challenge == nil {
			t.Errorf("Admit with %s = %v, want a challenge", name, err)
		}
	}
	if tok := h.issue(own("bob"), "repository:public/a:pull"); tok.Scope() == "" {
		t.Error("Issue grants nothing to somebody with an account")
	}
}
