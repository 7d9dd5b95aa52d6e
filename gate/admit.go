package gate

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"

	"customhouse"
	"customhouse/policy"
	"customhouse/token"
)

// caller is who is asking, and what they are limited to besides the policy.
type caller struct {
	identity customhouse.Identity
	client   netip.Addr
	service  string        // that is asked for
	time     time.Time     // that is asked about; zero is now
	paper    *token.Claims // nil without a token: the policy is the only limit
	trust    *Trust        // the other issuer of that token; nil if it is ours
	denied   *Denied       // of a token that is issued; nil else
}

// Need is what a request needs of one resource.
type Need struct {
	customhouse.Access
	Target Target // what is known of it before content is looked at

	// Partly lets the request through where the answer depends on what is not known. It is for who serves it so that each
	// thing is asked about once more, by Grant.Allows or Grant.Demand.
	Partly bool

	// Veiled keeps from the caller what Target says, and why it is no: they have not named it, and may not see it.
	Veiled bool
}

// Ground is what a decision rests on.
type Ground struct {
	By     string // who decided, as customhouse.ByRules
	Rule   string // Source of the rule that did; "" where it was none
	Reason string // for the log
}

// groundOf returns the ground of d.
func groundOf(d *policy.Decision) Ground {
	return Ground{cmp.Or(d.By, customhouse.ByRules), d.Source, d.Reason}
}

// Grounds that are always the same.
var (
	isOff     = Ground{By: customhouse.ByNobody, Reason: "authorization is off"}
	uncarried = Ground{By: customhouse.ByToken, Reason: "the token does not carry what is needed"}
)

// Grant is permission to do what was admitted, and the means to ask for more.
type Grant struct {
	ID       string // of the decision, for the log and the client
	Identity customhouse.Identity
	Ground   // of the last decision

	Pending *Pending // what of it is to be accounted for when the request is answered; nil for nothing

	gate   *Gate
	caller caller
	partly bool
}

// Partly tells whether the request was let through for a part of what it needs: what the answer depends on is known when
// content is looked at.
func (g *Grant) Partly() bool { return g.partly }

// ByContent tells whether rules ask for more of content than its tags.
func (g *Grant) ByContent() bool { return g.gate.facts&^policy.FactTag != 0 }

// Admit lets a request with these needs through, or returns a *Refusal. A request without needs is that of GET /v2/: it
// needs a valid credential, so that clients without one learn from the challenge where to get it.
//
// The catalog is a filter, not a wall: whoever comes with a valid credential may read it, and sees of it what
// Grant.SeesAll and Grant.Sees tell. To the tokens of other issuers it is a wall, as in distribution: what their bearers
// may pull is known to the issuer.
func (g *Gate) Admit(ctx context.Context, cred customhouse.Credential, needs ...Need) (Grant, error) {
	return g.admit(ctx, cred, toContent, needs)
}

// Enter is Admit for what is not content, such as the API: passwords are always taken, tokens of other issuers never, and
// a request without needs is let through whoever makes it, unless nobody is without an account.
func (g *Gate) Enter(ctx context.Context, cred customhouse.Credential, needs ...customhouse.Access) (Grant, error) {
	whole := make([]Need, len(needs))
	for i, a := range needs {
		whole[i].Access = a
	}
	return g.admit(ctx, cred, toOffice, whole)
}

// door is what a request is let through to.
type door int

const (
	toContent door = iota
	toOffice
)

func (g *Gate) admit(ctx context.Context, cred customhouse.Credential, to door, needs []Need) (Grant, error) {
	grant, err := g.decideAdmission(ctx, cred, to, needs)
	if err := g.auditDecision(ctx, &cred, to, &grant, needs, err); err != nil {
		return Grant{}, err
	}
	return grant, nil
}

