package gate_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/gate"
	"customhouse/policy"
	"customhouse/token"
)

// ci is an OpenID provider as CI systems are one: discovery, a key set, and JWTs for jobs.
type ci struct {
	*httptest.Server
	keys map[string]crypto.Signer // by "kid"
	algs map[string]jose.SignatureAlgorithm
	jwks atomic.Value // of jose.JSONWebKeySet
	down atomic.Bool
	hits atomic.Int64 // of the key set
}

func newCI(t testing.TB) *ci {
	t.Helper()
	c := &ci{keys: map[string]crypto.Signer{}, algs: map[string]jose.SignatureAlgorithm{"rsa": jose.RS256, "ec": jose.ES256}}
	var err error
	c.keys["rsa"], err = rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	c.keys["ec"], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c.publish("rsa", "ec")
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case c.down.Load():
			w.WriteHeader(http.StatusBadGateway)
		case r.URL.Path == "/.well-known/openid-configuration":
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, c.URL, c.URL+"/jwks")
		case r.URL.Path == "/jwks":
			c.hits.Add(1)
			must(t, json.NewEncoder(w).Encode(c.jwks.Load()))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

// publish makes these the keys of the key set.
func (c *ci) publish(kids ...string) {
	var set jose.JSONWebKeySet
	for _, kid := range kids {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: c.keys[kid].Public(), KeyID: kid, Algorithm: string(c.algs[kid]), Use: "sig"})
	}
	c.jwks.Store(set)
}

// jwt signs claims.
func (c *ci) jwt(t testing.TB, kid string, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: c.algs[kid], Key: jose.JSONWebKey{Key: c.keys[kid], KeyID: kid}}, (&jose.SignerOptions{}).WithType("JWT"))
	must(t, err)
	payload, err := json.Marshal(claims)
	must(t, err)
	jws, err := signer.Sign(payload)
	must(t, err)
	text, err := jws.CompactSerialize()
	must(t, err)
	return text
}

// job returns the claims of a job of GitHub Actions, as its documentation shows them.
func (c *ci) job(now time.Time, change map[string]any) map[string]any {
	claims := map[string]any{
		"jti": "example-id", "sub": "repo:octo-org/octo-repo:environment:prod", "environment": "prod", "aud": service, "ref": "refs/heads/main",
		"sha": "example-sha", "repository": "octo-org/octo-repo", "repository_owner": "octo-org", "actor_id": "12", "repository_visibility": "private",
		"repository_id": "74", "repository_owner_id": "65", "run_id": "example-run-id", "run_number": "10", "run_attempt": "2",
		"runner_environment": "github-hosted", "actor": "octocat", "workflow": "example-workflow", "head_ref": "", "base_ref": "",
		"event_name": "workflow_dispatch", "ref_type": "branch", "job_workflow_ref": "octo-org/octo-automation/.github/workflows/oidc.yml@refs/heads/main",
		"iss": c.URL, "nbf": now.Add(-10 * time.Minute).Unix(), "exp": now.Add(5 * time.Minute).Unix(), "iat": now.Unix(),
	}
	maps.Copy(claims, change)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return claims
}

// workload returns c as an issuer of workloads.
func (c *ci) workload(t testing.TB, o gate.WorkloadOptions) *gate.Workload {
	t.Helper()
	remote, err := token.NewRemote(c.URL, token.RemoteOptions{Discover: true})
	must(t, err)
	trust, err := token.NewTrust(token.TrustOptions{Issuer: c.URL, Service: service, Remote: remote})
	must(t, err)
	w, err := gate.NewWorkload(trust, o)
	must(t, err)
	return w
}

var ofGitHub = gate.WorkloadOptions{
	Name: "github", Account: "${repository}", Require: map[string]string{"repository_owner": "octo-org"}, Labels: map[string]string{"env": "${environment}"},
}

// mainOnly lets jobs of main push to the repository of their name.
type mainOnly struct {
	asked atomic.Pointer[customhouse.Identity]
}

