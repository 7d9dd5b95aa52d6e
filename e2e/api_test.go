//go:build linux

package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// openHouse is the configuration of a server that lets everybody do everything.
const openHouse = "auth: {off: true}\nlimits: {uploads_per_account: 0}\nlog: {requests: false}\n"

// openConfig writes a configuration of openHouse and more.
func openConfig(t *testing.T, more ...string) string {
	t.Helper()
	return write(t, t.TempDir(), "customhouse.yml", openHouse+strings.Join(more, ""))
}

// An api speaks the distribution protocol to a server. Its methods return errors in place of failing a test, because
// the server may be killed meanwhile.
type api struct {
	url  string
	http *http.Client
	name string // of the account whose password is name-secret; empty: nobody
}

func newAPI(t *testing.T, url string) *api {
	t.Helper()
	tr := &http.Transport{
		MaxIdleConnsPerHost: 128,
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &api{url: url, http: &http.Client{Transport: tr, Timeout: 2 * time.Minute}}
}

// as returns an api that logs in as an account.
func (a *api) as(name string) *api { return &api{url: a.url, http: a.http, name: name} }

// An answer is a whole response.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// code is the code of the first error in the envelope.
func (a answer) code() string {
	var envelope struct{ Errors []struct{ Code string } }
	if json.Unmarshal(a.body, &envelope) != nil || len(envelope.Errors) == 0 {
		return ""
	}
	return envelope.Errors[0].Code
}

// is returns an error unless the answer has the status.
func (a answer) is(status int) error {
	if a.status != status {
		return fmt.Errorf("status = %d %.300s, want %d", a.status, a.body, status)
	}
	return nil
}

// do sends a request; path is relative to the server, or a whole URL.
func (a *api) do(method, path string, header http.Header, body io.Reader) (answer, error) {
	if strings.HasPrefix(path, "/") {
		path = a.url + path
	}
	q, err := http.NewRequest(method, path, body)
	if err != nil {
		return answer{}, err
	}
	for k, v := range header {
		q.Header[k] = v
	}
	if a.name != "" {
		q.SetBasicAuth(a.name, a.name+"-secret")
	}
	r, err := a.http.Do(q)
	if err != nil {
		return answer{}, err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return answer{r.StatusCode, r.Header, b}, err
}

func (a *api) get(path string) (answer, error) {
	return a.do("GET", path, http.Header{"Accept": {"*/*"}}, nil)
}

// expect is do for a request that must get the status.
func (a *api) expect(status int, method, path string, body []byte) (answer, error) {
	got, err := a.do(method, path, nil, bytes.NewReader(body))
	if err == nil {
		err = got.is(status)
	}
	if err != nil {
		err = fmt.Errorf("%s %.60s: %w", method, path, err)
	}
	return got, err
}

// push pushes a blob in one request.
func (a *api) push(repo string, content []byte) error {
	_, err := a.expect(201, "POST", "/v2/"+repo+"/blobs/uploads/?digest="+sha256sum(content), content)
	return err
}

// begin begins an upload and returns where it goes on.
func (a *api) begin(repo string) (location string, err error) {
	got, err := a.expect(202, "POST", "/v2/"+repo+"/blobs/uploads/", nil)
	return got.header.Get("Location"), err
}

// pushChunked pushes a blob in pieces of size bytes.
func (a *api) pushChunked(repo string, content []byte, size int) error {
	location, err := a.begin(repo)
	for rest := content; err == nil && len(rest) > 0; rest = rest[min(size, len(rest)):] {
		_, err = a.expect(202, "PATCH", location, rest[:min(size, len(rest))])
	}
	if err != nil {
		return err
	}
	_, err = a.expect(201, "PUT", location+"?digest="+sha256sum(content), nil)
	return err
}

// manifest returns an image manifest of blobs, the first of which is the config.
func manifest(blobs ...[]byte) []byte {
	d := make([]descriptor, len(blobs))
	for i, b := range blobs {
		d[i] = descriptor{MediaType: typeLayer, Digest: sha256sum(b), Size: len(b)}
	}
	d[0].MediaType = typeConfig
	b, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": typeImage, "config": d[0], "layers": d[1:]})
	if err != nil {
		panic(err) // of strings and numbers
	}
	return b
}

// putManifest pushes a manifest under a tag or its digest.
func (a *api) putManifest(repo, ref string, content []byte) error {
	got, err := a.do("PUT", "/v2/"+repo+"/manifests/"+ref, http.Header{"Content-Type": {typeImage}}, bytes.NewReader(content))
	if err == nil {
		err = got.is(201)
	}
	return err
}

// pushImage pushes the blobs of an image, and its manifest under a tag. It returns the manifest.
func (a *api) pushImage(repo, tag string, blobs ...[]byte) ([]byte, error) {
	for _, b := range blobs {
		if err := a.push(repo, b); err != nil {
			return nil, err
		}
	}
	m := manifest(blobs...)
	return m, a.putManifest(repo, tag, m)
}

// wantBlob pulls a blob and compares it.
func (a *api) wantBlob(repo string, content []byte) error {
	got, err := a.get("/v2/" + repo + "/blobs/" + sha256sum(content))
	if err == nil {
		err = got.is(200)
	}
	if err == nil && !bytes.Equal(got.body, content) {
		err = fmt.Errorf("blob = %d other bytes, want %d", len(got.body), len(content))
	}
	return err
}

// bytesOf returns size bytes that depend on what.
func bytesOf(size int, what ...any) []byte {
	b := make([]byte, size)
	rand.NewChaCha8(sha256.Sum256(fmt.Append(nil, what...))).Read(b)
	return b
}

// must fails the test with the first error.
func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// long is what a run with CUSTOMHOUSE_LONG=1 takes in the place of usual.
func long(usual, long int) int {
	if isLong() {
		return long
	}
	return usual
}
