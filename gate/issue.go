package gate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"customhouse"
	"customhouse/authn"
	"customhouse/token"
)

// Grant types of a TokenRequest.
const (
	GrantPassword = "password"
	GrantRefresh  = "refresh_token"
	GrantExchange = "urn:ietf:params:oauth:grant-type:token-exchange" // RFC 8693
)

// Types of a token that is exchanged (RFC 8693, section 3).
const (
	TypeJWT         = "urn:ietf:params:oauth:token-type:jwt"
	TypeIDToken     = "urn:ietf:params:oauth:token-type:id_token"
	TypeAccessToken = "urn:ietf:params:oauth:token-type:access_token"
)

// TokenRequest is a request to the token endpoint, by GET (Docker token specification) or POST (OAuth 2).
type TokenRequest struct {
	Credential   customhouse.Credential // the name and password of the password grant too; Bearer with the JWT of a workload
	Services     []string               // that the token is to open; none is ours
	Scopes       []string               // one resource scope each; empty ones say nothing
	Account      string                 // who the client says it is, beside the credential; "" says nothing
	Offline      bool                   // a refresh token is wanted
	ClientID     string
	GrantType    string             // "" with GET, else one of those above
	RefreshToken customhouse.Secret // with GrantRefresh
	Subject      customhouse.Secret // with GrantExchange: the token that is exchanged
	SubjectType  string             // its type

	spent *customhouse.RefreshToken // what is kept of RefreshToken, once it has been found good
}

// Token is what the token endpoint answers.
type Token struct {
	Token        customhouse.Secret
	IssuedAt     time.Time
	ExpiresIn    time.Duration      // whole seconds
	RefreshToken customhouse.Secret // "" for none
	Access       []customhouse.Access

	ID       string               // of the decision, for the log
	Identity customhouse.Identity // for the log
	Denied   Denied               // for the log
}

// Denied is what a token was asked for and does not carry: the first that there is.
type Denied struct {
	Access customhouse.Access // zero for nothing
	Ground
}

// Reason tells what the token is for, and what it is not for and why.
func (t *Token) Reason() string {
	reason := "token without a scope"
	if scope := t.Scope(); scope != "" {
		reason = "token for " + scope
	}
	if d := &t.Denied; d.Access.Type != "" {
		reason += fmt.Sprintf("; not %s: %s", d.Access, d.Ground.Reason)
	}
	return reason
}

// Scope returns what was granted, as the scope of RFC 6749.
func (t *Token) Scope() string {
	var scope string
	for _, a := range t.Access {
		if len(a.Actions) == 0 {
			continue
		}
		if scope != "" {
			scope += " "
		}
		scope += a.String()
	}
	return scope
}

// Codes of an OAuthError (RFC 6749, section 5.2).
const (
	InvalidRequest       = "invalid_request"
	InvalidGrant         = "invalid_grant"
	InvalidScope         = "invalid_scope"
	InvalidTarget        = "invalid_target" // RFC 8693, section 2.2.2
	UnsupportedGrantType = "unsupported_grant_type"
)

// OAuthError is an error of the token endpoint that the client may read (RFC 6749, section 5.2). Its status is 400.
type OAuthError struct {
	Code        string
	Description string
	Cause       error // for the log only; nil for nothing
}

// Error returns code, description and cause.
func (e *OAuthError) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Description, e.Cause)
	}
	return e.Code + ": " + e.Description
}

// Unwrap returns the cause.
func (e *OAuthError) Unwrap() error { return e.Cause }

const (
	notBefore   = 10 * time.Second
	maxServices = 8   // of one token
	maxService  = 255 // bytes
)

