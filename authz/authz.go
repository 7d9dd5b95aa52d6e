// Package authz asks whoever decides besides the rules of the file, and chains them: the rules themselves, access lists
// that are kept elsewhere, programs, Casbin. It knows nothing of who is asking, of tokens and of HTTP.
//
//	rules := authz.NewRules(policy)
//	chain, err := authz.NewChain(rules, stored, program)
//	decisions, err := chain.Authorize(ctx, query, actions)
//
// Whoever is asked has four kinds of answer: yes, no, "nothing to say" (an undecided policy.Decision, upon which the next is
// asked), and "cannot tell", which is an error and never lets anybody in.
package authz

import (
	"context"
	"errors"
	"fmt"

	"customhouse"
	"customhouse/policy"
)

// Authorizer decides who may do what.
type Authorizer interface {
	// Name is the word for it in messages and in the Source of decisions that no rule makes, such as "casbin".
	Name() string
	// Authorize answers q for each of actions, in their order, whatever action q has; the decision about an action that
	// it has nothing to say about is undecided, and those that somebody else than the rules of the file makes are By Name().
	// It is asked at every request. It does not keep actions, and nobody changes what it returns. The errors are the
	// context's and those of an outage.
	Authorize(ctx context.Context, q policy.Query, actions []customhouse.Action) ([]policy.Decision, error)
}

// Chain asks several authorizers in turn. The first that has something to say decides. The zero Chain denies everything.
type Chain struct {
	members []Authorizer
}

// NewChain returns a chain of members, which have names of their own.
func NewChain(members ...Authorizer) (*Chain, error) {
	names := map[string]bool{}
	for _, m := range members {
		if names[m.Name()] {
			return nil, fmt.Errorf("two authorizers have the name %s", m.Name())
		}
		names[m.Name()] = true
	}
	return &Chain{members}, nil
}

// Authorize answers q for each of actions. A member is asked for what those before it have left undecided, or may have:
// that depends on what q leaves unknown. One that cannot tell is an outage for exactly that.
func (c *Chain) Authorize(ctx context.Context, q policy.Query, actions []customhouse.Action) ([]policy.Decision, error) {
	if len(c.members) == 0 {
		return (&policy.Policy{}).DecideAll(q, actions), nil
	}
	decisions, err := ask(ctx, c.members[0], q, actions)
	if err != nil {
		return nil, err
	}
	shared := true // with whoever made them
	for _, m := range c.members[1:] {
		open, places := undecided(decisions, actions)
		if len(open) == 0 {
			break
		}
		more, err := ask(ctx, m, q, open)
		if err != nil {
			return nil, err
		}
		if shared {
			decisions, shared = append([]policy.Decision(nil), decisions...), false
		}
		for i, at := range places {
			decisions[at] = decisions[at].Else(more[i])
		}
	}
	return decisions, nil
}

// ask is m.Authorize with its name in the error.
func ask(ctx context.Context, m Authorizer, q policy.Query, actions []customhouse.Action) ([]policy.Decision, error) {
	decisions, err := m.Authorize(ctx, q, actions)
	if err == nil && len(decisions) != len(actions) {
		err = errors.New("other decisions than were asked for")
	}
	if err != nil {
		return nil, fmt.Errorf("authorize by %s: %w", m.Name(), err)
	}
	return decisions, nil
}

// Ranges returns the ranges of names that the answer to q, which has no name, may be yes for, as policy.Policy.Ranges does.
// Where others are asked beside the rules, what those do not allow for certain has to be asked about.
func (c *Chain) Ranges(q policy.Query) []customhouse.Range {
	if len(c.members) == 0 {
		return []customhouse.Range{}
	}
	rules, ok := c.members[0].(interface {
		Ranges(q policy.Query) []customhouse.Range
	})
	if !ok {
		return []customhouse.Range{{}}
	}
	ranges := rules.Ranges(q)
	if len(c.members) == 1 {
		return ranges
	}
	all, at := []customhouse.Range{}, ""
	for _, r := range ranges {
		if !r.Sure {
			continue
		}
		if at < r.First {
			all = append(all, customhouse.Range{First: at, End: r.First})
		}
		if all, at = append(all, r), r.End; at == "" {
			return all
		}
	}
	return append(all, customhouse.Range{First: at})
}

// undecided returns the actions that nobody has decided about, or may have, and where they stand among all.
func undecided(decisions []policy.Decision, actions []customhouse.Action) (open []customhouse.Action, places []int) {
	for i := range decisions {
		if decisions[i].Open || decisions[i].Undecided() {
			open, places = append(open, actions[i]), append(places, i)
		}
	}
	return open, places
}

// Facts returns which facts about a target decisions depend on: those that members say, the others look at none.
func (c *Chain) Facts() (facts policy.Fact) {
	for _, m := range c.members {
		if f, ok := m.(interface{ Facts() policy.Fact }); ok {
			facts |= f.Facts()
		}
	}
	return facts
}

// Nearest returns what came nearest to allowing q, which was denied, of the rules of members that have any.
func (c *Chain) Nearest(q policy.Query) (steps []policy.Step) {
	for _, m := range c.members {
		if n, ok := m.(interface {
			Nearest(q policy.Query) []policy.Step
		}); ok {
			steps = append(steps, n.Nearest(q)...)
		}
	}
	return steps
}

// Rules are the rules of the file, as an authorizer.
type Rules struct {
	decisions *policy.Cache
}

var _ Authorizer = Rules{}

// NewRules returns an authorizer called "rules". It remembers decisions, for as long as p holds.
func NewRules(p *policy.Policy) Rules { return Rules{policy.NewCache(p, 0)} }

// Name returns "rules".
func (Rules) Name() string { return "rules" }

// Authorize implements Authorizer. It never fails.
func (r Rules) Authorize(_ context.Context, q policy.Query, actions []customhouse.Action) ([]policy.Decision, error) {
	return r.decisions.DecideAll(q, actions), nil
}

// Ranges returns the ranges of names that the answer to q may be yes for: see policy.Policy.Ranges.
func (r Rules) Ranges(q policy.Query) []customhouse.Range { return r.decisions.Policy().Ranges(q) }

// Facts returns which facts about a target the rules ask for.
func (r Rules) Facts() policy.Fact { return r.decisions.Policy().Facts() }

// Nearest returns what rules came nearest to allowing q, which was denied.
func (r Rules) Nearest(q policy.Query) []policy.Step { return r.decisions.Policy().Nearest(q) }
