package policy

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"customhouse"
)

// explain decides q, whose client is unmapped, as find does and tells what each rule had to say about it.
func (a *acl) explain(q *Query) Trace {
	t := Trace{Decision: noRule[0], Steps: make([]Step, len(a.rules))}
	decided := false
	for i := range a.rules {
		r := &a.rules[i]
		s := Step{Rule: i, Source: r.source(), Outcome: NotAsked}
		if !decided {
			b := binding{query: q}
			b.bind(r)
			matches := b.matches()
			switch {
			case b.excessive:
				s.Outcome, t.Decision = Denies, r.excessive[0]
			case !matches:
				s.Unmet, s.Helps = b.unmet(), r.lists(q.Action)
			case r.lists(q.Action):
				s.Outcome, t.Decision = Allows, r.allowed[0]
			default:
				s.Outcome, t.Decision = Unlisted, r.unlisted[0]
			}
			if decided = matches || b.excessive; !decided {
				s.Outcome = NoMatch
			}
		}
		t.Steps[i] = s
	}
	return t
}

// unmet returns the conditions that do not hold.
func (b *binding) unmet() []Condition {
	var unmet []Condition
	r, q := b.rule, b.query
	add := func(key string, p *aclPattern, got ...string) {
		unmet = append(unmet, Condition{Field: key, Want: Values{p.written}, Got: got, With: b.with(p)})
	}
	for f, p := range r.fields {
		value := aclField(f).of(q)
		if p == nil || p.match(value, b) {
			continue
		}
		if aclField(f) == accountField && value == "" {
			add("account", p)
		} else {
			add(aclField(f).String(), p, value)
		}
	}
	for i := range r.labels {
		if l := &r.labels[i]; !b.matchesLabel(l) {
			add("labels."+l.key, l.pattern, q.Identity.Labels[l.key]...)
		}
	}
	if r.ip.IsValid() && !r.ip.Contains(q.Client) {
		c := Condition{Field: "ip", Want: Values{writtenPrefix(r.ip)}}
		if q.Client.IsValid() {
			c.Got = []string{q.Client.String()}
		}
		unmet = append(unmet, c)
	}
	return unmet
}

// with tells what the placeholders of p stand for.
func (b *binding) with(p *aclPattern) []string {
	var all []string
	for i := range p.parts {
		v := &p.parts[i].variable
		var values []string
		known := true
		switch v.kind {
		case none:
			continue
		case whole:
			values = []string{v.field.of(b.query)}
		case captured:
			var s string
			s, known = b.captured(&v.capture)
			values = []string{s}
		case labelled:
			values, known = b.query.Identity.Labels[v.label]
		}
		says := v.written + " is " + quotedList(values)
		switch {
		case !known:
			says = v.written + " stands for itself"
		case len(values) == 0:
			says = v.written + " has no value"
		}
		if !slices.Contains(all, says) {
			all = append(all, says)
		}
	}
	return all
}

// lint is Policy.Lint for the dialect.
func (a *acl) lint() []Finding {
	var findings []Finding
	for i := range a.rules {
		r := &a.rules[i]
		report := func(field, message string) {
			if message != "" {
				findings = append(findings, Finding{Rule: i, Source: r.source(), Field: field, Message: message})
			}
		}
		if by := slices.IndexFunc(a.rules[:i], func(before aclRule) bool { return before.covers(r) }); by >= 0 {
			report("", fmt.Sprintf("never decides: %s matches all that it matches", place(by, a.rules[by].source())))
			continue
		}
		report("", r.public())
		report("actions", r.offices())
		for j, action := range r.actions {
			report(fmt.Sprintf("actions[%d]", j), r.oddAction(action))
		}
		for f, p := range r.fields {
			if p == nil {
				continue
			}
			key := "match." + aclField(f).String()
			if aclField(f) != accountField || p.written != "" { // that is how anonymous is meant
				report(key, p.odd())
			}
			if aclField(f) == accountField || aclField(f) == nameField {
				report(key, p.unanchored())
			}
		}
		for _, l := range r.labels {
			report("match.labels."+l.key, l.pattern.odd())
		}
	}
	return findings
}

// covers tells whether r matches every query that b matches. Yes is certain, no may be unknown.
func (r *aclRule) covers(b *aclRule) bool {
	if !coversPrefix(r.ip, b.ip) {
		return false
	}
	for f, p := range r.fields {
		if !p.covers(b.fields[f]) {
			return false
		}
	}
	for _, l := range r.labels {
		if !slices.ContainsFunc(b.labels, func(c aclLabel) bool { return c.key == l.key && l.pattern.covers(c.pattern) }) {
			return false
		}
	}
	return true
}

