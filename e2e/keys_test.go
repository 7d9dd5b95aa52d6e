//go:build linux

package e2e_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestKeysAsDistribution3LooksThemUp brings tokens that are issued in docker_auth's place to the rules by which
// distribution 3 finds the key of a token, written out here from what they are: by the chain of certificates; without
// one, by name, among the thumbprints (RFC 7638) of the certificates that it has. Names of libtrust are no longer known.
func TestKeysAsDistribution3LooksThemUp(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	const thumbprint, chain = "  disable_legacy_key_id: true\n", "customhouse: {token: {x5c: true}}\n"
	seen := map[string]bool{}
	for _, key := range []struct {
		name string
		key  crypto.Signer
	}{{"RSA", rsaKey}, {"P-256", newKey(t)}, {"P-256 again", newKey(t)}, {"P-384", p384}} {
		t.Run(key.name, func(t *testing.T) {
			dir := t.TempDir()
			ca, certificate, private := tokenKey(t, dir, key.key)
			leafs, roots := certificatesIn(t, certificate)[:1], certificatesIn(t, ca)
			_, stranger, _ := issueCertificate(t, t.TempDir())
			strangers := certificatesIn(t, stranger)

			legacy := issuedBy(t, dir, certificate, private, "", "")
			if want := libtrustID(leafs[0].RawSubjectPublicKeyInfo); legacy.header.Kid != want {
				t.Errorf("kid = %s, want that of libtrust, %s", legacy.header.Kid, want)
			}
			named := issuedBy(t, dir, certificate, private, thumbprint, "")
			if want := thumbprintOf(t, leafs[0].PublicKey); named.header.Kid != want || named.header.X5C != nil {
				t.Errorf("kid = %s, x5c %d, want the thumbprint %s alone", named.header.Kid, len(named.header.X5C), want)
			}
			if seen[named.header.Kid] {
				t.Error("two keys have one name")
			}
			seen[named.header.Kid] = true
			chained := issuedBy(t, dir, certificate, private, thumbprint, chain)
			for _, test := range []struct {
				name   string
				token  issued
				bundle []*x509.Certificate
				ok     bool
			}{
				{"thumbprint, the certificate is known", named, leafs, true},
				{"thumbprint, its issuer is known", named, roots, false},
				{"thumbprint, another is known", named, strangers, false},
				{"chain, its issuer is known", chained, roots, true},
				{"chain, the certificate is known", chained, leafs, true},
				{"chain, another is known", chained, strangers, false},
				{"libtrust, the certificate is known", legacy, leafs, false},
			} {
				err := test.token.verify(t, test.bundle)
				if (err == nil) != test.ok {
					t.Errorf("%s: %v, want success to be %v", test.name, err, test.ok)
				}
			}
		})
	}
}

// issued is a token, taken apart.
type issued struct {
	header struct {
		Typ, Alg, Kid string
		X5C           [][]byte
		JWK           json.RawMessage
	}
	claims struct {
		Iss, Aud, Sub string
		Exp, Nbf      int64
	}
	text      string // what is signed
	signature []byte
}

// issuedBy returns a token for writer by a service with docker_auth's configuration.
func issuedBy(t *testing.T, dir, certificate, private, token, more string) issued {
	t.Helper()
	_, users, _ := strings.Cut(authConfig(t, dir, true, ""), "users:")
	a := serveAuth(t, nil, write(t, dir, "keys.yml", fmt.Sprintf(
		"server: {addr: 127.0.0.1:0}\ntoken:\n  issuer: open\n  expiration: 900\n  certificate: %s\n  key: %s\n%susers:%s%s", certificate, private, token, users, more)))
	r, err := http.NewRequest("GET", a.url+"/auth?service=registry&scope=repository:one:pull", nil)
	must(t, err)
	r.SetBasicAuth("writer", "writer-secret")
	res, err := a.http.Do(r)
	must(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	must(t, err)
	var answer struct{ Token string }
	must(t, json.Unmarshal(body, &answer))
	must(t, a.stop())

	parts := strings.Split(answer.Token, ".")
	if len(parts) != 3 {
		t.Fatalf("token = %s", body)
	}
	var i issued
	for n, into := range []any{&i.header, &i.claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[n])
		must(t, err)
		must(t, json.Unmarshal(text, into))
	}
	i.text = parts[0] + "." + parts[1]
	i.signature, err = base64.RawURLEncoding.DecodeString(parts[2])
	must(t, err)
	return i
}

