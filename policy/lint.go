package policy

import (
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"
	"time"

	"customhouse"
)

// Finding is something about a rule, or a set, that is likely not what its author meant.
type Finding struct {
	Rule    int    // index of the rule; -1 when a set is meant
	Set     string // name of the set
	Source  string // where the rule or the set stands; "" is not known
	Field   string // path of the field within the rule, such as "match.name"; "" when the rule as a whole is meant
	Message string
}

// String returns place, field and message.
func (f Finding) String() string {
	if f.Rule < 0 {
		at := ""
		if f.Source != "" {
			at = f.Source + ": "
		}
		return fmt.Sprintf("%sset %s: %s", at, f.Set, f.Message)
	}
	s := place(f.Rule, f.Source) + ": "
	if f.Field != "" {
		s += f.Field + ": "
	}
	return s + f.Message
}

// Lint returns what is odd about the rules of p at a time, in their order, and then about its sets. It finds what is
// certain and leaves out what depends on the queries that come:
//
//   - rules that have ceased to hold, or do not hold yet, unless the time is zero;
//   - expressions that have the same outcome whatever is asked;
//   - rules that can never decide, or never allow anything, because of those before them, and rules that repeat another;
//   - rules by which everybody may do more than pull;
//   - allow rules that list nothing, and deny rules that no allow rule follows;
//   - rules for some names that make admins of what is kept in the registry beside repositories;
//   - deny rules by which tags cannot be moved but can be removed and made anew;
//   - regular expressions that look as if they were searched for, or that a plain pattern says more simply;
//   - sets that no rule uses.
//
// In the dialect of docker_auth it knows fewer rules that never decide, and also finds patterns that are malformed, that
// match parts of a name, and placeholders that are none.
func (p *Policy) Lint(now time.Time) []Finding {
	if p.acl != nil {
		return p.acl.lint()
	}
	var findings []Finding
	lastAllow := -1
	for i := range p.rules {
		if !p.rules[i].deny {
			lastAllow = i
		}
	}
	for i := range p.rules {
		r := &p.rules[i]
		report := func(field, message string) {
			if message != "" {
				findings = append(findings, Finding{Rule: i, Source: r.source(), Field: field, Message: message})
			}
		}
		if message := r.ended(now); message != "" {
			report("expires", message)
			continue
		}
		if message := p.shadowed(i); message != "" {
			report("", message)
			continue // what else there is to say about it matters to nobody
		}
		report("from", r.early(now))
		message, never := r.when.constant()
		report("when", message)
		if never {
			continue
		}
		if r.deny && i > lastAllow {
			report("", "no allow rule follows, so the answer is no without this rule too")
		}
		if !r.deny && r.actions == 0 {
			report("actions", "an empty list denies everything; if that is meant, effect: deny says so")
		}
		report("", p.public(i))
		report("actions", p.movable(i))
		report("actions", r.offices())
		for _, f := range r.fields() {
			report(f.name, f.pattern.odd())
		}
	}
	for _, name := range p.unused {
		findings = append(findings, Finding{Rule: -1, Set: name, Message: "no rule uses it"})
	}
	return findings
}

// ended says that r holds no more; "" if it does, or may.
func (r *rule) ended(now time.Time) string {
	if now.IsZero() || r.expires.IsZero() || now.Before(r.expires) {
		return ""
	}
	return fmt.Sprintf("the rule holds no more, since %s", r.expires.UTC().Format(time.RFC3339))
}

// early says that r does not hold yet; "" if it does.
func (r *rule) early(now time.Time) string {
	if now.IsZero() || !now.Before(r.from) {
		return ""
	}
	return fmt.Sprintf("the rule does not hold yet, until %s", r.from.UTC().Format(time.RFC3339))
}

