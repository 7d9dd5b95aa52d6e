package server_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"customhouse/server"
)

// TestBlobVerbs follows a blob through its life.
func TestBlobVerbs(t *testing.T) {
	h := open(t, setup{})
	admin := h.as("admin")
	content := []byte("content of a blob")
	d := admin.pushBlob("a/app", content)
	path, etag := "/v2/a/app/blobs/"+d, `"`+d+`"`
	get, head := admin.get(path), admin.head(path)
	for _, a := range []answer{get, head} {
		a.want(http.StatusOK, "").wantHeader("Content-Type", "application/octet-stream").wantHeader("Docker-Content-Digest", d).
			wantHeader("Etag", etag).wantHeader("Content-Length", fmt.Sprint(len(content))).wantHeader("Accept-Ranges", "bytes")
	}
	if !bytes.Equal(get.body, content) {
		t.Errorf("GET = %q, want %q", get.body, content)
	}
	for header, status := range map[[2]string]int{
		{"If-None-Match", etag}:                                304,
		{"If-None-Match", "*"}:                                 304,
		{"If-None-Match", "W/" + etag}:                         304,
		{"If-None-Match", `"a", ` + etag}:                      304,
		{"If-None-Match", `"a"`}:                               200,
		{"If-None-Match", d}:                                   200,
		{"If-Match", etag}:                                     200,
		{"If-Match", "*"}:                                      200,
		{"If-Match", `"a"`}:                                    412,
		{"If-Modified-Since", "Mon, 02 Jan 2006 15:04:05 GMT"}: 200,
	} {
		a := admin.get(path, header[0], header[1])
		if a.status != status {
			t.Errorf("GET with %s: %s = %d, want %d", header[0], header[1], a.status, status)
		}
		if head := admin.head(path, header[0], header[1]); head.status != status {
			t.Errorf("HEAD with %s: %s = %d, want %d", header[0], header[1], head.status, status)
		}
	}
	admin.get("/v2/a/app/blobs/"+nowhere).want(http.StatusNotFound, "BLOB_UNKNOWN")
	admin.get("/v2/a/other/blobs/"+d).want(http.StatusNotFound, "BLOB_UNKNOWN")
	admin.do("DELETE", path, nil).want(http.StatusAccepted, "")
	admin.do("DELETE", path, nil).want(http.StatusNotFound, "BLOB_UNKNOWN")
	admin.get(path).want(http.StatusNotFound, "BLOB_UNKNOWN")
}

// TestHEADIsGET: everything that can be got has the same headers when it is only looked at.
func TestHEADIsGET(t *testing.T) {
	h := open(t, setup{})
	admin := h.as("admin")
	s := admin.pushImage("a/app", "latest", "x")
	for _, path := range []string{
		"/v2/", "/v2/_catalog", "/v2/_catalog?n=0", "/v2/a/app/tags/list", "/v2/a/app/manifests/latest", "/v2/a/app/manifests/" + s.manifestDg,
		"/v2/a/app/blobs/" + s.layerD, "/v2/a/app/referrers/" + s.manifestDg, "/v2/a/app/referrers/" + s.manifestDg + "?artifactType=x/y",
		"/v2/a/app/manifests/none", "/v2/a/app/blobs/" + nowhere, "/v2/a/none/tags/list", "/v2/A/tags/list", "/livez", "/readyz", "/.well-known/jwks.json",
		"/none", admin.begin("a/app", ""),
	} {
		for _, who := range []person{admin, h.as(""), h.as("bob")} {
			get, head := who.get(path), who.head(path)
			for _, a := range []answer{get, head} {
				a.header.Del("Date")
				a.header.Del("X-Request-Id")
			}
			if head.status != get.status || fmt.Sprint(head.header) != fmt.Sprint(get.header) {
				t.Errorf("HEAD %s = %d %v\n GET %s = %d %v", path, head.status, head.header, path, get.status, get.header)
			}
			if len(head.body) > 0 {
				t.Errorf("HEAD %s has a body", path)
			}
		}
	}
}

