package mirror_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"customhouse"
	"customhouse/mirror"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// program writes a credential helper that counts how often it is asked.
func program(t *testing.T, body string) (path, count string) {
	t.Helper()
	dir := t.TempDir()
	path, count = filepath.Join(dir, "docker-credential-x"), filepath.Join(dir, "count")
	syscall.ForkLock.RLock() // see program's
	defer syscall.ForkLock.RUnlock()
	must(t, os.WriteFile(path, []byte("#!/bin/sh\necho \"$1 $(cat)\" >>"+count+"\n"+body+"\n"), 0o700))
	return path, count
}

// A helper is asked once, or when its answer is too old; where it fails nothing is sent without a credential.
func TestHelper(t *testing.T) {
	var seen []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, ok := r.BasicAuth()
		if ok {
			seen = append(seen, user+":"+password)
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(401)
	}))
	defer s.Close()
	repo, err := customhouse.ParseRepo("app")
	must(t, err)
	hour, none := time.Hour, time.Duration(0)
	for _, tt := range []struct {
		name, body string
		lifetime   *time.Duration
		asked      int
		sent       string
	}{
		{"for ever", `echo '{"ServerURL":"x","Username":"u","Secret":"p"}'`, nil, 1, "u:p"},
		{"for an hour", `echo '{"Username":"u","Secret":"p"}'`, &hour, 1, "u:p"},
		{"each time", `echo '{"Username":"u","Secret":"p"}'`, &none, 3, "u:p"},
		// After two failures in a row there is a pause.
		{"it fails", `echo '{"Username":"u","Secret":"p"}'; exit 1`, nil, 2, ""},
		{"no JSON", `echo credentials not found`, nil, 2, ""},
		{"a flood", `head -c 1000000 /dev/zero`, nil, 2, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			seen = nil
			path, count := program(t, tt.body)
			up, err := mirror.New(mirror.Options{URL: s.URL, Helper: mirror.Helper{Command: path, Lifetime: tt.lifetime}})
			must(t, err)
			for range 3 {
				_, err := up.Resolve(t.Context(), repo, customhouse.Ref{Digest: customhouse.DigestOf(customhouse.SHA256, nil)})
				if err == nil || strings.Contains(err.Error(), `"p"`) {
					t.Errorf("Resolve = %v", err)
				}
				if tt.sent == "" && errors.Is(err, customhouse.ErrNotFound) {
					t.Errorf("Resolve = %v, want an outage", err)
				}
			}
			b, err := os.ReadFile(count)
			must(t, err)
			if asked := strings.Count(string(b), "get "+s.URL); asked != tt.asked {
				t.Errorf("asked %d times (%q), want %d", asked, b, tt.asked)
			}
			if len(seen) > 0 != (tt.sent != "") || len(seen) > 0 && seen[0] != tt.sent {
				t.Errorf("sent %q, want %q", seen, tt.sent)
			}
		})
	}
}

// Tags come in pages, also from a registry that knows none; names outside of the grammar are left out.
func TestTags(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"name":"app","tags":["a","b","../c","d"]}`)
	}))
	defer s.Close()
	up, err := mirror.New(mirror.Options{URL: s.URL})
	must(t, err)
	repo, err := customhouse.ParseRepo("app")
	must(t, err)
	var all []string
	for after, more := "", true; more; {
		var tags []string
		tags, more, err = up.Tags(t.Context(), repo, after, 2)
		must(t, err)
		all = append(all, tags...)
		after = tags[len(tags)-1]
	}
	if got := strings.Join(all, " "); got != "a b d" {
		t.Errorf("tags are %q, want a b d", got)
	}
}

// A URL is that of a registry, and Docker Hub has another name for its content.
func TestNew(t *testing.T) {
	for _, bad := range []string{"", "hub.example.com", "ftp://hub.example.com", "https://user@hub.example.com", "https://hub.example.com/v2/", "https://"} {
		if _, err := mirror.New(mirror.Options{URL: bad}); err == nil {
			t.Errorf("New(%q) = nil, want an error", bad)
		}
	}
	up, err := mirror.New(mirror.Options{URL: "https://docker.io"})
	must(t, err)
	if up.Host() != "registry-1.docker.io" {
		t.Errorf("Host = %q", up.Host())
	}
}
