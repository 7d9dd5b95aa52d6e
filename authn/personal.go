package authn

import (
	"context"
	"errors"

	"customhouse"
)

// PersonalTokens vouches for accounts of others by personal access tokens: passwords that people have made for their
// programs, each for less than all that they may do if they wish. A token is good as long as the authenticator that
// vouched for its owner still does, and the labels are the owner's present ones. One that cannot look accounts up, such as
// a program, is not asked: the labels are then those of the day on which the token was made, and it is good until it
// expires or is revoked.
type PersonalTokens struct{ *register }

var (
	_ Authenticator = (*PersonalTokens)(nil)
	_ Recaller      = (*PersonalTokens)(nil)
)

// PersonalTokensName is the Name of PersonalTokens.
const PersonalTokensName = "tokens"

// NewPersonalTokens returns an authenticator called "tokens". Close waits for what it notes.
func NewPersonalTokens(store MachineStore, passwords *Passwords, o MachineOptions) *PersonalTokens {
	return &PersonalTokens{newRegister(customhouse.PersonalToken, PersonalTokenPrefix, store, passwords, o)}
}

// Name returns the method of the identities.
func (p *PersonalTokens) Name() string { return PersonalTokensName }

// Authenticate implements Authenticator. Accounts are others', so that it knows none but by a secret of the form of a
// token; about such a one nobody else is asked.
func (p *PersonalTokens) Authenticate(ctx context.Context, cred customhouse.Credential) (customhouse.Identity, error) {
	if !looksLike(p.prefix, cred.Secret) {
		return customhouse.Identity{}, ErrUnknownUser
	}
	if !isSecret(p.prefix, cred.Secret) {
		return customhouse.Identity{}, p.refuse(ctx, cred, "the checksum of the token is wrong")
	}
	k, err := p.loadFor(ctx, cred)
	if err != nil {
		return customhouse.Identity{}, err
	}
	c, err := p.match(ctx, k, cred)
	if err != nil {
		return customhouse.Identity{}, err
	}
	labels, err := p.labels(ctx, c)
	if errors.Is(err, ErrUnknownUser) {
		return customhouse.Identity{}, p.refuse(ctx, cred, "the owner of the token is gone")
	}
	if err != nil {
		return customhouse.Identity{}, err
	}
	return p.identity(PersonalTokensName, c.Owner.Account, labels, c), nil
}

// labels returns those that the owner has now. The errors are ErrUnknownUser and those of an outage.
func (p *PersonalTokens) labels(ctx context.Context, c *customhouse.MachineCredential) (map[string][]string, error) {
	owner, err := p.o.Lookup(ctx, c.Owner.Method, c.Owner.Account)
	if errors.Is(err, ErrCannotLookUp) {
		return c.Labels, nil
	}
	return owner.Labels, err
}

// Lookup implements Directory: no account is its own.
func (p *PersonalTokens) Lookup(context.Context, string) (customhouse.Identity, error) {
	return customhouse.Identity{}, ErrUnknownUser
}

// Recall implements Recaller: the identity is good as long as the token with which it was had, and its owner.
func (p *PersonalTokens) Recall(ctx context.Context, was customhouse.Identity) (customhouse.Identity, error) {
	k, err := p.load(ctx, was.Account)
	if err != nil {
		return customhouse.Identity{}, err
	}
	c, err := p.find(k, was.Stamp)
	if err != nil {
		return customhouse.Identity{}, err
	}
	labels, err := p.labels(ctx, c)
	if err != nil {
		return customhouse.Identity{}, err
	}
	return p.identity(PersonalTokensName, c.Owner.Account, labels, c), nil
}