// reference reads a Range header by the words of RFC 9110 section 14.1.2: the bytes asked for, and whether it is to be
// served. What it leaves open, such as numbers without bound and several ranges, is refused.
func reference(spec string, content []byte) (part []byte, status int) {
	ranges, ok := strings.CutPrefix(spec, "bytes=")
	if !ok {
		return content, 200
	}
	number := func(s string) (int, bool) {
		n, err := strconv.ParseUint(s, 10, 62)
		return int(n), err == nil && strings.Trim(s, "0123456789") == ""
	}
	first, last, ok := strings.Cut(ranges, "-")
	if !ok {
		return nil, 416
	}
	if first == "" {
		n, ok := number(last)
		if !ok || n == 0 || len(content) == 0 {
			return nil, 416
		}
		return content[max(0, len(content)-n):], 206
	}
	from, ok := number(first)
	if !ok || from >= len(content) {
		return nil, 416
	}
	if last == "" {
		return content[from:], 206
	}
	to, ok := number(last)
	if !ok || to < from {
		return nil, 416
	}
	return content[from:min(to+1, len(content))], 206
}

// TestS74_Ranges compares 1,000 ranges with the reference.
func TestS74_Ranges(t *testing.T) {
	h := open(t, setup{})
	admin := h.as("admin")
	random := rand.New(rand.NewPCG(7, 4))
	contents := [][]byte{{}, []byte("x"), bytes.Repeat([]byte("0123456789"), 100), make([]byte, 300_001)}
	rand.NewChaCha8([32]byte{74}).Read(contents[3])
	var digests []string
	for _, c := range contents {
		digests = append(digests, admin.pushBlob("a/app", c))
	}
	fixed := []string{
		"bytes=0-0", "bytes=-1", "bytes=0-", "bytes=-0", "bytes=1-0", "bytes=-", "bytes=", "bytes", "bytes=0-0,1-1", "bytes=0-0,", "bytes=,0-0", "bytes=0-,-1",
		"bytes=--1", "bytes=0--1", "bytes=+0-1", "bytes=0x0-0x1", "bytes=0-1-2", "bytes=a-b", "bytes=0.0-1", "items=0-1", "bytes=9223372036854775807-",
		"bytes=9223372036854775806-9223372036854775807", "bytes=0-18446744073709551616", "bytes=-18446744073709551616", "bytes=00-01", "bytes=0-4611686018427387903",
	}
	for i := range 1000 {
		content, d := contents[i%len(contents)], digests[i%len(contents)]
		offset := func() string {
			return fmt.Sprint([]int{random.IntN(len(content) + 1), random.IntN(2*len(content) + 2), len(content), max(0, len(content)-1), 0}[random.IntN(5)])
		}
		var spec string
		switch random.IntN(8) {
		case 0:
			spec = fixed[random.IntN(len(fixed))]
		case 1:
			spec = "bytes=-" + offset()
		case 2:
			spec = "bytes=" + offset() + "-"
		default:
			spec = "bytes=" + offset() + "-" + offset()
		}
		want, status := reference(spec, content)
		a := admin.get("/v2/a/app/blobs/"+d, "Range", spec)
		if a.status != status || status < 400 && !bytes.Equal(a.body, want) {
			t.Errorf("%s of %d bytes = %d with %d bytes, want %d with %d", spec, len(content), a.status, len(a.body), status, len(want))
		}
		switch status {
		case 206:
			from := len(content) - len(want)
			if first := strings.TrimPrefix(spec, "bytes="); first[0] != '-' {
				from, _ = strconv.Atoi(first[:strings.IndexByte(first, '-')])
			}
			a.wantHeader("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, from+len(want)-1, len(content)))
		case 416:
			a.wantHeader("Content-Range", fmt.Sprintf("bytes */%d", len(content)))
		case 200:
			a.wantHeader("Content-Range", "")
		}
	}
}

// TestS74_IfRange: a part is sent only of what the client has the rest of.
func TestS74_IfRange(t *testing.T) {
	admin := open(t, setup{}).as("admin")
	d := admin.pushBlob("a/app", []byte("0123456789"))
	for condition, status := range map[string]int{
		`"` + d + `"`: 206, `W/"` + d + `"`: 200, `"other"`: 200, "Mon, 02 Jan 2006 15:04:05 GMT": 200, "*": 200,
	} {
		admin.get("/v2/a/app/blobs/"+d, "Range", "bytes=0-1", "If-Range", condition).want(status, "")
	}
	admin.head("/v2/a/app/blobs/"+d, "Range", "bytes=0-1").want(http.StatusOK, "").wantHeader("Content-Length", "10")
	admin.get("/v2/a/app/blobs/"+d, "Range", "bytes=0-1", "If-None-Match", `"`+d+`"`).want(http.StatusNotModified, "").wantHeader("Content-Range", "")
}

// FuzzRange: a part lies within the content.
func FuzzRange(f *testing.F) {
	for _, s := range []string{"bytes=0-1", "bytes=-5", "bytes=5-", "bytes=9223372036854775807-", "items=1-2", "bytes=1-2,3-4"} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, s string, size int64) {
		if size < 0 {
			return
		}
		start, length, ok, err := server.ParseRange(s, size)
		if err == nil && ok && (start < 0 || length <= 0 || start > size-length) {
			t.Errorf("ParseRange(%q, %d) = %d, %d", s, size, start, length)
		}
	})
}

