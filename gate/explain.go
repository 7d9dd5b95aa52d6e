package gate

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"customhouse"
	"customhouse/authn"
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

	// As whom the account was seen, the latest first: it is the first of these of whom nobody can be asked what they are today,
	// unless somebody who can be asked knows the account. Without any, and where somebody else could be asked and does not know it
	// any more, it may do nothing. nil: nothing is known, and the account has no more than its name.
	Seen []customhouse.Identity
}

// Explanation is the answer to a Question: what the policy reports of it. Its JSON form is what they get who ask for one.
type Explanation struct {
	policy.Report
	Labels map[string][]string `json:"labels,omitempty"` // that the account has
}

// Explain tells whether the caller may do something, and if not, what they would be told. It asks the policy alone: what is
// there and what a token is for makes no difference. The error is a *Refusal where it cannot be told.
func (g *Grant) Explain(ctx context.Context, q Question) (Explanation, error) {
	d, err := g.gate.decideOne(ctx, &g.caller, q)
	if err != nil {
		return Explanation{}, g.gate.unavailable(g, err)
	}
	x := g.gate.report(policy.Trace{Decision: policy.Decision{Allowed: d.Allowed, Maybe: d.Maybe}}, &g.caller, q, false)
	if x.Answer == policy.Deny && !g.Identity.Anonymous() {
		need := Need{Access: customhouse.Access{Type: q.Type, Name: q.Name, Actions: []customhouse.Action{q.Action}}, Target: q.Target}
		asked := *g // whose rule and reason are those of this need
		asked.Ground = groundOf(&d)
		x.Message = g.gate.denied(&asked, &need, q.Action, &d).Err.Message
	}
	return x, nil
}

// ExplainFor tells whether somebody may do something, and why; with all, what each rule has to say. What the account has is
// told by whoever vouches for it, as far as they can be asked. The error is a *Refusal where it cannot be told.
func (g *Gate) ExplainFor(ctx context.Context, who Asker, q Question, all bool) (Explanation, error) {
	c, d, err := g.suppose(ctx, who, q)
	if err != nil {
		return Explanation{}, err
	}
	t := policy.Trace{}
	if g.trace != nil {
		t = g.trace(g.asks(&c, q))
	}
	t.Decision = d
	x := g.report(t, &c, q, all)
	x.Labels = c.identity.Labels
	return x, nil
}

// AnswerFor is the answer of ExplainFor alone: allow, Deny or maybe. Who is no more may do nothing.
func (g *Gate) AnswerFor(ctx context.Context, who Asker, q Question) (string, error) {
	c, d, err := g.suppose(ctx, who, q)
	if errors.Is(err, authn.ErrUnknownUser) {
		return Deny, nil
	}
	if err == nil && who.Seen != nil && customhouse.PartlyKnown(c.identity) {
		return policy.Maybe, nil
	}
	return d.Answer(), err
}

// suppose decides q for somebody. The error is a *Refusal.
func (g *Gate) suppose(ctx context.Context, who Asker, q Question) (c caller, d policy.Decision, err error) {
	if c, err = g.supposed(ctx, who); err == nil {
		d, err = g.decideOne(ctx, &c, q)
	}
	if err != nil {
		err = g.unavailable(&Grant{}, err)
	}
	return c, d, err
}

// asks is q, asked by c, with all that is known of its target.
func (g *Gate) asks(c *caller, q Question) policy.Query {
	query := g.query(c, q.Type, q.Name, &q.Target)
	query.Target, query.Action = q.Target, q.Action
	return query
}

func (g *Gate) report(t policy.Trace, c *caller, q Question, all bool) Explanation {
	return Explanation{Report: t.Report(g.asks(c, q), all)}
}

// supposed is who as a caller, with what whoever vouches for the account tells today.
func (g *Gate) supposed(ctx context.Context, who Asker) (caller, error) {
	if g.off {
		return caller{identity: customhouse.Identity{Account: who.Account}, client: who.Client, time: who.Time}, nil
	}
	c := caller{identity: customhouse.Identity{Account: who.Account}, client: who.Client, service: cmp.Or(who.Service, g.authority.Service()), time: who.Time}
	if who.Account == "" {
		c.identity = g.anonymous
	} else if method, err := g.chain.Owner(ctx, who.Account, ""); err != nil {
		return c, err
	} else if method != "" {
		if c.identity, err = g.chain.Lookup(ctx, method, who.Account); err != nil {
			return c, err
		}
	} else if who.Seen != nil {
		last := slices.IndexFunc(who.Seen, g.cannotAsk)
		if last < 0 {
			return c, authn.ErrUnknownUser
		}
		c.identity = who.Seen[last]
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

// cannotAsk tells whether somebody may log in by the method of id of whom nobody can be asked today.
func (g *Gate) cannotAsk(id customhouse.Identity) bool {
	switch id.Method {
	case MethodWorkload:
		return len(g.workloads) > 0
	case MethodCertificate:
		return g.certificates != nil
	case authn.PersonalTokensName: // whose owner is somebody of whom nobody can be asked
		return slices.Contains(g.chain.Names(), id.Method)
	}
	return slices.Contains(g.chain.Names(), id.Method) && !g.chain.CanLookUp(id.Method)
}

func (g *Gate) decideOne(ctx context.Context, c *caller, q Question) (policy.Decision, error) {
	if g.off {
		return policy.Decision{Allowed: true, Rule: -1, By: isOff.By, Reason: isOff.Reason}, nil
	}
	decisions, err := g.decide(ctx, c, q.Type, q.Name, []customhouse.Action{q.Action}, &q.Target)
	if err != nil {
		return policy.Decision{}, err
	}
	return decisions[0], nil
}
