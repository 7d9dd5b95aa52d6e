package authn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// maxReply is how many bytes a server may send in answer to one operation. Decoded they take up to a hundred times the
// memory.
const maxReply = 512 << 10

// maxReferrals is how many other servers a server may name.
const maxReferrals = 1000

// errTooMany says that a search has found more than was asked for.
var errTooMany = errors.New("the search finds too much")

// ldapConn is a connection to a server.
type ldapConn struct {
	*ldap.Conn
	wire   *wire
	since  time.Time // when it was put to rest
	failed bool      // by no fault of who asked
	spent  bool      // not to be used again
}

// dial opens a connection to a server.
func (s *ldapServer) dial(ctx context.Context) (*ldapConn, error) {
	config, err := s.tls()
	if err != nil {
		return nil, err
	}
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", s.address)
	if err != nil {
		return nil, err
	}
	c := &ldapConn{wire: &wire{Conn: raw}}
	stop := c.wire.begin(ctx)
	defer stop()
	if !s.encrypted {
		c.Conn = ldap.NewConn(c.wire, false)
		c.Start()
		if s.startTLS {
			if err := c.StartTLS(config); err != nil {
				c.Close()
				return nil, fmt.Errorf("StartTLS: %w", err)
			}
		}
		return c, nil
	}
	secured := tls.Client(c.wire, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	c.Conn = ldap.NewConn(secured, true)
	c.Start()
	return c, nil
}

// tls returns how connections to a server are encrypted. The file of authorities is read anew each time.
func (s *ldapServer) tls() (*tls.Config, error) {
	config := &tls.Config{ServerName: s.name, MinVersion: tls.VersionTLS12, InsecureSkipVerify: s.options.SkipVerify}
	if s.options.CA == "" {
		return config, nil
	}
	pem, err := os.ReadFile(s.options.CA)
	if err != nil {
		return nil, err
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in it", s.options.CA)
	}
	return config, nil
}

// introduce binds under our own name.
func (s *ldapServer) introduce(ctx context.Context, c *ldapConn) error {
	if s.options.BindDN == "" && s.options.PasswordFile == "" {
		return nil
	}
	password, err := os.ReadFile(s.options.PasswordFile)
	if err != nil {
		return err
	}
	secret := strings.TrimRight(string(password), "\r\n")
	if secret == "" {
		return fmt.Errorf("%s: no password in it", s.options.PasswordFile)
	}
	if err := c.do(ctx, func() error { return c.Bind(s.options.BindDN, secret) }); err != nil {
		return fmt.Errorf("bind as %s: %w", s.options.BindDN, err)
	}
	return nil
}

// do runs an operation that ends when ctx does.
func (c *ldapConn) do(ctx context.Context, operation func() error) error {
	stop := c.wire.begin(ctx)
	err := operation()
	if !stop() {
		c.spent = true
		if err != nil {
			c.failed = true
			return fmt.Errorf("no answer in time: %w", ctx.Err())
		}
	}
	var answer *ldap.Error
	if err != nil && (!errors.As(err, &answer) || answer.ResultCode >= ldap.ErrorNetwork || c.IsClosing()) {
		c.failed = true
	}
	if answer != nil && (answer.ResultCode == ldap.LDAPResultBusy || answer.ResultCode == ldap.LDAPResultUnavailable) {
		c.failed = true
	}
	return err
}

// search returns at most limit entries below base; more are errTooMany. Referrals, which would have us show our password
// to whom the server names, are not followed.
func (c *ldapConn) search(ctx context.Context, base, filter string, attributes []string, limit int) (entries []*ldap.Entry, err error) {
	request := ldap.NewSearchRequest(base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, limit+1, secondsLeft(ctx), false, filter, attributes, nil)
	err = c.do(ctx, func() error {
		// A search that is left early leaves its connection with the rest of the answer in it.
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		found := c.SearchAsync(ctx, request, 0)
		elsewhere := 0
		for found.Next() {
			e := found.Entry()
			if e == nil {
				if elsewhere++; elsewhere > maxReferrals {
					return errReply
				}
				continue
			}
			if len(entries) == limit {
				c.spent = true
				return errTooMany
			}
			entries = append(entries, e)
		}
		if err := errors.Join(found.Err(), ctx.Err()); err != nil {
			return err
		}
		if len(entries) == 0 && elsewhere == 0 && (c.IsClosing() || c.GetLastError() != nil) { // SearchAsync ends as if nothing had been found
			return errCutOff
		}
		return nil
	})
	if errors.Is(err, errTooMany) || ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded) {
		c.failed = false
		return nil, errTooMany
	}
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// errCutOff says that a connection has ended, be it before the answer or after it.
var errCutOff = ldap.NewError(ldap.ErrorNetwork, errors.New("the directory has closed the connection"))

// secondsLeft returns how long a server may search.
func secondsLeft(ctx context.Context) int {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return max(1, int(time.Until(deadline).Seconds()+0.5))
}

// end closes the connection, whatever the server does.
func (c *ldapConn) end() {
	c.wire.Close() // first: closing an LDAP connection waits for who writes to it
	c.Conn.Close()
}

// wire is what an LDAP connection reads from and writes to, with an end to every operation in time and bytes.
type wire struct {
	net.Conn
	left atomic.Int64 // bytes that may be read
}

var errReply = fmt.Errorf("an answer of more than %d bytes or %d referrals", maxReply, maxReferrals)

// begin lets an operation begin, which ends when ctx does. It has ended by itself when stop returns true.
func (w *wire) begin(ctx context.Context) (stop func() bool) {
	w.left.Store(maxReply)
	return context.AfterFunc(ctx, func() { w.SetDeadline(time.Unix(1, 0)) })
}

// Read reads what the server sends, as long as it is not too much.
func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if w.left.Add(-int64(n)) < 0 {
		return 0, errReply
	}
	return n, err
}

// parseLDAPURL returns the host of an LDAP server's URL, its address and whether connections begin with TLS.
func parseLDAPURL(s string) (host, address string, encrypted bool, err error) {
	wrong := errors.New("want ldap://HOST[:PORT] or ldaps://HOST[:PORT]")
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return "", "", false, wrong
	}
	port := u.Port()
	switch u.Scheme {
	case "ldap":
		if port == "" {
			port = ldap.DefaultLdapPort
		}
	case "ldaps":
		encrypted = true
		if port == "" {
			port = ldap.DefaultLdapsPort
		}
	default:
		return "", "", false, wrong
	}
	return u.Hostname(), net.JoinHostPort(u.Hostname(), port), encrypted, nil
}
