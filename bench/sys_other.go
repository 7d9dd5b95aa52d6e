//go:build !linux

package main

import (
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// Elsewhere than on Linux the package compiles and a single scenario can be run; nothing is pinned and the CPU time of
// the server is not known.

type discarder struct {
	conn *net.TCPConn
	buf  []byte
}

func newDiscarder(c *net.TCPConn) (*discarder, error) {
	return &discarder{conn: c, buf: make([]byte, 256<<10)}, nil
}

func (d *discarder) discard(n int64) (int64, error) {
	got, err := d.conn.Read(d.buf[:min(n, int64(len(d.buf)))])
	if got > 0 {
		err = nil
	}
	return int64(got), err
}

func allowedCores() []int             { return nil }
func pinThread(int, []int) error      { return nil }
func pinSelf([]int) error             { return nil }
func cpuTime(int) time.Duration       { return 0 }
func childAttr() *syscall.SysProcAttr { return nil }
func flush()                          {}
func warmMemory(int64) func()         { return func() {} }

func standardStreams() (io.Reader, io.Writer) { return os.Stdin, os.Stdout }
