package gate_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"customhouse"
	"customhouse/authn"
	"customhouse/gate"
	"customhouse/policy"
)

// badges is an authenticator called "tokens" of one credential, which opens root's account.
type badges struct{ identity customhouse.Identity }

func (b *badges) Name() string { return "tokens" }

func (b *badges) Authenticate(_ context.Context, cred customhouse.Credential) (customhouse.Identity, error) {
	switch {
	case !strings.HasPrefix(string(cred.Secret), "badge-"):
		return customhouse.Identity{}, authn.ErrUnknownUser
	case cred.Secret != "badge-1" || b.identity.Account != cred.Account:
		return customhouse.Identity{}, authn.ErrWrongPassword
	}
	return b.identity, nil
}

func (b *badges) Lookup(context.Context, string) (customhouse.Identity, error) {
	return customhouse.Identity{}, authn.ErrUnknownUser
}

func (b *badges) Recall(_ context.Context, was customhouse.Identity) (customhouse.Identity, error) {
	if was.Account != b.identity.Account {
		return customhouse.Identity{}, authn.ErrUnknownUser
	}
	return b.identity, nil
}

// newBadge returns a house in which root, who may do everything, has a credential for these scopes.
func newBadge(t testing.TB, scopes ...string) (*house, *badges) {
	t.Helper()
	b := &badges{customhouse.Identity{Account: "root", Method: "tokens", Stamp: "1", Labels: map[string][]string{"group": {"admin"}}}}
	for _, text := range scopes {
		s, err := customhouse.ReadScope(text)
		must(t, err)
		must(t, gate.CheckScope(s))
		b.identity.Scopes = append(b.identity.Scopes, s)
	}
	h := newHouse(t, func(o *gate.Options) {
		chain, err := authn.NewChain(authn.NewPasswords(authn.PasswordOptions{}), b)
		must(t, err)
		o.Chain = chain
	})
	return h, b
}

// A credential for less than its account may do opens that and nothing else: with a password, with a token that was had
// for it, and in what a token says.
func TestScopesHold(t *testing.T) {
	h, _ := newBadge(t, "team/**:pull", "team/app:v*:push", "tools/x:create", "dump/**:*", "names:list")
	card := basic("root", "badge-1")
	at := func(need gate.Need, tag string) gate.Need {
		need.Target = gate.Target{Known: policy.FactTag, Tag: tag}
		return need
	}
	partly := func(need gate.Need) gate.Need { need.Partly = true; return need }
	catalogAll := gate.Need{Access: customhouse.Access{Type: customhouse.TypeRegistry, Name: "accounts", Actions: list{customhouse.Admin}}}
	for i, tt := range []struct {
		need gate.Need
		want bool
	}{
		{repo("team/app", "pull"), true}, {repo("team/a/b", "pull"), true}, {repo("team/app", "list"), true}, {repo("public/a", "pull"), false},
		{repo("teams/app", "pull"), false}, {repo("team/app", "delete"), false}, {repo("team/app", "*"), false},
		{at(repo("team/app", "create"), "v1"), true}, {at(repo("team/app", "update"), "v1"), true}, {at(repo("team/app", "update"), "latest"), false},
		{at(repo("team/app", "create"), ""), false}, {at(repo("team/b", "create"), "v1"), false},
		{repo("team/app", "push"), false}, {partly(repo("team/app", "push")), true}, {partly(repo("team/b", "push")), false},
		{repo("tools/x", "create"), true}, {repo("tools/x", "push"), true}, {repo("tools/x", "update"), false}, {repo("tools/x", "pull"), false},
		{repo("tools/x", "tag"), true}, {repo("tools/x", "mount"), true},
		{repo("dump/a", "delete"), true}, {repo("dump/a", "*"), true}, {repo("dump/a", "update"), true},
		{repo("names", "list"), true}, {repo("names", "pull"), false},
		{catalogAll, false},
	} {
		got, err := h.Admit(t.Context(), card, tt.need)
		if (err == nil) != tt.want {
			t.Errorf("%d: Admit(%v) = %v, %v, want it allowed: %v", i, tt.need, got, err, tt.want)
		}
		var r *gate.Refusal
		if err != nil && tt.need.Type == customhouse.TypeRepository && (!errors.As(err, &r) || !strings.Contains(r.Reason, "credential")) {
			t.Errorf("%d: Admit(%v) = %v for the reason %q, want that it says so", i, tt.need, err, r.Reason)
		}
	}
	// a token says no more
	tok := h.issue(card, "repository:team/app:pull,push,delete", "repository:public/a:pull", "repository:dump/a:*", "registry:catalog:*")
	if got := tok.Scope(); got != "repository:team/app:pull,push repository:dump/a:pull,push,delete,*" {
		t.Errorf("the token is for %q", got)
	}
	for need, want := range map[*gate.Need]bool{
		new(at(repo("team/app", "push"), "v1")): true, new(at(repo("team/app", "push"), "latest")): false, new(repo("team/app", "pull")): true, new(repo("public/a", "pull")): false,
	} {
		if _, err := h.Admit(t.Context(), bearer(tok), *need); (err == nil) != want {
			t.Errorf("Admit(token, %v) = %v, want it allowed: %v", need, err, want)
		}
	}
	// the catalog shows what may be pulled
	grant, err := h.Admit(t.Context(), card, catalog)
	must(t, err)
	if all, err := grant.SeesAll(t.Context()); all || err != nil {
		t.Errorf("SeesAll = %v, %v, want false", all, err)
	}
	for name, want := range map[string]bool{"team/app": true, "public/a": false, "dump/x": true, "tools/x": false} {
		r, err := customhouse.ParseRepo(name)
		must(t, err)
		if sees, _, err := grant.Sees(t.Context(), r); sees != want || err != nil {
			t.Errorf("Sees(%s) = %v, %v, want %v", name, sees, err, want)
		}
	}
	// what it is for may change from one request to the next
	h.Chain(t, "team/other:pull")
	if _, err := h.Admit(t.Context(), bearer(tok), repo("team/app", "pull")); err == nil {
		t.Error("Admit allows what the credential was for")
	}
}

