package registry

import (
	"context"
	"errors"

	"customhouse"
	"customhouse/index"
)

// Standing is a manifest of a repository, with the tags that stand for it: those that point to it, and those of the
// indexes that contain it. Who protects a tag protects what it stands for.
type Standing = index.Standing

// Standing returns how the manifest d stands. MANIFEST_UNKNOWN.
func (p Repository) Standing(ctx context.Context, d customhouse.Digest) (Standing, error) {
	if err := p.settle(ctx); err != nil {
		return Standing{}, err
	}
	s, err := p.r.index.Standing(ctx, p.name, d)
	if errors.Is(err, customhouse.ErrNotFound) {
		err = manifestUnknown(customhouse.Ref{Digest: d})
	}
	return s, err
}

// BlobStanding returns how manifests stand that name the blob d: some of them where there are very many.
func (p Repository) BlobStanding(ctx context.Context, d customhouse.Digest) ([]Standing, error) {
	if err := p.settle(ctx); err != nil {
		return nil, err
	}
	return p.r.index.BlobStanding(ctx, p.name, d)
}

// Contained returns the manifests that the index d lists, and those that they list, be they here or not.
func (p Repository) Contained(ctx context.Context, d customhouse.Digest) ([]customhouse.Digest, error) {
	if err := p.settle(ctx); err != nil {
		return nil, err
	}
	return p.r.index.Contained(ctx, p.name, d)
}

// Bring notes that the account has brought the content d, and so knows it.
func (p Repository) Bring(ctx context.Context, d customhouse.Digest, account string) error {
	return p.r.index.Bring(context.WithoutCancel(ctx), p.name, d, account)
}

// Brought tells whether the account is known to have brought the content d.
func (p Repository) Brought(ctx context.Context, d customhouse.Digest, account string) (bool, error) {
	return p.r.index.Brought(ctx, p.name, d, account)
}

// settle notes what manifests name of which that is not noted: those that were taken by an earlier release.
func (p Repository) settle(ctx context.Context) error {
	const some = 100
	for {
		unnamed, err := p.r.index.Unnamed(ctx, p.name, some)
		if err != nil || len(unnamed) == 0 {
			return err
		}
		for _, d := range unnamed {
			names, err := p.r.readNames(ctx, d)
			if err != nil {
				return err
			}
			err = p.r.index.NoteNames(context.WithoutCancel(ctx), p.name, d.Digest, names)
			if err != nil && !errors.Is(err, customhouse.ErrNotFound) {
				return err
			}
		}
	}
}

// readNames returns what a stored manifest names, nil if its bytes are lost or say nothing: then nobody can pull it.
func (r *Registry) readNames(ctx context.Context, d customhouse.Descriptor) (*index.Names, error) {
	body, err := r.manifestBytes(ctx, d)
	if isLost(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s, err := ReadStored(d.Digest, body, true)
	if err != nil {
		return nil, nil
	}
	return namesOf(s.Blobs, s.Children), nil
}

func namesOf(blobs, children []customhouse.Descriptor) *index.Names {
	n := &index.Names{}
	for _, b := range blobs {
		n.Blobs = append(n.Blobs, b.Digest)
	}
	for _, c := range children {
		n.Children = append(n.Children, c.Digest)
	}
	return n
}
