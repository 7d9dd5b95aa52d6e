//go:build linux

package e2e_test

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"
)

func TestSkopeo(t *testing.T) {
	t.Parallel()
	skopeo := newSkopeo(t)
	s, l := serve(t, people(t)), newLayout(t)
	local := "oci:" + l.dir + ":multi"
	app, public := "docker://"+s.host+"/acc/skopeo/app", "docker://"+s.host+"/pub/skopeo/app"

	writer := newSkopeo(t)
	t.Run("login", func(t *testing.T) {
		skopeo.refuse(t, unauthorized, "login", "--tls-verify=false", "-u", "writer", "-p", "wrong", s.host)
		writer.run(t, "login", "--tls-verify=false", "-u", "writer", "-p", "writer-secret", s.host)
	})
	t.Run("copy an index with all its images", func(t *testing.T) {
		writer.run(t, "copy", "--all", "--dest-tls-verify=false", local, app+":v1")
		raw := writer.content(t, "inspect", "--raw", "--tls-verify=false", app+":v1")
		wantDigest(t, sha256sum([]byte(raw)), l.index.Digest)
	})
	t.Run("copy back", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "pulled")
		writer.run(t, "copy", "--all", "--src-tls-verify=false", app+":v1", "oci:"+dir+":v1")
		l.wantPulled(t, dir, l.index)
	})
	t.Run("copy between repositories", func(t *testing.T) {
		writer.run(t, "copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", app+":v1", public+":v1")
	})
	t.Run("copy as docker schema 2", func(t *testing.T) {
		writer.run(t, "copy", "--format=v2s2", "--override-arch=amd64", "--dest-tls-verify=false", local, app+":schema2")
		var manifest struct{ MediaType string }
		raw := writer.content(t, "inspect", "--raw", "--tls-verify=false", app+":schema2")
		if err := json.Unmarshal([]byte(raw), &manifest); err != nil {
			t.Fatal(err)
		}
		if want := "application/vnd.docker.distribution.manifest.v2+json"; manifest.MediaType != want {
			t.Fatalf("mediaType = %q, want %q", manifest.MediaType, want)
		}
	})
	t.Run("inspect and list-tags", func(t *testing.T) {
		var image struct {
			Digest, Architecture string
			RepoTags             []string
		}
		out := writer.run(t, "inspect", "--override-arch=arm64", "--tls-verify=false", app+":v1")
		if err := json.Unmarshal([]byte(out), &image); err != nil {
			t.Fatal(err)
		}
		if image.Digest != l.index.Digest || image.Architecture != "arm64" {
			t.Errorf("inspect = %s for %s, want %s for arm64", image.Digest, image.Architecture, l.index.Digest)
		}
		var tags struct{ Tags []string }
		if err := json.Unmarshal([]byte(writer.run(t, "list-tags", "--tls-verify=false", app)), &tags); err != nil {
			t.Fatal(err)
		}
		if want := []string{"schema2", "v1"}; !slices.Equal(tags.Tags, want) || !slices.Equal(image.RepoTags, want) {
			t.Errorf("tags = %q and %q, want %q twice", tags.Tags, image.RepoTags, want)
		}
	})
	t.Run("pull without an account", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "pulled")
		skopeo.run(t, "copy", "--all", "--src-tls-verify=false", public+":v1", "oci:"+dir+":v1")
		l.wantPulled(t, dir, l.index)
		skopeo.refuse(t, unauthorized, "inspect", "--tls-verify=false", app+":v1")
	})
	t.Run("denied", func(t *testing.T) {
		reader := newSkopeo(t)
		reader.run(t, "login", "--tls-verify=false", "-u", "reader", "-p", "reader-secret", s.host)
		reader.run(t, "inspect", "--tls-verify=false", app+":v1")
		reader.refuse(t, denied, "copy", "--all", "--dest-tls-verify=false", local, app+":mine")
		reader.refuse(t, denied, "delete", "--tls-verify=false", app+":v1")
	})
	t.Run("delete", func(t *testing.T) {
		writer.run(t, "delete", "--tls-verify=false", app+":v1") // by the digest that the tag has
		writer.refuse(t, unknown, "inspect", "--tls-verify=false", app+":v1")
		writer.run(t, "inspect", "--tls-verify=false", app+":schema2")
	})
}

// newSkopeo returns a skopeo of somebody who has not logged in anywhere.
func newSkopeo(t *testing.T) client {
	t.Helper()
	home := t.TempDir()
	return client{
		path: need(t, "skopeo"),
		env: []string{
			"HOME=" + home,
			"REGISTRY_AUTH_FILE=" + filepath.Join(home, "auth.json"),
			"XDG_RUNTIME_DIR=" + home,
		},
	}
}
