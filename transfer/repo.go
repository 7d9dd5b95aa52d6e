package transfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"customhouse"
	"customhouse/registry"
)

// repo is one repository of a folder on its way into the registry.
type repo struct {
	*adoption
	tree
	dest    registry.Repository // none in a dry run
	known   bool                // whether an earlier pass has been through it
	depth   int                 // of that, -1 for none
	earlier marks               // of links that an earlier pass has taken over
	seen    marks               // those of them that it has verified as deep as this one is to
	blind   bool                // whether something could not be read, so that it is not known what is gone
	good    marks               // of links that are taken over now

	layers    []link
	manifests []link
	tags      []tagLink
	taken     registry.Adoption            // that the registry does not have yet
	present   map[uint64]bool              // names of all links that are there
	sizes     map[customhouse.Digest]int64 // of blobs that the repository shows; unread where an earlier pass has
	revisions map[customhouse.Digest]bool  // manifests that the repository has: true where they are good
}

// unread is the size of a blob that was not looked at again.
const unread = -1

type tagLink struct {
	name string
	link
}

// batch is how many rows are written in one go: others wait for it.
const batch = 500

// remember takes up what an earlier pass has left.
func (r *repo) remember(ctx context.Context) error {
	depth, earlier, err := r.registry.Adopted(ctx, r.layout.Source, r.name)
	if err != nil {
		return err
	}
	r.known, r.depth = depth >= 0, depth
	if r.earlier, err = decodeMarks(earlier); err == nil && depth >= int(r.opts.Verify) {
		r.seen = r.earlier
	}
	return err
}

// odd reports what does not belong into a folder of the repository, or cannot be read.
func (r *repo) odd(path string, why error) {
	if why != nil && why != errNotFolder && why != errNotDigest {
		r.blind = true
	}
	r.stray(r.name)(path, why)
}

// adopt takes over what no earlier pass has: blobs, then manifests, then tags, so that what is visible is whole.
func (r *repo) adopt(ctx context.Context) error {
	if r.known && r.unchanged() {
		r.opts.Progress.Manifests.Add(int64(len(r.manifests)))
		r.count(func(d *Adopted) { d.Repositories++; d.Unchanged++ })
		return nil
	}
	for _, step := range []func(context.Context) error{r.adoptLayers, r.adoptManifests, r.adoptTags, r.flush, r.gone} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if len(r.manifests) == 0 {
		r.found.add(Finding{Kind: NoManifests, Repo: r.name, Path: "repositories/" + r.name})
	}
	r.count(func(d *Adopted) { d.Repositories++ })
	if r.opts.DryRun || r.depth == int(r.opts.Verify) && maps.Equal(r.good, r.earlier) {
		return nil
	}
	return r.registry.MarkAdopted(ctx, r.layout.Source, r.name, int(r.opts.Verify), r.good.encode())
}

func (r *repo) count(add func(*Adopted)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	add(&r.done)
}

