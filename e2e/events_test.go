//go:build linux

package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestR47_EventsSurviveKill: every push that was acknowledged is told, in order, though the process was killed and the
// endpoint was away; and who pushed and who pulled is told with it.
func TestR47_EventsSurviveKill(t *testing.T) {
	var mu sync.Mutex
	var told []string
	away := true
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var envelope struct {
			Events []struct {
				Action string
				Target struct{ Repository, Digest, Tag string }
				Actor  struct{ Name string }
			}
		}
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &envelope); err != nil {
			t.Errorf("%s: %v", body, err)
		}
		mu.Lock()
		defer mu.Unlock()
		if away {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		for _, e := range envelope.Events {
			line := e.Action + " " + e.Target.Repository + " " + e.Target.Digest + " " + e.Actor.Name
			if len(told) == 0 || told[len(told)-1] != line { // at least once
				told = append(told, line)
			}
		}
	}))
	defer sink.Close()
	config := write(t, t.TempDir(), "customhouse.yml", read(t, "testdata/people.yml")+`
notify: {endpoints: [{name: sink, url: "`+sink.URL+`", backoff: 10ms}]}
`)
	data := t.TempDir()
	s := serveData(t, data, "-c", config)
	do := func(method, path string, body []byte, status int) {
		t.Helper()
		r, err := http.NewRequest(method, s.url+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("writer", "writer-secret")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != status {
			t.Fatalf("%s %s = %d, want %d", method, path, resp.StatusCode, status)
		}
	}
	var want []string
	var last string
	push := func(n int) {
		for range n {
			content := []byte(fmt.Sprint("blob ", len(want)))
			last = fmt.Sprintf("sha256:%x", sha256.Sum256(content))
			do("POST", "/v2/acc/app/blobs/uploads/?digest="+last, content, http.StatusCreated)
			want = append(want, "push acc/app "+last+" writer")
		}
	}
	push(30)
	s.kill()
	s = serveData(t, data, "-c", config)
	push(10)
	mu.Lock()
	away = false
	mu.Unlock()
	do("GET", "/v2/acc/app/blobs/"+last, nil, http.StatusOK)
	want = append(want, "pull acc/app "+last+" writer")
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		mu.Lock()
		got := slices.Clone(told)
		mu.Unlock()
		if slices.Equal(got, want) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("told %d events, want %d:\n%q\n%q", len(got), len(want), got, want)
		}
	}
}
