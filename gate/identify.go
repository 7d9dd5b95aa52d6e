package gate

import (
	"context"
	"errors"
	"fmt"

	"customhouse"
	"customhouse/authn"
)

var (
	errToken   = errors.New("invalid token")
	errNoBasic = errors.New("a password came where tokens are taken only")

	errOthers    = fmt.Errorf("%w: tokens of other issuers are taken for content only", errToken)
	errNoAccount = errors.New("nobody is let in without an account")
)

// identify tells who is asking to be let through a door. The errors are errToken, errNoBasic, those of login, and those of an outage.
func (g *Gate) identify(ctx context.Context, cred customhouse.Credential, to door) (caller, error) {
	c := caller{client: cred.Client, service: g.authority.Service()}
	var err error
	switch cred.Scheme {
	case customhouse.None:
		c.identity, err = g.uncredentialed(ctx, &cred, false)
	case customhouse.Basic:
		if !g.allowBasic && to == toContent {
			return caller{}, errNoBasic
		}
		c.identity, err = g.login(ctx, cred)
	case customhouse.Bearer:
		var p *paper
		if p, err = g.verify(ctx, cred.Secret); err == nil {
			if c.identity = p.identity; p.workload != nil { // it says who, and the policy is the only limit
				break
			}
			c.paper, c.trust = &p.claims, g.trust(p)
			if c.trust != nil && to == toOffice {
				return caller{}, errOthers
			}
			switch {
			case c.trust != nil: // its issuer answers for the account
			case p.claims.Bound != "" || p.identity.Method == MethodCertificate:
				c.identity, err = g.bearerOf(p, &cred)
			default:
				c.identity, err = g.present(ctx, &p.identity)
			}
			switch {
			case errors.Is(err, authn.ErrUnknownUser):
				err = fmt.Errorf("%w: the account is gone or has another password", errToken)
			case err == nil && elsewhere(&c.identity, cred.Client):
				err = fmt.Errorf("%w: it was had for a credential that may not be used from there", errToken)
			}
		}
	default:
		err = fmt.Errorf("scheme %d", cred.Scheme)
	}
	return c, err
}

// present returns the identity that was vouched for once as it is today. The error is authn.ErrUnknownUser if the same
// authenticator does not vouch any more for the same account with the same credential, or that of an outage.
func (g *Gate) present(ctx context.Context, was *customhouse.Identity) (customhouse.Identity, error) {
	if was.Anonymous() || was.Method == MethodWorkload { // of which ourPaper has seen what there is to see
		return *was, nil
	}
	is, err := g.chain.Recall(ctx, *was)
	switch {
	case errors.Is(err, authn.ErrCannotLookUp):
		return *was, nil
	case err == nil && (is.Stamp != was.Stamp || !is.Expires.IsZero() && !g.now().Before(is.Expires)):
		return customhouse.Identity{}, authn.ErrUnknownUser
	}
	return is, err
}
