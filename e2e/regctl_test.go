//go:build linux

package e2e_test

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestRegctl(t *testing.T) {
	t.Parallel()
	s, l := serve(t, people(t)), newLayout(t)
	anyone := newRegctl(t, s)
	local := "ocidir://" + l.dir + ":multi"
	app, public := s.host+"/acc/regctl/app", s.host+"/pub/regctl/app"

	writer := newRegctl(t, s)
	t.Run("login", func(t *testing.T) {
		newRegctl(t, s).refuse(t, unauthorized, "registry", "login", s.host, "-u", "writer", "-p", "wrong")
		writer.run(t, "registry", "login", s.host, "-u", "writer", "-p", "writer-secret")
	})
	t.Run("copy an index from a layout", func(t *testing.T) {
		writer.run(t, "image", "copy", local, app+":v1")
		wantDigest(t, writer.run(t, "image", "digest", app+":v1"), l.index.Digest)
		wantDigest(t, writer.run(t, "image", "digest", "--platform=linux/arm64", app+":v1"), l.arm64.Digest)
	})
	t.Run("copy back", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "pulled")
		writer.run(t, "image", "copy", app+":v1", "ocidir://"+dir+":v1")
		l.wantPulled(t, dir, l.index)
	})
	t.Run("copy in chunks", func(t *testing.T) {
		chunked := newRegctl(t, s)
		chunked.run(t, "registry", "login", s.host, "-u", "writer", "-p", "writer-secret")
		chunked.run(t, "registry", "set", s.host, "--blob-max=65536", "--blob-chunk=65536")
		chunked.run(t, "image", "copy", local, s.host+"/acc/regctl/chunked:v1")
		dir := filepath.Join(t.TempDir(), "pulled")
		writer.run(t, "image", "copy", s.host+"/acc/regctl/chunked:v1", "ocidir://"+dir+":v1")
		l.wantPulled(t, dir, l.index)
	})
	t.Run("copy to another repository", func(t *testing.T) {
		writer.run(t, "image", "copy", app+":v1", public+":v1")
		wantDigest(t, writer.run(t, "image", "digest", public+":v1"), l.index.Digest)
	})
	t.Run("blob", func(t *testing.T) {
		digest := sha256sum([]byte("some bytes"))
		wantDigest(t, writer.reads("some bytes").run(t, "blob", "put", app), digest)
		if got := writer.content(t, "blob", "get", app, digest); got != "some bytes" {
			t.Fatalf("blob get = %q", got)
		}
		writer.run(t, "blob", "delete", app, digest)
		writer.refuse(t, unknown, "blob", "head", app, digest)
	})
	t.Run("referrers", func(t *testing.T) {
		writer.reads("{}").run(t, "artifact", "put", "--artifact-type=application/spdx+json", "--subject="+app+":v1")
		writer.reads("read me").run(t, "artifact", "put", "--artifact-type=application/vnd.example.note", "--subject="+app+":v1")
		types := "--format={{range .Descriptors}}{{println .ArtifactType}}{{end}}"
		wantLines(t, writer.run(t, "artifact", "list", app+":v1", types, "--filter-artifact-type=application/spdx+json"), "application/spdx+json")
		if got := writer.run(t, "artifact", "list", app+":v1", types); len(strings.Fields(got)) != 2 {
			t.Errorf("artifact list = %q, want 2 referrers", got)
		}
	})
	t.Run("tags and repositories", func(t *testing.T) {
		writer.run(t, "image", "copy", app+":v1", app+":v2")
		wantLines(t, writer.run(t, "tag", "ls", app), "v1", "v2")
		wantLines(t, writer.run(t, "tag", "ls", app, "--limit=1"), "v1")
		wantLines(t, writer.run(t, "repo", "ls", s.host), "acc/regctl/app", "acc/regctl/chunked", "pub/regctl/app")
	})
	t.Run("pull without an account", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "pulled")
		anyone.run(t, "image", "copy", public+":v1", "ocidir://"+dir+":v1")
		l.wantPulled(t, dir, l.index)
		anyone.refuse(t, unauthorized, "image", "digest", app+":v1")
	})
	t.Run("denied", func(t *testing.T) {
		reader := newRegctl(t, s)
		reader.run(t, "registry", "login", s.host, "-u", "reader", "-p", "reader-secret")
		wantDigest(t, reader.run(t, "image", "digest", app+":v1"), l.index.Digest)
		reader.refuse(t, denied, "image", "copy", local, app+":mine")
		reader.refuse(t, denied, "tag", "delete", app+":v1")
	})
	t.Run("delete", func(t *testing.T) {
		writer.run(t, "tag", "delete", app+":v2")
		wantLines(t, writer.run(t, "tag", "ls", app), "v1")
		writer.run(t, "manifest", "delete", app+"@"+l.index.Digest)
		writer.refuse(t, unknown, "image", "digest", app+":v1")
		wantDigest(t, writer.run(t, "image", "digest", app+"@"+l.amd64.Digest), l.amd64.Digest)
	})
}

// newRegctl returns a regctl of somebody who has not logged in anywhere, and who knows whether the server speaks TLS.
func newRegctl(t *testing.T, s *server) client {
	t.Helper()
	home := t.TempDir()
	c := client{
		path: need(t, "regctl"),
		env:  []string{"HOME=" + home, "DOCKER_CONFIG=" + home, "REGCTL_CONFIG=" + filepath.Join(home, "config.json")},
	}
	if strings.HasPrefix(s.url, "http:") {
		c.run(t, "registry", "set", s.host, "--tls=disabled", "--skip-check")
	}
	return c
}
