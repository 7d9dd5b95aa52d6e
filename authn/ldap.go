package authn

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-ldap/ldap/v3"

	"customhouse"
)

// LDAPOptions are the settings of an LDAP directory.
type LDAPOptions struct {
	// Servers are the URLs of servers with the same content, ldap://host:port or ldaps://host:port. The first that is
	// well is asked.
	Servers []string

	// Plaintext speaks to ldap:// servers without TLS, where otherwise StartTLS (RFC 4511, section 4.14) is asked for.
	Plaintext bool

	CA         string // a PEM file with those who may vouch for the servers, read with each connection; "" is the system's
	ServerName string // the name in the servers' certificates; "" is the host of the URL
	SkipVerify bool   // takes any certificate

	// BindDN and the password in PasswordFile, read with each connection, are for searching; without them searches are
	// anonymous. With BindAsUser, BindDN is the name to bind with the user's own password, and ${account} in it is the
	// account.
	BindDN       string
	PasswordFile string
	BindAsUser   bool

	// Base is where the entries of accounts are, at any depth. Filter finds the entry of the account ${account}.
	Base, Filter string

	// Account is the attribute that holds the name of the account, whatever was typed; "" is the one that Filter compares
	// with ${account}.
	Account string

	Labels map[string]LDAPLabel // made of attributes of the account's entry
	Groups LDAPGroups           // found by a search

	Timeout     time.Duration // for all that one login or lookup takes; 0 is 5 seconds
	Connections int           // at most for searching, and as many for checking passwords; 0 is 8
	Memory      time.Duration // how long Lookup may answer from memory; 0 is 30 seconds, negative asks every time
	Grace       time.Duration // how long it may while no server answers; 0 is not at all

	Log *slog.Logger     // told of servers that come and go; nil is silent
	Now func() time.Time // nil is time.Now
}

// LDAPLabel says how an attribute becomes the values of a label.
type LDAPLabel struct {
	Attribute string
	ParseCN   bool // the values are DNs (RFC 4514), of which the first CN is taken; others are left out
	LowerCase bool
}

// LDAPGroups says how the groups of an account are found. The zero LDAPGroups finds none.
type LDAPGroups struct {
	// Base is where groups are, at any depth. Filter finds those of an account: ${dn} is the DN of its entry, ${account} its
	// name, and ${x} the first value of the entry's attribute x.
	Base, Filter string

	Label     string // that the names go to; "" is "group"
	Attribute string // that holds the name of a group; "" is "cn"
	LowerCase bool
	Nested    bool // asks for the groups of groups too, in which ${dn} is the DN of the group
}

// directory is an LDAP directory: see NewLDAP.
type directory struct {
	options   LDAPOptions
	passwords *Passwords
	servers   *ldapServers
	filters   accountFilters
	wanted    []string     // the attributes of accounts
	bindTime  atomic.Int64 // how long checking a password takes, in nanoseconds
}

// lookedUpDirectory is a directory in which accounts can be looked up without their password.
type lookedUpDirectory struct {
	*directory
	memory *memory
}

var (
	_ Authenticator = (*directory)(nil)
	_ Authenticator = (*lookedUpDirectory)(nil)
	_ Directory     = (*lookedUpDirectory)(nil)
	_ io.Closer     = (*directory)(nil)
)

// NewLDAP returns an authenticator called "ldap": it searches the account's entry and binds to its DN with the password
// (RFC 4513, section 5.1.3). It is a Directory, unless with BindAsUser, and an io.Closer: after Close it works on, but keeps no
// connections. It connects when it is asked first; the error is a mistake in the options.
func NewLDAP(passwords *Passwords, o LDAPOptions) (Authenticator, error) {
	o.Timeout = cmp.Or(o.Timeout, 5*time.Second)
	o.Connections = cmp.Or(o.Connections, 8)
	o.Memory = max(0, cmp.Or(o.Memory, 30*time.Second))
	o.Groups.Label = cmp.Or(o.Groups.Label, "group")
	o.Groups.Attribute = cmp.Or(o.Groups.Attribute, "cn")
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	filters, err := parseAccountFilter(o.Filter, o.Account)
	if err != nil {
		return nil, err
	}
	if err := checkGroupFilter(o.Groups.Filter); err != nil {
		return nil, err
	}
	servers, err := newLDAPServers(o)
	if err != nil {
		return nil, err
	}
	d := &directory{options: o, passwords: passwords, servers: servers, filters: filters}
	d.wanted = append([]string{filters.attribute}, stampAttributes...)
	for _, l := range o.Labels {
		d.wanted = append(d.wanted, l.Attribute)
	}
	d.wanted = append(d.wanted, placeholders(o.Groups.Filter)...)
	if o.BindAsUser {
		return d, nil
	}
	return &lookedUpDirectory{d, newMemory(o.Memory, o.Grace, o.Now)}, nil
}

