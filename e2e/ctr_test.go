//go:build linux

package e2e_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// containerd's own client: what Kubernetes nodes pull with.
func TestCtr(t *testing.T) {
	t.Parallel()
	needRoot(t)
	ctr := startContainerd(t)
	s, l := serve(t, people(t)), newLayout(t)
	app, public := s.host+"/acc/ctr/app", s.host+"/pub/ctr/app"
	writer, reader := "--user=writer:writer-secret", "--user=reader:reader-secret"

	ctr.run(t, "images", "import", "--no-unpack", "--all-platforms", "--base-name="+app, l.archive(t))
	if list := ctr.run(t, "images", "list"); !strings.Contains(list, app+":multi ") || !strings.Contains(list, l.index.Digest) {
		t.Fatalf("images list = %q, want %s:multi with %s", list, app, l.index.Digest)
	}
	ctr.run(t, "images", "tag", app+":multi", public+":multi")

	t.Run("push with a wrong password", func(t *testing.T) {
		ctr.refuse(t, unauthorized, "images", "push", "--plain-http", "--user=writer:wrong", app+":multi")
	})
	t.Run("push an index", func(t *testing.T) {
		ctr.push(t, "--plain-http", writer, app+":multi")
		ctr.push(t, "--plain-http", writer, public+":multi")
	})
	t.Run("denied", func(t *testing.T) {
		ctr.run(t, "images", "tag", app+":multi", s.host+"/acc/ctr/mine:v1")
		ctr.refuse(t, denied, "images", "push", "--plain-http", reader, s.host+"/acc/ctr/mine:v1")
	})
	t.Run("pull after removing", func(t *testing.T) {
		ctr.forget(t)
		ctr.run(t, "images", "pull", "--plain-http", "--all-platforms", "--snapshotter=native", reader, app+":multi")
		for _, d := range []descriptor{l.index, l.amd64, l.arm64, l.layer} {
			wantDigest(t, sha256sum([]byte(ctr.content(t, "content", "get", d.Digest))), d.Digest)
		}
	})
	t.Run("pull without an account", func(t *testing.T) {
		ctr.forget(t)
		ctr.refuse(t, refused, "images", "pull", "--plain-http", "--snapshotter=native", app+":multi")
		ctr.run(t, "images", "pull", "--plain-http", "--snapshotter=native", "--platform=linux/amd64", public+":multi")
		wantDigest(t, sha256sum([]byte(ctr.content(t, "content", "get", l.layer.Digest))), l.layer.Digest)
	})
}

// A containerd is a client of a daemon that keeps its content in a folder of its own and runs no container.
type containerd struct{ client }

func startContainerd(t *testing.T) containerd {
	t.Helper()
	dir := shortDir(t)
	socket := filepath.Join(dir, "containerd.sock")
	config := write(t, dir, "config.toml", fmt.Sprintf(`version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = %q
[ttrpc]
  address = %q
`, filepath.Join(dir, "root"), filepath.Join(dir, "state"), socket, socket+".ttrpc"))

	ctr := containerd{client{path: need(t, "ctr"), args: []string{"--address", socket}, env: []string{"HOME=" + dir}}}
	daemon := start(t, need(t, "containerd"), []string{"--config", config, "--log-level=error"}, nil)
	daemon.await(t, func() bool {
		_, _, err := ctr.exec(t, []string{"version"})
		return err == nil
	})
	return ctr
}

// push expects success. Now and then ctr loses what it reads of its own daemon and says so in these words
// (https://github.com/containerd/containerd/issues/5734), which no registry can make it say; then it is run again, once.
func (c containerd) push(t *testing.T, args ...string) {
	t.Helper()
	args = append([]string{"images", "push"}, args...)
	_, all, err := c.exec(t, args)
	if err != nil && strings.Contains(all, "failed to copy: rpc error: code = Internal desc = unexpected EOF") {
		t.Logf("%s: %v\n%s", c.line(args), err, all)
		_, all, err = c.exec(t, args)
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", c.line(args), err, all)
	}
}

// forget removes all images and their content.
func (c containerd) forget(t *testing.T) {
	t.Helper()
	if names := strings.Fields(c.run(t, "images", "list", "-q")); len(names) > 0 {
		c.run(t, append([]string{"images", "remove", "--sync"}, names...)...)
	}
	if content := c.run(t, "content", "list", "-q"); content != "" {
		t.Fatalf("content after all images were removed: %s", content)
	}
}
