package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"customhouse"
)

// Mirror is an element of mirrors: repositories here that are copies of another registry's. What is pulled from one and is
// not here comes from there; nothing can be pushed to one. Who may pull is up to the rules, as for all else.
type Mirror struct {
	// What the names of the repositories begin with here and not there, such as docker.io/. Empty is a mirror of every
	// repository, under the names that they have there. The longest prefix of a name counts.
	Prefix string `yaml:"prefix"`

	// The other registry. It may be on this machine or in a private network.
	Far `yaml:",inline"`

	// How long a tag counts before the other registry is asked what it points to. Left out, it is 1m; 0 asks for each pull.
	TagTTL *time.Duration `yaml:"tag_ttl"`

	// How long content is kept that nobody asks for, and how long after it was last confirmed a tag is served while the
	// other registry cannot tell. Left out, it is 168h; 0 is for ever.
	TTL *time.Duration `yaml:"ttl"`

	// Whether a tag is served as it was while the other registry cannot tell. Left out, it is.
	Stale *bool `yaml:"stale"`

	// How long a blob goes on coming after the last client that waited for it has left. Left out, it is 5m.
	Linger *time.Duration `yaml:"linger"`
}

// Far is how another registry is reached.
type Far struct {
	// Where the registry is, such as https://registry-1.docker.io.
	URL string `yaml:"url" jsonschema:"required"`

	// Who we are there. Empty is nobody.
	Username string `yaml:"username"`

	// The password or access token.
	Password customhouse.Secret `yaml:"password"`

	// A file with the password, in the place of password.
	PasswordFile string `yaml:"password_file"`

	// A program that knows the credential, in the place of username and password.
	Exec Helper `yaml:"exec"`

	// Whether credentials may go to it by http, readable by all on the way. To this machine they may.
	Insecure bool `yaml:"insecure"`

	// Hosts, with their ports, beside those of its domain to which it may send us with credentials or that are in a private
	// network: its token service, or the store of its blobs.
	Trusted []string `yaml:"trusted"`

	// A PEM file of the authorities that vouch for its certificate. Empty is those of the system.
	CAs string `yaml:"cas"`
}

// Helper is the section exec of a mirror: a docker-credential helper, which is started with the argument get, reads the
// URL of the registry and answers with {"Username": ..., "Secret": ...}.
type Helper struct {
	// The program: a path, or a name in PATH.
	Command string `yaml:"command"`

	// How long its answer counts. Left out, it is asked once; 0 asks for each token.
	Lifetime *time.Duration `yaml:"lifetime"`
}

// Or returns the value that p points to, or usual where it was left out.
func Or[T any](p *T, usual T) T {
	if p == nil {
		return usual
	}
	return *p
}

func (c *Config) checkMirrors(p *problems) {
	for i, m := range c.Mirrors {
		key := fmt.Sprintf("mirrors[%d]", i)
		twice := slices.ContainsFunc(c.Mirrors[:i], func(other Mirror) bool { return other.Prefix == m.Prefix })
		p.check(!twice, key+".prefix", "stands twice")
		if m.Prefix != "" {
			p.check(isPrefix(m.Prefix), key+".prefix", wantPrefix)
		}
		m.Far.check(p, key)
		for name, d := range map[string]*time.Duration{"tag_ttl": m.TagTTL, "ttl": m.TTL, "linger": m.Linger} {
			p.check(Or(d, 0) >= 0, key+"."+name, "must not be negative")
		}
	}
}

const wantPrefix = "want the beginning of names with a slash at its end, such as docker.io/"

// isPrefix matches what names of repositories may begin with.
func isPrefix(s string) bool {
	_, err := customhouse.ParseRepo(s + "x")
	return err == nil && strings.HasSuffix(s, "/")
}

func (f Far) check(p *problems, key string) {
	p.check(isOrigin(f.URL), key+".url", "want a URL of scheme and host only, such as https://registry.example.com")
	p.check(f.Password == "" || f.PasswordFile == "", key+".password", "stands beside password_file; remove one of them")
	p.check(f.Username != "" || f.Password == "" && f.PasswordFile == "", key+".username", "missing beside a password")
	p.check(f.Username == "" || f.Password != "" || f.PasswordFile != "", key+".password", "missing beside a username")
	p.check(f.Exec.Command == "" || f.Username == "", key+".exec", "stands beside username; remove one of them")
	p.check(f.Exec.Command != "" || f.Exec.Lifetime == nil, key+".exec.lifetime", "has no effect without command")
	p.check(Or(f.Exec.Lifetime, 0) >= 0, key+".exec.lifetime", "must not be negative")
	for i, host := range f.Trusted {
		p.check(isHost(host), fmt.Sprintf("%s.trusted[%d]", key, i), "want host or host:port, such as auth.example.com")
	}
	u, err := url.Parse(f.URL)
	plain := err == nil && u.Scheme == "http" && !isLoopback(u.Hostname())
	p.check(!plain || f.Insecure || f.Username == "" && f.Exec.Command == "", key+".url",
		"credentials would cross the network readable; want https, or set insecure: true")
}
