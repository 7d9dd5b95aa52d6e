package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"customhouse"
	"customhouse/blob"
	"customhouse/index"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"
)

// Upstream is another registry that repositories of this one are copies of. Nothing that it says is believed: its bytes
// are kept when they have the digest that was asked for. Each method may return customhouse.ErrNotFound, where the other
// says that there is no such thing or that it is not for us, and else an error that says nothing about the content.
type Upstream interface {
	// Resolve returns the digest of the manifest that ref names.
	Resolve(ctx context.Context, repo customhouse.Repo, ref customhouse.Ref) (customhouse.Digest, error)
	// Manifest returns the bytes of the manifest that ref names, at most MaxManifestSize.
	Manifest(ctx context.Context, repo customhouse.Repo, ref customhouse.Ref) ([]byte, error)
	// Blob returns a reader of a blob, which the caller closes, and its size, -1 for unknown. Reading ends when ctx does,
	// or when nothing comes.
	Blob(ctx context.Context, repo customhouse.Repo, d customhouse.Digest) (io.ReadCloser, int64, error)
	// BlobSize returns the size of a blob.
	BlobSize(ctx context.Context, repo customhouse.Repo, d customhouse.Digest) (int64, error)
	// Tags returns up to n tags after the given one, and tells whether there are more.
	Tags(ctx context.Context, repo customhouse.Repo, after string, n int) (tags []string, more bool, err error)
}

// Source is where a repository is a copy of. What is pulled from the repository and is not in it is fetched from there;
// nothing can be pushed to it.
type Source struct {
	Upstream Upstream
	Repo     customhouse.Repo // its name there
	TagTTL   time.Duration    // how long a tag counts before the upstream is asked again
	TTL      time.Duration    // how long after it was last confirmed a tag is served while the upstream cannot tell, and how long content is kept that nobody asks for; 0 is for ever
	NoStale  bool             // whether a tag is not served while the upstream cannot tell
	Linger   time.Duration    // how long a blob goes on coming after the last client that waited for it has left
}

// How long the answers of an upstream are remembered in which there is nothing to keep.
const (
	unknownTTL = 10 * time.Second // "there is no such thing"
	outageTTL  = 10 * time.Second // it could not tell about a tag
	maxAnswers = 100_000
)

// upstreams is what is remembered of upstreams and on its way from them.
type upstreams struct {
	flights   flights
	manifests singleflight.Group
	answers   *otter.Cache[answerKey, answer]
}

type answerKey struct{ repo, name string }

// answer is what an upstream has last said about a name.
type answer struct {
	unknown bool      // there is no such thing
	until   time.Time // it counts
}

func newUpstreams() *upstreams {
	return &upstreams{
		flights: flights{all: map[answerKey]*flight{}},
		answers: otter.Must(&otter.Options[answerKey, answer]{MaximumSize: maxAnswers}),
	}
}

// Close ends what is on its way from upstreams and waits for it.
func (r *Registry) Close() { r.upstreams.flights.close() }

// source returns where the repository is a copy of, nil for nothing.
func (p Repository) source() *Source {
	if p.r.opts.Source == nil {
		return nil
	}
	return p.r.opts.Source(p.name)
}

// Pushable returns the UNSUPPORTED for a repository that is a copy, nil for others.
func (p Repository) Pushable() error {
	if p.source() == nil {
		return nil
	}
	return customhouse.Errorf(customhouse.Unsupported, "%s is a copy of a repository elsewhere: nothing can be pushed to it", p.name)
}

// known returns what the upstream has said about a name, if that still counts.
func (p Repository) known(name string) (a answer, ok bool) {
	a, ok = p.r.upstreams.answers.GetIfPresent(answerKey{p.name.String(), name})
	return a, ok && p.r.opts.Now().Before(a.until)
}

// remember keeps what the upstream has said about a name.
func (p Repository) remember(name string, unknown bool, ttl time.Duration) {
	p.r.upstreams.answers.Set(answerKey{p.name.String(), name}, answer{unknown, p.r.opts.Now().Add(ttl)})
}

