package registry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"

	"customhouse"
	"customhouse/blob"
	"customhouse/registry"
)

func begin(t *testing.T, p registry.Repository, algorithm customhouse.Algorithm) registry.Upload {
	t.Helper()
	u, err := p.BeginUpload(t.Context(), "alice", algorithm)
	must(t, err)
	return u
}

func add(t *testing.T, u registry.Upload, offset int64, content []byte) {
	t.Helper()
	size, err := u.Append(t.Context(), offset, int64(len(content)), bytes.NewReader(content))
	if want := max(offset, 0) + int64(len(content)); err != nil || offset >= 0 && size != want {
		t.Fatalf("Append(%d) = %d, %v; want %d", offset, size, err, want)
	}
}

func finish(t *testing.T, u registry.Upload, d customhouse.Digest, tail []byte) error {
	t.Helper()
	return u.Finish(t.Context(), d, registry.AtEnd, int64(len(tail)), bytes.NewReader(tail))
}

// An upload goes on after any number of restarts, by either algorithm, whichever it was begun with.
func TestUploadResumes(t *testing.T) {
	algorithms := []customhouse.Algorithm{"", customhouse.SHA256, customhouse.SHA512}
	content := bytesOf(300<<10, "resumed")
	for _, begun := range algorithms {
		for _, finished := range algorithms[1:] {
			for _, restarts := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s then %s, restarts %v", begun, finished, restarts), func(t *testing.T) {
					t.Parallel()
					h := newHouse(t, registry.Options{})
					u := begin(t, h.repo(t, "acc/app"), begun)
					const piece = 100 << 10
					for offset := 0; offset < len(content); offset += piece {
						if restarts {
							h.restart(t)
							u = h.repo(t, "acc/app").Upload("alice", u.ID())
						}
						if size, err := u.Size(t.Context()); err != nil || size != int64(offset) {
							t.Fatalf("Size = %d, %v; want %d", size, err, offset)
						}
						add(t, u, int64(offset), content[offset:min(offset+piece, len(content))])
					}
					if restarts {
						h.restart(t)
						u = h.repo(t, "acc/app").Upload("alice", u.ID())
					}
					d := customhouse.DigestOf(finished, content)
					must(t, finish(t, u, d, nil))
					got, err := pull(h.repo(t, "acc/app"), d, 0, -1)
					if err != nil || !bytes.Equal(got, content) {
						t.Fatalf("blob = %d bytes, %v; want %d", len(got), err, len(content))
					}
					_, err = u.Size(t.Context())
					wantCode(t, "Size of a finished upload", err, customhouse.BlobUploadUnknown)
				})
			}
		}
	}
}

// R52: whatever has become of the bytes of an upload, it never ends as a blob that is not what its digest says.
func TestUploadDamaged(t *testing.T) {
	head, tail := bytesOf(10<<10, "head"), bytesOf(10<<10, "tail")
	whole := append(bytes.Clone(head), tail...)
	for _, test := range []struct {
		name    string
		restart bool
		damage  func(path string) error
		want    customhouse.Code
	}{
		{"nothing", true, func(string) error { return nil }, ""},
		{"flipped", true, flip, customhouse.DigestInvalid},
		{"shorter", true, func(path string) error { return os.Truncate(path, 100) }, customhouse.BlobUploadUnknown},
		{"empty", true, func(path string) error { return os.Truncate(path, 0) }, customhouse.BlobUploadUnknown},
		{"gone", true, os.Remove, customhouse.BlobUploadUnknown},
		{"longer", true, lengthen, ""}, // a crash may have written more than it told the index
		{"flipped, in one process", false, flip, customhouse.DigestInvalid},
		{"shorter, in one process", false, func(path string) error { return os.Truncate(path, 100) }, customhouse.BlobUploadUnknown},
		{"gone, in one process", false, os.Remove, customhouse.BlobUploadUnknown},
		{"longer, in one process", false, lengthen, ""},
	} {
		for _, inFinish := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, tail with Finish %v", test.name, inFinish), func(t *testing.T) {
				t.Parallel()
				h := newHouse(t, registry.Options{})
				p := h.repo(t, "acc/app")
				u := begin(t, p, "")
				add(t, u, 0, head)
				must(t, test.damage(filepath.Join(h.dir, "uploads", u.ID())))
				if test.restart {
					h.restart(t)
					p = h.repo(t, "acc/app")
					u = p.Upload("alice", u.ID())
				}
				var err error
				if inFinish {
					err = finish(t, u, sha(whole), tail)
				} else if _, err = u.Append(t.Context(), registry.AtEnd, -1, bytes.NewReader(tail)); err == nil {
					err = finish(t, u, sha(whole), nil)
				}
				wantCode(t, "upload", err, test.want)
				if test.want == "" {
					wantBlob(t, p, whole)
					return
				}
				_, err = p.Blob(t.Context(), sha(whole))
				wantCode(t, "Blob", err, customhouse.BlobUnknown)
				_, err = u.Size(t.Context())
				wantCode(t, "Size", err, customhouse.BlobUploadUnknown)
				if files := h.files(t, "uploads"); len(files) > 0 {
					t.Fatalf("uploads = %v, want nothing left", files)
				}
				pushBlob(t, p, whole)
				wantBlob(t, p, whole)
			})
		}
	}
}

