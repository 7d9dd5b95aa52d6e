package gate

import (
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"customhouse"
	"customhouse/authn"
)

// Limits are how many failed logins are heard in a minute before further ones are refused. 0 is no limit. Passwords that
// are remembered as verified pass regardless, and nobody is locked out from another address.
type Limits struct {
	PerAccount int // of one account from one client address
	PerClient  int // of all accounts from one client address; an IPv6 client is its /64
}

// limitedError says that too many logins have failed.
type limitedError struct{ wait time.Duration }

func (e *limitedError) Error() string {
	return fmt.Sprintf("too many failed logins, for another %v", e.wait)
}

// failures counts failed logins.
type failures struct {
	limits  Limits
	windows *windows
}

// begin lets cred be tried. Logins that are under way may all fail, so that one that would be too many then waits for one of
// them to end, until ctx does. Whoever tries calls end with what came of it. The errors are a *limitedError, authn.ErrBusy
// and the context's.
func (f failures) begin(ctx context.Context, cred customhouse.Credential, now func() time.Time) (end func(failed bool), err error) {
	var begun []failureKey
	end = func(failed bool) {
		for _, key := range begun {
			f.windows.end(key, f.limits, failed, now().UnixNano())
		}
	}
	for key := range f.keys(cred) {
		if err := f.windows.begin(ctx, key, f.limits, now); err != nil {
			end(false)
			return nil, err
		}
		begun = append(begun, key)
	}
	return end, nil
}

// keys yields the windows that cred counts in.
func (f failures) keys(cred customhouse.Credential) iter.Seq[failureKey] {
	return func(yield func(failureKey) bool) {
		address := clientOf(cred.Client).String()
		if f.limits.PerClient > 0 && !yield(keyOf(address, false)) {
			return
		}
		if f.limits.PerAccount > 0 {
			yield(keyOf(address+" "+cred.Account, true))
		}
	}
}

// failureKey is the beginning of a SHA-256, so that long names take no more room than short ones.
type failureKey struct {
	sum     [16]byte
	account bool // counts one account
}

func keyOf(s string, account bool) failureKey {
	sum := sha256.Sum256([]byte(s))
	return failureKey{[16]byte(sum[:16]), account}
}

// most returns the limit of what key counts.
func (l Limits) most(key failureKey) int {
	if key.account {
		return l.PerAccount
	}
	return l.PerClient
}

// windows are minutes that begin with a failure, and the failures in them.
type windows struct {
	mu   sync.Mutex
	open map[failureKey]*window
}

type window struct {
	end     int64 // Unix nanoseconds
	failed  int
	trying  int             // logins under way
	waiting []chan struct{} // closed, the first first, when there may be room
}

const (
	perWindow  = time.Minute
	maxWindows = 100_000 // about 10 MiB
	maxWaiting = 4096    // for logins under way, of one client: all nodes of a cluster behind one address
)

// begin counts a login as under way.
func (ws *windows) begin(ctx context.Context, key failureKey, l Limits, now func() time.Time) error {
	for {
		turn, err := ws.enter(key, l.most(key), now().UnixNano())
		if turn == nil {
			return err
		}
		select {
		case <-turn:
		case <-ctx.Done():
			ws.leave(key, turn, l.most(key))
			return context.Cause(ctx)
		}
	}
}

// enter counts a login as under way, or returns what it waits for. The errors are a *limitedError and authn.ErrBusy.
func (ws *windows) enter(key failureKey, most int, now int64) (turn chan struct{}, err error) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w := ws.open[key]
	if w == nil {
		if len(ws.open) >= maxWindows {
			ws.makeRoom(now)
		}
		w = &window{}
		ws.open[key] = w
	}
	if w.end <= now {
		w.failed = 0
	}
	switch {
	case w.failed >= most:
		return nil, &limitedError{time.Duration(w.end - now)}
	case w.failed+w.trying < most:
		w.trying++
		return nil, nil
	case len(w.waiting) >= maxWaiting:
		return nil, authn.ErrBusy
	}
	turn = make(chan struct{})
	w.waiting = append(w.waiting, turn)
	return turn, nil
}

// leave gives up waiting for turn, which is another's if it has come.
func (ws *windows) leave(key failureKey, turn chan struct{}, most int) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w := ws.open[key]
	if w == nil {
		return
	}
	if i := slices.Index(w.waiting, turn); i >= 0 {
		w.waiting = slices.Delete(w.waiting, i, i+1)
		return
	}
	w.call(most)
}

// end counts a login as under way no more, and as failed if it has.
func (ws *windows) end(key failureKey, l Limits, failed bool, now int64) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w := ws.open[key]
	w.trying--
	switch {
	case failed && w.end <= now:
		w.failed, w.end = 1, now+int64(perWindow)
	case failed:
		w.failed++
	}
	w.call(l.most(key))
	if w.idle(now) {
		delete(ws.open, key)
	}
}

// call tells those who wait that there may be room: the first, or all where nobody is heard any more.
func (w *window) call(most int) {
	n := len(w.waiting)
	if w.failed < most {
		n = min(n, 1)
	}
	for _, turn := range w.waiting[:n] {
		close(turn)
	}
	w.waiting = w.waiting[n:]
}

// idle tells whether nothing has to be remembered.
func (w *window) idle(now int64) bool {
	return w.trying == 0 && len(w.waiting) == 0 && (w.failed == 0 || w.end <= now)
}

// makeRoom forgets the windows that have ended and, if that is not enough, any without logins under way until an eighth is
// free.
func (ws *windows) makeRoom(now int64) {
	for key, w := range ws.open {
		if w.idle(now) {
			delete(ws.open, key)
		}
	}
	for key, w := range ws.open {
		if len(ws.open) <= maxWindows-maxWindows/8 {
			return
		}
		if w.trying == 0 && len(w.waiting) == 0 {
			delete(ws.open, key)
		}
	}
}
