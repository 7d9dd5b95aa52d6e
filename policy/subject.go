package policy

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// subject is what of a query a condition on text is about.
type subject uint8

const (
	onAccount subject = iota
	onMethod
	onLabel
	onClaim
	onType
	onName
	onService
	onTag
	onDigest
	onMediaType
	onArtifactType
)

// String is the key of s in a rule.
func (s subject) String() string {
	return [...]string{"account", "method", "labels", "claims", "type", "name", "service", "tag", "digest", "mediaType", "artifactType"}[s]
}

// fact returns what must be known of a target for a condition on s to be decided; 0 for what is known always.
func (s subject) fact() Fact {
	switch s {
	case onTag:
		return FactTag
	case onDigest:
		return FactDigest
	case onMediaType:
		return FactMediaType
	case onArtifactType:
		return FactArtifactType
	}
	return 0
}

// mayBeAbsent tells whether "" is no value of s, such as anonymous or no tag.
func (s subject) mayBeAbsent() bool { return s == onAccount || s == onMethod || s.fact() != 0 }

// of returns the text of q, for what is no label or claim.
func (s subject) of(q *Query) string {
	switch s {
	case onAccount:
		return q.Identity.Account
	case onMethod:
		return q.Identity.Method
	case onType:
		return q.Type
	case onName:
		return q.Name
	case onService:
		return q.Service
	case onTag:
		return q.Target.Tag
	case onDigest:
		return q.Target.Digest
	case onMediaType:
		return q.Target.MediaType
	}
	return q.Target.ArtifactType
}

// String names facts for people, such as "the tag and the time".
func (f Fact) String() string {
	var names []string
	for _, one := range [...]struct {
		fact Fact
		name string
	}{{FactTag, "the tag"}, {FactDigest, "the digest"}, {FactMediaType, "the media type"}, {FactArtifactType, "the artifact type"}, {factTime, "the time"}} {
		if f&one.fact != 0 {
			names = append(names, one.name)
		}
	}
	if len(names) > 1 {
		return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
	}
	return strings.Join(names, "")
}

// truth is whether something is so.
type truth uint8

const (
	no truth = iota
	maybe
	yes
)

// ask tells whether r matches q, whose client is unmapped. The expression is evaluated when nothing else says no.
func (r *rule) ask(q *Query) outcome {
	m := r.meets(q)
	if m == no || r.when == nil {
		return outcome{matches: m}
	}
	return r.when.evaluate(q, m)
}

// meets tells whether all conditions of r but the expression hold.
func (r *rule) meets(q *Query) truth {
	if r.ip != nil && !r.ip.contain(q.Client) {
		return no
	}
	all := yes
	for i := range r.conditions {
		switch r.conditions[i].holds(q) {
		case no:
			return no
		case maybe:
			all = maybe
		}
	}
	if r.facts&factTime != 0 {
		switch r.holdsAt(q.Time) {
		case no:
			return no
		case maybe:
			all = maybe
		}
	}
	return all
}

// holdsAt tells whether r does at a time.
func (r *rule) holdsAt(t time.Time) truth {
	switch {
	case t.IsZero():
		return maybe
	case !r.from.IsZero() && t.Before(r.from), !r.expires.IsZero() && !t.Before(r.expires):
		return no
	}
	return yes
}

// holds tells whether c does for q.
func (c *condition) holds(q *Query) truth {
	if f := c.subject.fact(); f&^q.Target.Known != 0 {
		return maybe
	}
	ok := false
	switch c.subject {
	case onLabel:
		for _, v := range q.Identity.Labels[c.key] {
			if c.want.match(v, q) {
				return yes
			}
		}
		return no
	case onClaim:
		ok = claimed(q.Identity.Claims, c.key, func(v string) bool { return c.want.match(v, q) })
	case onType, onName, onService:
		ok = c.want.match(c.subject.of(q), q)
	default:
		ok = c.want.matchOrAbsent(c.subject.of(q), q)
	}
	if ok {
		return yes
	}
	return no
}

// claimed tells whether match takes the claim at key, or an element of it if it is a list. A key with dots that no claim
// has leads into objects: the first part of it is the longest that is one.
func claimed(claims map[string]any, key string, match func(string) bool) bool {
	value, ok := claims[key]
	for end := strings.LastIndexByte(key, '.'); !ok && end > 0; end = strings.LastIndexByte(key[:end], '.') {
		if inner, is := claims[key[:end]].(map[string]any); is {
			return claimed(inner, key[end+1:], match)
		}
	}
	elements, is := value.([]any)
	if !is {
		s, ok := claimText(value)
		return ok && match(s)
	}
	for _, e := range elements {
		if s, ok := claimText(e); ok && match(s) {
			return true
		}
	}
	return false
}

// claimText returns a string, a number or a boolean of JSON as text.
func claimText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, v != ""
	case bool:
		return strconv.FormatBool(v), true
	case json.Number:
		return v.String(), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case int:
		return strconv.Itoa(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	}
	return "", false
}
