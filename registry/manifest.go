package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"customhouse"
	"customhouse/index"
)

// MaxManifestSize is how many bytes a manifest may have (OCI distribution-spec: registries take at least 4 MiB).
const MaxManifestSize = 4 << 20

// Manifest is a manifest of a repository, byte for byte as it was pushed.
type Manifest struct {
	customhouse.Descriptor
	Bytes []byte // read only
}

// ManifestUnknown is the MANIFEST_UNKNOWN for what ref names.
func ManifestUnknown(ref customhouse.Ref) *customhouse.Error { return manifestUnknown(ref) }

func manifestUnknown(ref customhouse.Ref) *customhouse.Error {
	return customhouse.Errorf(customhouse.ManifestUnknown, "manifest unknown").WithDetail(map[string]string{"reference": ref.String()})
}

// Manifest returns the manifest that ref names. Its bytes are right. MANIFEST_UNKNOWN.
func (p Repository) Manifest(ctx context.Context, ref customhouse.Ref) (Manifest, error) {
	d, err := p.Resolve(ctx, ref)
	if err != nil {
		return Manifest{}, err
	}
	b, err := p.r.manifestBytes(ctx, d)
	if src := p.source(); src != nil && isLost(err) {
		if d, err = p.fetchManifest(ctx, src, d.Digest, customhouse.Tag{}); err == nil {
			b, err = p.r.manifestBytes(ctx, d)
		}
	}
	if isLost(err) {
		return Manifest{}, manifestUnknown(ref).WithCause(err)
	}
	return Manifest{Descriptor: d, Bytes: b}, err
}

// Stat returns the descriptor of the manifest that ref names, if its bytes are there. MANIFEST_UNKNOWN.
func (p Repository) Stat(ctx context.Context, ref customhouse.Ref) (customhouse.Descriptor, error) {
	d, err := p.Resolve(ctx, ref)
	if err != nil {
		return d, err
	}
	if _, ok := p.r.manifests.GetIfPresent(d.Digest); ok {
		return d, nil
	}
	err = p.r.present(ctx, d)
	if src := p.source(); src != nil && isLost(err) {
		return p.fetchManifest(ctx, src, d.Digest, customhouse.Tag{})
	}
	if isLost(err) {
		err = manifestUnknown(ref).WithCause(err)
	}
	return d, err
}

// Here is Resolve without a look elsewhere: of a copy, what is in it. MANIFEST_UNKNOWN.
func (p Repository) Here(ctx context.Context, ref customhouse.Ref) (customhouse.Descriptor, error) {
	m, err := p.r.index.Manifest(ctx, p.name, ref)
	if errors.Is(err, customhouse.ErrNotFound) {
		err = manifestUnknown(ref)
	}
	return m.Descriptor, err
}

// Resolve returns the descriptor of the manifest that ref names, without a look at its bytes. MANIFEST_UNKNOWN.
func (p Repository) Resolve(ctx context.Context, ref customhouse.Ref) (customhouse.Descriptor, error) {
	if src := p.source(); src != nil {
		return p.resolveFrom(ctx, src, ref)
	}
	return p.Here(ctx, ref)
}

// present tells with an error that content which the index knows is not in the store, or is of another size.
func (r *Registry) present(ctx context.Context, d customhouse.Descriptor) error {
	o, err := r.open(ctx, d.Digest, d.Size)
	if err != nil {
		return err
	}
	return o.Close()
}

// manifestBytes returns the bytes of a manifest, hashed when they were read.
func (r *Registry) manifestBytes(ctx context.Context, d customhouse.Descriptor) ([]byte, error) {
	if b, ok := r.manifests.GetIfPresent(d.Digest); ok {
		return b, nil
	}
	o, err := r.open(ctx, d.Digest, d.Size)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	b := make([]byte, d.Size)
	if _, err := io.ReadFull(r.verifying(ctx, d.Digest, o), b); err != nil && err != io.EOF {
		return nil, err
	}
	r.manifests.Set(d.Digest, b)
	return b, nil
}

