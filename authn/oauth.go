package authn

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"customhouse"
	"customhouse/outbound"
)

// Provider is where people sign in with a browser. The errors of its methods are a *NotVouched when the provider has
// answered and does not vouch, the context's, and those of an outage. A provider that cannot be reached is asked again
// with the next call.
type Provider interface {
	Name() string   // the Method of identities, such as "github"
	Title() string  // for people, such as "GitHub"
	Issuer() string // the Issuer of its people
	// Begin returns the URL that the browser is sent to.
	Begin(context.Context, Attempt) (string, error)
	// Finish tells who has signed in, given the code with which the browser came back.
	Finish(ctx context.Context, a Attempt, code string) (Person, error)
	// Refresh asks again about somebody who has signed in. The tokens of the Person take the place of those given, those
	// beside an error too: the provider may have replaced them before it failed.
	Refresh(context.Context, Tokens) (Person, error)
}

// Attempt is a sign-in under way. All but Redirect are secrets of the browser that began it.
type Attempt struct {
	Redirect string // where the provider sends the browser back to; "" is what was registered there
	State    string
	Nonce    string
	Verifier string // PKCE (RFC 7636)
}

// NewAttempt returns an attempt with secrets of its own.
func NewAttempt(redirect string) Attempt {
	return Attempt{Redirect: redirect, State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier()}
}

// Tokens are what a provider gave to ask it again.
type Tokens struct {
	Access  string    `json:"access,omitempty"`
	Refresh string    `json:"refresh,omitempty"`
	Expires time.Time `json:"expires,omitzero"` // of Access; zero is never
}

// String returns ***: tokens are secrets.
func (Tokens) String() string { return customhouse.Secret("").String() }

// GoString returns ***.
func (t Tokens) GoString() string { return t.String() }

// Person is whom a provider vouches for. To it they are Issuer and Subject, which never change.
type Person struct {
	Issuer, Subject string
	Account         string
	Labels          map[string][]string
	Tokens          Tokens
}

// NotVouched says that a provider has answered and does not vouch for somebody. Reason is for people and names nobody.
type NotVouched struct{ Reason string }

// Error returns the reason.
func (e *NotVouched) Error() string { return e.Reason }

func notVouched(format string, args ...any) error { return &NotVouched{fmt.Sprintf(format, args...)} }

// ClientOptions are how a provider is reached.
type ClientOptions struct {
	Timeout time.Duration // of a request and its answer; 0 is 10 s
	Hosts   []string      // hosts beside those of the configured URLs that may be in a private network
	Now     func() time.Time
}

// Bounds on what a provider answers.
const (
	defaultOAuthTimeout = 10 * time.Second
	maxAnswer           = 1 << 20
	maxRedirects        = 5
)

// client speaks to one provider.
type client struct {
	http *http.Client
	now  func() time.Time
}

// newClient returns a client for a provider with these URLs. It reaches the hosts that they name wherever they are; other
// hosts, which a provider may send it to, only in public networks. It follows redirects within an origin only, and
// reads no answer beyond maxAnswer.
func newClient(o ClientOptions, urls ...string) (*client, error) {
	if o.Timeout == 0 {
		o.Timeout = defaultOAuthTimeout
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	hosts := slices.Clone(o.Hosts)
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return nil, errors.New("want a URL such as https://id.example.com")
		}
		hosts = append(hosts, u.Hostname())
	}
	named := outbound.NewNamed(o.Timeout, "hosts", hosts...)
	return &client{now: o.Now, http: &http.Client{
		Timeout:       o.Timeout,
		CheckRedirect: sameOrigin,
		Transport: bounded{outbound.NoUpgrade{Transport: &http.Transport{
			Proxy: named.Proxy, DialContext: named.DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: o.Timeout,
			MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10,
		}}},
	}}, nil
}

// context returns a context with which oauth2 and go-oidc use the client.
func (c *client) context(ctx context.Context) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, c.http)
}

func sameOrigin(r *http.Request, via []*http.Request) error {
	first := via[0].URL
	if r.URL.Scheme != first.Scheme || r.URL.Host != first.Host {
		return errors.New("a redirect to another origin")
	}
	if len(via) > maxRedirects {
		return errors.New("too many redirects")
	}
	return nil
}

// bounded bounds the body of answers.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.next.RoundTrip(r)
	if err == nil {
		res.Body = &boundedBody{ReadCloser: res.Body, left: maxAnswer}
	}
	return res, err
}

type boundedBody struct {
	io.ReadCloser
	left int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left+1)])
	b.left -= n
	return n, err
}

// endpoint is the OAuth 2 side of a provider.
type endpoint struct {
	client *client
	config oauth2.Config
}