func (g *Gate) decideAdmission(ctx context.Context, cred customhouse.Credential, to door, needs []Need) (Grant, error) {
	grant := Grant{ID: g.ids.next(), gate: g}
	if g.off {
		grant.Ground = isOff
		return grant, nil
	}
	c, err := g.identify(ctx, cred, to)
	if limited := g.paced(grant.ID, c.identity, &cred); limited != nil {
		return Grant{}, limited
	}
	if err != nil {
		return Grant{}, g.unidentified(grant.ID, cred, needs, err)
	}
	grant.caller, grant.Identity = c, c.identity
	if g.noAnonymous && c.identity.Anonymous() && c.trust == nil {
		grant.Ground = Ground{By: customhouse.ByAccount, Reason: errNoAccount.Error()}
		return Grant{}, g.unauthorized(&grant, needs, "", loginRequired)
	}
	if len(needs) == 0 {
		if c.stranger() && to == toContent {
			return Grant{}, g.unauthorized(&grant, nil, "", loginRequired)
		}
		grant.Ground = Ground{By: customhouse.ByAccount, Reason: "nothing is needed"}
		if !c.stranger() {
			grant.Reason = "authenticated"
		}
		return grant, nil
	}
	short := false // the token does not cover a need that the policy allows
	for i := range needs {
		need := &needs[i]
		if isCatalog(&need.Access) && !c.stranger() {
			grant.Ground = Ground{By: customhouse.ByAccount, Reason: "the catalog shows what the caller may pull"}
			short = short || c.trust != nil && !c.readsCatalog() // which another issuer tells by the catalog alone
			continue
		}
		if len(need.Actions) == 0 {
			grant.Reason = "a need without actions"
			return Grant{}, g.denied(&grant, need, "", nil)
		}
		decisions, err := g.decide(ctx, &c, need.Type, need.Name, need.Actions, &need.Target)
		if err != nil {
			return Grant{}, g.unavailable(&grant, err)
		}
		for j, action := range need.Actions {
			d := &decisions[j]
			grant.Ground = groundOf(d)
			if !d.Allowed && !(d.Maybe && need.Partly) {
				return Grant{}, g.refuse(&grant, needs, need, action, d)
			}
			grant.partly = grant.partly || !d.Allowed
			short = short || !c.covers(need.Type, need.Name, action)
		}
	}
	if short {
		grant.Ground = uncarried
		return Grant{}, g.unauthorized(&grant, needs, InsufficientScope, "insufficient scope")
	}
	return grant, nil
}

// refuse refuses need, one of needs, for the action that d is about.
func (g *Gate) refuse(grant *Grant, needs []Need, need *Need, action customhouse.Action, d *policy.Decision) *Refusal {
	switch c := &grant.caller; {
	case c.stranger():
		return g.unauthorized(grant, needs, "", loginRequired)
	case c.identity.Anonymous():
		return g.unauthorized(grant, needs, InsufficientScope, loginRequired)
	}
	return g.denied(grant, need, action, d)
}

// Allows tells whether the caller may do all that need names: the token, if there is one, carries it, and the policy
// allows it, or with Partly may. The error is a *Refusal where that cannot be told.
func (g *Grant) Allows(ctx context.Context, need Need) (bool, error) {
	if g.gate.off {
		return true, nil
	}
	if !g.carries(&need) || len(need.Actions) == 0 {
		return false, nil
	}
	decisions, err := g.gate.decide(ctx, &g.caller, need.Type, need.Name, need.Actions, &need.Target)
	if err != nil {
		return false, g.gate.unavailable(g, err)
	}
	return !slices.ContainsFunc(decisions, func(d policy.Decision) bool { return !d.Allowed && !(d.Maybe && need.Partly) }), nil
}

// carries tells whether the token, if there is one, is for need.
func (g *Grant) carries(need *Need) bool {
	return !slices.ContainsFunc(need.Actions, func(a customhouse.Action) bool { return !g.caller.covers(need.Type, need.Name, a) })
}

// Demand is Allows with the reason: nil where the caller may, and else a *Refusal that says why not.
func (g *Grant) Demand(ctx context.Context, need Need) error {
	if g.gate.off {
		return nil
	}
	asked := *g // whose rule and reason are those of this need
	if !g.carries(&need) || len(need.Actions) == 0 {
		asked.Ground = uncarried
		return g.gate.unauthorized(&asked, []Need{need}, InsufficientScope, "insufficient scope")
	}
	decisions, err := g.gate.decide(ctx, &g.caller, need.Type, need.Name, need.Actions, &need.Target)
	if err != nil {
		return g.gate.unavailable(&asked, err)
	}
	for i := range decisions {
		if d := &decisions[i]; !d.Allowed && !(d.Maybe && need.Partly) {
			asked.Ground = groundOf(d)
			refusal := g.gate.refuse(&asked, []Need{need}, &need, need.Actions[i], d)
			g.auditRefusal(ctx, &need, refusal)
			return refusal
		}
	}
	return nil
}

