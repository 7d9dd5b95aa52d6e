package registry

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"customhouse"
	"customhouse/blob"
)

// A flight is a blob on its way from an upstream: one fetch, and all who wait for its bytes. They read the upload that it
// fills, as far as it has come; its last byte is let out when all have turned out to be right. That they are kept takes
// longer, and is no concern of theirs.
type flight struct {
	id      string             // of the upload
	cancel  context.CancelFunc // ends the fetch
	started chan struct{}      // closed when size is known, or all is over

	mu        sync.Mutex
	size      int64 // -1 for unknown
	n         int64 // bytes that are in the upload
	right     bool  // all of them are there, and right
	done      bool
	err       error         // why it has failed, when done
	changed   chan struct{} // closed when n or done changes
	followers int
	linger    *time.Timer // runs while nobody follows
	abandoned bool        // it is about to end, for nobody has followed
}

// flights are all that are under way, by repository and digest.
type flights struct {
	mu     sync.Mutex
	all    map[answerKey]*flight
	closed bool
	wait   sync.WaitGroup
}

var errClosing = customhouse.Errorf(customhouse.Unavailable, "the registry is about to stop")

// join returns the flight of a key, which the caller leaves; where there is none it is begun, and fetch is run.
func (fs *flights) join(ctx context.Context, key answerKey, fetch func(context.Context, *flight)) (*flight, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f, ok := fs.all[key]; ok && f.follow() {
		return f, nil
	}
	if fs.closed {
		return nil, errClosing
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &flight{id: rand.Text(), cancel: cancel, started: make(chan struct{}), size: -1, changed: make(chan struct{}), followers: 1}
	fs.all[key] = f
	fs.wait.Go(func() {
		defer cancel()
		fetch(ctx, f)
		fs.mu.Lock()
		defer fs.mu.Unlock()
		if fs.all[key] == f {
			delete(fs.all, key)
		}
	})
	return f, nil
}

func (fs *flights) close() {
	fs.mu.Lock()
	fs.closed = true
	for _, f := range fs.all {
		f.cancel()
	}
	fs.mu.Unlock()
	fs.wait.Wait()
}

// follow adds one who waits, unless nothing more will come.
func (f *flight) follow() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done || f.abandoned {
		return false
	}
	f.followers++
	if f.linger != nil {
		f.linger.Stop()
		f.linger = nil
	}
	return true
}

// leave takes one away who waits. The last one gives the fetch some time to end.
func (f *flight) leave(linger time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.followers--; f.followers == 0 && !f.done {
		f.linger = time.AfterFunc(linger, f.giveUp)
	}
}

// giveUp ends a fetch that nobody follows.
func (f *flight) giveUp() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.followers == 0 {
		f.abandoned = true
		f.cancel()
	}
}

// begin tells how large the blob will be.
func (f *flight) begin(size int64) {
	f.mu.Lock()
	f.size = size
	f.mu.Unlock()
	close(f.started)
}

// advance tells that n more bytes are in the upload.
func (f *flight) advance(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n += n
	close(f.changed)
	f.changed = make(chan struct{})
}

// verified tells that all bytes, n of them, are in the upload, and right.
func (f *flight) verified(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n, f.right = n, true
	close(f.changed)
	f.changed = make(chan struct{})
}

// end tells that the blob is kept, or why not.
func (f *flight) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done, f.err = true, err
	if f.linger != nil {
		f.linger.Stop()
	}
	close(f.changed)
	select {
	case <-f.started:
	default:
		close(f.started)
	}
}

// at tells how far one may read who has read up to pos, and waits until that is more, or all is over.
func (f *flight) at(ctx context.Context, pos int64) (upTo int64, done bool, err error) {
	for {
		f.mu.Lock()
		upTo, done, err = f.n, f.done, f.err
		if !done && !f.right && f.size >= 0 {
			upTo = min(upTo, f.size-1)
		}
		changed := f.changed
		f.mu.Unlock()
		if done || upTo > pos {
			return upTo, done, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, false, ctx.Err()
		}
	}
}

// fetchBlob joins the flight of the blob d of the repository and waits until its size is known.
func (p Repository) fetchBlob(ctx context.Context, src *Source, d customhouse.Digest) (*Blob, error) {
	if a, ok := p.known(d.String()); ok && a.unknown {
		return nil, blobUnknown(d)
	}
	f, err := p.r.upstreams.flights.join(ctx, answerKey{p.name.String(), d.String()}, func(ctx context.Context, f *flight) {
		f.end(p.fly(ctx, src, d, f))
	})
	if err != nil {
		return nil, err
	}
	b := &Blob{Digest: d, ctx: ctx, r: p.r, flight: f, linger: src.Linger}
	select {
	case <-f.started:
	case <-ctx.Done():
		b.Close()
		return nil, ctx.Err()
	}
	f.mu.Lock()
	b.Size, err = f.size, f.err
	f.mu.Unlock()
	if err == nil && b.Size < 0 {
		err = b.land()
	}
	if err != nil {
		b.Close()
		return nil, p.upstreamError(d.String(), err, blobUnknown(d))
	}
	return b, nil
}

