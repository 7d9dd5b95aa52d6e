package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"customhouse"
	"customhouse/registry"
)

// Depth is how much of a folder's content is verified while it is taken over. What is not verified then is verified when
// it is first read, as everything is.
type Depth int

// The depths, each containing those before it.
const (
	VerifyNone      Depth = iota // links, and that the bytes are there
	VerifyManifests              // the bytes of manifests
	VerifyAll                    // the bytes of all blobs
)

// AdoptOptions of Adopt. The zero value works.
type AdoptOptions struct {
	Verify        Depth
	DryRun        bool // read and report, and change nothing
	Prune         bool // remove tags and manifests that were adopted, are gone from the folder and were not set here since
	ForeignLayers bool // whether manifests may name layers by urls without being called unusual
	Readers       int  // files read at the same time; 0 is twice the processors
	Report        func(Finding)
	Progress      *Progress        // nil is for nobody
	Now           func() time.Time // nil is time.Now
	Log           *slog.Logger     // nil discards
}

// Progress is how far a pass has come. It may be read at any time.
type Progress struct {
	Total        atomic.Int64 // manifests there are to look at; 0 while they are being counted
	Manifests    atomic.Int64
	Repositories atomic.Int64
	Bytes        atomic.Int64 // of blobs and manifests that were hashed
}

// Adopted is what a pass has done.
type Adopted struct {
	Repositories int // read, those that had not changed included
	Unchanged    int
	Manifests    int // that are new here, as are the others
	Blobs        int
	Tags         int
	Pruned       int
	Findings     map[Kind]int
	Duration     time.Duration
}

