package authn_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"customhouse/authn"
)

func TestOIDC(t *testing.T) {
	o := newOP(t)
	o.claims = map[string]any{
		"groups": []any{"ci", "ops", 7, true, map[string]any{}, json.Number("9007199254740993")}, "team": "core", "realm_access": map[string]any{"roles": []any{"dev"}},
		"https://example.com/a.b": []any{"dotted"}, "at_hash": halfHash("access"),
	}
	o.info = map[string]any{"sub": "s1", "office": "berlin", "floor": json.Number("1234567890123456789")}
	p := o.at(t, func(o *authn.OIDCOptions) {
		o.Labels = map[string]string{
			"group": "groups", "team": "team", "role": "realm_access.roles", "dotted": "https://example.com/a.b", "office": "office", "floor": "floor", "none": "absent.at.all",
		}
	})
	who, err := signIn(t, o, p, nil)
	if err != nil {
		t.Fatalf("Finish = %v", err)
	}
	want := authn.Person{Issuer: o.URL, Subject: "s1", Account: "alice@example.com", Tokens: who.Tokens, Labels: map[string][]string{
		"group": {"ci", "ops", "7", "true", "9007199254740993"}, "team": {"core"}, "role": {"dev"}, "dotted": {"dotted"}, "office": {"berlin"},
		"floor": {"1234567890123456789"},
	}}
	if diff := cmp.Diff(want, who); diff != "" {
		t.Fatalf("Person (-want +got):\n%s", diff)
	}
	if strings.Contains(fmt.Sprintf("%v %+v %#v", who, who, who), who.Tokens.Refresh) {
		t.Fatal("a person prints with their tokens")
	}

	o.with(func(o *op) { o.claims["groups"] = []any{"ci"} })
	first := who.Tokens.Refresh
	again, err := p.Refresh(t.Context(), who.Tokens)
	if err != nil || cmp.Diff([]string{"ci"}, again.Labels["group"]) != "" {
		t.Fatalf("Refresh = %v, %v, want the present groups", again.Labels, err)
	}
	if again.Tokens.Refresh == first {
		t.Fatal("Refresh keeps a refresh token that was replaced")
	}
	if _, err := p.Refresh(t.Context(), who.Tokens); !errors.As(err, new(*authn.NotVouched)) {
		t.Fatalf("Refresh with a used token = %v, want NotVouched", err)
	}
}

