package config

import (
	"fmt"
	"net/url"
	"strings"
)

// Trust is an element of token.trust.
type Trust struct {
	// The issuer ("iss") of its tokens, exactly.
	Issuer string `yaml:"issuer" jsonschema:"required"`

	// What the audience ("aud") of its tokens must contain. Empty is token.service.
	Service string `yaml:"service"`

	// The URL of its token service. Clients are sent there for tokens, in place of the token service that is built in.
	Realm string `yaml:"realm"`

	// A PEM file of certificates: their keys sign tokens, and they are the roots of chains that come with tokens ("x5c").
	Certificates string `yaml:"certificates"`

	// A file with a JWK set of its keys.
	JWKS string `yaml:"jwks"`

	// The URL of a JWK set of its keys, by https. It is fetched when needed and every four minutes; while it cannot be
	// fetched the last one stays good for an hour.
	JWKSURL string `yaml:"jwks_url"`

	// The algorithms that may sign its tokens. Empty is each that is not symmetric; HS256, HS384 and HS512 must be named,
	// and take a secret in the file of jwks.
	Algorithms []string `yaml:"algorithms"`

	// Whether rules must allow, too, what its tokens say. Left out, they must if this file has rules.
	Rules *bool `yaml:"rules"`

	// Whether clients are sent for tokens to the host that they have asked, if it is one of ours, else to realm.
	Autoredirect bool `yaml:"autoredirect"`

	// The path of the token service there. Empty is /auth/token.
	AutoredirectPath string `yaml:"autoredirect_path"`
}

// Announced tells whether clients are sent to the token service of t.
func (t Trust) Announced() bool { return t.Realm != "" || t.Autoredirect }

var tokenAlgorithms = []string{
	"ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA", "HS256", "HS384", "HS512",
}

func (c *Config) checkTrust(p *problems) {
	announced := -1
	for i, t := range c.Token.Trust {
		key := fmt.Sprintf("token.trust[%d]", i)
		p.check(t.Issuer != "", key+".issuer", "must not be empty")
		p.check(t.Service == "" || isService(t.Service), key+".service", notService)
		p.check(t.Certificates != "" || t.JWKS != "" || t.JWKSURL != "", key, "has no keys; set certificates, jwks or jwks_url")
		p.add(key+".realm", c.wrongRealm(t.Realm))
		p.check(t.JWKSURL == "" || isKeysURL(t.JWKSURL), key+".jwks_url", "want a URL by https, such as https://auth.example.com/jwks.json: whoever changes its answer signs tokens")
		for j, alg := range t.Algorithms {
			p.add(fmt.Sprintf("%s.algorithms[%d]", key, j), oneOf(alg, tokenAlgorithms...))
		}
		p.check(t.AutoredirectPath == "" || isPath(strings.TrimSuffix(t.AutoredirectPath, "/")), key+".autoredirect_path", "want a path, such as /auth/token")
		p.check(t.AutoredirectPath == "" || t.Autoredirect, key+".autoredirect_path", "has no effect without autoredirect")
		if t.Announced() && announced >= 0 {
			p.add(key+".realm", fmt.Sprintf("clients can be sent to one token service only, and token.trust[%d] has one", announced))
		} else if t.Announced() {
			announced = i
		}
	}
	p.check(len(c.Token.Trust) == 0 || !c.Auth.Off, "token.trust", "has no effect with auth.off; remove one of them")
}

// wrongRealm returns why clients cannot be sent to realm with their passwords, "" if they can.
func (c *Config) wrongRealm(realm string) string {
	if realm == "" {
		return ""
	}
	u, err := url.Parse(realm)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || !isHost(u.Host) || u.User != nil || u.Fragment != "" || strings.ContainsAny(realm, `"\ `):
		return "want the URL of a token service, such as https://auth.example.com/auth"
	case u.Scheme == "http" && !isLoopback(u.Hostname()) && !c.AllowPlaintext:
		return "passwords would cross the network readable; want https, or set allow_plaintext: true"
	}
	return ""
}

// isKeysURL matches URLs whose answer nobody between here and there can change.
func isKeysURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && isHost(u.Host) && u.User == nil && (u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()))
}
