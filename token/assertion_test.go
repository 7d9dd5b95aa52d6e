package token_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"customhouse/token"
)

// TestAssertion: what another issuer says of somebody is read whole, and is no permission.
func TestAssertion(t *testing.T) {
	o := newOther(t)
	claims := `{"iss":"https://r.example","sub":"repo:a/b","aud":["x","r.example"],"exp":1800000300,"nbf":1799999990,"iat":1800000000,
		"access":[{"type":"repository","name":"a","actions":["push"]}],"method":"users","stamp":"x","labels":{"group":["admin"]},"n":1}`
	text := seal(t, o.ec, `{"typ":"JWT","alg":"ES256","kid":"`+o.keys["ES256"].ID()+`","x5t":"x"}`, claims)
	got, _, err := o.trusts["URL"].Assertion(t.Context(), text, now)
	if err != nil || got.Access != nil || got.Method != "" || got.Stamp != "" || got.Labels != nil || len(got.Vouched) != 11 || got.Subject != "repo:a/b" {
		t.Fatalf("Assertion = %+v, %v", got, err)
	}
	if issuer := token.IssuerOf(text); issuer != "https://r.example" {
		t.Errorf("IssuerOf = %q", issuer)
	}
	for _, text := range []string{"", "a.b.c", "..", "eyJhbGciOiJub25lIn0.bnVsbA.", strings.Repeat("a", 20_000), "a." + encode([]byte(`{"iss":1}`)) + ".c", "a." + encode([]byte(`{"iss":"a","iss":"b"}`)) + ".c"} {
		if issuer := token.IssuerOf(text); issuer != "" {
			t.Errorf("IssuerOf(%.20q) = %q, want none", text, issuer)
		}
	}
	for name, change := range map[string][2]string{
		"no iat": {`"iat":1800000000,`, ``}, "iat in the future": {`"iat":1800000000`, `"iat":1800000061`}, "no exp": {`"exp":1800000300,`, ``},
		"exp with a fraction": {`"exp":1800000300`, `"exp":1800000300.5`}, "sub of another type": {`"repo:a/b"`, `1`}, "a claim twice": {`"n":1`, `"n":1,"n":2`},
	} {
		text := seal(t, o.ec, `{"typ":"JWT","alg":"ES256","kid":"`+o.keys["ES256"].ID()+`"}`, strings.Replace(claims, change[0], change[1], 1))
		if _, _, err := o.trusts["URL"].Assertion(t.Context(), text, now); err == nil {
			t.Errorf("%s: Assertion = nil, want an error", name)
		}
	}
}

// TestS47_Discovery: an issuer tells where its keys are, for itself alone, and what they are got with goes to it alone.
func TestS47_Discovery(t *testing.T) {
	o := newOther(t)
	keys, err := token.NewKeys(o.keys["ES256"])
	must(t, err)
	text := seal(t, o.ec, `{"typ":"JWT","alg":"ES256","kid":"`+o.keys["ES256"].ID()+`"}`, ofDockerAuth)
	file := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(file, []byte("first\n"), 0o600))
	var leaked []string
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leaked = append(leaked, r.Header.Get("Authorization"))
		w.Write(keys.JWKS())
	}))
	t.Cleanup(elsewhere.Close)

	var document func(issuer string) string
	var sent []string
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent = append(sent, r.Header.Get("Authorization"))
		switch r.URL.Path {
		case "/a/.well-known/openid-configuration":
			fmt.Fprint(w, document("http://"+r.Host+"/a"))
		case "/moved":
			http.Redirect(w, r, elsewhere.URL, http.StatusFound)
		default:
			w.Write(keys.JWKS())
		}
	}))
	t.Cleanup(site.Close)
	verify := func(d func(issuer string) string) error {
		document, sent, leaked = d, nil, nil
		remote, err := token.NewRemote(site.URL+"/a", token.RemoteOptions{Discover: true, TokenFile: file})
		must(t, err)
		trust := o.trust(t, token.TrustOptions{Remote: remote})
		_, _, err = trust.Verify(t.Context(), text, now)
		return err
	}
	if err := verify(func(issuer string) string { return fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, issuer, issuer+"/keys") }); err != nil || strings.Join(sent, " ") != "Bearer first Bearer first" {
		t.Errorf("Verify = %v, sent %q", err, sent)
	}
	must(t, os.WriteFile(file, []byte("second"), 0o600))
	if err := verify(func(issuer string) string { return fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, issuer, elsewhere.URL) }); err != nil || strings.Join(sent, " ") != "Bearer second" || len(leaked) != 1 || leaked[0] != "" {
		t.Errorf("Verify with keys elsewhere = %v, sent %q and %q there", err, sent, leaked)
	}
	for name, d := range map[string]func(issuer string) string{
		"another issuer": func(issuer string) string {
			return fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, issuer+"/", issuer+"/keys")
		},
		"two issuers": func(issuer string) string {
			return fmt.Sprintf(`{"issuer":"x","issuer":%q,"jwks_uri":%q}`, issuer, issuer+"/keys")
		},
		"no keys": func(issuer string) string { return fmt.Sprintf(`{"issuer":%q}`, issuer) },
		"keys in a file": func(issuer string) string {
			return fmt.Sprintf(`{"issuer":%q,"jwks_uri":"file:///etc/passwd"}`, issuer)
		},
		"keys of a password": func(issuer string) string {
			return fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, issuer, strings.Replace(issuer, "http://", "http://a:b@", 1))
		},
		"keys that moved": func(issuer string) string {
			return fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, issuer, strings.Replace(issuer, "/a", "/moved", 1))
		},
		"a list":  func(string) string { return `[]` },
		"nothing": func(string) string { return `` },
	} {
		if err := verify(d); !errors.Is(err, token.ErrNoKeys) || len(leaked) != 0 {
			t.Errorf("%s: Verify = %v, want ErrNoKeys; %d requests elsewhere", name, err, len(leaked))
		}
	}
	for _, content := range []string{"", "a b", "a\nb", strings.Repeat("a", 20_000)} {
		must(t, os.WriteFile(file, []byte(content), 0o600))
		if err := verify(func(issuer string) string { return fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, issuer, issuer+"/keys") }); !errors.Is(err, token.ErrNoKeys) || len(sent) != 0 {
			t.Errorf("with a token file of %.10q: Verify = %v, %d requests", content, err, len(sent))
		}
	}
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, "https://"+r.Host, site.URL)
	}))
	t.Cleanup(secure.Close)
	remote, err := token.NewRemote(secure.URL, token.RemoteOptions{Discover: true, Transport: secure.Client().Transport})
	must(t, err)
	if _, _, err := o.trust(t, token.TrustOptions{Remote: remote}).Verify(t.Context(), text, now.Add(time.Second)); !errors.Is(err, token.ErrNoKeys) {
		t.Errorf("from https to http: Verify = %v, want ErrNoKeys", err)
	}
}
