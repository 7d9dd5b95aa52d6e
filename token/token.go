// Package token is the paper: signing keys, JSON Web Tokens (RFC 7519) in the form of the Docker registry token
// specification, and their verification. It knows nothing of who may have a token, of HTTP, or of storage other than
// the file of a key.
//
//	key, err := token.LoadOrCreate("token.key", token.ES256)
//	keys, err := token.NewKeys(key)
//	ours, err := token.NewAuthority("https://r.example", "r.example", keys)
//	text, err := ours.Sign(claims)
//	claims, err := ours.Verify(text, time.Now())
//
// A token is verified by this reading and no other: compact serialization in the URL-safe base64 alphabet without
// padding; a header of alg, kid and perhaps typ, and nothing else, so that no key, certificate, address of a key or
// critical extension can come with a token; the key that kid names among the authority's own, and that key's only
// algorithm; then the signature; only then the claims, as strict JSON.
package token

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"customhouse"
)

// Limits of verification.
const (
	MaxLength = 16 << 10         // of a token, in bytes
	Leeway    = 60 * time.Second // for clocks that differ, as distribution allows

	maxHeader = 1 << 10 // of an encoded header
)

// Claims are what a token says.
type Claims struct {
	Issuer    string
	Subject   string   // the account; "" is anonymous
	Audience  []string // services
	Expires   time.Time
	NotBefore time.Time
	IssuedAt  time.Time
	ID        string
	Access    []customhouse.Access

	Method string              // the authenticator that vouched for the subject
	Stamp  string              // of the identity when the token was issued
	Labels map[string][]string // of the identity when the token was issued
}

// wire is the JSON form of Claims. Times are seconds since 1970.
type wire struct {
	Issuer    string               `json:"iss"`
	Subject   string               `json:"sub"`
	Audience  string               `json:"aud"`
	Expires   int64                `json:"exp"`
	NotBefore int64                `json:"nbf"`
	IssuedAt  int64                `json:"iat"`
	ID        string               `json:"jti"`
	Access    []customhouse.Access `json:"access"`
	Method    string               `json:"method,omitempty"`
	Stamp     string               `json:"stamp,omitempty"`
	Labels    map[string][]string  `json:"labels,omitempty"`
}

// Authority is an issuer whose tokens open one service. It is immutable.
type Authority struct {
	issuer  string
	service string
	keys    *Keys
}

// NewAuthority returns the issuer called issuer whose keys sign tokens for service. Neither name may be empty: a token
// without an audience would open every service.
func NewAuthority(issuer, service string, keys *Keys) (*Authority, error) {
	switch {
	case issuer == "":
		return nil, errors.New("token issuer is empty")
	case service == "":
		return nil, errors.New("token service is empty")
	case keys == nil:
		return nil, errors.New("token keys are missing")
	}
	return &Authority{issuer, service, keys}, nil
}

// Issuer returns the name of the issuer.
func (a *Authority) Issuer() string { return a.issuer }

// Service returns the name of the service, the audience of the tokens.
func (a *Authority) Service() string { return a.service }

// JWKS returns the public keys of the authority (see Keys.JWKS).
func (a *Authority) JWKS() []byte { return a.keys.jwks }

// Equal tells whether a and b verify the same tokens.
func (a *Authority) Equal(b *Authority) bool {
	return a.issuer == b.issuer && a.service == b.service && bytes.Equal(a.keys.jwks, b.keys.jwks)
}

// Sign returns a token with these claims. Issuer and audience are the authority's, and an empty ID becomes 128 random
// bits. Times are cut to whole seconds, expiry to the earlier.
func (a *Authority) Sign(c Claims) (string, error) {
	if c.ID == "" {
		var id [16]byte
		rand.Read(id[:])
		c.ID = base64.RawURLEncoding.EncodeToString(id[:])
	}
	payload, err := json.Marshal(wire{
		Issuer: a.issuer, Subject: c.Subject, Audience: a.service,
		Expires: c.Expires.Unix(), NotBefore: c.NotBefore.Unix(), IssuedAt: c.IssuedAt.Unix(),
		ID: c.ID, Access: useful(c.Access), Method: c.Method, Stamp: c.Stamp, Labels: known(c.Labels),
	})
	if err != nil {
		return "", err
	}
	key := a.keys.signing
	text := make([]byte, 0, len(key.header)+1+base64.RawURLEncoding.EncodedLen(len(payload))+1+512)
	text = append(append(text, key.header...), '.')
	text = base64.RawURLEncoding.AppendEncode(text, payload)
	signature, err := key.sign(text)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	text = append(text, '.')
	text = base64.RawURLEncoding.AppendEncode(text, signature)
	if len(text) > MaxLength {
		return "", fmt.Errorf("token of %d bytes is longer than %d", len(text), MaxLength)
	}
	return string(text), nil
}

