//go:build linux

package e2e_test

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestDocker(t *testing.T) {
	t.Parallel()
	needRoot(t)
	daemon := startDockerd(t)
	s := serve(t, people(t))
	app, public := s.host+"/acc/docker/app", s.host+"/pub/docker/app"

	writer := daemon.newClient(t)
	image := writer.buildImage(t, app+":v1")
	var digest string

	t.Run("login", func(t *testing.T) {
		writer.reads("wrong").refuse(t, unauthorized, "login", "-u", "writer", "--password-stdin", s.host)
		out := writer.reads("writer-secret").run(t, "login", "-u", "writer", "--password-stdin", s.host)
		if !strings.Contains(out, "Login Succeeded") {
			t.Fatalf("login = %q, want Login Succeeded", out)
		}
	})
	t.Run("push", func(t *testing.T) {
		digest = pushedDigest(t, writer.run(t, "push", app+":v1"))
	})
	t.Run("pull after removing", func(t *testing.T) {
		writer.run(t, "rmi", app+":v1")
		writer.run(t, "pull", app+":v1")
		wantDigest(t, writer.imageID(t, app+":v1"), image)
		writer.run(t, "rmi", app+":v1")
		writer.run(t, "pull", app+"@"+digest)
		wantDigest(t, writer.imageID(t, app+"@"+digest), image)
		writer.run(t, "tag", app+"@"+digest, app+":v1")
	})
	t.Run("push again sends nothing", func(t *testing.T) {
		out := writer.run(t, "push", app+":v1")
		if !strings.Contains(out, "Layer already exists") || strings.Contains(out, "Pushed") {
			t.Fatalf("push = %q, want only layers that exist", out)
		}
		wantDigest(t, pushedDigest(t, out), digest)
	})
	t.Run("mount from another repository", func(t *testing.T) {
		writer.run(t, "tag", app+":v1", s.host+"/acc/docker/other:v1")
		out := writer.run(t, "push", s.host+"/acc/docker/other:v1")
		if !strings.Contains(out, "Mounted from acc/docker/app") {
			t.Fatalf("push = %q, want layers mounted from acc/docker/app", out)
		}
		wantDigest(t, pushedDigest(t, out), digest)
	})
	t.Run("imported image", func(t *testing.T) {
		rootfs := write(t, t.TempDir(), "rootfs.tar", string(layerTar(t, "amd64")))
		imported := writer.run(t, "import", rootfs, public+":v1")
		writer.run(t, "push", public+":v1")
		writer.run(t, "rmi", public+":v1")

		anyone := daemon.newClient(t) // pulls without an account
		anyone.run(t, "pull", public+":v1")
		wantDigest(t, anyone.imageID(t, public+":v1"), imported)
		anyone.refuse(t, refused, "pull", app+":v1")
	})
	t.Run("denied", func(t *testing.T) {
		reader := daemon.newClient(t)
		reader.reads("reader-secret").run(t, "login", "-u", "reader", "--password-stdin", s.host)
		reader.run(t, "pull", app+":v1")
		reader.run(t, "tag", app+":v1", app+":mine")
		reader.refuse(t, []string{"denied"}, "push", app+":mine")
		reader.run(t, "rmi", app+":mine")
	})
	t.Run("index", func(t *testing.T) {
		l := newLayout(t)
		crane := newCrane(t)
		crane.run(t, "auth", "login", s.host, "-u", "writer", "-p", "writer-secret")
		crane.run(t, "push", l.dir, s.host+"/acc/docker/multi:v1")
		for _, architecture := range []string{"amd64", "arm64"} {
			out := writer.run(t, "pull", "--platform=linux/"+architecture, s.host+"/acc/docker/multi:v1")
			if !strings.Contains(out, l.index.Digest) {
				t.Errorf("pull = %q, want the digest %s", out, l.index.Digest)
			}
			got := writer.run(t, "image", "inspect", "--format={{.Architecture}}", s.host+"/acc/docker/multi:v1")
			if got != architecture {
				t.Errorf("pulled %s, want %s", got, architecture)
			}
		}
	})
	t.Run("manifest list", func(t *testing.T) {
		list := s.host + "/acc/docker/list"
		rootfs := write(t, t.TempDir(), "rootfs.tar", string(layerTar(t, "amd64")))
		create := []string{"manifest", "create", "--insecure", list + ":v1"}
		for _, architecture := range []string{"amd64", "arm64"} {
			writer.run(t, "import", rootfs, list+":"+architecture)
			writer.run(t, "push", list+":"+architecture)
			create = append(create, list+":"+architecture)
		}
		writer.run(t, create...)
		writer.run(t, "manifest", "annotate", "--arch=arm64", list+":v1", list+":arm64")
		digest := writer.run(t, "manifest", "push", "--insecure", list+":v1")
		out := writer.run(t, "pull", "--platform=linux/arm64", list+":v1")
		if !strings.Contains(out, digest) {
			t.Errorf("pull = %q, want the digest %s", out, digest)
		}
		wantDigest(t, writer.imageID(t, list+":v1"), writer.imageID(t, list+":arm64"))
	})
	t.Run("all tags", func(t *testing.T) {
		tags := s.host + "/acc/docker/tags"
		for _, tag := range []string{":one", ":two"} {
			writer.run(t, "tag", app+":v1", tags+tag)
		}
		writer.run(t, "push", "--all-tags", tags)
		writer.run(t, "rmi", tags+":one", tags+":two")
		writer.run(t, "pull", "--all-tags", tags)
		wantDigest(t, writer.imageID(t, tags+":one"), image)
		wantDigest(t, writer.imageID(t, tags+":two"), image)
	})
	t.Run("pull of a deleted manifest", func(t *testing.T) {
		crane := newCrane(t)
		crane.run(t, "auth", "login", s.host, "-u", "writer", "-p", "writer-secret")
		crane.run(t, "delete", app+"@"+digest)
		writer.run(t, "rmi", app+":v1")
		writer.refuse(t, unknown, "pull", app+":v1")
		writer.run(t, "pull", s.host+"/acc/docker/other:v1")
	})
	t.Run("logout", func(t *testing.T) {
		writer.run(t, "logout", s.host)
		writer.refuse(t, refused, "pull", s.host+"/acc/docker/other:v1")
	})
}