// upstreamError turns what an upstream says of something into what clients may hear.
func (p Repository) upstreamError(name string, err error, unknown *customhouse.Error) error {
	if errors.Is(err, customhouse.ErrNotFound) {
		p.remember(name, true, unknownTTL)
		return unknown.WithCause(err)
	}
	if errors.As(err, new(*customhouse.Error)) || errors.Is(err, context.Canceled) {
		return err
	}
	return customhouse.Errorf(customhouse.Unavailable, "the registry that this is a mirror of cannot tell at present").WithCause(err)
}

// resolveFrom is Resolve where the repository is a copy.
func (p Repository) resolveFrom(ctx context.Context, src *Source, ref customhouse.Ref) (customhouse.Descriptor, error) {
	local, err := p.r.index.Manifest(ctx, p.name, ref)
	here := err == nil
	if err != nil && !errors.Is(err, customhouse.ErrNotFound) {
		return customhouse.Descriptor{}, err
	}
	a, known := p.known(ref.String())
	switch {
	case here && (known && !a.unknown || !ref.Digest.IsZero()):
		p.used(ctx, src, local.Digest)
		return local.Descriptor, nil
	case known && a.unknown:
		return customhouse.Descriptor{}, manifestUnknown(ref)
	case !ref.Digest.IsZero():
		return p.fetchManifest(ctx, src, ref.Digest, customhouse.Tag{})
	}
	d, err := once(ctx, &p.r.upstreams.manifests, "resolve "+p.name.String()+":"+ref.String(), func(ctx context.Context) (customhouse.Digest, error) {
		return src.Upstream.Resolve(ctx, src.Repo, ref)
	})
	switch {
	case err == nil && here && d == local.Digest:
		p.confirm(ctx, src, ref.Tag)
		p.used(ctx, src, d)
		return local.Descriptor, nil
	case err == nil:
		m, failed := p.fetchManifest(ctx, src, d, ref.Tag)
		if failed == nil || !here || !isUpstreams(failed) {
			return m, failed
		}
		err = failed
	case errors.Is(err, customhouse.ErrNotFound):
		if !here {
			return customhouse.Descriptor{}, p.upstreamError(ref.String(), err, manifestUnknown(ref))
		}
		// What is not for us any more is not for our clients either. What was pushed here is no concern of the upstream's.
		if err := p.r.index.DropTag(customhouse.Untold(ctx), p.name, ref.Tag); err != nil && !errors.Is(err, customhouse.ErrNotFound) {
			return customhouse.Descriptor{}, err
		}
		if local, err := p.r.index.Manifest(ctx, p.name, ref); !errors.Is(err, customhouse.ErrNotFound) {
			p.remember(ref.String(), false, unknownTTL)
			return local.Descriptor, err
		}
		return customhouse.Descriptor{}, p.upstreamError(ref.String(), err, manifestUnknown(ref))
	}
	if here && ctx.Err() == nil && p.mayBeStale(ctx, src, ref.Tag) {
		p.r.opts.Log.Warn("a tag is served as it was: its upstream cannot tell", "repository", p.name.String(), "tag", ref.String(), "error", err)
		p.remember(ref.String(), false, outageTTL)
		p.used(ctx, src, local.Digest)
		return local.Descriptor, nil
	}
	return customhouse.Descriptor{}, p.upstreamError(ref.String(), err, manifestUnknown(ref))
}

// isUpstreams tells whether err, with which fetchManifest has failed, is the upstream's: it has promised what it does not
// send, sends something else, or cannot tell.
func isUpstreams(err error) bool {
	var known *customhouse.Error
	return errors.As(err, &known) &&
		(known.Code == customhouse.ManifestUnknown || known.Code == customhouse.Unavailable || known.Code == customhouse.TooManyRequests)
}

// confirm takes note that the tag points upstream to what it does here.
func (p Repository) confirm(ctx context.Context, src *Source, tag customhouse.Tag) {
	p.remember(tag.String(), false, src.TagTTL)
	if err := p.r.index.ConfirmTag(context.WithoutCancel(ctx), p.name, tag); err != nil {
		p.r.opts.Log.Warn("it could not be noted that a tag is as it is upstream", "repository", p.name.String(), "tag", tag.String(), "error", err)
	}
}

