package policy

import (
	"fmt"
	"slices"
	"strings"
)

// index finds the rules that a query could match without asking all of them. A rule is looked up by one of its
// conditions: by the texts that it accepts, by the sets that it refers to, or by how the texts begin. It takes the
// condition that the fewest other rules share. Rules without such a condition are asked always.
type index struct {
	shelves []*shelf
	own     []int32 // whose names begin with the account
	always  []int32
}

// shelf is the rules that are found by one fact of a query.
type shelf struct {
	subject subject
	key     string // of a label or a claim
	whole   map[string][]*posting
	starts  map[string][]*posting
	lengths []int   // of the keys of starts, in ascending order
	unknown []int32 // the rules to ask where the fact is not known
}

// posting is rules that are found together, in their order.
type posting struct{ rules []int32 }

// startLengths are the lengths that the beginnings of texts are looked up by, so that a text is not looked up by each.
var startLengths = [...]int{48, 32, 24, 20, 16, 14, 12, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}

// handle is one of the keys that a condition is looked up by; a rule is found by any of them.
type handle struct {
	text  string
	start bool    // text is how values begin
	set   *choice // in place of text
}

// handles returns the handles of a condition, or false if there is a value that it accepts and that none of them finds.
func (c *choice) handles() ([]handle, bool) {
	var all []handle
	if c.absent {
		all = append(all, handle{})
	}
	for s := range c.literals {
		all = append(all, handle{text: s})
	}
	for _, p := range c.patterns {
		if s, ok := p.literal(); ok {
			all = append(all, handle{text: s})
			continue
		}
		start := p.start()
		i := slices.IndexFunc(startLengths[:], func(n int) bool { return n <= len(start) })
		if i < 0 {
			return nil, false
		}
		all = append(all, handle{text: start[:startLengths[i]], start: true})
	}
	for _, s := range c.sets {
		if _, ok := s.handles(); !ok {
			return nil, false
		}
		all = append(all, handle{set: s})
	}
	return all, true
}

// aspect is what conditions are about.
type aspect struct {
	subject subject
	key     string
}

// term is a handle of a condition, and what that is about.
type term struct {
	aspect
	handle
}

func newIndex(rules []rule) index {
	offers := make([][][]term, len(rules)) // for each rule, its conditions' handles
	shared := map[term]int{}
	for i := range rules {
		for _, c := range rules[i].conditions {
			handles, ok := c.want.handles()
			if !ok {
				continue
			}
			terms := make([]term, len(handles))
			for j, h := range handles {
				terms[j] = term{aspect{c.subject, c.key}, h}
				shared[terms[j]]++
			}
			offers[i] = append(offers[i], terms)
		}
	}
	b := builder{shelves: map[aspect]*shelf{}, postings: map[term]*posting{}}
	for i, conditions := range offers {
		best, least := -1, 0
		for j, terms := range conditions {
			count := 0
			for _, k := range terms {
				count = max(count, shared[k])
			}
			count = 2 * count
			if terms[0].subject.fact() != 0 {
				count++ // what is known always is better
			}
			if best < 0 || count < least {
				best, least = j, count
			}
		}
		if best < 0 && rules[i].isOwn() {
			b.index.own = append(b.index.own, int32(i))
			continue
		}
		if best < 0 {
			b.index.always = append(b.index.always, int32(i))
			continue
		}
		for _, k := range conditions[best] {
			b.add(k, int32(i))
		}
	}
	for _, l := range b.index.shelves {
		slices.Sort(l.lengths)
		if l.subject.fact() != 0 {
			l.unknown = distinct(rules, l.unknown)
		}
	}
	return b.index
}

// isOwn tells whether all names that r matches begin with the account.
func (r *rule) isOwn() bool {
	p, ok := r.on(onName).alone()
	return ok && len(p.tokens) > 0 && p.tokens[0].kind == placeholder && p.tokens[0].fact.field == "account"
}

// builder builds an index.
type builder struct {
	index    index
	shelves  map[aspect]*shelf
	postings map[term]*posting
}

func (b *builder) add(k term, rule int32) {
	l := b.shelves[k.aspect]
	if l == nil {
		l = &shelf{subject: k.subject, key: k.key, whole: map[string][]*posting{}, starts: map[string][]*posting{}}
		b.shelves[k.aspect] = l
		b.index.shelves = append(b.index.shelves, l)
	}
	p := b.postings[k]
	if p == nil {
		p = &posting{}
		b.postings[k] = p
		l.hang(k.handle, p)
	}
	if n := len(p.rules); n == 0 || p.rules[n-1] != rule {
		p.rules = append(p.rules, rule)
	}
	if n := len(l.unknown); n == 0 || l.unknown[n-1] != rule {
		l.unknown = append(l.unknown, rule)
	}
}

