package authn

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/maypok86/otter/v2"

	"customhouse"
)

// MachineStore keeps robots, and secrets of machines. The errors, besides those named, are outages.
type MachineStore interface {
	// Robot returns the error customhouse.ErrNotFound when there is none of that name.
	Robot(ctx context.Context, name string) (customhouse.Robot, error)
	// MachineCredentials returns those of a kind and an account that are not revoked, the newest first.
	MachineCredentials(ctx context.Context, kind, account string) ([]customhouse.MachineCredential, error)
	// UseMachineCredentials notes when credentials were used, by id.
	UseMachineCredentials(ctx context.Context, at map[string]time.Time) error
}

// MachineOptions are the settings of Robots and PersonalTokens.
type MachineOptions struct {
	// Lookup returns the present identity of an account that the authenticator called method has vouched for, with the
	// errors of Chain.Lookup. Nil knows nobody.
	Lookup func(ctx context.Context, method, account string) (customhouse.Identity, error)

	Memory time.Duration    // how long what the store says is remembered; 0 is one second, negative not at all
	Log    *slog.Logger     // nil is silent
	Now    func() time.Time // nil is time.Now
}

// register is what Robots and PersonalTokens share: secrets that we have made, found by their SHA-256.
type register struct {
	kind, prefix string
	store        MachineStore
	passwords    *Passwords
	o            MachineOptions
	known        *otter.Cache[string, *machine]
	uses         *uses
}

// machine is what is known of an account.
type machine struct {
	robot       customhouse.Robot // of a robot
	err         error             // nil or ErrUnknownUser
	credentials []customhouse.MachineCredential
	until       time.Time
}

func newRegister(kind, prefix string, store MachineStore, passwords *Passwords, o MachineOptions) *register {
	if o.Memory == 0 {
		o.Memory = time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Lookup == nil {
		o.Lookup = func(context.Context, string, string) (customhouse.Identity, error) {
			return customhouse.Identity{}, ErrUnknownUser
		}
	}
	return &register{
		kind: kind, prefix: prefix, store: store, passwords: passwords, o: o,
		known: otter.Must(&otter.Options[string, *machine]{MaximumSize: maxRemembered}), uses: newUses(store, o.Log),
	}
}

// Close waits until what was used is on record. It implements io.Closer.
func (m *register) Close() error {
	m.uses.wait()
	return nil
}

// Forget asks the store about an account when it is needed next.
func (m *register) Forget(account string) { m.known.Invalidate(account) }

// load returns what is known of an account. The error is that of an outage.
func (m *register) load(ctx context.Context, account string) (*machine, error) {
	if _, err := customhouse.ParseAccount(account); err != nil {
		return &machine{err: ErrUnknownUser}, nil
	}
	now := m.o.Now()
	if k, ok := m.known.GetIfPresent(account); ok && now.Before(k.until) {
		return k, nil
	}
	k := &machine{until: now.Add(m.o.Memory)}
	var err error
	if m.kind == customhouse.RobotSecret {
		k.robot, err = m.store.Robot(ctx, account)
	}
	switch {
	case errors.Is(err, customhouse.ErrNotFound):
		k.err = ErrUnknownUser
	case err != nil:
		return nil, err
	default:
		if k.credentials, err = m.store.MachineCredentials(ctx, m.kind, account); err != nil {
			return nil, err
		}
	}
	if m.o.Memory > 0 {
		m.known.Set(account, k)
	}
	return k, nil
}

// loadFor is load for a login. What is remembered is not believed where it does not know the secret, which may be new.
func (m *register) loadFor(ctx context.Context, cred customhouse.Credential) (*machine, error) {
	k, err := m.load(ctx, cred.Account)
	if err != nil || k.credentialOf(cred.Secret) != nil || !isSecret(m.prefix, cred.Secret) {
		return k, err
	}
	m.Forget(cred.Account)
	return m.load(ctx, cred.Account)
}

// credentialOf returns the credential whose secret it is, nil if there is none.
func (k *machine) credentialOf(secret customhouse.Secret) *customhouse.MachineCredential {
	sum := sha256.Sum256([]byte(secret))
	for i := range k.credentials {
		if c := &k.credentials[i]; subtle.ConstantTimeCompare(c.Hash[:], sum[:]) == 1 {
			return c
		}
	}
	return nil
}

// match returns the credential whose secret cred holds. The errors are ErrWrongPassword and those of refuse.
func (m *register) match(ctx context.Context, k *machine, cred customhouse.Credential) (*customhouse.MachineCredential, error) {
	c := k.credentialOf(cred.Secret)
	switch {
	case c == nil:
		return nil, m.refuse(ctx, cred, "no such credential")
	case !c.Good(m.o.Now()):
		return nil, m.refuse(ctx, cred, "credential "+c.ID+" has expired")
	}
	return c, nil
}

// refuse returns an ErrWrongPassword with the reason, which is for the log, after as long as any refusal takes.
func (m *register) refuse(ctx context.Context, cred customhouse.Credential, reason string) error {
	if err := m.passwords.refuse(ctx, cred); !errors.Is(err, ErrWrongPassword) {
		return err
	}
	return fmt.Errorf("%w: %s", ErrWrongPassword, reason)
}

// find returns the credential of that id. The error is ErrUnknownUser when there is none that is good.
func (m *register) find(k *machine, id string) (*customhouse.MachineCredential, error) {
	for i := range k.credentials {
		if c := &k.credentials[i]; c.ID == id && c.Good(m.o.Now()) {
			return c, nil
		}
	}
	return nil, ErrUnknownUser
}

// identity is that of an account with a credential of it. The stamp is the credential's id: a secret never changes.
func (m *register) identity(method, account string, labels map[string][]string, c *customhouse.MachineCredential) customhouse.Identity {
	m.uses.note(c, m.o.Now())
	return customhouse.Identity{
		Account: account, Labels: labels, Method: method, Stamp: c.ID, Scopes: c.Scopes, Networks: c.Networks, Expires: c.Expires,
	}
}
