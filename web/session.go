package web

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/alexedwards/scs/v2"

	"customhouse"
)

// What a session holds: who has signed in. The rest is asked for with each request.
const (
	keyProvider = "provider"
	keyAccount  = "account"
	keySignIn   = "sign-in"
)

// cookieName returns the name of a cookie. The prefix makes browsers refuse it from anybody but us, by TLS
// (RFC 6265bis, section 4.1.3).
func cookieName(o *Options, name string) string {
	if o.Secure {
		return "__Host-" + name
	}
	return name
}

func newManager(o *Options) *scs.SessionManager {
	m := scs.New()
	m.Store = store{o.Sessions}
	m.Lifetime = o.SessionFor
	m.HashTokenInStore = true
	m.Cookie.Name = cookieName(o, "customhouse")
	m.Cookie.Secure = o.Secure
	m.Cookie.HttpOnly = true
	m.Cookie.SameSite = http.SameSiteLaxMode
	m.Cookie.Path = "/"
	m.ErrorFunc = func(w http.ResponseWriter, _ *http.Request, err error) {
		o.Log.Error("sessions cannot be read or kept", "error", err)
		http.Error(w, "This does not work at the moment. Try again in a while.", http.StatusServiceUnavailable)
	}
	return m
}

// store is Sessions in the form of scs.
type store struct{ sessions Sessions }

var _ scs.CtxStore = store{}

func (s store) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	data, err := s.sessions.Session(ctx, token)
	if errors.Is(err, customhouse.ErrNotFound) {
		return nil, false, nil
	}
	return data, err == nil, err
}

func (s store) CommitCtx(ctx context.Context, token string, data []byte, expires time.Time) error {
	return s.sessions.PutSession(ctx, token, data, expires)
}

func (s store) DeleteCtx(ctx context.Context, token string) error {
	return s.sessions.DeleteSession(ctx, token)
}

func (s store) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}

func (s store) Commit(token string, data []byte, expires time.Time) error {
	return s.CommitCtx(context.Background(), token, data, expires)
}

func (s store) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }
