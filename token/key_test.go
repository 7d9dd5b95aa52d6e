package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/token"
)

// certify returns a certificate of key, signed by parent's key; a nil parent is key itself.
func certify(t testing.TB, key crypto.Signer, parent *x509.Certificate, parentKey crypto.Signer, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "test " + serial.String()},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), BasicConstraintsValid: true,
	}
	if change != nil {
		change(template)
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	must(t, err)
	c, err := x509.ParseCertificate(der)
	must(t, err)
	return c
}

// authority makes the certificate one of an authority.
func authority(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign }

func newEC(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return k
}

// libtrustOf is the name that libtrust has for a key, computed another way than in the package.
func libtrustOf(t testing.TB, public crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	must(t, err)
	sum := sha256.Sum256(der)
	s := strings.TrimRight(base32.StdEncoding.EncodeToString(sum[:240/8]), "=")
	var groups []string
	for i := range len(s) / 4 {
		groups = append(groups, s[4*i:4*i+4])
	}
	return strings.Join(groups, ":")
}

// parts decodes header and claims as text, in which the order of keys is seen.
func parts(t testing.TB, text string) (header, claims string) {
	t.Helper()
	part := strings.Split(text, ".")
	h, err := base64.RawURLEncoding.DecodeString(part[0])
	must(t, err)
	c, err := base64.RawURLEncoding.DecodeString(part[1])
	must(t, err)
	return string(h), string(c)
}

// Tokens look like those of docker_auth: header and claims in its order, by either name of the key.
func TestFormOfDockerAuth(t *testing.T) {
	f := newForge(t)
	for _, key := range f.keys {
		legacy, err := key.WithLibtrustID()
		must(t, err)
		for _, k := range []*token.Key{key, legacy} {
			keys, err := token.NewKeys(k)
			must(t, err)
			a, err := token.NewAuthority("Acme auth server", "s", keys)
			must(t, err)
			text, err := a.Sign(token.Claims{
				Subject: "admin", IssuedAt: now, NotBefore: now.Add(-10 * time.Second), Expires: now.Add(900 * time.Second), ID: "1",
				Access: []customhouse.Access{
					{Type: "repository", Name: "a/b", Actions: []customhouse.Action{"push", "pull"}}, {Type: "repository", Name: "c"},
				},
			})
			must(t, err)
			var set jose.JSONWebKeySet
			must(t, json.Unmarshal(keys.JWKS(), &set))
			kid := key.ID()
			if k == legacy {
				kid = libtrustOf(t, set.Keys[0].Key)
			}
			header, payload := parts(t, text)
			if want := `{"typ":"JWT","alg":"` + string(k.Algorithm()) + `","kid":"` + kid + `"}`; header != want {
				t.Errorf("header = %s, want %s", header, want)
			}
			want := `{"iss":"Acme auth server","sub":"admin","aud":"s","exp":1800000900,"nbf":1799999990,"iat":1800000000,"jti":"1",` +
				`"access":[{"type":"repository","name":"a/b","actions":["pull","push"]},{"type":"repository","name":"c","actions":[]}]}`
			if payload != want {
				t.Errorf("claims = %s, want %s", payload, want)
			}
			if len(set.Key(kid)) != 1 || len(set.Key(key.ID())) != 1 {
				t.Errorf("the key set lacks %s or %s: %s", kid, key.ID(), keys.JWKS())
			}
			if _, err := a.Verify(text, now); err != nil {
				t.Errorf("Verify = %v", err)
			}
			other, err := token.NewKeys(key) // a change of key_id makes no token bad
			must(t, err)
			b, err := token.NewAuthority("Acme auth server", "s", other)
			must(t, err)
			if _, err := b.Verify(text, now); err != nil {
				t.Errorf("Verify under the other name = %v", err)
			}
		}
	}
}

