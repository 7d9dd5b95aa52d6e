package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Trace is how a decision came about: what each rule had to say.
type Trace struct {
	Decision Decision
	Steps    []Step // one for each rule, in their order

	rules []Rule // all of them, as they are written
}

// Step is what one rule had to say about a query.
type Step struct {
	Rule    int    // index of the rule
	Source  string // Source of the rule
	Outcome Outcome
	Unmet   []Condition // with NoMatch, the conditions that do not hold; with Depends, those of which it is not known
	Helps   bool        // with NoMatch and Depends, whether the rule would allow the query if they held
	Part    string      // with Narrows, the parts that are denied
}

// Outcome is the effect of a rule on a query.
type Outcome int

// The outcomes of a rule. Allows and Denies decide, and so does Unlisted unless a public rule follows.
const (
	NoMatch  Outcome = iota // a condition does not hold
	Passes                  // matches, and denies other actions than the one asked about
	Silent                  // matches, is public, and allows other actions than the one asked about
	Narrows                 // matches, and denies parts of push; the next rules are asked about the others
	Allows                  // matches, and allows the action
	Unlisted                // matches, and does not list the action
	Denies                  // matches, and denies what is left of the action
	Blocks                  // matches, and denies what a public rule after it could allow
	Fails                   // its expression cannot be evaluated, so that nothing is allowed
	Depends                 // may match: a condition is on what the query leaves unknown
	NotAsked                // the decision has been made before
)

// Condition is a condition of a rule that does not hold, or of which it is not known whether it does.
type Condition struct {
	Field   string   // such as "name" or "labels.group"
	Want    Values   // the condition, as it is written
	Got     []string // what the query has: none where that is absent
	Unknown bool     // the query does not tell what it has
	With    []string // what the placeholders of Want stand for, such as `${account} is "bob"`
}

// Explain decides q as Decide does and tells what each rule had to say about it.
func (p *Policy) Explain(q Query) Trace {
	q.unmap()
	if p.acl != nil {
		t := p.acl.explain(&q)
		t.rules = p.written
		return t
	}
	t := Trace{Steps: make([]Step, len(p.rules)), rules: p.written}
	want := wanted(q.Action)
	state := state{open: want}
	for i := range p.rules {
		r := &p.rules[i]
		s := &t.Steps[i]
		*s = Step{Rule: i, Source: r.source(), Outcome: NotAsked}
		if state.over() || state.open == 0 && i >= p.lastPublic || !state.asks(r) {
			continue
		}
		o := r.ask(&q)
		m := o.matches
		before := state
		state.hear(r, o)
		hit := r.actions & before.open
		if r.public {
			hit = r.actions & (before.open | before.closed)
		}
		if m != yes {
			s.Outcome, s.Unmet, s.Helps = NoMatch, r.unmet(&q), hit != 0 && !r.deny
		}
		denied := (before.open | before.closed) &^ (state.open | state.closed)
		switch {
		case o.fails == yes:
			s.Outcome, s.Helps = Fails, false
			s.Unmet = []Condition{{Field: "when", Want: Values{r.when.written}, Got: []string{o.err.Error()}}}
		case m == maybe || o.fails == maybe:
			s.Outcome = Depends
		case m == no:
		case state.sure, !r.deny && !r.public && hit != 0: // or a rule before it may deny what it allows
			s.Outcome = Allows
		case r.deny && denied&before.open == 0 && denied != 0:
			s.Outcome = Blocks
		case r.deny && denied != 0 && state.over():
			s.Outcome = Denies
		case r.deny && denied != 0:
			s.Outcome, s.Part = Narrows, denied.String()
		case !r.deny && !r.public && before.open != 0:
			s.Outcome = Unlisted
		case r.deny:
			s.Outcome = Passes
		default:
			s.Outcome = Silent
		}
	}
	t.Decision = state.answer(want, &q)[0]
	return t
}

// Matched returns the steps of the rules that match, up to the one that decided.
func (t Trace) Matched() []Step {
	var matched []Step
	for _, s := range t.Steps {
		if s.Outcome != NoMatch && s.Outcome != NotAsked {
			matched = append(matched, s)
		}
	}
	return matched
}

// Nearest returns what came nearest to allowing a query that was denied: of the rules that would have if their
// conditions held, those with the fewest that do not.
func (t Trace) Nearest() []Step {
	var nearest []Step
	for _, s := range t.Steps {
		switch {
		case !s.Helps || t.Decision.Allowed || len(nearest) > 0 && len(s.Unmet) > len(nearest[0].Unmet):
		case len(nearest) > 0 && len(s.Unmet) == len(nearest[0].Unmet):
			nearest = append(nearest, s)
		default:
			nearest = []Step{s}
		}
	}
	return nearest
}

