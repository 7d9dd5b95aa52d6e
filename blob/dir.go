package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"customhouse"
)

var _ Store = (*Dir)(nil)

// Dir is a Store in a folder:
//
//	blobs/<algorithm>/<first two digits>/<digits>   content
//	uploads/<id>                                    content that has no digest yet
//	quarantine/<algorithm>-<digits>.<time>          content that was found wrong
//
// Nothing in it is read at start: its size does not matter.
type Dir struct {
	root    string
	reserve Reserve
	space   space
	names   sync.RWMutex // held whole while a folder is made, and while content is looked at and then moved by its name
}

// Reserve is the free space that uploads leave to everything else, so that deleting and the index go on when clients
// have filled the disk: the larger of the two. The zero Reserve is none.
type Reserve struct {
	Bytes   int64
	Percent float64 // of the file system's size
}

// OpenDir returns the store in the folder root, and makes what is missing of it.
func OpenDir(root string, reserve Reserve) (*Dir, error) {
	for _, name := range []string{"uploads", "quarantine", "blobs/" + string(customhouse.SHA256), "blobs/" + string(customhouse.SHA512)} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o700); err != nil {
			return nil, fmt.Errorf("make the store: %w", err)
		}
	}
	for _, name := range []string{"blobs/" + string(customhouse.SHA256), "blobs/" + string(customhouse.SHA512), "blobs", "."} {
		if err := syncDir(filepath.Join(root, name)); err != nil { // a crash may have come before the sync of a folder in it
			return nil, fmt.Errorf("make the store: %w", err)
		}
	}
	return &Dir{root: root, reserve: reserve}, nil
}

// path is where the content of d lies. Its parts are hexadecimal digits and the name of an algorithm: a Digest has no
// other form.
func (s *Dir) path(d customhouse.Digest) string {
	digits := d.Hex()
	return s.root + "/blobs/" + string(d.Algorithm()) + "/" + digits[:2] + "/" + digits
}

// upload is where the upload id lies. Ids are made by the registry; one that could leave the folder is nobody's.
func (s *Dir) upload(id string) (string, error) {
	if id == "" || strings.ContainsAny(id, "/\\.\x00") {
		return "", ErrNotFound
	}
	return s.root + "/uploads/" + id, nil
}

// copyBuffer is the size of one read from a client and one write to a file.
const copyBuffer = 256 << 10

var buffers = sync.Pool{New: func() any { return new([copyBuffer]byte) }}

// Append implements Store.
func (s *Dir) Append(ctx context.Context, id string, offset int64, r io.Reader) (n int64, err error) {
	path, err := s.upload(id)
	if err != nil {
		return 0, err
	}
	flag := os.O_WRONLY
	if offset == 0 {
		flag |= os.O_CREATE
	}
	f, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		return 0, known(err)
	}
	defer func() {
		if closeErr := f.Close(); err == nil {
			err = known(closeErr)
		}
	}()
	if err := cut(f, offset); err != nil {
		return 0, err
	}
	buf := buffers.Get().(*[copyBuffer]byte)
	defer buffers.Put(buf)
	for {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		read, readErr := r.Read(buf[:])
		if read > 0 {
			if err := s.roomFor(int64(read)); err != nil {
				return n, err
			}
			wrote, err := f.WriteAt(buf[:read], offset+n)
			n += int64(wrote)
			if err != nil {
				return n, known(err)
			}
		}
		if readErr == io.EOF {
			return n, nil
		}
		if readErr != nil {
			return n, readErr
		}
	}
}

// cut makes f end at offset.
func cut(f *os.File, offset int64) error {
	info, err := f.Stat()
	switch {
	case err != nil:
		return known(err)
	case info.Size() < offset:
		return ErrNotFound
	case info.Size() > offset:
		return known(f.Truncate(offset))
	}
	return nil
}

// space is how much room was free when it was last asked for.
type space struct {
	mu    sync.Mutex
	asked time.Time
	left  int64 // above the reserve, less what has been written since
	keep  int64 // the reserve
}

// spaceLag is how long an answer about free room counts, as long as it is not used up: others fill the disk too.
const spaceLag = 250 * time.Millisecond

