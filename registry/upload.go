package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"hash"
	"io"
	"sync"
	"time"

	"customhouse"
	"customhouse/blob"
	"customhouse/index"
)

// Upload is an upload in a repository, as its account names it: there or not.
type Upload struct {
	p       Repository
	account string
	id      string
}

// Upload returns the upload id of the account in the repository.
func (p Repository) Upload(account, id string) Upload { return Upload{p: p, account: account, id: id} }

// ID is how the client names the upload. It cannot be guessed.
func (u Upload) ID() string { return u.id }

func (u Upload) unknown() *customhouse.Error {
	return customhouse.Errorf(customhouse.BlobUploadUnknown, "blob upload unknown to registry").WithDetail(map[string]string{"upload": u.id})
}

// BeginUpload begins an upload that the account owns; algorithm is by which its digest is going to be, "" for SHA256.
// TOOMANYREQUESTS: the account has too many of them.
func (p Repository) BeginUpload(ctx context.Context, account string, algorithm customhouse.Algorithm) (Upload, error) {
	if err := p.Pushable(); err != nil {
		return Upload{}, err
	}
	if algorithm == "" {
		algorithm = customhouse.SHA256
	}
	u := p.Upload(account, rand.Text())
	state := index.Upload{ID: u.id, Repo: p.name, Account: account, Algorithm: algorithm}
	return u, p.r.index.BeginUpload(ctx, state, p.r.opts.UploadsPerAccount, p.r.sessions.busy)
}

// Size is how many bytes are there. BLOB_UPLOAD_UNKNOWN: there is no such upload in this repository that the account
// began.
func (u Upload) Size(ctx context.Context) (int64, error) {
	state, err := u.state(ctx)
	return state.Size, err
}

func (u Upload) state(ctx context.Context) (index.Upload, error) {
	state, err := u.p.r.index.Upload(ctx, u.id)
	if errors.Is(err, customhouse.ErrNotFound) || err == nil && (state.Repo != u.p.name || state.Account != u.account) {
		return index.Upload{}, u.unknown()
	}
	return state, err
}

// AtEnd, as an offset, is wherever the upload ends.
const AtEnd = -1

// Append adds body, of which length bytes are to come (-1: nobody knows), at offset, which is AtEnd or where the upload
// ends, and returns the size that the upload has then. What has arrived stays when body breaks off. BLOB_UPLOAD_UNKNOWN.
// RANGE_INVALID: the upload ends elsewhere, and stays as it is. CONTENT_TOO_LARGE: the blob would pass the limit; the
// upload is gone.
func (u Upload) Append(ctx context.Context, offset, length int64, body io.Reader) (size int64, err error) {
	err = u.exclusively(ctx, func(s *session) error {
		before := s.size
		err := u.append(ctx, s, offset, length, body)
		size = s.size
		return u.remember(ctx, s, before, err)
	})
	return size, err
}

// remember lets the index know what has arrived since the upload had the size before, and passes err on.
func (u Upload) remember(ctx context.Context, s *session, before int64, err error) error {
	if s.size == before || errors.As(err, new(errGone)) {
		return err
	}
	grown := u.p.r.index.GrowUpload(context.WithoutCancel(ctx), u.id, s.size)
	if errors.Is(grown, customhouse.ErrNotFound) {
		return errGone{u.unknown()}
	}
	return errors.Join(err, grown)
}

func (u Upload) append(ctx context.Context, s *session, offset, length int64, body io.Reader) error {
	r := u.p.r
	if offset != AtEnd && offset != s.size {
		return customhouse.Errorf(customhouse.RangeInvalid, "the upload continues at byte %d", s.size).
			WithDetail(map[string]int64{"offset": s.size})
	}
	body, err := r.limit(body, s.size, length)
	if err != nil {
		return errGone{err}
	}
	if err := u.resume(ctx, s); err != nil {
		return err
	}
	hashing := &hashingReader{r: body, hash: s.hash}
	s.hash = nil // it sees bytes that may not reach the store
	n, err := r.store.Append(ctx, u.id, s.size, hashing)
	if n == hashing.n {
		s.hash = hashing.hash
	}
	s.size += n
	s.version = r.uploadVersion(ctx, u.id)
	if errors.Is(err, errTooLarge) {
		return errGone{r.tooLarge()}
	}
	if errors.Is(err, blob.ErrNotFound) {
		return errGone{u.unknown()} // bytes that were there are not
	}
	return storeError(err)
}

