package registry

import (
	"context"
	"errors"
	"hash"
	"io"
	"time"

	"customhouse"
	"customhouse/blob"
)

// ErrCorrupt says that stored bytes are not those that their digest names.
var ErrCorrupt = errors.New("stored content does not match its digest")

// verifiedObject remembers which writing of a piece of content was hashed and found right, and when.
type verifiedObject struct {
	version blob.Version
	at      time.Time
}

// isVerified tells whether o is known to be right: its bytes have not been touched since they were last hashed, less
// than a scrub interval ago.
func (r *Registry) isVerified(d customhouse.Digest, o blob.Object) bool {
	v, ok := r.verified.GetIfPresent(d)
	return ok && v.version == o.Version && r.opts.Now().Sub(v.at) < r.opts.ScrubInterval
}

func (r *Registry) markVerified(d customhouse.Digest, v blob.Version) {
	r.verified.Set(d, verifiedObject{version: v, at: r.opts.Now()})
}

// quarantine takes wrong content out of the way, so that the next push of it heals the registry and nobody is told in
// the meantime that it is there.
func (r *Registry) quarantine(ctx context.Context, d customhouse.Digest, wrong blob.Version) {
	r.verified.Invalidate(d)
	r.manifests.Invalidate(d)
	err := r.store.Quarantine(context.WithoutCancel(ctx), d, wrong)
	r.opts.Log.Error("stored content does not match its digest; it is quarantined, push it again", "digest", d.String(), "error", err)
}

// verifyAll hashes o from its start and rewinds it. ErrCorrupt: it is wrong, and quarantined.
func (r *Registry) verifyAll(ctx context.Context, d customhouse.Digest, o blob.Object) error {
	if _, err := io.Copy(io.Discard, r.verifying(ctx, d, o)); err != nil {
		return err
	}
	_, err := o.Seek(0, io.SeekStart)
	return err
}

// verifying returns a reader of o, which stands at its start, that hashes what it reads. Its last read returns the last
// bytes only when all were right; else ErrCorrupt, and the content is quarantined. Having returned io.EOF, it has seen
// that the content is right.
func (r *Registry) verifying(ctx context.Context, d customhouse.Digest, o blob.Object) io.Reader {
	return &verifyingReader{ctx: ctx, r: r, digest: d, object: o, left: o.Size, hash: d.Algorithm().New()}
}

type verifyingReader struct {
	ctx    context.Context
	r      *Registry
	digest customhouse.Digest
	object blob.Object
	left   int64 // bytes that have not been hashed
	hash   hash.Hash
	done   bool
}

func (v *verifyingReader) Read(p []byte) (int, error) {
	if v.done {
		return 0, io.EOF
	}
	if err := v.ctx.Err(); err != nil { // nobody waits for it
		return 0, err
	}
	n, err := v.object.Read(p)
	v.hash.Write(p[:n])
	v.left -= int64(n)
	if err != nil && err != io.EOF {
		return 0, err
	}
	if v.left > 0 && err == nil {
		return n, nil
	}
	if v.left != 0 || customhouse.DigestSum(v.digest.Algorithm(), v.hash) != v.digest {
		v.r.quarantine(v.ctx, v.digest, v.object.Version)
		return 0, ErrCorrupt
	}
	v.done = true
	v.r.markVerified(v.digest, v.object.Version)
	return n, nil
}

// WriteTo keeps io.Copy at reads of a size that hashing is quick with.
func (v *verifyingReader) WriteTo(w io.Writer) (n int64, err error) {
	buf := make([]byte, 128<<10)
	for {
		read, err := v.Read(buf)
		if read > 0 {
			wrote, err := w.Write(buf[:read])
			n += int64(wrote)
			if err != nil {
				return n, err
			}
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}
