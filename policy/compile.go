package policy

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Options are what rules may refer to.
type Options struct {
	Sets map[string]Values // by the name that follows @
}

// Compile makes a policy of rules. The error is an Errors that holds every mistake in them, and in the sets.
func Compile(rules []Rule, o Options) (*Policy, error) {
	p := &Policy{rules: make([]rule, len(rules)), written: rules}
	s := &sets{written: o.Sets, texts: map[string]*choice{}, addresses: map[string][]netip.Prefix{}}
	l := &language{}
	errs := s.check()
	broken := len(errs) > 0
	size := 0
	for i, r := range rules {
		c := compiler{rule: i, source: r.Source, sets: s, language: l, broken: broken}
		p.rules[i] = c.compile(r)
		errs = append(errs, c.errs...)
		if size += p.rules[i].size(); size+s.size > maxPolicySize {
			errs = append(errs, &Error{Rule: i, Source: r.Source, Field: "match",
				Err: fmt.Errorf("the expressions of the rules up to here expand to more than %d elements", maxPolicySize)})
			break
		}
	}
	if len(errs) > 0 {
		return nil, errs
	}
	p.index = newIndex(p.rules)
	p.unused = s.unused()
	for i := range p.rules {
		p.facts |= p.rules[i].facts
		if p.rules[i].public {
			p.lastPublic = i + 1
		}
	}
	return p, nil
}

// rule is a compiled rule. Its possible answers are made beforehand.
type rule struct {
	conditions []condition // on text, at most one of each subject and key
	ip         *addresses  // nil is no condition
	from       time.Time   // zero is none
	expires    time.Time   // the first instant when it does not hold; zero is never
	when       *expression // nil is no condition
	facts      Fact        // what of a target, and whether the time, it depends on

	actions actions
	deny    bool
	public  bool

	allowed, unlisted, denied answer
	unknown                   []unknown
}

// unknown are the answers where a rule may match, by what it depends on of what is not known.
type unknown struct {
	facts  Fact
	maybe  answer // it is allowed or denied
	open   answer // it is allowed, or nobody has decided
	denied answer // it is denied, or nobody has decided
}

// condition is one that text must meet.
type condition struct {
	subject subject
	key     string // of a label, or the path of a claim
	want    *choice
}

// factTime is whether the time of the request is known. It is no fact of a Target.
const factTime Fact = 1 << 7

// source is where the rule stands.
func (r *rule) source() string { return r.allowed[0].Source }

// size is how much the rule's expressions expand to.
func (r *rule) size() int {
	size := 0
	for _, c := range r.conditions {
		size += c.want.size()
	}
	return size
}

// on returns the condition of r on a subject; nil if it has none.
func (r *rule) on(s subject) *choice {
	for i := range r.conditions {
		if r.conditions[i].subject == s {
			return r.conditions[i].want
		}
	}
	return nil
}

// compiler compiles one rule.
type compiler struct {
	rule     int
	source   string
	sets     *sets
	language *language
	broken   bool // the sets are
	errs     Errors
}

func (c *compiler) bad(field string, err error) {
	if err != nil {
		c.errs = append(c.errs, &Error{Rule: c.rule, Source: c.source, Field: field, Err: err})
	}
}

func (c *compiler) compile(r Rule) rule {
	m := r.Match
	var to rule
	add := func(s subject, key string, values Values) {
		if values == nil && key == "" {
			return
		}
		made := condition{subject: s, key: key}
		made.want = c.choice("match."+made.field(), values, s)
		to.conditions = append(to.conditions, made)
		to.facts |= s.fact()
	}
	add(onAccount, "", m.Account)
	add(onMethod, "", m.Method)
	for _, key := range slices.Sorted(maps.Keys(m.Labels)) {
		add(onLabel, key, m.Labels[key])
	}
	for _, key := range slices.Sorted(maps.Keys(m.Claims)) {
		add(onClaim, key, m.Claims[key])
	}
	add(onType, "", m.Type)
	add(onName, "", m.Name)
	add(onService, "", m.Service)
	add(onTag, "", m.Tag)
	add(onDigest, "", m.Digest)
	add(onMediaType, "", m.MediaType)
	add(onArtifactType, "", m.ArtifactType)
	if m.IP != nil {
		to.ip = c.addresses(m.IP)
	}
	slices.SortStableFunc(c.errs, func(a, b *Error) int { return cmp.Compare(a.Field, b.Field) })

	c.times(r, &to)
	if r.When != "" {
		c.when(r, &to)
	}
	c.effect(r, &to)
	if r.Public {
		c.public(r, &to)
	}
	c.answers(r, &to)
	return to
}

// choice compiles the values of a condition.
func (c *compiler) choice(field string, values Values, on subject) *choice {
	absent := false
	var patterns []*pattern
	var of []*choice
	c.each(field, values, func(s string) error {
		if s == "" && on.mayBeAbsent() {
			absent = true
			return nil
		}
		p, err := compileEntry(s)
		patterns = append(patterns, p)
		return err
	}, func(name string) error {
		set, err := c.sets.members(name)
		of = append(of, set)
		return err
	})
	if len(c.errs) > 0 {
		return &choice{}
	}
	made := newChoice(values, patterns, of)
	made.absent = absent
	return made
}

