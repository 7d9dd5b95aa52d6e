package authn_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"customhouse/authn"
	"customhouse/e2e/backend"
)

// payloads are names that try to be more than a name in a filter or a DN. All of them pass as names of accounts.
func payloads() (all []string) {
	for _, s := range []string{
		"*", "a*", "*)(uid=*", "*)(|(uid=*", "*))(|(uid=*", "x)(uid=alice", "x))(uid=alice", "alice)(&)", "alice)(|(objectClass=*)", "&", "|", "!",
		"(", ")", "()", "((", "))", "(|)", "(&)", "(!(uid=x))", `\`, `\\`, `\2a`, `\28`, `\00`, `\5c2a`, `alice\`, "=", "uid=alice", ">=", "<=", "~=", ":=",
		",", "alice,ou=people", "alice,dc=example,dc=org", "+", "alice+cn=x", ";", "alice;x", `"`, `"alice"`, "<", ">", "<alice>", "#", "#alice",
		"#0461", "alice#", "/", "é", "日本", "a\u0301", "😀", "'", "`", "$", "${account}", "${dn}", "%00", "%2a", "alice%29", "{", "}", "[", "]", "^", "~", "@",
		"CORP\\alice", "alice@example.com", "cn=admin,dc=example,dc=org", "x,dc=org+uid=alice", `\,`, `\2c`, `\20`, `\,dc=org`, `"+"`, ",,", "++", "==",
	} {
		s = strings.NewReplacer(":", "").Replace(s)
		all = append(all, s, "alice"+s, s+"alice", s+"\u00ff"+s)
	}
	return all
}

// TestS41_Filters: whatever the name, the server is asked for an entry whose uid is just that (RFC 4515), under the
// search and under the lookup; and nobody is let in.
func TestS41_Filters(t *testing.T) {
	r := record(t, "127.0.0.1:0")
	a := newLDAP(t, authn.LDAPOptions{Servers: []string{r.url}, Plaintext: true, Base: "dc=example", Filter: "(&(objectClass=person)(uid=${account}))", Memory: -1})
	names := payloads()
	if len(names) < 300 {
		t.Fatalf("%d payloads, want 300", len(names))
	}
	for _, name := range names {
		for what, ask := range map[string]func() error{
			"Authenticate": func() error { _, err := a.Authenticate(t.Context(), basic(name, "secret")); return err },
			"Lookup":       func() error { _, err := a.(authn.Directory).Lookup(t.Context(), name); return err },
		} {
			if err := ask(); !errors.Is(err, authn.ErrUnknownUser) {
				t.Errorf("%s(%q) = %v, want ErrUnknownUser", what, name, err)
			}
			_, binds, searches := r.seen()
			if len(binds) != 0 || len(searches) != 1 {
				t.Fatalf("%s(%q): %d binds and %d searches, want none and one", what, name, len(binds), len(searches))
			}
			and := searches[0]
			if and.Tag != ldap.FilterAnd || len(and.Children) != 2 || and.Children[1].Tag != ldap.FilterEqualityMatch ||
				and.Children[1].Children[0].Data.String() != "uid" || and.Children[1].Children[1].Data.String() != name {
				text, err := ldap.DecompileFilter(and)
				t.Errorf("%s(%q) searches %s (%v)", what, name, text, err)
			}
		}
	}
}

// TestS41_Names: whatever the name, it is one value in the DN that the server is shown (RFC 4514).
func TestS41_Names(t *testing.T) {
	r := record(t, "127.0.0.1:0")
	a := newLDAP(t, authn.LDAPOptions{
		Servers: []string{r.url}, Plaintext: true, BindAsUser: true, BindDN: "uid=${account},ou=people,dc=example", Base: "dc=example", Filter: "(uid=${account})",
	})
	for _, name := range payloads() {
		if _, err := a.Authenticate(t.Context(), basic(name, "secret")); !errors.Is(err, authn.ErrWrongPassword) {
			t.Errorf("Authenticate(%q) = %v, want ErrWrongPassword", name, err)
		}
		_, binds, _ := r.seen()
		if len(binds) != 1 {
			t.Fatalf("Authenticate(%q): %d binds, want 1", name, len(binds))
		}
		dn, err := ldap.ParseDN(binds[0][0])
		if err != nil || len(dn.RDNs) != 3 || len(dn.RDNs[0].Attributes) != 1 || dn.RDNs[0].Attributes[0].Value != name {
			t.Errorf("Authenticate(%q) binds as %s (%v)", name, binds[0][0], err)
		}
	}
	for name, want := range map[string]string{ // not by the library that escaped them
		"alice": "alice", `a,b`: `a\,b`, `a+b`: `a\+b`, `a"b`: `a\"b`, `a\b`: `a\\b`, `a<b>c`: `a\<b\>c`, `a;b`: `a\;b`, `#a`: `\#a`, `a#`: `a#`,
	} {
		a.Authenticate(t.Context(), basic(name, "secret"))
		if _, binds, _ := r.seen(); len(binds) != 1 || binds[0][0] != "uid="+want+",ou=people,dc=example" {
			t.Errorf("Authenticate(%q) binds as %q, want uid=%s", name, binds, want)
		}
	}
}

