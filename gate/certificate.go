package gate

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"

	"customhouse"
	"customhouse/policy"
)

// MethodCertificate is the Method of identities that the certificate of a client proves.
const MethodCertificate = "certificate"

// CertificateOptions say how the certificates of clients become identities. Templates and patterns are over the parts cn, o,
// ou, dns, uri, email and serial.
type CertificateOptions struct {
	Account string            // a template
	Labels  map[string]string // templates
	Require map[string]string // patterns
}

// Certificates tell who clients are by the certificate that they show. It is immutable but for a cache.
type Certificates struct {
	roots   *x509.CertPool
	account customhouse.Template
	labels  map[string]customhouse.Template
	require map[string]policy.Pattern
	known   *otter.Cache[[sha256.Size]byte, *certified] // by their SHA-256
}

// certified is a certificate that was verified.
type certified struct {
	identity    customhouse.Identity // anonymous if the certificate is that of nobody here
	from, until time.Time            // while all certificates of its chain are valid
	thumbprint  string               // RFC 8705, section 3.1
}

const maxCertificates = 10_000

// NewCertificates returns who knows the certificates that roots vouch for, and nobody else's.
func NewCertificates(roots *x509.CertPool, o CertificateOptions) (*Certificates, error) {
	c := &Certificates{
		roots: roots, labels: map[string]customhouse.Template{}, require: map[string]policy.Pattern{},
		known: otter.Must(&otter.Options[[sha256.Size]byte, *certified]{MaximumSize: maxCertificates}),
	}
	if roots == nil {
		return nil, errors.New("no authorities of certificates")
	}
	var err error
	if c.account, err = customhouse.ParseTemplate(o.Account); err == nil && len(c.account.Claims()) == 0 {
		err = errors.New("names no part of the certificate: everybody would be one account")
	}
	if err != nil {
		return nil, fmt.Errorf("account: %w", err)
	}
	for label, text := range o.Labels {
		if c.labels[label], err = customhouse.ParseTemplate(text); err != nil {
			return nil, fmt.Errorf("label %s: %w", label, err)
		}
	}
	for part, text := range o.Require {
		if c.require[part], err = policy.ParsePattern(text); err != nil {
			return nil, fmt.Errorf("part %s: %w", part, err)
		}
	}
	return c, nil
}

// errCertificate says that a client shows a certificate which nobody vouches for any more.
var errCertificate = errors.New("the certificate of the client is not valid")

// verify returns what is known of the client that has proved to have the first certificate of chain. The others may
// lead from there to one of our authorities. It is asked for each request: a connection may outlive a certificate, and
// trust in who has issued it.
func (c *Certificates) verify(chain []*x509.Certificate, now time.Time) (*certified, error) {
	sum := sha256.Sum256(chain[0].Raw)
	if known, ok := c.known.GetIfPresent(sum); ok && !now.Before(known.from) && !now.After(known.until) {
		return known, nil
	}
	between := x509.NewCertPool()
	for _, certificate := range chain[1:] {
		between.AddCert(certificate)
	}
	chains, err := chain[0].Verify(x509.VerifyOptions{
		Roots: c.roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCertificate, err)
	}
	known := &certified{thumbprint: base64.RawURLEncoding.EncodeToString(sum[:]), from: chain[0].NotBefore, until: chain[0].NotAfter}
	for _, certificate := range chains[0] {
		if certificate.NotAfter.Before(known.until) {
			known.until = certificate.NotAfter
		}
	}
	known.identity = c.identity(chain[0], known.until)
	c.known.Set(sum, known)
	return known, nil
}

// identity returns whose certificate it is, anonymous if it is that of nobody here.
func (c *Certificates) identity(certificate *x509.Certificate, until time.Time) customhouse.Identity {
	parts := partsOf(certificate)
	for part, pattern := range c.require {
		if !slices.ContainsFunc(customhouse.ClaimValues(parts, part), pattern.Match) {
			return customhouse.Identity{}
		}
	}
	texts := c.account.Texts(parts)
	if len(texts) != 1 || !vouchable(texts[0]) {
		return customhouse.Identity{}
	}
	id := customhouse.Identity{Account: texts[0], Method: MethodCertificate, Expires: until}
	for label, template := range c.labels {
		if values := template.Texts(parts); len(values) > 0 {
			if id.Labels == nil {
				id.Labels = map[string][]string{}
			}
			id.Labels[label] = values
		}
	}
	return id
}

// partsOf returns what a certificate says, in the form of claims.
func partsOf(c *x509.Certificate) map[string]any {
	list := func(values []string) []any {
		all := make([]any, len(values))
		for i, v := range values {
			all[i] = v
		}
		return all
	}
	uris := make([]any, len(c.URIs))
	for i, u := range c.URIs {
		uris[i] = u.String()
	}
	return map[string]any{
		"cn": c.Subject.CommonName, "o": list(c.Subject.Organization), "ou": list(c.Subject.OrganizationalUnit),
		"dns": list(c.DNSNames), "uri": uris, "email": list(c.EmailAddresses), "serial": c.SerialNumber.Text(16),
	}
}

// certified returns what is known of the client by the certificate that it shows, nil if that says nothing here. The error
// is errCertificate.
func (g *Gate) certified(cred *customhouse.Credential) (*certified, error) {
	if g.certificates == nil || len(cred.Certificates) == 0 {
		return nil, nil
	}
	known, err := g.certificates.verify(cred.Certificates, g.now())
	if err != nil || known.identity.Anonymous() {
		return nil, err
	}
	// No certificate makes somebody a workload of another issuer, whose accounts begin so.
	if name, _, ok := strings.Cut(known.identity.Account, ":"); ok && slices.ContainsFunc(g.workloads, func(w *Workload) bool { return w.o.Name == name }) {
		return nil, nil
	}
	return known, nil
}

// bearerOf returns who shows one of our tokens that goes with a certificate. The error is errToken where it is another's.
func (g *Gate) bearerOf(p *paper, cred *customhouse.Credential) (customhouse.Identity, error) {
	known, err := g.certified(cred)
	switch {
	case err != nil:
		return customhouse.Identity{}, fmt.Errorf("%w: %w", errToken, err)
	case known == nil || known.thumbprint != p.claims.Bound:
		return customhouse.Identity{}, fmt.Errorf("%w: it goes with a certificate that the client does not show", errToken)
	case known.identity.Account != p.claims.Subject:
		return customhouse.Identity{}, fmt.Errorf("%w: the certificate is that of another account by now", errToken)
	}
	return known.identity, nil
}

// uncredentialed returns who comes without a credential: whoever the certificate of the connection is of, or else
// anonymous. A login by certificate is kept in the audit log where kept says so.
func (g *Gate) uncredentialed(ctx context.Context, cred *customhouse.Credential, kept bool) (customhouse.Identity, error) {
	known, err := g.certified(cred)
	if err == nil && known == nil {
		return g.anonymous, nil
	}
	var id customhouse.Identity
	if err == nil {
		id = known.identity
	}
	if kept || err != nil {
		err = g.auditLogin(ctx, MethodCertificate, "", &id, addressOf(cred), err)
	}
	return id, err
}