func (m *mainOnly) Authorize(_ context.Context, q policy.Query, actions []customhouse.Action) ([]policy.Decision, error) {
	m.asked.Store(&q.Identity)
	all := make([]policy.Decision, len(actions))
	for i, a := range actions {
		all[i].Allowed = q.Name == "octo-org/octo-repo" && q.Identity.Claims["repository"] == q.Name &&
			(a == customhouse.Pull || q.Identity.Claims["ref"] == "refs/heads/main")
		all[i].Rule, all[i].Source, all[i].Reason = 1, "c.yml:1", "main only"
	}
	return all, nil
}

// newCIHouse returns a gate that knows the jobs of a CI system.
func newCIHouse(t testing.TB, o gate.WorkloadOptions) (*house, *ci, *mainOnly) {
	t.Helper()
	c, m := newCI(t), &mainOnly{}
	h := newHouse(t, func(options *gate.Options) {
		options.Policy, options.Workloads = m, []*gate.Workload{c.workload(t, o)}
	})
	return h, c, m
}

func asBearer(text string) customhouse.Credential {
	c := nobody
	c.Scheme, c.Secret = customhouse.Bearer, customhouse.Secret(text)
	return c
}

var denial = verdict{customhouse.Denied, "no challenge", ""}

// TestWorkload: a job is who its JWT says, however it comes: as a password whatever the name, as Bearer, exchanged; and the
// same by the token that it gets. Its claims reach whoever decides.
func TestWorkload(t *testing.T) {
	h, c, m := newCIHouse(t, ofGitHub)
	push := repo("octo-org/octo-repo", "pull", "push")
	for _, kid := range []string{"rsa", "ec"} {
		for ref, want := range map[string]verdict{"refs/heads/main": {}, "refs/heads/topic": denial} {
			text := c.jwt(t, kid, c.job(h.now, map[string]any{"ref": ref}))
			scope := "repository:octo-org/octo-repo:pull,push"
			credentials := map[string]customhouse.Credential{
				"Basic": basic("workload", text), "Basic as root": basic("root", text), "Basic without a name": basic("", text), "Bearer": asBearer(text),
				"token for Basic": bearer(h.issue(basic("x", text), scope)), "token for Bearer": bearer(h.issue(asBearer(text), scope)),
			}
			exchanged, err := h.Issue(t.Context(), gate.TokenRequest{
				Credential: nobody, GrantType: gate.GrantExchange, Subject: customhouse.Secret(text), SubjectType: gate.TypeJWT, Scopes: []string{scope}, Offline: true,
			})
			if err != nil || exchanged.RefreshToken != "" {
				t.Fatalf("Issue by exchange = %v, refresh token %q", err, exchanged.RefreshToken)
			}
			credentials["token by exchange"] = bearer(exchanged)
			for name, cred := range credentials {
				for range 2 { // the second is remembered
					if got := h.verdict(cred, push); got != want {
						t.Errorf("%s from %s with %s: Admit = %+v, want %+v", name, ref, kid, got, want)
					}
				}
				id := *m.asked.Load()
				id.Claims, id.Expires = nil, time.Time{}
				if diff := cmp.Diff(customhouse.Identity{
					Account: "github:octo-org/octo-repo", Method: "workload", Labels: map[string][]string{"env": {"prod"}},
				}, id); diff != "" {
					t.Errorf("%s: identity (-want +got):\n%s", name, diff)
				}
			}
		}
	}
	if got := h.verdict(own("root"), push); got != denial {
		t.Errorf("an account of ours = %+v", got)
	}
}

