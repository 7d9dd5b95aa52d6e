// Package authn answers who is asking: it checks a name and a password against users of the configuration, an htpasswd
// file and accounts in the index, and chains such sources. It knows nothing of permissions, tokens, HTTP or SQL.
//
//	passwords := authn.NewPasswords(authn.PasswordOptions{})
//	users, err := authn.NewStatic(accounts, passwords)
//	chain := authn.NewChain(passwords, users, htpasswd)
//	id, err := chain.Authenticate(ctx, credential)
//
// Whoever is asked has three kinds of answer besides yes: "not me" (ErrUnknownUser), "no" (ErrWrongPassword) and "cannot
// tell", which is every other error and never lets anybody in.
package authn

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"customhouse"
)

// What an Authenticator answers when it does not vouch for a credential. Every other error is an outage: it cannot tell.
var (
	ErrUnknownUser   = errors.New("unknown user")   // not mine; ask the next
	ErrWrongPassword = errors.New("wrong password") // mine, and the password is wrong; ask nobody else
)

// ErrCannotLookUp says that an account's authenticator has nothing to look accounts up in: it sees an account only
// together with its password.
var ErrCannotLookUp = errors.New("accounts cannot be looked up")

// Authenticator vouches for the accounts of one source.
type Authenticator interface {
	// Name is the Method of the identities that it vouches for. It is stable: tokens carry it.
	Name() string
	// Authenticate checks a Basic credential. The errors are ErrUnknownUser, ErrWrongPassword, ErrBusy, the context's
	// and those of an outage.
	Authenticate(context.Context, customhouse.Credential) (customhouse.Identity, error)
}

// Directory is an Authenticator that can tell about an account without its password, so that a change of the account is
// seen by those who logged in before.
type Directory interface {
	// Lookup returns the account's present identity. It is asked for every request and must be cheap. The errors are
	// ErrUnknownUser, the context's and those of an outage.
	Lookup(ctx context.Context, account string) (customhouse.Identity, error)
}

// Recaller is a Directory whose accounts may have several passwords at once, each with a stamp of its own.
type Recaller interface {
	Directory
	// Recall returns the present identity of one that was had before, as long as the same password is good for it. The
	// errors are those of Lookup.
	Recall(ctx context.Context, was customhouse.Identity) (customhouse.Identity, error)
}

// Chain asks several authenticators in turn. The first that knows an account owns it. The zero Chain knows nobody.
type Chain struct {
	members   []Authenticator
	passwords *Passwords
}

// NewChain returns a chain of members, which have names of their own. It hashes with passwords for the accounts that
// nobody knows, so that they take as long as those that somebody knows.
func NewChain(passwords *Passwords, members ...Authenticator) (*Chain, error) {
	names := map[string]bool{}
	for _, m := range members {
		if names[m.Name()] {
			return nil, fmt.Errorf("two authenticators have the name %s", m.Name())
		}
		names[m.Name()] = true
	}
	return &Chain{members: members, passwords: passwords}, nil
}

// Authenticate returns the identity that the first member to know the account vouches for. When a member cannot tell,
// those after it are still asked for the accounts that they know; its error is returned if none knows the account. An
// empty password is good for open users (see NewStatic) and nobody else. The errors are those of an Authenticator.
func (c *Chain) Authenticate(ctx context.Context, cred customhouse.Credential) (customhouse.Identity, error) {
	spaces := strings.Contains(cred.Account, " ")
	if _, err := customhouse.ParseAccount(strings.ReplaceAll(cred.Account, " ", "_")); err != nil || cred.Scheme != customhouse.Basic {
		return customhouse.Identity{}, ErrUnknownUser
	}
	var outage error
	for _, m := range c.members {
		if !takes(m, spaces) {
			continue
		}
		if _, open := m.(*Static); cred.Secret == "" && !open {
			continue // nobody else is asked about no password: a directory takes one for anonymous, a program for its own
		}
		id, err := m.Authenticate(ctx, cred)
		switch {
		case err == nil && id.Account != cred.Account && c.isEarlier(ctx, m, id.Account): // as m spells what was typed
			return customhouse.Identity{}, fmt.Errorf("%w: %s calls %q %q, which is an account of an earlier source", ErrWrongPassword, m.Name(), cred.Account, id.Account)
		case err == nil, errors.Is(err, ErrWrongPassword), errors.Is(err, ErrBusy):
			return id, err
		case !errors.Is(err, ErrUnknownUser):
			outage = errors.Join(outage, fmt.Errorf("authenticate by %s: %w", m.Name(), err))
		}
	}
	if outage != nil {
		return customhouse.Identity{}, outage
	}
	if c.passwords != nil {
		if err := c.passwords.refuse(ctx, cred); !errors.Is(err, ErrWrongPassword) {
			return customhouse.Identity{}, err
		}
	}
	return customhouse.Identity{}, ErrUnknownUser
}

