package server_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// issued is what the token endpoint answers.
type issued struct {
	Token        string `json:"token"`
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	Scope        string `json:"scope"`
	ExpiresIn    int    `json:"expires_in"`
	IssuedAt     string `json:"issued_at"`
	RefreshToken string `json:"refresh_token"`
}

// post sends a form to the token endpoint. Pairs are keys and values.
func (p person) post(pairs ...string) answer {
	p.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return p.do("POST", "/token", []byte(form.Encode()), "Content-Type", "application/x-www-form-urlencoded")
}

// TestTokenByGET is the flow of the Docker token specification.
func TestTokenByGET(t *testing.T) {
	h := open(t, setup{})
	h.as("admin").pushImage("a/app", "latest", "x")
	challenge := h.as("").get("/v2/a/app/manifests/latest").want(http.StatusUnauthorized, "UNAUTHORIZED").header.Get("WWW-Authenticate")
	want := `Bearer realm="` + h.http.URL + `/token",service="registry.test",scope="repository:a/app:pull"`
	if challenge != want {
		t.Errorf("challenge = %s, want %s", challenge, want)
	}
	var v issued
	a := h.as("project").get("/token?service=registry.test&scope=repository:a/app:pull,push&client_id=test&account=project").want(http.StatusOK, "")
	a.into(&v).wantHeader("Content-Type", "application/json").wantHeader("Cache-Control", "no-store")
	if v.Token == "" || v.Token != v.AccessToken || v.ExpiresIn != 300 || v.RefreshToken != "" || v.TokenType != "" {
		t.Errorf("token answer = %+v", v)
	}
	if at, err := time.Parse(time.RFC3339, v.IssuedAt); err != nil || time.Since(at).Abs() > time.Minute {
		t.Errorf("issued_at = %q", v.IssuedAt)
	}
	h.with(v.Token).get("/v2/a/app/manifests/latest").want(http.StatusOK, "")
	h.with(v.Token).get("/v2/").want(http.StatusOK, "")
	h.with(v.Token).get("/v2/a/other/tags/list").want(http.StatusUnauthorized, "UNAUTHORIZED")
	person{h, "bearer  " + v.Token}.get("/v2/").want(http.StatusOK, "") // schemes have no case
}

// TestTokenScopes: what is asked for and allowed is granted, in both spellings of several scopes.
func TestTokenScopes(t *testing.T) {
	h := open(t, setup{})
	for query, want := range map[string]string{
		"scope=repository:a/app:pull&scope=repository:a/x:pull": "repository:a/app:pull repository:a/x:pull",
		"scope=repository:a/app:pull+repository:a/x:pull":       "repository:a/app:pull repository:a/x:pull",
		"scope=repository:a/app:pull,push":                      "repository:a/app:pull,push",
		"scope=repository:a/app:*":                              "repository:a/app:pull,push,delete",
		"scope=repository:b/x:pull":                             "",
		"scope=repository:a/app:pull&scope=repository:b/x:pull": "repository:a/app:pull",
		"scope=registry:catalog:*":                              "",
		"scope=":                                                "",
		"":                                                      "",
	} {
		form, err := url.ParseQuery(query)
		must(t, err)
		pairs := []string{"grant_type", "password", "username", "project", "password", passwordOf("project"), "service", service, "client_id", "test"}
		for _, s := range form["scope"] {
			pairs = append(pairs, "scope", s)
		}
		var v issued
		h.as("").post(pairs...).want(http.StatusOK, "").into(&v)
		if diff := cmp.Diff(want, v.Scope); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
		h.as("project").get("/token?"+query).want(http.StatusOK, "")
	}
}

