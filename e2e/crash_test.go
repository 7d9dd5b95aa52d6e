//go:build linux

package e2e_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A ledger remembers what the server has acknowledged: for each path below /v2/ the digests that it may have, "" where it
// may be absent. There is more than one only while a request is under way or after it broke off.
type ledger struct {
	mu    sync.Mutex
	may   map[string][]string
	fresh map[string]bool // paths that have changed since the last check
	acks  int
}

func newLedger() *ledger { return &ledger{may: map[string][]string{}, fresh: map[string]bool{}} }

// do runs a request that gives all paths an outcome if it is acknowledged, and one of old and new if it breaks off.
func (l *ledger) do(outcome string, paths []string, request func() error) error {
	l.mu.Lock()
	for _, p := range paths {
		if l.may[p] == nil {
			l.may[p] = []string{""}
		}
		l.may[p] = append(l.may[p], outcome)
		l.fresh[p] = true
	}
	l.mu.Unlock()
	if err := request(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range paths {
		l.may[p] = []string{outcome}
	}
	l.acks++
	return nil
}

// check pulls what has changed since the last check, or everything, and returns what is not as it may be.
func (l *ledger) check(a *api, everything bool) (wrong []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	paths := slices.Collect(maps.Keys(l.fresh))
	if everything {
		paths = slices.Collect(maps.Keys(l.may))
	}
	for _, p := range paths {
		got, err := a.digestOf("/v2/" + p)
		if err != nil || !slices.Contains(l.may[p], got) {
			wrong = append(wrong, fmt.Sprintf("%s = %q, %v; want one of %q", p, got, err, l.may[p]))
		}
		l.may[p] = []string{got}
	}
	clear(l.fresh)
	return wrong
}

// digestOf returns the digest of what is at path, "" if nothing is.
func (a *api) digestOf(path string) (string, error) {
	q, err := http.NewRequest("GET", a.url+path, nil)
	if err != nil {
		return "", err
	}
	q.Header.Set("Accept", "*/*")
	r, err := a.http.Do(q)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r.Body); err != nil {
		return "", err
	}
	switch r.StatusCode {
	case http.StatusOK:
		return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
	case http.StatusNotFound:
		return "", nil
	}
	return "", fmt.Errorf("status %d", r.StatusCode)
}

// image is what one push has made.
type image struct {
	repo, tag string
	blobs     [][]byte
	manifest  []byte
}

// crashRound is the people who work on the server until it is killed.
type crashRound struct {
	*api
	*ledger
	round      int
	deletable  chan image
	mountable  chan image
	unexpected func(error)
}

// pusher pushes images of two blobs into its own repository: every third is for the deleter, the others move a tag.
func (c *crashRound) pusher(n int, r *rand.Rand) error {
	for i := 0; ; i++ {
		img := image{repo: "acc/pusher" + strconv.Itoa(n), tag: "latest"}
		if i%3 == 0 {
			img.tag = fmt.Sprintf("v%d-%d", c.round, i)
		}
		for part := range 2 {
			size := 4 << 10 << r.IntN(12) // 4 KiB to 8 MiB
			content := bytesOf(size, c.round, n, i, part)
			digest := sha256sum(content)
			err := c.ledger.do(digest, []string{img.repo + "/blobs/" + digest}, func() error {
				if r.IntN(2) == 0 {
					return c.pushChunked(img.repo, content, max(size/3, 1<<10))
				}
				return c.push(img.repo, content)
			})
			if err != nil {
				return err
			}
			img.blobs = append(img.blobs, content)
		}
		img.manifest = manifest(img.blobs...)
		digest := sha256sum(img.manifest)
		err := c.ledger.do(digest, img.manifestPaths(), func() error {
			return c.putManifest(img.repo, img.tag, img.manifest)
		})
		if err != nil {
			return err
		}
		to := c.mountable
		if i%3 == 0 {
			to = c.deletable
		}
		select {
		case to <- img:
		default:
		}
	}
}

func (i image) manifestPaths() []string {
	return []string{i.repo + "/manifests/" + i.tag, i.repo + "/manifests/" + sha256sum(i.manifest)}
}

// deleter deletes images, manifest first.
func (c *crashRound) deleter() error {
	for img := range c.deletable {
		remove := func(path string, also ...string) error {
			return c.ledger.do("", append(also, path), func() error {
				_, err := c.expect(202, "DELETE", "/v2/"+path, nil)
				return err
			})
		}
		paths := img.manifestPaths()
		if err := remove(paths[1], paths[0]); err != nil {
			return err
		}
		for _, b := range img.blobs {
			if err := remove(img.repo + "/blobs/" + sha256sum(b)); err != nil {
				return err
			}
		}
	}
	return nil
}

