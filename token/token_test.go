package token_test

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
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/token"
)

const issuer, service = "https://r.example", "r.example"

var now = time.Unix(1_800_000_000, 0)

// signing are the algorithms that we sign with.
var signing = []token.Algorithm{token.ES256, token.ES384, token.ES512, token.RS256, token.EdDSA}

// forge holds the private keys of an authority, to make tokens that it would not make.
type forge struct {
	*token.Authority
	ec   *ecdsa.PrivateKey
	p384 *ecdsa.PrivateKey
	p521 *ecdsa.PrivateKey
	rsa  *rsa.PrivateKey
	ed   ed25519.PrivateKey
	keys map[string]*token.Key // by algorithm
}

func newForge(t testing.TB) *forge {
	t.Helper()
	var f forge
	var err1, err2, err3, err4, err5 error
	f.ec, err1 = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	f.rsa, err2 = rsa.GenerateKey(rand.Reader, 2048)
	_, f.ed, err3 = ed25519.GenerateKey(rand.Reader)
	f.p384, err4 = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	f.p521, err5 = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	must(t, errors.Join(err1, err2, err3, err4, err5))
	f.keys = map[string]*token.Key{}
	for _, private := range []crypto.Signer{f.ec, f.p384, f.p521, f.rsa, f.ed} {
		k, err := token.NewKey(private)
		must(t, err)
		f.keys[string(k.Algorithm())] = k
	}
	f.Authority = f.authority(t, token.ES256, service)
	return &f
}

