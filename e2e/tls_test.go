//go:build linux

package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"testing"
	"time"
)

func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca, certificate, key := issueCertificate(t, dir)
	config := write(t, dir, "customhouse.yml",
		read(t, "testdata/people.yml")+fmt.Sprintf("\ntls: {certificate: %s, key: %s}\n", certificate, key))
	s, l := serve(t, config), newLayout(t)
	if want := "https://" + s.host; s.url != want {
		t.Fatalf("listening on %s, want %s", s.url, want)
	}
	trust := "SSL_CERT_FILE=" + ca
	distrust := []string{"certificate signed by unknown authority"}

	t.Run("crane", func(t *testing.T) {
		crane := newCrane(t)
		crane.run(t, "auth", "login", s.host, "-u", "writer", "-p", "writer-secret")
		crane.with(trust).run(t, "push", l.dir, s.host+"/acc/tls/crane:v1")
		wantDigest(t, crane.with(trust).run(t, "digest", s.host+"/acc/tls/crane:v1"), l.index.Digest)
		// crane tries http after https on a loopback address, so both must fail
		crane.refuse(t, distrust, "digest", s.host+"/acc/tls/crane:v1")
	})
	t.Run("skopeo", func(t *testing.T) {
		newSkopeo(t).refuse(t, distrust, "login", "-u", "writer", "-p", "writer-secret", s.host)
		trusting := newSkopeo(t).with(trust)
		trusting.run(t, "login", "-u", "writer", "-p", "writer-secret", s.host)
		trusting.run(t, "copy", "--all", "oci:"+l.dir+":multi", "docker://"+s.host+"/pub/tls/skopeo:v1")
		raw := newSkopeo(t).with(trust).content(t, "inspect", "--raw", "docker://"+s.host+"/pub/tls/skopeo:v1")
		wantDigest(t, sha256sum([]byte(raw)), l.index.Digest)
		newSkopeo(t).refuse(t, distrust, "inspect", "--raw", "docker://"+s.host+"/pub/tls/skopeo:v1")
	})
	t.Run("oras", func(t *testing.T) {
		oras := newOras(t)
		oras.refuse(t, distrust, "login", "-u", "writer", "-p", "writer-secret", s.host)
		oras.run(t, "login", "--ca-file="+ca, "-u", "writer", "-p", "writer-secret", s.host)
		oras.run(t, "cp", "--from-oci-layout", "--to-ca-file="+ca, l.dir+":multi", s.host+"/acc/tls/oras:v1")
	})
	t.Run("regctl", func(t *testing.T) {
		regctl := newRegctl(t, s).with(trust)
		regctl.run(t, "registry", "login", s.host, "-u", "writer", "-p", "writer-secret")
		regctl.run(t, "image", "copy", "ocidir://"+l.dir+":multi", s.host+"/acc/tls/regctl:v1")
		dir := filepath.Join(t.TempDir(), "pulled")
		regctl.run(t, "image", "copy", s.host+"/acc/tls/regctl:v1", "ocidir://"+dir+":v1")
		l.wantPulled(t, dir, l.index)
	})
	// dockerd verifies no certificate on 127.0.0.0/8, so this says that the protocol works and not that the CA is used.
	t.Run("docker", func(t *testing.T) {
		needRoot(t)
		docker := startDockerd(t).newClient(t)
		docker.reads("writer-secret").run(t, "login", "-u", "writer", "--password-stdin", s.host)
		name := s.host + "/acc/tls/docker:v1"
		image := docker.buildImage(t, name)
		docker.run(t, "push", name)
		docker.run(t, "rmi", name)
		docker.run(t, "pull", name)
		wantDigest(t, docker.imageID(t, name), image)
	})
}

// issueCertificate writes a throw-away CA, and a certificate of 127.0.0.1 and localhost that it signed with its key.
func issueCertificate(t *testing.T, dir string) (ca, certificate, key string) {
	t.Helper()
	caKey, serverKey := newKey(t), newKey(t)
	root := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "customhouse e2e CA"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: "localhost"},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:    root.NotBefore,
		NotAfter:     root.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(serverKey)
	if err != nil {
		t.Fatal(err)
	}
	ca = writePEM(t, dir, "ca.pem", "CERTIFICATE", sign(t, root, root, caKey, caKey))
	certificate = writePEM(t, dir, "server.pem", "CERTIFICATE", sign(t, leaf, root, serverKey, caKey))
	key = writePEM(t, dir, "server.key", "PRIVATE KEY", pkcs8)
	return ca, certificate, key
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, certificate, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, certificate, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func writePEM(t *testing.T, dir, name, kind string, der []byte) (path string) {
	t.Helper()
	return write(t, dir, name, string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
}
