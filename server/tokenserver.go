package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"customhouse"
	"customhouse/gate"
)

// TokenServer is what a token service alone answers besides what every server does: the endpoints of docker_auth, so
// that registries and clients that were made for it need not know the difference.
type TokenServer struct {
	Issuer string // the realm of the challenge and the title of the index
}

// The endpoints of docker_auth, behind the prefix. The second is where distribution's autoredirect sends clients.
const (
	authPath      = "/auth"
	authTokenPath = "/auth/token"
)

// tokenServer sends a request to an endpoint of docker_auth.
func (st *state) tokenServer(w *response, r *http.Request, path string) error {
	switch path {
	case authPath, authTokenPath:
		w.Header()["Cache-Control"] = noStore
		err := st.issue(w, r)
		if err == nil || w.status != 0 {
			return err
		}
		return st.refuse(w, err)
	case "/":
		return st.welcome(w, r)
	}
	writeText(w, http.StatusNotFound, "Not found")
	return nil
}

// welcome answers people who look where the service is, and whoever asks whether it lives.
func (st *state) welcome(w *response, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return methodNotAllowed("GET", "HEAD")
	}
	w.Header()["Cache-Control"] = noStore
	w.quiet = true
	w.Header().Set("Content-Security-Policy", "default-src 'none'")
	writeBody(w, http.StatusOK, "text/html; charset=utf-8", []byte("<h1>"+html.EscapeString(st.TokenServer.Issuer)+"</h1>\n"))
	return nil
}

// issue answers the token endpoint as docker_auth does: GET with the parameters of the Docker token specification, or a
// form with username and password. Refresh tokens, which docker_auth does not have, are had and taken as the
// specification has it.
func (st *state) issue(w *response, r *http.Request) error {
	q, err := st.authRequest(r)
	if err != nil {
		return err
	}
	t, err := st.Gate.Issue(r.Context(), q)
	if err != nil {
		return err
	}
	w.decision(t.ID, t.Identity, t.Denied.Rule, t.Reason())
	answer := struct {
		AccessToken  string `json:"access_token"`
		Token        string `json:"token"`
		ExpiresIn    int    `json:"expires_in"`
		IssuedAt     string `json:"issued_at"`
		RefreshToken string `json:"refresh_token,omitempty"`
	}{string(t.Token), string(t.Token), int(t.ExpiresIn / time.Second), t.IssuedAt.UTC().Format(time.RFC3339), string(t.RefreshToken)}
	body, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	writeBody(w, http.StatusOK, "application/json", body)
	return nil
}

// authRequest reads a request to docker_auth's token endpoint.
func (st *state) authRequest(r *http.Request) (gate.TokenRequest, error) {
	if !slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodPost}, r.Method) {
		return gate.TokenRequest{}, methodNotAllowed("GET", "HEAD", "POST")
	}
	cred, err := st.credential(r)
	if err != nil {
		return gate.TokenRequest{}, err
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return gate.TokenRequest{}, badTokenRequest("invalid parameters in the URL")
	}
	var form url.Values
	if r.Method == http.MethodPost {
		if form, err = authForm(r); err != nil {
			return gate.TokenRequest{}, err
		}
	}
	both := func(key string) []string { return append(slices.Clone(form[key]), query[key]...) }
	first := func(key string) string {
		if values := both(key); len(values) > 0 {
			return values[0]
		}
		return ""
	}
	if len(form)+len(query) > maxParams {
		return gate.TokenRequest{}, badTokenRequest("too many parameters")
	}
	q := gate.TokenRequest{
		Credential: cred, Services: []string{first("service")}, Account: first("account"), ClientID: first("client_id"),
		Offline: first("offline_token") == "true" || first("access_type") == "offline",
	}
	if q.Scopes, err = authScopes(both("scope")); err != nil {
		return q, err
	}
	switch {
	case cred.Scheme == customhouse.Bearer: // no credential here, and who comes with one is not anonymous
		q.Credential = customhouse.Credential{Scheme: customhouse.Basic, Client: cred.Client}
	case cred.Scheme == customhouse.Basic:
		if q.Account != "" && q.Account != cred.Account {
			return q, badTokenRequest(fmt.Sprintf("user and account are not the same (%q vs %q)", clip(cred.Account), clip(q.Account)))
		}
	case form.Get("grant_type") == gate.GrantRefresh:
		q.GrantType, q.RefreshToken = gate.GrantRefresh, customhouse.Secret(form.Get("refresh_token"))
	case form.Has("username"), q.Account != "": // docker_auth believes account before username
		account := q.Account
		if account == "" {
			account = form.Get("username")
		}
		q.Credential = customhouse.Credential{
			Scheme: customhouse.Basic, Account: account, Secret: customhouse.Secret(form.Get("password")), Client: cred.Client,
		}
	}
	return q, nil
}

