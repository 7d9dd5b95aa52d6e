package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
)

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

// newJWK returns public without a name.
func newJWK(public crypto.PublicKey) (jwk, error) {
	switch p := public.(type) {
	case *ecdsa.PublicKey:
		point, err := p.Bytes() // 4, x, y
		if err != nil {
			return jwk{}, err
		}
		half := 1 + len(point)/2
		return jwk{Curve: p.Curve.Params().Name, Type: "EC", X: encode(point[1:half]), Y: encode(point[half:])}, nil
	case *rsa.PublicKey:
		return jwk{E: encode(big.NewInt(int64(p.E)).Bytes()), Type: "RSA", N: encode(p.N.Bytes())}, nil
	case ed25519.PublicKey:
		return jwk{Curve: "Ed25519", Type: "OKP", X: encode(p)}, nil
	}
	return jwk{}, fmt.Errorf("a key of type %T has no JWK", public)
}

// thumbprint returns the name of a key by RFC 7638.
func (j jwk) thumbprint() (string, error) {
	j.ID, j.Alg, j.Use = "", "", ""
	text, err := json.Marshal(j) // with the members that RFC 7638 wants, in its order, and no others
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return encode(sum[:]), nil
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
