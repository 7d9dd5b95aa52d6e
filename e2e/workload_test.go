//go:build linux

package e2e_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// jobs is an issuer of JWTs for the jobs of a CI system, with discovery and a key set, as GitHub Actions is one.
type jobs struct {
	*httptest.Server
	key *rsa.PrivateKey
}

func newJobs(t *testing.T) *jobs {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	j := &jobs{key: key}
	j.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, j.URL, j.URL+"/.well-known/jwks")
		case "/.well-known/jwks":
			must(t, json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "one", Algorithm: "RS256", Use: "sig"}}}))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(j.Close)
	return j
}

// jwt is what a job of a repository gets that runs at ref, as GitHub writes it.
func (j *jobs) jwt(t *testing.T, repository, ref, audience string) string {
	t.Helper()
	owner, _, _ := strings.Cut(repository, "/")
	payload, err := json.Marshal(map[string]any{
		"iss": j.URL, "aud": audience, "sub": "repo:" + repository + ":ref:" + ref, "repository": repository, "repository_owner": owner, "ref": ref,
		"ref_type": "branch", "event_name": "push", "workflow": "publish", "actor": "octocat", "runner_environment": "github-hosted", "run_id": "1",
		"jti": rand.Text(), "iat": time.Now().Unix(), "nbf": time.Now().Add(-time.Minute).Unix(), "exp": time.Now().Add(5 * time.Minute).Unix(),
	})
	must(t, err)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: j.key, KeyID: "one"}}, (&jose.SignerOptions{}).WithType("JWT"))
	must(t, err)
	jws, err := signer.Sign(payload)
	must(t, err)
	text, err := jws.CompactSerialize()
	must(t, err)
	return text
}

const ofJobs = `
listen: 127.0.0.1:0
auth:
  workload:
    - name: github
      issuer: %s
      audience: registry.example.com
      account: ${repository}
      require: {repository_owner: org}
rules:
  - match: {claims: {repository: org/app, ref: refs/heads/main}, name: org/app}
    actions: [pull, push]
  - match: {account: "github:org/*", name: "org/**"}
    actions: [pull]
`

// TestWorkload: jobs of main may push app, others pull it, by docker login with the JWT of the job for a password.
func TestWorkload(t *testing.T) {
	t.Parallel()
	needRoot(t)
	j, dir := newJobs(t), t.TempDir()
	config := write(t, dir, "customhouse.yml", fmt.Sprintf(ofJobs, j.URL))
	s := serve(t, config)
	app := s.host + "/org/app"
	daemon := startDockerd(t)
	main, branch := daemon.newClient(t), daemon.newClient(t)
	main.buildImage(t, app+":v1")
	t.Run("main pushes", func(t *testing.T) {
		main.reads(j.jwt(t, "org/app", "refs/heads/main", "registry.example.com")).run(t, "login", "-u", "workload", "--password-stdin", s.host)
		main.run(t, "push", app+":v1")
	})
	t.Run("a branch pulls", func(t *testing.T) {
		branch.reads(j.jwt(t, "org/app", "refs/heads/topic", "registry.example.com")).run(t, "login", "-u", "anything", "--password-stdin", s.host)
		branch.run(t, "pull", app+":v1")
		branch.run(t, "tag", app+":v1", app+":v2")
		branch.refuse(t, denied, "push", app+":v2")
	})
	t.Run("others are nobody", func(t *testing.T) {
		for _, jwt := range map[string]string{
			"another owner": j.jwt(t, "evil/app", "refs/heads/main", "registry.example.com"), "another audience": j.jwt(t, "org/app", "refs/heads/main", "other"),
			"another issuer": newJobs(t).jwt(t, "org/app", "refs/heads/main", "registry.example.com"),
		} {
			out := daemon.newClient(t).reads(jwt)
			out.refuse(t, append(unauthorized, "not", "another audience"), "login", "-u", "workload", "--password-stdin", s.host)
		}
	})
	t.Run("exchange", func(t *testing.T) {
		jwt := j.jwt(t, "org/app", "refs/heads/main", "registry.example.com")
		answer := exchange(t, s.url, jwt, http.StatusOK)
		if answer.IssuedTokenType != "urn:ietf:params:oauth:token-type:access_token" || answer.TokenType != "Bearer" || answer.RefreshToken != "" ||
			answer.Scope != "repository:org/app:pull,push" || answer.ExpiresIn < 60 || answer.ExpiresIn > 300 {
			t.Errorf("exchange = %+v", answer)
		}
		if wrong := exchange(t, s.url, jwt+"x", http.StatusBadRequest); wrong.Error != "invalid_request" {
			t.Errorf("exchange of a forged JWT = %+v", wrong)
		}
		manifest := func(authorization string) int {
			r, err := http.NewRequest("GET", s.url+"/v2/org/app/manifests/v1", nil)
			must(t, err)
			r.Header.Set("Authorization", authorization)
			res, err := http.DefaultClient.Do(r)
			must(t, err)
			res.Body.Close()
			return res.StatusCode
		}
		for _, authorization := range []string{"Bearer " + jwt, "Bearer " + answer.AccessToken} {
			if status := manifest(authorization); status != http.StatusOK {
				t.Errorf("GET = %d, want 200", status)
			}
		}
		// The issuer goes, and with it all that was had by its word, at once.
		replace(t, config, strings.Replace(fmt.Sprintf(ofJobs, j.URL), "name: github", "name: hub", 1))
		await(t, 20*time.Second, func() bool { return manifest("Bearer "+answer.AccessToken) == http.StatusUnauthorized })
		replace(t, config, "listen: 127.0.0.1:0\n")
		await(t, 20*time.Second, func() bool { return manifest("Bearer "+jwt) == http.StatusUnauthorized })
	})
}

