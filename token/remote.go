package token

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// When a Remote asks again.
const (
	refreshAfter = 4 * time.Minute  // a key that was taken away is good that long, plus fetchTime
	refreshLeast = 10 * time.Second // between two fetches, whatever comes
	refreshGiven = time.Hour        // how long keys stay good while they cannot be fetched
	fetchTime    = 5 * time.Second
)

// Remote is the key set of another at a URL. It is fetched when it is first needed, when it is old and when a token names a
// key that is not in it; never more than once in ten seconds. While it cannot be fetched the last one stays good for an
// hour. Keep a Remote as long as its URL is configured: what it knows outlives a reload.
type Remote struct {
	url    string
	client *http.Client
	log    *slog.Logger

	fetching sync.Mutex
	last     atomic.Pointer[fetched]
}

// fetched is what a Remote knows. It is immutable.
type fetched struct {
	set   *KeySet   // nil before the first success
	at    time.Time // of the last success
	tried time.Time
	err   error // of the last try
}

// NewRemote returns the key set at address. It is got through transport, nil is one of its own; redirects are followed to
// the same origin only.
func NewRemote(address string, transport http.RoundTripper, log *slog.Logger) (*Remote, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("no URL of a key set")
	}
	if transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxResponseHeaderBytes, t.MaxIdleConns, t.DisableCompression = 64<<10, 1, true
		transport = t
	}
	r := &Remote{url: u.String(), log: log, client: &http.Client{
		Transport: transport, Timeout: fetchTime,
		CheckRedirect: func(q *http.Request, via []*http.Request) error {
			switch {
			case q.URL.Scheme != u.Scheme || q.URL.Host != u.Host:
				return errors.New("redirected to another origin")
			case len(via) > 3:
				return errors.New("redirected too often")
			}
			return nil
		},
	}}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.last.Store(&fetched{})
	return r, nil
}

// current returns the key set. The error is ErrNoKeys, wrapped.
func (r *Remote) current(ctx context.Context, now time.Time) (*KeySet, error) {
	last := r.last.Load()
	switch {
	case last.set == nil:
		last = r.renew(ctx, now)
	case now.Sub(last.at) > refreshAfter && r.fetching.TryLock(): // the others go on with what there is
		last = r.fetch(ctx, now)
		r.fetching.Unlock()
	}
	if last.set == nil || now.Sub(last.at) > refreshGiven {
		return nil, fmt.Errorf("%w: %w", ErrNoKeys, last.err)
	}
	return last.set, nil
}

// having returns the key set, after a look for a newer one if it does not have the key called name.
func (r *Remote) having(ctx context.Context, name string, now time.Time) (*KeySet, error) {
	set, err := r.current(ctx, now)
	if err != nil || set.byName[name] != nil {
		return set, err
	}
	r.renew(ctx, now)
	return r.current(ctx, now)
}

// renew waits for a fetch under way, or fetches.
func (r *Remote) renew(ctx context.Context, now time.Time) *fetched {
	r.fetching.Lock()
	defer r.fetching.Unlock()
	return r.fetch(ctx, now)
}

// fetch fetches the key set, unless that was just tried. The caller holds the lock.
func (r *Remote) fetch(ctx context.Context, now time.Time) *fetched {
	last := r.last.Load()
	if !last.tried.IsZero() && now.Sub(last.tried) < refreshLeast {
		return last
	}
	next := &fetched{set: last.set, at: last.at, tried: now}
	set, err := r.get(context.WithoutCancel(ctx)) // who asked may leave; others need it too
	switch {
	case err != nil:
		next.err = err
		if last.err == nil || last.err.Error() != err.Error() {
			r.log.Warn("the keys of a trusted issuer cannot be fetched; the last ones stay for an hour", "url", r.url, "error", err)
		}
	case last.set != nil && slices.Equal(set.names(), last.set.names()):
		next.at = now // the same set, so that what was verified by it stays so
	default:
		next.set, next.at = set, now
		for _, bad := range set.bad {
			r.log.Warn("a key of a trusted issuer cannot be used", "url", r.url, "error", bad)
		}
	}
	r.last.Store(next)
	return next
}

func (r *Remote) get(ctx context.Context) (*KeySet, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, nil)
	if err != nil {
		return nil, err
	}
	q.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := r.client.Do(q)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxKeySet+1))
	if err != nil {
		return nil, err
	}
	set, err := parseKeySet(data, false)
	if err != nil {
		return nil, err
	}
	if len(set.byName) == 0 {
		return nil, fmt.Errorf("no usable key: %w", errors.Join(set.bad...))
	}
	return set, nil
}
