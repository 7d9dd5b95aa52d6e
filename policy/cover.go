package policy

import (
	"net/netip"
	"slices"
	"strings"
)

// Whether one rule matches all that another matches is answered here with care: yes is certain, no may be unknown.

// covers tells whether r matches every query that b matches.
func (r *rule) covers(b *rule) bool {
	if !r.ip.covers(b.ip) {
		return false
	}
	if r.when != nil && r.when != b.when { // equal texts are one expression
		return false
	}
	if !r.from.Equal(b.from) || !r.expires.Equal(b.expires) {
		return false
	}
	for i := range r.conditions {
		c := &r.conditions[i]
		covered := slices.ContainsFunc(b.conditions, func(d condition) bool {
			return c.subject == d.subject && c.key == d.key && c.want.covers(d.want)
		})
		always := (c.subject == onType || c.subject == onName || c.subject == onService) && c.want.everything()
		if !covered && !always {
			return false
		}
	}
	return true
}

// covers tells whether c accepts whatever b does.
func (c *choice) covers(b *choice) bool {
	if b.absent && !c.absent {
		return false
	}
	for s := range b.literals {
		if !c.coversPattern(plainText(s)) {
			return false
		}
	}
	for _, p := range b.patterns {
		if !c.coversPattern(p) {
			return false
		}
	}
	for _, s := range b.sets {
		if !slices.Contains(c.sets, s) && !c.covers(s) {
			return false
		}
	}
	return true
}

// coversPattern tells whether c accepts every value that p matches, whatever the placeholders of both stand for.
func (c *choice) coversPattern(p *pattern) bool {
	if s, ok := p.literal(); ok {
		if _, ok := c.literals[s]; ok {
			return true
		}
	}
	return slices.ContainsFunc(c.patterns, func(q *pattern) bool { return q.covers(p) }) ||
		slices.ContainsFunc(c.sets, func(s *choice) bool { return s.coversPattern(p) })
}

// everything tells whether c accepts every value that is there.
func (c *choice) everything() bool {
	return slices.ContainsFunc(c.patterns, (*pattern).everything)
}

func coversPrefix(a, b netip.Prefix) bool {
	return !a.IsValid() || b.IsValid() && a.Bits() <= b.Bits() && a.Contains(b.Addr())
}

// covers tells whether a contain every address that b contain.
func (a *addresses) covers(b *addresses) bool {
	if a == nil {
		return true
	}
	if b == nil {
		return false
	}
	for p := range b.prefixes {
		covered := false
		for q := range a.prefixes {
			covered = covered || coversPrefix(q, p)
		}
		if !covered {
			return false
		}
	}
	return true
}

// covers tells whether p matches every value that b matches, whatever the placeholders of both stand for.
func (p *pattern) covers(b *pattern) bool {
	switch {
	case p.everything():
		return true
	case p.written == b.written:
		return true
	case !strings.HasPrefix(b.prefix, p.prefix):
		return false
	}
	if s, ok := b.literal(); ok && len(p.facts()) == 0 {
		return p.match(s, &Query{})
	}
	if p.regex != nil || b.regex != nil {
		return false
	}
	return coversAll(p.symbols(), b.symbols())
}

// everything tells whether p is **.
func (p *pattern) everything() bool { return len(p.tokens) == 1 && p.tokens[0].kind == anything }

// symbols returns p's tokens with each character of a text as a token of its own.
func (p *pattern) symbols() []token {
	var symbols []token
	for _, t := range p.tokens {
		if t.kind != text {
			symbols = append(symbols, t)
			continue
		}
		for _, r := range t.text {
			symbols = append(symbols, token{kind: text, text: string(r)})
		}
	}
	return symbols
}

// coversAll matches p with b as if each symbol of b were a character: at holds the places in p that b may have reached.
func coversAll(p, b []token) bool {
	at, next := make([]bool, len(p)+1), make([]bool, len(p)+1)
	reach := func(at []bool, i int) {
		for at[i] = true; i < len(p) && (p[i].kind == component || p[i].kind == anything); i++ {
			at[i+1] = true // a star may stand for nothing
		}
	}
	reach(at, 0)
	for _, s := range b {
		clear(next)
		for i := range p {
			if at[i] && p[i].swallows(s) {
				reach(next, i)
			}
			if at[i] && p[i].takes(s) {
				reach(next, i+1)
			}
		}
		at, next = next, at
	}
	return at[len(p)]
}

// swallows tells whether t is a star that may stand for all that s does, and more.
func (t token) swallows(s token) bool {
	switch t.kind {
	case anything:
		return true
	case component:
		return s.kind == text && s.text != "/" || s.kind == one || s.kind == class || s.kind == component
	}
	return false
}

// takes tells whether t, which is no star, matches whatever s does.
func (t token) takes(s token) bool {
	switch t.kind {
	case text:
		return s.kind == text && s.text == t.text
	case one:
		return s.kind == text && s.text != "/" || s.kind == one || s.kind == class
	case class:
		return s.kind == text && t.class.contains([]rune(s.text)[0]) ||
			s.kind == class && s.class.negated == t.class.negated && slices.Equal(s.class.ranges, t.class.ranges)
	case placeholder:
		return s.kind == placeholder && s.fact == t.fact
	}
	return false
}
