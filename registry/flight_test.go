package registry_test

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"customhouse"
	"customhouse/blob"
	"customhouse/index"
	"customhouse/registry"
)

// cutOff is an upstream whose transfers end early.
type cutOff struct {
	registry.Upstream
	content []byte
	size    int64
}

func (c cutOff) Blob(context.Context, customhouse.Repo, customhouse.Digest) (io.ReadCloser, int64, error) {
	return io.NopCloser(io.MultiReader(bytes.NewReader(c.content), iotest.ErrReader(io.ErrUnexpectedEOF))), c.size, nil
}

// discarding is a store that goes on from Discard when somebody has looked for the content in vain.
type discarding struct {
	blob.Store
	discarded, missed chan struct{}
	once              sync.Once
}

func (d *discarding) Discard(ctx context.Context, id string) error {
	err := d.Store.Discard(ctx, id)
	close(d.discarded)
	<-d.missed
	return err
}

func (d *discarding) Open(ctx context.Context, digest customhouse.Digest) (blob.Object, error) {
	o, err := d.Store.Open(ctx, digest)
	select {
	case <-d.discarded:
		d.once.Do(func() { close(d.missed) })
	default:
	}
	return o, err
}

// Who reads a blob whose transfer ends early is told that, also where the bytes that came are thrown away already.
func TestFetchEndsEarly(t *testing.T) {
	dir := t.TempDir()
	db, err := index.Open(t.Context(), filepath.Join(dir, "index.db"), index.Options{})
	must(t, err)
	t.Cleanup(func() { db.Close() })
	files, err := blob.OpenDir(dir, blob.Reserve{})
	must(t, err)
	store := &discarding{Store: files, discarded: make(chan struct{}), missed: make(chan struct{})}
	repo, err := customhouse.ParseRepo("acc/app")
	must(t, err)
	content := bytesOf(100<<10, "cut off")
	up := cutOff{content: content[:60<<10], size: int64(len(content))}
	r := registry.New(db, store, registry.Options{Source: func(customhouse.Repo) *registry.Source {
		return &registry.Source{Upstream: up, Repo: repo}
	}})
	t.Cleanup(r.Close)
	b, err := r.Repository(repo).Blob(t.Context(), sha(content))
	must(t, err)
	defer b.Close()
	<-store.discarded
	all, err := b.Section(0, b.Size)
	must(t, err)
	_, err = io.ReadAll(all)
	if err == nil || !strings.HasSuffix(err.Error(), "the transfer ended after 61440 of 102400 bytes: BLOB_UPLOAD_INVALID: the content did not arrive whole: unexpected EOF") {
		t.Errorf("Read = %v", err)
	}
}