// TestWorkloadTokensEnd: no refresh token, no token beyond the JWT, none of an issuer that is configured no more.
func TestWorkloadTokensEnd(t *testing.T) {
	h, c, _ := newCIHouse(t, ofGitHub)
	pull := repo("octo-org/octo-repo", "pull")
	short := c.jwt(t, "ec", c.job(h.now, map[string]any{"exp": h.now.Add(90 * time.Second).Unix()}))
	tok, err := h.Issue(t.Context(), gate.TokenRequest{Credential: basic("x", short), Scopes: []string{"repository:octo-org/octo-repo:pull"}, Offline: true})
	must(t, err)
	if tok.RefreshToken != "" || tok.ExpiresIn > 90*time.Second || tok.ExpiresIn < 88*time.Second {
		t.Errorf("token for %v, refresh token %q, want 90s and none", tok.ExpiresIn, tok.RefreshToken)
	}
	invalid := verdict{customhouse.Unauthorized, gate.InvalidToken, "repository:octo-org/octo-repo:pull"}
	text := c.jwt(t, "ec", c.job(h.now, nil))
	long := h.issue(basic("x", text), "repository:octo-org/octo-repo:pull")
	for name, change := range map[string]func(o *gate.Options){
		"removed": func(o *gate.Options) { o.Workloads = nil },
		"another name": func(o *gate.Options) {
			o.Workloads[0] = c.workload(t, gate.WorkloadOptions{Name: "gh", Account: ofGitHub.Account})
		},
		"another account": func(o *gate.Options) {
			o.Workloads[0] = c.workload(t, gate.WorkloadOptions{Name: "github", Account: "${actor}"})
		},
		"other requirements": func(o *gate.Options) {
			o.Workloads[0] = c.workload(t, gate.WorkloadOptions{Name: "github", Account: "${repository}", Require: map[string]string{"environment": "test"}})
		},
		"another issuer": func(o *gate.Options) { o.Workloads[0] = newCI(t).workload(t, ofGitHub) },
	} {
		if got := h.verdict(bearer(long), pull); got != (verdict{}) {
			t.Fatalf("before: Admit = %+v", got)
		}
		h.rebuild(func(o *gate.Options) {
			o.Workloads = append([]*gate.Workload(nil), o.Workloads...)
			change(o)
		})
		if got := h.verdict(bearer(long), pull); got != invalid {
			t.Errorf("%s: Admit = %+v, want %+v", name, got, invalid)
		}
		h.rebuild(func(o *gate.Options) { o.Workloads = []*gate.Workload{c.workload(t, ofGitHub)} })
	}
	if got := h.verdict(bearer(tok), pull); got != (verdict{}) {
		t.Fatalf("Admit = %+v", got)
	}
	h.now = h.now.Add(90*time.Second + token.Leeway + time.Second)
	if got := h.verdict(bearer(tok), pull); got != invalid {
		t.Errorf("after the end of the JWT: Admit = %+v, want %+v", got, invalid)
	}
	if _, err := h.Issue(t.Context(), gate.TokenRequest{Credential: basic("x", short)}); err == nil {
		t.Error("a JWT that has ended still gets a token")
	}
	_, err = h.Issue(t.Context(), gate.TokenRequest{Credential: basic("x", c.jwt(t, "ec", c.job(h.now, map[string]any{"exp": h.now.Unix()})))})
	if err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("Issue for a JWT at its end = %v", err)
	}
}

// Who misspells an issuer finds in the log what the JWTs say; their bearers hear what all hear who are unknown.
func TestWorkloadOfUnknownIssuer(t *testing.T) {
	h, c, _ := newCIHouse(t, ofGitHub)
	text := c.jwt(t, "ec", c.job(h.now, map[string]any{"iss": c.URL + "/"}))
	_, err := h.Issue(t.Context(), gate.TokenRequest{Credential: basic("x", text)})
	var r *gate.Refusal
	if !errors.As(err, &r) || !strings.Contains(r.Ground.Reason, fmt.Sprintf("its issuer %q is none of auth.workload", c.URL+"/")) {
		t.Fatalf("Issue = %v, want a refusal that names the issuer", err)
	}
	if r.Err.Message != "wrong account or password" {
		t.Errorf("the client is told %q", r.Err.Message)
	}
}