// Adopt takes over what a folder of CNCF distribution holds. It makes content visible in the registry, which reads the
// bytes from where they lie; r must have a store over the folder (blob.Overlay). Nothing in the folder is changed. What
// was taken over by an earlier pass is recognised by its links and not read again, so a pass that was killed goes on
// where it was, and one over a folder that has hardly changed is short. Repositories appear one after the other, each
// when it has been read.
//
// A tag that is set at both sides points to what it was set to last. Findings are no errors: an error ends the pass.
func Adopt(ctx context.Context, r *registry.Registry, l *Layout, opts AdoptOptions) (Adopted, error) {
	if opts.Progress == nil {
		opts.Progress = &Progress{}
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	a := &adoption{
		registry: r, layout: l, opts: opts, found: newFindings(opts.Report), began: opts.Now(),
		linked: map[digestKey]struct{}{}, hashed: map[digestKey]error{},
	}
	if !opts.DryRun {
		if err := r.BeginAdopting(ctx, l.Source); err != nil {
			return Adopted{}, err
		}
	}
	err := a.run(ctx)
	if !opts.DryRun {
		err = errors.Join(err, r.SyncAdopted(context.WithoutCancel(ctx)))
	}
	a.done.Findings, a.done.Duration = a.found.counts, opts.Now().Sub(a.began)
	return a.done, err
}

// adoption is one pass.
type adoption struct {
	registry *registry.Registry
	layout   *Layout
	opts     AdoptOptions
	found    *findings
	began    time.Time

	mu     sync.Mutex
	done   Adopted
	linked map[digestKey]struct{} // content that some repository links
	hashed map[digestKey]error    // what hashing a blob gave
}

func (a *adoption) run(ctx context.Context) error {
	var trees []tree
	var total int64
	none := func(string, error) {}
	err := a.layout.walk(ctx, a.found, func(t tree) {
		trees = append(trees, t)
		total += int64(len(a.layout.digests("./"+t.name+"/_manifests/revisions", none)))
	})
	if err != nil {
		return err
	}
	whole := a.found.counts[Unreadable] == 0 // all folders in which there may be repositories were read
	a.opts.Progress.Total.Store(max(total, 1))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	each(len(trees), readers(a.opts.Readers), func(i int) {
		if ctx.Err() != nil {
			return
		}
		if err := a.tree(ctx, trees[i]); err != nil {
			cancel(fmt.Errorf("repository %s: %w", trees[i].name, err))
		}
		a.opts.Progress.Repositories.Add(1)
	})
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if !a.opts.DryRun && whole {
		if err := a.vanished(ctx, trees); err != nil {
			return err
		}
	}
	return a.orphans(ctx)
}

// tree takes over one repository.
func (a *adoption) tree(ctx context.Context, t tree) error {
	if t.uploads {
		a.uploads(t)
	}
	if !t.manifests && !t.layers {
		a.found.add(Finding{Kind: GhostRepository, Repo: t.name, Path: "repositories/" + t.name, Detail: "it holds uploads and nothing else"})
		return nil
	}
	name, nameErr := customhouse.ParseRepo(t.name)
	r := a.newRepo(t, name)
	if nameErr == nil && !a.opts.DryRun {
		if err := r.remember(ctx); err != nil {
			return err
		}
	}
	r.list()
	if nameErr != nil {
		a.found.add(Finding{Kind: BadName, Repo: t.name, Path: "repositories/" + t.name, Detail: "no client can name this repository"})
		a.opts.Progress.Manifests.Add(int64(len(r.manifests)))
		return nil
	}
	return r.adopt(ctx)
}

// newRepo returns a repository of the folder on its way to the one of that name.
func (a *adoption) newRepo(t tree, name customhouse.Repo) *repo {
	return &repo{
		adoption: a, tree: t, dest: a.registry.Repository(name), earlier: marks{}, seen: marks{}, good: marks{},
		sizes: map[customhouse.Digest]int64{}, revisions: map[customhouse.Digest]bool{},
	}
}

// vanished reports, or with Prune removes, what an earlier pass has taken over of repositories that are not in the folder
// any more.
func (a *adoption) vanished(ctx context.Context, trees []tree) error {
	names, err := a.registry.AdoptedRepos(ctx, a.layout.Source)
	if err != nil {
		return err
	}
	if a.opts.Prune && len(trees) == 0 && len(names) > 0 {
		return fmt.Errorf("none of the %d repositories that were adopted from %s is there; is it mounted?", len(names), a.layout.Source)
	}
	for _, t := range trees {
		delete(names, t.name)
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		repo, err := customhouse.ParseRepo(name)
		if err != nil {
			return err
		}
		r := a.newRepo(tree{name: name}, repo)
		if err := r.remember(ctx); err != nil {
			return err
		}
		if err := r.gone(ctx); err != nil {
			return err
		}
		if len(r.good) < len(r.earlier) {
			if err := a.registry.MarkAdopted(ctx, a.layout.Source, name, int(VerifyNone), r.good.encode()); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// uploads reports the uploads of a repository. They are left to the registry that they were begun at.
func (a *adoption) uploads(t tree) {
	dir := t.name + "/_uploads"
	for _, id := range a.layout.names(dir, a.stray(t.name)) {
		started, err := readSmall(a.layout.Repositories, dir+"/"+id+"/startedat", maxLink)
		f := Finding{Kind: AbandonedUpload, Repo: t.name, Name: id, Path: "repositories/" + dir + "/" + id}
		if err == nil {
			f.Detail = fmt.Sprintf("started at %.40q", started)
		}
		a.found.add(f)
	}
}

// stray reports what does not belong into a folder of a repository, or why that cannot be read.
func (a *adoption) stray(repo string) func(path string, why error) {
	return func(path string, why error) {
		f := Finding{Kind: Stray, Repo: repo, Path: "repositories/" + path}
		if why != nil {
			f.Detail = why.Error()
		}
		switch why {
		case nil, errNotFolder:
		case errNotDigest:
			f.Kind = BadName
		default:
			f.Kind = Unreadable
		}
		a.found.add(f)
	}
}

// verify tells whether the bytes of d are there and right, as deep as asked for, and how many there are.
func (a *adoption) verify(ctx context.Context, d customhouse.Digest, deep bool) (int64, error) {
	info, err := fs.Stat(a.layout.Blobs, dataPath(d))
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, fmt.Errorf("not a file but %s", info.Mode().Type())
	}
	if !deep {
		return info.Size(), nil
	}
	key := keyOf(d)
	a.mu.Lock()
	err, known := a.hashed[key]
	a.mu.Unlock()
	if !known {
		err = a.hash(ctx, d)
		a.mu.Lock()
		a.hashed[key] = err
		a.mu.Unlock()
	}
	return info.Size(), err
}

// errWrongBytes says that content is not what its digest names.
var errWrongBytes = errors.New("wrong bytes")

func (a *adoption) hash(ctx context.Context, d customhouse.Digest) error {
	f, err := a.layout.Blobs.Open(dataPath(d))
	if err != nil {
		return err
	}
	defer f.Close()
	h := d.Algorithm().New()
	n, err := io.CopyBuffer(h, interruptible{ctx, f}, make([]byte, 256<<10))
	a.opts.Progress.Bytes.Add(n)
	if err != nil {
		return err
	}
	if got := customhouse.DigestSum(d.Algorithm(), h); got != d {
		return fmt.Errorf("%w: %d bytes with the digest %s", errWrongBytes, n, got)
	}
	return nil
}

// interruptible is a reader that ends with its context: hashing what is large takes minutes.
type interruptible struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (i interruptible) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	return i.r.Read(p)
}

// content reports why the bytes of a link are no good.
func (a *adoption) content(repo string, k link, err error, missing Kind) {
	f := Finding{Kind: Unreadable, Repo: repo, Name: k.digest.String(), Path: "blobs/" + dataPath(k.digest), Detail: err.Error()}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.Kind, f.Detail = missing, "linked by repositories/"+k.path
	case errors.Is(err, errWrongBytes):
		f.Kind = WrongBytes
	}
	a.found.add(f)
}

// orphans reports content that no repository links. What is younger than the pass may be about to be linked.
func (a *adoption) orphans(ctx context.Context) error {
	if a.layout.Blobs == nil {
		return nil
	}
	list := func(dir string) []fs.DirEntry {
		entries, err := fs.ReadDir(a.layout.Blobs, dir)
		if err != nil {
			a.found.add(Finding{Kind: Unreadable, Path: "blobs/" + dir, Detail: err.Error()})
		}
		return entries
	}
	for _, algorithm := range list(".") {
		for _, prefix := range list(algorithm.Name()) {
			if err := ctx.Err(); err != nil {
				return err
			}
			dir := algorithm.Name() + "/" + prefix.Name()
			for _, e := range list(dir) {
				d, err := customhouse.ParseDigest(algorithm.Name() + ":" + e.Name())
				if err != nil {
					a.found.add(Finding{Kind: BadName, Path: "blobs/" + dir + "/" + e.Name(), Detail: "not a digest"})
					continue
				}
				if _, ok := a.linked[keyOf(d)]; ok {
					continue
				}
				info, err := fs.Stat(a.layout.Blobs, dataPath(d))
				if err == nil && info.ModTime().Before(a.began) {
					a.found.add(Finding{Kind: OrphanBlob, Name: d.String(), Path: "blobs/" + dataPath(d), Detail: fmt.Sprintf("%d bytes", info.Size())})
				}
			}
		}
	}
	return nil
}
