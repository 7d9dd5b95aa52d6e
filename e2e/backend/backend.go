// Package backend starts the real directories and databases that tests ask: each on loopback, in a folder of its own, and
// ended with the test. What they are made of is installed by e2e/install; where something is missing the test is skipped,
// or fails if CUSTOMHOUSE_REQUIRE_TOOLS=1 promises that everything is there.
package backend

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// need returns the path of the first of several names of a program that is there.
func need(t testing.TB, names ...string) string {
	t.Helper()
	tools := filepath.Join(moduleRoot(t), ".tools", "bin")
	for _, name := range names {
		places := []string{filepath.Join(tools, name), filepath.Join("/usr/sbin", name)}
		if found, err := exec.LookPath(name); err == nil {
			places = append(places, found)
		}
		versions, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range append(places, versions...) {
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				return path
			}
		}
	}
	if os.Getenv("CUSTOMHOUSE_REQUIRE_TOOLS") == "1" {
		t.Fatalf("missing: %s (run e2e/install)", names[0])
	}
	t.Skipf("missing: %s (run e2e/install)", names[0])
	return ""
}

// moduleRoot returns the folder of the module that the test is of: tests run in the folder of their package.
func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return at
		}
		if at == filepath.Dir(at) {
			t.Fatalf("no go.mod above %s", dir)
		}
	}
}

// port returns a port of loopback that was free a moment ago.
func port(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// folder returns a new folder of as.
func folder(t testing.TB, as *account) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "customhouse-") // t.TempDir is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if as != nil {
		if err := os.Chown(dir, as.uid, as.gid); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// account is a user of the machine; databases refuse to run as root.
type account struct{ uid, gid int }

// unprivileged returns the first of several users that there is, nil where the test does not run as root.
func unprivileged(t testing.TB, names ...string) *account {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range names {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		if uidErr == nil && gidErr == nil {
			return &account{uid, gid}
		}
	}
	t.Fatalf("none of the users %v is there", names)
	return nil
}

// command makes a command that runs as somebody.
func command(as *account, name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Dir = "/"
	c.SysProcAttr = &syscall.SysProcAttr{}
	if as != nil {
		c.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(as.uid), Gid: uint32(as.gid)}
	}
	return c
}

// run runs a command to its end.
func run(t testing.TB, c *exec.Cmd) {
	t.Helper()
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(c.Path), err, out)
	}
}

// Process is a server under way.
type Process struct {
	t      testing.TB
	again  func() *exec.Cmd
	ready  func() error
	signal os.Signal // that ends it at once

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{} // closed when cmd has ended
}

// start starts the server that again makes a command for, and waits until ready says nil.
func start(t testing.TB, again func() *exec.Cmd, signal os.Signal, ready func() error) *Process {
	t.Helper()
	p := &Process{t: t, again: again, ready: ready, signal: signal}
	t.Cleanup(p.Stop)
	p.Start()
	return p
}

// Start starts a server that was stopped, with what it held.
func (p *Process) Start() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd, out, ended := p.again(), new(bytes.Buffer), make(chan struct{})
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.cmd, p.ended = cmd, ended
	go func() {
		cmd.Wait()
		close(ended)
	}()
	name := filepath.Base(cmd.Path)
	for deadline := time.Now().Add(30 * time.Second); ; {
		err := p.ready()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s does not get ready: %v", name, err)
		}
		select {
		case <-ended:
			p.t.Fatalf("%s has ended: %v\n%s", name, cmd.ProcessState, out.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop ends the server; its connections are cut.
func (p *Process) Stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return
	}
	p.cmd.Process.Signal(p.signal)
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		p.cmd.Process.Kill()
		<-p.ended
	}
	p.cmd = nil
}

// listening tells why nobody listens on an address.
func listening(address string) func() error {
	return func() error {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return err
		}
		return c.Close()
	}
}

// write writes a file of as.
func write(t testing.TB, as *account, path string, lines ...string) {
	t.Helper()
	var b bytes.Buffer
	for line := range slices.Values(lines) {
		fmt.Fprintln(&b, line)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if as != nil {
		if err := os.Chown(path, as.uid, as.gid); err != nil {
			t.Fatal(err)
		}
	}
}
