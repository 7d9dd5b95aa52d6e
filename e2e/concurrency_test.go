//go:build linux

package e2e_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// An access is a write of a value to a register, or a read that returned it. Every value is written once.
type access struct {
	value      string
	write      bool
	began, end time.Duration
}

// linearizable tells with an error that no order of the accesses, each at one moment between its beginning and its end,
// makes every read return the value written last before it. The value "" is there from the beginning.
//
// With one write a value this takes no search (Gibbons and Korach, "Testing Shared Memories", 1997): each value's
// accesses span a zone from the first end to the last beginning. Zones that run forward must not overlap, and no zone
// that runs backward, which all its accesses share, may lie within one that runs forward.
func linearizable(history []access) error {
	type zone struct {
		value       string
		first, last time.Duration // first end, last beginning
		written     time.Duration // the beginning of the write
		known       bool
	}
	zones := map[string]*zone{"": {first: math.MinInt64, last: math.MinInt64, written: math.MinInt64, known: true}}
	at := func(value string) *zone {
		if zones[value] == nil {
			zones[value] = &zone{value: value, first: math.MaxInt64, last: math.MinInt64}
		}
		return zones[value]
	}
	for _, a := range history {
		z := at(a.value)
		z.first, z.last = min(z.first, a.end), max(z.last, a.began)
		if a.write {
			z.written, z.known = a.began, true
		}
	}
	for _, z := range zones {
		if !z.known || z.first < z.written {
			return fmt.Errorf("%q was read before it was written", z.value)
		}
		for _, other := range zones {
			if other == z || z.first >= z.last {
				continue
			}
			low, high := min(other.first, other.last), max(other.first, other.last)
			forward := other.first < other.last
			if forward && low < z.last && z.first < high || !forward && z.first < low && high < z.last {
				return fmt.Errorf("%q lived from %v to %v at the least, and %q at %v to %v", z.value, z.first, z.last, other.value, low, high)
			}
		}
	}
	return nil
}

func TestLinearizable(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		history []access
		want    bool
	}{
		{"in turn", []access{{"a", true, 0, 1}, {"a", false, 2, 3}, {"b", true, 4, 5}, {"b", false, 6, 7}}, true},
		{"nothing yet", []access{{"", false, 0, 1}, {"a", true, 2, 3}}, true},
		{"either of two at once", []access{{"a", true, 0, 5}, {"b", true, 0, 5}, {"a", false, 6, 7}}, true},
		{"old or new while writing", []access{{"a", true, 0, 1}, {"b", true, 2, 9}, {"b", false, 3, 4}, {"b", false, 5, 6}}, true},
		{"stale", []access{{"a", true, 0, 1}, {"b", true, 2, 3}, {"a", false, 4, 5}}, false},
		{"back again", []access{{"a", true, 0, 1}, {"b", true, 2, 9}, {"b", false, 3, 4}, {"a", false, 5, 6}}, false},
		{"from the future", []access{{"a", false, 0, 1}, {"a", true, 2, 3}}, false},
		{"from nowhere", []access{{"a", false, 0, 1}}, false},
		{"gone again", []access{{"a", true, 0, 1}, {"", false, 2, 3}}, false},
	} {
		if err := linearizable(test.history); (err == nil) != test.want {
			t.Errorf("%s: linearizable = %v, want %v", test.name, err, test.want)
		}
	}
}

