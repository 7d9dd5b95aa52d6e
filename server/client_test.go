package server_test

import (
	"net/http"
	"net/netip"
	"testing"

	"customhouse/server"
)

func TestS60_ClientAddress(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/64")}
	for name, tt := range map[string]struct {
		peer     string
		header   []string // lines
		position int
		want     string // "error" for one
	}{
		"untrusted peer":           {"192.0.2.1:999", []string{"127.0.0.1"}, -1, "192.0.2.1"},
		"untrusted peer, junk":     {"192.0.2.1:999", []string{"junk"}, 7, "192.0.2.1"},
		"untrusted IPv6 with zone": {"[fe80::1%eth0]:999", []string{"127.0.0.1"}, -1, "fe80::1"},
		"mapped IPv4 is IPv4":      {"[::ffff:192.0.2.1]:999", nil, -1, "192.0.2.1"},
		"mapped trusted peer":      {"[::ffff:10.0.0.1]:999", []string{"192.0.2.9"}, -1, "192.0.2.9"},
		"one":                      {"10.0.0.1:999", []string{"192.0.2.9"}, -1, "192.0.2.9"},
		"the last":                 {"10.0.0.1:999", []string{"127.0.0.1, 192.0.2.9"}, -1, "192.0.2.9"},
		"the first":                {"10.0.0.1:999", []string{"192.0.2.8 ,127.0.0.1"}, 0, "192.0.2.8"},
		"the second":               {"10.0.0.1:999", []string{"192.0.2.8,192.0.2.9,192.0.2.10"}, 1, "192.0.2.9"},
		"lines are one list":       {"10.0.0.1:999", []string{"127.0.0.1", "192.0.2.9"}, -1, "192.0.2.9"},
		"IPv6":                     {"[2001:db8::1]:999", []string{"2001:db8:1::9"}, -1, "2001:db8:1::9"},
		"with a port":              {"10.0.0.1:999", []string{"192.0.2.9:5000"}, -1, "192.0.2.9"},
		"IPv6 with a port":         {"10.0.0.1:999", []string{"[2001:db8:1::9]:5000"}, -1, "2001:db8:1::9"},
		"mapped":                   {"10.0.0.1:999", []string{"::ffff:192.0.2.9"}, -1, "192.0.2.9"},
		"junk that is not asked":   {"10.0.0.1:999", []string{"unknown, 192.0.2.9"}, -1, "192.0.2.9"},
		"no header":                {"10.0.0.1:999", nil, -1, "error"},
		"empty":                    {"10.0.0.1:999", []string{""}, -1, "error"},
		"empty at the place":       {"10.0.0.1:999", []string{"192.0.2.9, "}, -1, "error"},
		"unknown":                  {"10.0.0.1:999", []string{"unknown"}, -1, "error"},
		"zone":                     {"10.0.0.1:999", []string{"fe80::1%eth0"}, -1, "error"},
		"beyond the end":           {"10.0.0.1:999", []string{"192.0.2.9"}, 1, "error"},
		"before the beginning":     {"10.0.0.1:999", []string{"192.0.2.9"}, -2, "error"},
		"socket":                   {"@", []string{"192.0.2.9"}, -1, "192.0.2.9"},
		"socket without header":    {"@", nil, -1, "error"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &http.Request{RemoteAddr: tt.peer, Header: http.Header{"X-Forwarded-For": tt.header}}
			p := server.Proxies{Trusted: trusted, Header: "X-Forwarded-For", Position: tt.position}
			got := "error"
			if addr, err := p.Client(r); err == nil {
				got = addr.String()
			}
			if got != tt.want {
				t.Errorf("client = %s, want %s", got, tt.want)
			}
		})
	}
	r := &http.Request{RemoteAddr: "@", Header: http.Header{"X-Forwarded-For": {"127.0.0.1"}}}
	if addr, err := (server.Proxies{}).Client(r); err != nil || addr.IsValid() {
		t.Errorf("client over a socket without proxies = %v, %v, want unknown", addr, err)
	}
}
