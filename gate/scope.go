package gate

import (
	"net/netip"
	"slices"

	"github.com/maypok86/otter/v2"

	"customhouse"
	"customhouse/policy"
)

// outOfScope is the reason of decisions about what the policy allows and the credential is not for.
const outOfScope = "outside of what the credential is for"

// narrow returns decisions about actions on a resource without what the credential of q's identity is not for: whoever has
// a credential for less than their account may do what the policy allows and the credential is for.
func (g *Gate) narrow(q *policy.Query, actions []customhouse.Action, decisions []policy.Decision) []policy.Decision {
	if q.Identity.Scopes == nil {
		return decisions
	}
	s := g.scopes.of(q.Identity.Scopes)
	narrowed := slices.Clone(decisions)
	for i := range narrowed {
		d := &narrowed[i]
		if !d.Allowed && !d.Maybe {
			continue
		}
		switch s.covers(q, actions[i]) {
		case no:
			*d = policy.Decision{Rule: -1, Source: "credential", By: customhouse.ByScope, Reason: outOfScope}
		case maybe:
			if d.Allowed {
				d.Reason = "up to the tag, which the credential is for or not"
			}
			d.Allowed, d.Maybe = false, true
		}
	}
	return narrowed
}

// scopeSets are compiled lists of scopes, each by the list that it was made of: those who vouch for a credential hand out
// the same list again and never change it.
type scopeSets struct {
	compiled *otter.Cache[scopeList, scopeSet]
}

// scopeList is a list of scopes as a thing, not by what it says. It keeps the list alive, so that no other takes its place.
type scopeList struct {
	first  *customhouse.Scope
	length int
}

const maxScopeSets = 10_000

func newScopeSets() *scopeSets {
	return &scopeSets{otter.Must(&otter.Options[scopeList, scopeSet]{MaximumSize: maxScopeSets})}
}

// of returns list compiled.
func (s *scopeSets) of(list []customhouse.Scope) scopeSet {
	if len(list) == 0 {
		return nil
	}
	key := scopeList{&list[0], len(list)}
	if set, ok := s.compiled.GetIfPresent(key); ok {
		return set
	}
	set := scopeSet{}
	for _, one := range list {
		if c, err := compileScope(one); err == nil { // what cannot be read is for nothing
			set = append(set, c)
		}
	}
	s.compiled.Set(key, set)
	return set
}

// scopeSet is what a credential is for.
type scopeSet []scope

// scope is a customhouse.Scope, compiled.
type scope struct {
	repo    policy.Pattern
	tag     *policy.Pattern // nil is all, and what has none
	actions *policy.Policy  // allows the actions on anything
}

// CheckScope tells what is wrong with a scope. The error is for a person.
func CheckScope(s customhouse.Scope) error {
	if err := s.Check(); err != nil {
		return err
	}
	_, err := compileScope(s)
	return err
}

func compileScope(s customhouse.Scope) (c scope, err error) {
	if c.repo, err = policy.ParsePattern(s.Repo); err != nil {
		return scope{}, err
	}
	if s.Tag != "" {
		tag, err := policy.ParsePattern(s.Tag)
		if err != nil {
			return scope{}, err
		}
		c.tag = &tag
	}
	c.actions, err = policy.Compile([]policy.Rule{{Actions: s.Actions}}, policy.Options{})
	return c, err
}

// verdict is whether a credential is for something.
type verdict int

const (
	no verdict = iota
	maybe
	yes
)

// covers tells whether a credential is for an action on what q is about. Scopes are of repositories; whoever has any may
// do nothing to the registry itself.
func (s scopeSet) covers(q *policy.Query, action customhouse.Action) verdict {
	best := no
	if q.Type != customhouse.TypeRepository {
		return no
	}
	for i := range s {
		best = max(best, s[i].covers(q, action))
	}
	return best
}

func (s *scope) covers(q *policy.Query, action customhouse.Action) verdict {
	if !s.repo.Match(q.Name) || !s.actions.Decide(policy.Query{Action: action}).Allowed {
		return no
	}
	switch {
	case s.tag == nil:
		return yes
	case q.Target.Known&policy.FactTag == 0:
		return maybe
	case q.Target.Tag != "" && s.tag.Match(q.Target.Tag):
		return yes
	}
	return no
}

// elsewhere tells whether a credential is used from where it may not be.
func elsewhere(id *customhouse.Identity, client netip.Addr) bool {
	if id.Networks == nil {
		return false
	}
	client = client.Unmap().WithZone("")
	return !slices.ContainsFunc(id.Networks, func(n netip.Prefix) bool { return n.Contains(client) })
}
