package registry

import (
	"context"
	"iter"

	"customhouse"
)

// page is how many rows are read at once of what may be very many.
const page = 1000

// pages yields what next returns for one page after the other, each after the last of the one before.
func pages[T any](next func(last T) ([]T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var last T
		for {
			rows, err := next(last)
			if err != nil {
				yield(last, err)
				return
			}
			for _, last = range rows {
				if !yield(last, nil) {
					return
				}
			}
			if len(rows) < page {
				return
			}
		}
	}
}

// Manifests yields the descriptors of all manifests of the repository, tagged or not, in the order of their digests.
func (p Repository) Manifests(ctx context.Context) iter.Seq2[customhouse.Descriptor, error] {
	return pages(func(last customhouse.Descriptor) ([]customhouse.Descriptor, error) {
		rows, err := p.r.index.Manifests(ctx, p.name, last.Digest, page)
		found := make([]customhouse.Descriptor, len(rows))
		for i, m := range rows {
			found[i] = m.Descriptor
		}
		return found, err
	})
}

// Blobs yields digest and size of all blobs of the repository, in the order of their digests.
func (p Repository) Blobs(ctx context.Context) iter.Seq2[customhouse.Descriptor, error] {
	return pages(func(last customhouse.Descriptor) ([]customhouse.Descriptor, error) {
		return p.r.index.Blobs(ctx, p.name, last.Digest, page)
	})
}

// TagSets yields all tags of the repository in byte order, with what they point to and since when.
func (p Repository) TagSets(ctx context.Context) iter.Seq2[TagSet, error] {
	return pages(func(last TagSet) ([]TagSet, error) {
		return p.r.index.TagsSet(ctx, p.name, last.Tag.String(), page)
	})
}

// History returns what a tag has pointed to, the latest last.
func (p Repository) History(ctx context.Context, tag customhouse.Tag) ([]TagSet, error) {
	return p.r.index.History(ctx, p.name, tag)
}

// Name returns the name of the repository.
func (p Repository) Name() customhouse.Repo { return p.name }
