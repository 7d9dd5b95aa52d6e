package registry_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"customhouse"
	"customhouse/registry"

	"github.com/google/go-cmp/cmp"
)

const (
	small = 10 << 10
	large = 5 << 20 // is hashed as it goes out
)

// damages are what can become of a file, and whether that shows in its size.
var damages = []struct {
	name string
	size bool
	do   func(path string) error
}{
	{"flipped", false, flip},
	{"flipped in the last byte", false, func(path string) error {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b[len(b)-1] ^= 128
		return os.WriteFile(path, b, 0o600)
	}},
	{"truncated", true, func(path string) error { return os.Truncate(path, 100) }},
	{"empty", true, func(path string) error { return os.Truncate(path, 0) }},
	{"longer", true, lengthen},
	{"gone", true, os.Remove},
}

// R10 and R11: of content that is wrong nobody gets all bytes; it is put aside, unknown, and healed by the next push.
func TestBlobDamaged(t *testing.T) {
	for _, damage := range damages {
		for _, size := range []int{small, large} {
			for _, known := range []bool{true, false} { // that it was good
				t.Run(fmt.Sprintf("%s, %d bytes, known %v", damage.name, size, known), func(t *testing.T) {
					t.Parallel()
					h := newHouse(t, registry.Options{})
					content := bytesOf(size, "damaged")
					d := pushBlob(t, h.repo(t, "acc/app"), content)
					if !known {
						h.restart(t)
					}
					p := h.repo(t, "acc/app")
					must(t, damage.do(h.stored(d)))
					got, err := pull(p, d, 0, -1)
					if size == large && !damage.size {
						if err == nil || len(got) >= size {
							t.Fatalf("blob = %d bytes, %v; want less than %d and an error", len(got), err, size)
						}
					} else {
						wantCode(t, "Blob", err, customhouse.BlobUnknown)
					}
					for range 2 {
						_, err = p.Blob(t.Context(), d)
						wantCode(t, "Blob", err, customhouse.BlobUnknown)
					}
					wantAside := 1
					if damage.name == "gone" {
						wantAside = 0
					}
					if files := h.files(t, "quarantine"); len(files) != wantAside {
						t.Fatalf("quarantine = %v, want %d", files, wantAside)
					}
					pushBlob(t, p, content)
					wantBlob(t, p, content)
				})
			}
		}
	}
}

// A part of a blob is wrong if any of the blob is.
func TestBlobDamagedRange(t *testing.T) {
	for _, size := range []int{small, large} {
		h := newHouse(t, registry.Options{})
		p := h.repo(t, "acc/app")
		content := bytesOf(size, "range")
		d := pushBlob(t, p, content)
		for _, part := range [][2]int64{{0, 10}, {1, int64(size) - 1}, {int64(size) - 1, 1}, {0, int64(size) - 1}} {
			got, err := pull(p, d, part[0], part[1])
			if err != nil || !bytes.Equal(got, content[part[0]:part[0]+part[1]]) {
				t.Fatalf("%v of %d = %d bytes, %v", part, size, len(got), err)
			}
			must(t, flip(h.stored(d))) // in the middle
			_, err = pull(p, d, part[0], part[1])
			wantCode(t, fmt.Sprintf("%v of a damaged blob of %d", part, size), err, customhouse.BlobUnknown)
			pushBlob(t, p, content)
		}
	}
}

// What was verified goes out as the file itself, until somebody touches it or the scrub interval is over.
func TestBlobVerified(t *testing.T) {
	for _, size := range []int{small, large} {
		h := newHouse(t, registry.Options{ScrubInterval: time.Hour})
		content := bytesOf(size, "verified")
		d := pushBlob(t, h.repo(t, "acc/app"), content)
		isFile := func() bool {
			t.Helper()
			b, err := h.repo(t, "acc/app").Blob(t.Context(), d)
			must(t, err)
			defer b.Close()
			r, err := b.Section(0, b.Size)
			must(t, err)
			_, file := r.(*os.File)
			return file
		}
		if !isFile() {
			t.Errorf("%d bytes that were just pushed are hashed again", size)
		}
		for name, doubt := range map[string]func(){
			"a restart":          func() { h.restart(t) },
			"somebody's touch":   func() { must(t, os.Chtimes(h.stored(d), time.Time{}, time.Now().Add(-time.Minute))) },
			"the scrub interval": func() { h.now = h.now.Add(time.Hour) },
			"another file instead": func() {
				must(t, os.WriteFile(h.stored(d)+"x", content, 0o600), os.Rename(h.stored(d)+"x", h.stored(d)))
			},
		} {
			doubt()
			h.store.fails("read", syscall.EIO) // would show if nobody read
			_, err := pull(h.repo(t, "acc/app"), d, 0, -1)
			if !errors.Is(err, syscall.EIO) {
				t.Errorf("after %s, %d bytes = %v; want them read again", name, size, err)
			}
			if files := h.files(t, "quarantine"); len(files) > 0 {
				t.Errorf("quarantine = %v after a disk that cannot be read, want nothing", files)
			}
			wantBlob(t, h.repo(t, "acc/app"), content)
			if !isFile() {
				t.Errorf("after %s and a pull, %d bytes are hashed again", name, size)
			}
		}
	}
}

