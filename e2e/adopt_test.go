//go:build linux

package e2e_test

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A registry that Debian's docker-registry has filled by way of docker and crane is taken over in place, serves every image
// by tag and digest to docker, and goes back to docker-registry. CUSTOMHOUSE_LONG=1 fills 100 repositories.
func TestAdoptDistribution(t *testing.T) {
	t.Parallel()
	needRoot(t)
	repositories := 6
	if isLong() {
		repositories = 100
	}
	daemon, l, crane := startDockerd(t), newLayout(t), newCrane(t)
	docker := daemon.newClient(t)
	folder := t.TempDir()
	old := startRegistry(t, folder)

	want := map[string]string{} // digest by repository:tag
	for i := range repositories {
		repo := fmt.Sprintf("team%d/app%d", i%3, i)
		if i%3 == 0 {
			image := docker.buildImage(t, old.host+"/"+repo+":v1")
			docker.run(t, "tag", image, old.host+"/"+repo+":latest")
			want[repo+":v1"] = pushedDigest(t, docker.run(t, "push", old.host+"/"+repo+":v1"))
			want[repo+":latest"] = pushedDigest(t, docker.run(t, "push", old.host+"/"+repo+":latest"))
			docker.run(t, "rmi", old.host+"/"+repo+":v1", old.host+"/"+repo+":latest")
			continue
		}
		crane.run(t, "push", l.dir, old.host+"/"+repo+":multi")
		want[repo+":multi"] = l.index.Digest
	}
	crane.run(t, "tag", old.host+"/team1/app1:multi", "gone")
	crane.run(t, "push", l.dir, old.host+"/deleted/app:v1")
	crane.run(t, "delete", old.host+"/deleted/app@"+l.index.Digest)
	upload := curl(t, "-s", "-X", "POST", "-D", "-", "-o", "/dev/null", old.url+"/v2/ghost/app/blobs/uploads/")
	if !strings.Contains(upload, "202") {
		t.Fatalf("upload = %q, want 202", upload)
	}

	// A first pass while the old registry runs, a second one when it has stopped.
	data := t.TempDir()
	tool := client{path: binary, env: []string{"HOME=" + data}}
	first := tool.run(t, "adopt", old.config, "--data", data)
	for _, kind := range []string{"1 ghost repository", "1 abandoned upload"} {
		if !strings.Contains(first, kind) {
			t.Errorf("adopt = %q, want %q in it", first, kind)
		}
	}
	crane.run(t, "push", l.dir, old.host+"/late/app:v1")
	want["late/app:v1"] = l.index.Digest
	old.kill() // it knows no other end
	if second := tool.run(t, "adopt", folder, "--data", data, "--verify", "manifests"); !strings.Contains(second, "of 1 repository ") {
		t.Errorf("second adopt = %q, want it to read one repository", second)
	}

	open := write(t, t.TempDir(), "customhouse.yml", "auth: {off: true}\n")
	s := serveData(t, data, "-c", open)
	pullAll(t, docker, s.host, want)
	after := docker.buildImage(t, s.host+"/new/app:v1")
	want["new/app:v1"] = pushedDigest(t, docker.run(t, "push", s.host+"/new/app:v1"))
	docker.run(t, "rmi", s.host+"/new/app:v1")
	tool.refuse(t, []string{"another server runs"}, "adopt", folder, "--data", data)

	// Back again, beside the server; and what an import has from the old registry by its API.
	out := filepath.Join(t.TempDir(), "back")
	tool.run(t, "export", "--data", data, "--link", out)
	must(t, s.stop())
	back := startRegistry(t, out)
	pullAll(t, docker, back.host, want)
	if id := docker.run(t, "image", "inspect", "--format={{.Id}}", back.host+"/new/app:v1"); id != after {
		t.Errorf("image = %s, want %s", id, after)
	}
	imported := t.TempDir()
	home := t.TempDir()
	remote := client{path: binary, env: []string{"HOME=" + home, "DOCKER_CONFIG=" + home}}
	remote.refuse(t, []string{"hint: --plain-http"}, "import", "docker://"+back.host, "--data", imported)
	remote.run(t, "import", "docker://"+back.host, "--plain-http", "--data", imported)
	if again := remote.run(t, "import", "docker://"+back.host, "--plain-http", "--data", imported); !strings.Contains(again, ": 0 pieces") {
		t.Errorf("second import = %q, want nothing new", again)
	}
	back.kill()
	saved := filepath.Join(t.TempDir(), "saved.tar")
	docker.run(t, "save", "-o", saved, back.host+"/new/app:v1")
	remote.run(t, "import", saved, "--repo", "saved/app", "--data", imported)
	s = serveData(t, imported, "-c", open)
	pullAll(t, docker, s.host, want)
	docker.run(t, "pull", s.host+"/saved/app:v1")
	wantDigest(t, docker.imageID(t, s.host+"/saved/app:v1"), after)
}

