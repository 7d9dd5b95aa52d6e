package policy

import (
	"encoding/json"
	"hash/maphash"
	"math/bits"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"customhouse"
)

// Cache remembers the decisions of one policy. A decision is found again for a query that is the same in everything that
// the rules could ask about, text for text: its hash only tells where to look. It is safe for concurrent use without a
// lock, and holds as many decisions as it has room for.
type Cache struct {
	policy *Policy
	uses   uses
	turns  []time.Time // when rules begin or cease to hold, in ascending order
	seed   maphash.Seed
	slots  []atomic.Pointer[cached]
}

// uses is what of a query any rule asks about, beside what each query is told apart by.
type uses struct {
	client, labels, claims bool
	facts                  Fact // of the target; and the time
}

// cached is a decision with all that it depends on.
type cached struct {
	query  Query // without what no rule asks about, and without its time
	timed  bool  // the time was known
	from   time.Time
	until  time.Time // zero is for ever
	answer answer
}

// DefaultCacheSize is how many decisions a Cache has room for.
const DefaultCacheSize = 1 << 14

// maxCachedText is how long the texts of a target may be to be remembered.
const maxCachedText = 1024

// NewCache returns a cache for decisions of p with room for size of them, a power of two; 0 is DefaultCacheSize.
func NewCache(p *Policy, size int) *Cache {
	if size <= 0 {
		size = DefaultCacheSize
	}
	size = 1 << bits.Len(uint(size-1))
	return &Cache{policy: p, uses: p.uses(), turns: p.turns(), seed: maphash.MakeSeed(), slots: make([]atomic.Pointer[cached], max(size, 2))}
}

// Policy returns the policy whose decisions c remembers.
func (c *Cache) Policy() *Policy { return c.policy }

// Decide answers q as the policy does.
func (c *Cache) Decide(q Query) Decision {
	q.unmap()
	return c.decide(&q)[0]
}

// DecideAll answers q for each of actions as the policy does. The caller does not change the answers.
func (c *Cache) DecideAll(q Query, actions []customhouse.Action) []Decision {
	q.unmap()
	if len(actions) == 1 {
		q.Action = actions[0]
		return c.decide(&q)
	}
	all := make([]Decision, len(actions))
	for i, a := range actions {
		q.Action = a
		all[i] = c.decide(&q)[0]
	}
	return all
}

// decide answers q, whose client is unmapped.
func (c *Cache) decide(q *Query) answer {
	first := c.slot(q)
	second := first ^ 1
	for _, i := range [...]uint64{first, second} {
		if e := c.slots[i].Load(); e != nil && e.holds(q, &c.uses) {
			return e.answer
		}
	}
	a, lasts := c.policy.decideUntil(q)
	if !lasts || len(q.Target.MediaType)+len(q.Target.ArtifactType)+len(q.Target.Digest)+len(q.Target.Tag)+len(q.Name) > maxCachedText {
		return a
	}
	if c.slots[first].Load() != nil { // the older of two moves on
		c.slots[second].Store(c.slots[first].Load())
	}
	c.slots[first].Store(c.remember(q, a))
	return a
}

// slot tells where to look for q.
func (c *Cache) slot(q *Query) uint64 {
	h := maphash.String(c.seed, q.Name)
	h = bits.RotateLeft64(h, 7) ^ maphash.String(c.seed, q.Identity.Account)
	h = bits.RotateLeft64(h, 7) ^ maphash.String(c.seed, string(q.Action))
	if f := q.Target.Known & c.uses.facts; f&FactTag != 0 {
		h = bits.RotateLeft64(h, 7) ^ maphash.String(c.seed, q.Target.Tag)
	} else if f&FactDigest != 0 {
		h = bits.RotateLeft64(h, 7) ^ maphash.String(c.seed, q.Target.Digest)
	}
	return h & uint64(len(c.slots)-1)
}

