package token_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/token"
)

// house of another issuer: its private keys, certificates of them, and trust in it by each source of keys.
type other struct {
	*forge
	rootKey      *ecdsa.PrivateKey
	root, leaf   *x509.Certificate // leaf is of ec
	certificates []*x509.Certificate
	trusts       map[string]*token.Trust
}

func newOther(t testing.TB) *other {
	t.Helper()
	o := &other{forge: newForge(t), rootKey: newEC(t)}
	o.root = certify(t, o.rootKey, nil, nil, authority)
	o.leaf = certify(t, o.ec, o.root, o.rootKey, nil)
	for _, key := range []crypto.Signer{o.ec, o.rsa, o.p384, o.p521, o.ed} {
		o.certificates = append(o.certificates, certify(t, key, nil, nil, nil))
	}
	keys, err := token.NewKeys(o.keys["ES256"], slices.Collect(maps.Values(o.keys))...)
	must(t, err)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(keys.JWKS()) }))
	t.Cleanup(site.Close)
	remote, err := token.NewRemote(site.URL, token.RemoteOptions{})
	must(t, err)
	o.trusts = map[string]*token.Trust{
		"certificates": o.trust(t, token.TrustOptions{Certificates: append(slices.Clone(o.certificates), o.root)}),
		"key set":      o.trust(t, token.TrustOptions{Keys: keySet(t, keys.JWKS())}),
		"URL":          o.trust(t, token.TrustOptions{Remote: remote}),
	}
	return o
}

func (o *other) trust(t testing.TB, options token.TrustOptions) *token.Trust {
	t.Helper()
	options.Issuer, options.Service = issuer, service
	trust, err := token.NewTrust(options)
	must(t, err)
	return trust
}

// keySet loads a JWK set.
func keySet(t testing.TB, jwks []byte) *token.KeySet {
	t.Helper()
	path := filepath.Join(t.TempDir(), "jwks.json")
	must(t, os.WriteFile(path, jwks, 0o600))
	set, err := token.LoadKeySet(path)
	must(t, err)
	return set
}

// seal signs a token whose header and claims are texts, with the means of the standard library.
func seal(t testing.TB, key crypto.Signer, header, claims string) string {
	t.Helper()
	text := encode([]byte(header)) + "." + encode([]byte(claims))
	var signature []byte
	switch k := key.(type) {
	case *rsa.PrivateKey:
		sum := sha256.Sum256([]byte(text))
		var err error
		signature, err = rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, sum[:])
		must(t, err)
	case ed25519.PrivateKey:
		signature = ed25519.Sign(k, []byte(text))
	case *ecdsa.PrivateKey:
		size := (k.Curve.Params().BitSize + 7) / 8
		sum := map[int]func() []byte{
			32: func() []byte { s := sha256.Sum256([]byte(text)); return s[:] },
			48: func() []byte { s := sha512.Sum384([]byte(text)); return s[:] },
			66: func() []byte { s := sha512.Sum512([]byte(text)); return s[:] },
		}[size]()
		r, s, err := ecdsa.Sign(rand.Reader, k, sum)
		must(t, err)
		signature = make([]byte, 2*size)
		r.FillBytes(signature[:size])
		s.FillBytes(signature[size:])
	}
	return text + "." + encode(signature)
}

// ofDockerAuth are claims in the order and types of docker_auth.
const ofDockerAuth = `{"iss":"https://r.example","sub":"admin","aud":"r.example","exp":1800000900,"nbf":1799999990,"iat":1800000000,` +
	`"jti":"8704240882171171399","access":[{"type":"repository","name":"a/b","actions":["pull","push"]},{"type":"repository","name":"c","actions":[]}]}`

// TestTokensOfDockerAuth reads tokens as docker_auth makes them, with each type of key and both names of it.
func TestTokensOfDockerAuth(t *testing.T) {
	o := newOther(t)
	want := token.Claims{
		Issuer: issuer, Subject: "admin", Audience: []string{service}, Expires: now.Add(900 * time.Second), NotBefore: now.Add(-10 * time.Second),
		IssuedAt: now, ID: "8704240882171171399", Access: []customhouse.Access{
			{Type: "repository", Name: "a/b", Actions: []customhouse.Action{"pull", "push"}}, {Type: "repository", Name: "c"},
		},
	}
	for alg, key := range map[string]crypto.Signer{"RS256": o.rsa, "ES256": o.ec, "ES384": o.p384, "ES512": o.p521} {
		for name, kid := range map[string]string{"legacy": libtrustOf(t, key.Public()), "thumbprint": o.keys[alg].ID()} {
			text := seal(t, key, `{"typ":"JWT","alg":"`+alg+`","kid":"`+kid+`"}`, ofDockerAuth)
			for mode, trust := range o.trusts {
				got, _, err := trust.Verify(t.Context(), text, now)
				if err != nil {
					t.Errorf("%s, %s by %s: Verify = %v", alg, name, mode, err)
					continue
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s, %s by %s (-want +got):\n%s", alg, name, mode, diff)
				}
			}
		}
	}
	// The thumbprint that docker_auth gives to every key on P-256 names none of ours.
	text := seal(t, o.ec, `{"typ":"JWT","alg":"ES256","kid":"xx0BcA-wMohw8atYDJOe6peGModklG2wRHBlXHMvl0M"}`, ofDockerAuth)
	for mode, trust := range o.trusts {
		if _, _, err := trust.Verify(t.Context(), text, now); !errors.Is(err, token.ErrUntrusted) {
			t.Errorf("the thumbprint of the generator by %s: Verify = %v", mode, err)
		}
	}
}