// TestR10_RottenContent: wrong bytes never come as right ones, and a push heals.
func TestR10_RottenContent(t *testing.T) {
	h := open(t, setup{})
	admin := h.as("admin")
	h.fails = true // the log says that content is wrong
	for name, size := range map[string]int{"small": 1000, "large": 5 << 20} {
		for damage, do := range map[string]func(string){
			"flipped": func(file string) { flip(t, file) },
			"cut":     func(file string) { must(t, os.Truncate(file, int64(size/2))) },
			"emptied": func(file string) { must(t, os.Truncate(file, 0)) },
			"removed": func(file string) { must(t, os.Remove(file)) },
			"grown":   func(file string) { must(t, os.Truncate(file, int64(size+1))) },
		} {
			t.Run(name+" "+damage, func(t *testing.T) {
				admin := admin.in(t)
				content := make([]byte, size)
				rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%-32s", name+damage)))).Read(content)
				d := admin.pushBlob("a/app", content)
				admin.get("/v2/a/app/blobs/"+d).want(http.StatusOK, "")
				do(filepath.Join(h.dir, "blobs", "sha256", d[7:9], d[7:]))
				r, err := http.NewRequest("GET", h.http.URL+"/v2/a/app/blobs/"+d, nil)
				must(t, err)
				r.Header.Set("Authorization", admin.auth)
				if resp, err := admin.client.Do(r); err == nil { // else it broke off, as it has to when it has begun
					if resp.StatusCode != http.StatusNotFound {
						t.Errorf("GET of wrong content = %d", resp.StatusCode)
					}
					resp.Body.Close()
				}
				admin.get("/v2/a/app/blobs/"+d).want(http.StatusNotFound, "BLOB_UNKNOWN")
				admin.get("/v2/a/app/blobs/"+d, "Range", "bytes=0-9").want(http.StatusNotFound, "BLOB_UNKNOWN")
				admin.head("/v2/a/app/blobs/"+d).want(http.StatusNotFound, "")
				admin.pushBlob("a/app", content)
				if got := mustBody(admin.get("/v2/a/app/blobs/" + d)); !bytes.Equal(got, content) {
					t.Error("a push does not heal")
				}
			})
		}
	}
}

// flip changes one bit in the middle of a file.
func flip(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	must(t, err)
	b[len(b)/2] ^= 1
	must(t, os.WriteFile(file, b, 0o600))
}

// TestR10_RottenManifest: the same for manifests.
func TestR10_RottenManifest(t *testing.T) {
	h := open(t, setup{fails: true})
	admin := h.as("admin")
	s := admin.pushImage("a/app", "latest", "x")
	flip(t, filepath.Join(h.dir, "blobs", "sha256", s.manifestDg[7:9], s.manifestDg[7:]))
	statuses := []int{admin.get("/v2/a/app/manifests/latest").status, admin.get("/v2/a/app/manifests/" + s.manifestDg).status}
	if slices.Contains(statuses, http.StatusInternalServerError) {
		t.Errorf("statuses = %v", statuses)
	}
	admin.putManifest("a/app", "latest", s.manifest).want(http.StatusCreated, "")
	admin.get("/v2/a/app/manifests/latest").want(http.StatusOK, "")
}

// Whoever hangs up in the middle of a pull is no failure of the registry: the log, which is looked at in the end, has no error.
func TestClientThatHangsUp(t *testing.T) {
	h := open(t, setup{})
	admin := h.as("admin")
	d := admin.pushBlob("a/app", make([]byte, 32<<20)) // more than a socket takes
	for range 10 {
		conn, err := net.Dial("tcp", h.http.Listener.Addr().String())
		must(t, err)
		_, err = fmt.Fprintf(conn, "GET /v2/a/app/blobs/%s HTTP/1.1\r\nHost: registry.example.com\r\nAuthorization: %s\r\n\r\n", d, admin.auth)
		must(t, err)
		_, err = conn.Read(make([]byte, 100))
		must(t, err)
		must(t, conn.(*net.TCPConn).SetLinger(0)) // which makes it a reset
		must(t, conn.Close())
	}
}