// authority returns an authority that signs with alg and verifies with every key.
func (f *forge) authority(t testing.TB, alg token.Algorithm, service string) *token.Authority {
	t.Helper()
	keys, err := token.NewKeys(f.keys[string(alg)], slices.Collect(maps.Values(f.keys))...)
	must(t, err)
	a, err := token.NewAuthority(issuer, service, keys)
	must(t, err)
	return a
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type object = map[string]any

func encode(v any) string {
	b, ok := v.([]byte)
	if !ok {
		var err error
		if b, err = json.Marshal(v); err != nil {
			panic(err)
		}
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// header returns an honest header, changed.
func (f *forge) header(change object) object {
	h := object{"typ": "JWT", "alg": "ES256", "kid": f.keys["ES256"].ID()}
	maps.Copy(h, change)
	return h
}

// claims returns honest claims, changed. A nil function takes a claim away.
func claims(change object) object {
	c := object{
		"iss": issuer, "sub": "alice", "aud": service, "exp": now.Unix() + 300, "nbf": now.Unix(), "iat": now.Unix(), "jti": "x",
		"access": []object{{"type": "repository", "name": "a/b", "actions": []string{"pull"}}},
	}
	for k, v := range change {
		if v == absent {
			delete(c, k)
		} else {
			c[k] = v
		}
	}
	return c
}

// absent is a claim that is not there, null one that is.
var absent = new(int)

// es256 signs text with key.
func es256(key *ecdsa.PrivateKey, text string) []byte {
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		panic(err)
	}
	b := make([]byte, 64)
	r.FillBytes(b[:32])
	s.FillBytes(b[32:])
	return b
}

// make returns a token that only its content can be wrong about.
func (f *forge) make(header, claims any) string {
	text := encode(header) + "." + encode(claims)
	return text + "." + encode(es256(f.ec, text))
}

func TestSignAndVerify(t *testing.T) {
	f := newForge(t)
	want := token.Claims{
		Issuer: issuer, Subject: "alice", Audience: []string{service},
		IssuedAt: now, NotBefore: now.Add(-10 * time.Second), Expires: now.Add(5 * time.Minute), ID: "id",
		Access: []customhouse.Access{{Type: "repository", Class: "plugin", Name: "a/b", Actions: []customhouse.Action{"pull", "push"}}},
		Method: "users", Stamp: "abc", Labels: map[string][]string{"group": {"dev", "ops"}},
		Vouched: map[string]any{"repository": "org/app", "run": json.Number("12345678901234567"), "in": map[string]any{"a": []any{"b"}}}, Bound: "x",
	}
	for _, alg := range signing {
		want := want
		t.Run(string(alg), func(t *testing.T) {
			a := f.authority(t, alg, service)
			text, err := a.Sign(want)
			if err != nil {
				t.Fatalf("Sign = %v", err)
			}
			got, err := a.Verify(text, now)
			if err != nil {
				t.Fatalf("Verify = %v", err)
			}
			want.Key = f.keys[string(alg)].ID()
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("Verify (-signed +verified):\n%s", diff)
			}

			// A verifier of others, with the published keys, reads the same.
			var set jose.JSONWebKeySet
			must(t, json.Unmarshal(a.JWKS(), &set))
			theirs, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
			must(t, err)
			kid := theirs.Headers[0].KeyID
			key := set.Key(kid)
			if len(key) != 1 || !key[0].Valid() || !key[0].IsPublic() {
				t.Fatalf("%d keys %q in %s", len(key), kid, a.JWKS())
			}
			var c jwt.Claims
			must(t, theirs.Claims(key[0].Key, &c))
			must(t, c.Validate(jwt.Expected{Issuer: issuer, Subject: "alice", AnyAudience: jwt.Audience{service}, Time: now}))
			thumbprint, err := key[0].Thumbprint(crypto.SHA256)
			must(t, err)
			if want := encode(thumbprint); kid != want {
				t.Fatalf("kid = %q, want the RFC 7638 thumbprint %q", kid, want)
			}
		})
	}
}

// TestSignWritesEmptyLists shows that what Sign writes Verify reads, also where a list is nil.
func TestSignWritesEmptyLists(t *testing.T) {
	f := newForge(t)
	text, err := f.Sign(token.Claims{
		IssuedAt: now, NotBefore: now, Expires: now, Access: []customhouse.Access{{Type: "repository", Name: "a"}}, Labels: map[string][]string{"group": nil},
	})
	must(t, err)
	c, err := f.Verify(text, now)
	if err != nil || len(c.Access) != 1 || len(c.Access[0].Actions) != 0 || len(c.Labels) != 0 {
		t.Fatalf("Verify = %+v, %v", c, err)
	}
}

func TestThumbprintOfRFC7638(t *testing.T) {
	var key jose.JSONWebKey // section 3.1
	must(t, json.Unmarshal([]byte(`{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB"}`), &key))
	k, err := token.NewPublicKey(key.Key)
	if err != nil || k.ID() != "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" {
		t.Fatalf("ID = %q, %v", k.ID(), err)
	}
}

// refused fails the test unless Verify refuses the token for that reason. A nil reason is any.
func (f *forge) refused(t *testing.T, name, text string, reason error) {
	t.Helper()
	_, err := f.Verify(text, now)
	if err == nil || reason != nil && !errors.Is(err, reason) {
		t.Errorf("%s: Verify = %v, want %v", name, err, reason)
	}
}

// hmacToken returns a token that is signed with a secret.
func hmacToken(header, claims any, secret []byte) string {
	text := encode(header) + "." + encode(claims)
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(text))
	return text + "." + encode(m.Sum(nil))
}

// TestS21ForgedSignatures tries tokens whose signature is not one of ours.
func TestS21ForgedSignatures(t *testing.T) {
	f := newForge(t)
	bad := forgeries(t, f)
	for name, text := range bad {
		f.refused(t, name, text, nil)
	}
	if n := len(bad); n < 40 {
		t.Fatalf("%d forgeries, want at least 40", n)
	}
}

