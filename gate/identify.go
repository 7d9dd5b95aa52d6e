package gate

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/maypok86/otter/v2"

	"customhouse"
	"customhouse/authn"
	"customhouse/token"
)

var (
	errToken   = errors.New("invalid token")
	errNoBasic = errors.New("a password came where tokens are taken only")

	errNoAccount = errors.New("nobody is let in without an account")
)

// identify tells who is asking. The errors are errToken, errNoBasic, those of login, and those of an outage.
func (g *Gate) identify(ctx context.Context, cred customhouse.Credential) (caller, error) {
	c := caller{client: cred.Client, service: g.authority.Service()}
	var err error
	switch cred.Scheme {
	case customhouse.None:
	case customhouse.Basic:
		if !g.allowBasic {
			return caller{}, errNoBasic
		}
		c.identity, err = g.login(ctx, cred)
	case customhouse.Bearer:
		var p *paper
		if p, err = g.papers.verify(g.authority, cred.Secret, g.now()); err == nil {
			c.paper = &p.claims
			c.identity, err = g.present(ctx, &p.identity)
			if errors.Is(err, authn.ErrUnknownUser) {
				err = fmt.Errorf("%w: the account is gone or has another password", errToken)
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
	if was.Anonymous() {
		return *was, nil
	}
	is, err := g.chain.Recall(ctx, *was)
	switch {
	case errors.Is(err, authn.ErrCannotLookUp):
		return *was, nil
	case err == nil && is.Stamp != was.Stamp:
		return customhouse.Identity{}, authn.ErrUnknownUser
	}
	return is, err
}

// papers remembers verified tokens by their SHA-256, so that the signature of each is checked once.
type papers struct {
	known *otter.Cache[[sha256.Size]byte, *paper]
}

// paper is a verified token.
type paper struct {
	claims   token.Claims
	identity customhouse.Identity // when it was issued
}

const maxPapers = 10_000

func newPapers() *papers {
	return &papers{otter.Must(&otter.Options[[sha256.Size]byte, *paper]{MaximumSize: maxPapers})}
}

// verify returns the token's claims if it is valid at now. The error is errToken.
func (p *papers) verify(a *token.Authority, text customhouse.Secret, now time.Time) (*paper, error) {
	if len(text) > token.MaxLength {
		return nil, fmt.Errorf("%w: longer than %d bytes", errToken, token.MaxLength)
	}
	sum := sumOf(text)
	if have, ok := p.known.GetIfPresent(sum); ok {
		if err := a.Validate(&have.claims, now); err != nil {
			p.known.Invalidate(sum)
			return nil, fmt.Errorf("%w: %w", errToken, err)
		}
		return have, nil
	}
	claims, err := a.Verify(string(text), now)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errToken, err)
	}
	fresh := &paper{claims: claims, identity: customhouse.Identity{
		Account: claims.Subject, Labels: claims.Labels, Method: claims.Method, Stamp: claims.Stamp,
	}}
	p.known.Set(sum, fresh)
	return fresh, nil
}

// sumOf returns the SHA-256 of text, of which it makes no copy on the heap if text is as short as tokens are.
func sumOf(text customhouse.Secret) [sha256.Size]byte {
	var short [1 << 10]byte
	if len(text) > len(short) {
		return sha256.Sum256([]byte(text))
	}
	return sha256.Sum256(short[:copy(short[:], text)])
}
