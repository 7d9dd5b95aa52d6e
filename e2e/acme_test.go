//go:build linux

package e2e_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// freePort returns a port that nobody listens on at present.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	_, port, err := net.SplitHostPort(l.Addr().String())
	must(t, err, l.Close())
	return port
}

// startPebble starts an authority that speaks ACME, and a name server by which every host is this machine. Servers that
// it sends to listen on tlsPort. It returns its directory and what its certificate is checked with.
func startPebble(t *testing.T, tlsPort string) (directory, ca string) {
	t.Helper()
	pebble, names := need(t, "pebble"), need(t, "pebble-challtestsrv")
	dir := t.TempDir()
	ca, certificate, key := issueCertificate(t, dir)
	dns := "127.0.0.1:" + freePort(t)
	resolver := start(t, names, []string{"-dnsserver", dns, "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "",
		"-management", "127.0.0.1:" + freePort(t)}, nil)
	address := "127.0.0.1:" + freePort(t)
	config := write(t, dir, "pebble.json", fmt.Sprintf(
		`{"pebble": {"listenAddress": %q, "managementListenAddress": "127.0.0.1:%s", "certificate": %q, "privateKey": %q, "httpPort": 1, "tlsPort": %s}}`,
		address, freePort(t), certificate, key, tlsPort))
	p := start(t, pebble, []string{"-config", config, "-dnsserver", dns}, []string{"PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0"})
	t.Cleanup(func() { // SIGTERM is an error to both
		p.kill()
		resolver.kill()
	})
	p.await(t, func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return "https://" + address + "/dir", ca
}

// S85: with letsencrypt the service speaks TLS, with a certificate that it has got itself, and nothing else. (docker_auth
// speaks plain HTTP there.)
func TestS85_AuthServerLetsEncrypt(t *testing.T) {
	t.Parallel()
	const host = "auth.example.com"
	port := freePort(t)
	directory, ca := startPebble(t, port)
	dir, _ := newAuthDir(t, true)
	cache := filepath.Join(t.TempDir(), "made", "by it")
	config := write(t, dir, "acme.yml", authConfig(t, dir, true,
		"server:\n  addr: 127.0.0.1:"+port+"\n  letsencrypt: {email: ops@example.com, cache_dir: \""+cache+"\", host: "+host+"}\n"+
			"customhouse: {tls: {acme: {directory: \""+directory+"\", ca: "+ca+"}}}\n"))
	serveAuth(t, nil, config)
	shake := func(name string) (tls.ConnectionState, error) {
		c, err := tls.DialWithDialer(&net.Dialer{Timeout: 20 * time.Second}, "tcp", "127.0.0.1:"+port, &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err != nil {
			return tls.ConnectionState{}, err
		}
		defer c.Close()
		return c.ConnectionState(), nil
	}
	state, err := shake(host)
	must(t, err)
	if leaf := state.PeerCertificates[0]; leaf.VerifyHostname(host) != nil || !strings.Contains(leaf.Issuer.CommonName, "Pebble") {
		t.Errorf("certificate of %s for %v, want Pebble's for %s", leaf.Issuer.CommonName, leaf.DNSNames, host)
	}
	if _, err := shake("other.example.com"); err == nil {
		t.Error("a certificate for a host that is not ours")
	}
	res, err := http.Get("http://127.0.0.1:" + port + "/auth")
	must(t, err)
	res.Body.Close()
	if res.StatusCode != 400 {
		t.Errorf("status without TLS = %d, want 400", res.StatusCode)
	}
	kept, err := filepath.Glob(filepath.Join(cache, host+"*"))
	must(t, err)
	if len(kept) == 0 {
		t.Error("the certificate is not kept for the next start")
	}
}
