package gate_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"customhouse"
	"customhouse/authn"
	"customhouse/authz"
	"customhouse/gate"
	"customhouse/policy"
	"customhouse/token"
)

// TestS17ChangesAreEffectiveAtOnce changes what a token was issued for.
func TestS17ChangesAreEffectiveAtOnce(t *testing.T) {
	h := newHouse(t, nil)
	read := repo("team/a", "pull")
	cred := bearer(h.issue(own("alice"), "repository:team/a:pull"))
	admitted := verdict{}
	if got := h.verdict(cred, read); got != admitted {
		t.Fatalf("Admit = %+v", got)
	}

	alice := h.accounts.byName["alice"]
	alice.Labels = nil
	h.accounts.byName["alice"] = alice
	if got, want := h.verdict(cred, read), (verdict{customhouse.Denied, "no challenge", ""}); got != want {
		t.Fatalf("Admit out of the group = %+v, want %+v", got, want)
	}
	alice.Labels = map[string][]string{"group": {"dev"}}
	h.accounts.byName["alice"] = alice
	if got := h.verdict(cred, read); got != admitted {
		t.Fatalf("Admit back in the group = %+v", got)
	}

	gone := verdict{customhouse.Unauthorized, gate.InvalidToken, "repository:team/a:pull"}
	h.accounts.set("alice", "another", "dev")
	if got := h.verdict(cred, read); got != gone {
		t.Fatalf("Admit after a new password = %+v, want %+v", got, gone)
	}
	if got, want := h.verdict(own("alice"), read), (verdict{customhouse.Unauthorized, "", "repository:team/a:pull"}); got != want {
		t.Fatalf("Admit with the former password, which is remembered = %+v, want %+v", got, want)
	}
	delete(h.accounts.byName, "alice")
	if got := h.verdict(cred, read); got != gone {
		t.Fatalf("Admit of a removed account = %+v, want %+v", got, gone)
	}
	if got := h.verdict(basic("alice", "another"), read); got.Code != customhouse.Unauthorized {
		t.Fatalf("Admit of a removed account by password = %+v", got)
	}

	cred = bearer(h.issue(own("bob"), "repository:bob/a:pull"))
	h.rebuild(func(o *gate.Options) { o.Policy = nil })
	if got := h.verdict(cred, repo("bob/a", "pull")); got.Code != customhouse.Denied {
		t.Fatalf("Admit under another policy = %+v, want DENIED", got)
	}
}

// TestS25TokensOfOthers brings tokens that the same key has signed for another service, and expired ones.
func TestS25TokensOfOthers(t *testing.T) {
	h := newHouse(t, nil)
	invalid := verdict{customhouse.Unauthorized, gate.InvalidToken, ""}
	text, err := h.outsider.Sign(token.Claims{IssuedAt: h.now, NotBefore: h.now, Expires: h.now.Add(time.Hour)})
	must(t, err)
	foreign := nobody
	foreign.Scheme, foreign.Secret = customhouse.Bearer, customhouse.Secret(text)
	if got := h.verdict(foreign); got != invalid {
		t.Fatalf("Admit with a token for another service = %+v, want %+v", got, invalid)
	}
	cred := bearer(h.issue(own("bob")))
	for _, tt := range []struct {
		after time.Duration
		want  verdict
	}{{0, verdict{}}, {5 * time.Minute, verdict{}}, {6*time.Minute + time.Second, invalid}, {0, verdict{}}} {
		begin := h.now
		h.now = h.now.Add(tt.after)
		if got := h.verdict(cred); got != tt.want {
			t.Fatalf("Admit after %v = %+v, want %+v", tt.after, got, tt.want)
		}
		h.now = begin
	}
}

// TestS33WrongPasswordIsNotAnonymous brings bad credentials where none would do.
func TestS33WrongPasswordIsNotAnonymous(t *testing.T) {
	for _, allow := range []bool{true, false} {
		h := newHouse(t, func(o *gate.Options) { o.AllowBasic = allow })
		public := repo("public/a", "pull")
		if got := h.verdict(nobody, public); got != (verdict{}) {
			t.Fatalf("Admit of nobody = %+v", got)
		}
		for _, cred := range []customhouse.Credential{basic("bob", "x"), basic("eve", "x"), basic("", ""), basic("bob", ""), basic("a\nb", "x")} {
			if got, want := h.verdict(cred, public), (verdict{customhouse.Unauthorized, "", "repository:public/a:pull"}); got != want {
				t.Errorf("Admit(%q) = %+v, want %+v", cred.Account, got, want)
			}
			if tok, err := h.Issue(t.Context(), gate.TokenRequest{Credential: cred, Scopes: []string{"repository:public/a:pull"}}); err == nil {
				t.Errorf("Issue(%q) = %v, want a refusal", cred.Account, tok.Scope())
			}
		}
		if got := h.verdict(own("bob"), public); (got == verdict{}) != allow {
			t.Errorf("Admit with the right password, allowed %v = %+v", allow, got)
		}
	}
}

