package policy

// Nearest returns what Trace.Nearest does of Explain, but of no other rules than those that could be about the resource
// or the account of q: it costs what a decision does.
func (p *Policy) Nearest(q Query) []Step {
	q.unmap()
	t := Trace{}
	if p.acl != nil {
		return nil
	}
	s := state{open: wanted(q.Action)}
	for c := p.index.candidates(&q); !s.over(); {
		i, ok := c.next()
		if !ok || s.open == 0 && int(i) >= p.lastPublic {
			break
		}
		r := &p.rules[i]
		if !s.asks(r) {
			continue
		}
		hit := r.actions & s.open
		if r.public {
			hit = r.actions & (s.open | s.closed)
		}
		m := r.matches(&q)
		if s.hear(r, m); m != yes && hit != 0 && !r.deny {
			t.Steps = append(t.Steps, Step{Rule: int(i), Source: r.source(), Unmet: r.unmet(&q), Helps: true})
		}
	}
	return t.Nearest()
}
