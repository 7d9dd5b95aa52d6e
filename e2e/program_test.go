//go:build linux

package e2e_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// exampleOf returns a copy of an example that a test may change, so that its programs are found beside it.
func exampleOf(t *testing.T, name string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, "examples", name))); err != nil {
		t.Fatal(err)
	}
	return dir
}

var serving = regexp.MustCompile(`listening on (http://127\.0\.0\.1:\d+)`)

// Every way to ask a program keeps the promise of its example.
func TestProgramExamples(t *testing.T) {
	t.Parallel()
	need(t, "python3")
	for _, kind := range []string{"exec", "worker", "webhook", "plugin"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := exampleOf(t, kind)
			file := filepath.Join(dir, "customhouse.yml")
			if kind == "webhook" {
				p := start(t, filepath.Join(dir, "server.py"), []string{"0"}, []string{"PATH=" + os.Getenv("PATH")})
				var match []string
				p.await(t, func() bool { match = serving.FindStringSubmatch(p.stdout.String()); return match != nil })
				file = write(t, dir, "customhouse.yml", strings.ReplaceAll(read(t, file), "http://127.0.0.1:8008", match[1]))
			}
			s, l, anyone := serve(t, file), newLayout(t), newCrane(t)
			cicd := newCrane(t)
			cicd.run(t, "auth", "login", s.host, "-u", "cicd", "-p", "change-me-please")
			cicd.run(t, "push", l.dir, s.host+"/ci/app:v1")
			cicd.run(t, "digest", s.host+"/ci/app:v1")
			cicd.refuse(t, denied, "push", l.dir, s.host+"/team/app:v1")
			cicd.refuse(t, denied, "delete", s.host+"/ci/app:v1")
			anyone.refuse(t, unauthorized, "digest", s.host+"/ci/app:v1")
			for password, account := range map[string]string{"wrong": "cicd", "change-me-please ": "cicd", "change-me-please": "eve"} {
				if got := tokenStatus(t, s, account, password); got != http.StatusUnauthorized {
					t.Errorf("the token endpoint answers %q %d, want 401", account, got)
				}
			}
		})
	}
}

// tokenStatus asks for a token and returns the status.
func tokenStatus(t *testing.T, s *server, account, password string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/token?service=customhouse", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(account, password)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// pids returns the processes that carry mark among their arguments.
func pids(t *testing.T, mark string) (found []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		if b, err := os.ReadFile(name); err == nil && bytes.Contains(b, []byte(mark)) {
			found = append(found, strings.Split(name, "/")[2])
		}
	}
	return found
}

// within waits until ok holds.
func within(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not after %v: %s", limit, what)
		}
	}
}

// TestS54_ProgramsEnd: the programs of a server end with it, however it ends, and with the configuration that started them.
func TestS54_ProgramsEnd(t *testing.T) {
	t.Parallel()
	need(t, "python3")
	for name, end := range map[string]func(t *testing.T, s *server, dir string){
		"SIGTERM": func(t *testing.T, s *server, _ string) { _ = s.stop() },
		"SIGKILL": func(t *testing.T, s *server, _ string) { s.kill() },
		"reload": func(t *testing.T, s *server, dir string) {
			write(t, dir, "customhouse.yml", "auth:\n  htpasswd: users\n")
			write(t, dir, "users", "")
			if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := exampleOf(t, "worker")
			hung := fmt.Sprintf("300.%d", time.Now().UnixNano())
			write(t, dir, "customhouse.yml", strings.NewReplacer(
				"  worker:\n    command: ./worker.py\n    environment", "  exec: {command: sleep, args: [\""+hung+"\"]}\n  worker:\n    command: ./worker.py\n    environment",
			).Replace(read(t, filepath.Join(dir, "customhouse.yml"))))
			s := serve(t, filepath.Join(dir, "customhouse.yml"))
			worker := filepath.Join(dir, "worker.py")
			within(t, 10*time.Second, "four workers run", func() bool { return len(pids(t, worker)) == 4 })
			asked := make(chan struct{})
			go func() { // hangs until it is cut off
				defer close(asked)
				r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/token?service=customhouse", nil)
				r.SetBasicAuth("cicd", "x")
				if resp, err := http.DefaultClient.Do(r); err == nil {
					resp.Body.Close()
				}
			}()
			within(t, 10*time.Second, "the program hangs", func() bool { return len(pids(t, hung)) == 1 })
			end(t, s, dir)
			within(t, 20*time.Second, "no program is left", func() bool { return len(pids(t, worker))+len(pids(t, hung)) == 0 })
			<-asked
		})
	}
}

// TestS44_ProgramDown: while a program cannot tell, nobody is let in by it, and others log in as before.
func TestS44_ProgramDown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	hash := client{path: binary}.reads("bob-secret\n").run(t, "hash")
	write(t, dir, "users", "bob:"+hash+"\n")
	script := write(t, dir, "program.sh", "#!/bin/sh\nread account password\n[ \"$account\" = bob ] && exit 2\nexit 3\n")
	if err := os.Chmod(script, 0o700); err != nil {
		t.Fatal(err)
	}
	s := serve(t, write(t, dir, "customhouse.yml", "auth:\n  exec: {command: ./program.sh}\n  htpasswd: users\n"))
	for account, want := range map[string]int{"alice": http.StatusServiceUnavailable, "bob": http.StatusOK} {
		if got := tokenStatus(t, s, account, "bob-secret"); got != want {
			t.Errorf("the token endpoint answers %s %d, want %d", account, got, want)
		}
	}
	if err := os.Remove(script); err != nil { // now it is down for all, and who is not its concern logs in all the same
		t.Fatal(err)
	}
	for account, want := range map[string]int{"alice": http.StatusServiceUnavailable, "bob": http.StatusOK} {
		if got := tokenStatus(t, s, account, "bob-secret"); got != want {
			t.Errorf("without the program the token endpoint answers %s %d, want %d", account, got, want)
		}
	}
}