// Name returns "ldap".
func (d *directory) Name() string { return "ldap" }

// Close ends the connections that rest; those in use end with their use.
func (d *directory) Close() error {
	d.servers.close()
	return nil
}

// maxLDAPPassword is how many bytes of a password are sent.
const maxLDAPPassword = 4096

// errRefused says why an account that the directory knows may not log in.
var errRefused = errors.New("the directory refuses the account")

// Authenticate implements Authenticator.
func (d *directory) Authenticate(ctx context.Context, cred customhouse.Credential) (customhouse.Identity, error) {
	id, err := d.login(ctx, cred)
	switch {
	case errors.Is(err, errRefused):
		err = fmt.Errorf("%w: %w", ErrWrongPassword, err)
	case errors.Is(err, ErrUnknownUser):
		d.pause(ctx)
		return customhouse.Identity{}, err
	}
	if errors.Is(err, ErrWrongPassword) { // takes as long as where an account is known to nobody
		if busy := d.passwords.refuse(ctx, cred); !errors.Is(busy, ErrWrongPassword) {
			return customhouse.Identity{}, busy
		}
	}
	return id, err
}

// login is Authenticate, as fast as it can be.
func (d *directory) login(ctx context.Context, cred customhouse.Credential) (customhouse.Identity, error) {
	// A bind without a password is one that asks for nothing and succeeds (RFC 4513, section 5.1.2), and some servers end
	// a password at a NUL.
	password := string(cred.Secret)
	if _, err := customhouse.ParseAccount(cred.Account); err != nil || password == "" || len(password) > maxLDAPPassword || strings.IndexByte(password, 0) >= 0 {
		return customhouse.Identity{}, ErrUnknownUser
	}
	within, cancel := context.WithTimeout(ctx, d.options.Timeout)
	defer cancel()
	var id customhouse.Identity
	var err error
	if d.options.BindAsUser {
		err = d.servers.check(within, func(c *ldapConn) error {
			dn := strings.ReplaceAll(d.options.BindDN, "${account}", ldap.EscapeDN(cred.Account))
			if err := d.bind(within, c, dn, password); err != nil {
				return err
			}
			c.spent = true // the next search is not this user's
			id, err = d.find(within, c, d.filters.login, cred.Account, func(found string) error {
				if sameDN(found, dn) {
					return nil
				}
				return d.bind(within, c, found, password) // else somebody could be called as another's entry says
			})
			return err
		})
	} else {
		id, err = d.searchThenBind(within, cred.Account, password)
	}
	return id, err
}

// searchThenBind finds the account's entry under our own name, and binds as it elsewhere.
func (d *directory) searchThenBind(ctx context.Context, account, password string) (id customhouse.Identity, err error) {
	err = d.servers.search(ctx, func(c *ldapConn) error {
		id, err = d.find(ctx, c, d.filters.login, account, func(dn string) error {
			return d.servers.check(ctx, func(other *ldapConn) error { return d.bind(ctx, other, dn, password) })
		})
		return err
	})
	return id, err
}

// Lookup implements Directory.
func (d *lookedUpDirectory) Lookup(ctx context.Context, account string) (customhouse.Identity, error) {
	if _, err := customhouse.ParseAccount(account); err != nil {
		return customhouse.Identity{}, ErrUnknownUser
	}
	return d.memory.lookup(ctx, account, func(ctx context.Context) (id customhouse.Identity, err error) {
		within, cancel := context.WithTimeout(ctx, d.options.Timeout)
		defer cancel()
		err = d.servers.search(within, func(c *ldapConn) error {
			id, err = d.find(within, c, d.filters.lookup, account, nil)
			return err
		})
		if err == nil && id.Account != account || errors.Is(err, errRefused) {
			return customhouse.Identity{}, ErrUnknownUser
		}
		return id, err
	})
}

// Authenticate implements Authenticator, and what it finds is known to Lookup.
func (d *lookedUpDirectory) Authenticate(ctx context.Context, cred customhouse.Credential) (customhouse.Identity, error) {
	id, err := d.directory.Authenticate(ctx, cred)
	if err == nil {
		d.memory.keep(id.Account, id, nil)
	}
	return id, err
}

// sameDN tells whether two texts name one entry. A name that is no DN, such as Active Directory takes, names none.
func sameDN(a, b string) bool {
	x, err := ldap.ParseDN(a)
	y, err2 := ldap.ParseDN(b)
	return err == nil && err2 == nil && x.EqualFold(y)
}

