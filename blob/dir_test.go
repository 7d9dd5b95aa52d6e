package blob_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"customhouse"
	"customhouse/blob"
)

func openDir(t *testing.T, root string, reserve blob.Reserve) *blob.Dir {
	t.Helper()
	d, err := blob.OpenDir(root, reserve)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// What is on disk when a Dir is left is there when it is opened again.
func TestDirAgain(t *testing.T) {
	root := t.TempDir()
	s := openDir(t, root, blob.Reserve{})
	add(t, s, "a", 0, "hello")
	d := commit(t, s, "a", "hello")
	before := version(t, s, d)
	add(t, s, "b", 0, "half")

	again := openDir(t, root, blob.Reserve{})
	wantContent(t, again, d, "hello")
	wantUpload(t, again, "b", "half")
	if after := version(t, again, d); after != before {
		t.Fatalf("Version = %v, want %v: nobody has touched it", after, before)
	}
	path := filepath.Join(root, "blobs", "sha256", d.Hex()[:2], d.Hex())
	if b, err := os.ReadFile(path); err != nil || string(b) != "hello" {
		t.Fatalf("%s = %q, %v; want hello", path, b, err)
	}
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if after := version(t, again, d); after == before {
		t.Fatal("Version is the same after somebody has touched the file")
	}
}

// Nobody but the owner can read anything.
func TestDirPermissions(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	root := filepath.Join(t.TempDir(), "data")
	s := openDir(t, root, blob.Reserve{})
	add(t, s, "a", 0, "hello")
	d := commit(t, s, "a", "hello")
	add(t, s, "b", 0, "half")
	add(t, s, "c", 0, "wrong")
	wrong := commit(t, s, "c", "something else")
	if err := s.Quarantine(t.Context(), wrong, version(t, s, wrong)); err != nil {
		t.Fatal(err)
	}
	wantContent(t, s, d, "hello")
	seen := map[fs.FileMode]int{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if e.IsDir() {
			want = 0o700
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", path, got, want)
		}
		seen[want]++
		return nil
	})
	if err != nil || seen[0o600] != 3 || seen[0o700] != 8 {
		t.Fatalf("seen %v, %v; want 3 files and 8 folders", seen, err)
	}
}

// Ids that lead out of the folder are nobody's.
func TestDirStrangeIDs(t *testing.T) {
	root := t.TempDir()
	s := openDir(t, root, blob.Reserve{})
	for _, id := range []string{"", ".", "..", "../blobs", "a/b", "/etc/passwd", "a\x00b", `a\b`, "a.b"} {
		if _, err := s.Append(t.Context(), id, 0, strings.NewReader("x")); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("Append(%q) = %v, want ErrNotFound", id, err)
		}
		if _, err := s.Reread(t.Context(), id); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("Reread(%q) = %v, want ErrNotFound", id, err)
		}
		if err := s.Commit(t.Context(), id, customhouse.DigestOf(customhouse.SHA256, nil)); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("Commit(%q) = %v, want ErrNotFound", id, err)
		}
		if err := s.Discard(t.Context(), id); err != nil {
			t.Errorf("Discard(%q) = %v, want nil", id, err)
		}
	}
	if _, err := os.Stat(root); err != nil {
		t.Fatal(err)
	}
}

// Uploads stop where the reserve begins, and what has arrived is known.
func TestDirReserve(t *testing.T) {
	root := t.TempDir()
	var st syscall.Statfs_t
	if err := syscall.Statfs(root, &st); err != nil {
		t.Fatal(err)
	}
	for name, reserve := range map[string]blob.Reserve{
		"bytes":   {Bytes: int64(st.Bavail)*st.Bsize + 1<<40},
		"percent": {Percent: 100},
		"larger":  {Bytes: 1, Percent: 100},
	} {
		s := openDir(t, root, reserve)
		n, err := s.Append(t.Context(), "a", 0, strings.NewReader("hello"))
		if n != 0 || !errors.Is(err, blob.ErrNoSpace) || !strings.Contains(err.Error(), "held in reserve") {
			t.Errorf("%s: Append = %d, %v; want 0, ErrNoSpace that tells of the reserve", name, n, err)
		}
	}
	s := openDir(t, root, blob.Reserve{Bytes: 1, Percent: 0.001})
	add(t, s, "a", 0, "hello")
	wantContent(t, s, commit(t, s, "a", "hello"), "hello")
}

// What the operating system says gets the names of this package.
func TestDirErrors(t *testing.T) {
	s := openDir(t, t.TempDir(), blob.Reserve{})
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Append(canceled, "a", 0, strings.NewReader("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("Append with an ended context = %v, want context.Canceled", err)
	}
	if _, err := s.Append(t.Context(), "a", 0, iotest.ErrReader(syscall.EIO)); !errors.Is(err, syscall.EIO) {
		t.Errorf("Append = %v, want the reader's error", err)
	}
	if _, err := blob.OpenDir("/proc/nowhere", blob.Reserve{}); err == nil {
		t.Error("OpenDir(/proc/nowhere) = nil, want an error")
	}
}

// Leftovers removes what is old and nobody's.
func TestDirLeftovers(t *testing.T) {
	root := t.TempDir()
	s := openDir(t, root, blob.Reserve{})
	for _, id := range []string{"OLD", "OLDALIVE", "NEW"} {
		add(t, s, id, 0, id)
	}
	past := time.Now().Add(-time.Hour)
	for _, id := range []string{"OLD", "OLDALIVE"} {
		if err := os.Chtimes(filepath.Join(root, "uploads", id), past, past); err != nil {
			t.Fatal(err)
		}
	}
	asked := map[string]bool{}
	err := s.Leftovers(time.Now().Add(-time.Minute), func(id string) bool {
		asked[id] = true
		return id == "OLDALIVE"
	})
	if err != nil || asked["NEW"] {
		t.Fatalf("Leftovers = %v, asked about %v; want nothing asked about NEW", err, asked)
	}
	if _, err := s.Reread(t.Context(), "OLD"); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Reread(OLD) = %v, want ErrNotFound", err)
	}
	wantUpload(t, s, "OLDALIVE", "OLDALIVE")
	wantUpload(t, s, "NEW", "NEW")
}

// Quarantined content is kept for a person to look at.
func TestDirQuarantineKeeps(t *testing.T) {
	root := t.TempDir()
	s := openDir(t, root, blob.Reserve{})
	add(t, s, "a", 0, "wrong")
	d := commit(t, s, "a", "right")
	if err := s.Quarantine(t.Context(), d, version(t, s, d)); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(root, "quarantine"))
	if err != nil || len(entries) != 1 || !strings.HasPrefix(entries[0].Name(), "sha256-"+d.Hex()+".") {
		t.Fatalf("quarantine = %v, %v; want one file called sha256-%s", entries, err, d.Hex())
	}
	if b, err := os.ReadFile(filepath.Join(root, "quarantine", entries[0].Name())); err != nil || string(b) != "wrong" {
		t.Fatalf("quarantine = %q, %v; want wrong", b, err)
	}
}
