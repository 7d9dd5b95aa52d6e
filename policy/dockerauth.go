package policy

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"

	"customhouse"
)

// DockerAuthOptions are the settings of CompileDockerAuth.
type DockerAuthOptions struct {
	// RawPlaceholders puts captures and values of labels into patterns as they are, as docker_auth does: an account called
	// "*@example.com" is then a wildcard where a rule says ${account:1}/*.
	RawPlaceholders bool
}

// CompileDockerAuth makes a policy of rules that are read as cesanta/docker_auth reads its ACL, to the letter:
//
//   - The first rule whose match holds decides about all actions that were asked for: "*" as its only action allows them
//     all, whatever they are; otherwise those that it lists are allowed. A "*" beside others is a word like any.
//   - A pattern between slashes is an RE2 expression that may match anywhere in the value; any other is a path.Match
//     glob, whose * and ** end at a slash, and which never matches when it is malformed. Anonymous is the account "" and
//     is matched by what matches "". An empty pattern matches the empty value alone.
//   - ${account}, ${type}, ${name} and ${service} are values of the query. ${account:1} and so on is what the first group
//     of the rule's expression for that field has caught; it is known where no other placeholder stands before it in a
//     pattern of account, type, name or service. ${labels:KEY} is each value of a label, though not within a condition on
//     labels. What is not known, or no placeholder, is text.
//   - Conditions on labels hold when one of the label's values matches; all conditions of a rule must hold.
//
// Values are text and never pattern, unless RawPlaceholders says so: docker_auth lets those of captures and labels be
// patterns, and there an account with the right name owns everything. Where more than a thousand combinations of label
// values would have to be tried, the answer is no.
//
// This registry tells parts of pull and push apart that docker_auth does not know: who lists the whole lists them all.
// There is no "effect: deny" in docker_auth; an empty list of actions denies.
func CompileDockerAuth(rules []Rule, o DockerAuthOptions) (*Policy, error) {
	a := &acl{rules: make([]aclRule, len(rules))}
	var errs Errors
	size := 0
	for i, r := range rules {
		var mistakes Errors
		a.rules[i], mistakes = compileACLRule(i, r, o.RawPlaceholders)
		errs = append(errs, mistakes...)
		if size += a.rules[i].size; size > maxPolicySize {
			errs = append(errs, &Error{Rule: i, Source: r.Source, Field: "match",
				Err: fmt.Errorf("the expressions of the rules up to here expand to more than %d elements", maxPolicySize)})
			break
		}
	}
	if len(errs) > 0 {
		return nil, errs
	}
	a.finder = newFinder(a.rules)
	return &Policy{acl: a, written: rules}, nil
}

// acl is a list of rules in the dialect of docker_auth.
type acl struct {
	rules  []aclRule
	finder finder
}

// aclRule is a compiled rule of an acl. Nil patterns hold always. Its possible answers are made beforehand.
type aclRule struct {
	fields   [fieldCount]*aclPattern
	labels   []aclLabel
	ip       netip.Prefix // the zero Prefix is no condition
	captures []capture

	everything bool // "*" is the only action
	actions    []customhouse.Action
	size       int // of its expressions

	allowed, unlisted, excessive answer
}

type aclLabel struct {
	key     string
	pattern *aclPattern
}

// source is where the rule stands.
func (r *aclRule) source() string { return r.allowed[0].Source }

// aclField is one of the facts of a query that patterns are for, and that are captured from.
type aclField uint8

const (
	accountField aclField = iota
	typeField
	nameField
	serviceField
	fieldCount
)

// String is the key of the field in a rule.
func (f aclField) String() string { return [...]string{"account", "type", "name", "service"}[f] }

// of returns the field of q.
func (f aclField) of(q *Query) string {
	switch f {
	case accountField:
		return q.Identity.Account
	case typeField:
		return q.Type
	case nameField:
		return q.Name
	}
	return q.Service
}

// capture is a placeholder such as ${account:1}: what a group of the expression for a field catches.
type capture struct {
	written string
	field   aclField
	group   int
	from    *regexp.Regexp
}

