//go:build linux

package e2e_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A world is a machine for one test, so that programs find their files where their configurations say, and listen on the
// ports that these say: a root folder laid over that of this machine, whose changes are in memory, and a network of its
// own, in which elsewhere is an address beside loopback. It needs root, and ends with the test.
type world struct {
	pid   int
	hosts string // the file /etc/hosts for who is in the network and not in the root folder
	wait  bool   // whether hosts has changed since the world began
}

// elsewhere is an address of the world that is not a loopback address.
const elsewhere = "192.0.2.1"

const worldScript = `set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root"
mount --rbind /proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
touch "$1/root/usr/bin/customhouse"
mount --bind "$2" "$1/root/usr/bin/customhouse"
mount --bind "$3" /etc/hosts
ip link set lo up
ip address add ` + elsewhere + `/32 dev lo
echo ready
exec chroot "$1/root" sleep infinity`

func newWorld(t *testing.T) *world {
	t.Helper()
	needRoot(t)
	need(t, "ip")
	w := &world{hosts: write(t, t.TempDir(), "hosts", "")}
	p := start(t, need(t, "unshare"), []string{"--mount", "--net", "sh", "-c", worldScript, "sh", t.TempDir(), binary, w.hosts}, nil)
	t.Cleanup(p.kill) // sleep ends by the signal, which would count as a failure
	p.await(t, func() bool { return strings.Contains(p.stdout.String(), "ready") })
	p.await(t, func() bool { // sh becomes chroot, which becomes sleep
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.cmd.Process.Pid))
		return err == nil && string(name) == "sleep\n"
	})
	w.pid = p.cmd.Process.Pid
	return w
}

// path is where a file of the world is found from outside.
func (w *world) path(name string) string {
	return filepath.Join("/proc", strconv.Itoa(w.pid), "root", name)
}

// copyIn copies a folder into the world.
func (w *world) copyIn(t *testing.T, name, from string) {
	t.Helper()
	must(t, os.CopyFS(w.path(name), os.DirFS(from)))
}

// network is the command line before that of a program that is to be in the network of the world.
func (w *world) network(t *testing.T) []string {
	t.Helper()
	return []string{need(t, "nsenter"), "--target=" + strconv.Itoa(w.pid), "--mount", "--net", "--"}
}

// start runs a program in the world, with nothing in its environment but env.
func (w *world) start(t *testing.T, env []string, line ...string) *process {
	t.Helper()
	args := append([]string{"--target=" + strconv.Itoa(w.pid), "--mount", "--net", "--root", "--wdns=/", "--"}, line...)
	return start(t, need(t, "nsenter"), args, append(env, "PATH=/usr/sbin:/usr/bin:/sbin:/bin"))
}

// resolve makes a name stand for an address of the world.
func (w *world) resolve(t *testing.T, name, addr string) {
	t.Helper()
	write(t, filepath.Dir(w.hosts), "hosts", addr+" "+name+"\n") // not renamed: it is a mount
	if w.wait {
		time.Sleep(6 * time.Second) // Go's resolver looks at the file every five
	}
	w.wait = true
}

// do runs f on a thread that is in the network of the world meanwhile.
func (w *world) do(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread() // it must not end: programs that it has started would end with it
	own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(own)
	other, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", w.pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(other)
	if err := unix.Setns(other, unix.CLONE_NEWNET); err != nil {
		return err
	}
	defer func() {
		if err := unix.Setns(own, unix.CLONE_NEWNET); err != nil {
			panic(err) // every other test would be in the wrong network
		}
	}()
	return f()
}

// listen listens in the world.
func (w *world) listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	var l net.Listener
	must(t, w.do(func() (err error) {
		l, err = net.Listen("tcp", addr)
		return err
	}))
	return l
}

// client speaks HTTP from within the world, where every host is the one at addr.
func (w *world) client(t *testing.T, addr string, trust *tls.Config) *http.Client {
	t.Helper()
	transport := &http.Transport{
		TLSClientConfig: trust,
		DialContext: func(_ context.Context, network, hostPort string) (c net.Conn, err error) {
			_, port, err := net.SplitHostPort(hostPort)
			if err != nil {
				return nil, err
			}
			err = w.do(func() (err error) {
				c, err = net.DialTimeout(network, net.JoinHostPort(addr, port), 10*time.Second)
				return err
			})
			return c, err
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}