// der returns certificates as a header has them.
func der(certificates ...*x509.Certificate) []string {
	var list []string
	for _, c := range certificates {
		list = append(list, base64.StdEncoding.EncodeToString(c.Raw))
	}
	return list
}

// jwkOf returns a public key as a header has it.
func jwkOf(key *ecdsa.PrivateKey, more object) object {
	point, err := key.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	j := object{"kty": "EC", "crv": "P-256", "x": encode(point[1:33]), "y": encode(point[33:])}
	maps.Copy(j, more)
	return j
}

// TestKeysOfTokens shows the ways to say which key has signed.
func TestKeysOfTokens(t *testing.T) {
	o := newOther(t)
	middleKey := newEC(t)
	middle := certify(t, middleKey, o.root, o.rootKey, authority)
	below := certify(t, o.ec, middle, middleKey, nil)
	web := certify(t, o.ec, o.root, o.rootKey, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	all := []string{"certificates", "key set", "URL"}
	for _, tt := range []struct {
		name   string
		header object
		modes  []string
	}{
		{"chain", object{"alg": "ES256", "x5c": der(o.leaf)}, all[:1]},
		{"chain of three", object{"alg": "ES256", "x5c": der(below, middle, o.root)}, all[:1]},
		{"chain of a web server", object{"alg": "ES256", "x5c": der(web)}, all[:1]},
		{"the certificate itself", object{"alg": "ES256", "x5c": der(o.certificates[0])}, all[:1]},
		{"chain and a name", object{"alg": "ES256", "x5c": der(o.leaf), "kid": o.keys["ES256"].ID()}, all},
		{"a copy of the key", object{"alg": "ES256", "jwk": jwkOf(o.ec, nil)}, all},
		{"a copy of the key with its name", object{"alg": "ES256", "jwk": jwkOf(o.ec, object{"kid": libtrustOf(t, o.ec.Public())})}, all},
		{"a hint at the certificate", object{"alg": "ES256", "kid": o.keys["ES256"].ID(), "x5t": "AAAA", "x5t#S256": "AAAA"}, all},
		{"nothing", object{"alg": "ES256"}, nil},
		{"an empty name", object{"alg": "ES256", "kid": ""}, nil},
	} {
		text := o.make(tt.header, claims(nil))
		for mode, trust := range o.trusts {
			if _, _, err := trust.Verify(t.Context(), text, now); (err == nil) != slices.Contains(tt.modes, mode) {
				t.Errorf("%s by %s: Verify = %v", tt.name, mode, err)
			}
		}
	}

	// What a chain vouches for ends with it, also for a token that was verified before.
	text := o.make(object{"alg": "ES256", "x5c": der(o.leaf)}, claims(object{"exp": now.Unix() + 86400}))
	trust := o.trusts["certificates"]
	c, proof, err := trust.Verify(t.Context(), text, now)
	must(t, err)
	must(t, trust.Validate(t.Context(), &c, proof, o.leaf.NotAfter))
	if err := trust.Validate(t.Context(), &c, proof, o.leaf.NotAfter.Add(time.Second)); !errors.Is(err, token.ErrUntrusted) {
		t.Errorf("Validate after the certificate's end = %v", err)
	}
}

// TestS21_ForeignSignatures tries the forgeries at each source of keys.
func TestS21_ForeignSignatures(t *testing.T) {
	o := newOther(t)
	for mode, trust := range o.trusts {
		for name, text := range forgeries(t, o.forge) {
			if _, _, err := trust.Verify(t.Context(), text, now); err == nil {
				t.Errorf("%s by %s: Verify = nil", name, mode)
			}
		}
		if _, _, err := trust.Verify(t.Context(), o.make(o.header(nil), claims(nil)), now); err != nil {
			t.Errorf("Verify of the honest token by %s = %v", mode, err)
		}
	}
}

// TestS22_ForeignKeysInTokens brings keys, certificates and addresses along that are not trusted.
func TestS22_ForeignKeysInTokens(t *testing.T) {
	o, evil := newOther(t), newOther(t)
	var connections atomic.Int32
	site := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { connections.Add(1) }))
	defer site.Close()
	kid := o.keys["ES256"].ID()
	badMiddle := certify(t, evil.rootKey, o.root, o.rootKey, nil) // no authority
	expired := certify(t, evil.ec, o.root, o.rootKey, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(-time.Hour), now.Add(-time.Second) })
	early := certify(t, evil.ec, o.root, o.rootKey, func(c *x509.Certificate) { c.NotBefore = now.Add(time.Minute) })
	signer := certify(t, evil.ec, evil.root, evil.rootKey, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} })
	for name, header := range map[string]object{
		"jwk": {"jwk": jwkOf(evil.ec, nil)}, "jwk with a trusted name": {"jwk": jwkOf(evil.ec, object{"kid": kid})}, "jwk text": {"jwk": "x"}, "jwk null": {"jwk": nil},
		"jwk off the curve": {"jwk": jwkOf(evil.ec, object{"y": encode(make([]byte, 32))})}, "jwk of a secret": {"jwk": object{"kty": "oct", "k": encode(make([]byte, 32))}},
		"jwk with a chain": {"jwk": jwkOf(evil.ec, object{"x5c": der(evil.leaf)})},
		"jku":              {"jku": site.URL}, "x5u": {"x5u": site.URL}, "x5c no text": {"x5c": []int{1}}, "x5c text": {"x5c": "MIIB"}, "x5c empty": {"x5c": []string{}},
		"kid of a path": {"kid": "../../etc/passwd"}, "kid of SQL": {"kid": "' or 1=1 --"}, "kid of 64 KiB": {"kid": strings.Repeat("k", 64<<10)},
		"kid of NUL": {"kid": kid + "\x00"}, "kid of no text": {"kid": 1}, "kid null": {"kid": nil}, "kid list": {"kid": []string{kid}}, "kid of a URL": {"kid": site.URL},
		"x5c of nine": {"x5c": der(slices.Repeat([]*x509.Certificate{o.leaf}, 9)...)},
	} {
		for mode, trust := range o.trusts {
			if _, _, err := trust.Verify(t.Context(), evil.make(o.header(header), claims(nil)), now); err == nil {
				t.Errorf("%s, signed by theirs, by %s: Verify = nil", name, mode)
			}
			if strings.HasPrefix(name, "jwk") || !strings.HasPrefix(name, "kid") {
				if _, _, err := trust.Verify(t.Context(), o.make(o.header(header), claims(nil)), now); err == nil {
					t.Errorf("%s, signed by ours, by %s: Verify = nil", name, mode)
				}
			}
		}
	}
	trust := o.trusts["certificates"]
	for name, chain := range map[string][]string{
		"garbage": {"MIIB"}, "no base64": {"-"}, "self-signed": der(certify(t, evil.ec, nil, nil, nil)), "self-signed authority": der(certify(t, evil.ec, nil, nil, authority)),
		"another root": der(evil.leaf, evil.root), "our root behind it": der(evil.leaf, o.root), "expired": der(expired), "of the future": der(early),
		"wrong use, another root": der(signer, evil.root), "an intermediate that is no authority": der(certify(t, evil.ec, badMiddle, evil.rootKey, nil), badMiddle),
		"our certificate, their key": der(o.leaf), "their certificate second": der(o.leaf, evil.leaf),
	} {
		for _, header := range []object{{"x5c": chain}, {"x5c": chain, "kid": absentKid}} {
			h := o.header(header)
			if header["kid"] == absentKid {
				delete(h, "kid")
			}
			if _, _, err := trust.Verify(t.Context(), evil.make(h, claims(nil)), now); err == nil {
				t.Errorf("x5c %s: Verify = nil", name)
			}
		}
	}
	if _, _, err := trust.Verify(t.Context(), o.make(o.header(object{"x5c": []string{"MIIB"}}), claims(nil)), now); err == nil {
		t.Errorf("a bad chain falls back to the name of the key")
	}
	if n := connections.Load(); n != 0 {
		t.Errorf("%d connections to addresses in tokens", n)
	}
}

