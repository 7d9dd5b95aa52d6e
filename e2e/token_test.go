//go:build linux

package e2e_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// tokenKey writes a private key in one of the forms that docker_auth takes, and its certificate, followed by that of its
// issuer, which is the file ca.
func tokenKey(t *testing.T, dir string, key crypto.Signer) (ca, certificate, private string) {
	t.Helper()
	caKey := newKey(t)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tokens e2e CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "tokens e2e"}, NotBefore: root.NotBefore, NotAfter: root.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	rootDER := sign(t, root, root, caKey, caKey)
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, key.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	ca = write(t, dir, "ca.pem", block("CERTIFICATE", rootDER))
	certificate = write(t, dir, "token.crt", block("CERTIFICATE", leafDER)+block("CERTIFICATE", rootDER))
	switch k := key.(type) {
	case *rsa.PrivateKey:
		private = write(t, dir, "token.key", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k)))
	case *ecdsa.PrivateKey:
		der, err := x509.MarshalECPrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		private = write(t, dir, "token.key", block("EC PRIVATE KEY", der))
	}
	return ca, certificate, private
}

// tokenServer starts customhouse as the token service of the registry "Docker registry".
func tokenServer(t *testing.T, dir, private, certificate, more string) *server {
	t.Helper()
	section := fmt.Sprintf("\ntoken: {issuer: Auth Service, services: [Docker registry], key: %q, certificate: %q%s}\n", private, certificate, more)
	return serve(t, write(t, dir, "customhouse.yml", read(t, "testdata/people.yml")+section))
}

// fetchToken returns a token for the registry, for one scope.
func fetchToken(t *testing.T, a *api, service, scope string) http.Header {
	t.Helper()
	got, err := a.get("/token?" + url.Values{"service": {service}, "scope": {scope}}.Encode())
	if err == nil {
		err = got.is(200)
	}
	var body struct{ Token string }
	if err == nil {
		err = json.Unmarshal(got.body, &body)
	}
	if err != nil {
		t.Fatalf("token: %v", err)
	}
	return http.Header{"Authorization": {"Bearer " + body.Token}}
}

// distributionListens is where a registry of CNCF distribution tells its address.
var distributionListens = regexp.MustCompile(`listening on (127\.0\.0\.1:\d+)`)

// stockRegistry starts a registry of CNCF distribution that trusts a file of certificates, and returns its URL.
func stockRegistry(t *testing.T, program, realm, bundle string) string {
	t.Helper()
	dir := t.TempDir()
	config := write(t, dir, "config.yml", fmt.Sprintf(`version: 0.1
storage: {filesystem: {rootdirectory: %q}}
http: {addr: "127.0.0.1:0"}
auth: {token: {realm: %s, service: Docker registry, issuer: Auth Service, rootcertbundle: %q}}
`, filepath.Join(dir, "data"), realm, bundle))
	p := start(t, program, []string{"serve", config}, []string{"OTEL_TRACES_EXPORTER=none"})
	t.Cleanup(p.kill) // it ends by the signal, which would count as a failure
	var match []string
	p.await(t, func() bool {
		match = distributionListens.FindStringSubmatch(p.all.String())
		return match != nil
	})
	return "http://" + match[1]
}

// TestTokensForStockRegistries lets registries of others verify our tokens: by the name of the key that they know, and by
// the chain of certificates.
func TestTokensForStockRegistries(t *testing.T) {
	const old, fresh = "docker-registry", "registry" // of distribution 2.8 and 3
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		program string
		key     crypto.Signer
		more    string
		root    bool // the registry trusts the issuer of certificates, else the key's own certificate
	}{
		{"2.8 by libtrust, RSA", old, rsaKey, ", key_id: libtrust", false},
		{"2.8 by libtrust, EC", old, newKey(t), ", key_id: libtrust", false},
		{"2.8 by x5c, EC", old, p384, ", key_id: libtrust, x5c: true", true},
		{"3 by thumbprint, RSA", fresh, rsaKey, "", false},
		{"3 by thumbprint, EC", fresh, p384, "", false},
		{"3 by x5c, RSA", fresh, rsaKey, ", x5c: true", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			program := need(t, tt.program)
			dir := t.TempDir()
			ca, certificate, private := tokenKey(t, dir, tt.key)
			s := tokenServer(t, dir, private, certificate, tt.more)
			bundle := certificate
			if tt.root {
				bundle = ca
			}
			registry := newAPI(t, stockRegistry(t, program, s.url+"/token", bundle))
			writer := newAPI(t, s.url).as("writer")
			begin := func(header http.Header, status int) {
				t.Helper()
				got, err := registry.do("POST", "/v2/acc/app/blobs/uploads/", header, nil)
				if err == nil {
					err = got.is(status)
				}
				if err != nil {
					t.Fatalf("begin an upload: %v", err)
				}
			}
			begin(nil, 401)
			begin(fetchToken(t, writer, "Docker registry", "repository:acc/app:pull,push"), 202)
			begin(fetchToken(t, newAPI(t, s.url).as("reader"), "Docker registry", "repository:acc/app:pull,push"), 401)
			begin(fetchToken(t, writer, "customhouse", "repository:acc/app:pull,push"), 401) // for our own registry
		})
	}
}

