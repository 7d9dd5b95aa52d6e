//go:build linux

package e2e_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// houseConfig is people.yml with a rule that lets reader pull under toggle/, or one that does not.
func houseConfig(t *testing.T, open bool, more ...string) string {
	t.Helper()
	effect := "deny"
	if open {
		effect = "allow"
	}
	rule := fmt.Sprintf("rules:\n  - match: {account: reader, type: repository, name: \"toggle/**\"}\n    actions: [pull]\n    effect: %s\n", effect)
	people := strings.Replace(read(t, "testdata/people.yml"), "rules:\n", rule, 1)
	return "log: {requests: false}\n" + people + strings.Join(more, "")
}

// replace puts a file into the place of another, as most programs save.
func replace(t *testing.T, path, content string) {
	t.Helper()
	dir, name := filepath.Split(path)
	must(t, os.Rename(write(t, dir, "."+name+".new", content), path))
}

// open tells whether reader may pull under toggle/.
func (a *api) open() (bool, error) {
	got, err := a.as("reader").get("/v2/toggle/app/tags/list")
	switch {
	case err != nil:
		return false, err
	case got.status == 404:
		return true, nil
	case got.status == 403:
		return false, nil
	}
	return false, got.is(403)
}

// awaitOpen waits until the rule is what it should be, and returns how long that took.
func (a *api) awaitOpen(t *testing.T, want bool, limit time.Duration) time.Duration {
	t.Helper()
	return await(t, limit, func() bool {
		got, err := a.open()
		must(t, err)
		return got == want
	})
}

