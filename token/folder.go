package token

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Folder is a folder of keys that take turns. A file is a key, and its name says from when on the key signs:
//
//	es256.pem                               from the beginning
//	es256-20260102T030405Z-1a2b3c4d.pem     from 2 January 2026 on, 03:04:05 UTC
//
// All else follows from the names and the clock: the latest key whose time has come signs; those to come are published, so
// that whoever verifies knows them before they sign; those before are good until the tokens that they have signed have
// ended. So every change is one file that is made, renamed or removed, a crash between two changes leaves nothing half
// done, and processes that share the folder agree without a word to each other.
type Folder struct {
	path string
	o    FolderOptions

	mu      sync.Mutex
	files   map[string]*keyFile // as they were seen last
	state   string
	current atomic.Pointer[Keys]
}

// FolderOptions are the settings of a Folder.
type FolderOptions struct {
	Algorithm Algorithm        // of new keys; "" is ES256. Where the latest key has another, one of it is published
	Publish   time.Duration    // how long a new key is published before it signs
	Keep      time.Duration    // how long a key is good after the next has begun to sign
	Every     time.Duration    // how long a key signs before the next one does; 0 is for ever
	Libtrust  bool             // keys go by the name of libtrust
	Verifying []*Key           // of elsewhere, that verify too
	Now       func() time.Time // nil is time.Now
}

// keyFile is a key in a folder.
type keyFile struct {
	name  string
	seen  string // what tells whether the file has changed
	key   *Key
	signs time.Time // zero is from the beginning
	since time.Time // signs, or when the file was made
}

// KeyState is what a key in a folder does.
type KeyState string

// The states that a key goes through.
const (
	KeyPublished KeyState = "published" // will sign
	KeySigns     KeyState = "signs"
	KeyVerifies  KeyState = "verifies" // has signed
	KeyOver      KeyState = "over"     // is good for nothing any more; the file can go
)

// FolderKey tells about a key in a folder.
type FolderKey struct {
	*Key
	File  string
	State KeyState
	From  time.Time // when it signs, or began to; zero is from the beginning
	Until time.Time // when it is good no more; zero is not known yet
}

// OpenFolder returns the keys in the folder at path, which it makes with a key in it where there is none.
func OpenFolder(path string, o FolderOptions) (*Folder, error) {
	if o.Algorithm == "" {
		o.Algorithm = ES256
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	f := &Folder{path: path, o: o, files: map[string]*keyFile{}}
	if _, err := f.Refresh(); err != nil {
		return nil, err
	}
	return f, nil
}

// Current returns the keys as Refresh has seen them last.
func (f *Folder) Current() *Keys { return f.current.Load() }

var _ KeySource = (*Folder)(nil)

// Refresh looks at the folder and the clock, makes a key where there is none or the next one is due, removes those that are
// good for nothing any more, and tells whether the keys have changed. After an error they are what they were.
func (f *Folder) Refresh() (changed bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.o.Now()
	all, err := f.look()
	if err != nil {
		return false, err
	}
	if f.due(all, now) {
		if err := f.locked(func(all []*keyFile) error {
			if !f.due(all, now) { // somebody else was faster
				return nil
			}
			publish := f.o.Publish
			if len(all) == 0 {
				publish = 0
			}
			_, err := f.add(all, publish)
			return err
		}); err != nil {
			return false, err
		}
		if all, err = f.look(); err != nil {
			return false, err
		}
	}
	f.files = map[string]*keyFile{}
	for _, file := range all {
		f.files[file.name] = file
	}
	keys := f.keys(all, now)
	var state strings.Builder
	for _, k := range keys {
		if k.State == KeyOver {
			_ = os.Remove(filepath.Join(f.path, k.File)) // it is good for nothing, here or there
			continue
		}
		fmt.Fprintln(&state, k.ID(), k.State)
	}
	if state.String() == f.state {
		return false, nil
	}
	built, err := f.build(keys)
	if err != nil {
		return false, err
	}
	f.state = state.String()
	f.current.Store(built)
	return true, nil
}

// List returns the keys in the folder in the order in which they sign.
func (f *Folder) List() ([]FolderKey, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all, err := f.look()
	if err != nil {
		return nil, err
	}
	return f.keys(all, f.o.Now()), nil
}

// Rotate makes a key that signs once it has been published for as long as it takes.
func (f *Folder) Rotate(publish time.Duration) (FolderKey, error) {
	var made string
	if err := f.change(func(all []*keyFile) (err error) {
		made, err = f.add(all, publish)
		return err
	}); err != nil {
		return FolderKey{}, err
	}
	return f.find(func(k FolderKey) bool { return k.File == made })
}

// Retire makes the key called id sign no more; what it has signed stays good. The next key signs at once: the one that is
// published, or a new one.
func (f *Folder) Retire(id string) error {
	return f.change(func(all []*keyFile) error {
		k, err := f.named(all, id)
		switch {
		case err != nil:
			return err
		case k.State == KeyPublished:
			return fmt.Errorf("the key %s does not sign yet; remove it", k.ID())
		case k.State != KeySigns:
			return fmt.Errorf("the key %s signs no more", k.ID())
		}
		return f.succeed(all)
	})
}

// Remove removes the key called id, at once and for ever: all that it has signed is good no more. If it signs, the next key
// does so from now on.
func (f *Folder) Remove(id string) error {
	return f.change(func(all []*keyFile) error {
		k, err := f.named(all, id)
		if err == nil && k.State == KeySigns {
			err = f.succeed(all)
		}
		if err != nil {
			return err
		}
		if err := os.Remove(filepath.Join(f.path, k.File)); err != nil {
			return err
		}
		return syncFolder(f.path)
	})
}

// change does something with the files while nobody else changes them, here or elsewhere.
func (f *Folder) change(do func(all []*keyFile) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.locked(do)
}

// locked is change for who holds the mutex.
func (f *Folder) locked(do func(all []*keyFile) error) error {
	d, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer d.Close() // which ends the lock
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", f.path, err)
	}
	all, err := f.look()
	if err != nil {
		return err
	}
	return do(all)
}

