package program_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"customhouse"
	"customhouse/program"

	"github.com/google/go-cmp/cmp"
)

// script writes a shell script and returns its path.
func script(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program.sh")
	syscall.ForkLock.RLock() // a program that another test starts meanwhile would have it open, and it could not be started
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func newExec(t testing.TB, text string, o program.ExecOptions) *program.Exec {
	t.Helper()
	e, err := program.NewExec(script(t, text), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func login(account, password string) program.Question {
	return program.Question{Kind: program.Authenticate, Account: account, Password: customhouse.Secret(password)}
}

func access(account string, actions ...customhouse.Action) program.Question {
	return program.Question{
		Kind: program.Authorize, Account: account, IP: netip.MustParseAddr("127.0.0.1"), Service: "customhouse",
		Type: "repository", Name: "team/app", Actions: actions, Labels: map[string][]string{"group": {"dev"}},
	}
}

// signal makes a FIFO for a program to write to, and returns its path and what waits for that.
func signal(t *testing.T) (path string, await func()) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "signal")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK, 0) // opened for one of the two, it would wait for the other
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return path, func() {
		t.Helper()
		f.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := f.Read(make([]byte, 1)); err != nil {
			t.Fatal("the program gives no signal:", err)
		}
	}
}

// The bytes that docker_auth's programs read are these and no others.
func TestExecProtocol(t *testing.T) {
	seen := filepath.Join(t.TempDir(), "seen")
	e := newExec(t, `cat >"$1"; printf '%s' "$2" >>"$1"`, program.ExecOptions{Args: []string{seen, "|two words"}})
	for _, tt := range []struct {
		q    program.Question
		want string
	}{
		{login("alice", "pass word "), "alice pass word |two words"},
		{access("alice", "pull", "create", "update"),
			`{"Account":"alice","Type":"repository","Name":"team/app","Service":"customhouse","IP":"127.0.0.1","Actions":["pull","push"],"Labels":{"group":["dev"]}}|two words`},
		{access("alice", "push", "pull", "delete"), // as some clients ask
			`{"Account":"alice","Type":"repository","Name":"team/app","Service":"customhouse","IP":"127.0.0.1","Actions":["delete","pull","push"],"Labels":{"group":["dev"]}}|two words`},
		{program.Question{Kind: program.Authorize, Type: "registry", Name: "catalog", Actions: []customhouse.Action{"*"}},
			`{"Account":"","Type":"registry","Name":"catalog","Service":"","IP":"","Actions":["*"],"Labels":null}|two words`},
	} {
		if _, err := e.Ask(t.Context(), tt.q); err != nil {
			t.Fatalf("Ask = %v", err)
		}
		if got := read(t, seen); got != tt.want {
			t.Errorf("the program has read %q, want %q", got, tt.want)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestS55_ExitTable: only exit 0 with labels that can be read, or with none, lets somebody in.
func TestS55_ExitTable(t *testing.T) {
	const outage = program.Result("outage")
	deep := "head -c 100000 /dev/zero | tr '\\0' '['"
	for _, tt := range []struct {
		text         string
		authn, authz program.Result
		err          string // of authn
	}{
		{"exit 0", "allow", "allow", ""},
		{"exit 1", "deny", "deny", ""},
		{"exit 2", "no_match", outage, ""},
		{"exit 3", outage, outage, "bad return code from command: 3"},
		{"exit 126", outage, outage, "126"},
		{"exit 127", outage, outage, "127"},
		{"exit 255", outage, outage, "255"},
		{"kill -TERM $$", outage, outage, "terminated"},
		{"kill -SEGV $$", outage, outage, "segmentation fault"},
		{"kill -KILL $$", outage, outage, "killed"},
		{"echo", "allow", "allow", ""},
		{"echo '{}'", "allow", "allow", ""},
		{`echo '{"other": 1}'`, "allow", "allow", ""},
		{"echo ok", outage, "allow", "not a JSON object"},
		{`printf '{"labels":{"g":["a"'`, outage, "allow", "not a JSON object"},
		{`echo '{"labels":{"g":"a"}}'`, outage, "allow", "not a JSON object"},
		{`echo '{}{}'`, outage, "allow", "not a JSON object"},
		{`echo '[]'`, outage, "allow", "not a JSON object"},
		{deep, outage, "allow", "not a JSON object"},
		{"exec >&-", "allow", "allow", ""},
		{"exec <&-; exit 1", "deny", "deny", ""},
		{"head -c 1073741824 /dev/zero", outage, outage, "longer than 1048576 bytes"},
		{"head -c 1073741824 /dev/zero >&2; exit 1", "deny", "deny", ""},
		{"echo '{}' | sed 's/.*/{}/'; exit 1", "deny", "deny", ""},
		{"setsid sleep 5 & sleep 0.3; exit 0", outage, outage, "left its standard output open"},
	} {
		t.Run(tt.text, func(t *testing.T) {
			t.Parallel()
			e := newExec(t, tt.text, program.ExecOptions{})
			for q, want := range map[*program.Question]program.Result{
				ptr(login("alice", "secret")): tt.authn, ptr(access("alice", "pull")): tt.authz,
			} {
				a, err := e.Ask(t.Context(), *q)
				got := a.Result
				if err != nil {
					got = outage
				}
				if got != want {
					t.Errorf("%s: Ask = %q, %v, want %q", q.Kind, got, err, want)
				}
				if q.Kind == program.Authenticate && (err == nil) != (tt.err == "") || err != nil && q.Kind == program.Authenticate && !strings.Contains(err.Error(), tt.err) {
					t.Errorf("Ask = %v, want an error with %q", err, tt.err)
				}
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

func TestExecAnswers(t *testing.T) {
	e := newExec(t, `echo '{"labels": {"group": ["CICD", "dev"], "empty": []}, "more": true}'`, program.ExecOptions{})
	a, err := e.Ask(t.Context(), login("cicd", "x"))
	want := program.Answer{Result: program.Allow, Labels: map[string][]string{"group": {"CICD", "dev"}, "empty": {}}}
	if diff := cmp.Diff(want, a); err != nil || diff != "" {
		t.Errorf("Ask = %v (-want +got):\n%s", err, diff)
	}
	a, err = e.Ask(t.Context(), access("cicd", "pull", "update"))
	if want := (program.Answer{Result: program.Allow, Actions: []customhouse.Action{"pull", "update"}}); err != nil || !cmp.Equal(a, want) {
		t.Errorf("Ask = %+v, %v, want %+v", a, err, want)
	}
}

// A question longer than a pipe is read as a whole, and not being read does no harm.
func TestS55_LongQuestions(t *testing.T) {
	q := access("alice", "pull")
	q.Labels = map[string][]string{"group": {strings.Repeat("x", 1<<20)}}
	for text, want := range map[string]program.Result{`[ $(wc -c) -gt 1048576 ]`: "allow", "exit 1": "deny"} {
		a, err := newExec(t, text, program.ExecOptions{}).Ask(t.Context(), q)
		if err != nil || a.Result != want {
			t.Errorf("%s: Ask = %+v, %v, want %s", text, a, err, want)
		}
	}
}

// TestS53_ArgumentShift: what a script would read as another account or as no password is denied before it starts.
func TestS53_ArgumentShift(t *testing.T) {
	started := filepath.Join(t.TempDir(), "started")
	text := `read account password; echo "$account" >>"$1"; exit 0`
	o := program.ExecOptions{Args: []string{started}}
	strict := newExec(t, text, o)
	o.AllowSpace = true
	spaces := newExec(t, text, o)
	for _, tt := range []struct {
		account, password string
		strict, spaces    program.Result
	}{
		{"alice", "secret", "allow", "allow"},
		{"alice", "sec ret ", "allow", "allow"},
		{"admin s3", "x", "deny", "allow"},
		{"admin s3", "", "deny", "deny"},
		{"admin s3\nfoo", "x", "deny", "deny"},
		{"admin\ts3", "x", "deny", "deny"},
		{"admin\rs3", "x", "deny", "deny"},
		{"admin\x00s3", "x", "deny", "deny"},
		{"admin\u00a0s3", "x", "deny", "deny"},
		{"admin\u2028s3", "x", "deny", "deny"},
		{"admin\u202es3", "x", "deny", "deny"},
		{" admin", "x", "deny", "deny"},
		{"admin ", "x", "deny", "deny"},
		{" ", "x", "deny", "deny"},
		{"", "x", "deny", "deny"},
		{"alice", "", "deny", "deny"},
		{"alice", " ", "deny", "deny"},
		{"alice", "\t\n", "deny", "deny"},
		{"alice", "\nsecret", "deny", "deny"},
		{"alice", " \x00\nsecret", "deny", "deny"},
		{"alice", `\`, "deny", "deny"},
	} {
		for name, asker := range map[program.Result]*program.Exec{tt.strict: strict, "spaces " + tt.spaces: spaces} {
			want := program.Result(strings.TrimPrefix(string(name), "spaces "))
			os.Remove(started)
			a, err := asker.Ask(t.Context(), login(tt.account, tt.password))
			if err != nil || a.Result != want {
				t.Errorf("Ask(%q, %q) = %s, %v, want %s", tt.account, tt.password, a.Result, err, want)
			}
			if _, err := os.Stat(started); (err == nil) != (want == "allow") {
				t.Errorf("Ask(%q, %q): started: %v, answered %s", tt.account, tt.password, err == nil, want)
			}
		}
	}
}

// TestS52_NoSecretsInSight: a program that shows all of /proc/self shows no account and no password, and no shell reads them.
func TestS52_NoSecretsInSight(t *testing.T) {
	t.Setenv("CONTROLLING_SECRET", "hunter2")
	dir := t.TempDir()
	seen := filepath.Join(dir, "seen")
	e := newExec(t, `cat /proc/$$/cmdline /proc/$$/environ >"$1"; exit 1`, program.ExecOptions{Args: []string{seen}, CleanEnvironment: true})
	for _, evil := range []string{
		"$(touch " + dir + "/evil)", "`touch${IFS}" + dir + "/evil`", ";touch${IFS}" + dir + "/evil;", "|id", "-rf", "--help", "a'b", `a"b`, "$IFS", "*", "~",
	} {
		account := strings.ReplaceAll(evil, " ", "${IFS}")
		if a, err := e.Ask(t.Context(), login(account, "pass"+evil)); err != nil || a.Result != program.Deny {
			t.Fatalf("Ask(%q) = %v, %v", evil, a, err)
		}
		got := read(t, seen)
		if strings.Contains(got, evil) || strings.Contains(got, "hunter2") {
			t.Errorf("the program's arguments or environment hold %q:\n%q", evil, got)
		}
		if _, err := os.Stat(filepath.Join(dir, "evil")); err == nil {
			t.Fatalf("%q was executed", evil)
		}
	}
}

// TestS56_Surroundings: a program has its three streams, a group of its own and the environment that was asked for.
func TestS56_Surroundings(t *testing.T) {
	t.Setenv("CONTROLLING_SECRET", "hunter2")
	t.Setenv("LANG", "C.UTF-8")
	inherited, err := syscall.Dup(0) // as if we had been started with it
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(inherited)
	seen := filepath.Join(t.TempDir(), "seen")
	o := program.ExecOptions{Args: []string{seen}, CleanEnvironment: true, Environment: map[string]string{"KEY": "value", "LANG": "C"}}
	text := `umask >"$1"; tr '\0' '\n' </proc/$$/environ | sort | grep -v '^PATH=' >>"$1"; ls /proc/$$/fd >>"$1"; cut -d' ' -f5 /proc/$$/stat >>"$1"; echo $$ >>"$1"`
	defer syscall.Umask(syscall.Umask(0o077))
	if a, err := newExec(t, text, o).Ask(t.Context(), login("alice", "x")); err != nil || a.Result != program.Allow {
		t.Fatalf("Ask = %v, %v", a, err)
	}
	lines := strings.Fields(read(t, seen))
	n := len(lines)
	if n < 4 || lines[n-1] != lines[n-2] {
		t.Fatalf("the program's group and process are %q, want the same", lines[max(0, n-2):])
	}
	want := []string{"0077", "KEY=value", "LANG=C", "0", "1", "2"}
	// The shell keeps the script, and what it redirects, at 10 and above.
	got := slices.DeleteFunc(lines[:n-2], func(s string) bool { fd, err := strconv.Atoi(s); return err == nil && 10 <= fd && fd < 20 })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("umask, environment and descriptors (-want +got):\n%s", diff)
	}

	o.CleanEnvironment = false
	if a, err := newExec(t, text, o).Ask(t.Context(), login("alice", "x")); err != nil || a.Result != program.Allow {
		t.Fatalf("Ask = %v, %v", a, err)
	}
	if got := read(t, seen); !strings.Contains(got, "CONTROLLING_SECRET=hunter2\n") || strings.Count(got, "LANG=") != 1 {
		t.Errorf("the inherited environment is\n%s", got)
	}
}

// children returns how many processes carry mark among their arguments.
func children(t *testing.T, mark string) (n int) {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range found {
		if pid := strings.Split(name, "/")[2]; pid == strconv.Itoa(os.Getpid()) {
			continue
		}
		if b, err := os.ReadFile(name); err == nil && bytes.Contains(b, []byte(mark)) {
			n++
		}
	}
	return n
}

// eventually waits until no process carries mark.
func gone(t *testing.T, mark string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		n := children(t, mark)
		if n == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d processes are left", n)
		}
	}
}

// mark returns a number that is good for sleep and that no other process has.
func mark(t *testing.T, i int) string {
	return fmt.Sprintf("300.%d%d", os.Getpid(), time.Now().UnixNano()+int64(i))
}

// TestS54_HungProgram: many logins against a program that hangs and has children.
func TestS54_HungProgram(t *testing.T) {
	m := mark(t, 0)
	const timeout = time.Second
	e := newExec(t, "sleep "+m+" & sleep "+m+"; exit 0", program.ExecOptions{Timeout: timeout})
	var asking sync.WaitGroup
	for i := range 200 {
		asking.Go(func() {
			begin := time.Now()
			_, err := e.Ask(t.Context(), login("user"+strconv.Itoa(i), "x"))
			if took := time.Since(begin); !errors.Is(err, program.ErrTimeout) || took > timeout+10*time.Second {
				t.Errorf("Ask = %v after %v", err, took)
			}
		})
	}
	time.Sleep(timeout / 2) // it is hanging now, and this only samples
	if n := children(t, m); n > 32 {
		t.Errorf("%d children, want at most 16 of the program with one more each", n)
	}
	asking.Wait()
	gone(t, m)
}

// The client leaves, or the server stops: what runs is ended, with its children.
func TestS54_ClientLeaves(t *testing.T) {
	for name, leave := range map[string]func(cancel func(), e *program.Exec){
		"client": func(cancel func(), _ *program.Exec) { cancel() },
		"server": func(_ func(), e *program.Exec) { e.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			m := mark(t, 1)
			started, await := signal(t)
			e := newExec(t, `(sleep `+m+`) & echo >"$1"; sleep `+m, program.ExecOptions{Args: []string{started}})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			failed := make(chan error, 1)
			go func() {
				_, err := program.NewCache(e, program.CacheOptions{}).Ask(ctx, login("alice", "x"))
				failed <- err
			}()
			await()
			leave(cancel, e)
			if err := <-failed; err == nil {
				t.Fatal("Ask = nil, want an error")
			}
			gone(t, m)
			if name == "server" {
				if _, err := e.Ask(t.Context(), login("alice", "x")); !errors.Is(err, program.ErrClosed) {
					t.Errorf("Ask after Close = %v, want ErrClosed", err)
				}
			}
		})
	}
}

// A program that has gone into another group ends when it has to, as any other: who asks waits for it, and so does Close.
func TestS54_LeavesItsGroup(t *testing.T) {
	started, await := signal(t)
	text := "import os, sys, time; os.setpgid(0, os.getpgid(os.getppid())); open(sys.argv[1], 'w').write('x'); time.sleep(300)"
	e, err := program.NewExec("python3", program.ExecOptions{Args: []string{"-c", text, started}})
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := e.Ask(t.Context(), login("alice", "x"))
		failed <- err
	}()
	await()
	go e.Close()
	select {
	case err := <-failed:
		if !errors.Is(err, program.ErrClosed) {
			t.Errorf("Ask = %v, want ErrClosed", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("Ask waits for a program that nobody ends")
	}
}

// What a program leaves behind in its group ends with it.
func TestExecForksChildren(t *testing.T) {
	m := mark(t, 2)
	e := newExec(t, "sleep "+m+" & sleep "+m+" & exit 0", program.ExecOptions{})
	if a, err := e.Ask(t.Context(), login("alice", "x")); err != nil || a.Result != program.Allow {
		t.Fatalf("Ask = %v, %v", a, err)
	}
	gone(t, m)
}

func TestExecBounds(t *testing.T) {
	e := newExec(t, `sleep 300`, program.ExecOptions{Processes: 1})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var asking sync.WaitGroup
	var mu sync.Mutex
	count := map[error]int{}
	for i := range 1 + 16 + 5 {
		asking.Go(func() {
			_, err := e.Ask(ctx, login("user"+strconv.Itoa(i), "x"))
			mu.Lock()
			defer mu.Unlock()
			if count[err]++; count[program.ErrBusy] == 5 {
				cancel()
			}
		})
	}
	asking.Wait()
	if want := map[error]int{program.ErrBusy: 5, context.Canceled: 17}; !cmp.Equal(count, want, cmp.Comparer(func(a, b error) bool { return errors.Is(a, b) })) {
		t.Errorf("the questions ended with %v, want %v", count, want)
	}
}

func TestExecMissing(t *testing.T) {
	notExecutable := script(t, "exit 0")
	if err := os.Chmod(notExecutable, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"": "no command is set", "no-such-program": "executable file not found", "/no/such/program": "no such file",
		notExecutable: "permission denied", t.TempDir(): "directory",
	} {
		if _, err := program.NewExec(name, program.ExecOptions{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("NewExec(%q) = %v, want %q", name, err, want)
		}
	}
	path := script(t, "exit 0")
	e, err := program.NewExec(path, program.ExecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Ask(t.Context(), login("alice", "x")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Ask of a program that went away = %v, want that it is not there", err)
	}
}

// What a program complains of is in the log, no more of it than somebody reads, and in no error.
func TestExecComplains(t *testing.T) {
	var log bytes.Buffer
	e := newExec(t, "echo it is broken >&2; head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 9",
		program.ExecOptions{Log: slog.New(slog.NewJSONHandler(&log, nil))})
	_, err := e.Ask(t.Context(), login("alice", "hunter2"))
	if err == nil || strings.Contains(err.Error(), "broken") {
		t.Errorf("Ask = %v, want an error that quotes nothing", err)
	}
	var line struct{ Msg, Command, Stderr string }
	if err := json.Unmarshal(log.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(line.Stderr, "it is broken\nxxx") || len(line.Stderr) != 4096 {
		t.Errorf("the log has %d bytes of the complaint: %.40q", len(line.Stderr), line.Stderr)
	}
}