// TestTokenRefresh: a refresh token gives access tokens for what the policy allows.
func TestTokenRefresh(t *testing.T) {
	h := open(t, setup{})
	var v issued
	h.as("").post("grant_type", "password", "username", "alice", "password", passwordOf("alice"), "service", service,
		"client_id", "test", "access_type", "offline", "scope", "repository:a/app:pull").want(http.StatusOK, "").into(&v)
	if v.RefreshToken == "" || v.TokenType != "Bearer" || v.Token != "" {
		t.Fatalf("token answer = %+v", v)
	}
	refresh := func(secret, client, scope string) answer {
		return h.as("").post("grant_type", "refresh_token", "refresh_token", secret, "client_id", client, "service", service, "scope", scope)
	}
	var again issued
	refresh(v.RefreshToken, "test", "repository:a/app:pull,push,delete repository:b/x:push").want(http.StatusOK, "").into(&again)
	if again.Scope != "repository:a/app:pull" || again.AccessToken == "" {
		t.Errorf("refreshed token = %+v, want what the policy allows", again)
	}
	h.with(again.AccessToken).get("/v2/").want(http.StatusOK, "")
	for _, a := range []answer{
		refresh(v.RefreshToken, "other", "repository:a/app:pull"), refresh(v.RefreshToken+"x", "test", ""), refresh("nonsense", "test", ""), refresh(v.AccessToken, "test", ""),
	} {
		a.want(http.StatusBadRequest, "")
		wantOAuth(t, a, "invalid_grant")
	}
	h.with(v.RefreshToken).get("/v2/").want(http.StatusUnauthorized, "UNAUTHORIZED") // it opens nothing itself
	h.as("alice").get("/token?offline_token=true&client_id=docker").want(http.StatusOK, "").into(&v)
	if v.RefreshToken == "" {
		t.Error("GET with offline_token=true gives no refresh token")
	}
	var anonymous issued
	h.as("").get("/token?offline_token=true").want(http.StatusOK, "").into(&anonymous)
	if anonymous.RefreshToken != "" {
		t.Error("nobody got a refresh token")
	}
}

func wantOAuth(t *testing.T, a answer, code string) {
	t.Helper()
	var v struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if err := json.Unmarshal(a.body, &v); err != nil || v.Error != code || v.Description == "" {
		t.Errorf("%s = %d %s, want the OAuth error %s", a.what, a.status, a.body, code)
	}
}

// TestS31_TokenEndpoint: what is wrong with a request is told, and nothing is kept or leaked.
func TestS31_TokenEndpoint(t *testing.T) {
	h := open(t, setup{})
	nobody, alice := h.as(""), h.as("alice")
	for _, method := range []string{"PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"} {
		a := alice.do(method, "/token", nil).want(http.StatusMethodNotAllowed, "")
		a.wantHeader("Allow", "GET, POST").wantHeader("Cache-Control", "no-store")
	}
	password := []string{"grant_type", "password", "username", "alice", "password", passwordOf("alice")}
	for name, test := range map[string]struct {
		answer answer
		code   string
	}{
		"no grant type":           {nobody.post("service", service), "invalid_request"},
		"another grant type":      {nobody.post("grant_type", "client_credentials"), "unsupported_grant_type"},
		"no password":             {nobody.post("grant_type", "refresh_token"), "invalid_request"},
		"another service":         {nobody.post(append(password, "service", "other.test")...), "invalid_request"},
		"grant type twice":        {nobody.post(append(password, "grant_type", "password")...), "invalid_request"},
		"user name twice":         {nobody.post(append(password, "username", "admin")...), "invalid_request"},
		"a scope that is none":    {nobody.post(append(password, "scope", "repository:a")...), "invalid_scope"},
		"a name with ..":          {alice.get("/token?scope=repository:a/../b:pull"), "invalid_scope"},
		"an upper case name":      {alice.get("/token?scope=repository:A/b:pull"), "invalid_scope"},
		"a name with line break":  {alice.get("/token?scope=repository:a%0a:pull"), "invalid_scope"},
		"21 scopes":               {alice.get("/token?" + strings.Repeat("scope=repository:a:pull&", 21)), "invalid_request"},
		"21 scopes in one":        {alice.get("/token?scope=" + strings.Repeat("repository:a:pull+", 21)), "invalid_request"},
		"service of another":      {alice.get("/token?service=other.test"), "invalid_request"},
		"account twice":           {alice.get("/token?account=alice&account=admin"), "invalid_request"},
		"service twice":           {alice.get("/token?service=" + service + "&service=" + service), "invalid_request"},
		"a token as credential":   {h.with(h.token("alice")).get("/token"), "invalid_request"},
		"a body that is no form":  {nobody.do("POST", "/token", []byte("%zz=1;x"), "Content-Type", "application/x-www-form-urlencoded"), "invalid_request"},
		"JSON in place of a form": {nobody.do("POST", "/token", []byte(`{"grant_type":"password"}`), "Content-Type", "application/json"), "invalid_request"},
	} {
		test.answer.want(http.StatusBadRequest, "")
		test.answer.wantHeader("Cache-Control", "no-store")
		if !t.Failed() {
			wantOAuth(t, test.answer, test.code)
		}
		if t.Failed() {
			t.Fatal(name)
		}
	}
	large := append(password, "x", strings.Repeat("x", 64<<10))
	nobody.post(large...).want(http.StatusRequestEntityTooLarge, "").wantHeader("Cache-Control", "no-store")
	alice.get("/token?"+strings.Repeat("scope=repository:a:pull&", 500)).want(http.StatusRequestURITooLong, "")
	a := alice.get("/token?scope=repository:a/app:pull").want(http.StatusOK, "")
	a.wantHeader("Location", "").wantHeader("Set-Cookie", "")
}

