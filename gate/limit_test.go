package gate_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"customhouse"
	"customhouse/authn"
	"customhouse/gate"
)

// hall is a source of accounts that keeps whoever comes waiting until its doors open.
type hall struct {
	came  chan struct{}
	doors chan struct{}
	asked atomic.Int64
}

func newHall() *hall { return &hall{came: make(chan struct{}, 1000), doors: make(chan struct{})} }

func (*hall) Name() string { return "hall" }

func (h *hall) Authenticate(ctx context.Context, cred customhouse.Credential) (customhouse.Identity, error) {
	h.asked.Add(1)
	h.came <- struct{}{}
	select {
	case <-h.doors:
	case <-ctx.Done():
		return customhouse.Identity{}, ctx.Err()
	}
	if cred.Secret != "right" {
		return customhouse.Identity{}, authn.ErrWrongPassword
	}
	return customhouse.Identity{Account: cred.Account, Method: "hall"}, nil
}

// halled is a house whose accounts are in a hall, where 20 logins may fail.
func halled(t *testing.T, hall *hall) *house {
	chain, err := authn.NewChain(nil, hall)
	must(t, err)
	return newHouse(t, func(o *gate.Options) { o.Chain, o.Limits = chain, gate.Limits{PerAccount: 20, PerClient: 20} })
}

// Guesses that come all at once are no more than those that come one after the other.
func TestS37_GuessesAtOnce(t *testing.T) {
	hall := newHall()
	h := halled(t, hall)
	const guesses = 200
	var refused, limited atomic.Int64
	var guessing sync.WaitGroup
	for range guesses {
		guessing.Go(func() {
			_, err := h.Admit(t.Context(), basic("alice", "wrong"))
			var r *gate.Refusal
			switch {
			case !errors.As(err, &r):
				t.Errorf("Admit = %v, want a Refusal", err)
			case r.Err.Code == customhouse.TooManyRequests:
				limited.Add(1)
			case r.Err.Code == customhouse.Unauthorized:
				refused.Add(1)
			default:
				t.Errorf("Admit = %v", r)
			}
		})
	}
	for range 20 {
		<-hall.came
	}
	close(hall.doors)
	guessing.Wait()
	if hall.asked.Load() != 20 || refused.Load() != 20 || limited.Load() != guesses-20 {
		t.Errorf("%d of %d guesses were tried, %d heard no and %d that there were too many; want 20, 20 and %d",
			hall.asked.Load(), guesses, refused.Load(), limited.Load(), guesses-20)
	}
}

// Logins that are right are never too many, however many come at once, and one login that leaves keeps nobody out.
func TestS37_RightLoginsWaitTheirTurn(t *testing.T) {
	hall := newHall()
	h := halled(t, hall)
	var logins sync.WaitGroup
	come := func(n int, ctx context.Context) {
		for range n {
			logins.Go(func() {
				if _, err := h.Admit(ctx, basic("alice", "right")); err != nil && ctx.Err() == nil {
					t.Errorf("Admit = %v", err)
				}
			})
		}
	}
	leaving, leave := context.WithCancel(t.Context())
	come(20, leaving)
	for range 20 {
		<-hall.came
	}
	come(20, leaving) // who wait for those
	come(100, t.Context())
	leave()
	close(hall.doors)
	logins.Wait()
	if got := h.verdict(basic("alice", "right")); got != (verdict{}) {
		t.Errorf("Admit after all = %+v", got)
	}
}
