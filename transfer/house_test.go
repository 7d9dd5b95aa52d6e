package transfer_test

import (
	"context"
	"path/filepath"
	"testing"

	"customhouse"
	"customhouse/blob"
	"customhouse/index"
	"customhouse/registry"
	"customhouse/transfer"
)

// A house is a registry in a folder, whose store reads what was adopted from where it lies.
type house struct {
	*registry.Registry
	dir   string
	index *index.DB
}

func newHouse(t testing.TB) *house {
	t.Helper()
	return openHouse(t, t.TempDir())
}

func openHouse(t testing.TB, dir string) *house {
	t.Helper()
	db, err := index.Open(context.Background(), filepath.Join(dir, "index.db"), index.Options{})
	must(t, err)
	t.Cleanup(func() { db.Close() })
	own, err := blob.OpenDir(dir, blob.Reserve{})
	must(t, err)
	store, err := blob.NewOverlay(own, func(ctx context.Context) ([]blob.Source, error) {
		var sources []blob.Source
		folders, err := db.Adopted(ctx)
		for _, folder := range folders {
			sources = append(sources, blob.Distribution(folder))
		}
		return sources, err
	})
	must(t, err)
	return &house{registry.New(db, store, registry.Options{}), dir, db}
}

func (h *house) close() { h.index.Close() }

func (h *house) repo(t testing.TB, name string) registry.Repository {
	t.Helper()
	repo, err := customhouse.ParseRepo(name)
	must(t, err)
	return h.Repository(repo)
}

// adopt takes over a folder and returns what the pass did and found.
func (h *house) adopt(t testing.TB, f folder, opts transfer.AdoptOptions) (transfer.Adopted, []transfer.Finding) {
	t.Helper()
	l, err := transfer.OpenLayout(f.root())
	must(t, err)
	var found []transfer.Finding
	opts.Report = func(f transfer.Finding) { found = append(found, f) }
	done, err := transfer.Adopt(context.Background(), h.Registry, l, opts)
	must(t, err)
	return done, found
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
