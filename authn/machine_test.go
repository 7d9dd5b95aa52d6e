package authn_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/authn"
)

// machineShed is an authn.MachineKeeper in memory.
type machineShed struct {
	mu          sync.Mutex
	robots      map[string]customhouse.Robot
	credentials []customhouse.MachineCredential
	uses        int
	err         error
	now         func() time.Time
}

var _ authn.MachineKeeper = (*machineShed)(nil)

func newShed(now func() time.Time) *machineShed {
	return &machineShed{robots: map[string]customhouse.Robot{}, now: now}
}

func (s *machineShed) Robot(ctx context.Context, name string) (customhouse.Robot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmp.Or(ctx.Err(), s.err); err != nil {
		return customhouse.Robot{}, err
	}
	r, ok := s.robots[name]
	if !ok {
		return r, customhouse.ErrNotFound
	}
	return r, nil
}

func (s *machineShed) Robots(context.Context) ([]customhouse.Robot, error) { return nil, s.err }

func (s *machineShed) MachineCredentials(ctx context.Context, kind, account string) ([]customhouse.MachineCredential, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []customhouse.MachineCredential
	for _, c := range slices.Backward(s.credentials) {
		if c.Kind == kind && c.Owner.Account == account && c.Revoked.IsZero() {
			all = append(all, c)
		}
	}
	return all, cmp.Or(ctx.Err(), s.err)
}

func (s *machineShed) UseMachineCredentials(_ context.Context, at map[string]time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.credentials {
		if used, ok := at[s.credentials[i].ID]; ok {
			s.credentials[i].Used = used
			s.uses++
		}
	}
	return s.err
}

func (s *machineShed) AddRobot(_ context.Context, r customhouse.Robot, secret customhouse.MachineCredential) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.robots[r.Name]; ok {
		return customhouse.ErrTaken
	}
	s.robots[r.Name] = r
	s.credentials = append(s.credentials, secret)
	return nil
}

func (s *machineShed) LastRobotSecret(_ context.Context, robot string) (customhouse.MachineCredential, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range slices.Backward(s.credentials) {
		if c.Kind == customhouse.RobotSecret && c.Owner.Account == robot {
			return c, s.err
		}
	}
	return customhouse.MachineCredential{}, cmp.Or(s.err, customhouse.ErrNotFound)
}

func (s *machineShed) RotateRobot(_ context.Context, secret customhouse.MachineCredential, graceEnds time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := slices.Clone(s.credentials)
	live := 0
	for i := range kept {
		c := &kept[i]
		if c.Owner == secret.Owner && (c.Expires.IsZero() || c.Expires.After(graceEnds)) {
			c.Expires = graceEnds
		}
		if c.Owner == secret.Owner && c.Good(s.now()) {
			live++
		}
	}
	if live > 1 {
		return customhouse.Errorf(customhouse.Denied, "too many")
	}
	s.credentials = kept
	s.credentials = append(s.credentials, secret)
	return nil
}

func (s *machineShed) DisableRobot(_ context.Context, name string, disabled bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.robots[name]
	if !ok {
		return customhouse.ErrNotFound
	}
	r.Disabled = disabled
	s.robots[name] = r
	return nil
}

func (s *machineShed) RemoveRobot(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.robots, name)
	return nil
}

func (s *machineShed) PutMachineCredential(_ context.Context, c customhouse.MachineCredential, most int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.credentials) >= most {
		return customhouse.Errorf(customhouse.Denied, "too many")
	}
	s.credentials = append(s.credentials, c)
	return s.err
}

func (s *machineShed) RevokeMachineCredential(_ context.Context, kind string, owner customhouse.Owner, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.credentials {
		if c := &s.credentials[i]; c.ID == id && c.Kind == kind && c.Owner == owner && c.Revoked.IsZero() {
			c.Revoked = s.now()
			return nil
		}
	}
	return customhouse.ErrNotFound
}

// fail makes the shed fail.
func (s *machineShed) fail() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = errors.New("connection refused")
}