// verify checks the token as distribution 3 does with a bundle of certificates.
func (i issued) verify(t *testing.T, bundle []*x509.Certificate) error {
	key, err := i.key(t, bundle)
	if err != nil {
		return err
	}
	now := time.Now().Unix()
	if i.claims.Iss != "open" || i.claims.Aud != "registry" || i.claims.Exp < now || i.claims.Nbf > now+60 {
		return fmt.Errorf("claims %+v", i.claims)
	}
	switch key := key.(type) {
	case *rsa.PublicKey:
		sum := sha256.Sum256([]byte(i.text))
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], i.signature)
	case *ecdsa.PublicKey:
		sum256, sum384 := sha256.Sum256([]byte(i.text)), sha512.Sum384([]byte(i.text))
		sum := map[string][]byte{"ES256": sum256[:], "ES384": sum384[:]}[i.header.Alg]
		half := len(i.signature) / 2
		if sum == nil || half != (key.Params().BitSize+7)/8 ||
			!ecdsa.Verify(key, sum, new(big.Int).SetBytes(i.signature[:half]), new(big.Int).SetBytes(i.signature[half:])) {
			return errors.New("bad signature")
		}
		return nil
	}
	return fmt.Errorf("key %T", key)
}

func (i issued) key(t *testing.T, bundle []*x509.Certificate) (crypto.PublicKey, error) {
	t.Helper()
	if len(i.header.X5C) > 0 {
		roots, between := x509.NewCertPool(), x509.NewCertPool()
		for _, c := range bundle {
			roots.AddCert(c)
		}
		leaf, err := x509.ParseCertificate(i.header.X5C[0])
		if err != nil {
			return nil, err
		}
		for _, der := range i.header.X5C[1:] {
			c, err := x509.ParseCertificate(der)
			if err != nil {
				return nil, err
			}
			between.AddCert(c)
		}
		_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		return leaf.PublicKey, err
	}
	if i.header.JWK != nil {
		return nil, errors.New("an embedded key, which is not wanted here")
	}
	for _, c := range bundle {
		if thumbprintOf(t, c.PublicKey) == i.header.Kid {
			return c.PublicKey, nil
		}
	}
	return nil, errors.New("untrusted key with ID " + i.header.Kid)
}

// thumbprintOf is that of RFC 7638.
func thumbprintOf(t *testing.T, key crypto.PublicKey) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	var text string
	switch key := key.(type) {
	case *rsa.PublicKey:
		text = fmt.Sprintf(`{"e":"%s","kty":"RSA","n":"%s"}`, encode(big.NewInt(int64(key.E)).Bytes()), encode(key.N.Bytes()))
	case *ecdsa.PublicKey:
		point, err := key.Bytes() // 4, x, y
		must(t, err)
		half := len(point) / 2
		text = fmt.Sprintf(`{"crv":"%s","kty":"EC","x":"%s","y":"%s"}`, key.Params().Name, encode(point[1:1+half]), encode(point[1+half:]))
	default:
		t.Fatalf("key %T", key)
	}
	sum := sha256.Sum256([]byte(text))
	return encode(sum[:])
}

// certificatesIn reads the certificates in a PEM file.
func certificatesIn(t *testing.T, file string) (all []*x509.Certificate) {
	t.Helper()
	rest := []byte(read(t, file))
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return all
		}
		c, err := x509.ParseCertificate(block.Bytes)
		must(t, err)
		all = append(all, c)
	}
}