func (r *repo) adoptLayers(ctx context.Context) error {
	list := r.fresh(r.layers, func(k link) { r.sizes[k.digest] = unread })
	for part := range slices.Chunk(list, batch) {
		sizes, failed := make([]int64, len(part)), make([]error, len(part))
		each(len(part), r.workers(len(part)), func(i int) {
			sizes[i] = unread
			if ctx.Err() != nil || !part[i].alias() && !r.whole(part[i]) {
				return
			}
			if part[i].alias() {
				sizes[i], failed[i] = r.adoptAlias(ctx, part[i])
				return
			}
			size, err := r.verify(ctx, part[i].digest, r.opts.Verify >= VerifyAll)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				r.content(r.name, part[i], err, MissingBlob)
				return
			}
			sizes[i] = size
		})
		if err := errors.Join(failed...); err != nil {
			return err
		}
		var a registry.Adoption
		for i, k := range part {
			if sizes[i] != unread {
				r.sizes[k.digest] = sizes[i]
				a.Blobs = append(a.Blobs, customhouse.Descriptor{Digest: k.digest, Size: sizes[i]})
				r.good[nameMark(k.path)] = k.at.UnixNano()
			}
		}
		if err := r.take(ctx, a); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// adoptAlias copies the bytes of content that the folder keeps by another digest than the link is called by, for here they
// are kept by that; its size is unread if they are no good.
func (r *repo) adoptAlias(ctx context.Context, k link) (size int64, err error) {
	if size, err = r.verify(ctx, k.to, false); err != nil {
		r.content(r.name, k, err, MissingBlob)
		return unread, nil
	}
	about := Finding{Kind: Alias, Repo: r.name, Name: k.digest.String(), Path: "repositories/" + k.path, Detail: "of " + k.to.String()}
	if r.opts.DryRun {
		r.found.add(about)
		return size, nil
	}
	f, err := r.layout.Blobs.Open(dataPath(k.to))
	if err != nil {
		r.content(r.name, k, err, MissingBlob)
		return unread, nil
	}
	defer f.Close()
	r.opts.Progress.Bytes.Add(size)
	err = r.dest.Monolithic(customhouse.Untold(ctx), k.digest, size, f)
	if errors.Is(err, &customhouse.Error{Code: customhouse.DigestInvalid}) {
		about.Kind, about.Detail = WrongBytes, fmt.Sprintf("%s: %s", k.to, reason(err))
		size, err = unread, nil
	}
	if err == nil {
		r.found.add(about)
	}
	return size, err
}

// workers is how many of n things are done at the same time: few are not worth it.
func (r *repo) workers(n int) int {
	if n < 64 {
		return 1
	}
	return readers(r.opts.Readers)
}

// take hands content to the registry, what is small with what comes next.
func (r *repo) take(ctx context.Context, a registry.Adoption) error {
	r.count(func(d *Adopted) {
		d.Blobs += len(a.Blobs)
		d.Manifests += len(a.Manifests)
		d.Tags += len(a.Tags)
	})
	t := &r.taken
	t.Blobs, t.Manifests, t.Created = append(t.Blobs, a.Blobs...), append(t.Manifests, a.Manifests...), append(t.Created, a.Created...)
	t.Tags, t.History = append(t.Tags, a.Tags...), append(t.History, a.History...)
	if len(t.Blobs)+len(t.Manifests)+len(t.Tags)+len(t.History) < batch {
		return ctx.Err()
	}
	return r.flush(ctx)
}

// flush hands over what was taken.
func (r *repo) flush(ctx context.Context) error {
	a := r.taken
	r.taken = registry.Adoption{}
	if r.opts.DryRun || len(a.Blobs)+len(a.Manifests)+len(a.Tags)+len(a.History) == 0 {
		return ctx.Err()
	}
	return r.dest.Adopt(ctx, a)
}

func (r *repo) adoptManifests(ctx context.Context) error {
	for _, k := range r.manifests {
		r.revisions[k.digest] = false
	}
	list := r.fresh(r.manifests, func(k link) {
		r.revisions[k.digest] = true
		r.opts.Progress.Manifests.Add(1)
	})
	for part := range slices.Chunk(list, batch) {
		read := make([]*registry.Stored, len(part))
		each(len(part), r.workers(len(part)), func(i int) {
			if ctx.Err() == nil {
				read[i] = r.manifest(ctx, part[i])
				r.opts.Progress.Manifests.Add(1)
			}
		})
		var a registry.Adoption
		for i, k := range part {
			if read[i] != nil {
				r.revisions[k.digest] = true
				a.Manifests, a.Created = append(a.Manifests, *read[i]), append(a.Created, k.at)
				r.good[nameMark(k.path)] = k.at.UnixNano()
			}
		}
		if err := r.take(ctx, a); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// maxStored is how large a manifest may be that is read whole.
const maxStored = 4 * registry.MaxManifestSize

// manifest reads the manifest that a link names; nil if it cannot be taken over.
func (r *repo) manifest(ctx context.Context, k link) *registry.Stored {
	if !r.whole(k) {
		return nil
	}
	body, err := readSmall(r.layout.Blobs, dataPath(k.digest), maxStored)
	if err == nil && r.opts.Verify >= VerifyManifests {
		r.opts.Progress.Bytes.Add(int64(len(body)))
		if got := customhouse.DigestOf(k.digest.Algorithm(), body); got != k.digest {
			err = fmt.Errorf("%w: %d bytes with the digest %s", errWrongBytes, len(body), got)
		}
	}
	if err != nil {
		r.content(r.name, k, err, MissingManifest)
		return nil
	}
	m, err := registry.ReadStored(k.digest, body, r.opts.ForeignLayers)
	about := Finding{Repo: r.name, Name: k.digest.String(), Path: "blobs/" + dataPath(k.digest)}
	if err != nil {
		about.Kind, about.Detail = NotAManifest, reason(err)
		r.found.add(about)
		return nil
	}
	if m.Refused != nil {
		about.Kind, about.Detail = RefusedManifest, reason(m.Refused)
		r.found.add(about)
	}
	r.named(ctx, k, m)
	return &m
}

// reason is what an error says to a person.
func reason(err error) string {
	var known *customhouse.Error
	if errors.As(err, &known) && known.Detail != nil {
		return fmt.Sprint(known.Detail)
	}
	return err.Error()
}

// named reports what a manifest names and the repository does not have.
func (r *repo) named(ctx context.Context, k link, m registry.Stored) {
	for _, b := range m.Blobs {
		size, there := r.sizes[b.Digest]
		about := Finding{Repo: r.name, Name: b.Digest.String(), Detail: fmt.Sprintf("named by manifest %s", k.digest)}
		switch {
		case !there:
			about.Kind = BlobNotLinked
			r.found.add(about)
		case size != unread && b.Size >= 0 && size != b.Size:
			about.Kind, about.Path = WrongSize, "blobs/"+dataPath(b.Digest)
			about.Detail += fmt.Sprintf(", which says %d bytes and not %d", b.Size, size)
			if _, err := r.verify(ctx, b.Digest, true); errors.Is(err, errWrongBytes) {
				about.Kind = WrongBytes
			}
			r.found.add(about)
		}
	}
	for _, c := range m.Children {
		if _, there := r.revisions[c.Digest]; !there {
			r.found.add(Finding{Kind: MissingChild, Repo: r.name, Name: c.Digest.String(), Detail: fmt.Sprintf("named by index %s", k.digest)})
		}
	}
}

func (r *repo) adoptTags(ctx context.Context) error {
	var a registry.Adoption
	for _, t := range r.tags {
		m := t.mark()
		if r.seen.has(m) {
			r.good[m.name] = m.at
			continue
		}
		tag, err := customhouse.ParseTag(t.name)
		if err != nil {
			return err // list has parsed it
		}
		to, about := t.to, Finding{Repo: r.name, Name: t.name, Path: "repositories/" + t.path}
		if t.torn != nil {
			about.Kind, about.Detail = TornLink, t.torn.Error()
			r.found.add(about)
			continue
		}
		if !r.revisions[to] {
			about.Kind, about.Detail = TagToNowhere, fmt.Sprintf("manifest %s is not in the repository or no good", to)
			r.found.add(about)
			continue
		}
		a.Tags = append(a.Tags, registry.TagSet{Tag: tag, Digest: to, At: t.at})
		a.History = append(a.History, registry.TagSet{Tag: tag, Digest: to, At: t.at})
		a.History = append(a.History, r.history(tag, to)...)
		r.good[m.name] = m.at
		if len(a.History) >= batch {
			if err := r.take(ctx, a); err != nil {
				return err
			}
			a = registry.Adoption{}
		}
	}
	return r.take(ctx, a)
}

// history returns what a tag has pointed to, besides what it points to now.
func (r *repo) history(tag customhouse.Tag, now customhouse.Digest) []registry.TagSet {
	var sets []registry.TagSet
	dir := r.name + "/_manifests/tags/" + tag.String() + "/index"
	for _, d := range r.layout.digests(dir, r.odd) {
		if d == now || !r.revisions[d] {
			continue // the manifest was deleted since
		}
		k, err := r.layout.look(linkPath(dir, d), func(link) bool { return true })
		if err == nil {
			sets = append(sets, registry.TagSet{Tag: tag, Digest: d, At: k.at})
		} else if !errors.Is(err, errDeleted) && !errors.Is(err, fs.ErrNotExist) {
			r.odd(dir, err)
		}
	}
	return sets
}
