package server_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"golang.org/x/time/rate"

	"customhouse"
	"customhouse/mirror"
)

// BenchmarkMirror compares a pull through a copy with the same pull from its upstream, another registry of ours: of a
// blob that is not here (miss must reach 0.9 of upstream), of one that is (hit must be as fast as local).
//
// Over loopback, where client, upstream and copy share the cores, miss shows what copying costs; at the pace of a line it
// shows what clients see.
func BenchmarkMirror(b *testing.B) {
	const size, many = 64 << 20, 512
	up := open(b, setup{})
	bob := up.as("bob")
	layer := noise(size, 9)
	repo := func(i int64) string { return fmt.Sprintf("b/bench%d", i%many) }
	d := bob.pushBlob("b/bench0", layer)
	for i := int64(1); i < many; i++ {
		bob.do("POST", "/v2/"+repo(i)+"/blobs/uploads/?mount="+d+"&from=b/bench0", nil).want(http.StatusCreated, "")
	}
	line := func(gbit int) *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			up.server.ServeHTTP(&paced{w, rate.NewLimiter(rate.Limit(gbit)*1e9/8, 1<<20)}, r)
		}))
		b.Cleanup(s.Close)
		return s
	}
	copyOf := func(s *httptest.Server) *httptest.Server {
		return mirrorOf(b, mirror.Options{URL: s.URL, Username: "bob", Password: customhouse.Secret(passwordOf("bob"))}, nil, setup{}).http
	}
	slow, fast := line(1), line(4)
	slowCopy, fastCopy := copyOf(slow), copyOf(fast)
	h := mirrorOf(b, mirror.Options{URL: up.http.URL, Username: "bob", Password: customhouse.Secret(passwordOf("bob"))}, nil, setup{})
	h.as("alice").get("/v2/a/b/bench0/blobs/"+d).want(http.StatusOK, "")
	h.as("bob").pushBlob("b/local", layer)
	pull := func(b *testing.B, s *httptest.Server, account, path string) {
		r, err := http.NewRequest("GET", s.URL+path, nil)
		must(b, err)
		r.SetBasicAuth(account, passwordOf(account))
		resp, err := http.DefaultClient.Do(r)
		must(b, err)
		defer resp.Body.Close()
		if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != size || resp.StatusCode != http.StatusOK {
			b.Fatalf("GET = %d, %d bytes, %v", resp.StatusCode, n, err)
		}
	}
	var next atomic.Int64
	for _, bench := range []struct {
		name string
		pull func(b *testing.B)
	}{
		{"upstream", func(b *testing.B) { pull(b, up.http, "bob", "/v2/b/bench1/blobs/"+d) }},
		{"miss", func(b *testing.B) { pull(b, h.http, "alice", "/v2/a/"+repo(next.Add(1))+"/blobs/"+d) }},
		{"upstream at 1 Gbit per s", func(b *testing.B) { pull(b, slow, "bob", "/v2/b/bench1/blobs/"+d) }},
		{"miss at 1 Gbit per s", func(b *testing.B) { pull(b, slowCopy, "alice", "/v2/a/"+repo(next.Add(1))+"/blobs/"+d) }},
		{"upstream at 4 Gbit per s", func(b *testing.B) { pull(b, fast, "bob", "/v2/b/bench1/blobs/"+d) }},
		{"miss at 4 Gbit per s", func(b *testing.B) { pull(b, fastCopy, "alice", "/v2/a/"+repo(next.Add(1))+"/blobs/"+d) }},
		{"local", func(b *testing.B) { pull(b, h.http, "bob", "/v2/b/local/blobs/"+d) }},
		{"hit", func(b *testing.B) { pull(b, h.http, "alice", "/v2/a/b/bench0/blobs/"+d) }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.SetBytes(size)
			for range b.N {
				if next.Load() >= many-1 {
					b.Fatal("no blob is left to miss")
				}
				bench.pull(b)
			}
		})
	}
}

// paced is an answer over a slow line.
type paced struct {
	http.ResponseWriter
	limit *rate.Limiter
}

func (p *paced) Unwrap() http.ResponseWriter { return p.ResponseWriter }

func (p *paced) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		n := min(len(rest), p.limit.Burst())
		_ = p.limit.WaitN(context.Background(), n)
		if _, err := p.ResponseWriter.Write(rest[:n]); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(b), nil
}
