package registry_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"customhouse"
	"customhouse/blob"
	"customhouse/index"
	"customhouse/registry"

	"github.com/google/go-cmp/cmp"
)

// A house is a registry on disk that can be started again, with a store that can be told to fail.
type house struct {
	*registry.Registry
	dir   string
	opts  registry.Options
	store *faulty
	index *index.DB
	now   time.Time
}

func newHouse(t *testing.T, opts registry.Options) *house {
	t.Helper()
	h := &house{dir: t.TempDir(), opts: opts, now: time.Now()}
	if opts.ScrubInterval == 0 {
		h.opts.ScrubInterval = time.Hour
	}
	h.opts.Now = func() time.Time { return h.now }
	h.start(t)
	t.Cleanup(func() { h.index.Close() })
	return h
}

func (h *house) start(t *testing.T) {
	t.Helper()
	var err error
	h.index, err = index.Open(t.Context(), filepath.Join(h.dir, "index.db"), index.Options{Now: h.opts.Now})
	must(t, err)
	dir, err := blob.OpenDir(h.dir, blob.Reserve{})
	must(t, err)
	h.store = &faulty{Store: dir, plan: map[string][]error{}}
	h.Registry = registry.New(h.index, h.store, h.opts)
}

// restart is what a crash and a new process make of the registry.
func (h *house) restart(t *testing.T) {
	t.Helper()
	must(t, h.index.Close())
	h.start(t)
}

func (h *house) repo(t *testing.T, name string) registry.Repository {
	t.Helper()
	r, err := customhouse.ParseRepo(name)
	must(t, err)
	return h.Repository(r)
}

// stored is where the content of d lies.
func (h *house) stored(d customhouse.Digest) string {
	return filepath.Join(h.dir, "blobs", string(d.Algorithm()), d.Hex()[:2], d.Hex())
}

// files are the names in a folder of the store.
func (h *house) files(t *testing.T, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(h.dir, folder))
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// faulty is a Store that fails as its schedule says.
type faulty struct {
	blob.Store
	mu   sync.Mutex
	plan map[string][]error
}

// fails makes the next calls of an operation fail with errs, in turn; nil lets one through. "append" fails after half of
// the bytes, "commit" before it does anything, "committed" when it has done everything, "read" in the middle of content.
func (f *faulty) fails(operation string, errs ...error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plan[operation] = errs
}

func (f *faulty) next(operation string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := f.plan[operation]
	if len(list) == 0 {
		return nil
	}
	f.plan[operation] = list[1:]
	return list[0]
}

func (f *faulty) Append(ctx context.Context, id string, offset int64, r io.Reader) (int64, error) {
	fault := f.next("append")
	if fault == nil {
		return f.Store.Append(ctx, id, offset, r)
	}
	all, err := io.ReadAll(r)
	if err != nil {
		return 0, err
	}
	n, err := f.Store.Append(ctx, id, offset, bytes.NewReader(all[:len(all)/2]))
	return n, errors.Join(fault, err)
}

func (f *faulty) Reread(ctx context.Context, id string) (blob.Object, error) {
	if err := f.next("reread"); err != nil {
		return blob.Object{}, err
	}
	return f.Store.Reread(ctx, id)
}

func (f *faulty) Commit(ctx context.Context, id string, d customhouse.Digest) error {
	if err := f.next("commit"); err != nil {
		return err
	}
	return errors.Join(f.Store.Commit(ctx, id, d), f.next("committed"))
}

func (f *faulty) Discard(ctx context.Context, id string) error {
	if err := f.next("discard"); err != nil {
		return err
	}
	return f.Store.Discard(ctx, id)
}

func (f *faulty) Open(ctx context.Context, d customhouse.Digest) (blob.Object, error) {
	if err := f.next("open"); err != nil {
		return blob.Object{}, err
	}
	o, err := f.Store.Open(ctx, d)
	if fault := f.next("read"); err == nil && fault != nil {
		o.ReadSeekCloser = &faultyObject{o.ReadSeekCloser, o.Size / 2, fault}
	}
	return o, err
}

// Leftovers is what Sweep looks for in a store.
func (f *faulty) Leftovers(before time.Time, alive func(string) bool) error {
	return f.Store.(*blob.Dir).Leftovers(before, alive)
}

// faultyObject fails when left bytes have been read.
type faultyObject struct {
	io.ReadSeekCloser
	left  int64
	fault error
}