// TestS25_WorkloadConfusion: what is signed by whoever, for whomever, is one thing only, and no name is taken for another.
func TestS25_WorkloadConfusion(t *testing.T) {
	h, c, _ := newCIHouse(t, ofGitHub)
	other := newCI(t)
	h.rebuild(func(o *gate.Options) {
		o.Workloads = append(o.Workloads, other.workload(t, gate.WorkloadOptions{Name: "gitlab", Account: "${sub}"}))
	})
	unauthorized := verdict{customhouse.Unauthorized, "", ""}
	invalid := verdict{customhouse.Unauthorized, gate.InvalidToken, ""}
	good := c.jwt(t, "rsa", c.job(h.now, nil))
	if got := h.verdict(basic("x", good)); got != (verdict{}) {
		t.Fatalf("Admit = %+v", got)
	}
	parts := strings.Split(good, ".")
	header := func(h string) string { return base64.RawURLEncoding.EncodeToString([]byte(h)) }
	jwks, err := json.Marshal(c.keys["rsa"].Public())
	must(t, err)
	hmac := func() string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: append(jwks, make([]byte, 64)...)}, (&jose.SignerOptions{}).WithHeader("kid", "rsa"))
		must(t, err)
		payload, err := json.Marshal(c.job(h.now, nil))
		must(t, err)
		jws, err := signer.Sign(payload)
		must(t, err)
		text, err := jws.CompactSerialize()
		must(t, err)
		return text
	}
	with := func(change map[string]any) string { return c.jwt(t, "rsa", c.job(h.now, change)) }
	asUs, err := h.outsider.Sign(token.Claims{Subject: "github:octo-org/octo-repo", Audience: []string{service}, IssuedAt: h.now, NotBefore: h.now, Expires: h.now.Add(time.Minute), Method: "workload"})
	must(t, err)
	nested := strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200)
	for name, text := range map[string]string{
		"none":                     header(`{"alg":"none","kid":"rsa"}`) + "." + parts[1] + ".",
		"no signature":             parts[0] + "." + parts[1] + ".",
		"HS256 by the public key":  hmac(),
		"another algorithm":        header(`{"alg":"PS256","kid":"rsa"}`) + "." + parts[1] + "." + parts[2],
		"key of another type":      header(`{"alg":"RS256","kid":"ec"}`) + "." + parts[1] + "." + parts[2],
		"unknown kid":              header(`{"alg":"RS256","kid":"../../etc/passwd"}`) + "." + parts[1] + "." + parts[2],
		"kid of SQL":               header(`{"alg":"RS256","kid":"' OR 1=1 --"}`) + "." + parts[1] + "." + parts[2],
		"no kid":                   header(`{"alg":"RS256"}`) + "." + parts[1] + "." + parts[2],
		"jku":                      header(`{"alg":"RS256","kid":"rsa","jku":"http://127.0.0.1/"}`) + "." + parts[1] + "." + parts[2],
		"x5u":                      header(`{"alg":"RS256","kid":"rsa","x5u":"http://127.0.0.1/"}`) + "." + parts[1] + "." + parts[2],
		"crit":                     header(`{"alg":"RS256","kid":"rsa","crit":["x"]}`) + "." + parts[1] + "." + parts[2],
		"two keys in the header":   header(`{"alg":"RS256","kid":"rsa","kid":"rsa"}`) + "." + parts[1] + "." + parts[2],
		"another audience":         with(map[string]any{"aud": "other.example"}),
		"an audience that begins":  with(map[string]any{"aud": service + ".evil.example"}),
		"audience of another case": with(map[string]any{"aud": strings.ToUpper(service)}),
		"no audience":              with(map[string]any{"aud": nil}),
		"audiences of none":        with(map[string]any{"aud": []string{}}),
		"an object for audience":   with(map[string]any{"aud": map[string]any{service: 1}}),
		"no end":                   with(map[string]any{"exp": nil}),
		"an end in text":           with(map[string]any{"exp": "9999999999"}),
		"an end that has passed":   with(map[string]any{"exp": h.now.Add(-61 * time.Second).Unix()}),
		"nbf in the future":        with(map[string]any{"nbf": h.now.Add(61 * time.Second).Unix()}),
		"iat in the future":        with(map[string]any{"iat": h.now.Add(2 * time.Minute).Unix(), "nbf": nil}),
		"no iat":                   with(map[string]any{"iat": nil}),
		"older than a day":         with(map[string]any{"iat": h.now.Add(-25 * time.Hour).Unix()}),
		"another owner":            with(map[string]any{"repository_owner": "octo-orgs"}),
		"owners in a list":         with(map[string]any{"repository_owner": []string{"evil", "other"}}),
		"no repository":            with(map[string]any{"repository": nil}),
		"an empty repository":      with(map[string]any{"repository": ""}),
		"two repositories":         with(map[string]any{"repository": []string{"a/b", "c/d"}}),
		"an object for repository": with(map[string]any{"repository": map[string]any{"x": "y"}}),
		"a space in the account":   with(map[string]any{"repository": "a b"}),
		"a NUL in the account":     with(map[string]any{"repository": "a\x00b"}),
		"a hidden character":       with(map[string]any{"repository": "a\u202eb"}),
		"what is no text":          with(map[string]any{"repository": "a\ufffdb"}),
		"an account that is long":  with(map[string]any{"repository": strings.Repeat("a", 250)}),
		"more claims than tokens":  with(map[string]any{"x": strings.Repeat("a", 5000)}),
		"huge":                     with(map[string]any{"x": strings.Repeat("a", 20_000)}),
		"signed by another":        other.jwt(t, "rsa", c.job(h.now, nil)),
		"claims of another shape":  parts[0] + "." + header(nested) + "." + parts[2],
		"one of ours":              asUs,
		"four parts":               good + ".x",
	} {
		for kind, cred := range map[string]customhouse.Credential{"Basic": basic("root", text), "Bearer": asBearer(text)} {
			if got := h.verdict(cred); got != unauthorized && got != invalid {
				t.Errorf("%s as %s: Admit = %+v, want UNAUTHORIZED", name, kind, got)
			}
		}
		for kind, r := range map[string]gate.TokenRequest{
			"Basic": {Credential: basic("root", text)}, "Bearer": {Credential: asBearer(text)},
			"exchange": {Credential: nobody, GrantType: gate.GrantExchange, Subject: customhouse.Secret(text), SubjectType: gate.TypeIDToken},
		} {
			if tok, err := h.Issue(t.Context(), r); err == nil {
				t.Errorf("%s as %s: Issue = a token for %+v", name, kind, tok.Identity)
			}
		}
	}
	for name, iss := range map[string]string{"with a slash": c.URL + "/", "without scheme": strings.TrimPrefix(c.URL, "http://"), "in capitals": strings.ToUpper(c.URL)} {
		if got := h.verdict(asBearer(with(map[string]any{"iss": iss}))); got != invalid {
			t.Errorf("issuer %s: Admit = %+v, want %+v", name, got, invalid)
		}
	}
	grant, err := h.Admit(t.Context(), asBearer(other.jwt(t, "ec", other.job(h.now, map[string]any{"sub": "github:octo-org/octo-repo"}))))
	must(t, err)
	if grant.Identity.Account != "gitlab:github:octo-org/octo-repo" {
		t.Errorf("account = %q", grant.Identity.Account)
	}
	tok := h.issue(basic("bob", good))
	if _, err := h.Issue(t.Context(), gate.TokenRequest{Credential: bearer(tok)}); !errors.As(err, new(*gate.OAuthError)) {
		t.Errorf("Issue for one of our own tokens = %v, want an OAuthError", err)
	}
	if _, err := h.Issue(t.Context(), gate.TokenRequest{Credential: nobody, GrantType: gate.GrantExchange, Subject: tok.Token, SubjectType: gate.TypeJWT}); !errors.As(err, new(*gate.OAuthError)) {
		t.Errorf("exchange of one of our own tokens = %v, want an OAuthError", err)
	}
}

