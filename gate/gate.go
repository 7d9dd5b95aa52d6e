// Package gate is the one door: it takes a credential and what a request needs, and answers with a Grant or a refusal.
// It asks authn who is asking, token whether paper is good, and policy whether they may; it remembers verified tokens
// and passwords, limits failed logins, and gives every decision an id. It knows nothing of content, so that what it
// answers is the same whether content is there or not, and nothing of HTTP.
//
//	g, err := gate.New(options)
//	grant, err := g.Admit(ctx, credential, need)    // every request
//	paper, err := g.Issue(ctx, request)             // the token endpoint
//
// A token narrows what its bearer may do and never widens it: every request is asked of the present policy too, for the
// present identity. So a change of the rules, of an account's labels or of its password is effective at once, for tokens
// already issued as well.
//
// Whether somebody may, an Authorizer tells: the rules of the configuration, or whoever else package authz has in a chain.
//
// Errors are a *Refusal or, from Issue, an *OAuthError. Whatever cannot be answered is refused with UNAVAILABLE; nobody
// becomes anonymous because a password is wrong or a source is down.
package gate

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"customhouse"
	"customhouse/authn"
	"customhouse/policy"
	"customhouse/token"
)

// Defaults and limits.
const (
	DefaultAccessTTL  = 5 * time.Minute
	DefaultRefreshTTL = 30 * 24 * time.Hour
	DefaultLoginTTL   = 5 * time.Minute
	MinAccessTTL      = time.Minute // clients assume as much
	MaxScopes         = 20          // of one token
)

// Options are the settings of a Gate.
type Options struct {
	Off bool // admit everybody to everything as anonymous, and issue no tokens; all that follows may be empty

	Chain  *authn.Chain // nil knows nobody
	Policy Authorizer   // nil denies everything

	// Verbatim answers each scope by itself, as docker_auth does: any type of resource, "*" as an action like others,
	// actions sorted, and no action where none is allowed.
	Verbatim bool

	Issuer    string          // of the tokens; mandatory
	Service   string          // the audience of the tokens that open this registry; mandatory
	Services  []string        // other audiences that tokens are issued for; "*" is any
	Keys      token.KeySource // mandatory
	AccessTTL time.Duration   // of access tokens; 0 is DefaultAccessTTL, less than MinAccessTTL an error

	AnswerInFull bool // tokens list each scope as it was asked for, with what is allowed of it, be it nothing

	Trust     []Trust     // issuers of others whose tokens open this registry, too
	Workloads []*Workload // issuers of others that tell who a program is; each has a name of its own

	Certificates *Certificates // tell who comes without a credential; nil: nobody is known by a certificate

	Refresh    RefreshStore  // where refresh tokens are kept; nil issues none
	RefreshTTL time.Duration // of refresh tokens, and of all that replace one; 0 is DefaultRefreshTTL
	Rotation   Rotation      // of refresh tokens; "" is RotateClient

	Anonymous   customhouse.Identity            // whoever has no account: labels, if rules ask for them
	NoAnonymous bool                            // refuse whoever has no account, whatever the policy says
	Trace       func(policy.Query) policy.Trace // what the rules say, for who may know them; nil where there are none

	Denials    Denials       // what an account is told of why it is denied something
	AllowBasic bool          // also accept passwords, not tokens alone, with registry requests
	LoginTTL   time.Duration // how long a verified password is remembered; 0 is DefaultLoginTTL, negative not at all
	Limits     Limits
	Rates      Rates

	Audit      Auditor // is told of every decision, login and token; nil is silent
	AuditFirst bool    // of a request that is let through before it is served, with less of what it is about

	Excessive func() // is told of each decision that is no because there was too much to try; nil is silent

	Log *slog.Logger     // told what is no answer to anybody; nil is silent
	Now func() time.Time // nil is time.Now

	Previous *Gate // whose verified tokens and passwords, and failed logins, are carried over; nil begins without
}

