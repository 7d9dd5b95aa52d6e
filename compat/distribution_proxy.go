package compat

import (
	"strings"
	"time"

	"customhouse/config"
)

// distributionTTL is how long distribution keeps what it has fetched.
const distributionTTL = 168 * time.Hour

// proxy translates the section proxy: all repositories are copies of those of one registry, under their names there.
func (t *distributionTranslation) proxy() {
	p := t.from.Proxy
	if p.Remote == "" {
		return
	}
	ask, linger := time.Duration(0), t.duration("proxy.cachewritetimeout", p.WriteTimeout, 0)
	m := config.Mirror{
		Far:    config.Far{URL: strings.TrimSuffix(p.Remote, "/"), Username: p.Username, Password: p.Password},
		TagTTL: &ask,
	}
	if linger != 0 {
		m.Linger = &linger
	}
	if p.TTL != nil {
		ttl := max(t.duration("proxy.ttl", *p.TTL, 0), 0)
		m.TTL = &ttl
	}
	if p.Exec != nil {
		m.Exec.Command = p.Exec.Command
		t.require("proxy.exec.command", p.Exec.Command != "")
		if p.Exec.Command != "" && t.checkFiles {
			if why := config.Startable(p.Exec.Command); why != "" {
				t.wrong("proxy.exec.command", why)
			}
		}
		if p.Exec.Lifetime != nil {
			lifetime := max(t.duration("proxy.exec.lifetime", *p.Exec.Lifetime, 0), 0)
			m.Exec.Lifetime = &lifetime
		}
		if p.Username != "" {
			t.warn("proxy.username", "is not used: distribution asks the program of exec")
			m.Username, m.Password = "", ""
		}
	}
	if !strings.Contains(p.Remote, "://") {
		m.URL = "https://" + m.URL
	}
	if ttl := config.Or(m.TTL, distributionTTL); ttl > 0 {
		t.warn("proxy", "what nobody has asked for in %s (ttl) is dropped, not all that was fetched so long ago; its bytes stay until collection, which this release does not have, can free them", ttl)
	}
	t.to.Mirrors = []config.Mirror{m}
}
