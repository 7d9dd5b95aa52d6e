package token

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"customhouse"
)

// When a Remote asks again.
const (
	refreshAfter = 4 * time.Minute  // a key that was taken away is good that long, plus fetchTime
	refreshLeast = 10 * time.Second // between two fetches, whatever comes
	refreshGiven = time.Hour        // how long keys stay good while they cannot be fetched
	fetchTime    = 5 * time.Second
)

// RemoteOptions are the settings of a Remote.
type RemoteOptions struct {
	// Discover makes the address that of an issuer, which tells where its key set is (OpenID Connect Discovery).
	Discover  bool
	Transport http.RoundTripper // by which it is got; nil is one of its own
	TokenFile string            // holds a token to get it with, which goes to the origin of the address only; "" is none
	Log       *slog.Logger      // nil is silent
}

// Remote is the key set of another at a URL. It is fetched when it is first needed, when it is old and when a token names a
// key that is not in it; never more than once in ten seconds. While it cannot be fetched the last one stays good for an
// hour. Keep a Remote as long as its URL is configured: what it knows outlives a reload.
type Remote struct {
	address   *url.URL
	issuer    string // that the address is one of; "" if it is the address of the key set
	tokenFile string
	client    *http.Client
	log       *slog.Logger

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

// NewRemote returns the key set at address. Redirects are followed to the same origin only.
func NewRemote(address string, o RemoteOptions) (*Remote, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("no URL of a key set")
	}
	if o.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxResponseHeaderBytes, t.MaxIdleConns, t.DisableCompression = 64<<10, 1, true
		o.Transport = t
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := &Remote{address: u, tokenFile: o.TokenFile, log: o.Log, client: &http.Client{
		Transport: o.Transport, Timeout: fetchTime,
		CheckRedirect: func(q *http.Request, via []*http.Request) error {
			switch {
			case !sameOrigin(q.URL, via[0].URL):
				return errors.New("redirected to another origin")
			case len(via) > 3:
				return errors.New("redirected too often")
			}
			return nil
		},
	}}
	if o.Discover {
		r.issuer = address
		r.address = u.JoinPath(".well-known", "openid-configuration")
	}
	r.last.Store(&fetched{})
	return r, nil
}

func sameOrigin(a, b *url.URL) bool { return a.Scheme == b.Scheme && a.Host == b.Host }

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
			r.log.Warn("the keys of a trusted issuer cannot be fetched; the last ones stay for an hour", "url", r.address.String(), "error", err)
		}
	case last.set != nil && slices.Equal(set.names(), last.set.names()):
		next.at = now // the same set, so that what was verified by it stays so
	default:
		next.set, next.at = set, now
		for _, bad := range set.bad {
			r.log.Warn("a key of a trusted issuer cannot be used", "url", r.address.String(), "error", bad)
		}
	}
	r.last.Store(next)
	return next
}

// get fetches the key set, from where its issuer says that it is if that is to be discovered.
func (r *Remote) get(ctx context.Context) (*KeySet, error) {
	at := r.address
	if r.issuer != "" {
		var err error
		if at, err = r.discover(ctx); err != nil {
			return nil, err
		}
	}
	data, err := r.read(ctx, at)
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

// discover returns where the issuer says that its key set is. What it says must be its own: it names the issuer, and leads
// from https nowhere else.
func (r *Remote) discover(ctx context.Context) (*url.URL, error) {
	data, err := r.read(ctx, r.address)
	if err != nil {
		return nil, fmt.Errorf("discover: %w", err)
	}
	v, err := customhouse.ParseJSON(data)
	if err != nil {
		return nil, errors.New("discover: not JSON")
	}
	object, _ := v.(map[string]any)
	if issuer, _ := object["issuer"].(string); issuer != r.issuer {
		return nil, fmt.Errorf("discover: the issuer there is %.100q", issuer)
	}
	text, _ := object["jwks_uri"].(string)
	at, err := url.Parse(text)
	if err != nil || at.Host == "" || at.User != nil || at.Scheme != "https" && at.Scheme != r.address.Scheme {
		return nil, errors.New("discover: jwks_uri is no URL by https")
	}
	return at, nil
}

// read gets what is at a URL.
func (r *Remote) read(ctx context.Context, at *url.URL) ([]byte, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, err
	}
	q.Header.Set("Accept", "application/jwk-set+json, application/json")
	if r.tokenFile != "" && sameOrigin(at, r.address) {
		token, err := readToken(r.tokenFile)
		if err != nil {
			return nil, err
		}
		q.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := r.client.Do(q)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d of %s", resp.StatusCode, at.Host)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxKeySet+1))
}

// readToken returns the token in a file, which may be another each time.
func readToken(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxLength+1))
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(data))
	if token == "" || len(data) > MaxLength || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%s holds no token", path)
	}
	return token, nil
}