// TestS25_WorkloadForged: a token of ours that claims to stand for a workload is none, whatever it carries.
func TestS25_WorkloadForged(t *testing.T) {
	h, c, _ := newCIHouse(t, ofGitHub)
	a, err := token.NewAuthority(h.options.Issuer, service, h.options.Keys)
	must(t, err)
	for name, claims := range map[string]token.Claims{
		"nothing vouched":    {Subject: "github:octo-org/octo-repo"},
		"another audience":   {Subject: "github:octo-org/octo-repo", Vouched: map[string]any{"iss": c.URL, "aud": "x", "repository": "octo-org/octo-repo", "repository_owner": "octo-org"}},
		"another account":    {Subject: "github:octo-org/other", Vouched: map[string]any{"iss": c.URL, "aud": service, "repository": "octo-org/octo-repo", "repository_owner": "octo-org"}},
		"an account of ours": {Subject: "root", Vouched: map[string]any{"iss": c.URL, "aud": service, "repository": "octo-org/octo-repo", "repository_owner": "octo-org"}},
	} {
		claims.Method, claims.IssuedAt, claims.NotBefore, claims.Expires = "workload", h.now, h.now, h.now.Add(time.Minute)
		text, err := a.Sign(claims)
		must(t, err)
		if got := h.verdict(asBearer(text)); got != (verdict{customhouse.Unauthorized, gate.InvalidToken, ""}) {
			t.Errorf("%s: Admit = %+v", name, got)
		}
	}
}