// TestS45_HostileSignIns: whatever is wrong with an answer, nobody is signed in.
func TestS45_HostileSignIns(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	claims := func(kv ...any) func(*op) {
		return func(o *op) {
			o.claims = map[string]any{}
			for i := 0; i < len(kv); i += 2 {
				o.claims[kv[i].(string)] = kv[i+1]
			}
		}
	}
	for name, tt := range map[string]struct {
		op      func(*op)
		attempt func(*authn.Attempt)
		options func(*authn.OIDCOptions)
	}{
		"nonce of another":        {attempt: func(a *authn.Attempt) { a.Nonce = "other" }},
		"nonce absent":            {op: claims("nonce", nil)},
		"no nonce on either side": {op: claims("nonce", nil), attempt: func(a *authn.Attempt) { a.Nonce = "" }},
		"verifier of another":     {attempt: func(a *authn.Attempt) { a.Verifier = strings.Repeat("x", 43) }},
		"redirect of another":     {attempt: func(a *authn.Attempt) { a.Redirect = "https://registry.example.com/other" }},
		"issuer":                  {op: claims("iss", "https://evil.example")},
		"issuer with a slash":     {op: func(o *op) { o.claims = map[string]any{"iss": o.URL + "/"} }},
		"audience":                {op: claims("aud", "other")},
		"no audience":             {op: claims("aud", nil)},
		"two audiences, no azp":   {op: claims("aud", []string{opClient, "other"})},
		"azp":                     {op: claims("azp", "other")},
		"at_hash":                 {op: claims("at_hash", halfHash("another access token"))},
		"expired":                 {op: claims("exp", time.Now().Add(-time.Hour).Unix())},
		"no expiry":               {op: claims("exp", nil)},
		"no subject":              {op: claims("sub", "")},
		"user info of another":    {op: func(o *op) { o.info = map[string]any{"sub": "s2"} }},
		"user info refused":       {op: func(o *op) { o.info = nil }},
		"key of another":          {op: func(o *op) { o.sign = func(c map[string]any) string { return signed(jose.ES256, other, "one", c) } }},
		"alg none": {op: func(o *op) {
			o.sign = func(c map[string]any) string {
				text := signed(jose.ES256, o.key, "one", c)
				return "eyJhbGciOiJub25lIn0" + text[strings.Index(text, "."):strings.LastIndex(text, ".")+1]
			}
		}},
		"HS256 with the client secret": {op: func(o *op) {
			o.sign = func(c map[string]any) string {
				return signed(jose.HS256, []byte(opSecret+strings.Repeat(" ", 32)), "one", c)
			}
		}},
		"HS256 with the public key": {op: func(o *op) {
			o.sign = func(c map[string]any) string {
				public, _ := json.Marshal(jose.JSONWebKey{Key: o.key.Public()})
				return signed(jose.HS256, public, "one", c)
			}
		}},
		"no ID token":          {op: func(o *op) { o.sign = func(map[string]any) string { return "" } }},
		"email_verified false": {op: claims("email_verified", false)},
		"email_verified of another address": {op: func(o *op) {
			o.claims = map[string]any{"email_verified": nil}
			o.info = map[string]any{"sub": "s1", "email": "other@example.com", "email_verified": true}
		}},
		"email_verified text":    {op: claims("email_verified", "true")},
		"email_verified number":  {op: claims("email_verified", 1)},
		"email_verified absent":  {op: claims("email_verified", nil)},
		"email absent":           {op: claims("email", nil)},
		"email a list":           {op: claims("email", []string{"alice@example.com"})},
		"two @":                  {op: claims("email", "a@evil@corp")},
		"no @":                   {op: claims("email", "admin")},
		"nothing before @":       {op: claims("email", "@corp")},
		"a colon":                {op: claims("email", "a:b@corp")},
		"a space":                {op: claims("email", "a b@corp")},
		"a newline":              {op: claims("email", "a@corp\n")},
		"domain":                 {options: func(o *authn.OIDCOptions) { o.Domain = "corp.example" }},
		"domain as a part":       {op: claims("email", "a@corp.example.evil"), options: func(o *authn.OIDCOptions) { o.Domain = "corp.example" }},
		"domain, name not email": {op: claims("email", "a@evil", "preferred_username", "boss"), options: func(o *authn.OIDCOptions) { o.Domain, o.AccountClaim = "corp", "preferred_username" }},
		"not of an organization": {op: claims("email", "a@corp"), options: func(o *authn.OIDCOptions) { o.Domain, o.Hosted = "corp", true }},
		"name is a number":       {op: claims("preferred_username", 7), options: func(o *authn.OIDCOptions) { o.AccountClaim = "preferred_username" }},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOP(t)
			if tt.op != nil {
				tt.op(o)
			}
			who, err := signIn(t, o, o.at(t, tt.options), tt.attempt)
			if !errors.As(err, new(*authn.NotVouched)) {
				t.Fatalf("Finish = %+v, %v, want NotVouched", who, err)
			}
			if strings.Contains(err.Error(), "canary") {
				t.Fatalf("Finish = %v, which quotes the answer", err)
			}
		})
	}

	t.Run("code replayed", func(t *testing.T) {
		o := newOP(t)
		p := o.at(t, nil)
		a := authn.NewAttempt("")
		begin, err := p.Begin(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		code := o.sendBack(t, begin)
		for i, want := range []bool{true, false} {
			if _, err := p.Finish(t.Context(), a, code); (err == nil) != want {
				t.Fatalf("Finish %d = %v", i, err)
			}
		}
	})
	t.Run("allow_unverified_email", func(t *testing.T) {
		o := newOP(t)
		o.claims = map[string]any{"email_verified": nil}
		if who, err := signIn(t, o, o.at(t, func(o *authn.OIDCOptions) { o.AllowUnverifiedEmail = true }), nil); err != nil || who.Account != "alice@example.com" {
			t.Fatalf("Finish = %+v, %v, want alice", who, err)
		}
	})
	t.Run("every attempt has secrets of its own", func(t *testing.T) {
		o := newOP(t)
		p := o.at(t, nil)
		seen := map[string]bool{}
		for range 20 {
			text, err := p.Begin(t.Context(), authn.NewAttempt("https://registry.example.com/cb"))
			if err != nil {
				t.Fatal(err)
			}
			u, _ := url.Parse(text)
			q := u.Query()
			for _, k := range []string{"state", "nonce", "code_challenge"} {
				if v := q.Get(k); len(v) < 22 || seen[v] {
					t.Fatalf("%s = %q, want fresh randomness", k, v)
				}
				seen[q.Get(k)] = true
			}
			if q.Get("code_challenge_method") != "S256" || q.Get("response_type") != "code" || !strings.Contains(q.Get("scope"), "offline_access") {
				t.Fatalf("Begin = %s", text)
			}
		}
	})
}

