package token

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrNoKeys says that the keys of another issuer cannot be had, so that it cannot be told whether a token is good. It is
// an outage, not the fault of the token.
var ErrNoKeys = errors.New("the keys of the issuer cannot be had")

// TrustOptions are the settings of a Trust.
type TrustOptions struct {
	Issuer  string // "iss", exactly; mandatory
	Service string // what "aud" must contain; mandatory

	// Where its keys come from; one of them at least. Keys in a token are never its keys.
	Certificates []*x509.Certificate // their keys; and they are the roots of chains that come with tokens
	Keys         *KeySet
	Remote       *Remote

	Algorithms []Algorithm // that tokens may be signed with; none is each that is not symmetric
}

// Trust is another issuer whose tokens open one service, verified as CNCF distribution does it. It differs from an
// Authority in what may be in a token: the key may go by either of its names, or be that of a chain of certificates
// ("x5c") which ends at one of ours, or be named by a copy of it ("jwk"); nbf, iat, jti, sub and access may be missing.
type Trust struct {
	issuer, service string
	algs            []Algorithm
	roots           []*x509.Certificate
	pool            *x509.CertPool // nil without certificates
	sets            []*KeySet      // that do not change
	remote          *Remote        // nil for none
}

// NewTrust returns an issuer that is trusted.
func NewTrust(o TrustOptions) (*Trust, error) {
	t := &Trust{issuer: o.Issuer, service: o.Service, algs: o.Algorithms, roots: o.Certificates, remote: o.Remote}
	switch {
	case o.Issuer == "":
		return nil, errors.New("the issuer to trust is empty")
	case o.Service == "":
		return nil, errors.New("the service of tokens to trust is empty")
	case len(o.Certificates) == 0 && o.Keys == nil && o.Remote == nil:
		return nil, errors.New("the issuer to trust has no keys")
	}
	if len(t.algs) == 0 {
		var err error
		if t.algs, err = ParseAlgorithms(nil); err != nil {
			return nil, err
		}
	}
	if len(o.Certificates) > 0 {
		set, err := certificateKeys(o.Certificates)
		if err != nil {
			return nil, err
		}
		t.sets = append(t.sets, set)
		t.pool = x509.NewCertPool()
		for _, c := range o.Certificates {
			t.pool.AddCert(c)
		}
	}
	if o.Keys != nil {
		t.sets = append(t.sets, o.Keys)
	}
	named := slices.ContainsFunc(t.algs, func(alg Algorithm) bool { return methods[alg].keys == symmetric })
	if secret := o.Keys != nil && o.Keys.hasSecret(); named != secret {
		return nil, errors.New("HS256, HS384 and HS512 take a secret in the file of keys, and a secret takes one of them by name")
	}
	return t, nil
}

// Equal tells whether t and o verify the same tokens.
func (t *Trust) Equal(o *Trust) bool {
	return t.issuer == o.issuer && t.service == o.service && t.remote == o.remote && slices.Equal(t.algs, o.algs) &&
		slices.EqualFunc(t.roots, o.roots, func(a, b *x509.Certificate) bool { return bytes.Equal(a.Raw, b.Raw) }) &&
		slices.EqualFunc(t.sets, o.sets, func(a, b *KeySet) bool { return slices.Equal(a.names(), b.names()) })
}

// Service returns what the audience of its tokens must contain.
func (t *Trust) Service() string { return t.service }

// Issuer returns the name of the issuer.
func (t *Trust) Issuer() string { return t.issuer }

// Proof is what it rests on that a token is good, besides its claims. The zero Proof rests on nothing that could change.
type Proof struct {
	until time.Time // when the certificate that came with the token ends; zero for none
	set   *KeySet   // the remote one that its key is in; nil for none
}

// Verify returns the claims of a token that the issuer has signed for our service and that is valid at now, Leeway
// granted, and what that rests on. The errors are those of Authority.Verify and ErrNoKeys, wrapped.
func (t *Trust) Verify(ctx context.Context, token string, now time.Time) (Claims, Proof, error) {
	payload, proof, err := t.signed(ctx, token, now)
	if err != nil {
		return Claims{}, Proof{}, err
	}
	c, err := parseForeign(payload)
	if err != nil {
		return Claims{}, Proof{}, err
	}
	if err := t.Validate(ctx, &c, proof, now); err != nil {
		return Claims{}, Proof{}, err
	}
	return c, proof, nil
}