const absentKid = "absent"

// TestS23_ForeignClaims varies one claim at a time; what is accepted is what the documentation of token.trust says.
func TestS23_ForeignClaims(t *testing.T) {
	o := newOther(t)
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	access := func(v ...any) object { return object{"access": v} }
	element := func(change object) object {
		e := object{"type": "repository", "name": "a", "actions": []string{"pull"}}
		maps.Copy(e, change)
		return e
	}
	accepted := map[string]object{
		"aud in a list": {"aud": []string{"other", service}}, "expired within 60 s": {"exp": at(-60 * time.Second)}, "early within 60 s": {"nbf": at(60 * time.Second)},
		"issued later": {"iat": at(time.Hour)}, "no access": access(), "access null": {"access": nil}, "actions null": access(element(object{"actions": nil})),
		"sub missing": {"sub": absent}, "nbf missing": {"nbf": absent}, "iat missing": {"iat": absent}, "jti missing": {"jti": absent}, "access missing": {"access": absent},
		"other claims": {"future": object{"a": 1}, "labels": []string{"a"}, "method": 1, "stamp": nil}, "a subject with a colon": {"sub": "system:serviceaccount:a:b"},
	}
	refused := map[string]object{
		"expired 61 s ago": {"exp": at(-61 * time.Second)}, "not before in 61 s": {"nbf": at(61 * time.Second)},
		"another issuer": {"iss": issuer + "/"}, "no issuer": {"iss": ""}, "issuer in a list": {"iss": []string{issuer}}, "issuer in other case": {"iss": strings.ToUpper(issuer)},
		"another audience": {"aud": "other"}, "no audience": {"aud": ""}, "other audiences": {"aud": []string{"other", service + "."}}, "empty audiences": {"aud": []string{}},
		"audience of numbers": {"aud": []any{service, 1}}, "audience in another case": {"aud": strings.ToUpper(service)},
		"access element null": access(nil), "access element empty": access(object{}), "access element text": access("repository:a:pull"),
		"access without type": access(element(object{"type": ""})), "access without name": access(element(object{"name": ""})), "access type number": access(element(object{"type": 1})),
		"access name null": access(element(object{"name": nil})), "access actions text": access(element(object{"actions": "pull"})), "access actions of numbers": access(element(object{"actions": []int{1}})),
		"access class number": access(element(object{"class": 1})), "access second element bad": access(element(nil), nil), "access object": {"access": object{}},
		"sub with a newline": {"sub": "a\nb"}, "sub too long": {"sub": strings.Repeat("a", 256)}, "sub null": {"sub": nil}, "jti null": {"jti": nil},
	}
	for _, claim := range []string{"iss", "aud", "exp"} {
		refused[claim+" missing"], refused[claim+" null"] = object{claim: absent}, object{claim: nil}
	}
	for _, claim := range []string{"iss", "sub", "aud", "jti", "access", "exp", "nbf", "iat"} {
		for name, v := range map[string]any{"object": object{}, "list of numbers": []int{1}, "bool": true} {
			refused[claim+" "+name] = object{claim: v}
		}
	}
	for _, claim := range []string{"exp", "nbf", "iat"} {
		for _, v := range []any{-1, 1.5, "1800000000", json.Number("1e99"), json.Number("99999999999999999999"), uint64(253402300800)} {
			refused[fmt.Sprintf("%s %v %T", claim, v, v)] = object{claim: v}
		}
	}
	if n := len(accepted) + len(refused); n < 60 {
		t.Fatalf("%d variants, want at least 60", n)
	}
	for mode, trust := range o.trusts {
		for name, change := range accepted {
			if _, _, err := trust.Verify(t.Context(), o.make(o.header(nil), claims(change)), now); err != nil {
				t.Errorf("%s by %s: Verify = %v", name, mode, err)
			}
		}
		for name, change := range refused {
			if c, _, err := trust.Verify(t.Context(), o.make(o.header(nil), claims(change)), now); err == nil {
				t.Errorf("%s by %s: Verify = %+v", name, mode, c)
			}
		}
		for name, payload := range map[string]string{
			"list": `[]`, "null": `null`, "nothing": ``, "two values": `{}{}`, "duplicate keys": `{"exp":1,"exp":9999999999}`, "not UTF-8": "{\"sub\":\"\xff\"}",
		} {
			if _, _, err := trust.Verify(t.Context(), o.make(o.header(nil), []byte(payload)), now); !errors.Is(err, token.ErrMalformed) {
				t.Errorf("%s by %s: Verify = %v", name, mode, err)
			}
		}
	}
	labels := object{"labels": object{"group": []string{"dev"}}}
	if c, _, err := o.trusts["key set"].Verify(t.Context(), o.make(o.header(nil), claims(labels)), now); err != nil || c.Labels["group"][0] != "dev" {
		t.Errorf("labels = %v, %v", c.Labels, err)
	}
}

