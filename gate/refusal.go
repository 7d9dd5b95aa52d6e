package gate

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"customhouse"
	"customhouse/authn"
)

// Refusal is why a request is not let through.
type Refusal struct {
	ID       string               // of the decision; the client may know it
	Err      *customhouse.Error   // what the client may know: UNAUTHORIZED, DENIED, TOOMANYREQUESTS, UNAVAILABLE, or what Grant.Unseen was given
	Identity customhouse.Identity // who was refused, as far as it is known
	Ground                        // for the log

	Challenge  *Challenge    // of WWW-Authenticate: Bearer; nil for none
	RetryAfter time.Duration // 0 for none
}

// Error returns the error that the client may read, with its cause.
func (r *Refusal) Error() string { return r.Err.Error() }

// Unwrap returns the error that the client may read.
func (r *Refusal) Unwrap() error { return r.Err }

// Errors of a challenge (RFC 6750, section 3.1).
const (
	InvalidToken      = "invalid_token"
	InsufficientScope = "insufficient_scope"
)

// Challenge is what a better credential would have to be for.
type Challenge struct {
	Scopes []customhouse.Access // each resource once
	Error  string               // InvalidToken, InsufficientScope or ""
}

// detail is a resource and an action that were refused, in the form of distribution.
type detail struct {
	Type   string
	Class  string
	Name   string
	Action customhouse.Action
}

// unauthorized refuses where another credential could help.
func (g *Gate) unauthorized(grant *Grant, needs []Need, kind, message string) *Refusal {
	var details []detail
	wanted := scopes(needs)
	for _, need := range wanted {
		for _, action := range need.Actions {
			details = append(details, detail{need.Type, need.Class, need.Name, action})
		}
	}
	ground := grant.Ground
	ground.By, ground.Reason = cmp.Or(ground.By, customhouse.ByAccount), cmp.Or(ground.Reason, message)
	err := customhouse.Errorf(customhouse.Unauthorized, "%s", message)
	if details != nil {
		err = err.WithDetail(details)
	}
	return &Refusal{
		ID: grant.ID, Err: err, Identity: grant.Identity, Ground: ground,
		Challenge: &Challenge{Scopes: wanted, Error: kind},
	}
}

// unseen refuses as if what need is about were not there.
func (g *Gate) unseen(grant *Grant, need *Need, notThere *customhouse.Error) *Refusal {
	err := *notThere
	if err.Message += fmt.Sprintf(" (decision %s)", grant.ID); g.denials != TellID {
		err.Message = fmt.Sprintf("%s, or not for %s to see (decision %s)", notThere.Message, cmp.Or(grant.Identity.Account, "anonymous"), grant.ID)
	}
	return &Refusal{ID: grant.ID, Identity: grant.Identity, Ground: grant.Ground, Err: &err}
}

// unavailable refuses where it cannot be told what the policy says, because of err.
func (g *Gate) unavailable(grant *Grant, err error) *Refusal {
	return &Refusal{
		ID: grant.ID, Identity: grant.Identity, Ground: Ground{By: customhouse.ByOutage, Reason: err.Error()}, RetryAfter: outage,
		Err: customhouse.Errorf(customhouse.Unavailable, "what is allowed cannot be told at present").WithCause(err),
	}
}

// outage is when to come again after what could not be told.
const outage = 5 * time.Second

// loginRequired is not the text that belongs to UNAUTHORIZED in distribution, "authentication required": docker takes an
// error with that text and nothing else for one that passes, and pushes for a minute before it gives up.
const loginRequired = "login required"

// LoginRequired refuses what was let through as grant, since it is for whoever has an account.
func (g *Gate) LoginRequired(grant Grant) *Refusal {
	grant.Ground = Ground{By: customhouse.ByAccount, Reason: "an account is needed"}
	return g.unauthorized(&grant, nil, "", loginRequired)
}

// unidentified refuses where it could not be told who is asking, because of err.
func (g *Gate) unidentified(id string, cred customhouse.Credential, needs []Need, err error) *Refusal {
	grant := &Grant{ID: id, Ground: Ground{By: customhouse.ByAccount, Reason: err.Error()}}
	var limited *limitedError
	switch {
	case errors.Is(err, errCertificate) && !errors.Is(err, errToken):
		return g.unauthorized(grant, needs, "", errCertificate.Error())
	case errors.Is(err, errWorkload):
		return g.unauthorized(grant, needs, "", workloadRefused(err))
	case errors.Is(err, errToken):
		return g.unauthorized(grant, needs, InvalidToken, "invalid token")
	case errors.Is(err, errNoAccount):
		return g.unauthorized(grant, needs, "", loginRequired)
	case errors.Is(err, errNoBasic):
		return g.unauthorized(grant, needs, "", "passwords are taken at the token endpoint only")
	case errors.Is(err, authn.ErrUnknownUser), errors.Is(err, authn.ErrWrongPassword):
		return g.unauthorized(grant, needs, "", "wrong account or password")
	case errors.As(err, &limited):
		return &Refusal{
			ID: id, Ground: Ground{By: customhouse.ByLimit, Reason: grant.Reason}, RetryAfter: limited.wait,
			Err: customhouse.Errorf(customhouse.TooManyRequests, "too many failed logins"),
		}
	}
	wait := outage
	if errors.Is(err, authn.ErrBusy) {
		wait = time.Second
	}
	return &Refusal{
		ID: id, Ground: Ground{By: customhouse.ByOutage, Reason: grant.Reason}, RetryAfter: wait,
		Err: customhouse.Errorf(customhouse.Unavailable, "who is asking cannot be told at present").WithCause(err),
	}
}

// scopes returns what a token must carry to cover needs, in the words that clients know.
func scopes(needs []Need) []customhouse.Access {
	asked := make([]customhouse.Access, len(needs))
	for i := range needs {
		asked[i] = needs[i].Access
		asked[i].Actions = slices.Clone(asked[i].Actions)
		for j, action := range asked[i].Actions {
			asked[i].Actions[j] = action.Whole()
		}
	}
	return merge(asked)
}

// merge returns accesses with each resource once, and each action on it once.
func merge(accesses []customhouse.Access) []customhouse.Access {
	merged := []customhouse.Access{}
	for _, a := range accesses {
		i := slices.IndexFunc(merged, func(m customhouse.Access) bool {
			return m.Type == a.Type && m.Class == a.Class && m.Name == a.Name
		})
		if i < 0 {
			i = len(merged)
			merged = append(merged, customhouse.Access{Type: a.Type, Class: a.Class, Name: a.Name})
		}
		for _, action := range a.Actions {
			if !slices.Contains(merged[i].Actions, action) {
				merged[i].Actions = append(merged[i].Actions, action)
			}
		}
	}
	return merged
}
