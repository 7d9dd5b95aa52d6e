package authn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"customhouse"
)

// AccountSource is where accounts are kept.
type AccountSource interface {
	// Account returns the account of that name, spelled as the source spells it; one without a password cannot log in.
	// The error is customhouse.ErrNotFound when there is none; every other is an outage.
	Account(ctx context.Context, name string) (customhouse.Account, error)
}

// AccountsOptions are the settings of Accounts.
type AccountsOptions struct {
	Method string           // the Name; "" is "accounts"
	Memory time.Duration    // how long Lookup may answer from memory; 0 is one second, negative asks the source every time
	Grace  time.Duration    // how long Lookup may answer from memory while the source is away; 0 is not at all
	Now    func() time.Time // nil is time.Now
}

// Accounts vouches for accounts with hashes of their passwords: those that Customhouse keeps itself, or those of a
// database.
type Accounts struct {
	method    string
	source    AccountSource
	passwords *Passwords
	memory    *memory
}

var (
	_ Authenticator = (*Accounts)(nil)
	_ Directory     = (*Accounts)(nil)
)

// NewAccounts returns an authenticator for the accounts in source.
func NewAccounts(source AccountSource, passwords *Passwords, o AccountsOptions) *Accounts {
	if o.Now == nil {
		o.Now = time.Now
	}
	passwords.expect(HashCost)
	return &Accounts{
		method: cmp.Or(o.Method, "accounts"), source: source, passwords: passwords,
		memory: newMemory(max(0, cmp.Or(o.Memory, time.Second)), o.Grace, o.Now),
	}
}

// Name returns the method of the identities.
func (a *Accounts) Name() string { return a.method }

// Authenticate implements Authenticator. It asks the source every time.
func (a *Accounts) Authenticate(ctx context.Context, cred customhouse.Credential) (customhouse.Identity, error) {
	id, hash, err := a.ask(ctx, cred.Account)
	a.memory.keep(cred.Account, id, err)
	if err != nil {
		return customhouse.Identity{}, err
	}
	if hash.text == "" {
		if err := a.passwords.refuse(ctx, cred); !errors.Is(err, ErrWrongPassword) {
			return customhouse.Identity{}, err
		}
		return customhouse.Identity{}, fmt.Errorf("%w: account %q has none", ErrWrongPassword, cred.Account)
	}
	if err := a.passwords.check(ctx, cred, hash); err != nil {
		return customhouse.Identity{}, err
	}
	return id, nil
}

// Lookup implements Directory.
func (a *Accounts) Lookup(ctx context.Context, account string) (customhouse.Identity, error) {
	return a.memory.lookup(ctx, account, func(ctx context.Context) (customhouse.Identity, error) {
		id, _, err := a.ask(ctx, account)
		return id, err
	})
}

// ask asks the source. The hash is zero for an account without a password.
func (a *Accounts) ask(ctx context.Context, name string) (customhouse.Identity, Hash, error) {
	if _, err := customhouse.ParseAccount(name); err != nil {
		return customhouse.Identity{}, Hash{}, ErrUnknownUser
	}
	have, err := a.source.Account(ctx, name)
	if errors.Is(err, customhouse.ErrNotFound) || err == nil && have.Name != name { // databases may find "alice" for "Alice"
		return customhouse.Identity{}, Hash{}, ErrUnknownUser
	}
	if err != nil {
		return customhouse.Identity{}, Hash{}, err
	}
	var hash Hash
	if have.Password != "" {
		if hash, err = ParseHash(have.Password); err != nil {
			return customhouse.Identity{}, Hash{}, fmt.Errorf("account %q: %w", name, err)
		}
		a.passwords.expect(hash.cost)
	}
	return customhouse.Identity{Account: have.Name, Labels: have.Labels, Method: a.method, Stamp: hash.stamp}, hash, nil
}
