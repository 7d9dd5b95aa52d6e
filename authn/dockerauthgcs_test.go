package authn_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"customhouse"
	"customhouse/authn"
	"customhouse/e2e/backend"
)

// Who had signed in by docker_auth with its records in Google Cloud Storage needs not sign in again.
func TestReadDockerAuthGCS(t *testing.T) {
	b, record, log := takingOver(t)
	read := func(bucket, endpoint string, key []byte) ([]customhouse.ImportedSignIn, error) {
		t.Helper()
		g, err := authn.NewGCSBucket(bucket, endpoint, key)
		if err != nil {
			t.Fatal(err)
		}
		return b.ReadDockerAuthGCS(t.Context(), g)
	}

	g := backend.NewGCS(t, "tokens", "none")
	const many = 1200 // more than a page
	for i := range many {
		g.Put(t, "tokens", fmt.Sprintf("user%04d", i), record)
	}
	g.Put(t, "tokens", "d/e@example.com", record)
	g.Put(t, "tokens", "carol", "canary")
	g.Put(t, "tokens", "a b", record)
	all, err := read("tokens", g.Endpoint, g.Key)
	if err != nil || len(all) != many+1 || all[0].Account != "d/e@example.com" || all[1].Account != "user0000" || all[0].Labels["teams"][0] != "ops" || all[0].Password.Name != "docker_auth" {
		t.Fatalf("ReadDockerAuthGCS = %d records, %v, want %d", len(all), err, many+1)
	}
	if g.Tokens.Load() != 1 {
		t.Errorf("%d tokens were made, want one for all questions", g.Tokens.Load())
	}
	if strings.Contains(string(all[0].Tokens), "canary") || strings.Contains(log.String(), "canary") || !strings.Contains(log.String(), "carol") {
		t.Errorf("the provider's tokens are in clear, or the log is wrong: %s", log.String())
	}
	if all, err := read("none", g.Endpoint, g.Key); err != nil || len(all) != 0 {
		t.Errorf("an empty bucket: %d records, %v", len(all), err)
	}

	var key map[string]string
	if err := json.Unmarshal(g.Key, &key); err != nil {
		t.Fatal(err)
	}
	with := func(name, value string) []byte {
		t.Helper()
		changed := map[string]string{}
		for k, v := range key {
			changed[k] = v
		}
		changed[name] = value
		text, err := json.Marshal(changed)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "canary", http.StatusForbidden) }))
	defer refusing.Close()
	for want, ask := range map[string]func() ([]customhouse.ImportedSignIn, error){
		"no such bucket": func() ([]customhouse.ImportedSignIn, error) { return read("others", g.Endpoint, g.Key) },
		"no token: status 403": func() ([]customhouse.ImportedSignIn, error) {
			return read("tokens", g.Endpoint, with("token_uri", refusing.URL))
		},
		"tokens/o: status 403": func() ([]customhouse.ImportedSignIn, error) { return read("tokens", refusing.URL, g.Key) },
		"connection refused":   func() ([]customhouse.ImportedSignIn, error) { return read("tokens", "http://127.0.0.1:1", g.Key) },
		"private key should be a": func() ([]customhouse.ImportedSignIn, error) {
			return read("tokens", g.Endpoint, with("private_key", "canary"))
		},
	} {
		if all, err := ask(); err == nil || !strings.Contains(err.Error(), "bucket") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%d records, %v, want an error that names the bucket and says %q", len(all), err, want)
		}
	}
	for _, bad := range [][]byte{nil, []byte("canary"), []byte("{}"), with("type", "authorized_user"), with("private_key", ""), with("token_uri", "")} {
		if _, err := authn.NewGCSBucket("tokens", g.Endpoint, bad); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("NewGCSBucket = %v, want an error that quotes nothing", err)
		}
	}
}
