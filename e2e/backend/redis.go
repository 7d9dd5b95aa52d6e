package backend

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/gomodule/redigo/redis"
)

// Redis is a Redis server that keeps nothing on disk and wants a password.
type Redis struct {
	*Process
	Addr string // 127.0.0.1:PORT
	TLS  string // the same with TLS, by a certificate that nobody vouches for
	Unix string // its socket
}

// RedisPassword is that of every Redis.
const RedisPassword = "redis-secret"

// NewRedis starts a Redis server, which holds all slots of a cluster of one if that is wanted.
func NewRedis(t testing.TB, cluster bool) *Redis {
	t.Helper()
	server := need(t, "redis-server")
	dir := folder(t, nil)
	plain, secure := port(t), port(t)
	certificate, key := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "key.pem")
	selfSigned(t, certificate, key)
	socket := filepath.Join(dir, "redis.sock")
	args := []string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(plain), "--tls-port", strconv.Itoa(secure), "--tls-cert-file", certificate, "--tls-key-file", key,
		"--tls-ca-cert-file", certificate, "--tls-auth-clients", "no", "--unixsocket", socket, "--dir", dir, "--save", "", "--requirepass", RedisPassword,
	}
	if cluster {
		args = append(args, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(port(t)))
	}
	r := &Redis{Unix: socket, Addr: fmt.Sprintf("127.0.0.1:%d", plain), TLS: fmt.Sprintf("127.0.0.1:%d", secure)}
	r.Process = start(t, func() *exec.Cmd { return command(nil, server, args...) }, syscall.SIGKILL, func() error {
		_, err := r.do("PING")
		return err
	})
	if cluster {
		r.Do(t, "CLUSTER", "ADDSLOTSRANGE", 0, 16383)
		for up := errors.New("not asked yet"); up != nil; {
			_, up = r.do("SET", "probe", 1)
		}
	}
	return r
}

// Do expects that the server does as it is told.
func (r *Redis) Do(t testing.TB, name string, args ...any) {
	t.Helper()
	if _, err := r.do(name, args...); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func (r *Redis) do(name string, args ...any) (any, error) {
	c, err := redis.Dial("tcp", r.Addr, redis.DialPassword(RedisPassword))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Do(name, args...)
}