func flip(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b[len(b)/2] ^= 1
	return os.WriteFile(path, b, 0o600)
}

func lengthen(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("more")
	return errors.Join(err, f.Close())
}

// An upload is its account's and its repository's; to all others it is not there.
func TestUploadOwner(t *testing.T) {
	h := newHouse(t, registry.Options{})
	p := h.repo(t, "acc/app")
	u := begin(t, p, "")
	add(t, u, 0, []byte("hello"))
	for name, other := range map[string]registry.Upload{
		"another account":    p.Upload("mallory", u.ID()),
		"nobody":             p.Upload("", u.ID()),
		"another repository": h.repo(t, "acc/other").Upload("alice", u.ID()),
		"another id":         p.Upload("alice", "NOBODY"),
		"no id":              p.Upload("alice", "../uploads/"+u.ID()),
	} {
		_, err := other.Size(t.Context())
		wantCode(t, name+": Size", err, customhouse.BlobUploadUnknown)
		_, err = other.Append(t.Context(), registry.AtEnd, -1, bytes.NewReader([]byte("x")))
		wantCode(t, name+": Append", err, customhouse.BlobUploadUnknown)
		wantCode(t, name+": Finish", finish(t, other, sha([]byte("hello")), nil), customhouse.BlobUploadUnknown)
		wantCode(t, name+": Cancel", other.Cancel(t.Context()), customhouse.BlobUploadUnknown)
	}
	must(t, finish(t, u, sha([]byte("hello")), nil))
}

func TestUploadRefuses(t *testing.T) {
	h := newHouse(t, registry.Options{})
	p := h.repo(t, "acc/app")
	u := begin(t, p, "")
	add(t, u, 0, []byte("hello"))
	for _, offset := range []int64{0, 4, 6} {
		_, err := u.Append(t.Context(), offset, -1, bytes.NewReader([]byte("x")))
		wantCode(t, fmt.Sprintf("Append(%d)", offset), err, customhouse.RangeInvalid)
	}
	if size, err := u.Size(t.Context()); err != nil || size != 5 {
		t.Fatalf("Size = %d, %v; want 5: it stays as it was", size, err)
	}
	_, err := u.Append(t.Context(), 5, -1, io.MultiReader(bytes.NewReader([]byte(" wor")), iotest.ErrReader(io.ErrUnexpectedEOF)))
	if err == nil {
		t.Fatal("Append of a body that breaks off = nil, want an error")
	}
	if size, err := u.Size(t.Context()); err != nil || size != 9 {
		t.Fatalf("Size = %d, %v; want 9: what has arrived stays", size, err)
	}
	add(t, u, 9, []byte("ld"))
	wantCode(t, "Finish with another digest", finish(t, u, sha([]byte("other")), nil), customhouse.DigestInvalid)
	_, err = u.Size(t.Context())
	wantCode(t, "Size", err, customhouse.BlobUploadUnknown)

	u = begin(t, p, "")
	add(t, u, 0, []byte("hello"))
	must(t, u.Cancel(t.Context()))
	wantCode(t, "Cancel again", u.Cancel(t.Context()), customhouse.BlobUploadUnknown)
	wantCode(t, "Monolithic", p.Monolithic(t.Context(), sha([]byte("other")), 5, bytes.NewReader([]byte("hello"))), customhouse.DigestInvalid)
	if files := h.files(t, "uploads"); len(files) > 0 {
		t.Fatalf("uploads = %v, want nothing left", files)
	}
	for _, content := range []string{"other", "hello", "hello world"} {
		_, err := p.Blob(t.Context(), sha([]byte(content)))
		wantCode(t, "Blob "+content, err, customhouse.BlobUnknown)
	}
}

