package server_test

import (
	"net/http"
	"slices"
	"testing"
	"time"
)

// whoami is what GET /api/whoami tells.
type whoami struct {
	Anonymous       bool
	Account, Method string
	Client          string
	Services        []string
	Token           *struct {
		Access []struct {
			Type, Name string
			Actions    []string
		}
		Expires time.Time
	}
}

func TestAPIWhoami(t *testing.T) {
	for name, s := range map[string]setup{"passwords everywhere": {}, "passwords at the token endpoint": {noBasic: true}} {
		t.Run(name, func(t *testing.T) {
			h := open(t, s)
			var who whoami
			h.as("alice").get("/api/whoami").want(http.StatusOK, "").wantHeader("Cache-Control", "no-store").
				wantHeader("Vary", "Authorization, Accept").into(&who)
			if who.Anonymous || who.Account != "alice" || who.Method != "users" || who.Token != nil || who.Client != "127.0.0.1" ||
				!slices.Equal(who.Services, []string{service}) {
				t.Errorf("with a password: %+v", who)
			}
			who = whoami{}
			h.with(h.token("alice", "repository:a/app:pull,push")).get("/api/whoami").want(http.StatusOK, "").into(&who)
			if who.Account != "alice" || who.Token == nil || len(who.Token.Access) != 1 || !slices.Equal(who.Token.Access[0].Actions, []string{"pull"}) ||
				!who.Token.Expires.After(time.Now()) {
				t.Errorf("with a token: %+v", who)
			}
			who = whoami{}
			h.as("").get("/api/whoami").want(http.StatusOK, "").into(&who)
			if !who.Anonymous || who.Account != "" || who.Method != "" {
				t.Errorf("anonymous: %+v", who)
			}
			person{h, "Basic YWxpY2U6d3Jvbmc="}.get("/api/whoami").want(http.StatusUnauthorized, "UNAUTHORIZED")
			h.with("eyJhbGciOiJub25lIn0.e30.").get("/api/whoami").want(http.StatusUnauthorized, "UNAUTHORIZED")
		})
	}
}

// What the API does not have it does not have for anybody, whatever they come with.
func TestAPIUnknown(t *testing.T) {
	h := open(t, setup{})
	people := []person{h.as(""), h.as("alice"), h.as("admin"), h.with("forged"), {h, "Basic YWxpY2U6d3Jvbmc="}}
	for _, path := range []string{"/api/", "/api/nothing", "/api/whoami/", "/api/whoami/x", "/api//whoami", "/api/WHOAMI", "/api/whoami%2f"} {
		var first answer
		for i, p := range people {
			got := p.get(path).want(http.StatusNotFound, "")
			if i == 0 {
				first = got
			}
			if string(got.body) != string(first.body) {
				t.Errorf("%s: %s, and to anonymous %s", path, got.body, first.body)
			}
		}
	}
	h.as("alice").get("/api/whoami?account=bob").want(http.StatusBadRequest, "")
	h.as("alice").get("/api/whoami?%zz").want(http.StatusBadRequest, "")
	h.as("").do("POST", "/api/whoami", nil).want(http.StatusMethodNotAllowed, "").wantHeader("Allow", "GET, HEAD")
}

// A page of another origin reads nothing of the API with the browser of somebody, and a cookie is no credential.
func TestS48_APIAndBrowsers(t *testing.T) {
	h := open(t, setup{})
	a := h.as("alice").get("/api/whoami", "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site").want(http.StatusOK, "")
	for key := range a.header {
		if len(key) > 14 && key[:14] == "Access-Control" {
			t.Errorf("another origin is told %s", key)
		}
	}
	var who whoami
	h.as("").get("/api/whoami", "Cookie", "session=alice; Authorization=Basic").want(http.StatusOK, "").wantHeader("Set-Cookie", "").into(&who)
	if !who.Anonymous {
		t.Errorf("a cookie makes %+v", who)
	}
}