func TestContractRobots(t *testing.T) {
	meetsContract(t, "robots", func(t *testing.T, p *authn.Passwords, people ...person) party {
		s, secrets := newShed(time.Now), map[string]string{}
		m := authn.NewMachines(s, authn.MachinesOptions{})
		for _, who := range people {
			secret, _, err := m.NewRobot(t.Context(), customhouse.Robot{Name: who.name, Labels: who.labels}, customhouse.NewCredential{})
			if err != nil {
				t.Fatalf("NewRobot(%q) = %v", who.name, err)
			}
			secrets[who.password] = string(secret)
		}
		return party{Authenticator: authn.NewRobots(s, p, authn.MachineOptions{Memory: -1}), outage: s.fail, secrets: secrets}
	})
}

func TestContractPersonalTokens(t *testing.T) {
	meetsContract(t, "tokens", func(t *testing.T, p *authn.Passwords, people ...person) party {
		s, secrets, owners := newShed(time.Now), map[string]string{}, map[string]customhouse.Identity{}
		m := authn.NewMachines(s, authn.MachinesOptions{})
		for _, who := range people {
			owners[who.name] = customhouse.Identity{Account: who.name, Labels: who.labels, Method: "users"}
			secret, _, err := m.NewToken(t.Context(), owners[who.name], customhouse.NewCredential{Name: "laptop"})
			if err != nil {
				t.Fatalf("NewToken(%q) = %v", who.name, err)
			}
			secrets[who.password] = string(secret)
		}
		lookup := func(_ context.Context, method, account string) (customhouse.Identity, error) {
			if id, ok := owners[account]; ok && method == "users" {
				return id, nil
			}
			return customhouse.Identity{}, authn.ErrUnknownUser
		}
		return party{Authenticator: authn.NewPersonalTokens(s, p, authn.MachineOptions{Memory: -1, Lookup: lookup}), outage: s.fail, secrets: secrets, guest: true}
	})
}

// shop is a chain with users, robots and tokens, and who makes the latter.
type shop struct {
	t *testing.T
	*authn.Machines
	shed   *machineShed
	chain  *authn.Chain
	robots *authn.Robots
	now    time.Time
}

func newShop(t *testing.T, accounts ...customhouse.Account) *shop {
	s := &shop{t: t, now: time.Now().Truncate(time.Second)}
	clock := func() time.Time { return s.now }
	s.shed = newShed(clock)
	passwords := authn.NewPasswords(authn.PasswordOptions{})
	o := authn.MachineOptions{Memory: -1, Now: clock, Lookup: func(ctx context.Context, method, account string) (customhouse.Identity, error) {
		return s.chain.Lookup(ctx, method, account)
	}}
	s.robots = authn.NewRobots(s.shed, passwords, o)
	tokens := authn.NewPersonalTokens(s.shed, passwords, o)
	t.Cleanup(func() { s.robots.Close(); tokens.Close() })
	s.set(tokens, passwords, accounts...)
	s.Machines = authn.NewMachines(s.shed, authn.MachinesOptions{Now: clock, Owner: func(ctx context.Context, account string) (string, error) {
		return s.chain.Owner(ctx, account, "")
	}})
	return s
}