// constant says that e has the same outcome whatever is asked; "" if it may have several. With never it is never true.
func (e *expression) constant() (message string, never bool) {
	if e == nil || len(e.names) > 0 {
		return "", false
	}
	switch o := e.evaluate(&Query{}, yes); {
	case o.fails == yes:
		return fmt.Sprintf("fails whatever is asked, and so denies all that the rest of the rule matches: %v", o.err), true
	case o.matches == yes:
		return "is true whatever is asked; leave it out", false
	case o.matches == no:
		return "is false whatever is asked, so that the rule decides nothing", true
	}
	return "", false
}

// shadowed says why rule i decides nothing, or allows nothing; "" if it may.
func (p *Policy) shadowed(i int) string {
	r := &p.rules[i]
	relevant := every
	if r.deny || r.public {
		relevant = r.actions
	}
	switch left, by := p.left(i, r, relevant); {
	case left == 0 && p.rules[by].repeats(r):
		return fmt.Sprintf("repeats %s and never decides", p.place(by))
	case left == 0:
		return fmt.Sprintf("never decides: %s matches all that it matches", p.place(by))
	case r.deny || r.actions == 0:
		return ""
	}
	if left, by := p.left(i, r, r.actions); left == 0 {
		return fmt.Sprintf("never allows anything: what it lists is denied by %s", p.place(by))
	}
	return ""
}

// left returns which of some actions the rules before rule i leave undecided for all queries that r matches, and the
// rule that takes the last of them if none is left. What it says to be decided is certain.
func (p *Policy) left(i int, r *rule, some actions) (left actions, by int) {
	left = some
	for c := p.index.coverers(r); ; {
		by, ok := c.next()
		if !ok || int(by) >= i {
			return left, -1
		}
		switch before := &p.rules[by]; {
		case !before.covers(r):
			continue
		case before.deny, before.public:
			left &^= before.actions
		case r.public, r.deny && i < p.lastPublic: // r is asked also where before is not
		default:
			left = 0
		}
		if left == 0 {
			return 0, int(by)
		}
	}
}

// movable says that a rule denies moving tags and lets them be removed and made anew; "" if it does not, or nobody can.
func (p *Policy) movable(i int) string {
	r := &p.rules[i]
	if !r.deny || r.actions&(create|update|remove) != update {
		return ""
	}
	for j := i + 1; j < len(p.rules); j++ {
		if other := &p.rules[j]; !other.deny && other.actions&create != 0 && other.actions&remove != 0 {
			return fmt.Sprintf("denies moving tags, but not deleting them, which %s allows: who may both delete and create moves them all the same; add delete", p.place(j))
		}
	}
	return ""
}

// offices says what r makes admins of by "*" that its author may not have thought of; "" if nothing, or where it is for
// whatever there is.
func (r *rule) offices() string {
	name := r.on(onName)
	if r.deny || r.actions != every || r.on(onType) != nil || name == nil || name.everything() {
		return ""
	}
	return officesIn(func(office string) bool {
		return name.match(office, &Query{Type: customhouse.TypeRegistry, Name: office})
	})
}

// officesIn says of which resources of the registry a rule is that matches their names.
func officesIn(matches func(name string) bool) string {
	var matched []string
	for _, office := range []string{"accounts", "audit", "policy"} {
		if matches(office) {
			matched = append(matched, "registry:"+office)
		}
	}
	if matched == nil {
		return ""
	}
	return fmt.Sprintf("* is admin of %s too, which match.name matches; add type: repository if repositories are meant", strings.Join(matched, ", "))
}

// repeats tells whether b, which r covers, says the same as r.
func (r *rule) repeats(b *rule) bool {
	return b.covers(r) && r.deny == b.deny && r.public == b.public && r.actions == b.actions
}

