package authn

import (
	"context"
	"fmt"

	"customhouse"
)

// Static vouches for the users of the configuration.
type Static struct{ users }

var (
	_ Authenticator = (*Static)(nil)
	_ Directory     = (*Static)(nil)
)

// NewStatic returns an authenticator called "users" for accounts, whose passwords are bcrypt hashes (see ParseHash), and
// for those that are open: any password is right for them, and none too.
func NewStatic(accounts []customhouse.Account, passwords *Passwords, open ...customhouse.Account) (*Static, error) {
	u := newUsers("users", passwords)
	for _, a := range accounts {
		hash, err := ParseHash(a.Password)
		if err == nil {
			err = u.add(a.Name, hash, a.Labels)
		}
		if err != nil {
			return nil, fmt.Errorf("user %q: %w", a.Name, err)
		}
	}
	for _, a := range open {
		if err := u.add(a.Name, Hash{}, a.Labels); err != nil {
			return nil, fmt.Errorf("user %q: %w", a.Name, err)
		}
	}
	return &Static{u}, nil
}

// users is a table of users and their hashes, the whole of a static source and one reading of a changing one.
type users struct {
	method    string
	passwords *Passwords
	table     map[string]user
}

type user struct {
	hash     Hash // zero: any password
	identity customhouse.Identity
}

func newUsers(method string, passwords *Passwords) users {
	return users{method: method, passwords: passwords, table: map[string]user{}}
}

func (u *users) add(name string, hash Hash, labels map[string][]string) error {
	if _, err := customhouse.ParseAccount(name); err != nil {
		return err
	}
	if _, twice := u.table[name]; twice {
		return fmt.Errorf("stands twice")
	}
	u.table[name] = user{hash, customhouse.Identity{Account: name, Labels: labels, Method: u.method, Stamp: hash.stamp}}
	u.passwords.expect(hash.cost)
	return nil
}

// Name returns the method of the identities.
func (u *users) Name() string { return u.method }

// Authenticate implements Authenticator.
func (u *users) Authenticate(ctx context.Context, cred customhouse.Credential) (customhouse.Identity, error) {
	have, ok := u.table[cred.Account]
	if !ok {
		return customhouse.Identity{}, ErrUnknownUser
	}
	if have.hash == (Hash{}) {
		return have.identity, nil
	}
	if err := u.passwords.check(ctx, cred, have.hash); err != nil {
		return customhouse.Identity{}, err
	}
	return have.identity, nil
}

// Lookup implements Directory.
func (u *users) Lookup(_ context.Context, account string) (customhouse.Identity, error) {
	have, ok := u.table[account]
	if !ok {
		return customhouse.Identity{}, ErrUnknownUser
	}
	return have.identity, nil
}
