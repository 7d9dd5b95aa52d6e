package policy

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Values are what a condition accepts: it holds when any of them does. Nil is no condition.
type Values []string

// Just returns the Values of a condition that accepts s; none without s.
func Just(s *string) Values {
	if s == nil {
		return nil
	}
	return Values{*s}
}

// JustEach is Just for conditions by label.
func JustEach(m map[string]string) map[string]Values {
	if m == nil {
		return nil
	}
	all := make(map[string]Values, len(m))
	for key, s := range m {
		all[key] = Values{s}
	}
	return all
}

// setName returns the name of the set that an entry of Values refers to.
func setName(entry string) (string, bool) { return strings.CutPrefix(entry, "@") }

// choice is compiled Values: text that matches one of its patterns or belongs to one of its sets.
type choice struct {
	written  Values
	absent   bool                // whether "", which is no value, is among the entries
	literals map[string]struct{} // patterns that are nothing but text, when there are several
	patterns []*pattern          // the others
	sets     []*choice
}

// manyLiterals is how many texts are looked up rather than compared.
const manyLiterals = 4

// newChoice makes a choice of compiled patterns.
func newChoice(written Values, patterns []*pattern, sets []*choice) *choice {
	c := &choice{written: written, sets: sets}
	literals := map[string]struct{}{}
	for _, p := range patterns {
		if s, ok := p.literal(); ok {
			literals[s] = struct{}{}
		} else {
			c.patterns = append(c.patterns, p)
		}
	}
	if len(literals) >= manyLiterals {
		c.literals = literals
		return c
	}
	c.patterns = patterns
	return c
}

// match tells whether c accepts value, which is there: patterns may match the empty text.
func (c *choice) match(value string, q *Query) bool {
	if _, ok := c.literals[value]; ok {
		return true
	}
	for _, p := range c.patterns {
		if p.match(value, q) {
			return true
		}
	}
	for _, s := range c.sets {
		if s.match(value, q) {
			return true
		}
	}
	return false
}

// matchOrAbsent is match for facts that may be absent: that is "", which patterns do not match.
func (c *choice) matchOrAbsent(value string, q *Query) bool {
	if value == "" {
		return c.absent
	}
	return c.match(value, q)
}

// all yields the patterns of c and of its sets.
func (c *choice) all(yield func(*pattern) bool) {
	c.walk(yield)
}

func (c *choice) walk(yield func(*pattern) bool) bool {
	if c == nil {
		return true
	}
	for _, s := range slices.Sorted(maps.Keys(c.literals)) {
		if !yield(plainText(s)) {
			return false
		}
	}
	for _, p := range c.patterns {
		if !yield(p) {
			return false
		}
	}
	for _, s := range c.sets {
		if !s.walk(yield) {
			return false
		}
	}
	return true
}

// alone returns the only pattern of c, if it has one only and nothing else.
func (c *choice) alone() (*pattern, bool) {
	if c == nil || c.absent || c.literals != nil || len(c.sets) > 0 || len(c.patterns) != 1 {
		return nil, false
	}
	return c.patterns[0], true
}

// size is how much the expressions of c expand to, without those of sets.
func (c *choice) size() int {
	size := 0
	if c != nil {
		for _, p := range c.patterns {
			size += p.size()
		}
	}
	return size
}

// plainText returns the pattern that matches s alone.
func plainText(s string) *pattern {
	return &pattern{written: s, tokens: []token{{kind: text, text: s}}, prefix: s}
}

// addresses are compiled Values of a condition on ip.
type addresses struct {
	written  Values
	prefixes map[netip.Prefix]struct{}
	bits     []netip.Prefix // a prefix of each family and length that prefixes has
}

func newAddresses(written Values, prefixes []netip.Prefix) *addresses {
	a := &addresses{written: written, prefixes: map[netip.Prefix]struct{}{}}
	for _, p := range prefixes {
		a.prefixes[p] = struct{}{}
		same := func(b netip.Prefix) bool { return b.Bits() == p.Bits() && b.Addr().Is4() == p.Addr().Is4() }
		if !slices.ContainsFunc(a.bits, same) {
			a.bits = append(a.bits, p)
		}
	}
	return a
}

// contain tells whether client is among a.
func (a *addresses) contain(client netip.Addr) bool {
	if len(a.prefixes) == 1 {
		return a.bits[0].Contains(client)
	}
	for _, like := range a.bits {
		if like.Addr().Is4() != client.Is4() {
			continue
		}
		if p, err := client.Prefix(like.Bits()); err == nil {
			if _, ok := a.prefixes[p]; ok {
				return true
			}
		}
	}
	return false
}

