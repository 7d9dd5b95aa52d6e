// Package notify tells others what has happened: it takes events from the index, where each was kept in the transaction of
// the change that it tells of, and posts them to endpoints, at least once and in their order. An endpoint that is away is
// told when it is back; what it refuses is laid aside, to be replayed by a command. It knows nothing of who may do what.
//
//	n, err := notify.New(db, endpoints, notify.Options{})
//	n.Run(ctx) // until ctx ends
//
// Nobody waits for an endpoint but the endpoint's own goroutine here.
package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"customhouse"
	"customhouse/index"
	"customhouse/outbound"
)

// Endpoint is somebody who wants to be told.
type Endpoint struct {
	Name       string // by which it is remembered how far it has been told
	URL        string // http or https
	Headers    map[string][]customhouse.Secret
	Secret     customhouse.Secret // signs what is sent (see outbound.Sign); "" does not
	Format     Format
	Timeout    time.Duration  // of one attempt; 0 is DefaultTimeout
	Threshold  int            // failures in a row after which there are pauses; 0 is DefaultThreshold
	Backoff    time.Duration  // the first pause, which grows; 0 is DefaultBackoff
	Tries      int            // how often an event is sent that is refused, until it is laid aside; 0 is DefaultTries
	Allow      []netip.Prefix // addresses that are not reached otherwise; see outbound.Dialer
	Actions    []string       // that it does not want to be told of
	MediaTypes []string       // of content that it does not want to be told of
}

// Format is what is sent.
type Format int

// The formats.
const (
	Distribution Format = iota // the envelope of distribution, application/vnd.docker.distribution.events.v2+json
	CloudEvents                // CloudEvents 1.0 in structured mode, one event a request
)

// Defaults of an Endpoint, and bounds.
const (
	DefaultTimeout   = 5 * time.Second
	DefaultThreshold = 10
	DefaultBackoff   = time.Second
	DefaultTries     = 10
	DefaultKeep      = 64 << 20 // bytes of events that wait
	maxBackoff       = 5 * time.Minute
	firstPause       = 50 * time.Millisecond
	batch            = 50                     // events that are read at once
	idle             = 200 * time.Millisecond // between two looks for events
	pruneEvery       = 10 * time.Second
	maxPulls         = 4096 // pulls that wait to be written down
)

// Options are the settings of a Notifier.
type Options struct {
	Keep       int64            // bytes of events that wait, above which the oldest are lost; 0 is DefaultKeep
	References bool             // whether events say what manifests name
	Source     string           // host:port that events name as theirs
	Log        *slog.Logger     // nil is silent
	Now        func() time.Time // nil is time.Now
}

// Notifier tells endpoints. It is made anew when they change.
type Notifier struct {
	index     *index.DB
	endpoints []*endpoint
	opts      Options
	pulls     chan customhouse.Event
	wanted    bool // whether anybody wants to be told of pulls
	missed    atomic.Int64
}