// due tells whether there has to be another key.
func (f *Folder) due(all []*keyFile, now time.Time) bool {
	if len(all) == 0 {
		return true
	}
	last := all[len(all)-1]
	return last.key.alg != f.o.Algorithm || f.o.Every > 0 && !now.Before(last.since.Add(f.o.Every-f.o.Publish))
}

// add makes a key that signs after all others, and no sooner than it has been published. It returns the name of its file.
func (f *Folder) add(all []*keyFile, publish time.Duration) (string, error) {
	key, err := Generate(f.o.Algorithm)
	if err != nil {
		return "", err
	}
	name := strings.ToLower(string(key.alg)) + ".pem"
	if len(all) > 0 {
		name = key.fileName(after(all[len(all)-1], f.o.Now().Add(publish)))
	}
	if err := key.write(filepath.Join(f.path, name)); err != nil {
		return "", fmt.Errorf("create key file %s: %w", name, err)
	}
	return name, nil
}

// after returns when the key after last signs: at t, and in any case later than it.
func after(last *keyFile, t time.Time) time.Time {
	t = t.UTC().Truncate(time.Second)
	if !t.After(last.signs) {
		t = last.signs.Add(time.Second)
	}
	return t
}

// succeed makes the key sign now that is next, or a new one.
func (f *Folder) succeed(all []*keyFile) error {
	now := f.o.Now()
	keys := f.keys(all, now)
	i := slices.IndexFunc(keys, func(k FolderKey) bool { return k.State == KeySigns })
	if i+1 == len(keys) {
		_, err := f.add(all, 0)
		return err
	}
	next := all[i+1]
	name := next.key.fileName(after(all[i], now))
	if err := os.Rename(filepath.Join(f.path, next.name), filepath.Join(f.path, name)); err != nil {
		return err
	}
	return syncFolder(f.path)
}

// keys tells what each of the files, in their order, does at now.
func (f *Folder) keys(all []*keyFile, now time.Time) []FolderKey {
	signs := 0
	for i, file := range all {
		if !file.signs.After(now) {
			signs = i
		}
	}
	keys := make([]FolderKey, len(all))
	for i, file := range all {
		k := FolderKey{Key: file.key, File: file.name, From: file.signs, State: KeySigns}
		if i+1 < len(all) {
			k.Until = all[i+1].signs.Add(f.o.Keep)
		}
		switch {
		case i > signs:
			k.State = KeyPublished
		case i < signs && now.Before(k.Until):
			k.State = KeyVerifies
		case i < signs:
			k.State = KeyOver
		}
		keys[i] = k
	}
	return keys
}