// TestTokensOfOthers starts a registry that trusts another's token service, and brings it tokens as docker_auth makes them
// and as token services with chains do. The other's key set, by URL, is served by a token service of ours.
func TestTokensOfOthers(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		key   crypto.Signer
		more  string // of the token service
		trust string // keys of the registry; of CERTIFICATE, that of its issuer ROOT, and the token service at URL
	}{
		{"legacy id, RSA, by certificate", rsaKey, ", key_id: libtrust", "certificates: CERTIFICATE"},
		{"thumbprint, EC, by certificate", newKey(t), "", "certificates: CERTIFICATE"},
		{"chain, EC, by its root", newKey(t), ", x5c: true", "certificates: ROOT"},
		{"thumbprint, RSA, by URL", rsaKey, "", "jwks_url: URL/.well-known/jwks.json"},
		{"legacy id, EC, by URL", newKey(t), ", key_id: libtrust", "jwks_url: URL/.well-known/jwks.json"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			ca, certificate, private := tokenKey(t, dir, tt.key)
			issuer := tokenServer(t, dir, private, certificate, tt.more)
			keys := strings.NewReplacer("CERTIFICATE", strconv.Quote(certificate), "ROOT", strconv.Quote(ca), "URL", issuer.url).Replace(tt.trust)
			registry := serve(t, write(t, t.TempDir(), "customhouse.yml", fmt.Sprintf(
				"listen: 127.0.0.1:0\nauth: {accounts: false}\ntoken: {trust: [{issuer: Auth Service, service: Docker registry, realm: %s/token, %s}]}\n", issuer.url, keys)))

			a := newAPI(t, registry.url)
			got, err := a.get("/v2/")
			if err != nil {
				t.Fatal(err)
			}
			if c, want := got.header.Get("WWW-Authenticate"), `Bearer realm="`+issuer.url+`/token",service="Docker registry"`; got.status != 401 || c != want {
				t.Fatalf("/v2/ = %d, %s, want the challenge %s", got.status, c, want)
			}

			// By hand: clients refuse a realm on another private address, such as the two that a test has.
			as := func(name, scope string) http.Header {
				t.Helper()
				return fetchToken(t, newAPI(t, issuer.url).as(name), "Docker registry", scope)
			}
			for _, step := range []struct {
				name, scope, method, path string
				want                      int
			}{
				{"writer", "repository:acc/app:pull,push", "POST", "/v2/acc/app/blobs/uploads/", 202},
				{"writer", "repository:acc/app:pull,push", "POST", "/v2/acc/other/blobs/uploads/", 401},
				{"writer", "repository:acc/app:pull", "POST", "/v2/acc/app/blobs/uploads/", 401},
				{"reader", "repository:acc/app:pull,push", "POST", "/v2/acc/app/blobs/uploads/", 401},
				{"reader", "repository:acc/app:pull,push", "GET", "/v2/acc/app/tags/list", 404},
				{"reader", "", "GET", "/v2/", 200},
				{"", "repository:pub/app:pull", "GET", "/v2/pub/app/tags/list", 404},
				{"", "repository:acc/app:pull", "GET", "/v2/acc/app/tags/list", 401},
				{"writer", "registry:catalog:*", "GET", "/v2/_catalog", 200},
				{"reader", "registry:catalog:*", "GET", "/v2/_catalog", 401},
			} {
				got, err := a.do(step.method, step.path, as(step.name, step.scope), nil)
				if err == nil {
					err = got.is(step.want)
				}
				if err != nil {
					t.Errorf("%s %s by %q with %s: %v", step.method, step.path, step.name, step.scope, err)
				}
			}
			if got, err := a.do("GET", "/v2/", fetchToken(t, newAPI(t, issuer.url).as("writer"), "customhouse", ""), nil); err != nil || got.status != 401 {
				t.Errorf("/v2/ with a token for another service = %d, %v, want 401", got.status, err)
			}
		})
	}
}