// pause takes about as long as checking a password would have, so that one cannot hear which accounts there are.
func (d *directory) pause(ctx context.Context) {
	const longest = 250 * time.Millisecond
	t := time.NewTimer(min(time.Duration(d.bindTime.Load()), longest))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// bind checks a password.
func (d *directory) bind(ctx context.Context, c *ldapConn, dn, password string) error {
	begin := time.Now()
	err := c.do(ctx, func() error { return c.Bind(dn, password) })
	took := int64(time.Since(begin))
	was := d.bindTime.Load()
	d.bindTime.CompareAndSwap(was, was+(took-was)/8)
	var answer *ldap.Error
	if !errors.As(err, &answer) {
		return err
	}
	switch answer.ResultCode {
	case ldap.LDAPResultInvalidCredentials:
		// Active Directory says which of the two it was, where it is asked without a search.
		if d.options.BindAsUser && strings.Contains(answer.Err.Error(), "data 525,") {
			return ErrUnknownUser
		}
		return ErrWrongPassword
	case ldap.LDAPResultNoSuchObject, ldap.LDAPResultInvalidDNSyntax:
		if d.options.BindAsUser {
			return ErrUnknownUser
		}
		return errRefused
	case ldap.LDAPResultUnwillingToPerform, ldap.LDAPResultInappropriateAuthentication, ldap.LDAPResultConstraintViolation,
		ldap.LDAPResultInsufficientAccessRights:
		return fmt.Errorf("%w: %s", errRefused, ldap.LDAPResultCodeMap[answer.ResultCode])
	}
	return err
}

// stampAttributes are those that tell one life of an account from the next, and one password from the next, where the
// directory shows them.
var stampAttributes = []string{"entryUUID", "objectGUID", "pwdChangedTime", "pwdLastSet"}

// find returns the identity of the only entry that a filter finds for an account, once check has nothing against its DN.
func (d *directory) find(ctx context.Context, c *ldapConn, filter, account string, check func(dn string) error) (customhouse.Identity, error) {
	entries, err := c.search(ctx, d.options.Base, expand(filter, "${account}", account), d.wanted, 1)
	switch {
	case errors.Is(err, errTooMany):
		return customhouse.Identity{}, fmt.Errorf("%w: the filter finds several entries for %q", errRefused, account)
	case err != nil:
		return customhouse.Identity{}, err
	case len(entries) == 0:
		return customhouse.Identity{}, ErrUnknownUser
	}
	e := entries[0]
	if e.DN == "" { // to bind to it would be to bind as nobody
		return customhouse.Identity{}, fmt.Errorf("%w: its entry has no name", errRefused)
	}
	name, err := d.accountOf(e, account)
	if err != nil {
		return customhouse.Identity{}, err
	}
	if check != nil {
		if err := check(e.DN); err != nil {
			return customhouse.Identity{}, err
		}
	}
	labels, err := d.labels(ctx, c, e, name)
	if err != nil {
		return customhouse.Identity{}, err
	}
	return customhouse.Identity{Account: name, Labels: labels, Method: d.Name(), Stamp: entryStamp(e)}, nil
}

// accountOf returns the name of the account as its entry spells it, if it has several the one that was typed.
func (d *directory) accountOf(e *ldap.Entry, typed string) (string, error) {
	names := e.GetEqualFoldAttributeValues(d.filters.attribute)
	if len(names) == 0 {
		return "", fmt.Errorf("%w: its entry has no attribute %s, or hides it", errRefused, d.filters.attribute)
	}
	best := slices.Min(names) // a server gives them in any order
	for _, name := range names {
		if strings.EqualFold(name, typed) && best != typed {
			best = name
		}
	}
	if _, err := customhouse.ParseAccount(best); err != nil {
		return "", fmt.Errorf("%w: %s is no name of an account: %q", errRefused, d.filters.attribute, best)
	}
	return best, nil
}

// entryStamp returns a short hash of what makes an entry and its password another.
func entryStamp(e *ldap.Entry) string {
	h := sha256.New()
	renamed := false // whether something else than the name tells the entry
	for _, name := range stampAttributes {
		for _, value := range e.GetEqualFoldRawAttributeValues(name) {
			renamed = renamed || name == "entryUUID" || name == "objectGUID"
			h.Write(bytes.Join([][]byte{[]byte(name), value, nil}, []byte{0}))
		}
	}
	if !renamed {
		h.Write([]byte(strings.ToLower(e.DN)))
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
