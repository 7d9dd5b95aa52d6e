package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync/atomic"

	"customhouse"
	"customhouse/registry"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
)

// ImportOptions of the imports. The zero value works.
type ImportOptions struct {
	Repo     customhouse.Repo // takes all that is imported; zero for the names that the source gives
	Tags     []string         // patterns of tags to take, as in package path; none is all, and what has no tag
	Parallel int              // pieces of content under way at the same time; 0 is 4
	Progress *ImportProgress  // nil is for nobody

	// Failed is told of an image that could not be taken, or of a repository whose tags could not be listed, and the others
	// are taken all the same. nil: the first one ends it.
	Failed func(what string, err error)
}

// maxFailed is how many images in a row may fail until the rest is taken to be no better.
const maxFailed = 10

// ImportProgress is how far an import has come. It may be read at any time.
type ImportProgress struct {
	Total atomic.Int64 // manifests that the source names; 0 while they are being counted
	Done  atomic.Int64
}

// Imported is what an import has done.
type Imported struct {
	Names   int   // manifests that the source names, by tag or digest
	Pieces  int64 // of content that are new here
	Bytes   int64
	Present int64 // pieces that were here already
	Failed  int   // manifests that could not be taken
}

// named is a manifest in a source with the name that it gets here.
type named struct {
	repo customhouse.Repo
	tag  customhouse.Tag // zero for none
	ocispec.Descriptor
}

// wants tells whether the tag is asked for.
func (o ImportOptions) wants(tag customhouse.Tag) bool {
	if len(o.Tags) == 0 {
		return true
	}
	for _, pattern := range o.Tags {
		if ok, err := path.Match(pattern, tag.String()); ok && err == nil && !tag.IsZero() {
			return true
		}
	}
	return false
}

func (o ImportOptions) parallel() int {
	if o.Parallel > 0 {
		return o.Parallel
	}
	return 4
}

// importing copies manifests with all that they name.
type importing struct {
	registry *registry.Registry
	opts     ImportOptions
	pieces   atomic.Int64
	bytes    atomic.Int64
	present  atomic.Int64
	failed   int
	inARow   int // failures
}

// fails tells of what could not be taken, and returns an error when it is not to go on.
func (im *importing) fails(ctx context.Context, what string, err error) error {
	err = fmt.Errorf("%s: %w", what, err)
	full := errors.Is(err, &customhouse.Error{Code: customhouse.InsufficientStorage})
	if im.opts.Failed == nil || full || ctx.Err() != nil || im.inARow+1 == maxFailed {
		return err
	}
	im.failed++
	im.inARow++
	im.opts.Failed(what, err)
	return nil
}

// done is what has been done, which is names.
func (im *importing) done(names int) Imported {
	return Imported{Names: names, Pieces: im.pieces.Load(), Bytes: im.bytes.Load(), Present: im.present.Load(), Failed: im.failed}
}

// take copies what a source names, and returns how much of it is here then. What is here already is not read again, so an import that broke off goes on.
func (im *importing) take(ctx context.Context, source content.ReadOnlyStorage, all []named) (names int, err error) {
	if im.opts.Progress == nil {
		im.opts.Progress = &ImportProgress{}
	}
	im.opts.Progress.Total.Add(int64(len(all)))
	if err := unambiguous(all); err != nil {
		return 0, err
	}
	for _, n := range all {
		dest := &destination{Repository: im.registry.Repository(n.repo), im: im}
		if err := dest.copy(ctx, source, n); err != nil {
			if err := im.fails(ctx, n.String(), err); err != nil {
				return names, err
			}
		} else {
			im.inARow = 0
			names++
		}
		im.opts.Progress.Done.Add(1)
	}
	return names, nil
}

func (n named) String() string {
	if n.tag.IsZero() {
		return n.repo.String() + "@" + n.Digest.String()
	}
	return n.repo.String() + ":" + n.tag.String()
}

// unambiguous makes sure that no two manifests would get the same name.
func unambiguous(all []named) error {
	seen := map[string]named{}
	for _, n := range all {
		if other, ok := seen[n.String()]; ok && other.Digest != n.Digest {
			return fmt.Errorf("two manifests would be called %s: %s and %s", n, other.Digest, n.Digest)
		}
		seen[n.String()] = n
	}
	return nil
}

// destination is a repository as oras sees the place to copy to. Everything enters as a push does.
type destination struct {
	registry.Repository
	im *importing
}

var _ content.Storage = (*destination)(nil)

func (d *destination) copy(ctx context.Context, source content.ReadOnlyStorage, n named) error {
	g := graph{from: source, to: d, near: d}
	if err := g.copy(ctx, n.Descriptor); err != nil {
		return err
	}
	if far, ok := source.(content.ReadOnlyGraphStorage); ok { // and what refers to it
		g.referrers = func(ctx context.Context, m ocispec.Descriptor) ([]referrer, error) { return refersFrom(ctx, far, d, m) }
		if err := g.follow(ctx, n.Descriptor); err != nil {
			return err
		}
	}
	if n.tag.IsZero() {
		return nil
	}
	return d.tag(ctx, n.Descriptor, n.tag)
}

