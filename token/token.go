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
// padding; a header of alg, kid, perhaps typ, and perhaps the certificate of our own key, and nothing else, so that no key, address of a key or
// critical extension can come with a token; the key that kid names among the authority's own, and that key's only
// algorithm; then the signature; only then the claims, as strict JSON.
package token

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"customhouse"
)

// Limits of verification.
const (
	MaxLength = 16 << 10         // of a token, in bytes
	Leeway    = 60 * time.Second // for clocks that differ, as distribution allows

	maxHeader    = 12 << 10 // of an encoded header; most of it is a chain of certificates
	maxStructure = 64       // marks of structure in a header, which bound its values
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

	Vouched map[string]any // what another issuer has said, on which the identity rests; nil for none
	Bound   string         // the thumbprint of the certificate that goes with the token (RFC 8705); "" for none
	Key     string         // the ID of the key by which it was verified; Sign does not look at it
}

// wire is the JSON form of Claims. Times are seconds since 1970.
type wire struct {
	Issuer    string               `json:"iss"`
	Subject   string               `json:"sub"`
	Audience  audience             `json:"aud"`
	Expires   int64                `json:"exp"`
	NotBefore int64                `json:"nbf"`
	IssuedAt  int64                `json:"iat"`
	ID        string               `json:"jti"`
	Access    []customhouse.Access `json:"access"`
	Method    string               `json:"method,omitempty"`
	Stamp     string               `json:"stamp,omitempty"`
	Labels    map[string][]string  `json:"labels,omitempty"`
	Vouched   map[string]any       `json:"vouched,omitempty"`
	Bound     *confirmation        `json:"cnf,omitempty"`
}

// confirmation is the "cnf" claim (RFC 7800, RFC 8705).
type confirmation struct {
	Thumbprint string `json:"x5t#S256"`
}

func newConfirmation(thumbprint string) *confirmation {
	if thumbprint == "" {
		return nil
	}
	return &confirmation{thumbprint}
}

// audience is written as text where it is one service, as most readers expect it.
type audience []string

func (a audience) MarshalJSON() ([]byte, error) {
	if len(a) == 1 {
		return json.Marshal(a[0])
	}
	return json.Marshal([]string(a))
}

// KeySource has the keys of an authority: always the same ones, which is *Keys itself, or those of a Folder, which are
// exchanged while the authority is in use.
type KeySource interface {
	Current() *Keys // never nil
}

// Authority is an issuer that verifies the tokens for one service, its own. It signs them for that one and for others. It
// is immutable but for what its keys are at present.
type Authority struct {
	issuer  string
	service string
	keys    KeySource
}

// NewAuthority returns the issuer called issuer whose keys sign tokens for service. Neither name may be empty: a token
// without an audience would open every service.
func NewAuthority(issuer, service string, keys KeySource) (*Authority, error) {
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
func (a *Authority) JWKS() []byte { return a.keys.Current().jwks }

// Equal tells whether b is the same issuer for the same service as a, so that it can validate what a has verified.
func (a *Authority) Equal(b *Authority) bool { return a.issuer == b.issuer && a.service == b.service }

// NewID returns the ID of a new token: 128 random bits.
func NewID() string {
	var id [16]byte
	rand.Read(id[:])
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// Sign returns a token with these claims. The issuer is the authority, no audience is its own service, and an empty ID
// becomes 128 random bits. Times are cut to whole seconds, expiry to the earlier.
func (a *Authority) Sign(c Claims) (string, error) {
	if c.ID == "" {
		c.ID = NewID()
	}
	if len(c.Audience) == 0 {
		c.Audience = []string{a.service}
	}
	payload, err := json.Marshal(wire{
		Issuer: a.issuer, Subject: c.Subject, Audience: c.Audience,
		Expires: c.Expires.Unix(), NotBefore: c.NotBefore.Unix(), IssuedAt: c.IssuedAt.Unix(),
		ID: c.ID, Access: sorted(c.Access), Method: c.Method, Stamp: c.Stamp, Labels: known(c.Labels),
		Vouched: c.Vouched, Bound: newConfirmation(c.Bound),
	})
	if err != nil {
		return "", err
	}
	key := a.keys.Current().signing
	text := make([]byte, 0, len(key.header)+1+base64.RawURLEncoding.EncodedLen(len(payload))+1+512)
	text = append(append(text, key.header...), '.')
	text = base64.RawURLEncoding.AppendEncode(text, payload)
	signature, err := key.alg.sign(key.private, text)
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

// sorted returns accesses with their actions in the order that docker_auth has them in. Neither it nor a list of actions
// is nil: null is no claim.
func sorted(accesses []customhouse.Access) []customhouse.Access {
	all := make([]customhouse.Access, len(accesses))
	for i, a := range accesses {
		a.Actions = slices.AppendSeq([]customhouse.Action{}, slices.Values(a.Actions))
		slices.Sort(a.Actions)
		all[i] = a
	}
	return all
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
	ErrNotYet    = errors.New("token of the future: the clock here, or that of its issuer, is wrong")
	ErrForeign   = errors.New("token of another issuer or for another service")
)

// Verify returns the claims of a token that a has issued and that is valid at now, Leeway granted. The error is one of
// those above, wrapped.
func (a *Authority) Verify(token string, now time.Time) (Claims, error) {
	parts, err := split(token)
	if err != nil {
		return Claims{}, err
	}
	h, err := parseHeader(parts.header, ours)
	if err != nil {
		return Claims{}, err
	}
	key := a.keys.Current().byID[h.kid]
	switch {
	case key == nil:
		return Claims{}, fmt.Errorf("%w: unknown key", ErrUntrusted)
	case h.alg != key.alg:
		return Claims{}, fmt.Errorf("%w: the algorithm is not the key's", ErrUntrusted)
	case h.chain != nil && !key.certifiedBy(h.chain):
		return Claims{}, fmt.Errorf("%w: the certificate is not the key's", ErrUntrusted)
	}
	if err := parts.verify(key.alg, key.public); err != nil {
		return Claims{}, err
	}
	c, err := parseClaims(parts.payload)
	if err != nil {
		return Claims{}, err
	}
	c.Key = key.id
	if err := a.Validate(&c, now); err != nil {
		return Claims{}, err
	}
	return c, nil
}

// Validate checks claims that Verify has returned once more, at another time. The errors are ErrForeign, ErrExpired,
// ErrNotYet and, where the key is none of ours any more, ErrUntrusted.
func (a *Authority) Validate(c *Claims, now time.Time) error {
	switch {
	case c.Issuer != a.issuer || !slices.Contains(c.Audience, a.service):
		return ErrForeign
	case now.After(c.Expires.Add(Leeway)):
		return ErrExpired
	case now.Add(Leeway).Before(c.NotBefore) || now.Add(Leeway).Before(c.IssuedAt):
		return ErrNotYet
	case a.keys.Current().byID[c.Key] == nil:
		return fmt.Errorf("%w: the key was taken away", ErrUntrusted)
	}
	return nil
}