// TestS42_NoPasswordNoBind: a bind without a password would be one as nobody, which succeeds.
func TestS42_NoPasswordNoBind(t *testing.T) {
	r := record(t, "127.0.0.1:0")
	r.onSearch = func(c net.Conn, id int64) {
		c.Write(append(entry(id, "uid=alice,dc=example", "alice"), result(id, ldap.ApplicationSearchResultDone, 0)...))
	}
	for _, asUser := range []bool{false, true} {
		a := newLDAP(t, authn.LDAPOptions{
			Servers: []string{r.url}, Plaintext: true, Base: "dc=example", Filter: "(uid=${account})", BindAsUser: asUser, BindDN: map[bool]string{true: "uid=${account}"}[asUser],
		})
		for _, password := range []string{"", "\x00", "secret\x00", "\x00secret", strings.Repeat("x", 1<<20)} {
			if _, err := a.Authenticate(t.Context(), basic("alice", password)); err == nil {
				t.Errorf("Authenticate(%.10q) = nil, want a refusal", password)
			}
		}
		for _, name := range []string{"", "a b", "alice\x00", "alice\n", "a:b", strings.Repeat("a", 1024)} {
			if _, err := a.Authenticate(t.Context(), basic(name, "secret")); !errors.Is(err, authn.ErrUnknownUser) {
				t.Errorf("Authenticate(%.10q) = %v, want ErrUnknownUser", name, err)
			}
		}
	}
	if connections, binds, _ := r.seen(); connections != 0 || len(binds) != 0 {
		t.Errorf("%d connections and the binds %q, want none", connections, binds)
	}
	// An entry without a name: to bind to it is to bind as nobody.
	r.onSearch = func(c net.Conn, id int64) {
		c.Write(append(entry(id, "", "alice"), result(id, ldap.ApplicationSearchResultDone, 0)...))
	}
	a := newLDAP(t, authn.LDAPOptions{Servers: []string{r.url}, Plaintext: true, Base: "dc=example", Filter: "(uid=${account})"})
	_, err := a.Authenticate(t.Context(), basic("alice", "secret"))
	if _, binds, _ := r.seen(); !errors.Is(err, authn.ErrWrongPassword) || len(binds) != 0 {
		t.Errorf("Authenticate = %v after the binds %q, want a refusal before any", err, binds)
	}
}