// build returns the keys that are good for something.
func (f *Folder) build(keys []FolderKey) (*Keys, error) {
	var signing *Key
	verifying := slices.Clone(f.o.Verifying)
	for _, k := range keys {
		key := k.Key
		if f.o.Libtrust {
			var err error
			if key, err = key.WithLibtrustID(); err != nil {
				return nil, err
			}
		}
		switch k.State {
		case KeySigns:
			signing = key
		case KeyPublished, KeyVerifies:
			verifying = append(verifying, key)
		}
	}
	return NewKeys(signing, verifying...)
}

// named returns the key called id, or whose ID alone begins so.
func (f *Folder) named(all []*keyFile, id string) (FolderKey, error) {
	var found []FolderKey
	for _, k := range f.keys(all, f.o.Now()) {
		if k.ID() == id {
			return k, nil
		}
		if len(id) >= minIDPrefix && strings.HasPrefix(k.ID(), id) {
			found = append(found, k)
		}
	}
	if len(found) != 1 {
		return FolderKey{}, fmt.Errorf("%w: no key is called %s", fs.ErrNotExist, id)
	}
	return found[0], nil
}

const minIDPrefix = 6

func (f *Folder) find(is func(FolderKey) bool) (FolderKey, error) {
	keys, err := f.List()
	if err != nil {
		return FolderKey{}, err
	}
	if i := slices.IndexFunc(keys, is); i >= 0 {
		return keys[i], nil
	}
	return FolderKey{}, errors.New("the key was removed again")
}

// keyFileName matches the names of keys; there are other files beside them.
var keyFileName = regexp.MustCompile(`^(?:es256|es384|es512|rs256|eddsa)(?:-(\d{8}T\d{6}Z)-[0-9a-f]{8})?\.pem$`)

const keyFileTime = "20060102T150405Z"

// fileName returns the name of the file of k if it signs from t on.
func (k *Key) fileName(t time.Time) string {
	id, _ := base64.RawURLEncoding.DecodeString(k.id) // which we have encoded
	return fmt.Sprintf("%s-%s-%s.pem", strings.ToLower(string(k.alg)), t.UTC().Format(keyFileTime), hex.EncodeToString(id[:4]))
}

// look returns the files of keys in the order in which they sign. Keys that were read before are not read again. The caller
// holds the mutex.
func (f *Folder) look() ([]*keyFile, error) {
	entries, err := os.ReadDir(f.path)
	if err != nil {
		return nil, err
	}
	var all []*keyFile
	for _, e := range entries {
		parts := keyFileName.FindStringSubmatch(e.Name())
		if parts == nil {
			continue
		}
		file := &keyFile{name: e.Name()}
		if parts[1] != "" {
			if file.signs, err = time.Parse(keyFileTime, parts[1]); err != nil {
				return nil, fmt.Errorf("key file %s: the time in its name is none", filepath.Join(f.path, e.Name()))
			}
		}
		info, err := os.Stat(filepath.Join(f.path, e.Name()))
		if errors.Is(err, fs.ErrNotExist) { // it was removed meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		file.seen = fmt.Sprint(info.Size(), info.ModTime().UnixNano())
		if file.since = file.signs; file.since.IsZero() {
			file.since = info.ModTime()
		}
		all = append(all, file)
	}
	for _, file := range all {
		if before := f.files[file.name]; before != nil && before.seen == file.seen {
			file.key = before.key
			continue
		}
		if file.key, err = Load(filepath.Join(f.path, file.name)); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(a, b *keyFile) int {
		wanted := func(k *keyFile) int {
			if k.key.alg == f.o.Algorithm {
				return 1
			}
			return 0
		}
		return cmp.Or(a.signs.Compare(b.signs), cmp.Compare(wanted(a), wanted(b)), strings.Compare(a.name, b.name))
	})
	return all, nil
}
