package gate

import (
	"crypto/sha256"
	"fmt"
	"iter"
	"sync"
	"time"

	"customhouse"
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

// wait returns how long cred is refused yet, 0 if it may be tried.
func (f failures) wait(cred customhouse.Credential, now time.Time) time.Duration {
	var longest time.Duration
	for key, limit := range f.keys(cred) {
		if w := f.windows.get(key); int(w.count) >= limit {
			longest = max(longest, time.Duration(w.end-now.UnixNano()))
		}
	}
	return longest
}

// count counts a failure of cred.
func (f failures) count(cred customhouse.Credential, now time.Time) {
	for key := range f.keys(cred) {
		f.windows.count(key, now.UnixNano())
	}
}

// keys yields the windows that cred counts in, with their limits.
func (f failures) keys(cred customhouse.Credential) iter.Seq2[failureKey, int] {
	return func(yield func(failureKey, int) bool) {
		address := clientOf(cred.Client).String()
		if f.limits.PerClient > 0 && !yield(keyOf(address), f.limits.PerClient) {
			return
		}
		if f.limits.PerAccount > 0 {
			yield(keyOf(address+" "+cred.Account), f.limits.PerAccount)
		}
	}
}

// failureKey is the beginning of a SHA-256, so that long names take no more room than short ones.
type failureKey [16]byte

func keyOf(s string) failureKey {
	sum := sha256.Sum256([]byte(s))
	return failureKey(sum[:16])
}

// windows are minutes that begin with a failure, and the failures in them.
type windows struct {
	mu   sync.Mutex
	open map[failureKey]window
}

type window struct {
	end   int64 // Unix nanoseconds
	count int32
}

const (
	perWindow  = time.Minute
	maxWindows = 100_000 // about 6 MiB
)

func (ws *windows) get(key failureKey) window {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return ws.open[key]
}

func (ws *windows) count(key failureKey, now int64) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w := ws.open[key]
	if w.end <= now {
		w = window{end: now + int64(perWindow)}
		if len(ws.open) >= maxWindows {
			ws.makeRoom(now)
		}
	}
	w.count++
	ws.open[key] = w
}

// makeRoom forgets the windows that have ended and, if that is not enough, any until an eighth is free.
func (ws *windows) makeRoom(now int64) {
	for key, w := range ws.open {
		if w.end <= now {
			delete(ws.open, key)
		}
	}
	for key := range ws.open {
		if len(ws.open) <= maxWindows-maxWindows/8 {
			return
		}
		delete(ws.open, key)
	}
}