// forgeries returns tokens that f has not signed, by name.
func forgeries(t *testing.T, f *forge) map[string]string {
	t.Helper()
	bad := map[string]string{}
	good := f.make(f.header(nil), claims(nil))
	if _, err := f.Verify(good, now); err != nil {
		t.Fatalf("Verify of the honest token = %v", err)
	}
	refused := func(name, text string) { bad[name] = text }
	signing := func(header object) string { return encode(f.header(header)) + "." + encode(claims(nil)) }

	for _, alg := range []string{"none", "None", "NONE", "nOnE", "noNe", ""} {
		text := signing(object{"alg": alg})
		refused("alg "+alg, text+".")
		refused("alg "+alg+" signed", text+"."+encode(es256(f.ec, text)))
	}
	der, err := x509.MarshalPKIXPublicKey(f.rsa.Public())
	must(t, err)
	secrets := map[string][]byte{
		"PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "DER": der,
		"n": []byte(base64.RawURLEncoding.EncodeToString(f.rsa.N.Bytes())), "empty": {},
	}
	for alg, h := range map[string]func() hash.Hash{"HS256": sha256.New, "HS384": sha512.New384, "HS512": sha512.New} {
		for name, secret := range secrets {
			text := signing(object{"alg": alg, "kid": f.keys["RS256"].ID()})
			m := hmac.New(h, secret)
			m.Write([]byte(text))
			refused(alg+" with "+name, text+"."+encode(m.Sum(nil)))
		}
	}
	other := newForge(t)
	rs := func(key *rsa.PrivateKey, header object) string {
		text := signing(header)
		sum := sha256.Sum256([]byte(text))
		s, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
		must(t, err)
		return text + "." + encode(s)
	}
	if _, err := f.Verify(rs(f.rsa, object{"alg": "RS256", "kid": f.keys["RS256"].ID()}), now); err != nil {
		t.Fatalf("Verify of the honest RSA token = %v", err)
	}
	text := signing(nil)
	refused("EC by another key", text+"."+encode(es256(other.ec, text)))
	refused("RSA by another key", rs(other.rsa, object{"alg": "RS256", "kid": f.keys["RS256"].ID()}))
	refused("another key by its own kid", other.make(other.header(nil), claims(nil)))
	refused("alg RS256 for the EC key", rs(f.rsa, object{"alg": "RS256"}))
	refused("alg ES256 for the RSA key", f.make(f.header(object{"kid": f.keys["RS256"].ID()}), claims(nil)))
	refused("alg EdDSA for the EC key", f.make(f.header(object{"alg": "EdDSA"}), claims(nil)))
	refused("alg ES384", f.make(f.header(object{"alg": "ES384"}), claims(nil)))
	refused("alg PS256", rs(f.rsa, object{"alg": "PS256", "kid": f.keys["RS256"].ID()}))
	refused("no kid", f.make(object{"alg": "ES256"}, claims(nil)))
	refused("no alg", f.make(object{"kid": f.keys["ES256"].ID()}, claims(nil)))
	refused("r = s = 0", text+"."+encode(make([]byte, 64)))
	refused("no signature", text+".")
	refused("two parts", text)
	refused("half a signature", good[:len(good)-43])
	refused("a byte less", good[:len(good)-1])
	refused("a byte more", good+"A")
	refused("signature in DER", func() string {
		sum := sha256.Sum256([]byte(text))
		s, err := ecdsa.SignASN1(rand.Reader, f.ec, sum[:])
		must(t, err)
		return text + "." + encode(s)
	}())
	honest := strings.Split(good, ".")
	refused("other claims", honest[0]+"."+encode(claims(object{"sub": "root"}))+"."+honest[2])
	refused("other header", encode(f.header(object{"typ": "jwt"}))+"."+honest[1]+"."+honest[2])
	return bad
}

// TestS22KeysInTokens brings keys, and addresses of keys, along with the token.
func TestS22KeysInTokens(t *testing.T) {
	f, evil := newForge(t), newForge(t)
	jwk := object{"kty": "EC", "crv": "P-256", "kid": f.keys["ES256"].ID(), "x": encode(evil.ec.X.Bytes()), "y": encode(evil.ec.Y.Bytes())}
	for name, header := range map[string]object{
		"jwk": {"jwk": jwk}, "jku": {"jku": "http://127.0.0.1:9/keys"}, "x5u": {"x5u": "http://127.0.0.1:9/chain"},
		"x5c": {"x5c": []string{"MIIB"}}, "x5t": {"x5t": "AAAA"}, "x5t#S256": {"x5t#S256": "AAAA"},
		"kid of a path": {"kid": "../../etc/passwd"}, "kid of SQL": {"kid": "' or 1=1 --"}, "kid of 64 KiB": {"kid": strings.Repeat("k", 64<<10)},
		"kid of NUL": {"kid": f.keys["ES256"].ID() + "\x00"}, "kid of no text": {"kid": 1}, "kid null": {"kid": nil}, "kid list": {"kid": []string{f.keys["ES256"].ID()}},
	} {
		f.refused(t, name+", signed by theirs", evil.make(f.header(header), claims(nil)), nil)
		f.refused(t, name+", signed by ours", f.make(f.header(header), claims(nil)), nil)
	}
}