func (o *faultyObject) Read(p []byte) (int, error) {
	if o.left == 0 {
		return 0, o.fault
	}
	n, err := o.ReadSeekCloser.Read(p[:min(int64(len(p)), o.left)])
	o.left -= int64(n)
	return n, err
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// wantCode checks that a client hears a code; "" is success.
func wantCode(t *testing.T, what string, err error, code customhouse.Code) {
	t.Helper()
	if code == "" && err != nil || code != "" && !errors.Is(err, &customhouse.Error{Code: code}) {
		t.Fatalf("%s = %v, want %q", what, err, code)
	}
}

func sha(content []byte) customhouse.Digest { return customhouse.DigestOf(customhouse.SHA256, content) }

// bytesOf returns size bytes that depend on what.
func bytesOf(size int, what ...any) []byte {
	b := make([]byte, size)
	rand.NewChaCha8(sha256.Sum256(fmt.Append(nil, what...))).Read(b)
	return b
}

// pushBlob pushes a blob in one go.
func pushBlob(t *testing.T, p registry.Repository, content []byte) customhouse.Digest {
	t.Helper()
	d := sha(content)
	if err := p.Monolithic(t.Context(), d, int64(len(content)), bytes.NewReader(content)); err != nil {
		t.Fatalf("Monolithic = %v", err)
	}
	return d
}

// pull reads a section of a blob.
func pull(p registry.Repository, d customhouse.Digest, offset, n int64) ([]byte, error) {
	b, err := p.Blob(context.Background(), d)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	if n < 0 {
		n = b.Size
	}
	r, err := b.Section(offset, n)
	if err != nil {
		return nil, err
	}
	got := make([]byte, n)
	read, err := io.ReadFull(r, got)
	return got[:read], err
}

func wantBlob(t *testing.T, p registry.Repository, want []byte) {
	t.Helper()
	got, err := pull(p, sha(want), 0, -1)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("blob = %d bytes, %v; want %d", len(got), err, len(want))
	}
}

// imageOf returns a manifest of blobs, the first of which is the config.
func imageOf(t *testing.T, blobs ...[]byte) []byte {
	t.Helper()
	d := make([]map[string]any, len(blobs))
	for i, b := range blobs {
		d[i] = map[string]any{"mediaType": "application/test", "digest": sha(b).String(), "size": len(b)}
	}
	b, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": customhouse.MediaTypeImageManifest, "config": d[0], "layers": d[1:],
	})
	must(t, err)
	return b
}

func tagOf(t *testing.T, s string) customhouse.Tag {
	t.Helper()
	tag, err := customhouse.ParseTag(s)
	must(t, err)
	return tag
}

func TestMount(t *testing.T) {
	h := newHouse(t, registry.Options{})
	from, to := h.repo(t, "acc/from"), h.repo(t, "acc/to")
	content := bytesOf(1<<10, "mounted")
	d := sha(content)
	wantCode(t, "Mount of nothing", to.Mount(t.Context(), from, d), customhouse.BlobUnknown)
	pushBlob(t, from, content)
	_, err := to.Blob(t.Context(), d)
	wantCode(t, "Blob before it is mounted", err, customhouse.BlobUnknown)
	must(t, to.Mount(t.Context(), from, d), to.Mount(t.Context(), to, d))
	wantBlob(t, to, content)
	if got, err := h.Holders(t.Context(), d); err != nil || !cmp.Equal(got, []string{"acc/from", "acc/to"}) {
		t.Fatalf("Holders = %v, %v", got, err)
	}
	must(t, from.DeleteBlob(t.Context(), d, nil))
	wantCode(t, "DeleteBlob again", from.DeleteBlob(t.Context(), d, nil), customhouse.BlobUnknown)
	wantCode(t, "Mount of what was deleted", h.repo(t, "acc/third").Mount(t.Context(), from, d), customhouse.BlobUnknown)
	wantBlob(t, to, content)
	must(t, os.Remove(h.stored(d)))
	wantCode(t, "Mount of what is lost", from.Mount(t.Context(), to, d), customhouse.BlobUnknown)
}

// Readiness says no when nothing can be written, but not when only the disk is full; it does not try at each question.
func TestReady(t *testing.T) {
	h := newHouse(t, registry.Options{})
	tick := func() { h.now = h.now.Add(time.Second) }
	must(t, h.Ready(t.Context()))
	h.store.fails("append", blob.ErrReadOnly, blob.ErrNoSpace, nil)
	must(t, h.Ready(t.Context()))
	tick()
	for range 3 {
		wantCode(t, "Ready on a read-only disk", h.Ready(t.Context()), customhouse.Unavailable)
	}
	tick()
	must(t, h.Ready(t.Context()))
	tick()
	must(t, h.Ready(t.Context()))
	if files := h.files(t, "uploads"); len(files) > 0 {
		t.Fatalf("uploads = %v, want nothing left", files)
	}
	must(t, h.index.Close())
	if err := h.Ready(t.Context()); err == nil {
		t.Fatal("Ready without an index = nil, want an error")
	}
}

