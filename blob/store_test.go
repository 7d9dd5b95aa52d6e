package blob_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"customhouse"
	"customhouse/blob"
)

// TestStore is what every Store promises.
func TestStore(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) blob.Store{
		"Dir":    func(t *testing.T) blob.Store { return openDir(t, t.TempDir(), blob.Reserve{}) },
		"Memory": func(*testing.T) blob.Store { return &blob.Memory{} },
	} {
		t.Run(name, func(t *testing.T) {
			for _, test := range contract {
				t.Run(test.name, func(t *testing.T) {
					t.Parallel()
					test.run(t, open(t))
				})
			}
		})
	}
}

var contract = []struct {
	name string
	run  func(t *testing.T, s blob.Store)
}{
	{"append, commit, open", func(t *testing.T, s blob.Store) {
		add(t, s, "a", 0, "hello ")
		add(t, s, "a", 6, "world")
		wantUpload(t, s, "a", "hello world")
		d := commit(t, s, "a", "hello world")
		wantContent(t, s, d, "hello world")
		if _, err := s.Reread(t.Context(), "a"); !errors.Is(err, blob.ErrNotFound) {
			t.Fatalf("Reread of a committed upload = %v, want ErrNotFound", err)
		}
	}},
	{"empty", func(t *testing.T, s blob.Store) {
		add(t, s, "a", 0, "")
		wantUpload(t, s, "a", "")
		wantContent(t, s, commit(t, s, "a", ""), "")
	}},
	{"append cuts off what was behind", func(t *testing.T, s blob.Store) {
		add(t, s, "a", 0, "hello world")
		add(t, s, "a", 5, "!")
		wantUpload(t, s, "a", "hello!")
		add(t, s, "a", 0, "")
		wantUpload(t, s, "a", "")
	}},
	{"append behind the end", func(t *testing.T, s blob.Store) {
		add(t, s, "a", 0, "hello")
		for _, id := range []string{"a", "nobody"} {
			n, err := s.Append(t.Context(), id, 6, strings.NewReader("world"))
			if n != 0 || !errors.Is(err, blob.ErrNotFound) {
				t.Fatalf("Append(%s, 6) = %d, %v; want 0, ErrNotFound", id, n, err)
			}
		}
		wantUpload(t, s, "a", "hello")
	}},
	{"a body that breaks off stays as far as it came", func(t *testing.T, s blob.Store) {
		broken := errors.New("broken")
		body := io.MultiReader(strings.NewReader("hello"), iotest.ErrReader(broken))
		n, err := s.Append(t.Context(), "a", 0, body)
		if n != 5 || !errors.Is(err, broken) {
			t.Fatalf("Append = %d, %v; want 5, %v", n, err, broken)
		}
		wantUpload(t, s, "a", "hello")
		add(t, s, "a", 5, " world")
		wantUpload(t, s, "a", "hello world")
	}},
	{"any size of reads", func(t *testing.T, s blob.Store) {
		large := strings.Repeat("0123456789abcdef", 40_000)
		for i, body := range []io.Reader{
			strings.NewReader(large), iotest.HalfReader(strings.NewReader(large)), iotest.DataErrReader(strings.NewReader(large)),
			iotest.OneByteReader(strings.NewReader(large[:1000])),
		} {
			id := fmt.Sprint("upload", i)
			n, err := s.Append(t.Context(), id, 0, body)
			if err != nil {
				t.Fatal(err)
			}
			wantUpload(t, s, id, large[:n])
		}
	}},
	{"nothing there", func(t *testing.T, s blob.Store) {
		d := customhouse.DigestOf(customhouse.SHA256, []byte("nobody"))
		if _, err := s.Reread(t.Context(), "nobody"); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("Reread = %v, want ErrNotFound", err)
		}
		if err := s.Commit(t.Context(), "nobody", d); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("Commit = %v, want ErrNotFound", err)
		}
		if _, err := s.Open(t.Context(), d); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("Open = %v, want ErrNotFound", err)
		}
		if err := s.Discard(t.Context(), "nobody"); err != nil {
			t.Errorf("Discard = %v, want nil", err)
		}
		if err := s.Quarantine(t.Context(), d, blob.Version{}); err != nil {
			t.Errorf("Quarantine = %v, want nil", err)
		}
	}},
	{"discard", func(t *testing.T, s blob.Store) {
		add(t, s, "a", 0, "hello")
		add(t, s, "b", 0, "world")
		if err := s.Discard(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Reread(t.Context(), "a"); !errors.Is(err, blob.ErrNotFound) {
			t.Fatalf("Reread = %v, want ErrNotFound", err)
		}
		wantUpload(t, s, "b", "world")
	}},
	{"both algorithms", func(t *testing.T, s blob.Store) {
		for _, a := range []customhouse.Algorithm{customhouse.SHA256, customhouse.SHA512} {
			add(t, s, "a", 0, "hello")
			d := customhouse.DigestOf(a, []byte("hello"))
			if err := s.Commit(t.Context(), "a", d); err != nil {
				t.Fatal(err)
			}
			wantContent(t, s, d, "hello")
		}
	}},
	{"a version changes with each writing", func(t *testing.T, s blob.Store) {
		add(t, s, "a", 0, "hello")
		d := commit(t, s, "a", "hello")
		first := version(t, s, d)
		if again := version(t, s, d); again != first || first == (blob.Version{}) {
			t.Fatalf("Version = %v, then %v; want the same, not zero", first, again)
		}
		add(t, s, "b", 0, "hello")
		if err := s.Commit(t.Context(), "b", d); err != nil {
			t.Fatal(err)
		}
		if second := version(t, s, d); second == first {
			t.Fatalf("Version = %v, want another than before the second commit", second)
		}
	}},
	{"who reads goes on reading what is replaced", func(t *testing.T, s blob.Store) {
		add(t, s, "a", 0, "hello")
		d := commit(t, s, "a", "hello")
		o, err := s.Open(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		add(t, s, "b", 0, "other")
		if err := s.Commit(t.Context(), "b", d); err != nil {
			t.Fatal(err)
		}
		if err := s.Quarantine(t.Context(), d, version(t, s, d)); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(o); err != nil || string(b) != "hello" {
			t.Fatalf("read = %q, %v; want what was opened", b, err)
		}
	}},
	{"seek", func(t *testing.T, s blob.Store) {
		add(t, s, "a", 0, "hello")
		o, err := s.Open(t.Context(), commit(t, s, "a", "hello"))
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		if _, err := o.Seek(3, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(o); err != nil || string(b) != "lo" {
			t.Fatalf("read = %q, %v; want lo", b, err)
		}
	}},
	{"quarantine takes the wrong version only", func(t *testing.T, s blob.Store) {
		add(t, s, "a", 0, "wrong")
		d := customhouse.DigestOf(customhouse.SHA256, []byte("right"))
		if err := s.Commit(t.Context(), "a", d); err != nil {
			t.Fatal(err)
		}
		wrong := version(t, s, d)
		add(t, s, "b", 0, "right")
		if err := s.Commit(t.Context(), "b", d); err != nil {
			t.Fatal(err)
		}
		if err := s.Quarantine(t.Context(), d, wrong); err != nil {
			t.Fatal(err)
		}
		wantContent(t, s, d, "right")
		if err := s.Quarantine(t.Context(), d, version(t, s, d)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Open(t.Context(), d); !errors.Is(err, blob.ErrNotFound) {
			t.Fatalf("Open = %v, want ErrNotFound", err)
		}
	}},
	{"quarantine never takes what is being healed", func(t *testing.T, s blob.Store) {
		d := customhouse.DigestOf(customhouse.SHA256, []byte("right"))
		for i := range 200 {
			add(t, s, "wrong", 0, "wrong")
			if err := s.Commit(t.Context(), "wrong", d); err != nil {
				t.Fatal(err)
			}
			wrong := version(t, s, d)
			add(t, s, "right", 0, "right")
			var both sync.WaitGroup
			both.Go(func() { s.Commit(context.Background(), "right", d) })
			both.Go(func() { s.Quarantine(context.Background(), d, wrong) })
			both.Wait()
			if _, err := s.Open(t.Context(), d); err != nil {
				t.Fatalf("round %d: Open = %v: the quarantine took the healed content", i, err)
			}
			wantContent(t, s, d, "right")
		}
	}},
	{"many at once", func(t *testing.T, s blob.Store) {
		same := strings.Repeat("same", 10_000)
		d := customhouse.DigestOf(customhouse.SHA256, []byte(same))
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				id := fmt.Sprint("upload", i)
				if _, err := s.Append(context.Background(), id, 0, strings.NewReader(same)); err != nil {
					t.Errorf("Append = %v", err)
				}
				if err := s.Commit(context.Background(), id, d); err != nil {
					t.Errorf("Commit = %v", err)
				}
				o, err := s.Open(context.Background(), d)
				if err != nil {
					t.Errorf("Open = %v", err)
					return
				}
				defer o.Close()
				if b, err := io.ReadAll(o); err != nil || string(b) != same {
					t.Errorf("read = %d bytes, %v; want %d", len(b), err, len(same))
				}
			})
		}
		wg.Wait()
	}},
}

