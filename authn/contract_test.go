package authn_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/authn"
)

// person is somebody who is known to a source.
type person struct {
	name, password string
	labels         map[string][]string
}

// account returns what sources of hashes keep of p.
func (p person) account(t testing.TB) customhouse.Account {
	t.Helper()
	return customhouse.Account{Name: p.name, Password: hash(t, p.password, 4), Labels: p.labels}
}

// party is an authenticator that has come to keep the contract.
type party struct {
	authn.Authenticator

	// Outage takes away what the authenticator asks; nil where there is nothing of the kind.
	outage func()
	// Folds tells that the source finds "Alice" when it is asked for "alice". The identity has to be alice's.
	folds bool
	// Unlabelled tells that the source has no labels.
	unlabelled bool
	// Secrets are the passwords that people have in place of those that they have chosen, by the latter, where the source
	// makes them itself. It knows them by their form, and refuses them with whatever account.
	secrets map[string]string
	// Guest tells that the accounts are those of other sources: none can be looked up.
	guest bool
}

// meetsContract holds the authenticator that start makes for people, and that is called method, to what every
// authenticator promises: each has a test that calls it. Start is called once.
func meetsContract(t *testing.T, method string, start func(t *testing.T, p *authn.Passwords, people ...person) party) {
	long := strings.Repeat("p", authn.MaxPasswordLength)
	alice := person{"alice", "secret", map[string][]string{"group": {"ci", "ops"}}}
	people := []person{alice, {name: "bob", password: long}, {name: "dévi@example.com", password: "pässword, with: everything \\ \"'*()"}}
	passwords := authn.NewPasswords(authn.PasswordOptions{})
	a := start(t, passwords, people...)
	if a.unlabelled {
		alice.labels = nil
	}
	chain, err := authn.NewChain(passwords, a.Authenticator)
	if err != nil {
		t.Fatalf("NewChain = %v", err)
	}
	if a.Name() != method {
		t.Fatalf("Name = %q, want %q", a.Name(), method)
	}
	ask := func(t *testing.T, name, password string) (customhouse.Identity, error) {
		t.Helper()
		password = cmp.Or(a.secrets[password], password)
		id, err := a.Authenticate(t.Context(), basic(name, password))
		if err != nil && !gocmp.Equal(id, customhouse.Identity{}) {
			t.Errorf("Authenticate(%q) = %+v, %v: an identity beside an error", name, id, err)
		}
		if err != nil && len(password) > 5 && strings.Contains(err.Error(), password) {
			t.Errorf("Authenticate(%q) = %v, which tells the password", name, err)
		}
		return id, err
	}

	t.Run("right", func(t *testing.T) {
		for _, p := range people {
			id, err := ask(t, p.name, p.password)
			if err != nil || id.Account != p.name || id.Method != method {
				t.Errorf("Authenticate(%q) = %+v, %v, want its identity by %s", p.name, id, err, method)
			}
		}
		id, err := ask(t, alice.name, alice.password)
		if diff := gocmp.Diff(alice.labels, id.Labels); diff != "" || err != nil {
			t.Errorf("labels differ (-want +got):\n%s%v", diff, err)
		}
	})
	t.Run("S39 S42 wrong", func(t *testing.T) {
		for _, password := range []string{"Secret", "secre", "secret ", "secret\n", "*", long} {
			_, err := ask(t, "alice", password)
			if !errors.Is(err, authn.ErrWrongPassword) && !(a.guest && errors.Is(err, authn.ErrUnknownUser)) {
				t.Errorf("Authenticate(alice, %.20q) = %v, want ErrWrongPassword", password, err)
			}
		}
		for _, password := range []string{"", "\x00", "secret\x00", "secret\x00secret", strings.Repeat("x", 1<<16)} { // may be refused without a look
			if _, err := ask(t, "alice", password); !errors.Is(err, authn.ErrWrongPassword) && !errors.Is(err, authn.ErrUnknownUser) {
				t.Errorf("Authenticate(alice, %.20q) = %v, want ErrWrongPassword or ErrUnknownUser", password, err)
			}
		}
		for _, suffix := range []string{"x", "\x00", long} {
			if _, err := ask(t, "bob", long+suffix); !errors.Is(err, authn.ErrWrongPassword) && !errors.Is(err, authn.ErrUnknownUser) {
				t.Errorf("Authenticate(bob, 72 bytes and %.3q) = %v, want a refusal", suffix, err)
			}
		}
	})
	t.Run("unknown", func(t *testing.T) {
		names := []string{
			"carol", "", "al", "alice1", "*", "al*", "a?ice", "%", "al_ce", "alice)(uid=*", "alice)(|(uid=*))", "*)(uid=alice", `alice\`, `\2a`,
			"alice,ou=people", "uid=alice", "alice+cn=x", "alice;x", `"alice"`, "<alice>", "#alice", "' OR '1'='1", "alice'--", `alice";`,
			"alice/**/", "$1", "${account}", `{"$gt":""}`, "$where", "alice.password", "-alice", "../alice", strings.Repeat("a", 255),
		}
		for _, name := range names {
			for _, password := range []string{"secret", ""} {
				_, err := ask(t, name, password)
				if own := password != "" && a.secrets != nil; !errors.Is(err, authn.ErrUnknownUser) && !(own && errors.Is(err, authn.ErrWrongPassword)) {
					t.Errorf("Authenticate(%.40q, %q) = %v, want ErrUnknownUser", name, password, err)
				}
			}
		}
	})
	t.Run("S40 spellings", func(t *testing.T) {
		for _, name := range []string{
			"Alice", "ALICE", "ａｌｉｃｅ", "al\u0131ce", "аlice", "alice\u0301", "de\u0301vi@example.com", "devi@example.com", "DÉVI@example.com",
			" alice", "alice ", "alice\x00", "alice\n", "\u202ealice", "alice\u200b", "al:ice", "alice\xff", strings.Repeat("a", 1024), "alice\x00" + strings.Repeat("a", 1024),
		} {
			id, err := chain.Authenticate(t.Context(), basic(name, cmp.Or(a.secrets["secret"], "secret")))
			switch {
			case errors.Is(err, authn.ErrUnknownUser), errors.Is(err, authn.ErrWrongPassword) && (a.folds || a.secrets != nil):
			case err == nil && a.folds && id.Account == "alice":
			default:
				t.Errorf("Authenticate(%q) = %+v, %v, want ErrUnknownUser", name, id, err)
			}
		}
	})
	t.Run("lookup", func(t *testing.T) {
		d, ok := a.Authenticator.(authn.Directory)
		if !ok || a.guest {
			return // it is no directory
		}
		for _, p := range people {
			want, err := ask(t, p.name, p.password)
			if err != nil {
				t.Fatalf("Authenticate(%q) = %v", p.name, err)
			}
			for range 2 { // the second may be from memory
				got, err := d.Lookup(t.Context(), p.name)
				if diff := gocmp.Diff(want, got); diff != "" || err != nil {
					t.Errorf("Lookup(%q) (-authenticated +looked up):\n%s%v", p.name, diff, err)
				}
			}
		}
		for _, name := range []string{"carol", "", "*", "alice)(uid=*", "alice'--", "alice\x00"} {
			if id, err := d.Lookup(t.Context(), name); !errors.Is(err, authn.ErrUnknownUser) {
				t.Errorf("Lookup(%q) = %+v, %v, want ErrUnknownUser", name, id, err)
			}
		}
	})
	t.Run("together", func(t *testing.T) {
		var wg sync.WaitGroup
		for i := range 24 {
			wg.Go(func() {
				name, password, want := "alice", "secret", error(nil)
				switch i % 3 {
				case 1:
					password, want = fmt.Sprint("guess", i), authn.ErrWrongPassword
				case 2:
					name, want = fmt.Sprint("nobody", i), authn.ErrUnknownUser
				}
				id, err := a.Authenticate(t.Context(), basic(name, cmp.Or(a.secrets[password], password)))
				if a.guest && want != nil && errors.Is(err, authn.ErrUnknownUser) || a.secrets != nil && errors.Is(want, authn.ErrUnknownUser) && errors.Is(err, authn.ErrWrongPassword) {
					return // it knows its secrets by their form, and no account
				}
				if !errors.Is(err, want) || err == nil && id.Account != name {
					t.Errorf("Authenticate(%q) = %+v, %v, want %v", name, id, err, want)
				}
			})
		}
		wg.Wait()
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, name := range []string{"alice", "carol"} {
			_, err := a.Authenticate(ctx, basic(name, cmp.Or(a.secrets["secret"], "secret")))
			if a.outage == nil { // who has all at hand may answer
				continue
			}
			if err == nil || errors.Is(err, authn.ErrUnknownUser) || errors.Is(err, authn.ErrWrongPassword) {
				t.Errorf("Authenticate(%q) after its caller left = %v, want that it cannot tell", name, err)
			}
		}
		if _, err := ask(t, "alice", "secret"); err != nil {
			t.Errorf("Authenticate after others left = %v", err)
		}
	})
	t.Run("S44 outage", func(t *testing.T) {
		if a.outage == nil {
			return // it has all at hand
		}
		a.outage()
		for _, name := range []string{"alice", "carol", "alice"} {
			begin := time.Now()
			_, err := ask(t, name, "secret")
			if err == nil || errors.Is(err, authn.ErrUnknownUser) || errors.Is(err, authn.ErrWrongPassword) {
				t.Errorf("Authenticate(%q) while its source is away = %v, want that it cannot tell", name, err)
			}
			if took := time.Since(begin); took > 20*time.Second {
				t.Errorf("Authenticate(%q) while its source is away took %v, want 5s", name, took)
			}
		}
	})
}

func TestContractUsers(t *testing.T) {
	meetsContract(t, "users", func(t *testing.T, p *authn.Passwords, people ...person) party {
		var accounts []customhouse.Account
		for _, someone := range people {
			accounts = append(accounts, someone.account(t))
		}
		return party{Authenticator: sources["users"](t, p, accounts...)}
	})
}

func TestContractHtpasswd(t *testing.T) {
	meetsContract(t, "htpasswd", func(t *testing.T, p *authn.Passwords, people ...person) party {
		var accounts []customhouse.Account
		for _, someone := range people {
			accounts = append(accounts, someone.account(t))
		}
		return party{Authenticator: sources["htpasswd"](t, p, accounts...), unlabelled: true}
	})
}

func TestContractAccounts(t *testing.T) {
	meetsContract(t, "accounts", func(t *testing.T, p *authn.Passwords, people ...person) party {
		s := &store{accounts: map[string]customhouse.Account{}}
		for _, someone := range people {
			s.accounts[someone.name] = someone.account(t)
		}
		return party{
			Authenticator: authn.NewAccounts(s, p, authn.AccountsOptions{}),
			outage:        func() { s.err = errors.New("connection refused") },
		}
	})
}