func (s *shop) set(tokens *authn.PersonalTokens, passwords *authn.Passwords, accounts ...customhouse.Account) {
	s.t.Helper()
	users, err := authn.NewStatic(accounts, passwords)
	if err == nil {
		s.chain, err = authn.NewChain(passwords, tokens, s.robots, users)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// login returns who comes with a name and a secret, and whether they are still that when they are recalled.
func (s *shop) login(name string, secret customhouse.Secret) (customhouse.Identity, error) {
	s.t.Helper()
	id, err := s.chain.Authenticate(s.t.Context(), basic(name, string(secret)))
	if err == nil {
		is, err := s.chain.Recall(s.t.Context(), id)
		if diff := gocmp.Diff(id, is, gocmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" || err != nil {
			s.t.Errorf("Recall (-was +is):\n%s%v", diff, err)
		}
	}
	return id, err
}

// out checks that a secret is no longer good, nor what was had for it.
func (s *shop) out(why, name string, secret customhouse.Secret, was customhouse.Identity) {
	s.t.Helper()
	if _, err := s.chain.Authenticate(s.t.Context(), basic(name, string(secret))); !errors.Is(err, authn.ErrWrongPassword) {
		s.t.Errorf("%s: Authenticate = %v, want ErrWrongPassword", why, err)
	}
	if _, err := s.chain.Recall(s.t.Context(), was); !errors.Is(err, authn.ErrUnknownUser) {
		s.t.Errorf("%s: Recall = %v, want ErrUnknownUser", why, err)
	}
}

// A robot has its name, labels of its own and two secrets at a time; whatever ends it or a secret ends what was had
// for it.
func TestS17_Robots(t *testing.T) {
	alice := customhouse.Account{Name: "alice", Password: hash(t, "secret", 4), Labels: map[string][]string{"role": {"admin"}}}
	s := newShop(t, alice)
	ctx := t.Context()
	network := netip.MustParsePrefix("10.0.0.0/8")
	n := customhouse.NewCredential{Scopes: []customhouse.Scope{{Repo: "team/**", Actions: []customhouse.Action{"pull"}}}, Networks: []netip.Prefix{network}}
	owner := customhouse.Owner{Account: "alice", Method: "users"}
	first, _, err := s.NewRobot(ctx, customhouse.Robot{Name: "ci", Labels: map[string][]string{"group": {"ci"}}, Owner: owner}, n)
	if err != nil {
		t.Fatalf("NewRobot = %v", err)
	}
	was, err := s.login("ci", first)
	if err != nil || was.Account != "ci" || was.Method != "robots" || was.Labels["group"][0] != "ci" || len(was.Scopes) != 1 || len(was.Networks) != 1 ||
		!was.Expires.Equal(s.now.Add(90*24*time.Hour)) {
		t.Fatalf("robot = %+v, %v", was, err)
	}
	for _, taken := range []string{"ci", "alice"} {
		if _, _, err := s.NewRobot(ctx, customhouse.Robot{Name: taken}, customhouse.NewCredential{}); !isCode(err, customhouse.BadRequest) {
			t.Errorf("NewRobot(%s) = %v, want that the name is taken", taken, err)
		}
	}
	// rotation: both are good until the grace ends
	second, _, err := s.Rotate(ctx, "ci", time.Hour, customhouse.NewCredential{})
	if err != nil {
		t.Fatalf("Rotate = %v", err)
	}
	now, err := s.login("ci", second)
	if diff := gocmp.Diff(was.Scopes, now.Scopes); diff != "" || err != nil || len(now.Networks) != 1 {
		t.Errorf("the second secret is for something else: %s%v", diff, err)
	}
	if _, err := s.login("ci", first); err != nil {
		t.Errorf("the first secret within the grace: %v", err)
	}
	if _, _, err := s.Rotate(ctx, "ci", time.Hour, customhouse.NewCredential{}); !isCode(err, customhouse.Denied) {
		t.Errorf("Rotate with two secrets = %v, want DENIED", err)
	}
	s.now = s.now.Add(time.Hour)
	s.out("after the grace", "ci", first, was)
	if _, err := s.login("ci", second); err != nil {
		t.Errorf("the second secret after the grace: %v", err)
	}

	if err := s.Disable(ctx, "ci", true); err != nil {
		t.Fatal(err)
	}
	s.out("disabled", "ci", second, now)
	if _, err := s.robots.Lookup(ctx, "ci"); err != nil {
		t.Errorf("Lookup of a disabled robot = %v, want that the name is its own", err)
	}
	s.Disable(ctx, "ci", false)
	if _, err := s.login("ci", second); err != nil {
		t.Errorf("enabled again: %v", err)
	}
	if err := s.RevokeSecret(ctx, "ci", now.Stamp); err != nil {
		t.Fatal(err)
	}
	s.out("revoked", "ci", second, now)

	third, _, err := s.Rotate(ctx, "ci", 0, customhouse.NewCredential{})
	if err != nil {
		t.Fatal(err)
	}
	now, _ = s.login("ci", third)
	s.set(authn.NewPersonalTokens(s.shed, authn.NewPasswords(authn.PasswordOptions{}), authn.MachineOptions{}), authn.NewPasswords(authn.PasswordOptions{}))
	s.out("its owner is gone", "ci", third, now)
}

// Somebody has several tokens, each for less than they may do; their labels are those of the owner now, and nothing is
// left of them when the owner is gone.
func TestS17_PersonalTokens(t *testing.T) {
	labels := map[string][]string{"group": {"dev"}}
	alice := customhouse.Account{Name: "alice", Password: hash(t, "secret", 4), Labels: labels}
	s := newShop(t, alice)
	owner := customhouse.Identity{Account: "alice", Method: "users", Labels: map[string][]string{"group": {"of old"}}}
	secret, c, err := s.NewToken(t.Context(), owner, customhouse.NewCredential{Name: "laptop", Lifetime: time.Hour})
	if err != nil {
		t.Fatalf("NewToken = %v", err)
	}
	was, err := s.login("alice", secret)
	if diff := gocmp.Diff(labels, was.Labels); diff != "" || err != nil || was.Method != "tokens" || was.Scopes != nil || !was.Expires.Equal(s.now.Add(time.Hour)) {
		t.Fatalf("identity = %+v, %v\n%s", was, err, diff)
	}
	if id, err := s.chain.Authenticate(t.Context(), basic("alice", "secret")); err != nil || id.Method != "users" {
		t.Errorf("the password beside it: %+v, %v", id, err)
	}
	if _, _, err := s.NewToken(t.Context(), was, customhouse.NewCredential{Name: "more"}); !isCode(err, customhouse.Denied) {
		t.Errorf("NewToken for who came with a token = %v, want DENIED", err)
	}
	if _, err := s.chain.Authenticate(t.Context(), basic("bob", string(secret))); !errors.Is(err, authn.ErrWrongPassword) {
		t.Errorf("the token with another account = %v, want ErrWrongPassword", err)
	}
	if err := s.RevokeToken(t.Context(), customhouse.Owner{Account: "bob", Method: "users"}, c.ID); !errors.Is(err, customhouse.ErrNotFound) {
		t.Errorf("RevokeToken by another = %v, want ErrNotFound", err)
	}
	s.now = s.now.Add(time.Hour)
	s.out("expired", "alice", secret, was)

	secret, _, _ = s.NewToken(t.Context(), owner, customhouse.NewCredential{Name: "laptop"})
	was, _ = s.login("alice", secret)
	s.RevokeToken(t.Context(), customhouse.Owner{Account: "alice", Method: "users"}, was.Stamp)
	s.out("revoked", "alice", secret, was)

	secret, _, _ = s.NewToken(t.Context(), owner, customhouse.NewCredential{Name: "laptop"})
	was, _ = s.login("alice", secret)
	passwords := authn.NewPasswords(authn.PasswordOptions{})
	tokens := authn.NewPersonalTokens(s.shed, passwords, authn.MachineOptions{Memory: -1, Lookup: func(ctx context.Context, method, account string) (customhouse.Identity, error) {
		return s.chain.Lookup(ctx, method, account)
	}})
	s.set(tokens, passwords)
	s.out("its owner is gone", "alice", secret, was)

	// who cannot be looked up has the labels of the day
	blind, err := authn.NewChain(passwords, tokens, blindSource{})
	if err != nil {
		t.Fatal(err)
	}
	s.chain = blind
	owner.Method = "exec"
	secret, _, _ = s.NewToken(t.Context(), owner, customhouse.NewCredential{Name: "laptop"})
	if id, err := blind.Authenticate(t.Context(), basic("alice", string(secret))); err != nil || id.Labels["group"][0] != "of old" {
		t.Errorf("a token of somebody who cannot be looked up = %+v, %v, want the labels of then", id, err)
	}
}

// blindSource is an authenticator that cannot look anybody up, and that says so if a machine's secret reaches it.
type blindSource struct{}

func (blindSource) Name() string { return "exec" }

func (blindSource) Authenticate(_ context.Context, cred customhouse.Credential) (customhouse.Identity, error) {
	if strings.HasPrefix(string(cred.Secret), "ch") {
		return customhouse.Identity{}, errors.New("it was shown the secret of a machine")
	}
	return customhouse.Identity{}, authn.ErrUnknownUser
}

// A secret that has the form of ours is refused without a look at anything when a letter of it is wrong, and is never shown
// to another source; scanners find it.
func TestSecretsHaveAForm(t *testing.T) {
	s := newShop(t)
	robot, _, err := s.NewRobot(t.Context(), customhouse.Robot{Name: "ci"}, customhouse.NewCredential{})
	if err != nil {
		t.Fatal(err)
	}
	token, c, err := s.NewToken(t.Context(), customhouse.Identity{Account: "alice", Method: "users"}, customhouse.NewCredential{Name: "x"})
	if err != nil || c.Hash != sha256.Sum256([]byte(token)) {
		t.Fatalf("NewToken keeps %x, %v", c.Hash, err)
	}
	chain, err := authn.NewChain(authn.NewPasswords(authn.PasswordOptions{}), authn.NewPersonalTokens(s.shed, authn.NewPasswords(authn.PasswordOptions{}), authn.MachineOptions{}), s.robots, blindSource{})
	if err != nil {
		t.Fatal(err)
	}
	scanner := regexp.MustCompile(authn.SecretExpression)
	s.shed.fail() // whoever looks something up from here on fails
	for _, secret := range []customhouse.Secret{robot, token} {
		if found := scanner.FindString(`{"auth": "` + string(secret) + `"}`); found != string(secret) {
			t.Errorf("the expression finds %q of %q", found, string(secret))
		}
		last := byte('0')
		if secret[len(secret)-1] == last {
			last = '1'
		}
		typo := string(secret[:len(secret)-1]) + string(last)
		if _, err := chain.Authenticate(t.Context(), basic("alice", typo)); !errors.Is(err, authn.ErrWrongPassword) {
			t.Errorf("Authenticate with a typing error = %v, want ErrWrongPassword without a lookup", err)
		}
	}
}

// Uses are noted behind requests, and not more than once a minute.
func TestUsesAreNoted(t *testing.T) {
	s := newShop(t)
	secret, _, err := s.NewRobot(t.Context(), customhouse.Robot{Name: "ci"}, customhouse.NewCredential{})
	if err != nil {
		t.Fatal(err)
	}
	begin := s.now
	for _, later := range []time.Duration{0, time.Second, 30 * time.Second, 61 * time.Second, 62 * time.Second} {
		s.now = begin.Add(later)
		for range 20 {
			if _, err := s.login("ci", secret); err != nil {
				t.Fatal(err)
			}
		}
		s.robots.Close()
	}
	if used := s.shed.credentials[0].Used; s.shed.uses != 2 || !used.Equal(begin.Add(61*time.Second)) {
		t.Errorf("%d uses noted, the last at %v; want 2 and the begin of the second minute", s.shed.uses, used.Sub(begin))
	}
}

func TestMachinesRefuse(t *testing.T) {
	s := newShop(t)
	long := strings.Repeat("x", 300)
	for name, n := range map[string]customhouse.NewCredential{
		"no name":          {},
		"a long name":      {Name: long},
		"a control":        {Name: "a\nb"},
		"no end":           {Name: "x", Lifetime: -1},
		"too long":         {Name: "x", Lifetime: 366 * 24 * time.Hour},
		"too short":        {Name: "x", Lifetime: time.Second},
		"empty scopes":     {Name: "x", Scopes: []customhouse.Scope{}},
		"empty networks":   {Name: "x", Networks: []netip.Prefix{}},
		"a zero network":   {Name: "x", Networks: []netip.Prefix{{}}},
		"an unknown deed":  {Name: "x", Scopes: []customhouse.Scope{{Repo: "a", Actions: []customhouse.Action{"admin"}}}},
		"nothing to do":    {Name: "x", Scopes: []customhouse.Scope{{Repo: "a"}}},
		"nowhere":          {Name: "x", Scopes: []customhouse.Scope{{Actions: []customhouse.Action{"pull"}}}},
		"a long pattern":   {Name: "x", Scopes: []customhouse.Scope{{Repo: long, Actions: []customhouse.Action{"pull"}}}},
		"too many scopes":  {Name: "x", Scopes: make([]customhouse.Scope, 51)},
		"too many actions": {Name: "x", Scopes: []customhouse.Scope{{Repo: "a", Actions: slices.Repeat([]customhouse.Action{"pull"}, 20)}}},
	} {
		if _, _, err := s.NewToken(t.Context(), customhouse.Identity{Account: "alice", Method: "users"}, n); !isCode(err, customhouse.BadRequest) {
			t.Errorf("%s: NewToken = %v, want BAD_REQUEST", name, err)
		}
	}
	for _, id := range []customhouse.Identity{{}, {Account: "a"}, {Account: "a", Method: "robots"}, {Account: "a", Method: "tokens"}} {
		if _, _, err := s.NewToken(t.Context(), id, customhouse.NewCredential{Name: "x"}); !isCode(err, customhouse.Denied) {
			t.Errorf("NewToken for %+v = %v, want DENIED", id, err)
		}
	}
	if len(s.shed.credentials) != 0 {
		t.Errorf("%d credentials are kept, want none", len(s.shed.credentials))
	}
}

func isCode(err error, code customhouse.Code) bool {
	var e *customhouse.Error
	return errors.As(err, &e) && e.Code == code
}
