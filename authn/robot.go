package authn

import (
	"context"
	"errors"

	"customhouse"
)

// Robots vouches for robots: accounts of machines that Customhouse keeps, each with up to two secrets at a time. A robot
// that is disabled, or whose owner is not vouched for any more, is let in no longer, but its name stays its own.
type Robots struct{ *register }

var (
	_ Authenticator = (*Robots)(nil)
	_ Recaller      = (*Robots)(nil)
)

// RobotsName is the Name of Robots.
const RobotsName = "robots"

// NewRobots returns an authenticator called "robots". Close waits for what it notes.
func NewRobots(store MachineStore, passwords *Passwords, o MachineOptions) *Robots {
	return &Robots{newRegister(customhouse.RobotSecret, RobotSecretPrefix, store, passwords, o)}
}

// Name returns the method of the identities.
func (r *Robots) Name() string { return RobotsName }

// Authenticate implements Authenticator. A secret that has the form of a robot's is a robot's, whatever account it comes
// with: nobody else is asked about it.
func (r *Robots) Authenticate(ctx context.Context, cred customhouse.Credential) (customhouse.Identity, error) {
	ours := looksLike(r.prefix, cred.Secret)
	if ours && !isSecret(r.prefix, cred.Secret) {
		return customhouse.Identity{}, r.refuse(ctx, cred, "the checksum is wrong")
	}
	k, err := r.loadFor(ctx, cred)
	switch {
	case err != nil:
		return customhouse.Identity{}, err
	case k.err != nil && !ours:
		return customhouse.Identity{}, ErrUnknownUser
	case k.err != nil:
		return customhouse.Identity{}, r.refuse(ctx, cred, "that of a robot, with another account")
	case !ours:
		return customhouse.Identity{}, r.refuse(ctx, cred, "no robot's")
	}
	c, err := r.match(ctx, k, cred)
	if err != nil {
		return customhouse.Identity{}, err
	}
	if err := r.lives(ctx, k); errors.Is(err, ErrUnknownUser) {
		return customhouse.Identity{}, r.refuse(ctx, cred, "the robot is disabled or its owner is gone")
	} else if err != nil {
		return customhouse.Identity{}, err
	}
	return r.identity(RobotsName, k.robot.Name, k.robot.Labels, c), nil
}

// lives returns ErrUnknownUser when a robot is not let in, whatever its secret.
func (r *Robots) lives(ctx context.Context, k *machine) error {
	if k.robot.Disabled {
		return ErrUnknownUser
	}
	if k.robot.Owner == (customhouse.Owner{}) {
		return nil
	}
	_, err := r.o.Lookup(ctx, k.robot.Owner.Method, k.robot.Owner.Account)
	if errors.Is(err, ErrCannotLookUp) {
		return nil
	}
	return err
}

// Lookup implements Directory: a robot keeps its name, be it let in or not. The stamp is that of the newest secret that is
// good, "" if none is.
func (r *Robots) Lookup(ctx context.Context, account string) (customhouse.Identity, error) {
	k, err := r.load(ctx, account)
	if err != nil {
		return customhouse.Identity{}, err
	}
	if k.err != nil {
		return customhouse.Identity{}, k.err
	}
	id := customhouse.Identity{Account: k.robot.Name, Labels: k.robot.Labels, Method: RobotsName}
	for i := range k.credentials {
		if c := &k.credentials[i]; c.Good(r.o.Now()) {
			id.Stamp, id.Scopes, id.Networks, id.Expires = c.ID, c.Scopes, c.Networks, c.Expires
			break
		}
	}
	return id, nil
}

// Recall implements Recaller: the identity is good as long as the secret with which it was had, and the robot.
func (r *Robots) Recall(ctx context.Context, was customhouse.Identity) (customhouse.Identity, error) {
	k, err := r.load(ctx, was.Account)
	if err != nil {
		return customhouse.Identity{}, err
	}
	c, err := r.find(k, was.Stamp)
	if err != nil {
		return customhouse.Identity{}, err
	}
	if err := r.lives(ctx, k); err != nil {
		return customhouse.Identity{}, err
	}
	return r.identity(RobotsName, k.robot.Name, k.robot.Labels, c), nil
}
