package authn_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"customhouse"
	"customhouse/authn"
)

// signIns is a SignInStore in memory. The one on disk is tested in package index and in the tests of the pages.
type signIns struct {
	mu        sync.Mutex
	signIns   []customhouse.SignIn
	passwords []customhouse.AppPassword
	err       error
}

func (s *signIns) SignIn(ctx context.Context, provider, account string) (customhouse.SignIn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(s.err, ctx.Err()); err != nil {
		return customhouse.SignIn{}, err
	}
	for _, have := range s.signIns {
		if have.Provider == provider && have.Account == account {
			return have, nil
		}
	}
	return customhouse.SignIn{}, customhouse.ErrNotFound
}

func (s *signIns) PutSignIn(_ context.Context, n customhouse.SignIn, alone bool) (customhouse.SignIn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, have := range s.signIns {
		same := have.Provider == n.Provider && have.Issuer == n.Issuer && have.Subject == n.Subject
		if have.Account == n.Account && !same && (alone || have.Provider == n.Provider) {
			return n, customhouse.ErrTaken
		}
		if same {
			n.ID = have.ID
			s.signIns[i] = n
			return n, nil
		}
	}
	n.ID = int64(len(s.signIns) + 1)
	s.signIns = append(s.signIns, n)
	return n, nil
}

func (s *signIns) UpdateSignIn(_ context.Context, n customhouse.SignIn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signIns[n.ID-1] = n
	return nil
}

func (s *signIns) AppPasswords(_ context.Context, signIn int64) (all []customhouse.AppPassword, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.passwords {
		if p.SignIn == signIn && p.Revoked.IsZero() {
			all = append(all, p)
		}
	}
	return all, s.err
}

func (s *signIns) PutAppPassword(_ context.Context, p customhouse.AppPassword, most int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.passwords) >= most {
		return customhouse.Errorf(customhouse.Denied, "too many")
	}
	s.passwords = append(s.passwords, p)
	return nil
}

func (s *signIns) RevokeAppPassword(_ context.Context, _ int64, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.passwords {
		if s.passwords[i].ID == id {
			s.passwords[i].Revoked = time.Unix(1, 0)
			return nil
		}
	}
	return customhouse.ErrNotFound
}

func (s *signIns) UseAppPassword(_ context.Context, id string, at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.passwords {
		if s.passwords[i].ID == id {
			s.passwords[i].Used = at
		}
	}
	return nil
}

