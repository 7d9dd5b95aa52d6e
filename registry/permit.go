package registry

import (
	"context"
	"errors"

	"customhouse"
	"customhouse/index"
)

// Change is something that a write does to what rules may protect.
type Change = index.Change

// Permit tells whether a change may be made: nil, or why not. It is asked outside of transactions and may take its time;
// a change that has come up in between, because a tag was set or moved meanwhile, is asked about too. A nil Permit permits
// everything.
type Permit func(context.Context, Change) error

// permits is what a Permit has said about changes, and those that it has yet to be asked about.
type permits struct {
	permit Permit
	said   map[Change]error
	open   []Change
}

// errUnasked says that a write would make changes that nobody has been asked about.
var errUnasked = errors.New("changes that nobody was asked about")

// note returns a May that takes note of changes and permits them, for a look before anything is done.
func (p *permits) note() index.May {
	if p.permit == nil {
		return nil
	}
	return func(changes []Change) error {
		p.open = append(p.open, changes...)
		return nil
	}
}

// may permits what the Permit has permitted, and takes note of what it has not been asked about.
func (p *permits) may(changes []Change) error {
	for _, c := range changes {
		no, asked := p.said[c]
		if no != nil {
			return no
		}
		if !asked {
			p.open = append(p.open, c)
		}
	}
	if len(p.open) > 0 {
		return errUnasked
	}
	return nil
}

// ask asks about what has been noted, and returns the first no.
func (p *permits) ask(ctx context.Context) error {
	if p.said == nil {
		p.said = map[Change]error{}
	}
	for _, c := range p.open {
		if _, asked := p.said[c]; asked {
			continue
		}
		if p.said[c] = p.permit(ctx, c); p.said[c] != nil {
			return p.said[c]
		}
	}
	p.open = nil
	return nil
}

// mostRounds is how often a write is tried that comes upon new changes each time.
const mostRounds = 20

// guard makes a write with a May that knows the answers, and asks again for as long as the repository changes meanwhile.
func (p *permits) guard(ctx context.Context, write func(context.Context, index.May) error) error {
	if p.permit == nil {
		return write(ctx, nil)
	}
	for range mostRounds {
		err := write(ctx, p.may)
		if !errors.Is(err, errUnasked) {
			return err
		}
		if err := p.ask(ctx); err != nil {
			return err
		}
	}
	return customhouse.Errorf(customhouse.Unavailable, "the repository changes faster than can be told what is allowed; try again")
}

// remove makes a write that removes something.
func (p Repository) remove(ctx context.Context, permit Permit, write func(context.Context, index.May) error) error {
	if permit != nil {
		if err := p.settle(ctx); err != nil {
			return err
		}
	}
	return (&permits{permit: permit}).guard(ctx, write)
}