// TestS33_WrongPasswordIsNotAnonymous: a bad credential opens nothing, not even what is open to everybody.
func TestS33_WrongPasswordIsNotAnonymous(t *testing.T) {
	h := open(t, setup{})
	h.as("admin").pushImage("pub/app", "latest", "x")
	h.as("").get("/v2/pub/app/manifests/latest").want(http.StatusOK, "")
	for name, auth := range map[string]string{
		"wrong password":   "Basic YWRtaW46d3Jvbmc=",
		"unknown account":  "Basic bm9ib2R5Ong=",
		"empty":            "Basic Og==",
		"empty password":   "Basic YWRtaW46",
		"no colon":         "Basic YWRtaW4=",
		"no base64":        "Basic !!!",
		"no value":         "Basic",
		"nothing behind":   "Basic ",
		"Bearer":           "Bearer nonsense",
		"empty Bearer":     "Bearer ",
		"no Bearer":        "Bearer",
		"Bearer in Basic":  "Basic Bearer",
		"password as such": "Bearer " + passwordOf("admin"),
	} {
		for _, path := range []string{"/v2/", "/v2/pub/app/manifests/latest", "/v2/pub/app/tags/list", "/v2/_catalog", "/token?scope=repository:pub/app:pull"} {
			a := person{h, auth}.get(path)
			if a.status != http.StatusUnauthorized && (a.status != http.StatusBadRequest || !strings.HasPrefix(path, "/token")) {
				t.Errorf("%s: %s = %d", name, a.what, a.status)
			}
		}
	}
	for _, auth := range []string{"Digest x", "Negotiate x", "x", "", " ", "Basic\tYWRtaW46d3Jvbmc="} {
		for _, path := range []string{"/v2/pub/app/manifests/latest", "/token"} {
			a := person{h, ""}.get(path, "Authorization", auth)
			if a.status != http.StatusBadRequest && a.status != http.StatusUnauthorized {
				t.Errorf("Authorization %q: %s = %d", auth, a.what, a.status)
			}
		}
	}
	a := person{h, ""}.get("/v2/pub/app/manifests/latest", "Authorization", "Bearer x", "Authorization", h.as("admin").auth)
	a.want(http.StatusBadRequest, "UNSUPPORTED")
	h.as("").post("grant_type", "password", "username", "", "password", "").want(http.StatusUnauthorized, "UNAUTHORIZED")
	h.as("").post("grant_type", "password", "username", "admin", "password", "wrong").want(http.StatusUnauthorized, "UNAUTHORIZED").
		wantHeader("WWW-Authenticate", `Basic realm="customhouse", charset="UTF-8"`)
	h.as("alice").get("/token?account=admin").want(http.StatusUnauthorized, "UNAUTHORIZED")
	// Neither a query nor a cookie is a credential.
	h.as("").get("/v2/?access_token="+h.token("admin")).want(http.StatusUnauthorized, "UNAUTHORIZED")
	h.as("").get("/v2/", "Cookie", "token="+h.token("admin")).want(http.StatusUnauthorized, "UNAUTHORIZED")
}

// TestBasicSwitchedOff: passwords go to the token endpoint alone.
func TestBasicSwitchedOff(t *testing.T) {
	h := open(t, setup{noBasic: true})
	h.as("admin").get("/v2/").want(http.StatusUnauthorized, "UNAUTHORIZED")
	h.with(h.token("admin")).get("/v2/").want(http.StatusOK, "")
}

// TestJWKS: the public keys, and nothing private.
func TestJWKS(t *testing.T) {
	h := open(t, setup{})
	var v struct{ Keys []map[string]any }
	h.as("").get("/.well-known/jwks.json").want(http.StatusOK, "").into(&v).
		wantHeader("Content-Type", "application/jwk-set+json").wantHeader("Cache-Control", "public, max-age=300")
	if len(v.Keys) != 1 {
		t.Fatalf("keys = %v", v.Keys)
	}
	for _, key := range v.Keys {
		if _, private := key["d"]; private || key["alg"] != "ES256" || key["kid"] == "" || key["kty"] != "EC" {
			t.Errorf("key = %v", key)
		}
	}
	h.as("").do("POST", "/.well-known/jwks.json", nil).want(http.StatusMethodNotAllowed, "").wantHeader("Allow", "GET, HEAD")
}
