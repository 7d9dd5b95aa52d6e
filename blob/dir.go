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
	names   sync.RWMutex // held whole while content is looked at and then moved by its name
}

// Reserve is the free space that uploads leave to everything else, so that deleting and the index go on when clients
// have filled the disk: the larger of the two. The zero Reserve is none.
type Reserve struct {
	Bytes   int64
	Percent float64 // of the file system's size
}

// OpenDir returns the store in the folder root, and makes what is missing of it.
func OpenDir(root string, reserve Reserve) (*Dir, error) {
	d := &Dir{root: root, reserve: reserve}
	for _, name := range []string{"uploads", "quarantine", "blobs"} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o700); err != nil {
			return nil, fmt.Errorf("make the store: %w", err)
		}
	}
	for _, a := range []customhouse.Algorithm{customhouse.SHA256, customhouse.SHA512} {
		if err := makeFan(filepath.Join(root, "blobs", string(a))); err != nil {
			return nil, fmt.Errorf("make the store: %w", err)
		}
	}
	return d, errors.Join(syncDir(filepath.Join(root, "blobs")), syncDir(root))
}

// makeFan makes the 256 folders 00 to ff, once, so that a push never has a folder to make and to sync.
func makeFan(dir string) error {
	const last = "ff"
	if _, err := os.Stat(filepath.Join(dir, last)); err == nil {
		return nil
	}
	for i := range 256 {
		if err := os.MkdirAll(filepath.Join(dir, fmt.Sprintf("%02x", i)), 0o700); err != nil {
			return err
		}
	}
	return syncDir(dir)
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
			if err := s.roomFor(f, int64(read)); err != nil {
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

// roomFor tells with ErrNoSpace that n more bytes would reach into the reserve.
func (s *Dir) roomFor(f *os.File, n int64) error {
	if s.reserve == (Reserve{}) {
		return nil
	}
	var st syscall.Statfs_t
	if err := syscall.Fstatfs(int(f.Fd()), &st); err != nil {
		return known(err)
	}
	keep := max(s.reserve.Bytes, int64(float64(st.Blocks)*float64(st.Bsize)*s.reserve.Percent/100))
	if int64(st.Bavail)*st.Bsize-n < keep {
		return ErrNoSpace
	}
	return nil
}

// Reread implements Store.
func (s *Dir) Reread(_ context.Context, id string) (io.ReadCloser, error) {
	path, err := s.upload(id)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, known(err)
	}
	return f, nil
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
	s.names.RLock()
	err = os.Rename(from, to)
	s.names.RUnlock()
	if err != nil {
		return known(err)
	}
	return known(syncDir(filepath.Dir(to)))
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
func (s *Dir) Open(_ context.Context, d customhouse.Digest) (Object, error) {
	f, err := os.Open(s.path(d))
	if err != nil {
		return Object{}, known(err)
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		f.Close()
		return Object{}, known(err)
	}
	return Object{ReadSeekCloser: f, Size: st.Size, Version: versionOf(&st)}, nil
}

func versionOf(st *syscall.Stat_t) Version {
	return Version{Inode: st.Ino, Size: st.Size, Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano()}
}

// Quarantine implements Store.
func (s *Dir) Quarantine(_ context.Context, d customhouse.Digest, wrong Version) error {
	from := s.path(d)
	s.names.Lock() // a Commit between the look and the rename would lose its content
	defer s.names.Unlock()
	var st syscall.Stat_t
	if err := syscall.Stat(from, &st); errors.Is(err, fs.ErrNotExist) || err == nil && versionOf(&st) != wrong {
		return nil
	}
	name := fmt.Sprintf("%s-%s.%d", d.Algorithm(), d.Hex(), time.Now().UnixNano())
	if err := os.Rename(from, filepath.Join(s.root, "quarantine", name)); err != nil {
		return known(err)
	}
	return known(syncDir(filepath.Dir(from)))
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
