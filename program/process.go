package program

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// command is a program that can be started.
type command struct {
	path string   // absolute
	argv []string // of it, from the configuration only
	env  []string
}

// newCommand finds the program called name, a path or a name in PATH.
func newCommand(name string, args []string, cleanEnvironment bool, environment map[string]string) (command, error) {
	if name == "" {
		return command{}, errors.New("no command is set")
	}
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return command{}, fmt.Errorf("invalid command: %w", err)
	}
	if err := keepFiles(); err != nil {
		return command{}, err
	}
	c := command{path: path, argv: append([]string{name}, args...), env: os.Environ()}
	if cleanEnvironment {
		c.env = nil
		for _, key := range []string{"PATH", "LANG"} {
			if value, ok := os.LookupEnv(key); ok {
				c.env = append(c.env, key+"="+value)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(environment)) {
		c.env = slices.DeleteFunc(c.env, func(have string) bool { return len(have) > len(key) && have[:len(key)+1] == key+"=" })
		c.env = append(c.env, key+"="+environment[key])
	}
	return c, nil
}

// keepFiles makes sure that no program gets a file that we have inherited; those that we open are for us anyway.
func keepFiles() error {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, entry := range open {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
	return nil
}

// process is a program that runs, in a process group of its own. It has no file of ours open besides its three streams.
// When we die before it does, the kernel ends it.
type process struct {
	pid   int
	ended *os.File    // can be read when it has ended (pidfd_open(2))
	fds   [3]int      // our ends of its streams; -1 is closed
	open  [3]*os.File // the same after files

	mu     sync.Mutex
	reaped bool // pid may be somebody else's
}

// The places in process.fds.
const (
	stdin = iota
	stdout
	stderr
)

// start starts c. As much of input as a pipe takes is there when the program begins; the rest is returned.
func (c *command) start(input []byte) (_ *process, rest []byte, err error) {
	p := &process{fds: [3]int{-1, -1, -1}}
	theirs := [3]int{-1, -1, -1}
	defer func() {
		closeAll(theirs[:])
		if err != nil {
			p.close()
		}
	}()
	for i := range theirs {
		var pipe [2]int // to read, to write
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
			return nil, nil, os.NewSyscallError("pipe", err)
		}
		theirs[i], p.fds[i] = pipe[1], pipe[0]
		if i == stdin {
			theirs[i], p.fds[i] = pipe[0], pipe[1]
		}
		if err := unix.SetNonblock(p.fds[i], true); err != nil {
			return nil, nil, err
		}
	}
	if rest, err = fill(p.fds[stdin], input); err != nil {
		return nil, nil, err
	}
	ended := -1
	p.pid, err = syscall.ForkExec(c.path, c.argv, &syscall.ProcAttr{
		Env: c.env, Files: []uintptr{uintptr(theirs[0]), uintptr(theirs[1]), uintptr(theirs[2])},
		Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, PidFD: &ended},
	})
	if errors.Is(err, syscall.ENOEXEC) {
		err = fmt.Errorf("%w; a script begins with #! and the path of its interpreter", err)
	}
	if err != nil {
		return nil, nil, &os.PathError{Op: "start", Path: c.path, Err: err}
	}
	if ended < 0 {
		err = errors.New("start a program: this needs Linux 5.4 or later")
	} else {
		err = unix.SetNonblock(ended, true)
		p.ended = os.NewFile(uintptr(ended), "program")
	}
	if err != nil {
		p.kill()
		_, _ = p.reap()
		return nil, nil, err
	}
	return p, rest, nil
}

// fill writes as much of b to fd as it takes without waiting, and returns the rest.
func fill(fd int, b []byte) (rest []byte, err error) {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return nil, err
		}
		b = b[max(n, 0):]
	}
	return b, nil
}

// files makes the streams files that goroutines can wait for.
func (p *process) files() {
	for i, fd := range p.fds {
		if fd >= 0 {
			p.open[i], p.fds[i] = os.NewFile(uintptr(fd), "program"), -1
		}
	}
}

// kill ends the process, wherever it has gone, and its group, with all that it has started, unless it has ended. Their
// id is nobody else's as long as it has not been reaped.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		_ = unix.Kill(-p.pid, unix.SIGKILL) // nothing is left of the group when it fails
		_ = unix.Kill(p.pid, unix.SIGKILL)  // which the process may have left
	}
}

// endsWithin waits that long for the end of the process, without a thread, and tells whether it has come.
func (p *process) endsWithin(d time.Duration) bool {
	_ = p.ended.SetReadDeadline(time.Now().Add(d))
	if p.awaitEnd() == nil {
		return true
	}
	_ = p.ended.SetReadDeadline(time.Time{})
	return false
}

// wait waits for the end of the process, without a thread. It returns what finish does.
func (p *process) wait() (syscall.WaitStatus, error) {
	err := p.awaitEnd()
	status, finishErr := p.finish()
	return status, errors.Join(err, finishErr)
}

// awaitEnd waits for the end of the process, which is still to be reaped then.
func (p *process) awaitEnd() error {
	conn, err := p.ended.SyscallConn()
	if err != nil {
		return err
	}
	return conn.Read(func(fd uintptr) bool {
		return !errors.Is(unix.Waitid(unix.P_PIDFD, int(fd), nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EAGAIN)
	})
}

// finish ends what a process that has ended has left behind in its group, and returns how it has ended.
func (p *process) finish() (syscall.WaitStatus, error) {
	p.kill()
	return p.reap()
}

// leftoverTime is how long the streams are read after the process group has ended. Only what has left the group can hold
// them open for longer.
const leftoverTime = time.Second

// lastWords bounds how long the streams are read from now on.
func (p *process) lastWords() {
	soon := time.Now().Add(leftoverTime)
	for _, f := range p.open {
		_ = f.SetDeadline(soon) // a closed one needs none
	}
}

// drain reads from fd what is there, up to most bytes, and tells whether that is all that will ever be, or enough.
func drain(fd, most int) (b []byte, whole bool) {
	var short [512]byte
	for len(b) < most {
		n, err := unix.Read(fd, short[:min(len(short), most-len(b))])
		switch {
		case n > 0:
			b = append(b, short[:n]...)
		case err == nil:
			return b, true
		case !errors.Is(err, unix.EINTR):
			return b, false
		}
	}
	return b, true
}

// reap takes the exit status of the process, which has ended or is about to.
func (p *process) reap() (status syscall.WaitStatus, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if _, err = syscall.Wait4(p.pid, &status, 0, nil); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	p.reaped = true
	return status, err
}

func (p *process) isReaped() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reaped
}

// isOpen tells whether the streams are files.
func (p *process) isOpen() bool { return p.open[stdout] != nil }

// closeInput tells the program that there is nothing more to read.
func (p *process) closeInput() {
	closeAll(p.fds[:1])
	p.open[stdin].Close()
}

func (p *process) close() {
	closeAll(p.fds[:])
	for _, f := range p.open {
		f.Close() // a nil file does nothing
	}
	p.ended.Close()
}

// closeAll closes descriptors and makes them -1.
func closeAll(fds []int) {
	for i, fd := range fds {
		if fd >= 0 {
			unix.Close(fd)
			fds[i] = -1
		}
	}
}

// maxComplaint is how many bytes of a program's standard error are kept for the log.
const maxComplaint = 4 << 10

// complaint keeps the first bytes that are written to it and takes all others.
type complaint struct {
	mu   sync.Mutex
	text []byte
}

func (c *complaint) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text = append(c.text, b[:min(len(b), maxComplaint-len(c.text))]...)
	return len(b), nil
}

func (c *complaint) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.text)
}