// TestS47_WorkloadKeys: keys are fetched once for many, a key that is taken away is good no longer, and while they cannot be
// had that is an outage for the workloads alone.
func TestS47_WorkloadKeys(t *testing.T) {
	h, c, _ := newCIHouse(t, ofGitHub)
	admitted := verdict{}
	invalid := verdict{customhouse.Unauthorized, gate.InvalidToken, ""}
	byEC, byRSA := asBearer(c.jwt(t, "ec", c.job(h.now, map[string]any{"exp": h.now.Add(4 * time.Hour).Unix()}))), asBearer(c.jwt(t, "rsa", c.job(h.now, map[string]any{"exp": h.now.Add(4 * time.Hour).Unix()})))
	c.down.Store(true)
	if got := h.verdict(byEC); got.Code != customhouse.Unavailable {
		t.Errorf("without keys: Admit = %+v, want UNAVAILABLE", got)
	}
	if _, err := h.Issue(t.Context(), gate.TokenRequest{Credential: nobody, GrantType: gate.GrantExchange, Subject: byEC.Secret, SubjectType: gate.TypeJWT}); !isUnavailable(err) {
		t.Errorf("without keys: exchange = %v, want UNAVAILABLE", err)
	}
	for name, cred := range map[string]customhouse.Credential{"password": own("bob"), "token": bearer(h.issue(own("bob")))} {
		if got := h.verdict(cred); got != admitted {
			t.Errorf("without keys of another: %s = %+v", name, got)
		}
	}
	if got := h.verdict(asBearer("a.b.c")); got != invalid {
		t.Errorf("without keys: nonsense = %+v", got)
	}
	c.down.Store(false)
	h.now = h.now.Add(11 * time.Second)
	for _, cred := range []customhouse.Credential{byEC, byRSA} {
		if got := h.verdict(cred); got != admitted {
			t.Errorf("with keys: Admit = %+v", got)
		}
	}
	for range 50 {
		h.verdict(asBearer(c.jwt(t, "ec", c.job(h.now, map[string]any{"jti": "x"})) + "x"))
	}
	if hits := c.hits.Load(); hits != 1 {
		t.Errorf("the keys were fetched %d times, want once", hits)
	}
	c.publish("rsa")
	h.now = h.now.Add(5 * time.Minute)
	if got := h.verdict(byEC); got != invalid {
		t.Errorf("by a key that was taken away: Admit = %+v, want %+v", got, invalid)
	}
	if got := h.verdict(byRSA); got != admitted {
		t.Errorf("by a key that is still there: Admit = %+v", got)
	}
}