func await(t *testing.T, limit time.Duration, ready func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !ready() {
		if time.Since(began) > limit {
			t.Fatalf("not in effect after %s", limit)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return time.Since(began)
}

// load makes requests until it is stopped, and counts those that are not answered as they should be.
type load struct {
	requests, failed atomic.Int64
	first            atomic.Pointer[string]
	stopped          chan struct{}
	wg               sync.WaitGroup
}

func startLoad(request func() error) *load {
	l := &load{stopped: make(chan struct{})}
	for range 4 {
		l.wg.Go(func() {
			for {
				select {
				case <-l.stopped:
					return
				case <-time.After(5 * time.Millisecond):
				}
				l.requests.Add(1)
				if err := request(); err != nil {
					l.failed.Add(1)
					s := err.Error()
					l.first.CompareAndSwap(nil, &s)
				}
			}
		})
	}
	return l
}

func (l *load) stop(t *testing.T) {
	t.Helper()
	close(l.stopped)
	l.wg.Wait()
	if n := l.failed.Load(); n > 0 {
		t.Errorf("%d of %d requests failed, the first with %s", n, l.requests.Load(), *l.first.Load())
	}
	t.Logf("%d requests meanwhile", l.requests.Load())
}

// pullLoad pulls an image with a password.
func pullLoad(t *testing.T, a *api) *load {
	t.Helper()
	writer, reader := a.as("writer"), a.as("reader")
	_, err := writer.pushImage("acc/load", "latest", bytesOf(100, "config"), bytesOf(10<<10, "layer"))
	must(t, err)
	return startLoad(func() error {
		got, err := reader.get("/v2/acc/load/manifests/latest")
		if err == nil {
			err = got.is(200)
		}
		if err != nil {
			return err
		}
		return reader.wantBlob("acc/load", bytesOf(10<<10, "layer"))
	})
}

// R23: reloads cost no request, and what they say holds at once.
func TestR23_GoodReloads(t *testing.T) {
	t.Parallel()
	config := write(t, t.TempDir(), "customhouse.yml", houseConfig(t, false))
	s := serve(t, config)
	a := newAPI(t, s.url)
	l := pullLoad(t, a)
	var took []time.Duration
	for i := range 100 {
		open := i%2 == 0
		replace(t, config, houseConfig(t, open))
		must(t, s.cmd.Process.Signal(syscall.SIGHUP))
		took = append(took, a.awaitOpen(t, open, 20*time.Second))
	}
	slices.Sort(took)
	t.Logf("in effect after SIGHUP: median %s, slowest %s", took[50], took[99])
	if took[50] > time.Second {
		t.Errorf("in effect after %s, want within a second", took[50])
	}
	for i := range 3 {
		open := i%2 == 0
		replace(t, config, houseConfig(t, open))
		t.Logf("in effect after a change of the file: %s", a.awaitOpen(t, open, 20*time.Second))
	}
	l.stop(t)
	must(t, s.stop())
}

// A change that comes while the one before is being read is not forgotten.
func TestR23_LastReloadHolds(t *testing.T) {
	t.Parallel()
	config := write(t, t.TempDir(), "customhouse.yml", houseConfig(t, false))
	s := serve(t, config)
	a := newAPI(t, s.url)
	for i := range long(6, 40) {
		open := i%2 == 0
		replace(t, config, houseConfig(t, !open))
		before := strings.Count(s.all.String(), "was read again")
		must(t, s.cmd.Process.Signal(syscall.SIGHUP))
		time.Sleep(time.Duration(i%12) * 300 * time.Microsecond)
		replace(t, config, houseConfig(t, open))
		await(t, 20*time.Second, func() bool { return strings.Count(s.all.String(), "was read again") > before })
		a.awaitOpen(t, open, 20*time.Second)
	}
}

// R24: a configuration with a mistake changes nothing, and the log says where the mistake is.
func TestR24_BadReloads(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := houseConfig(t, true)
	config := write(t, dir, "customhouse.yml", good)
	_, certificate, _ := issueCertificate(t, t.TempDir())
	_, _, otherKey := issueCertificate(t, t.TempDir())
	htpasswd := write(t, dir, "htpasswd", "somebody:no bcrypt\n")
	s := serve(t, config)
	a := newAPI(t, s.url)
	l := pullLoad(t, a)
	for _, test := range []struct{ name, content, says string }{
		{"syntax", good + "\nauth: [", "customhouse.yml:"},
		{"unknown key", good + "\nlitsen: 127.0.0.1:1\n", "litsen"},
		{"wrong type", good + "\ndrain: [1, 2]\n", "drain"},
		{"bad pattern", strings.Replace(good, `"toggle/**"`, `"/[/"`, 1), "rules[0]"},
		{"bad action", strings.Replace(good, "actions: [pull]", "actions: [fly]", 1), "rules[0]"},
		{"certificate is missing", good + "\ntls: {certificate: /nowhere/cert.pem, key: /nowhere/key.pem}\n", "tls.certificate"},
		{"certificate and key differ", good + "\ntls: {certificate: " + certificate + ", key: " + otherKey + "}\n", certificate},
		{"htpasswd is missing", strings.Replace(good, "auth:\n", "auth:\n  htpasswd: /nowhere/htpasswd\n", 1), "auth.htpasswd"},
		{"htpasswd is wrong", strings.Replace(good, "auth:\n", "auth:\n  htpasswd: "+htpasswd+"\n", 1), "htpasswd"},
		{"key of tokens is wrong", good + "\ntoken: {key: " + htpasswd + "}\n", "htpasswd"},
		{"empty", "", "customhouse.yml"},
		{"half written", good[:len(good)-30], "customhouse.yml:"},
		{"no text", "\x00\x01\x02", "customhouse.yml"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := len(s.all.String())
			replace(t, config, test.content)
			must(t, s.cmd.Process.Signal(syscall.SIGHUP))
			var said string
			await(t, 20*time.Second, func() bool {
				said = s.all.String()[before:]
				return strings.Contains(said, "is not taken") || strings.Contains(said, "was read again")
			})
			if !strings.Contains(said, "is not taken") || !strings.Contains(said, test.says) {
				t.Errorf("log = %s\nwant that it is not taken because of %q", said, test.says)
			}
			if open, err := a.open(); !open {
				t.Errorf("the old rules do not hold: %v", err)
			}
		})
	}
	t.Run("a folder", func(t *testing.T) {
		before := len(s.all.String())
		must(t, os.Remove(config), os.Mkdir(config, 0o700))
		await(t, 20*time.Second, func() bool { return strings.Contains(s.all.String()[before:], "is not taken") })
		must(t, os.Remove(config))
	})
	replace(t, config, houseConfig(t, false))
	a.awaitOpen(t, false, 20*time.Second)
	l.stop(t)
	must(t, s.stop())
}

// changes are ways in which people and programs change a file.
var changes = []struct {
	name string
	do   func(t *testing.T, path, content string)
}{
	{"truncate and write", func(t *testing.T, path, content string) {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
		must(t, err)
		_, err = f.WriteString(content[:len(content)/2])
		must(t, err)
		time.Sleep(20 * time.Millisecond)
		_, err = f.WriteString(content[len(content)/2:])
		must(t, err, f.Close())
	}},
	{"rename", replace},
	{"symbolic link", relink},
	{"symbolic link again", relink},
	{"editor", func(t *testing.T, path, content string) {
		dir, name := filepath.Split(path)
		must(t, ignoreMissing(os.Rename(path, path+"~")))
		time.Sleep(20 * time.Millisecond)
		write(t, dir, name, content)
	}},
}

// relink changes a file as Kubernetes does in a ConfigMap that is mounted.
func relink(t *testing.T, path, content string) {
	t.Helper()
	dir, name := filepath.Split(path)
	version, err := os.MkdirTemp(dir, "..data-")
	must(t, err)
	write(t, version, name, content)
	link := filepath.Join(dir, "..new")
	must(t, os.Symlink(filepath.Base(version), link), os.Rename(link, filepath.Join(dir, "..data")))
	if info, err := os.Lstat(path); err != nil || info.Mode()&os.ModeSymlink == 0 {
		must(t, ignoreMissing(os.Remove(path)), os.Symlink(filepath.Join("..data", name), path))
	}
}

// R26: however a file changes, the change holds within 2 s.
func TestR26_ChangeStyles(t *testing.T) {
	t.Parallel()
	t.Run("config", func(t *testing.T) {
		config := write(t, t.TempDir(), "customhouse.yml", houseConfig(t, false))
		a := newAPI(t, serve(t, config).url)
		for i, change := range changes {
			change.do(t, config, houseConfig(t, i%2 == 0))
			t.Logf("%s: %s", change.name, a.awaitOpen(t, i%2 == 0, 20*time.Second))
		}
	})
	t.Run("htpasswd", func(t *testing.T) {
		dir := t.TempDir()
		hash := func(account string) string { // that people.yml has
			_, rest, _ := strings.Cut(read(t, "testdata/people.yml"), account+`: {password: "`)
			h, _, _ := strings.Cut(rest, `"`)
			return h
		}
		both := "writer:" + hash("writer") + "\nreader:" + hash("reader") + "\n"
		writer := "writer:" + hash("writer") + "\n"
		htpasswd := write(t, dir, "htpasswd", both)
		_, rules, _ := strings.Cut(houseConfig(t, true), "rules:\n")
		config := write(t, t.TempDir(), "customhouse.yml", "auth: {htpasswd: "+htpasswd+"}\nrules:\n"+rules)
		a := newAPI(t, serve(t, config).url)
		known := func() bool {
			got, err := a.as("reader").get("/v2/toggle/app/tags/list")
			must(t, err)
			return got.status == 404
		}
		if !known() {
			t.Fatal("reader is not known")
		}
		for i, change := range changes {
			content := []string{writer, both}[i%2]
			change.do(t, htpasswd, content)
			t.Logf("%s: %s", change.name, await(t, 20*time.Second, func() bool { return known() == (i%2 == 1) }))
		}
	})
	t.Run("certificate", func(t *testing.T) {
		_, certificate, _ := issueCertificate(t, t.TempDir())
		key := write(t, t.TempDir(), "server.key", read(t, filepath.Join(filepath.Dir(certificate), "server.key")))
		config := openConfig(t, fmt.Sprintf("tls: {certificate: %s, key: %s}\n", certificate, key))
		s := serve(t, config)
		for _, change := range changes {
			_, nextCertificate, nextKey := issueCertificate(t, t.TempDir())
			change.do(t, certificate, read(t, nextCertificate))
			change.do(t, key, read(t, nextKey))
			want := leaf(t, nextCertificate, nextKey)
			t.Logf("%s: %s", change.name, await(t, 20*time.Second, func() bool {
				got, err := shakeHands(s.host)
				must(t, err)
				return bytes.Equal(got, want)
			}))
		}
	})
}

// leaf is the certificate in a file.
func leaf(t *testing.T, certificate, key string) []byte {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(certificate, key)
	must(t, err)
	return pair.Certificate[0]
}

// shakeHands returns the certificate that a server presents.
func shakeHands(host string) ([]byte, error) {
	c, err := tls.Dial("tcp", host, &tls.Config{InsecureSkipVerify: true}) // which one it is, is what we ask
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].Raw, nil
}

// R27: new certificates are taken without a handshake that fails.
func TestR27_CertificateRotation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, certificate, key := issueCertificate(t, dir)
	s := serve(t, openConfig(t, fmt.Sprintf("tls: {certificate: %s, key: %s}\n", certificate, key)))
	a := newAPI(t, s.url)
	a.http.Transport = &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	l := startLoad(func() error {
		got, err := a.get("/v2/")
		return errors.Join(err, got.is(200))
	})
	var slowest time.Duration
	for range long(6, 20) {
		_, nextCertificate, nextKey := issueCertificate(t, t.TempDir())
		replace(t, certificate, read(t, nextCertificate))
		replace(t, key, read(t, nextKey))
		want := leaf(t, nextCertificate, nextKey)
		slowest = max(slowest, await(t, 20*time.Second, func() bool {
			got, err := shakeHands(s.host)
			must(t, err)
			return bytes.Equal(got, want)
		}))
	}
	t.Logf("in use after at most %s", slowest)
	l.stop(t)
}