// Authorizer decides who may do what. It is asked at every request, with all the actions on one resource at once.
type Authorizer interface {
	// Authorize answers q for each of actions, in their order, whatever action q has. It keeps actions no longer than it
	// takes, and what it returns is not changed. An error is an outage: nobody is let in.
	Authorize(ctx context.Context, q policy.Query, actions []customhouse.Action) ([]policy.Decision, error)
}

// Facts of a Target, for packages that know no rules.
const (
	FactTag          = policy.FactTag
	FactDigest       = policy.FactDigest
	FactMediaType    = policy.FactMediaType
	FactArtifactType = policy.FactArtifactType
	Facts            = policy.Facts
)

// Deny is the answer to what somebody may not, for the same.
const Deny = policy.Deny

// Target is what of a resource a request is about, as far as it is known.
type Target = policy.Target

// factual is an Authorizer that tells which facts about a Target its decisions depend on. Those of others depend on none.
type factual interface{ Facts() policy.Fact }

// surveyor is an Authorizer that tells beforehand for which names the answer may be yes: see policy.Policy.Ranges.
type surveyor interface {
	Ranges(q policy.Query) []customhouse.Range
}

// nobody is the Authorizer that denies everything.
type nobody struct{}

func (nobody) Authorize(_ context.Context, q policy.Query, actions []customhouse.Action) ([]policy.Decision, error) {
	return (&policy.Policy{}).DecideAll(q, actions), nil
}

// Gate decides. It is immutable but for its caches, and safe for concurrent use; other settings are another Gate.
type Gate struct {
	off         bool
	chain       *authn.Chain
	policy      Authorizer
	facts       policy.Fact // that decisions depend on
	denials     Denials
	trace       func(policy.Query) policy.Trace
	verbatim    bool
	authority   *token.Authority
	services    []string // beside the authority's own
	trusted     []Trust
	accessTTL   time.Duration
	refresh     RefreshStore
	refreshTTL  time.Duration
	rotation    Rotation
	inFull      bool
	anonymous   customhouse.Identity
	noAnonymous bool
	allowBasic  bool
	audit       Auditor
	auditFirst  bool
	log         *slog.Logger
	now         func() time.Time

	workloads    []*Workload
	certificates *Certificates

	ids    ids
	papers *papers
	logins *logins
	pace   *pace

	excessive func()
	scopes    *scopeSets
}

// New returns a gate with these settings.
func New(o Options) (*Gate, error) {
	g := &Gate{
		anonymous: o.Anonymous, inFull: o.AnswerInFull,
		off: o.Off, chain: o.Chain, policy: o.Policy, trace: o.Trace, denials: o.Denials, verbatim: o.Verbatim, services: o.Services, trusted: o.Trust, accessTTL: o.AccessTTL, refresh: o.Refresh, refreshTTL: o.RefreshTTL,
		noAnonymous: o.NoAnonymous, allowBasic: o.AllowBasic, audit: o.Audit, auditFirst: o.AuditFirst, log: o.Log, now: o.Now,
	}
	g.workloads, g.certificates = o.Workloads, o.Certificates
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	if g.now == nil {
		g.now = time.Now
	}
	if g.audit == nil {
		g.audit = unaudited{}
	}
	if g.excessive = o.Excessive; g.excessive == nil {
		g.excessive = func() {}
	}
	g.ids.begin()
	if o.Off {
		return g, nil
	}
	var err error
	if g.authority, err = token.NewAuthority(o.Issuer, o.Service, o.Keys); err != nil {
		return nil, err
	}
	if g.chain == nil {
		g.chain = &authn.Chain{}
	}
	if g.policy == nil {
		g.policy = nobody{}
	}
	if f, ok := g.policy.(factual); ok {
		g.facts = f.Facts()
	}
	if g.accessTTL == 0 {
		g.accessTTL = DefaultAccessTTL
	}
	if g.refreshTTL == 0 {
		g.refreshTTL = DefaultRefreshTTL
	}
	if g.rotation, err = rotationOf(o.Rotation); err != nil {
		return nil, err
	}
	if o.LoginTTL == 0 {
		o.LoginTTL = DefaultLoginTTL
	}
	switch {
	case g.accessTTL < MinAccessTTL:
		return nil, fmt.Errorf("access tokens live for %v; clients need at least %v", g.accessTTL, MinAccessTTL)
	case g.refreshTTL < g.accessTTL:
		return nil, errors.New("refresh tokens live shorter than access tokens")
	case g.anonymous.Account != "":
		return nil, errors.New("anonymous has an account")
	case o.Limits.PerAccount < 0 || o.Limits.PerClient < 0:
		return nil, errors.New("a limit of failed logins is negative")
	case o.Rates.check() != nil:
		return nil, o.Rates.check()
	}
	if err := g.checkWorkloads(); err != nil {
		return nil, err
	}
	p := o.Previous
	if p != nil && p.papers != nil && p.trusts(g) {
		g.papers = p.papers
	} else {
		g.papers = newPapers()
	}
	g.scopes = newScopeSets()
	g.logins = newLogins(o.LoginTTL, o.Limits)
	if p != nil && p.logins != nil {
		g.logins.carryOver(p.logins)
	}
	g.pace = newPace(o.Rates)
	if p != nil && p.pace != nil {
		g.pace.carryOver(p.pace)
	}
	return g, nil
}