// Two who find the same damage, and one who heals it, do not get in each other's way.
func TestBlobHealedWhilePulled(t *testing.T) {
	h := newHouse(t, registry.Options{})
	p := h.repo(t, "acc/app")
	content := bytesOf(large, "healed")
	d := pushBlob(t, p, content)
	must(t, flip(h.stored(d)))
	b, err := p.Blob(t.Context(), d)
	must(t, err)
	defer b.Close()
	r, err := b.Section(0, b.Size)
	must(t, err)
	pushBlob(t, p, content) // before the pull has found out
	if _, err := bytes.NewBuffer(nil).ReadFrom(r); err == nil {
		t.Fatal("the damaged bytes were read to the end")
	}
	wantBlob(t, p, content)
	if files := h.files(t, "quarantine"); len(files) > 0 {
		t.Fatalf("quarantine = %v, want nothing: the wrong version was replaced", files)
	}
}

func TestManifestDamaged(t *testing.T) {
	for _, damage := range damages {
		t.Run(damage.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, registry.Options{})
			config := bytesOf(100, "config")
			image := imageOf(t, config)
			push := registry.Push{Bytes: image, Tags: []customhouse.Tag{tagOf(t, "v1")}}
			pushBlob(t, h.repo(t, "acc/app"), config)
			_, err := h.repo(t, "acc/app").PushManifest(t.Context(), push)
			must(t, err)
			h.restart(t)
			p := h.repo(t, "acc/app")
			must(t, damage.do(h.stored(sha(image))))
			for _, ref := range []customhouse.Ref{{Tag: tagOf(t, "v1")}, {Digest: sha(image)}} {
				_, err := p.Manifest(t.Context(), ref)
				wantCode(t, "Manifest", err, customhouse.ManifestUnknown)
				_, err = p.Stat(t.Context(), ref)
				wantCode(t, "Stat", err, customhouse.ManifestUnknown)
			}
			_, err = p.PushManifest(t.Context(), push)
			must(t, err)
			got, err := p.Manifest(t.Context(), customhouse.Ref{Tag: tagOf(t, "v1")})
			must(t, err)
			if !bytes.Equal(got.Bytes, image) {
				t.Fatalf("Manifest = %s, want %s", got.Bytes, image)
			}
		})
	}
}

func TestPushManifest(t *testing.T) {
	config, layer := bytesOf(100, "config"), bytesOf(1000, "layer")
	child := imageOf(t, config)
	image := string(imageOf(t, config, layer))
	list := func(size int) string {
		return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
			customhouse.MediaTypeImageIndex, customhouse.MediaTypeImageManifest, sha(child), size)
	}
	lie := func(s string) string { // about the size of the layer
		return string(bytes.Replace([]byte(s), []byte(`"size":1000`), []byte(`"size":1001`), 1))
	}
	for _, test := range []struct {
		name, manifest string
		layer, child   bool // are in the repository
		want           [3]customhouse.Code
	}{
		// by SparseIndexes, SparseNone, SparseAll
		{"whole image", image, true, false, [3]customhouse.Code{}},
		{"image without its layer", image, false, false,
			[3]customhouse.Code{customhouse.ManifestBlobUnknown, customhouse.ManifestBlobUnknown, ""}},
		{"image with a lie", lie(image), true, false, [3]customhouse.Code{customhouse.SizeInvalid, customhouse.SizeInvalid, ""}},
		{"whole index", list(len(child)), false, true, [3]customhouse.Code{}},
		{"index without its child", list(len(child)), false, false, [3]customhouse.Code{"", customhouse.ManifestBlobUnknown, ""}},
		{"index with a lie", list(1), false, true,
			[3]customhouse.Code{customhouse.SizeInvalid, customhouse.SizeInvalid, customhouse.SizeInvalid}},
	} {
		for sparse, want := range test.want {
			t.Run(fmt.Sprintf("%s, sparse %d", test.name, sparse), func(t *testing.T) {
				t.Parallel()
				h := newHouse(t, registry.Options{Sparse: registry.Sparse(sparse)})
				p := h.repo(t, "acc/app")
				pushBlob(t, p, config)
				pushBlob(t, h.repo(t, "acc/other"), layer) // no help here
				if test.layer {
					pushBlob(t, p, layer)
				}
				if test.child {
					_, err := p.PushManifest(t.Context(), registry.Push{Bytes: child})
					must(t, err)
				}
				d := sha([]byte(test.manifest))
				pushed, err := p.PushManifest(t.Context(), registry.Push{
					Bytes: []byte(test.manifest), Tags: []customhouse.Tag{tagOf(t, "v1")},
				})
				wantCode(t, "PushManifest", err, want)
				_, err = p.Manifest(t.Context(), customhouse.Ref{Tag: tagOf(t, "v1")})
				if want != "" {
					wantCode(t, "Manifest", err, customhouse.ManifestUnknown)
					if _, err := os.Stat(h.stored(d)); err == nil {
						t.Fatal("bytes of a refused manifest are stored")
					}
					return
				}
				if must(t, err); pushed.Digest != d {
					t.Fatalf("PushManifest = %s, want %s", pushed.Digest, d)
				}
			})
		}
	}
}

