package policy

import "fmt"

// state is how far the rules up to one have settled the actions that a query asks for. As long as rules may match of
// which it is not known whether they do, several things may be so of an action at once.
type state struct {
	open   actions // may be undecided yet
	closed actions // may be denied by a rule that does not list it, unless a public rule follows that does
	yes    actions // may be allowed
	no     actions // may be denied

	sure    bool   // one of them is allowed, whatever is unknown
	how     answer // of the last rule that left an action no other way
	unknown *rule  // the first that has a say of which it is not known whether it matches
}

// decide answers q, whose client is unmapped.
func (p *Policy) decide(q *Query) answer {
	a, _ := p.decideUntil(q)
	return a
}

// decideUntil answers q, whose client is unmapped, and tells whether the answer lasts until a rule begins or ceases to
// hold: not if an expression has looked at the time.
func (p *Policy) decideUntil(q *Query) (a answer, lasts bool) {
	if p.acl != nil {
		return p.acl.decide(q), true
	}
	lasts = true
	want := wanted(q.Action)
	s := state{open: want}
	for c := p.index.candidates(q); !s.over(); {
		i, ok := c.next()
		if !ok || s.open == 0 && int(i) >= p.lastPublic {
			break
		}
		r := &p.rules[i]
		if s.asks(r) {
			s.hear(r, r.ask(q))
			lasts = lasts && (r.when == nil || r.when.facts&factTime == 0)
		}
	}
	return s.answer(want, q), lasts
}

// over tells whether there is nothing left to ask.
func (s *state) over() bool { return s.sure || s.open|s.closed == 0 }

// asks tells whether r may have a say: once an allow rule has matched, no other but a public one is asked.
func (s *state) asks(r *rule) bool { return s.open != 0 || r.deny || r.public }

// hear takes in what r has to say, which is asked.
func (s *state) hear(r *rule, o outcome) {
	if o.fails != no {
		s.no |= s.open | s.closed
	}
	if o.fails == yes {
		if s.open != 0 {
			s.how = r.failed(o.err)
		}
		s.open, s.closed = 0, 0
		return
	}
	if o.fails == maybe && s.unknown == nil {
		s.unknown = r
	}
	matches := o.matches
	if matches != no {
		s.apply(r, matches)
	}
	both := s.yes & s.no // nothing more is to be learnt of these
	s.open &^= both
	s.closed &^= both
}

// apply lets r, which matches or may match, allow and deny.
func (s *state) apply(r *rule, matches truth) {
	hit, rest := r.actions&(s.open|s.closed), actions(0)
	if !r.deny && !r.public {
		hit, rest = r.actions&s.open, s.open&^r.actions
	}
	if hit|rest == 0 {
		return
	}
	s.closed |= rest
	if r.deny {
		s.no |= hit
	} else {
		s.yes |= hit
	}
	if matches == maybe && s.unknown == nil {
		s.unknown = r
	}
	if matches == yes {
		switch {
		case rest != 0:
			s.how = r.unlisted
		case r.deny && hit&s.open != 0:
			s.how = r.denied
		}
		s.open &^= hit | rest
		if r.deny || r.public {
			s.closed &^= hit
		}
		if !r.deny && hit&^(s.no|s.closed) != 0 {
			s.sure, s.how = true, r.allowed
		}
	}
}

// answer returns what has come out for actions of which one is enough.
func (s *state) answer(want actions, q *Query) answer {
	if s.sure {
		return s.how
	}
	if want == 0 { // an action that nobody knows
		return noRule
	}
	denied := want&^(s.no|s.closed) == 0 // may be, all of them
	switch {
	case s.yes != 0:
		return s.unknown.mayMatch(q, s.open == 0 || denied, true)
	case s.open == 0:
		return s.how
	case denied:
		return s.unknown.mayMatch(q, false, false)
	}
	return noRule
}

// failed returns the answer where the expression of r fails: no.
func (r *rule) failed(err error) answer {
	d := r.denied[0]
	d.Reason = fmt.Sprintf("%s cannot be decided: %v", placeOf(d), err)
	return answer{d}
}

// mayMatch returns the answer of a rule that may match: allowed perhaps, and decided in any case.
func (r *rule) mayMatch(q *Query, decided, allows bool) answer {
	unknown := r.facts &^ q.Target.Known
	if !q.Time.IsZero() {
		unknown &^= factTime
	}
	for i := range r.unknown {
		switch u := &r.unknown[i]; {
		case u.facts != unknown:
		case !allows:
			return u.denied
		case decided:
			return u.maybe
		default:
			return u.open
		}
	}
	return noRule // cannot be: it would match or not
}