// isEarlier tells whether a member before m knows the account.
func (c *Chain) isEarlier(ctx context.Context, m Authenticator, account string) bool {
	_, err := c.lookup(ctx, m.Name(), account, func(Directory) (customhouse.Identity, error) { return customhouse.Identity{}, nil })
	return errors.Is(err, ErrUnknownUser)
}

// Lookup returns the present identity of an account that the member called method has vouched for. The account is
// unknown when that member no longer knows it, when an earlier one owns it by now, and when the member has left the
// chain. The errors are ErrUnknownUser, ErrCannotLookUp, the context's and those of an outage.
func (c *Chain) Lookup(ctx context.Context, method, account string) (customhouse.Identity, error) {
	return c.lookup(ctx, method, account, func(d Directory) (customhouse.Identity, error) { return d.Lookup(ctx, account) })
}

// Recall is Lookup for an identity that was had before: where an account has several passwords, the one that it was had
// with has to be good still. Where it has one only, whoever asks compares the stamps.
func (c *Chain) Recall(ctx context.Context, was customhouse.Identity) (customhouse.Identity, error) {
	return c.lookup(ctx, was.Method, was.Account, func(d Directory) (customhouse.Identity, error) {
		if r, ok := d.(Recaller); ok {
			return r.Recall(ctx, was)
		}
		return d.Lookup(ctx, was.Account)
	})
}

func (c *Chain) lookup(ctx context.Context, method, account string, ask func(Directory) (customhouse.Identity, error)) (customhouse.Identity, error) {
	for _, m := range c.members {
		d, ok := m.(Directory)
		if m.Name() == method {
			if !ok {
				return customhouse.Identity{}, ErrCannotLookUp
			}
			return ask(d)
		}
		if !ok {
			continue
		}
		if _, err := d.Lookup(ctx, account); err == nil {
			return customhouse.Identity{}, ErrUnknownUser
		}
	}
	return customhouse.Identity{}, ErrUnknownUser
}

// Owner returns the name of the first member but the one called except that knows the account; "" if none does. Members
// that see an account only together with its password are not asked. The errors are those of an outage: then it cannot
// be told.
func (c *Chain) Owner(ctx context.Context, account, except string) (method string, err error) {
	for _, m := range c.members {
		d, ok := m.(Directory)
		if !ok || m.Name() == except {
			continue
		}
		_, err := d.Lookup(ctx, account)
		if err == nil {
			return m.Name(), nil
		}
		if !errors.Is(err, ErrUnknownUser) {
			return "", fmt.Errorf("look up by %s: %w", m.Name(), err)
		}
	}
	return "", nil
}

// Names returns the names of the members, in their order.
func (c *Chain) Names() []string {
	var names []string
	for _, m := range c.members {
		names = append(names, m.Name())
	}
	return names
}

// CanLookUp tells whether the accounts of the member called method can be looked up.
func (c *Chain) CanLookUp(method string) bool {
	for _, m := range c.members {
		if m.Name() == method {
			_, ok := m.(Directory)
			return ok
		}
	}
	return false
}
