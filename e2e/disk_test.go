//go:build linux

package e2e_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serveMounted starts customhouse in a mount namespace of its own, with a tmpfs of a size as its data folder.
func serveMounted(t *testing.T, size string, args ...string) (s *server, data string) {
	t.Helper()
	needRoot(t)
	if err := exec.Command(need(t, "unshare"), "-m", "true").Run(); err != nil {
		missing(t, "the right to make mount namespaces: "+err.Error())
	}
	data = t.TempDir()
	script := `mount -t tmpfs -o size=` + size + ` tmpfs ` + data + ` && exec "$@"`
	return serveUnder(t, []string{need(t, "unshare"), "-m", "sh", "-c", script, "sh"}, data, args...), data
}

// inside is a path as the server sees it.
func (s *server) inside(path string) string {
	return "/proc/" + strconv.Itoa(s.cmd.Process.Pid) + "/root" + path
}

// mount runs mount or umount in the server's namespace.
func (s *server) mount(t *testing.T, line ...string) {
	t.Helper()
	args := append([]string{"-t", strconv.Itoa(s.cmd.Process.Pid), "-m"}, line...)
	if out, err := exec.Command(need(t, "nsenter"), args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", line, err, out)
	}
}

// free is how many bytes are left on the disk of a path.
func free(t *testing.T, path string) int64 {
	t.Helper()
	var st syscall.Statfs_t
	must(t, syscall.Statfs(path, &st))
	return int64(st.Bavail) * st.Bsize
}

// full tells whether an answer is what a full disk gets.
func (a answer) full() error {
	if a.status != http.StatusInsufficientStorage && a.status != http.StatusServiceUnavailable {
		return fmt.Errorf("full disk = %d %.200s, want 507 or 503", a.status, a.body)
	}
	if a.code() == "" {
		return fmt.Errorf("full disk = %d %.200s, want an error code in JSON", a.status, a.body)
	}
	return nil
}

// R6: when the disk is full pushes are refused and leave nothing behind, everything else works, and so do pushes as soon
// as there is room.
func TestR6_DiskFull(t *testing.T) {
	t.Parallel()
	for _, reserve := range []string{"2%", "0B"} {
		t.Run("reserve "+reserve, func(t *testing.T) { diskFull(t, reserve) })
	}
}

func diskFull(t *testing.T, reserve string) {
	s, data := serveMounted(t, "64m", "-c", openConfig(t, "storage: {reserve: "+reserve+"}\n"))
	a := newAPI(t, s.url)
	small, large := bytesOf(4<<10, "small"), bytesOf(5<<20, "large")
	_, err := a.pushImage("acc/full", "latest", small, large)
	must(t, err)
	chunk := bytesOf(4<<20, "chunk")
	for round := range long(6, 20) {
		_, err := a.pushImage("acc/full", "round", small, bytesOf(1<<10, "round", round))
		must(t, err)
		before := free(t, s.inside(data))

		// the last of these uploads breaks off in the middle of a chunk
		var uploads []string
		for full := false; !full; {
			location, err := a.begin("acc/full")
			must(t, err)
			for range 3 {
				got, err := a.do("PATCH", location, nil, bytes.NewReader(chunk))
				must(t, err)
				if full = got.status != http.StatusAccepted; full {
					must(t, got.full())
					got, err := a.get(location)
					must(t, err, got.is(404))
					break
				}
			}
			if !full {
				uploads = append(uploads, location)
			}
		}
		ballast := filepath.Join(s.inside(data), "ballast")
		keep := int64(3 << 20)
		if reserve == "0B" {
			keep = 0
		}
		fill(t, ballast, keep)
		for range 5 {
			got, err := a.do("POST", "/v2/acc/full/blobs/uploads/?digest="+sha256sum(chunk), nil, bytes.NewReader(chunk))
			must(t, err, got.full())
		}
		if entries, err := os.ReadDir(s.inside(data) + "/uploads"); err != nil || len(entries) != len(uploads) {
			t.Fatalf("files of uploads = %d, %v; want the %d that go on", len(entries), err, len(uploads))
		}
		must(t, a.wantBlob("acc/full", large), a.wantBlob("acc/full", small))
		for _, path := range []string{"manifests/latest", "tags/list"} {
			got, err := a.get("/v2/acc/full/" + path)
			must(t, err, got.is(200))
		}
		if _, err := a.expect(202, "DELETE", "/v2/acc/full/manifests/round", nil); err != nil {
			t.Fatalf("round %d, %d bytes free: %v", round, free(t, s.inside(data)), err)
		}

		for _, location := range uploads {
			_, err := a.expect(204, "DELETE", location, nil)
			must(t, err)
		}
		must(t, ignoreMissing(os.Remove(ballast)))
		if after := free(t, s.inside(data)); after < before-2<<20 {
			t.Fatalf("free after the uploads = %d, want about %d", after, before)
		}
		must(t, a.push("acc/full", bytesOf(1<<10, "again", round)))
	}
	must(t, s.stop())
}

