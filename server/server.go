package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"customhouse"
	"customhouse/audit"
	"customhouse/gate"
	"customhouse/registry"
)

// State is everything that a request is decided by. It is immutable; a new configuration is a new State.
type State struct {
	Gate     *gate.Gate
	Registry *registry.Registry // nil: a token service alone, for which TokenServer is there
	Delete   bool               // whether content and tags can be deleted at all
	ReadOnly bool               // whether nothing can be changed at all
	Service  string             // the audience of tokens
	Realm    RealmURL           // how clients reach the token endpoint
	Requests bool               // whether each request is logged, not those alone that were refused or failed
	Proxies  Proxies            // who is believed when they tell the address of a client

	Redirect func(file string) string // the URL of a file of content where clients fetch it, "" for none; nil: blobs are sent from here
	Prefix   string                   // what stands before /v2/ and all other paths, such as "/registry"; "" for nothing
	Headers  http.Header              // added to every answer; nil for none
	Lists    Lists                    // how long lists may be
	Checks   *Checks                  // what readiness asks beside the registry; nil for nothing
	Events   bool                     // whether somebody is told of events, so that it matters where they come from
	Pulled   func(customhouse.Event)  // is told of pulls; nil: nobody is
	Metrics  *Metrics                 // counts requests; nil for nothing

	Audit *audit.Reader // what is kept to be accounted for; nil where that cannot be asked

	Accounts func(context.Context) ([]string, error) // the accounts that are known by name, sorted; nil: none is

	Machines Machines // makes tokens and robots; nil: nobody does

	Pages Pages // what people see with a browser; nil for nothing

	TokenServer *TokenServer // in the place of Registry

	Release func() // called when no request uses the state any more; nil for nothing
}

// Pages answers at paths of its own, which are none of the registry's: it decides alone who sees what there, and what it
// knows them by counts nowhere else.
type Pages interface {
	http.Handler
	Owns(path string) bool // without Prefix
}

// Lists bounds a page of a list. 0 is the usual.
type Lists struct{ Catalog, Tags int }

type state struct {
	State
	log   *slog.Logger
	ready *atomic.Bool

	users    atomic.Int64 // requests, and one while it is the present state
	released sync.Once
}

// leave ends one use of st.
func (st *state) leave() {
	if st.users.Add(-1) == 0 && st.Release != nil {
		st.released.Do(st.Release)
	}
}

// Server answers HTTP requests.
type Server struct {
	log   *slog.Logger
	ready atomic.Bool
	state atomic.Pointer[state]
}

// New returns a server for a state; the logger takes a line a request.
func New(st State, log *slog.Logger) (*Server, error) {
	if err := cmp.Or(checkRoutes(), checkAPI()); err != nil {
		return nil, err
	}
	s := &Server{log: log}
	s.ready.Store(true)
	s.Swap(st)
	return s, nil
}

// Swap makes later requests be decided by st. Those under way end as they began; then the state before is released.
func (s *Server) Swap(st State) {
	next := &state{State: st, log: s.log, ready: &s.ready}
	next.users.Store(1)
	if before := s.state.Swap(next); before != nil {
		before.leave()
	}
}

// Close releases the present state once no request uses it. It is for a server that gets no more requests.
func (s *Server) Close() { s.state.Load().leave() }

// enter returns the present state, for a request that leaves it when it ends.
func (s *Server) enter() *state {
	for {
		st := s.state.Load()
		st.users.Add(1)
		if s.state.Load() == st {
			return st
		}
		st.leave() // it was replaced meanwhile, and may be released already
	}
}

// Drain makes readiness say no, so that a load balancer sends nothing more.
func (s *Server) Drain() { s.ready.Store(false) }

// ServeHTTP answers one request: it routes, recovers from panics and writes the access line.
func (s *Server) ServeHTTP(inner http.ResponseWriter, r *http.Request) {
	st := s.enter()
	defer st.leave()
	start := time.Now()
	for key, values := range st.Headers {
		inner.Header()[key] = values
	}
	measured := st.Metrics.begin()
	w := &response{ResponseWriter: inner, control: http.NewResponseController(inner), head: r.Method == http.MethodHead, sendfile: r.ProtoMajor == 1}
	if r.ContentLength != 0 {
		r = watchBody(w, r)
	}
	defer func() {
		defer func() { measured(w.op, r.Method, w.status, w.bytes, time.Since(start)) }()
		if p := recover(); p != nil {
			st.recovered(w, r, p)
			if w.status == 0 {
				writeError(w, customhouse.Errorf(customhouse.Unknown, "unknown error; the registry's log says more"))
			} else {
				st.access(w, r, start)
				panic(http.ErrAbortHandler)
			}
		}
		st.access(w, r, start)
	}()
	if err := st.route(w, r); err != nil {
		st.fail(w, r, err)
	}
}

