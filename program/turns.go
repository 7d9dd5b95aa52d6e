package program

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"
)

// turns lets so many do something at once, and so many more wait for it.
type turns struct {
	slots   chan struct{}
	waiting atomic.Int64
	most    int64
}

func newTurns(slots, waiting int) *turns {
	return &turns{slots: make(chan struct{}, slots), most: int64(waiting)}
}

// wait returns nil when it is the caller's turn, who calls done after it. The errors are ErrBusy and the cause of ctx's end.
func (t *turns) wait(ctx context.Context) error {
	select {
	case t.slots <- struct{}{}:
		return nil
	default:
	}
	defer t.waiting.Add(-1)
	if t.waiting.Add(1) > t.most {
		return ErrBusy
	}
	select {
	case t.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t *turns) done() { <-t.slots }

func sortedKeys(m map[string][]string) []string { return slices.Sorted(maps.Keys(m)) }
