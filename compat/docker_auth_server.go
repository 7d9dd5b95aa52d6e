package compat

import (
	"crypto/tls"
	"strconv"
	"time"
)

// server translates the address, TLS and what stands in front.
func (t *dockerTranslation) server() {
	s := &t.from.Server
	t.require("server.addr", s.Addr != "")
	t.to.Listen = s.Addr
	t.to.AllowPlaintext = s.Certificate == ""
	t.pair("server", s.Certificate, s.Key)
	t.to.TLS.Certificate = t.path("server.certificate", s.Certificate)
	t.to.TLS.Key = t.path("server.key", s.Key)
	t.tlsVersion(s.TLSMinimum)
}

// tlsVersions are the names that docker_auth has for versions of TLS.
var tlsVersions = map[string]uint16{
	"SSL30": 0x0300, "TLS10": tls.VersionTLS10, "TLS11": tls.VersionTLS11, "TLS12": tls.VersionTLS12, "TLS13": tls.VersionTLS13,
}

// tlsVersion translates the lowest version of TLS.
func (t *dockerTranslation) tlsVersion(name string) {
	if name == "" {
		return
	}
	version, ok := number(tlsVersions, name)
	switch {
	case !ok:
		t.wrong("server.tls_min_version", "want TLS12 or TLS13")
	case version == tls.VersionTLS13:
		t.to.TLS.Minimum = "1.3"
	case version < tls.VersionTLS12:
		t.warn("server.tls_min_version", "the lowest version of TLS is 1.2; nothing older is spoken")
	}
}

// number returns what names call name, or the number of 16 bits that it is.
func number(names map[string]uint16, name string) (uint16, bool) {
	if n, ok := names[name]; ok {
		return n, true
	}
	n, err := strconv.ParseUint(name, 0, 16)
	return uint16(n), err == nil
}

// token translates the section token.
func (t *dockerTranslation) token() {
	k := &t.from.Token
	t.require("token.issuer", k.Issuer != "")
	t.to.Token.Issuer = k.Issuer
	if k.Expiration <= 0 {
		t.wrong("token.expiration", "want a number of seconds above 0")
	} else {
		t.to.Token.Expiration = time.Duration(k.Expiration) * time.Second
	}
	t.pair("token", k.Certificate, k.Key)
	if k.Key == "" && k.Certificate == "" {
		t.to.Token.Key = t.to.TLS.Key
		if t.from.Server.Key == "" && t.from.Server.Certificate == "" {
			t.wrong("token", "no certificate and key that sign tokens: set token.certificate and token.key, or those of server")
		}
		return
	}
	t.to.Token.Key = t.path("token.key", k.Key)
	t.path("token.certificate", k.Certificate)
}