// tag lets a tag point to a manifest that is here.
func (d *destination) tag(ctx context.Context, desc ocispec.Descriptor, tag customhouse.Tag) error {
	digest, err := customhouse.ParseDigest(desc.Digest.String())
	if err != nil {
		return err
	}
	m, err := d.Repository.Manifest(ctx, customhouse.Ref{Digest: digest})
	if err != nil {
		return err
	}
	return d.push(ctx, m.MediaType, m.Bytes, digest, tag)
}

func (d *destination) push(ctx context.Context, mediaType string, b []byte, digest customhouse.Digest, tags ...customhouse.Tag) error {
	_, err := d.PushManifest(ctx, registry.Push{MediaType: mediaType, Bytes: b, Digest: digest, Tags: tags})
	return explain(err)
}

// explain adds to an error that a client would read what else it would read.
func explain(err error) error {
	var known *customhouse.Error
	if errors.As(err, &known) && known.Detail != nil {
		return fmt.Errorf("%w (%v)", err, known.Detail)
	}
	return err
}

// Exists implements content.Storage.
func (d *destination) Exists(ctx context.Context, desc ocispec.Descriptor) (bool, error) {
	digest, err := customhouse.ParseDigest(desc.Digest.String())
	if err != nil {
		return false, err
	}
	if isManifest(desc.MediaType) {
		_, err = d.Stat(ctx, customhouse.Ref{Digest: digest})
	} else {
		var b *registry.Blob
		if b, err = d.Blob(ctx, digest); err == nil {
			err = b.Close()
		}
	}
	if errors.Is(err, &customhouse.Error{Code: customhouse.BlobUnknown}) || errors.Is(err, &customhouse.Error{Code: customhouse.ManifestUnknown}) {
		return false, nil
	}
	if err == nil {
		d.im.present.Add(1)
	}
	return err == nil, err
}

// Push implements content.Storage.
func (d *destination) Push(ctx context.Context, desc ocispec.Descriptor, r io.Reader) error {
	digest, err := customhouse.ParseDigest(desc.Digest.String())
	if err != nil {
		return err
	}
	if isManifest(desc.MediaType) {
		b, err := io.ReadAll(io.LimitReader(r, registry.MaxManifestSize+1))
		if err != nil {
			return err
		}
		if len(b) > registry.MaxManifestSize {
			return fmt.Errorf("manifest %s is larger than %d bytes", digest, registry.MaxManifestSize)
		}
		err = d.push(ctx, desc.MediaType, b, digest)
		return d.im.count(int64(len(b)), err)
	}
	return d.im.count(desc.Size, explain(d.Monolithic(ctx, digest, desc.Size, io.LimitReader(r, desc.Size+1))))
}

func (im *importing) count(size int64, err error) error {
	if err == nil {
		im.pieces.Add(1)
		im.bytes.Add(size)
	}
	return err
}

// Fetch implements content.Storage: oras reads back manifests that are here already.
func (d *destination) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	digest, err := customhouse.ParseDigest(desc.Digest.String())
	if err != nil {
		return nil, err
	}
	if isManifest(desc.MediaType) {
		m, err := d.Repository.Manifest(ctx, customhouse.Ref{Digest: digest})
		return io.NopCloser(bytes.NewReader(m.Bytes)), err
	}
	b, err := d.Blob(ctx, digest)
	if err != nil {
		return nil, err
	}
	r, err := b.Section(0, b.Size)
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(r, b.Size), b}, nil
}

// isManifest tells whether content of the type goes through PushManifest.
func isManifest(mediaType string) bool {
	switch mediaType {
	case customhouse.MediaTypeImageManifest, customhouse.MediaTypeImageIndex, customhouse.MediaTypeArtifactManifest,
		customhouse.MediaTypeDockerManifest, customhouse.MediaTypeDockerList:
		return true
	}
	return false
}

// parseName reads a name that an archive gives an image: a tag alone, repository:tag, or host/repository:tag, of which the
// host is left out. where is the repository that takes it; zero for that of the name.
func parseName(name string, where customhouse.Repo) (customhouse.Repo, customhouse.Tag, error) {
	repo, tag := "", name
	if i := strings.LastIndexByte(name, ':'); i >= 0 && !strings.Contains(name[i:], "/") {
		repo, tag = name[:i], name[i+1:]
	} else if strings.Contains(name, "/") {
		repo, tag = name, "latest"
	}
	t, err := customhouse.ParseTag(tag)
	if err != nil {
		return customhouse.Repo{}, t, fmt.Errorf("the name %.200q has no valid tag", name)
	}
	if !where.IsZero() {
		return where, t, nil
	}
	if host, rest, ok := strings.Cut(repo, "/"); ok && (strings.ContainsAny(host, ".:") || host == "localhost") {
		repo = rest
	}
	if repo == "" {
		return customhouse.Repo{}, t, fmt.Errorf("the name %.200q is a tag alone: %w", name, ErrNoRepository)
	}
	r, err := customhouse.ParseRepo(repo)
	if err != nil {
		return r, t, fmt.Errorf("the name %.200q is of no valid repository", name)
	}
	return r, t, nil
}

// ErrNoRepository says that a source does not say which repository its content is of.
var ErrNoRepository = errors.New("no repository is named")