func TestSweep(t *testing.T) {
	h := newHouse(t, registry.Options{UploadTTL: time.Hour})
	p := h.repo(t, "acc/sweep")
	begin := func() registry.Upload {
		u, err := p.BeginUpload(t.Context(), "alice", "")
		must(t, err)
		_, err = u.Append(t.Context(), 0, -1, bytes.NewReader([]byte("hello")))
		must(t, err)
		return u
	}
	var stale []registry.Upload
	for range 250 { // more than Sweep takes at once
		stale = append(stale, begin())
	}
	busy := begin()
	body, feed := io.Pipe()
	appended := make(chan error, 1)
	go func() {
		_, err := busy.Append(context.Background(), 5, -1, body)
		appended <- err
	}()
	feed.Write([]byte(" "))
	h.now = h.now.Add(2 * time.Hour)
	fresh := begin()
	for _, id := range []string{"LEFTOVER", stale[0].ID()} {
		path := filepath.Join(h.dir, "uploads", id)
		must(t, os.WriteFile(path, []byte("x"), 0o600), os.Chtimes(path, h.now.Add(-3*time.Hour), h.now.Add(-3*time.Hour)))
	}
	must(t, os.Chtimes(filepath.Join(h.dir, "uploads", fresh.ID()), h.now, h.now))
	must(t, os.Chtimes(filepath.Join(h.dir, "uploads", busy.ID()), h.now, h.now))

	must(t, h.Sweep(t.Context()))
	for _, u := range stale {
		_, err := u.Size(t.Context())
		wantCode(t, "Size of a stale upload", err, customhouse.BlobUploadUnknown)
	}
	if files := h.files(t, "uploads"); len(files) != 2 {
		t.Fatalf("uploads = %v, want the busy one and the fresh one", files)
	}
	feed.Write([]byte("world"))
	feed.Close()
	must(t, <-appended)
	for u, content := range map[registry.Upload]string{busy: "hello world", fresh: "hello"} {
		must(t, u.Finish(t.Context(), sha([]byte(content)), registry.AtEnd, 0, bytes.NewReader(nil)))
		wantBlob(t, p, []byte(content))
	}
	must(t, h.Sweep(t.Context()))
}

// Without a time to live nothing is swept.
func TestSweepNever(t *testing.T) {
	h := newHouse(t, registry.Options{})
	u, err := h.repo(t, "acc/sweep").BeginUpload(t.Context(), "", "")
	must(t, err)
	h.now = h.now.Add(1000 * time.Hour)
	must(t, h.Sweep(t.Context()))
	if _, err := u.Size(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestLists(t *testing.T) {
	h := newHouse(t, registry.Options{})
	config := bytesOf(10, "config")
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		p := h.repo(t, name)
		pushBlob(t, p, config)
		_, err := p.PushManifest(t.Context(), registry.Push{
			Bytes: imageOf(t, config), Tags: []customhouse.Tag{tagOf(t, "1"), tagOf(t, "2"), tagOf(t, "3")},
		})
		must(t, err)
	}
	all := registry.Visible{}
	vowels := registry.Visible{Ask: func(r customhouse.Repo) bool { return r.String() == "a" || r.String() == "e" }}
	some := registry.Visible{Ranges: []customhouse.Range{
		{First: "b", End: "d", Sure: true}, {First: "d\x00", End: "dd", Sure: true}, {First: "e"}, // what is asked about the last is no
	}, Ask: func(customhouse.Repo) bool { return false }}
	for _, test := range []struct {
		after   string
		n       int
		visible registry.Visible
		want    []string
		more    bool
	}{
		{"", 10, all, []string{"a", "b", "c", "d", "e"}, false},
		{"", 5, all, []string{"a", "b", "c", "d", "e"}, false},
		{"", 2, all, []string{"a", "b"}, true},
		{"b", 2, all, []string{"c", "d"}, true},
		{"", 1, vowels, []string{"a"}, true},
		{"a", 1, vowels, []string{"e"}, false},
		{"", 2, vowels, []string{"a", "e"}, false},
		{"", 1, some, []string{"b"}, true},
		{"", 9, some, []string{"b", "c"}, false},
		{"b", 9, some, []string{"c"}, false},
		{"c", 9, some, []string{}, false},
		{"", 9, registry.Visible{Ranges: []customhouse.Range{}}, []string{}, false},
	} {
		got, more, err := h.Repositories(t.Context(), test.after, test.n, test.visible)
		if err != nil || more != test.more || !cmp.Equal(got, test.want) {
			t.Errorf("Repositories(%q, %d) = %v, %v, %v; want %v, %v", test.after, test.n, got, more, err, test.want, test.more)
		}
	}
	tags, more, err := h.repo(t, "a").Tags(t.Context(), "1", 1)
	if err != nil || !more || !cmp.Equal(tags, []string{"2"}) {
		t.Errorf("Tags = %v, %v, %v; want 2 and more", tags, more, err)
	}
	_, _, err = h.repo(t, "nobody").Tags(t.Context(), "", 1)
	wantCode(t, "Tags of no repository", err, customhouse.NameUnknown)
}
