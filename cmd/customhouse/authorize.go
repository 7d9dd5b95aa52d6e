package main

import (
	"customhouse/authz"
	"customhouse/config"
	"customhouse/policy"
)

// authorizer builds whoever decides who may do what, in the order in which they are asked.
func (p parts) authorizer(c *config.Config) (*authz.Chain, error) {
	rules, err := policy.Compile(c.Rules)
	if err != nil {
		return nil, err
	}
	return authz.NewChain(authz.NewRules(rules))
}