// JWKS returns the public keys of the gate's tokens, nil if it issues none. The caller does not change it.
func (g *Gate) JWKS() []byte {
	if g.off {
		return nil
	}
	return g.authority.JWKS()
}

// Services returns the audiences that the gate issues tokens for, its own first; "*" is any.
func (g *Gate) Services() []string {
	if g.off {
		return nil
	}
	return append([]string{g.authority.Service()}, g.services...)
}

// decide asks the policy for each of some actions on a resource, with what is known of target. The error is that of an
// outage.
func (g *Gate) decide(ctx context.Context, c *caller, typ, name string, actions []customhouse.Action, target *Target) ([]policy.Decision, error) {
	if c.trust != nil && !c.trust.Rules {
		return unasked(actions), nil
	}
	q := g.query(c, typ, name, target)
	decisions, err := g.policy.Authorize(ctx, q, actions)
	if err == nil && len(decisions) != len(actions) {
		err = fmt.Errorf("%d decisions about %d actions", len(decisions), len(actions))
	}
	if err != nil {
		return nil, err
	}
	for i := range decisions {
		if d := &decisions[i]; !d.Allowed && strings.HasSuffix(d.Reason, policy.Excessive) {
			g.excessive()
		}
	}
	q.Target = *target
	return g.narrow(&q, actions, decisions), nil
}

// query is the question whether c may do something with a resource.
func (g *Gate) query(c *caller, typ, name string, target *Target) policy.Query {
	facts := g.facts
	if c.identity.Scopes != nil { // which may be for some tags
		facts |= policy.FactTag
	}
	at := c.time
	if at.IsZero() {
		at = g.now()
	}
	return policy.Query{
		Identity: c.identity, Client: c.client, Service: c.service, Type: typ, Name: name, Target: relevant(target, facts), Time: at,
	}
}

// relevant returns what of t decisions depend on, which are facts, so that the same question is asked where they do not.
func relevant(t *Target, facts policy.Fact) (r Target) {
	r.Known = t.Known & facts
	if r.Known&policy.FactTag != 0 {
		r.Tag = t.Tag
	}
	if r.Known&policy.FactDigest != 0 {
		r.Digest = t.Digest
	}
	if r.Known&policy.FactMediaType != 0 {
		r.MediaType = t.MediaType
	}
	if r.Known&policy.FactArtifactType != 0 {
		r.ArtifactType = t.ArtifactType
	}
	return r
}

// ids makes the ids of decisions: 16 characters that no other decision of this or another process has.
type ids struct {
	process [5]byte
	last    atomic.Uint64
}

// base32 in lower case, without letters that are taken for digits (Crockford).
var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

func (i *ids) begin() { rand.Read(i.process[:]) }

func (i *ids) next() string {
	var b [13]byte
	copy(b[:], i.process[:])
	binary.BigEndian.PutUint64(b[5:], i.last.Add(1)<<24)
	var text [16]byte
	idEncoding.Encode(text[:], b[:10])
	return string(text[:])
}
