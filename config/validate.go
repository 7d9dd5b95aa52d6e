package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"customhouse"
	"customhouse/policy"
)

// Validate returns everything that is wrong with c, as Errors without file and line; nil if nothing is. Load and Parse
// have done so; it is for a Config that was changed or made otherwise.
func (c *Config) Validate() error { return c.problems().sorted() }

// problems collects what is wrong, in the order of the fields.
func (c *Config) problems() Errors {
	var p problems
	c.checkAddresses(&p)
	c.checkHTTP(&p)
	c.checkProxies(&p)
	c.checkTLS(&p)
	c.checkToken(&p)
	c.checkAuth(&p)
	c.checkOAuth(&p)
	c.checkWorkload(&p)
	c.checkOrder(&p)
	c.checkMachines(&p)
	c.checkLDAP(&p)
	c.checkDatabases(&p)
	c.checkAuthorize(&p)
	c.checkPrograms(&p)
	c.checkRules(&p)
	c.checkAudit(&p)
	c.Limits.Requests.check(&p)
	c.checkNotify(&p)
	c.checkHealth(&p)
	c.checkStorage(&p)
	c.checkMirrors(&p)
	c.checkReplicate(&p)
	c.checkNumbers(&p)
	return Errors(p)
}

type problems Errors

// add notes that key is wrong, unless message is "".
func (p *problems) add(key, message string) {
	if message != "" {
		*p = append(*p, &Error{Key: key, Message: message})
	}
}

// check notes that key is wrong unless ok.
func (p *problems) check(ok bool, key, message string) {
	if !ok {
		p.add(key, message)
	}
}

func (c *Config) checkAddresses(p *problems) {
	host, ok := splitListen(c.Listen)
	if strings.HasPrefix(c.Listen, "unix:") {
		host, ok = "localhost", true
		c.checkSocket(p)
	}
	p.check(ok, "listen", "want host:port, such as 127.0.0.1:5000 or :443, or unix:/PATH")
	open := ok && !isLoopback(host)
	if open && !c.TLS.Enabled() && !c.AllowPlaintext {
		p.add("listen", "serves beyond loopback without TLS; set tls.certificate and tls.key, or allow_plaintext: true behind a proxy that adds TLS")
	}
	if open && c.Auth.Off && !c.Auth.AllowOpen {
		p.add("auth.off", "would let everybody who reaches the address of listen do everything; listen on loopback, such as 127.0.0.1:5000, or say auth.allow_open: true")
	}
	p.check(c.PublicURL == "" || isOrigin(c.PublicURL), "public_url", "want a URL of scheme and host only, such as https://registry.example.com")
	for i, h := range c.Hosts {
		p.check(isHost(h), fmt.Sprintf("hosts[%d]", i), "want host or host:port, such as registry.example.com")
	}
}

const notAccount = "no name of an account: 1 to 255 bytes without spaces, control characters and ':'"

func (c *Config) checkAuth(p *problems) {
	for _, name := range slices.Sorted(maps.Keys(c.Auth.Users)) {
		key, u := join("auth.users", name), c.Auth.Users[name]
		if name == "" {
			p.check(u.Password == "" && !u.AnyPassword, key, "is who comes without a credential and has no password; remove it, or name the account")
			p.check(c.Auth.Anonymous, key, "has no effect with auth.anonymous: false")
			continue
		}
		if _, err := customhouse.ParseAccount(name); err != nil {
			p.add(key, notAccount)
		}
		switch {
		case u.AnyPassword:
			p.check(u.Password == "", key+".password", "has no effect with any_password; remove one of them")
		case u.Password == "":
			p.add(key+".password", "missing; `customhouse hash` prints one")
		case !isBcrypt(string(u.Password)):
			p.add(key+".password", "not a bcrypt hash; `customhouse hash` makes one of a password")
		}
	}
	if c.Auth.Off {
		p.check(len(c.Auth.Users) == 0, "auth.users", "has no effect with auth.off; remove one of them")
		p.check(c.Auth.Htpasswd == "", "auth.htpasswd", "has no effect with auth.off; remove one of them")
		p.check(len(c.Rules) == 0, "rules", "have no effect with auth.off; remove one of them")
	}
}

