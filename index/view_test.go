package index_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"customhouse"
)

// Readers never see a tag older than one that somebody has seen or that was acknowledged before they asked.
func TestViewIsNeverStale(t *testing.T) {
	db := open(t)
	const moves, readers = 400, 4
	var wg sync.WaitGroup
	for n := range 3 { // repositories that are written at the same time
		name := fmt.Sprint("acc/moving", n)
		r, tag := repo(t, name), parseTag(t, "latest")
		number := map[customhouse.Digest]int64{}
		for i := range moves {
			number[customhouse.DigestOf(customhouse.SHA256, fmt.Append(nil, i))] = int64(i)
		}
		var latest atomic.Int64 // that anybody has seen
		put(t, db, name, "0", "latest")
		var done atomic.Bool
		wg.Go(func() {
			defer done.Store(true)
			for i := 1; i < moves; i++ {
				put(t, db, name, fmt.Sprint(i), "latest")
				raise(&latest, int64(i))
			}
		})
		for range readers {
			wg.Go(func() {
				for !done.Load() {
					known := latest.Load()
					m, err := db.Manifest(context.Background(), r, customhouse.Ref{Tag: tag})
					if err != nil {
						t.Errorf("Manifest = %v", err)
						return
					}
					got := number[m.Digest]
					if got < known {
						t.Errorf("Manifest = number %d, want at least %d, which was there before", got, known)
						return
					}
					raise(&latest, got)
				}
			})
		}
	}
	wg.Wait()
}

func raise(a *atomic.Int64, to int64) {
	for {
		old := a.Load()
		if old >= to || a.CompareAndSwap(old, to) {
			return
		}
	}
}

// A page of tags has every tag whose push was acknowledged before it was asked for.
func TestViewOfTags(t *testing.T) {
	db := open(t)
	const count = 300
	r := repo(t, "acc/growing")
	put(t, db, "acc/growing", "x", "v000")
	var acked atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 1; i < count; i++ {
			put(t, db, "acc/growing", "x", fmt.Sprintf("v%03d", i))
			acked.Store(int64(i))
		}
	})
	for range 4 {
		wg.Go(func() {
			for known := int64(0); known < count-1; {
				known = acked.Load()
				tags, err := db.Tags(context.Background(), r, "", count)
				if err != nil || int64(len(tags)) < known+1 {
					t.Errorf("Tags = %d, %v; want at least %d", len(tags), err, known+1)
					return
				}
			}
		})
	}
	wg.Wait()
}

// What was deleted is not seen again, what was added is seen at once, by everybody.
func TestViewFollowsAddAndDelete(t *testing.T) {
	db := open(t)
	r := repo(t, "acc/comes/and/goes")
	d := customhouse.DigestOf(customhouse.SHA256, []byte("blob"))
	var there atomic.Int64 // 2n: n deletes were acknowledged; odd: a change is under way
	var done atomic.Bool
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !done.Load() {
				before := there.Load()
				_, err := db.Blob(context.Background(), r, d)
				if err != nil && !errors.Is(err, customhouse.ErrNotFound) {
					t.Errorf("Blob = %v", err)
				}
				if before != there.Load() || before%2 == 1 {
					continue // it has changed meanwhile
				}
				if want := before%4 == 2; (err == nil) != want {
					t.Errorf("Blob = %v, want it there = %v", err, want)
					return
				}
			}
		})
	}
	for range 300 {
		there.Add(1)
		if err := db.AddBlob(t.Context(), r, d, 4, ""); err != nil {
			t.Fatal(err)
		}
		there.Add(1)
		there.Add(1)
		if err := db.DeleteBlob(t.Context(), r, d, nil); err != nil {
			t.Fatal(err)
		}
		there.Add(1)
	}
	done.Store(true)
	wg.Wait()
}

func parseTag(t testing.TB, s string) customhouse.Tag {
	t.Helper()
	tag, err := customhouse.ParseTag(s)
	if err != nil {
		t.Fatal(err)
	}
	return tag
}
