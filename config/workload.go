package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"customhouse"
	"customhouse/policy"
)

// Workload is an element of auth.workload.
type Workload struct {
	// What the accounts of this issuer begin with, before ':'. No account of another source has that character.
	Name string `yaml:"name" jsonschema:"required"`

	// The issuer ("iss") of its JWTs, exactly, such as https://token.actions.githubusercontent.com.
	Issuer string `yaml:"issuer" jsonschema:"required"`

	// What the audience ("aud") of its JWTs must contain. It should name this registry and nothing else: whoever takes
	// JWTs of the same audience could use them here.
	Audience string `yaml:"audience" jsonschema:"required"`

	// The rest of the account, with claims as ${NAME}: ${repository} makes github:org/app of the name github.
	Account string `yaml:"account" jsonschema:"required"`

	// Patterns that claims must match, by their name. Without them everybody whom the issuer serves would be known here,
	// which is the whole world with a public one; {sub: "**"} takes everybody.
	Require map[string]string `yaml:"require" jsonschema:"required"`

	// Labels of the account, with claims as ${NAME}. A claim with several values makes several.
	Labels map[string]string `yaml:"labels"`

	// The claims that rules may ask for, beside those that are named above. Empty is all, if they have 4 KiB or less.
	Claims []string `yaml:"claims"`

	// A file with a JWK set of its keys.
	JWKS string `yaml:"jwks"`

	// The URL of a JWK set of its keys. Empty, without jwks, is where the issuer tells that it is (OpenID Connect
	// Discovery).
	JWKSURL string `yaml:"jwks_url"`

	// A PEM file with the certificates of the authorities that may vouch for the server of its keys. Empty is those of the
	// system.
	CA string `yaml:"ca"`

	// A file with a token to fetch its keys with, which is sent to the host of jwks_url or issuer only. It is read anew
	// each time.
	TokenFile string `yaml:"token_file"`

	// The algorithms that may sign its JWTs. Empty is each that is not symmetric.
	Algorithms []string `yaml:"algorithms"`

	// How old a JWT may be, whatever it says. 0 is 24h.
	MaxAge time.Duration `yaml:"max_age"`
}

// Certificates is the section auth.certificates.
type Certificates struct {
	// The account of a client that shows a certificate of tls.client_cas, with what that says as ${cn}, ${o}, ${ou},
	// ${dns}, ${uri}, ${email} or ${serial}. Empty gives none.
	Account string `yaml:"account"`

	// Patterns that parts of the certificate must match, by the names above. Whoever shows another is nobody.
	Require map[string]string `yaml:"require"`

	// Labels of the account, such as group: ${ou}. A part with several values makes several.
	Labels map[string]string `yaml:"labels"`
}

// certificateParts are what templates and patterns of auth.certificates may name.
var certificateParts = []string{"cn", "o", "ou", "dns", "uri", "email", "serial"}