// Finish adds body like Append and makes the upload the blob d of the repository. When it returns nil the blob survives
// a loss of power. DIGEST_INVALID: the bytes are not those of d; the upload is gone. Else it returns what Append returns.
func (u Upload) Finish(ctx context.Context, d customhouse.Digest, offset, length int64, body io.Reader) error {
	return u.exclusively(ctx, func(s *session) error {
		s.want(d.Algorithm())
		before := s.size
		if err := u.append(ctx, s, offset, length, body); err != nil {
			return u.remember(ctx, s, before, err)
		}
		if err := u.resume(ctx, s); err != nil {
			return err
		}
		r := u.p.r
		if got := customhouse.DigestSum(d.Algorithm(), s.hash); got != d {
			return errGone{wrongDigest(d, got, s.size)}
		}
		ctx := context.WithoutCancel(ctx) // the bytes are here and right: the client may find them, though it has gone
		if err := r.commit(ctx, u.id, d); errors.Is(err, blob.ErrNotFound) {
			return errGone{u.unknown()}
		} else if err != nil {
			return errGone{err}
		}
		s.hash = nil
		return r.index.AddBlob(ctx, u.p.name, d, s.size, u.id)
	})
}

func wrongDigest(want, got customhouse.Digest, size int64) *customhouse.Error {
	return customhouse.Errorf(customhouse.DigestInvalid, "the digest does not match the uploaded content").
		WithDetail(map[string]any{"digest": want, "actual": got, "size": size})
}

// commit makes the upload id, which has been hashed, the content of d, in the place of whatever was there: that is how a
// push heals.
func (r *Registry) commit(ctx context.Context, id string, d customhouse.Digest) error {
	if err := r.store.Commit(ctx, id, d); err != nil {
		return storeError(err)
	}
	o, err := r.store.Open(ctx, d)
	if err != nil {
		return storeError(err)
	}
	r.markVerified(d, o.Version)
	return o.Close()
}

// Cancel ends the upload and frees its bytes. BLOB_UPLOAD_UNKNOWN.
func (u Upload) Cancel(ctx context.Context) error {
	return u.exclusively(ctx, func(*session) error { return errGone{} })
}

// errGone ends an upload: exclusively removes it and returns what is inside.
type errGone struct{ error }

// exclusively runs do while no other request works on the upload, with a session that knows the size. Where do returns
// errGone, or the disk is full, the upload is removed.
func (u Upload) exclusively(ctx context.Context, do func(*session) error) error {
	r := u.p.r
	s := r.sessions.enter(u.id)
	defer r.sessions.leave(u.id, s)
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	state, err := u.state(ctx)
	if err != nil {
		return err
	}
	if s.algorithm == "" {
		s.algorithm = state.Algorithm
	}
	if s.size != state.Size {
		s.size, s.hash = state.Size, nil
	}
	err = do(s)
	var gone errGone
	if errors.As(err, &gone) {
		err = gone.error
	} else if !errors.Is(err, &customhouse.Error{Code: customhouse.InsufficientStorage}) {
		return err
	}
	s.hash = nil
	return errors.Join(err, u.remove(ctx))
}

// remove forgets the upload, also when the client has gone. What it cannot remove now, Sweep removes.
func (u Upload) remove(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	discarded := u.p.r.store.Discard(ctx, u.id) // first: where the disk is full, it makes room for the other
	return errors.Join(discarded, u.p.r.index.EndUpload(ctx, u.id))
}

// resume makes the session hash what is there, reading it back where this process has not seen it, or somebody has
// touched it since. BLOB_UPLOAD_UNKNOWN: the bytes are gone, and the upload with them.
func (u Upload) resume(ctx context.Context, s *session) error {
	if s.size == 0 {
		s.hash = s.algorithm.New()
		return nil
	}
	o, err := u.p.r.store.Reread(ctx, u.id)
	if errors.Is(err, blob.ErrNotFound) {
		return errGone{u.unknown()}
	}
	if err != nil {
		return err
	}
	defer o.Close()
	if s.hash != nil && s.version == o.Version {
		return nil
	}
	h := s.algorithm.New()
	n, err := io.Copy(h, io.LimitReader(o, s.size))
	if err == nil && n < s.size {
		return errGone{u.unknown()}
	}
	if err != nil {
		return err
	}
	s.hash, s.version = h, o.Version
	return nil
}

// uploadVersion is the present version of an upload, the zero one if that cannot be known.
func (r *Registry) uploadVersion(ctx context.Context, id string) blob.Version {
	o, err := r.store.Reread(context.WithoutCancel(ctx), id)
	if err != nil {
		return blob.Version{}
	}
	defer o.Close()
	return o.Version
}

// Monolithic takes a whole blob in one go, without an upload that anybody could see. DIGEST_INVALID, CONTENT_TOO_LARGE.
func (p Repository) Monolithic(ctx context.Context, d customhouse.Digest, length int64, body io.Reader) error {
	if err := p.Pushable(); err != nil {
		return err
	}
	body, err := p.r.limit(body, 0, length)
	if err != nil {
		return err
	}
	size, err := p.r.keep(ctx, d, body)
	if err != nil {
		return err
	}
	return p.r.index.AddBlob(context.WithoutCancel(ctx), p.name, d, size, "")
}

