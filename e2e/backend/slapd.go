package backend

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
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// What every Slapd knows beside what is added: the suffix, who may change everything and who may read.
const (
	Suffix         = "dc=example,dc=org"
	AdminDN        = "cn=admin," + Suffix
	ReaderDN       = "cn=reader," + Suffix
	AdminPassword  = "admin-secret"
	ReaderPassword = "reader-secret"
)

// Slapd is an OpenLDAP server with the schemas cosine, inetOrgPerson and nis and the memberof overlay. Nobody may read
// without having bound.
type Slapd struct {
	*Process
	URL  string // ldap://127.0.0.1:PORT, with StartTLS
	TLS  string // ldaps://localhost:PORT
	TLS6 string // ldaps://[::1]:PORT, where there is IPv6
	CA   string // the file with the certificate of both, which is for localhost, 127.0.0.1 and ::1
	conn *ldap.Conn
}

// NewSlapd starts an OpenLDAP server, which holds the folders ou=people and ou=groups.
func NewSlapd(t testing.TB) *Slapd {
	t.Helper()
	slapd := need(t, "slapd")
	dir := folder(t, nil)
	plain, secure := port(t), port(t)
	s := &Slapd{
		URL: fmt.Sprintf("ldap://127.0.0.1:%d", plain), TLS: fmt.Sprintf("ldaps://localhost:%d", secure), TLS6: fmt.Sprintf("ldaps://[::1]:%d", secure),
		CA: filepath.Join(dir, "ca.pem"),
	}
	selfSigned(t, s.CA, filepath.Join(dir, "key.pem"))
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "slapd.conf")
	write(t, nil, config,
		"include /etc/ldap/schema/core.schema", "include /etc/ldap/schema/cosine.schema",
		"include /etc/ldap/schema/inetorgperson.schema", "include /etc/ldap/schema/nis.schema",
		"modulepath /usr/lib/ldap", "moduleload back_mdb", "moduleload memberof",
		"pidfile "+filepath.Join(dir, "pid"),
		"TLSCertificateFile "+s.CA, "TLSCertificateKeyFile "+filepath.Join(dir, "key.pem"),
		"database mdb", "suffix "+Suffix, "rootdn "+AdminDN, "rootpw "+AdminPassword, "directory "+filepath.Join(dir, "data"),
		"maxsize 67108864", "dbnosync", "index uid,member,memberUid eq",
		"access to attrs=userPassword by anonymous auth by * none", "access to * by users read by * none",
		"overlay memberof",
	)
	addresses := s.URL + " ldaps://127.0.0.1:" + fmt.Sprint(secure)
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil {
		addresses += " " + s.TLS6
		l.Close()
	}
	s.Process = start(t, func() *exec.Cmd {
		return command(nil, slapd, "-f", config, "-h", addresses, "-d", "0")
	}, syscall.SIGKILL, listening(fmt.Sprintf("127.0.0.1:%d", plain)))
	s.Add("dc=example,dc=org", "objectClass", "dcObject", "objectClass", "organization", "o", "example", "dc", "example")
	for _, ou := range []string{"people", "groups"} {
		s.Add("ou="+ou+","+Suffix, "objectClass", "organizationalUnit", "ou", ou)
	}
	s.Add(ReaderDN, "objectClass", "organizationalRole", "objectClass", "simpleSecurityObject", "cn", "reader", "userPassword", ReaderPassword)
	return s
}

// Admin returns a connection that may change everything.
func (s *Slapd) Admin() *ldap.Conn {
	s.t.Helper()
	if s.conn != nil && !s.conn.IsClosing() {
		return s.conn
	}
	c, err := ldap.DialURL(s.URL)
	if err == nil {
		err = c.Bind(AdminDN, AdminPassword)
	}
	if err != nil {
		s.t.Fatalf("bind as administrator: %v", err)
	}
	c.SetTimeout(10 * time.Second)
	s.t.Cleanup(func() { c.Close() })
	s.conn = c
	return c
}

// Add adds an entry with attributes, which come as names and values in turn.
func (s *Slapd) Add(dn string, pairs ...string) {
	s.t.Helper()
	request := ldap.NewAddRequest(dn, nil)
	values := map[string][]string{}
	var names []string
	for i := 0; i+1 < len(pairs); i += 2 {
		if values[pairs[i]] == nil {
			names = append(names, pairs[i])
		}
		values[pairs[i]] = append(values[pairs[i]], pairs[i+1])
	}
	for _, name := range names {
		request.Attribute(name, values[name])
	}
	if err := s.Admin().Add(request); err != nil {
		s.t.Fatalf("add %s: %v", dn, err)
	}
}

// AddPerson adds somebody below ou=people, and returns the DN.
func (s *Slapd) AddPerson(uid, password string, pairs ...string) string {
	s.t.Helper()
	dn := "uid=" + ldap.EscapeDN(uid) + ",ou=people," + Suffix
	s.Add(dn, append([]string{"objectClass", "inetOrgPerson", "uid", uid, "cn", "Name of " + uid, "sn", uid, "userPassword", password}, pairs...)...)
	return dn
}

// AddGroup adds a groupOfNames below ou=groups, and returns the DN.
func (s *Slapd) AddGroup(cn string, members ...string) string {
	s.t.Helper()
	dn := "cn=" + ldap.EscapeDN(cn) + ",ou=groups," + Suffix
	pairs := []string{"objectClass", "groupOfNames", "cn", cn}
	for _, m := range members {
		pairs = append(pairs, "member", m)
	}
	s.Add(dn, pairs...)
	return dn
}

// selfSigned writes a certificate for this machine and its key.
func selfSigned(t testing.TB, certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
