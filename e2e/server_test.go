//go:build linux

package e2e_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"testing"
)

// A server is a running customhouse.
type server struct {
	*process
	host string // 127.0.0.1:PORT
	url  string // http://127.0.0.1:PORT, or https
}

var listening = regexp.MustCompile(`listening on (https?)://(127\.0\.0\.1:\d+)`)

// serve starts customhouse with a configuration file on a free port and a new data folder.
func serve(t *testing.T, config string) *server {
	t.Helper()
	return serveData(t, t.TempDir(), "-c", config)
}

// serveData starts customhouse on a free port and a given data folder.
func serveData(t *testing.T, data string, args ...string) *server {
	t.Helper()
	return serveUnder(t, nil, data, args...)
}

// serveUnder is serveData with a command line before that of customhouse, which it must become in the end.
func serveUnder(t *testing.T, wrapper []string, data string, args ...string) *server {
	t.Helper()
	line := append(slices.Clone(wrapper), binary, "serve", "--listen", "127.0.0.1:0", "--data", data)
	line = append(line, args...)
	p := start(t, line[0], line[1:], []string{"HOME=" + t.TempDir()})
	var match []string
	p.await(t, func() bool {
		match = listening.FindStringSubmatch(p.stdout.String())
		return match != nil
	})
	return &server{process: p, host: match[2], url: match[1] + "://" + match[2]}
}

// people is the configuration of most tests: writer may do everything under acc/ and pub/ and read the catalog,
// reader may pull under acc/, everyone may pull under pub/ without an account, and nobody may do anything else.
// The password of NAME is NAME-secret.
func people(t *testing.T) string {
	t.Helper()
	return write(t, t.TempDir(), "customhouse.yml", read(t, "testdata/people.yml"))
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func write(t *testing.T, dir, name, content string) (path string) {
	t.Helper()
	path = filepath.Join(dir, name)
	syscall.ForkLock.RLock() // a client that another test starts meanwhile would have it open, and no script could be started
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