// keep stores body durably as the content of d, or nothing of it. DIGEST_INVALID.
func (r *Registry) keep(ctx context.Context, d customhouse.Digest, body io.Reader) (size int64, err error) {
	id := rand.Text()
	hashing := &hashingReader{r: body, hash: d.Algorithm().New()}
	size, err = r.store.Append(ctx, id, 0, hashing)
	if errors.Is(err, errTooLarge) {
		err = r.tooLarge()
	} else if got := customhouse.DigestSum(d.Algorithm(), hashing.hash); err == nil && got != d {
		err = wrongDigest(d, got, size)
	}
	if err == nil {
		err = r.commit(ctx, id, d)
	}
	if err != nil {
		err = errors.Join(storeError(err), r.store.Discard(context.WithoutCancel(ctx), id))
	}
	return size, err
}

// A session is what this process remembers of an upload between requests: the hash of its bytes. It is only a shortcut:
// without it the bytes are read back and hashed again, so that a hash never vouches for bytes that were lost or touched.
type session struct {
	turn      chan struct{} // holds a value while a request has the session; it guards the fields up to users
	algorithm customhouse.Algorithm
	hash      hash.Hash // of the first size bytes; nil: unknown
	size      int64
	version   blob.Version // of the upload that the hash is of
	users     int          // requests that have the session or wait for it; guarded by sessions.mu
}

// want makes the session hash by a.
func (s *session) want(a customhouse.Algorithm) {
	if s.algorithm != a {
		s.algorithm, s.hash = a, nil
	}
}

// maxSessions is about how many hashes are remembered.
const maxSessions = 10_000

type sessions struct {
	mu   sync.Mutex
	open map[string]*session
}

// enter returns the one session of the upload id.
func (ss *sessions) enter(id string) *session {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s, ok := ss.open[id]
	if !ok {
		s = &session{turn: make(chan struct{}, 1)}
		ss.open[id] = s
	}
	s.users++
	return s
}

// leave gives the session back; the last one to leave takes it away where there is nothing to remember.
func (ss *sessions) leave(id string, s *session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s.users--
	if s.users == 0 && (s.hash == nil || len(ss.open) > maxSessions) {
		delete(ss.open, id)
	}
}

// busy tells whether a request works on the upload, and forgets its session if none does.
func (ss *sessions) busy(id string) bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s, ok := ss.open[id]
	if ok && s.users == 0 {
		delete(ss.open, id)
	}
	return ok && s.users > 0
}

// hashingReader hashes what is read through it. When the client's body breaks off, that is the client's error.
type hashingReader struct {
	r    io.Reader
	hash hash.Hash
	n    int64
}

func (h *hashingReader) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.hash.Write(p[:n])
	h.n += int64(n)
	var known *customhouse.Error
	if err != nil && err != io.EOF && err != errTooLarge && !errors.As(err, &known) {
		err = customhouse.Errorf(customhouse.BlobUploadInvalid, "the content did not arrive whole").WithCause(err)
	}
	return n, err
}

var errTooLarge = errors.New("more bytes than allowed")

// limit returns body so that it fails with errTooLarge where size bytes and it pass the limit of a blob. It fails at
// once where the announced length (-1: none) does.
func (r *Registry) limit(body io.Reader, size, length int64) (io.Reader, error) {
	if r.opts.MaxBlobSize == 0 {
		return body, nil
	}
	left := r.opts.MaxBlobSize - size
	if length > left {
		return nil, r.tooLarge()
	}
	return &limitedReader{r: body, left: left}, nil
}

func (r *Registry) tooLarge() error {
	return customhouse.Errorf(customhouse.ContentTooLarge, "the blob is larger than this registry takes").
		WithDetail(map[string]int64{"limit": r.opts.MaxBlobSize})
}

// limitedReader fails with errTooLarge where more than left bytes come.
type limitedReader struct {
	r    io.Reader
	left int64
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	if int64(n) > l.left {
		return 0, errTooLarge
	}
	l.left -= int64(n)
	return n, err
}

// Sweep forgets the uploads that have not grown for the upload TTL, frees their bytes and those of requests that a crash
// has cut off.
func (r *Registry) Sweep(ctx context.Context) error {
	if r.opts.UploadTTL <= 0 {
		return nil
	}
	before := r.opts.Now().Add(-r.opts.UploadTTL)
	for {
		const batch = 100
		ids, err := r.index.StaleUploads(ctx, before, batch)
		if err != nil {
			return err
		}
		removed := 0
		for _, id := range ids {
			if r.sessions.busy(id) {
				continue
			}
			removed++
			if err := errors.Join(r.store.Discard(ctx, id), r.index.EndUpload(ctx, id)); err != nil {
				return err
			}
		}
		if len(ids) < batch || removed == 0 {
			break
		}
	}
	return r.leftovers(ctx, before)
}

// leftovers frees the bytes of uploads that the index has never heard of or has forgotten.
func (r *Registry) leftovers(ctx context.Context, before time.Time) error {
	dir, ok := r.store.(interface {
		Leftovers(before time.Time, alive func(id string) bool) error
	})
	if !ok {
		return nil
	}
	return dir.Leftovers(before, func(id string) bool {
		_, err := r.index.Upload(ctx, id)
		return !errors.Is(err, customhouse.ErrNotFound)
	})
}
