package authn

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"customhouse"
)

// MachineKeeper is a MachineStore that can be changed.
type MachineKeeper interface {
	MachineStore
	Robots(context.Context) ([]customhouse.Robot, error)
	// AddRobot keeps a new robot and its first secret. The error is customhouse.ErrTaken when somebody else has the name.
	AddRobot(ctx context.Context, r customhouse.Robot, secret customhouse.MachineCredential) error
	// LastRobotSecret returns the newest secret of a robot, be it good or not any more. customhouse.ErrNotFound.
	LastRobotSecret(ctx context.Context, robot string) (customhouse.MachineCredential, error)
	// RotateRobot keeps another secret of a robot and ends the others at the end of the grace. The error is
	// customhouse.ErrNotFound, or a *customhouse.Error when too many are good.
	RotateRobot(ctx context.Context, secret customhouse.MachineCredential, graceEnds time.Time) error
	DisableRobot(ctx context.Context, name string, disabled bool) error // customhouse.ErrNotFound
	RemoveRobot(ctx context.Context, name string) error                 // customhouse.ErrNotFound
	// PutMachineCredential keeps a new one. The error is a *customhouse.Error when its owner has most already.
	PutMachineCredential(ctx context.Context, c customhouse.MachineCredential, most int) error
	// RevokeMachineCredential returns the error customhouse.ErrNotFound when the owner has no such one.
	RevokeMachineCredential(ctx context.Context, kind string, owner customhouse.Owner, id string) error
}

// MachinesOptions are the settings of Machines.
type MachinesOptions struct {
	Lifetime time.Duration // of a secret that asks for none; 0 is 90 days
	Longest  time.Duration // that can be asked for; 0 is a year, negative is for ever
	Most     int           // personal tokens of an account; 0 is 50

	CheckScope func(customhouse.Scope) error // tells what is wrong with the patterns of a scope; nil checks nothing
	// Owner tells which source of accounts knows a name, "" for none (Chain.Owner). Nil asks nobody.
	Owner func(ctx context.Context, account string) (method string, err error)
	// Changed is told that something of an account was changed, so that nobody goes on with what they remember of it.
	Changed func(account string)

	Log *slog.Logger     // nil is silent
	Now func() time.Time // nil is time.Now
}

// Machines makes and ends robots and the secrets of machines. Who may ask for that is up to whoever calls it. Errors that
// are a *customhouse.Error say what is wrong with what was asked for; customhouse.ErrNotFound says that there is no such
// robot or secret.
type Machines struct {
	store MachineKeeper
	o     MachinesOptions
}

