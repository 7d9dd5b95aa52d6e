package config

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// LDAP is the section auth.ldap.
type LDAP struct {
	// Servers with the same content, such as ldaps://ldap1.example.com or ldap://10.0.0.1:389. The first that answers is
	// asked; the others take over while it does not. None is no LDAP.
	Servers []string `yaml:"servers"`

	// Whether to speak to ldap:// servers without TLS. Passwords cross the network readable then. Otherwise StartTLS is
	// asked for; ldaps:// servers have TLS always.
	Plaintext bool `yaml:"plaintext"`

	// The PEM file with the authorities that may vouch for the servers. Empty takes those of the system. It is read with
	// each connection.
	CACertificate string `yaml:"ca_certificate"`

	// The name in the servers' certificates. Empty is the host in their URL.
	ServerName string `yaml:"server_name"`

	// Whether to take any certificate, so that whoever is on the way can read passwords.
	SkipVerify bool `yaml:"insecure_tls_skip_verify"`

	// The DN under which entries are searched. Empty, with bind_password_file, searches without a name.
	BindDN string `yaml:"bind_dn"`

	// The file with the password of bind_dn. It is read with each connection.
	BindPasswordFile string `yaml:"bind_password_file"`

	// Whether users bind first and search under their own name: bind_dn names the entry of ${account}, and
	// bind_password_file has no meaning. Groups are then as they were at the login until the token ends.
	BindAsUser bool `yaml:"initial_bind_as_user"`

	// The DN below which the entries of accounts are, at any depth.
	Base string `yaml:"base"`

	// What finds the entry of ${account}.
	Filter string `yaml:"filter"`

	// The attribute of the entry that holds the name of the account, however it was typed. Empty is the attribute that the
	// filter compares with ${account}.
	Account string `yaml:"account"`

	// Labels of the account, by name, that come from attributes of its entry.
	Labels map[string]LDAPLabel `yaml:"labels"`

	// Groups that are found by a search of their own.
	Groups LDAPGroups `yaml:"groups"`

	// How long a login may take.
	Timeout time.Duration `yaml:"timeout"`

	// How many connections are used for searching, and as many for checking passwords.
	Connections int `yaml:"connections"`

	// How long an entry and its groups are remembered: a change counts within this time. 0 asks at every request.
	Cache time.Duration `yaml:"cache"`

	// How long they are remembered while no server answers.
	Grace time.Duration `yaml:"grace"`
}

// LDAPLabel is an entry of the section auth.ldap.labels.
type LDAPLabel struct {
	// The attribute whose values become those of the label.
	Attribute string `yaml:"attribute" jsonschema:"required"`

	// Whether the values are DNs, such as those of memberOf, of which the first CN is wanted. Others are left out.
	ParseCN bool `yaml:"parse_cn"`

	// Whether the values are written in small letters.
	LowerCase bool `yaml:"lower_case"`
}

// LDAPGroups is the section auth.ldap.groups.
type LDAPGroups struct {
	// The DN below which groups are, at any depth.
	Base string `yaml:"base"`

	// What finds the groups of an account: ${dn} is the DN of its entry, ${account} its name, ${x} the value of its attribute
	// x. Such as (member=${dn}), or (&(objectClass=posixGroup)(memberUid=${account})). Empty finds none.
	Filter string `yaml:"filter"`

	// The label that the names of the groups become values of.
	Label string `yaml:"label"`

	// The attribute that holds the name of a group.
	Attribute string `yaml:"attribute"`

	// Whether names are written in small letters.
	LowerCase bool `yaml:"lower_case"`

	// Whether the groups that these groups are in count too.
	Nested bool `yaml:"nested"`
}

// Enabled tells whether a directory is asked.
func (l LDAP) Enabled() bool { return len(l.Servers) > 0 }

// defaultLDAP is what holds in the section auth.ldap without a file.
func defaultLDAP() LDAP {
	return LDAP{
		Filter: "(uid=${account})", Groups: LDAPGroups{Label: "group", Attribute: "cn"},
		Timeout: 5 * time.Second, Connections: 8, Cache: 30 * time.Second, Grace: 5 * time.Minute,
	}
}

