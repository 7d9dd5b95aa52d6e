package gate

import (
	"context"
	"net/netip"
	"slices"

	"customhouse"
	"customhouse/policy"
)

// Question is about one action of somebody on one resource.
type Question struct {
	Type, Name string
	Action     customhouse.Action
	Target     Target // what is known of it
}

// Explanation is the answer to a Question. Its JSON form is what they get who ask for one.
type Explanation struct {
	Answer  string              `json:"answer"`            // allow, deny, or maybe: it depends on what the question leaves unknown
	Message string              `json:"message,omitempty"` // what whoever is denied is told
	Account string              `json:"account"`           // "" is anonymous
	Labels  map[string][]string `json:"labels,omitempty"`
	Action  customhouse.Action  `json:"action"`
	Type    string              `json:"type"`
	Name    string              `json:"name"`

	Rule   string     `json:"rule,omitempty"` // where the rule stands that decides; for who may know the rules, as what follows
	Reason string     `json:"reason,omitempty"`
	Rules  []RuleSays `json:"rules,omitempty"` // those that match or may, and those that come nearest to a yes
}

// RuleSays is what one rule has to say.
type RuleSays struct {
	Rule string `json:"rule"` // where it stands
	Says string `json:"says"`
}

// Explain tells whether the caller may do something, and if not, what they would be told. It asks the policy alone: what is
// there and what a token is for makes no difference. The error is a *Refusal where it cannot be told.
func (g *Grant) Explain(ctx context.Context, q Question) (Explanation, error) {
	x := Explanation{Account: g.Identity.Account, Action: q.Action, Type: q.Type, Name: q.Name, Answer: policy.Allow}
	if g.gate.off {
		return x, nil
	}
	d, err := g.gate.decideOne(ctx, &g.caller, q)
	if err != nil {
		return x, g.gate.unavailable(g, err)
	}
	if x.Answer = answerOf(d); x.Answer == policy.Deny && !g.Identity.Anonymous() {
		need := Need{Access: customhouse.Access{Type: q.Type, Name: q.Name, Actions: []customhouse.Action{q.Action}}, Target: q.Target}
		asked := *g // whose rule and reason are those of this need
		asked.Rule, asked.Reason = d.Source, d.Reason
		x.Message = g.gate.denied(&asked, &need, q.Action, &d).Err.Message
	}
	return x, nil
}

// ExplainFor tells whether somebody may do something, and why. Labels are added to those that the account has, as far as
// whoever vouches for it can be asked. The error is a *Refusal where it cannot be told.
func (g *Gate) ExplainFor(ctx context.Context, account string, labels map[string][]string, client netip.Addr, q Question) (Explanation, error) {
	x := Explanation{Account: account, Action: q.Action, Type: q.Type, Name: q.Name, Answer: policy.Allow, Reason: "authorization is off"}
	if g.off {
		return x, nil
	}
	c, err := g.callerNamed(ctx, account, labels, client)
	var d policy.Decision
	if err == nil {
		d, err = g.decideOne(ctx, &c, q)
	}
	if err != nil {
		return x, g.unavailable(&Grant{}, err)
	}
	x.Answer, x.Rule, x.Reason, x.Labels = answerOf(d), d.Source, d.Reason, c.identity.Labels
	if g.trace == nil {
		return x, nil
	}
	query := g.query(&c, q.Type, q.Name, &q.Target)
	query.Action = q.Action
	t := g.trace(query)
	steps := slices.Concat(t.Matched(), t.Nearest())
	slices.SortFunc(steps, func(a, b policy.Step) int { return a.Rule - b.Rule })
	for _, s := range steps[:min(len(steps), mostSays)] {
		x.Rules = append(x.Rules, RuleSays{s.Source, s.String()})
	}
	return x, nil
}

// mostSays is how many rules an explanation quotes.
const mostSays = 100

// callerNamed is an account as a caller, with the labels that whoever vouches for it tells today.
func (g *Gate) callerNamed(ctx context.Context, account string, labels map[string][]string, client netip.Addr) (caller, error) {
	c := caller{identity: customhouse.Identity{Account: account}, client: client, service: g.authority.Service()}
	if account == "" {
		c.identity = g.anonymous
	} else if method, err := g.chain.Owner(ctx, account, ""); err != nil {
		return c, err
	} else if method != "" {
		if c.identity, err = g.chain.Lookup(ctx, method, account); err != nil {
			return c, err
		}
	}
	if len(labels) > 0 {
		all := map[string][]string{}
		for _, some := range []map[string][]string{c.identity.Labels, labels} {
			for key, values := range some {
				all[key] = slices.Concat(all[key], values)
			}
		}
		c.identity.Labels = all
	}
	return c, nil
}

func (g *Gate) decideOne(ctx context.Context, c *caller, q Question) (policy.Decision, error) {
	decisions, err := g.decide(ctx, c, q.Type, q.Name, []customhouse.Action{q.Action}, &q.Target)
	if err != nil {
		return policy.Decision{}, err
	}
	return decisions[0], nil
}

func answerOf(d policy.Decision) string {
	switch {
	case d.Allowed:
		return policy.Allow
	case d.Maybe:
		return "maybe"
	}
	return policy.Deny
}