// remember makes an entry of the answer to q.
func (c *Cache) remember(q *Query, a answer) *cached {
	e := &cached{query: *q, answer: a, timed: !q.Time.IsZero()}
	e.query.Time = time.Time{}
	if !c.uses.client {
		e.query.Client = netip.Addr{}
	}
	if !c.uses.labels {
		e.query.Identity.Labels = nil
	}
	if !c.uses.claims {
		e.query.Identity.Claims = nil
	}
	e.query.Identity.Scopes = nil
	e.query.Name = strings.Clone(q.Name) // or it would hold the request that it was cut from
	t := Target{Known: q.Target.Known & c.uses.facts}
	for _, fact := range [...]struct {
		fact     Fact
		to, from *string
	}{
		{FactTag, &t.Tag, &q.Target.Tag}, {FactDigest, &t.Digest, &q.Target.Digest},
		{FactMediaType, &t.MediaType, &q.Target.MediaType}, {FactArtifactType, &t.ArtifactType, &q.Target.ArtifactType},
	} {
		if t.Known&fact.fact != 0 {
			*fact.to = strings.Clone(*fact.from)
		}
	}
	e.query.Target = t
	if e.timed {
		next, exactly := slices.BinarySearchFunc(c.turns, q.Time, time.Time.Compare)
		if exactly {
			next++
		}
		if next > 0 {
			e.from = c.turns[next-1]
		}
		if next < len(c.turns) {
			e.until = c.turns[next]
		}
	}
	return e
}

// holds tells whether e is the answer to q.
func (e *cached) holds(q *Query, uses *uses) bool {
	k := &e.query
	if k.Name != q.Name || k.Action != q.Action || k.Identity.Account != q.Identity.Account || k.Type != q.Type ||
		k.Service != q.Service || k.Identity.Method != q.Identity.Method || uses.client && k.Client != q.Client {
		return false
	}
	if known := q.Target.Known & uses.facts; known != k.Target.Known ||
		known&FactTag != 0 && k.Target.Tag != q.Target.Tag ||
		known&FactDigest != 0 && k.Target.Digest != q.Target.Digest ||
		known&FactMediaType != 0 && k.Target.MediaType != q.Target.MediaType ||
		known&FactArtifactType != 0 && k.Target.ArtifactType != q.Target.ArtifactType {
		return false
	}
	if uses.facts&factTime != 0 {
		if e.timed != !q.Time.IsZero() || e.timed && (q.Time.Before(e.from) || !e.until.IsZero() && !q.Time.Before(e.until)) {
			return false
		}
	}
	return (!uses.labels || sameLabels(k.Identity.Labels, q.Identity.Labels)) && (!uses.claims || sameClaims(k.Identity.Claims, q.Identity.Claims))
}

// sameLabels tells whether two identities have the same labels. Those of one account are mostly one map, which nobody
// changes.
func sameLabels(a, b map[string][]string) bool {
	if sameMap(a, b) {
		return true
	}
	if len(a) != len(b) {
		return false
	}
	for key, values := range a {
		others, ok := b[key]
		if !ok || !slices.Equal(values, others) {
			return false
		}
	}
	return true
}

// sameClaims tells whether two tokens say the same.
func sameClaims(a, b map[string]any) bool {
	if sameMap(a, b) {
		return true
	}
	if len(a) != len(b) {
		return false
	}
	for key, value := range a {
		other, ok := b[key]
		if !ok || !sameJSON(value, other) {
			return false
		}
	}
	return true
}

// sameJSON tells whether a and b are the same text, number, list and so on, written in the same way.
func sameJSON(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && sameClaims(a, b)
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, sameJSON)
	case string:
		b, ok := b.(string)
		return ok && a == b
	case nil, bool, float64, int, int64, json.Number:
		return a == b
	}
	return false // nothing that JSON is read as
}

// sameMap tells whether a and b are one map.
func sameMap[V any](a, b map[string]V) bool {
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}

// uses returns what of a query the rules of p ask about.
func (p *Policy) uses() uses {
	u := uses{facts: p.facts}
	if p.acl != nil {
		u.labels = true
		u.client = slices.ContainsFunc(p.acl.rules, func(r aclRule) bool { return r.ip.IsValid() })
		return u
	}
	for i := range p.rules {
		r := &p.rules[i]
		u.client = u.client || r.ip != nil || r.when != nil && r.when.mentions("request.ip")
		u.labels = u.labels || r.when != nil && r.when.mentions("identity.labels")
		u.claims = u.claims || r.when != nil && r.when.mentions("identity.claims")
		for _, c := range r.conditions {
			u.labels = u.labels || c.subject == onLabel
			u.claims = u.claims || c.subject == onClaim
			for p := range c.want.all {
				u.labels = u.labels || slices.ContainsFunc(p.facts(), func(f fact) bool { return f.label != "" })
			}
		}
	}
	return u
}

// turns returns when rules of p begin or cease to hold.
func (p *Policy) turns() []time.Time {
	var turns []time.Time
	for i := range p.rules {
		for _, t := range []time.Time{p.rules[i].from, p.rules[i].expires} {
			if !t.IsZero() {
				turns = append(turns, t)
			}
		}
	}
	slices.SortFunc(turns, time.Time.Compare)
	return turns
}
