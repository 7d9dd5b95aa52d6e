package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"customhouse"
	"customhouse/authn"
	"customhouse/policy"
	"customhouse/token"
)

// MethodWorkload is the Method of identities that another issuer vouches for by a JWT.
const MethodWorkload = "workload"

// DefaultMaxAge is how old a JWT of a workload may be.
const DefaultMaxAge = 24 * time.Hour

// maxVouched is how many bytes the claims of an identity may have, which tokens carry.
const maxVouched = 4 << 10

// WorkloadOptions say how the JWTs of an issuer become identities.
type WorkloadOptions struct {
	// Name is what accounts begin with, before ':'. No other account has that character, so that nobody whom this issuer
	// vouches for is taken for somebody else.
	Name    string
	Account string            // the rest of the account: a template over claims
	Labels  map[string]string // templates over claims; one that lacks a claim makes no label
	Require map[string]string // patterns that claims must match, by their name
	Claims  []string          // those that are kept, beside those that are named above; none keeps all
	MaxAge  time.Duration     // of a JWT since it was issued; 0 is DefaultMaxAge
}

// Workload is an issuer of JWTs that say which program their bearer is: a job of a CI system, a pod. It is immutable.
type Workload struct {
	trust   *token.Trust
	o       WorkloadOptions
	account customhouse.Template
	labels  map[string]customhouse.Template
	require map[string]policy.Pattern
}

// NewWorkload returns the issuer whose JWTs trust verifies.
func NewWorkload(trust *token.Trust, o WorkloadOptions) (*Workload, error) {
	if o.MaxAge == 0 {
		o.MaxAge = DefaultMaxAge
	}
	w := &Workload{trust: trust, o: o, labels: map[string]customhouse.Template{}, require: map[string]policy.Pattern{}}
	if o.Name == "" || strings.Contains(o.Name, ":") {
		return nil, errors.New("a workload's issuer has no name that accounts can begin with")
	}
	var err error
	if w.account, err = customhouse.ParseTemplate(o.Account); err == nil && len(w.account.Claims()) == 0 {
		err = errors.New("names no claim: everybody would be one account")
	}
	if err != nil {
		return nil, fmt.Errorf("account: %w", err)
	}
	for label, text := range o.Labels {
		if w.labels[label], err = customhouse.ParseTemplate(text); err != nil {
			return nil, fmt.Errorf("label %s: %w", label, err)
		}
	}
	for claim, text := range o.Require {
		if w.require[claim], err = policy.ParsePattern(text); err != nil {
			return nil, fmt.Errorf("claim %s: %w", claim, err)
		}
	}
	return w, nil
}

// equal tells whether w and o make the same identities of the same JWTs.
func (w *Workload) equal(o *Workload) bool {
	return w.trust.Equal(o.trust) && reflect.DeepEqual(w.o, o.o)
}

// checkWorkloads tells what is wrong with the issuers of workloads together with others.
func (g *Gate) checkWorkloads() error {
	names := map[string]bool{}
	for _, w := range g.workloads {
		issuer := w.trust.Issuer()
		switch {
		case names[w.o.Name]:
			return fmt.Errorf("two issuers of workloads have the name %s", w.o.Name)
		case issuer == g.authority.Issuer(), slices.ContainsFunc(g.trusted, func(t Trust) bool { return t.Issuer() == issuer }):
			return fmt.Errorf("the issuer %s says in its tokens who somebody is or what they may do, not both", issuer)
		}
		names[w.o.Name] = true
	}
	return nil
}

// errRequired says that a JWT is good and that we want another.
var errRequired = errors.New("the claims are not those that are required")

// identity returns who the bearer of a JWT with these claims is.
func (w *Workload) identity(c *token.Claims) (customhouse.Identity, error) {
	bad := func(format string, args ...any) (customhouse.Identity, error) {
		return customhouse.Identity{}, fmt.Errorf("%w: "+format, append([]any{errRequired}, args...)...)
	}
	for _, claim := range slices.Sorted(maps.Keys(w.require)) {
		if !slices.ContainsFunc(customhouse.ClaimValues(c.Vouched, claim), w.require[claim].Match) {
			return bad("%s does not match %q", claim, w.require[claim])
		}
	}
	texts := w.account.Texts(c.Vouched)
	if len(texts) != 1 {
		return bad("they do not make an account by %q", w.account)
	}
	id := customhouse.Identity{
		Account: w.o.Name + ":" + texts[0], Method: MethodWorkload, Claims: w.kept(c.Vouched), Expires: c.Expires,
	}
	if !vouchable(id.Account) {
		return bad("%.100q is no name of an account", id.Account)
	}
	for label, template := range w.labels {
		if values := template.Texts(c.Vouched); len(values) > 0 {
			if id.Labels == nil {
				id.Labels = map[string][]string{}
			}
			id.Labels[label] = values
		}
	}
	if text, err := json.Marshal(id.Claims); err != nil || len(text) > maxVouched {
		return bad("they are longer than %d bytes; name those that rules ask for in claims", maxVouched)
	}
	return id, nil
}

// vouchable tells whether an account may be called so for what another says.
func vouchable(account string) bool {
	return customhouse.ValidAccount(account) && !strings.ContainsRune(account, unicode.ReplacementChar) // which JSON makes of all that is no text
}

