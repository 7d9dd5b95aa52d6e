//go:build linux

package e2e_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// slowly gives a reader's bytes evenly over a time.
type slowly struct {
	io.Reader
	step  int
	pause time.Duration
}

func slow(content []byte, over time.Duration) *slowly {
	const steps = 20
	return &slowly{bytes.NewReader(content), (len(content) + steps - 1) / steps, over / steps}
}

func (s *slowly) Read(p []byte) (int, error) {
	time.Sleep(s.pause)
	return s.Reader.Read(p[:min(len(p), s.step)])
}

// R21: SIGTERM lets every request under way end, takes no new ones, and ends with status 0.
func TestR21_Drain(t *testing.T) {
	t.Parallel()
	s := serveData(t, t.TempDir(), "-c", openConfig(t))
	a := newAPI(t, s.url)
	const each = 25
	over := time.Duration(long(2, 5)) * time.Second
	blob := bytesOf(16<<20, "download")
	must(t, a.push("acc/drain", blob))
	var wg sync.WaitGroup
	for i := range each {
		wg.Go(func() {
			content := bytesOf(200<<10, "upload", i)
			got, err := a.do("POST", "/v2/acc/drain/blobs/uploads/?digest="+sha256sum(content), nil, slow(content, over))
			if err == nil {
				err = got.is(201)
			}
			if err != nil {
				t.Errorf("upload %d: %v", i, err)
			}
		})
		wg.Go(func() {
			r, err := a.http.Get(a.url + "/v2/acc/drain/blobs/" + sha256sum(blob))
			if err != nil {
				t.Errorf("download %d: %v", i, err)
				return
			}
			defer r.Body.Close()
			var got bytes.Buffer
			for {
				time.Sleep(over / 20)
				if _, err := io.CopyN(&got, r.Body, int64(len(blob)/20+1)); err == io.EOF {
					break
				} else if err != nil {
					t.Errorf("download %d: %v", i, err)
					return
				}
			}
			if !bytes.Equal(got.Bytes(), blob) {
				t.Errorf("download %d = %d bytes, want %d", i, got.Len(), len(blob))
			}
		})
	}
	time.Sleep(over / 4)
	began := time.Now()
	must(t, s.cmd.Process.Signal(syscall.SIGTERM))
	time.Sleep(over / 4)
	if got, err := newAPI(t, s.url).get("/readyz"); err == nil && got.status == 200 {
		t.Error("ready while it drains")
	}
	wg.Wait()
	<-s.exited
	if s.err != nil || time.Since(began) > 30*time.Second {
		t.Fatalf("ended with %v after %s, want status 0 within 30 s", s.err, time.Since(began))
	}
}

// R21: a second SIGTERM, or the end of the time for it, cuts requests off.
func TestR21_DrainCutShort(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, config string
		signals      int
	}{
		{"by a second signal", "", 2},
		{"by time", "drain: 1s\n", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			data := t.TempDir()
			s := serveData(t, data, "-c", openConfig(t, test.config))
			a := newAPI(t, s.url)
			kept := bytesOf(1<<10, "kept")
			must(t, a.push("acc/cut", kept))
			body, feed := io.Pipe()
			broken := make(chan error, 1)
			go func() {
				_, err := a.do("POST", "/v2/acc/cut/blobs/uploads/?digest="+sha256sum(kept), nil, body)
				broken <- err
			}()
			feed.Write(kept[:100])
			time.Sleep(200 * time.Millisecond)
			must(t, s.cmd.Process.Signal(syscall.SIGTERM))
			select {
			case <-s.exited:
				t.Fatal("it did not wait for the request")
			case <-time.After(500 * time.Millisecond):
			}
			if test.signals == 2 {
				must(t, s.cmd.Process.Signal(syscall.SIGTERM))
			}
			select {
			case <-s.exited:
			case <-time.After(20 * time.Second):
				t.Fatal("it still waits")
			}
			feed.CloseWithError(io.ErrUnexpectedEOF)
			if err := <-broken; err == nil || s.err != nil {
				t.Fatalf("request = %v, server = %v; want an error and status 0", err, s.err)
			}
			s = serveData(t, data, "-c", openConfig(t))
			must(t, newAPI(t, s.url).wantBlob("acc/cut", kept))
		})
	}
}

// R20: uploads that nobody goes on with disappear, and their bytes with them.
func TestR20_AbandonedUploads(t *testing.T) {
	t.Parallel()
	sqlite := client{path: need(t, "sqlite3")}
	data := t.TempDir()
	config := write(t, t.TempDir(), "customhouse.yml",
		strings.Replace(openHouse, "uploads_per_account: 0", "uploads_per_account: 0, upload_ttl: 1m", 1))
	s := serveData(t, data, "-c", config)
	a := newAPI(t, s.url)
	count := long(100, 1000)
	var abandoned []string
	for i := range count {
		location, err := a.begin("acc/abandoned")
		must(t, err)
		_, err = a.expect(202, "PATCH", location, bytesOf(64<<10, "abandoned", i))
		must(t, err)
		abandoned = append(abandoned, location)
	}
	// what a crash leaves of a push in one request: a file that the index has never heard of
	write(t, filepath.Join(data, "uploads"), "LEFTOVER", "bytes")
	// two minutes pass
	sqlite.run(t, filepath.Join(data, "index.db"), "pragma busy_timeout = 5000; update upload set updated = updated - 120;")
	past := time.Now().Add(-2 * time.Minute)
	entries, err := os.ReadDir(filepath.Join(data, "uploads"))
	must(t, err)
	for _, e := range entries {
		must(t, os.Chtimes(filepath.Join(data, "uploads", e.Name()), past, past))
	}
	fresh, err := a.begin("acc/abandoned")
	must(t, err)
	content := bytesOf(64<<10, "fresh")
	_, err = a.expect(202, "PATCH", fresh, content)
	must(t, err)

	const limit = 12 * time.Second // the server looks every 6 s
	left := 0
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		entries, err := os.ReadDir(filepath.Join(data, "uploads"))
		must(t, err)
		if left = len(entries); left == 1 {
			break
		}
	}
	if left != 1 {
		t.Fatalf("files of uploads = %d after %s, want the one that is fresh", left, limit)
	}
	for _, location := range abandoned {
		if got, err := a.get(location); err != nil || got.status != 404 || got.code() != "BLOB_UPLOAD_UNKNOWN" {
			t.Fatalf("GET of an abandoned upload = %d %s, %v; want 404", got.status, got.code(), err)
		}
	}
	_, err = a.expect(201, "PUT", fresh+"?digest="+sha256sum(content), nil)
	must(t, err)
}
