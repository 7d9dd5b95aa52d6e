package authn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"

	"customhouse"
)

// maxRemembered is how many accounts a memory holds.
const maxRemembered = 10_000

// memory is what a source has said about accounts, so that it can be asked with every request: what it said a moment
// ago holds, whoever asks for an account together shares one answer, and while the source is away its last word holds
// for some time.
type memory struct {
	fresh time.Duration // how long an answer holds; 0 asks every time
	grace time.Duration // how long it holds while the source cannot tell
	now   func() time.Time
	said  *otter.Cache[string, remembered]

	mu      sync.Mutex
	flights map[string]*inquiry
	hung    error     // what a source said that took its time to fail
	until   time.Time // it is not asked before
}

// A source that is slow to fail is left alone for a moment, so that not everybody waits for it. Only where there is
// grace: a source without is at hand.
const (
	slow   = time.Second
	moment = time.Second
)

// remembered is an answer of the source.
type remembered struct {
	identity customhouse.Identity
	err      error // nil or ErrUnknownUser
	at       time.Time
}

// inquiry is one question that several wait for.
type inquiry struct {
	done     chan struct{}
	identity customhouse.Identity
	err      error
	left     bool // whoever asked has left before the answer came
}

func newMemory(fresh, grace time.Duration, now func() time.Time) *memory {
	return &memory{
		fresh: fresh, grace: grace, now: now, flights: map[string]*inquiry{},
		said: otter.Must(&otter.Options[string, remembered]{MaximumSize: maxRemembered}),
	}
}

// keep notes an answer of the source, unless err is an outage.
func (m *memory) keep(account string, id customhouse.Identity, err error) {
	if unknown := errors.Is(err, ErrUnknownUser); (err == nil || unknown) && max(m.fresh, m.grace) > 0 {
		if unknown {
			err = ErrUnknownUser
		}
		m.said.Set(account, remembered{id, err, m.now()})
	}
}

// lookup returns what ask says about an account, or what it has said.
func (m *memory) lookup(ctx context.Context, account string, ask func(context.Context) (customhouse.Identity, error)) (customhouse.Identity, error) {
	last, ok := m.said.GetIfPresent(account)
	age := m.now().Sub(last.at)
	if ok && age < m.fresh {
		return last.identity, last.err
	}
	id, err := m.patiently(ctx, account, ask)
	away := err != nil && !errors.Is(err, ErrUnknownUser)
	if away && ok && age < m.grace && ctx.Err() == nil {
		return last.identity, last.err
	}
	return id, err
}

// patiently is join, unless the source has just kept somebody waiting for nothing.
func (m *memory) patiently(ctx context.Context, account string, ask func(context.Context) (customhouse.Identity, error)) (customhouse.Identity, error) {
	begin := m.now()
	m.mu.Lock()
	hung, wait := m.hung, begin.Before(m.until)
	m.mu.Unlock()
	if wait {
		return customhouse.Identity{}, fmt.Errorf("left alone after: %w", hung)
	}
	id, err := m.join(ctx, account, ask)
	if err == nil || errors.Is(err, ErrUnknownUser) || ctx.Err() != nil || m.grace == 0 {
		return id, err
	}
	if end := m.now(); end.Sub(begin) > slow {
		m.mu.Lock()
		m.hung, m.until = err, end.Add(moment)
		m.mu.Unlock()
	}
	return id, err
}

// join waits for the inquiry that is under way, or makes one.
func (m *memory) join(ctx context.Context, account string, ask func(context.Context) (customhouse.Identity, error)) (customhouse.Identity, error) {
	for {
		m.mu.Lock()
		q, under := m.flights[account]
		if !under {
			q = &inquiry{done: make(chan struct{})}
			m.flights[account] = q
		}
		m.mu.Unlock()
		if !under {
			q.identity, q.err = ask(ctx)
			q.left = q.err != nil && ctx.Err() != nil
			m.keep(account, q.identity, q.err)
			m.mu.Lock()
			delete(m.flights, account)
			m.mu.Unlock()
			close(q.done)
			return q.identity, q.err
		}
		select {
		case <-q.done:
		case <-ctx.Done():
			return customhouse.Identity{}, ctx.Err()
		}
		if !q.left {
			return q.identity, q.err
		}
	}
}