// exchanged is an answer of the token endpoint.
type exchanged struct {
	AccessToken     string `json:"access_token"`
	IssuedTokenType string `json:"issued_token_type"`
	TokenType       string `json:"token_type"`
	Scope           string `json:"scope"`
	ExpiresIn       int    `json:"expires_in"`
	RefreshToken    string `json:"refresh_token"`
	Error           string `json:"error"`
}

// exchange asks for a token by RFC 8693.
func exchange(t *testing.T, server, jwt string, status int) (answer exchanged) {
	t.Helper()
	res, err := http.PostForm(server+"/token", url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {jwt}, "subject_token_type": {"urn:ietf:params:oauth:token-type:jwt"},
		"audience": {"customhouse"}, "scope": {"repository:org/app:pull,push"},
	})
	must(t, err)
	defer res.Body.Close()
	var body bytes.Buffer
	_, err = body.ReadFrom(res.Body)
	must(t, err)
	if res.StatusCode != status {
		t.Errorf("exchange = %d %s, want %d", res.StatusCode, &body, status)
	}
	must(t, json.Unmarshal(body.Bytes(), &answer))
	return answer
}

// TestWorkloadOfCluster: the keys of a cluster are had from its API server, by its own authority and with a token of ours.
func TestWorkloadOfCluster(t *testing.T) {
	t.Parallel()
	j, dir := newJobs(t), t.TempDir()
	var asked []string
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked = append(asked, r.Header.Get("Authorization")); asked[len(asked)-1] != "Bearer of-the-registry" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		must(t, json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: j.key.Public(), KeyID: "one"}}}))
	}))
	api.StartTLS()
	t.Cleanup(api.Close)
	const cluster = `
log: {requests: false}
auth:
  workload:
    - {name: k8s, issuer: %q, audience: registry.example.com, jwks_url: "%s/openid/v1/jwks", ca: %s, token_file: token, account: "${sub}", require: {sub: "repo:org/**"}}
`
	write(t, dir, "token", "of-the-registry\n")
	ca := writePEM(t, dir, "ca.pem", "CERTIFICATE", api.Certificate().Raw)
	s := serve(t, write(t, dir, "customhouse.yml", fmt.Sprintf(cluster, j.URL, api.URL, ca)))
	status := func(jwt string) int {
		r, err := http.NewRequest("GET", s.url+"/v2/", nil)
		must(t, err)
		r.Header.Set("Authorization", "Bearer "+jwt)
		res, err := http.DefaultClient.Do(r)
		must(t, err)
		res.Body.Close()
		return res.StatusCode
	}
	if got := status(j.jwt(t, "org/app", "refs/heads/main", "registry.example.com")); got != http.StatusOK {
		t.Errorf("GET = %d, want 200; the API server was asked with %q", got, asked)
	}
	if got := status(j.jwt(t, "other/app", "refs/heads/main", "registry.example.com")); got != http.StatusUnauthorized {
		t.Errorf("GET by another = %d, want 401", got)
	}
	// Without its authority the API server is anybody: an outage for its pods, and for nobody else.
	other, _, _ := issueCertificate(t, t.TempDir())
	s = serve(t, write(t, dir, "other.yml", fmt.Sprintf(cluster, j.URL, api.URL, other)))
	if got := status(j.jwt(t, "org/app", "refs/heads/main", "registry.example.com")); got != http.StatusServiceUnavailable {
		t.Errorf("GET with keys of a stranger = %d, want 503", got)
	}
}
