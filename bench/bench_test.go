package main

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"customhouse"
)

// TestScenarios is the smoke test: every scenario, with little content and for a moment, against the limit server.
func TestScenarios(t *testing.T) {
	server := httptest.NewServer(newLimitServer(t.TempDir()))
	defer server.Close()
	at := &target{addr: server.Listener.Addr().String(), auth: nobody{}, size: sizes{tags: 300, repos: 250, large: 2 << 20}}
	d := &driver{duration: 20 * time.Millisecond, rounds: 1}
	for _, s := range scenarios() {
		if s.tokens {
			continue // the limit server has no token endpoint
		}
		t.Run(s.name, func(t *testing.T) {
			if err := at.fill(t.Context(), s.needs); err != nil {
				t.Fatalf("fill = %v", err)
			}
			c := d.measure(t.Context(), s, at, 0)
			if c.err != nil {
				t.Fatalf("measure = %v", c.err)
			}
			if s.unit.of(c.result) <= 0 {
				t.Errorf("%s = %v %s, want more", s.name, s.unit.of(c.result), s.unit)
			}
		})
	}
}

func TestScenarioFailsOnWrongContent(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "not what was asked for")
	}))
	defer server.Close()
	at := &target{addr: server.Listener.Addr().String(), auth: nobody{}, size: sizes{tags: 300, repos: 250, large: 2 << 20}}
	d := &driver{duration: 20 * time.Millisecond, rounds: 1}
	for _, s := range scenarios() {
		if c := d.measure(t.Context(), s, at, 0); c.err == nil {
			t.Errorf("%s = nil, want an error", s.name)
		}
	}
}

func TestConn(t *testing.T) {
	big := strings.Repeat("x", 3<<20)
	handler := http.NewServeMux()
	handler.HandleFunc("/length", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "3145728")
		io.WriteString(w, big)
	})
	handler.HandleFunc("/chunks", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, big[:100_000])
		w.(http.Flusher).Flush()
		io.WriteString(w, big[100_000:])
	})
	handler.HandleFunc("/nothing", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) })
	handler.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(http.StatusAccepted)
	})
	server := httptest.NewServer(handler)
	defer server.Close()
	c, err := dial(t.Context(), server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for range 2 { // each leaves the connection as it was
		for _, test := range []struct {
			method, path string
			status       int
			length       int64
			bytes        int64
			location     string
		}{
			{"GET", "/length", 200, 3 << 20, 3 << 20, ""},
			{"HEAD", "/length", 200, 3 << 20, 0, ""},
			{"GET", "/chunks", 200, -1, 3 << 20, ""},
			{"GET", "/nothing", 204, -1, 0, ""},
			{"GET", "/moved", 202, 0, 0, "/elsewhere"},
		} {
			c.bytes.Store(0)
			wire := appendRequest(nil, test.method, test.path, "", "")
			err := c.do(&exchange{wire: wire, head: test.method == "HEAD", status: test.status, length: test.length})
			if err != nil {
				t.Fatalf("%s %s = %v", test.method, test.path, err)
			}
			if c.bytes.Load() != test.bytes || string(c.location) != test.location {
				t.Errorf("%s %s: %d bytes, location %q, want %d, %q", test.method, test.path, c.bytes.Load(), c.location, test.bytes, test.location)
			}
		}
	}
	if err := c.do(&exchange{wire: appendRequest(nil, "GET", "/none", "", ""), status: 200, length: -1}); err == nil || !strings.Contains(err.Error(), "status 404") {
		t.Errorf("GET /none = %v, want status 404", err)
	}
}

// TestConnStops stops in the middle of a body that never ends.
func TestConnStops(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
		for chunk := make([]byte, 1<<20); err == nil; {
			_, err = nc.Write(chunk)
		}
	}()
	c, err := dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	c.stop = &stop
	time.AfterFunc(50*time.Millisecond, func() { stop.Store(true) })
	err = c.do(&exchange{wire: appendRequest(nil, "GET", "/", "", ""), status: 200, length: -1})
	c.close()
	if !errors.Is(err, errStopped) || c.bytes.Load() == 0 {
		t.Errorf("do = %v after %d bytes, want %v after some", err, c.bytes.Load(), errStopped)
	}
}