// TestS24_ForeignParserAbuse shows that no token makes much work before it is refused.
func TestS24_ForeignParserAbuse(t *testing.T) {
	o, evil := newOther(t), newOther(t)
	tokens := abuse(o.forge)
	lookalike := func(c *x509.Certificate) { authority(c); c.Subject = o.root.Subject }
	var chain []*x509.Certificate
	for range 7 {
		chain = append(chain, certify(t, evil.rootKey, nil, nil, lookalike))
	}
	chain = append([]*x509.Certificate{certify(t, evil.ec, chain[0], evil.rootKey, nil)}, chain...)
	tokens["a chain of look-alikes"] = evil.make(o.header(object{"x5c": der(chain...)}), claims(nil))
	tokens["a chain of 8 KiB"] = evil.make(o.header(object{"x5c": []string{strings.Repeat("MIIB", 2<<10)}}), claims(nil))
	tokens["a header of lists"] = encode([]byte(`{"x5c":["`+strings.Repeat(`[],`, 2000)+`"]}`)) + ".A.A"
	tokens["a jwk of 8 KiB"] = evil.make(o.header(object{"jwk": object{"kty": "RSA", "e": "AQAB", "n": strings.Repeat("A", 8<<10)}}), claims(nil))
	for mode, trust := range o.trusts {
		for name, text := range tokens {
			if _, _, err := trust.Verify(t.Context(), text, now); err == nil {
				t.Errorf("%s by %s: Verify = nil", name, mode)
			}
			limit := uint64(64 << 10)
			if strings.Contains(name, "chain") {
				limit = 256 << 10 // certificates are read
			}
			const runs = 10
			var before, after runtime.MemStats
			least := time.Hour
			runtime.ReadMemStats(&before)
			for range runs {
				start := time.Now()
				trust.Verify(t.Context(), text, now)
				least = min(least, time.Since(start))
			}
			runtime.ReadMemStats(&after)
			if each := (after.TotalAlloc - before.TotalAlloc) / runs; each > limit || least > 5*time.Millisecond {
				t.Errorf("%s by %s: %d bytes allocated in %v, want at most %d in 5ms", name, mode, each, least, limit)
			}
		}
	}
}

