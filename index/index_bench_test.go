package index_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"customhouse"
	"customhouse/index"
)

func open(t testing.TB) *index.DB {
	t.Helper()
	db, err := index.Open(context.Background(), filepath.Join(t.TempDir(), "index.db"), index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func repo(t testing.TB, name string) customhouse.Repo {
	t.Helper()
	r, err := customhouse.ParseRepo(name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// put puts a manifest made of the text into a repository, under tags.
func put(t testing.TB, db *index.DB, name, text string, tags ...string) customhouse.Digest {
	t.Helper()
	p := index.Put{Manifest: index.Manifest{Descriptor: customhouse.Descriptor{
		MediaType: customhouse.MediaTypeImageManifest, Digest: customhouse.DigestOf(customhouse.SHA256, []byte(text)), Size: int64(len(text)),
	}}}
	for _, s := range tags {
		tag, err := customhouse.ParseTag(s)
		if err != nil {
			t.Fatal(err)
		}
		p.Tags = append(p.Tags, tag)
	}
	if err := db.PutManifest(context.Background(), repo(t, name), p); err != nil {
		t.Fatalf("PutManifest(%s, %q) = %v", name, text, err)
	}
	return p.Manifest.Digest
}

func BenchmarkTagsPage(b *testing.B) {
	db := open(b)
	var all []string
	for i := range 10_000 {
		all = append(all, fmt.Sprintf("v%06d", i))
	}
	put(b, db, "many/tags", "x", all...)
	r := repo(b, "many/tags")
	for i := 0; b.Loop(); i++ {
		tags, err := db.Tags(context.Background(), r, fmt.Sprintf("v%06d", i*37%9000), 100)
		if err != nil || len(tags) != 100 {
			b.Fatalf("Tags = %d, %v", len(tags), err)
		}
	}
}

func BenchmarkReposPage(b *testing.B) {
	db := open(b)
	for i := range 2000 {
		put(b, db, fmt.Sprintf("team%d/app%04d", i%7, i), "x", "latest")
	}
	for i := 0; b.Loop(); i++ {
		names, err := db.Repos(context.Background(), fmt.Sprintf("team%d/app", i%6), 100)
		if err != nil || len(names) != 100 {
			b.Fatalf("Repos = %d, %v", len(names), err)
		}
	}
}

func BenchmarkPush(b *testing.B) {
	db := open(b)
	r := repo(b, "bench/push")
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			d := customhouse.DigestOf(customhouse.SHA256, fmt.Appendf(nil, "%p %d", pb, i))
			id := d.Hex()[:26]
			if err := db.BeginUpload(context.Background(), index.Upload{ID: id, Repo: r, Algorithm: customhouse.SHA256}, 100, nil); err != nil {
				b.Fatal(err)
			}
			if _, err := db.Upload(context.Background(), id); err != nil {
				b.Fatal(err)
			}
			if err := db.AddBlob(context.Background(), r, d, 4096, id); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkPutManifest puts manifests of ten layers under new tags, by many at once, with a note of what they name and
// without.
func BenchmarkPutManifest(b *testing.B) {
	for _, noted := range []bool{false, true} {
		b.Run(fmt.Sprintf("noted=%v", noted), func(b *testing.B) {
			db := open(b)
			r := repo(b, "bench/push")
			var names *index.Names
			if noted {
				names = &index.Names{}
				for i := range 10 {
					names.Blobs = append(names.Blobs, customhouse.DigestOf(customhouse.SHA256, []byte{byte(i)}))
				}
			}
			b.SetParallelism(4)
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					text := fmt.Sprintf("%p-%d", pb, i)
					tag, err := customhouse.ParseTag(text)
					if err != nil {
						b.Fatal(err)
					}
					m := index.Manifest{Descriptor: customhouse.Descriptor{MediaType: customhouse.MediaTypeImageManifest, Digest: customhouse.DigestOf(customhouse.SHA256, []byte(text)), Size: 400}}
					if err := db.PutManifest(context.Background(), r, index.Put{Manifest: m, Tags: []customhouse.Tag{tag}, Names: names}); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
