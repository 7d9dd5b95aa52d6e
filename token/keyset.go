package token

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"slices"
	"strings"

	"customhouse"
)

// Limits of the key sets of others.
const (
	maxKeySet = 1 << 20 // bytes
	maxKeys   = 256
)

// KeySet are keys of others, by all the names that tokens may call them: the "kid" of the set, the thumbprint of RFC 7638
// and the fingerprint of libtrust. It is immutable.
type KeySet struct {
	byName map[string][]*trusted // keys of two sets may have one name
	bad    []error               // keys that cannot be used
}

// trusted is a key of another.
type trusted struct {
	id     string // thumbprint; "" for a secret
	public any
	algs   []Algorithm // that it is good for
}

// names returns what the keys of s are called, for comparison.
func (s *KeySet) names() []string {
	var names []string
	for name, keys := range s.byName {
		for _, k := range keys {
			names = append(names, fmt.Sprint(name, " ", k.id, " ", k.algs))
		}
	}
	slices.Sort(names)
	return names
}

// hasSecret tells whether one of the keys is symmetric.
func (s *KeySet) hasSecret() bool {
	for _, keys := range s.byName {
		if slices.ContainsFunc(keys, func(k *trusted) bool { _, is := k.public.(secret); return is }) {
			return true
		}
	}
	return false
}

// add adds a key under its names, of which kid may be "".
func (s *KeySet) add(kid string, k *trusted) error {
	names := []string{kid}
	if _, symmetric := k.public.(secret); !symmetric {
		j, err := newJWK(k.public)
		if err != nil {
			return err
		}
		if k.id, err = j.thumbprint(); err != nil {
			return err
		}
		fingerprint, err := libtrustID(k.public)
		if err != nil {
			return err
		}
		names = append(names, k.id, fingerprint)
	}
	for i, name := range names {
		if name != "" && !slices.Contains(names[:i], name) {
			s.byName[name] = append(s.byName[name], k)
		}
	}
	return nil
}

// LoadKeySet returns the keys of the JWK set (RFC 7517) in the file at path, all of which must be usable. A file that
// holds a secret must be readable by its owner only, or by the group. Errors name the file and nothing of its content.
func LoadKeySet(path string) (*KeySet, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeySet+1))
	if err != nil {
		return nil, err
	}
	set, err := parseKeySet(data, true)
	if err == nil {
		err = errors.Join(set.bad...)
	}
	if err == nil && set.hasSecret() && info.Mode().Perm()&0o007 != 0 {
		err = fmt.Errorf("it holds a secret and others can read it (mode %04o); use chmod 600", info.Mode().Perm())
	}
	if err != nil {
		return nil, fmt.Errorf("key set %s: %w", path, err)
	}
	return set, nil
}

// parseKeySet reads a JWK set. Keys of unknown types and keys that are not for signatures are passed over, as RFC 7517
// section 5 wants it; those that cannot be used for another reason are listed in bad.
func parseKeySet(data []byte, secrets bool) (*KeySet, error) {
	if len(data) > maxKeySet {
		return nil, fmt.Errorf("larger than %d bytes", maxKeySet)
	}
	v, err := customhouse.ParseJSON(data)
	if err != nil {
		return nil, errors.New("not JSON")
	}
	object, _ := v.(map[string]any)
	list, ok := object["keys"].([]any)
	switch {
	case !ok:
		return nil, errors.New("no JWK set: want an object with keys")
	case len(list) > maxKeys:
		return nil, fmt.Errorf("more than %d keys", maxKeys)
	}
	set := &KeySet{byName: map[string][]*trusted{}}
	for i, v := range list {
		kid, k, err := parseJWK(v, secrets)
		if err == nil && k != nil {
			err = set.add(kid, k)
		}
		if err != nil {
			set.bad = append(set.bad, fmt.Errorf("key %d: %w", i+1, err))
		}
	}
	if len(set.byName) == 0 && len(set.bad) == 0 {
		return nil, errors.New("no key for signatures")
	}
	return set, nil
}

