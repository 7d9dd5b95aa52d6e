package token_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"customhouse/token"
)

// keyFolder is a folder of keys under a clock that stands still.
type keyFolder struct {
	*token.Folder
	t    testing.TB
	path string
	o    token.FolderOptions
	mu   sync.Mutex
	now  time.Time
}

func newKeyFolder(t testing.TB, o token.FolderOptions) *keyFolder {
	t.Helper()
	f := &keyFolder{t: t, path: filepath.Join(t.TempDir(), "keys"), now: now}
	o.Now = func() time.Time {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.now
	}
	f.o = o
	f.Folder = f.open()
	return f
}

// open opens the folder as another process does that shares it.
func (f *keyFolder) open() *token.Folder {
	f.t.Helper()
	folder, err := token.OpenFolder(f.path, f.o)
	must(f.t, err)
	return folder
}

func (f *keyFolder) pass(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

func (f *keyFolder) refresh() {
	f.t.Helper()
	_, err := f.Refresh()
	must(f.t, err)
}

// states returns what each key does, in the order in which they sign, and their IDs.
func (f *keyFolder) states() (states, ids []string) {
	f.t.Helper()
	keys, err := f.List()
	must(f.t, err)
	for _, k := range keys {
		states, ids = append(states, string(k.State)), append(ids, k.ID())
	}
	return states, ids
}

func (f *keyFolder) want(states ...string) []string {
	f.t.Helper()
	got, ids := f.states()
	if diff := cmp.Diff(states, got); diff != "" {
		f.t.Fatalf("states (-want +got):\n%s", diff)
	}
	return ids
}

// listed returns the "kid"s that the key set lists.
func listed(t testing.TB, folder *token.Folder) []string {
	t.Helper()
	var ids []string
	for part := range strings.SplitSeq(string(folder.Current().JWKS()), `"kid":"`) {
		if id, _, ok := strings.Cut(part, `"`); ok && !strings.HasPrefix(part, "{") {
			ids = append(ids, id)
		}
	}
	return ids
}

const publish, keep = time.Hour, 7 * time.Minute

// TestR28_Rotation: a key is published, signs, verifies and goes; at no time is there a token that is not good.
func TestR28_Rotation(t *testing.T) {
	f := newKeyFolder(t, token.FolderOptions{Publish: publish, Keep: keep})
	other := f.open()
	a, err := token.NewAuthority(issuer, service, f)
	must(t, err)
	b, err := token.NewAuthority(issuer, service, other)
	must(t, err)
	sign := func(a *token.Authority) string {
		text, err := a.Sign(token.Claims{IssuedAt: f.o.Now(), NotBefore: f.o.Now(), Expires: f.o.Now().Add(5 * time.Minute)})
		must(t, err)
		return text
	}
	first := f.want("signs")[0]
	if files, err := os.ReadDir(f.path); err != nil || len(files) != 1 || files[0].Name() != "es256.pem" {
		t.Fatalf("files = %v, %v", files, err)
	}
	k, err := f.Rotate(publish)
	must(t, err)
	if k.State != token.KeyPublished || !k.From.Equal(now.Add(publish)) {
		t.Fatalf("Rotate = %+v", k)
	}
	f.refresh()
	f.want("signs", "published")
	if ids := listed(t, f.Folder); !slices.Contains(ids, first) || !slices.Contains(ids, k.ID()) {
		t.Errorf("the key set lists %v", ids)
	}
	f.pass(publish - time.Second)
	f.refresh()
	old := sign(a)
	f.pass(time.Second)
	// One process has seen that the time has come, the other not yet: each takes what the other signs.
	f.refresh()
	f.want("verifies", "signs")
	fresh, slow := sign(a), sign(b)
	for _, text := range []string{fresh, slow, old} {
		if _, err := a.Verify(text, f.o.Now()); err != nil {
			t.Errorf("Verify by the first = %v", err)
		}
	}
	if _, err := b.Verify(fresh, f.o.Now()); !errors.Is(err, token.ErrUntrusted) {
		t.Errorf("the other process has not looked yet and knows the key: %v", err)
	}
	_, err = other.Refresh()
	must(t, err)
	if _, err := b.Verify(fresh, f.o.Now()); err != nil {
		t.Errorf("Verify by the second = %v", err)
	}
	claims, err := a.Verify(old, f.o.Now())
	must(t, err)
	f.pass(5*time.Minute + token.Leeway - time.Second)
	f.refresh()
	if err := a.Validate(&claims, f.o.Now()); err != nil {
		t.Errorf("at the end of a token by the key before: %v", err)
	}
	f.pass(keep)
	f.refresh()
	f.want("signs")
	if ids := listed(t, f.Folder); slices.Contains(ids, first) {
		t.Errorf("the key set still lists the first key: %v", ids)
	}
	if err := a.Validate(&claims, now.Add(publish)); !errors.Is(err, token.ErrUntrusted) {
		t.Errorf("Validate under a key that is over = %v, want ErrUntrusted", err)
	}
	if files, err := os.ReadDir(f.path); err != nil || len(files) != 1 {
		t.Errorf("files = %v, %v: want the one that signs", files, err)
	}
}

// TestS35_RemoveKey: what a removed key has signed is good no more, wherever it was verified before; all else stays.
func TestS35_RemoveKey(t *testing.T) {
	f := newKeyFolder(t, token.FolderOptions{Publish: publish, Keep: keep})
	_, err := f.Rotate(0)
	must(t, err)
	f.pass(time.Second)
	f.refresh()
	ids := f.want("verifies", "signs")
	must(t, f.Remove(ids[0]))
	f.refresh()
	if after := f.want("signs"); after[0] != ids[1] {
		t.Errorf("%v signs, want %v", after, ids[1])
	}
	must(t, f.Remove(ids[1][:8])) // the one that signs: another takes over at once
	f.pass(time.Second)
	f.refresh()
	fresh := f.want("signs")
	if slices.Contains(ids, fresh[0]) {
		t.Errorf("the removed key signs")
	}
	_, err = f.Rotate(publish)
	must(t, err)
	f.refresh()
	both := f.want("signs", "published")
	must(t, f.Remove(both[0]))
	f.refresh()
	if after := f.want("signs"); after[0] != both[1] {
		t.Errorf("%v signs, want the one that was published", after)
	}
	for _, id := range []string{"", "x", both[0], both[1][:5], "../" + both[1]} {
		if err := f.Remove(id); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Remove(%q) = %v, want ErrNotExist", id, err)
		}
	}
	entries, err := os.ReadDir(f.path)
	must(t, err)
	for _, e := range entries {
		must(t, os.Remove(filepath.Join(f.path, e.Name())))
	}
	f.refresh()
	if after := f.want("signs"); after[0] == both[1] {
		t.Error("a key that is gone signs")
	}
}

