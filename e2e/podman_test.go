//go:build linux

package e2e_test

import (
	"path/filepath"
	"testing"
)

func TestPodman(t *testing.T) {
	t.Parallel()
	needRoot(t)
	s := serve(t, people(t))
	app, public := s.host+"/acc/podman/app", s.host+"/pub/podman/app"
	rootfs := write(t, t.TempDir(), "rootfs.tar", string(layerTar(t, "amd64")))

	writer := newPodman(t)
	writer.run(t, "import", rootfs, app+":v1")
	image := writer.imageID(t, app+":v1")

	t.Run("login", func(t *testing.T) {
		writer.refuse(t, unauthorized, "login", "--tls-verify=false", "-u", "writer", "-p", "wrong", s.host)
		writer.run(t, "login", "--tls-verify=false", "-u", "writer", "-p", "writer-secret", s.host)
	})
	t.Run("push", func(t *testing.T) {
		writer.run(t, "push", "--tls-verify=false", app+":v1")
		writer.run(t, "push", "--tls-verify=false", "--format=v2s2", app+":v1", public+":v1")
	})
	t.Run("pull after removing", func(t *testing.T) {
		writer.run(t, "rmi", app+":v1")
		writer.run(t, "pull", "--tls-verify=false", app+":v1")
		wantDigest(t, writer.imageID(t, app+":v1"), image)
	})
	t.Run("manifest list", func(t *testing.T) {
		writer.run(t, "import", "--arch=arm64", rootfs, app+":arm64")
		writer.run(t, "push", "--tls-verify=false", app+":arm64")
		writer.run(t, "manifest", "create", "multi")
		writer.run(t, "manifest", "add", "--tls-verify=false", "multi", "docker://"+app+":v1")
		writer.run(t, "manifest", "add", "--tls-verify=false", "multi", "docker://"+app+":arm64")
		writer.run(t, "manifest", "push", "--all", "--tls-verify=false", "multi", "docker://"+app+":multi")

		other := newPodman(t)
		other.run(t, "login", "--tls-verify=false", "-u", "reader", "-p", "reader-secret", s.host)
		other.run(t, "pull", "--tls-verify=false", "--arch=arm64", app+":multi")
		wantDigest(t, other.run(t, "image", "inspect", "--format={{.Architecture}}", app+":multi"), "arm64")
		wantDigest(t, other.imageID(t, app+":multi"), writer.imageID(t, app+":arm64"))
	})
	t.Run("pull without an account", func(t *testing.T) {
		anyone := newPodman(t)
		anyone.run(t, "pull", "--tls-verify=false", public+":v1")
		wantDigest(t, anyone.imageID(t, public+":v1"), image)
		anyone.refuse(t, unauthorized, "pull", "--tls-verify=false", app+":v1")
	})
	t.Run("denied", func(t *testing.T) {
		reader := newPodman(t)
		reader.run(t, "login", "--tls-verify=false", "-u", "reader", "-p", "reader-secret", s.host)
		reader.run(t, "pull", "--tls-verify=false", app+":v1")
		reader.refuse(t, denied, "push", "--tls-verify=false", app+":v1", app+":mine")
	})
}

// A podman has a container storage of its own; it runs no container.
type podman struct{ client }

// newPodman returns a podman of somebody who has not logged in anywhere.
func newPodman(t *testing.T) podman {
	t.Helper()
	home := shortDir(t)
	credentials := write(t, home, "auth.json", "{}") // podman wants the file that the variable names
	return podman{client{
		path: need(t, "podman"),
		args: []string{
			"--root=" + filepath.Join(home, "root"),
			"--runroot=" + filepath.Join(home, "run"),
			"--storage-driver=vfs",
			"--cgroup-manager=cgroupfs",
			"--events-backend=none",
		},
		env: []string{
			"HOME=" + home,
			"REGISTRY_AUTH_FILE=" + credentials,
			"XDG_RUNTIME_DIR=" + home,
		},
	}}
}

// imageID returns the digest of an image's configuration.
func (p podman) imageID(t *testing.T, name string) string {
	t.Helper()
	return p.run(t, "image", "inspect", "--format={{.Id}}", name)
}