// While it serves, a registry takes over what another still takes pushes for, and follows it.
func TestServeAdopts(t *testing.T) {
	t.Parallel()
	l, crane := newLayout(t), newCrane(t)
	old := startRegistry(t, t.TempDir())
	crane.run(t, "push", l.dir, old.host+"/team/app:v1")
	s := serveData(t, t.TempDir(), "-c", write(t, t.TempDir(), "customhouse.yml", "auth: {off: true}\n"), "--adopt", filepath.Dir(old.config))
	s.await(t, func() bool {
		digest, _, err := crane.exec(t, []string{"digest", s.host + "/team/app:v1"})
		return err == nil && strings.TrimSpace(digest) == l.index.Digest
	})
	crane.run(t, "push", l.dir, old.host+"/late/app:v1")
	s.await(t, func() bool {
		_, _, err := crane.exec(t, []string{"digest", s.host + "/late/app:v1"})
		return err == nil
	})
	dir := filepath.Join(t.TempDir(), "pulled")
	crane.run(t, "pull", "--format=oci", s.host+"/late/app:v1", dir)
	l.wantPulled(t, dir, l.index)
}

// Killed in the middle, an adoption goes on where it was.
func TestAdoptKilled(t *testing.T) {
	t.Parallel()
	l, crane, skopeo := newLayout(t), newCrane(t), newSkopeo(t)
	folder, data := t.TempDir(), t.TempDir()
	old := startRegistry(t, folder)
	crane.run(t, "push", l.dir, old.host+"/team/app:v1")
	for i := range 20 {
		crane.run(t, "copy", old.host+"/team/app:v1", fmt.Sprintf("%s/team/app%d:v1", old.host, i))
	}
	old.kill() // it knows no other end
	for i := range 5 {
		p := start(t, binary, []string{"adopt", folder, "--data", data, "--verify", "all"}, []string{"HOME=" + data})
		select {
		case <-p.exited:
		case <-time.After(time.Duration(5+10*i) * time.Millisecond):
		}
		p.kill()
	}
	tool := client{path: binary, env: []string{"HOME=" + data}}
	tool.run(t, "adopt", folder, "--data", data, "--verify", "all")
	s := serveData(t, data, "-c", write(t, t.TempDir(), "customhouse.yml", "auth: {off: true}\n"))
	for i := range 20 {
		dir := filepath.Join(t.TempDir(), "pulled")
		skopeo.run(t, "copy", "--all", "--src-tls-verify=false", fmt.Sprintf("docker://%s/team/app%d:v1", s.host, i), "oci:"+dir+":v1")
		l.wantPulled(t, dir, l.index)
	}
}

// pullAll pulls every image by tag and by digest.
func pullAll(t *testing.T, docker docker, host string, want map[string]string) {
	t.Helper()
	for name, digest := range want {
		repo, _, _ := strings.Cut(name, ":")
		for _, image := range []string{host + "/" + name, host + "/" + repo + "@" + digest} {
			if out := docker.run(t, "pull", image); !strings.Contains(out, digest) {
				t.Errorf("pull %s = %q, want the digest %s", image, out, digest)
			}
		}
	}
}

// A distribution is a running docker-registry of Debian.
type distribution struct {
	*process
	config    string // its config.yml
	host, url string
}

// startRegistry runs docker-registry over a folder.
func startRegistry(t *testing.T, folder string) distribution {
	t.Helper()
	path := need(t, "docker-registry")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	host := listener.Addr().String()
	must(t, listener.Close())
	config := write(t, folder, "config.yml", fmt.Sprintf(`version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}
http: {addr: %s}
`, folder, host))
	d := distribution{start(t, path, []string{"serve", config}, nil), config, host, "http://" + host}
	t.Cleanup(d.kill) // at SIGTERM it ends with an error
	d.await(t, func() bool {
		c, err := net.Dial("tcp", host)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return d
}

func curl(t *testing.T, args ...string) string {
	t.Helper()
	return client{path: need(t, "curl")}.run(t, args...)
}