// covers tells whether p matches every value that b matches. A capture depends on the rule that it stands in.
func (p *aclPattern) covers(b *aclPattern) bool {
	switch {
	case p == nil || p.fixed != nil && (p.written == "/.*/" || p.written == "/^.*/" || p.written == "/.*$/"):
		return true
	case b == nil || p.captures():
		return false
	case p.written == b.written:
		return true
	}
	return b.alone && p.parts == nil && p.match(b.written, &binding{query: &Query{}})
}

func (p *aclPattern) captures() bool {
	return slices.ContainsFunc(p.parts, func(part aclPart) bool { return part.variable.kind == captured })
}

// public says what r allows to everybody beyond pulling; "" if nothing.
func (r *aclRule) public() string {
	personal := slices.ContainsFunc(r.fields[:], func(p *aclPattern) bool { return p != nil && p.parts != nil })
	account := r.fields[accountField]
	if personal || r.ip.IsValid() || len(r.labels) > 0 || account != nil && !account.match("", &binding{query: &Query{}}) {
		return ""
	}
	if !slices.ContainsFunc(r.actions, func(a customhouse.Action) bool { return a != customhouse.Pull }) {
		return ""
	}
	var names []string
	for _, a := range r.actions {
		names = append(names, string(a))
	}
	why := "no condition on account, labels or ip stops them"
	if account != nil {
		why = fmt.Sprintf("the account %s matches the empty name, which anonymous has", strconv.Quote(account.written))
	}
	return fmt.Sprintf("allows %s to everybody, without an account: %s", strings.Join(names, ", "), why)
}

// offices is that of a native rule. Patterns with placeholders, and those for names of any depth, are passed over.
func (r *aclRule) offices() string {
	p := r.fields[nameField]
	if !r.everything || r.fields[typeField] != nil || p == nil || p.parts != nil && p.fixed == nil && !p.alone || p.match("any/name", nil) {
		return ""
	}
	return officesIn(func(office string) bool { return p.match(office, nil) })
}

// oddAction says what is odd about an action in the list; "" if nothing is.
func (r *aclRule) oddAction(action customhouse.Action) string {
	switch {
	case action == customhouse.All && !r.everything:
		return `"*" beside other actions allows what asks for "*", and nothing else; alone it allows everything`
	case wanted(action) == 0:
		return fmt.Sprintf("no registry asks for %q; it asks for pull, push, delete or *", action)
	}
	return ""
}

// odd says what is odd about a pattern; "" if nothing is.
func (p *aclPattern) odd() string {
	if p.written == "" {
		return "matches the empty value alone; leave it out to match everything"
	}
	rest := p.written
	if p.parts != nil {
		rest = ""
		for _, part := range p.parts {
			if rest += part.text; part.variable.kind != none {
				rest += "x"
			}
		}
	}
	if !p.regex && !wellFormed(rest) {
		return "never matches: it is malformed; * ? [a-z] [^a-z] and a backslash before any character are known"
	}
	if _, after, ok := strings.Cut(rest, "${"); ok {
		if name, _, ok := strings.Cut(after, "}"); ok {
			return fmt.Sprintf("${%s} is no placeholder here and stands for itself", name)
		}
	}
	if !p.regex && strings.Contains(rest, "**") {
		return "** is nothing but *, and ends at a slash"
	}
	return ""
}

// wellFormed tells whether path.Match takes a glob.
func wellFormed(glob string) bool {
	_, err := path.Match(glob, "")
	return err == nil
}

// unanchored says that an expression matches parts of values; "" if it has an end on both sides.
func (p *aclPattern) unanchored() string {
	if !p.regex {
		return ""
	}
	begins := strings.HasPrefix(p.written, "/^") || strings.HasPrefix(p.written, "/(?i)^") || strings.HasPrefix(p.written, "/.*") || strings.HasPrefix(p.written, "/.+")
	ends := strings.HasSuffix(p.written, "$/") || strings.HasSuffix(p.written, ".*/") || strings.HasSuffix(p.written, ".+/")
	switch {
	case begins && ends:
		return ""
	case begins:
		return "anything may follow what it matches; end it in $ if nothing shall"
	case ends:
		return "anything may stand before what it matches; begin it with ^ if nothing shall"
	}
	return "matches anywhere in the value; put it between ^ and $ if that is not meant"
}