// NewMachines returns Machines that are kept in store.
func NewMachines(store MachineKeeper, o MachinesOptions) *Machines {
	o.Lifetime, o.Longest, o.Most = cmp.Or(o.Lifetime, 90*24*time.Hour), cmp.Or(o.Longest, 365*24*time.Hour), cmp.Or(o.Most, 50)
	if o.Longest > 0 {
		o.Lifetime = min(o.Lifetime, o.Longest)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.CheckScope == nil {
		o.CheckScope = func(customhouse.Scope) error { return nil }
	}
	if o.Changed == nil {
		o.Changed = func(string) {}
	}
	return &Machines{store, o}
}

// Lifetimes returns the usual lifetime of a secret and the longest, negative for ever.
func (m *Machines) Lifetimes() (usual, longest time.Duration) { return m.o.Lifetime, m.o.Longest }

// NewToken makes a personal access token of owner, whom another source vouches for. Nobody will see the secret again.
func (m *Machines) NewToken(ctx context.Context, owner customhouse.Identity, n customhouse.NewCredential) (customhouse.Secret, customhouse.MachineCredential, error) {
	if owner.Anonymous() || owner.Method == "" || owner.Method == PersonalTokensName || owner.Method == RobotsName {
		return "", customhouse.MachineCredential{}, customhouse.Errorf(customhouse.Denied, "personal access tokens are for accounts that log in with a password of their own")
	}
	secret, c, err := m.make(customhouse.PersonalToken, PersonalTokenPrefix, customhouse.Owner{Account: owner.Account, Method: owner.Method}, n)
	if err != nil {
		return "", c, err
	}
	c.Labels = owner.Labels
	if err := m.store.PutMachineCredential(ctx, c, m.o.Most); err != nil {
		return "", c, err
	}
	m.changed("token made", c)
	return secret, c, nil
}

// Tokens returns the personal access tokens of owner that are not revoked, the newest first. Method "" is whatever source
// vouches for the account.
func (m *Machines) Tokens(ctx context.Context, owner customhouse.Owner) ([]customhouse.MachineCredential, error) {
	all, err := m.store.MachineCredentials(ctx, customhouse.PersonalToken, owner.Account)
	tokens := []customhouse.MachineCredential{}
	for _, c := range all {
		if owner.Method == "" || c.Owner == owner {
			tokens = append(tokens, c)
		}
	}
	return tokens, err
}

// RevokeToken makes a personal access token of owner good for nothing. customhouse.ErrNotFound.
func (m *Machines) RevokeToken(ctx context.Context, owner customhouse.Owner, id string) error {
	return m.revoke(ctx, customhouse.PersonalToken, owner, id)
}

// NewRobot makes a robot, whose name is free in every source that can be asked, and its first secret.
func (m *Machines) NewRobot(ctx context.Context, r customhouse.Robot, n customhouse.NewCredential) (customhouse.Secret, customhouse.MachineCredential, error) {
	fail := func(err error) (customhouse.Secret, customhouse.MachineCredential, error) {
		return "", customhouse.MachineCredential{}, err
	}
	if _, err := customhouse.ParseAccount(r.Name); err != nil {
		return fail(customhouse.Errorf(customhouse.BadRequest, "the name of a robot has 1 to %d bytes without spaces, control characters and ':'", customhouse.MaxAccountLength))
	}
	taken := customhouse.Errorf(customhouse.BadRequest, "the name is that of another account")
	if m.o.Owner != nil {
		switch method, err := m.o.Owner(ctx, r.Name); {
		case err != nil:
			return fail(err)
		case method != "":
			return fail(taken)
		}
	}
	n.Name = cmp.Or(n.Name, "first")
	secret, c, err := m.make(customhouse.RobotSecret, RobotSecretPrefix, customhouse.Owner{Account: r.Name}, n)
	if err != nil {
		return fail(err)
	}
	r.Created = c.Created
	if err := m.store.AddRobot(ctx, r, c); errors.Is(err, customhouse.ErrTaken) {
		return fail(taken)
	} else if err != nil {
		return fail(err)
	}
	m.changed("robot made", c)
	return secret, c, nil
}

// Robots returns all robots in the order of their names.
func (m *Machines) Robots(ctx context.Context) ([]customhouse.Robot, error) {
	return m.store.Robots(ctx)
}

// Robot returns a robot and its secrets that are not revoked, the newest first. customhouse.ErrNotFound.
func (m *Machines) Robot(ctx context.Context, name string) (customhouse.Robot, []customhouse.MachineCredential, error) {
	r, err := m.store.Robot(ctx, name)
	if err != nil {
		return r, nil, err
	}
	secrets, err := m.store.MachineCredentials(ctx, customhouse.RobotSecret, name)
	return r, secrets, err
}

// Rotate makes another secret of a robot. Those that it has are good for as long as the grace yet. What n leaves out is as
// with the newest that it has had, be that revoked, so that nobody gets more by ending them all; but for the lifetime, which
// is the usual one. customhouse.ErrNotFound.
func (m *Machines) Rotate(ctx context.Context, name string, grace time.Duration, n customhouse.NewCredential) (customhouse.Secret, customhouse.MachineCredential, error) {
	last, err := m.store.LastRobotSecret(ctx, name)
	if err != nil {
		return "", customhouse.MachineCredential{}, err
	}
	if n.Scopes == nil {
		n.Scopes = last.Scopes
	}
	if n.Networks == nil {
		n.Networks = last.Networks
	}
	n.Name = cmp.Or(n.Name, "rotated")
	secret, c, err := m.make(customhouse.RobotSecret, RobotSecretPrefix, customhouse.Owner{Account: name}, n)
	if err != nil {
		return "", c, err
	}
	if err := m.store.RotateRobot(ctx, c, c.Created.Add(max(0, grace))); err != nil {
		return "", c, err
	}
	m.changed("robot rotated", c)
	return secret, c, nil
}

// RevokeSecret makes a secret of a robot good for nothing. customhouse.ErrNotFound.
func (m *Machines) RevokeSecret(ctx context.Context, name, id string) error {
	return m.revoke(ctx, customhouse.RobotSecret, customhouse.Owner{Account: name}, id)
}

// Disable makes a robot good for nothing until it is enabled again. customhouse.ErrNotFound.
func (m *Machines) Disable(ctx context.Context, name string, disabled bool) error {
	err := m.store.DisableRobot(ctx, name, disabled)
	if err == nil {
		m.o.Log.Info("robot changed", "account", name, "disabled", disabled)
		m.o.Changed(name)
	}
	return err
}

// Remove removes a robot with its secrets, so that its name is free. customhouse.ErrNotFound.
func (m *Machines) Remove(ctx context.Context, name string) error {
	err := m.store.RemoveRobot(ctx, name)
	if err == nil {
		m.o.Log.Info("robot removed", "account", name)
		m.o.Changed(name)
	}
	return err
}

func (m *Machines) revoke(ctx context.Context, kind string, owner customhouse.Owner, id string) error {
	err := m.store.RevokeMachineCredential(ctx, kind, owner, id)
	if err == nil {
		m.changed("secret revoked", customhouse.MachineCredential{ID: id, Kind: kind, Owner: owner})
	}
	return err
}

func (m *Machines) changed(what string, c customhouse.MachineCredential) {
	m.o.Log.Info(what, "account", c.Owner.Account, "kind", c.Kind, "credential", c.ID)
	m.o.Changed(c.Owner.Account)
}

const maxCredentialName = 64 // letters

// make returns a new secret and what is to be kept of it.
func (m *Machines) make(kind, prefix string, owner customhouse.Owner, n customhouse.NewCredential) (customhouse.Secret, customhouse.MachineCredential, error) {
	bad := func(format string, args ...any) (customhouse.Secret, customhouse.MachineCredential, error) {
		return "", customhouse.MachineCredential{}, customhouse.Errorf(customhouse.BadRequest, format, args...)
	}
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
	n.Name = strings.TrimSpace(n.Name)
	switch {
	case n.Name == "" || utf8.RuneCountInString(n.Name) > maxCredentialName || !utf8.ValidString(n.Name) || strings.ContainsFunc(n.Name, unprintable):
		return bad("the name has 1 to %d letters", maxCredentialName)
	case n.Scopes != nil && len(n.Scopes) == 0:
		return bad("a list of scopes without any; leave it out for everything that the account may do")
	case n.Networks != nil && len(n.Networks) == 0:
		return bad("a list of networks without any; leave it out for anywhere")
	case len(n.Scopes) > customhouse.MaxScopePatterns:
		return bad("more than %d scopes", customhouse.MaxScopePatterns)
	case len(n.Networks) > customhouse.MaxNetworks:
		return bad("more than %d networks", customhouse.MaxNetworks)
	case n.Lifetime < 0 && m.o.Longest > 0:
		return bad("a secret that never expires is not allowed here; the longest lifetime is %s", days(m.o.Longest))
	case n.Lifetime > 0 && n.Lifetime < time.Minute:
		return bad("a lifetime of less than a minute")
	case m.o.Longest > 0 && n.Lifetime > m.o.Longest:
		return bad("the longest lifetime is %s", days(m.o.Longest))
	}
	for _, s := range n.Scopes {
		if err := s.Check(); err != nil {
			return bad("%v", err)
		}
		if err := m.o.CheckScope(s); err != nil {
			return bad("scope of %s: %v", s.Repo, err)
		}
	}
	for _, network := range n.Networks {
		if !network.IsValid() {
			return bad("a network is not valid")
		}
	}
	secret, now := newSecret(prefix), m.o.Now().Truncate(time.Second)
	c := customhouse.MachineCredential{
		ID: strings.ToLower(rand.Text()[:16]), Kind: kind, Owner: owner, Name: n.Name, Hash: sha256.Sum256([]byte(secret)),
		Scopes: n.Scopes, Networks: n.Networks, Created: now,
	}
	if n.Lifetime >= 0 {
		c.Expires = now.Add(cmp.Or(n.Lifetime, m.o.Lifetime))
	}
	return secret, c, nil
}

// days reads a lifetime aloud.
func days(d time.Duration) string {
	if d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	return d.String()
}
