package notify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/index"
	"customhouse/notify"
	"customhouse/outbound"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T) *index.DB {
	t.Helper()
	db, err := index.Open(t.Context(), filepath.Join(t.TempDir(), "index.db"), index.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	return db
}

// run runs a notifier until the function that it returns is called, or the test ends.
func run(t *testing.T, db *index.DB, log io.Writer, endpoints ...notify.Endpoint) (*notify.Notifier, func()) {
	t.Helper()
	n, err := notify.New(t.Context(), db, endpoints, notify.Options{
		References: true, Source: "127.0.0.1:5000", Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { n.Run(ctx); close(done) }()
	stop := sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return n, stop
}

// journal is a log that may be read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// await waits until the log says something.
func (j *journal) await(t *testing.T, what string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(j.String(), what); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the log does not say %s: %s", what, j.String())
		}
	}
}

// sink is an endpoint that remembers what it took.
type sink struct {
	*httptest.Server
	mu      sync.Mutex
	answer  func(http.ResponseWriter, *http.Request, event) // nil: takes everything
	bodies  [][]byte
	headers []http.Header
	events  []event
}

type event struct {
	ID, Action string
	Target     struct {
		MediaType, Digest, Repository, FromRepository, URL, Tag string
		Size, Length                                            int64
		References                                              []customhouse.Descriptor
	}
	Request struct{ ID, Addr, Host, Method, UserAgent string }
	Actor   struct{ Name string }
	Source  struct{ Addr, InstanceID string }
}

func newSink(t *testing.T) *sink {
	s := &sink{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var envelope struct {
			Events []event
			Data   *event
		}
		if err := json.Unmarshal(body, &envelope); err != nil {
			t.Errorf("body %s: %v", body, err)
		}
		if envelope.Data != nil {
			envelope.Events = []event{*envelope.Data}
		}
		s.mu.Lock()
		answer := s.answer
		s.mu.Unlock()
		if answer != nil {
			rec := &statusWriter{ResponseWriter: w}
			answer(rec, r, envelope.Events[0])
			if rec.status/100 != 2 {
				return
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.bodies, s.headers, s.events = append(s.bodies, body), append(s.headers, r.Header), append(s.events, envelope.Events...)
	}))
	t.Cleanup(s.Close)
	return s
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (s *sink) answers(answer func(http.ResponseWriter, *http.Request, event)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// took waits for n events and returns them.
func (s *sink) took(t *testing.T, n int) []event {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		got := slices.Clone(s.events)
		s.mu.Unlock()
		if len(got) >= n {
			return got
		}
	}
	t.Fatalf("%s took %d events, want %d", s.URL, len(s.events), n)
	return nil
}

// await waits for an event that tells of d.
func (s *sink) await(t *testing.T, d customhouse.Digest) {
	t.Helper()
	for n := 1; ; n++ {
		if got := s.took(t, n); got[n-1].Target.Digest == d.String() {
			return
		}
	}
}

func repoOf(t *testing.T, name string) customhouse.Repo {
	t.Helper()
	r, err := customhouse.ParseRepo(name)
	must(t, err)
	return r
}

func digest(s string) customhouse.Digest { return customhouse.DigestOf(customhouse.SHA256, []byte(s)) }

func names(events []event) (all []string) {
	for _, e := range events {
		all = append(all, e.Action+" "+e.Target.Repository+" "+e.Target.Tag+e.Target.Digest[:min(len(e.Target.Digest), 12)])
	}
	return all
}

func short(d customhouse.Digest) string { return d.String()[:12] }

// Each change is told with where it has come from, in the order in which changes have happened, and of changes that failed
// nobody hears.
func TestChangesAreTold(t *testing.T) {
	db, s := open(t), newSink(t)
	run(t, db, io.Discard, notify.Endpoint{Name: "sink", URL: s.URL})
	ctx := customhouse.WithOrigin(t.Context(), customhouse.Origin{
		ID: "decision", Account: "alice", Client: netip.MustParseAddr("192.0.2.7"), Base: "https://hub.example", Method: "PUT", Agent: "docker/1",
	})
	a, b := repoOf(t, "a/app"), repoOf(t, "b/app")
	tag, err := customhouse.ParseTag("v1")
	must(t, err)
	config, manifest := digest("config"), digest("manifest")
	put := index.Put{
		Manifest: index.Manifest{Descriptor: customhouse.Descriptor{MediaType: customhouse.MediaTypeImageManifest, Digest: manifest, Size: 8}},
		Blobs:    []customhouse.Descriptor{{MediaType: "application/x", Digest: config, Size: 6}}, Tags: []customhouse.Tag{tag},
	}
	if err := db.PutManifest(ctx, a, put); err == nil {
		t.Fatal("PutManifest without its blob = nil")
	}
	must(t, db.AddBlob(ctx, a, config, 6, ""))
	must(t, db.MountBlob(ctx, a, b, config))
	must(t, db.PutManifest(ctx, a, put))
	must(t, db.DeleteTag(ctx, a, tag, nil))
	must(t, db.DeleteManifest(ctx, a, manifest, nil))
	must(t, db.DeleteBlob(ctx, a, config, nil))
	got := s.took(t, 6)
	want := []string{
		"push a/app " + short(config), "mount b/app " + short(config), "push a/app v1" + short(manifest),
		"delete a/app v1", "delete a/app " + short(manifest), "delete a/app " + short(config),
	}
	if diff := cmp.Diff(want, names(got)); diff != "" {
		t.Fatalf("events (-want +got):\n%s", diff)
	}
	push := got[2]
	if push.Target.URL != "https://hub.example/v2/a/app/manifests/"+manifest.String() || push.Target.Size != 8 || push.Target.Length != 8 ||
		len(push.Target.References) != 1 || push.Actor.Name != "alice" || push.Request.Addr != "192.0.2.7" || push.Request.ID != "decision" ||
		push.Request.Host != "hub.example" || push.Request.Method != "PUT" || push.Request.UserAgent != "docker/1" ||
		push.Source.Addr != "127.0.0.1:5000" || push.Source.InstanceID == "" || push.ID == "" {
		t.Errorf("push = %+v", push)
	}
	if got[1].Target.FromRepository != "a/app" {
		t.Errorf("mount = %+v", got[1])
	}
	if ct := s.headers[0].Get("Content-Type"); ct != "application/vnd.docker.distribution.events.v2+json" {
		t.Errorf("Content-Type = %s", ct)
	}
}

// TestR47_SinkAway: what happens while an endpoint is away, and while nobody runs, is told afterwards, all of it and in
// order; another endpoint does not wait.
func TestR47_SinkAway(t *testing.T) {
	db, away, here := open(t), newSink(t), newSink(t)
	away.answers(func(w http.ResponseWriter, r *http.Request, _ event) {
		select { // hangs
		case <-r.Context().Done():
		case <-time.After(10 * time.Second):
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	endpoints := []notify.Endpoint{
		{Name: "away", URL: away.URL, Timeout: 20 * time.Millisecond, Threshold: 2, Backoff: 10 * time.Millisecond},
		{Name: "here", URL: here.URL},
	}
	_, stop := run(t, db, io.Discard, endpoints...)
	repo := repoOf(t, "a/app")
	var want []string
	add := func(n int) {
		for range n {
			d := digest(fmt.Sprint("blob", len(want)))
			must(t, db.AddBlob(t.Context(), repo, d, 1, ""))
			want = append(want, "push a/app "+short(d))
		}
	}
	add(100)
	if got := names(here.took(t, 100)); !cmp.Equal(got, want) {
		t.Errorf("events = %v", got)
	}
	stop()
	add(20)
	away.answers(nil)
	run(t, db, io.Discard, endpoints...)
	got := names(away.took(t, 120))
	if !cmp.Equal(got, want) {
		t.Errorf("events of who was away (-want +got):\n%s", cmp.Diff(want, got))
	}
	here.took(t, 120)
	all, err := db.Endpoints(t.Context())
	must(t, err)
	for _, e := range all {
		if e.Dead != 0 {
			t.Errorf("endpoint %+v", e)
		}
	}
}

// What an endpoint refuses is laid aside, does not hold up what follows, and can be replayed.
func TestDeadLetters(t *testing.T) {
	db, s := open(t), newSink(t)
	poison := digest("poison")
	s.answers(func(w http.ResponseWriter, _ *http.Request, e event) {
		if e.Target.Digest == poison.String() {
			w.WriteHeader(http.StatusUnprocessableEntity)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	run(t, db, io.Discard, notify.Endpoint{Name: "sink", URL: s.URL, Tries: 3, Threshold: 100})
	repo := repoOf(t, "a/app")
	must(t, db.AddBlob(t.Context(), repo, digest("1"), 1, ""))
	must(t, db.AddBlob(t.Context(), repo, poison, 1, ""))
	must(t, db.AddBlob(t.Context(), repo, digest("2"), 1, ""))
	s.took(t, 2)
	dead, err := db.DeadEvents(t.Context(), "sink")
	must(t, err)
	if len(dead) != 1 || dead[0].Digest != poison.String() || !strings.Contains(dead[0].Reason, "422") || dead[0].Number != 2 {
		t.Fatalf("DeadEvents = %+v", dead)
	}
	if n, err := db.Replay(t.Context(), "sink", []int64{2, 1}); !errors.Is(err, customhouse.ErrNotFound) || n != 0 {
		t.Errorf("Replay of what is not dead = %d, %v", n, err)
	}
	if dead, err = db.DeadEvents(t.Context(), "sink"); err != nil || dead[0].Again {
		t.Errorf("a Replay that fails has taken up %+v, %v", dead, err)
	}
	s.answers(nil)
	if n, err := db.Replay(t.Context(), "sink", nil); err != nil || n != 1 {
		t.Fatalf("Replay = %d, %v", n, err)
	}
	if got := s.took(t, 3); got[2].Target.Digest != poison.String() {
		t.Errorf("replayed %+v", got[2])
	}
	for deadline := time.Now().Add(10 * time.Second); len(dead) > 0 && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		dead, err = db.DeadEvents(t.Context(), "")
		must(t, err)
	}
	if len(dead) > 0 {
		t.Errorf("DeadEvents = %+v after all was taken", dead)
	}
}

// Nobody is told of what they ignore, and nothing is kept that everybody ignores.
func TestIgnore(t *testing.T) {
	db, s, other := open(t), newSink(t), newSink(t)
	n, _ := run(t, db, io.Discard,
		notify.Endpoint{Name: "sink", URL: s.URL, Actions: []string{"pull", "delete"}, MediaTypes: []string{customhouse.MediaTypeOctetStream}},
		notify.Endpoint{Name: "other", URL: other.URL, Actions: []string{"pull"}})
	if n.WantsPulls() {
		t.Error("WantsPulls = true")
	}
	repo := repoOf(t, "a/app")
	m := index.Manifest{Descriptor: customhouse.Descriptor{MediaType: customhouse.MediaTypeImageIndex, Digest: digest("m"), Size: 1}}
	must(t, db.AddBlob(t.Context(), repo, digest("b"), 1, ""))
	must(t, db.DeleteBlob(t.Context(), repo, digest("b"), nil))
	must(t, db.PutManifest(t.Context(), repo, index.Put{Manifest: m}))
	other.took(t, 3)
	if got := names(s.took(t, 1)); !cmp.Equal(got, []string{"push a/app " + short(digest("m"))}) {
		t.Errorf("events = %v", got)
	}
}

// What is kept of another registry has happened there: nobody is told.
func TestUntold(t *testing.T) {
	db, s := open(t), newSink(t)
	run(t, db, io.Discard, notify.Endpoint{Name: "sink", URL: s.URL})
	repo := repoOf(t, "a/app")
	must(t, db.AddBlob(customhouse.Untold(t.Context()), repo, digest("copy"), 1, ""))
	must(t, db.AddBlob(t.Context(), repo, digest("pushed"), 1, ""))
	if got := names(s.took(t, 1)); !cmp.Equal(got, []string{"push a/app " + short(digest("pushed"))}) {
		t.Errorf("events = %v", got)
	}
}

// Pulls are told too, and never make anybody wait.
func TestPulls(t *testing.T) {
	db, s := open(t), newSink(t)
	n, stop := run(t, db, io.Discard, notify.Endpoint{Name: "sink", URL: s.URL})
	pulled := func(what string) {
		n.Pulled(customhouse.Event{Action: customhouse.EventPull, Repo: "a/app", Digest: digest(what).String(), MediaType: "x"})
	}
	for i := range 20 {
		pulled(fmt.Sprint(i))
	}
	if got := s.took(t, 20); got[19].Action != "pull" || got[19].Target.Digest != digest("19").String() {
		t.Errorf("pull = %+v", got[19])
	}
	pulled("the last") // before an end that is no crash
	stop()             // which may cut off an answer: then that event is told again
	run(t, db, io.Discard, notify.Endpoint{Name: "sink", URL: s.URL})
	s.await(t, digest("the last"))
}

// TestS92_Signature: what is sent is signed over time and body, a redirect is not followed, and secrets are in no line of
// the log.
func TestS92_Signature(t *testing.T) {
	db, s, elsewhere := open(t), newSink(t), newSink(t)
	moved := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	t.Cleanup(moved.Close)
	var log journal
	_, stop := run(t, db, &log,
		notify.Endpoint{Name: "sink", URL: s.URL, Secret: "hunter2", Headers: map[string][]customhouse.Secret{"Authorization": {"Bearer hunter3"}}, Format: notify.CloudEvents},
		notify.Endpoint{Name: "moved", URL: moved.URL + "/?key=hunter4", Threshold: 1, Backoff: time.Millisecond})
	must(t, db.AddBlob(t.Context(), repoOf(t, "a/app"), digest("b"), 1, ""))
	s.took(t, 1)
	h, body := s.headers[0], s.bodies[0]
	var seconds int64
	if _, err := fmt.Sscanf(h.Get(outbound.SignatureHeader), "t=%d,", &seconds); err != nil {
		t.Fatalf("signature %q: %v", h.Get(outbound.SignatureHeader), err)
	}
	if want := outbound.Sign("hunter2", time.Unix(seconds, 0), body); h.Get(outbound.SignatureHeader) != want {
		t.Errorf("signature = %s, want %s", h.Get(outbound.SignatureHeader), want)
	}
	if h.Get("Authorization") != "Bearer hunter3" || h.Get("Content-Type") != "application/cloudevents+json" {
		t.Errorf("headers = %v", h)
	}
	var ce struct{ SpecVersion, Type, Source, Subject, ID, Time, DataContentType string }
	must(t, json.Unmarshal(body, &ce))
	if ce.SpecVersion != "1.0" || ce.Type != "io.customhouse.push" || ce.Source != "//127.0.0.1:5000" || ce.Subject != "a/app" || ce.ID == "" || ce.Time == "" {
		t.Errorf("CloudEvent = %+v", ce)
	}
	log.await(t, "307") // of the one that has moved
	stop()
	if len(elsewhere.events) > 0 {
		t.Error("a redirect was followed")
	}
	if strings.Contains(log.String(), "hunter") {
		t.Errorf("log = %s", log.String())
	}
}

// An endpoint that answers with a page takes events, and the log asks whether its URL is right.
func TestPageForPeople(t *testing.T) {
	db, s := open(t), newSink(t)
	s.answers(func(w http.ResponseWriter, _ *http.Request, _ event) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(http.StatusOK)
		io.WriteString(w, "<html>Welcome</html>")
	})
	var log bytes.Buffer
	_, stop := run(t, db, &log, notify.Endpoint{Name: "sink", URL: s.URL})
	must(t, db.AddBlob(t.Context(), repoOf(t, "a/app"), digest("b"), 1, ""))
	must(t, db.AddBlob(t.Context(), repoOf(t, "a/app"), digest("c"), 1, ""))
	s.took(t, 2)
	stop()
	if strings.Count(log.String(), "page for people") != 1 {
		t.Errorf("log = %s", log.String())
	}
}

// What waits is bounded: the oldest is lost. What everybody has been told is forgotten.
func TestPrune(t *testing.T) {
	db, s := open(t), newSink(t)
	s.answers(func(w http.ResponseWriter, _ *http.Request, _ event) { w.WriteHeader(http.StatusServiceUnavailable) })
	_, stop := run(t, db, io.Discard, notify.Endpoint{Name: "sink", URL: s.URL})
	stop()
	for i := range 100 {
		must(t, db.AddBlob(t.Context(), repoOf(t, "a/app"), digest(fmt.Sprint(i)), 1, ""))
	}
	lost, err := db.PruneEvents(t.Context(), 5000)
	must(t, err)
	left, err := db.Events(t.Context(), 0, 1000)
	must(t, err)
	if lost == 0 || int(lost)+len(left) != 100 || left[len(left)-1].Number != 100 {
		t.Errorf("PruneEvents = %d, %d are left, up to %d", lost, len(left), left[len(left)-1].Number)
	}
	if lost, err := db.PruneEvents(t.Context(), 5000); lost != 0 || err != nil {
		t.Errorf("PruneEvents again = %d, %v", lost, err)
	}
	must(t, db.Told(t.Context(), "sink", 100))
	_, err = db.PruneEvents(t.Context(), 5000)
	must(t, err)
	if left, err := db.Events(t.Context(), 0, 1000); len(left) > 0 || err != nil {
		t.Errorf("%d events are left after all were told, %v", len(left), err)
	}
}

// Endpoints that are wrong, or alike, are refused.
func TestNewRefuses(t *testing.T) {
	db := open(t)
	for _, endpoints := range [][]notify.Endpoint{
		{{Name: "a", URL: "ftp://x"}}, {{Name: "a", URL: "http://x"}, {Name: "a", URL: "http://y"}}, {{Name: "a", URL: ":"}},
	} {
		if _, err := notify.New(t.Context(), db, endpoints, notify.Options{}); err == nil {
			t.Errorf("New(%v) = nil", endpoints)
		}
	}
}
