package policy

import (
	"cmp"
	"slices"

	"customhouse"
)

// Ranges returns the ranges of names that the answer to q, which has no name, may be yes for: in byte order, none
// overlapping. For a name outside of them it is certainly no, for one in a range that is Sure certainly yes. The list is
// never nil.
func (p *Policy) Ranges(q Query) []customhouse.Range {
	q.unmap()
	q.Name = ""
	if p.acl != nil {
		return []customhouse.Range{{}}
	}
	want := wanted(q.Action)
	var spans []span
	for i := range p.rules {
		r := &p.rules[i]
		o := r.askWithoutName(&q)
		if o.matches == no && o.fails == no {
			continue
		}
		for _, s := range r.spans(&q) {
			s.rule, s.outcome = i, o
			spans = append(spans, s)
		}
	}
	slices.SortFunc(spans, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.First, b.First), -compareEnd(a.End, b.End), cmp.Compare(a.rule, b.rule))
	})
	s := sweep{policy: p, want: want, room: maxSweep, ranges: []customhouse.Range{}}
	s.over(spans)
	return s.ranges
}

// maxSweep is how many rules are asked, counting each as often as it is, before the rest is left to be asked about.
const maxSweep = 2_000_000

// span is a range of names that a rule may match. Two of them are disjoint, or one contains the other: each is one name,
// all that begin with a text, or all.
type span struct {
	customhouse.Range // Sure where the rule's condition on names holds for all of them
	rule              int
	outcome           outcome // of the other conditions
}

// compareEnd compares the ends of ranges, "" being none.
func compareEnd(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == "":
		return 1
	case b == "":
		return -1
	}
	return cmp.Compare(a, b)
}

// sweep goes through all names once, with the spans that hold the present one on a stack.
type sweep struct {
	policy *Policy
	want   actions
	open   []span // the outer first
	at     string
	room   int
	ranges []customhouse.Range
}

func (s *sweep) over(spans []span) {
	for _, next := range spans {
		s.close(next.First)
		s.until(next.First)
		s.open = append(s.open, next)
	}
	s.close("")
	if len(s.open) > 0 { // those without an end
		s.emit("")
	}
}

// close ends the spans that end at a name or before it; at "", all that end.
func (s *sweep) close(at string) {
	for len(s.open) > 0 {
		end := s.open[len(s.open)-1].End
		if end == "" || at != "" && end > at {
			return
		}
		s.until(end)
		s.open = s.open[:len(s.open)-1]
	}
}

// until goes on to a name.
func (s *sweep) until(name string) {
	if name > s.at {
		s.emit(name)
	}
	s.at = max(s.at, name)
}

// emit adds the names from where the sweep is to end, if the answer may be yes for them.
func (s *sweep) emit(end string) {
	sure, may := s.decide()
	if !may {
		return
	}
	if n := len(s.ranges); n > 0 && s.ranges[n-1].End == s.at && s.ranges[n-1].Sure == sure {
		s.ranges[n-1].End = end
		return
	}
	s.ranges = append(s.ranges, customhouse.Range{First: s.at, End: end, Sure: sure})
}

// decide tells whether the answer is yes for the names within all spans that are open, and whether it may be.
func (s *sweep) decide() (sure, may bool) {
	if len(s.open) == 0 {
		return false, false
	}
	if s.room -= len(s.open); s.room < 0 {
		return false, true
	}
	order := slices.Clone(s.open)
	slices.SortStableFunc(order, func(a, b span) int { return cmp.Compare(a.rule, b.rule) })
	st := state{open: s.want}
	for i := 0; i < len(order) && !st.over(); {
		one, holds := order[i], no
		for ; i < len(order) && order[i].rule == one.rule; i++ { // a rule may match for several reasons
			if order[i].Sure {
				holds = yes
			} else {
				holds = max(holds, maybe)
			}
		}
		if st.open == 0 && one.rule >= s.policy.lastPublic {
			break
		}
		if r := &s.policy.rules[one.rule]; st.asks(r) {
			st.hear(r, outcome{matches: min(one.outcome.matches, holds), fails: min(one.outcome.fails, holds), err: one.outcome.err})
		}
	}
	return st.sure, st.yes != 0
}

// askWithoutName is ask where the name is not known and the condition on it is left out.
func (r *rule) askWithoutName(q *Query) outcome {
	if r.ip != nil && !r.ip.contain(q.Client) {
		return outcome{}
	}
	all := r.holdsAt(q.Time)
	if r.facts&factTime == 0 {
		all = yes
	}
	for i := range r.conditions {
		c := &r.conditions[i]
		if c.subject == onName {
			continue
		}
		if c.want.mentionsName() {
			all = min(all, maybe)
			continue
		}
		all = min(all, c.holds(q))
	}
	switch {
	case all == no || r.when == nil:
		return outcome{matches: all}
	case !r.when.mentions("target.name"):
		return r.when.evaluate(q, all)
	case r.when.reliable:
		return outcome{matches: maybe}
	}
	return outcome{matches: maybe, fails: maybe}
}

// mentionsName tells whether ${name} stands in c.
func (c *choice) mentionsName() bool {
	for p := range c.all {
		if slices.Contains(p.facts(), fact{field: "name"}) {
			return true
		}
	}
	return false
}

// spans returns names of which r's condition on them accepts some, those that are Sure all.
func (r *rule) spans(q *Query) []span {
	c := r.on(onName)
	if c == nil {
		return []span{{Range: customhouse.Range{Sure: true}}}
	}
	var all []span
	for p := range c.all {
		for _, x := range p.ranges(q) {
			all = append(all, span{Range: x})
		}
	}
	return all
}

// maxBeginnings is in how many ways a pattern may begin, by the values of its placeholders.
const maxBeginnings = 64

// ranges returns ranges outside of which p accepts no name.
func (p *pattern) ranges(q *Query) []customhouse.Range {
	if p.regex != nil {
		return []customhouse.Range{begins(p.regex.start)}
	}
	begin := []string{""}
	for i, t := range p.tokens {
		switch {
		case t.kind == text:
			for j := range begin {
				begin[j] += t.text
			}
			continue
		case t.kind == placeholder && t.fact.field != "name":
			values := slices.Collect(t.fact.values(q, "", ""))
			if len(values)*len(begin) <= maxBeginnings {
				var longer []string
				for _, b := range begin {
					for _, v := range values {
						longer = append(longer, b+v)
					}
				}
				begin = longer
				continue
			}
		}
		var all []customhouse.Range
		for _, b := range begin {
			x := begins(b)
			x.Sure = t.kind == anything && i == len(p.tokens)-1 && p.repeated == ""
			all = append(all, x)
		}
		return all
	}
	var all []customhouse.Range
	for _, name := range begin {
		x := customhouse.Only(name)
		x.Sure = p.repeated == ""
		all = append(all, x)
	}
	return all
}

// begins is customhouse.Begins, for all names where the text is empty.
func begins(prefix string) customhouse.Range {
	if prefix == "" {
		return customhouse.Range{}
	}
	return customhouse.Begins(prefix)
}
