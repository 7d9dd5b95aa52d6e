package authz

import (
	"context"
	"io"
	"slices"

	"customhouse"
	"customhouse/policy"
)

// ProgramAnswer is what a program says about several actions on one resource.
type ProgramAnswer struct {
	Undecided bool                 // it has nothing to say
	Allowed   []customhouse.Action // of those that were asked about; the others are denied
	Reason    string               // may be empty
	Message   string               // what whoever is denied is told; may be empty
}

// AccessAsker asks a program of somebody's own.
type AccessAsker interface {
	// AskAccess asks whether the actions may be done, whatever action q has. The errors are the context's and those of an
	// outage.
	AskAccess(ctx context.Context, q policy.Query, actions []customhouse.Action) (ProgramAnswer, error)
}

// Program lets a program of somebody's own decide.
type Program struct {
	name  string
	asker AccessAsker
}

var (
	_ Authorizer = (*Program)(nil)
	_ io.Closer  = (*Program)(nil)
)

// NewProgram returns an authorizer of that name, such as "exec". Closing it closes asker, if that can be closed.
func NewProgram(name string, asker AccessAsker) *Program { return &Program{name, asker} }

// Name returns the name.
func (p *Program) Name() string { return p.name }

// Close implements io.Closer.
func (p *Program) Close() error {
	if c, ok := p.asker.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Authorize implements Authorizer.
func (p *Program) Authorize(ctx context.Context, q policy.Query, actions []customhouse.Action) ([]policy.Decision, error) {
	answer, err := p.asker.AskAccess(ctx, q, actions)
	if err != nil {
		return nil, err
	}
	decisions := make([]policy.Decision, len(actions))
	for i, action := range actions {
		d := policy.Decision{Rule: -1, Source: p.name, By: p.name, Reason: "the program does not allow it"}
		switch {
		case answer.Undecided:
			d.Source, d.By, d.Reason = "", "", "the program has nothing to say"
		case slices.Contains(answer.Allowed, action):
			d.Allowed, d.Reason = true, "the program allows it"
		}
		if answer.Reason != "" {
			d.Reason = answer.Reason
		}
		if !d.Allowed {
			d.Message = answer.Message
		}
		decisions[i] = d
	}
	return decisions, nil
}
