package authn

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"customhouse"
)

// uses writes down when credentials were used: behind the requests that use them, and about once a minute for each.
type uses struct {
	store MachineStore
	log   *slog.Logger

	mu      sync.Mutex
	noted   map[string]time.Time // when each was last noted; for a minute
	waiting map[string]time.Time // what is to be written
	writing bool
	done    sync.WaitGroup
}

const (
	noteEvery = time.Minute
	maxNoted  = 10_000
)

func newUses(store MachineStore, log *slog.Logger) *uses {
	return &uses{store: store, log: log, noted: map[string]time.Time{}, waiting: map[string]time.Time{}}
}

// note notes that c is used now, unless it is on record that it was less than a minute ago.
func (u *uses) note(c *customhouse.MachineCredential, now time.Time) {
	if now.Sub(c.Used) < noteEvery {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if now.Sub(u.noted[c.ID]) < noteEvery {
		return
	}
	if len(u.noted) >= maxNoted {
		clear(u.noted)
	}
	u.noted[c.ID], u.waiting[c.ID] = now, now
	if !u.writing {
		u.writing = true
		u.done.Go(u.write)
	}
}

// write writes until nothing waits.
func (u *uses) write() {
	for {
		u.mu.Lock()
		batch := u.waiting
		if len(batch) == 0 {
			u.writing = false
			u.mu.Unlock()
			return
		}
		u.waiting = map[string]time.Time{}
		u.mu.Unlock()
		if err := u.store.UseMachineCredentials(context.Background(), batch); err != nil {
			u.log.Warn("the time of last use is not kept", "credentials", len(batch), "error", err)
		}
	}
}

// wait waits until nothing is being written.
func (u *uses) wait() { u.done.Wait() }
