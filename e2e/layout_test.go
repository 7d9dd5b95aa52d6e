//go:build linux

package e2e_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	typeIndex  = "application/vnd.oci.image.index.v1+json"
	typeImage  = "application/vnd.oci.image.manifest.v1+json"
	typeConfig = "application/vnd.oci.image.config.v1+json"
	typeLayer  = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// A layout is an OCI image layout on disk: one index of two images, linux/amd64 and linux/arm64, whose
// single layers hold /platform with the name of the platform and /noise with bytes that do not compress.
type layout struct {
	dir          string
	index        descriptor
	amd64, arm64 descriptor
	layer        descriptor // of amd64
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
}

// noise is more than what clients push in one piece, so that they show how they cut.
const noise = 300 << 10

// newLayout writes a layout; its index has the name "multi", which is the tag in skopeo's oci:DIR:multi.
func newLayout(t *testing.T) *layout {
	t.Helper()
	l := &layout{dir: t.TempDir()}
	l.amd64, l.layer = l.image(t, "amd64")
	l.arm64, _ = l.image(t, "arm64")
	l.index = l.blob(t, typeIndex, encode(t, map[string]any{
		"schemaVersion": 2,
		"mediaType":     typeIndex,
		"manifests":     []descriptor{l.amd64, l.arm64},
	}))
	named := l.index
	named.Annotations = map[string]string{"org.opencontainers.image.ref.name": "multi"}
	write(t, l.dir, "oci-layout", `{"imageLayoutVersion":"1.0.0"}`)
	write(t, l.dir, "index.json", string(encode(t, map[string]any{
		"schemaVersion": 2,
		"mediaType":     typeIndex,
		"manifests":     []descriptor{named},
	})))
	return l
}

// image writes the blobs of one image and returns the descriptors of its manifest and of its layer.
func (l *layout) image(t *testing.T, architecture string) (manifest, layer descriptor) {
	t.Helper()
	content := layerTar(t, architecture)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write(content)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	layer = l.blob(t, typeLayer, zipped.Bytes())
	config := l.blob(t, typeConfig, encode(t, map[string]any{
		"os":           "linux",
		"architecture": architecture,
		"config":       map[string]any{"Cmd": []string{"/platform"}},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{sha256sum(content)}},
		"history":      []map[string]any{{"created_by": "customhouse e2e"}},
	}))
	manifest = l.blob(t, typeImage, encode(t, map[string]any{
		"schemaVersion": 2,
		"mediaType":     typeImage,
		"config":        config,
		"layers":        []descriptor{layer},
	}))
	manifest.Platform = &platform{OS: "linux", Architecture: architecture}
	return manifest, layer
}

func (l *layout) blob(t *testing.T, mediaType string, content []byte) descriptor {
	t.Helper()
	d := descriptor{MediaType: mediaType, Digest: sha256sum(content), Size: len(content)}
	if err := os.MkdirAll(filepath.Dir(l.path(d.Digest)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.path(d.Digest), content, 0o644); err != nil {
		t.Fatal(err)
	}
	return d
}

// path is where a layout keeps a blob.
func (l *layout) path(digest string) string {
	return blobPath(l.dir, digest)
}

func blobPath(dir, digest string) string {
	algorithm, hash, _ := strings.Cut(digest, ":")
	return filepath.Join(dir, "blobs", algorithm, hash)
}

// wantPulled checks that a layout which a client pulled holds what d describes and all that it names, byte for byte.
func (l *layout) wantPulled(t *testing.T, dir string, d descriptor) {
	t.Helper()
	want, got := read(t, l.path(d.Digest)), read(t, blobPath(dir, d.Digest))
	if got != want {
		t.Fatalf("pulled %s = %d bytes %.200q, want %d bytes %.200q", d.Digest, len(got), got, len(want), want)
	}
	if d.MediaType != typeIndex && d.MediaType != typeImage {
		return
	}
	var names struct {
		Manifests, Layers []descriptor
		Config            descriptor
	}
	if err := json.Unmarshal([]byte(want), &names); err != nil {
		t.Fatal(err)
	}
	children := append(names.Manifests, names.Layers...)
	if d.MediaType == typeImage {
		children = append(children, names.Config)
	}
	for _, child := range children {
		l.wantPulled(t, dir, child)
	}
}

// archive returns the layout as a tar file, the way docker save and ctr know it.
func (l *layout) archive(t *testing.T) (path string) {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.AddFS(os.DirFS(l.dir)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return write(t, t.TempDir(), "layout.tar", buf.String())
}

// layerTar returns the file system of one image.
func layerTar(t *testing.T, architecture string) []byte {
	t.Helper()
	random := make([]byte, noise)
	io.ReadFull(rand.NewChaCha8(sha256.Sum256([]byte(architecture))), random)
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, file := range []struct{ name, content string }{
		{"platform", "linux/" + architecture + "\n"},
		{"noise", string(random)},
	} {
		if err := w.WriteHeader(&tar.Header{Name: file.name, Mode: 0o644, Size: int64(len(file.content))}); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, file.content)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sha256sum(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