// TestS36UnknownUsersLookTheSame compares what a client sees; authn compares the time.
func TestS36UnknownUsersLookTheSame(t *testing.T) {
	h := newHouse(t, nil)
	_, known := h.Admit(t.Context(), basic("bob", "x"), repo("bob/a", "pull"))
	_, unknown := h.Admit(t.Context(), basic("eve", "x"), repo("bob/a", "pull"))
	if known == nil || unknown == nil || known.Error() != unknown.Error() {
		t.Fatalf("Admit = %v and %v", known, unknown)
	}
}

// guess tries a wrong password and returns what came of it.
func (h *house) guess(account, client string) *gate.Refusal {
	h.t.Helper()
	cred := basic(account, "wrong")
	cred.Client = netip.MustParseAddr(client)
	_, err := h.Admit(h.t.Context(), cred)
	var r *gate.Refusal
	if !errors.As(err, &r) {
		h.t.Fatalf("Admit = %v, want a Refusal", err)
	}
	return r
}

// TestS37FailedLogins guesses passwords: of one account, then of many, then from within one network of IPv6.
func TestS37FailedLogins(t *testing.T) {
	limited := func(o *gate.Options) { o.Limits = gate.Limits{PerAccount: 20, PerClient: 20} }
	for name, guess := range map[string]func(h *house, i int) *gate.Refusal{
		"one account":   func(h *house, i int) *gate.Refusal { return h.guess("alice", "192.0.2.7") },
		"200 accounts":  func(h *house, i int) *gate.Refusal { return h.guess(fmt.Sprint("user", i), "192.0.2.7") },
		"IPv6, one /64": func(h *house, i int) *gate.Refusal { return h.guess("alice", fmt.Sprintf("2001:db8::%x", i+1)) },
		"IPv4 in IPv6": func(h *house, i int) *gate.Refusal {
			return h.guess("alice", []string{"192.0.2.7", "::ffff:192.0.2.7"}[i%2])
		},
		"names of no one": func(h *house, i int) *gate.Refusal { return h.guess(fmt.Sprint("a b", i), "192.0.2.7") },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, limited)
			if got := h.verdict(own("bob")); got != (verdict{}) { // remembered from now on
				t.Fatalf("Admit = %+v", got)
			}
			begin := h.now
			for i := range 200 { // evenly over a minute
				h.now = begin.Add(time.Duration(i) * 299 * time.Millisecond)
				r := guess(h, i)
				switch limited := r.Err.Code == customhouse.TooManyRequests; {
				case limited != (i >= 20):
					t.Fatalf("guess %d: %v", i+1, r)
				case limited && (r.RetryAfter <= 0 || r.RetryAfter > time.Minute):
					t.Fatalf("guess %d: RetryAfter = %v", i+1, r.RetryAfter)
				}
			}
			if got := h.verdict(own("bob")); got != (verdict{}) {
				t.Fatalf("Admit with a remembered password from the same address = %+v", got)
			}
			owner := own("alice")
			owner.Client = netip.MustParseAddr("2001:db8:0:1::1")
			if got := h.verdict(owner); got != (verdict{}) {
				t.Fatalf("Admit of the owner from another address = %+v", got)
			}
			h.rebuild(func(o *gate.Options) {})
			if r := guess(h, 0); r.Err.Code != customhouse.TooManyRequests {
				t.Fatalf("guess after a reload: %v", r)
			}
			h.now = begin.Add(time.Minute)
			if r := guess(h, 0); r.Err.Code != customhouse.Unauthorized {
				t.Fatalf("guess a minute later: %v", r)
			}
		})
	}
	t.Run("no limit", func(t *testing.T) {
		h := newHouse(t, nil)
		for i := range 100 {
			if r := h.guess("alice", "192.0.2.7"); r.Err.Code != customhouse.Unauthorized {
				t.Fatalf("guess %d: %v", i+1, r)
			}
		}
	})
	t.Run("memory", func(t *testing.T) {
		h := newHouse(t, func(o *gate.Options) { o.Chain, o.Limits = nil, gate.Limits{PerAccount: 20, PerClient: 20} })
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range 200_000 {
			h.guess("a", netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String())
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 32<<20 {
			t.Fatalf("failures take %d bytes, want at most 32 MiB", grown)
		}
		runtime.KeepAlive(h)
	})
}

