package transfer

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// openFolder opens a folder in which many files are read. Its io.Closer gives it back.
func openFolder(name string) (fs.FS, error) {
	b, err := openBeneath(name)
	if !errors.Is(err, errNoBeneath) {
		return b, err
	}
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	return rootFS{root}, nil
}

// rootFS is a folder out of which no link leads. Reading leaves no trace in it, not even an access time where the system
// allows that, and a pipe makes nobody wait.
type rootFS struct{ root *os.Root }

var _ interface {
	fs.ReadDirFS
	fs.StatFS
	io.Closer
} = rootFS{}

// Close implements io.Closer.
func (r rootFS) Close() error { return r.root.Close() }

func (r rootFS) open(name string) (*os.File, error) {
	const flags = os.O_RDONLY | syscall.O_NONBLOCK
	f, err := r.root.OpenFile(name, flags|unix.O_NOATIME, 0)
	if errors.Is(err, syscall.EPERM) { // for the owner of a file only
		f, err = r.root.OpenFile(name, flags, 0)
	}
	return f, err
}

// Open implements fs.FS.
func (r rootFS) Open(name string) (fs.File, error) {
	f, err := r.open(name)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Stat implements fs.StatFS.
func (r rootFS) Stat(name string) (fs.FileInfo, error) { return r.root.Stat(name) }

// ReadDir implements fs.ReadDirFS.
func (r rootFS) ReadDir(name string) ([]fs.DirEntry, error) {
	f, err := r.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}