// TestS25_ForeignAudience shows that a token opens one service, by each source of keys.
func TestS25_ForeignAudience(t *testing.T) {
	o := newOther(t)
	elsewhere := o.make(o.header(nil), claims(object{"aud": "other.example"}))
	chained := o.make(object{"alg": "ES256", "x5c": der(o.leaf)}, claims(object{"aud": "other.example"}))
	for mode, trust := range o.trusts {
		if _, _, err := trust.Verify(t.Context(), elsewhere, now); !errors.Is(err, token.ErrForeign) {
			t.Errorf("by %s: Verify = %v, want ErrForeign", mode, err)
		}
	}
	if _, _, err := o.trusts["certificates"].Verify(t.Context(), chained, now); !errors.Is(err, token.ErrForeign) {
		t.Errorf("by a chain: Verify = %v, want ErrForeign", err)
	}
	for name, options := range map[string]token.TrustOptions{
		"no issuer": {Service: service, Certificates: o.certificates}, "no service": {Issuer: issuer, Certificates: o.certificates}, "no keys": {Issuer: issuer, Service: service},
	} {
		if _, err := token.NewTrust(options); err == nil {
			t.Errorf("NewTrust with %s = nil, want an error", name)
		}
	}
}

// Algorithms are a list, symmetric ones are not on it by themselves, and a secret is no key of a set that others read.
func TestAlgorithmsOfTrust(t *testing.T) {
	o := newOther(t)
	must2 := func(algs []token.Algorithm, err error) []token.Algorithm { t.Helper(); must(t, err); return algs }
	keys, err := token.NewKeys(o.keys["RS256"], o.keys["ES256"])
	must(t, err)
	text := o.make(o.header(nil), claims(nil))
	for _, tt := range []struct {
		algs []string
		ok   bool
	}{{nil, true}, {[]string{"ES256"}, true}, {[]string{"RS256", "EdDSA"}, false}} {
		trust := o.trust(t, token.TrustOptions{Keys: keySet(t, keys.JWKS()), Algorithms: must2(token.ParseAlgorithms(tt.algs))})
		if _, _, err := trust.Verify(t.Context(), text, now); (err == nil) != tt.ok {
			t.Errorf("Verify with %v = %v", tt.algs, err)
		}
	}
	if _, err := token.ParseAlgorithms([]string{"none"}); err == nil {
		t.Errorf("ParseAlgorithms(none) = nil, want an error")
	}

	secret := []byte(strings.Repeat("s", 32))
	jwks, err := json.Marshal(object{"keys": []object{{"kty": "oct", "kid": "s", "k": encode(secret)}}})
	must(t, err)
	hs := hmacToken(object{"typ": "JWT", "alg": "HS256", "kid": "s"}, claims(nil), secret)
	trust := o.trust(t, token.TrustOptions{Keys: keySet(t, jwks), Algorithms: []token.Algorithm{"HS256"}})
	if _, _, err := trust.Verify(t.Context(), hs, now); err != nil {
		t.Errorf("Verify of a secret that is named = %v", err)
	}
	if _, _, err := trust.Verify(t.Context(), hmacToken(object{"alg": "HS256", "kid": "s"}, claims(nil), []byte("guess")), now); err == nil {
		t.Errorf("Verify of a wrong secret = nil")
	}
	for name, options := range map[string]token.TrustOptions{
		"a secret and no name":      {Keys: keySet(t, jwks)},
		"a name and no secret":      {Keys: keySet(t, keys.JWKS()), Algorithms: []token.Algorithm{"ES256", "HS256"}},
		"a name and a certificate":  {Certificates: o.certificates, Algorithms: []token.Algorithm{"HS256"}},
		"a secret, ES256 is listed": {Keys: keySet(t, jwks), Algorithms: []token.Algorithm{"ES256"}},
	} {
		options.Issuer, options.Service = issuer, service
		if _, err := token.NewTrust(options); err == nil {
			t.Errorf("NewTrust with %s = nil, want an error", name)
		}
	}
}