// New returns a notifier of endpoints, with names of their own. From now on the index keeps what they want to be told of.
func New(ctx context.Context, db *index.DB, endpoints []Endpoint, o Options) (*Notifier, error) {
	if o.Keep == 0 {
		o.Keep = DefaultKeep
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	n := &Notifier{index: db, opts: o, pulls: make(chan customhouse.Event, maxPulls)}
	source := source{Addr: o.Source, InstanceID: instanceID()}
	var names []string
	for _, e := range endpoints {
		one, err := newEndpoint(e, source, o)
		if err != nil {
			return nil, fmt.Errorf("endpoint %s: %w", e.Name, err)
		}
		if slices.Contains(names, e.Name) {
			return nil, fmt.Errorf("two endpoints have the name %s", e.Name)
		}
		names = append(names, e.Name)
		n.endpoints = append(n.endpoints, one)
	}
	if err := db.KeepEndpoints(ctx, names); err != nil {
		return nil, err
	}
	var actions []string
	for _, action := range []string{customhouse.EventPush, customhouse.EventPull, customhouse.EventMount, customhouse.EventDelete} {
		if slices.ContainsFunc(endpoints, func(e Endpoint) bool { return !slices.Contains(e.Actions, action) }) {
			actions = append(actions, action)
		}
	}
	n.wanted = slices.Contains(actions, customhouse.EventPull)
	db.Record(index.Recording{Actions: actions, References: o.References})
	return n, nil
}

// WantsPulls tells whether anybody wants to be told of pulls.
func (n *Notifier) WantsPulls() bool { return n.wanted }

// Pulled tells of a pull. It never waits: where more pulls come than can be written down, some are not told.
func (n *Notifier) Pulled(e customhouse.Event) {
	e.Time = n.opts.Now()
	select {
	case n.pulls <- e:
	default:
		n.missed.Add(1)
	}
}

// Run tells endpoints until ctx ends.
func (n *Notifier) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, e := range n.endpoints {
		all.Go(func() { n.tell(ctx, e) })
	}
	all.Go(func() { n.writePulls(ctx) })
	all.Go(func() { n.prune(ctx) })
	all.Wait()
}

// writePulls writes pulls down, many at once, and at the end those that are left.
func (n *Notifier) writePulls(ctx context.Context) {
	for done := false; !done; {
		var events []customhouse.Event
		select {
		case <-ctx.Done():
			done = true
		case e := <-n.pulls:
			events = append(events, e)
			pause(ctx, idle/4) // others come meanwhile
		}
		for len(n.pulls) > 0 {
			events = append(events, <-n.pulls)
		}
		if len(events) == 0 {
			continue
		}
		if err := n.index.AddEvents(context.WithoutCancel(ctx), events); err != nil {
			n.opts.Log.Error("pulls that nobody is told of", "pulls", len(events), "error", err)
		}
	}
}

// prune bounds what waits.
func (n *Notifier) prune(ctx context.Context) {
	for pause(ctx, pruneEvery) {
		lost, err := n.index.PruneEvents(ctx, n.opts.Keep)
		if err != nil && ctx.Err() == nil {
			n.opts.Log.Error("events that have been told stay", "error", err)
		}
		if lost > 0 {
			n.opts.Log.Error("too many events wait; the oldest are lost", "events", lost)
		}
		if missed := n.missed.Swap(0); missed > 0 {
			n.opts.Log.Warn("pulls came faster than they could be written down; nobody is told of some", "pulls", missed)
		}
	}
}

// tell tells one endpoint of events, in their order: first of those that it is to be told of again.
func (n *Notifier) tell(ctx context.Context, e *endpoint) {
	defer e.client.CloseIdleConnections()
	last := int64(-1)
	for ctx.Err() == nil {
		told, err := n.round(ctx, e, &last)
		if err != nil && ctx.Err() == nil {
			n.opts.Log.Error("events wait", "endpoint", e.Name, "error", err)
			pause(ctx, time.Second)
		}
		if told == 0 {
			pause(ctx, idle)
		}
	}
}

// round tells an endpoint of the next events and returns how many they were.
func (n *Notifier) round(ctx context.Context, e *endpoint, last *int64) (told int, err error) {
	again, err := n.index.Replays(ctx, e.Name, batch)
	if err != nil {
		return 0, err
	}
	for _, event := range again {
		taken, err := n.deliver(ctx, e, event)
		if taken {
			err = n.index.Unbury(context.WithoutCancel(ctx), e.Name, event.Number)
		}
		if err != nil {
			return told, err
		}
		told++
	}
	if *last < 0 {
		if *last, err = n.cursor(ctx, e.Name); err != nil {
			return told, err
		}
	}
	events, err := n.index.Events(ctx, *last, batch)
	if err != nil || len(events) == 0 {
		return told, err
	}
	for _, event := range events {
		if e.wants(&event) {
			if _, err := n.deliver(ctx, e, event); err != nil {
				return told, errors.Join(err, n.index.Told(context.WithoutCancel(ctx), e.Name, *last))
			}
		}
		*last = event.Number
		told++
	}
	return told, n.index.Told(context.WithoutCancel(ctx), e.Name, *last)
}

