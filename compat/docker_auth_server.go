package compat

import (
	"cmp"
	"crypto/tls"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"customhouse/config"
)

// server translates the address, TLS and what stands in front.
func (t *dockerTranslation) server() {
	s := &t.from.Server
	t.require("server.addr", s.Addr != "")
	t.to.Listen = s.Addr
	switch s.Net {
	case "", "tcp":
	case "unix":
		t.to.Listen = "unix:" + t.absolute(s.Addr)
		if s.RealIPHeader == "" {
			t.warn("server.net", "a socket does not tell the address of a client: rules on ip do not hold; docker_auth answered all requests with 400 here")
		}
	default:
		t.wrong("server.net", "want tcp or unix")
	}
	t.to.HTTP.Prefix = s.PathPrefix
	if s.HSTS {
		t.to.HTTP.Headers = map[string][]string{"Strict-Transport-Security": {"max-age=63072000; includeSubDomains"}}
	}
	t.realIP()
	t.pair("server", s.Certificate, s.Key)
	t.to.TLS.Certificate = t.path("server.certificate", s.Certificate)
	t.to.TLS.Key = t.path("server.key", s.Key)
	t.letsEncrypt()
	t.to.AllowPlaintext = !t.to.TLS.Enabled()
	t.tlsVersion(s.TLSMinimum)
	t.to.TLS.Curves = renamed(s.TLSCurves, dockerCurves, curveName)
	t.to.TLS.CipherSuites = renamed(s.TLSSuites, dockerSuites, tls.CipherSuiteName)
}

// privateNetworks are the proxies that are believed unless the file says which: loopback and private networks.
var privateNetworks = []string{"127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"}

// realIP translates where the address of a client is taken from. docker_auth believes everybody.
func (t *dockerTranslation) realIP() {
	s := &t.from.Server
	if s.RealIPHeader == "" {
		if s.RealIPPos != 0 {
			t.warn("server.real_ip_pos", "has no effect without real_ip_header")
		}
		return
	}
	t.to.RealIP = config.RealIP{Header: s.RealIPHeader, Position: int(s.RealIPPos)}
	for _, p := range privateNetworks {
		t.to.TrustedProxies = append(t.to.TrustedProxies, config.Prefix(netip.MustParsePrefix(p)))
	}
	if hasKey(&t.from.Customhouse, "trusted_proxies") {
		return
	}
	first := ""
	if s.RealIPPos >= 0 {
		first = ", and of its list the clients of the proxy choose the first addresses themselves: real_ip_pos: -1 is what the nearest proxy has seen"
	}
	t.deviation("A4", `customhouse: {trusted_proxies: ["0.0.0.0/0", "::/0"]}`, "server.real_ip_header",
		"is believed from proxies in private networks and on this machine only; list yours in customhouse: {trusted_proxies: [...]}%s", first)
}

// letsEncrypt translates the section letsencrypt, which counts where there is no certificate.
func (t *dockerTranslation) letsEncrypt() {
	s, l := &t.from.Server, &t.from.Server.LetsEncrypt
	if l.Email == "" {
		if *l != (dockerLetsEn{}) {
			t.wrong("server.letsencrypt.email", "is required")
		}
		return
	}
	if s.Certificate != "" || s.Key != "" {
		t.warn("server.letsencrypt", "has no effect beside certificate and key")
		return
	}
	t.require("server.letsencrypt.cache_dir", l.CacheDir != "")
	if l.Host == "" {
		t.wrong("server.letsencrypt.host", "is required: without it everybody who connects can have certificates asked for in your name")
	} else {
		t.to.TLS.ACME.Hosts = []string{l.Host}
	}
	t.to.TLS.ACME.Email, t.to.TLS.ACME.Cache = l.Email, t.absolute(l.CacheDir)
	t.deviation("A17", "remove letsencrypt", "server.letsencrypt", "TLS is spoken, as documented; docker_auth spoke plain HTTP here")
}

// dockerVersions are the names that docker_auth has for versions of TLS.
var dockerVersions = map[string]uint16{
	"SSL30": 0x0300, "TLS10": tls.VersionTLS10, "TLS11": tls.VersionTLS11, "TLS12": tls.VersionTLS12, "TLS13": tls.VersionTLS13,
}

