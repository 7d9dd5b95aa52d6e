package policy

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"customhouse"
)

// Effects of a rule.
const (
	Allow = "allow"
	Deny  = "deny"
)

// Rule is a rule as it is written. See the package comment for its meaning.
type Rule struct {
	Match   Match                `yaml:"match"`
	Actions []customhouse.Action `yaml:"actions"` // an allow rule must have the list, be it empty
	Effect  string               `yaml:"effect"`  // Allow or Deny; empty is Allow
	Comment string               `yaml:"comment"`
	Source  string               `yaml:"-"` // where the rule stands, such as "customhouse.yml:12"
}

// Match is the conditions of a rule, all of which must hold. Nil is no condition.
type Match struct {
	Account *string           `yaml:"account"` // a pattern; "" is anonymous
	Type    *string           `yaml:"type"`    // a pattern, such as "repository"
	Name    *string           `yaml:"name"`    // a pattern
	Service *string           `yaml:"service"` // a pattern
	IP      *string           `yaml:"ip"`      // an address or a CIDR prefix
	Labels  map[string]string `yaml:"labels"`  // label to pattern
}

// Error is one mistake in one rule.
type Error struct {
	Rule   int    // index of the rule
	Source string // Source of the rule
	Field  string // path of the field within the rule, such as "match.labels.group" or "actions[1]"
	Err    error
}

// Error returns place, field and mistake.
func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s: %v", place(e.Rule, e.Source), e.Field, e.Err)
}

// place names a rule in a message.
func place(rule int, source string) string {
	if source != "" {
		return source
	}
	return fmt.Sprintf("rule %d", rule+1)
}

// Unwrap returns the mistake.
func (e *Error) Unwrap() error { return e.Err }

// Errors is every mistake in a list of rules, in their order.
type Errors []*Error

// Error returns one mistake a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the mistakes.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, err := range e {
		errs[i] = err
	}
	return errs
}

// Compile makes a policy of rules. The error is an Errors that holds every mistake in them.
func Compile(rules []Rule) (*Policy, error) {
	p := &Policy{rules: make([]rule, len(rules))}
	var errs Errors
	size := 0
	for i, r := range rules {
		var mistakes Errors
		p.rules[i], mistakes = compileRule(i, r)
		errs = append(errs, mistakes...)
		if size += p.rules[i].size(); size > maxPolicySize {
			errs = append(errs, &Error{Rule: i, Source: r.Source, Field: "match",
				Err: fmt.Errorf("the expressions of the rules up to here expand to more than %d elements", maxPolicySize)})
			break
		}
	}
	if len(errs) > 0 {
		return nil, errs
	}
	p.index = newIndex(p.rules)
	return p, nil
}

// rule is a compiled rule. Nil patterns hold always. Its possible answers are made beforehand.
type rule struct {
	account, typ, name, service *pattern

	ip      netip.Prefix // the zero Prefix is no condition
	labels  []label
	actions actions
	deny    bool

	allowed, unlisted, denied answer
}

// source is where the rule stands.
func (r *rule) source() string { return r.allowed[0].Source }

// size is how much the rule's expressions expand to.
func (r *rule) size() int {
	size := 0
	for _, p := range []*pattern{r.account, r.typ, r.name, r.service} {
		size += p.size()
	}
	for _, l := range r.labels {
		size += l.pattern.size()
	}
	return size
}

type label struct {
	key     string
	pattern *pattern
}

func compileRule(i int, r Rule) (rule, Errors) {
	var errs Errors
	bad := func(field string, err error) {
		if err != nil {
			errs = append(errs, &Error{Rule: i, Source: r.Source, Field: field, Err: err})
		}
	}
	var c rule
	text := func(field string, s *string) *pattern {
		if s == nil {
			return nil
		}
		if *s == "" && field != "match.account" {
			bad(field, errors.New("an empty pattern matches nothing; leave it out to match everything"))
			return nil
		}
		p, err := compilePattern(*s)
		bad(field, err)
		return p
	}
	c.account = text("match.account", r.Match.Account)
	c.typ = text("match.type", r.Match.Type)
	c.name = text("match.name", r.Match.Name)
	c.service = text("match.service", r.Match.Service)
	if r.Match.IP != nil {
		var err error
		c.ip, err = parsePrefix(*r.Match.IP)
		bad("match.ip", err)
	}
	for key, s := range r.Match.Labels {
		p, err := compilePattern(s)
		bad("match.labels."+key, err)
		c.labels = append(c.labels, label{key, p})
	}
	slices.SortFunc(c.labels, func(a, b label) int { return cmp.Compare(a.key, b.key) })
	slices.SortStableFunc(errs, func(a, b *Error) int { return cmp.Compare(a.Field, b.Field) })

	switch r.Effect {
	case "", Allow:
		if r.Actions == nil {
			bad("actions", errors.New("is missing; [] allows nothing"))
		}
	case Deny:
		c.deny = true
		if len(r.Actions) == 0 {
			c.actions = every
		}
	default:
		bad("effect", fmt.Errorf("%q is neither allow nor deny", r.Effect))
	}
	for j, a := range r.Actions {
		set := listed(a)
		if set == 0 {
			bad(fmt.Sprintf("actions[%d]", j), fmt.Errorf("%q is not an action; use pull, push, create, update, delete or *", a))
		}
		c.actions |= set
	}

	place := fmt.Sprintf("rule %d", i+1)
	if r.Source != "" {
		place += " (" + r.Source + ")"
	}
	c.allowed = answer{{Allowed: true, Rule: i, Source: r.Source, Reason: "allowed by " + place}}
	c.unlisted = answer{{Rule: i, Source: r.Source, Reason: place + " matches and does not list the action"}}
	c.denied = answer{{Rule: i, Source: r.Source, Reason: "denied by " + place}}
	return c, errs
}

// matches tells whether all conditions of r hold for q, whose client is unmapped.
func (r *rule) matches(q *Query) bool {
	if r.ip.IsValid() && !r.ip.Contains(q.Client) ||
		r.account != nil && !r.account.matchAccount(q) ||
		r.typ != nil && !r.typ.match(q.Type, q) ||
		r.name != nil && !r.name.match(q.Name, q) ||
		r.service != nil && !r.service.match(q.Service, q) {
		return false
	}
	for i := range r.labels {
		l := &r.labels[i]
		if !slices.ContainsFunc(q.Identity.Labels[l.key], func(v string) bool { return l.pattern.match(v, q) }) {
			return false
		}
	}
	return true
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
