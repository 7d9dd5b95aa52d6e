// Package blob keeps bytes by their digest and the bytes of uploads that have no digest yet.
//
// It is given digests and believes them: hashing and verifying are the business of package registry. It knows nothing
// of repositories, manifests, permissions or HTTP. What it has acknowledged is on disk.
package blob

import (
	"context"
	"errors"
	"io"

	"customhouse"
)

// Errors of a Store, to be asked for with errors.Is.
var (
	ErrNotFound = errors.New("no such content")
	ErrNoSpace  = errors.New("no space left for content")
	ErrReadOnly = errors.New("the store is read-only")
)

// Store is a place for content. All methods may be called at the same time by many; two calls that write to the same
// upload are the caller's mistake. Besides the errors named, each may return an error of the medium.
type Store interface {
	// Append writes r to the upload id from offset on, makes the upload where offset is 0, and cuts off what was behind.
	// It returns how many bytes of r are in the upload, also with an error of r or of the medium. ErrNotFound: the upload
	// holds fewer than offset bytes. ErrNoSpace, ErrReadOnly.
	Append(ctx context.Context, id string, offset int64, r io.Reader) (int64, error)
	// Reread returns the bytes of the upload id. ErrNotFound.
	Reread(ctx context.Context, id string) (Object, error)
	// Commit makes the upload id the content of d, in the place of what was there. When it returns nil the content
	// survives a loss of power; after an error the upload must not be committed again. ErrNotFound, ErrNoSpace, ErrReadOnly.
	Commit(ctx context.Context, id string, d customhouse.Digest) error
	// Discard forgets the upload id; it is no error when there is none.
	Discard(ctx context.Context, id string) error
	// Open returns the content of d. ErrNotFound.
	Open(ctx context.Context, d customhouse.Digest) (Object, error)
	// Quarantine puts the content of d out of the way, where Open does not find it and a person does, if it still is the
	// version that was found wrong. It is no error when it is not.
	Quarantine(ctx context.Context, d customhouse.Digest, wrong Version) error
}

// Object is open content, or an open upload. An *os.File as its Reader goes out by sendfile.
type Object struct {
	io.ReadSeekCloser
	Size    int64 // bytes that are stored, right or wrong
	Version Version
}

// Version identifies one writing of a piece of content: as long as it stays the same, nobody has touched the bytes by
// way of the system. A medium fills it as it can; the zero Version is never the same as another.
type Version struct {
	Inode      uint64
	Size       int64
	Mtime      int64 // ns
	Ctime      int64 // ns
	Generation uint64
}
