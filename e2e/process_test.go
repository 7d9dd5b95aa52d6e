//go:build linux

package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	commandTime = 2 * time.Minute  // the most a client may take; they take a second
	startTime   = 30 * time.Second // the most a daemon may take to be ready
	stopTime    = 40 * time.Second // the most a daemon may take to end: customhouse drains for 30 s
)

// A client is a program with the environment of one person, to be run any number of times.
type client struct {
	path  string
	args  []string // before those of each run
	env   []string // beside PATH
	dir   string   // empty: the folder of the tests
	stdin string
}

// with returns a client with more environment, as "KEY=value".
func (c client) with(env ...string) client {
	c.env = append(c.env[:len(c.env):len(c.env)], env...)
	return c
}

// in returns a client that works in a folder.
func (c client) in(dir string) client {
	c.dir = dir
	return c
}

// reads returns a client that is given stdin.
func (c client) reads(stdin string) client {
	c.stdin = stdin
	return c
}

// run expects success and returns what the program wrote to stdout, without the last newline.
func (c client) run(t *testing.T, args ...string) string {
	t.Helper()
	return strings.TrimSuffix(c.content(t, args...), "\n")
}

// content expects success and returns what the program wrote to stdout, every byte.
func (c client) content(t *testing.T, args ...string) string {
	t.Helper()
	stdout, all, err := c.exec(t, args)
	if err != nil {
		t.Fatalf("%s: %v\n%s", c.line(args), err, all)
	}
	return stdout
}

// refuse expects failure and, in what the program wrote to stdout and stderr, one of the words, whatever its case.
func (c client) refuse(t *testing.T, words []string, args ...string) {
	t.Helper()
	_, all, err := c.exec(t, args)
	if err == nil {
		t.Fatalf("%s: succeeded, want a failure that says one of %q\n%s", c.line(args), words, all)
	}
	if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() < 0 {
		t.Fatalf("%s: %v\n%s", c.line(args), err, all)
	}
	if !containsAny(all, words) {
		t.Fatalf("%s: failed without saying one of %q\n%s", c.line(args), words, all)
	}
}

func (c client) exec(t *testing.T, args []string) (stdout, all string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.path, append(c.args[:len(c.args):len(c.args)], args...)...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin"}, c.env...)
	cmd.Dir = c.dir
	if c.stdin != "" {
		cmd.Stdin = strings.NewReader(c.stdin)
	}
	var out, both output
	cmd.Stdout = writers{&out, &both}
	cmd.Stderr = &both
	cmd.SysProcAttr = ownGroup()
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	return out.String(), both.String(), err
}

// line is a command as a person would type it, for messages.
func (c client) line(args []string) string {
	return strings.Join(append(append([]string{c.path}, c.args...), args...), " ")
}

// A process is a daemon that the test started and that ends with the test.
type process struct {
	cmd    *exec.Cmd
	stdout output
	all    output // stdout and stderr
	exited chan struct{}
	err    error // of Wait, once exited is closed
	killed bool  // by the test: how it ended says nothing
}

// start runs a daemon until stop is called or the test ends, and shows what it wrote if the test failed.
func start(t *testing.T, path string, args, env []string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(path, args...), exited: make(chan struct{})}
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin"}, env...)
	p.cmd.Stdout = writers{&p.stdout, &p.all}
	p.cmd.Stderr = &p.all
	p.cmd.SysProcAttr = ownGroup()
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if t.Failed() {
			t.Logf("%s wrote:\n%s", path, p.all.tail(4<<10))
		}
	})
	return p
}

// await polls until the daemon is ready.
func (p *process) await(t *testing.T, ready func() bool) {
	t.Helper()
	for deadline := time.Now().Add(startTime); time.Now().Before(deadline); {
		if ready() {
			return
		}
		select {
		case <-p.exited:
			t.Fatalf("%s ended before it was ready", p.cmd.Path)
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Fatalf("%s is not ready after %s", p.cmd.Path, startTime)
}

// stop sends SIGTERM, waits for exit status 0, and kills whatever is left of the process group.
// A second call returns what the first did.
func (p *process) stop() error {
	defer syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	select {
	case <-p.exited:
		if p.killed {
			return nil
		}
		return p.err
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.exited:
		return p.err
	case <-time.After(stopTime):
		return errors.New("still running after SIGTERM and " + stopTime.String())
	}
}

// kill ends the process as a crash would.
func (p *process) kill() {
	p.killed = true
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.exited
}

// shortDir is t.TempDir with a name short enough for a socket in it, and for podman's taste.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ch")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// ownGroup makes a child the head of a process group, which dies with the test binary.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// An output collects what a program writes, and can be read meanwhile.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func (o *output) tail(n int) string {
	s := o.String()
	return s[max(0, len(s)-n):]
}

// writers writes to each in turn; the outputs it is made for never fail.
type writers []*output

func (w writers) Write(p []byte) (int, error) {
	for _, o := range w {
		o.Write(p)
	}
	return len(p), nil
}

func containsAny(s string, words []string) bool {
	s = strings.ToLower(s)
	for _, word := range words {
		if strings.Contains(s, strings.ToLower(word)) {
			return true
		}
	}
	return false
}
