package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"customhouse"
)

// Layout is the content of a CNCF distribution registry, as its storage driver lays it out below docker/registry/v2. Both
// parts are read through io/fs, so that a bucket will do where it has folders by prefix.
type Layout struct {
	Source       string // how the registry names it: for a folder, the absolute path of its v2
	Repositories fs.FS  // nil for an empty registry
	Blobs        fs.FS  // <algorithm>/<first two digits>/<digits>/data
}

// Close gives back what OpenLayout has opened.
func (l *Layout) Close() error {
	var errs []error
	for _, part := range []fs.FS{l.Repositories, l.Blobs} {
		if folder, ok := part.(io.Closer); ok {
			errs = append(errs, folder.Close())
		}
	}
	return errors.Join(errs...)
}

// ErrNoLayout says that a folder is there and holds nothing of a registry, such as before the first push.
var ErrNoLayout = errors.New("it holds neither docker/registry/v2 nor what is in it")

// OpenLayout opens the storage folder of distribution (storage.filesystem.rootdirectory), or its docker/registry/v2. No
// link in it that leads out of it is followed. ErrNoLayout.
func OpenLayout(folder string) (*Layout, error) {
	v2, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	if below := filepath.Join(v2, "docker", "registry", "v2"); isDir(below) {
		v2 = below
	}
	if v2, err = filepath.EvalSymlinks(v2); err != nil {
		return nil, fmt.Errorf("open the storage folder: %w", err)
	}
	l := &Layout{Source: v2}
	if l.Blobs, err = openPart(v2, "blobs"); err != nil {
		return nil, err
	}
	if l.Repositories, err = openPart(v2, "repositories"); err != nil {
		return nil, err
	}
	if l.Blobs == nil && l.Repositories == nil {
		return nil, fmt.Errorf("open the storage folder %s: %w", folder, ErrNoLayout)
	}
	return l, nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// openPart opens a part of the layout, which may be on a disk of its own, behind a link; nil if it is not there.
func openPart(v2, name string) (fs.FS, error) {
	real, err := filepath.EvalSymlinks(filepath.Join(v2, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open the storage folder: %w", err)
	}
	folder, err := openFolder(real)
	if err != nil {
		return nil, fmt.Errorf("open the storage folder: %w", err)
	}
	return folder, nil
}

// dataPath is where the bytes of d lie, below Blobs.
func dataPath(d customhouse.Digest) string {
	digits := d.Hex()
	return string(d.Algorithm()) + "/" + digits[:2] + "/" + digits + "/data"
}

// tree is one repository of a layout, as far as its folders' names tell.
type tree struct {
	name      string
	manifests bool // has _manifests
	layers    bool // has _layers
	uploads   bool // has _uploads
}

// walk calls do with each repository in byte order of the paths, and reports what is none. It ends with the error of ctx.
func (l *Layout) walk(ctx context.Context, found *findings, do func(tree)) error {
	if l.Repositories == nil {
		return nil
	}
	return l.walkInto(ctx, ".", found, do)
}

func (l *Layout) walkInto(ctx context.Context, dir string, found *findings, do func(tree)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := fs.ReadDir(l.Repositories, dir)
	if err != nil {
		if dir == "." {
			return fmt.Errorf("read the repositories: %w", err)
		}
		found.add(Finding{Kind: Unreadable, Path: "repositories/" + dir, Detail: err.Error()})
		return nil
	}
	t := tree{name: dir}
	var below []string
	for _, e := range entries {
		at := path.Join(dir, e.Name())
		switch {
		case !e.IsDir():
			found.add(Finding{Kind: Stray, Path: "repositories/" + at, Detail: "not a folder"})
		case e.Name() == "_manifests":
			t.manifests = true
		case e.Name() == "_layers":
			t.layers = true
		case e.Name() == "_uploads":
			t.uploads = true
		case strings.HasPrefix(e.Name(), "_"):
			found.add(Finding{Kind: Stray, Path: "repositories/" + at})
		default:
			below = append(below, at)
		}
	}
	if dir != "." && (t.manifests || t.layers || t.uploads) {
		do(t)
	} else if dir != "." && len(below) == 0 {
		found.add(Finding{Kind: GhostRepository, Repo: dir, Path: "repositories/" + dir, Detail: "an empty folder"})
	}
	for _, at := range below {
		if err := l.walkInto(ctx, at, found, do); err != nil {
			return err
		}
	}
	return nil
}

// link is a link of a repository that is there, by what it is called.
type link struct {
	digest customhouse.Digest // by its folder; zero for what a tag points to
	path   string             // below Repositories
	at     time.Time          // when it was written
	to     customhouse.Digest // what it names, if it was read
	torn   error              // why to is none
}

// mark is what the link is known by between passes.
func (k link) mark() mark { return mark{nameMark(k.path), k.at.UnixNano()} }

// alias tells whether the link is of content that the folder keeps by a digest of another algorithm, as distribution writes
// one where a client has pushed by sha512.
func (k link) alias() bool { return k.torn == nil && k.to.Algorithm() != k.digest.Algorithm() }

// maxLink is more than a link has bytes.
const maxLink = 256

// errDeleted tells of the folder of a link without the link: distribution deletes the one and leaves the other.
var errDeleted = errors.New("deleted")

// look looks at the link at p, and reads what it names unless known says that it was read before.
func (l *Layout) look(p string, known func(link) bool) (link, error) {
	f, err := l.Repositories.Open(p)
	if errors.Is(err, fs.ErrNotExist) {
		return link{}, errDeleted
	}
	if err != nil {
		info, statErr := fs.Stat(l.Repositories, p)
		if statErr == nil {
			statErr = regular(info)
		}
		if statErr != nil {
			return link{}, statErr
		}
		return link{path: p, at: info.ModTime(), torn: err}, nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil {
		err = regular(info)
	}
	if err != nil {
		return link{}, err
	}
	k := link{path: p, at: info.ModTime()}
	if !known(k) {
		k.to, k.torn = linkTarget(f, info)
	}
	return k, nil
}

// regular refuses what is no file.
func regular(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("not a file but %s", info.Mode().Type())
	}
	return nil
}

// linkTarget reads what a link names.
func linkTarget(f io.Reader, info fs.FileInfo) (customhouse.Digest, error) {
	b, err := readAll(f, info, maxLink)
	if err != nil {
		return customhouse.Digest{}, err
	}
	if len(b) == 0 {
		return customhouse.Digest{}, errors.New("the link is empty")
	}
	d, err := customhouse.ParseDigest(string(b))
	if err != nil {
		return d, fmt.Errorf("the link holds no digest but %.80q", b)
	}
	return d, nil
}

// readSmall reads a file of at most limit bytes.
func readSmall(fsys fs.FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := regular(info); err != nil {
		return nil, err
	}
	return readAll(f, info, limit)
}

// readAll reads as many bytes as there were, at most limit.
func readAll(f io.Reader, info fs.FileInfo, limit int64) ([]byte, error) {
	if info.Size() > limit {
		return nil, fmt.Errorf("%d bytes long, at most %d make sense", info.Size(), limit)
	}
	b := make([]byte, info.Size())
	n, err := io.ReadFull(f, b)
	if err == io.ErrUnexpectedEOF || err == io.EOF {
		err = nil
	}
	return b[:n], err
}

// Why something in a folder is not looked at, where that is no failure of reading it.
var (
	errNotFolder = errors.New("not a folder")
	errNotDigest = errors.New("not a digest")
)

// digests lists a folder <algorithm>/<digits> of links, sorted.
func (l *Layout) digests(dir string, bad func(path string, why error)) []customhouse.Digest {
	var all []customhouse.Digest
	for _, algorithm := range l.names(dir, bad) {
		at := path.Join(dir, algorithm)
		for _, digits := range l.names(at, bad) {
			d, err := customhouse.ParseDigest(algorithm + ":" + digits)
			if err != nil {
				bad(path.Join(at, digits), errNotDigest)
				continue
			}
			all = append(all, d)
		}
	}
	return all
}

// names lists a folder of folders, sorted; none if it is not there.
func (l *Layout) names(dir string, bad func(path string, why error)) []string {
	entries, err := fs.ReadDir(l.Repositories, dir)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			bad(dir, err)
		}
		return nil
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			bad(path.Join(dir, e.Name()), errNotFolder)
			continue
		}
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names
}