// upgrade answers that the connection is for another protocol from now on, in which nothing is said.
func upgrade(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: silence\r\n\r\n")
	io.Copy(io.Discard, conn) // until the client has left
}

// TestS47_HostileProviders: discovery and keys that lead astray, are too large or are no keys.
func TestS47_HostileProviders(t *testing.T) {
	hit := 0
	victim := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hit++ }))
	defer victim.Close()
	astray := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, victim.URL+r.URL.Path, http.StatusFound)
	}
	large := func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"keys":[],"x":%q}`, strings.Repeat("x", 2<<20))
	}
	for name, change := range map[string]func(*op){
		"discovery elsewhere":  func(o *op) { o.handler["/.well-known/openid-configuration"] = astray },
		"discovery large":      func(o *op) { o.handler["/.well-known/openid-configuration"] = large },
		"discovery of another": func(o *op) { o.discovery = map[string]any{"issuer": "https://evil.example"} },
		"discovery is no JSON": func(o *op) {
			o.handler["/.well-known/openid-configuration"] = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>canary") }
		},
		"keys elsewhere":             func(o *op) { o.handler["/keys"] = astray },
		"keys large":                 func(o *op) { o.handler["/keys"] = large },
		"keys are no JSON":           func(o *op) { o.handler["/keys"] = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "[") } },
		"keys in another protocol":   func(o *op) { o.handler["/keys"] = upgrade },
		"keys forbidden":             func(o *op) { o.handler["/keys"] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) } },
		"token endpoint elsewhere":   func(o *op) { o.handler["/token"] = astray },
		"token endpoint a file":      func(o *op) { o.discovery = map[string]any{"token_endpoint": "file:///etc/passwd"} },
		"token endpoint fails":       func(o *op) { o.handler["/token"] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) } },
		"token endpoint at metadata": func(o *op) { o.discovery = map[string]any{"token_endpoint": "http://169.254.169.254/token"} },
		"keys on another loopback": func(o *op) {
			o.discovery = map[string]any{"jwks_uri": strings.Replace(victim.URL, "127.0.0.1", "localhost", 1)}
		},
		"user info on IPv6 loopback":  func(o *op) { o.discovery = map[string]any{"userinfo_endpoint": "http://[::1]:1/"} },
		"user info at mapped address": func(o *op) { o.discovery = map[string]any{"userinfo_endpoint": "http://[::ffff:127.0.0.1]:1/"} },
		"user info large":             func(o *op) { o.handler["/info"] = large },
		"user info elsewhere":         func(o *op) { o.handler["/info"] = astray },
		"user info null, nor a subject": func(o *op) {
			o.claims = map[string]any{"sub": ""}
			o.handler["/info"] = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "null") }
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOP(t)
			change(o)
			who, err := signIn(t, o, o.at(t, nil), nil)
			if err == nil || errors.As(err, new(*authn.NotVouched)) {
				t.Fatalf("Finish = %+v, %v, want an outage", who, err)
			}
			if len(err.Error()) > 1000 {
				t.Fatalf("Finish = an error of %d bytes", len(err.Error()))
			}
		})
	}
	if hit != 0 {
		t.Fatalf("another host was asked %d times", hit)
	}

	t.Run("odd keys", func(t *testing.T) {
		o := newOP(t)
		o.keys = func() any {
			good, _ := json.Marshal(jose.JSONWebKey{Key: o.key.Public(), KeyID: "one", Use: "sig"})
			var keys []json.RawMessage
			for _, odd := range []string{
				`{}`, `null`, `7`, `{"kty":"oct","k":"c2VjcmV0","kid":"one"}`, `{"kty":"EC","crv":"P-256","x":"AA","y":"AA","kid":"one"}`, `{"kty":"AKP","alg":"ML-DSA-44"}`,
				`{"kty":"RSA","n":"","e":""}`, `{"kty":["RSA"]}`, `{"kty":"OKP","crv":"Ed448","x":"AA"}`, `{"kty":"RSA","n":"AQAB","e":"AQABAQABAQABAQABAQAB"}`,
			} {
				keys = append(keys, json.RawMessage(odd))
			}
			return map[string]any{"keys": append(keys, good)}
		}
		if _, err := signIn(t, o, o.at(t, nil), nil); err != nil {
			t.Fatalf("Finish = %v, want the good key to be found", err)
		}
	})
	t.Run("random key ids", func(t *testing.T) {
		o := newOP(t)
		p := o.at(t, nil)
		if _, err := signIn(t, o, p, nil); err != nil {
			t.Fatal(err)
		}
		for i := range 200 {
			o.with(func(o *op) { o.keyID = fmt.Sprint("random ", i) })
			if _, err := signIn(t, o, p, nil); !errors.As(err, new(*authn.NotVouched)) {
				t.Fatalf("Finish = %v, want NotVouched", err)
			}
		}
		if n := o.times("/keys"); n > 2 {
			t.Fatalf("the keys were fetched %d times within seconds", n)
		}
	})
	t.Run("removed key", func(t *testing.T) {
		o := newOP(t)
		now := time.Now()
		p := o.at(t, func(options *authn.OIDCOptions) { options.Client.Now = func() time.Time { return now } })
		if _, err := signIn(t, o, p, nil); err != nil {
			t.Fatal(err)
		}
		o.with(func(o *op) { o.keys = func() any { return map[string]any{"keys": []any{}} } })
		now = now.Add(5 * time.Minute)
		if _, err := signIn(t, o, p, nil); !errors.As(err, new(*authn.NotVouched)) {
			t.Fatalf("Finish = %v, want NotVouched", err)
		}
	})
	t.Run("two issuers with one key id", func(t *testing.T) {
		one, two := newOP(t), newOP(t)
		for _, o := range []*op{one, two} {
			if _, err := signIn(t, o, o.at(t, nil), nil); err != nil {
				t.Fatal(err)
			}
		}
		one.sign = func(c map[string]any) string { return signed(jose.ES256, two.key, "one", c) }
		if _, err := signIn(t, one, one.at(t, nil), nil); !errors.As(err, new(*authn.NotVouched)) {
			t.Fatalf("Finish = %v, want NotVouched", err)
		}
	})
	t.Run("down at the start", func(t *testing.T) {
		o := newOP(t)
		o.down = true
		now := time.Now()
		p := o.at(t, func(options *authn.OIDCOptions) { options.Client.Now = func() time.Time { return now } })
		if _, err := p.Begin(t.Context(), authn.NewAttempt("")); err == nil || errors.As(err, new(*authn.NotVouched)) {
			t.Fatalf("Begin = %v, want an outage", err)
		}
		o.with(func(o *op) { o.down = false })
		now = now.Add(2 * time.Second)
		if _, err := signIn(t, o, p, nil); err != nil {
			t.Fatalf("Finish after the provider is back = %v", err)
		}
	})
}

// TestR48_KeysAreForEverybody: who leaves while the keys are fetched takes them from nobody else.
func TestR48_KeysAreForEverybody(t *testing.T) {
	o := newOP(t)
	p := o.at(t, nil)
	a := authn.NewAttempt("https://registry.example.com/ui/callback/oidc")
	begin, err := p.Begin(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	o.with(func(o *op) {
		o.keys = func() any {
			leave()
			return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: o.key.Public(), KeyID: "one", Use: "sig"}}}
		}
	})
	if _, err := p.Finish(ctx, a, o.sendBack(t, begin)); err == nil {
		t.Fatal("Finish of who has left = nil")
	}
	if _, err := signIn(t, o, p, nil); err != nil {
		t.Fatalf("Finish of somebody else right after = %v", err)
	}
}

func TestGoogle(t *testing.T) {
	o := newOP(t)
	o.claims = map[string]any{"email": "alice@corp.example", "hd": "corp.example"}
	p, err := authn.NewGoogle(authn.GoogleOptions{ClientID: opClient, ClientSecret: opSecret, Domain: "corp.example", Issuer: o.URL})
	if err != nil {
		t.Fatal(err)
	}
	begin, err := p.Begin(t.Context(), authn.NewAttempt("https://registry.example.com/cb"))
	if err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(begin)
	if q := u.Query(); q.Get("access_type") != "offline" || q.Get("hd") != "corp.example" || q.Get("scope") != "openid email" {
		t.Fatalf("Begin = %s", begin)
	}
	if who, err := signIn(t, o, p, nil); err != nil || who.Account != "alice@corp.example" || p.Name() != "google" {
		t.Fatalf("Finish = %+v, %v, want alice", who, err)
	}
	o.with(func(o *op) { o.claims["hd"] = nil })
	if _, err := signIn(t, o, p, nil); !errors.As(err, new(*authn.NotVouched)) {
		t.Fatalf("Finish of a private account = %v, want NotVouched", err)
	}
}