// tlsVersion translates the lowest version of TLS.
func (t *dockerTranslation) tlsVersion(name string) {
	if name == "" {
		return
	}
	version, ok := number(name, dockerVersions)
	switch {
	case !ok || version < 0x0300 || version > tls.VersionTLS13:
		t.wrong("server.tls_min_version", "want TLS12 or TLS13")
	case version == tls.VersionTLS13:
		t.to.TLS.Minimum = "1.3"
	case version < tls.VersionTLS12:
		t.warn("server.tls_min_version", "nothing older than TLS 1.2 is spoken")
	}
}

// dockerCurves are the names that docker_auth has for curves.
var dockerCurves = map[string]uint16{
	"P256": uint16(tls.CurveP256), "P384": uint16(tls.CurveP384), "P521": uint16(tls.CurveP521), "X25519": uint16(tls.X25519),
}

// curveName returns our name of a curve, which is docker_auth's but for the one that it does not know.
func curveName(id uint16) string {
	for name, known := range dockerCurves {
		if known == id {
			return name
		}
	}
	return tls.CurveID(id).String()
}

// dockerSuites are the names that docker_auth has for cipher suites where they are not those of IANA.
var dockerSuites = map[string]uint16{
	"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305":   tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
}

// renamed translates a list of names, or of the numbers that they stand for. What it does not know it leaves, for the
// check of the result to name.
func renamed(list []string, known map[string]uint16, name func(uint16) string) []string {
	list = slices.Clone(list)
	for i, s := range list {
		if n, ok := number(s, known); ok {
			list[i] = name(n)
		}
	}
	return list
}

// number returns the number that s is or that known has for it.
func number(s string, known map[string]uint16) (uint16, bool) {
	if n, ok := known[s]; ok {
		return n, true
	}
	n, err := strconv.ParseUint(s, 0, 16)
	return uint16(n), err == nil
}

// Bounds on how long our tokens are valid.
const (
	minExpiration = time.Minute
	maxExpiration = 24 * time.Hour
)

// token translates the section token.
func (t *dockerTranslation) token() {
	k, to := &t.from.Token, &t.to.Token
	t.require("token.issuer", k.Issuer != "")
	to.Issuer = k.Issuer
	to.Services = []string{"*"}
	t.expiration(k.Expiration)
	t.pair("token", k.Certificate, k.Key)
	if k.Key == "" && k.Certificate == "" && t.from.Server.Key == "" && t.from.Server.Certificate == "" {
		t.wrong("token", "no certificate and key that sign tokens: set token.certificate and token.key, or those of server")
	}
	to.Certificate = cmp.Or(t.path("token.certificate", k.Certificate), t.to.TLS.Certificate)
	to.Key = cmp.Or(t.path("token.key", k.Key), t.to.TLS.Key)
	to.Algorithm = "" // that of the key
	to.KeyID = "libtrust"
	if k.DisableLegacyKeyID {
		to.KeyID = "thumbprint"
		t.deviation("A8", "customhouse: {token: {x5c: true}}, which distribution 3.0.0 takes too", "token.disable_legacy_key_id",
			"with an EC key the id is that of the key, as distribution 3.1 has it; docker_auth and distribution 3.0.0 had one id for all keys of a curve")
	}
}

// expiration translates how long tokens are valid, in seconds.
func (t *dockerTranslation) expiration(seconds integer) {
	if seconds <= 0 {
		t.wrong("token.expiration", "want a number of seconds above 0")
		return
	}
	t.to.Token.Expiration = min(max(time.Duration(min(seconds, 1<<32))*time.Second, minExpiration), maxExpiration)
	if want := integer(t.to.Token.Expiration / time.Second); want != seconds {
		t.warn("token.expiration", "tokens are valid for %d seconds: clients count on one minute, and what is longer than a day cannot be taken back", want)
	}
	t.to.Token.RefreshExpiration = max(t.to.Token.RefreshExpiration, t.to.Token.Expiration)
}