func TestUploadEmpty(t *testing.T) {
	h := newHouse(t, registry.Options{})
	p := h.repo(t, "acc/app")
	must(t, finish(t, begin(t, p, ""), sha(nil), nil))
	wantBlob(t, p, nil)
	must(t, p.DeleteBlob(t.Context(), sha(nil), nil))
	pushBlob(t, p, nil)
	wantBlob(t, p, nil)
}

// Of many requests on one upload at the same time each has it alone.
func TestUploadConcurrently(t *testing.T) {
	h := newHouse(t, registry.Options{})
	p := h.repo(t, "acc/app")
	u := begin(t, p, "")
	var content []byte
	for round := range 20 {
		piece := bytesOf(10<<10, "piece", round)
		var taken atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				_, err := u.Append(context.Background(), int64(len(content)), -1, iotest.HalfReader(bytes.NewReader(piece)))
				switch {
				case err == nil:
					taken.Add(1)
				case !errors.Is(err, &customhouse.Error{Code: customhouse.RangeInvalid}):
					t.Errorf("Append = %v, want nil or RANGE_INVALID", err)
				}
			})
		}
		wg.Wait()
		if taken.Load() != 1 {
			t.Fatalf("%d of 8 requests have appended at the same offset, want 1", taken.Load())
		}
		content = append(content, piece...)
	}
	var finished atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			err := u.Finish(context.Background(), sha(content), registry.AtEnd, 0, bytes.NewReader(nil))
			switch {
			case err == nil:
				finished.Add(1)
			case !errors.Is(err, &customhouse.Error{Code: customhouse.BlobUploadUnknown}):
				t.Errorf("Finish = %v, want nil or BLOB_UPLOAD_UNKNOWN", err)
			}
		})
	}
	wg.Wait()
	if finished.Load() != 1 {
		t.Fatalf("%d of 8 requests have finished the upload, want 1", finished.Load())
	}
	wantBlob(t, p, content)
}

// A request that waits for its turn ends with its context.
func TestUploadWaits(t *testing.T) {
	h := newHouse(t, registry.Options{})
	u := begin(t, h.repo(t, "acc/app"), "")
	body, feed := io.Pipe()
	first := make(chan error, 1)
	go func() {
		_, err := u.Append(context.Background(), 0, -1, body)
		first <- err
	}()
	feed.Write([]byte("hello"))
	ctx, cancel := context.WithCancel(t.Context())
	second := make(chan error, 1)
	go func() {
		_, err := u.Append(ctx, 0, -1, bytes.NewReader([]byte("x")))
		second <- err
	}()
	cancel()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("Append = %v, want context.Canceled", err)
	}
	feed.Close()
	must(t, <-first, finish(t, u, sha([]byte("hello")), nil))
}

func TestUploadLimits(t *testing.T) {
	h := newHouse(t, registry.Options{MaxBlobSize: 10, UploadsPerAccount: 2})
	p := h.repo(t, "acc/app")
	ten, eleven := []byte("0123456789"), []byte("0123456789A")
	must(t, p.Monolithic(t.Context(), sha(ten), 10, bytes.NewReader(ten)))
	for _, length := range []int64{11, -1} {
		err := p.Monolithic(t.Context(), sha(eleven), length, bytes.NewReader(eleven))
		wantCode(t, fmt.Sprintf("Monolithic of length %d", length), err, customhouse.ContentTooLarge)
		u := begin(t, p, "")
		add(t, u, 0, ten[:6])
		_, err = u.Append(t.Context(), registry.AtEnd, min(length, 5), bytes.NewReader(eleven[6:]))
		wantCode(t, "Append", err, customhouse.ContentTooLarge)
		_, err = u.Size(t.Context())
		wantCode(t, "Size", err, customhouse.BlobUploadUnknown)
	}
	u := begin(t, p, "")
	add(t, u, 0, ten[:6])
	must(t, finish(t, u, sha(ten), ten[6:]))

	first, _ := begin(t, p, ""), begin(t, p, "")
	_, err := p.BeginUpload(t.Context(), "alice", "")
	wantCode(t, "BeginUpload of a third", err, customhouse.TooManyRequests)
	_, err = p.BeginUpload(t.Context(), "bob", "")
	must(t, err, first.Cancel(t.Context()))
	begin(t, p, "")
}

