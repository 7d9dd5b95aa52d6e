package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"customhouse/config"
	"customhouse/token"
)

// keys returns the keys of the tokens that we issue.
func (p parts) keys(c *config.Config) (*token.Keys, error) {
	t := c.Token
	file := t.Key
	if file == "" {
		if c.Data == "" {
			return nil, errors.New("token.key: no key to sign tokens with, and no data folder to keep one in")
		}
		file = filepath.Join(c.Data, "keys", strings.ToLower(cmp.Or(t.Algorithm, string(token.ES256)))+".pem")
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return nil, err
		}
	}
	key, err := token.LoadOrCreate(file, token.Algorithm(t.Algorithm))
	if err != nil {
		return nil, err
	}
	if key.Exposed() {
		p.log.Warn("the key that signs tokens can be read by everybody on this machine", "file", file)
	}
	if t.Certificate != "" {
		if key, err = p.certify(key, t); err != nil {
			return nil, err
		}
	}
	if t.KeyID == "libtrust" {
		if key, err = key.WithLibtrustID(); err != nil {
			return nil, err
		}
	}
	return token.NewKeys(key)
}

// certify checks that the certificate is the key's and, if they are wanted, adds the certificates to its tokens.
func (p parts) certify(key *token.Key, t config.Token) (*token.Key, error) {
	chain, err := token.LoadCertificates(t.Certificate)
	if err != nil {
		return nil, err
	}
	if err := key.Matches(chain); err != nil {
		return nil, fmt.Errorf("certificate file %s and key file %s: %w", t.Certificate, t.Key, err)
	}
	if !t.X5C {
		return key, nil
	}
	if now := time.Now(); now.After(chain[0].NotAfter) || now.Before(chain[0].NotBefore) {
		p.log.Warn("the certificate that goes with tokens is not valid now; registries will refuse them", "file", t.Certificate,
			"from", chain[0].NotBefore, "to", chain[0].NotAfter)
	}
	if key, err = key.WithChain(chain); err != nil {
		return nil, fmt.Errorf("certificate file %s: %w", t.Certificate, err)
	}
	return key, nil
}
