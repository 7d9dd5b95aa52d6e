//go:build linux

package e2e_test

import (
	"strings"
	"testing"
)

// cosign with a key pair and without any of the public services.
func TestCosign(t *testing.T) {
	t.Parallel()
	needLong(t)
	anyone := newCosign(t)
	s, l := serve(t, people(t)), newLayout(t)
	public := s.host + "/pub/cosign/app@" + l.index.Digest
	crane := newCrane(t)
	crane.run(t, "auth", "login", s.host, "-u", "writer", "-p", "writer-secret")
	crane.run(t, "push", l.dir, s.host+"/pub/cosign/app:v1")

	dir := t.TempDir()
	writer := newCosign(t).in(dir)
	writer.run(t, "generate-key-pair")
	writer.run(t, "signing-config", "create", "--out=signing.json")
	writer.run(t, "trusted-root", "create", "--out=root.json")
	offline := []string{"--allow-http-registry", "--trusted-root=root.json"}
	signs := append([]string{"--yes", "--key=cosign.key", "--signing-config=signing.json"}, offline...)
	verifies := append([]string{"--key=cosign.pub", "--insecure-ignore-tlog"}, offline...)

	t.Run("login", func(t *testing.T) {
		mistaken := newCosign(t).in(dir) // cosign checks a password when it is first used
		mistaken.run(t, "login", s.host, "-u", "writer", "-p", "wrong")
		mistaken.refuse(t, unauthorized, join("sign", signs, public)...)
		writer.run(t, "login", s.host, "-u", "writer", "-p", "writer-secret")
	})
	t.Run("verify what nobody signed", func(t *testing.T) {
		writer.refuse(t, []string{"no signatures found"}, join("verify", verifies, public)...)
	})
	t.Run("denied", func(t *testing.T) {
		reader := newCosign(t).in(dir)
		reader.run(t, "login", s.host, "-u", "reader", "-p", "reader-secret")
		reader.refuse(t, denied, join("sign", signs, public)...)
	})
	t.Run("sign and verify", func(t *testing.T) {
		writer.run(t, join("sign", append(signs, "--annotations=by=e2e"), public)...)
		out := anyone.in(dir).run(t, join("verify", verifies, public)...)
		if !strings.Contains(out, l.index.Digest) {
			t.Fatalf("verify = %q, want the digest %s", out, l.index.Digest)
		}
	})
	t.Run("attest and verify", func(t *testing.T) {
		predicate := write(t, dir, "predicate.json", `{"reviewed": true}`)
		writer.run(t, join("attest", append(signs, "--type=https://example.org/review", "--predicate="+predicate), public)...)
		anyone.in(dir).run(t, join("verify-attestation", append(verifies, "--type=https://example.org/review"), public)...)
	})
	t.Run("another key", func(t *testing.T) {
		stranger := newCosign(t).in(t.TempDir())
		stranger.run(t, "generate-key-pair")
		key := "--key=" + stranger.dir + "/cosign.pub"
		anyone.in(dir).refuse(t, []string{"could not verify"},
			join("verify", append([]string{key, "--insecure-ignore-tlog"}, offline...), public)...)
	})
}

// newCosign returns a cosign of somebody who has not logged in anywhere, and whose keys have no password.
func newCosign(t *testing.T) client {
	t.Helper()
	home := t.TempDir()
	return client{path: need(t, "cosign"), env: []string{"HOME=" + home, "DOCKER_CONFIG=" + home, "COSIGN_PASSWORD="}}
}

// join makes one command line of a command, its flags and its argument.
func join(command string, flags []string, argument string) []string {
	return append(append([]string{command}, flags...), argument)
}