var comparison = regexp.MustCompile(`\(([A-Za-z0-9.;-]+)=\$\{account\}\)`)

func (c *Config) checkLDAP(p *problems) {
	const key = "auth.ldap."
	l := c.Auth.LDAP
	if !l.Enabled() {
		p.check(l.Base == "" && l.BindDN == "" && l.Groups.Filter == "" && len(l.Labels) == 0, key+"servers", "missing: without servers nobody is asked")
		return
	}
	p.check(!c.Auth.Off, "auth.ldap", "has no effect with auth.off; remove one of them")
	for i, s := range l.Servers {
		u, err := url.Parse(s)
		ok := err == nil && (u.Scheme == "ldap" || u.Scheme == "ldaps") && isHost(u.Host) && strings.Trim(u.Path, "/") == "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
		p.check(ok, fmt.Sprintf("%sservers[%d]", key, i), "want ldap://HOST[:PORT] or ldaps://HOST[:PORT]")
	}
	p.check(!l.Plaintext || l.CACertificate == "" || slices.ContainsFunc(l.Servers, func(s string) bool { return strings.HasPrefix(s, "ldaps:") }),
		key+"ca_certificate", "has no meaning without TLS")
	if l.BindAsUser {
		p.check(strings.Contains(l.BindDN, "${account}"), key+"bind_dn", "want ${account} in it, such as uid=${account},ou=people,dc=example,dc=org: users bind under their own name")
	} else {
		p.check((l.BindDN == "") == (l.BindPasswordFile == ""), key+"bind_dn", "wants bind_password_file beside it, and that wants bind_dn")
	}
	p.check(l.Base != "", key+"base", "missing: the DN below which accounts are, such as ou=people,dc=example,dc=org")
	_, err := ldap.CompileFilter(l.Filter)
	switch {
	case err != nil:
		p.add(key+"filter", "not an LDAP filter, such as (uid=${account})")
	case !strings.Contains(l.Filter, "${account}"):
		p.add(key+"filter", "finds the same entry for everybody: want ${account} in it, such as (uid=${account})")
	case !l.NamesAccount():
		p.add(key+"account", "missing: it cannot be told from the filter which attribute holds the name of the account; write one, such as account: uid")
	}
	for name, label := range l.Labels {
		p.check(label.Attribute != "", join("auth.ldap.labels", name)+".attribute", "missing")
	}
	if g := l.Groups; g.Filter != "" {
		_, err := ldap.CompileFilter(g.Filter)
		p.check(err == nil, key+"groups.filter", "not an LDAP filter, such as (member=${dn})")
		p.check(strings.Contains(g.Filter, "${"), key+"groups.filter", "finds the same groups for everybody: want ${dn} or ${account} in it")
		p.check(g.Base != "", key+"groups.base", "missing: the DN below which groups are, such as ou=groups,dc=example,dc=org")
		p.check(g.Label != "", key+"groups.label", "must not be empty")
		p.check(g.Attribute != "", key+"groups.attribute", "must not be empty")
	}
	checkBounds(p, "auth.ldap", l.Timeout, l.Connections, l.Cache, l.Grace)
}

// NamesAccount tells whether it is known which attribute of an entry holds the name of the account.
func (l LDAP) NamesAccount() bool { return l.Account != "" || oneAttribute(l.Filter) }

// oneAttribute tells whether a filter compares one attribute with the name of an account.
func oneAttribute(filter string) bool {
	found := comparison.FindAllStringSubmatch(filter, -1)
	return len(found) > 0 && !slices.ContainsFunc(found, func(m []string) bool { return !strings.EqualFold(m[1], found[0][1]) })
}

// checkBounds checks what the sections of directories and databases have in common.
func checkBounds(p *problems, section string, timeout time.Duration, connections int, cache, grace time.Duration) {
	p.check(100*time.Millisecond <= timeout && timeout <= time.Minute, section+".timeout", "want 100ms to 1m")
	p.check(1 <= connections && connections <= 1000, section+".connections", "want 1 to 1000")
	p.check(0 <= cache && cache <= time.Hour, section+".cache", "want 0s to 1h")
	p.check(0 <= grace && grace <= 24*time.Hour, section+".grace", "want 0s to 24h")
}
