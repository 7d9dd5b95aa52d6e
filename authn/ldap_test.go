package authn_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
	"github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/authn"
	"customhouse/e2e/backend"
)

// secretFile returns a file with a secret in it, as editors leave it.
func secretFile(t testing.TB, secret string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// of returns options for a server, which searches as the reader.
func of(t testing.TB, servers ...*backend.Slapd) authn.LDAPOptions {
	t.Helper()
	o := authn.LDAPOptions{
		CA: servers[0].CA, BindDN: backend.ReaderDN, PasswordFile: secretFile(t, backend.ReaderPassword),
		Base: "ou=people," + backend.Suffix, Filter: "(uid=${account})",
		Groups: authn.LDAPGroups{Base: "ou=groups," + backend.Suffix, Filter: "(member=${dn})"},
	}
	for _, s := range servers {
		o.Servers = append(o.Servers, s.URL)
	}
	return o
}

func newLDAP(t testing.TB, o authn.LDAPOptions) authn.Authenticator {
	t.Helper()
	a, err := authn.NewLDAP(authn.NewPasswords(authn.PasswordOptions{}), o)
	if err != nil {
		t.Fatalf("NewLDAP = %v", err)
	}
	return a
}

// populate fills a server with people and the groups of their label.
func populate(s *backend.Slapd, people ...person) {
	members := map[string][]string{}
	for _, p := range people {
		dn := s.AddPerson(p.name, p.password)
		for _, group := range p.labels["group"] {
			members[group] = append(members[group], dn)
		}
	}
	for group, dns := range members {
		s.AddGroup(group, dns...)
	}
}

func TestContractLDAP(t *testing.T) {
	for name, change := range map[string]func(*authn.LDAPOptions, *backend.Slapd){
		"StartTLS":  func(*authn.LDAPOptions, *backend.Slapd) {},
		"LDAPS":     func(o *authn.LDAPOptions, s *backend.Slapd) { o.Servers = []string{s.TLS} },
		"plaintext": func(o *authn.LDAPOptions, s *backend.Slapd) { o.Plaintext, o.CA = true, "" },
		"memberOf": func(o *authn.LDAPOptions, s *backend.Slapd) {
			o.Groups = authn.LDAPGroups{}
			o.Labels = map[string]authn.LDAPLabel{"group": {Attribute: "memberOf", ParseCN: true}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			meetsContract(t, "ldap", func(t *testing.T, p *authn.Passwords, people ...person) party {
				s := backend.NewSlapd(t)
				populate(s, people...)
				o := of(t, s)
				change(&o, s)
				a, err := authn.NewLDAP(p, o)
				if err != nil {
					t.Fatalf("NewLDAP = %v", err)
				}
				return party{Authenticator: a, outage: s.Stop, folds: true}
			})
		})
	}
}

// TestLDAPGroups shows each way of finding groups.
func TestLDAPGroups(t *testing.T) {
	s := backend.NewSlapd(t)
	alice := s.AddPerson("alice", "secret", "title", "Über-Chef", "title", "cn=Dev Ops,ou=x", "title", "cn=a\\,b+ou=c,dc=d", "employeeType", "Staff")
	bob := s.AddPerson("bob", "secret", "objectClass", "posixAccount", "uidNumber", "1001", "gidNumber", "5001", "homeDirectory", "/")
	dev := s.AddGroup("Dev", alice)
	ops := s.AddGroup("ops", dev)
	all := s.AddGroup("all", ops, bob)
	s.AddGroup("all too", all, alice)
	s.Add("cn=posix,ou=groups,"+backend.Suffix, "objectClass", "posixGroup", "cn", "posix", "gidNumber", "5000", "memberUid", "alice", "memberUid", "bob")
	s.Add("cn=primary,ou=groups,"+backend.Suffix, "objectClass", "posixGroup", "cn", "primary", "gidNumber", "5001")
	modify := ldap.NewModifyRequest(dev, nil) // a circle
	modify.Add("member", []string{all})
	if err := s.Admin().Modify(modify); err != nil {
		t.Fatal(err)
	}
	groups := func(filter string) authn.LDAPGroups {
		return authn.LDAPGroups{Base: "ou=groups," + backend.Suffix, Filter: filter}
	}
	nested := groups("(member=${dn})")
	nested.Nested = true
	lower := groups("(member=${dn})")
	lower.LowerCase, lower.Label = true, "teams"
	for name, tt := range map[string]struct {
		account string
		groups  authn.LDAPGroups
		labels  map[string]authn.LDAPLabel
		want    map[string][]string
	}{
		"none":              {"alice", authn.LDAPGroups{}, nil, nil},
		"members":           {"alice", groups("(member=${dn})"), nil, map[string][]string{"group": {"Dev", "all too"}}},
		"groups of groups":  {"alice", nested, nil, map[string][]string{"group": {"Dev", "all", "all too", "ops"}}},
		"lower case":        {"alice", lower, nil, map[string][]string{"teams": {"all too", "dev"}}},
		"memberUid":         {"alice", groups("(&(objectClass=posixGroup)(memberUid=${account}))"), nil, map[string][]string{"group": {"posix"}}},
		"primary group":     {"bob", groups("(&(objectClass=posixGroup)(|(memberUid=${account})(gidNumber=${gidNumber})))"), nil, map[string][]string{"group": {"posix", "primary"}}},
		"no primary group":  {"alice", groups("(&(objectClass=posixGroup)(|(memberUid=${account})(gidNumber=${gidNumber})))"), nil, map[string][]string{"group": {"posix"}}},
		"memberOf":          {"alice", authn.LDAPGroups{}, map[string]authn.LDAPLabel{"group": {Attribute: "memberof", ParseCN: true}}, map[string][]string{"group": {"Dev", "all too"}}},
		"no such attribute": {"alice", authn.LDAPGroups{}, map[string]authn.LDAPLabel{"group": {Attribute: "nothing"}}, nil},
		"no DN is no CN":    {"alice", authn.LDAPGroups{}, map[string]authn.LDAPLabel{"title": {Attribute: "title", ParseCN: true}}, map[string][]string{"title": {"Dev Ops", "a,b"}}},
		"two of one": {
			"alice", authn.LDAPGroups{},
			map[string]authn.LDAPLabel{
				"low": {Attribute: "employeeType", LowerCase: true}, "kept": {Attribute: "employeeType"}, "cn": {Attribute: "employeeType", ParseCN: true},
			},
			map[string][]string{"low": {"staff"}, "kept": {"Staff"}},
		},
		"search and attribute": {
			"alice", groups("(member=${dn})"), map[string]authn.LDAPLabel{"group": {Attribute: "employeeType"}}, map[string][]string{"group": {"Dev", "Staff", "all too"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := of(t, s)
			o.Groups, o.Labels = tt.groups, tt.labels
			a := newLDAP(t, o)
			id, err := a.Authenticate(t.Context(), basic(tt.account, "secret"))
			if diff := cmp.Diff(tt.want, id.Labels); diff != "" || err != nil {
				t.Errorf("labels differ (-want +got):\n%s%v", diff, err)
			}
		})
	}
}

// TestS40_LDAPAccount: the account is what its entry says, whatever was typed.
func TestS40_LDAPAccount(t *testing.T) {
	s := backend.NewSlapd(t)
	s.AddPerson("alice", "secret", "mail", "Alice@Example.com", "mail", "boss@example.com", "employeeType", "staff")
	s.AddPerson("bob", "other", "mail", "boss@example.com", "mail", "bob@example.com")
	o := of(t, s)
	o.Filter, o.Account, o.Groups, o.Memory = "(|(&(uid=${account})(employeeType=staff))(mail=${account}))", "uid", authn.LDAPGroups{}, -1
	a := newLDAP(t, o)
	for _, typed := range []string{"alice", "ALICE", "alice@example.com", "ALICE@EXAMPLE.COM"} {
		if id, err := a.Authenticate(t.Context(), basic(typed, "secret")); err != nil || id.Account != "alice" {
			t.Errorf("Authenticate(%q) = %+v, %v, want alice", typed, id, err)
		}
	}
	if _, err := a.Authenticate(t.Context(), basic("boss@example.com", "secret")); !errors.Is(err, authn.ErrWrongPassword) || !strings.Contains(err.Error(), "several entries") {
		t.Errorf("Authenticate of two = %v, want a refusal that says so", err)
	}
	d := a.(authn.Directory)
	first, err := d.Lookup(t.Context(), "alice")
	if err != nil || first.Account != "alice" {
		t.Fatalf("Lookup(alice) = %+v, %v", first, err)
	}
	for _, other := range []string{"ALICE", "alice@example.com"} { // nobody has been called that
		if id, err := d.Lookup(t.Context(), other); !errors.Is(err, authn.ErrUnknownUser) {
			t.Errorf("Lookup(%q) = %+v, %v, want ErrUnknownUser", other, id, err)
		}
	}
	if err := s.Admin().Del(ldap.NewDelRequest("uid=alice,ou=people,"+backend.Suffix, nil)); err != nil {
		t.Fatal(err)
	}
	if id, err := d.Lookup(t.Context(), "alice"); !errors.Is(err, authn.ErrUnknownUser) {
		t.Errorf("Lookup of who was deleted = %+v, %v, want ErrUnknownUser", id, err)
	}
	s.AddPerson("alice", "secret", "employeeType", "staff")
	if second, err := d.Lookup(t.Context(), "alice"); err != nil || second.Stamp == first.Stamp || second.Stamp == "" {
		t.Errorf("Lookup of another alice = %+v, %v, want another stamp than %s", second, err, first.Stamp)
	}
}

// TestA16_LDAPSpelling: whoever is spelled as an account of an earlier source is not that account, whatever was typed.
func TestA16_LDAPSpelling(t *testing.T) {
	s := backend.NewSlapd(t)
	s.AddPerson("admin", "secret", "mail", "admin@example.com")
	s.AddPerson("alice", "secret")
	passwords := authn.NewPasswords(authn.PasswordOptions{})
	users, err := authn.NewStatic([]customhouse.Account{{Name: "admin", Password: hash(t, "other", 4)}}, passwords)
	if err != nil {
		t.Fatal(err)
	}
	o := of(t, s)
	o.Filter, o.Account, o.Groups = "(|(uid=${account})(mail=${account}))", "uid", authn.LDAPGroups{}
	asUser := o
	asUser.BindAsUser, asUser.BindDN, asUser.PasswordFile = true, "uid=${account},ou=people,"+backend.Suffix, ""
	for _, o := range []authn.LDAPOptions{o, asUser} {
		chain, err := authn.NewChain(passwords, users, newLDAP(t, o))
		if err != nil {
			t.Fatal(err)
		}
		for _, typed := range []string{"admin", "ADMIN", "Admin", "admin@example.com"} {
			if id, err := chain.Authenticate(t.Context(), basic(typed, "secret")); !errors.Is(err, authn.ErrWrongPassword) || id.Account != "" {
				t.Errorf("Authenticate(%q) = %+v, %v, want ErrWrongPassword", typed, id, err)
			}
		}
		if id, err := chain.Authenticate(t.Context(), basic("ALICE", "secret")); err != nil || id.Account != "alice" {
			t.Errorf("Authenticate(ALICE) = %+v, %v, want alice", id, err)
		}
	}
}

func TestLDAPBindAsUser(t *testing.T) {
	s := backend.NewSlapd(t)
	populate(s, person{"alice", "secret", map[string][]string{"group": {"ci"}}}, person{name: "bob", password: "other"})
	o := of(t, s)
	o.BindAsUser, o.BindDN, o.PasswordFile = true, "uid=${account},ou=people,"+backend.Suffix, ""
	a := newLDAP(t, o)
	if _, ok := a.(authn.Directory); ok {
		t.Error("it is a Directory, without a name of its own to look up under")
	}
	for range 3 {
		id, err := a.Authenticate(t.Context(), basic("alice", "secret"))
		if err != nil || id.Account != "alice" || !cmp.Equal(id.Labels, map[string][]string{"group": {"ci"}}) {
			t.Fatalf("Authenticate = %+v, %v", id, err)
		}
	}
	for _, name := range []string{"alice", "carol"} { // the server does not tell which of the two it is
		if _, err := a.Authenticate(t.Context(), basic(name, "wrong")); !errors.Is(err, authn.ErrWrongPassword) {
			t.Errorf("Authenticate(%q) = %v, want ErrWrongPassword", name, err)
		}
	}
}

// TestS40_LDAPBindAsUser: whose password it is and whose entry is found are one and the same.
func TestS40_LDAPBindAsUser(t *testing.T) {
	s := backend.NewSlapd(t)
	s.AddPerson("alice", "secret", "mail", "alice@example.com", "mail", "alice")
	s.AddPerson("alice@example.com", "other") // who has chosen that name
	o := of(t, s)
	o.BindAsUser, o.BindDN, o.PasswordFile = true, "UID=${account}, ou=people,"+backend.Suffix, ""
	o.Filter, o.Account, o.Groups = "(mail=${account})", "uid", authn.LDAPGroups{}
	a := newLDAP(t, o)
	if id, err := a.Authenticate(t.Context(), basic("alice@example.com", "other")); !errors.Is(err, authn.ErrWrongPassword) {
		t.Errorf("Authenticate with another's password = %+v, %v, want ErrWrongPassword", id, err)
	}
	if id, err := a.Authenticate(t.Context(), basic("alice", "secret")); err != nil || id.Account != "alice" {
		t.Errorf("Authenticate = %+v, %v, want alice", id, err)
	}
}

// TestR48_LDAPOutage: the next server takes over; while all are away what they said last holds for the time of grace,
// and as soon as one is back it is asked.
func TestR48_LDAPOutage(t *testing.T) {
	first, second := backend.NewSlapd(t), backend.NewSlapd(t)
	alice := person{"alice", "secret", map[string][]string{"group": {"ci"}}}
	populate(first, alice)
	populate(second, alice)
	var later atomic.Int64 // nanoseconds
	o := of(t, first, second)
	o.CA, o.Plaintext, o.Timeout, o.Memory, o.Grace = "", true, 2*time.Second, 30*time.Second, 5*time.Minute
	o.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	a := newLDAP(t, o)
	d := a.(authn.Directory)
	login := func(password string) error {
		_, err := a.Authenticate(t.Context(), basic("alice", password))
		return err
	}
	eventually := func(what string, f func() error) {
		t.Helper()
		begin := time.Now()
		for {
			err := f()
			if err == nil {
				return
			}
			if time.Since(begin) > 30*time.Second {
				t.Fatalf("%s: %v after 30s", what, err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	if err := login("secret"); err != nil {
		t.Fatal(err)
	}
	first.Stop()
	for range 3 {
		if err := login("secret"); err != nil {
			t.Fatalf("Authenticate with the first server away = %v", err)
		}
	}
	if err := login("wrong"); !errors.Is(err, authn.ErrWrongPassword) {
		t.Fatalf("Authenticate with the first server away = %v, want ErrWrongPassword", err)
	}
	first.Start()
	second.Stop()
	eventually("back on the first", func() error { return login("secret") })
	first.Stop()
	if err := login("secret"); err == nil || errors.Is(err, authn.ErrWrongPassword) || errors.Is(err, authn.ErrUnknownUser) {
		t.Fatalf("Authenticate with all servers away = %v, want that it cannot tell", err)
	}
	lookup := func() error {
		id, err := d.Lookup(t.Context(), "alice")
		if err == nil && !cmp.Equal(id.Labels, alice.labels) {
			return fmt.Errorf("the labels %v", id.Labels)
		}
		return err
	}
	for _, after := range []time.Duration{0, time.Minute, 4 * time.Minute} {
		later.Store(int64(after))
		if err := lookup(); err != nil {
			t.Errorf("Lookup %v into the outage = %v", after, err)
		}
	}
	later.Store(int64(6 * time.Minute))
	if err := lookup(); err == nil || errors.Is(err, authn.ErrUnknownUser) {
		t.Errorf("Lookup after the time of grace = %v, want that it cannot tell", err)
	}
	if _, err := d.Lookup(t.Context(), "nobody"); err == nil || errors.Is(err, authn.ErrUnknownUser) {
		t.Errorf("Lookup of who was never seen = %v, want that it cannot tell", err)
	}
	second.Start()
	eventually("recovery", lookup)
	eventually("recovery", func() error { return login("secret") })

	second.AddGroup("late", "uid=alice,ou=people,"+backend.Suffix)
	if err := lookup(); err != nil {
		t.Errorf("Lookup within its memory = %v", err)
	}
	later.Add(int64(31 * time.Second))
	if id, err := d.Lookup(t.Context(), "alice"); err != nil || !slices.Contains(id.Labels["group"], "late") {
		t.Errorf("Lookup after a change = %+v, %v, want the new group", id, err)
	}
	if err := a.(io.Closer).Close(); err != nil {
		t.Fatal(err)
	}
	if err := login("secret"); err != nil {
		t.Errorf("Authenticate after Close = %v, want that it works on", err)
	}
}

// TestS44_LDAPSilence: a server that takes connections and says nothing holds nobody up for longer than it may, and
// those who come after it is known not at all.
func TestS44_LDAPSilence(t *testing.T) {
	silent := record(t, "127.0.0.1:0")
	silent.onSearch = func(net.Conn, int64) {}
	s := backend.NewSlapd(t)
	populate(s, person{name: "alice", password: "secret"})
	o := of(t, s)
	o.CA, o.Plaintext, o.Timeout, o.Servers, o.BindDN, o.PasswordFile = "", true, 2*time.Second, []string{silent.url}, "", ""
	alone := newLDAP(t, o)
	begin := time.Now()
	if _, err := alone.Authenticate(t.Context(), basic("alice", "secret")); err == nil || time.Since(begin) > 10*time.Second {
		t.Errorf("Authenticate = %v after %v, want an error after 2s", err, time.Since(begin))
	}
	begin = time.Now()
	for range 50 {
		alone.Authenticate(t.Context(), basic("alice", "secret"))
	}
	if took := time.Since(begin); took > 20*time.Second { // 100 s if each of them waited
		t.Errorf("50 more took %v", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	o.Timeout = time.Minute
	begin = time.Now()
	if _, err := newLDAP(t, o).Authenticate(ctx, basic("alice", "secret")); err == nil || time.Since(begin) > 10*time.Second {
		t.Errorf("Authenticate whose caller leaves = %v after %v", err, time.Since(begin))
	}

	refusing := record(t, "127.0.0.1:0") // our own name is refused: a mistake of ours, the next may know it
	both := of(t, s)
	both.CA, both.Plaintext, both.Servers = "", true, []string{refusing.url, s.URL}
	if _, err := newLDAP(t, both).Authenticate(t.Context(), basic("alice", "secret")); err != nil {
		t.Errorf("Authenticate where the first server refuses us = %v", err)
	}
}

// TestS36_LDAP: a wrong password takes as long as an unknown account, whatever else is in the chain.
func TestS36_LDAP(t *testing.T) {
	const pairs = 15
	s := backend.NewSlapd(t)
	populate(s, person{name: "alice", password: "secret"})
	p := authn.NewPasswords(authn.PasswordOptions{})
	a, err := authn.NewLDAP(p, of(t, s))
	if err != nil {
		t.Fatal(err)
	}
	chain, err := authn.NewChain(p, a, sources["users"](t, p, customhouse.Account{Name: "carol", Password: hash(t, "secret", 9)}))
	if err != nil {
		t.Fatal(err)
	}
	for range 5 { // a machine that is busy with something else may take another look
		var known, unknown []time.Duration
		for i := range pairs {
			known = append(known, timed(t, chain, basic([]string{"alice", "carol"}[i%2], "wrong")))
			unknown = append(unknown, timed(t, chain, basic("nobody", "wrong")))
		}
		slices.Sort(known)
		slices.Sort(unknown)
		if off := (known[pairs/2] - unknown[pairs/2]).Abs(); off <= max(5*time.Millisecond, known[pairs/2]/8) { // an eighth, where hashes take longer
			return
		}
	}
	t.Fatal("the medians are more than 5ms apart, five times")
}

func TestNewLDAPRefuses(t *testing.T) {
	good := authn.LDAPOptions{Servers: []string{"ldap://127.0.0.1"}, Filter: "(uid=${account})"}
	for name, tt := range map[string]struct {
		change func(*authn.LDAPOptions)
		want   string
	}{
		"no server":              {func(o *authn.LDAPOptions) { o.Servers = nil }, "no servers"},
		"address":                {func(o *authn.LDAPOptions) { o.Servers = []string{"127.0.0.1:389"} }, "want ldap://"},
		"scheme":                 {func(o *authn.LDAPOptions) { o.Servers = []string{"https://127.0.0.1"} }, "want ldap://"},
		"filter":                 {func(o *authn.LDAPOptions) { o.Filter = "(uid=${account}" }, "not an LDAP filter"},
		"everybody":              {func(o *authn.LDAPOptions) { o.Filter = "(uid=alice)" }, "everybody"},
		"which attribute":        {func(o *authn.LDAPOptions) { o.Filter = "(|(uid=${account})(mail=${account}))" }, "2 attributes"},
		"none":                   {func(o *authn.LDAPOptions) { o.Filter = "(mail=${account}@*)" }, "0 attributes"},
		"group filter":           {func(o *authn.LDAPOptions) { o.Groups.Filter = "member=${dn}" }, "not an LDAP filter"},
		"group filter of nobody": {func(o *authn.LDAPOptions) { o.Groups.Filter = "(cn=x)" }, "everybody"},
	} {
		o := good
		tt.change(&o)
		if _, err := authn.NewLDAP(authn.NewPasswords(authn.PasswordOptions{}), o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: NewLDAP = %v, want an error with %q", name, err, tt.want)
		}
	}
	for _, u := range []string{"ldap://[::1]", "ldaps://ldap.example.com:636", "ldap://10.0.0.1:3890/"} {
		good.Servers = []string{u}
		if _, err := authn.NewLDAP(authn.NewPasswords(authn.PasswordOptions{}), good); err != nil {
			t.Errorf("NewLDAP of %s = %v", u, err)
		}
	}
}

func TestLDAPOverIPv6(t *testing.T) {
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil {
		l.Close()
	} else if os.Getenv("CUSTOMHOUSE_REQUIRE_TOOLS") == "1" {
		t.Fatalf("no IPv6 here: %v", err)
	} else {
		t.Skipf("no IPv6 here: %v", err)
	}
	s := backend.NewSlapd(t)
	populate(s, person{name: "alice", password: "secret"})
	o := of(t, s)
	o.Servers = []string{s.TLS6}
	if _, err := newLDAP(t, o).Authenticate(t.Context(), basic("alice", "secret")); err != nil {
		t.Errorf("Authenticate at %s = %v", s.TLS6, err)
	}
}

func BenchmarkLDAP(b *testing.B) {
	s := backend.NewSlapd(b)
	populate(s, person{"alice", "secret", map[string][]string{"group": {"ci"}}})
	for name, plain := range map[string]bool{"StartTLS": false, "plaintext": true} {
		o := of(b, s)
		o.Plaintext = plain
		a := newLDAP(b, o)
		b.Run("Authenticate/"+name, func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := a.Authenticate(b.Context(), basic("alice", "secret")); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
	d := newLDAP(b, of(b, s)).(authn.Directory)
	b.Run("Lookup", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := d.Lookup(b.Context(), "alice"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