// roomFor tells with ErrNoSpace that n more bytes would reach into the reserve.
func (s *Dir) roomFor(n int64) error {
	if s.reserve == (Reserve{}) {
		return nil
	}
	s.space.mu.Lock()
	defer s.space.mu.Unlock()
	if now := time.Now(); s.space.left < n || now.Sub(s.space.asked) > spaceLag {
		var st syscall.Statfs_t
		if err := syscall.Statfs(s.root, &st); err != nil {
			return known(err)
		}
		s.space.keep = max(s.reserve.Bytes, int64(float64(st.Blocks)*float64(st.Bsize)*s.reserve.Percent/100))
		s.space.asked, s.space.left = now, int64(st.Bavail)*st.Bsize-s.space.keep
	}
	if s.space.left < n {
		const mebi = 1 << 20
		return fmt.Errorf("%w: %d MiB of the disk are free, and %d MiB are held in reserve", ErrNoSpace, (s.space.left+s.space.keep)/mebi, s.space.keep/mebi)
	}
	s.space.left -= n
	return nil
}

// Reread implements Store.
func (s *Dir) Reread(_ context.Context, id string) (Object, error) {
	path, err := s.upload(id)
	if err != nil {
		return Object{}, err
	}
	return open(path)
}

// Commit implements Store: the bytes are synced before the name, the name before it returns.
func (s *Dir) Commit(_ context.Context, id string, d customhouse.Digest) error {
	from, err := s.upload(id)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(from, os.O_WRONLY, 0)
	if err != nil {
		return known(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return known(err)
	}
	to := s.path(d)
	err = s.rename(from, to)
	if errors.Is(err, fs.ErrNotExist) { // its folder has held nothing yet
		if err := s.makeDir(filepath.Dir(to)); err != nil {
			return known(err)
		}
		err = s.rename(from, to)
	}
	if err != nil {
		return known(err)
	}
	return known(syncDir(filepath.Dir(to)))
}

func (s *Dir) rename(from, to string) error {
	s.names.RLock()
	defer s.names.RUnlock()
	return os.Rename(from, to)
}

// makeDir makes a folder for content, if it is not there, so that it survives a loss of power. Nobody puts content into
// it before.
func (s *Dir) makeDir(path string) error {
	s.names.Lock()
	defer s.names.Unlock()
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// Discard implements Store.
func (s *Dir) Discard(_ context.Context, id string) error {
	path, err := s.upload(id)
	if err != nil {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return known(err)
	}
	return nil
}

// Open implements Store.
func (s *Dir) Open(_ context.Context, d customhouse.Digest) (Object, error) { return open(s.path(d)) }

func open(path string) (Object, error) {
	f, err := os.Open(path)
	if err != nil {
		return Object{}, known(err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return Object{}, known(err)
	}
	return Object{ReadSeekCloser: f, Size: info.Size(), Version: versionOf(info)}, nil
}

func versionOf(info fs.FileInfo) Version {
	st := info.Sys().(*syscall.Stat_t) // what package os has on every Unix
	return Version{Inode: st.Ino, Size: st.Size, Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano()}
}

// Quarantine implements Store.
func (s *Dir) Quarantine(_ context.Context, d customhouse.Digest, wrong Version) error {
	from := s.path(d)
	moved, err := s.putAway(from, d, wrong)
	if err != nil || !moved {
		return known(err)
	}
	return known(syncDir(filepath.Dir(from)))
}

// putAway moves the file of d into quarantine, if it is the version that is wrong.
func (s *Dir) putAway(from string, d customhouse.Digest, wrong Version) (moved bool, err error) {
	s.names.Lock() // a Commit between the look and the rename would lose its content
	defer s.names.Unlock()
	if info, err := os.Lstat(from); errors.Is(err, fs.ErrNotExist) || err == nil && versionOf(info) != wrong {
		return false, nil
	}
	name := fmt.Sprintf("%s-%s.%d", d.Algorithm(), d.Hex(), time.Now().UnixNano())
	return true, os.Rename(from, filepath.Join(s.root, "quarantine", name))
}

// Leftovers removes the bytes of uploads that nobody has written to since before and that alive does not know: those of
// requests that a crash has cut off.
func (s *Dir) Leftovers(before time.Time, alive func(id string) bool) error {
	entries, err := os.ReadDir(filepath.Join(s.root, "uploads"))
	if err != nil {
		return known(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.ModTime().After(before) || alive(e.Name()) {
			continue
		}
		if err := os.Remove(filepath.Join(s.root, "uploads", e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return known(err)
		}
	}
	return nil
}

// syncDir makes the names in a folder survive a loss of power.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// known gives errors of the operating system the names of this package, and keeps the original behind them.
func known(err error) error {
	var name error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		name = ErrNotFound
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		name = ErrNoSpace
	case errors.Is(err, syscall.EROFS):
		name = ErrReadOnly
	default:
		return err
	}
	return fmt.Errorf("%w: %w", name, err)
}