func compileACLRule(i int, r Rule, raw bool) (aclRule, Errors) {
	var errs Errors
	bad := func(field string, err error) {
		if err != nil {
			errs = append(errs, &Error{Rule: i, Source: r.Source, Field: field, Err: err})
		}
	}
	m := r.Match
	one := func(field string, values Values) *string {
		switch {
		case values == nil:
			return nil
		case len(values) != 1:
			bad(field, errors.New("rules of docker_auth have one pattern here, not a list"))
			return nil
		}
		return &values[0]
	}
	written := [fieldCount]*string{
		accountField: one("match.account", m.Account), typeField: one("match.type", m.Type),
		nameField: one("match.name", m.Name), serviceField: one("match.service", m.Service),
	}
	c := aclRule{actions: r.Actions, everything: len(r.Actions) == 1 && r.Actions[0] == customhouse.All}
	c.captures = findCaptures(written)
	compile := func(field string, s string, labels bool) *aclPattern {
		p, err := compileACLPattern(s, c.captures, labels, raw)
		bad(field, err)
		if err == nil {
			c.size += p.size
		}
		return p
	}
	for f, s := range written {
		if s != nil {
			c.fields[f] = compile("match."+aclField(f).String(), *s, true)
		}
	}
	if ip := one("match.ip", m.IP); ip != nil {
		var err error
		c.ip, err = parseACLPrefix(*ip)
		bad("match.ip", err)
	}
	for key, values := range m.Labels {
		if s := one("match.labels."+key, values); s != nil {
			c.labels = append(c.labels, aclLabel{key, compile("match.labels."+key, *s, false)})
		}
	}
	for field, stated := range map[string]bool{
		"match.method": m.Method != nil, "match.claims": m.Claims != nil, "match.tag": m.Tag != nil, "match.digest": m.Digest != nil,
		"match.mediaType": m.MediaType != nil, "match.artifactType": m.ArtifactType != nil, "public": r.Public, "when": r.When != "",
		"from": r.From != "", "expires": r.Expires != "", "message": r.Message != "",
	} {
		if stated {
			bad(field, errors.New("is not known to rules of docker_auth; it needs dialect: native"))
		}
	}
	slices.SortFunc(c.labels, func(a, b aclLabel) int { return cmp.Compare(a.key, b.key) })
	slices.SortStableFunc(errs, func(a, b *Error) int { return cmp.Compare(a.Field, b.Field) })
	if r.Actions == nil {
		bad("actions", errors.New("is missing; [] allows nothing"))
	}
	if r.Effect != "" && r.Effect != Allow {
		bad("effect", errors.New("there is none in rules of docker_auth; actions: [] denies"))
	}

	place := fmt.Sprintf("rule %d", i+1)
	if r.Source != "" {
		place += " (" + r.Source + ")"
	}
	c.allowed = answer{{Allowed: true, Rule: i, Source: r.Source, Reason: "allowed by " + place}}
	c.unlisted = answer{{Rule: i, Source: r.Source, Reason: place + " matches and does not list the action"}}
	c.excessive = answer{{Rule: i, Source: r.Source, Reason: fmt.Sprintf("%s: %s", place, Excessive)}}
	return c, errs
}

// Excessive ends the Reason of a decision that was made because there was too much to try.
const Excessive = "more than 1000 combinations of label values"

// parseACLPrefix reads an address or a prefix as package net does: an IPv4 address within IPv6 is that address, and any
// wider prefix of IPv6 holds no IPv4 address.
func parseACLPrefix(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil && p.Addr().Is4In6() && p.Bits() < 96 {
		return p.Masked(), nil
	}
	return parsePrefix(s)
}

// find returns the rule that decides about q, whose client is unmapped; nil if none does. It is not known to match when
// too many combinations of label values would have to be tried.
func (a *acl) find(q *Query) (r *aclRule, excessive bool) {
	var room [16]uint64
	b := binding{query: q}
	for i := range a.finder.candidates(q, room[:]).all {
		b.bind(&a.rules[i])
		if b.matches() {
			return b.rule, false
		}
		if b.excessive {
			return b.rule, true
		}
	}
	return nil, false
}

// decide answers q, whose client is unmapped.
func (a *acl) decide(q *Query) answer {
	r, excessive := a.find(q)
	return r.answer(q.Action, excessive)
}

// decideAll answers q, whose client is unmapped, for each of actions.
func (a *acl) decideAll(q *Query, actions []customhouse.Action) []Decision {
	r, excessive := a.find(q)
	if len(actions) == 1 {
		return r.answer(actions[0], excessive)
	}
	all := make([]Decision, len(actions))
	for i, action := range actions {
		all[i] = r.answer(action, excessive)[0]
	}
	return all
}

// answer is what r, which decides, says about an action. No rule may be nil.
func (r *aclRule) answer(action customhouse.Action, excessive bool) answer {
	switch {
	case r == nil:
		return noRule
	case excessive:
		return r.excessive
	case r.lists(action):
		return r.allowed
	}
	return r.unlisted
}

// lists tells whether r allows an action.
func (r *aclRule) lists(action customhouse.Action) bool {
	return r.everything || slices.Contains(r.actions, action) || slices.Contains(r.actions, action.Whole())
}

// binding is a rule that is asked about a query, with what its placeholders stand for.
type binding struct {
	query     *Query
	rule      *aclRule
	excessive bool // too many combinations of label values

	groups [fieldCount][]int // of the expressions that are captured from, as regexp has them
	known  [fieldCount]bool
}

// bind turns to another rule.
func (b *binding) bind(r *aclRule) {
	b.rule = r
	if len(r.captures) > 0 {
		b.known = [fieldCount]bool{}
	}
}

// captured returns what a capture stands for. It is not known when its expression does not match.
func (b *binding) captured(c *capture) (string, bool) {
	value := c.field.of(b.query)
	if !b.known[c.field] {
		b.groups[c.field], b.known[c.field] = c.from.FindStringSubmatchIndex(value), true
	}
	groups := b.groups[c.field]
	switch {
	case groups == nil:
		return "", false
	case groups[2*c.group] < 0: // a group that takes no part
		return "", true
	}
	return value[groups[2*c.group]:groups[2*c.group+1]], true
}

// matches tells whether all conditions hold. Those that may be dear come last.
func (b *binding) matches() bool {
	r := b.rule
	if r.ip.IsValid() && !r.ip.Contains(b.query.Client) {
		return false
	}
	for f, p := range r.fields {
		if p != nil && p.parts == nil && !p.match(aclField(f).of(b.query), b) {
			return false
		}
	}
	for i := range r.labels {
		if !b.matchesLabel(&r.labels[i]) {
			return false
		}
	}
	for f, p := range r.fields {
		if p != nil && p.parts != nil && !p.match(aclField(f).of(b.query), b) {
			return false
		}
	}
	return true
}

func (b *binding) matchesLabel(l *aclLabel) bool {
	return slices.ContainsFunc(b.query.Identity.Labels[l.key], func(v string) bool { return l.pattern.match(v, b) })
}
