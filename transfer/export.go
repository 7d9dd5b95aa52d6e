package transfer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"customhouse"
	"customhouse/registry"
)

// Format is a form in which content leaves the registry.
type Format int

// The formats.
const (
	FormatDistribution Format = iota // a storage folder of CNCF distribution
	FormatOCI                        // a folder that is an OCI image layout
	FormatTar                        // an OCI image layout in a tar file
)

// ExportOptions of Export. The zero value works.
type ExportOptions struct {
	Format    Format
	Patterns  []string // of repositories, as MatchRepo knows them; none is all
	Link      bool     // make hard links to blobs where the system can, in place of copies; not in a tar
	KeepGoing bool     // leave out what is missing or wrong, and report it, in place of failing in the end
	Readers   int      // files read at the same time; 0 is twice the processors
	Report    func(Finding)
	Progress  *ExportProgress // nil is for nobody
}

// ExportProgress is how far an export has come. It may be read at any time.
type ExportProgress struct {
	Total atomic.Int64 // bytes of blobs, each counted as often as a repository shows it; 0 while they are being counted
	Bytes atomic.Int64
}

// Exported is what an export has written.
type Exported struct {
	Repositories int
	Manifests    int
	Tags         int
	Blobs        int // each once, manifests among them
	Bytes        int64
	Linked       int // blobs that are hard links
	Findings     map[Kind]int
}

// ErrIncomplete says that content which should have been exported is missing or wrong; the findings name it.
var ErrIncomplete = errors.New("content is missing or wrong")

// Export writes the content of repositories to out, which must not be there. Every byte is verified on its way. What has
// been written survives a loss of power when Export returns nil; until then, and after an error, out is not there.
func Export(ctx context.Context, r *registry.Registry, out string, opts ExportOptions) (done Exported, err error) {
	if opts.Progress == nil {
		opts.Progress = &ExportProgress{}
	}
	if _, err := os.Lstat(out); err == nil {
		return done, fmt.Errorf("%s is there already", out)
	} else if !errors.Is(err, os.ErrNotExist) {
		return done, err
	}
	var t target
	if opts.Format == FormatTar {
		t, err = newTarTarget(out)
	} else {
		t, err = newFolderTarget(out, opts.Link)
	}
	if err != nil {
		return done, err
	}
	e := &export{registry: r, target: t, opts: opts, found: newFindings(opts.Report), written: map[customhouse.Digest]*writing{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.abandon())
		}
	}()
	if err := e.run(ctx); err != nil {
		return e.done, err
	}
	e.done.Findings = e.found.counts
	if len(e.found.counts) > 0 && !opts.KeepGoing {
		return e.done, ErrIncomplete
	}
	return e.done, t.finish()
}

// target is where an export writes to. Names are relative, with slashes.
type target interface {
	// write makes a file of size bytes that b or the reader gives; several may be written at the same time.
	write(name string, size int64, at time.Time, r io.Reader) error
	// link makes a file that is f, and tells whether it could.
	link(name string, f *os.File) bool
	// concurrent tells whether writing at the same time is of use.
	concurrent() bool
	finish() error
	abandon() error
}

type export struct {
	registry *registry.Registry
	target   target
	opts     ExportOptions
	found    *findings

	mu      sync.Mutex
	done    Exported
	written map[customhouse.Digest]*writing
	entries []entry // of index.json
}

// writing is content that is being written, or was.
type writing struct {
	done chan struct{}
	err  error
}

func (e *export) run(ctx context.Context) error {
	repos, err := e.repos(ctx)
	if err != nil {
		return err
	}
	for _, p := range repos {
		for b, err := range p.Blobs(ctx) {
			if err != nil {
				return err
			}
			e.opts.Progress.Total.Add(b.Size)
		}
	}
	e.opts.Progress.Total.CompareAndSwap(0, 1)
	for _, p := range repos {
		write := e.layout
		if e.opts.Format == FormatDistribution {
			write = e.distribution
		}
		if err := write(ctx, p); err != nil {
			return fmt.Errorf("repository %s: %w", p.Name(), err)
		}
		e.done.Repositories++
	}
	if e.opts.Format == FormatDistribution {
		return nil
	}
	return e.index(len(repos) == 1)
}

// repos returns the repositories that are asked for. It is an error if a pattern is of none.
func (e *export) repos(ctx context.Context) ([]registry.Repository, error) {
	var repos []registry.Repository
	used := make([]bool, len(e.opts.Patterns))
	for after := ""; ; {
		names, more, err := e.registry.Repositories(ctx, after, 1000, registry.Visible{})
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			wanted := len(e.opts.Patterns) == 0
			for i, pattern := range e.opts.Patterns {
				if MatchRepo(pattern, name) {
					wanted, used[i] = true, true
				}
			}
			repo, err := customhouse.ParseRepo(name)
			if err != nil {
				return nil, err
			}
			if wanted {
				repos = append(repos, e.registry.Repository(repo))
			}
		}
		if !more {
			break
		}
		after = names[len(names)-1]
	}
	for i, pattern := range e.opts.Patterns {
		if !used[i] {
			return nil, fmt.Errorf("no repository is called %s", pattern)
		}
	}
	return repos, nil
}