// Issue returns a token for what was asked for, as far as the policy may allow it when more is known: a scope that is not
// allowed is left out, or stays without actions (Options.AnswerInFull), and is no error. Without a credential the token is anonymous.
//
// The error is an *OAuthError when the request is wrong, and a *Refusal when the account or password is, when there
// were too many of them, or when it cannot be told. The refusal has no challenge: that of the token endpoint is Basic.
func (g *Gate) Issue(ctx context.Context, r TokenRequest) (Token, error) {
	t := Token{ID: g.ids.next()}
	if g.off {
		return Token{}, &OAuthError{Code: InvalidRequest, Description: "authorization is off; no token is needed"}
	}
	services, err := g.audience(r.Services)
	var target *OAuthError
	if errors.As(err, &target) && r.GrantType == GrantExchange {
		target.Code = InvalidTarget
	}
	if err != nil {
		return Token{}, err
	}
	scopes, err := g.parse(&r)
	if err != nil {
		return Token{}, err
	}
	t.Identity, err = g.tokenIdentity(ctx, &r, services)
	if limited := g.paced(t.ID, t.Identity, &r.Credential); limited != nil {
		return Token{}, limited
	}
	if err != nil {
		var wrong *OAuthError
		if errors.As(err, &wrong) {
			return Token{}, wrong
		}
		refusal := g.unidentified(t.ID, r.Credential, nil, err)
		refusal.Challenge = nil
		return Token{}, refusal
	}
	t.Access = scopes
	for _, service := range services { // a token that opens several carries what is allowed at each
		c := caller{identity: t.Identity, client: r.Credential.Client, service: service, denied: &t.Denied}
		if t.Access, err = g.answer(ctx, &c, t.Access); err != nil {
			return Token{}, g.unavailable(&Grant{ID: t.ID, Identity: t.Identity}, err)
		}
	}
	t.IssuedAt, t.ExpiresIn = g.now().UTC().Truncate(time.Second), g.accessTTL.Truncate(time.Second)
	if end := t.Identity.Expires; !end.IsZero() { // with its credential, if that is sooner
		t.ExpiresIn = max(0, min(t.ExpiresIn, end.Sub(t.IssuedAt).Truncate(time.Second)))
	}
	claims := token.Claims{
		ID: token.NewID(), Subject: t.Identity.Account, Audience: services, Access: t.Access,
		IssuedAt: t.IssuedAt, NotBefore: t.IssuedAt.Add(-notBefore), Expires: t.IssuedAt.Add(t.ExpiresIn),
	}
	if !g.inFull { // another registry has no use for what follows
		claims.Method, claims.Stamp = t.Identity.Method, t.Identity.Stamp
		switch {
		case claims.Method == MethodWorkload:
			claims.Vouched = t.Identity.Claims
		case claims.Method == MethodCertificate:
			if known, err := g.certified(&r.Credential); err == nil && known != nil {
				claims.Bound = known.thumbprint
			}
		case !g.chain.CanLookUp(claims.Method): // else the present ones are asked for with each request
			claims.Labels = t.Identity.Labels
		}
	}
	text, err := g.authority.Sign(claims)
	if err != nil {
		return Token{}, err
	}
	t.Token = customhouse.Secret(text)
	if t.RefreshToken, err = g.refreshToken(ctx, &r, t.Identity, services); err != nil {
		var wrong *OAuthError
		if errors.As(err, &wrong) {
			return Token{}, wrong
		}
		refusal := g.unidentified(t.ID, r.Credential, nil, err)
		refusal.Challenge = nil
		return Token{}, refusal
	}
	if err := g.auditToken(ctx, &r, &t, services, claims.ID); err != nil {
		return Token{}, err
	}
	return t, nil
}

// audience returns the services that a token is issued for: those asked for, if each is ours or one of the
// others that are configured, or ours if none is. A registry checks its own service, so a token for another opens nothing
// here.
func (g *Gate) audience(asked []string) ([]string, error) {
	var services []string
	for _, s := range asked {
		switch {
		case s == "":
			continue
		case slices.Contains(services, s):
			return nil, &OAuthError{Code: InvalidRequest, Description: "a service is given more than once"}
		case len(services) == maxServices:
			return nil, &OAuthError{Code: InvalidRequest, Description: fmt.Sprintf("a token for more than %d services", maxServices)}
		case s == g.authority.Service(), slices.Contains(g.services, s), slices.Contains(g.services, "*") && validService(s):
			services = append(services, s)
		default:
			description := "this endpoint issues no tokens for that service"
			if len(g.services) == 0 {
				description = fmt.Sprintf("this endpoint issues tokens for the service %q only", g.authority.Service())
			}
			return nil, &OAuthError{Code: InvalidRequest, Description: description}
		}
	}
	if services == nil {
		services = []string{g.authority.Service()}
	}
	return services, nil
}