// R14: a tag that many move at once is at each moment where somebody has moved it, and never goes back.
func TestR14_SameTag(t *testing.T) {
	t.Parallel()
	s := serveData(t, t.TempDir(), "-c", openConfig(t))
	a := newAPI(t, s.url)
	config := bytesOf(100, "config")
	must(t, a.push("acc/tag", config))
	const writers, readers = 32, 8
	began := time.Now()
	var mu sync.Mutex
	var history []access
	record := func(value string, write bool, from time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		history = append(history, access{value, write, from, time.Since(began)})
	}
	var writing, reading sync.WaitGroup
	done := make(chan struct{})
	for w := range writers {
		writing.Go(func() {
			for i := range long(20, 200) {
				m := bytes.Replace(manifest(config), []byte(`{`), fmt.Appendf(nil, `{"annotations":{"by":"%d-%d"},`, w, i), 1)
				from := time.Since(began)
				if err := a.putManifest("acc/tag", "moving", m); err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				record(sha256sum(m), true, from)
			}
		})
	}
	for r := range readers {
		reading.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				method, from, value := [...]string{"GET", "HEAD"}[r%2], time.Since(began), ""
				got, err := a.do(method, "/v2/acc/tag/manifests/moving", http.Header{"Accept": {"*/*"}}, nil)
				switch {
				case err == nil && got.status == 200:
					value = got.header.Get("Docker-Content-Digest")
					if method == "GET" && sha256sum(got.body) != value {
						t.Errorf("GET = %s, want what has digest %s", got.body, value)
					}
				case err != nil || got.status != 404:
					t.Errorf("%s = %d, %v", method, got.status, err)
					return
				}
				record(value, false, from)
			}
		})
	}
	writing.Wait()
	close(done)
	reading.Wait()
	if err := linearizable(history); err != nil {
		t.Fatal(err)
	}
	for _, h := range history {
		if h.write {
			got, err := a.get("/v2/acc/tag/manifests/" + h.value)
			must(t, err, got.is(200))
		}
	}
	t.Logf("%d accesses by %d writers and %d readers, linearizable", len(history), writers, readers)
}

// brokenReader fails after its bytes.
type brokenReader struct{ io.Reader }

func (b brokenReader) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		err = errors.New("the client is gone")
	}
	return n, err
}

// R15: many who push the same blob at once all succeed, and it is stored once.
func TestR15_SameBlob(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s := serveData(t, data, "-c", openConfig(t))
	a := newAPI(t, s.url)
	content := bytesOf(8<<20, "same")
	digest := sha256sum(content)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			repo := "acc/same" + strconv.Itoa(i%4)
			var err error
			switch {
			case i%13 == 1: // five of them, killed midway
				a.do("POST", "/v2/"+repo+"/blobs/uploads/?digest="+digest, nil, brokenReader{bytes.NewReader(content[:4<<20])})
			case i%2 == 0:
				err = a.push(repo, content)
			default:
				err = a.pushChunked(repo, content, 3<<20)
			}
			if err != nil {
				t.Errorf("upload %d: %v", i, err)
			}
			if i == 32 {
				if got, err := a.do("DELETE", "/v2/"+repo+"/blobs/"+digest, nil, nil); err != nil || got.status != 202 && got.status != 404 {
					t.Errorf("DELETE = %d, %v", got.status, err)
				}
			}
		})
	}
	wg.Wait()
	for i := 1; i < 4; i++ { // the delete was in acc/same0
		must(t, a.wantBlob("acc/same"+strconv.Itoa(i), content))
	}
	must(t, s.stop())
	if strings.Contains(s.all.String(), `"status":5`) {
		t.Error("the log has answers of 5xx")
	}
	count := map[string]int{}
	for _, dir := range []string{"blobs", "uploads", "quarantine"} {
		filepath.WalkDir(filepath.Join(data, dir), func(_ string, e os.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				count[dir]++
			}
			return err
		})
	}
	if count["blobs"] != 1 || count["uploads"] != 0 || count["quarantine"] != 0 {
		t.Errorf("files = %v, want one blob", count)
	}
}