// begin returns the URL for the browser.
func (e *endpoint) begin(a Attempt, more ...oauth2.AuthCodeOption) string {
	c := e.config
	c.RedirectURL = a.Redirect
	return c.AuthCodeURL(a.State, append(more, oauth2.S256ChallengeOption(a.Verifier))...)
}

// exchange turns a code into tokens.
func (e *endpoint) exchange(ctx context.Context, a Attempt, code string) (*oauth2.Token, error) {
	c := e.config
	c.RedirectURL = a.Redirect
	t, err := c.Exchange(e.client.context(ctx), code, oauth2.VerifierOption(a.Verifier))
	return t, e.said(err)
}

// renew returns tokens that are good now: those given, or new ones for the refresh token. A refresh token that comes
// with them takes the place of the former.
func (e *endpoint) renew(ctx context.Context, have Tokens, always bool) (*oauth2.Token, error) {
	const margin = 10 * time.Second
	if !always && (have.Expires.IsZero() || e.client.now().Add(margin).Before(have.Expires)) {
		return &oauth2.Token{AccessToken: have.Access, RefreshToken: have.Refresh, Expiry: have.Expires}, nil
	}
	if have.Refresh == "" {
		return nil, notVouched("the sign-in has expired")
	}
	t, err := e.config.TokenSource(e.client.context(ctx), &oauth2.Token{RefreshToken: have.Refresh}).Token()
	return t, e.said(err)
}

// refused are the error codes by which a provider says that a code or a refresh token is not good (any more), RFC 6749
// section 5.2 and GitHub's own.
var refused = map[string]bool{"invalid_grant": true, "access_denied": true, "bad_verification_code": true, "bad_refresh_token": true}

// said sorts an error of the token endpoint: the provider says no, or cannot be asked. It quotes nothing of the answer
// but its code.
func (e *endpoint) said(err error) error {
	var answer *oauth2.RetrieveError
	if !errors.As(err, &answer) {
		return plainURLError(err)
	}
	if refused[answer.ErrorCode] {
		return notVouched("the provider does not accept the sign-in (%s)", answer.ErrorCode)
	}
	code := answer.ErrorCode
	if len(code) > 64 || strings.Trim(code, "abcdefghijklmnopqrstuvwxyz_") != "" {
		code = "an unknown error"
	}
	return fmt.Errorf("the token endpoint answers %d %s", answer.Response.StatusCode, code)
}

// plainURLError drops the URL of a request from an error: its query may hold secrets.
func plainURLError(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return fmt.Errorf("%s %s: %w", u.Op, hostOf(u.URL), u.Err)
	}
	return err
}

func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "the provider"
	}
	return u.Scheme + "://" + u.Host
}

// statusError is an answer of an API that is not 200.
type statusError struct {
	status  int
	host    string
	limited bool // too many requests, whatever the status
}

func (e *statusError) Error() string { return fmt.Sprintf("%s answers %d", e.host, e.status) }

// isStatus tells whether err is an answer with one of these statuses, and not one that asks for patience.
func isStatus(err error, statuses ...int) bool {
	var e *statusError
	return errors.As(err, &e) && !e.limited && slices.Contains(statuses, e.status)
}

// clip bounds what of a provider's answer gets into a message.
func clip(err error) string {
	const most = 200
	text := err.Error()
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}

// getJSON asks an API as the owner of an access token, and hands the answer to read. Without an answer of 200 the error
// is a *statusError.
func (c *client) getJSON(ctx context.Context, address, access string, header http.Header, read func([]byte) error) (http.Header, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		r.Header[k] = v
	}
	r.Header.Set("Authorization", "Bearer "+access)
	r.Header.Set("User-Agent", "customhouse")
	res, err := c.http.Do(r)
	if err != nil {
		return nil, plainURLError(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", r.URL.Host, err)
	}
	if res.StatusCode != http.StatusOK {
		limited := res.Header.Get("Retry-After") != "" || res.Header.Get("X-Ratelimit-Remaining") == "0"
		return nil, &statusError{res.StatusCode, r.URL.Host, limited}
	}
	if err := read(body); err != nil {
		return nil, fmt.Errorf("%s answers what is not understood: %w", r.URL.Host, err)
	}
	return res.Header, nil
}

// tokensOf returns what is kept of an answer of the token endpoint.
func tokensOf(t *oauth2.Token, before Tokens) Tokens {
	n := Tokens{Access: t.AccessToken, Refresh: t.RefreshToken, Expires: t.Expiry}
	if n.Refresh == "" {
		n.Refresh = before.Refresh
	}
	return n
}
