package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// process is a server that the bench started.
type process struct {
	cmd   *exec.Cmd
	addr  string
	ready time.Duration // from the start to the first answer
	log   bytes.Buffer  // what it printed; read only after it has ended
	ended chan struct{} // closed when it has ended
}

// freeAddr returns a loopback address that nobody listens on.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// startProcess runs cmd, which is to serve addr, on some of the cores (none for all), and waits until it answers. Only a
// goroutine bound to its thread may call it: the child inherits that thread's cores and ends with it. The process is
// returned, ended, if it did not get ready, and nil if it did not start.
func startProcess(ctx context.Context, cmd *exec.Cmd, addr string, c cores, on []int) (*process, error) {
	p := &process{cmd: cmd, addr: addr, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	cmd.SysProcAttr = childAttr()
	cmd.WaitDelay = time.Second
	if len(on) > 0 {
		cmd.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(len(on)))
		if err := pinThread(0, on); err != nil {
			return nil, err
		}
		defer pinThread(0, c.all) // cannot fail: it had them before
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		cmd.Wait() // how it ended does not matter: it was told to, or answers no more
		close(p.ended)
	}()
	if err := p.awaitReady(ctx); err != nil {
		p.stop()
		return p, fmt.Errorf("%s: %w: %s", cmd.Path, err, bytes.TrimSpace(p.log.Bytes()))
	}
	p.ready = time.Since(begin)
	return p, nil
}

// awaitReady polls GET /v2/ every half millisecond; it is ready when it answers 200, 401 because it wants a token, or 404
// because it is a token service.
func (p *process) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		resp, err := httpGet(ctx, "http://"+p.addr+"/v2/", "")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusNotFound {
				return nil
			}
		}
		select {
		case <-p.ended:
			return errors.New("ended before it was ready")
		case <-ctx.Done():
			return errors.New("not ready in time")
		case <-time.After(500 * time.Microsecond):
		}
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends the process if there is one and it runs, with SIGKILL if SIGTERM has not worked within ten seconds, and waits for it.
func (p *process) stop() {
	if p == nil {
		return
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		p.cmd.Process.Kill()
		<-p.ended
	}
}
