package policy

// Nearest returns what Trace.Nearest does of Explain, but of no other rules than those whose condition on names holds: it
// looks at each, and goes into few.
func (p *Policy) Nearest(q Query) []Step {
	if p.acl != nil {
		return nil
	}
	q.unmap()
	t := Trace{}
	s := state{open: wanted(q.Action)}
	for i := range p.rules {
		if s.over() || s.open == 0 && i >= p.lastPublic {
			break
		}
		r := &p.rules[i]
		hit := r.actions & s.open
		if r.public {
			hit = r.actions & (s.open | s.closed)
		}
		if c := r.on(onName); !s.asks(r) || c != nil && !c.match(q.Name, &q) {
			continue
		}
		o := r.ask(&q)
		if s.hear(r, o); o.matches != yes && o.fails != yes && hit != 0 && !r.deny {
			t.Steps = append(t.Steps, Step{Rule: i, Source: r.source(), Unmet: r.unmet(&q), Helps: true})
		}
	}
	return t.Nearest()
}