// R33: who locks the index from outside makes writes wait, then be refused with words for clients; reads go on.
func TestR33_IndexLocked(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s := serveData(t, data, "-c", openConfig(t))
	a := newAPI(t, s.url)
	content := bytesOf(1<<10, "locked")
	must(t, a.push("acc/locked", content))
	db := filepath.Join(data, "index.db")
	lock := func() (unlock func()) {
		cmd := exec.Command(need(t, "sqlite3"), db)
		stdin, err := cmd.StdinPipe()
		must(t, err)
		stdout, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		_, err = io.WriteString(stdin, ".timeout 10000\nbegin immediate; select 'locked';\n") // the audit log is written now and then
		must(t, err)
		_, err = io.ReadFull(stdout, make([]byte, len("locked")))
		must(t, err)
		return func() {
			stdin.Close()
			must(t, cmd.Wait())
		}
	}

	unlock := lock()
	time.AfterFunc(2*time.Second, unlock)
	began := time.Now()
	must(t, a.push("acc/locked", bytesOf(1<<10, "waits")))
	t.Logf("a push waited %s for a lock of 2 s", time.Since(began).Round(time.Millisecond))

	unlock = lock()
	began = time.Now()
	refused := make(chan answer, 1)
	go func() {
		other := bytesOf(1<<10, "refused")
		got, _ := a.do("POST", "/v2/acc/locked/blobs/uploads/?digest="+sha256sum(other), nil, bytes.NewReader(other))
		refused <- got
	}()
	for range 20 {
		must(t, a.wantBlob("acc/locked", content))
		time.Sleep(50 * time.Millisecond)
	}
	got := <-refused
	took := time.Since(began)
	if got.status != 503 || got.code() != "UNAVAILABLE" || bytes.Contains(got.body, []byte("database")) || took > 12*time.Second {
		t.Fatalf("push to a locked index = %d %s after %s, want 503 UNAVAILABLE after about 5 s, or 10 behind the audit log", got.status, got.body, took)
	}
	unlock()
	must(t, a.push("acc/locked", bytesOf(1<<10, "after")), s.stop())
	check := client{path: need(t, "sqlite3")}.run(t, db, "pragma integrity_check; pragma foreign_key_check;")
	if check != "ok" {
		t.Fatalf("integrity_check = %s", check)
	}
}

// patternReader gives size bytes that are cheap to make, and never are in memory at once.
type patternReader struct {
	left  int64
	block []byte
}

func (p *patternReader) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(int64(len(b)), p.left)], p.block)
	p.left -= int64(n)
	return n, nil
}

// R43: memory does not depend on the size of blobs.
func TestR43_Memory(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s := serveData(t, data, "-c", openConfig(t))
	a := newAPI(t, s.url)
	pushes, pushSize, pulls, pullSize := long(16, 64), long(64, 1024)<<20, long(16, 64), 100<<20
	pushSize = min(pushSize, int(free(t, data))/3/pushes) // they are all there at once
	a.http.Timeout = time.Hour
	pulled := bytesOf(pullSize, "pulled")
	must(t, a.push("acc/large", pulled))
	path := "/v2/acc/large/blobs/" + sha256sum(pulled)
	var wg sync.WaitGroup
	for i := range pushes {
		wg.Go(func() {
			// a digest that is wrong costs the server just as much, and the disk nothing
			body := &patternReader{left: int64(pushSize), block: bytesOf(1<<20, "pushed", i)}
			q, err := http.NewRequest("POST", a.url+"/v2/acc/large/blobs/uploads/?digest="+sha256sum([]byte("wrong")), body)
			if err != nil {
				t.Error(err)
				return
			}
			q.ContentLength = int64(pushSize)
			r, err := a.http.Do(q)
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Body.Close()
			if r.StatusCode != 400 {
				t.Errorf("push = %d, want 400: its digest is wrong", r.StatusCode)
			}
		})
	}
	for range pulls {
		wg.Go(func() {
			r, err := a.http.Get(a.url + path)
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Body.Close()
			if n, err := io.Copy(io.Discard, r.Body); err != nil || n != int64(pullSize) {
				t.Errorf("pulled %d bytes, %v", n, err)
			}
		})
	}
	wg.Wait()
	peak := s.memory(t, "VmHWM")
	t.Logf("%d pushes of %d MiB, %d pulls of %d MiB: at most %d MiB of memory", pushes, pushSize>>20, pulls, pullSize>>20, peak>>20)
	if limit := long(128, 300) << 20; peak > limit {
		t.Errorf("memory at the most = %d MiB, want %d", peak>>20, limit>>20)
	}
}

// memory reads a size in /proc/PID/status, in bytes.
func (s *server) memory(t *testing.T, name string) int {
	t.Helper()
	_, rest, _ := strings.Cut(read(t, fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid)), name+":")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	must(t, err)
	return kib << 10
}