// signed returns the claims of a token, encoded, if a key of the issuer has signed it.
func (t *Trust) signed(ctx context.Context, token string, now time.Time) (payload string, _ Proof, err error) {
	parts, err := split(token)
	if err != nil {
		return "", Proof{}, err
	}
	h, err := parseHeader(parts.header, theirs)
	if err != nil {
		return "", Proof{}, err
	}
	if !slices.Contains(t.algs, h.alg) {
		return "", Proof{}, fmt.Errorf("%w: algorithm %.20q", ErrUntrusted, h.alg)
	}
	keys, proof, err := t.keys(ctx, h, now)
	if err != nil {
		return "", Proof{}, err
	}
	err = fmt.Errorf("%w: the algorithm is not the key's", ErrUntrusted)
	for _, k := range keys {
		if !slices.Contains(k.algs, h.alg) {
			continue
		}
		if err = parts.verify(h.alg, k.public); err == nil {
			return parts.payload, proof, nil
		}
	}
	return "", Proof{}, err
}

// Validate checks claims that Verify has returned once more, at another time. The errors are ErrForeign, ErrExpired,
// ErrNotYet and, where what the token was verified by holds no longer, ErrUntrusted.
func (t *Trust) Validate(ctx context.Context, c *Claims, p Proof, now time.Time) error {
	switch {
	case c.Issuer != t.issuer || !slices.Contains(c.Audience, t.service):
		return ErrForeign
	case now.After(c.Expires.Add(Leeway)):
		return ErrExpired
	case now.Add(Leeway).Before(c.NotBefore):
		return ErrNotYet
	case !p.until.IsZero() && now.After(p.until):
		return fmt.Errorf("%w: its certificate has expired", ErrUntrusted)
	case p.set == nil:
		return nil
	}
	if set, err := t.remote.current(ctx, now); err != nil || set != p.set {
		return fmt.Errorf("%w: the keys have changed since", ErrUntrusted)
	}
	return nil
}

// keys returns the keys that a token with header h may be signed by, each of them one that we have or that one of our
// certificates vouches for. The order is that of distribution: a chain of certificates, a copy of the key, a name.
// Where we have no certificates, a chain says nothing and the name counts.
func (t *Trust) keys(ctx context.Context, h header, now time.Time) ([]*trusted, Proof, error) {
	name := h.kid
	switch {
	case h.chain != nil && t.pool != nil:
		return t.certified(h.chain, now)
	case h.jwk != nil:
		var err error
		if name, err = jwkThumbprint(h.jwk); err != nil {
			return nil, Proof{}, fmt.Errorf("%w: header jwk: %w", ErrMalformed, err)
		}
	}
	if name == "" {
		return nil, Proof{}, fmt.Errorf("%w: no name of a key", ErrUntrusted)
	}
	var keys []*trusted
	for _, set := range t.sets {
		keys = append(keys, set.byName[name]...)
	}
	if len(keys) > 0 || t.remote == nil {
		if len(keys) == 0 {
			return nil, Proof{}, fmt.Errorf("%w: unknown key", ErrUntrusted)
		}
		return keys, Proof{}, nil
	}
	set, err := t.remote.having(ctx, name, now)
	if err != nil {
		return nil, Proof{}, err
	}
	if keys = set.byName[name]; len(keys) == 0 {
		return nil, Proof{}, fmt.Errorf("%w: unknown key", ErrUntrusted)
	}
	return keys, Proof{set: set}, nil
}

// certified returns the key of the first certificate of a chain which ends at one of ours.
func (t *Trust) certified(chain []string, now time.Time) ([]*trusted, Proof, error) {
	bad := func(err error) ([]*trusted, Proof, error) {
		return nil, Proof{}, fmt.Errorf("%w: its certificate: %w", ErrUntrusted, err)
	}
	certificates, err := parseChain(chain)
	if err != nil {
		return bad(errors.New("cannot be parsed"))
	}
	leaf, between := certificates[0], x509.NewCertPool()
	for _, c := range certificates[1:] {
		between.AddCert(c)
	}
	algs, err := algorithmsOf(leaf.PublicKey)
	if err != nil {
		return bad(err)
	}
	// Any use of the key: the certificate of a web server signs tokens in many a house.
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: t.pool, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return bad(err)
	}
	until := chains[0][0].NotAfter
	for _, c := range chains[0] {
		if c.NotAfter.Before(until) {
			until = c.NotAfter
		}
	}
	return []*trusted{{public: leaf.PublicKey, algs: algs}}, Proof{until: until}, nil
}