// mayBeStale tells whether the tag may be served though its upstream cannot tell.
func (p Repository) mayBeStale(ctx context.Context, src *Source, tag customhouse.Tag) bool {
	if src.NoStale || src.TTL == 0 {
		return !src.NoStale
	}
	at, err := p.r.index.TagConfirmed(ctx, p.name, tag)
	return err == nil && p.r.opts.Now().Sub(at) < src.TTL
}

// fetchManifest takes the manifest d from the upstream, and lets tag point to it unless that is zero.
func (p Repository) fetchManifest(ctx context.Context, src *Source, d customhouse.Digest, tag customhouse.Tag) (customhouse.Descriptor, error) {
	key := "fetch " + p.name.String() + ":" + tag.String() + "@" + d.String()
	m, err := once(ctx, &p.r.upstreams.manifests, key, func(ctx context.Context) (customhouse.Descriptor, error) {
		if m, err := p.r.index.Manifest(ctx, p.name, customhouse.Ref{Digest: d}); err == nil && p.r.present(ctx, m.Descriptor) == nil {
			return m.Descriptor, p.point(ctx, src, m, tag, nil)
		}
		body, err := src.Upstream.Manifest(ctx, src.Repo, customhouse.Ref{Digest: d})
		if err != nil {
			return customhouse.Descriptor{}, err
		}
		if got := customhouse.DigestOf(d.Algorithm(), body); got != d {
			return customhouse.Descriptor{}, wrongUpstream(d, got)
		}
		stored, err := ReadStored(d, body, true)
		if err != nil { // a page for people, perhaps
			return customhouse.Descriptor{}, customhouse.Errorf(customhouse.Unavailable, "the registry that this is a mirror of sends what is no manifest").WithCause(err)
		}
		if _, err := p.r.keep(ctx, d, bytes.NewReader(body)); err != nil {
			return customhouse.Descriptor{}, err
		}
		m := index.Manifest{Descriptor: stored.Descriptor, Subject: stored.Subject}
		names := namesOf(stored.Blobs, stored.Children)
		return m.Descriptor, p.point(ctx, src, m, tag, names)
	})
	if err != nil {
		name := d.String()
		if !tag.IsZero() {
			name = tag.String()
		}
		return m, p.upstreamError(name, err, manifestUnknown(customhouse.Ref{Tag: tag, Digest: d}))
	}
	return m, nil
}

// point makes a manifest visible whose bytes are here and that has these names, nil for one that is visible, and lets tag
// point to it unless that is zero. Nobody is asked: what a copy holds is up to its upstream.
func (p Repository) point(ctx context.Context, src *Source, m index.Manifest, tag customhouse.Tag, names *index.Names) error {
	put := index.Put{Manifest: m, Sparse: true, Fetched: true, Names: names}
	if !tag.IsZero() {
		put.Tags = []customhouse.Tag{tag}
	}
	if err := p.r.index.PutManifest(customhouse.Untold(ctx), p.name, put); err != nil {
		return err
	}
	if !tag.IsZero() {
		p.confirm(ctx, src, tag)
	}
	return nil
}

func wrongUpstream(want, got customhouse.Digest) error {
	return customhouse.Errorf(customhouse.Unavailable, "the registry that this is a mirror of sends other content than was asked for").
		WithDetail(map[string]any{"digest": want, "actual": got})
}

// once does the work of a key for all who ask for it at the same time. It goes on while one of them has gone.
func once[T any](ctx context.Context, g *singleflight.Group, key string, work func(context.Context) (T, error)) (T, error) {
	result := g.DoChan(key, func() (any, error) { return work(context.WithoutCancel(ctx)) })
	var zero T
	select {
	case r := <-result:
		if r.Err != nil {
			return zero, r.Err
		}
		return r.Val.(T), nil
	case <-ctx.Done():
		return zero, ctx.Err()
	}
}

// tagsFrom is Tags where the repository is a copy: the upstream's, or those that are here while it cannot tell.
func (p Repository) tagsFrom(ctx context.Context, src *Source, after string, n int) (tags []string, more bool, ok bool) {
	tags, more, err := src.Upstream.Tags(ctx, src.Repo, after, n)
	return tags, more, err == nil
}

// isLost tells whether an error says that content which the index knows is not in the store, or not as it should be.
func isLost(err error) bool { return errors.Is(err, blob.ErrNotFound) || errors.Is(err, ErrCorrupt) }