// TestS23Claims varies one claim at a time.
func TestS23Claims(t *testing.T) {
	f := newForge(t)
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	access := func(v ...any) object { return object{"access": v} }
	element := func(change object) object {
		e := object{"type": "repository", "name": "a", "actions": []string{"pull"}}
		maps.Copy(e, change)
		return e
	}
	accepted := map[string]object{
		"aud in a list":         {"aud": []string{"other", service}},
		"anonymous":             {"sub": ""},
		"expired within 60 s":   {"exp": at(-60 * time.Second)},
		"early within 60 s":     {"nbf": at(60 * time.Second)},
		"no access":             {"access": []any{}},
		"a claim of the future": {"future": object{"a": 1}},
	}
	for name, change := range accepted {
		if _, err := f.Verify(f.make(f.header(nil), claims(change)), now); err != nil {
			t.Errorf("%s: Verify = %v", name, err)
		}
	}
	refused := map[string]object{
		"expired 61 s ago": {"exp": at(-61 * time.Second)}, "not before in 61 s": {"nbf": at(61 * time.Second)},
		"issued in 61 s": {"iat": at(61 * time.Second)}, "another issuer": {"iss": issuer + "/"}, "no issuer": {"iss": ""},
		"another audience": {"aud": "other"}, "no audience": {"aud": ""}, "other audiences": {"aud": []string{"other", service + "."}},
		"empty audiences": {"aud": []string{}}, "audience of numbers": {"aud": []any{service, 1}},
		"access element null": access(nil), "access element empty": access(object{}),
		"access element text": access("repository:a:pull"), "access without type": access(element(object{"type": ""})),
		"access without name": access(element(object{"name": ""})), "access type number": access(element(object{"type": 1})),
		"access name null": access(element(object{"name": nil})), "access actions text": access(element(object{"actions": "pull"})),
		"access actions null": access(element(object{"actions": nil})), "access actions of numbers": access(element(object{"actions": []int{1}})),
		"access class number": access(element(object{"class": 1})), "access second element bad": access(element(nil), nil),
		"method number": {"method": 1}, "stamp null": {"stamp": nil}, "labels list": {"labels": []string{"a"}}, "labels of text": {"labels": object{"a": "b"}},
		"labels null": {"labels": nil}, "labels of numbers": {"labels": object{"a": []int{1}}},
	}
	for _, claim := range []string{"iss", "sub", "aud", "jti", "access", "exp", "nbf", "iat"} {
		for name, v := range map[string]any{"missing": absent, "null": nil, "object": object{}, "list of numbers": []int{1}, "bool": true} {
			refused[claim+" "+name] = object{claim: v}
		}
	}
	for _, claim := range []string{"exp", "nbf", "iat"} {
		for _, v := range []any{-1, 1.5, "1800000000", json.Number("1e99"), json.Number("99999999999999999999"), json.Number("1.8e9"), uint64(253402300800), json.Number("-0")} {
			refused[fmt.Sprintf("%s %v %T", claim, v, v)] = object{claim: v}
		}
	}
	for name, change := range refused {
		f.refused(t, name, f.make(f.header(nil), claims(change)), nil)
	}
	if n := len(accepted) + len(refused); n < 60 {
		t.Fatalf("%d variants, want at least 60", n)
	}
	for name, payload := range map[string]string{
		"list": `[]`, "null": `null`, "text": `"a"`, "nothing": ``, "two values": `{}{}`, "duplicate keys": `{"exp":1,"exp":9999999999}`, "not UTF-8": "{\"sub\":\"\xff\"}",
	} {
		f.refused(t, name, f.make(f.header(nil), []byte(payload)), token.ErrMalformed)
	}
	for name, want := range map[string]struct {
		change object
		reason error
	}{
		"expired": {object{"exp": at(-time.Hour)}, token.ErrExpired}, "not yet": {object{"nbf": at(time.Hour)}, token.ErrNotYet},
		"foreign": {object{"aud": "other"}, token.ErrForeign}, "malformed": {object{"exp": nil}, token.ErrMalformed},
	} {
		f.refused(t, name, f.make(f.header(nil), claims(want.change)), want.reason)
	}
}

