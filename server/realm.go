package server

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"customhouse"
	"customhouse/gate"
)

// TokenPath is where the token endpoint is.
const TokenPath = "/token"

// RealmURL decides which URL of the token endpoint a client is told. Clients send passwords there, so it is never built
// from a Host header that is not ours.
type RealmURL struct {
	Public *url.URL // how clients reach the registry where the Host header does not tell; nil: unknown
	Hosts  []string // Host headers that the operator says are ours, lower case, with or without a port
	Listen string   // the address that we listen on, lower case
	Prefix string   // what stands before the path, where Public does not tell; see State

	Elsewhere string // the token endpoint of another, that clients are told in place of ours; "" is none
	Path      string // of such an endpoint at our own hosts, behind whatever is in front of us; "" is none
}

// of returns the URL for a request: on the requested host where that is one of ours, because clients refuse a realm on
// another private host, else on the public one.
func (u RealmURL) of(r *http.Request) (string, *customhouse.Error) {
	host := strings.ToLower(r.Host)
	path := u.Prefix + TokenPath
	if u.Path != "" {
		path = u.Path
	} else if u.Elsewhere != "" {
		return u.Elsewhere, nil
	}
	if u.Public != nil && host == strings.ToLower(u.Public.Host) {
		return u.Public.JoinPath(path).String(), nil
	}
	if u.ours(r, host) {
		scheme := "http"
		if r.TLS != nil || u.Public != nil && u.Public.Scheme == "https" && u.listed(host) {
			scheme = "https"
		}
		return scheme + "://" + host + path, nil
	}
	if u.Elsewhere != "" {
		return u.Elsewhere, nil
	}
	if u.Public != nil {
		return u.Public.JoinPath(path).String(), nil
	}
	return "", customhouse.Errorf(customhouse.Misdirected, "this registry does not know itself by the requested host; its operator can add it to hosts or public_url")
}

// listed tells whether the operator has named the host. Clients reach those the way they reach the public URL, be it by
// a proxy that adds TLS.
func (u RealmURL) listed(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	return slices.Contains(u.Hosts, host) || slices.Contains(u.Hosts, name)
}

func (u RealmURL) ours(r *http.Request, host string) bool {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	if strings.Trim(port, "0123456789") != "" {
		return false // a port such as "80,evil.example" would be part of the realm
	}
	if u.listed(host) || u.Listen != "" && host == u.Listen {
		return true
	}
	bare := strings.Trim(name, "[]")
	if bare == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(bare)
	if err != nil {
		return false
	}
	if addr.IsLoopback() {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr) // the client has reached us by this address
	if !ok {
		return false
	}
	ap, err := netip.ParseAddrPort(local.String())
	return err == nil && ap.Addr().Unmap() == addr.Unmap()
}

// challenge writes the WWW-Authenticate header (RFC 6750 section 3, Docker token spec).
func (st *state) challenge(r *http.Request, c *gate.Challenge) (string, *customhouse.Error) {
	realm, err := st.Realm.of(r)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(`Bearer realm="` + realm + `",service="` + st.Service + `"`)
	for i, scope := range c.Scopes {
		if i == 0 {
			b.WriteString(`,scope="`)
		} else {
			b.WriteByte(' ')
		}
		b.WriteString(scope.String())
	}
	if len(c.Scopes) > 0 {
		b.WriteByte('"')
	}
	if c.Error != "" {
		b.WriteString(`,error="` + c.Error + `"`)
	}
	return b.String(), nil
}
