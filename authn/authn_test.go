package authn_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"

	"customhouse"
	"customhouse/authn"
)

// hash returns a cheap bcrypt hash.
func hash(t testing.TB, password string, cost int) customhouse.Secret {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	if err != nil {
		t.Fatalf("GenerateFromPassword = %v", err)
	}
	return customhouse.Secret(h)
}

func basic(account, password string) customhouse.Credential {
	return customhouse.Credential{Scheme: customhouse.Basic, Account: account, Secret: customhouse.Secret(password)}
}

// store is an AccountSource in memory.
type store struct {
	accounts map[string]customhouse.Account
	err      error

	mu    sync.Mutex
	asked int
}

func (s *store) Account(ctx context.Context, name string) (customhouse.Account, error) {
	s.mu.Lock()
	s.asked++
	s.mu.Unlock()
	if err := errors.Join(s.err, ctx.Err()); err != nil {
		return customhouse.Account{}, err
	}
	a, ok := s.accounts[name]
	if !ok {
		return customhouse.Account{}, fmt.Errorf("account %q: %w", name, customhouse.ErrNotFound)
	}
	return a, nil
}

func writeHtpasswd(t testing.TB, accounts ...customhouse.Account) string {
	t.Helper()
	var b strings.Builder
	for _, a := range accounts {
		fmt.Fprintf(&b, "%s:%s\n", a.Name, string(a.Password))
	}
	path := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// source makes an authenticator for accounts.
type source func(testing.TB, *authn.Passwords, ...customhouse.Account) authn.Authenticator

// sources are all the implementations.
var sources = map[string]source{
	"users": func(t testing.TB, p *authn.Passwords, accounts ...customhouse.Account) authn.Authenticator {
		s, err := authn.NewStatic(accounts, p)
		if err != nil {
			t.Fatalf("NewStatic = %v", err)
		}
		return s
	},
	"htpasswd": func(t testing.TB, p *authn.Passwords, accounts ...customhouse.Account) authn.Authenticator {
		h, err := authn.NewHtpasswd(writeHtpasswd(t, accounts...), p, authn.HtpasswdOptions{})
		if err != nil {
			t.Fatalf("NewHtpasswd = %v", err)
		}
		return h
	},
	"accounts": func(t testing.TB, p *authn.Passwords, accounts ...customhouse.Account) authn.Authenticator {
		s := &store{accounts: map[string]customhouse.Account{}}
		for _, a := range accounts {
			s.accounts[a.Name] = a
		}
		return authn.NewAccounts(s, p, authn.AccountsOptions{})
	},
}

func TestAuthenticators(t *testing.T) {
	long := strings.Repeat("p", 72)
	alice := customhouse.Account{Name: "alice", Password: hash(t, "secret", 4)}
	bob := customhouse.Account{Name: "bob", Password: hash(t, long, 5)}
	for name, make := range sources {
		t.Run(name, func(t *testing.T) {
			a := make(t, authn.NewPasswords(authn.PasswordOptions{}), alice, bob)
			if a.Name() != name {
				t.Fatalf("Name = %q, want %q", a.Name(), name)
			}
			for _, tt := range []struct {
				cred customhouse.Credential
				want error
			}{
				{basic("alice", "secret"), nil},
				{basic("bob", long), nil},
				{basic("alice", "Secret"), authn.ErrWrongPassword},
				{basic("alice", ""), authn.ErrWrongPassword},
				{basic("alice", "secret\x00secret"), authn.ErrWrongPassword}, // bcrypt cannot tell it from "secret"
				{basic("bob", long+"x"), authn.ErrWrongPassword},             // nor this from long
				{basic("carol", "secret"), authn.ErrUnknownUser},
				{basic("Alice", "secret"), authn.ErrUnknownUser},
				{basic("alice ", "secret"), authn.ErrUnknownUser},
				{basic("", ""), authn.ErrUnknownUser},
			} {
				id, err := a.Authenticate(t.Context(), tt.cred)
				if !errors.Is(err, tt.want) {
					t.Errorf("Authenticate(%q) = %v, want %v", tt.cred.Account, err, tt.want)
				}
				if err == nil && (id.Account != tt.cred.Account || id.Method != name || id.Stamp == "") {
					t.Errorf("Authenticate(%q) = %+v", tt.cred.Account, id)
				}
				if strings.Contains(string(alice.Password), id.Stamp) && id.Stamp != "" {
					t.Errorf("the stamp %q is a part of the hash", id.Stamp)
				}
			}
			d := a.(authn.Directory)
			got, err := d.Lookup(t.Context(), "alice")
			if err != nil {
				t.Fatalf("Lookup = %v", err)
			}
			want, err := a.Authenticate(t.Context(), basic("alice", "secret"))
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Fatalf("Lookup (-authenticated +looked up):\n%s%v", diff, err)
			}
			if _, err := d.Lookup(t.Context(), "carol"); !errors.Is(err, authn.ErrUnknownUser) {
				t.Fatalf("Lookup(carol) = %v, want ErrUnknownUser", err)
			}
			other, err := make(t, authn.NewPasswords(authn.PasswordOptions{}), customhouse.Account{Name: "alice", Password: hash(t, "secret", 4)}).(authn.Directory).Lookup(t.Context(), "alice")
			if err != nil || other.Stamp == got.Stamp {
				t.Fatalf("the stamp of a new hash is %q, of the former %q (%v)", other.Stamp, got.Stamp, err)
			}
		})
	}
}

