// Package web is the pages for people: signing in with a browser, and the passwords that they get for their programs.
// Whether somebody may sign in is the provider's word and what they may do is the gate's; this package asks package authn
// and shows what it says.
//
//	pages, err := web.New(options)
//	if pages.Owns(path) { pages.ServeHTTP(w, r) }
//
// A session is a cookie; only these pages take it. Every page comes with a policy that lets nothing run but our own
// files, every request that changes something has to come from our own pages, and no page takes an address to go on to.
package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"

	"customhouse"
	"customhouse/authn"
)

// Options are the settings of the pages.
type Options struct {
	Providers []*authn.Browser // where people sign in, in the order in which they are shown
	Sessions  Sessions         // mandatory
	Seal      *authn.Seal      // of what browsers keep for us; mandatory

	Public     *url.URL          // how browsers reach us, scheme and host; nil: as the request says
	Prefix     string            // what stands before all paths, such as "/registry"
	Secure     bool              // whether browsers reach us by TLS
	Redirects  map[string]string // where providers send browsers back to, by provider; others as Public and Prefix tell
	DockerAuth bool              // also answer at docker_auth's paths, and send browsers back there
	Registry   string            // what to log in to; "" is the host of Public, else of the request

	SessionFor  time.Duration // how long a session lasts; 0 is 12 hours
	PasswordFor time.Duration // the lifetime of new passwords that is offered; 0 is 90 days
	LongestFor  time.Duration // the longest lifetime of new passwords; 0 is for ever

	Log *slog.Logger     // nil is silent
	Now func() time.Time // nil is time.Now
}

// Sessions keeps sessions by a hash of their cookie.
type Sessions interface {
	// Session returns the error customhouse.ErrNotFound when there is none that is good now.
	Session(ctx context.Context, token string) ([]byte, error)
	PutSession(ctx context.Context, token string, data []byte, expires time.Time) error
	DeleteSession(ctx context.Context, token string) error // no error when there is none
}

// Handler answers for the pages.
type Handler struct {
	o        Options
	doors    map[string]*authn.Browser
	sessions *scs.SessionManager
	cross    *http.CrossOriginProtection
	routes   map[string]route
	assets   map[string]asset
}

// route is what answers at a path, by method.
type route map[string]func(*Handler, http.ResponseWriter, *http.Request) error

// New returns the pages with these settings.
func New(o Options) (*Handler, error) {
	if o.SessionFor == 0 {
		o.SessionFor = 12 * time.Hour
	}
	if o.PasswordFor == 0 {
		o.PasswordFor = 90 * 24 * time.Hour
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	h := &Handler{o: o, doors: map[string]*authn.Browser{}, cross: http.NewCrossOriginProtection()}
	if o.Public != nil {
		if err := h.cross.AddTrustedOrigin(o.Public.Scheme + "://" + o.Public.Host); err != nil {
			return nil, err
		}
	}
	h.sessions = newManager(&h.o)
	var err error
	if h.assets, err = loadAssets(); err != nil {
		return nil, err
	}
	h.addRoutes()
	return h, nil
}

func (h *Handler) addRoutes() {
	get := func(f func(*Handler, http.ResponseWriter, *http.Request) error) route {
		return route{http.MethodGet: f, http.MethodHead: f}
	}
	post := func(f func(*Handler, http.ResponseWriter, *http.Request) error) route {
		return route{http.MethodPost: f}
	}
	h.routes = map[string]route{
		"/ui":           get((*Handler).toHome),
		"/ui/":          get((*Handler).home),
		"/ui/passwords": {http.MethodPost: (*Handler).makePassword, http.MethodGet: (*Handler).toHome, http.MethodHead: (*Handler).toHome},
		"/ui/revoke":    post((*Handler).revoke),
		"/ui/sign-out":  post((*Handler).signOut),
	}
	for name := range h.assets {
		h.routes["/ui/"+name] = get(func(h *Handler, w http.ResponseWriter, r *http.Request) error { return h.asset(w, r, name) })
	}
	for _, b := range h.o.Providers {
		h.doors[b.Name()] = b
		begin := func(h *Handler, w http.ResponseWriter, r *http.Request) error { return h.begin(w, r, b) }
		finish := func(h *Handler, w http.ResponseWriter, r *http.Request) error { return h.finish(w, r, b) }
		h.routes["/ui/sign-in/"+b.Name()] = get(begin)
		h.routes["/ui/callback/"+b.Name()] = get(finish)
		if h.o.DockerAuth {
			h.routes["/"] = get((*Handler).toHome)
			h.routes["/"+b.Name()+"_auth"] = get(func(h *Handler, w http.ResponseWriter, r *http.Request) error {
				if r.URL.RawQuery == "" {
					return h.home(w, r)
				}
				return h.finish(w, r, b)
			})
		}
	}
}

// Owns tells whether the pages answer at a path, which has no prefix.
func (h *Handler) Owns(path string) bool { return h.routes[path] != nil }

// maxForm is how much of a form is read, in bytes.
const maxForm = 16 << 10

// headers are those of every answer. The policy lets nothing run or load but our own files, and nobody frame us.
var headers = map[string]string{
	"Content-Security-Policy":      "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
	"Referrer-Policy":              "same-origin",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Cache-Control":                "no-store",
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for k, v := range headers {
		w.Header().Set(k, v)
	}
	path := strings.TrimPrefix(r.URL.Path, h.o.Prefix)
	if _, ok := h.assets[strings.TrimPrefix(path, "/ui/")]; ok {
		h.answer(w, r, path)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	h.sessions.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.answer(w, r, path) })).ServeHTTP(w, r)
}