// TestS43_HostileServers: a server that does what it should not lets nobody in, takes neither much time nor much memory,
// and is shown no password.
func TestS43_HostileServers(t *testing.T) {
	const dn = "uid=alice,dc=example"
	done := func(id int64) []byte { return result(id, ldap.ApplicationSearchResultDone, 0) }
	huge := func(declared byte) func(net.Conn, int64) { // a message of 100 MiB, or as much as it says
		return func(c net.Conn, id int64) {
			c.Write([]byte{0x30, 0x84, declared, 0x40, 0, 0, 0x02, 0x01, byte(id), 0x64, 0x84, declared, 0x30, 0, 0, 0x04, 0x84, declared, 0x20, 0, 0})
			chunk := make([]byte, 1<<20)
			for range 100 {
				if _, err := c.Write(chunk); err != nil {
					return
				}
			}
		}
	}
	tests := map[string]struct {
		answer func(c net.Conn, id int64)
		want   error // nil is an outage
	}{
		"10,000 entries": {func(c net.Conn, id int64) {
			for i := range 10_000 {
				if _, err := c.Write(entry(id, fmt.Sprintf("uid=alice,ou=%d,dc=example", i), "alice")); err != nil {
					return
				}
			}
			c.Write(done(id))
		}, authn.ErrWrongPassword},
		"2 entries": {func(c net.Conn, id int64) {
			c.Write(append(append(entry(id, dn, "alice"), entry(id, dn+",dc=2", "alice")...), done(id)...))
		}, authn.ErrWrongPassword},
		"another account": {func(c net.Conn, id int64) { c.Write(append(entry(id, dn, "a b"), done(id)...)) }, authn.ErrWrongPassword},
		"referral": {func(c net.Conn, id int64) {
			c.Write(result(id, ldap.ApplicationSearchResultDone, ldap.LDAPResultReferral))
		}, nil},
		"references": {func(c net.Conn, id int64) {
			for range 1000 {
				c.Write(message(id, ldap.ApplicationSearchResultReference, octets("ldap://127.0.0.1:1/")))
			}
			c.Write(done(id))
		}, authn.ErrUnknownUser},
		"endless references": {func(c net.Conn, id int64) {
			for {
				if _, err := c.Write(message(id, ldap.ApplicationSearchResultReference, octets("ldap://127.0.0.1:1/"))); err != nil {
					return
				}
			}
		}, nil},
		"a byte a moment": {func(c net.Conn, id int64) {
			for _, b := range append(entry(id, dn, "alice"), done(id)...) {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
		}, nil},
		"silence":          {func(net.Conn, int64) {}, nil},
		"100 MiB":          {huge(0x06), nil},
		"1.6 GiB declared": {huge(0x64), nil},
		"hangs up":         {func(c net.Conn, _ int64) { c.Close() }, nil},
		"garbage":          {func(c net.Conn, _ int64) { c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")); c.Close() }, nil},
		"deep":             {func(c net.Conn, _ int64) { c.Write([]byte(strings.Repeat("\x30\x80", 200_000))) }, nil},
		"another's answer": {func(c net.Conn, id int64) { c.Write(append(entry(id+1, dn, "alice"), done(id+1)...)) }, nil},
		"an entry of nothing": {func(c net.Conn, id int64) {
			c.Write(append(message(id, ldap.ApplicationSearchResultEntry), done(id)...))
		}, nil},
		"no such operation": {func(c net.Conn, id int64) { c.Write(message(id, 30)) }, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := record(t, "127.0.0.1:0")
			r.onSearch = tt.answer
			a := newLDAP(t, authn.LDAPOptions{Servers: []string{r.url}, Plaintext: true, Base: "dc=example", Filter: "(uid=${account})", Timeout: time.Second})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			begin := time.Now()
			id, err := a.Authenticate(t.Context(), basic("alice", "secret"))
			took := time.Since(begin)
			runtime.ReadMemStats(&after)
			unknown, wrong := errors.Is(err, authn.ErrUnknownUser), errors.Is(err, authn.ErrWrongPassword)
			if err == nil || tt.want == nil && (unknown || wrong) || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("Authenticate = %+v, %v, want %v", id, err, tt.want)
			}
			if took > 10*time.Second {
				t.Errorf("it took %v, of the second that it has", took)
			}
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 32<<20 {
				t.Errorf("it took %d MiB of memory, want at most 32", grown>>20)
			}
			if _, binds, _ := r.seen(); len(binds) != 0 {
				t.Errorf("the server was shown %q", binds)
			}
		})
	}
}

// TestS44_ClosedConnections: a connection that the server has ended is no answer, in particular not that nobody has the name.
func TestS44_ClosedConnections(t *testing.T) {
	r := record(t, "127.0.0.1:0")
	r.onSearch = func(c net.Conn, id int64) {
		c.Write(append(entry(id, "uid=alice,dc=example", "alice"), result(id, ldap.ApplicationSearchResultDone, 0)...))
		time.AfterFunc(rand.N(500*time.Microsecond), func() { c.Close() }) // while it waits for the next login, or in that
	}
	a := newLDAP(t, authn.LDAPOptions{Servers: []string{r.url}, Plaintext: true, Base: "dc=example", Filter: "(uid=${account})", Timeout: time.Second})
	for range 1000 {
		if _, err := a.Authenticate(t.Context(), basic("alice", "wrong")); err == nil || errors.Is(err, authn.ErrUnknownUser) {
			t.Fatalf("Authenticate = %v", err)
		}
	}
}

// TestS43_NoPasswordInClear: where the server refuses TLS, or has a certificate of somebody else, no password is sent.
func TestS43_NoPasswordInClear(t *testing.T) {
	r := record(t, "127.0.0.1:0")
	options := func() authn.LDAPOptions {
		return authn.LDAPOptions{
			Servers: []string{r.url}, BindDN: "cn=reader", PasswordFile: secretFile(t, "secret"), Base: "dc=example", Filter: "(uid=${account})", Timeout: 2 * time.Second,
		}
	}
	refused := options()
	garbled := options()
	s := backend.NewSlapd(t)
	populate(s, person{name: "alice", password: "secret"})
	strange := of(t, s)
	strange.CA = ""
	named := of(t, s)
	named.ServerName = "ldap.example.com"
	for name, o := range map[string]authn.LDAPOptions{"StartTLS refused": refused, "garbage for TLS": garbled, "unknown authority": strange, "another name": named} {
		r.onStartTLS = nil
		if name == "garbage for TLS" {
			r.onStartTLS = func(c net.Conn, id int64) {
				c.Write(append(result(id, ldap.ApplicationExtendedResponse, 0), "not TLS at all"...))
			}
		}
		begin := time.Now()
		_, err := newLDAP(t, o).Authenticate(t.Context(), basic("alice", "secret"))
		if err == nil || errors.Is(err, authn.ErrUnknownUser) || errors.Is(err, authn.ErrWrongPassword) || time.Since(begin) > 20*time.Second {
			t.Errorf("%s: Authenticate = %v after %v, want that it cannot tell", name, err, time.Since(begin))
		}
		if cert := new(tls.CertificateVerificationError); name == "another name" && !errors.As(err, &cert) && !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s: Authenticate = %v, want a word about the certificate", name, err)
		}
	}
	if _, binds, _ := r.seen(); len(binds) != 0 {
		t.Errorf("the server was shown %q", binds)
	}
	named.ServerName = "localhost"
	if _, err := newLDAP(t, named).Authenticate(t.Context(), basic("alice", "secret")); err != nil {
		t.Errorf("Authenticate with the right name = %v", err)
	}
	strange.SkipVerify = true
	if _, err := newLDAP(t, strange).Authenticate(t.Context(), basic("alice", "secret")); err != nil {
		t.Errorf("Authenticate without verification = %v", err)
	}
}
