package main

import (
	"customhouse/authz"
	"customhouse/config"
)

// authorizer builds whoever decides who may do what, in the order in which they are asked.
func (p parts) authorizer(c *config.Config) (*authz.Chain, error) {
	rules, err := c.Compile(c.Rules)
	if err != nil {
		return nil, err
	}
	return authz.NewChain(authz.NewRules(rules))
}