// fill writes a file until no more than keep bytes are left on the disk.
func fill(t *testing.T, path string, keep int64) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	for size := 1 << 20; size > 0 && free(t, path) > keep; {
		if n, err := f.Write(make([]byte, size)); err != nil && n == 0 {
			size /= 2
		}
	}
}

func ignoreMissing(err error) error {
	if os.IsNotExist(err) {
		return nil
	}
	return err
}

// R8: on a disk that cannot be written reads go on, writes are refused at once and readiness says so; when it can be
// written again everything does, without a restart.
func TestR8_ReadOnly(t *testing.T) {
	t.Parallel()
	t.Run("store", func(t *testing.T) {
		s, data := serveMounted(t, "64m", "-c", openConfig(t))
		readOnly(t, s, func() (back func()) {
			// Linux remounts nothing that is open for writing, as the index is; so the folder gets a read-only one on top
			s.mount(t, "mount", "--bind", data, data)
			s.mount(t, "mount", "-o", "remount,bind,ro", data)
			return func() { s.mount(t, "umount", data) }
		})
	})
	t.Run("store and index", func(t *testing.T) {
		s := serveData(t, t.TempDir(), "-c", openConfig(t))
		readOnly(t, s, func() (back func()) {
			const writing = "pwrite64,ftruncate,fsync,fdatasync,renameat,unlinkat"
			return inject(t, s, "-e", "trace="+writing, "-e", "inject="+writing+":error=EROFS")
		})
	})
}

func readOnly(t *testing.T, s *server, turn func() (back func())) {
	a := newAPI(t, s.url)
	config, layer := bytesOf(300, "config"), bytesOf(1<<20, "layer")
	_, err := a.pushImage("acc/ro", "latest", config, layer)
	must(t, err)
	location, err := a.begin("acc/ro")
	must(t, err)
	half := len(layer) / 2
	_, err = a.expect(202, "PATCH", location, layer[:half])
	must(t, err)

	back := turn()
	for round := range 5 {
		must(t, a.wantBlob("acc/ro", layer))
		for _, path := range []string{"manifests/latest", "tags/list", "blobs/" + sha256sum(config)} {
			got, err := a.get("/v2/acc/ro/" + path)
			must(t, err, got.is(200))
		}
		content := bytesOf(1<<20, "read-only", round)
		for _, write := range []string{
			"POST /v2/acc/ro/blobs/uploads/?digest=" + sha256sum(content),
			"PATCH " + location,
		} {
			method, path, _ := strings.Cut(write, " ")
			began := time.Now()
			got, err := a.do(method, path, nil, bytes.NewReader(content))
			if took := time.Since(began); err != nil || got.status != 503 || got.code() != "UNAVAILABLE" || took > 20*time.Second {
				t.Fatalf("%s = %d %s, %v after %s; want 503 UNAVAILABLE at once", write, got.status, got.body, err, took)
			}
		}
	}
	awaitStatus(t, a, "/readyz", 503, 30*time.Second)
	back()
	awaitStatus(t, a, "/readyz", 200, 30*time.Second)
	must(t, a.push("acc/ro", bytesOf(1<<20, "again")))
	got, err := a.expect(204, "GET", location, nil)
	must(t, err)
	if want := fmt.Sprintf("0-%d", half-1); got.header.Get("Range") != want {
		t.Fatalf("Range = %q, want %q: what was refused is not there", got.header.Get("Range"), want)
	}
	_, err = a.expect(201, "PUT", location+"?digest="+sha256sum(layer), layer[half:])
	must(t, err, a.wantBlob("acc/ro", layer))
}

// awaitStatus asks until an answer has the status.
func awaitStatus(t *testing.T, a *api, path string, status int, limit time.Duration) {
	t.Helper()
	var got answer
	var err error
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if got, err = a.do("GET", path, nil, http.NoBody); err == nil && got.status == status {
			return
		}
	}
	t.Fatalf("GET %s = %d, %v after %s; want %d", path, got.status, err, limit, status)
}