// useful returns the accesses that have actions, never nil: what has none opens nothing, and null is no claim.
func useful(accesses []customhouse.Access) []customhouse.Access {
	some := make([]customhouse.Access, 0, len(accesses))
	for _, a := range accesses {
		if len(a.Actions) > 0 {
			some = append(some, a)
		}
	}
	return some
}

// known returns the labels that have values.
func known(labels map[string][]string) map[string][]string {
	some := maps.Clone(labels)
	maps.DeleteFunc(some, func(_ string, values []string) bool { return len(values) == 0 })
	return some
}

// Why a token is refused, for the log; clients are told invalid_token in each case.
var (
	ErrMalformed = errors.New("malformed token")
	ErrUntrusted = errors.New("untrusted token") // no key of ours has signed it
	ErrExpired   = errors.New("expired token")
	ErrNotYet    = errors.New("token of the future")
	ErrForeign   = errors.New("token of another issuer or for another service")
)

// Verify returns the claims of a token that a has issued and that is valid at now, Leeway granted. The error is one of
// those above, wrapped.
func (a *Authority) Verify(token string, now time.Time) (Claims, error) {
	header, payload, signature, err := split(token)
	if err != nil {
		return Claims{}, err
	}
	kid, alg, err := parseHeader(header)
	if err != nil {
		return Claims{}, err
	}
	key := a.keys.byID[kid]
	if key == nil {
		return Claims{}, fmt.Errorf("%w: unknown key", ErrUntrusted)
	}
	if alg != key.alg {
		return Claims{}, fmt.Errorf("%w: the algorithm is not the key's", ErrUntrusted)
	}
	s, err := decode(signature)
	if err != nil {
		return Claims{}, err
	}
	if !key.verify([]byte(token[:len(token)-len(signature)-1]), s) {
		return Claims{}, fmt.Errorf("%w: wrong signature", ErrUntrusted)
	}
	c, err := parseClaims(payload)
	if err != nil {
		return Claims{}, err
	}
	if err := a.Validate(&c, now); err != nil {
		return Claims{}, err
	}
	return c, nil
}

// Validate checks claims that Verify has returned once more, at another time. The errors are ErrForeign, ErrExpired and
// ErrNotYet.
func (a *Authority) Validate(c *Claims, now time.Time) error {
	switch {
	case c.Issuer != a.issuer || !slices.Contains(c.Audience, a.service):
		return ErrForeign
	case now.After(c.Expires.Add(Leeway)):
		return ErrExpired
	case now.Add(Leeway).Before(c.NotBefore) || now.Add(Leeway).Before(c.IssuedAt):
		return ErrNotYet
	}
	return nil
}

// split cuts a token at its dots, after a look at its length and at every byte: the base64 decoder would pass over line
// breaks.
func split(token string) (header, payload, signature string, err error) {
	if len(token) > MaxLength {
		return "", "", "", fmt.Errorf("%w: longer than %d bytes", ErrMalformed, MaxLength)
	}
	var dots [2]int
	n := 0
	for i := range len(token) {
		switch c := token[i]; {
		case c == '.':
			if n == len(dots) {
				return "", "", "", fmt.Errorf("%w: more than three parts", ErrMalformed)
			}
			dots[n] = i
			n++
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return "", "", "", fmt.Errorf("%w: a byte outside the alphabet", ErrMalformed)
		}
	}
	if n != len(dots) {
		return "", "", "", fmt.Errorf("%w: less than three parts", ErrMalformed)
	}
	return token[:dots[0]], token[dots[0]+1 : dots[1]], token[dots[1]+1:], nil
}

func decode(s string) ([]byte, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return b, nil
}

// parseHeader reads the header, which is not to be trusted yet.
func parseHeader(s string) (kid string, alg Algorithm, err error) {
	if len(s) > maxHeader {
		return "", "", fmt.Errorf("%w: header longer than %d bytes", ErrMalformed, maxHeader)
	}
	b, err := decode(s)
	if err != nil {
		return "", "", err
	}
	v, err := customhouse.ParseJSON(b)
	if err != nil {
		return "", "", fmt.Errorf("%w: header: %w", ErrMalformed, err)
	}
	object, ok := v.(map[string]any)
	if !ok {
		return "", "", fmt.Errorf("%w: the header is not an object", ErrMalformed)
	}
	for k, v := range object {
		s, isText := v.(string)
		switch {
		case k == "kid" && isText:
			kid = s
		case k == "alg" && isText:
			alg = Algorithm(s)
		case k == "typ" && isText && strings.EqualFold(s, "JWT"):
		default:
			return "", "", fmt.Errorf("%w: header %q", ErrMalformed, k)
		}
	}
	return kid, alg, nil
}