// fly fetches the blob d into the store and makes it visible, or nothing of it.
func (p Repository) fly(ctx context.Context, src *Source, d customhouse.Digest, f *flight) error {
	if size, err := p.r.index.Blob(ctx, p.name, d); err == nil { // it has come since the caller looked
		if o, err := p.r.open(ctx, d, size); err == nil {
			f.begin(size)
			f.advance(size)
			return o.Close()
		}
	}
	body, size, err := src.Upstream.Blob(ctx, src.Repo, d)
	if err != nil {
		return err
	}
	defer body.Close()
	limited, err := p.r.limit(body, 0, size)
	if err != nil {
		return err
	}
	hashing := &hashingReader{r: limited, hash: d.Algorithm().New()}
	if size >= 0 {
		f.begin(size)
	}
	n, err := p.r.store.Append(ctx, f.id, 0, &announcingReader{r: hashing, flight: f})
	got := customhouse.DigestSum(d.Algorithm(), hashing.hash)
	switch {
	case errors.Is(err, errTooLarge):
		err = p.r.tooLarge()
	case err == nil && got != d:
		err = wrongUpstream(d, got)
	case err == nil:
		f.verified(n)
		err = p.r.commit(context.WithoutCancel(ctx), f.id, d)
	}
	if err == nil {
		return p.r.index.AddBlob(customhouse.Untold(context.WithoutCancel(ctx)), p.name, d, n, "")
	}
	var broken *customhouse.Error
	if errors.As(err, &broken) && broken.Code == customhouse.BlobUploadInvalid { // what hashingReader says of a client
		err = customhouse.Errorf(customhouse.Unavailable, "the blob did not arrive whole from upstream").
			WithCause(fmt.Errorf("the transfer ended after %d of %d bytes: %w", hashing.n, size, err))
	}
	p.r.opts.Log.Warn("a blob was not taken from upstream", "repository", p.name.String(), "digest", d.String(), "error", err)
	return errors.Join(storeError(err), p.r.store.Discard(context.WithoutCancel(ctx), f.id))
}

// announcingReader tells a flight of what was read through it, once the store asks for more: then it is in the upload.
type announcingReader struct {
	r      io.Reader
	flight *flight
	last   int64
}

func (a *announcingReader) Read(p []byte) (int, error) {
	if a.last > 0 {
		a.flight.advance(a.last)
	}
	n, err := a.r.Read(p)
	a.last = int64(n)
	return n, err
}

// land waits until the blob has come whole and opens it.
func (b *Blob) land() error {
	for done := false; !done; {
		var err error
		if _, done, err = b.flight.at(b.ctx, 1<<62); err != nil {
			return err
		}
	}
	o, err := b.r.store.Open(b.ctx, b.Digest)
	if err != nil {
		return err
	}
	b.object, b.Size, b.good = o, o.Size, b.r.isVerified(b.Digest, o)
	return nil
}

// following reads a blob while it comes.
type following struct {
	blob *Blob
	pos  int64
}

func (v *following) Read(p []byte) (int, error) {
	b := v.blob
	if v.pos == b.Size {
		return 0, io.EOF
	}
	upTo, done, err := b.flight.at(b.ctx, v.pos)
	if err != nil {
		return 0, err
	}
	if done {
		upTo = b.Size
	}
	p = p[:min(int64(len(p)), upTo-v.pos)]
	for range 2 { // the bytes that are open may be those of a moment ago
		if b.object.ReadSeekCloser != nil {
			if n, _ := b.object.Read(p); n > 0 {
				v.pos += int64(n)
				return n, nil
			}
		}
		if err := v.reopen(done); err != nil {
			if errors.Is(err, blob.ErrNotFound) { // the upload is gone, for the fetch has failed: it says why in a moment
				_, _, why := b.flight.at(b.ctx, math.MaxInt64)
				err = cmp.Or(why, err)
			}
			return 0, err
		}
	}
	return 0, fmt.Errorf("the transfer ended after %d of %d bytes: %w", v.pos, b.Size, io.ErrUnexpectedEOF)
}

// reopen opens the bytes where they are now and goes to where the reader stands.
func (v *following) reopen(done bool) (err error) {
	b := v.blob
	if b.object.ReadSeekCloser != nil {
		if err := b.object.Close(); err != nil {
			return err
		}
		b.object = blob.Object{}
	}
	var o blob.Object
	if !done {
		o, err = b.r.store.Reread(b.ctx, b.flight.id)
	}
	if done || errors.Is(err, blob.ErrNotFound) {
		o, err = b.r.store.Open(b.ctx, b.Digest)
	}
	if err != nil {
		return err
	}
	b.object = o
	_, err = o.Seek(v.pos, io.SeekStart)
	return err
}
