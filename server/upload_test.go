package server_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"customhouse"
	"customhouse/policy"
	"customhouse/registry"
)

// TestUploadFlow pushes a blob in chunks, with a look at where it stands, and ends it in each way.
func TestUploadFlow(t *testing.T) {
	h := open(t, setup{})
	admin := h.as("admin")
	content := []byte("0123456789abcdefghij")
	d := digestOf(content)
	begun := admin.do("POST", "/v2/a/app/blobs/uploads/", nil).want(http.StatusAccepted, "")
	upload := begun.header.Get("Location")
	begun.wantHeader("Location", "/v2/a/app/blobs/uploads/"+begun.header.Get("Docker-Upload-Uuid")).wantHeader("Range", "0-0").
		wantHeader("Content-Length", "0").wantHeader("Oci-Chunk-Min-Length", "1")
	status := func(rng string) {
		t.Helper()
		for _, method := range []string{"GET", "HEAD"} {
			admin.do(method, upload, nil).want(http.StatusNoContent, "").wantHeader("Range", rng).wantHeader("Location", upload)
		}
	}
	status("0-0")
	admin.do("PATCH", upload, content[:5], "Content-Range", "0-4").want(http.StatusAccepted, "").wantHeader("Range", "0-4").wantHeader("Location", upload)
	status("0-4")
	admin.do("PATCH", upload, content[5:10]).want(http.StatusAccepted, "").wantHeader("Range", "0-9") // without Content-Range, at the end
	admin.do("PATCH", upload, content[10:15], "Content-Range", "bytes 10-14/20").want(http.StatusAccepted, "").wantHeader("Range", "0-14")
	admin.do("PATCH", upload, nil).want(http.StatusAccepted, "").wantHeader("Range", "0-14")
	admin.do("PUT", upload, content[15:]).want(http.StatusBadRequest, "DIGEST_INVALID")
	status("0-14")
	admin.do("PUT", upload+"?digest="+d, content[15:], "Content-Range", "15-19").want(http.StatusCreated, "").
		wantHeader("Location", "/v2/a/app/blobs/"+d).wantHeader("Docker-Content-Digest", d)
	admin.get(upload).want(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
	admin.do("PUT", upload+"?digest="+d, nil).want(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
	if got := mustBody(admin.get("/v2/a/app/blobs/" + d)); !bytes.Equal(got, content) {
		t.Errorf("the blob is %q, want %q", got, content)
	}

	upload = admin.begin("a/app", "")
	admin.do("PATCH", upload, content).want(http.StatusAccepted, "")
	admin.do("DELETE", upload, nil).want(http.StatusNoContent, "")
	for _, method := range []string{"GET", "PATCH", "PUT", "DELETE"} {
		admin.do(method, upload+"?digest="+d, nil).want(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
	}
	upload = admin.begin("a/app", "")
	admin.do("PUT", upload+"?digest="+d, content).want(http.StatusCreated, "") // all in the PUT
	admin.do("PUT", admin.begin("a/app", "")+"?digest="+digestOf(""), nil).want(http.StatusCreated, "")
	if got := mustBody(admin.get("/v2/a/app/blobs/" + digestOf(""))); len(got) > 0 {
		t.Errorf("the empty blob is %q", got)
	}
	h.wantUploads(0)
}

// wantUploads checks how many uploads lie in the data folder.
func (h *house) wantUploads(want int) {
	h.t.Helper()
	files, err := os.ReadDir(filepath.Join(h.dir, "uploads"))
	must(h.t, err)
	if len(files) != want {
		h.t.Errorf("the folder of uploads has %d files, want %d", len(files), want)
	}
}

// TestS68_ContentRange: a chunk goes where the upload ends and nowhere else.
func TestS68_ContentRange(t *testing.T) {
	h := open(t, setup{})
	admin := h.as("admin")
	upload := admin.begin("a/app", "")
	admin.do("PATCH", upload, []byte("0123456789")).want(http.StatusAccepted, "")
	for _, test := range []struct {
		rng    string
		status int
		code   string
	}{
		{"12-16", 416, "RANGE_INVALID"},       // gap
		{"5-9", 416, "RANGE_INVALID"},         // overlap
		{"0-4", 416, "RANGE_INVALID"},         // backwards
		{"14-10", 416, "RANGE_INVALID"},       // reversed
		{"9-13", 416, "RANGE_INVALID"},        // off by one
		{"-5", 416, "RANGE_INVALID"},          //
		{"10-", 416, "RANGE_INVALID"},         //
		{"10", 416, "RANGE_INVALID"},          //
		{"ten-14", 416, "RANGE_INVALID"},      //
		{"+10-14", 416, "RANGE_INVALID"},      //
		{" 10-14", 202, ""},                   // white space around a header's value is none of it
		{"15 - 19", 416, "RANGE_INVALID"},     //
		{"bytes=15-19", 416, "RANGE_INVALID"}, //
		{"9223372036854775803-9223372036854775807", 416, "RANGE_INVALID"},
		{"18446744073709551611-18446744073709551615", 416, "RANGE_INVALID"},
		{"0-9223372036854775807", 400, "SIZE_INVALID"}, // first and last are right numbers, the length is not that of the body
		{"15-16", 400, "SIZE_INVALID"},
		{"15-99", 400, "SIZE_INVALID"},
	} {
		for _, method := range []string{"PATCH", "PUT"} {
			if method == "PUT" && test.status == http.StatusAccepted {
				continue
			}
			admin.do(method, upload+"?digest="+nowhere, []byte("abcde"), "Content-Range", test.rng).want(test.status, test.code)
		}
	}
	admin.do("PATCH", upload, []byte("x"), "Content-Range", "15-15", "Content-Range", "16-16").want(http.StatusRequestedRangeNotSatisfiable, "RANGE_INVALID")
	admin.get(upload).want(http.StatusNoContent, "").wantHeader("Range", "0-14")
	admin.do("PUT", upload+"?digest="+digestOf("0123456789abcde"), nil).want(http.StatusCreated, "")
}

// TestS68_ChunkedBodyLongerThanContentRange: what Content-Range announces is all that is taken, however it comes.
func TestS68_ChunkedBodyLongerThanContentRange(t *testing.T) {
	h := open(t, setup{})
	admin := h.as("admin")
	upload := admin.begin("a/app", "")
	for _, body := range []string{"0123456789", "01"} {
		r, err := http.NewRequest("PATCH", h.http.URL+upload, io.NopCloser(strings.NewReader(body)))
		must(t, err)
		r.Header.Set("Authorization", admin.auth)
		r.Header.Set("Content-Range", "0-4")
		admin.send(r).want(http.StatusBadRequest, "SIZE_INVALID")
		upload = admin.begin("a/app", "")
	}
}

// TestS68_WrongDigest: the upload and its bytes are gone.
func TestS68_WrongDigest(t *testing.T) {
	h := open(t, setup{})
	admin := h.as("admin")
	upload := admin.begin("a/app", "")
	admin.do("PATCH", upload, []byte("content")).want(http.StatusAccepted, "")
	h.wantUploads(1)
	admin.do("PUT", upload+"?digest="+nowhere, nil).want(http.StatusBadRequest, "DIGEST_INVALID")
	admin.get(upload).want(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
	admin.do("POST", "/v2/a/app/blobs/uploads/?digest="+nowhere, []byte("content")).want(http.StatusBadRequest, "DIGEST_INVALID")
	admin.head("/v2/a/app/blobs/"+nowhere).want(http.StatusNotFound, "")
	admin.head("/v2/a/app/blobs/"+digestOf("content")).want(http.StatusNotFound, "")
	h.wantUploads(0)
}

// TestS68_BlobLimit: no blob is larger than the operator says, announced or not.
func TestS68_BlobLimit(t *testing.T) {
	h := open(t, setup{registry: registry.Options{MaxBlobSize: 1000}})
	admin := h.as("admin")
	exact, over := bytes.Repeat([]byte("x"), 1000), bytes.Repeat([]byte("x"), 1001)
	admin.pushBlob("a/app", exact)
	chunked := func(method, path string) answer {
		r, err := http.NewRequest(method, h.http.URL+path, io.NopCloser(bytes.NewReader(over)))
		must(t, err)
		r.Header.Set("Authorization", admin.auth)
		return admin.send(r)
	}
	post := "/v2/a/app/blobs/uploads/?digest=" + digestOf(over)
	admin.do("POST", post, over).want(http.StatusRequestEntityTooLarge, "SIZE_INVALID")
	chunked("POST", post).want(http.StatusRequestEntityTooLarge, "SIZE_INVALID")
	admin.do("PATCH", admin.begin("a/app", ""), over).want(http.StatusRequestEntityTooLarge, "SIZE_INVALID")
	chunked("PATCH", admin.begin("a/app", "")).want(http.StatusRequestEntityTooLarge, "SIZE_INVALID")
	upload := admin.begin("a/app", "")
	admin.do("PATCH", upload, exact).want(http.StatusAccepted, "")
	admin.do("PUT", upload+"?digest="+digestOf(over), []byte("x")).want(http.StatusRequestEntityTooLarge, "SIZE_INVALID")
	admin.get(upload).want(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
	h.wantUploads(0)
}

// TestS68_Sessions: one account has no more uploads open than it may.
func TestS68_Sessions(t *testing.T) {
	h := open(t, setup{registry: registry.Options{UploadsPerAccount: 100}})
	project := h.as("project")
	var first string
	for range 100 {
		first = project.begin("a/app", "")
	}
	project.do("POST", "/v2/a/app/blobs/uploads/", nil).want(http.StatusTooManyRequests, "TOOMANYREQUESTS")
	h.as("robot").begin("a/app", "") // others go on
	project.pushBlob("a/app", []byte("in one go"))
	project.do("DELETE", first, nil).want(http.StatusNoContent, "")
	project.begin("a/app", "")
}

// TestS11_UploadsOfOthers: an upload is its account's, in its repository.
func TestS11_UploadsOfOthers(t *testing.T) {
	h := open(t, setup{})
	project, content := h.as("project"), bytes.Repeat([]byte("alice's "), 1000)
	upload := project.begin("a/app", "")
	project.do("PATCH", upload, content[:4000]).want(http.StatusAccepted, "")
	id := upload[strings.LastIndexByte(upload, '/')+1:]
	people := []person{h.as("robot"), h.as("creator"), h.as("admin"), h.as("bob"), h.as("")}
	for i := range 250 {
		who := people[i%len(people)]
		repo := []string{"a/app", "b/app", "a/other"}[i%3]
		query := []string{"", "?digest=" + digestOf("evil"), "?_state=x"}[i%3]
		for _, method := range []string{"GET", "PATCH", "PUT", "DELETE"} {
			a := who.do(method, "/v2/"+repo+"/blobs/uploads/"+id+query, []byte("evil"))
			switch {
			case a.status == http.StatusNotFound && a.code() == "BLOB_UPLOAD_UNKNOWN":
			case a.status == http.StatusForbidden || a.status == http.StatusUnauthorized:
			case a.status == http.StatusBadRequest && method == "PUT": // without a digest, before anything is looked up
			default:
				t.Errorf("%s by another = %d %s", a.what, a.status, a.code())
			}
		}
	}
	// Its owner finds it in its own repository only, under its exact id.
	for _, path := range []string{"/v2/a/other/blobs/uploads/" + id, "/v2/a/app/blobs/uploads/" + strings.ToLower(id), upload + "A", upload[:len(upload)-1]} {
		project.get(path).want(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
	}
	project.do("PUT", upload+"?digest="+digestOf(content), content[4000:]).want(http.StatusCreated, "")
}

// TestS11_UploadIDs: ids cannot be guessed.
func TestS11_UploadIDs(t *testing.T) {
	h := open(t, setup{})
	n := 1000
	if os.Getenv("CUSTOMHOUSE_LONG") == "1" {
		n = 10_000
	}
	seen := map[string]bool{}
	var counts [26]map[byte]int
	admin := h.as("admin")
	for range n {
		upload := admin.begin("a/app", "")
		id := upload[strings.LastIndexByte(upload, '/')+1:]
		if seen[id] || len(id) != len(counts) {
			t.Fatalf("upload id %q is not new or not of %d characters", id, len(counts))
		}
		seen[id] = true
		for i := range counts {
			if counts[i] == nil {
				counts[i] = map[byte]int{}
			}
			counts[i][id[i]]++
		}
	}
	for i, c := range counts { // 5 random bits in each character but, in 128 bits, fewer in the last
		if len(c) < 32 && i < len(counts)-1 {
			t.Errorf("character %d of ids takes %d values in %d ids, want 32", i, len(c), n)
		}
	}
}

// TestUploadOfAnonymous: those without an account share none with those who have one.
func TestUploadOfAnonymous(t *testing.T) {
	h := open(t, setup{off: true})
	nobody := h.as("")
	upload := nobody.begin("a/app", "")
	nobody.do("PUT", upload+"?digest="+digestOf("x"), []byte("x")).want(http.StatusCreated, "")
}

// TestUploadResumesAfterBreak: what has come stays, and the client goes on from there.
func TestUploadResumesAfterBreak(t *testing.T) {
	h := open(t, setup{})
	admin := h.as("admin")
	content := make([]byte, 300<<10)
	rand.NewChaCha8([32]byte{}).Read(content)
	upload := admin.begin("a/app", "")
	for name, request := range map[string]string{
		"length":  "Content-Length: 307200\r\n\r\n" + string(content[:100<<10]),
		"chunked": fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", 100<<10) + string(content[:100<<10]) + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			admin := admin.in(t)
			upload := admin.begin("a/app", "")
			c := admin.dial()
			c.send("PATCH " + upload + " HTTP/1.1\r\nHost: x\r\nAuthorization: " + admin.auth + "\r\n" + request)
			c.Close()
			var size string
			for range 200 {
				if size = admin.get(upload).want(http.StatusNoContent, "").header.Get("Range"); size == "0-102399" {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			if size != "0-102399" {
				t.Fatalf("after a break, Range = %s, want what had come", size)
			}
			admin.do("PATCH", upload, content[100<<10:], "Content-Range", "102400-307199").want(http.StatusAccepted, "")
			admin.do("PUT", upload+"?digest="+digestOf(content), nil).want(http.StatusCreated, "")
		})
	}
	admin.do("DELETE", upload, nil).want(http.StatusNoContent, "")
}

// TestBrokenBodies: a body that does not come whole is the client's mistake, which it is told if it still listens.
func TestBrokenBodies(t *testing.T) {
	h := open(t, setup{})
	admin := h.as("admin")
	for _, path := range []string{"POST /v2/a/app/blobs/uploads/?digest=" + nowhere, "PATCH UPLOAD", "PUT UPLOAD?digest=" + nowhere, "PUT /v2/a/app/manifests/v1"} {
		for _, body := range []string{"Content-Length: 100\r\n\r\nshort", "Transfer-Encoding: chunked\r\n\r\nnonsense\r\n", "Transfer-Encoding: chunked\r\n\r\n5\r\nabc"} {
			c := h.dial()
			c.send(strings.Replace(path, "UPLOAD", admin.begin("a/app", ""), 1) + " HTTP/1.1\r\nHost: x\r\nAuthorization: " + admin.auth + "\r\n" + body)
			must(t, c.Conn.(interface{ CloseWrite() error }).CloseWrite())
			for _, a := range c.responses(5 * time.Second) {
				if a.status != http.StatusBadRequest {
					t.Errorf("%s with %q = %d %s", path, body, a.status, a.body)
				}
			}
		}
	}
}

// TestConcurrentChunks: of two chunks for one place, one is taken.
func TestConcurrentChunks(t *testing.T) {
	h := open(t, setup{})
	admin := h.as("admin")
	upload := admin.begin("a/app", "")
	var wg sync.WaitGroup
	var mu sync.Mutex
	taken := 0
	for i := range 16 {
		wg.Go(func() {
			a := admin.do("PATCH", upload, bytes.Repeat([]byte{byte('a' + i)}, 1000), "Content-Range", "0-999")
			if a.status == http.StatusAccepted {
				mu.Lock()
				taken++
				mu.Unlock()
			} else if a.status != http.StatusRequestedRangeNotSatisfiable {
				t.Errorf("%s = %d", a.what, a.status)
			}
		})
	}
	if wg.Wait(); taken != 1 {
		t.Errorf("%d chunks were taken at one place, want 1", taken)
	}
	admin.get(upload).want(http.StatusNoContent, "").wantHeader("Range", "0-999")
}

// TestExpectContinue: who asks first is refused before a body is sent.
func TestExpectContinue(t *testing.T) {
	h := open(t, setup{})
	c := h.dial()
	start := time.Now()
	c.send("PUT /v2/a/app/manifests/t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n")
	must(t, c.SetReadDeadline(start.Add(5*time.Second)))
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("answer after %v = %v, %v, want 401", time.Since(start), resp, err)
	}
}

// TestS69_ContentEncoding: content is taken as it is or not at all.
func TestS69_ContentEncoding(t *testing.T) {
	h := open(t, setup{})
	admin := h.as("admin")
	upload := admin.begin("a/app", "")
	for _, encoding := range []string{"gzip", "zstd", "deflate", "br", "gzip, identity", "x"} {
		for _, request := range [...][2]string{
			{"POST", "/v2/a/app/blobs/uploads/?digest=" + nowhere}, {"PATCH", upload}, {"PUT", upload + "?digest=" + nowhere}, {"PUT", "/v2/a/app/manifests/v1"},
		} {
			admin.do(request[0], request[1], []byte("x"), "Content-Encoding", encoding).want(http.StatusUnsupportedMediaType, "UNSUPPORTED")
		}
	}
	admin.do("PATCH", upload, []byte("x"), "Content-Encoding", "identity").want(http.StatusAccepted, "").wantHeader("Range", "0-0")
	// What comes out has no encoding either, whatever the client would take.
	d := admin.pushBlob("a/app", bytes.Repeat([]byte("compressible"), 1000))
	admin.get("/v2/a/app/blobs/"+d, "Accept-Encoding", "gzip").want(http.StatusOK, "").wantHeader("Content-Encoding", "")
}

// TestS48_PagesOfOthersPushNothing: a browser that knows a password sends it along with the form of whatever page, and sends it
// from an address that rules may trust. So nobody takes over a blob from where they may pull to where others may.
func TestS48_PagesOfOthersPushNothing(t *testing.T) {
	h := open(t, setup{rules: []policy.Rule{allow("admin", "**", "*"), allow("bob", "shared/**", customhouse.Pull), {
		Match: policy.Match{IP: policy.Values{"127.0.0.0/8", "::1"}, Name: policy.Values{"local/**"}}, Actions: []customhouse.Action{"*"},
	}}})
	admin := h.as("admin")
	layer := admin.pushImage("secret/app", "v1", "plans").layerD
	const form = "application/x-www-form-urlencoded"
	mount := "/v2/shared/app/blobs/uploads/?from=secret/app&mount=" + layer
	for _, headers := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"}} {
		admin.do("POST", mount, nil, append(headers, "Content-Type", form)...).want(http.StatusForbidden, "DENIED")
		h.as("").do("POST", "/v2/local/app/blobs/uploads/", nil, append(headers, "Content-Type", form)...).want(http.StatusForbidden, "DENIED")
	}
	h.as("").do("POST", "/v2/local/app/blobs/uploads/", nil).want(http.StatusAccepted, "")
	h.as("bob").head("/v2/shared/app/blobs/"+layer).want(http.StatusNotFound, "")
	for _, headers := range [][]string{nil, {"Sec-Fetch-Site", "same-origin"}, {"Sec-Fetch-Site", "none"}, {"Origin", h.http.URL}} {
		admin.do("POST", mount, nil, headers...).want(http.StatusCreated, "")
	}
	token := h.with(h.token("admin", "repository:shared/app:pull,push", "repository:secret/app:pull"))
	token.do("POST", mount, nil, "Origin", "https://ui.example").want(http.StatusCreated, "") // which no form can hold
}
