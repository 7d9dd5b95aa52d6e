package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Key is one key with the one algorithm that it is good for.
type Key struct {
	id       string // thumbprint by RFC 7638
	libtrust string // fingerprint by libtrust
	alg      Algorithm
	private  crypto.Signer // nil for a key that only verifies
	public   crypto.PublicKey
	jwk      jwk
	exposed  bool

	kid    string   // which of the two names it goes by in the tokens that it signs
	chain  []string // of certificates that go with those tokens, encoded; the first is the key's
	header string   // of those tokens, encoded
}

// NewKey returns a key that signs with private: ECDSA on P-256, P-384 or P-521, RSA of at least 2048 bits, or Ed25519.
func NewKey(private crypto.Signer) (*Key, error) {
	k, err := NewPublicKey(private.Public())
	if err != nil {
		return nil, err
	}
	k.private = private
	return k.withHeader()
}

// NewPublicKey returns a key that verifies with public.
func NewPublicKey(public crypto.PublicKey) (*Key, error) {
	algs, err := algorithmsOf(public)
	if err != nil {
		return nil, err
	}
	k := &Key{public: public, alg: algs[0]}
	if k.jwk, err = newJWK(public); err != nil {
		return nil, err
	}
	if k.id, err = k.jwk.thumbprint(); err != nil {
		return nil, err
	}
	if k.libtrust, err = libtrustID(public); err != nil {
		return nil, err
	}
	k.kid = k.id
	return k, nil
}

// Generate returns a new key for alg.
func Generate(alg Algorithm) (*Key, error) {
	var private crypto.Signer
	var err error
	switch alg {
	case ES256, ES384, ES512:
		private, err = ecdsa.GenerateKey(methods[alg].curve, rand.Reader)
	case RS256:
		private, err = rsa.GenerateKey(rand.Reader, minRSA)
	case EdDSA:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, fmt.Errorf("algorithm %q is none of ES256, ES384, ES512, RS256 and EdDSA", alg)
	}
	if err != nil {
		return nil, err
	}
	return NewKey(private)
}

// WithLibtrustID returns k under the name that registries before distribution 3 know keys by: the fingerprint of
// libtrust, in the place of the thumbprint.
func (k *Key) WithLibtrustID() (*Key, error) {
	c := *k
	c.kid = k.libtrust
	return c.withHeader()
}

// WithChain returns k with certificates that go with each token ("x5c"): that of k, followed by those of its issuers.
func (k *Key) WithChain(chain []*x509.Certificate) (*Key, error) {
	if err := k.Matches(chain); err != nil {
		return nil, err
	}
	c := *k
	c.chain = nil
	for i, certificate := range chain {
		if i > 0 {
			if err := chain[i-1].CheckSignatureFrom(certificate); err != nil {
				return nil, fmt.Errorf("certificate %d is not that of the issuer of certificate %d: %w", i+1, i, err)
			}
		}
		c.chain = append(c.chain, base64.StdEncoding.EncodeToString(certificate.Raw))
	}
	return c.withHeader()
}

// Matches tells whether the first certificate of chain is that of k.
func (k *Key) Matches(chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return errors.New("no certificate")
	}
	public, ok := k.public.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(chain[0].PublicKey) {
		return errors.New("the certificate is that of another key")
	}
	return nil
}

// withHeader writes the header of the tokens that k signs, in the order of docker_auth.
func (k *Key) withHeader() (*Key, error) {
	header, err := json.Marshal(struct {
		Type  string    `json:"typ"`
		Alg   Algorithm `json:"alg"`
		ID    string    `json:"kid"`
		Chain []string  `json:"x5c,omitempty"`
	}{"JWT", k.alg, k.kid, k.chain})
	if err != nil {
		return nil, err
	}
	if k.header = encode(header); len(k.header) > maxHeader {
		return nil, fmt.Errorf("a chain of %d certificates is too long to go with tokens", len(k.chain))
	}
	return k, nil
}

// ID returns the key's thumbprint by RFC 7638, which is its kid unless it goes by another name.
func (k *Key) ID() string { return k.id }

// Algorithm returns the key's only algorithm.
func (k *Key) Algorithm() Algorithm { return k.alg }

// Exposed tells whether the file that k was loaded from can be read by everybody, which deserves a warning.
func (k *Key) Exposed() bool { return k.exposed }

// libtrustID returns the name that libtrust gives to a key: the first 30 bytes of the SHA-256 of the public key (PKIX,
// DER) in base32, in groups of four (github.com/docker/libtrust).
func libtrustID(public crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	text := base32.StdEncoding.EncodeToString(sum[:30])
	var id strings.Builder
	for i := 0; i < len(text); i += 4 {
		if i > 0 {
			id.WriteByte(':')
		}
		id.WriteString(text[i : i+4])
	}
	return id.String(), nil
}
