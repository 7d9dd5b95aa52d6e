package transfer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// archive is a tar file whose files are read from where they lie in it: nothing is ever unpacked.
type archive struct {
	file  *os.File
	files map[string]archived
}

// archived is where a file lies in a tar.
type archived struct {
	offset, size int64
}

// Bounds on a tar that is imported.
const (
	maxEntries   = 100_000
	maxEntryName = 1024
	maxLinkDepth = 8
)

// openArchive reads the headers of a tar file. It refuses what no program that writes images has in it: names that lead
// elsewhere, links out of it and hard links, devices, holes, two files of one name.
func openArchive(name string) (*archive, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	a := &archive{file: f, files: map[string]archived{}}
	if err := a.read(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
	}
	return a, nil
}

func (a *archive) read() error {
	var magic [4]byte
	if n, _ := a.file.ReadAt(magic[:], 0); n == 4 {
		if magic[0] == 0x1f && magic[1] == 0x8b || magic == [4]byte{0x28, 0xb5, 0x2f, 0xfd} {
			return ErrCompressed
		}
	}
	info, err := a.file.Stat()
	if err != nil {
		return err
	}
	links := map[string]string{}
	folders := map[string]bool{}
	t := tar.NewReader(a.file)
	for n := 0; ; n++ {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("not a tar, or a damaged one: %w", err)
		}
		if n >= maxEntries {
			return fmt.Errorf("more than %d files", maxEntries)
		}
		name, err := a.check(h)
		if err != nil {
			return err
		}
		_, file := a.files[name]
		_, link := links[name]
		switch {
		case h.Typeflag == tar.TypeDir:
			if file || link {
				return fmt.Errorf("%q is there twice", name)
			}
			folders[name] = true
			continue
		case file || link || folders[name]:
			return fmt.Errorf("%q is there twice", name)
		case h.Typeflag == tar.TypeSymlink:
			links[name] = h.Linkname
			continue
		}
		offset, err := a.file.Seek(0, io.SeekCurrent) // archive/tar reads no further than the header
		if err != nil {
			return err
		}
		if h.Size > info.Size()-offset {
			return fmt.Errorf("%q ends behind the archive", name)
		}
		a.files[name] = archived{offset, h.Size}
	}
	return a.resolve(links)
}

// ErrCompressed says that an archive is compressed: it is read here and there, which needs a plain one.
var ErrCompressed = errors.New("the archive is compressed")

// check tells whether an entry is one that makes sense, and returns its name.
func (a *archive) check(h *tar.Header) (string, error) {
	name := h.Name
	switch {
	case len(name) > maxEntryName || len(h.Linkname) > maxEntryName:
		return "", fmt.Errorf("a name of more than %d bytes", maxEntryName)
	case h.Typeflag == tar.TypeDir:
		name = strings.TrimSuffix(name, "/")
	}
	name = strings.TrimPrefix(name, "./")
	if name == "" && h.Typeflag == tar.TypeDir {
		name = "."
	}
	if !fs.ValidPath(name) || strings.ContainsAny(name, "\\\x00") {
		return "", fmt.Errorf("%.200q is a name that leads elsewhere", h.Name)
	}
	if h.Typeflag == tar.TypeGNUSparse {
		return "", fmt.Errorf("%.200q has holes", h.Name)
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return "", fmt.Errorf("%.200q has holes", h.Name)
		}
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir:
	case tar.TypeSymlink: // docker save writes them for layers that two images share
		if path.IsAbs(h.Linkname) || !fs.ValidPath(path.Join(path.Dir(name), h.Linkname)) {
			return "", fmt.Errorf("%.200q is a link out of the archive", h.Name)
		}
	default:
		return "", fmt.Errorf("%.200q is neither a file nor a folder", h.Name)
	}
	return name, nil
}

// resolve makes links names of the files that they lead to.
func (a *archive) resolve(links map[string]string) error {
	resolved := map[string]archived{}
	for _, name := range slices.Sorted(maps.Keys(links)) {
		at := name
		for depth := 0; ; depth++ {
			to, ok := links[at]
			if !ok {
				break
			}
			if depth == maxLinkDepth {
				return fmt.Errorf("%q is a link that leads nowhere", name)
			}
			if at = path.Join(path.Dir(at), to); !fs.ValidPath(at) {
				return fmt.Errorf("%q is a link out of the archive", name)
			}
		}
		file, ok := a.files[at]
		if !ok {
			return fmt.Errorf("%q is a link that leads nowhere", name)
		}
		resolved[name] = file
	}
	for name := range a.files {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			_, file := a.files[dir]
			_, link := links[dir]
			if file || link {
				return fmt.Errorf("%q lies in %q, which is no folder", name, dir)
			}
		}
	}
	maps.Copy(a.files, resolved)
	return nil
}

// Open implements fs.FS.
func (a *archive) Open(name string) (fs.File, error) {
	at, ok := a.files[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &archiveFile{io.NewSectionReader(a.file, at.offset, at.size), name}, nil
}

func (a *archive) Close() error { return a.file.Close() }

// archiveFile is an open file of an archive, and what is known of it.
type archiveFile struct {
	*io.SectionReader
	name string
}

func (f *archiveFile) Close() error               { return nil }
func (f *archiveFile) Stat() (fs.FileInfo, error) { return f, nil }
func (f *archiveFile) Name() string               { return path.Base(f.name) }
func (f *archiveFile) Mode() fs.FileMode          { return 0o444 }
func (f *archiveFile) ModTime() time.Time         { return time.Time{} }
func (f *archiveFile) IsDir() bool                { return false }
func (f *archiveFile) Sys() any                   { return nil }
