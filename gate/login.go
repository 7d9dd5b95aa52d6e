package gate

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/maypok86/otter/v2"

	"customhouse"
	"customhouse/authn"
	"customhouse/token"
)

// login tells whose name and password cred holds; with the JWT of a workload for a password, whatever name comes with it.
// The errors are authn.ErrUnknownUser, authn.ErrWrongPassword, authn.ErrBusy, *limitedError, errWorkload and those of an
// outage.
func (g *Gate) login(ctx context.Context, cred customhouse.Credential) (customhouse.Identity, error) {
	if g.mayAssert(cred.Secret) { // which nobody can guess: failures need not be counted
		return g.assertion(ctx, cred)
	}
	key := g.logins.key(cred)
	if id, ok := g.remembered(ctx, cred, key); ok {
		return id, nil
	}
	id, err := g.freshLogin(ctx, cred, key)
	if err := g.auditLogin(ctx, "password", cred.Account, &id, addressOf(&cred), err); err != nil {
		return customhouse.Identity{}, err
	}
	return id, nil
}

// remembered returns whose name and password cred holds, if that was verified a while ago and holds.
func (g *Gate) remembered(ctx context.Context, cred customhouse.Credential, key [sha256.Size]byte) (customhouse.Identity, bool) {
	have, ok := g.logins.recall(key, g.now())
	if !ok || have.again {
		return customhouse.Identity{}, false
	}
	id, err := g.present(ctx, &have.identity)
	return id, err == nil && !elsewhere(&id, cred.Client)
}

// freshLogin is login by asking the chain.
func (g *Gate) freshLogin(ctx context.Context, cred customhouse.Credential, key [sha256.Size]byte) (id customhouse.Identity, err error) {
	now, failed := g.now(), false
	have, known := g.logins.recall(key, now)
	if known = known && have.again; !known { // else it is no guess
		end, err := g.logins.failures.begin(ctx, cred, g.now)
		if err != nil {
			return customhouse.Identity{}, err
		}
		defer func() { end(failed) }()
	}
	if id, ok := g.remembered(ctx, cred, key); ok { // somebody has come with the same before it was our turn
		return id, nil
	}
	id, err = g.chain.Authenticate(ctx, cred)
	if err == nil && elsewhere(&id, cred.Client) {
		id, err = customhouse.Identity{}, fmt.Errorf("%w: credential %s may not be used from there", authn.ErrWrongPassword, id.Stamp)
	}
	switch {
	case err == nil && known:
	case err == nil:
		g.logins.remember(key, id, g.chain.Remembers(id.Method), now)
	case errors.Is(err, authn.ErrUnknownUser), errors.Is(err, authn.ErrWrongPassword):
		if failed = true; known { // next time it is a guess
			g.logins.verified.Invalidate(key)
		}
	}
	if errors.Is(err, authn.ErrUnknownUser) && len(g.workloads) > 0 {
		if issuer := token.IssuerOf(string(cred.Secret)); issuer != "" { // misspelt, most likely
			err = fmt.Errorf("%w; the password is a JWT, and its issuer %.200q is none of auth.workload", err, issuer)
		}
	}
	return id, err
}

// logins remembers verified passwords, under a secret of the process, and counts failures.
type logins struct {
	secret   [32]byte
	ttl      time.Duration
	verified *otter.Cache[[sha256.Size]byte, verified]
	failures failures
}

// verified is a password that was right.
type verified struct {
	identity customhouse.Identity // for which it was
	again    bool                 // whoever vouches for it is asked each time: see authn.Chain.Remembers
	until    time.Time
}

const maxLogins = 10_000

func newLogins(ttl time.Duration, l Limits) *logins {
	n := &logins{
		ttl:      ttl,
		verified: otter.Must(&otter.Options[[sha256.Size]byte, verified]{MaximumSize: maxLogins}),
		failures: failures{l, &windows{open: map[failureKey]*window{}}},
	}
	rand.Read(n.secret[:])
	return n
}

// carryOver takes over what n's predecessor knows.
func (n *logins) carryOver(p *logins) {
	n.secret, n.verified = p.secret, p.verified
	n.failures.windows = p.failures.windows
}

// remember keeps that the credential of key was right. What is remembered counts only as long as the identity is the
// same (see present), so nothing has to be forgotten when an account changes.
func (n *logins) remember(key [sha256.Size]byte, id customhouse.Identity, again bool, now time.Time) {
	if n.ttl > 0 {
		n.verified.Set(key, verified{id, again, now.Add(n.ttl)})
	}
}

// recall returns what is remembered of the credential of key.
func (n *logins) recall(key [sha256.Size]byte, now time.Time) (verified, bool) {
	have, ok := n.verified.GetIfPresent(key)
	return have, ok && now.Before(have.until)
}

// key names a credential without keeping it.
func (n *logins) key(cred customhouse.Credential) (sum [sha256.Size]byte) {
	m := hmac.New(sha256.New, n.secret[:])
	var length [8]byte // keeps the account apart from the password
	binary.BigEndian.PutUint64(length[:], uint64(len(cred.Account)))
	m.Write(length[:])
	m.Write([]byte(cred.Account))
	m.Write([]byte(cred.Secret))
	m.Sum(sum[:0])
	return sum
}