// TestLoadKeySet shows which files of keys are refused, by a message that names the file and not its content.
func TestLoadKeySet(t *testing.T) {
	ec := jwkOf(newEC(t), nil)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	must(t, err)
	with := func(change object) object { j := maps.Clone(ec); maps.Copy(j, change); return j }
	oct := object{"kty": "oct", "kid": "s", "k": encode([]byte(strings.Repeat("s", 32)))}
	for _, tt := range []struct {
		name string
		mode os.FileMode
		keys any
		want string // part of the error; "" for none
	}{
		{"one", 0o644, []any{ec}, ""},
		{"others beside it", 0o644, []any{ec, with(object{"use": "enc"}), with(object{"key_ops": []string{"encrypt"}}), with(object{"kty": "lattice"}), with(object{"crv": "secp256k1"})}, ""},
		{"none that is known", 0o644, []any{with(object{"kty": "lattice"})}, "no key for signatures"},
		{"no set", 0o644, nil, "no JWK set"},
		{"off the curve", 0o644, []any{ec, with(object{"x": encode(make([]byte, 32))})}, "key 2"},
		{"short", 0o644, []any{with(object{"x": "AAAA"})}, "key 1: the point"},
		{"number", 0o644, []any{with(object{"kid": 1})}, "kid is not text"},
		{"another algorithm", 0o644, []any{with(object{"alg": "RS256"})}, "not one for its algorithm"},
		{"weak", 0o644, []any{object{"kty": "RSA", "e": "AQAB", "n": encode(weak.N.Bytes())}}, "1024 bits"},
		{"exponent 1", 0o644, []any{object{"kty": "RSA", "e": "AQ", "n": encode(weak.N.Bytes())}}, "exponent"},
		{"secret", 0o600, []any{oct}, ""},
		{"secret that others read", 0o644, []any{oct}, "others can read it"},
		{"short secret", 0o600, []any{object{"kty": "oct", "kid": "s", "k": "c2VjcmV0"}}, "6 bytes"},
		{"many", 0o644, slices.Repeat([]any{ec}, 257), "more than 256 keys"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "jwks.json")
			b, err := json.Marshal(object{"keys": tt.keys})
			must(t, err)
			must(t, os.WriteFile(path, b, 0o600))
			must(t, os.Chmod(path, tt.mode))
			_, err = token.LoadKeySet(path)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "c2Vj")) {
				t.Fatalf("LoadKeySet = %v, want %q", err, tt.want)
			}
		})
	}
}

// site serves a JWK set that can be changed.
type site struct {
	*httptest.Server
	handler atomic.Value // func(http.ResponseWriter, *http.Request)
	fetches atomic.Int32
}

func newSite(t testing.TB) *site {
	s := &site{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fetches.Add(1)
		s.handler.Load().(func(http.ResponseWriter, *http.Request))(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *site) answer(status int, body []byte) {
	s.handler.Store(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); w.Write(body) })
}

func jwksOf(t testing.TB, keys ...*token.Key) []byte {
	t.Helper()
	k, err := token.NewKeys(keys[0], keys...)
	must(t, err)
	return k.JWKS()
}

