package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// Algorithm is a signature algorithm of RFC 7518 or RFC 8037.
type Algorithm string

// The algorithms that sign here.
const (
	ES256 Algorithm = "ES256" // ECDSA on P-256; the default
	ES384 Algorithm = "ES384" // ECDSA on P-384
	ES512 Algorithm = "ES512" // ECDSA on P-521
	RS256 Algorithm = "RS256" // RSA of minRSA bits or more, PKCS #1 v1.5
	EdDSA Algorithm = "EdDSA" // Ed25519
)

// method is how an algorithm is done. Who verifies with a key of type symmetric could also sign.
type method struct {
	keys  string // the "kty" of its keys
	hash  crypto.Hash
	curve elliptic.Curve // of EC keys
	pss   bool           // of RSA keys
}

const symmetric = "oct"

// methods are all the algorithms that tokens of others may be signed with.
var methods = map[Algorithm]method{
	ES256: {keys: "EC", hash: crypto.SHA256, curve: elliptic.P256()},
	ES384: {keys: "EC", hash: crypto.SHA384, curve: elliptic.P384()},
	ES512: {keys: "EC", hash: crypto.SHA512, curve: elliptic.P521()},
	RS256: {keys: "RSA", hash: crypto.SHA256}, "RS384": {keys: "RSA", hash: crypto.SHA384}, "RS512": {keys: "RSA", hash: crypto.SHA512},
	"PS256": {keys: "RSA", hash: crypto.SHA256, pss: true}, "PS384": {keys: "RSA", hash: crypto.SHA384, pss: true}, "PS512": {keys: "RSA", hash: crypto.SHA512, pss: true},
	EdDSA:   {keys: "OKP"},
	"HS256": {keys: symmetric, hash: crypto.SHA256}, "HS384": {keys: symmetric, hash: crypto.SHA384}, "HS512": {keys: symmetric, hash: crypto.SHA512},
}

// secret is a symmetric key (RFC 7518, section 6.4).
type secret []byte

// verify tells whether signature is that of text by key, in the form of RFC 7518 or RFC 8037. An algorithm that is not
// for keys of this type is not.
func (alg Algorithm) verify(key any, text, signature []byte) bool {
	m, ok := methods[alg]
	if !ok {
		return false
	}
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		size := (k.Curve.Params().BitSize + 7) / 8
		if m.curve != k.Curve || len(signature) != 2*size {
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
		return ecdsa.Verify(k, sum(m.hash, text), r, s)
	case *rsa.PublicKey:
		switch {
		case m.keys != "RSA":
			return false
		case m.pss:
			return rsa.VerifyPSS(k, m.hash, sum(m.hash, text), signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return rsa.VerifyPKCS1v15(k, m.hash, sum(m.hash, text), signature) == nil
	case ed25519.PublicKey:
		return alg == EdDSA && len(signature) == ed25519.SignatureSize && ed25519.Verify(k, text, signature)
	case secret:
		if m.keys != symmetric {
			return false
		}
		mac := hmac.New(m.hash.New, k)
		mac.Write(text)
		return hmac.Equal(mac.Sum(nil), signature)
	}
	return false
}

// sign returns the signature of text by key, which is one for alg.
func (alg Algorithm) sign(key crypto.Signer, text []byte) ([]byte, error) {
	hash := methods[alg].hash
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, k, sum(hash, text))
		if err != nil {
			return nil, err
		}
		size := (k.Curve.Params().BitSize + 7) / 8
		signature := make([]byte, 2*size)
		r.FillBytes(signature[:size])
		s.FillBytes(signature[size:])
		return signature, nil
	case ed25519.PrivateKey:
		return ed25519.Sign(k, text), nil
	}
	return key.Sign(rand.Reader, sum(hash, text), hash)
}

func sum(hash crypto.Hash, text []byte) []byte {
	switch hash {
	case crypto.SHA256:
		s := sha256.Sum256(text)
		return s[:]
	case crypto.SHA384:
		s := sha512.Sum384(text)
		return s[:]
	}
	s := sha512.Sum512(text)
	return s[:]
}

// algorithmsOf returns the algorithms that key is good for, the usual one first.
func algorithmsOf(key any) ([]Algorithm, error) {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		for _, alg := range []Algorithm{ES256, ES384, ES512} {
			if methods[alg].curve == k.Curve {
				return []Algorithm{alg}, nil
			}
		}
		return nil, fmt.Errorf("an EC key on %s cannot be used; P-256, P-384 and P-521 can", k.Curve.Params().Name)
	case *rsa.PublicKey:
		switch bits := k.N.BitLen(); {
		case bits < minRSA:
			return nil, fmt.Errorf("an RSA key of %d bits cannot be used: it can be broken, and takes at least %d", bits, minRSA)
		case bits > maxRSA:
			return nil, fmt.Errorf("an RSA key of %d bits cannot be used: it takes too long, and takes at most %d", bits, maxRSA)
		}
		return []Algorithm{RS256, "RS384", "RS512", "PS256", "PS384", "PS512"}, nil
	case ed25519.PublicKey:
		return []Algorithm{EdDSA}, nil
	case secret:
		if len(k) < minSecret {
			return nil, fmt.Errorf("a secret of %d bytes cannot be used: it can be guessed, and takes at least %d", len(k), minSecret)
		}
		return []Algorithm{"HS256", "HS384", "HS512"}, nil
	}
	return nil, fmt.Errorf("a key of type %T cannot be used; EC, RSA and Ed25519 can", key)
}

// Limits of keys.
const (
	minRSA    = 2048 // bits
	maxRSA    = 16384
	minSecret = 32 // bytes
)

// ParseAlgorithms checks the names of algorithms. None means every one that is not symmetric.
func ParseAlgorithms(names []string) ([]Algorithm, error) {
	var algs []Algorithm
	for _, name := range names {
		if _, ok := methods[Algorithm(name)]; !ok {
			return nil, fmt.Errorf("algorithm %q is not one of %s", name, strings.Join(allAlgorithms(true), ", "))
		}
		algs = append(algs, Algorithm(name))
	}
	if len(algs) == 0 {
		for _, name := range allAlgorithms(false) {
			algs = append(algs, Algorithm(name))
		}
	}
	return algs, nil
}

func allAlgorithms(withSymmetric bool) []string {
	var names []string
	for alg, m := range methods {
		if withSymmetric || m.keys != symmetric {
			names = append(names, string(alg))
		}
	}
	slices.Sort(names)
	return names
}