// A token with a chain satisfies a verifier that knows its root only.
func TestChainOfTokens(t *testing.T) {
	f := newForge(t)
	rootKey, middleKey := newEC(t), newEC(t)
	root := certify(t, rootKey, nil, nil, authority)
	middle := certify(t, middleKey, root, rootKey, authority)
	leaf := certify(t, f.rsa, middle, middleKey, nil)
	key, err := f.keys["RS256"].WithChain([]*x509.Certificate{leaf, middle})
	must(t, err)
	keys, err := token.NewKeys(key)
	must(t, err)
	a, err := token.NewAuthority(issuer, service, keys)
	must(t, err)
	text, err := a.Sign(token.Claims{Subject: "alice", IssuedAt: now, NotBefore: now, Expires: now.Add(time.Minute)})
	must(t, err)
	if _, err := a.Verify(text, now); err != nil {
		t.Fatalf("Verify = %v", err)
	}
	theirs, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.RS256})
	must(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(root)
	chains, err := theirs.Headers[0].Certificates(x509.VerifyOptions{Roots: pool, CurrentTime: now})
	if err != nil {
		t.Fatalf("the chain in the token: %v", err)
	}
	var c jwt.Claims
	must(t, theirs.Claims(chains[0][0].PublicKey, &c))

	// Tokens with the former certificate, and those without, stay good when it is renewed.
	renewed, err := f.keys["RS256"].WithChain([]*x509.Certificate{certify(t, f.rsa, middle, middleKey, nil), middle})
	must(t, err)
	for _, k := range []*token.Key{renewed, f.keys["RS256"]} {
		keys, err := token.NewKeys(k)
		must(t, err)
		a, err := token.NewAuthority(issuer, service, keys)
		must(t, err)
		if _, err := a.Verify(text, now); err != nil {
			t.Fatalf("Verify after a renewal = %v", err)
		}
	}

	long := []*x509.Certificate{leaf, middle}
	for len(long) < 40 {
		long = append(long, root)
	}
	for name, chain := range map[string][]*x509.Certificate{
		"of another key": {middle, root}, "empty": {}, "out of order": {leaf, root}, "too long": long,
	} {
		if _, err := f.keys["RS256"].WithChain(chain); err == nil {
			t.Errorf("WithChain %s = nil, want an error", name)
		}
	}
}

// TestS25_Audience signs for several services; each accepts the token, and only those.
func TestS25_Audience(t *testing.T) {
	f := newForge(t)
	text, err := f.Sign(token.Claims{Audience: []string{"a", "b"}, IssuedAt: now, NotBefore: now, Expires: now.Add(time.Minute)})
	must(t, err)
	for _, tt := range []struct {
		service string
		opens   bool
	}{{"a", true}, {"b", true}, {service, false}, {"a b", false}} {
		c, err := f.authority(t, token.ES256, tt.service).Verify(text, now)
		if (err == nil) != tt.opens {
			t.Errorf("Verify by %q = %v", tt.service, err)
		}
		if diff := cmp.Diff([]string{"a", "b"}, c.Audience); tt.opens && diff != "" {
			t.Errorf("audience (-want +got):\n%s", diff)
		}
	}
}

func TestLoadCertificates(t *testing.T) {
	a, b := certify(t, newEC(t), nil, nil, nil), certify(t, newEC(t), nil, nil, nil)
	text := func(c *x509.Certificate) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	for _, tt := range []struct {
		name, content string
		want          int
		err           string
	}{
		{"two with remarks", "the first\n" + text(a) + "the second\n" + text(b) + "\n", 2, ""},
		{"beside a key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})) + text(a), 1, ""},
		{"cut off", text(a) + text(b)[:200], 0, "not whole"},
		{"none", "topsecret", 0, "no certificate"},
		{"broken", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("topsecret")})), 0, "certificate 1 cannot be parsed"},
	} {
		path := filepath.Join(t.TempDir(), "bundle.pem")
		must(t, os.WriteFile(path, []byte(tt.content), 0o600))
		got, err := token.LoadCertificates(path)
		switch {
		case tt.err == "" && (err != nil || len(got) != tt.want):
			t.Errorf("%s: LoadCertificates = %d, %v, want %d", tt.name, len(got), err, tt.want)
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "topsecret")):
			t.Errorf("%s: LoadCertificates = %v, want an error about %q that names %s", tt.name, err, tt.err, path)
		}
	}
}