// public says what rule i allows to everybody beyond pulling; "" if nothing.
func (p *Policy) public(i int) string {
	r := &p.rules[i]
	if r.deny || r.ip != nil {
		return ""
	}
	stranger := *r
	stranger.conditions = nil
	for _, c := range r.conditions {
		switch c.subject {
		case onMethod, onLabel, onClaim:
			return ""
		case onAccount:
			if !c.want.absent {
				return ""
			}
			continue
		}
		for p := range c.want.all {
			if slices.ContainsFunc(p.facts(), func(f fact) bool { return f.label != "" || f.field == "account" }) {
				return ""
			}
		}
		stranger.conditions = append(stranger.conditions, c)
	}
	stranger.conditions = append(stranger.conditions, condition{subject: onAccount, want: &choice{absent: true}})
	left, _ := p.left(i, &stranger, r.actions&^(pull|list))
	if left == 0 {
		return ""
	}
	return fmt.Sprintf("allows %s to everybody, without an account: no condition on account, labels or ip stops them", left)
}

func (p *Policy) place(i int) string { return place(i, p.rules[i].source()) }

// field is a condition on text.
type field struct {
	name    string
	pattern *pattern
}

// fields returns the conditions of r on text.
func (r *rule) fields() []field {
	var all []field
	for _, c := range r.conditions {
		name := "match." + c.subject.String()
		if c.key != "" {
			name += "." + c.key
		}
		for _, p := range c.want.patterns {
			all = append(all, field{name, p})
		}
	}
	return all
}

// odd says what is odd about a regular expression; "" if nothing is, or for a plain pattern. docker_auth searches for
// expressions where we compare them with the whole value, and in its examples they begin with ^ and end in $.
func (p *pattern) odd() string {
	if p.regex == nil {
		return ""
	}
	// Placeholders are characters that nobody assigns, while the expression is taken apart.
	const private = 0xF0000
	tree, _, err := parseRegex(p.regex.source(func(i int) string { return string(rune(private + i)) }))
	if err != nil {
		return "" // cannot be: it has been parsed before
	}
	parts := []*syntax.Regexp{tree}
	if tree.Op == syntax.OpConcat {
		parts = tree.Sub
	}
	begins, ends := parts[0].Op == syntax.OpBeginText, parts[len(parts)-1].Op == syntax.OpEndText
	switch {
	case begins && !ends && !isAny(parts[len(parts)-1]):
		return "begins with ^ and has no $: nothing may follow, since expressions are compared with the whole value; end it in .* if something may"
	case ends && !begins && !isAny(parts[0]):
		return "ends in $ and has no ^: nothing may stand before, since expressions are compared with the whole value; begin it with .* if something may"
	}
	plain, stars, ok := plain(parts)
	for i, f := range p.regex.facts {
		plain = strings.ReplaceAll(plain, string(rune(private+i)), f.String())
	}
	switch {
	case !ok || strings.HasPrefix(plain, "/"):
		return ""
	case stars:
		return fmt.Sprintf("the plain pattern %q says the same", plain)
	case !begins:
		return fmt.Sprintf("matches %q alone, since expressions are compared with the whole value; write it without slashes, or %q for what contains it", plain, "**"+plain+"**")
	}
	return ""
}

// isAny matches .* and .+.
func isAny(re *syntax.Regexp) bool {
	return (re.Op == syntax.OpStar || re.Op == syntax.OpPlus) && (re.Sub[0].Op == syntax.OpAnyCharNotNL || re.Sub[0].Op == syntax.OpAnyChar)
}

// plain writes an expression of text, .* and anchors as a plain pattern; ok is false for any other expression.
func plain(parts []*syntax.Regexp) (pattern string, stars, ok bool) {
	var b strings.Builder
	for i, re := range parts {
		switch {
		case re.Op == syntax.OpBeginText && i == 0, re.Op == syntax.OpEndText && i == len(parts)-1:
		case re.Op == syntax.OpStar && isAny(re):
			b.WriteString("**")
			stars = true
		case re.Op == syntax.OpLiteral && re.Flags&syntax.FoldCase == 0:
			for _, r := range re.Rune {
				if strings.ContainsRune(`*?[\$`, r) {
					b.WriteByte('\\')
				}
				b.WriteRune(r)
			}
		default:
			return "", false, false
		}
	}
	return b.String(), stars, b.Len() > 0
}
