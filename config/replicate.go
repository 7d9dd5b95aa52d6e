package config

import (
	"fmt"
	"path"
	"slices"
	"time"
)

// Replicate is an element of replicate: content that is kept the same here and in another registry. What is the same
// already is not copied.
type Replicate struct {
	// By which commands know it.
	Name string `yaml:"name" jsonschema:"required"`

	// pull is from there to here, push from here to there.
	Direction string `yaml:"direction" jsonschema:"required,enum=pull,enum=push"`

	// The other registry. It may be on this machine or in a private network.
	Far `yaml:",inline"`

	// What the names of the repositories begin with here and not there.
	Prefix string `yaml:"prefix"`

	// Patterns of names there: * is any part of a path component, and /** in the end is all that is below. Empty is all. A
	// registry that does not list its repositories needs names without *.
	Repositories []string `yaml:"repositories"`

	// Patterns of tags, such as v*. Empty is all.
	Tags []string `yaml:"tags"`

	// How often it runs. 0 is never by itself.
	Every time.Duration `yaml:"every"`

	// Whether a push or a deletion here runs it for the repository, too. It is for direction: push.
	OnEvent bool `yaml:"on_event"`

	// Whether tags that are gone at the source are removed. Their content stays.
	Delete bool `yaml:"delete"`

	// How many bytes a second it takes, such as 10MiB. 0 is no limit.
	Bandwidth Size `yaml:"bandwidth"`
}

func (c *Config) checkReplicate(p *problems) {
	for i, r := range c.Replicate {
		key := fmt.Sprintf("replicate[%d]", i)
		p.check(r.Name != "", key+".name", "must not be empty")
		p.check(!slices.ContainsFunc(c.Replicate[:i], func(other Replicate) bool { return other.Name == r.Name }), key+".name", "stands twice")
		p.add(key+".direction", oneOf(r.Direction, "pull", "push"))
		p.check(r.Prefix == "" || isPrefix(r.Prefix), key+".prefix", wantPrefix)
		r.Far.check(p, key)
		for j, pattern := range r.Repositories {
			_, err := path.Match(pattern, "x")
			p.check(err == nil && pattern != "", fmt.Sprintf("%s.repositories[%d]", key, j), "no pattern")
		}
		for j, pattern := range r.Tags {
			_, err := path.Match(pattern, "x")
			p.check(err == nil && pattern != "", fmt.Sprintf("%s.tags[%d]", key, j), "no pattern")
		}
		p.check(r.Every == 0 || r.Every >= time.Second, key+".every", "want 0, or at least 1s")
		p.check(!r.OnEvent || r.Direction != "pull", key+".on_event", "is for direction: push; what happens there is not heard of here")
		p.check(r.Bandwidth >= 0, key+".bandwidth", "must not be negative")
	}
}