// abuse returns tokens that try to make work, by name.
func abuse(f *forge) map[string]string {
	good := f.make(f.header(nil), claims(nil))
	part := strings.Split(good, ".")
	deep := encode([]byte(strings.Repeat("[", 700) + strings.Repeat("]", 700)))
	return map[string]string{
		"a MiB of dots":        strings.Repeat(".", 1<<20),
		"a MiB":                strings.Repeat("A", 1<<20),
		"16 KiB of dots":       strings.Repeat(".", token.MaxLength),
		"16 KiB of header":     strings.Repeat("A", token.MaxLength-4) + ".A.A",
		"deep header":          deep[:1000] + ".A.A",
		"16 KiB of lists":      part[0] + "." + encode([]byte("["+strings.Repeat("[],", 4000)+"[]]")) + "." + part[2],
		"JWE":                  encode(object{"alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2c": 1 << 31}) + ".A.A.A.A",
		"duplicate header key": f.make([]byte(`{"alg":"none","kid":"x","alg":"ES256"}`), claims(nil)),
		"header in upper case": f.make([]byte(`{"ALG":"ES256","kid":"`+f.keys["ES256"].ID()+`"}`), claims(nil)),
		"crit":                 f.make(f.header(object{"crit": []string{"x"}}), claims(nil)),
		"b64":                  f.make(f.header(object{"b64": false, "crit": []string{"b64"}}), claims(nil)),
		"zip":                  f.make(f.header(object{"zip": "DEF"}), claims(nil)),
		"cty":                  f.make(f.header(object{"cty": "JWT"}), claims(nil)),
		"typ":                  f.make(f.header(object{"typ": "at+jwt"}), claims(nil)),
		"header list":          f.make([]any{"alg"}, claims(nil)),
		"padding":              part[0] + "==." + part[1] + "." + part[2],
		"space":                part[0] + " ." + part[1] + "." + part[2],
		"newline":              part[0] + "." + part[1] + ".\n" + part[2],
		"newline at the end":   good + "\n",
		"newline at the start": "\r\n" + good,
		"NUL":                  good + "\x00",
		"standard alphabet":    part[0] + "." + part[1] + ".+/" + part[2][2:],
		"trailing bits":        good[:len(good)-1] + string(good[len(good)-1]+1),
		"a fourth part":        good + ".",
		"nothing":              "",
		"two dots":             "..",
	}
}

// TestS24ParserAbuse shows that no token makes much work before it is refused.
func TestS24ParserAbuse(t *testing.T) {
	f := newForge(t)
	for name, text := range abuse(f) {
		f.refused(t, name, text, nil)
		const runs = 10
		var before, after runtime.MemStats
		least := time.Hour
		runtime.ReadMemStats(&before)
		for range runs {
			start := time.Now()
			f.Verify(text, now)
			least = min(least, time.Since(start))
		}
		runtime.ReadMemStats(&after)
		if each := (after.TotalAlloc - before.TotalAlloc) / runs; each > 64<<10 || least > 5*time.Millisecond {
			t.Errorf("%s: %d bytes allocated in %v, want at most 64 KiB in 5ms", name, each, least)
		}
	}
}

// TestS25AudienceIsolation shows that a token opens one service of one issuer.
func TestS25AudienceIsolation(t *testing.T) {
	f := newForge(t)
	for _, alg := range signing {
		ours, theirs := f.authority(t, alg, service), f.authority(t, alg, "other.example")
		text, err := theirs.Sign(token.Claims{Subject: "alice", IssuedAt: now, NotBefore: now, Expires: now.Add(time.Minute)})
		must(t, err)
		if _, err := theirs.Verify(text, now); err != nil {
			t.Fatalf("Verify by its own service = %v", err)
		}
		if _, err := ours.Verify(text, now); !errors.Is(err, token.ErrForeign) {
			t.Fatalf("Verify by another service = %v, want ErrForeign", err)
		}
	}
	keys, err := token.NewKeys(f.keys["ES256"])
	must(t, err)
	for _, names := range [][2]string{{"", service}, {issuer, ""}} {
		if _, err := token.NewAuthority(names[0], names[1], keys); err == nil {
			t.Fatalf("NewAuthority(%q) = nil, want an error", names)
		}
	}
}