func TestParseHead(t *testing.T) {
	for _, test := range []struct {
		head string
		want answer
		ok   bool
	}{
		{"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n", answer{status: 200, length: 12}, true},
		{"HTTP/1.1 200 OK\r\ncontent-length:7\r\nX-Content-Length: 9\r\n", answer{status: 200, length: 7}, true},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", answer{status: 200, length: -1}, true},
		{"HTTP/1.1 404 Not Found\r\n", answer{status: 404}, true},
		{"HTTP/1.1 200 OK\r\nContent-Length: twelve\r\n", answer{}, false},
		{"SSH-2.0-OpenSSH\r\n", answer{}, false},
		{"", answer{}, false},
	} {
		got, err := parseHead([]byte(test.head))
		if (err == nil) != test.ok || test.ok && (got.status != test.want.status || got.length != test.want.length) {
			t.Errorf("parseHead(%q) = %+v, %v, want %+v, ok %t", test.head, got, err, test.want, test.ok)
		}
	}
}

func TestSourceDigests(t *testing.T) {
	for _, size := range []int64{tailSize, 1 << 10, 3<<20 + 17} {
		s := newSource(size)
		seen := map[string]bool{}
		for range 3 {
			b, err := s.next()
			if err != nil {
				t.Fatal(err)
			}
			body := []byte{}
			for _, part := range b.parts {
				body = append(body, part...)
			}
			if int64(len(body)) != size || customhouse.DigestOf(customhouse.SHA256, body) != b.digest || seen[b.digest.String()] {
				t.Errorf("next of %d: %d bytes, digest %s is wrong or not new", size, len(body), b.digest)
			}
			seen[b.digest.String()] = true
		}
	}
}

func TestSigner(t *testing.T) {
	s, err := newSigner()
	if err != nil {
		t.Fatal(err)
	}
	line, err := s.authorize(context.Background(), "repository:bench/x:pull,push", "registry:catalog:*")
	if err != nil {
		t.Fatal(err)
	}
	token := strings.TrimSpace(strings.TrimPrefix(line, "Authorization: Bearer "))
	dot := strings.LastIndexByte(token, '.')
	signed, signature := token[:dot], token[dot+1:]
	raw, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(signed))
	if err := rsa.VerifyPKCS1v15(&s.key.PublicKey, crypto.SHA256, sum[:], raw); err != nil {
		t.Errorf("signature: %v", err)
	}
	_, payload, _ := strings.Cut(signed, ".")
	raw, err = base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		t.Fatal(err)
	}
	var claims struct{ Access []customhouse.Access }
	if err := json.Unmarshal(raw, &claims); err != nil || len(claims.Access) != 2 || claims.Access[1].Name != customhouse.Catalog {
		t.Errorf("access = %v, %v", claims.Access, err)
	}
	if groups := strings.Split(s.kid, ":"); len(groups) != 12 {
		t.Errorf("kid = %s, want 12 groups", s.kid)
	}
}

func TestTable(t *testing.T) {
	d := &driver{
		peers:     []namedPeer{{name: nameCustomhouse}, {name: nameDocker}},
		scenarios: scenarios()[:2], modes: []bool{false}, duration: time.Second, rounds: 3,
	}
	r := newReport(d)
	r.machine = "A machine"
	r.cells[cellKey{"blob-get-4k", nameCustomhouse, false}] = cell{result: result{ops: 25_000, elapsed: time.Second, cpu: time.Second, peak: 32 << 20}}
	r.cells[cellKey{"blob-get-4k", nameDocker, false}] = cell{result: result{ops: 500, elapsed: time.Second, cpu: time.Second, busy: 0.5}}
	r.cells[cellKey{"blob-get-1m", nameCustomhouse, false}] = cell{err: errors.New("status 500")}
	var b strings.Builder
	r.write(&b)
	want := `A machine. 1s per measurement, median of 3.

| scenario             | clients | auth | Customhouse | docker-registry | ratio | CPU, Customhouse | CPU, docker-registry | peak MiB, Customhouse |
|----------------------|---------|------|------------:|----------------:|------:|-----------------:|---------------------:|----------------------:|
| blob GET 4 KiB, /s   | 8       | off  |      25,000 |          500 \* | 50.0x |          40.0 us |             2,000 us |                  32.0 |
| blob GET 1 MiB, MB/s | 8       | off  |      failed |               – |       |                  |                      |                       |

\* Other programs used more than 15 % of a core meanwhile.
blob-get-1m, customhouse, off: status 500

`
	if got := b.String(); got != want {
		t.Errorf("table:\n%s\nwant:\n%s", got, want)
	}
}
