package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"customhouse"
)

// Trace is how a decision came about: what each rule had to say.
type Trace struct {
	Decision Decision
	Steps    []Step // one for each rule, in their order
}

// Step is what one rule had to say about a query.
type Step struct {
	Rule    int    // index of the rule
	Source  string // Source of the rule
	Outcome Outcome
	Unmet   []Condition        // with NoMatch, the conditions that do not hold
	Helps   bool               // with NoMatch, whether the rule would have allowed the query if they held
	Half    customhouse.Action // with Narrows, the half that is denied
}

// Outcome is the effect of a rule on a query.
type Outcome int

// The outcomes of a rule. Allows, Unlisted and Denies decide.
const (
	NoMatch  Outcome = iota // a condition does not hold
	Passes                  // matches, and denies other actions than the one asked about
	Narrows                 // matches, and denies one half of push; the next rules are asked about the other
	Allows                  // matches, and allows the action
	Unlisted                // matches, and does not allow the action
	Denies                  // matches, and denies what is left of the action
	NotAsked                // the decision has been made before
)

// Condition is a condition of a rule that does not hold.
type Condition struct {
	Field string   // such as "name" or "labels.group"
	Want  string   // the condition, as it is written
	Got   []string // what the query has: none where it is anonymous or without an address or the label
	With  []string // what the placeholders of Want stand for, such as `${account} is "bob"`
}

// Explain decides q as Decide does and tells what each rule had to say about it.
func (p *Policy) Explain(q Query) Trace {
	q.unmap()
	if p.acl != nil {
		return p.acl.explain(&q)
	}
	t := Trace{Decision: noRule[0], Steps: make([]Step, len(p.rules))}
	open := wanted(q.Action)
	for i := range p.rules {
		r := &p.rules[i]
		s := Step{Rule: i, Source: r.source(), Outcome: NotAsked}
		if open != 0 {
			s.Unmet = r.unmet(&q)
		}
		switch lists := r.actions&open != 0; {
		case open == 0:
		case len(s.Unmet) > 0:
			s.Outcome, s.Helps = NoMatch, lists && !r.deny
		case lists && !r.deny:
			s.Outcome, t.Decision, open = Allows, r.allowed[0], 0
		case !r.deny:
			s.Outcome, t.Decision, open = Unlisted, r.unlisted[0], 0
		case !lists:
			s.Outcome = Passes
		case open&^r.actions == 0:
			s.Outcome, t.Decision, open = Denies, r.denied[0], 0
		default:
			s.Outcome, s.Half = Narrows, customhouse.Action((open & r.actions).String())
			open &^= r.actions
		}
		t.Steps[i] = s
	}
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
	case Narrows:
		return fmt.Sprintf("matches, and denies %s only", s.Half)
	case Allows:
		return "decides: allowed"
	case Unlisted:
		return "decides: denied, the action is not listed"
	case Denies:
		return "decides: denied"
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
	got, want := "is "+quotedList(c.Got), strconv.Quote(c.Want)
	switch {
	case len(c.Got) == 0 && c.Field == "account":
		got = "is anonymous"
	case len(c.Got) == 0 && c.Field == "ip":
		got = "is unknown"
	case len(c.Got) == 0:
		got = "is absent"
	}
	if c.Want == "" && c.Field == "account" {
		want = "anonymous"
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

// unmet returns the conditions of r that do not hold for q, whose client is unmapped: none exactly if r matches q.
func (r *rule) unmet(q *Query) []Condition {
	var unmet []Condition
	add := func(field string, p *pattern, got ...string) {
		c := Condition{Field: field, Want: p.written, Got: got}
		for _, f := range p.facts() {
			with := f.String() + " is absent"
			if values := slices.Collect(f.values(q, "", "")); len(values) > 0 {
				with = f.String() + " is " + quotedList(values)
			}
			if !slices.Contains(c.With, with) {
				c.With = append(c.With, with)
			}
		}
		unmet = append(unmet, c)
	}
	if r.account != nil && !r.account.matchAccount(q) {
		var got []string
		if !q.Identity.Anonymous() {
			got = []string{q.Identity.Account}
		}
		add("account", r.account, got...)
	}
	for _, l := range r.labels {
		if values := q.Identity.Labels[l.key]; !slices.ContainsFunc(values, func(v string) bool { return l.pattern.match(v, q) }) {
			add("labels."+l.key, l.pattern, values...)
		}
	}
	for _, text := range []struct {
		field   string
		pattern *pattern
		value   string
	}{{"type", r.typ, q.Type}, {"name", r.name, q.Name}, {"service", r.service, q.Service}} {
		if text.pattern != nil && !text.pattern.match(text.value, q) {
			add(text.field, text.pattern, text.value)
		}
	}
	if r.ip.IsValid() && !r.ip.Contains(q.Client) {
		c := Condition{Field: "ip", Want: writtenPrefix(r.ip)}
		if q.Client.IsValid() {
			c.Got = []string{q.Client.String()}
		}
		unmet = append(unmet, c)
	}
	return unmet
}

// writtenPrefix writes a prefix as a rule would.
func writtenPrefix(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}
