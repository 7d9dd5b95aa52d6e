package authn_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"customhouse/authn"
)

// op is an OpenID provider that can be told to misbehave. The real one is in the tests of the pages.
type op struct {
	*httptest.Server
	key *ecdsa.PrivateKey

	mu        sync.Mutex
	claims    map[string]any // of the ID token, over those that are right
	info      map[string]any // of the user info; nil has none
	discovery map[string]any // over what is right
	keyID     string         // of ID tokens
	sign      func(claims map[string]any) string
	keys      func() any                  // what the key endpoint answers
	handler   map[string]http.HandlerFunc // over the right ones
	codes     map[string]url.Values       // what the browser came with
	refresh   string                      // the refresh token that is good now
	asked     map[string]int              // by path
	down      bool
	forgetful bool          // gives no refresh tokens
	shift     time.Duration // of the clock that tokens are made by
}

const opClient, opSecret = "registry", "very secret & /?=+"

func newOP(t testing.TB) *op {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	o := &op{key: key, keyID: "one", codes: map[string]url.Values{}, asked: map[string]int{}, handler: map[string]http.HandlerFunc{}}
	o.info = map[string]any{"sub": "s1"}
	o.Server = httptest.NewServer(o)
	t.Cleanup(o.Close)
	return o
}

// with changes o under its lock.
func (o *op) with(change func(*op)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(o)
}

func (o *op) times(path string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.asked[path]
}

// sendBack is what the provider does once the person has agreed: it returns the code.
func (o *op) sendBack(t testing.TB, begin string) string {
	t.Helper()
	u, err := url.Parse(begin)
	if err != nil {
		t.Fatal(err)
	}
	code := rand.Text()
	o.with(func(o *op) { o.codes[code] = u.Query() })
	return code
}

func (o *op) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked[r.URL.Path]++
	if o.down {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	if h := o.handler[r.URL.Path]; h != nil {
		h(w, r)
		return
	}
	answer := func(v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		d := map[string]any{
			"issuer": o.URL, "authorization_endpoint": o.URL + "/auth", "token_endpoint": o.URL + "/token", "jwks_uri": o.URL + "/keys",
			"userinfo_endpoint": o.URL + "/info", "scopes_supported": []string{"openid", "offline_access"},
			"id_token_signing_alg_values_supported": []string{"ES256"},
		}
		for k, v := range o.discovery {
			d[k] = v
		}
		answer(d)
	case "/keys":
		if o.keys != nil {
			answer(o.keys())
			return
		}
		answer(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: o.key.Public(), KeyID: "one", Use: "sig"}}})
	case "/info":
		if o.info == nil || r.Header.Get("Authorization") != "Bearer access" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		answer(o.info)
	case "/token":
		o.serveToken(w, r, answer)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (o *op) serveToken(w http.ResponseWriter, r *http.Request, answer func(any)) {
	_ = r.ParseForm()
	bad := func(code string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error":%q,"error_description":"canary-in-answer"}`, code)
	}
	id, secret, _ := r.BasicAuth()
	id, _ = url.QueryUnescape(id)
	secret, _ = url.QueryUnescape(secret)
	if id != opClient || secret != opSecret {
		bad("invalid_client")
		return
	}
	nonce := ""
	switch r.PostForm.Get("grant_type") {
	case "authorization_code":
		q, ok := o.codes[r.PostForm.Get("code")]
		delete(o.codes, r.PostForm.Get("code")) // a code is good once
		sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
		if !ok || q.Get("code_challenge_method") != "S256" || base64.RawURLEncoding.EncodeToString(sum[:]) != q.Get("code_challenge") ||
			q.Get("redirect_uri") != r.PostForm.Get("redirect_uri") || q.Get("client_id") != opClient {
			bad("invalid_grant")
			return
		}
		nonce = q.Get("nonce")
	case "refresh_token":
		if o.refresh == "" || r.PostForm.Get("refresh_token") != o.refresh {
			bad("invalid_grant")
			return
		}
	}
	o.refresh = rand.Text() // each is good once
	claims := map[string]any{
		"iss": o.URL, "sub": "s1", "aud": opClient, "exp": time.Now().Add(o.shift + time.Hour).Unix(), "iat": time.Now().Add(o.shift).Unix(),
		"email": "alice@example.com", "email_verified": true,
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	for k, v := range o.claims {
		claims[k] = v
		if v == nil {
			delete(claims, k)
		}
	}
	var text string
	if o.sign != nil {
		text = o.sign(claims)
	} else {
		text = signed(jose.ES256, o.key, o.keyID, claims)
	}
	body := map[string]any{"access_token": "access", "token_type": "Bearer", "expires_in": 3600, "refresh_token": o.refresh, "id_token": text}
	if o.forgetful {
		delete(body, "refresh_token")
	}
	answer(body)
}

// signed returns a JWT.
func signed(alg jose.SignatureAlgorithm, key any, id string, claims any) string {
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	if err != nil {
		panic(err)
	}
	text, err := jwt.Signed(s).Claims(claims).Serialize()
	if err != nil {
		panic(err)
	}
	return text
}

// halfHash is the at_hash of a token (OpenID Connect Core, section 3.1.3.6).
func halfHash(token string) string {
	h := crypto.SHA256.New()
	h.Write([]byte(token))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
}

// at returns a provider that signs in at o.
func (o *op) at(t testing.TB, more func(*authn.OIDCOptions)) *authn.OIDC {
	t.Helper()
	options := authn.OIDCOptions{Issuer: o.URL, ClientID: opClient, ClientSecret: opSecret}
	if more != nil {
		more(&options)
	}
	p, err := authn.NewOIDC(options)
	if err != nil {
		t.Fatalf("NewOIDC = %v", err)
	}
	return p
}

// signIn goes all the way.
func signIn(t testing.TB, o *op, p authn.Provider, change func(*authn.Attempt)) (authn.Person, error) {
	t.Helper()
	a := authn.NewAttempt("https://registry.example.com/ui/callback/oidc")
	begin, err := p.Begin(t.Context(), a)
	if err != nil {
		return authn.Person{}, err
	}
	code := o.sendBack(t, begin)
	if change != nil {
		change(&a)
	}
	return p.Finish(t.Context(), a, code)
}