// TestS61OutageRefuses shows that a source that cannot be asked admits nobody and is not told to the client.
func TestS61OutageRefuses(t *testing.T) {
	h := newHouse(t, nil)
	paper := bearer(h.issue(own("bob"), "repository:bob/a:pull"))
	h.accounts.byName, h.accounts.err = nil, errors.New("dial tcp 10.0.0.9:5432: connection refused")
	unavailable := verdict{customhouse.Unavailable, "no challenge", ""}
	for name, cred := range map[string]customhouse.Credential{
		"wrong password": basic("alice", "x"), "right password": own("alice"), "remembered password": own("bob"), "token": paper,
	} {
		if got := h.verdict(cred, repo("public/a", "pull")); got != unavailable {
			t.Errorf("%s: Admit = %+v, want %+v", name, got, unavailable)
		}
	}
	if got := h.verdict(nobody, repo("public/a", "pull")); got != (verdict{}) {
		t.Errorf("Admit of nobody = %+v", got)
	}
	_, err := h.Admit(t.Context(), own("bob"))
	var r *gate.Refusal
	if !errors.As(err, &r) || r.RetryAfter == 0 || r.Err.Detail != nil || r.Err.Message != "who is asking cannot be told at present" {
		t.Errorf("Admit = %+v", err)
	}
	if _, err := h.Issue(t.Context(), gate.TokenRequest{Credential: own("bob")}); !errors.As(err, &r) || r.Err.Code != customhouse.Unavailable {
		t.Errorf("Issue = %v, want UNAVAILABLE", err)
	}
}

// counter counts what reaches an authenticator, which is no directory.
type counter struct {
	mu   sync.Mutex
	n    int
	name string
}

func (c *counter) Name() string { return c.name }

func (c *counter) Authenticate(_ context.Context, cred customhouse.Credential) (customhouse.Identity, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	if cred.Secret != "right" {
		return customhouse.Identity{}, authn.ErrWrongPassword
	}
	return customhouse.Identity{Account: cred.Account, Method: c.name, Labels: map[string][]string{"group": {"dev"}}}, nil
}

// A password that was right is let past the limit to a source that remembers for itself, such as a program, which is asked
// each time: others behind the same address do not lock its accounts out. What is right no more is a guess as any other.
func TestS37_RightPasswordOfAProgram(t *testing.T) {
	h := newHouse(t, func(o *gate.Options) { o.Limits = gate.Limits{PerAccount: 20, PerClient: 20} })
	h.rebuild(func(o *gate.Options) {
		chain, err := authn.NewChain(nil, remembering{h.accounts})
		must(t, err)
		o.Chain = chain
	})
	code := func(account string) customhouse.Code { return h.verdict(own(account)).Code }
	if got := code("bob"); got != "" {
		t.Fatalf("Admit = %s", got)
	}
	for range 20 {
		h.guess("alice", "192.0.2.7")
	}
	if got := code("root"); got != customhouse.TooManyRequests {
		t.Errorf("Admit of who was not there before = %q, want %s", got, customhouse.TooManyRequests)
	}
	if got := code("bob"); got != "" {
		t.Errorf("Admit of who was right before = %s", got)
	}
	h.accounts.set("bob", "another")
	for _, want := range []customhouse.Code{customhouse.Unauthorized, customhouse.TooManyRequests} {
		if got := code("bob"); got != want {
			t.Errorf("Admit with what was right before = %q, want %s", got, want)
		}
	}
}

// Whoever came with the right password before an account was away, such as while its file was written anew, is let in past
// the limit when it is back as it was, however often they have tried meanwhile.
func TestS37_AccountComesBack(t *testing.T) {
	h := newHouse(t, func(o *gate.Options) { o.Limits = gate.Limits{PerAccount: 20, PerClient: 20} })
	code := func() customhouse.Code { return h.verdict(own("bob")).Code }
	if got := code(); got != "" {
		t.Fatalf("Admit = %s", got)
	}
	bob := h.accounts.byName["bob"]
	delete(h.accounts.byName, "bob")
	for range 30 {
		if got := code(); got == "" {
			t.Fatal("Admit of an account that is away = nil")
		}
	}
	h.accounts.byName["bob"] = bob
	if got := code(); got != "" {
		t.Errorf("Admit of the account that is back = %s", got)
	}
}

// remembering is a source that remembers passwords itself.
type remembering struct{ authn.Authenticator }

func (remembering) Remembers() bool { return true }

