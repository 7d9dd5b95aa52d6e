package config

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// Token is the section token.
type Token struct {
	// The issuer ("iss") of tokens.
	Issuer string `yaml:"issuer"`

	// The audience ("aud") of tokens: the service that clients are told to ask for.
	Service string `yaml:"service"`

	// Further services that clients may ask tokens for, such as other registries that trust this issuer. ["*"] is any. A
	// token opens this registry only if it is for service.
	Services []string `yaml:"services"`

	// The algorithm that signs tokens. Empty is that of key, or ES256 for a key that is made.
	Algorithm string `yaml:"algorithm" jsonschema:"enum=ES256,enum=ES384,enum=ES512,enum=RS256,enum=EdDSA,enum="`

	// The PEM file with the private key that signs tokens. Empty makes one in the folder keys of data at the first start,
	// and others as rotation says.
	Key string `yaml:"key"`

	// PEM files with further keys whose tokens are good, and which are published: private keys, public keys or
	// certificates. It is how a key that is given here is exchanged by hand.
	VerifyKeys []string `yaml:"verify_keys"`

	// How the keys in the folder keys of data take turns.
	Rotation Rotation `yaml:"rotation"`

	// The PEM file with the certificate of key, followed by those of its issuers. With x5c only they are sent.
	Certificate string `yaml:"certificate"`

	// How tokens name their key ("kid"): thumbprint (RFC 7638), or libtrust for registries before distribution 3.
	KeyID string `yaml:"key_id" jsonschema:"enum=thumbprint,enum=libtrust"`

	// Whether each token carries certificate ("x5c"), for registries that trust an issuer of certificates.
	X5C bool `yaml:"x5c"`

	// How long a token is valid, 60s to 24h. Permissions are checked again at each request, whatever the token says.
	Expiration time.Duration `yaml:"expiration"`

	// How long a refresh token is valid, at least as long as expiration.
	RefreshExpiration time.Duration `yaml:"refresh_expiration"`

	// Which refresh tokens are replaced when they are used: those that clients had by POST, which take another (client), all,
	// after which docker has to log in again (always), or none (never). One that comes back after it was replaced ends all
	// that were had for it.
	RefreshRotation string `yaml:"refresh_rotation" jsonschema:"enum=client,enum=always,enum=never"`

	// Issuers of others whose tokens open this registry, too.
	Trust []Trust `yaml:"trust"`
}

// Rotation is the section token.rotation.
type Rotation struct {
	// How long a key signs before the next one does. 0 is for ever, or until the command customhouse keys rotate.
	Every time.Duration `yaml:"every"`

	// How long a new key is published before it signs, so that whoever verifies tokens knows it.
	Publish time.Duration `yaml:"publish"`

	// How long a key is good after the next has begun to sign. 0 is expiration and two minutes.
	Keep time.Duration `yaml:"keep"`
}

// tokenLeeway is by how much the clocks of those may differ who issue and verify tokens.
const tokenLeeway = time.Minute

// LongestUse returns how long a token may be good after it was issued, clocks that differ in both places granted.
func (t Token) LongestUse() time.Duration { return t.Expiration + 2*tokenLeeway }

func (c *Config) checkRotation(p *problems) {
	r := c.Token.Rotation
	p.check(r.Publish >= 0, "token.rotation.publish", "must not be negative")
	p.check(r.Every == 0 || r.Every >= time.Hour && r.Every >= 2*max(r.Publish, r.Keep), "token.rotation.every", "want 0, or at least 1h and twice publish and keep")
	p.check(r.Keep == 0 || r.Keep >= c.Token.Expiration+tokenLeeway, "token.rotation.keep", "want at least token.expiration and a minute: tokens are good that long")
	p.check(r.Every == 0 || c.Token.Key == "", "token.rotation.every", "has no effect with token.key; name former keys in token.verify_keys")
}

func (c *Config) checkToken(p *problems) {
	t := c.Token
	p.check(t.Issuer != "", "token.issuer", "must not be empty")
	p.check(t.Service != "", "token.service", "must not be empty: a token without an audience is good anywhere")
	p.check(t.Service == "" || isService(t.Service), "token.service", notService)
	for i, s := range t.Services {
		p.check(isService(s), fmt.Sprintf("token.services[%d]", i), notService)
	}
	if t.Algorithm != "" {
		p.add("token.algorithm", oneOf(t.Algorithm, "ES256", "ES384", "ES512", "RS256", "EdDSA"))
	}
	p.check(t.Certificate == "" || t.Key != "", "token.certificate", "needs token.key beside it")
	p.add("token.key_id", oneOf(t.KeyID, "thumbprint", "libtrust"))
	p.check(!t.X5C || t.Certificate != "", "token.x5c", "needs token.certificate")
	p.check(time.Minute <= t.Expiration && t.Expiration <= 24*time.Hour, "token.expiration", "want 60s to 24h")
	p.add("token.refresh_rotation", oneOf(t.RefreshRotation, "client", "always", "never"))
	p.check(t.RefreshExpiration >= t.Expiration, "token.refresh_expiration", "want at least token.expiration")
	c.checkRotation(p)
	c.checkTrust(p)
}

const notService = `no name of a service: 1 to 255 bytes without control characters, '"' and '\'`

// isService matches what can be the audience of a token and stand in a challenge.
func isService(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsAny(s, `"\`) && !strings.ContainsFunc(s, unicode.IsControl)
}
