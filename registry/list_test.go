package registry_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/blob"
	"customhouse/index"
	"customhouse/registry"
)

// What a list shows is what a filter over everything would, whatever the ranges and the size of a page.
func TestRepositoriesInRanges(t *testing.T) {
	h, all := makeRepos(t, 300)
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var ranges []customhouse.Range
		for at := 0; at < len(all); at += 1 + random.IntN(60) {
			r := customhouse.Only(all[at])
			if random.IntN(2) == 0 {
				at += random.IntN(20)
				r.End = all[min(at, len(all)-1)] // without it
			}
			r.Sure = random.IntN(2) == 0
			ranges = append(ranges, r)
		}
		if random.IntN(4) == 0 {
			ranges[len(ranges)-1].End = ""
		}
		even := func(r customhouse.Repo) bool { return r.String()[len(r.String())-1]%2 == 0 }
		var want []string
		for _, name := range all {
			repo, err := customhouse.ParseRepo(name)
			must(t, err)
			i := slices.IndexFunc(ranges, func(r customhouse.Range) bool {
				return name >= r.First && (r.End == "" || name < r.End)
			})
			if i >= 0 && (ranges[i].Sure || even(repo)) {
				want = append(want, name)
			}
		}
		var got []string
		n := 1 + random.IntN(40)
		for more, after := true, ""; more; after = got[len(got)-1] {
			var page []string
			var err error
			page, more, err = h.Repositories(t.Context(), after, n, registry.Visible{Ranges: ranges, Ask: even})
			must(t, err)
			if got = append(got, page...); more && len(page) != n || len(got) == 0 {
				break
			}
		}
		if !cmp.Equal(got, want) {
			t.Fatalf("%+v in pages of %d: got %q, want %q", ranges, n, got, want)
		}
	}
}

// A page of 100 out of 100,000 repositories of which one in a hundred is visible: the repositories of one team, or one
// here and there.
func BenchmarkRepositories(b *testing.B) {
	h, all := makeRepos(b, 100_000)
	var scattered []customhouse.Range
	for i := 50; i < len(all); i += 100 {
		r := customhouse.Only(all[i])
		r.Sure = true
		scattered = append(scattered, r)
	}
	team := []customhouse.Range{{First: all[50_000], End: all[51_000], Sure: true}}
	for name, ranges := range map[string][]customhouse.Range{"team": team, "scattered": scattered} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				got, more, err := h.Repositories(context.Background(), "", 100, registry.Visible{Ranges: ranges})
				if err != nil || len(got) != 100 || !more {
					b.Fatalf("Repositories = %d, %v, %v", len(got), more, err)
				}
			}
		})
	}
}

// makeRepos opens a registry of n repositories with a manifest each, and returns their names in byte order.
func makeRepos(t testing.TB, n int) (*registry.Registry, []string) {
	t.Helper()
	dir := t.TempDir()
	db, err := index.Open(context.Background(), filepath.Join(dir, "index.db"), index.Options{})
	must(t, err)
	t.Cleanup(func() { db.Close() })
	store, err := blob.OpenDir(dir, blob.Reserve{})
	must(t, err)
	manifest := index.Loaded{Manifest: index.Manifest{Descriptor: customhouse.Descriptor{
		MediaType: customhouse.MediaTypeImageManifest, Digest: customhouse.DigestOf(customhouse.SHA256, nil),
	}}}
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("team%03d/app%03d", i/100, i%100)
		repo, err := customhouse.ParseRepo(names[i])
		must(t, err, db.Load(context.Background(), repo, index.Load{Manifests: []index.Loaded{manifest}}))
	}
	slices.Sort(names)
	return registry.New(db, store, registry.Options{}), names
}