func (c *Config) checkWorkload(p *problems) {
	for i, w := range c.Auth.Workload {
		key := fmt.Sprintf("auth.workload[%d]", i)
		p.check(isWorkloadName(w.Name), key+".name", "want 1 to 63 of a-z, 0-9, '-', '_' and '.', such as github")
		for j, other := range c.Auth.Workload[:i] {
			p.check(other.Name != w.Name, key+".name", fmt.Sprintf("auth.workload[%d] has the same; accounts of the two could not be told apart", j))
		}
		p.check(w.Issuer != "", key+".issuer", "must not be empty")
		p.check(w.Issuer == "" || w.Issuer != c.Token.Issuer, key+".issuer", "is that of our own tokens (token.issuer)")
		for j, t := range c.Token.Trust {
			p.check(t.Issuer != w.Issuer, key+".issuer", fmt.Sprintf("is that of token.trust[%d], whose tokens are permission", j))
		}
		p.check(w.Audience != "", key+".audience", "must not be empty: a JWT for anybody else would be good here")
		checkTemplate(p, key+".account", w.Account, nil)
		p.check(w.Account == "" || strings.Contains(w.Account, "${"), key+".account", "names no claim, such as ${sub}: everybody would be one account")
		p.check(w.Name == "" || !strings.HasPrefix(w.Account, w.Name+":"), key+".account", "is what follows the name and ':', which are put before it")
		p.check(w.Account != "", key+".account", "missing, such as ${sub}")
		p.check(len(w.Require) > 0, key+".require", `missing: everybody whom the issuer serves would be known here; {sub: "**"} takes them all`)
		checkClaims(p, key, w.Require, w.Labels, nil)
		for j, name := range w.Claims {
			p.check(name != "", fmt.Sprintf("%s.claims[%d]", key, j), "must not be empty")
		}
		p.check(w.JWKS == "" || w.JWKSURL == "", key+".jwks", "does not go together with jwks_url; remove one of them")
		fetched := w.JWKS == ""
		p.check(fetched || w.CA == "", key+".ca", "has no effect with jwks")
		p.check(fetched || w.TokenFile == "", key+".token_file", "has no effect with jwks")
		p.check(w.JWKSURL == "" || isKeysURL(w.JWKSURL), key+".jwks_url", "want a URL by https: whoever changes its answer signs JWTs")
		p.check(!fetched || w.JWKSURL != "" || w.Issuer == "" || isKeysURL(w.Issuer), key+".issuer", "want a URL by https, where its keys are told, or set jwks or jwks_url")
		for j, alg := range w.Algorithms {
			message := oneOf(alg, tokenAlgorithms...)
			if strings.HasPrefix(alg, "HS") {
				message = "who verifies with a secret could sign with it: an issuer of workloads has key pairs"
			}
			p.add(fmt.Sprintf("%s.algorithms[%d]", key, j), message)
		}
		p.check(w.MaxAge >= 0, key+".max_age", "must not be negative")
	}
	p.check(len(c.Auth.Workload) == 0 || !c.Auth.Off, "auth.workload", "has no effect with auth.off; remove one of them")
	c.checkCertificates(p)
}

func (c *Config) checkCertificates(p *problems) {
	const key = "auth.certificates"
	s := c.Auth.Certificates
	if s.Account == "" {
		p.check(len(s.Require) == 0 && len(s.Labels) == 0, key+".account", "missing, such as ${cn}")
		return
	}
	checkTemplate(p, key+".account", s.Account, certificateParts)
	p.check(strings.Contains(s.Account, "${"), key+".account", "names no part of the certificate, such as ${cn}: everybody would be one account")
	checkClaims(p, key, s.Require, s.Labels, certificateParts)
	verifies := c.TLS.ClientAuth == "verify" || c.TLS.ClientAuth == "require"
	p.check(verifies, key, "needs tls.client_cas and tls.client_auth: verify, or require")
	p.check(!c.Auth.Off, key, "has no effect with auth.off; remove one of them")
}

// checkClaims checks patterns and templates by name. names are what they may name; nil is anything.
func checkClaims(p *problems, key string, require, labels map[string]string, names []string) {
	for _, name := range slices.Sorted(maps.Keys(require)) {
		at := join(key+".require", name)
		p.check(name != "", at, "must not be empty")
		if names != nil {
			p.add(at, oneOf(name, names...))
		}
		if _, err := policy.ParsePattern(require[name]); err != nil {
			p.add(at, err.Error())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		checkTemplate(p, join(key+".labels", name), labels[name], names)
	}
}

func checkTemplate(p *problems, key, text string, names []string) {
	t, err := customhouse.ParseTemplate(text)
	if err != nil {
		p.add(key, err.Error())
		return
	}
	for _, name := range t.Claims() {
		if names != nil && !slices.Contains(names, name) {
			p.add(key, fmt.Sprintf("${%s} is none of %s", name, strings.Join(names, ", ")))
		}
	}
}

func isWorkloadName(s string) bool {
	return s != "" && len(s) <= 63 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
}