// parseJWK reads one key, which is nil if it is to be passed over.
func parseJWK(v any, secrets bool) (kid string, k *trusted, err error) {
	object, ok := v.(map[string]any)
	if !ok {
		return "", nil, errors.New("not an object")
	}
	field := map[string]string{}
	for _, name := range []string{"kty", "kid", "use", "alg", "crv", "x", "y", "n", "e", "k"} {
		v, there := object[name]
		if field[name], ok = v.(string); there && !ok {
			return "", nil, fmt.Errorf("%s is not text", name)
		}
	}
	if use := field["use"]; use != "" && use != "sig" {
		return "", nil, nil
	}
	if ops, ok := object["key_ops"].([]any); ok && !slices.Contains(ops, any("verify")) {
		return "", nil, nil
	}
	public, err := publicOf(field)
	if err != nil || public == nil {
		return "", nil, err
	}
	if _, symmetric := public.(secret); symmetric && !secrets {
		return "", nil, errors.New("a secret is no key of a set that everybody can read")
	}
	k = &trusted{public: public}
	if k.algs, err = algorithmsOf(public); err != nil {
		return "", nil, err
	}
	if alg := Algorithm(field["alg"]); alg != "" {
		if !slices.Contains(k.algs, alg) {
			return "", nil, errors.New("the key is not one for its algorithm")
		}
		k.algs = []Algorithm{alg}
	}
	return field["kid"], k, nil
}

// curves are the EC curves, by their name in a JWK.
var curves = map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}

// publicOf returns the key of a JWK, nil if its type or curve is not known.
func publicOf(field map[string]string) (any, error) {
	bytes := func(name string) []byte { // nil where it is wrong
		b, err := decode(strings.TrimRight(field[name], "="))
		if err != nil {
			return nil
		}
		return b
	}
	switch field["kty"] {
	case "EC":
		curve := curves[field["crv"]]
		if curve == nil {
			return nil, nil
		}
		x, y, size := bytes("x"), bytes("y"), (curve.Params().BitSize+7)/8
		if len(x) != size || len(y) != size {
			return nil, fmt.Errorf("the point is not %d bytes twice", size)
		}
		return ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
	case "RSA":
		n, e := new(big.Int).SetBytes(bytes("n")), new(big.Int).SetBytes(bytes("e"))
		if !e.IsInt64() || e.Int64() < 3 || e.Int64() > 1<<31-1 || e.Bit(0) == 0 || n.Bit(0) == 0 {
			return nil, errors.New("modulus or exponent cannot be those of a key")
		}
		return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
	case "OKP":
		if field["crv"] != "Ed25519" {
			return nil, nil
		}
		if x := bytes("x"); len(x) == ed25519.PublicKeySize {
			return ed25519.PublicKey(x), nil
		}
		return nil, fmt.Errorf("x is not %d bytes", ed25519.PublicKeySize)
	case symmetric:
		return secret(bytes("k")), nil
	}
	return nil, nil
}

// certificateKeys returns the keys of certificates.
func certificateKeys(certificates []*x509.Certificate) (*KeySet, error) {
	set := &KeySet{byName: map[string][]*trusted{}}
	for i, c := range certificates {
		algs, err := algorithmsOf(c.PublicKey)
		if err == nil {
			err = set.add("", &trusted{public: c.PublicKey, algs: algs})
		}
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i+1, err)
		}
	}
	return set, nil
}

// jwkThumbprint returns the thumbprint of the public key in a header.
func jwkThumbprint(object map[string]any) (string, error) {
	_, k, err := parseJWK(object, false)
	if err != nil {
		return "", err
	}
	if k == nil {
		return "", errors.New("a key of an unknown type")
	}
	j, err := newJWK(k.public)
	if err != nil {
		return "", err
	}
	return j.thumbprint()
}
