//go:build linux

package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHelm(t *testing.T) {
	t.Parallel()
	needLong(t)
	helm := newHelm(t)
	s := serve(t, people(t))
	charts, public := "oci://"+s.host+"/acc/charts", "oci://"+s.host+"/pub/charts"

	writer := newHelm(t)
	dir := t.TempDir()
	chart := func(version string) (path string) {
		writer.run(t, "package", "--version="+version, "--destination="+dir, "testdata/chart")
		return filepath.Join(dir, "hello-"+version+".tgz")
	}
	// pull returns the chart that the client unpacks, told by its version.
	pull := func(t *testing.T, c client, from string, args ...string) (version string) {
		t.Helper()
		dir := t.TempDir()
		c.run(t, append([]string{"pull", "--plain-http", "--destination=" + dir, from + "/hello"}, args...)...)
		files, err := os.ReadDir(dir)
		if err != nil || len(files) != 1 {
			t.Fatalf("pull left %v, %v, want one file", files, err)
		}
		version = strings.TrimSuffix(strings.TrimPrefix(files[0].Name(), "hello-"), ".tgz")
		shown := c.run(t, "show", "chart", filepath.Join(dir, files[0].Name()))
		if !strings.Contains(shown, "version: "+version+"\n") && !strings.HasSuffix(shown, "version: "+version) {
			t.Fatalf("chart = %q, want version %s", shown, version)
		}
		return version
	}

	t.Run("login", func(t *testing.T) {
		helm.refuse(t, unauthorized, "registry", "login", "--plain-http", "-u", "writer", "-p", "wrong", s.host)
		writer.run(t, "registry", "login", "--plain-http", "-u", "writer", "-p", "writer-secret", s.host)
	})
	t.Run("push", func(t *testing.T) {
		for _, version := range []string{"0.2.0", "0.10.0", "0.11.0-rc.1", "0.1.0+build.7"} {
			writer.run(t, "push", "--plain-http", chart(version), charts)
		}
		writer.run(t, "push", "--plain-http", chart("1.0.0"), public)
	})
	t.Run("pull", func(t *testing.T) {
		for _, test := range []struct{ args, want string }{
			{args: "--version=0.2.0", want: "0.2.0"},
			{args: "--version=0.1.0+build.7", want: "0.1.0+build.7"}, // the tag has _ for +
			{args: "--version=~0.2", want: "0.2.0"},
			{args: "", want: "0.10.0"}, // the newest release, found in the list of tags
			{args: "--devel", want: "0.11.0-rc.1"},
		} {
			if got := pull(t, writer, charts, strings.Fields(test.args)...); got != test.want {
				t.Errorf("pull %s = %s, want %s", test.args, got, test.want)
			}
		}
	})
	t.Run("pull without an account", func(t *testing.T) {
		if got := pull(t, helm, public); got != "1.0.0" {
			t.Errorf("pull = %s, want 1.0.0", got)
		}
		helm.refuse(t, unauthorized, "pull", "--plain-http", "--destination="+t.TempDir(), charts+"/hello")
	})
	t.Run("denied", func(t *testing.T) {
		reader := newHelm(t)
		reader.run(t, "registry", "login", "--plain-http", "-u", "reader", "-p", "reader-secret", s.host)
		pull(t, reader, charts)
		reader.refuse(t, denied, "push", "--plain-http", chart("2.0.0"), charts)
	})
}

// newHelm returns a helm of somebody who has not logged in anywhere.
func newHelm(t *testing.T) client {
	t.Helper()
	home := t.TempDir()
	return client{path: need(t, "helm"), env: []string{"HOME=" + home, "DOCKER_CONFIG=" + home}}
}
