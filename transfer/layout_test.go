package transfer_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"customhouse"
)

// A folder is a storage folder of distribution that a test writes, link by link.
type folder struct {
	t  testing.TB
	v2 string
}

func newFolder(t testing.TB) folder {
	return folder{t, filepath.Join(t.TempDir(), "docker", "registry", "v2")}
}

func (f folder) root() string { return filepath.Join(f.v2, "..", "..", "..") }

// write writes a file below v2.
func (f folder) write(path, content string) {
	f.t.Helper()
	path = filepath.Join(f.v2, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

func (f folder) remove(path string) {
	f.t.Helper()
	if err := os.RemoveAll(filepath.Join(f.v2, path)); err != nil {
		f.t.Fatal(err)
	}
}

func dataPath(d customhouse.Digest) string {
	return fmt.Sprintf("blobs/%s/%s/%s/data", d.Algorithm(), d.Hex()[:2], d.Hex())
}

func revisionPath(repo string, d customhouse.Digest) string {
	return fmt.Sprintf("repositories/%s/_manifests/revisions/%s/%s/link", repo, d.Algorithm(), d.Hex())
}

func layerPath(repo string, d customhouse.Digest) string {
	return fmt.Sprintf("repositories/%s/_layers/%s/%s/link", repo, d.Algorithm(), d.Hex())
}

func tagPath(repo, tag string) string {
	return fmt.Sprintf("repositories/%s/_manifests/tags/%s/current/link", repo, tag)
}

func digestOf(content string) customhouse.Digest {
	return customhouse.DigestOf(customhouse.SHA256, []byte(content))
}

// blob puts content into the store and into the repository.
func (f folder) blob(repo, content string) customhouse.Digest {
	f.t.Helper()
	d := digestOf(content)
	f.write(dataPath(d), content)
	f.write(layerPath(repo, d), d.String())
	return d
}

// manifest puts a manifest into the store and into the repository.
func (f folder) manifest(repo, content string) customhouse.Digest {
	f.t.Helper()
	d := digestOf(content)
	f.write(dataPath(d), content)
	f.write(revisionPath(repo, d), d.String())
	return d
}

// image puts an image of one layer into the repository.
func (f folder) image(repo, name string) (manifest, layer customhouse.Digest) {
	f.t.Helper()
	config, layer := f.blob(repo, `{"of":"`+name+`"}`), f.blob(repo, "layer of "+name)
	return f.manifest(repo, imageManifest(config, layer, name)), layer
}

func imageManifest(config, layer customhouse.Digest, name string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",
"config":{"mediaType":"application/vnd.docker.container.image.v1+json","digest":"%s","size":%d},
"layers":[{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","digest":"%s","size":%d}]}`,
		config, len(`{"of":"`+name+`"}`), layer, len("layer of "+name))
}

// tag lets a tag point to d.
func (f folder) tag(repo, tag string, d customhouse.Digest) {
	f.t.Helper()
	f.write(fmt.Sprintf("repositories/%s/_manifests/tags/%s/index/%s/%s/link", repo, tag, d.Algorithm(), d.Hex()), d.String())
	f.write(tagPath(repo, tag), d.String())
}
