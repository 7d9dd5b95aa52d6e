package gate

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"slices"
	"time"

	"customhouse"
	"customhouse/policy"
)

// Question is about one action of somebody on one resource.
type Question struct {
	Type, Name string
	Action     customhouse.Action
	Target     Target // what is known of it
}

// Asker is somebody whom a Question is about, with what is not so but supposed.
type Asker struct {
	Account string              // "" is anonymous
	Method  string              // of login; "" is that of whoever vouches for the account
	Labels  map[string][]string // beside those that the account has
	Claims  map[string]any      // in place of those of the same name that the account has
	Client  netip.Addr
	Service string    // "" is that of the gate
	Time    time.Time // zero is now
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

// ExplainFor tells whether somebody may do something, and why. What the account has is told by whoever vouches for it, as far
// as they can be asked. The error is a *Refusal where it cannot be told.
func (g *Gate) ExplainFor(ctx context.Context, who Asker, q Question) (Explanation, error) {
	x := Explanation{Account: who.Account, Action: q.Action, Type: q.Type, Name: q.Name, Answer: policy.Allow, Reason: "authorization is off"}
	if g.off {
		return x, nil
	}
	c, err := g.supposed(ctx, who)
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

// supposed is who as a caller, with what whoever vouches for the account tells today.
func (g *Gate) supposed(ctx context.Context, who Asker) (caller, error) {
	c := caller{identity: customhouse.Identity{Account: who.Account}, client: who.Client, service: cmp.Or(who.Service, g.authority.Service()), time: who.Time}
	if who.Account == "" {
		c.identity = g.anonymous
	} else if method, err := g.chain.Owner(ctx, who.Account, ""); err != nil {
		return c, err
	} else if method != "" {
		if c.identity, err = g.chain.Lookup(ctx, method, who.Account); err != nil {
			return c, err
		}
	}
	c.identity.Method = cmp.Or(who.Method, c.identity.Method)
	if len(who.Claims) > 0 {
		all := maps.Clone(who.Claims)
		for name, value := range c.identity.Claims {
			if _, ok := all[name]; !ok {
				all[name] = value
			}
		}
		c.identity.Claims = all
	}
	if len(who.Labels) > 0 {
		all := map[string][]string{}
		for _, some := range []map[string][]string{c.identity.Labels, who.Labels} {
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