func (st *state) recovered(w *response, r *http.Request, p any) {
	if p == http.ErrAbortHandler {
		return
	}
	w.err = fmt.Errorf("panic: %v", p)
	st.log.Error("panic", "method", r.Method, "path", clip(r.URL.Path), "panic", clip(fmt.Sprint(p)), "stack", string(debug.Stack()))
}

// route sends a request to its endpoint. The paths outside of /v2/ and /api/ are open to everybody.
func (st *state) route(w *response, r *http.Request) error {
	h := w.Header()
	h["X-Content-Type-Options"] = noSniff
	if len(r.RequestURI) > maxURI {
		return customhouse.Errorf(customhouse.URITooLong, "the URL is longer than %d bytes", maxURI)
	}
	path, ok := strings.CutPrefix(r.URL.Path, st.Prefix)
	if !ok && r.URL.Path != "/" { // a load balancer asks for / wherever the registry stands
		return customhouse.Errorf(customhouse.NotFound, "no such endpoint")
	}
	if strings.HasPrefix(path, apiPrefix) {
		return st.api(w, r)
	}
	if st.Registry == nil && !everywhere(path) && !st.owned(path) {
		return st.tokenServer(w, r, path)
	}
	if path == "/v2" || strings.HasPrefix(path, "/v2/") {
		h["Docker-Distribution-Api-Version"] = apiVersion
		return st.distribution(w, r)
	}
	switch path {
	case "", "/":
		if !st.owned(path) {
			w.quiet = true
			return health(w, r, nil)
		}
	case TokenPath:
		return st.token(w, r)
	case "/.well-known/jwks.json":
		return st.keys(w, r)
	case "/livez":
		w.quiet = true
		return health(w, r, nil)
	case "/readyz":
		w.quiet = true
		return health(w, r, st.isReady(r.Context()))
	}
	if st.owned(path) {
		client, _ := st.Proxies.client(r) // to be told of: nothing is decided by it
		r = r.WithContext(customhouse.WithOrigin(r.Context(), customhouse.Origin{Client: client}))
		r.RemoteAddr = st.Proxies.name(r)
		st.Pages.ServeHTTP(w, r)
		return nil
	}
	return customhouse.Errorf(customhouse.NotFound, "no such endpoint")
}

// everywhere tells whether every server has the endpoint, with content or without.
func everywhere(path string) bool {
	return path == TokenPath || path == "/.well-known/jwks.json" || path == "/livez" || path == "/readyz"
}

// owned tells whether the pages answer at path.
func (st *state) owned(path string) bool { return st.Pages != nil && st.Pages.Owns(path) }

// Values of headers that are always the same.
var (
	apiVersion = []string{"registry/2.0"}
	noSniff    = []string{"nosniff"}
	vary       = []string{"Authorization, Accept"}
)

// distribution answers a request under /v2/: parse, needs, admit, act.
func (st *state) distribution(w *response, r *http.Request) error {
	cred, err := st.credential(r)
	if err != nil {
		return err
	}
	q, err := parse(r.Method, st.Prefix, r.URL)
	if err != nil {
		return err
	}
	w.op = q.op
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return customhouse.Errorf(customhouse.UnsupportedMediaType, "content is taken as it is; Content-Encoding is not supported")
	}
	if r.Method == http.MethodPost && cred.Scheme != customhouse.Bearer {
		// The only request that any page can have a browser send to us without asking first: from where it is, and along with
		// a password that the person gave it for the token endpoint.
		if err := sameOrigin(r); err != nil {
			return err
		}
	}
	grant, err := st.admit(r.Context(), cred, q)
	if err != nil {
		return err
	}
	w.decision(grant.ID, grant.Identity, grant.Rule, grant.Reason)
	if w.pending = grant.Pending; q.op == opPutManifest {
		w.pending.Tag(q.pushed()...)
	}
	w.Header()["Vary"] = vary
	if st.ReadOnly && routes[q.op].writes {
		return errMethod{customhouse.Errorf(customhouse.Unsupported, "this registry is read-only at present"), []string{"GET", "HEAD"}}
	}
	if st.Events {
		r = r.WithContext(customhouse.WithOrigin(r.Context(), st.origin(r, cred.Client, &grant)))
	}
	act := admitted{request: q, grant: grant, repo: st.Registry.Repository(q.repo)}
	if err := act.mayTake(); err != nil {
		return err
	}
	return routes[q.op].serve(st, w, r, act)
}