// hang makes p be found by h.
func (l *shelf) hang(h handle, p *posting) {
	switch {
	case h.set != nil:
		members, _ := h.set.handles()
		for _, m := range members {
			l.hang(m, p)
		}
	case h.start:
		l.starts[h.text] = append(l.starts[h.text], p)
		if !slices.Contains(l.lengths, len(h.text)) {
			l.lengths = append(l.lengths, len(h.text))
		}
	default:
		if have := l.whole[h.text]; len(have) == 0 || have[len(have)-1] != p {
			l.whole[h.text] = append(have, p)
		}
	}
}

// distinct returns those of some rules, looked up by one fact of a target, that have something to add where that fact is
// not known: a rule has not if it differs from one before it by nothing but the target.
func distinct(rules []rule, some []int32) []int32 {
	seen := map[string]bool{}
	return slices.DeleteFunc(some, func(i int32) bool {
		r := &rules[i]
		if r.when != nil || r.facts&factTime != 0 {
			return false
		}
		var like strings.Builder
		fmt.Fprintf(&like, "%v %v %d", r.deny, r.public, r.actions)
		targets := 0
		for _, c := range r.conditions {
			if c.subject.fact() != 0 {
				targets++
				continue
			}
			fmt.Fprintf(&like, " %d %q %q", c.subject, c.key, c.want.written)
		}
		if r.ip != nil {
			fmt.Fprintf(&like, " ip %q", r.ip.written)
		}
		if seen[like.String()] {
			return true
		}
		if targets == 1 {
			seen[like.String()] = true
		}
		return false
	})
}

// candidates returns the rules that q could match.
func (x *index) candidates(q *Query) candidates {
	var found candidates
	found.add(x.always)
	if len(x.own) > 0 && strings.HasPrefix(q.Name, q.Identity.Account) {
		found.add(x.own)
	}
	for _, l := range x.shelves {
		switch {
		case l.subject.fact()&^q.Target.Known != 0:
			found.add(l.unknown)
		case l.subject == onLabel:
			for _, v := range q.Identity.Labels[l.key] {
				l.find(v, &found)
			}
		case l.subject == onClaim:
			claimed(q.Identity.Claims, l.key, func(v string) bool {
				l.find(v, &found)
				return false
			})
		default:
			l.find(l.subject.of(q), &found)
		}
	}
	return found
}

// find adds the rules that are found by a value.
func (l *shelf) find(value string, found *candidates) {
	for _, p := range l.whole[value] {
		found.add(p.rules)
	}
	l.findStart(value, found)
}

// findStart adds the rules that are found by how a value begins.
func (l *shelf) findStart(value string, found *candidates) {
	for _, n := range l.lengths {
		if n > len(value) {
			return
		}
		for _, p := range l.starts[value[:n]] {
			found.add(p.rules)
		}
	}
}

// coverers returns the rules that could match all that r matches: each is found by one of the values that r accepts for
// the condition that it is looked up by.
func (x *index) coverers(r *rule) candidates {
	var found candidates
	found.add(x.always)
	found.add(x.own)
	for _, l := range x.shelves {
		for i := range r.conditions {
			if c := &r.conditions[i]; c.subject == l.subject && c.key == l.key {
				l.findOne(c.want, &found)
			}
		}
	}
	return found
}

// findOne adds the rules that are found by one of the values that c accepts.
func (l *shelf) findOne(c *choice, found *candidates) {
	if c.absent {
		l.find("", found)
		return
	}
	for p := range c.all {
		if s, ok := p.literal(); ok {
			l.find(s, found)
		} else {
			l.findStart(p.start(), found)
		}
		return
	}
}

// start returns what every value that p matches begins with.
func (p *pattern) start() string {
	if p.regex != nil {
		return p.regex.start
	}
	return p.prefix
}

// candidates merges ascending lists into one.
type candidates struct {
	lists [8][]int32
	count int
	more  [][]int32
}

func (c *candidates) add(rules []int32) {
	switch {
	case len(rules) == 0:
	case c.count < len(c.lists):
		c.lists[c.count] = rules
		c.count++
	default:
		c.more = append(c.more, rules)
	}
}

// next returns the least rule not returned yet.
func (c *candidates) next() (int32, bool) {
	if c.count == 1 {
		rules := c.lists[0]
		if len(rules) == 0 {
			return 0, false
		}
		c.lists[0] = rules[1:]
		return rules[0], true
	}
	least := int32(-1)
	see := func(rules []int32) {
		if len(rules) > 0 && (least < 0 || rules[0] < least) {
			least = rules[0]
		}
	}
	for i := range c.count {
		see(c.lists[i])
	}
	for _, rules := range c.more {
		see(rules)
	}
	if least < 0 {
		return 0, false
	}
	for i := range c.count {
		if rules := c.lists[i]; len(rules) > 0 && rules[0] == least {
			c.lists[i] = rules[1:]
		}
	}
	for i, rules := range c.more {
		if len(rules) > 0 && rules[0] == least {
			c.more[i] = rules[1:]
		}
	}
	return least, true
}
