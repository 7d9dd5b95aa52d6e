package transfer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// beneathFS is a folder out of which no link leads, like rootFS. Where rootFS opens every folder on the way to a file, it
// has the kernel walk the path (openat2(2), RESOLVE_BENEATH), and it reads through no poller: an adoption opens files by
// the million.
type beneathFS struct {
	folder  *os.File
	fd      int       // of folder
	buffers sync.Pool // of *[direntBuffer]byte
}

var _ interface {
	fs.ReadDirFS
	fs.StatFS
	io.Closer
} = (*beneathFS)(nil)

// direntBuffer is how much of a folder is read in one go.
const direntBuffer = 32 << 10

// errNoBeneath says that the system has no openat2, or a sandbox does not let us have it.
var errNoBeneath = errors.New("no openat2")

func openBeneath(folder string) (*beneathFS, error) {
	f, err := os.Open(folder)
	if err != nil {
		return nil, err
	}
	b := &beneathFS{folder: f, fd: int(f.Fd()), buffers: sync.Pool{New: func() any { return new([direntBuffer]byte) }}}
	if fd, err := b.open(".", unix.O_PATH|unix.O_DIRECTORY); err == nil {
		return b, unix.Close(fd)
	}
	return nil, errors.Join(errNoBeneath, f.Close())
}

// Close implements io.Closer.
func (b *beneathFS) Close() error { return b.folder.Close() }

// open returns a descriptor that the caller closes.
func (b *beneathFS) open(name string, flags uint64) (int, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS}
	const races = 16 // EAGAIN says that a folder was moved while the kernel went through a ".." in a link
	for try := 0; ; try++ {
		fd, err := unix.Openat2(b.fd, name, &how)
		switch {
		case err == unix.EINTR, err == unix.EAGAIN && try < races:
		case err == unix.EPERM && how.Flags&unix.O_NOATIME != 0: // for the owner of a file only
			how.Flags &^= unix.O_NOATIME
		case err == unix.EXDEV:
			return -1, &fs.PathError{Op: "open", Path: name, Err: errors.New("a link leads out of the folder")}
		case err != nil:
			return -1, &fs.PathError{Op: "open", Path: name, Err: err}
		default:
			return fd, nil
		}
	}
}

// Open implements fs.FS. What it returns is closed by Close and by nothing else.
func (b *beneathFS) Open(name string) (fs.File, error) {
	fd, err := b.open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOATIME)
	if err != nil {
		return nil, err
	}
	return &beneathFile{fd, name}, nil
}

// Stat implements fs.StatFS.
func (b *beneathFS) Stat(name string) (fs.FileInfo, error) { return b.stat(name, unix.O_PATH) }

func (b *beneathFS) stat(name string, flags uint64) (fs.FileInfo, error) {
	fd, err := b.open(name, flags)
	if err != nil {
		return nil, err
	}
	f := beneathFile{fd, name}
	defer f.Close()
	return f.Stat()
}

// ReadDir implements fs.ReadDirFS.
func (b *beneathFS) ReadDir(name string) ([]fs.DirEntry, error) {
	fd, err := b.open(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOATIME)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	buffer := b.buffers.Get().(*[direntBuffer]byte)
	defer b.buffers.Put(buffer)
	var entries []fs.DirEntry
	for {
		n, err := unix.Getdents(fd, buffer[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return entries, &fs.PathError{Op: "read", Path: name, Err: err}
		}
		if n == 0 {
			break
		}
		entries = b.appendEntries(entries, name, buffer[:n])
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// appendEntries appends what getdents64(2) has said of the folder dir.
func (b *beneathFS) appendEntries(entries []fs.DirEntry, dir string, said []byte) []fs.DirEntry {
	const length, kind, name = 16, 18, 19 // where they are in a struct linux_dirent64
	for len(said) > name {
		next := int(binary.NativeEndian.Uint16(said[length:]))
		if next <= name || next > len(said) {
			break
		}
		text, _, _ := bytes.Cut(said[name:next], []byte{0})
		if string(text) != "." && string(text) != ".." {
			entries = append(entries, b.entry(dir, string(text), said[kind]))
		}
		said = said[next:]
	}
	return entries
}

func (b *beneathFS) entry(dir, name string, kind byte) fs.DirEntry {
	e := &beneathEntry{folder: b, dir: dir, name: name}
	switch kind {
	case unix.DT_REG:
	case unix.DT_DIR:
		e.kind = fs.ModeDir
	case unix.DT_LNK:
		e.kind = fs.ModeSymlink
	case unix.DT_FIFO:
		e.kind = fs.ModeNamedPipe
	case unix.DT_SOCK:
		e.kind = fs.ModeSocket
	case unix.DT_BLK:
		e.kind = fs.ModeDevice
	case unix.DT_CHR:
		e.kind = fs.ModeDevice | fs.ModeCharDevice
	default: // some file systems do not say
		e.kind = fs.ModeIrregular
		if info, err := e.Info(); err == nil {
			e.kind = info.Mode().Type()
		}
	}
	return e
}

type beneathEntry struct {
	folder    *beneathFS
	dir, name string
	kind      fs.FileMode
}

func (e *beneathEntry) Name() string      { return e.name }
func (e *beneathEntry) IsDir() bool       { return e.kind.IsDir() }
func (e *beneathEntry) Type() fs.FileMode { return e.kind }
func (e *beneathEntry) Info() (fs.FileInfo, error) {
	return e.folder.stat(path.Join(e.dir, e.name), unix.O_PATH|unix.O_NOFOLLOW)
}

// beneathFile is an open file.
type beneathFile struct {
	fd   int
	name string
}

func (f *beneathFile) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		n, err := unix.Read(f.fd, b)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, &fs.PathError{Op: "read", Path: f.name, Err: err}
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (f *beneathFile) Stat() (fs.FileInfo, error) {
	info := &beneathInfo{name: path.Base(f.name)}
	for {
		if err := unix.Fstat(f.fd, &info.stat); err == nil {
			return info, nil
		} else if err != unix.EINTR {
			return nil, &fs.PathError{Op: "stat", Path: f.name, Err: err}
		}
	}
}

func (f *beneathFile) Close() error {
	fd := f.fd
	f.fd = -1
	return unix.Close(fd)
}

type beneathInfo struct {
	name string
	stat unix.Stat_t
}

func (i *beneathInfo) Name() string       { return i.name }
func (i *beneathInfo) Size() int64        { return i.stat.Size }
func (i *beneathInfo) ModTime() time.Time { return time.Unix(i.stat.Mtim.Unix()) }
func (i *beneathInfo) IsDir() bool        { return i.Mode().IsDir() }
func (i *beneathInfo) Sys() any           { return &i.stat }
func (i *beneathInfo) Mode() fs.FileMode {
	mode := fs.FileMode(i.stat.Mode & 0o777)
	switch i.stat.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return mode
	case unix.S_IFDIR:
		return mode | fs.ModeDir
	case unix.S_IFLNK:
		return mode | fs.ModeSymlink
	case unix.S_IFIFO:
		return mode | fs.ModeNamedPipe
	case unix.S_IFSOCK:
		return mode | fs.ModeSocket
	case unix.S_IFBLK:
		return mode | fs.ModeDevice
	case unix.S_IFCHR:
		return mode | fs.ModeDevice | fs.ModeCharDevice
	}
	return mode | fs.ModeIrregular
}
