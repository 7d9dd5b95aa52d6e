package gate

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/maypok86/otter/v2"

	"customhouse"
	"customhouse/policy"
	"customhouse/token"
)

// Trust is another issuer whose tokens open this registry. What a token of it says is permission: the policy is not asked,
// unless Rules is set, and then it can only take away.
type Trust struct {
	*token.Trust
	Rules bool // whether Policy must allow, too, what its tokens allow
}

// method returns the Method of identities that the issuer vouches for.
func (t *Trust) method() string { return "trust:" + t.Issuer() }

// ours is the position of ourselves among issuers.
const ours = -1

// paper is a verified token.
type paper struct {
	claims   token.Claims
	identity customhouse.Identity // when it was issued
	issuer   int                  // position among the issuers that are trusted, or ours
	proof    token.Proof          // of another issuer's
	workload *Workload            // whose JWT it is, which says who its bearer is and no more; nil for a token
	known    atomic.Bool          // whether the audit log has a login with it
}

// papers remembers verified tokens by their SHA-256, so that the signature of each is checked once.
type papers = otter.Cache[[sha256.Size]byte, *paper]

const maxPapers = 10_000

func newPapers() *papers {
	return otter.Must(&otter.Options[[sha256.Size]byte, *paper]{MaximumSize: maxPapers})
}

// trusts returns whether g and o take the same tokens of the same issuers.
func (g *Gate) trusts(o *Gate) bool {
	return g.authority.Equal(o.authority) &&
		slices.EqualFunc(g.trusted, o.trusted, func(a, b Trust) bool { return a.Equal(b.Trust) }) &&
		slices.EqualFunc(g.workloads, o.workloads, (*Workload).equal)
}

// trust returns the other issuer of p, nil if it is ours.
func (g *Gate) trust(p *paper) *Trust {
	if p.issuer == ours {
		return nil
	}
	return &g.trusted[p.issuer]
}

// verify returns the token's claims if it is valid now. The errors are errToken and, where it cannot be told, that of an
// outage.
func (g *Gate) verify(ctx context.Context, text customhouse.Secret) (*paper, error) {
	if len(text) > token.MaxLength {
		return nil, fmt.Errorf("%w: longer than %d bytes", errToken, token.MaxLength)
	}
	sum := sumOf(text)
	if have, ok := g.papers.GetIfPresent(sum); ok {
		if g.validate(ctx, have) == nil {
			return have, nil
		}
		g.papers.Invalidate(sum)
	}
	fresh, err := g.read(ctx, string(text))
	switch {
	case errors.Is(err, token.ErrNoKeys):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errToken, err)
	}
	g.papers.Set(sum, fresh)
	return fresh, nil
}

// validate checks a remembered token once more.
func (g *Gate) validate(ctx context.Context, p *paper) error {
	if p.workload != nil {
		return p.workload.trust.Validate(ctx, &p.claims, p.proof, g.now())
	}
	if t := g.trust(p); t != nil {
		return t.Validate(ctx, &p.claims, p.proof, g.now())
	}
	return g.authority.Validate(&p.claims, g.now())
}

// read has a token verified by ourselves and then by each issuer that is trusted. Nothing in the token says by whom,
// since nothing in it counts before its signature; but one that names an issuer of workloads is asked of that one alone.
// The error is that of whoever knew most about it.
func (g *Gate) read(ctx context.Context, text string) (*paper, error) {
	now := g.now()
	claims, reason := g.authority.Verify(text, now)
	if reason == nil {
		return g.ourPaper(claims)
	}
	if issuer := token.IssuerOf(text); len(g.workloads) > 0 && g.isWorkload(issuer) {
		return g.readAssertion(ctx, issuer, text, now)
	}
	for i := range g.trusted {
		if errors.Is(reason, token.ErrExpired) || errors.Is(reason, token.ErrNotYet) {
			break
		}
		t := &g.trusted[i]
		claims, proof, err := t.Verify(ctx, text, now)
		if err == nil {
			return &paper{claims: claims, issuer: i, proof: proof, identity: customhouse.Identity{
				Account: claims.Subject, Labels: claims.Labels, Method: t.method(),
			}}, nil
		}
		if !errors.Is(reason, token.ErrNoKeys) { // the token might have been one of theirs
			reason = err
		}
	}
	return nil, reason
}

// ourPaper returns a token that we have issued, for the identity that it was issued for.
func (g *Gate) ourPaper(claims token.Claims) (*paper, error) {
	p := &paper{claims: claims, issuer: ours, identity: customhouse.Identity{
		Account: claims.Subject, Labels: claims.Labels, Method: claims.Method, Stamp: claims.Stamp,
	}}
	if claims.Method == MethodWorkload {
		var err error
		if p.identity, err = g.recallWorkload(&claims); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// unasked are decisions where the policy is not asked: the token says what is allowed.
func unasked(actions []customhouse.Action) []policy.Decision {
	decisions := make([]policy.Decision, len(actions))
	for i := range decisions {
		decisions[i] = policy.Decision{Allowed: true, By: customhouse.ByIssuer, Reason: "the issuer of the token allows it"}
	}
	return decisions
}

// sumOf returns the SHA-256 of text, of which it makes no copy on the heap if text is as short as tokens are.
func sumOf(text customhouse.Secret) [sha256.Size]byte {
	var short [1 << 10]byte
	if len(text) > len(short) {
		return sha256.Sum256([]byte(text))
	}
	return sha256.Sum256(short[:copy(short[:], text)])
}
