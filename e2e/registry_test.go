//go:build linux

package e2e_test

import (
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
