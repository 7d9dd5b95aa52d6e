package compat

import (
	"fmt"
	"net"
	"os"
	"strings"

	"customhouse/config"
)

// http translates the section http.
func (t *distributionTranslation) http() {
	h := t.from.HTTP
	t.require("http.addr", h.Addr != "")
	t.to.Listen = h.Addr
	switch h.Net {
	case "", "tcp":
	case "unix":
		t.to.Listen = "unix:" + h.Addr
	default:
		t.wrong("http.net", "want tcp or unix")
	}
	t.to.PublicURL = h.Host
	t.prefix(h.Prefix)
	if h.Secret != "" {
		t.warn("http.secret", "is not needed: uploads go on wherever the index is")
	}
	if t.file.Has("http.relativeurls") && !bool(h.RelativeURLs) {
		t.warn("http.relativeurls", "has no effect: addresses that clients are told are always relative")
	}
	if t.file.Has("http.draintimeout") {
		t.to.Drain = t.duration("http.draintimeout", h.Drain, 0)
	}
	t.to.HTTP.Headers = h.Headers
	t.to.HTTP.Debug = h.Debug.Addr
	switch p := h.Debug.Prometheus; {
	case h.Debug.Addr != "" && !bool(p.Enabled):
		t.to.HTTP.Metrics = ""
	case p.Path != "":
		t.to.HTTP.Metrics = p.Path
	}
	t.to.HTTP.HTTP2, t.to.HTTP.H2C = !bool(h.HTTP2.Disabled), bool(h.H2C.Enabled)
	t.tls(h.TLS)
	t.plaintext()
}

// prefix translates what stands before every path, which distribution wants with slashes around it.
func (t *distributionTranslation) prefix(prefix string) {
	if prefix != "" && !strings.HasPrefix(prefix, "/") {
		t.wrong("http.prefix", "want a path that begins with a slash, such as /registry/")
	}
	t.to.HTTP.Prefix = strings.TrimSuffix(prefix, "/")
}

// tls translates the section http.tls.
func (t *distributionTranslation) tls(s dTLS) {
	t.pair("http.tls", s.Certificate, s.Key)
	t.to.TLS.Certificate = t.path("http.tls.certificate", s.Certificate)
	t.to.TLS.Key = t.path("http.tls.key", s.Key)
	switch s.Minimum {
	case "", "tls1.2":
	case "tls1.3":
		t.to.TLS.Minimum = "1.3"
	case "tls1.0", "tls1.1":
		t.warn("http.tls.minimumtls", "the lowest version of TLS is 1.2; nothing older is spoken")
	default:
		t.wrong("http.tls.minimumtls", "want tls1.2 or tls1.3")
	}
	t.to.TLS.CipherSuites = s.Suites
	for i, file := range s.ClientCAs {
		t.to.TLS.ClientCAs = append(t.to.TLS.ClientCAs, t.path(fmt.Sprintf("http.tls.clientcas[%d]", i), file))
	}
	t.clientAuth(s)
	if l := s.LetsEncrypt; len(l.Hosts) > 0 || l.Email != "" || l.CacheFile != "" {
		t.to.TLS.ACME = config.ACME{Hosts: l.Hosts, Email: l.Email, Directory: l.Directory}
		if l.CacheFile != "" {
			t.to.TLS.ACME.Cache = t.absolute(l.CacheFile)
			if info, err := os.Stat(t.to.TLS.ACME.Cache); t.checkFiles && err == nil && !info.IsDir() {
				t.wrong("http.tls.letsencrypt.cachefile", "is a file, as 2.x kept certificates in; name a folder, which is made if it is not there")
			}
		}
	}
}

// clientAuth translates whether clients need a certificate.
func (t *distributionTranslation) clientAuth(s dTLS) {
	ways := map[string]string{
		"request-client-cert": "request", "require-any-client-cert": "any", "verify-client-cert-if-given": "verify",
		"require-and-verify-client-cert": "require",
	}
	way, ok := ways[s.ClientAuth]
	switch {
	case s.ClientAuth == "" && len(s.ClientCAs) > 0:
		t.to.TLS.ClientAuth = "require"
	case s.ClientAuth == "":
	case !ok:
		t.wrong("http.tls.clientauth", "want request-client-cert, require-any-client-cert, verify-client-cert-if-given or require-and-verify-client-cert")
	case way == "any":
		t.wrong("http.tls.clientauth", "takes any certificate, whoever issued it, which proves nothing; want require-and-verify-client-cert with clientcas")
	default:
		t.to.TLS.ClientAuth = way
	}
}

// plaintext tells of an address that is served without TLS, which distribution does without a word.
func (t *distributionTranslation) plaintext() {
	if t.to.TLS.Enabled() || t.from.HTTP.Net == "unix" {
		return
	}
	host, _, err := net.SplitHostPort(t.to.Listen)
	if ip := net.ParseIP(host); err != nil || host == "localhost" || ip != nil && ip.IsLoopback() {
		return
	}
	t.to.AllowPlaintext = true
	t.warn("http.addr", "serves beyond loopback without TLS: passwords and tokens cross the network readable, unless a proxy in front adds TLS")
}