func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		if a.Zone() != "" {
			return netip.Prefix{}, errors.New("an address with a zone cannot be matched")
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a CIDR prefix", s)
	}
	if a := p.Addr(); a.Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("%q covers more than the IPv4 addresses within IPv6", s)
		}
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// sets are the sets of names that rules may refer to. Each is compiled when it is first asked for, once as patterns and
// once as addresses.
type sets struct {
	written   map[string]Values
	texts     map[string]*choice
	addresses map[string][]netip.Prefix
	size      int // of their expressions
}

// maxMembers is how many members a set may have, those of its sets included.
const maxMembers = 100_000

// check returns what is wrong with the sets themselves.
func (s *sets) check() Errors {
	var errs Errors
	for _, name := range slices.Sorted(maps.Keys(s.written)) {
		bad := func(field string, err error) {
			errs = append(errs, &Error{Rule: -1, Set: name, Field: field, Err: err})
		}
		if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != "" {
			bad("", errors.New("a name of a set has letters, digits, - and _"))
		}
		members := s.written[name]
		if len(members) == 0 {
			bad("", errors.New("a set without members matches nothing"))
		}
		before := len(errs)
		for i, m := range members {
			field := fmt.Sprintf("[%d]", i)
			if other, ok := setName(m); ok {
				if _, known := s.written[other]; !known {
					bad(field, unknownSet(other))
				}
				continue
			}
			if _, err := compileEntry(m); err != nil {
				bad(field, err)
			}
		}
		if len(errs) == before && s.inCircle(name) {
			bad("", errors.New("the set contains itself"))
		}
	}
	return errs
}

// inCircle tells whether a set is a member of itself, through however many others.
func (s *sets) inCircle(name string) bool {
	seen := map[string]bool{}
	var reaches func(string) bool
	reaches = func(from string) bool {
		for _, m := range s.written[from] {
			other, ok := setName(m)
			if !ok || seen[other] {
				continue
			}
			if other == name {
				return true
			}
			if seen[other] = true; reaches(other) {
				return true
			}
		}
		return false
	}
	return reaches(name)
}

func unknownSet(name string) error {
	return fmt.Errorf(`there is no set %q; sets: defines them, and \@ is a plain @`, name)
}

// compileEntry compiles one of Values that is neither "" nor a set.
func compileEntry(s string) (*pattern, error) {
	if s == "" {
		return nil, errors.New("an empty pattern matches nothing; leave it out to match everything")
	}
	return compilePattern(s)
}

// members returns a set as a choice. The sets have been checked.
func (s *sets) members(name string) (*choice, error) {
	if c := s.texts[name]; c != nil {
		return c, nil
	}
	written := s.flat(name)
	if len(written) > maxMembers {
		return nil, fmt.Errorf("the set %s has more than %d members", name, maxMembers)
	}
	var patterns []*pattern
	for _, m := range written {
		p, err := compileEntry(m)
		if err != nil {
			return nil, err
		}
		s.size += p.size()
		patterns = append(patterns, p)
	}
	c := newChoice(Values{"@" + name}, patterns, nil)
	s.texts[name] = c
	return c, nil
}

// prefixes returns a set as addresses. The sets have been checked.
func (s *sets) prefixes(name string) ([]netip.Prefix, error) {
	if p := s.addresses[name]; p != nil {
		return p, nil
	}
	var all []netip.Prefix
	for _, m := range s.flat(name) {
		p, err := parsePrefix(m)
		if err != nil {
			return nil, fmt.Errorf("the set %s: %w", name, err)
		}
		all = append(all, p)
	}
	s.addresses[name] = all
	return all, nil
}

// unused returns the names of the sets that nothing compiled so far refers to, nor a set that it does refer to.
func (s *sets) unused() []string {
	used := map[string]bool{}
	var use func(string)
	use = func(name string) {
		if used[name] {
			return
		}
		used[name] = true
		for _, m := range s.written[name] {
			if other, ok := setName(m); ok {
				use(other)
			}
		}
	}
	for name := range s.texts {
		use(name)
	}
	for name := range s.addresses {
		use(name)
	}
	var unused []string
	for _, name := range slices.Sorted(maps.Keys(s.written)) {
		if !used[name] {
			unused = append(unused, name)
		}
	}
	return unused
}

// flat returns the members of a set and of the sets among them, each once.
func (s *sets) flat(name string) Values {
	var all Values
	seen := map[string]bool{"@" + name: true}
	var add func(string)
	add = func(name string) {
		for _, m := range s.written[name] {
			if seen[m] {
				continue
			}
			seen[m] = true
			if other, ok := setName(m); ok {
				add(other)
			} else {
				all = append(all, m)
			}
		}
	}
	add(name)
	return all
}
