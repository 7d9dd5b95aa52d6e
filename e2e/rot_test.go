//go:build linux

package e2e_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// spoil changes a file on disk as broken hardware would.
type spoil struct {
	name string
	do   func(path string) error
}

var spoils = []spoil{
	{"flipped", func(path string) error {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b[len(b)/2] ^= 4
		return os.WriteFile(path, b, 0o600)
	}},
	{"flipped at the end", func(path string) error {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b[len(b)-1] ^= 1
		return os.WriteFile(path, b, 0o600)
	}},
	{"truncated", func(path string) error {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		return os.Truncate(path, info.Size()-1)
	}},
	{"empty", func(path string) error { return os.Truncate(path, 0) }},
	{"longer", func(path string) error {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		if _, err := f.Write([]byte("more")); err != nil {
			return err
		}
		return f.Close()
	}},
	{"missing", os.Remove},
}

// R10 and R11: nobody ever gets all the bytes of something that is not what its digest says; it is put aside and
// unknown until somebody pushes it again.
func TestR10_BitRot(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{true, false} {
		name := "while the server runs"
		if !running {
			name = "while the server is stopped"
		}
		t.Run(name, func(t *testing.T) { bitRot(t, running) })
	}
}

func bitRot(t *testing.T, running bool) {
	data, config := t.TempDir(), openConfig(t)
	s := serveData(t, data, "-c", config)
	a := newAPI(t, s.url)
	type victim struct {
		spoil
		layer, manifest []byte
	}
	var victims []victim
	for i := range long(18, 200) {
		size := 1<<10 + i
		if i%9 < 2 {
			size = 5<<20 + i // more than is hashed before the first byte goes out
		}
		v := victim{spoil: spoils[i%len(spoils)], layer: bytesOf(size, "rot", i)}
		var err error
		v.manifest, err = a.pushImage("acc/rot", "latest", v.layer)
		must(t, err, a.wantBlob("acc/rot", v.layer))
		victims = append(victims, v)
	}
	if !running {
		must(t, s.stop())
	}
	for _, v := range victims {
		must(t, v.do(stored(data, sha256sum(v.layer))), v.do(stored(data, sha256sum(v.manifest))))
	}
	if !running {
		s = serveData(t, data, "-c", config)
		a.url = s.url
	}
	for i, v := range victims {
		blob, manifest := "/v2/acc/rot/blobs/"+sha256sum(v.layer), "/v2/acc/rot/manifests/"+sha256sum(v.manifest)
		for try := range 3 {
			for path, right := range map[string][]byte{blob: v.layer, manifest: v.manifest} {
				got, err := a.get(path)
				switch {
				case err != nil && path == blob && len(v.layer) > 4<<20 && try == 0: // it broke off
				case err != nil:
					t.Fatalf("victim %d, %s: GET = %v", i, v.name, err)
				case got.status == 200 && path == manifest && running && bytes.Equal(got.body, right): // from memory
				case got.status != 404 || !strings.HasSuffix(got.code(), "_UNKNOWN"):
					t.Fatalf("victim %d, %s: GET %.40s = %d, %d bytes %s; want 404", i, v.name, path, got.status, len(got.body), got.code())
				}
			}
		}
		got, err := a.expect(404, "HEAD", blob, nil)
		must(t, err)
		if running {
			continue
		}
		if got, err = a.do("HEAD", manifest, nil, nil); err != nil || got.status != 404 {
			t.Fatalf("victim %d, %s: HEAD manifest = %d, %v; want 404", i, v.name, got.status, err)
		}
		if err := a.putManifest("acc/rot", "latest", v.manifest); err == nil {
			t.Fatalf("victim %d, %s: PUT of a manifest whose layer is gone = 201", i, v.name)
		}
	}
	aside, err := os.ReadDir(filepath.Join(data, "quarantine"))
	must(t, err)
	if min := len(victims) * 5 / 6; len(aside) < min {
		t.Errorf("files put aside = %d, want at least %d", len(aside), min)
	}
	for i, v := range victims {
		if _, err := a.pushImage("acc/rot", "latest", v.layer); err != nil {
			t.Fatalf("victim %d: push again: %v", i, err)
		}
		must(t, a.wantBlob("acc/rot", v.layer))
		got, err := a.get("/v2/acc/rot/manifests/" + sha256sum(v.manifest))
		must(t, err, got.is(200))
		if !bytes.Equal(got.body, v.manifest) {
			t.Fatalf("victim %d: manifest = %.100s, want %.100s", i, got.body, v.manifest)
		}
	}
	must(t, s.stop())
}
