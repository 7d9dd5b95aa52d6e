//go:build linux

package e2e_test

import (
	"bufio"
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A syscall is one line of strace: when it began and when it had ended, counted in lines.
type syscallLine struct {
	name       string
	args       string
	began, end int
	failed     bool
}

var (
	straceLine    = regexp.MustCompile(`^(\d+) +(\w+)\((.*)$`)
	straceResumed = regexp.MustCompile(`^(\d+) +<\.\.\. \w+ resumed>(.*)$`)
)

// readTrace reads what strace -f -o wrote.
func readTrace(t *testing.T, path string) []*syscallLine {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	var calls []*syscallLine
	open := map[string]*syscallLine{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for n := 0; lines.Scan(); n++ {
		if m := straceResumed.FindStringSubmatch(lines.Text()); m != nil {
			if c := open[m[1]]; c != nil {
				c.end, c.failed = n, strings.Contains(m[2], ") = -1")
				delete(open, m[1])
			}
			continue
		}
		m := straceLine.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		c := &syscallLine{name: m[2], args: m[3], began: n, end: n, failed: strings.Contains(m[3], ") = -1")}
		if head, unfinished := strings.CutSuffix(c.args, " <unfinished ...>"); unfinished {
			c.args, c.end = head, 1<<60
			open[m[1]] = c
		}
		calls = append(calls, c)
	}
	must(t, lines.Err())
	return calls
}

var (
	quoted    = regexp.MustCompile(`"([^"]*)"`)
	file      = regexp.MustCompile(`^\d+<([^>]*)>`)
	createdAs = regexp.MustCompile(`HTTP/1\.1 201 .*Docker-Content-Digest: (sha256|sha512):([0-9a-f]+)`)
)

// An audit knows what is on disk at each line of a trace.
type audit struct {
	fileSynced map[string]int // path of an upload -> line at which its bytes were on disk
	renamed    map[string]int // digits of a digest -> line at which synced bytes had the name
	dirSynced  map[string]int // digits of a digest -> line at which the name was on disk
	made       map[string]int // folder that was made and is not yet on disk -> line
	walSyncs   []*syscallLine
	syncs      int
	created    int
	bad        []string
}

// auditTrace checks that everything was on disk before each 201.
func auditTrace(calls []*syscallLine) *audit {
	a := &audit{fileSynced: map[string]int{}, renamed: map[string]int{}, dirSynced: map[string]int{}, made: map[string]int{}}
	for _, c := range calls {
		switch c.name {
		case "fsync", "fdatasync":
			a.sync(c)
		case "rename", "renameat", "renameat2":
			a.rename(c)
		case "mkdir", "mkdirat":
			if m := quoted.FindStringSubmatch(c.args); m != nil && !c.failed && strings.Contains(m[1], "/blobs/") {
				a.made[m[1]] = c.end
			}
		case "write":
			if m := createdAs.FindStringSubmatch(c.args); m != nil {
				a.status(c, m[2])
			}
		}
	}
	return a
}

func (a *audit) sync(c *syscallLine) {
	m := file.FindStringSubmatch(c.args)
	if m == nil || c.failed {
		return
	}
	a.syncs++
	if strings.HasSuffix(m[1], "-wal") {
		a.walSyncs = append(a.walSyncs, c)
	}
	a.fileSynced[m[1]] = c.end
	for dir, line := range a.made {
		if filepath.Dir(dir) == m[1] && line < c.began {
			delete(a.made, dir)
		}
	}
	for digits, line := range a.renamed {
		if _, done := a.dirSynced[digits]; !done && line < c.began && strings.HasSuffix(m[1], "/"+digits[:2]) {
			a.dirSynced[digits] = c.end
		}
	}
}

func (a *audit) rename(c *syscallLine) {
	names := quoted.FindAllStringSubmatch(c.args, -1)
	if len(names) != 2 || c.failed || !strings.Contains(names[1][1], "/blobs/") {
		return
	}
	from, digits := names[0][1], filepath.Base(names[1][1])
	if line, ok := a.fileSynced[from]; !ok || line > c.began {
		a.bad = append(a.bad, "renamed before it was synced: "+from)
	}
	if _, unsynced := a.made[filepath.Dir(names[1][1])]; unsynced {
		a.bad = append(a.bad, "renamed into a folder that was not synced: "+names[1][1])
	}
	if _, before := a.renamed[digits]; !before {
		a.renamed[digits] = c.end
	}
}

func (a *audit) status(c *syscallLine, digits string) {
	a.created++
	line, ok := a.dirSynced[digits]
	if !ok || line > c.began {
		a.bad = append(a.bad, "201 before the folder was synced: "+digits)
		return
	}
	for _, w := range a.walSyncs {
		if w.began > line && w.end < c.began {
			return
		}
	}
	a.bad = append(a.bad, "201 before the index was synced: "+digits)
}

// R4: before each 201 the file, its folder and the row are on disk; and no more syncs than that takes.
func TestR4_SyncedBefore201(t *testing.T) {
	t.Parallel()
	trace := filepath.Join(t.TempDir(), "trace")
	wrapper := []string{need(t, "strace"), "-D", "-f", "-yy", "-s", "400", "-o", trace, "-e", "trace=fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat,write"}
	s := serveUnder(t, wrapper, t.TempDir(), "-c", openConfig(t, "audit: {keep: {entries: 0}}\n")) // which syncs now and then, too
	a := newAPI(t, s.url)
	must(t, a.push("acc/audit", []byte("warm")))
	traced := func() *audit {
		time.Sleep(200 * time.Millisecond) // strace writes behind
		return auditTrace(readTrace(t, trace))
	}

	before := traced().syncs
	config, layer := bytesOf(300, "config"), bytesOf(4<<10, "layer")
	must(t, a.push("acc/audit", config), a.pushChunked("acc/audit", layer, 4<<10))
	blobs := traced().syncs
	must(t, a.putManifest("acc/audit", "v1", manifest(config, layer)))
	all := traced().syncs
	t.Logf("syncs of two small blobs: %d, of a manifest: %d", blobs-before, all-blobs)
	if one := (blobs-before+1)/2 + all - blobs; one > 8 {
		t.Errorf("syncs of a small blob and a manifest = %d, want at most 8", one)
	}

	const pushers, pushes = 8, 13
	var wg sync.WaitGroup
	for p := range pushers {
		wg.Go(func() {
			repo := "acc/audit" + strconv.Itoa(p)
			for i := range pushes {
				content := bytesOf(1<<10<<(i%8), "audit", p, i)
				if err := a.pushChunked(repo, content, 64<<10); err != nil {
					t.Error(err)
					return
				}
				if err := a.putManifest(repo, "v"+strconv.Itoa(i), manifest(content)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	must(t, s.stop())
	got := traced()
	want := 4 + 2*pushers*pushes
	if got.created != want || len(got.bad) > 0 {
		t.Fatalf("answers of 201 = %d, want %d; not on disk before: %s", got.created, want, strings.Join(got.bad, "\n"))
	}
	t.Logf("%d answers of 201, each after its syncs; %d syncs in all", got.created, got.syncs)
}

// inject makes system calls of a process fail until the returned function is called.
func inject(t *testing.T, s *server, args ...string) (stop func()) {
	t.Helper()
	args = append([]string{"-f", "-o", "/dev/null", "-p", strconv.Itoa(s.cmd.Process.Pid)}, args...)
	cmd := exec.Command(need(t, "strace"), args...)
	var stderr output
	cmd.Stderr = &stderr
	cmd.SysProcAttr = ownGroup()
	must(t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	stop = sync.OnceFunc(func() {
		cmd.Process.Signal(os.Interrupt) // it detaches first
		<-ended
	})
	t.Cleanup(stop)
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(stderr.String(), "attached"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			stop()
			missing(t, "the right to attach strace to a process: "+stderr.String())
		}
	}
	time.Sleep(100 * time.Millisecond) // it attaches to one thread after the other
	return stop
}

// R5: when the disk cannot sync nothing is acknowledged, not even when it can again and the same upload asks.
func TestR5_SyncFails(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, calls string }{
		{"files and index", "fsync,fdatasync"},
		{"files", "fsync"},
		{"index", "fdatasync"},
	} {
		t.Run(test.name, func(t *testing.T) {
			data, config := t.TempDir(), openConfig(t)
			s := serveData(t, data, "-c", config)
			a := newAPI(t, s.url)
			kept := bytesOf(10<<10, "kept")
			must(t, a.push("acc/sync", kept))
			lost := bytesOf(10<<10, "lost")
			location, err := a.begin("acc/sync")
			must(t, err)
			_, err = a.expect(202, "PATCH", location, lost)
			must(t, err)

			stop := inject(t, s, "-e", "trace="+test.calls, "-e", "inject="+test.calls+":error=EIO")
			for i := range long(15, 50) {
				content := bytesOf(1<<10, "unsynced", test.name, i)
				for path, body := range map[string][]byte{
					"POST /v2/acc/sync/blobs/uploads/?digest=" + sha256sum(content): content,
					"PUT " + location + "?digest=" + sha256sum(lost):                nil,
				} {
					method, path, _ := strings.Cut(path, " ")
					got, err := a.do(method, path, nil, bytes.NewReader(body))
					if err != nil || got.status < 400 {
						t.Fatalf("%s without a sync = %d, %v; want an error", path, got.status, err)
					}
				}
				if err := a.putManifest("acc/sync", "v1", manifest(kept)); err == nil {
					t.Fatal("PUT manifest without a sync = 201, want an error")
				}
			}
			must(t, a.wantBlob("acc/sync", kept))
			stop()

			got, err := a.do("PUT", location+"?digest="+sha256sum(lost), nil, http.NoBody)
			must(t, err)
			if got.status == 201 {
				t.Fatal("PUT of an upload that was not synced = 201 without its bytes")
			}
			again := bytesOf(1<<10, "unsynced", test.name, 0)
			must(t, a.push("acc/sync", again), a.push("acc/sync", lost))
			s.kill()
			s = serveData(t, data, "-c", config)
			a.url = s.url
			must(t, a.wantBlob("acc/sync", kept), a.wantBlob("acc/sync", again), a.wantBlob("acc/sync", lost))
		})
	}
}

// R9: when a file cannot be read to its end the answer breaks off short of its length.
func TestR9_ReadFails(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s := serveData(t, data, "-c", openConfig(t))
	a := newAPI(t, s.url)
	content := bytesOf(8<<20, "unreadable")
	must(t, a.push("acc/read", content))
	path, broken := stored(data, sha256sum(content)), 0
	for _, verified := range []bool{true, false} {
		if !verified {
			must(t, os.Chtimes(path, time.Time{}, time.Now())) // it has to be hashed as it goes out
		}
		stop := inject(t, s, "-P", path, "-e", "trace=sendfile,splice,read,pread64",
			"-e", "inject=sendfile,splice,read,pread64:error=EIO:when=3+")
		for range 10 {
			got, err := a.get("/v2/acc/read/blobs/" + sha256sum(content))
			if err == nil && got.status == 200 && len(got.body) == len(content) {
				continue // the threads that read have not failed three times yet
			}
			broken++
			if err == nil && got.status < 500 {
				t.Fatalf("unreadable blob = %d, %d bytes, want an error or a broken connection", got.status, len(got.body))
			}
		}
		stop()
		must(t, a.wantBlob("acc/read", content))
	}
	if broken == 0 {
		t.Fatal("no read failed: the test tests nothing")
	}
}

// stored is where a server keeps the content of a digest.
func stored(data, digest string) string {
	algorithm, digits, _ := strings.Cut(digest, ":")
	return filepath.Join(data, "blobs", algorithm, digits[:2], digits)
}
