package main

import (
	"cmp"
	"context"

	"customhouse"
	"customhouse/authn"
	"customhouse/config"
	"customhouse/gate"
)

func (p parts) personalTokens(c *config.Config) (authn.Authenticator, error) {
	if !c.Auth.Machines.Tokens || p.index == nil {
		return nil, nil
	}
	p.chained.tokens = authn.NewPersonalTokens(p.index, p.passwords, p.machineOptions())
	return p.chained.tokens, nil
}

func (p parts) robots(c *config.Config) (authn.Authenticator, error) {
	if !c.Auth.Machines.Robots || p.index == nil {
		return nil, nil
	}
	p.chained.robots = authn.NewRobots(p.index, p.passwords, p.machineOptions())
	return p.chained.robots, nil
}

// machineOptions are those of who vouches for machines: owners are looked up in the chain that they are members of.
func (p parts) machineOptions() authn.MachineOptions {
	chained := p.chained
	return authn.MachineOptions{Log: p.log, Lookup: func(ctx context.Context, method, account string) (customhouse.Identity, error) {
		return chained.chain.Lookup(ctx, method, account)
	}}
}

// machines returns what makes robots and the secrets of machines; nil without a data folder.
func (p parts) machines(c *config.Config) *authn.Machines {
	if p.index == nil || c.Auth.Off {
		return nil
	}
	m, chained := c.Auth.Machines, p.chained
	return authn.NewMachines(p.index, authn.MachinesOptions{
		Lifetime: m.Expiration, Longest: cmp.Or(m.MaxExpiration, -1), Most: m.PerAccount, CheckScope: gate.CheckScope, Log: p.log,
		Owner: func(ctx context.Context, account string) (string, error) {
			return chained.chain.Owner(ctx, account, "")
		},
		Changed: func(account string) {
			if chained.tokens != nil {
				chained.tokens.Forget(account)
			}
			if chained.robots != nil {
				chained.robots.Forget(account)
			}
		},
	})
}