// TestS40NamesAreComparedAsTheyAre shows that no spelling of a name reaches somebody else's account or a source.
func TestS40NamesAreComparedAsTheyAre(t *testing.T) {
	s := &store{accounts: map[string]customhouse.Account{}}
	for _, name := range []string{"alice", "José"} {
		s.accounts[name] = customhouse.Account{Name: name, Password: hash(t, "secret", 4)}
	}
	p := authn.NewPasswords(authn.PasswordOptions{})
	chain, err := authn.NewChain(p, authn.NewAccounts(s, p, authn.AccountsOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alice", "José"} {
		if id, err := chain.Authenticate(t.Context(), basic(name, "secret")); err != nil || id.Account != name {
			t.Fatalf("Authenticate(%q) = %+v, %v", name, id, err)
		}
	}
	for _, name := range []string{"Alice", "ALICE", "Jose\u0301", "ａｌｉｃｅ", "al\u0131ce", "аlice"} {
		if _, err := chain.Authenticate(t.Context(), basic(name, "secret")); !errors.Is(err, authn.ErrUnknownUser) {
			t.Errorf("Authenticate(%+q) = %v, want ErrUnknownUser", name, err)
		}
	}
	s.asked = 0
	for _, name := range []string{"", " alice", "alice ", "alice\x00", "alice\n", "\u202ealice", "alice\u200b", "al:ice", "alice\xff", strings.Repeat("a", 1024)} {
		if _, err := chain.Authenticate(t.Context(), basic(name, "secret")); !errors.Is(err, authn.ErrUnknownUser) {
			t.Errorf("Authenticate(%+q) = %v, want ErrUnknownUser", name, err)
		}
	}
	if s.asked != 0 {
		t.Fatalf("the source was asked %d times for names that cannot be", s.asked)
	}
}

// stub is an authenticator that answers as it is told, and no Directory.
type stub struct {
	name string
	err  error
}

func (s stub) Name() string { return s.name }

func (s stub) Authenticate(_ context.Context, c customhouse.Credential) (customhouse.Identity, error) {
	return customhouse.Identity{Account: c.Account, Method: s.name}, s.err
}

// known is a stub with a Directory.
type known struct{ stub }

func (k known) Lookup(_ context.Context, account string) (customhouse.Identity, error) {
	return customhouse.Identity{Account: account, Method: k.name}, k.err
}

// TestS44Chain shows who decides, and that an outage never lets anybody in.
func TestS44Chain(t *testing.T) {
	outage := errors.New("connection refused")
	unknown, wrong := authn.ErrUnknownUser, authn.ErrWrongPassword
	for _, tt := range []struct {
		name    string
		members []error
		method  string
		want    error
	}{
		{"nobody", nil, "", unknown},
		{"the first", []error{nil, nil}, "0", nil},
		{"the second", []error{unknown, nil}, "1", nil},
		{"wrong stops", []error{wrong, nil}, "", wrong},
		{"all unknown", []error{unknown, unknown}, "", unknown},
		{"outage alone", []error{outage}, "", outage},
		{"outage and unknown", []error{unknown, outage, unknown}, "", outage},
		{"outage, and another knows", []error{outage, nil}, "1", nil},
		{"outage, and another knows better", []error{outage, wrong}, "", wrong},
		{"busy", []error{authn.ErrBusy, nil}, "", authn.ErrBusy},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var members []authn.Authenticator
			for i, err := range tt.members {
				members = append(members, stub{fmt.Sprint(i), err})
			}
			chain, err := authn.NewChain(authn.NewPasswords(authn.PasswordOptions{}), members...)
			if err != nil {
				t.Fatal(err)
			}
			id, err := chain.Authenticate(t.Context(), basic("alice", "secret"))
			if !errors.Is(err, tt.want) || err == nil && id.Method != tt.method {
				t.Fatalf("Authenticate = %+v, %v, want %q, %v", id, err, tt.method, tt.want)
			}
		})
	}
	if _, err := authn.NewChain(nil, stub{"a", nil}, stub{"a", nil}); err == nil {
		t.Fatalf("NewChain with one name twice = nil, want an error")
	}
}

