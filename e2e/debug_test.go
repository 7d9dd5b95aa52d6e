//go:build linux

package e2e_test

import (
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The address for operators has health and metrics; with a prefix, h2c and headers of the operator's, docker's protocol is
// below the prefix.
func TestOperators(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	debug := listener.Addr().String()
	listener.Close()
	dir := t.TempDir()
	stop := filepath.Join(dir, "stop")
	config := write(t, dir, "customhouse.yml", read(t, "testdata/people.yml")+`
http: {prefix: /hub, headers: {X-From: [us]}, h2c: true, debug: "`+debug+`"}
health: {files: [{file: `+stop+`, interval: 10ms}]}
`)
	s := serve(t, config)
	get := func(client *http.Client, url string) (*http.Response, string) {
		resp, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	resp, _ := get(http.DefaultClient, s.url+"/hub/v2/")
	if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("X-From") != "us" ||
		!strings.Contains(resp.Header.Get("WWW-Authenticate"), "/hub/token") {
		t.Errorf("GET /hub/v2/ = %d with %v", resp.StatusCode, resp.Header)
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	if resp, _ = get(&http.Client{Transport: &http.Transport{Protocols: &protocols}}, s.url+"/hub/livez"); resp.ProtoMajor != 2 {
		t.Errorf("h2c: %s, want HTTP/2", resp.Proto)
	}
	if _, body := get(http.DefaultClient, "http://"+debug+"/metrics"); !strings.Contains(body, `registry_http_requests_total{code="401",handler="base",method="GET"} 1`) {
		t.Errorf("metrics lack the request:\n%s", body)
	}
	if _, body := get(http.DefaultClient, "http://"+debug+"/metrics"); !strings.Contains(body, "\ncustomhouse_access_list_age_seconds 0\n") {
		t.Errorf("metrics lack the age of access lists:\n%s", body)
	}
	ready := func(want int) {
		t.Helper()
		deadline := time.Now().Add(10 * time.Second)
		for {
			resp, _ := get(http.DefaultClient, s.url+"/hub/readyz")
			if resp.StatusCode == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("readyz = %d, want %d", resp.StatusCode, want)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	ready(http.StatusOK)
	write(t, dir, "stop", "")
	ready(http.StatusServiceUnavailable)
	if _, body := get(http.DefaultClient, "http://"+debug+"/debug/health"); !strings.Contains(body, "file exists") {
		t.Errorf("health = %s", body)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}