// TestPasswordsAreRemembered counts how often a source is asked.
func TestPasswordsAreRemembered(t *testing.T) {
	c := &counter{name: "directory"}
	chain, err := authn.NewChain(authn.NewPasswords(authn.PasswordOptions{}), c)
	must(t, err)
	h := newHouse(t, func(o *gate.Options) { o.Chain = chain })
	asked := func(want int) {
		t.Helper()
		if c.n != want {
			t.Fatalf("the source was asked %d times, want %d", c.n, want)
		}
	}
	for range 3 {
		h.verdict(basic("carol", "right"))
	}
	asked(1)
	h.rebuild(func(o *gate.Options) {})
	h.verdict(basic("carol", "right"))
	asked(1)
	h.now = h.now.Add(gate.DefaultLoginTTL)
	h.verdict(basic("carol", "right"))
	asked(2)
	for range 3 { // failures are never remembered
		h.verdict(basic("carol", "wrong"))
	}
	asked(5)
	h.verdict(basic("dave", "right"))
	h.verdict(basic("carolr", "ight"))
	asked(7)

	cred := bearer(h.issue(basic("carol", "right"), "repository:team/a:pull"))
	if got := h.verdict(cred, repo("team/a", "pull")); got != (verdict{}) {
		t.Fatalf("Admit with the labels of the token = %+v", got)
	}
	asked(7)
	h.rebuild(func(o *gate.Options) { o.LoginTTL = -1; o.Previous = nil })
	h.verdict(basic("carol", "right"))
	h.verdict(basic("carol", "right"))
	asked(9)
	h.rebuild(func(o *gate.Options) { o.Chain = nil })
	if got := h.verdict(cred); got.Error != gate.InvalidToken {
		t.Fatalf("Admit when the source has left the chain = %+v", got)
	}
}

// TestConcurrently is for the race detector.
func TestConcurrently(t *testing.T) {
	h := newHouse(t, func(o *gate.Options) { o.Limits = gate.Limits{PerAccount: 20, PerClient: 20} })
	cred := bearer(h.issue(own("bob"), "repository:bob/a:pull"))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 50 {
				h.Admit(t.Context(), cred, repo("bob/a", "pull"))
				h.Admit(t.Context(), own("alice"), repo("team/a", "pull"))
				h.Admit(t.Context(), basic("bob", fmt.Sprint("guess", i)))
				h.Issue(t.Context(), gate.TokenRequest{Credential: own("bob"), Offline: false})
			}
		})
	}
	wg.Wait()
}

func BenchmarkAdmit(b *testing.B) {
	h := newHouse(b, func(o *gate.Options) { o.Chain = configured(b, "bob") })
	need := repo("bob/a", "pull")
	for name, cred := range map[string]customhouse.Credential{
		"token":               bearer(h.issue(own("bob"), "repository:bob/a:pull")),
		"remembered password": own("bob"),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := h.Admit(b.Context(), cred, need); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("nobody", func(b *testing.B) {
		public := repo("public/a", "pull")
		b.ReportAllocs()
		for b.Loop() {
			if _, err := h.Admit(b.Context(), nobody, public); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("new token", func(b *testing.B) {
		const tokens = 2000
		creds := make([]customhouse.Credential, tokens)
		for i := range creds {
			creds[i] = bearer(h.issue(own("bob"), "repository:bob/a:pull"))
		}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if i%tokens == 0 { // forget
				h.rebuild(func(o *gate.Options) { o.Previous = nil })
			}
			if _, err := h.Admit(b.Context(), creds[i%tokens], need); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("token, 1000 rules", func(b *testing.B) {
		cred := bearer(h.issue(own("bob"), "repository:bob/a:pull"))
		h.rebuild(func(o *gate.Options) { o.Policy = authz.NewRules(manyRules(b, 1000)) })
		b.ReportAllocs()
		for b.Loop() {
			if _, err := h.Admit(b.Context(), cred, need); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// configured is a chain of users of the configuration, whose passwords are their names and "-secret".
func configured(b *testing.B, names ...string) *authn.Chain {
	b.Helper()
	var users []customhouse.Account
	for _, name := range names {
		hash, err := authn.HashPassword(customhouse.Secret(name + "-secret"))
		must(b, err)
		users = append(users, customhouse.Account{Name: name, Password: hash})
	}
	passwords := authn.NewPasswords(authn.PasswordOptions{})
	static, err := authn.NewStatic(users, passwords)
	must(b, err)
	chain, err := authn.NewChain(passwords, static)
	must(b, err)
	return chain
}

// manyRules are n rules of teams, and those of the houses behind them.
func manyRules(b *testing.B, n int) *policy.Policy {
	b.Helper()
	var many []policy.Rule
	for i := range n {
		many = append(many, policy.Rule{Match: policy.Match{Account: policy.Values{fmt.Sprint("user", i)}, Name: policy.Values{fmt.Sprintf("team%d/**", i)}}, Actions: list{"pull"}})
	}
	p, err := policy.Compile(append(many, rules...), policy.Options{})
	must(b, err)
	return p
}
