//go:build linux

package e2e_test

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestCrane(t *testing.T) {
	t.Parallel()
	crane := newCrane(t)
	s, l := serve(t, people(t)), newLayout(t)
	app, public := s.host+"/acc/crane/app", s.host+"/pub/crane/app"

	writer := newCrane(t)
	writer.run(t, "auth", "login", s.host, "-u", "writer", "-p", "writer-secret")

	t.Run("login with a wrong password", func(t *testing.T) {
		mistaken := newCrane(t) // crane checks a password when it is first used
		mistaken.run(t, "auth", "login", s.host, "-u", "writer", "-p", "wrong")
		mistaken.refuse(t, unauthorized, "push", l.dir, app+":v1")
	})
	t.Run("push an index", func(t *testing.T) {
		writer.run(t, "push", l.dir, app+":v1")
		wantDigest(t, writer.run(t, "digest", app+":v1"), l.index.Digest)
	})
	t.Run("pull", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "pulled")
		writer.run(t, "pull", "--format=oci", app+":v1", dir)
		l.wantPulled(t, dir, l.index)
	})
	t.Run("one platform of many", func(t *testing.T) {
		wantDigest(t, writer.run(t, "digest", "--platform=linux/arm64", app+":v1"), l.arm64.Digest)
		content := writer.run(t, "export", "--platform=linux/arm64", app+":v1", "-")
		if !strings.Contains(content, "linux/arm64\n") {
			t.Fatalf("export holds no linux/arm64: %.500q", content)
		}
	})
	t.Run("index list and append", func(t *testing.T) {
		list := writer.run(t, "index", "list", app+":v1")
		for _, image := range []descriptor{l.amd64, l.arm64} {
			if !strings.Contains(list, image.Digest) {
				t.Errorf("index list = %q, want %s in it", list, image.Digest)
			}
		}
		made := writer.run(t, "index", "append", "-m", app+"@"+l.arm64.Digest, "-t", app+":arm")
		_, digest, _ := strings.Cut(made, "@")
		wantDigest(t, writer.run(t, "digest", app+":arm"), digest)
	})
	t.Run("copy to another repository", func(t *testing.T) {
		writer.run(t, "copy", app+":v1", public+":v1")
		wantDigest(t, writer.run(t, "digest", public+":v1"), l.index.Digest)
	})
	t.Run("tags and catalog", func(t *testing.T) {
		writer.run(t, "tag", app+":v1", "v2")
		wantLines(t, writer.run(t, "ls", app), "arm", "v1", "v2")
		wantLines(t, writer.run(t, "catalog", s.host), "acc/crane/app", "pub/crane/app")
	})
	t.Run("blob", func(t *testing.T) {
		wantDigest(t, sha256sum([]byte(writer.content(t, "blob", app+"@"+l.layer.Digest))), l.layer.Digest)
	})
	t.Run("pull without an account", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "pulled")
		crane.run(t, "pull", "--format=oci", public+":v1", dir)
		l.wantPulled(t, dir, l.index)
		crane.refuse(t, unauthorized, "pull", "--format=oci", app+":v1", t.TempDir())
	})
	t.Run("denied", func(t *testing.T) {
		reader := newCrane(t)
		reader.run(t, "auth", "login", s.host, "-u", "reader", "-p", "reader-secret")
		wantDigest(t, reader.run(t, "digest", app+":v1"), l.index.Digest)
		reader.refuse(t, denied, "push", l.dir, app+":mine")
		reader.refuse(t, denied, "delete", app+":v1")
		reader.refuse(t, denied, "copy", app+":v1", s.host+"/acc/other:v1")
	})
	t.Run("delete", func(t *testing.T) {
		writer.run(t, "delete", app+":v2")
		wantLines(t, writer.run(t, "ls", app), "arm", "v1")
		writer.run(t, "delete", app+"@"+l.index.Digest)
		wantLines(t, writer.run(t, "ls", app), "arm")
		writer.refuse(t, unknown, "digest", app+":v1")
		wantDigest(t, writer.run(t, "digest", public+":v1"), l.index.Digest)
	})
}

// newCrane returns a crane of somebody who has not logged in anywhere.
func newCrane(t *testing.T) client {
	t.Helper()
	home := t.TempDir()
	return client{path: need(t, "crane"), env: []string{"HOME=" + home, "DOCKER_CONFIG=" + home}}
}
