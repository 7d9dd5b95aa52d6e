//go:build linux

package e2e_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// tagRules is a configuration with rules about tags.
func tagRules(t *testing.T) string {
	t.Helper()
	var users strings.Builder
	for _, name := range []string{"writer", "promoter", "signer", "reader", "eve"} {
		hash := client{path: binary}.reads(name+"-secret").run(t, "hash")
		fmt.Fprintf(&users, "    %s: {password: %q}\n", name, hash)
	}
	return write(t, t.TempDir(), "customhouse.yml", strings.Replace(read(t, "testdata/tags.yml"), "USERS\n", users.String(), 1))
}

// Rules about tags, as crane and oras see them.
func TestTagRules(t *testing.T) {
	t.Parallel()
	s, l := serve(t, tagRules(t)), newLayout(t)
	app := s.host + "/acc/tags/app"
	as := func(name string) client {
		c := newCrane(t)
		c.run(t, "auth", "login", s.host, "-u", name, "-p", name+"-secret")
		return c
	}
	writer, promoter, reader := as("writer"), as("promoter"), as("reader")
	writer.run(t, "push", l.dir, app+":v1")
	writer.run(t, "tag", app+"@"+l.amd64.Digest, "dev")

	t.Run("a tag that does not move", func(t *testing.T) {
		writer.refuse(t, []string{"releases stay as they are"}, "copy", app+"@"+l.arm64.Digest, app+":v1")
		writer.refuse(t, []string{"releases stay as they are"}, "delete", app+":v1")
		writer.refuse(t, []string{"releases stay as they are"}, "delete", app+"@"+l.index.Digest)
		writer.refuse(t, []string{"releases stay as they are"}, "delete", app+"@"+l.arm64.Digest)
		writer.run(t, "tag", app+":v1", "dev")
		wantDigest(t, writer.run(t, "digest", app+":v1"), l.index.Digest)
	})
	t.Run("a promoter", func(t *testing.T) {
		promoter.run(t, "tag", app+":dev", "v2")
		wantDigest(t, writer.run(t, "digest", app+":v2"), l.index.Digest)
		promoter.refuse(t, []string{"releases stay as they are"}, "tag", app+"@"+l.arm64.Digest, "v2")
		promoter.refuse(t, denied, "tag", app+"@"+l.arm64.Digest, "dev")
		promoter.refuse(t, denied, "mutate", "--annotation=a=b", app+"@"+l.amd64.Digest, "-t", app+":other")
	})
	t.Run("a reader of releases", func(t *testing.T) {
		writer.run(t, "mutate", "--annotation=not=released", app+"@"+l.amd64.Digest, "-t", app+":candidate")
		candidate := writer.run(t, "digest", app+":candidate")
		for _, ref := range []string{app + ":v1", app + "@" + l.index.Digest} {
			dir := filepath.Join(t.TempDir(), "pulled")
			reader.run(t, "pull", "--format=oci", ref, dir)
			l.wantPulled(t, dir, l.index)
		}
		reader.run(t, "pull", "--platform=linux/arm64", app+":v1", filepath.Join(t.TempDir(), "one.tar"))
		wantLines(t, reader.run(t, "ls", app), "v1", "v2")
		reader.refuse(t, []string{"needs a tag like v*"}, "pull", app+":candidate", filepath.Join(t.TempDir(), "no.tar"))
		reader.refuse(t, []string{"MANIFEST_UNKNOWN"}, "manifest", app+"@"+candidate)
		reader.refuse(t, denied, "push", l.dir, app+":v3")
	})
	t.Run("a signer", func(t *testing.T) {
		signer := newOras(t)
		signer.reads("signer-secret").run(t, "login", "--plain-http", "-u", "signer", "--password-stdin", s.host)
		dir := t.TempDir()
		write(t, dir, "sbom.json", `{"packages": []}`)
		attach := []string{"attach", "--plain-http", "--artifact-type=application/x.sbom", app + ":v1", "sbom.json:application/json"}
		signer.in(dir).run(t, attach...)
		if out := signer.run(t, "discover", "--plain-http", "--format=json", app+":v1"); !strings.Contains(out, "application/x.sbom") {
			t.Errorf("discover = %q, want what was attached", out)
		}
		signer.in(dir).refuse(t, denied, "push", "--plain-http", app+":mine", "sbom.json:application/json")
		signer.refuse(t, denied, "tag", "--plain-http", app+":v1", "mine")
	})
}

// TestDockerHearsWhy: docker shows why it was denied, and pulls what a rule about tags leaves to it.
func TestDockerHearsWhy(t *testing.T) {
	t.Parallel()
	needRoot(t)
	daemon := startDockerd(t)
	s, l := serve(t, tagRules(t)), newLayout(t)
	app := s.host + "/acc/why/app"
	login := func(name string) docker {
		c := daemon.newClient(t)
		c.reads(name+"-secret").run(t, "login", "-u", name, "--password-stdin", s.host)
		return c
	}
	writer, eve, reader := login("writer"), login("eve"), login("reader")
	crane := newCrane(t)
	crane.run(t, "auth", "login", s.host, "-u", "writer", "-p", "writer-secret")
	crane.run(t, "push", l.dir, app+":v1")
	writer.buildImage(t, app+":dev")
	writer.run(t, "push", app+":dev")

	eve.run(t, "tag", app+":dev", app+":mine")
	eve.refuse(t, []string{"denied: eve may not pull acc/why/app: needs the label group=release (decision "}, "push", app+":mine")
	writer.run(t, "tag", app+":dev", app+":v1")
	writer.refuse(t, []string{"releases stay as they are"}, "push", app+":v1")
	writer.run(t, "rmi", app+":v1", app+":mine", app+":dev")
	reader.refuse(t, []string{"needs a tag like v*"}, "pull", app+":dev")
	for _, architecture := range []string{"amd64", "arm64"} {
		reader.run(t, "pull", "--platform=linux/"+architecture, app+":v1")
	}
	reader.run(t, "pull", "--platform=linux/amd64", app+"@"+l.index.Digest) // docker keeps one image under a digest: the first
}
