package transfer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// MatchRepo tells whether a pattern is of a repository: * is any part of a path component, a /** in the end is all that is
// below, and everything else is itself.
func MatchRepo(pattern, repo string) bool {
	if above, ok := strings.CutSuffix(pattern, "/**"); ok {
		for i := range len(repo) {
			if repo[i] == '/' && matches(above, repo[:i]) {
				return true
			}
		}
		return false
	}
	return pattern == "**" || matches(pattern, repo)
}

func matches(pattern, repo string) bool {
	ok, err := path.Match(pattern, repo)
	return ok && err == nil
}

// folderTarget writes files into a folder beside the one that is asked for, which is renamed when all of them are on disk.
type folderTarget struct {
	out, temporary string
	root           *os.Root
	links          bool

	mu   sync.Mutex
	made map[string]bool // folders that are there
}

func newFolderTarget(out string, links bool) (*folderTarget, error) {
	temporary, err := os.MkdirTemp(filepath.Dir(filepath.Clean(out)), "."+filepath.Base(out)+".partial-")
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(temporary)
	if err != nil {
		return nil, errors.Join(err, os.Remove(temporary))
	}
	return &folderTarget{out: filepath.Clean(out), temporary: temporary, root: root, links: links, made: map[string]bool{}}, nil
}

func (t *folderTarget) concurrent() bool { return true }

// folder makes the folder of a file.
func (t *folderTarget) folder(name string) error {
	dir := path.Dir(name)
	t.mu.Lock()
	defer t.mu.Unlock()
	if dir == "." || t.made[dir] {
		return nil
	}
	if err := t.root.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	t.made[dir] = true
	return nil
}

func (t *folderTarget) write(name string, size int64, at time.Time, r io.Reader) error {
	if err := t.folder(name); err != nil {
		return err
	}
	const flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC // a link that history and present share is written twice
	f, err := t.root.OpenFile(name, flags, 0o644)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, r)
	if err == nil && n != size {
		err = fmt.Errorf("%s: %d bytes in place of %d", name, n, size)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if at.IsZero() {
		return nil
	}
	return t.root.Chtimes(name, at, at)
}

func (t *folderTarget) link(name string, f *os.File) bool {
	if !t.links || t.folder(name) != nil {
		return false
	}
	// By the open file, not by its name: it is this one that was verified (linkat(2)).
	open := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	return unix.Linkat(unix.AT_FDCWD, open, unix.AT_FDCWD, filepath.Join(t.temporary, filepath.FromSlash(name)), unix.AT_SYMLINK_FOLLOW) == nil
}

func (t *folderTarget) finish() error {
	d, err := t.root.Open(".")
	if err != nil {
		return err
	}
	err = unix.Syncfs(int(d.Fd())) // one call for all files and folders
	if err := errors.Join(err, d.Close(), t.root.Close()); err != nil {
		return err
	}
	return place(t.temporary, t.out)
}

func (t *folderTarget) abandon() error {
	return errors.Join(t.root.Close(), os.RemoveAll(t.temporary))
}

// place gives a finished file or folder its name, if nothing is called that, and syncs the folder that it is in.
func place(temporary, out string) error {
	if err := unix.Renameat2(unix.AT_FDCWD, temporary, unix.AT_FDCWD, out, unix.RENAME_NOREPLACE); err != nil {
		return fmt.Errorf("rename to %s: %w", out, err)
	}
	d, err := os.Open(filepath.Dir(out))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// tarTarget writes a tar file beside the one that is asked for.
type tarTarget struct {
	out  string
	file *os.File
	tar  *tar.Writer
}

func newTarTarget(out string) (*tarTarget, error) {
	f, err := os.CreateTemp(filepath.Dir(filepath.Clean(out)), "."+filepath.Base(out)+".partial-")
	if err != nil {
		return nil, err
	}
	return &tarTarget{out: filepath.Clean(out), file: f, tar: tar.NewWriter(f)}, nil
}

func (t *tarTarget) concurrent() bool { return false }

func (t *tarTarget) link(string, *os.File) bool { return false }

func (t *tarTarget) write(name string, size int64, at time.Time, r io.Reader) error {
	if err := t.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, ModTime: at, Format: tar.FormatPAX}); err != nil {
		return err
	}
	_, err := io.Copy(t.tar, r)
	return err
}

func (t *tarTarget) finish() error {
	if err := errors.Join(t.tar.Close(), t.file.Sync(), t.file.Close()); err != nil {
		return err
	}
	return place(t.file.Name(), t.out)
}

func (t *tarTarget) abandon() error {
	t.file.Close() // it goes, whatever this says
	return os.Remove(t.file.Name())
}
