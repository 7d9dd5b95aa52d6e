package registry_test

import (
	"bytes"
	"context"
	"io"
	"slices"
	"testing"
	"time"

	"customhouse"
	"customhouse/registry"
)

// far is a repository of another registry as an upstream.
type far struct{ registry.Repository }

func (f far) Resolve(ctx context.Context, _ customhouse.Repo, ref customhouse.Ref) (customhouse.Digest, error) {
	d, err := f.Repository.Resolve(ctx, ref)
	return d.Digest, notThere(err)
}

func (f far) Manifest(ctx context.Context, _ customhouse.Repo, ref customhouse.Ref) ([]byte, error) {
	m, err := f.Repository.Manifest(ctx, ref)
	return m.Bytes, notThere(err)
}

func (f far) Blob(ctx context.Context, _ customhouse.Repo, d customhouse.Digest) (io.ReadCloser, int64, error) {
	b, err := pull(f.Repository, d, 0, -1)
	return io.NopCloser(bytes.NewReader(b)), int64(len(b)), notThere(err)
}

func (f far) BlobSize(ctx context.Context, _ customhouse.Repo, d customhouse.Digest) (int64, error) {
	b, err := pull(f.Repository, d, 0, -1)
	return int64(len(b)), notThere(err)
}

func (f far) Tags(ctx context.Context, _ customhouse.Repo, after string, n int) ([]string, bool, error) {
	return f.Repository.Tags(ctx, after, n)
}

func notThere(err error) error {
	if err != nil {
		return customhouse.ErrNotFound
	}
	return nil
}

// What nobody asks for goes from a copy, with what only it names; what is asked for stays, and so does what was pushed.
func TestExpire(t *testing.T) {
	const ttl = 8 * time.Hour
	config, shared, only := bytesOf(100, "config"), bytesOf(100, "shared"), bytesOf(100, "only")
	a, b, c, mine := imageOf(t, config, shared), imageOf(t, config, only), imageOf(t, shared), imageOf(t, config)
	list := indexOf(t, a, b)

	up := newHouse(t, registry.Options{}).repo(t, "up/app")
	push := func(p registry.Repository, manifest []byte, tags ...string) {
		t.Helper()
		m := registry.Push{Bytes: manifest}
		for _, tag := range tags {
			m.Tags = append(m.Tags, tagOf(t, tag))
		}
		_, err := p.PushManifest(t.Context(), m)
		must(t, err)
	}
	for _, blob := range [][]byte{config, shared, only} {
		pushBlob(t, up, blob)
	}
	push(up, a)
	push(up, b)
	push(up, list, "list")
	push(up, c, "c")

	h := newHouse(t, registry.Options{})
	before := h.repo(t, "copy/app") // is no copy yet
	pushBlob(t, before, config)
	push(before, mine, "mine")
	source := registry.Source{Upstream: far{up}, TTL: ttl, Linger: time.Minute}
	opts := h.opts
	opts.Source = func(customhouse.Repo) *registry.Source { s := source; return &s }
	copied := h.With(opts)
	t.Cleanup(copied.Close)
	p := copied.Repository(before.Name())
	get := func(ref customhouse.Ref) {
		t.Helper()
		_, err := p.Manifest(t.Context(), ref)
		must(t, err)
	}
	expire := func(want int) {
		t.Helper()
		if n, err := copied.Expire(t.Context()); err != nil || n != want {
			t.Fatalf("Expire = %d, %v; want %d", n, err, want)
		}
	}
	// has checks what is in the copy, without a look elsewhere.
	has := func(manifests [][]byte, tags []string, blobs ...[]byte) {
		t.Helper()
		here := h.With(h.opts).Repository(before.Name())
		for name, m := range map[string][]byte{"a": a, "b": b, "c": c, "mine": mine, "list": list} {
			_, err := here.Stat(t.Context(), customhouse.Ref{Digest: sha(m)})
			if there := slices.ContainsFunc(manifests, func(other []byte) bool { return bytes.Equal(m, other) }); there != (err == nil) {
				t.Errorf("manifest %s: %v, want it there: %t", name, err, there)
			}
		}
		if got, _, err := here.Tags(t.Context(), "", 100); err != nil || !slices.Equal(got, tags) {
			t.Errorf("Tags = %v, %v; want %v", got, err, tags)
		}
		for name, blob := range map[string][]byte{"config": config, "shared": shared, "only": only} {
			_, err := pull(here, sha(blob), 0, -1)
			if there := slices.ContainsFunc(blobs, func(other []byte) bool { return bytes.Equal(blob, other) }); there != (err == nil) {
				t.Errorf("blob %s: %v, want it there: %t", name, err, there)
			}
		}
	}

	get(customhouse.Ref{Tag: tagOf(t, "list")})
	get(customhouse.Ref{Tag: tagOf(t, "c")})
	get(customhouse.Ref{Digest: sha(a)})
	get(customhouse.Ref{Digest: sha(b)})
	for _, blob := range [][]byte{config, shared, only} {
		wantBlob(t, p, blob)
	}
	copied.Close() // what is on its way is kept
	everything := [][]byte{a, b, c, mine, list}
	expire(0)
	has(everything, []string{"c", "list", "mine"}, config, shared, only)

	must(t, up.DeleteTag(t.Context(), tagOf(t, "list"), nil)) // is not there any more, and so not here
	_, err := p.Manifest(t.Context(), customhouse.Ref{Tag: tagOf(t, "list")})
	wantCode(t, "Manifest of what was withdrawn", err, customhouse.ManifestUnknown)
	get(customhouse.Ref{Tag: tagOf(t, "mine")}) // never was there
	has(everything, []string{"c", "mine"}, config, shared, only)
	push(up, list, "list")
	h.now = h.now.Add(time.Minute)
	get(customhouse.Ref{Tag: tagOf(t, "list")})

	h.now = h.now.Add(ttl / 2)
	get(customhouse.Ref{Tag: tagOf(t, "c")})
	get(customhouse.Ref{Digest: sha(a)})
	h.now = h.now.Add(ttl * 3 / 4)
	expire(2) // the list first, then what only it has kept
	has([][]byte{a, c, mine}, []string{"c", "mine"}, config, shared)

	get(customhouse.Ref{Tag: tagOf(t, "list")}) // comes again
	has([][]byte{a, c, mine, list}, []string{"c", "list", "mine"}, config, shared)

	push(h.With(h.opts).Repository(before.Name()), a) // is theirs who have pushed it
	source.TTL = 0
	h.now = h.now.Add(100 * ttl)
	expire(0)
	source.TTL = ttl
	expire(2)
	has([][]byte{a, mine}, []string{"mine"}, config, shared)
}