func isUnavailable(err error) bool {
	var r *gate.Refusal
	return errors.As(err, &r) && r.Err.Code == customhouse.Unavailable
}

// TestWorkloadClaims: what is kept of claims is what is named, and what makes the identity.
func TestWorkloadClaims(t *testing.T) {
	o := ofGitHub
	o.Claims = []string{"ref", "missing"}
	h, c, m := newCIHouse(t, o)
	for name, cred := range map[string]customhouse.Credential{
		"the JWT": basic("x", c.jwt(t, "ec", c.job(h.now, map[string]any{"x": strings.Repeat("a", 5000)}))),
		"a token": bearer(h.issue(basic("x", c.jwt(t, "ec", c.job(h.now, nil))), "repository:octo-org/octo-repo:pull")),
	} {
		if got := h.verdict(cred, repo("octo-org/octo-repo", "pull")); got != (verdict{}) {
			t.Errorf("%s: Admit = %+v", name, got)
		}
		want := map[string]any{
			"iss": c.URL, "sub": "repo:octo-org/octo-repo:environment:prod", "aud": service, "ref": "refs/heads/main",
			"repository": "octo-org/octo-repo", "repository_owner": "octo-org", "environment": "prod",
		}
		if diff := cmp.Diff(want, m.asked.Load().Claims); diff != "" {
			t.Errorf("%s: claims (-want +got):\n%s", name, diff)
		}
	}
}

// TestWorkloadOfOthers reads the JWTs of GitLab CI and of service accounts of Kubernetes, as their documentation shows them.
func TestWorkloadOfOthers(t *testing.T) {
	for name, tt := range map[string]struct {
		claims  string
		o       gate.WorkloadOptions
		account string
		labels  map[string][]string
	}{
		"GitLab": {
			`{"namespace_id":"72","namespace_path":"my-group","project_id":"20","project_path":"my-group/my-project","user_id":"1","user_login":"sample-user",
			"user_email":"sample-user@example.com","user_identities":[{"provider":"github","extern_uid":"2435223452345"}],"pipeline_id":"574","pipeline_source":"push",
			"job_id":"302","ref":"feature-branch-1","ref_type":"branch","ref_path":"refs/heads/feature-branch-1","ref_protected":"false",
			"groups_direct":["mygroup/mysubgroup","myothergroup/myothersubgroup"],"environment":"test-environment2","environment_protected":"false",
			"deployment_tier":"testing","environment_action":"start","runner_id":1,"runner_environment":"self-hosted","sha":"714a629c0b401fdce83e847fc9589983fc6f46bc",
			"project_visibility":"public","ci_config_ref_uri":"gitlab.example.com/my-group/my-project//.gitlab-ci.yml@refs/heads/main",
			"sub":"project_path:my-group/my-project:ref_type:branch:ref:feature-branch-1"}`,
			gate.WorkloadOptions{
				Name: "gitlab", Account: "${project_path}", Require: map[string]string{"namespace_path": "my-group", "runner_id": "1"},
				Labels: map[string]string{"group": "${groups_direct}", "tier": "${deployment_tier}", "none": "${missing}"},
			},
			"gitlab:my-group/my-project",
			map[string][]string{"group": {"mygroup/mysubgroup", "myothergroup/myothersubgroup"}, "tier": {"testing"}},
		},
		"Kubernetes": {
			`{"kubernetes.io":{"namespace":"kube-system","node":{"name":"127.0.0.1","uid":"58456cb0-dd00-45ed-b797-5578fdceaced"},
			"pod":{"name":"my-pod","uid":"778a530c-b3f4-47c0-9cd5-ab018fb64f33"},"serviceaccount":{"name":"my-serviceaccount","uid":"a087d5a0-e1dd-43ec-93ac-f13d89cd13af"},
			"warnafter":1700082350},"sub":"system:serviceaccount:kube-system:my-serviceaccount"}`,
			gate.WorkloadOptions{
				Name: "k8s", Account: "${kubernetes.io.namespace}:${kubernetes.io.serviceaccount.name}", Require: map[string]string{"kubernetes.io.namespace": "kube-*"},
				Claims: []string{"kubernetes.io.pod.name"},
			},
			"k8s:kube-system:my-serviceaccount", nil,
		},
	} {
		h, c, m := newCIHouse(t, tt.o)
		v, err := customhouse.ParseJSON([]byte(tt.claims))
		must(t, err)
		claims := v.(map[string]any)
		maps.Copy(claims, map[string]any{"iss": c.URL, "aud": []string{service, "other"}, "iat": h.now.Unix(), "nbf": h.now.Unix(), "exp": h.now.Add(time.Hour).Unix(), "jti": "x"})
		for _, cred := range []customhouse.Credential{asBearer(c.jwt(t, "rsa", claims)), bearer(h.issue(basic("x", c.jwt(t, "rsa", claims)), "repository:a:pull"))} {
			h.verdict(cred, repo("a", "pull"))
			id := m.asked.Load()
			if diff := cmp.Diff(tt.labels, id.Labels); diff != "" || id.Account != tt.account || id.Expires.IsZero() {
				t.Errorf("%s: identity = %q, until %v, labels (-want +got):\n%s", name, id.Account, id.Expires, diff)
			}
			if inner, ok := id.Claims["kubernetes.io"].(map[string]any); name == "Kubernetes" && (!ok || inner["namespace"] != "kube-system" || len(id.Claims) != 4) {
				t.Errorf("%s: claims = %v", name, id.Claims)
			}
		}
	}
}

