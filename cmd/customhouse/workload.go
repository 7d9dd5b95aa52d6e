package main

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"time"

	"customhouse/config"
	"customhouse/gate"
	"customhouse/outbound"
	"customhouse/token"
)

// workloads builds the issuers of JWTs that say which program their bearer is.
func (p parts) workloads(c *config.Config) ([]*gate.Workload, error) {
	var all []*gate.Workload
	remotes := map[keysOf]*token.Remote{}
	for i, w := range c.Auth.Workload {
		built, err := p.workload(w, remotes)
		if err != nil {
			return nil, fmt.Errorf("auth.workload[%d]: %w", i, err)
		}
		all = append(all, built)
	}
	clear(p.issuers) // of those that are configured no more
	maps.Copy(p.issuers, remotes)
	return all, nil
}

func (p parts) workload(w config.Workload, remotes map[keysOf]*token.Remote) (*gate.Workload, error) {
	o := token.TrustOptions{Issuer: w.Issuer, Service: w.Audience}
	var err error
	if o.Algorithms, err = token.ParseAlgorithms(w.Algorithms); err != nil {
		return nil, err
	}
	if w.JWKS != "" {
		o.Keys, err = token.LoadKeySet(w.JWKS)
	} else {
		o.Remote, err = p.keysOf(w, remotes)
	}
	if err != nil {
		return nil, err
	}
	trust, err := token.NewTrust(o)
	if err != nil {
		return nil, err
	}
	return gate.NewWorkload(trust, gate.WorkloadOptions{
		Name: w.Name, Account: w.Account, Labels: w.Labels, Require: w.Require, Claims: w.Claims, MaxAge: w.MaxAge,
	})
}

// keysOf tells the key sets of issuers apart.
type keysOf struct {
	address  string
	discover bool
	token    string            // file with what it is got with
	roots    [sha256.Size]byte // of the file that says who may vouch for its server; zero for those of the system
}

// keysOf returns the key set of an issuer: that of before, so that what it knows outlives a reload, or another.
func (p parts) keysOf(w config.Workload, remotes map[keysOf]*token.Remote) (*token.Remote, error) {
	key := keysOf{address: cmp.Or(w.JWKSURL, w.Issuer), discover: w.JWKSURL == "", token: w.TokenFile}
	var roots *x509.CertPool
	if w.CA != "" {
		text, err := os.ReadFile(w.CA)
		if err != nil {
			return nil, err
		}
		if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("no certificate in %s", w.CA)
		}
		key.roots = sha256.Sum256(text)
	}
	remote := cmp.Or(remotes[key], p.issuers[key])
	if remote == nil {
		var err error
		remote, err = token.NewRemote(key.address, token.RemoteOptions{
			Discover: key.discover, TokenFile: w.TokenFile, Transport: keysTransport(roots, w.Issuer, w.JWKSURL), Log: p.log,
		})
		if err != nil {
			return nil, err
		}
	}
	remotes[key] = remote
	return remote, nil
}

// certificatesOf builds what knows clients by the certificate that they show, nil for nothing.
func certificatesOf(c *config.Config) (*gate.Certificates, error) {
	s := c.Auth.Certificates
	if s.Account == "" {
		return nil, nil
	}
	roots, err := clientCAs(c.TLS)
	if err != nil {
		return nil, err
	}
	return gate.NewCertificates(roots, gate.CertificateOptions{Account: s.Account, Labels: s.Labels, Require: s.Require})
}

// keysTransport reaches the hosts of urls wherever they are: the operator has named them. Others, which an issuer may send
// us to, it reaches in public networks only.
func keysTransport(roots *x509.CertPool, urls ...string) http.RoundTripper {
	var hosts []string
	for _, text := range urls {
		if u, err := url.Parse(text); err == nil {
			hosts = append(hosts, u.Hostname())
		}
	}
	named := outbound.NewNamed(0, "jwks_url", hosts...)
	return &http.Transport{
		Proxy: named.Proxy, DialContext: named.DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 5 * time.Second,
		TLSClientConfig:    &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DisableCompression: true, MaxIdleConns: 1, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10,
	}
}