func add(t *testing.T, s blob.Store, id string, offset int64, content string) {
	t.Helper()
	n, err := s.Append(t.Context(), id, offset, strings.NewReader(content))
	if n != int64(len(content)) || err != nil {
		t.Fatalf("Append(%s, %d) = %d, %v; want %d", id, offset, n, err, len(content))
	}
}

func commit(t *testing.T, s blob.Store, id, content string) customhouse.Digest {
	t.Helper()
	d := customhouse.DigestOf(customhouse.SHA256, []byte(content))
	if err := s.Commit(t.Context(), id, d); err != nil {
		t.Fatalf("Commit(%s) = %v", id, err)
	}
	return d
}

func version(t *testing.T, s blob.Store, d customhouse.Digest) blob.Version {
	t.Helper()
	o, err := s.Open(t.Context(), d)
	if err != nil {
		t.Fatalf("Open(%s) = %v", d, err)
	}
	defer o.Close()
	return o.Version
}

func wantUpload(t *testing.T, s blob.Store, id, want string) {
	t.Helper()
	f, err := s.Reread(t.Context(), id)
	if err != nil {
		t.Fatalf("Reread(%s) = %v", id, err)
	}
	defer f.Close()
	if b, err := io.ReadAll(f); err != nil || string(b) != want {
		t.Fatalf("Reread(%s) = %.40q (%d bytes), %v; want %.40q (%d bytes)", id, b, len(b), err, want, len(want))
	}
}

func wantContent(t *testing.T, s blob.Store, d customhouse.Digest, want string) {
	t.Helper()
	o, err := s.Open(t.Context(), d)
	if err != nil {
		t.Fatalf("Open(%s) = %v", d, err)
	}
	defer o.Close()
	b, err := io.ReadAll(o)
	if err != nil || !bytes.Equal(b, []byte(want)) || o.Size != int64(len(want)) || o.Version.Size != o.Size {
		t.Fatalf("Open(%s) = %.40q of size %d, %v; want %.40q", d, b, o.Size, err, want)
	}
}