func TestRetireKey(t *testing.T) {
	f := newKeyFolder(t, token.FolderOptions{Publish: publish, Keep: keep})
	first := f.want("signs")[0]
	must(t, f.Retire(first))
	f.pass(time.Second)
	f.refresh()
	second := f.want("verifies", "signs")[1]
	if err := f.Retire(first); err == nil {
		t.Error("Retire of a key that signs no more = nil")
	}
	next, err := f.Rotate(publish)
	must(t, err)
	if err := f.Retire(next.ID()); err == nil {
		t.Error("Retire of a key that does not sign yet = nil")
	}
	f.pass(time.Minute)
	must(t, f.Retire(second)) // the one that is published need not wait any longer
	f.refresh()
	if ids := f.want("verifies", "verifies", "signs"); ids[2] != next.ID() {
		t.Errorf("%s signs, want %s", ids[2], next.ID())
	}
}

// TestKeySchedule: keys take turns by themselves, once for all who share the folder.
func TestKeySchedule(t *testing.T) {
	f := newKeyFolder(t, token.FolderOptions{Publish: publish, Keep: keep, Every: 24 * time.Hour})
	must(t, os.Chtimes(filepath.Join(f.path, "es256.pem"), f.now, f.now))
	others := []*token.Folder{f.open(), f.open()}
	all := map[string]bool{}
	refresh := func() {
		var wg sync.WaitGroup
		for _, folder := range append(others, f.Folder) {
			wg.Go(func() {
				_, err := folder.Refresh()
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		f.refresh()
		_, ids := f.states()
		for _, id := range ids {
			all[id] = true
		}
	}
	refresh()
	f.want("signs")
	f.pass(24*time.Hour - publish - time.Second)
	refresh()
	f.want("signs")
	f.pass(time.Second)
	refresh()
	f.want("signs", "published")
	f.pass(publish)
	refresh()
	f.want("verifies", "signs")
	f.pass(keep)
	refresh()
	f.want("signs")
	for range 10 * 24 {
		f.pass(time.Hour)
		refresh()
	}
	if len(all) != 12 { // the first, and one for each day
		t.Errorf("%d keys in 11 days, want 12", len(all))
	}
}

// TestKeyFolderAlgorithm: another algorithm comes as a rotation does.
func TestKeyFolderAlgorithm(t *testing.T) {
	f := newKeyFolder(t, token.FolderOptions{Publish: publish, Keep: keep})
	f.o.Algorithm = token.EdDSA
	f.Folder = f.open()
	f.want("signs", "published")
	f.pass(publish)
	f.refresh()
	f.want("verifies", "signs")
	keys, err := f.List()
	must(t, err)
	if keys[1].Algorithm() != token.EdDSA {
		t.Errorf("%s signs", keys[1].Algorithm())
	}
	f.Folder = f.open()
	f.want("verifies", "signs")
}

// TestKeyFolderHostile: what is no key is passed over, and what cannot be read changes nothing.
func TestKeyFolderHostile(t *testing.T) {
	f := newKeyFolder(t, token.FolderOptions{Publish: publish, Keep: keep})
	id := f.want("signs")[0]
	for _, name := range []string{"sign-in.key", "es256.pem~", ".key-123", "es256-2026.pem", "rs256-20260102T030405Z-zz.pem", "README"} {
		must(t, os.WriteFile(filepath.Join(f.path, name), []byte("x"), 0o600))
	}
	f.refresh()
	f.want("signs")
	bad := filepath.Join(f.path, "es256-20200102T030405Z-00000000.pem")
	for _, content := range []string{"", "x", "-----BEGIN PRIVATE KEY-----\n"} {
		must(t, os.WriteFile(bad, []byte(content), 0o600))
		if _, err := f.Refresh(); err == nil || strings.Contains(err.Error(), content) && content != "" && content != "x" {
			t.Errorf("Refresh with %q = %v, want an error", content, err)
		}
		if ids := listed(t, f.Folder); len(ids) != 1 || ids[0] != id {
			t.Errorf("keys = %v, want those of before", ids)
		}
	}
	must(t, os.Remove(bad))
	if changed, err := f.Refresh(); changed || err != nil {
		t.Errorf("Refresh = %v, %v", changed, err)
	}
	must(t, os.WriteFile(filepath.Join(f.path, "es256-20269999T999999Z-00000000.pem"), nil, 0o600))
	if _, err := f.Refresh(); err == nil {
		t.Error("Refresh with no time = nil, want an error")
	}
}

func TestLoadVerifying(t *testing.T) {
	dir := t.TempDir()
	private := filepath.Join(dir, "private.pem")
	k, err := token.LoadOrCreate(private, token.ES256)
	must(t, err)
	for name, load := range map[string]func() (*token.Key, error){
		"a private key": func() (*token.Key, error) { return token.LoadVerifying(private) },
	} {
		got, err := load()
		if err != nil || got.ID() != k.ID() {
			t.Errorf("LoadVerifying of %s = %v, %v", name, got, err)
		}
		if _, err := token.NewKeys(got); err == nil {
			t.Errorf("%s signs", name)
		}
	}
	o := newOther(t)
	public, certificate := filepath.Join(dir, "public.pem"), filepath.Join(dir, "certificate.pem")
	writePEM(t, public, "PUBLIC KEY", marshalPublic(t, o.ec.Public()))
	writePEM(t, certificate, "CERTIFICATE", o.leaf.Raw)
	for _, path := range []string{public, certificate} {
		if got, err := token.LoadVerifying(path); err != nil || got.ID() != o.keys["ES256"].ID() {
			t.Errorf("LoadVerifying(%s) = %v, %v", path, got, err)
		}
	}
	must(t, os.Chmod(public, 0o622))
	if _, err := token.LoadVerifying(public); err == nil {
		t.Error("LoadVerifying of a file that others can write = nil")
	}
}

func writePEM(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	must(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

func marshalPublic(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	must(t, err)
	return der
}
