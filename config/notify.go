package config

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"

	"customhouse"
)

// Notify is the section notify.
type Notify struct {
	// The endpoints that are told of pushes, pulls, mounts and deletes, each at least once and in their order.
	Endpoints []Endpoint `yaml:"endpoints"`

	// Whether events about manifests say what these name.
	References bool `yaml:"references"`

	// How much of events that wait for an endpoint is kept, such as 64MiB. What is over is lost, the oldest first.
	Keep Size `yaml:"keep"`
}

// Endpoint is an entry of notify.endpoints.
type Endpoint struct {
	// The name by which it is remembered how far the endpoint has been told: another name is another endpoint.
	Name string `yaml:"name" jsonschema:"required"`

	// The URL that events are posted to.
	URL string `yaml:"url" jsonschema:"required"`

	// Headers that are sent along, each a list of values.
	Headers map[string][]customhouse.Secret `yaml:"headers"`

	// Signs what is sent: the header Customhouse-Signature is t=SECONDS,v1=HEX, where HEX is the HMAC-SHA256 under the
	// secret of SECONDS, a full stop and the body. Empty does not.
	Secret customhouse.Secret `yaml:"secret"`

	// What is sent: the envelope of distribution, or cloudevents (CloudEvents 1.0). Empty is distribution.
	Format string `yaml:"format"`

	// How long an attempt may take. 0 is 5s.
	Timeout time.Duration `yaml:"timeout"`

	// After how many failures in a row there are pauses between attempts. 0 is 10.
	Threshold int `yaml:"threshold"`

	// The first of these pauses; each is twice as long as the one before, up to 5m. 0 is 1s.
	Backoff time.Duration `yaml:"backoff"`

	// How often an event is sent that the endpoint refuses (with a status from 400 to 499), until it is laid aside: see
	// customhouse events. Events that cannot be delivered otherwise wait. 0 is 10.
	Tries int `yaml:"tries"`

	// Addresses, as CIDR prefixes, that are reached though they are link-local or a cloud's metadata service.
	Allow []Prefix `yaml:"allow"`

	// What the endpoint is not told of.
	Ignore Ignore `yaml:"ignore"`
}

// Ignore is the section ignore of an endpoint.
type Ignore struct {
	// Actions: push, pull, mount or delete.
	Actions []string `yaml:"actions"`

	// Media types of content; application/octet-stream is every blob.
	MediaTypes []string `yaml:"media_types"`
}

func (c *Config) checkNotify(p *problems) {
	p.check(c.Notify.Keep > 0, "notify.keep", "want a size above 0, such as 64MiB")
	names := map[string]bool{}
	for i, e := range c.Notify.Endpoints {
		key := fmt.Sprintf("notify.endpoints[%d]", i)
		p.check(e.Name != "", key+".name", "missing")
		p.check(!names[e.Name], key+".name", "stands twice")
		names[e.Name] = true
		u, err := url.Parse(e.URL)
		p.check(err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil, key+".url",
			"want a URL without a name or password, such as https://hooks.example.com/registry; a secret goes into headers")
		for _, name := range slices.Sorted(maps.Keys(e.Headers)) {
			p.check(isToken(name), join(key+".headers", name), "no name of a header")
			for j, value := range e.Headers[name] {
				p.check(isFieldValue(string(value)), fmt.Sprintf("%s[%d]", join(key+".headers", name), j), "no value of a header")
			}
		}
		p.add(key+".format", oneOf(e.Format, "", "distribution", "cloudevents"))
		p.check(e.Timeout >= 0, key+".timeout", "must not be negative")
		p.check(e.Backoff >= 0, key+".backoff", "must not be negative")
		p.check(e.Threshold >= 0, key+".threshold", "must not be negative")
		p.check(e.Tries >= 0, key+".tries", "must not be negative")
		for j, action := range e.Ignore.Actions {
			p.add(fmt.Sprintf("%s.ignore.actions[%d]", key, j), oneOf(action,
				customhouse.EventPush, customhouse.EventPull, customhouse.EventMount, customhouse.EventDelete))
		}
	}
}