// Whatever the store says, no blob comes of it, the client hears what it may know, and what may go on can.
func TestUploadStoreFails(t *testing.T) {
	noSpace := fmt.Errorf("%w: %w", blob.ErrNoSpace, syscall.ENOSPC)
	readOnly := fmt.Errorf("%w: %w", blob.ErrReadOnly, syscall.EROFS)
	content := bytesOf(10<<10, "content")
	for _, test := range []struct {
		operation string
		fault     error
		want      customhouse.Code // UNKNOWN for what is not for clients
		stays     bool             // the upload can go on
	}{
		{"append", noSpace, customhouse.InsufficientStorage, false},
		{"append", readOnly, customhouse.Unavailable, true},
		{"append", syscall.EIO, customhouse.Unknown, true},
		{"reread", syscall.EIO, customhouse.Unknown, true},
		{"commit", noSpace, customhouse.InsufficientStorage, false},
		{"commit", readOnly, customhouse.Unavailable, false},
		{"commit", syscall.EIO, customhouse.Unknown, false},
		{"committed", syscall.EIO, customhouse.Unknown, false}, // the folder could not be synced
		{"open", syscall.EIO, customhouse.Unknown, false},
	} {
		wantFault := func(t *testing.T, what string, err error) {
			t.Helper()
			if test.want != customhouse.Unknown {
				wantCode(t, what, err, test.want)
			} else if !errors.Is(err, test.fault) || errors.As(err, new(*customhouse.Error)) {
				t.Fatalf("%s = %v, want %v, which clients do not hear", what, err, test.fault)
			}
		}
		t.Run(fmt.Sprintf("%s %v", test.operation, test.fault), func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, registry.Options{})
			p := h.repo(t, "acc/app")
			wantNothing := func(uploads int) {
				t.Helper()
				_, err := p.Blob(t.Context(), sha(content))
				wantCode(t, "Blob", err, customhouse.BlobUnknown)
				if files := h.files(t, "uploads"); len(files) != uploads {
					t.Fatalf("uploads = %v, want %d", files, uploads)
				}
			}
			if test.operation != "reread" {
				h.store.fails(test.operation, test.fault)
				wantFault(t, "Monolithic", p.Monolithic(t.Context(), sha(content), -1, bytes.NewReader(content)))
				wantNothing(0)
			}

			u := begin(t, p, "")
			add(t, u, 0, content[:1000])
			h.restart(t) // so that it rereads
			p = h.repo(t, "acc/app")
			u = p.Upload("alice", u.ID())
			h.store.fails(test.operation, test.fault)
			wantFault(t, "Finish", finish(t, u, sha(content), content[1000:]))
			if !test.stays {
				wantNothing(0)
				_, err := u.Size(t.Context())
				wantCode(t, "Size", err, customhouse.BlobUploadUnknown)
			} else {
				wantNothing(1)
				size, err := u.Size(t.Context())
				must(t, err, finish(t, u, sha(content), content[size:]))
				wantBlob(t, p, content)
			}
			pushBlob(t, p, content)
			wantBlob(t, p, content)
		})
	}
}

// Without an index nothing is acknowledged.
func TestUploadIndexFails(t *testing.T) {
	h := newHouse(t, registry.Options{})
	p := h.repo(t, "acc/app")
	content := []byte("content")
	u := begin(t, p, "")
	add(t, u, 0, content)
	must(t, h.index.Close())
	for what, err := range map[string]error{
		"Finish":     finish(t, u, sha(content), nil),
		"Monolithic": p.Monolithic(t.Context(), sha(content), -1, bytes.NewReader(content)),
		"Cancel":     u.Cancel(t.Context()),
	} {
		if err == nil {
			t.Errorf("%s without an index = nil, want an error", what)
		}
	}
	h.start(t)
	_, err := h.repo(t, "acc/app").Blob(t.Context(), sha(content))
	wantCode(t, "Blob", err, customhouse.BlobUnknown)
}