// A manifest is not taken when bytes that the index knows have been lost, whatever has become of them.
func TestPushManifestOfLostBlob(t *testing.T) {
	h := newHouse(t, registry.Options{})
	p := h.repo(t, "acc/app")
	config, layer := bytesOf(100, "config"), bytesOf(1000, "layer")
	pushBlob(t, p, config)
	d := pushBlob(t, p, layer)
	for _, damage := range damages {
		if !damage.size {
			continue // is found when somebody reads it
		}
		must(t, damage.do(h.stored(d)))
		_, err := p.PushManifest(t.Context(), registry.Push{Bytes: imageOf(t, config, layer)})
		wantCode(t, "PushManifest with a layer that is "+damage.name, err, customhouse.ManifestBlobUnknown)
		pushBlob(t, p, layer)
	}
	_, err := p.PushManifest(t.Context(), registry.Push{Bytes: imageOf(t, config, layer)})
	must(t, err)
}

// A manifest whose bytes or row could not be kept is not there, and neither are its tags.
func TestPushManifestFails(t *testing.T) {
	for _, operation := range []string{"append", "commit", "committed", "open"} {
		h := newHouse(t, registry.Options{})
		p := h.repo(t, "acc/app")
		config := bytesOf(100, "config")
		pushBlob(t, p, config)
		old := registry.Push{Bytes: imageOf(t, config), Tags: []customhouse.Tag{tagOf(t, "v1")}}
		_, err := p.PushManifest(t.Context(), old)
		must(t, err)
		next := old
		next.Bytes = imageOf(t, config, config)
		faults := []error{syscall.EIO}
		if operation == "open" {
			faults = []error{nil, nil, syscall.EIO} // config and layer are looked at first
		}
		h.store.fails(operation, faults...)
		if _, err := p.PushManifest(t.Context(), next); !errors.Is(err, syscall.EIO) {
			t.Fatalf("%s: PushManifest = %v, want EIO", operation, err)
		}
		_, err = p.Manifest(t.Context(), customhouse.Ref{Digest: sha(next.Bytes)})
		wantCode(t, operation+": Manifest", err, customhouse.ManifestUnknown)
		got, err := p.Manifest(t.Context(), customhouse.Ref{Tag: tagOf(t, "v1")})
		if err != nil || !bytes.Equal(got.Bytes, old.Bytes) {
			t.Fatalf("%s: Manifest(v1) = %s, %v; want the old one", operation, got.Bytes, err)
		}
		if files := h.files(t, "uploads"); len(files) > 0 {
			t.Fatalf("%s: uploads = %v, want nothing left", operation, files)
		}
		_, err = p.PushManifest(t.Context(), next)
		must(t, err)
	}
}

func TestDeleteManifest(t *testing.T) {
	h := newHouse(t, registry.Options{})
	p := h.repo(t, "acc/app")
	config := bytesOf(100, "config")
	pushBlob(t, p, config)
	push := registry.Push{Bytes: imageOf(t, config), Tags: []customhouse.Tag{tagOf(t, "v1"), tagOf(t, "v2")}}
	pushed, err := p.PushManifest(t.Context(), push)
	must(t, err, p.DeleteTag(t.Context(), tagOf(t, "v1"), nil))
	wantCode(t, "DeleteTag again", p.DeleteTag(t.Context(), tagOf(t, "v1"), nil), customhouse.ManifestUnknown)
	if tags, _, err := p.Tags(t.Context(), "", 10); err != nil || !cmp.Equal(tags, []string{"v2"}) {
		t.Fatalf("Tags = %v, %v; want v2", tags, err)
	}
	_, err = p.Manifest(t.Context(), customhouse.Ref{Digest: pushed.Digest})
	must(t, err, p.DeleteManifest(t.Context(), pushed.Digest, nil))
	wantCode(t, "DeleteManifest again", p.DeleteManifest(t.Context(), pushed.Digest, nil), customhouse.ManifestUnknown)
	for _, ref := range []customhouse.Ref{{Tag: tagOf(t, "v2")}, {Digest: pushed.Digest}} {
		_, err := p.Manifest(t.Context(), ref)
		wantCode(t, "Manifest", err, customhouse.ManifestUnknown)
		_, err = p.Stat(t.Context(), ref)
		wantCode(t, "Stat", err, customhouse.ManifestUnknown)
	}
	wantBlob(t, p, config)
	wantCode(t, "PushManifest by another digest", func() error {
		_, err := p.PushManifest(t.Context(), registry.Push{Bytes: push.Bytes, Digest: sha(config)})
		return err
	}(), customhouse.DigestInvalid)
}