func TestChainLookup(t *testing.T) {
	unknown, outage := authn.ErrUnknownUser, errors.New("connection refused")
	for _, tt := range []struct {
		name    string
		members []authn.Authenticator
		want    error
	}{
		{"present", []authn.Authenticator{known{stub{"m", nil}}}, nil},
		{"gone", []authn.Authenticator{known{stub{"m", unknown}}}, unknown},
		{"outage", []authn.Authenticator{known{stub{"m", outage}}}, outage},
		{"no directory", []authn.Authenticator{stub{"m", nil}}, authn.ErrCannotLookUp},
		{"the method has left", []authn.Authenticator{known{stub{"other", unknown}}}, unknown},
		{"another owns it by now", []authn.Authenticator{known{stub{"first", nil}}, known{stub{"m", nil}}}, unknown},
		{"another knows nothing", []authn.Authenticator{known{stub{"first", unknown}}, known{stub{"m", nil}}}, nil},
		{"another is down", []authn.Authenticator{known{stub{"first", outage}}, known{stub{"m", nil}}}, nil},
		{"a later one does not matter", []authn.Authenticator{known{stub{"m", nil}}, known{stub{"later", outage}}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			chain, err := authn.NewChain(authn.NewPasswords(authn.PasswordOptions{}), tt.members...)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := chain.Lookup(t.Context(), "m", "alice"); !errors.Is(err, tt.want) {
				t.Fatalf("Lookup = %v, want %v", err, tt.want)
			}
		})
	}
}

func TestNewStaticRefuses(t *testing.T) {
	good := hash(t, "secret", 4)
	for _, accounts := range [][]customhouse.Account{
		{{Name: "alice", Password: good}, {Name: "alice", Password: good}},
		{{Name: "", Password: good}},
		{{Name: "a b", Password: good}},
		{{Name: "alice"}},
		{{Name: "alice", Password: "secret"}},
	} {
		_, err := authn.NewStatic(accounts, authn.NewPasswords(authn.PasswordOptions{}))
		if err == nil {
			t.Errorf("NewStatic(%v) = nil, want an error", accounts)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("NewStatic = %v, which tells the password", err)
		}
	}
}