// content writes the content of d once, under the name that the format gives it, and tells whether it is there. What is
// missing or wrong is reported. size is of what the index knows.
func (e *export) content(ctx context.Context, p registry.Repository, d customhouse.Descriptor, manifest bool) (bool, error) {
	e.mu.Lock()
	w, ok := e.written[d.Digest]
	if !ok {
		w = &writing{done: make(chan struct{})}
		e.written[d.Digest] = w
	}
	e.mu.Unlock()
	if ok {
		<-w.done
	} else {
		w.err = e.copy(ctx, p, d, manifest)
		close(w.done)
	}
	if !manifest {
		e.opts.Progress.Bytes.Add(d.Size)
	}
	var known *customhouse.Error
	if errors.As(w.err, &known) && (known.Code == customhouse.BlobUnknown || known.Code == customhouse.ManifestUnknown) {
		kind := MissingBlob
		if manifest {
			kind = MissingManifest
		}
		detail := known.Message
		if known.Cause != nil {
			detail = known.Cause.Error()
		}
		e.found.add(Finding{Kind: kind, Repo: p.Name().String(), Name: d.Digest.String(), Detail: detail})
		return false, nil
	}
	return w.err == nil, w.err
}

func (e *export) copy(ctx context.Context, p registry.Repository, d customhouse.Descriptor, manifest bool) error {
	name := "blobs/" + string(d.Digest.Algorithm()) + "/" + d.Digest.Hex()
	if e.opts.Format == FormatDistribution {
		name = "docker/registry/v2/blobs/" + dataPath(d.Digest)
	}
	linked := 0
	if manifest {
		m, err := p.Manifest(ctx, customhouse.Ref{Digest: d.Digest})
		if err != nil {
			return err
		}
		if err := e.target.write(name, int64(len(m.Bytes)), time.Time{}, bytes.NewReader(m.Bytes)); err != nil {
			return err
		}
	} else {
		b, err := p.Blob(ctx, d.Digest)
		if err != nil {
			return err
		}
		defer b.Close()
		r, err := b.Section(0, b.Size)
		if err != nil {
			return err
		}
		if linked, err = e.put(name, b, r); err != nil {
			if errors.Is(err, registry.ErrCorrupt) {
				return customhouse.Errorf(customhouse.BlobUnknown, "blob unknown").WithCause(err)
			}
			return err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.done.Blobs++
	e.done.Bytes += d.Size
	e.done.Linked += linked
	return nil
}

// put writes a blob, or links it when all its bytes have been seen to be right.
func (e *export) put(name string, b *registry.Blob, r io.Reader) (linked int, err error) {
	r = io.LimitReader(r, b.Size)
	if f := b.File(); e.opts.Link && f != nil {
		if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, 256<<10)); err != nil {
			return 0, err
		}
		if e.target.link(name, f) {
			return 1, nil
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return 0, err
		}
		r = io.LimitReader(f, b.Size)
	}
	return 0, e.target.write(name, b.Size, time.Time{}, r)
}

// contents writes many pieces of content, several at a time, and calls have with each that is there.
func (e *export) contents(ctx context.Context, p registry.Repository, all []customhouse.Descriptor, manifests bool, have func(customhouse.Descriptor)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	workers := 1
	if e.target.concurrent() {
		workers = readers(e.opts.Readers)
	}
	there := make([]bool, len(all))
	each(len(all), workers, func(i int) {
		if ctx.Err() != nil {
			return
		}
		var err error
		if there[i], err = e.content(ctx, p, all[i], manifests); err != nil {
			cancel(err)
		}
	})
	for i, d := range all {
		if there[i] {
			have(d)
		}
	}
	return context.Cause(ctx)
}

