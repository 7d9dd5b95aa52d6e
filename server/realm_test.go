package server_test

import (
	"net/http"
	"net/url"
	"testing"

	"customhouse/server"
)

// TestS32_RealmOfOthers shows where clients are sent for tokens when the token service is that of another: to its URL, or to
// its path on a host that is ours, and never to a host that a request has made up.
func TestS32_RealmOfOthers(t *testing.T) {
	public, err := url.Parse("https://registry.example.com")
	must(t, err)
	const elsewhere = "https://auth.example.com/auth"
	for name, tt := range map[string]struct {
		realm server.RealmURL
		want  map[string]string // realm by Host; "" is 421
	}{
		"a URL": {
			server.RealmURL{Elsewhere: elsewhere, Public: public},
			map[string]string{"localhost:5000": elsewhere, "registry.example.com": elsewhere, "evil.test": elsewhere},
		},
		"a URL and a prefix": {server.RealmURL{Elsewhere: elsewhere, Prefix: "/registry"}, map[string]string{"localhost:5000": elsewhere}},
		"a path": {
			server.RealmURL{Path: "/auth/token", Hosts: []string{"registry.lan"}, Prefix: "/registry"},
			map[string]string{
				"localhost:5000": "http://localhost:5000/auth/token", "registry.lan": "http://registry.lan/auth/token",
				"evil.test": "", "registry.lan.evil.test": "", "localhost:80,evil.test": "",
			},
		},
		"a path and a URL": {
			server.RealmURL{Path: "/auth/token/", Elsewhere: elsewhere, Public: public},
			map[string]string{"registry.example.com": "https://registry.example.com/auth/token/", "evil.test": elsewhere, "127.0.0.1.evil.test": elsewhere},
		},
		"a path and our URL": {
			server.RealmURL{Path: "/auth/token", Public: public},
			map[string]string{"registry.example.com": "https://registry.example.com/auth/token", "evil.test": "https://registry.example.com/auth/token"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t, setup{realm: tt.realm})
			for host, want := range tt.want {
				a := h.as("").get("/v2/", "Host", host, "X-Forwarded-Proto", "evil", "X-Forwarded-Host", "evil.test")
				if want == "" {
					a.want(http.StatusMisdirectedRequest, "UNSUPPORTED")
					continue
				}
				if c := a.want(http.StatusUnauthorized, "").header.Get("WWW-Authenticate"); c != `Bearer realm="`+want+`",service="registry.test"` {
					t.Errorf("Host %s: challenge %s, want the realm %s", host, c, want)
				}
			}
		})
	}
}
