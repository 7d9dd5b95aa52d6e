//go:build linux

package e2e_test

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"
)

func TestOras(t *testing.T) {
	t.Parallel()
	oras := newOras(t)
	s, l := serve(t, people(t)), newLayout(t)
	app, public := s.host+"/acc/oras/app", s.host+"/pub/oras/app"

	files := t.TempDir()
	write(t, files, "report.txt", "all is well\n")
	write(t, files, "sbom.json", `{"packages":[]}`)
	write(t, files, "note.txt", "read me\n")

	writer := newOras(t).in(files)
	t.Run("login", func(t *testing.T) {
		oras.refuse(t, unauthorized, "login", "--plain-http", "-u", "writer", "-p", "wrong", s.host)
		writer.run(t, "login", "--plain-http", "-u", "writer", "-p", "writer-secret", s.host)
	})

	var pushed string
	t.Run("push an artifact", func(t *testing.T) {
		out := writer.run(t, "push", "--plain-http", "--artifact-type=application/vnd.example.report",
			"--annotation=org.example.by=e2e", "--format=json", app+":v1,v2", "report.txt:text/plain")
		var manifest struct{ Digest string }
		if err := json.Unmarshal([]byte(out), &manifest); err != nil {
			t.Fatal(err)
		}
		pushed = manifest.Digest
		wantDigest(t, writer.run(t, "resolve", "--plain-http", app+":v2"), pushed)
	})
	t.Run("pull", func(t *testing.T) {
		dir := t.TempDir()
		writer.run(t, "pull", "--plain-http", "-o", dir, app+":v1")
		if got := read(t, filepath.Join(dir, "report.txt")); got != "all is well\n" {
			t.Fatalf("pulled %q", got)
		}
	})
	t.Run("attach and discover", func(t *testing.T) {
		writer.run(t, "attach", "--plain-http", "--artifact-type=application/spdx+json", app+":v1", "sbom.json")
		writer.run(t, "attach", "--plain-http", "--artifact-type=application/vnd.example.note", "--annotation=org.example.by=e2e", app+":v1", "note.txt")
		wantReferrers(t, writer.run(t, "discover", "--plain-http", "--format=json", app+":v1"),
			"application/spdx+json", "application/vnd.example.note")
		wantReferrers(t, writer.run(t, "discover", "--plain-http", "--format=json", "--artifact-type=application/spdx+json", app+":v1"),
			"application/spdx+json")
		// the referrers API, not a tag named after the digest
		wantLines(t, writer.run(t, "repo", "tags", "--plain-http", app), "v1", "v2")
	})
	t.Run("copy with referrers to another repository", func(t *testing.T) {
		writer.run(t, "cp", "-r", "--from-plain-http", "--to-plain-http", app+":v1", public+":v1")
		wantReferrers(t, writer.run(t, "discover", "--plain-http", "--format=json", public+":v1"),
			"application/spdx+json", "application/vnd.example.note")
	})
	t.Run("copy an index from a layout", func(t *testing.T) {
		writer.run(t, "cp", "--from-oci-layout", "--to-plain-http", l.dir+":multi", app+":multi")
		wantDigest(t, writer.run(t, "resolve", "--plain-http", app+":multi"), l.index.Digest)
		dir := t.TempDir()
		writer.run(t, "cp", "--from-plain-http", "--to-oci-layout", app+":multi", dir+":multi")
		l.wantPulled(t, dir, l.index)
	})
	t.Run("blob", func(t *testing.T) {
		digest := sha256sum([]byte("read me\n"))
		writer.run(t, "blob", "push", "--plain-http", s.host+"/acc/oras/blobs@"+digest, "note.txt")
		fetch := []string{"blob", "fetch", "--plain-http", "--output=-", s.host + "/acc/oras/blobs@" + digest}
		if got := writer.content(t, fetch...); got != "read me\n" {
			t.Fatalf("fetched %q", got)
		}
		writer.run(t, "blob", "delete", "--force", "--plain-http", s.host+"/acc/oras/blobs@"+digest)
		writer.refuse(t, unknown, fetch...)
	})
	t.Run("list repositories", func(t *testing.T) {
		wantLines(t, writer.run(t, "repo", "ls", "--plain-http", s.host+"/acc/"), "oras/app")
	})
	t.Run("pull without an account", func(t *testing.T) {
		dir := t.TempDir()
		oras.run(t, "pull", "--plain-http", "-o", dir, public+":v1")
		if got := read(t, filepath.Join(dir, "report.txt")); got != "all is well\n" {
			t.Fatalf("pulled %q", got)
		}
		wantReferrers(t, oras.run(t, "discover", "--plain-http", "--format=json", "--artifact-type=application/spdx+json", public+":v1"),
			"application/spdx+json")
		oras.refuse(t, unauthorized, "pull", "--plain-http", "-o", dir, app+":v1")
	})
	t.Run("denied", func(t *testing.T) {
		reader := newOras(t).in(files)
		reader.run(t, "login", "--plain-http", "-u", "reader", "-p", "reader-secret", s.host)
		reader.run(t, "pull", "--plain-http", "-o", t.TempDir(), app+":v1")
		reader.refuse(t, denied, "push", "--plain-http", app+":mine", "report.txt")
		reader.refuse(t, denied, "attach", "--plain-http", "--artifact-type=application/vnd.example.note", app+":v1", "note.txt")
		reader.refuse(t, denied, "manifest", "delete", "--force", "--plain-http", app+":v1")
	})
	t.Run("delete", func(t *testing.T) {
		writer.run(t, "manifest", "delete", "--force", "--plain-http", app+"@"+pushed)
		writer.refuse(t, unknown, "resolve", "--plain-http", app+":v1")
		wantLines(t, writer.run(t, "repo", "tags", "--plain-http", app), "multi")
	})
}

// newOras returns an oras of somebody who has not logged in anywhere.
func newOras(t *testing.T) client {
	t.Helper()
	home := t.TempDir()
	return client{path: need(t, "oras"), env: []string{"HOME=" + home, "DOCKER_CONFIG=" + home}}
}

// wantReferrers checks the artifact types that oras discover prints as JSON, whatever their order.
func wantReferrers(t *testing.T, out string, want ...string) {
	t.Helper()
	if got := referrers(t, out); !slices.Equal(got, want) {
		t.Fatalf("referrers = %q, want %q", got, want)
	}
}

// referrers returns the artifact types that oras discover prints as JSON, in their order as strings.
func referrers(t *testing.T, out string) (types []string) {
	t.Helper()
	var found struct {
		Referrers []struct{ ArtifactType string }
	}
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		t.Fatal(err)
	}
	for _, referrer := range found.Referrers {
		types = append(types, referrer.ArtifactType)
	}
	slices.Sort(types)
	return types
}