// addresses compiles a condition on ip.
func (c *compiler) addresses(values Values) *addresses {
	var all []netip.Prefix
	c.each("match.ip", values, func(s string) error {
		p, err := parsePrefix(s)
		all = append(all, p)
		return err
	}, func(name string) error {
		set, err := c.sets.prefixes(name)
		all = append(all, set...)
		return err
	})
	return newAddresses(values, all)
}

// each goes through the values of a condition: texts, and names of sets where those are sound.
func (c *compiler) each(field string, values Values, text, set func(string) error) {
	if len(values) == 0 {
		c.bad(field, errors.New("an empty list matches nothing; leave it out to match everything"))
	}
	for i, s := range values {
		at := field
		if len(values) > 1 {
			at = fmt.Sprintf("%s[%d]", field, i)
		}
		name, isSet := setName(s)
		switch _, known := c.sets.written[name]; {
		case !isSet:
			c.bad(at, text(s))
		case !known:
			c.bad(at, unknownSet(name))
		case !c.broken:
			c.bad(at, set(name))
		}
	}
}

// effect compiles effect and actions.
func (c *compiler) effect(r Rule, to *rule) {
	switch r.Effect {
	case "", Allow:
		if r.Actions == nil {
			c.bad("actions", errors.New("is missing; [] allows nothing"))
		}
	case Deny:
		to.deny = true
		if len(r.Actions) == 0 {
			to.actions = every
		}
	default:
		c.bad("effect", fmt.Errorf("%q is neither allow nor deny", r.Effect))
	}
	for j, a := range r.Actions {
		set := listed(a)
		if set == 0 {
			c.bad(fmt.Sprintf("actions[%d]", j), fmt.Errorf("%q is not an action; use %s", a, known))
		}
		to.actions |= set
	}
	if to.deny && to.actions&update != 0 && to.facts&FactTag != 0 {
		to.actions |= remove // or a tag that cannot be moved could be removed and made anew
	}
}

// times compiles from and expires.
func (c *compiler) times(r Rule, to *rule) {
	read := func(field, s string, until bool) time.Time {
		if s == "" {
			return time.Time{}
		}
		to.facts |= factTime
		if t, err := time.Parse(time.DateOnly, s); err == nil {
			if until {
				t = t.AddDate(0, 0, 1)
			}
			return t
		}
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			c.bad(field, fmt.Errorf("%q is no time; want 2026-12-31, or 2026-12-31T18:00:00Z", s))
		}
		return t
	}
	to.from, to.expires = read("from", r.From, false), read("expires", r.Expires, true)
	if !to.from.IsZero() && !to.expires.IsZero() && !to.from.Before(to.expires) {
		c.bad("expires", errors.New("the rule ends before it begins"))
	}
}

// when compiles the expression.
func (c *compiler) when(r Rule, to *rule) {
	when, errs := c.language.compile(r.When)
	for _, err := range errs {
		c.bad("when", err)
		if at := (*whenError)(nil); errors.As(err, &at) {
			last := c.errs[len(c.errs)-1]
			last.Line, last.Column = at.line, at.column
		}
	}
	if to.when = when; when != nil {
		to.facts |= when.facts
		if r.Public && when.mentions("identity.") {
			c.bad("when", errors.New("a public rule is everybody's; it has no condition on who is asking"))
		}
	}
}

// public checks a public rule.
func (c *compiler) public(r Rule, to *rule) {
	to.public = true
	m := r.Match
	if len(r.Actions) == 0 {
		c.bad("actions", errors.New("a public rule allows something"))
	}
	if to.deny {
		c.bad("public", errors.New("a public rule allows; remove effect: deny"))
	}
	for field, stated := range map[string]bool{
		"account": m.Account != nil, "method": m.Method != nil, "labels": m.Labels != nil, "claims": m.Claims != nil,
	} {
		if stated {
			c.bad("match."+field, errors.New("a public rule is everybody's; it has no condition on who is asking"))
		}
	}
}

// answers makes the answers of a rule.
func (c *compiler) answers(r Rule, to *rule) {
	place := placeOf(Decision{Rule: c.rule, Source: r.Source})
	answered := func(d Decision) answer {
		d.Rule, d.Source = c.rule, r.Source
		if !d.Allowed {
			d.Message = r.Message
		}
		return answer{d}
	}
	to.allowed = answered(Decision{Allowed: true, Reason: "allowed by " + place})
	to.unlisted = answered(Decision{Reason: place + " matches and does not list the action"})
	to.denied = answered(Decision{Reason: "denied by " + place})
	for facts := to.facts; facts > 0; facts = (facts - 1) & to.facts {
		reason := place + " depends on " + facts.String()
		to.unknown = append(to.unknown, unknown{
			facts:  facts,
			maybe:  answered(Decision{Maybe: true, Reason: reason}),
			open:   answered(Decision{Maybe: true, Open: true, Reason: reason}),
			denied: answered(Decision{Open: true, Reason: reason}),
		})
	}
}