// kept returns the claims that the identity has.
func (w *Workload) kept(claims map[string]any) map[string]any {
	if len(w.o.Claims) == 0 {
		return claims
	}
	kept := map[string]any{}
	keep := func(names ...string) {
		for _, name := range names {
			for top := name; ; { // of a claim within another, all of that
				if v, there := claims[top]; there {
					kept[top] = v
					break
				}
				dot := strings.LastIndexByte(top, '.')
				if dot < 0 {
					break
				}
				top = top[:dot]
			}
		}
	}
	keep("iss", "sub", "aud")
	keep(w.o.Claims...)
	keep(w.account.Claims()...)
	for _, template := range w.labels {
		keep(template.Claims()...)
	}
	keep(slices.Collect(maps.Keys(w.require))...)
	return kept
}

// judge returns who the bearer of a JWT is that was verified.
func (w *Workload) judge(c *token.Claims, now time.Time) (customhouse.Identity, error) {
	if oldest := c.IssuedAt.Add(w.o.MaxAge); oldest.Before(c.Expires) {
		c.Expires = oldest
	}
	if now.After(c.Expires.Add(token.Leeway)) {
		return customhouse.Identity{}, fmt.Errorf("%w: older than %v", token.ErrExpired, w.o.MaxAge)
	}
	return w.identity(c)
}

// errWorkload says that a JWT is of an issuer of workloads and is not taken.
var errWorkload = errors.New("the token of the workload is not accepted")

// mayAssert tells whether text claims to be a JWT of an issuer of workloads: no other than that issuer is asked about it.
func (g *Gate) mayAssert(text customhouse.Secret) bool {
	if len(g.workloads) == 0 || len(text) > token.MaxLength || strings.Count(string(text), ".") != 2 {
		return false
	}
	if p, ok := g.papers.GetIfPresent(sumOf(text)); ok {
		return p.workload != nil
	}
	return g.isWorkload(token.IssuerOf(string(text)))
}

func (g *Gate) isWorkload(issuer string) bool {
	return slices.ContainsFunc(g.workloads, func(w *Workload) bool { return w.trust.Issuer() == issuer })
}

// assertion returns who the bearer of a workload's JWT is, which came as the secret of cred, whatever the rest of that says.
// The errors are errWorkload and, where it cannot be told, that of an outage.
func (g *Gate) assertion(ctx context.Context, cred customhouse.Credential) (customhouse.Identity, error) {
	p, err := g.verify(ctx, cred.Secret)
	switch {
	case errors.Is(err, errToken):
		err = fmt.Errorf("%w: %w", errWorkload, err)
	case err != nil:
	case p.workload == nil: // one of ours: it would be good for a token that lives on
		err = fmt.Errorf("%w: not of its issuer", errWorkload)
	case !g.now().Before(p.identity.Expires): // as a token would have, that was had for it
		err = fmt.Errorf("%w: %w", errWorkload, token.ErrExpired)
	case p.known.Load():
		return p.identity, nil
	}
	var id customhouse.Identity
	if err == nil {
		id = p.identity
	}
	if err := g.auditLogin(ctx, MethodWorkload, "", &id, addressOf(&cred), err); err != nil {
		return customhouse.Identity{}, err
	}
	p.known.Store(true)
	return id, nil
}

// readAssertion has a JWT verified by the issuer that it names, which may be configured for several audiences or with
// several requirements; the first that takes it decides.
func (g *Gate) readAssertion(ctx context.Context, issuer, text string, now time.Time) (*paper, error) {
	var reason error
	for _, w := range g.workloads {
		if w.trust.Issuer() != issuer {
			continue
		}
		claims, proof, err := w.trust.Assertion(ctx, text, now)
		if err == nil {
			var id customhouse.Identity
			if id, err = w.judge(&claims, now); err == nil {
				return &paper{claims: claims, identity: id, issuer: ours, proof: proof, workload: w}, nil
			}
		}
		if reason == nil || !errors.Is(err, token.ErrForeign) { // that is what each of the others says
			reason = err
		}
	}
	return nil, reason
}

// workloadRefused tells the bearer of a JWT what they can do something about.
func workloadRefused(err error) string {
	switch {
	case errors.Is(err, token.ErrExpired):
		return "the token of the workload has expired"
	case errors.Is(err, token.ErrNotYet):
		return "the token of the workload begins later: the clocks of its issuer and of this registry differ"
	case errors.Is(err, token.ErrForeign):
		return "the token of the workload is for another audience"
	case errors.Is(err, errRequired):
		return "the token of the workload has not the claims that are required"
	}
	return errWorkload.Error()
}

// recallWorkload returns who the bearer of one of our tokens is that was had for a JWT, by the present configuration.
func (g *Gate) recallWorkload(c *token.Claims) (customhouse.Identity, error) {
	name, _, _ := strings.Cut(c.Subject, ":")
	issuer, _ := c.Vouched["iss"].(string)
	for _, w := range g.workloads {
		if w.o.Name != name || w.trust.Issuer() != issuer || !slices.Contains(customhouse.ClaimValues(c.Vouched, "aud"), w.trust.Service()) {
			continue
		}
		id, err := w.identity(c)
		if err == nil && id.Account != c.Subject {
			err = errors.New("it is another account by now")
		}
		return id, err
	}
	return customhouse.Identity{}, fmt.Errorf("%w: the issuer of the workload is not configured", authn.ErrUnknownUser)
}

// renews tells whether somebody can have a refresh token: not who has one only because another vouches for them, for as
// long as that lasts.
func renews(id customhouse.Identity) bool {
	return !id.Anonymous() && id.Method != MethodWorkload && id.Method != MethodCertificate
}
