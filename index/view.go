package index

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/maypok86/otter/v2"
)

// changes tells readers of cached facts whether the facts of a repository have changed since they were read. This
// process is the only one that writes content, so it knows. Repositories share counters: a change in one may make
// another's facts be read again, never the other way round.
type changes struct {
	seed    maphash.Seed
	stripes [1024]stripe
}

type stripe struct {
	version atomic.Uint64
	writers atomic.Int64
}

func newChanges() *changes { return &changes{seed: maphash.MakeSeed()} }

func (c *changes) of(repo string) *stripe {
	return &c.stripes[maphash.String(c.seed, repo)%uint64(len(c.stripes))]
}

// begin says that the repository's facts are about to change, and returns what says that they have. In between nobody
// reads from or adds to a cache: the database alone knows on which side of the commit it is.
func (c *changes) begin(repo string) (end func()) {
	s := c.of(repo)
	s.writers.Add(1)
	s.version.Add(1)
	return func() { s.writers.Add(-1) }
}

// view is a bounded cache of facts of one kind, by repository and name, that is never behind the database.
type view[T any] struct {
	changes *changes
	entries *otter.Cache[viewKey, viewEntry[T]]
}

type viewKey struct{ repo, name string }

type viewEntry[T any] struct {
	version uint64
	fact    T
}

// maxView bounds one view, in bytes.
const maxView = 8 << 20

// newView returns an empty view of facts that take about as many bytes as weigh says.
func newView[T any](c *changes, weigh func(T) int) *view[T] {
	const entry = 300 // bytes that an entry takes beside its fact
	return &view[T]{changes: c, entries: otter.Must(&otter.Options[viewKey, viewEntry[T]]{
		MaximumWeight: maxView,
		Weigher: func(k viewKey, e viewEntry[T]) uint32 {
			return uint32(entry + len(k.repo) + len(k.name) + weigh(e.fact))
		},
	})}
}

// get returns the fact from the cache, or else what load says, which it keeps unless load fails.
func (v *view[T]) get(repo, name string, load func() (T, error)) (T, error) {
	s := v.changes.of(repo)
	version := s.version.Load() // before writers: a writer that begins in between is seen by one of the two
	if s.writers.Load() != 0 {
		return load()
	}
	key := viewKey{repo, name}
	if e, ok := v.entries.GetIfPresent(key); ok && e.version == version {
		return e.fact, nil
	}
	fact, err := load()
	if err == nil {
		v.entries.Set(key, viewEntry[T]{version, fact})
	}
	return fact, err
}
