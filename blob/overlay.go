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
	"sync/atomic"
	"syscall"

	"customhouse"
)

var _ Store = (*Overlay)(nil)

// Source is content that others keep and that is only read. Open may return ErrNotFound, or an error of the medium.
type Source interface {
	Open(ctx context.Context, d customhouse.Digest) (Object, error)
}

var _ Source = Distribution("")

// Distribution is the content in a folder of CNCF distribution, named by its folder v2: blobs/<algorithm>/<first two
// digits>/<digits>/data.
type Distribution string

// Open implements Source. What is not a file, a link to one included, is not content.
func (root Distribution) Open(_ context.Context, d customhouse.Digest) (Object, error) {
	digits := d.Hex()
	path := string(root) + "/blobs/" + string(d.Algorithm()) + "/" + digits[:2] + "/" + digits + "/data"
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0) // a pipe would make us wait
	if err != nil {
		if errors.Is(err, syscall.ELOOP) {
			err = fs.ErrNotExist
		}
		return Object{}, known(err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = ErrNotFound
	}
	if err != nil {
		f.Close()
		return Object{}, known(err)
	}
	return Object{ReadSeekCloser: f, Size: info.Size(), Version: versionOf(info)}, nil
}

// Overlay is a Dir over content that others keep: what the Dir does not have is read from where it lies. All writing is
// done in the Dir, so a push heals what is wrong below, and what lies below is never touched. Content below that was found
// wrong is not found any more; a note of it lies in quarantine/, so that a restart does not forget it.
type Overlay struct {
	*Dir
	below func(context.Context) ([]Source, error)
	last  atomic.Pointer[[]Source] // what below said last
	mu    sync.RWMutex
	wrong map[string]bool // names of the notes
}

// noteSuffix ends the name of a note about content below that is wrong.
const noteSuffix = ".below"

// NewOverlay returns the overlay of dir over what below names. It is asked again when content is nowhere, so that what
// is added to it is found at once.
func NewOverlay(dir *Dir, below func(context.Context) ([]Source, error)) (*Overlay, error) {
	o := &Overlay{Dir: dir, below: below, wrong: map[string]bool{}}
	o.last.Store(&[]Source{})
	entries, err := os.ReadDir(filepath.Join(dir.root, "quarantine"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the quarantine: %w", err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), noteSuffix) {
			o.wrong[e.Name()] = true
		}
	}
	return o, nil
}

// note names the note that content below is wrong in one version. The change time is left out: making a hard link or
// giving the file to another user changes it, and no byte.
func note(d customhouse.Digest, v Version) string {
	return fmt.Sprintf("%s-%s.%d-%d-%d%s", d.Algorithm(), d.Hex(), v.Inode, v.Size, v.Mtime, noteSuffix)
}

// Open implements Store.
func (o *Overlay) Open(ctx context.Context, d customhouse.Digest) (Object, error) {
	found, err := o.Dir.Open(ctx, d)
	if !errors.Is(err, ErrNotFound) {
		return found, err
	}
	known := *o.last.Load()
	if found, err = o.openIn(ctx, known, d); !errors.Is(err, ErrNotFound) {
		return found, err
	}
	now, err := o.below(ctx)
	if err != nil {
		return Object{}, err
	}
	if len(now) <= len(known) {
		return Object{}, ErrNotFound
	}
	o.last.Store(&now)
	return o.openIn(ctx, now, d)
}

func (o *Overlay) openIn(ctx context.Context, sources []Source, d customhouse.Digest) (Object, error) {
	for _, s := range sources {
		found, err := s.Open(ctx, d)
		if err == nil && o.isWrong(d, found.Version) {
			err = errors.Join(ErrNotFound, found.Close())
		}
		if !errors.Is(err, ErrNotFound) {
			return found, err
		}
	}
	return Object{}, ErrNotFound
}

func (o *Overlay) isWrong(d customhouse.Digest, v Version) bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return len(o.wrong) > 0 && o.wrong[note(d, v)]
}

// Quarantine implements Store: the Dir's own content is put away, content below is noted.
func (o *Overlay) Quarantine(ctx context.Context, d customhouse.Digest, wrong Version) error {
	own, err := o.Dir.Open(ctx, d)
	if err == nil {
		err = own.Close()
	}
	if !errors.Is(err, ErrNotFound) {
		return errors.Join(err, o.Dir.Quarantine(ctx, d, wrong))
	}
	below, err := o.openIn(ctx, *o.last.Load(), d)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := below.Close(); err != nil || below.Version != wrong {
		return err
	}
	name := note(d, wrong)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wrong[name] = true // also where the note cannot be written
	f, err := os.OpenFile(filepath.Join(o.root, "quarantine", name), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return known(err)
	}
	return known(errors.Join(f.Close(), syncDir(filepath.Join(o.root, "quarantine"))))
}

var _ Store = ReadOnly{}

// ReadOnly is a Store that is left as it is, for a program that reads beside the one that writes.
type ReadOnly struct{ Store }

// Append implements Store.
func (ReadOnly) Append(context.Context, string, int64, io.Reader) (int64, error) {
	return 0, ErrReadOnly
}

// Commit implements Store.
func (ReadOnly) Commit(context.Context, string, customhouse.Digest) error { return ErrReadOnly }

// Discard implements Store.
func (ReadOnly) Discard(context.Context, string) error { return nil }

// Quarantine implements Store: it leaves wrong content to the program that writes.
func (ReadOnly) Quarantine(context.Context, customhouse.Digest, Version) error { return nil }
