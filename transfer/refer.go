package transfer

import (
	"context"
	"errors"
	"strings"

	"customhouse"
	"customhouse/registry"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
)

// graph copies manifests with all that belongs to them between a repository here and one elsewhere, either way.
type graph struct {
	from content.ReadOnlyStorage
	to   content.Storage
	near *destination // the one that is here
	// referrers returns what refers to a manifest where it is copied from.
	referrers func(ctx context.Context, m ocispec.Descriptor) ([]referrer, error)
	seen      map[digest.Digest]bool // manifests whose referrers were looked for
}

// referrer is a manifest with a subject.
type referrer struct {
	ocispec.Descriptor
	there bool // where it is copied to, and known as a referrer
}

// copy copies a manifest with all that it names. What is there already is not read again.
func (g *graph) copy(ctx context.Context, node ocispec.Descriptor) error {
	return g.copyTo(ctx, g.to, node)
}

func (g *graph) copyTo(ctx context.Context, to content.Storage, node ocispec.Descriptor) error {
	opts := oras.DefaultCopyGraphOptions
	opts.Concurrency, opts.MaxMetadataBytes = g.near.im.opts.parallel(), registry.MaxManifestSize
	return oras.CopyGraph(ctx, g.from, to, node, opts)
}

// maxReferring is how many steps lead from an image to what refers to what refers to it.
const maxReferring = 2

// follow copies what refers to a manifest that was copied, or to one that it names, such as signatures; and what refers to
// that.
func (g *graph) follow(ctx context.Context, node ocispec.Descriptor) error {
	type step struct {
		ocispec.Descriptor
		n int
	}
	if g.seen == nil {
		g.seen = map[digest.Digest]bool{}
	}
	for todo := []step{{node, 0}}; len(todo) > 0; todo = todo[1:] {
		m := todo[0]
		if g.seen[m.Digest] {
			continue
		}
		g.seen[m.Digest] = true
		children, err := g.near.children(ctx, m.Descriptor)
		if err != nil {
			return err
		}
		for _, child := range children {
			todo = append(todo, step{child, m.n})
		}
		if m.n == maxReferring {
			continue
		}
		found, err := g.referrers(ctx, m.Descriptor)
		if err != nil {
			return err
		}
		for _, r := range found {
			if !r.there {
				if err := g.copyTo(ctx, unlisted{g.to, r.Digest}, r.Descriptor); err != nil {
					return err
				}
			}
			todo = append(todo, step{r.Descriptor, m.n + 1})
		}
	}
	return nil
}

// unlisted is a place to which one manifest is pushed though it may be there: it is not known as a referrer.
type unlisted struct {
	content.Storage
	digest digest.Digest
}

// Exists implements content.Storage.
func (u unlisted) Exists(ctx context.Context, d ocispec.Descriptor) (bool, error) {
	if d.Digest == u.digest {
		return false, nil
	}
	return u.Storage.Exists(ctx, d)
}

// children returns the manifests that an index names and that are here.
func (d *destination) children(ctx context.Context, m ocispec.Descriptor) (found []ocispec.Descriptor, err error) {
	if m.MediaType != customhouse.MediaTypeImageIndex && m.MediaType != customhouse.MediaTypeDockerList {
		return nil, nil
	}
	all, err := content.Successors(ctx, d, m)
	for _, child := range all {
		if !isManifest(child.MediaType) {
			continue
		}
		if here, err := d.has(ctx, child); err != nil {
			return nil, err
		} else if here {
			found = append(found, child)
		}
	}
	return found, err
}

// has tells whether a manifest is here.
func (d *destination) has(ctx context.Context, m ocispec.Descriptor) (bool, error) {
	parsed, err := customhouse.ParseDigest(m.Digest.String())
	if err != nil {
		return false, err
	}
	_, err = d.Stat(ctx, customhouse.Ref{Digest: parsed})
	if errors.Is(err, &customhouse.Error{Code: customhouse.ManifestUnknown}) {
		return false, nil
	}
	return err == nil, err
}

// referrersHere returns what refers here to a manifest, and which of it is known there.
func (p *pair) referrersHere(ctx context.Context, m ocispec.Descriptor) (all []referrer, err error) {
	subject, err := customhouse.ParseDigest(m.Digest.String())
	if err != nil {
		return nil, err
	}
	var after customhouse.Digest
	for more := true; more; {
		var page []customhouse.Descriptor
		if page, more, err = p.near.Referrers(ctx, subject, "", after, 1000); err != nil {
			return nil, err
		}
		for _, r := range page {
			all = append(all, referrer{Descriptor: descriptorOf(r)})
			after = r.Digest
		}
	}
	if len(all) == 0 {
		return nil, nil
	}
	listed := map[digest.Digest]bool{}
	there, err := p.far.Predecessors(ctx, m)
	for _, r := range there {
		listed[r.Digest] = true
	}
	for i := range all {
		all[i].there = listed[all[i].Digest]
	}
	return all, err
}

// referrersThere returns what refers to a manifest there, and which of it is here. Where there is no list of them, a tag
// has it, named after the digest.
func (p *pair) referrersThere(ctx context.Context, m ocispec.Descriptor) ([]referrer, error) {
	if !p.lists && !has(p.there, strings.Replace(m.Digest.String(), ":", "-", 1)) {
		return nil, nil
	}
	return refersFrom(ctx, p.far, p.graph.near, m)
}

// refersFrom returns what refers to a manifest in a repository elsewhere, and which of it is here.
func refersFrom(ctx context.Context, far content.PredecessorFinder, near *destination, m ocispec.Descriptor) (all []referrer, err error) {
	found, err := far.Predecessors(ctx, m)
	if err != nil {
		return nil, err
	}
	for _, r := range found {
		here, err := near.has(ctx, r)
		if err != nil {
			return nil, err
		}
		all = append(all, referrer{r, here})
	}
	return all, nil
}

// signed returns the digest of the image whose signature, or what else is made for it, a tag names as cosign does:
// sha256-<hex>.sig.
func signed(tag string) (digest.Digest, bool) {
	name, _, ok := strings.Cut(tag, ".")
	algorithm, hex, cut := strings.Cut(name, "-")
	d := digest.NewDigestFromEncoded(digest.Algorithm(algorithm), hex)
	return d, ok && cut && d.Validate() == nil
}

func descriptorOf(d customhouse.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{
		MediaType: d.MediaType, Digest: digest.Digest(d.Digest.String()), Size: d.Size,
		ArtifactType: d.ArtifactType, Annotations: d.Annotations,
	}
}