// mayTake refuses pushes to a repository that is a copy of another.
func (q admitted) mayTake() error {
	var refused *customhouse.Error
	if r := routes[q.op]; !r.writes || !slices.Contains(r.needs, customhouse.Push) || !errors.As(q.repo.Pushable(), &refused) {
		return nil
	}
	return errMethod{refused, []string{"GET", "HEAD", "DELETE"}}
}

// admit asks the gate. A mount needs the right to pull from its source too: where a token for both repositories would
// do, the client is told to fetch one; where the policy says no, there is nothing to mount and the client uploads.
func (st *state) admit(ctx context.Context, cred customhouse.Credential, q request) (gate.Grant, error) {
	need := q.needs()
	if !q.mount.IsZero() && !q.from.IsZero() && q.from != q.repo {
		grant, err := st.Gate.Admit(ctx, cred, append(need, pullFrom(q.from))...)
		var refusal *gate.Refusal
		if err == nil || !errors.As(err, &refusal) || refusal.Challenge != nil && refusal.Challenge.Error == gate.InsufficientScope {
			return grant, err
		}
	}
	return st.Gate.Admit(ctx, cred, need...)
}

func base(_ *state, w http.ResponseWriter, _ *http.Request, _ admitted) error {
	w.Header()["Cache-Control"] = noStore
	writeBody(w, http.StatusOK, "application/json", []byte("{}"))
	return nil
}

func (st *state) isReady(ctx context.Context) error {
	if !st.ready.Load() {
		return customhouse.Errorf(customhouse.Unavailable, "draining")
	}
	if err := st.Checks.err(); err != nil {
		return err
	}
	if st.Registry == nil {
		return nil
	}
	return st.Registry.Ready(ctx)
}

// health answers 200 or 503 and tells nothing else to a stranger.
func health(w http.ResponseWriter, r *http.Request, err error) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return methodNotAllowed("GET", "HEAD")
	}
	if err != nil {
		return customhouse.Errorf(customhouse.Unavailable, "not ready").WithCause(err)
	}
	w.Header()["Cache-Control"] = noStore
	writeBody(w, http.StatusOK, "text/plain; charset=utf-8", []byte("ok\n"))
	return nil
}

// access writes the line of a request.
func (st *state) access(w *response, r *http.Request, start time.Time) {
	level := slog.LevelInfo
	refused := w.status == http.StatusForbidden || w.status == http.StatusTooManyRequests
	switch {
	case w.status >= http.StatusInternalServerError || w.broken:
		level = slog.LevelError
	case w.quiet || !st.Requests && !refused:
		return
	}
	if !st.log.Enabled(r.Context(), level) {
		return
	}
	now := time.Now()
	line := slog.NewRecord(now, level, "request", 0) // without the place in the source, which Logger would look for
	line.AddAttrs(
		slog.String("id", w.id), slog.String("client", clip(st.Proxies.name(r))), slog.String("account", w.account),
		slog.String("method", clip(r.Method)), slog.String("path", clip(r.URL.Path)), slog.Int("status", w.status),
		slog.Int64("bytes", w.bytes), slog.Int64("us", now.Sub(start).Microseconds()),
		slog.String("rule", w.rule), slog.String("reason", w.reason), slog.String("agent", clip(r.UserAgent())),
	)
	if w.err != nil {
		line.AddAttrs(slog.String("error", clip(w.err.Error())))
	}
	_ = st.log.Handler().Handle(r.Context(), line) // there is nowhere to tell of it
}

// clip bounds what a client can write into the log, and replaces the control characters that JSON leaves as they are and
// a terminal obeys.
func clip(s string) string {
	const most = 1 << 10
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return strings.Map(func(r rune) rune {
		if 0x7f <= r && r < 0xa0 {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
