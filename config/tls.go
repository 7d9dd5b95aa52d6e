package config

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// TLS is the section tls.
type TLS struct {
	// The PEM file with the certificate, followed by those of its issuers. Empty, with key and acme, serves without TLS.
	Certificate string `yaml:"certificate"`

	// The PEM file with the private key of the certificate.
	Key string `yaml:"key"`

	// The lowest version of TLS to accept.
	Minimum string `yaml:"minimum" jsonschema:"enum=1.2,enum=1.3"`

	// The cipher suites to accept below TLS 1.3, by their IANA names. Empty is Go's choice.
	CipherSuites []string `yaml:"cipher_suites"`

	// The curves of the key exchange, the preferred first: X25519MLKEM768, X25519, P256, P384, P521. Empty is Go's choice.
	Curves []string `yaml:"curves"`

	// PEM files with the certificates of authorities whose certificates clients may show.
	ClientCAs []string `yaml:"client_cas"`

	// Whether clients have to show a certificate of client_cas: require refuses the connection of one that does not,
	// verify of one that shows another, request of none, and leaves what is shown aside. Empty asks for none.
	ClientAuth string `yaml:"client_auth"`

	// Certificates from Let's Encrypt or another authority that speaks ACME, in place of certificate and key.
	ACME ACME `yaml:"acme"`
}

// ACME is the section tls.acme.
type ACME struct {
	// The hosts to get certificates for. Empty gets none.
	Hosts []string `yaml:"hosts"`

	// The address that the authority writes to when something is wrong with a certificate.
	Email string `yaml:"email"`

	// The folder that keeps account and certificates. It is made if it is not there.
	Cache string `yaml:"cache"`

	// The directory URL of the authority. Empty is Let's Encrypt.
	Directory string `yaml:"directory"`

	// A PEM file with the certificates that the authority's own certificate is checked with. Empty is those of the system.
	CA string `yaml:"ca"`
}

// Enabled tells whether connections are encrypted.
func (t TLS) Enabled() bool { return t.Certificate != "" || t.Key != "" || t.ACME.Enabled() }

// Enabled tells whether certificates come by ACME.
func (a ACME) Enabled() bool { return len(a.Hosts) > 0 }

// MinVersion returns Minimum as crypto/tls spells it.
func (t TLS) MinVersion() uint16 {
	if t.Minimum == "1.3" {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

// CipherSuiteIDs returns CipherSuites as crypto/tls spells them, nil for its choice.
func (t TLS) CipherSuiteIDs() []uint16 {
	var ids []uint16
	for _, suite := range tls.CipherSuites() {
		if slices.Contains(t.CipherSuites, suite.Name) {
			ids = append(ids, suite.ID)
		}
	}
	return ids
}

// CurveIDs returns Curves as crypto/tls spells them, nil for its choice.
func (t TLS) CurveIDs() []tls.CurveID {
	var ids []tls.CurveID
	for _, name := range t.Curves {
		if id, ok := curves[name]; ok {
			ids = append(ids, id)
		}
	}
	return ids
}

var curves = map[string]tls.CurveID{
	"X25519MLKEM768": tls.X25519MLKEM768, "X25519": tls.X25519, "P256": tls.CurveP256, "P384": tls.CurveP384, "P521": tls.CurveP521,
}

// ClientAuthType returns ClientAuth as crypto/tls spells it.
func (t TLS) ClientAuthType() tls.ClientAuthType {
	switch t.ClientAuth {
	case "request":
		return tls.RequestClientCert
	case "verify":
		return tls.VerifyClientCertIfGiven
	case "require":
		return tls.RequireAndVerifyClientCert
	}
	return tls.NoClientCert
}

func (c *Config) checkTLS(p *problems) {
	t := c.TLS
	p.add("tls.client_auth", oneOf(t.ClientAuth, "", "request", "verify", "require"))
	verifies := t.ClientAuth == "verify" || t.ClientAuth == "require"
	p.check(!verifies || len(t.ClientCAs) > 0, "tls.client_cas", "missing: without authorities no certificate can be checked")
	p.check(len(t.ClientCAs) == 0 || verifies, "tls.client_auth", "want verify or require: client_cas has no effect otherwise")
	p.check(t.ClientAuth == "" || t.Enabled(), "tls.client_auth", "has no effect without TLS")
	p.check(t.Certificate == "" || t.Key != "", "tls.certificate", "needs tls.key beside it")
	p.check(t.Key == "" || t.Certificate != "", "tls.key", "needs tls.certificate beside it")
	p.add("tls.minimum", oneOf(t.Minimum, "1.2", "1.3"))
	p.check(len(t.CipherSuites) == 0 || t.Minimum != "1.3", "tls.cipher_suites", "have no effect: those of TLS 1.3 cannot be chosen")
	for i, name := range t.CipherSuites {
		known := slices.ContainsFunc(tls.CipherSuites(), func(s *tls.CipherSuite) bool { return s.Name == name })
		p.check(known, fmt.Sprintf("tls.cipher_suites[%d]", i), "no cipher suite that is safe and known, such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")
	}
	for i, name := range t.Curves {
		_, known := curves[name]
		p.check(known, fmt.Sprintf("tls.curves[%d]", i), "want X25519MLKEM768, X25519, P256, P384 or P521")
	}
	for i, h := range t.ACME.Hosts {
		p.check(isHost(h) && !isIP(h) && !strings.ContainsAny(h, "[:"), fmt.Sprintf("tls.acme.hosts[%d]", i), "want the name of a host, such as registry.example.com")
	}
	if t.ACME.Enabled() {
		p.check(t.Certificate == "" && t.Key == "", "tls.acme", "does not go together with tls.certificate and tls.key; remove one of them")
		p.check(t.ACME.Cache != "", "tls.acme.cache", "missing: without a folder for certificates every start asks for new ones")
	} else {
		p.check(t.ACME.Email == "" && t.ACME.Cache == "" && t.ACME.Directory == "", "tls.acme.hosts", "missing: the hosts to get certificates for")
	}
	p.check(t.ACME.Directory == "" || strings.HasPrefix(t.ACME.Directory, "https://"), "tls.acme.directory", "want a URL that begins with https://")
}