// Chain swaps what the credential is for.
func (h *house) Chain(t *testing.T, scopes ...string) {
	t.Helper()
	other, _ := newBadge(t, scopes...)
	h.rebuild(func(o *gate.Options) { o.Chain = other.options.Chain })
}

// A credential for nothing that can be read is for nothing.
func TestScopesFailClosed(t *testing.T) {
	h, b := newBadge(t)
	for i, scopes := range [][]customhouse.Scope{{}, {{}}, {{Repo: "[", Actions: list{"pull"}}}, {{Repo: "**", Tag: "[", Actions: list{"pull"}}}, {{Repo: "**"}}, {{Repo: "${account}", Actions: list{"pull"}}}} {
		b.identity.Scopes = scopes
		if grant, err := h.Admit(t.Context(), basic("root", "badge-1"), repo("root", "pull")); err == nil {
			t.Errorf("%d: Admit = %+v, want a refusal", i, grant)
		}
	}
	b.identity.Scopes = nil
	if _, err := h.Admit(t.Context(), basic("root", "badge-1"), repo("root", "pull")); err != nil {
		t.Errorf("Admit without scopes = %v", err)
	}
}

// A credential is good where it may be used, and so is what was had for it.
func TestNetworksHold(t *testing.T) {
	h, b := newBadge(t)
	b.identity.Networks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	from := func(c customhouse.Credential, address string) customhouse.Credential {
		c.Client = netip.MustParseAddr(address)
		return c
	}
	card := basic("root", "badge-1")
	paper := bearer(h.issue(from(card, "10.1.2.3"), "repository:a:pull"))
	refresh, err := h.Issue(t.Context(), gate.TokenRequest{Credential: from(card, "10.1.2.3"), Offline: true, ClientID: "x"})
	must(t, err)
	for _, address := range []string{"192.0.2.7", "11.0.0.1", "::1", "2001:db9::1", "::ffff:11.0.0.1"} {
		for name, c := range map[string]customhouse.Credential{"password": card, "token": paper} {
			if _, err := h.Admit(t.Context(), from(c, address), repo("a", "pull")); !isUnauthorized(err) {
				t.Errorf("Admit with the %s from %s = %v, want UNAUTHORIZED", name, address, err)
			}
		}
		again := gate.TokenRequest{GrantType: gate.GrantRefresh, RefreshToken: refresh.RefreshToken, ClientID: "x", Credential: from(nobody, address)}
		var invalid *gate.OAuthError
		if _, err := h.Issue(t.Context(), again); !errors.As(err, &invalid) || invalid.Code != gate.InvalidGrant {
			t.Errorf("Issue for the refresh token from %s = %v, want invalid_grant", address, err)
		}
	}
	for _, address := range []string{"10.255.0.1", "::ffff:10.0.0.1", "2001:db8::7%eth0"} {
		for name, c := range map[string]customhouse.Credential{"password": card, "token": paper} {
			if _, err := h.Admit(t.Context(), from(c, address), repo("a", "pull")); err != nil {
				t.Errorf("Admit with the %s from %s = %v", name, address, err)
			}
		}
	}
	if _, err := h.Admit(t.Context(), customhouse.Credential{Scheme: customhouse.Basic, Account: "root", Secret: "badge-1"}, repo("a", "pull")); !isUnauthorized(err) {
		t.Errorf("Admit from an address that is not known = %v, want UNAUTHORIZED", err)
	}
}

func isUnauthorized(err error) bool {
	var e *customhouse.Error
	return errors.As(err, &e) && e.Code == customhouse.Unauthorized
}

// What is had for a credential ends with it.
func TestExpiryHolds(t *testing.T) {
	h, b := newBadge(t)
	b.identity.Expires = h.now.Add(90 * time.Second)
	tok, err := h.Issue(t.Context(), gate.TokenRequest{Credential: basic("root", "badge-1"), Scopes: []string{"repository:a:pull"}, Offline: true, ClientID: "x"})
	must(t, err)
	if tok.ExpiresIn > 90*time.Second || tok.ExpiresIn < 89*time.Second {
		t.Errorf("the token is good for %v, want what the credential is", tok.ExpiresIn)
	}
	for _, kept := range h.refreshes.byHash {
		if kept.Expires.After(b.identity.Expires) {
			t.Errorf("the refresh token is good until %v, beyond %v", kept.Expires, b.identity.Expires)
		}
	}
	h.now = h.now.Add(91 * time.Second) // the tokens are good for a minute more by their leeway
	for name, cred := range map[string]customhouse.Credential{"token": bearer(tok), "password": basic("root", "badge-1")} {
		if name == "password" {
			continue // whose end is known to who vouches for it
		}
		if _, err := h.Admit(t.Context(), cred, repo("a", "pull")); !isUnauthorized(err) {
			t.Errorf("Admit with the %s after the end = %v, want UNAUTHORIZED", name, err)
		}
	}
}

func BenchmarkAdmitScoped(b *testing.B) {
	for _, n := range []int{0, 1, 10} {
		var scopes []string
		for i := range n {
			scopes = append(scopes, fmt.Sprintf("team-%d/**:pull", n-1-i))
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h, _ := newBadge(b, scopes...)
			cred := bearer(h.issue(basic("root", "badge-1"), "repository:team-0/a:pull"))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := h.Admit(context.Background(), cred, repo("team-0/a", "pull")); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