// cursor returns how far an endpoint has been told.
func (n *Notifier) cursor(ctx context.Context, name string) (int64, error) {
	all, err := n.index.Endpoints(ctx)
	for _, e := range all {
		if e.Name == name {
			return e.Last, nil
		}
	}
	return 0, errors.Join(err, fmt.Errorf("endpoint %s is not in the index", name))
}

// deliver sends one event until the endpoint takes it, has refused it too often, so that it is laid aside, or ctx ends.
func (n *Notifier) deliver(ctx context.Context, e *endpoint, event customhouse.Event) (taken bool, err error) {
	refused := 0
	for {
		err := e.send(ctx, event)
		if err == nil {
			if e.failed > 0 {
				n.opts.Log.Info("an endpoint takes events again", "endpoint", e.Name, "failures", e.failed)
			}
			e.failed = 0
			return true, nil
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if errors.As(err, new(refusal)) {
			if refused++; refused >= e.Tries {
				n.opts.Log.Error("an event is laid aside: the endpoint refuses it", "endpoint", e.Name, "event", event.Number, "error", err)
				return false, n.index.Bury(context.WithoutCancel(ctx), e.Name, event, err.Error())
			}
		}
		e.failed++
		if e.failed == 1 || e.failed == e.Threshold {
			n.opts.Log.Warn("an endpoint does not take events; they wait", "endpoint", e.Name, "error", err)
		}
		pause(ctx, e.pause())
	}
}

// pause waits and tells whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// endpoint is an Endpoint and what is known of it.
type endpoint struct {
	Endpoint
	client *http.Client
	source source
	now    func() time.Time
	log    *slog.Logger
	failed int  // attempts in a row
	warned bool // that it answers with a page for people
}

func newEndpoint(e Endpoint, s source, o Options) (*endpoint, error) {
	u, err := url.Parse(e.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("want a URL, such as https://hooks.example.com/registry")
	}
	if e.Timeout == 0 {
		e.Timeout = DefaultTimeout
	}
	if e.Threshold == 0 {
		e.Threshold = DefaultThreshold
	}
	if e.Backoff == 0 {
		e.Backoff = DefaultBackoff
	}
	if e.Tries == 0 {
		e.Tries = DefaultTries
	}
	dialer := outbound.NewDialer(outbound.Options{Timeout: e.Timeout, Private: true, Allow: e.Allow})
	return &endpoint{Endpoint: e, source: s, now: o.Now, log: o.Log, client: &http.Client{
		Timeout: e.Timeout,
		Transport: outbound.NoUpgrade{Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: e.Timeout, MaxIdleConnsPerHost: 1, IdleConnTimeout: 90 * time.Second,
			MaxResponseHeaderBytes: 64 << 10, DisableCompression: true,
		}},
		// A redirect could lead what is sent, and the headers with it, to where nobody meant to send it.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// wants tells whether the endpoint wants to be told of an event.
func (e *endpoint) wants(event *customhouse.Event) bool {
	return !slices.Contains(e.Actions, event.Action) && (event.MediaType == "" || !slices.Contains(e.MediaTypes, event.MediaType))
}

// pause is how long to wait after the failures so far: moments at first, then longer and longer.
func (e *endpoint) pause() time.Duration {
	if e.failed < e.Threshold {
		return firstPause/2 + rand.N(firstPause)
	}
	pause := e.Backoff << min(e.failed-e.Threshold, 20)
	if pause <= 0 || pause > maxBackoff {
		pause = maxBackoff
	}
	return pause/2 + rand.N(pause)
}

// unreachable says why nobody has answered, without the URL, which may hold a secret.
func unreachable(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return errors.New("the endpoint does not answer in time")
	}
	return fmt.Errorf("the endpoint does not answer: %w", err)
}