// authForm reads the form of a POST. Passwords are taken from nowhere else: URLs are logged on their way.
func authForm(r *http.Request) (url.Values, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case r.Header.Get("Content-Type") == "" && r.ContentLength == 0:
		return nil, nil
	case err == nil && kind == "multipart/form-data":
		r.Body = http.MaxBytesReader(nil, r.Body, maxForm)
		if err := r.ParseMultipartForm(maxForm); err != nil {
			return nil, formError(err)
		}
		return r.MultipartForm.Value, nil
	case err == nil && kind == "application/x-www-form-urlencoded":
		return readForm(r)
	}
	return nil, customhouse.Errorf(customhouse.UnsupportedMediaType, "want a form")
}

func formError(err error) error {
	if errors.As(err, new(*http.MaxBytesError)) {
		return formTooLarge()
	}
	return badTokenRequest("invalid form")
}

// authScopes returns the scopes of scope parameters, each of which holds any number with one space between them. As in
// docker_auth, a first parameter that is empty asks for nothing, whatever comes behind it.
func authScopes(params []string) ([]string, error) {
	if len(params) == 0 || params[0] == "" {
		return nil, nil
	}
	var all []string
	for _, p := range params {
		for s := range strings.SplitSeq(p, " ") {
			if len(all) == gate.MaxScopes {
				return nil, badTokenRequest(fmt.Sprintf("more than %d scopes", gate.MaxScopes))
			}
			if s == "" {
				return nil, badTokenRequest("malformed scope request")
			}
			if _, err := customhouse.ParseScope(s); err != nil {
				return nil, badTokenRequest(fmt.Sprintf("invalid scope: %q", clip(s)))
			}
			all = append(all, s)
		}
	}
	return all, nil
}

// refuse writes err in the words of docker_auth, but for what went wrong behind the scenes: that is in the log.
func (st *state) refuse(w *response, err error) error {
	w.err = err
	var refusal *gate.Refusal
	var oauth *gate.OAuthError
	var method errMethod
	var e *customhouse.Error
	switch {
	case errors.As(err, &refusal):
		w.decision(refusal.ID, refusal.Identity, refusal.Rule, refusal.Reason)
		if refusal.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int((refusal.RetryAfter+time.Second-1)/time.Second)))
		}
		switch refusal.Err.Code {
		case customhouse.Unauthorized:
			w.Header().Set("WWW-Authenticate", "Basic realm="+quoted(st.TokenServer.Issuer))
			writeText(w, http.StatusUnauthorized, "Auth failed.")
		case customhouse.TooManyRequests:
			writeText(w, http.StatusTooManyRequests, "T"+strings.TrimPrefix(refusal.Err.Message, "t")+".")
		default:
			writeText(w, statuses[refusal.Err.Code], "Authentication or authorization failed (request "+refusal.ID+")")
		}
	case errors.As(err, &oauth) && oauth.Code == gate.InvalidGrant:
		writeOAuthError(w, oauth) // for clients that know of grants
	case errors.As(err, &oauth):
		writeText(w, http.StatusBadRequest, "Bad request: "+oauth.Description)
	case errors.As(err, &method):
		w.Header().Set("Allow", strings.Join(method.allow, ", "))
		writeText(w, http.StatusMethodNotAllowed, "Method not allowed")
	case errors.As(err, &e) && statuses[e.Code] < http.StatusInternalServerError:
		writeText(w, statuses[e.Code], "Bad request: "+e.Message)
	default:
		writeText(w, http.StatusInternalServerError, "Failed to generate token; the log says more")
	}
	return nil
}

// quoted writes s as a quoted-string (RFC 9110, section 5.6.4).
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(clip(s)) + `"`
}

// writeText writes a line of text.
func writeText(w http.ResponseWriter, status int, text string) {
	writeBody(w, status, "text/plain; charset=utf-8", []byte(text+"\n"))
}
