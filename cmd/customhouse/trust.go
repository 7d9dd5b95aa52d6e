package main

import (
	"cmp"
	"fmt"
	"maps"

	"customhouse/config"
	"customhouse/gate"
	"customhouse/server"
	"customhouse/token"
)

// autoredirectPath is where clients look for the token service of another on the host of the registry, as in distribution.
const autoredirectPath = "/auth/token"

// trust builds the issuers of others that are trusted.
func (p parts) trust(c *config.Config) ([]gate.Trust, error) {
	var all []gate.Trust
	remotes := map[string]*token.Remote{}
	for i, t := range c.Token.Trust {
		built, err := p.trusted(c, t)
		if err != nil {
			return nil, fmt.Errorf("token.trust[%d]: %w", i, err)
		}
		all = append(all, gate.Trust{Trust: built, Rules: t.Rules != nil && *t.Rules})
		if t.JWKSURL != "" {
			remotes[t.JWKSURL] = p.remotes[t.JWKSURL]
		}
	}
	clear(p.remotes) // of those that are configured no more
	maps.Copy(p.remotes, remotes)
	return all, nil
}

func (p parts) trusted(c *config.Config, t config.Trust) (*token.Trust, error) {
	o := token.TrustOptions{Issuer: t.Issuer, Service: cmp.Or(t.Service, c.Token.Service)}
	var err error
	if o.Algorithms, err = token.ParseAlgorithms(t.Algorithms); err != nil {
		return nil, err
	}
	if t.Certificates != "" {
		if o.Certificates, err = token.LoadCertificates(t.Certificates); err != nil {
			return nil, err
		}
	}
	if t.JWKS != "" {
		if o.Keys, err = token.LoadKeySet(t.JWKS); err != nil {
			return nil, err
		}
	}
	if t.JWKSURL != "" {
		if p.remotes[t.JWKSURL] == nil { // else what it knows outlives the reload
			if p.remotes[t.JWKSURL], err = token.NewRemote(t.JWKSURL, token.RemoteOptions{Log: p.log}); err != nil {
				return nil, err
			}
		}
		o.Remote = p.remotes[t.JWKSURL]
	}
	return token.NewTrust(o)
}

// announce makes realm that of the token service of another, if there is one to send clients to, and returns the
// service that they ask tokens for.
func announce(c *config.Config, realm *server.RealmURL) string {
	for _, t := range c.Token.Trust {
		if !t.Announced() {
			continue
		}
		realm.Elsewhere = t.Realm
		if t.Autoredirect {
			realm.Path = cmp.Or(t.AutoredirectPath, autoredirectPath)
		}
		return cmp.Or(t.Service, c.Token.Service)
	}
	return c.Token.Service
}
