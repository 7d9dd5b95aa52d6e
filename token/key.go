package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
)

// Algorithm is a signature algorithm of RFC 7518 or RFC 8037. None of them is symmetric: who verifies cannot sign.
type Algorithm string

// The algorithms.
const (
	ES256 Algorithm = "ES256" // ECDSA on P-256; the default
	RS256 Algorithm = "RS256" // RSA of minRSA bits or more
	EdDSA Algorithm = "EdDSA" // Ed25519
)

const minRSA = 2048

// Key is one key with the one algorithm that it is good for.
type Key struct {
	id      string
	alg     Algorithm
	private crypto.Signer // nil for a key that only verifies
	public  crypto.PublicKey
	jwk     jwk
	header  string // of the tokens that it signs, encoded
	exposed bool
}

// NewKey returns a key that signs with private: ECDSA on P-256, RSA of at least 2048 bits, or Ed25519.
func NewKey(private crypto.Signer) (*Key, error) {
	k, err := NewPublicKey(private.Public())
	if err != nil {
		return nil, err
	}
	k.private = private
	header, err := json.Marshal(map[string]string{"typ": "JWT", "alg": string(k.alg), "kid": k.id})
	if err != nil {
		return nil, err
	}
	k.header = base64.RawURLEncoding.EncodeToString(header)
	return k, nil
}

// NewPublicKey returns a key that verifies with public.
func NewPublicKey(public crypto.PublicKey) (*Key, error) {
	k := &Key{public: public}
	switch p := public.(type) {
	case *ecdsa.PublicKey:
		if p.Curve != elliptic.P256() {
			return nil, fmt.Errorf("an EC key on %s cannot be used; P-256 can", p.Curve.Params().Name)
		}
		point, err := p.Bytes() // 4, x, y
		if err != nil {
			return nil, err
		}
		k.alg = ES256
		k.jwk = jwk{Curve: "P-256", Type: "EC", X: encode(point[1:33]), Y: encode(point[33:])}
	case *rsa.PublicKey:
		if p.N.BitLen() < minRSA {
			return nil, fmt.Errorf("an RSA key of %d bits cannot be used; it takes at least %d", p.N.BitLen(), minRSA)
		}
		k.alg = RS256
		k.jwk = jwk{E: encode(big.NewInt(int64(p.E)).Bytes()), Type: "RSA", N: encode(p.N.Bytes())}
	case ed25519.PublicKey:
		k.alg = EdDSA
		k.jwk = jwk{Curve: "Ed25519", Type: "OKP", X: encode(p)}
	default:
		return nil, fmt.Errorf("a key of type %T cannot be used; EC P-256, RSA and Ed25519 can", public)
	}
	text, err := json.Marshal(k.jwk) // with the members that RFC 7638 wants, in its order, and no others
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	k.id = encode(sum[:])
	return k, nil
}

// Generate returns a new key for alg.
func Generate(alg Algorithm) (*Key, error) {
	var private crypto.Signer
	var err error
	switch alg {
	case ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RS256:
		private, err = rsa.GenerateKey(rand.Reader, minRSA)
	case EdDSA:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, fmt.Errorf("algorithm %q is none of ES256, RS256 and EdDSA", alg)
	}
	if err != nil {
		return nil, err
	}
	return NewKey(private)
}

// ID returns the key's thumbprint by RFC 7638, which is its kid.
func (k *Key) ID() string { return k.id }

// Algorithm returns the key's only algorithm.
func (k *Key) Algorithm() Algorithm { return k.alg }

// Exposed tells whether the file that k was loaded from can be read by everybody, which deserves a warning.
func (k *Key) Exposed() bool { return k.exposed }

// sign returns the signature of text in the form of RFC 7518 or RFC 8037.
func (k *Key) sign(text []byte) ([]byte, error) {
	sum := sha256.Sum256(text)
	switch p := k.private.(type) {
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, p, sum[:])
		if err != nil {
			return nil, err
		}
		signature := make([]byte, 64)
		r.FillBytes(signature[:32])
		s.FillBytes(signature[32:])
		return signature, nil
	case ed25519.PrivateKey:
		return ed25519.Sign(p, text), nil
	}
	return k.private.Sign(rand.Reader, sum[:], crypto.SHA256) // RSA: PKCS #1 v1.5
}

// verify tells whether signature is k's of text.
func (k *Key) verify(text, signature []byte) bool {
	sum := sha256.Sum256(text)
	switch p := k.public.(type) {
	case *ecdsa.PublicKey:
		if len(signature) != 64 {
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
		return ecdsa.Verify(p, sum[:], r, s)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(p, crypto.SHA256, sum[:], signature) == nil
	case ed25519.PublicKey:
		return len(signature) == ed25519.SignatureSize && ed25519.Verify(p, text, signature)
	}
	return false
}

// jwk is a public key as RFC 7517 writes it. The first fields are those of the thumbprint, in the order of RFC 7638.
type jwk struct {
	Curve string `json:"crv,omitempty"`
	E     string `json:"e,omitempty"`
	Type  string `json:"kty"`
	N     string `json:"n,omitempty"`
	X     string `json:"x,omitempty"`
	Y     string `json:"y,omitempty"`

	ID  string    `json:"kid,omitempty"`
	Alg Algorithm `json:"alg,omitempty"`
	Use string    `json:"use,omitempty"`
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// Keys are the keys of an authority: one that signs, and those whose signatures are good. They are immutable; rotation
// makes new Keys in which the former key only verifies.
type Keys struct {
	signing *Key
	byID    map[string]*Key
	jwks    []byte
}

// NewKeys returns keys in which signing signs, and signing and verifying verify.
func NewKeys(signing *Key, verifying ...*Key) (*Keys, error) {
	if signing == nil || signing.private == nil {
		return nil, errors.New("no key to sign with")
	}
	k := &Keys{signing: signing, byID: map[string]*Key{}}
	set := struct {
		Keys []jwk `json:"keys"`
	}{}
	for _, key := range append([]*Key{signing}, verifying...) {
		if k.byID[key.id] != nil {
			continue
		}
		k.byID[key.id] = key
		public := key.jwk
		public.ID, public.Alg, public.Use = key.id, key.alg, "sig"
		set.Keys = append(set.Keys, public)
	}
	var err error
	k.jwks, err = json.Marshal(set)
	return k, err
}

// JWKS returns the public keys as a JWK set (RFC 7517, section 5). The caller does not change it.
func (k *Keys) JWKS() []byte { return k.jwks }
