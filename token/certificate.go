package token

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

const (
	maxCertificates = 4 << 20 // bytes of a file
	maxChain        = 8       // certificates that go with a token
)

// LoadCertificates returns the certificates in the PEM file at path, in their order; there is at least one. Errors name
// the file.
func LoadCertificates(path string) ([]*x509.Certificate, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxCertificates+1))
	if err != nil {
		return nil, err
	}
	certificates, err := parseCertificates(data)
	if err != nil {
		return nil, fmt.Errorf("certificate file %s: %w", path, err)
	}
	return certificates, nil
}

func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	if len(data) > maxCertificates {
		return nil, fmt.Errorf("larger than %d bytes", maxCertificates)
	}
	var all []*x509.Certificate
	block, rest := pem.Decode(data)
	for ; block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d cannot be parsed: %w", len(all)+1, err)
		}
		all = append(all, c)
	}
	switch {
	case bytes.Contains(rest, []byte("-----BEGIN")): // a file that was cut off must not trust less than it says
		return nil, fmt.Errorf("what follows certificate %d is not whole", len(all))
	case len(all) == 0:
		return nil, errors.New("no certificate in PEM form")
	}
	return all, nil
}

// parseChain reads the certificates that came with a token.
func parseChain(chain []string) ([]*x509.Certificate, error) {
	all := make([]*x509.Certificate, len(chain))
	for i, text := range chain {
		der, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, err
		}
		if all[i], err = x509.ParseCertificate(der); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// certifiedBy tells whether the certificates that came with a token of k's begin with one of k. Nothing follows from
// them; the certificate may have been renewed since.
func (k *Key) certifiedBy(chain []string) bool {
	if slices.Equal(chain, k.chain) {
		return true
	}
	certificates, err := parseChain(chain[:1])
	return err == nil && k.Matches(certificates) == nil
}
