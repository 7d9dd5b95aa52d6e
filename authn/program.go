package authn

import (
	"context"
	"fmt"
	"io"

	"customhouse"
)

// LoginAsker asks a program of somebody's own.
type LoginAsker interface {
	// AskLogin returns the labels of the account if the password of a Basic credential is right. The errors are
	// ErrUnknownUser when the program has nothing to say, ErrWrongPassword, the context's and those of an outage.
	AskLogin(context.Context, customhouse.Credential) (labels map[string][]string, err error)
}

// ProgramOptions are the settings of a Program.
type ProgramOptions struct {
	AllowSpace bool // ask about account names with spaces in them too
}

// Program vouches for the accounts that a program of somebody's own knows. It sees them with their password only.
type Program struct {
	name  string
	asker LoginAsker
	o     ProgramOptions
}

var (
	_ Authenticator = (*Program)(nil)
	_ io.Closer     = (*Program)(nil)
)

// NewProgram returns an authenticator of that name, such as "exec". Closing it closes asker, if that can be closed.
func NewProgram(name string, asker LoginAsker, o ProgramOptions) *Program {
	return &Program{name, asker, o}
}

// Name returns the name.
func (p *Program) Name() string { return p.name }

// Close implements io.Closer.
func (p *Program) Close() error {
	if c, ok := p.asker.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Remembers returns true: how long a program's answer counts is a setting of its own, so nobody else remembers it.
func (p *Program) Remembers() bool { return true }

// TakesSpaces tells whether account names with spaces are asked about.
func (p *Program) TakesSpaces() bool { return p.o.AllowSpace }

// maxLabels is how many bytes the labels of an account may have, which tokens carry.
const maxLabels = 8 << 10

// Authenticate implements Authenticator.
func (p *Program) Authenticate(ctx context.Context, cred customhouse.Credential) (customhouse.Identity, error) {
	labels, err := p.asker.AskLogin(ctx, cred)
	if err != nil {
		return customhouse.Identity{}, err
	}
	size := 0
	for key, values := range labels {
		size += len(key)
		for _, value := range values {
			size += len(value) + 3 // and what is around it in a token
		}
	}
	if size > maxLabels {
		return customhouse.Identity{}, fmt.Errorf("the labels of the account have more than %d bytes", maxLabels)
	}
	return customhouse.Identity{Account: cred.Account, Labels: labels, Method: p.name}, nil
}

// rememberer is an Authenticator that remembers passwords itself, for as long as it should.
type rememberer interface{ Remembers() bool }

// Remembers tells whether the member called method remembers passwords itself: whoever asks the chain has to ask it
// again each time.
func (c *Chain) Remembers(method string) bool {
	for _, m := range c.members {
		if r, ok := m.(rememberer); ok && m.Name() == method {
			return r.Remembers()
		}
	}
	return false
}

// spacious is an Authenticator that takes account names with spaces in them.
type spacious interface{ TakesSpaces() bool }

// takes tells whether m is asked about an account, whose name has spaces or not.
func takes(m Authenticator, spaces bool) bool {
	s, ok := m.(spacious)
	return !spaces || ok && s.TakesSpaces()
}
