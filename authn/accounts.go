package authn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/maypok86/otter/v2"

	"customhouse"
)

// AccountSource is where accounts are kept.
type AccountSource interface {
	// Account returns the account of that name. The error is customhouse.ErrNotFound when there is none; every other is
	// an outage.
	Account(ctx context.Context, name string) (customhouse.Account, error)
}

// AccountsOptions are the settings of Accounts.
type AccountsOptions struct {
	Memory time.Duration    // how long Lookup may answer from memory; 0 is one second, negative asks the source every time
	Now    func() time.Time // nil is time.Now
}

// Accounts vouches for the accounts that Customhouse keeps itself.
type Accounts struct {
	source    AccountSource
	passwords *Passwords
	memory    time.Duration
	now       func() time.Time

	remembered *otter.Cache[string, remembered]
}

// remembered is an answer to Lookup.
type remembered struct {
	identity customhouse.Identity
	err      error // nil or ErrUnknownUser
	until    time.Time
}

// maxRemembered is how many accounts Lookup remembers.
const maxRemembered = 10_000

var (
	_ Authenticator = (*Accounts)(nil)
	_ Directory     = (*Accounts)(nil)
)

// NewAccounts returns an authenticator called "accounts" for the accounts in source.
func NewAccounts(source AccountSource, passwords *Passwords, o AccountsOptions) *Accounts {
	a := &Accounts{source: source, passwords: passwords, memory: o.Memory, now: o.Now}
	if a.memory == 0 {
		a.memory = time.Second
	}
	if a.now == nil {
		a.now = time.Now
	}
	a.remembered = otter.Must(&otter.Options[string, remembered]{MaximumSize: maxRemembered})
	passwords.expect(HashCost)
	return a
}

// Name returns "accounts".
func (a *Accounts) Name() string { return "accounts" }

// Authenticate implements Authenticator. It asks the source every time.
func (a *Accounts) Authenticate(ctx context.Context, cred customhouse.Credential) (customhouse.Identity, error) {
	id, hash, err := a.ask(ctx, cred.Account)
	if err != nil {
		return customhouse.Identity{}, err
	}
	if err := a.passwords.check(ctx, cred, hash); err != nil {
		return customhouse.Identity{}, err
	}
	return id, nil
}

// Lookup implements Directory.
func (a *Accounts) Lookup(ctx context.Context, account string) (customhouse.Identity, error) {
	if r, ok := a.remembered.GetIfPresent(account); ok && a.now().Before(r.until) {
		return r.identity, r.err
	}
	id, _, err := a.ask(ctx, account)
	return id, err
}

// ask asks the source, and remembers what it says.
func (a *Accounts) ask(ctx context.Context, name string) (customhouse.Identity, Hash, error) {
	have, err := a.source.Account(ctx, name)
	if errors.Is(err, customhouse.ErrNotFound) {
		a.remember(name, customhouse.Identity{}, ErrUnknownUser)
		return customhouse.Identity{}, Hash{}, ErrUnknownUser
	}
	if err != nil {
		return customhouse.Identity{}, Hash{}, err
	}
	hash, err := ParseHash(have.Password)
	if err != nil {
		return customhouse.Identity{}, Hash{}, fmt.Errorf("account %q: %w", name, err)
	}
	a.passwords.expect(hash.cost)
	id := customhouse.Identity{Account: have.Name, Labels: have.Labels, Method: a.Name(), Stamp: hash.stamp}
	a.remember(name, id, nil)
	return id, hash, nil
}

func (a *Accounts) remember(name string, id customhouse.Identity, err error) {
	if a.memory > 0 {
		a.remembered.Set(name, remembered{id, err, a.now().Add(a.memory)})
	}
}