// The promise of the README: start it without any configuration, and use the line that it prints.
func TestDockerFirstRun(t *testing.T) {
	t.Parallel()
	needRoot(t)
	daemon := startDockerd(t)
	data := t.TempDir()
	s := serveData(t, data)

	docker := daemon.newClient(t)
	login := regexp.MustCompile(`docker login .*`).FindString(s.stdout.String())
	if !strings.HasPrefix(login, "docker login "+s.host+" --username admin --password ") {
		t.Fatalf("first start prints %q, want a docker login line", s.stdout.String())
	}
	docker.run(t, strings.Fields(login)[1:]...)
	image := docker.buildImage(t, s.host+"/hello:v1")
	docker.run(t, "push", s.host+"/hello:v1")
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}

	again := serveData(t, data)
	if strings.Contains(again.all.String(), "password") {
		t.Errorf("second start prints a password: %q", again.stdout.String())
	}
	docker.run(t, strings.Fields(strings.Replace(login, s.host, again.host, 1))[1:]...)
	docker.run(t, "rmi", s.host+"/hello:v1")
	docker.run(t, "pull", again.host+"/hello:v1")
	wantDigest(t, docker.imageID(t, again.host+"/hello:v1"), image)
}

// A dockerd is a Docker daemon with folders of its own, no network and no containers.
type dockerd struct {
	socket  string
	wrapper []string // the command line before that of dockerd and of its clients
	env     []string // of both
}

// A docker is the docker CLI of one person.
type docker struct{ client }

func startDockerd(t *testing.T) dockerd {
	t.Helper()
	return startDockerdUnder(t, nil)
}

// startDockerdUnder is startDockerd with a command line before that of dockerd and of its clients, and more of an
// environment for both.
func startDockerdUnder(t *testing.T, wrapper []string, env ...string) dockerd {
	t.Helper()
	return startDockerdWith(t, wrapper, env)
}

// startDockerdWith is startDockerdUnder with more flags.
func startDockerdWith(t *testing.T, wrapper, env []string, flags ...string) dockerd {
	t.Helper()
	dir := shortDir(t)
	d := dockerd{filepath.Join(dir, "docker.sock"), wrapper, env}
	cli := d.newClient(t)
	line := append(slices.Clone(wrapper), need(t, "dockerd"),
		"--config-file="+write(t, dir, "daemon.json", "{}"),
		"--data-root="+filepath.Join(dir, "data"),
		"--exec-root="+filepath.Join(dir, "exec"),
		"--pidfile="+filepath.Join(dir, "docker.pid"),
		"--host=unix://"+d.socket,
		"--log-level=error",
		"--storage-driver=vfs",
		"--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false",
	)
	line = append(line, flags...)
	daemon := start(t, line[0], line[1:], append(env, "HOME="+dir))
	daemon.await(t, func() bool {
		_, _, err := cli.exec(t, []string{"version"})
		return err == nil
	})
	return d
}

// newClient returns the docker CLI of somebody who has not logged in anywhere.
func (d dockerd) newClient(t *testing.T) docker {
	t.Helper()
	home := t.TempDir()
	line := append(slices.Clone(d.wrapper), need(t, "docker"))
	env := append(slices.Clone(d.env), "HOME="+home, "DOCKER_CONFIG="+home, "DOCKER_HOST=unix://"+d.socket, "DOCKER_BUILDKIT=0")
	return docker{client{path: line[0], args: line[1:], env: env}}
}

// buildImage builds an image of two layers from scratch and returns its id.
func (d docker) buildImage(t *testing.T, name string) (id string) {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "Dockerfile", "FROM scratch\nCOPY one /one\nCOPY two /two\nCMD [\"/one\"]\n")
	write(t, dir, "one", "1\n"+name)
	write(t, dir, "two", strings.Repeat("2\n", noise))
	d.run(t, "build", "--tag", name, dir)
	return d.imageID(t, name)
}

// imageID returns the digest of an image's configuration.
func (d docker) imageID(t *testing.T, name string) string {
	t.Helper()
	return d.run(t, "image", "inspect", "--format={{.Id}}", name)
}

// pushedDigest finds the manifest's digest in what docker push prints.
func pushedDigest(t *testing.T, out string) string {
	t.Helper()
	match := regexp.MustCompile(`digest: (sha256:[0-9a-f]{64}) size: \d+`).FindStringSubmatch(out)
	if match == nil {
		t.Fatalf("push = %q, want a digest", out)
	}
	return match[1]
}