// Push is a manifest on its way into a repository.
type Push struct {
	MediaType string             // what the client says it is (Content-Type); "" for what the manifest says
	Bytes     []byte             // at most MaxManifestSize
	Digest    customhouse.Digest // what it must have; zero for whatever it has by SHA256
	Tags      []customhouse.Tag  // shall point to it
	Permit    Permit             // whether it may be new, and tags be made or moved
	Listed    bool               // whether Permit is asked about what an index lists, too: its tags come to stand for it

	// Known tells whether who pushes may use content of the repository, a manifest or a blob: what they may not is as if it
	// were not there, and nothing may be absent then. nil: all of it.
	Known func(ctx context.Context, d customhouse.Digest, manifest bool) (bool, error)
}

// Pushed is a manifest that was taken.
type Pushed struct {
	Digest  customhouse.Digest
	Subject customhouse.Digest // what it refers to; zero for nothing
}

// PushManifest takes a manifest and lets its tags point to it, all or nothing. When it returns nil both survive a loss of
// power. MANIFEST_INVALID: it is not a manifest, or an ambiguous one. DIGEST_INVALID: it has another digest.
// MANIFEST_BLOB_UNKNOWN: what it names is not in the repository. SIZE_INVALID: what it names has another size. Or else
// what Permit says.
func (p Repository) PushManifest(ctx context.Context, push Push) (Pushed, error) {
	if err := p.Pushable(); err != nil {
		return Pushed{}, err
	}
	m, err := parseManifest(push.MediaType, push.Bytes, p.r.opts.ForeignLayers)
	if err != nil {
		return Pushed{}, err
	}
	for _, url := range m.urls {
		if p.r.opts.ForeignURL != nil && !p.r.opts.ForeignURL(url) {
			return Pushed{}, invalid("the configuration of this registry does not allow layers at the URL %s", url)
		}
	}
	d := push.Digest
	if d.IsZero() {
		d = customhouse.DigestOf(customhouse.SHA256, push.Bytes)
	} else if got := customhouse.DigestOf(d.Algorithm(), push.Bytes); got != d {
		return Pushed{}, wrongDigest(d, got, int64(len(push.Bytes)))
	}
	put := index.Put{
		Manifest: index.Manifest{
			Descriptor: customhouse.Descriptor{
				MediaType: m.mediaType, Digest: d, Size: int64(len(push.Bytes)),
				ArtifactType: m.artifactType, Annotations: m.annotations,
			},
			Subject: m.subject,
		},
		Blobs: m.blobs, Children: m.children, Sparse: p.r.opts.Sparse != SparseNone,
		Tags: push.Tags, Names: namesOf(m.blobs, m.children),
	}
	if p.r.opts.Sparse == SparseAll {
		put.Blobs = nil
	}
	for i, child := range m.children {
		if slices.Contains(p.r.opts.Platforms, m.platforms[i]) {
			put.Needed = append(put.Needed, child)
		}
	}
	if err := push.checkKnown(ctx, m); err != nil {
		return Pushed{}, err
	}
	if put.Listed = push.Listed; put.Listed {
		if err := p.settle(ctx); err != nil {
			return Pushed{}, err
		}
	}
	permits := permits{permit: push.Permit}
	put.May = permits.note()
	if err := p.r.index.CheckManifest(ctx, p.name, put); err != nil {
		return Pushed{}, err
	}
	if err := permits.ask(ctx); err != nil {
		return Pushed{}, err
	}
	named := append(slices.Clone(put.Blobs), put.Needed...)
	if !put.Sparse {
		named = append(named, put.Children...)
	}
	if err := p.r.checkPresent(ctx, named); err != nil {
		return Pushed{}, err
	}
	if _, err := p.r.keep(ctx, d, bytes.NewReader(push.Bytes)); err != nil {
		return Pushed{}, err
	}
	err = permits.guard(context.WithoutCancel(ctx), func(ctx context.Context, may index.May) error {
		put.May = may
		return p.r.index.PutManifest(ctx, p.name, put)
	})
	if err != nil {
		return Pushed{}, err
	}
	p.r.manifests.Set(d, push.Bytes)
	p.changed()
	return Pushed{Digest: d, Subject: m.subject}, nil
}

// changed tells who wants to know that a manifest or a tag of the repository is another one.
func (p Repository) changed() {
	if p.r.opts.Changed != nil {
		p.r.opts.Changed(p.name)
	}
}