func TestWorkloadOptions(t *testing.T) {
	c := newCI(t)
	remote, err := token.NewRemote(c.URL, token.RemoteOptions{Discover: true})
	must(t, err)
	trust, err := token.NewTrust(token.TrustOptions{Issuer: c.URL, Service: service, Remote: remote})
	must(t, err)
	for name, o := range map[string]gate.WorkloadOptions{
		"no name": {Account: "${sub}"}, "a colon": {Name: "a:b", Account: "${sub}"}, "one account": {Name: "a", Account: "robot"},
		"bad account": {Name: "a", Account: "${"}, "bad label": {Name: "a", Account: "${sub}", Labels: map[string]string{"x": "${}"}},
		"bad pattern": {Name: "a", Account: "${sub}", Require: map[string]string{"x": "["}},
	} {
		if _, err := gate.NewWorkload(trust, o); err == nil {
			t.Errorf("%s: NewWorkload = nil, want an error", name)
		}
	}
	w := c.workload(t, ofGitHub)
	h := newHouse(t, nil)
	for name, change := range map[string]func(*gate.Options){
		"two of one name":     func(o *gate.Options) { o.Workloads = []*gate.Workload{w, w} },
		"our own issuer":      func(o *gate.Options) { o.Workloads, o.Issuer = []*gate.Workload{w}, c.URL },
		"one that is trusted": func(o *gate.Options) { o.Workloads, o.Trust = []*gate.Workload{w}, []gate.Trust{{Trust: trust}} },
	} {
		o := h.options
		change(&o)
		if _, err := gate.New(o); err == nil {
			t.Errorf("%s: New = nil, want an error", name)
		}
	}
}

// BenchmarkWorkload admits by a JWT, and by one of our tokens that was had for it.
func BenchmarkWorkload(b *testing.B) {
	h, c, _ := newCIHouse(b, ofGitHub)
	text := c.jwt(b, "rsa", c.job(h.now, nil))
	need := repo("octo-org/octo-repo", "pull")
	for name, cred := range map[string]customhouse.Credential{
		"JWT": asBearer(text), "password": basic("x", text), "token": bearer(h.issue(basic("x", text), "repository:octo-org/octo-repo:pull")),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := h.Admit(b.Context(), cred, need); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
