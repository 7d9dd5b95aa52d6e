package mirror

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"customhouse/outbound"

	"golang.org/x/net/publicsuffix"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/retry"
)

// newClient returns the client that fetches tokens where the registry asks for them.
func (u *Upstream) newClient() *auth.Client {
	transport := &http.Transport{
		DialContext: u.dialer(), TLSClientConfig: &tls.Config{RootCAs: u.options.CAs, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true, DisableCompression: true, ResponseHeaderTimeout: u.options.Stall,
		MaxIdleConnsPerHost: 32, IdleConnTimeout: u.options.Stall, TLSHandshakeTimeout: u.options.Stall,
		ReadBufferSize: 64 << 10, MaxResponseHeaderBytes: 64 << 10,
	}
	var guarded http.RoundTripper = &guard{upstream: u, next: outbound.NoUpgrade{Transport: transport}}
	if u.options.Retry {
		guarded = retry.NewTransport(guarded)
	}
	return &auth.Client{
		Client: &http.Client{Transport: guarded, CheckRedirect: checkRedirect},
		Header: http.Header{"User-Agent": {"customhouse"}}, Cache: newTokens(), ClientID: "customhouse",
		Credential: u.credential(),
	}
}

// checkRedirect follows a few redirects, none from TLS to plain text. oras-go takes the credential off those that leave
// the registry.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 5 {
		return errors.New("too many redirects")
	}
	if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return fmt.Errorf("a redirect leads from TLS to plain text at %s", req.URL.Host)
	}
	return nil
}

// dialer lets hosts that the operator has named lead to loopback and private networks, and none other to which the
// registry sends us.
func (u *Upstream) dialer() func(ctx context.Context, network, address string) (net.Conn, error) {
	named, others := outbound.NewDialer(outbound.Options{Private: true}), outbound.NewDialer(outbound.Options{})
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if u.named(address) {
			return named.DialContext(ctx, network, address)
		}
		conn, err := others.DialContext(ctx, network, address)
		if forbidden := (*outbound.ForbiddenError)(nil); errors.As(err, &forbidden) && named.Check(forbidden.Addr) == nil {
			err = fmt.Errorf("%w; trust %s if %s may lead there", err, address, u.Host())
		}
		return conn, err
	}
}

// named tells whether the operator has named the host with this port.
func (u *Upstream) named(address string) bool {
	return slices.ContainsFunc(append([]string{u.origin.Host}, u.trusted...), func(host string) bool {
		return sameHost(&url.URL{Scheme: u.origin.Scheme, Host: host}, address)
	})
}

// sameHost tells whether u is at the address host:port.
func sameHost(u *url.URL, address string) bool {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return strings.EqualFold(net.JoinHostPort(u.Hostname(), port), address)
}

// guard lets credentials out to those only whom they are for.
type guard struct {
	upstream *Upstream
	next     http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	secret := req.Header.Get("Authorization") != "" || req.Method == http.MethodPost // asks for a token with a secret in its body
	if secret && !g.upstream.trusts(req.URL) {
		return nil, fmt.Errorf("%s wants its credentials sent to %s, which is not of its domain; trust that host if it is right", g.upstream.Host(), req.URL.Host)
	}
	return g.next.RoundTrip(req)
}

// trusts tells whether credentials may be sent to where: the registry itself, a host that the operator trusts, or one of
// the same owner, as auth.docker.io is for registry-1.docker.io.
func (u *Upstream) trusts(where *url.URL) bool {
	if where.Scheme != "https" && where.Scheme != u.origin.Scheme {
		return false
	}
	if where.Scheme == u.origin.Scheme && strings.EqualFold(where.Host, u.origin.Host) {
		return true
	}
	return slices.ContainsFunc(u.trusted, func(host string) bool { return strings.EqualFold(host, where.Host) }) ||
		where.Scheme == "https" && where.Port() == "" && sameDomain(where.Hostname(), u.origin.Hostname())
}

// sameDomain tells whether two hosts are of one owner, as far as the public suffix list knows.
func sameDomain(a, b string) bool {
	for _, host := range []string{a, b} {
		if _, err := netip.ParseAddr(host); err == nil {
			return false
		}
	}
	ours, err1 := publicsuffix.EffectiveTLDPlusOne(strings.ToLower(a))
	theirs, err2 := publicsuffix.EffectiveTLDPlusOne(strings.ToLower(b))
	return err1 == nil && err2 == nil && ours == theirs
}