// validService tells whether a client may make up this name of a service.
func validService(s string) bool {
	return len(s) <= maxService && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// parse checks what does not depend on who is asking, and returns the scopes.
func (g *Gate) parse(r *TokenRequest) ([]customhouse.Access, error) {
	bad := func(code, format string, args ...any) ([]customhouse.Access, error) {
		return nil, &OAuthError{Code: code, Description: fmt.Sprintf(format, args...)}
	}
	switch r.GrantType {
	case "":
	case GrantPassword:
		if r.Credential.Scheme != customhouse.Basic {
			return bad(InvalidRequest, "the password grant takes username and password")
		}
	case GrantRefresh:
		if r.RefreshToken == "" {
			return bad(InvalidRequest, "the refresh_token grant takes refresh_token")
		}
	case GrantExchange:
		if r.Subject == "" {
			return bad(InvalidRequest, "the token exchange takes subject_token")
		}
		if r.SubjectType != TypeJWT && r.SubjectType != TypeIDToken {
			return bad(InvalidRequest, "the token exchange takes a subject_token_type of %s or %s", TypeJWT, TypeIDToken)
		}
	default:
		return bad(UnsupportedGrantType, "use password or refresh_token")
	}
	var scopes []customhouse.Access
	for _, s := range r.Scopes {
		if s == "" {
			continue
		}
		if len(scopes) == MaxScopes {
			return bad(InvalidRequest, "more than %d scopes", MaxScopes)
		}
		a, err := customhouse.ParseScope(s)
		var wrong *customhouse.Error
		if errors.As(err, &wrong) {
			return bad(InvalidScope, "%s", wrong.Message)
		}
		if err != nil {
			return nil, err
		}
		scopes = append(scopes, a)
	}
	return scopes, nil
}

// tokenIdentity tells who the token is for.
func (g *Gate) tokenIdentity(ctx context.Context, r *TokenRequest, services []string) (customhouse.Identity, error) {
	switch r.GrantType {
	case GrantRefresh:
		id, err := g.exchange(ctx, r, services)
		if err != nil {
			err = g.auditLogin(ctx, GrantRefresh, id.Account, &id, addressOf(&r.Credential), err)
		}
		return id, err
	case GrantExchange:
		if !g.mayAssert(r.Subject) {
			return customhouse.Identity{}, &OAuthError{Code: InvalidRequest, Description: "the subject_token is of no issuer that is trusted"}
		}
		id, err := g.assertion(ctx, customhouse.Credential{Secret: r.Subject, Client: r.Credential.Client})
		if errors.Is(err, errWorkload) {
			err = &OAuthError{Code: InvalidRequest, Description: workloadRefused(err), Cause: err}
		}
		return id, err
	}
	switch r.Credential.Scheme {
	case customhouse.None:
		id, err := g.uncredentialed(ctx, &r.Credential, true)
		switch {
		case err != nil:
		case r.Account != "" && r.Account != id.Account:
			err = fmt.Errorf("%w: an account is named and nothing proves it", authn.ErrWrongPassword)
		case id.Anonymous() && g.noAnonymous:
			err = errNoAccount
		}
		return id, err
	case customhouse.Basic:
		if r.Account != "" && r.Account != r.Credential.Account {
			return customhouse.Identity{}, fmt.Errorf("%w: account and credential name two accounts", authn.ErrWrongPassword)
		}
		return g.login(ctx, r.Credential)
	case customhouse.Bearer:
		if g.mayAssert(r.Credential.Secret) {
			return g.assertion(ctx, r.Credential)
		}
	}
	return customhouse.Identity{}, &OAuthError{Code: InvalidRequest, Description: "a token is no credential here; use an account and its password"}
}

// answer returns what a token says about scopes.
func (g *Gate) answer(ctx context.Context, c *caller, scopes []customhouse.Access) ([]customhouse.Access, error) {
	if g.inFull {
		return g.inPlace(ctx, c, scopes)
	}
	return g.subset(ctx, c, scopes)
}

// inPlace returns each of scopes with what the policy allows of it. The error is that of an outage.
func (g *Gate) inPlace(ctx context.Context, c *caller, scopes []customhouse.Access) ([]customhouse.Access, error) {
	answers := make([]customhouse.Access, len(scopes))
	for i, s := range scopes {
		var err error
		if s.Actions, err = g.grantable(ctx, c, s.Type, s.Name, s.Actions); err != nil {
			return nil, err
		}
		answers[i] = s
	}
	return answers, nil
}

// subset returns what of scopes the policy allows, each resource once. "*" on a repository asks for everything that
// there is, and is itself granted only where the policy allows "*". Who asks to pull and may see names only gets that part
// of it. The error is that of an outage.
func (g *Gate) subset(ctx context.Context, c *caller, scopes []customhouse.Access) ([]customhouse.Access, error) {
	if g.verbatim {
		return g.verbatimSubset(ctx, c, scopes)
	}
	granted := []customhouse.Access{}
	for _, s := range scopes {
		if s.Type != customhouse.TypeRepository && s.Type != customhouse.TypeRegistry {
			continue
		}
		var actions []customhouse.Action
		for _, a := range s.Actions {
			if a == customhouse.All && s.Type == customhouse.TypeRepository {
				actions = append(actions, customhouse.Pull, customhouse.Push, customhouse.Delete)
			}
			actions = append(actions, a)
		}
		wanted, err := g.grantable(ctx, c, s.Type, s.Name, actions)
		if err != nil {
			return nil, err
		}
		if s.Type == customhouse.TypeRepository && slices.Contains(actions, customhouse.Pull) && !slices.Contains(wanted, customhouse.Pull) {
			names, err := g.grantable(ctx, c, s.Type, s.Name, listing)
			if err != nil {
				return nil, err
			}
			wanted = append(wanted, names...)
		}
		if s.Actions = wanted; len(wanted) > 0 {
			granted = append(granted, s)
		}
	}
	return merge(granted), nil
}

// listing is what is left of pulling for who may see names only, and what the catalog asks for.
var listing = []customhouse.Action{customhouse.List}

// grantable returns those of actions that a token may carry: what is allowed, be it for some of the resource only. The
// error is that of an outage.
func (g *Gate) grantable(ctx context.Context, c *caller, typ, name string, actions []customhouse.Action) ([]customhouse.Action, error) {
	granted := []customhouse.Action{}
	if len(actions) == 0 {
		return granted, nil
	}
	decisions, err := g.decide(ctx, c, typ, name, actions, &Target{})
	if err != nil {
		return nil, err
	}
	for i, d := range decisions {
		switch {
		case d.Allowed || d.Maybe:
			granted = append(granted, actions[i])
		case c.denied != nil && c.denied.Access.Type == "":
			*c.denied = Denied{customhouse.Access{Type: typ, Name: name, Actions: []customhouse.Action{actions[i]}}, groundOf(&d)}
		}
	}
	return granted, nil
}

// verbatimSubset is subset with an answer to each scope (see Options.Verbatim).
func (g *Gate) verbatimSubset(ctx context.Context, c *caller, scopes []customhouse.Access) ([]customhouse.Access, error) {
	granted := []customhouse.Access{}
	for _, s := range scopes {
		var err error
		if s.Actions, err = g.grantable(ctx, c, s.Type, s.Name, slices.Sorted(slices.Values(s.Actions))); err != nil {
			return nil, err
		}
		granted = append(granted, s)
	}
	return granted, nil
}
