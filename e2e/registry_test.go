//go:build linux

package e2e_test

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// distributionConfig is the usual small config.yml of CNCF distribution over a folder.
func distributionConfig(t *testing.T, dir, addr string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("writer-secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "htpasswd", "writer:"+string(hash)+"\n")
	return write(t, dir, "config.yml", fmt.Sprintf(`version: 0.1
log: {fields: {service: registry}}
storage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}
http: {addr: %q, headers: {X-Content-Type-Options: [nosniff]}}
auth: {htpasswd: {realm: hub, path: %s}}
`, filepath.Join(dir, "hub"), addr, filepath.Join(dir, "htpasswd")))
}

// calledRegistry is the program by the name that CNCF distribution's has.
func calledRegistry(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "registry")
	if err := os.Symlink(binary, name); err != nil {
		t.Fatal(err)
	}
	return name
}

// A program called registry takes distribution's command line, configuration and environment.
func TestRegistryRole(t *testing.T) {
	dir := t.TempDir()
	config := distributionConfig(t, dir, "127.0.0.1:1")
	env := []string{"HOME=" + dir, "REGISTRY_HTTP_ADDR=127.0.0.1:0", "REGISTRY_LOG_FIELDS_SERVICE=hub"}
	p := start(t, calledRegistry(t), []string{"serve", config}, env)
	var match []string
	p.await(t, func() bool {
		match = listening.FindStringSubmatch(p.stdout.String())
		return match != nil
	})
	host := match[2]
	want := func(method, path, account string, status int) {
		t.Helper()
		r, err := http.NewRequest(method, "http://"+host+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if account != "" {
			r.SetBasicAuth(account, "writer-secret")
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != status {
			t.Errorf("%s %s as %q = %d, want %d", method, path, account, resp.StatusCode, status)
		}
	}
	want("GET", "/", "", http.StatusOK)
	want("GET", "/v2/", "", http.StatusUnauthorized)
	want("GET", "/v2/", "writer", http.StatusOK)
	want("GET", "/v2/", "reader", http.StatusUnauthorized)
	want("POST", "/v2/any/thing/blobs/uploads/", "writer", http.StatusAccepted)
	want("GET", "/v2/_catalog", "writer", http.StatusOK)
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(p.all.String(), "service=hub") {
		t.Error("the log lacks the field of the environment")
	}
	if info, err := os.Stat(filepath.Join(dir, "hub", "customhouse")); err != nil || !info.IsDir() {
		t.Errorf("the folder of ours is not in distribution's: %v", err)
	}

	collect := exec.Command(calledRegistry(t), "garbage-collect", "-m", config)
	out, err := collect.CombinedOutput()
	if code := collect.ProcessState.ExitCode(); err == nil || code != 2 || !regexp.MustCompile(`(?m)^error: garbage-collect removes nothing`).Match(out) {
		t.Errorf("garbage-collect exits with %d and says %s", code, out)
	}
	if out, err := exec.Command(calledRegistry(t), "--version").CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "registry ") {
		t.Errorf("--version = %s, %v", out, err)
	}
}

// serveDistribution serves with a configuration of distribution over a folder, open to everybody.
func serveDistribution(t *testing.T, folder string) *server {
	t.Helper()
	config := write(t, t.TempDir(), "config.yml", fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: '127.0.0.1:0'}\ncustomhouse: {auth: {off: true, allow_open: true}}\n", folder))
	p := start(t, binary, []string{"registry", "serve", config}, []string{"HOME=" + t.TempDir()})
	var match []string
	p.await(t, func() bool {
		match = listening.FindStringSubmatch(p.stdout.String())
		return match != nil
	})
	return &server{process: p, host: match[2], url: match[1] + "://" + match[2]}
}

// A registry whose folder is fresh begins without a word of alarm, and takes what is pushed.
func TestRegistryFresh(t *testing.T) {
	t.Parallel()
	l, crane := newLayout(t), newCrane(t)
	s := serveDistribution(t, filepath.Join(t.TempDir(), "registry"))
	s.await(t, func() bool { return strings.Contains(s.all.String(), "nothing to adopt yet") })
	crane.run(t, "push", l.dir, s.host+"/team/app:v1")
	must(t, s.stop())
	for line := range strings.Lines(s.all.String()) {
		if strings.Contains(line, "adopt") && containsAny(line, []string{"warn", "error"}) {
			t.Errorf("a fresh folder is told of by %s", line)
		}
	}
}

// What has been taken over is served while the rest is being read.
func TestRegistryServesWhileAdopting(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	v2 := filepath.Join(folder, "docker/registry/v2")
	keep := func(content string, links ...string) string {
		t.Helper()
		d := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
		for path, content := range map[string]string{
			filepath.Join(v2, "blobs/sha256", d[:2], d, "data"):                                           content,
			filepath.Join(append([]string{v2, "repositories"}, append(links, "sha256", d, "link")...)...): "sha256:" + d,
		} {
			must(t, os.MkdirAll(filepath.Dir(path), 0o755))
			write(t, filepath.Dir(path), filepath.Base(path), content)
		}
		return d
	}
	put := func(repo, config string, size int64) {
		t.Helper()
		layer := "layer of " + repo
		c, l := keep(config, repo, "_layers"), keep(layer, repo, "_layers")
		must(t, os.Truncate(filepath.Join(v2, "blobs/sha256", l[:2], l, "data"), size))
		d := keep(fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%d},
"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:%s","size":%d}]}`, c, len(config), l, len(layer)), repo, "_manifests/revisions")
		tag := filepath.Join(v2, "repositories", repo, "_manifests/tags/v1/current")
		must(t, os.MkdirAll(tag, 0o755))
		write(t, tag, "link", "sha256:"+d)
	}
	put("aa/app", "{}", int64(len("layer of aa/app")))
	put("zz/app", `{"a":1}`, 2<<30) // not the size that its manifest says, so it is hashed, which takes seconds
	s := serveDistribution(t, folder)
	status := func(repo string) string {
		return curl(t, "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Accept: application/vnd.oci.image.manifest.v1+json", s.url+"/v2/"+repo+"/manifests/v1")
	}
	s.await(t, func() bool { return status("aa/app") == "200" })
	if got := status("zz/app"); got != "404" {
		t.Errorf("the repository that is being read = %s, want 404 while the first is served", got)
	}
	s.await(t, func() bool { return status("zz/app") == "200" })
}

// A service manager may hand over the socket to listen on (sd_listen_fds(3)).
func TestSocketActivation(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	socket, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	dir := t.TempDir()
	config := distributionConfig(t, dir, "127.0.0.1:1")
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" registry serve "$1"`, binary, config)
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Env = []string{"HOME=" + dir}
	var out output
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v\n%s", err, out.String())
		}
	}()
	url := "http://" + listener.Addr().String() + "/livez"
	listener.Close() // what answers is the one that was handed over
	resp, err := http.Get(url)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("GET /livez = %d", resp.StatusCode)
	}
}
