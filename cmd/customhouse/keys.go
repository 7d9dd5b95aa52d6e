package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"customhouse/config"
	"customhouse/token"
)

// keys returns the keys of the tokens that we issue.
func (p parts) keys(c *config.Config) (token.KeySource, error) {
	if c.Token.Key == "" {
		folder, err := openKeys(c)
		p.chained.keys = folder
		return folder, err
	}
	t := c.Token
	key, err := token.LoadOrCreate(t.Key, token.Algorithm(t.Algorithm))
	if err != nil {
		return nil, err
	}
	if key.Exposed() {
		p.log.Warn("the key that signs tokens can be read by everybody on this machine", "file", t.Key)
	}
	if t.Certificate != "" {
		if key, err = p.certify(key, t); err != nil {
			return nil, err
		}
	}
	if t.KeyID == libtrust {
		if key, err = key.WithLibtrustID(); err != nil {
			return nil, err
		}
	}
	others, err := verifyKeys(t)
	if err != nil {
		return nil, err
	}
	return token.NewKeys(key, others...)
}

const libtrust = "libtrust" // of token.key_id

// openKeys opens the keys in the data folder.
func openKeys(c *config.Config) (*token.Folder, error) {
	if c.Data == "" {
		return nil, errors.New("token.key: no key to sign tokens with, and no data folder to keep one in")
	}
	others, err := verifyKeys(c.Token)
	if err != nil {
		return nil, err
	}
	return token.OpenFolder(keyFolder(c.Data), token.FolderOptions{
		Algorithm: token.Algorithm(c.Token.Algorithm), Publish: c.Token.Rotation.Publish, Every: c.Token.Rotation.Every,
		Keep: cmp.Or(c.Token.Rotation.Keep, c.Token.LongestUse()), Libtrust: c.Token.KeyID == libtrust, Verifying: others,
	})
}

func keyFolder(data string) string { return filepath.Join(data, "keys") }

// verifyKeys returns the keys whose tokens are good besides those of the one that signs.
func verifyKeys(t config.Token) ([]*token.Key, error) {
	var all []*token.Key
	for i, file := range t.VerifyKeys {
		k, err := token.LoadVerifying(file)
		if err == nil && t.KeyID == libtrust {
			k, err = k.WithLibtrustID()
		}
		if err != nil {
			return nil, fmt.Errorf("token.verify_keys[%d]: %w", i, err)
		}
		all = append(all, k)
	}
	return all, nil
}

// turnKeys looks after the keys in the data folder until ctx ends: those that a command has changed, those whose time has
// come, and those that are due.
func (h *house) turnKeys(ctx context.Context) {
	ticks := time.NewTicker(lookEvery)
	defer ticks.Stop()
	wrong := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		folder := h.parts.keyFolder.Load()
		if folder == nil {
			continue
		}
		changed, err := folder.Refresh()
		switch {
		case err != nil && err.Error() != wrong:
			wrong = err.Error()
			h.log.Error("the keys of tokens stay as they are: their folder cannot be used", "error", err)
		case err == nil:
			wrong = ""
		}
		if changed {
			h.log.Info("the keys of tokens have changed", "signing", folder.Current().Signing().ID())
			if err := h.accountKeys(ctx, folder.Current().JWKS()); err != nil && ctx.Err() == nil {
				h.log.Error("the audit log does not tell that the keys of tokens have changed", "error", err)
			}
		}
	}
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
