// Package registry is the registry itself: push, pull, mount, tag, delete.
//
// It holds the rules about content: what a valid manifest is, that bytes have the digest that they are named by, that a
// blob is reachable only through a repository, in which order things become durable. It knows nothing of HTTP and asks
// nobody for permission: whoever has a Repository may use all of it, so a Repository is given only to those who may.
package registry

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"customhouse"
	"customhouse/blob"
	"customhouse/index"

	"github.com/maypok86/otter/v2"
)

// Options of a Registry. The zero value works.
type Options struct {
	Sparse            Sparse                         // which content a manifest may name that is not in its repository
	ForeignLayers     bool                           // whether layers of non-distributable types may point elsewhere by urls
	ForeignURL        func(string) bool              // to where they may point; nil is anywhere
	Platforms         []Platform                     // children of an index for these must be there whatever Sparse says
	MaxBlobSize       int64                          // bytes; 0 is no limit
	UploadsPerAccount int                            // uploads that one account may have under way; 0 is no limit
	UploadTTL         time.Duration                  // after which an upload that does not grow is forgotten; 0 is never
	ScrubInterval     time.Duration                  // how long untouched bytes count as verified; 0 verifies at each read
	Source            func(customhouse.Repo) *Source // where a repository is a copy of, nil for nothing; nil is for none
	Changed           func(customhouse.Repo)         // is told of each manifest or tag that was pushed or deleted, and must not block; nil for nobody
	Now               func() time.Time               // nil is time.Now
	Log               *slog.Logger                   // nil discards
}

// Platform is what an image runs on, as GOOS and GOARCH have it (image-spec, "Image Index Property Descriptions").
type Platform struct{ OS, Architecture string }

// Sparse tells which content a manifest may name that is not in its repository.
type Sparse int

// The kinds of sparse manifest, each containing those before it.
const (
	SparseIndexes Sparse = iota // children of an index may be absent
	SparseNone                  // nothing may be absent
	SparseAll                   // layers and configs may be absent too
)

// Registry is content in a store and the index of it. A process has one; its options may be exchanged.
type Registry struct {
	*core
	opts Options
}

// core is what stays the same when options change.
type core struct {
	index     *index.DB
	store     blob.Store
	manifests *otter.Cache[customhouse.Digest, []byte]         // verified bytes
	verified  *otter.Cache[customhouse.Digest, verifiedObject] // what is on disk and good
	sessions  sessions
	probe     probe
	upstreams *upstreams
}

// Bounds of the caches.
const (
	manifestCacheBytes = 16 << 20
	maxVerified        = 100_000
)

// New returns the registry over an index and a store, which belong together.
func New(db *index.DB, store blob.Store, opts Options) *Registry {
	c := &core{
		index: db, store: store,
		manifests: otter.Must(&otter.Options[customhouse.Digest, []byte]{
			MaximumWeight: manifestCacheBytes,
			Weigher:       func(_ customhouse.Digest, b []byte) uint32 { return uint32(len(b)) + 200 },
		}),
		verified:  otter.Must(&otter.Options[customhouse.Digest, verifiedObject]{MaximumSize: maxVerified}),
		upstreams: newUpstreams(),
	}
	c.sessions.open = map[string]*session{}
	return (&Registry{core: c}).With(opts)
}

// With returns the same registry under other options: both stay valid and share all content and caches.
func (r *Registry) With(opts Options) *Registry {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Registry{core: r.core, opts: opts}
}

// Repository is one repository of a registry, there or not: everything in it, and nothing else, can be reached.
type Repository struct {
	r    *Registry
	name customhouse.Repo
}

// Repository returns the repository of that name. It is made by the first push.
func (r *Registry) Repository(name customhouse.Repo) Repository { return Repository{r: r, name: name} }

// Tags returns, in byte order, up to n tags after the given one, and tells whether there are more.
// NAME_UNKNOWN: there is no such repository.
func (p Repository) Tags(ctx context.Context, after string, n int) (tags []string, more bool, err error) {
	if src := p.source(); src != nil && n > 0 {
		if tags, more, ok := p.tagsFrom(ctx, src, after, n); ok {
			return tags, more, nil
		}
	}
	return p.TagsHere(ctx, after, n)
}

// TagsHere is Tags without a look elsewhere: of a copy, the tags that are in it. NAME_UNKNOWN.
func (p Repository) TagsHere(ctx context.Context, after string, n int) (tags []string, more bool, err error) {
	tags, err = p.r.index.Tags(ctx, p.name, after, n+1)
	if errors.Is(err, customhouse.ErrNotFound) {
		return nil, false, NameUnknown(p.name)
	}
	if len(tags) > n {
		return tags[:n], true, err
	}
	return tags, false, err
}

// NameUnknown is the NAME_UNKNOWN for a repository.
func NameUnknown(name customhouse.Repo) *customhouse.Error {
	return customhouse.Errorf(customhouse.NameUnknown, "repository name not known to registry").
		WithDetail(map[string]string{"name": name.String()})
}

// Ready tells whether the index answers and the store takes bytes. A full disk is no reason to say no: reading and
// deleting go on.
func (r *Registry) Ready(ctx context.Context) error {
	if err := r.index.Ping(ctx); err != nil {
		return err
	}
	return r.probe.ask(r.opts.Now(), func() error {
		const id = "ready"                // no upload of a client is called that
		ctx := context.WithoutCancel(ctx) // the answer is for all who ask
		_, err := r.store.Append(ctx, id, 0, strings.NewReader("ready"))
		if errors.Is(err, blob.ErrNoSpace) {
			err = nil
		}
		return errors.Join(storeError(err), storeError(r.store.Discard(ctx, id)))
	})
}

// probe remembers for a moment how an attempt to write ended, so that asking often costs nothing.
type probe struct {
	mu   sync.Mutex
	at   time.Time
	last error
}

const probeEvery = time.Second

func (p *probe) ask(now time.Time, try func() error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.at) >= probeEvery || now.Before(p.at) {
		p.at, p.last = now, try()
	}
	return p.last
}

// storeError turns what a store says into what clients may hear.
func storeError(err error) error {
	switch {
	case errors.Is(err, blob.ErrNoSpace):
		return customhouse.Errorf(customhouse.InsufficientStorage, "no space left for content").WithCause(err)
	case errors.Is(err, blob.ErrReadOnly):
		return customhouse.Errorf(customhouse.Unavailable, "the registry cannot write at present").WithCause(err)
	}
	return err
}