// Unseen refuses with notThere: what need is about is not there, or is not for the caller to know of. Somebody without an
// account, who with one may be shown more, is asked for it.
func (g *Grant) Unseen(need Need, notThere *customhouse.Error) error {
	asked := *g
	asked.Ground = Ground{customhouse.ByContent, g.Rule, "not there, or not for the caller to pull: " + notThere.Message}
	if g.Identity.Anonymous() && g.caller.trust == nil {
		kind := InsufficientScope
		if g.caller.stranger() {
			kind = ""
		}
		return g.gate.unauthorized(&asked, []Need{need}, kind, loginRequired)
	}
	return g.gate.unseen(&asked, &need, notThere)
}

// Untokened returns the grant that the caller's account would have without a token that narrows it.
func (g *Grant) Untokened() Grant {
	u := *g
	if u.caller.trust == nil {
		u.caller.paper = nil
	}
	return u
}

// Ranges returns the ranges of names that the catalog may show to the caller: in byte order, none overlapping. Outside
// of them Sees is no, in those that are sure it is yes.
func (g Grant) Ranges() []customhouse.Range {
	c, all := &g.caller, []customhouse.Range{{Sure: g.gate.off}}
	surveyor, ok := g.gate.policy.(surveyor)
	if !ok || g.gate.off || c.trust != nil {
		return all
	}
	q := g.gate.query(c, customhouse.TypeRepository, "", &Target{})
	q.Action = customhouse.List
	ranges := surveyor.Ranges(q)
	if c.identity.Scopes != nil { // which may leave less
		for i := range ranges {
			ranges[i].Sure = false
		}
	}
	return ranges
}

// Sees tells whether the catalog shows repo to the caller: whether the policy lets them know its name, whatever their token
// is for; partly where that depends on which tags it has, see Untokened. A token of another issuer must be for it, or for the
// catalog, and says so of all of it. The error is a *Refusal where that cannot be told.
func (g Grant) Sees(ctx context.Context, repo customhouse.Repo) (sees, partly bool, err error) {
	if g.gate.off {
		return true, false, nil
	}
	name := repo.String()
	if c := &g.caller; c.trust != nil && !c.readsCatalog() && !c.covers(customhouse.TypeRepository, name, customhouse.Pull) {
		return false, false, nil
	}
	decisions, err := g.gate.decide(ctx, &g.caller, customhouse.TypeRepository, name, listing, &Target{})
	if err != nil {
		return false, false, g.gate.unavailable(&g, err)
	}
	d := &decisions[0]
	return d.Allowed || d.Maybe, !d.Allowed && d.Maybe && g.caller.trust == nil, nil
}

// Paper returns what the caller's token is for and when it expires; ok is false without a token.
func (g Grant) Paper() (access []customhouse.Access, expires time.Time, ok bool) {
	if g.caller.paper == nil {
		return nil, time.Time{}, false
	}
	return g.caller.paper.Access, g.caller.paper.Expires, true
}

// SeesAll tells whether the catalog shows everything to the caller: whether they have registry:catalog:*. The error is a
// *Refusal where that cannot be told.
func (g Grant) SeesAll(ctx context.Context) (bool, error) {
	return g.Allows(ctx, Need{Access: customhouse.Access{Type: customhouse.TypeRegistry, Name: customhouse.Catalog, Actions: []customhouse.Action{customhouse.All}}})
}

// stranger tells whether there was no credential at all.
func (c *caller) stranger() bool { return c.paper == nil && c.identity.Anonymous() }

// covers tells whether the token, if there is one, carries the action. As in distribution, the class of a resource says
// what a client takes it for and is no other resource.
func (c *caller) covers(typ, name string, action customhouse.Action) bool {
	if c.paper == nil {
		return true
	}
	for i := range c.paper.Access {
		a := &c.paper.Access[i]
		if a.Type != typ || a.Name != name {
			continue
		}
		for _, have := range a.Actions {
			if have == action || opens(have, action) && (have != customhouse.All || c.trust == nil) { // others mean "*" literally
				return true
			}
		}
	}
	return false
}

// readsCatalog tells whether the token is for the catalog.
func (c *caller) readsCatalog() bool {
	return c.covers(customhouse.TypeRegistry, customhouse.Catalog, customhouse.All)
}

// opens tells whether a token with the action have is good for action: "*" for each, pull and push for their parts, create
// for its own, and a part of push for the push that begins with any.
func opens(have, action customhouse.Action) bool {
	switch {
	case have == action, have == customhouse.All, have == action.Whole():
		return true
	case have == customhouse.Create:
		return action.Whole() == customhouse.Push && action != customhouse.Update
	}
	return action == customhouse.Push && have.Whole() == customhouse.Push
}

func isCatalog(need *customhouse.Access) bool {
	return need.Type == customhouse.TypeRegistry && need.Name == customhouse.Catalog
}
