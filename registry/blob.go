package registry

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"customhouse"
	"customhouse/blob"
	"customhouse/index"
)

// Blob is an open blob. Its bytes are right: where they are not yet known to be, reading them to the end fails before
// the last of them.
type Blob struct {
	Digest customhouse.Digest
	Size   int64

	ctx    context.Context
	r      *Registry
	object blob.Object
	good   bool

	flight *flight // that it comes with; nil where it is here
	linger time.Duration
}

// BlobUnknown is the BLOB_UNKNOWN for d.
func BlobUnknown(d customhouse.Digest) *customhouse.Error { return blobUnknown(d) }

func blobUnknown(d customhouse.Digest) *customhouse.Error {
	return customhouse.Errorf(customhouse.BlobUnknown, "blob unknown to registry").WithDetail(map[string]string{"digest": d.String()})
}

// hashFirst is up to which size a blob that is not known to be right is hashed before its first byte goes out, so that
// the client hears that it is unknown in place of a transfer that breaks.
const hashFirst = 4 << 20

// Blob opens the blob d of the repository. The caller closes it. BLOB_UNKNOWN: it is not visible here, or its bytes are
// gone or wrong. Where the repository is a copy, what is not here comes from its upstream while it is read.
func (p Repository) Blob(ctx context.Context, d customhouse.Digest) (*Blob, error) {
	b, err := p.blobHere(ctx, d)
	if src := p.source(); src != nil && errors.Is(err, &customhouse.Error{Code: customhouse.BlobUnknown}) {
		return p.fetchBlob(ctx, src, d)
	}
	return b, err
}

// StatBlob is Blob for who does not read it: nothing is fetched. BLOB_UNKNOWN.
func (p Repository) StatBlob(ctx context.Context, d customhouse.Digest) (*Blob, error) {
	b, err := p.blobHere(ctx, d)
	src := p.source()
	if src == nil || !errors.Is(err, &customhouse.Error{Code: customhouse.BlobUnknown}) {
		return b, err
	}
	if a, ok := p.known(d.String()); ok && a.unknown {
		return nil, blobUnknown(d)
	}
	size, err := src.Upstream.BlobSize(ctx, src.Repo, d)
	if err != nil {
		return nil, p.upstreamError(d.String(), err, blobUnknown(d))
	}
	return &Blob{Digest: d, Size: size}, nil
}

// blobHere is Blob without a look elsewhere.
func (p Repository) blobHere(ctx context.Context, d customhouse.Digest) (*Blob, error) {
	size, err := p.r.index.Blob(ctx, p.name, d)
	if errors.Is(err, customhouse.ErrNotFound) {
		return nil, blobUnknown(d)
	}
	if err != nil {
		return nil, err
	}
	o, err := p.r.open(ctx, d, size)
	if isLost(err) {
		return nil, blobUnknown(d).WithCause(err)
	}
	if err != nil {
		return nil, err
	}
	return &Blob{Digest: d, Size: size, ctx: ctx, r: p.r, object: o, good: p.r.isVerified(d, o)}, nil
}

// open opens stored content of a known size; content of another size is wrong.
func (r *Registry) open(ctx context.Context, d customhouse.Digest, size int64) (blob.Object, error) {
	o, err := r.store.Open(ctx, d)
	if err == nil && o.Size != size {
		r.quarantine(ctx, d, o.Version)
		o.Close()
		return blob.Object{}, ErrCorrupt
	}
	return o, err
}

// Section returns a reader that stands at offset, of which the caller reads n bytes, once. Where the blob is a file that
// is known to be right, the reader is the *os.File, which goes out by sendfile. BLOB_UNKNOWN: the bytes are wrong.
func (b *Blob) Section(offset, n int64) (io.Reader, error) {
	if b.flight != nil && b.object.ReadSeekCloser == nil {
		if offset == 0 && n == b.Size {
			return &following{blob: b}, nil
		}
		if err := b.land(); err != nil { // a part of it is given out when all of it is right
			return nil, err
		}
	}
	if !b.good {
		if offset == 0 && n == b.Size && n > hashFirst {
			return b.r.verifying(b.ctx, b.Digest, b.object), nil
		}
		if err := b.r.verifyAll(b.ctx, b.Digest, b.object); errors.Is(err, ErrCorrupt) {
			return nil, blobUnknown(b.Digest).WithCause(err)
		} else if err != nil {
			return nil, err
		}
		b.good = true
	}
	if offset > 0 {
		if _, err := b.object.Seek(offset, io.SeekStart); err != nil {
			return nil, err
		}
	}
	return b.object.ReadSeekCloser, nil
}

// Verified tells whether the bytes are known to be right, so that they need not be hashed.
func (b *Blob) Verified() bool { return b.good }

// Close gives the blob back.
func (b *Blob) Close() error {
	if b.flight != nil {
		b.flight.leave(b.linger)
	}
	if b.object.ReadSeekCloser == nil {
		return nil
	}
	return b.object.Close()
}

// Mount makes the blob d of the repository from visible in this one. BLOB_UNKNOWN: from does not have it.
func (p Repository) Mount(ctx context.Context, from Repository, d customhouse.Digest) error {
	if err := p.Pushable(); err != nil {
		return err
	}
	b, err := from.blobHere(ctx, d)
	if err != nil {
		return err
	}
	if err := b.Close(); err != nil {
		return err
	}
	err = p.r.index.MountBlob(ctx, from.name, p.name, d)
	if errors.Is(err, customhouse.ErrNotFound) {
		return blobUnknown(d)
	}
	return err
}

// Holders returns repositories in which the blob d is visible, some of them when there are very many.
func (r *Registry) Holders(ctx context.Context, d customhouse.Digest) ([]string, error) {
	const most = 1000
	return r.index.Holders(ctx, d, most)
}

// DeleteBlob ends the visibility of the blob d in the repository; others keep it. BLOB_UNKNOWN, or what permit says.
func (p Repository) DeleteBlob(ctx context.Context, d customhouse.Digest, permit Permit) error {
	err := p.remove(ctx, permit, func(ctx context.Context, may index.May) error { return p.r.index.DeleteBlob(ctx, p.name, d, may) })
	if errors.Is(err, customhouse.ErrNotFound) {
		return blobUnknown(d)
	}
	return err
}

// File returns the file that the blob lies in, nil if it is in none.
func (b *Blob) File() *os.File {
	f, _ := b.object.ReadSeekCloser.(*os.File)
	return f
}