// TestS47_KeySetAtURL follows a key set through rotation, removal, outage and attack.
func TestS47_KeySetAtURL(t *testing.T) {
	o, later := newOther(t), newForge(t)
	s := newSite(t)
	s.answer(200, jwksOf(t, o.keys["ES256"]))
	remote, err := token.NewRemote(s.URL, token.RemoteOptions{})
	must(t, err)
	trust := o.trust(t, token.TrustOptions{Remote: remote})
	clock := now
	long := object{"exp": now.Unix() + 1e6}
	old, fresh := o.make(o.header(nil), claims(long)), later.make(later.header(nil), claims(long))
	verify := func(text string) error { _, _, err := trust.Verify(t.Context(), text, clock); return err }
	want := func(name string, err, want error, fetches int32) {
		t.Helper()
		if !errors.Is(err, want) || s.fetches.Load() != fetches {
			t.Fatalf("%s = %v after %d fetches, want %v after %d", name, err, s.fetches.Load(), want, fetches)
		}
	}

	want("a known key", verify(old), nil, 1)
	clock = clock.Add(11 * time.Second)
	for i := range 1000 { // random names make no storm
		h := o.header(object{"kid": fmt.Sprint("random ", i)})
		if err := verify(o.make(h, claims(long))); !errors.Is(err, token.ErrUntrusted) {
			t.Fatalf("a random key: Verify = %v", err)
		}
	}
	want("a thousand random keys", nil, nil, 2)

	s.answer(200, jwksOf(t, o.keys["ES256"], later.keys["ES256"]))
	want("a new key at once", verify(fresh), token.ErrUntrusted, 2)
	clock = clock.Add(11 * time.Second)
	want("a new key", verify(fresh), nil, 3)

	c, proof, err := trust.Verify(t.Context(), old, clock)
	must(t, err)
	s.answer(200, jwksOf(t, later.keys["ES256"]))
	clock = clock.Add(4*time.Minute + 50*time.Second) // five minutes, and what a fetch may take, after the last look
	want("a removed key", verify(old), token.ErrUntrusted, 4)
	want("a token that was verified by a removed key", trust.Validate(t.Context(), &c, proof, clock), token.ErrUntrusted, 4)
	want("the key that stayed", verify(fresh), nil, 4)

	c, proof, err = trust.Verify(t.Context(), fresh, clock)
	must(t, err)
	var before int32
	for name, body := range map[string][]byte{
		"too large": []byte(`{"keys":[],"x":"` + strings.Repeat("x", 2<<20) + `"}`), "HTML": []byte("<html>"), "empty": nil, "no keys": []byte(`{"keys":[]}`),
		"unusable": []byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},{"kty":"oct","k":"` + strings.Repeat("A", 43) + `","kid":"x"},{"kty":7},null]}`),
	} {
		s.answer(200, body)
		clock = clock.Add(5 * time.Minute)
		before = s.fetches.Load()
		want("the last keys, while the answer is "+name, verify(fresh), nil, before+1)
		want("a token that was verified before", trust.Validate(t.Context(), &c, proof, clock), nil, before+1)
	}
	s.answer(503, nil)
	clock = clock.Add(36 * time.Minute) // 25 + 36 minutes after the last good answer
	before = s.fetches.Load()
	want("an hour later", verify(fresh), token.ErrNoKeys, before+1)
	s.answer(200, jwksOf(t, later.keys["ES256"]))
	clock = clock.Add(10 * time.Second)
	before = s.fetches.Load()
	want("after the outage", verify(fresh), nil, before+1)

	odd := append([]byte(`{"keys":[{"kty":"lattice"},{"kty":"EC","crv":"P-256","x":"AA"},`), jwksOf(t, o.keys["ES256"])[len(`{"keys":[`):]...)
	s.answer(200, odd)
	clock = clock.Add(5 * time.Minute)
	before = s.fetches.Load()
	want("a good key beside odd ones", verify(old), nil, before+1)
}

// TestS47_Redirects shows that keys come from the origin that was configured.
func TestS47_Redirects(t *testing.T) {
	o, evil := newOther(t), newSite(t)
	evil.answer(200, jwksOf(t, o.keys["ES256"]))
	s := newSite(t)
	text := o.make(o.header(nil), claims(nil))
	for _, tt := range []struct {
		to string
		ok bool
	}{{evil.URL, false}, {"http://localhost" + s.URL[strings.LastIndex(s.URL, ":"):] + "/keys", false}, {"/keys", true}, {"/", false}} {
		s.handler.Store(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/keys" {
				w.Write(jwksOf(t, o.keys["ES256"]))
				return
			}
			http.Redirect(w, r, tt.to, http.StatusFound)
		})
		remote, err := token.NewRemote(s.URL, token.RemoteOptions{})
		must(t, err)
		if _, _, err := o.trust(t, token.TrustOptions{Remote: remote}).Verify(t.Context(), text, now); (err == nil) != tt.ok || !tt.ok && !errors.Is(err, token.ErrNoKeys) {
			t.Errorf("redirected to %s: Verify = %v", tt.to, err)
		}
	}
	if n := evil.fetches.Load(); n != 0 {
		t.Errorf("%d fetches from another origin", n)
	}
	for _, address := range []string{"", "file:///etc/passwd", "keys.json", "https://"} {
		if _, err := token.NewRemote(address, token.RemoteOptions{}); err == nil {
			t.Errorf("NewRemote(%q) = nil, want an error", address)
		}
	}
}

// TestS47_TwoIssuersWithOneName: a name of a key is one within its issuer.
func TestS47_TwoIssuersWithOneName(t *testing.T) {
	a, b := newOther(t), newOther(t)
	trusts := map[*other]*token.Trust{}
	for o, iss := range map[*other]string{a: "a", b: "b"} {
		jwks, err := json.Marshal(object{"keys": []object{jwkOf(o.ec, object{"kid": "1"})}})
		must(t, err)
		trusts[o], err = token.NewTrust(token.TrustOptions{Issuer: iss, Service: service, Keys: keySet(t, jwks)})
		must(t, err)
	}
	for signer := range trusts {
		for _, iss := range []string{"a", "b"} {
			text := signer.make(object{"alg": "ES256", "kid": "1"}, claims(object{"iss": iss}))
			for o, trust := range trusts {
				want := o == signer && trust.Issuer() == iss
				if _, _, err := trust.Verify(t.Context(), text, now); (err == nil) != want {
					t.Errorf("Verify = %v, want success %v", err, want)
				}
			}
		}
	}
}

// A slow answer is waited for by those who need it, and by nobody for long.
func TestSlowKeySet(t *testing.T) {
	o, s := newOther(t), newSite(t)
	hold := make(chan struct{})
	defer close(hold)
	s.answer(200, jwksOf(t, o.keys["ES256"]))
	remote, err := token.NewRemote(s.URL, token.RemoteOptions{})
	must(t, err)
	trust := o.trust(t, token.TrustOptions{Remote: remote})
	text := o.make(o.header(nil), claims(object{"exp": now.Unix() + 1e6}))
	_, _, err = trust.Verify(t.Context(), text, now)
	must(t, err)
	arrived := make(chan struct{}, 1)
	s.handler.Store(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	})
	later := now.Add(5 * time.Minute)
	slow := make(chan error, 1)
	ctx, leave := context.WithCancel(t.Context())
	go func() { _, _, err := trust.Verify(ctx, text, later); slow <- err }()
	<-arrived
	leave()
	for range 100 { // the others are not held up
		start := time.Now()
		if _, _, err := trust.Verify(t.Context(), text, later); err != nil || time.Since(start) > 10*time.Second {
			t.Fatalf("Verify while the keys are fetched = %v after %v", err, time.Since(start))
		}
	}
	if err := <-slow; err != nil {
		t.Fatalf("Verify that fetched = %v, want the last keys", err)
	}
}

func FuzzTrust(f *testing.F) {
	o := newOther(f)
	f.Add(o.make(o.header(nil), claims(nil)))
	f.Add(o.make(o.header(object{"x5c": der(o.leaf)}), claims(nil)))
	f.Add(o.make(object{"alg": "ES256", "jwk": jwkOf(o.ec, nil)}, claims(nil)))
	f.Fuzz(func(t *testing.T, text string) {
		for _, trust := range o.trusts {
			if _, _, err := trust.Verify(t.Context(), text, now); err == nil && strings.ContainsAny(text, "=+/ \n") {
				t.Fatalf("Verify(%q) = nil", text)
			}
		}
	})
}

// FuzzKeySet: no key set of another may panic.
func FuzzKeySet(f *testing.F) {
	o := newOther(f)
	f.Add(jwksOf(f, o.keys["ES256"], o.keys["RS256"], o.keys["EdDSA"]))
	s := newSite(f)
	f.Fuzz(func(t *testing.T, jwks []byte) {
		s.answer(200, jwks)
		remote, err := token.NewRemote(s.URL, token.RemoteOptions{})
		must(t, err)
		o.trust(t, token.TrustOptions{Remote: remote}).Verify(t.Context(), o.make(o.header(nil), claims(nil)), now)
	})
}

func BenchmarkTrust(b *testing.B) {
	o := newOther(b)
	for _, bb := range []struct {
		name, mode string
		header     object
	}{
		{"certificate", "certificates", o.header(nil)}, {"chain", "certificates", object{"alg": "ES256", "x5c": der(o.leaf)}}, {"URL", "URL", o.header(nil)},
	} {
		text := o.make(bb.header, claims(nil))
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := o.trusts[bb.mode].Verify(b.Context(), text, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