// distribution writes a repository as CNCF distribution lays it out.
func (e *export) distribution(ctx context.Context, p registry.Repository) error {
	base := "docker/registry/v2/repositories/" + p.Name().String()
	var failed error
	put := func(name string, d customhouse.Digest, at time.Time) {
		text := d.String()
		if err := e.target.write(base+"/"+name, int64(len(text)), at, bytes.NewReader([]byte(text))); err != nil && failed == nil {
			failed = err
		}
	}
	link := func(folder string, d customhouse.Digest) string {
		return folder + "/" + string(d.Algorithm()) + "/" + d.Hex() + "/link"
	}
	blobs, err := collect(p.Blobs(ctx))
	if err != nil {
		return err
	}
	err = e.contents(ctx, p, blobs, false, func(d customhouse.Descriptor) { put(link("_layers", d.Digest), d.Digest, time.Time{}) })
	if err != nil {
		return err
	}
	manifests, err := collect(p.Manifests(ctx))
	if err != nil {
		return err
	}
	there := map[customhouse.Digest]bool{}
	err = e.contents(ctx, p, manifests, true, func(d customhouse.Descriptor) {
		there[d.Digest] = true
		put(link("_manifests/revisions", d.Digest), d.Digest, time.Time{})
		e.done.Manifests++
	})
	if err != nil {
		return err
	}
	for t, err := range p.TagSets(ctx) {
		if err != nil {
			return err
		}
		if !there[t.Digest] {
			e.found.add(Finding{Kind: TagToNowhere, Repo: p.Name().String(), Name: t.Tag.String()})
			continue
		}
		history, err := p.History(ctx, t.Tag)
		if err != nil {
			return err
		}
		for _, h := range append(history, t) {
			if there[h.Digest] {
				put(link("_manifests/tags/"+t.Tag.String()+"/index", h.Digest), h.Digest, h.At)
			}
		}
		put("_manifests/tags/"+t.Tag.String()+"/current/link", t.Digest, t.At)
		e.done.Tags++
	}
	return failed
}

func collect[T any](seq func(func(T, error) bool)) ([]T, error) {
	var all []T
	for v, err := range seq {
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

// Annotations of index.json.
const (
	annotationRefName    = "org.opencontainers.image.ref.name"
	annotationRepository = "customhouse.repository"
)

// entry is a manifest that index.json names.
type entry struct {
	repo string
	tag  string // "" for none
	customhouse.Descriptor
}

// layout writes a repository into the one OCI image layout: its manifests, and the blobs that they need.
func (e *export) layout(ctx context.Context, p registry.Repository) error {
	manifests, err := collect(p.Manifests(ctx))
	if err != nil {
		return err
	}
	children := map[customhouse.Digest]bool{}
	there := map[customhouse.Digest]customhouse.Descriptor{}
	needed := map[customhouse.Digest]bool{}
	var blobs []customhouse.Descriptor
	err = e.contents(ctx, p, manifests, true, func(d customhouse.Descriptor) { there[d.Digest] = d })
	if err != nil {
		return err
	}
	for _, d := range manifests {
		if _, ok := there[d.Digest]; !ok {
			continue
		}
		m, err := p.Manifest(ctx, customhouse.Ref{Digest: d.Digest})
		if err != nil {
			return err
		}
		read, err := registry.ReadStored(d.Digest, m.Bytes, true)
		if err != nil {
			return err
		}
		for _, c := range read.Children {
			children[c.Digest] = true
		}
		for _, b := range read.Blobs {
			if !needed[b.Digest] {
				needed[b.Digest] = true
				blobs = append(blobs, b)
			}
		}
		e.done.Manifests++
	}
	if err := e.contents(ctx, p, blobs, false, func(customhouse.Descriptor) {}); err != nil {
		return err
	}
	tagged := map[customhouse.Digest]bool{}
	for t, err := range p.TagSets(ctx) {
		if err != nil {
			return err
		}
		if d, ok := there[t.Digest]; ok {
			e.entries = append(e.entries, entry{p.Name().String(), t.Tag.String(), d})
			tagged[t.Digest] = true
			e.done.Tags++
		}
	}
	for _, d := range manifests {
		if _, ok := there[d.Digest]; ok && !tagged[d.Digest] && !children[d.Digest] {
			e.entries = append(e.entries, entry{repo: p.Name().String(), Descriptor: d})
		}
	}
	return nil
}

// index writes what makes a folder of blobs an OCI image layout. Where it is of one repository, names are tags; else they
// are repository:tag.
func (e *export) index(one bool) error {
	list := []customhouse.Descriptor{}
	for _, entry := range e.entries {
		d := entry.Descriptor
		d.ArtifactType = ""
		d.Annotations = map[string]string{annotationRepository: entry.repo}
		switch {
		case entry.tag != "" && one:
			d.Annotations[annotationRefName] = entry.tag
		case entry.tag != "":
			d.Annotations[annotationRefName] = entry.repo + ":" + entry.tag
		}
		list = append(list, d)
	}
	index, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": customhouse.MediaTypeImageIndex, "manifests": list,
	})
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name    string
		content []byte
	}{{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)}, {"index.json", index}} {
		if err := e.target.write(f.name, int64(len(f.content)), time.Time{}, bytes.NewReader(f.content)); err != nil {
			return err
		}
	}
	return nil
}