// TestS30Identifiers signs many tokens: no two have the same jti, and each has 128 bits.
func TestS30Identifiers(t *testing.T) {
	f := newForge(t)
	a := f.authority(t, token.EdDSA, service)
	seen := map[string]bool{}
	for range 100_000 {
		text, err := a.Sign(token.Claims{IssuedAt: now, NotBefore: now, Expires: now.Add(time.Minute)})
		must(t, err)
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(text, ".")[1])
		must(t, err)
		_, rest, _ := strings.Cut(string(payload), `"jti":"`)
		id, _, _ := strings.Cut(rest, `"`)
		if b, err := base64.RawURLEncoding.DecodeString(id); err != nil || len(b) < 16 || seen[id] {
			t.Fatalf("jti %q: %d bytes, %v, seen before: %v", id, len(b), err, seen[id])
		}
		seen[id] = true
	}
}

// TestS35RemovedKey shows that a token dies with its key, and only with it.
func TestS35RemovedKey(t *testing.T) {
	f := newForge(t)
	former := f.authority(t, token.ES256, service)
	text, err := former.Sign(token.Claims{IssuedAt: now, NotBefore: now, Expires: now.Add(time.Minute)})
	must(t, err)
	verified, err := former.Verify(text, now)
	must(t, err)
	for _, tt := range []struct {
		verifying []*token.Key
		want      error
	}{{[]*token.Key{f.keys["ES256"]}, nil}, {nil, token.ErrUntrusted}} {
		keys, err := token.NewKeys(f.keys["EdDSA"], tt.verifying...)
		must(t, err)
		a, err := token.NewAuthority(issuer, service, keys)
		must(t, err)
		if _, err := a.Verify(text, now); !errors.Is(err, tt.want) {
			t.Fatalf("Verify = %v, want %v", err, tt.want)
		}
		if err := a.Validate(&verified, now); !errors.Is(err, tt.want) {
			t.Fatalf("Validate of what was verified before = %v, want %v", err, tt.want)
		}
		if !a.Equal(former) || a.Equal(f.authority(t, token.EdDSA, "other.example")) {
			t.Fatal("Equal does not tell who is the same issuer for the same service")
		}
	}
}

func FuzzVerify(f *testing.F) {
	g := newForge(f)
	f.Add(g.make(g.header(nil), claims(nil)))
	for _, text := range abuse(g) {
		if len(text) < 1<<10 {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := g.Verify(text, now); err == nil && strings.ContainsAny(text, "=+/ \n") {
			t.Fatalf("Verify(%q) = nil", text)
		}
	})
}

// FuzzClaims signs what the fuzzer makes up: nothing that is signed may panic.
func FuzzClaims(f *testing.F) {
	g := newForge(f)
	for _, c := range []object{claims(nil), claims(object{"access": nil}), claims(object{"labels": object{"a": []any{nil}}})} {
		b, err := json.Marshal(c)
		must(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		c, err := g.Verify(g.make(g.header(nil), payload), now)
		if err == nil && (c.Issuer != issuer || c.Expires.Before(now.Add(-token.Leeway)) || c.Access == nil) {
			t.Fatalf("Verify(%s) = %+v", payload, c)
		}
	})
}

func BenchmarkSign(b *testing.B) {
	f := newForge(b)
	for _, alg := range signing {
		b.Run(string(alg), func(b *testing.B) {
			a := f.authority(b, alg, service)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.Sign(token.Claims{Subject: "alice", IssuedAt: now, NotBefore: now, Expires: now.Add(time.Minute)}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	f := newForge(b)
	for _, alg := range signing {
		b.Run(string(alg), func(b *testing.B) {
			a := f.authority(b, alg, service)
			text, err := a.Sign(token.Claims{Subject: "alice", IssuedAt: now, NotBefore: now, Expires: now.Add(time.Minute)})
			must(b, err)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.Verify(text, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkS24Abuse is what hostile tokens cost.
func BenchmarkS24Abuse(b *testing.B) {
	f := newForge(b)
	for name, text := range abuse(f) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f.Verify(text, now)
			}
		})
	}
}