// mounter mounts the blobs of images elsewhere.
func (c *crashRound) mounter() error {
	for img := range c.mountable {
		for _, b := range img.blobs {
			digest := sha256sum(b)
			err := c.ledger.do(digest, []string{"acc/mounter/blobs/" + digest}, func() error {
				_, err := c.expect(201, "POST", "/v2/acc/mounter/blobs/uploads/?mount="+digest+"&from="+img.repo, nil)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// run works until the server is gone.
func (c *crashRound) run(stop func()) {
	var pushers, others sync.WaitGroup
	work := func(wg *sync.WaitGroup, do func() error) {
		wg.Go(func() {
			// a request that breaks off is what this is about; an answer that is not the right one is not
			if err := do(); err != nil && strings.Contains(err.Error(), "status = ") {
				c.unexpected(err)
			}
		})
	}
	for n := range 4 {
		r := rand.New(rand.NewPCG(uint64(c.round), uint64(n)))
		work(&pushers, func() error { return c.pusher(n, r) })
	}
	work(&others, c.deleter)
	work(&others, c.mounter)
	stop()
	pushers.Wait()
	close(c.deletable)
	close(c.mountable)
	others.Wait()
}

// R1: what was acknowledged before kill -9 is there after it, and what was deleted is not.
func TestR1_KillLoop(t *testing.T) {
	t.Parallel()
	kills := long(12, 60)
	config, data, l := openConfig(t), t.TempDir(), newLedger()
	r := rand.New(rand.NewPCG(1, 2))
	var restarts []time.Duration
	restart := func() (*server, *api) {
		began := time.Now()
		s := serveData(t, data, "-c", config)
		a := newAPI(t, s.url)
		if _, err := a.expect(200, "GET", "/readyz", nil); err != nil {
			t.Fatal(err)
		}
		restarts = append(restarts, time.Since(began))
		return s, a
	}
	for round := range kills {
		s, a := restart()
		if wrong := l.check(a, false); wrong != nil {
			t.Fatalf("after kill %d of %d acknowledged requests:\n%s", round, l.acks, strings.Join(wrong, "\n"))
		}
		c := &crashRound{
			api: a, ledger: l, round: round, deletable: make(chan image, 1000), mountable: make(chan image, 1000),
			unexpected: func(err error) { t.Errorf("round %d: %v", round, err) },
		}
		c.run(func() {
			time.Sleep(time.Duration(20+r.IntN(480)) * time.Millisecond)
			s.kill()
		})
	}
	s, a := restart()
	if wrong := l.check(a, true); wrong != nil {
		t.Fatalf("at the end, of %d acknowledged requests:\n%s", l.acks, strings.Join(wrong, "\n"))
	}
	must(t, s.stop())
	slices.Sort(restarts)
	median := restarts[len(restarts)/2] // the slowest may have waited for what else the machine does
	t.Logf("%d kills, %d acknowledged requests, %d paths, 0 lost; start to ready: median %s, slowest %s",
		kills, l.acks, len(l.may), median, restarts[len(restarts)-1])
	if median > 2*time.Second {
		t.Errorf("a start takes %s, want at most 2 s", median)
	}
}

// R19: an upload whose PATCH was cut off by kill -9 goes on where the server says, to the right digest.
func TestR19_ResumeAfterKill(t *testing.T) {
	t.Parallel()
	config, data := openConfig(t), t.TempDir()
	r := rand.New(rand.NewPCG(3, 4))
	for round := range long(10, 100) {
		content := bytesOf(4<<20, "R19", round)
		s := serveData(t, data, "-c", config)
		a := newAPI(t, s.url)
		location, err := a.begin("acc/resume")
		must(t, err)
		head := r.IntN(1 << 20)
		_, err = a.expect(202, "PATCH", location, content[:head])
		must(t, err)
		body, feed := io.Pipe()
		broken := make(chan error, 1)
		go func() {
			_, err := a.do("PATCH", location, nil, body)
			broken <- err
		}()
		feed.Write(content[head : head+r.IntN(3<<20)])
		s.kill()
		feed.CloseWithError(errors.New("the server is gone"))
		if err := <-broken; err == nil {
			t.Fatalf("round %d: PATCH was answered", round)
		}

		s = serveData(t, data, "-c", config)
		a.url = s.url
		got, err := a.expect(204, "GET", location, nil)
		must(t, err)
		_, last, _ := strings.Cut(got.header.Get("Range"), "-")
		end, err := strconv.Atoi(last)
		must(t, err)
		if end++; end < head || end > len(content) {
			if head > 0 {
				t.Fatalf("round %d: Range = %q, want at least the %d bytes that were acknowledged", round, got.header.Get("Range"), head)
			}
			end = 0
		}
		rest := http.Header{"Content-Range": {fmt.Sprintf("%d-%d", end, len(content)-1)}}
		got, err = a.do("PATCH", location, rest, strings.NewReader(string(content[end:])))
		must(t, err, got.is(202))
		_, err = a.expect(201, "PUT", location+"?digest="+sha256sum(content), nil)
		must(t, err, a.wantBlob("acc/resume", content))
		s.kill()
	}
}

// R50: a second server on the same folder is refused at once, and the first one serves on.
func TestR50_SecondServer(t *testing.T) {
	t.Parallel()
	config, data := openConfig(t), t.TempDir()
	s := serveData(t, data, "-c", config)
	began := time.Now()
	out, err := exec.Command(binary, "serve", "-c", config, "--listen", "127.0.0.1:0", "--data", data).CombinedOutput()
	if took := time.Since(began); err == nil || took > 20*time.Second {
		t.Fatalf("second server = %v after %s, want a refusal at once\n%s", err, took, out)
	}
	if !strings.Contains(string(out), "another server runs on "+data) || !strings.Contains(string(out), "hint:") {
		t.Fatalf("second server says %q, want that another one runs there", out)
	}
	a := newAPI(t, s.url)
	must(t, a.push("acc/first", []byte("still mine")))
}
