package config

import (
	"fmt"
	"slices"
	"strings"
)

// Source is a key of the section auth that accounts come from.
type Source string

// sources are all there are, in the order in which they are asked unless a file says otherwise: machineSources, then
// docker_auth's for those that it has.
var sources = []Source{
	"tokens", "robots",
	"users", "exec", "google", "github", "oidc", "gitlab", "ldap", "mongo", "sql", "worker", "webhook", "plugin",
	"htpasswd", "accounts",
}

// machineSources are those that know their own passwords by their form: asked first, they keep them from others.
var machineSources = []Source{"tokens", "robots"}

// Sequence returns the sources in the order in which they are asked: those of Order first, but for tokens and robots that
// it leaves out.
func (a Auth) Sequence() []Source {
	var all []Source
	for _, s := range machineSources {
		if !slices.Contains(a.Order, s) {
			all = append(all, s)
		}
	}
	all = append(all, a.Order...)
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
