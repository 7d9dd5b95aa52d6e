//go:build linux

package e2e_test

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ca is an authority of a test.
type ca struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	file        string
}

func newCA(t *testing.T, dir, name string) ca {
	t.Helper()
	key := newKey(t)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der := sign(t, root, root, key, key)
	c, err := x509.ParseCertificate(der)
	must(t, err)
	return ca{c, key, writePEM(t, dir, name+".pem", "CERTIFICATE", der)}
}

// issue writes a certificate and its key.
func (a ca) issue(t *testing.T, dir, name string, template x509.Certificate) (certificate, key string) {
	t.Helper()
	private := newKey(t)
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(time.Now().UnixNano()), a.certificate.NotBefore, a.certificate.NotAfter
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	return writePEM(t, dir, name+".cert", "CERTIFICATE", sign(t, &template, a.certificate, private, a.key)), writePEM(t, dir, name+".key", "PRIVATE KEY", pkcs8)
}

func clientOf(cn, ou string) x509.Certificate {
	return x509.Certificate{Subject: pkix.Name{CommonName: cn, OrganizationalUnit: []string{ou}}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
}

const ofCertificates = `
tls: {certificate: %s, key: %s, client_cas: [%s], client_auth: verify}
auth:
  anonymous: true
  certificates:
    account: cert:${cn}
    require: {ou: robots}
    labels: {group: "${ou}"}
  users:
    writer: {password: "$2a$10$EOwGQA3pGWm3mo4ncSaeXe66onyxKd3vQzgJTS1oNK8Inml3IPxKK"}
rules:
  - match: {account: "cert:ci", labels: {group: robots}, name: "ci/**"}
    actions: [pull, push]
  - match: {account: writer, name: "acc/**"}
    actions: [pull, push]
`

// TestS86_Docker: docker pushes without a login where it has a certificate for the registry, in /etc/docker/certs.d.
func TestS86_Docker(t *testing.T) {
	t.Parallel()
	w, dir := newWorld(t), t.TempDir()
	servers, clients := newCA(t, dir, "servers"), newCA(t, dir, "clients")
	certificate, key := servers.issue(t, dir, "server", x509.Certificate{IPAddresses: []net.IP{net.ParseIP(elsewhere)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	host := elsewhere + ":5443"
	config := write(t, dir, "customhouse.yml", fmt.Sprintf(ofCertificates, certificate, key, clients.file))
	line := append(w.network(t), binary, "serve", "--listen", host, "--data", t.TempDir(), "-c", config)
	p := start(t, line[0], line[1:], []string{"HOME=" + t.TempDir()})
	p.await(t, func() bool { return strings.Contains(p.stdout.String(), "listening on https://"+host) })

	shown := filepath.Join(dir, "certs.d", host)
	must(t, os.MkdirAll(shown, 0o700))
	clients.issue(t, shown, "client", clientOf("ci", "robots"))
	write(t, shown, "ca.crt", read(t, servers.file))
	enter := w.network(t)
	client{path: enter[0], args: enter[1:]}.run(t, "sh", "-c", `mkdir -p /etc/docker && mount -t tmpfs tmpfs /etc/docker && cp -r "$1" /etc/docker/certs.d`, "sh", filepath.Join(dir, "certs.d"))

	docker := startDockerdUnder(t, w.network(t)).newClient(t)
	image := docker.buildImage(t, host+"/ci/app:v1")
	docker.run(t, "push", host+"/ci/app:v1")
	docker.run(t, "rmi", host+"/ci/app:v1")
	docker.run(t, "pull", host+"/ci/app:v1")
	wantDigest(t, docker.imageID(t, host+"/ci/app:v1"), image)
	docker.run(t, "tag", host+"/ci/app:v1", host+"/acc/app:v1")
	docker.refuse(t, denied, "push", host+"/acc/app:v1")
	// docker sends no password where it is not asked for one, and who is known by a certificate is not.
	docker.reads("writer-secret").run(t, "login", "-u", "writer", "--password-stdin", host)
	docker.refuse(t, denied, "push", host+"/acc/app:v1")
}

// TestS86_Handshake: who is known by a certificate, who is not, and for whom a token is.
func TestS86_Handshake(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	servers, clients, others := newCA(t, dir, "servers"), newCA(t, dir, "clients"), newCA(t, dir, "others")
	certificate, key := servers.issue(t, dir, "server", x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	config := write(t, dir, "customhouse.yml", fmt.Sprintf(ofCertificates, certificate, key, clients.file))
	s := serve(t, config)
	shows := func(a ca, name string, template x509.Certificate) *http.Client {
		t.Helper()
		trust := &tls.Config{RootCAs: x509.NewCertPool()}
		trust.RootCAs.AddCert(servers.certificate)
		if name != "" {
			certificate, key := a.issue(t, dir, name, template)
			pair, err := tls.LoadX509KeyPair(certificate, key)
			must(t, err)
			trust.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
		transport := &http.Transport{TLSClientConfig: trust}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport, Timeout: time.Minute}
	}
	get := func(c *http.Client, path string, headers ...string) (status int, body string) {
		t.Helper()
		r, err := http.NewRequest("GET", s.url+path, nil)
		must(t, err)
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		res, err := c.Do(r)
		if err != nil {
			return 0, err.Error()
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		must(t, err)
		return res.StatusCode, string(text)
	}
	robot := shows(clients, "robot", clientOf("ci", "robots"))
	for name, tt := range map[string]struct {
		client *http.Client
		status int // of /v2/; 0: no connection
	}{
		"a robot": {robot, 200}, "a person": {shows(clients, "person", clientOf("ci", "people")), 401}, "no certificate": {shows(ca{}, "", x509.Certificate{}), 401},
		"another authority": {shows(others, "other", clientOf("ci", "robots")), 0},
		"one for servers":   {shows(clients, "wrong", x509.Certificate{Subject: clientOf("ci", "robots").Subject, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}), 0},
	} {
		if status, body := get(tt.client, "/v2/"); status != tt.status {
			t.Errorf("%s: GET = %d %s, want %d", name, status, body, tt.status)
		}
	}
	for _, headers := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}} {
		if status, _ := get(robot, "/v2/", headers...); status != 401 {
			t.Errorf("with %v: GET = %d, want 401", headers, status)
		}
	}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("writer:writer-secret"))
	for path, want := range map[string]int{"/v2/acc/app/tags/list": 404, "/v2/ci/app/tags/list": 403} { // a credential wins
		if status, body := get(robot, path, "Authorization", basic); status != want {
			t.Errorf("with a password: GET %s = %d %s, want %d", path, status, body, want)
		}
	}
	if status, _ := get(robot, "/v2/ci/app/tags/list", "Authorization", basic+"x"); status != 401 {
		t.Errorf("with a wrong password: GET = %d, want 401", status)
	}
	_, body := get(robot, "/token?service=customhouse&scope=repository:ci/app:pull,push")
	var answer struct{ Token string }
	must(t, json.Unmarshal([]byte(body), &answer))
	bearer := "Bearer " + answer.Token
	if status, _ := get(robot, "/v2/ci/app/tags/list", "Authorization", bearer); status != 404 {
		t.Errorf("with the token: GET = %d, want 404: there is nothing yet", status)
	}
	for name, c := range map[string]*http.Client{"no certificate": shows(ca{}, "", x509.Certificate{}), "a new one": shows(clients, "again", clientOf("ci", "robots"))} {
		if status, body := get(c, "/v2/ci/app/tags/list", "Authorization", bearer); status != 401 {
			t.Errorf("with the token and %s: GET = %d %s, want 401", name, status, body)
		}
	}
	// Connections that are there already count no more when the authority does not.
	replace(t, config, fmt.Sprintf(ofCertificates, certificate, key, others.file))
	await(t, 20*time.Second, func() bool { status, _ := get(robot, "/v2/"); return status == 401 })
}