func (c *Config) checkRules(p *problems) {
	p.add("denials", oneOf(c.Denials, DenialsReason, DenialsMessage, DenialsID))
	p.add("dialect", oneOf(c.Dialect, DialectNative, DialectDockerAuth))
	p.check(!c.CompatRawPlaceholders || c.Dialect == DialectDockerAuth, "compat_raw_placeholders", "needs dialect: docker_auth")
	p.check(len(c.Sets) == 0 || c.Dialect != DialectDockerAuth, "sets", "have no effect with dialect: docker_auth")
	_, err := c.Compile(c.Rules)
	var mistakes policy.Errors
	errors.As(err, &mistakes)
	for _, m := range mistakes {
		key := fmt.Sprintf("rules[%d].%s", m.Rule, m.Field)
		if m.Rule < 0 {
			key = join("sets", m.Set) + m.Field
		}
		*p = append(*p, &Error{Key: key, Message: m.Err.Error(), within: place{line: m.Line, column: m.Column}})
	}
}

func (c *Config) checkStorage(p *problems) {
	s := c.Storage
	p.add("storage.sparse", oneOf(s.Sparse, "none", "indexes", "all"))
	for key, base := range map[string]string{"data": s.Redirect.Data, "adopted": s.Redirect.Adopted} {
		u, err := url.Parse(base)
		ok := err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
		p.check(base == "" || ok, "storage.redirect."+key, "want a URL, such as https://cdn.example.com/registry")
	}
	p.check(s.Redirect.Adopted == "" || s.Adopt != "", "storage.redirect.adopted", "has no effect without storage.adopt")
	for i, platform := range s.Platforms {
		os, architecture, ok := strings.Cut(platform, "/")
		p.check(ok && os != "" && architecture != "", fmt.Sprintf("storage.platforms[%d]", i), "want os/architecture, such as linux/amd64")
	}
	for key, list := range map[string][]string{"allow": s.ForeignURLs.Allow, "deny": s.ForeignURLs.Deny} {
		for i, expression := range list {
			_, err := regexp.Compile(expression)
			p.check(err == nil, fmt.Sprintf("storage.foreign_urls.%s[%d]", key, i), "no regular expression (RE2)")
		}
	}
	urls := len(s.ForeignURLs.Allow)+len(s.ForeignURLs.Deny) > 0
	p.check(!urls || s.ForeignLayers, "storage.foreign_urls", "has no effect without storage.foreign_layers")
}

func (c *Config) checkNumbers(p *problems) {
	notNegative := func(key string, ok bool) { p.check(ok, key, "must not be negative") }
	notNegative("drain", c.Drain >= 0)
	notNegative("storage.scrub_interval", c.Storage.ScrubInterval >= 0)
	notNegative("storage.max_blob_size", c.Storage.MaxBlobSize >= 0)
	notNegative("limits.uploads_per_account", c.Limits.UploadsPerAccount >= 0)
	notNegative("limits.failed_logins", c.Limits.FailedLogins >= 0)
	p.check(c.Limits.UploadTTL == 0 || c.Limits.UploadTTL >= time.Minute, "limits.upload_ttl", "want 0, or at least 1m")
	p.add("log.level", oneOf(c.Log.Level, "debug", "info", "warn", "error"))
	p.add("log.format", oneOf(c.Log.Format, "json", "logstash", "text"))
}

// splitListen returns the host of an address host:port.
func splitListen(s string) (host string, ok bool) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", false
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", false
	}
	return host, host == "" || isHost(host) || isIP(host)
}

// isLoopback tells whether only this machine reaches host.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func isIP(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// isHost matches a Host header: a name or an address, IPv6 in brackets, and an optional port.
func isHost(s string) bool {
	u, err := url.Parse("//" + s)
	if err != nil || u.Host != s || u.Hostname() == "" {
		return false
	}
	if strings.HasPrefix(s, "[") {
		return isIP(u.Hostname())
	}
	return strings.Trim(u.Hostname(), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") == ""
}

// isOrigin matches scheme://host[:port] with an optional slash.
func isOrigin(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || !isHost(u.Host) {
		return false
	}
	return s == u.Scheme+"://"+u.Host || s == u.Scheme+"://"+u.Host+"/"
}

// isBcrypt matches $2a$, $2b$ or $2y$, a cost from 04 to 15, beyond which a login takes seconds, and 53 letters of bcrypt's base 64.
func isBcrypt(s string) bool {
	if len(s) != 60 || s[:2] != "$2" || !strings.ContainsRune("aby", rune(s[2])) || s[3] != '$' || s[6] != '$' {
		return false
	}
	cost, err := strconv.ParseUint(s[4:6], 10, 8)
	if err != nil || cost < 4 || cost > 15 {
		return false
	}
	return strings.Trim(s[7:], "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") == ""
}
