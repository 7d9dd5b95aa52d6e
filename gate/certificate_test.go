package gate_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/gate"
	"customhouse/token"
)

// authority issues certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// certify returns a certificate of template, signed by by, or by itself.
func certify(t testing.TB, by *authority, template x509.Certificate) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	must(t, err)
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	issuer, signer := &template, key
	if by != nil {
		issuer, signer = by.certificate, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, issuer, key.Public(), signer)
	must(t, err)
	c, err := x509.ParseCertificate(der)
	must(t, err)
	return authority{c, key}
}

func newCA(t testing.TB, by *authority, name string) *authority {
	t.Helper()
	a := certify(t, by, x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return &a
}

func (a *authority) client(t testing.TB, subject pkix.Name, uris ...string) *x509.Certificate {
	t.Helper()
	template := x509.Certificate{Subject: subject, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, text := range uris {
		u, err := url.Parse(text)
		must(t, err)
		template.URIs = append(template.URIs, u)
	}
	return certify(t, a, template).certificate
}

func (a *authority) knows(t testing.TB, o gate.CertificateOptions) *gate.Certificates {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	c, err := gate.NewCertificates(pool, o)
	must(t, err)
	return c
}

func shows(cred customhouse.Credential, chain ...*x509.Certificate) customhouse.Credential {
	cred.Certificates = chain
	return cred
}

// TestS86_Certificates: who comes without a credential is whom a certificate of ours names, and nobody by any other.
func TestS86_Certificates(t *testing.T) {
	ca := newCA(t, nil, "ours")
	between := newCA(t, ca, "between")
	o := gate.CertificateOptions{Account: "${cn}", Labels: map[string]string{"group": "${ou}"}, Require: map[string]string{"o": "example"}}
	h := newHouse(t, func(options *gate.Options) { options.Certificates = ca.knows(t, o) })
	bob := pkix.Name{CommonName: "bob", Organization: []string{"example"}, OrganizationalUnit: []string{"dev", "ops"}}
	good := ca.client(t, bob)
	identity := func(cred customhouse.Credential) customhouse.Identity {
		t.Helper()
		grant, err := h.Admit(t.Context(), cred)
		must(t, err)
		return grant.Identity
	}
	want := customhouse.Identity{Account: "bob", Method: "certificate", Labels: map[string][]string{"group": {"dev", "ops"}}, Expires: good.NotAfter}
	if diff := cmp.Diff(want, identity(shows(nobody, good))); diff != "" {
		t.Errorf("identity (-want +got):\n%s", diff)
	}
	if got := identity(shows(nobody, between.client(t, bob), between.certificate)); got.Account != "bob" {
		t.Errorf("by an authority between: %+v", got)
	}
	if got := identity(shows(own("alice"), good)); got.Account != "alice" || got.Method != "accounts" {
		t.Errorf("with a password beside it: %+v", got)
	}
	if got := h.verdict(shows(basic("alice", "wrong"), good)); got.Code != customhouse.Unauthorized {
		t.Errorf("with a wrong password beside it: Admit = %+v", got)
	}
	if got := h.verdict(shows(nobody, good), repo("bob/a", "pull", "push")); got != (verdict{}) {
		t.Errorf("own push: Admit = %+v", got)
	}
	if got := h.verdict(shows(nobody, good), repo("alice/a", "pull")); got != denial {
		t.Errorf("others' pull: Admit = %+v", got)
	}
	login := verdict{customhouse.Unauthorized, "", ""}
	expired := certify(t, ca, x509.Certificate{
		Subject: bob, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour),
	}).certificate
	ofServer := certify(t, ca, x509.Certificate{Subject: bob, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}).certificate
	for name, chain := range map[string][]*x509.Certificate{
		"another authority":            {newCA(t, nil, "ours").client(t, bob)},
		"signed by itself":             {certify(t, nil, x509.Certificate{Subject: bob}).certificate},
		"expired":                      {expired},
		"of a server":                  {ofServer},
		"without what is between":      {between.client(t, bob)},
		"of another organization":      {ca.client(t, pkix.Name{CommonName: "bob", Organization: []string{"other"}})},
		"of none":                      {ca.client(t, pkix.Name{CommonName: "bob"})},
		"without a name":               {ca.client(t, pkix.Name{Organization: []string{"example"}})},
		"of a name that is no account": {ca.client(t, pkix.Name{CommonName: "bob smith", Organization: []string{"example"}})},
		"none":                         nil,
	} {
		if got := h.verdict(shows(nobody, chain...)); got != login {
			t.Errorf("%s: Admit = %+v, want %+v", name, got, login)
		}
		if tok, err := h.Issue(t.Context(), gate.TokenRequest{Credential: shows(nobody, chain...)}); err == nil && !tok.Identity.Anonymous() {
			t.Errorf("%s: Issue = a token for %+v", name, tok.Identity)
		}
	}
	h.now = good.NotAfter.Add(time.Second) // the connection lives on
	if got := h.verdict(shows(nobody, good)); got != login {
		t.Errorf("after its end: Admit = %+v, want %+v", got, login)
	}
	h.now = time.Now()
	h.rebuild(func(options *gate.Options) { options.Certificates = newCA(t, nil, "new").knows(t, o) })
	if got := h.verdict(shows(nobody, good)); got != login {
		t.Errorf("when the authority is gone: Admit = %+v, want %+v", got, login)
	}
	h.rebuild(func(options *gate.Options) { options.Certificates = nil })
	if got := h.verdict(shows(nobody, good)); got != login {
		t.Errorf("when certificates say nothing: Admit = %+v, want %+v", got, login)
	}
}

// TestS86_CertificateTokens: a token that was had for a certificate goes with it, ends with it, and is no refresh token.
func TestS86_CertificateTokens(t *testing.T) {
	ca := newCA(t, nil, "ours")
	o := gate.CertificateOptions{Account: "${cn}"}
	h := newHouse(t, func(options *gate.Options) { options.Certificates = ca.knows(t, o) })
	bob := pkix.Name{CommonName: "bob"}
	good, again := ca.client(t, bob), ca.client(t, bob)
	tok, err := h.Issue(t.Context(), gate.TokenRequest{Credential: shows(nobody, good), Scopes: []string{"repository:bob/a:pull,push"}, Offline: true})
	must(t, err)
	if tok.RefreshToken != "" || tok.Identity.Account != "bob" || tok.Scope() != "repository:bob/a:pull,push" {
		t.Errorf("Issue = %q for %+v, refresh token %q", tok.Scope(), tok.Identity, tok.RefreshToken)
	}
	a, err := token.NewAuthority(h.options.Issuer, service, h.options.Keys)
	must(t, err)
	claims, err := a.Verify(string(tok.Token), h.now)
	must(t, err)
	sum := sha256.Sum256(good.Raw)
	if want := base64.RawURLEncoding.EncodeToString(sum[:]); claims.Bound != want {
		t.Errorf("cnf = %q, want %q", claims.Bound, want)
	}
	pull := repo("bob/a", "pull")
	if got := h.verdict(shows(bearer(tok), good), pull); got != (verdict{}) {
		t.Errorf("with the certificate: Admit = %+v", got)
	}
	invalid := verdict{customhouse.Unauthorized, gate.InvalidToken, "repository:bob/a:pull"}
	for name, chain := range map[string][]*x509.Certificate{
		"without a certificate": nil, "with another of the same name": {again}, "with another": {ca.client(t, pkix.Name{CommonName: "root"})},
		"with one of another authority": {newCA(t, nil, "ours").client(t, bob)},
	} {
		if got := h.verdict(shows(bearer(tok), chain...), pull); got != invalid {
			t.Errorf("%s: Admit = %+v, want %+v", name, got, invalid)
		}
	}
	free := h.issue(own("bob"), "repository:bob/a:pull") // goes with none
	if got := h.verdict(shows(bearer(free), ca.client(t, pkix.Name{CommonName: "root"})), pull); got != (verdict{}) {
		t.Errorf("a token of a password: Admit = %+v", got)
	}
	unbound, err := a.Sign(token.Claims{Subject: "bob", Method: "certificate", IssuedAt: h.now, NotBefore: h.now, Expires: h.now.Add(time.Minute), Access: claims.Access})
	must(t, err)
	if got := h.verdict(shows(asBearer(unbound), good), pull); got != invalid {
		t.Errorf("a token that is bound to none: Admit = %+v, want %+v", got, invalid)
	}
	h.rebuild(func(options *gate.Options) {
		options.Certificates = ca.knows(t, gate.CertificateOptions{Account: "cert:${cn}"})
	})
	if got := h.verdict(shows(bearer(tok), good), pull); got != invalid {
		t.Errorf("when it is another account: Admit = %+v, want %+v", got, invalid)
	}
	late := certify(t, ca, x509.Certificate{
		Subject: bob, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, NotBefore: h.now.Add(-time.Hour), NotAfter: h.now.Add(2 * time.Minute),
	}).certificate
	tok, err = h.Issue(t.Context(), gate.TokenRequest{Credential: shows(nobody, late)})
	must(t, err)
	if tok.ExpiresIn > 2*time.Minute {
		t.Errorf("a token for %v by a certificate that ends in 2m", tok.ExpiresIn)
	}
	if _, err := h.Issue(t.Context(), gate.TokenRequest{Credential: shows(nobody, good), Account: "root"}); err == nil {
		t.Error("a certificate proves an account that it does not name")
	}
}

// TestS86_CertificateNames: SPIFFE names make accounts, and none makes somebody a workload of another issuer.
func TestS86_CertificateNames(t *testing.T) {
	ca, c := newCA(t, nil, "ours"), newCI(t)
	h := newHouse(t, func(options *gate.Options) {
		options.Certificates = ca.knows(t, gate.CertificateOptions{Account: "${uri}", Require: map[string]string{"uri": "spiffe://example.org/**"}})
		options.Workloads = []*gate.Workload{c.workload(t, ofGitHub)}
	})
	grant, err := h.Admit(t.Context(), shows(nobody, ca.client(t, pkix.Name{}, "spiffe://example.org/ns/prod/sa/ci")))
	must(t, err)
	if grant.Identity.Account != "spiffe://example.org/ns/prod/sa/ci" {
		t.Errorf("account = %q", grant.Identity.Account)
	}
	login := verdict{customhouse.Unauthorized, "", ""}
	for name, uris := range map[string][]string{
		"two names": {"spiffe://example.org/a", "spiffe://example.org/b"}, "another domain": {"spiffe://example.com/a"}, "none": nil,
	} {
		if got := h.verdict(shows(nobody, ca.client(t, pkix.Name{CommonName: "x"}, uris...))); got != login {
			t.Errorf("%s: Admit = %+v, want %+v", name, got, login)
		}
	}
	h.rebuild(func(options *gate.Options) {
		options.Certificates = ca.knows(t, gate.CertificateOptions{Account: "${cn}"})
	})
	if got := h.verdict(shows(nobody, ca.client(t, pkix.Name{CommonName: "github:octo-org/octo-repo"}))); got != login {
		t.Errorf("the account of a workload: Admit = %+v, want %+v", got, login)
	}
	for name, o := range map[string]gate.CertificateOptions{
		"one account": {Account: "x"}, "bad account": {Account: "${"}, "bad label": {Account: "${cn}", Labels: map[string]string{"a": "${"}},
		"bad pattern": {Account: "${cn}", Require: map[string]string{"cn": "["}},
	} {
		if _, err := gate.NewCertificates(x509.NewCertPool(), o); err == nil {
			t.Errorf("%s: NewCertificates = nil, want an error", name)
		}
	}
}

func BenchmarkCertificate(b *testing.B) {
	ca := newCA(b, nil, "ours")
	h := newHouse(b, func(options *gate.Options) {
		options.Certificates = ca.knows(b, gate.CertificateOptions{Account: "${cn}"})
	})
	cred := shows(nobody, ca.client(b, pkix.Name{CommonName: "bob"}))
	need := repo("bob/a", "pull")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Admit(b.Context(), cred, need); err != nil {
			b.Fatal(err)
		}
	}
}
