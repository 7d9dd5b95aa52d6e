package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

// discarder receives from a connection and throws the bytes away inside the kernel: with MSG_TRUNC, TCP advances without
// copying (tcp(7)). It wants to be woken for much at a time (SO_RCVLOWAT): since it copies nothing it would be done with
// each segment before the server sends the next, and the server's core would pay for waking it; this halves what a
// server with sendfile reaches.
type discarder struct {
	raw     syscall.RawConn
	recv    func(fd uintptr) bool // made once, so that a receive does not allocate
	setMark func(fd uintptr)      // likewise
	want    int64
	got     int64
	mark    int // SO_RCVLOWAT as it is
	err     error
}

// lowMark is how many bytes of a large body are worth waking up for: of those tried from 64 KiB to 1 MiB, what let the
// limit server send most.
const lowMark = 512 << 10

func newDiscarder(c *net.TCPConn) (*discarder, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	d := &discarder{raw: raw, mark: 1}
	d.setMark = func(fd uintptr) {
		d.err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, d.mark)
	}
	d.recv = func(fd uintptr) bool {
		n, _, errno := syscall.Syscall6(syscall.SYS_RECVFROM, fd, 0, uintptr(d.want), syscall.MSG_TRUNC|syscall.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			d.got, d.err = int64(n), nil
		case syscall.EAGAIN, syscall.EINTR:
			return false
		default:
			d.got, d.err = 0, errno
		}
		return true
	}
	return d, nil
}

// discard throws away at least one and at most n bytes and returns how many. After the last of a body, whatever comes
// next wakes the caller again.
func (d *discarder) discard(n int64) (int64, error) {
	if err := d.wakeAt(min(n, lowMark)); err != nil {
		return 0, err
	}
	d.want = n
	if err := d.raw.Read(d.recv); err != nil {
		return 0, err
	}
	if d.err == nil && d.got == 0 {
		return 0, errors.New("connection closed in the middle of a body")
	}
	if d.got == n {
		return n, d.wakeAt(1)
	}
	return d.got, d.err
}

// wakeAt lets the connection become readable with n bytes.
func (d *discarder) wakeAt(n int64) error {
	if d.mark == int(n) {
		return nil
	}
	d.mark = int(n)
	if err := d.raw.Control(d.setMark); err != nil {
		return err
	}
	return d.err
}

// coreSet is the kernel's bit mask of cores.
type coreSet [16]uint64

// allowedCores lists the cores that this process may run on.
func allowedCores() []int {
	var set coreSet
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SCHED_GETAFFINITY, 0, unsafe.Sizeof(set), uintptr(unsafe.Pointer(&set))); errno != 0 {
		return nil
	}
	var cores []int
	for core := range len(set) * 64 {
		if set[core/64]&(1<<(core%64)) != 0 {
			cores = append(cores, core)
		}
	}
	return cores
}

// pinThread keeps thread tid (0 for the caller's), and what it starts from now on, on the given cores.
func pinThread(tid int, cores []int) error {
	var set coreSet
	for _, core := range cores {
		set[core/64] |= 1 << (core % 64)
	}
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SCHED_SETAFFINITY, uintptr(tid), unsafe.Sizeof(set), uintptr(unsafe.Pointer(&set))); errno != 0 {
		return fmt.Errorf("pin to cores %v: %w", cores, errno)
	}
	return nil
}

// pinSelf keeps every thread of this process on the given cores.
func pinSelf(cores []int) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, task := range tasks {
		tid, err := strconv.Atoi(task.Name())
		if err != nil {
			return err
		}
		if err := pinThread(tid, cores); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return nil
}

// cpuTime returns what a process has used of all cores, in user and kernel mode.
func cpuTime(pid int) time.Duration {
	const schedClock = 2 // CPUCLOCK_SCHED of clock_getcpuclockid(3)
	var ts syscall.Timespec
	clock := int32(^pid<<3 | schedClock)
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		return 0
	}
	return time.Duration(ts.Nano())
}

// childAttr makes a child end with this process, even if that is killed. It binds the child to the thread that starts it.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// flush writes all dirty pages to disk, so that one measurement does not pay for the one before.
func flush() { syscall.Sync() }

// warmMemory makes sure that n bytes of free memory, or half of what is free if that is less, really are the machine's,
// until cool is called. A virtual machine lends free memory to its host in whole blocks and gets it back page by page, at
// a cost that would be that of whoever writes to files. So this touches memory, keeps a page here and there, which keeps
// the blocks, and gives the rest back.
func warmMemory(n int64) (cool func()) {
	const keepEach, page = 1 << 20, 4 << 10
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		return func() {}
	}
	n = min(n, int64(info.Freeram)*int64(info.Unit)/2)
	b, err := syscall.Mmap(-1, 0, int(n), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON|syscall.MAP_POPULATE)
	if err != nil {
		return func() {}
	}
	for i := page; i < len(b); i += keepEach {
		syscall.Madvise(b[i:min(i+keepEach-page, len(b))], syscall.MADV_DONTNEED) // an error only leaves less memory free
	}
	return func() { syscall.Munmap(b) }
}

// rawFile is a file that Go's scheduler does not know is waited for, as in a program in C: telling it at each question wakes
// threads, and that would be measured as the service's.
type rawFile uintptr

func (f rawFile) Read(b []byte) (int, error) {
	n, err := f.call(syscall.SYS_READ, b)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

func (f rawFile) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var some int
		some, err = f.call(syscall.SYS_WRITE, b[n:])
		n += some
	}
	return n, err
}

// call reads or writes b, which is not empty.
func (f rawFile) call(number uintptr, b []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(number, uintptr(f), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// standardStreams are those of a process that does nothing but read and write them.
func standardStreams() (io.Reader, io.Writer) { return rawFile(0), rawFile(1) }
