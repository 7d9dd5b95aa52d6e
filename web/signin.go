package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"customhouse"
	"customhouse/authn"
)

// attemptFor is how long a sign-in may take.
const attemptFor = 10 * time.Minute

// attempt is a sign-in under way. The browser keeps it, sealed: so beginning one costs us nothing, and only the browser
// that began it can end it.
type attempt struct {
	authn.Attempt
	Provider string
	Until    time.Time
}

const attemptAbout = "a sign-in under way"

// begin sends the browser to a provider.
func (h *Handler) begin(w http.ResponseWriter, r *http.Request, b *authn.Browser) error {
	redirect, err := h.redirect(r, b.Name())
	if err != nil {
		return err
	}
	// The cookie has to be where the provider sends the browser back to. Once there, the Host header may say something else
	// yet: browsers write it in their way, and some proxies write their own.
	if redirect.Host != r.Host && !r.URL.Query().Has("there") {
		there := url.URL{Scheme: redirect.Scheme, Host: redirect.Host, Path: h.o.Prefix + "/ui/sign-in/" + b.Name(), RawQuery: "there"}
		http.Redirect(w, r, there.String(), http.StatusSeeOther)
		return nil
	}
	a := attempt{authn.NewAttempt(redirect.String()), b.Name(), h.o.Now().Add(attemptFor)}
	to, err := b.Begin(r.Context(), a.Attempt)
	if err != nil {
		return h.unreachable(b, err)
	}
	plain, err := json.Marshal(a)
	if err != nil {
		return err
	}
	h.setAttempt(w, base64.RawURLEncoding.EncodeToString(h.o.Seal.Seal(plain, attemptAbout)), int(attemptFor.Seconds()))
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

func (h *Handler) setAttempt(w http.ResponseWriter, value string, seconds int) {
	http.SetCookie(w, &http.Cookie{
		Name: cookieName(&h.o, "customhouse-sign-in"), Value: value, Path: "/", MaxAge: seconds,
		Secure: h.o.Secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// redirect returns where a provider sends browsers back to.
func (h *Handler) redirect(r *http.Request, name string) (*url.URL, error) {
	if text := h.o.Redirects[name]; text != "" {
		return url.Parse(text)
	}
	u := &url.URL{Scheme: "http", Host: r.Host, Path: h.o.Prefix + "/ui/callback/" + name}
	if h.o.DockerAuth {
		u.Path = h.o.Prefix + "/" + name + "_auth"
	}
	if r.TLS != nil {
		u.Scheme = "https"
	}
	if h.o.Public != nil {
		u.Scheme, u.Host = h.o.Public.Scheme, h.o.Public.Host
	}
	if strings.Trim(u.Host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]") != "" || u.Host == "" {
		return nil, &problem{http.StatusBadRequest, "Bad request", "The Host header is not one."}
	}
	return u, nil
}

func (h *Handler) unreachable(b *authn.Browser, err error) error {
	h.o.Log.Error("nobody can sign in", "provider", b.Name(), "error", err)
	return &problem{http.StatusServiceUnavailable, "Not now", b.Title() + " cannot be reached at the moment. Try again in a while."}
}

// finish is where a provider sends the browser back to.
func (h *Handler) finish(w http.ResponseWriter, r *http.Request, b *authn.Browser) error {
	q := r.URL.Query()
	a, err := h.takeAttempt(w, r, b, q)
	if err != nil {
		return err
	}
	refused := func(reason string) error {
		h.o.Log.Warn("sign-in refused", "provider", b.Name(), "client", r.RemoteAddr, "reason", reason)
		return &problem{http.StatusForbidden, "Not signed in", "You are not signed in: " + reason + "."}
	}
	if code := q.Get("error"); code != "" {
		return refused(b.Title() + " answers " + clip(code))
	}
	s, err := b.Finish(r.Context(), a.Attempt, q.Get("code"))
	var no *authn.NotVouched
	if errors.As(err, &no) {
		return refused(no.Reason)
	}
	if err != nil {
		return h.unreachable(b, err)
	}
	ctx := r.Context()
	if err := h.sessions.RenewToken(ctx); err != nil {
		return err
	}
	h.sessions.Put(ctx, keyProvider, b.Name())
	h.sessions.Put(ctx, keyAccount, s.Account)
	h.sessions.Put(ctx, keySignIn, s.ID)
	h.o.Log.Info("signed in", "provider", b.Name(), "account", s.Account, "client", r.RemoteAddr)
	return h.toHome(w, r)
}

// takeAttempt returns the sign-in that the browser has begun and comes back with. Each is good once.
func (h *Handler) takeAttempt(w http.ResponseWriter, r *http.Request, b *authn.Browser, q url.Values) (attempt, error) {
	bad := func() (attempt, error) {
		return attempt{}, &problem{http.StatusBadRequest, "Not signed in", "This is no sign-in that your browser has begun, or it took too long. Begin again."}
	}
	cookie, err := r.Cookie(cookieName(&h.o, "customhouse-sign-in"))
	if err != nil {
		return bad()
	}
	h.setAttempt(w, "", -1)
	sealed, err := base64.RawURLEncoding.DecodeString(cookie.Value)
	if err != nil {
		return bad()
	}
	plain, err := h.o.Seal.Open(sealed, attemptAbout)
	if err != nil {
		return bad()
	}
	var a attempt
	if err := json.Unmarshal(plain, &a); err != nil {
		return bad()
	}
	state, once := q.Get("state"), len(q["state"]) == 1 && len(q["code"]) <= 1
	switch {
	case !once, a.State == "", subtle.ConstantTimeCompare([]byte(state), []byte(a.State)) != 1, a.Provider != b.Name(), h.o.Now().After(a.Until):
		return bad()
	case q.Has("iss") && q.Get("iss") != b.Issuer(): // RFC 9207
		return bad()
	case q.Get("code") == "" && q.Get("error") == "":
		return bad()
	}
	sum := sha256.Sum256([]byte("used " + a.State))
	used := "used " + hex.EncodeToString(sum[:])
	if _, err := h.o.Sessions.Session(r.Context(), used); err == nil {
		return bad()
	} else if !errors.Is(err, customhouse.ErrNotFound) {
		return attempt{}, err
	}
	return a, h.o.Sessions.PutSession(r.Context(), used, nil, a.Until)
}

// signOut ends the session, here and not in the browser alone.
func (h *Handler) signOut(w http.ResponseWriter, r *http.Request) error {
	if err := h.sessions.Destroy(r.Context()); err != nil {
		return err
	}
	return h.toHome(w, r)
}

// clip bounds what a stranger can put on a page or into the log.
func clip(s string) string {
	const most = 100
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}
