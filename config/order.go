package config

import (
	"fmt"
	"slices"
	"strings"
)

// Source is a key of the section auth that accounts come from.
type Source string

// sources are all there are, in the order in which they are asked unless a file says otherwise: docker_auth's for those
// that it has.
var sources = []Source{
	"users", "exec", "google", "github", "oidc", "gitlab", "ldap", "mongo", "sql", "worker", "webhook", "plugin",
	"htpasswd", "accounts",
}

// Sequence returns the sources in the order in which they are asked: those of Order first.
func (a Auth) Sequence() []Source {
	all := slices.Clone(a.Order)
	for _, s := range sources {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

func (c *Config) checkOrder(p *problems) {
	for i, s := range c.Auth.Order {
		key := fmt.Sprintf("auth.order[%d]", i)
		p.check(!slices.Contains(c.Auth.Order[:i], s), key, "stands twice")
		p.check(slices.Contains(sources, s), key, "want one of "+strings.Join(sourceNames(), ", "))
	}
}

func sourceNames() []string {
	names := make([]string, len(sources))
	for i, s := range sources {
		names[i] = string(s)
	}
	return names
}