// String says what the rule had to say.
func (s Step) String() string {
	switch s.Outcome {
	case Passes:
		return "matches, and denies other actions only"
	case Silent:
		return "matches, and allows everybody other actions only"
	case Narrows:
		return fmt.Sprintf("matches, and denies %s only", s.Part)
	case Allows:
		return "decides: allowed"
	case Unlisted:
		return "decides: denied, the action is not listed"
	case Denies:
		return "decides: denied"
	case Blocks:
		return "matches, and denies what a public rule after it could allow"
	case Fails:
		return "decides: denied, its expression fails: " + strings.Join(s.Unmet[0].Got, "")
	case NotAsked:
		return "not asked"
	}
	unmet := make([]string, len(s.Unmet))
	for i, c := range s.Unmet {
		unmet[i] = c.String()
	}
	return strings.Join(unmet, "; ")
}

// String says what is and what should be, such as `name is "a/b", want "c/*"`.
func (c Condition) String() string {
	got := "is " + quotedList(c.Got)
	switch {
	case c.Unknown:
		got = "is not known yet"
	case len(c.Got) == 0 && c.Field == onAccount.String():
		got = "is anonymous"
	case len(c.Got) == 0 && (c.Field == "ip" || c.Field == "time"):
		got = "is unknown"
	case len(c.Got) == 0:
		got = "is absent"
	}
	want := quotedList(c.Want)
	if len(c.Want) == 1 && c.Want[0] == "" {
		want = "none"
		if c.Field == onAccount.String() {
			want = "anonymous"
		}
	}
	if len(c.Want) > 1 {
		want = "one of " + want
	}
	if len(c.With) > 0 {
		want += " where " + strings.Join(c.With, " and ")
	}
	return c.Field + " " + got + ", want " + want
}

// quotedList quotes values, no more of them than somebody will read.
func quotedList(values []string) string {
	const most = 8
	var list []string
	for _, v := range values[:min(len(values), most)] {
		list = append(list, strconv.Quote(v))
	}
	if more := len(values) - most; more > 0 {
		list = append(list, fmt.Sprintf("%d more", more))
	}
	return strings.Join(list, ", ")
}

// unmet returns the conditions of r that do not hold for q, whose client is unmapped, or of which that is not known: none
// exactly if r matches q. Where one does not hold, those that are not known are left out.
func (r *rule) unmet(q *Query) []Condition {
	var unmet, unknown []Condition
	for i := range r.conditions {
		c := &r.conditions[i]
		switch c.holds(q) {
		case no:
			unmet = append(unmet, c.unmet(q))
		case maybe:
			unknown = append(unknown, Condition{Field: c.field(), Want: c.want.written, With: c.with(q), Unknown: true})
		}
	}
	if r.ip != nil && !r.ip.contain(q.Client) {
		c := Condition{Field: "ip", Want: r.ip.written}
		if q.Client.IsValid() {
			c.Got = []string{q.Client.String()}
		}
		unmet = append(unmet, c)
	}
	if r.facts&factTime != 0 {
		c := Condition{Field: "time", Want: r.span()}
		switch r.holdsAt(q.Time) {
		case no:
			c.Got = []string{q.Time.UTC().Format(time.RFC3339)}
			unmet = append(unmet, c)
		case maybe:
			c.Unknown = true
			unknown = append(unknown, c)
		}
	}
	if len(unmet) == 0 && r.when != nil {
		c := Condition{Field: "when", Want: Values{r.when.written}}
		if o := r.when.evaluate(q, yes); o.matches == maybe {
			c.Unknown = true
			unknown = append(unknown, c)
		} else if o.matches == no && o.fails == no {
			c.Got = []string{"false"}
			unmet = append(unmet, c)
		}
	}
	if len(unmet) > 0 {
		return unmet
	}
	return unknown
}

// span says when r holds.
func (r *rule) span() Values {
	var span Values
	if !r.from.IsZero() {
		span = append(span, "from "+r.from.Format(time.RFC3339))
	}
	if !r.expires.IsZero() {
		span = append(span, "before "+r.expires.Format(time.RFC3339))
	}
	return Values{strings.Join(span, " and ")}
}

// field is the key of c in a rule.
func (c *condition) field() string {
	if c.key != "" {
		return c.subject.String() + "." + c.key
	}
	return c.subject.String()
}

// unmet says how c does not hold.
func (c *condition) unmet(q *Query) Condition {
	u := Condition{Field: c.field(), Want: c.want.written, With: c.with(q)}
	switch c.subject {
	case onLabel:
		u.Got = q.Identity.Labels[c.key]
	case onClaim:
		claimed(q.Identity.Claims, c.key, func(v string) bool {
			u.Got = append(u.Got, v)
			return false
		})
	default:
		if got := c.subject.of(q); got != "" || !c.subject.mayBeAbsent() {
			u.Got = []string{got}
		}
	}
	return u
}

// with tells what the placeholders of c stand for.
func (c *condition) with(q *Query) []string {
	var all []string
	for _, p := range c.want.patterns {
		for _, f := range p.facts() {
			with := f.String() + " is absent"
			if values := slices.Collect(f.values(q, "", "")); len(values) > 0 {
				with = f.String() + " is " + quotedList(values)
			}
			if !slices.Contains(all, with) {
				all = append(all, with)
			}
		}
	}
	return all
}

// writtenPrefix writes a prefix as a rule would.
func writtenPrefix(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}
