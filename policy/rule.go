package policy

import (
	"fmt"
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
	Public  bool                 `yaml:"public"`  // whether everybody inherits what the rule allows
	When    string               `yaml:"when"`    // an expression in CEL that must be true; empty is none
	From    string               `yaml:"from"`    // when the rule begins to hold: RFC 3339, or a date
	Expires string               `yaml:"expires"` // when the rule has ceased to hold: RFC 3339, or the date of its last day
	Message string               `yaml:"message"` // what whoever is denied is told in place of the reason
	Comment string               `yaml:"comment"`
	Source  string               `yaml:"-"` // where the rule stands, such as "customhouse.yml:12"
}

// Match is the conditions of a rule, all of which must hold. Values are patterns, but for those of IP, or references to
// sets such as "@admins". "" stands for what is absent: anonymous, no tag.
type Match struct {
	Account      Values            `yaml:"account"`
	Method       Values            `yaml:"method"` // of login
	Labels       map[string]Values `yaml:"labels"` // by label, of whose values one must match
	Claims       map[string]Values `yaml:"claims"` // by path of the claim
	IP           Values            `yaml:"ip"`     // addresses or CIDR prefixes
	Service      Values            `yaml:"service"`
	Type         Values            `yaml:"type"` // such as "repository"
	Name         Values            `yaml:"name"`
	Tag          Values            `yaml:"tag"`
	Digest       Values            `yaml:"digest"`
	MediaType    Values            `yaml:"mediaType"`
	ArtifactType Values            `yaml:"artifactType"`
}

// Error is one mistake in one rule, or in a set.
type Error struct {
	Rule   int    // index of the rule; -1 when a set is meant
	Set    string // name of the set
	Source string // Source of the rule
	Field  string // path of the field within the rule, such as "match.labels.group" or "actions[1]", or the set, such as "[2]"
	Line   int    // within the text of the field, from 1; 0 where all of it is meant
	Column int    // in characters, from 1
	Err    error
}

// Error returns place, field and mistake.
func (e *Error) Error() string {
	if e.Rule < 0 {
		return fmt.Sprintf("set %s%s: %v", e.Set, e.Field, e.Err)
	}
	at := ""
	if e.Line > 0 {
		at = fmt.Sprintf("%d:%d: ", e.Line, e.Column)
	}
	return fmt.Sprintf("%s: %s: %s%v", place(e.Rule, e.Source), e.Field, at, e.Err)
}

// place names a rule in a message.
func place(rule int, source string) string {
	if source != "" {
		return source
	}
	return fmt.Sprintf("rule %d", rule+1)
}

// placeOf names the rule of a decision.
func placeOf(d Decision) string {
	if d.Source != "" {
		return fmt.Sprintf("rule %d (%s)", d.Rule+1, d.Source)
	}
	return fmt.Sprintf("rule %d", d.Rule+1)
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