// checkKnown makes sure that a manifest draws in nothing that who pushes it may not use, and refers to nothing such.
func (push *Push) checkKnown(ctx context.Context, m parsed) error {
	if push.Known == nil {
		return nil
	}
	var missing []customhouse.Digest
	named := append(slices.Clone(m.blobs), m.children...)
	if !m.subject.IsZero() {
		named = append(named, customhouse.Descriptor{Digest: m.subject})
	}
	for i, d := range named {
		known, err := push.Known(ctx, d.Digest, i >= len(m.blobs))
		if err != nil {
			return err
		}
		if !known {
			missing = append(missing, d.Digest)
		}
	}
	if missing == nil {
		return nil
	}
	return index.Missing(missing)
}

// checkPresent makes sure that the bytes of content which the index knows are in the store, so that no manifest is taken
// whose layers have been lost.
func (r *Registry) checkPresent(ctx context.Context, named []customhouse.Descriptor) error {
	var missing []customhouse.Digest
	for _, d := range named {
		err := r.present(ctx, d)
		if isLost(err) {
			missing = append(missing, d.Digest)
		} else if err != nil {
			return err
		}
	}
	if missing == nil {
		return nil
	}
	return index.Missing(missing)
}

// DeleteManifest removes the manifest d and the tags that point to it. MANIFEST_UNKNOWN, or what permit says.
func (p Repository) DeleteManifest(ctx context.Context, d customhouse.Digest, permit Permit) error {
	err := p.remove(ctx, permit, func(ctx context.Context, may index.May) error { return p.r.index.DeleteManifest(ctx, p.name, d, may) })
	if errors.Is(err, customhouse.ErrNotFound) {
		return manifestUnknown(customhouse.Ref{Digest: d})
	}
	if err == nil {
		p.changed()
	}
	return err
}

// DeleteTag removes a tag and leaves the manifest. MANIFEST_UNKNOWN, or what permit says.
func (p Repository) DeleteTag(ctx context.Context, tag customhouse.Tag, permit Permit) error {
	err := p.remove(ctx, permit, func(ctx context.Context, may index.May) error { return p.r.index.DeleteTag(ctx, p.name, tag, may) })
	if errors.Is(err, customhouse.ErrNotFound) {
		return manifestUnknown(customhouse.Ref{Tag: tag})
	}
	if err == nil {
		p.changed()
	}
	return err
}

// MaxReferrersPage is how many bytes of JSON a page of referrers has at the most, unless it is a single one: with
// annotations they may be large, and clients read 4 MiB.
const MaxReferrersPage = 3 << 20

// Referrers returns, in the order of their digests, up to n manifests after the given digest whose subject is d, those of
// an artifact type unless that is "", as many as fit into a page, and tells whether there are more.
func (p Repository) Referrers(ctx context.Context, d customhouse.Digest, artifactType string, after customhouse.Digest, n int) (found []customhouse.Descriptor, more bool, err error) {
	found = []customhouse.Descriptor{}
	size := 0
	for m, err := range p.r.index.Referrers(ctx, p.name, d, artifactType, after) {
		if err != nil {
			return nil, false, err
		}
		b, err := json.Marshal(m)
		if err != nil {
			return nil, false, err
		}
		size += len(b)
		if len(found) == n || len(found) > 0 && size > MaxReferrersPage {
			return found, true, nil
		}
		found = append(found, m)
	}
	return found, false, nil
}

// Child returns the first child of an index that accept takes, such as the one for a platform. MANIFEST_UNKNOWN.
func (m Manifest) Child(accept func(child customhouse.Descriptor, os, architecture string) bool) (customhouse.Digest, error) {
	v, err := customhouse.ParseJSON(m.Bytes)
	if err != nil {
		return customhouse.Digest{}, fmt.Errorf("stored manifest %s: %w", m.Digest, err)
	}
	o, _ := v.(map[string]any)
	list, _ := o["manifests"].([]any)
	for _, entry := range list {
		e, _ := entry.(map[string]any)
		platform, _ := e["platform"].(map[string]any)
		os, _ := platform["os"].(string)
		architecture, _ := platform["architecture"].(string)
		mediaType, _ := e["mediaType"].(string)
		digest, _ := e["digest"].(string)
		d, err := customhouse.ParseDigest(digest)
		if err == nil && accept(customhouse.Descriptor{MediaType: mediaType, Digest: d}, os, architecture) {
			return d, nil
		}
	}
	return customhouse.Digest{}, manifestUnknown(customhouse.Ref{Digest: m.Digest})
}