func (h *Handler) answer(w http.ResponseWriter, r *http.Request, path string) {
	err := h.serve(w, r, path)
	if err == nil {
		return
	}
	var p *problem
	if !errors.As(err, &p) {
		h.o.Log.Error("a page cannot be shown", "path", path, "error", err)
		p = &problem{status: http.StatusServiceUnavailable, title: "Not now", reason: "This does not work at the moment. Try again in a while."}
	}
	w.WriteHeader(p.status)
	_ = failure(h.view(r, nil), p.title, p.reason).Render(r.Context(), w) // the client has left
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, path string) error {
	methods := h.routes[path]
	f := methods[r.Method]
	switch {
	case methods == nil:
		return &problem{http.StatusNotFound, "Not found", "There is no such page."}
	case f == nil:
		return &problem{http.StatusMethodNotAllowed, "Not allowed", "This page does not take that."}
	}
	if err := h.cross.Check(r); err != nil {
		return &problem{http.StatusForbidden, "Refused", "The request comes from another site."}
	}
	return f(h, w, r)
}

// problem is an error for whoever looks at the page. It names nothing that they do not know.
type problem struct {
	status        int
	title, reason string
}

// Error returns the reason.
func (p *problem) Error() string { return p.reason }

// visitor is whoever has signed in.
type visitor struct {
	door      *authn.Browser
	signIn    customhouse.SignIn
	passwords []customhouse.AppPassword
}

// doing returns a context in which it is known for the audit log who does something.
func (v *visitor) doing(ctx context.Context) context.Context {
	o := customhouse.OriginOf(ctx)
	o.Account = v.signIn.Account
	return customhouse.WithOrigin(ctx, o)
}

// visitor returns who has signed in, nil if nobody has. Who is no longer vouched for has not.
func (h *Handler) visitor(ctx context.Context) (*visitor, error) {
	name, account, id := h.sessions.GetString(ctx, keyProvider), h.sessions.GetString(ctx, keyAccount), h.sessions.GetInt64(ctx, keySignIn)
	if account == "" {
		return nil, nil
	}
	door := h.doors[name]
	if door == nil {
		return nil, h.sessions.Destroy(ctx)
	}
	s, passwords, err := door.SignIn(ctx, account)
	if errors.Is(err, authn.ErrUnknownUser) || err == nil && s.ID != id {
		return nil, h.sessions.Destroy(ctx)
	}
	if err != nil {
		return nil, err
	}
	return &visitor{door, s, passwords}, nil
}
