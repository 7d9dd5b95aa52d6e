package authn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"customhouse"
)

const (
	maxHtpasswd = 16 << 20        // bytes
	checkEvery  = time.Second     // how often the file is looked at, at most
	settling    = 2 * time.Second // how old a file must be for its time to tell of every further change
)

// HtpasswdOptions are the settings of an Htpasswd.
type HtpasswdOptions struct {
	Log *slog.Logger     // told when the file is read anew or cannot be; nil is silent
	Now func() time.Time // nil is time.Now
}

// Htpasswd vouches for the users of an htpasswd file: a line "name:hash" for each, with a bcrypt hash ($2a$, $2b$ or
// $2y$); empty lines and those that begin with # say nothing. The file is read anew within a second of a change,
// however it was made: in place, by rename, or by another target of a symbolic link. While it cannot be read, or has a
// mistake, what it said before stays.
type Htpasswd struct {
	path      string
	passwords *Passwords
	log       *slog.Logger
	now       func() time.Time

	present atomic.Pointer[users]
	due     atomic.Int64 // when the file is looked at next, in Unix nanoseconds

	reading sync.Mutex  // held by whoever looks at the file; guards what follows
	seen    os.FileInfo // nil before the first reading
	settled bool        // whether every change after seen is sure to show
	mistake string      // what was logged last
}

var (
	_ Authenticator = (*Htpasswd)(nil)
	_ Directory     = (*Htpasswd)(nil)
)

// NewHtpasswd returns an authenticator called "htpasswd" for the users of the file at path, which must be readable and
// without mistake now.
func NewHtpasswd(path string, passwords *Passwords, o HtpasswdOptions) (*Htpasswd, error) {
	h := &Htpasswd{path: path, passwords: passwords, log: o.Log, now: o.Now}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.now == nil {
		h.now = time.Now
	}
	h.due.Store(h.now().Add(checkEvery).UnixNano())
	for range 20 { // a second in all: somebody may be writing it
		if _, err := h.read(); err != nil {
			return nil, err
		}
		if h.present.Load() != nil {
			return h, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil, fmt.Errorf("%s: is being written all the time", path)
}

// Name returns "htpasswd".
func (h *Htpasswd) Name() string { return "htpasswd" }

// Authenticate implements Authenticator.
func (h *Htpasswd) Authenticate(ctx context.Context, cred customhouse.Credential) (customhouse.Identity, error) {
	return h.current().Authenticate(ctx, cred)
}

// Lookup implements Directory.
func (h *Htpasswd) Lookup(ctx context.Context, account string) (customhouse.Identity, error) {
	return h.current().Lookup(ctx, account)
}

// current returns the users, after a look at the file if that is due and nobody else is looking.
func (h *Htpasswd) current() *users {
	now := h.now()
	if now.UnixNano() < h.due.Load() || !h.reading.TryLock() {
		return h.present.Load()
	}
	defer h.reading.Unlock()
	h.due.Store(now.Add(checkEvery).UnixNano())
	changed, err := h.read()
	switch {
	case err != nil && err.Error() != h.mistake:
		h.mistake = err.Error()
		h.log.Error("htpasswd file keeps its former content", "path", h.path, "error", err)
	case err == nil && changed:
		h.mistake = ""
		h.log.Info("htpasswd file read", "path", h.path, "users", len(h.present.Load().table))
	}
	return h.present.Load()
}

// read takes over the file's content if it may have changed.
func (h *Htpasswd) read() (changed bool, err error) {
	f, err := os.Open(h.path)
	if err != nil {
		h.settled = false
		return false, err
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil || h.settled && same(before, h.seen) {
		return false, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxHtpasswd+1))
	if err != nil {
		return false, err
	}
	if len(data) > maxHtpasswd {
		return false, fmt.Errorf("%s: longer than %d bytes", h.path, maxHtpasswd)
	}
	after, err := f.Stat()
	if err != nil || !same(after, before) {
		return false, err // somebody is writing; look again
	}
	changed = !same(before, h.seen)
	h.seen, h.settled = before, h.now().Sub(before.ModTime()) > settling
	u, err := parseHtpasswd(h.path, data, h.passwords)
	if err != nil {
		return false, err
	}
	h.present.Store(u)
	return changed, nil
}

func parseHtpasswd(path string, data []byte, passwords *Passwords) (*users, error) {
	u := newUsers("htpasswd", passwords)
	var errs []error
	number := 0
	for line := range bytes.Lines(data) {
		number++
		text := strings.TrimSpace(string(line))
		if text == "" || text[0] == '#' {
			continue
		}
		name, rest, ok := strings.Cut(text, ":")
		hash, err := ParseHash(customhouse.Secret(rest))
		if !ok {
			err = errors.New("want name:hash")
		}
		if err == nil {
			err = u.add(name, hash, nil)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %w", path, number, err))
		}
	}
	return &u, errors.Join(errs...)
}

// same tells whether two looks at a file saw the same content, as far as its identity, size and time tell.
func same(a, b os.FileInfo) bool {
	return a != nil && b != nil && os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