func newSeal(t testing.TB) *authn.Seal {
	t.Helper()
	s, err := authn.NewSeal([]byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The passwords of docker_auth's databases are people's to choose as little as ours, but bcrypt keeps any.
func TestBrowserContract(t *testing.T) {
	meetsContract(t, "oidc", func(t *testing.T, p *authn.Passwords, people ...person) party {
		o := newOP(t)
		s := &signIns{}
		for i, who := range people {
			n := customhouse.SignIn{ID: int64(i + 1), Provider: "oidc", Issuer: o.URL, Subject: who.name, Account: who.name, Labels: who.labels}
			s.signIns = append(s.signIns, n)
			s.passwords = append(s.passwords, customhouse.AppPassword{ID: who.name, SignIn: n.ID, Hash: hash(t, who.password, 4)})
		}
		b := authn.NewBrowser(o.at(t, nil), s, newSeal(t), p, authn.BrowserOptions{Memory: -1})
		return party{Authenticator: b, outage: func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.err = errors.New("connection refused")
		}}
	})
}

// visit is a browser of somebody who has signed in.
type visit struct {
	*op
	*authn.Browser
	store  *signIns
	now    time.Time
	signIn customhouse.SignIn
}

func newVisit(t *testing.T, more func(*authn.BrowserOptions)) *visit {
	t.Helper()
	v := &visit{op: newOP(t), store: &signIns{}, now: time.Now()}
	v.claims = map[string]any{"groups": []string{"ci", "ops"}}
	p := v.at(t, func(o *authn.OIDCOptions) {
		o.Labels = map[string]string{"group": "groups"}
		o.Client.Now = func() time.Time { return v.now }
	})
	options := authn.BrowserOptions{Now: func() time.Time { return v.now }, Memory: -1}
	if more != nil {
		more(&options)
	}
	v.Browser = authn.NewBrowser(p, v.store, newSeal(t), authn.NewPasswords(authn.PasswordOptions{}), options)
	v.signIn = v.enter(t)
	return v
}

func (v *visit) enter(t *testing.T) customhouse.SignIn {
	t.Helper()
	s, err := v.try(t)
	if err != nil {
		t.Fatalf("Finish = %v", err)
	}
	return s
}

func (v *visit) try(t *testing.T) (customhouse.SignIn, error) {
	t.Helper()
	a := authn.NewAttempt("https://registry.example.com/cb")
	begin, err := v.Begin(t.Context(), a)
	if err != nil {
		return customhouse.SignIn{}, err
	}
	return v.Finish(t.Context(), a, v.sendBack(t, begin))
}

func (v *visit) password(t *testing.T, expires time.Time) (customhouse.Secret, customhouse.AppPassword) {
	t.Helper()
	secret, p, err := v.NewPassword(t.Context(), v.signIn, "laptop", expires)
	if err != nil {
		t.Fatalf("NewPassword = %v", err)
	}
	return secret, p
}

func TestAppPasswords(t *testing.T) {
	v := newVisit(t, nil)
	one, _ := v.password(t, time.Time{})
	two, p := v.password(t, v.now.Add(time.Hour))
	check := func(secret customhouse.Secret, want error) customhouse.Identity {
		t.Helper()
		id, err := v.Authenticate(t.Context(), basic("alice@example.com", string(secret)))
		if !errors.Is(err, want) {
			t.Fatalf("Authenticate = %+v, %v, want %v", id, err, want)
		}
		return id
	}
	first, second := check(one, nil), check(two, nil)
	if first.Labels["group"][1] != "ops" || first.Stamp == second.Stamp || first.Method != "oidc" {
		t.Fatalf("identities %+v and %+v", first, second)
	}
	for _, id := range []customhouse.Identity{first, second} {
		if got, err := v.Recall(t.Context(), id); err != nil || got.Stamp != id.Stamp {
			t.Fatalf("Recall = %+v, %v, want %+v", got, err, id)
		}
	}
	for _, wrong := range []string{
		string(one[:len(one)-1]), string(one) + "0", strings.ToUpper(string(one)), authn.AppPasswordPrefix, " " + string(one),
		strings.Replace(string(one), "chp_", "chp-", 1),
	} {
		check(customhouse.Secret(wrong), authn.ErrWrongPassword)
	}
	if err := v.Revoke(t.Context(), v.signIn, p.ID); err != nil {
		t.Fatal(err)
	}
	check(two, authn.ErrWrongPassword)
	check(one, nil)
	if _, err := v.Recall(t.Context(), second); !errors.Is(err, authn.ErrUnknownUser) {
		t.Fatalf("Recall of a revoked password's identity = %v, want ErrUnknownUser", err)
	}
	if _, err := v.Recall(t.Context(), first); err != nil {
		t.Fatalf("Recall of the other's = %v", err)
	}
	short, _ := v.password(t, v.now.Add(time.Minute))
	id := check(short, nil)
	v.now = v.now.Add(time.Minute)
	check(short, authn.ErrWrongPassword)
	if _, err := v.Recall(t.Context(), id); !errors.Is(err, authn.ErrUnknownUser) {
		t.Fatalf("Recall after the expiry = %v, want ErrUnknownUser", err)
	}
}

// Who has signed in is known while the provider vouches, with or without a good password: tokens and robots that are theirs
// do not depend on one, and nobody else gets their name.
func TestBrowserLookupWithoutPassword(t *testing.T) {
	v := newVisit(t, nil)
	if id, err := v.Lookup(t.Context(), "alice@example.com"); err != nil || id.Account != "alice@example.com" || id.Method != "oidc" || len(id.Labels["group"]) == 0 || id.Stamp != "" {
		t.Errorf("Lookup before the first password = %+v, %v", id, err)
	}
	secret, p := v.password(t, time.Time{})
	id, err := v.Authenticate(t.Context(), basic("alice@example.com", string(secret)))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := v.Lookup(t.Context(), id.Account); err != nil || got.Stamp != id.Stamp {
		t.Errorf("Lookup = %+v, %v, want the stamp of %+v", got, err, id)
	}
	if err := v.Revoke(t.Context(), v.signIn, p.ID); err != nil {
		t.Fatal(err)
	}
	if got, err := v.Lookup(t.Context(), id.Account); err != nil || got.Stamp != "" {
		t.Errorf("Lookup after the last password = %+v, %v", got, err)
	}
	if _, err := v.Recall(t.Context(), id); !errors.Is(err, authn.ErrUnknownUser) {
		t.Errorf("Recall of a revoked password's identity = %v, want ErrUnknownUser", err)
	}
	if _, err := v.Recall(t.Context(), customhouse.Identity{Account: id.Account, Method: id.Method}); !errors.Is(err, authn.ErrUnknownUser) {
		t.Errorf("Recall without a stamp = %v, want ErrUnknownUser", err)
	}
}

// TestS51_OnlyHashes: neither app passwords nor the provider's tokens are kept in clear.
func TestS51_OnlyHashes(t *testing.T) {
	v := newVisit(t, func(o *authn.BrowserOptions) { o.MaxPasswords = 200 })
	var secrets []string
	for range 100 {
		secret, _ := v.password(t, time.Time{})
		if len(secret) < len("chp_")+26 || !regexp.MustCompile("^chp_[0-9a-hjkmnp-tv-z]{39}$").MatchString(string(secret)) {
			t.Fatalf("a password of the form %d characters", len(secret))
		}
		secrets = append(secrets, string(secret))
	}
	v.with(func(o *op) { secrets = append(secrets, o.refresh) })
	var kept strings.Builder
	for _, s := range v.store.signIns {
		kept.Write(s.Tokens)
	}
	for _, p := range v.store.passwords {
		kept.WriteString(string(p.Hash) + p.ID + p.Name)
	}
	for _, s := range secrets {
		if strings.Contains(kept.String(), s) {
			t.Fatal("a secret is kept in clear")
		}
	}
}

// TestS17_LabelsAndMembership: what the provider says counts at the latest when it is due to be asked again.
func TestS17_LabelsAndMembership(t *testing.T) {
	v := newVisit(t, nil)
	secret, _ := v.password(t, time.Time{})
	cred := basic("alice@example.com", string(secret))
	id, err := v.Authenticate(t.Context(), cred)
	if err != nil {
		t.Fatal(err)
	}
	v.with(func(o *op) { o.claims["groups"] = []string{"ci"} })
	v.now = v.now.Add(59 * time.Minute)
	if id, _ := v.Recall(t.Context(), id); len(id.Labels["group"]) != 2 {
		t.Fatalf("labels %v before the hour is over", id.Labels)
	}
	for range 3 { // the refresh token is another each time
		v.now = v.now.Add(time.Hour)
		v.with(func(o *op) { o.shift += time.Hour })
		if id, err := v.Recall(t.Context(), id); err != nil || len(id.Labels["group"]) != 1 {
			t.Fatalf("Recall = %v, %v, want the present groups", id.Labels, err)
		}
	}

	v.now = v.now.Add(time.Hour)
	v.with(func(o *op) { o.down = true })
	for range 20 {
		if _, err := v.Authenticate(t.Context(), cred); err == nil || errors.Is(err, authn.ErrWrongPassword) || errors.Is(err, authn.ErrUnknownUser) {
			t.Fatalf("Authenticate while the provider is down = %v, want an outage", err)
		}
	}
	if _, err := v.Authenticate(t.Context(), basic("alice@example.com", "wrong")); !errors.Is(err, authn.ErrWrongPassword) {
		t.Fatalf("Authenticate with a wrong password while the provider is down = %v, want ErrWrongPassword", err)
	}
	if _, err := v.Authenticate(t.Context(), basic("bob", "wrong")); !errors.Is(err, authn.ErrUnknownUser) {
		t.Fatalf("Authenticate of somebody else while the provider is down = %v, want ErrUnknownUser", err)
	}
	if n := v.times("/token"); n > 8 {
		t.Fatalf("the provider was asked %d times", n)
	}

	v.now = v.now.Add(time.Minute)
	v.with(func(o *op) { o.down, o.refresh = false, "" }) // the provider has disabled the account
	if _, err := v.Authenticate(t.Context(), cred); !errors.Is(err, authn.ErrWrongPassword) {
		t.Fatalf("Authenticate after the account was disabled = %v, want ErrWrongPassword", err)
	}
	if _, err := v.Recall(t.Context(), id); !errors.Is(err, authn.ErrUnknownUser) {
		t.Fatalf("Recall after the account was disabled = %v, want ErrUnknownUser", err)
	}
	asked := v.times("/token")
	if _, err := v.Authenticate(t.Context(), cred); !errors.Is(err, authn.ErrWrongPassword) || v.times("/token") != asked {
		t.Fatalf("Authenticate = %v after %d questions, want no further one", err, v.times("/token")-asked)
	}
	v.with(func(o *op) { o.shift = time.Until(v.now) })
	v.enter(t)
	if _, err := v.Authenticate(t.Context(), cred); err != nil {
		t.Fatalf("Authenticate after another sign-in = %v", err)
	}
}

// TestR48_RefreshTokenOutlivesAnOutage: a provider that replaces a refresh token and fails right after knows the new one only.
func TestR48_RefreshTokenOutlivesAnOutage(t *testing.T) {
	broken := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
	for _, path := range []string{"/info", "/keys"} {
		v := newVisit(t, nil)
		secret, _ := v.password(t, time.Time{})
		cred := basic("alice@example.com", string(secret))
		v.now = v.now.Add(2 * time.Hour)
		v.with(func(o *op) { o.shift, o.handler[path] = 2*time.Hour, broken })
		for range 3 {
			if _, err := v.Authenticate(t.Context(), cred); err == nil || errors.Is(err, authn.ErrWrongPassword) {
				t.Fatalf("%s: Authenticate while it is broken = %v, want an outage", path, err)
			}
			v.now = v.now.Add(time.Minute)
		}
		v.with(func(o *op) { delete(o.handler, path) })
		if _, err := v.Authenticate(t.Context(), cred); err != nil {
			t.Fatalf("%s: Authenticate after the outage = %v", path, err)
		}
	}
}

// A provider without refresh tokens can be asked until its access token ends; then the person has to come again.
func TestWithoutRefreshToken(t *testing.T) {
	for _, tt := range []struct {
		again time.Duration
		after time.Duration
		want  error
	}{
		{0, 23 * time.Hour, nil},
		{0, 25 * time.Hour, authn.ErrWrongPassword},
		{-1, 10_000 * time.Hour, nil},
	} {
		v := newVisit(t, func(o *authn.BrowserOptions) { o.SignInAgain = tt.again })
		v.with(func(o *op) { o.forgetful = true })
		v.enter(t)
		secret, _ := v.password(t, time.Time{})
		v.now = v.now.Add(tt.after)
		if _, err := v.Authenticate(t.Context(), basic("alice@example.com", string(secret))); !errors.Is(err, tt.want) {
			t.Errorf("with %v: Authenticate after %v = %v, want %v", tt.again, tt.after, err, tt.want)
		}
	}
}

// TestA16_OneOwner: who signs in under somebody else's name is refused.
func TestA16_OneOwner(t *testing.T) {
	owner := ""
	v := newVisit(t, func(o *authn.BrowserOptions) {
		o.Owner = func(context.Context, string) (string, error) {
			if owner == "down" {
				return "", errors.New("connection refused")
			}
			return owner, nil
		}
	})
	secret, _ := v.password(t, time.Time{})
	v.with(func(o *op) {
		o.claims = map[string]any{"sub": "s2"} // another subject, the same address
		o.info = map[string]any{"sub": "s2"}
	})
	if s, err := v.try(t); !errors.As(err, new(*authn.NotVouched)) {
		t.Fatalf("Finish of another subject = %+v, %v, want NotVouched", s, err)
	}
	if _, err := v.Authenticate(t.Context(), basic("alice@example.com", string(secret))); err != nil {
		t.Fatalf("Authenticate of the owner = %v", err)
	}
	v.with(func(o *op) { o.claims, o.info = nil, map[string]any{"sub": "s1"} })
	owner = "accounts"
	if s, err := v.try(t); !errors.As(err, new(*authn.NotVouched)) {
		t.Fatalf("Finish under the name of a local account = %+v, %v, want NotVouched", s, err)
	}
	owner = "down"
	if s, err := v.try(t); err == nil || errors.As(err, new(*authn.NotVouched)) {
		t.Fatalf("Finish when it cannot be told = %+v, %v, want an outage", s, err)
	}
}

func TestSealFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sign-in.key")
	one, err := authn.LoadOrCreateSeal(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode = %v, %v, want 0600", info.Mode(), err)
	}
	sealed := one.Seal([]byte("token"), "alice")
	again, err := authn.LoadOrCreateSeal(path)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := again.Open(sealed, "alice"); err != nil || string(plain) != "token" {
		t.Fatalf("Open = %q, %v", plain, err)
	}
	if _, err := again.Open(sealed, "bob"); err == nil {
		t.Fatal("Open about somebody else = nil, want an error")
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := authn.LoadOrCreateSeal(path); err == nil {
		t.Fatal("a key that everybody can read is taken")
	}
	if err := os.WriteFile(path, []byte("canary\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := authn.LoadOrCreateSeal(path); err == nil || strings.Contains(err.Error(), "canary") {
		t.Fatalf("LoadOrCreateSeal of no key = %v", err)
	}
}

func TestChainOwnerAndRecall(t *testing.T) {
	outage := errors.New("connection refused")
	v := newVisit(t, nil)
	local := known{stub{"accounts", authn.ErrUnknownUser}}
	chain, err := authn.NewChain(nil, local, v.Browser, stub{"program", nil})
	if err != nil {
		t.Fatal(err)
	}
	secret, p := v.password(t, time.Time{})
	for _, tt := range []struct{ except, want string }{{"", "oidc"}, {"oidc", ""}} {
		if got, err := chain.Owner(t.Context(), "alice@example.com", tt.except); got != tt.want || err != nil {
			t.Errorf("Owner but for %q = %q, %v, want %q", tt.except, got, err, tt.want)
		}
	}
	down, err := authn.NewChain(nil, known{stub{"accounts", outage}}, v.Browser)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := down.Owner(t.Context(), "bob", "oidc"); !errors.Is(err, outage) {
		t.Errorf("Owner while one is down = %q, %v, want the outage", got, err)
	}
	id, err := chain.Authenticate(t.Context(), basic("alice@example.com", string(secret)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := chain.Recall(t.Context(), id); err != nil {
		t.Fatalf("Recall = %v", err)
	}
	v.password(t, time.Time{}) // another, newer one
	if got, err := chain.Recall(t.Context(), id); err != nil || got.Stamp != id.Stamp {
		t.Fatalf("Recall beside a newer password = %+v, %v, want the stamp %s", got, err, id.Stamp)
	}
	if err := v.Revoke(t.Context(), v.signIn, p.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := chain.Recall(t.Context(), id); !errors.Is(err, authn.ErrUnknownUser) {
		t.Fatalf("Recall after the revocation = %v, want ErrUnknownUser", err)
	}
}
