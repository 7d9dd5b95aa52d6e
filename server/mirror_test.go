package server_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"customhouse"
	"customhouse/blob"
	"customhouse/mirror"
	"customhouse/registry"
)

// mirrorOf returns a registry whose repositories below a/ are copies of those that up has without it.
func mirrorOf(t testing.TB, up mirror.Options, change func(*registry.Source), s setup) *house {
	t.Helper()
	upstream, err := mirror.New(up)
	must(t, err)
	s.registry.ScrubInterval = time.Hour
	s.registry.Source = func(repo customhouse.Repo) *registry.Source {
		rest, ok := strings.CutPrefix(repo.String(), "a/")
		if !ok {
			return nil
		}
		there, err := customhouse.ParseRepo(rest)
		if err != nil {
			return nil
		}
		src := &registry.Source{Upstream: upstream, Repo: there, Linger: time.Minute}
		if change != nil {
			change(src)
		}
		return src
	}
	h := open(t, s)
	t.Cleanup(h.state.Registry.Close)
	return h
}

// counting counts requests by their end, such as "GET /v2/x/blobs/sha256:...".
type counting struct {
	mu   sync.Mutex
	seen map[string]int
	next http.Handler
}

func (c *counting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.seen[r.Method+" "+r.URL.Path]++
	c.mu.Unlock()
	c.next.ServeHTTP(w, r)
}

func (c *counting) count(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[what]
}

// A page of tags may be shorter than was asked for where the upstream bounds it; the next one goes on behind it.
func TestMirror_ShortPagesOfTags(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("last") == "" {
			w.Header().Set("Link", `</v2/b/app/tags/list?last=2&n=2>; rel="next"`)
			io.WriteString(w, `{"name":"b/app","tags":["1","2"]}`)
			return
		}
		io.WriteString(w, `{"name":"b/app","tags":["3"]}`)
	}))
	t.Cleanup(up.Close)
	alice := mirrorOf(t, mirror.Options{URL: up.URL}, nil, setup{}).as("alice")

	for _, page := range []struct{ path, tags, link string }{
		{"/v2/a/b/app/tags/list", `"tags":["1","2"]`, `last=2`},
		{"/v2/a/b/app/tags/list?n=5&last=2", `"tags":["3"]`, ``},
	} {
		got := alice.get(page.path).want(200, "")
		if link := got.header.Get("Link"); !strings.Contains(string(got.body), page.tags) || !strings.Contains(link, page.link) || page.link == "" && link != "" {
			t.Errorf("GET %s = %s, Link %q; want %s and a link with %q", page.path, got.body, link, page.tags, page.link)
		}
	}
}

// What is pulled from a copy comes from the registry that it is a copy of, by its own token service, and from here when
// that is gone.
func TestMirror(t *testing.T) {
	up := open(t, setup{})
	img := up.as("bob").pushImage("b/app", "1", "app")
	h := mirrorOf(t, mirror.Options{URL: up.http.URL, Username: "bob", Password: customhouse.Secret(passwordOf("bob"))}, nil, setup{fails: true})
	alice := h.as("alice")

	alice.get("/v2/a/b/app/tags/list").want(200, "")
	alice.head("/v2/a/b/app/manifests/1").want(200, "").wantHeader("Docker-Content-Digest", img.manifestDg)
	if got := alice.get("/v2/a/b/app/manifests/1").want(200, "").body; !bytes.Equal(got, img.manifest) {
		t.Fatalf("manifest is %q, want %q", got, img.manifest)
	}
	alice.head("/v2/a/b/app/blobs/"+img.layerD).want(200, "").wantHeader("Content-Length", fmt.Sprint(len(img.layer)))
	if got := alice.get("/v2/a/b/app/blobs/"+img.layerD, "Range", "bytes=3-5").want(206, "").body; string(got) != string(img.layer[3:6]) {
		t.Fatalf("range is %q", got)
	}
	if got := alice.get("/v2/a/b/app/blobs/"+img.configD).want(200, "").body; !bytes.Equal(got, img.config) {
		t.Fatalf("config is %q", got)
	}
	alice.get("/v2/a/b/app/manifests/2").want(404, "MANIFEST_UNKNOWN")
	alice.get("/v2/a/b/app/blobs/"+digestOf("none")).want(404, "BLOB_UNKNOWN")
	alice.get("/v2/a/x/app/manifests/1").want(404, "MANIFEST_UNKNOWN") // bob may not pull it

	next := up.as("bob").pushImage("b/app", "1", "app, changed")
	alice.get("/v2/a/b/app/manifests/1").want(200, "").wantHeader("Docker-Content-Digest", next.manifestDg)

	up.http.Close()
	alice.get("/v2/a/b/app/manifests/1").want(200, "").wantHeader("Docker-Content-Digest", next.manifestDg)
	alice.get("/v2/a/b/app/manifests/"+img.manifestDg).want(200, "")
	alice.get("/v2/a/b/app/blobs/"+img.layerD).want(200, "")
	alice.get("/v2/a/b/app/tags/list").want(200, "")
	alice.get("/v2/a/b/app/manifests/3").want(503, "UNAVAILABLE")
	alice.get("/v2/a/b/app/blobs/"+next.layerD).want(503, "UNAVAILABLE")
}

// A tag is not served for ever while its upstream cannot tell.
func TestMirror_Stale(t *testing.T) {
	for name, change := range map[string]func(*registry.Source){
		"not at all": func(s *registry.Source) { s.NoStale = true },
		"too long":   func(s *registry.Source) { s.TTL = time.Nanosecond },
	} {
		t.Run(name, func(t *testing.T) {
			up := open(t, setup{})
			img := up.as("admin").pushImage("pub/app", "1", "app")
			h := mirrorOf(t, mirror.Options{URL: up.http.URL}, change, setup{fails: true, rules: nil})
			alice := h.as("alice")
			alice.get("/v2/a/pub/app/manifests/1").want(200, "")
			up.http.Close()
			alice.get("/v2/a/pub/app/manifests/1").want(503, "UNAVAILABLE")
			alice.get("/v2/a/pub/app/manifests/"+img.manifestDg).want(200, "")
		})
	}
}

// A tag is served as it was while its upstream sends nothing that makes sense, whatever it promises.
func TestMirror_StaleNonsense(t *testing.T) {
	up := open(t, setup{})
	img := up.as("admin").pushImage("pub/app", "1", "app")
	promise := func(status int) http.HandlerFunc { // of a digest that cannot be had
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Docker-Content-Digest", digestOf([]byte("new")))
			if r.Method == http.MethodGet {
				w.WriteHeader(status)
			}
		}
	}
	for name, c := range map[string]struct {
		nonsense http.HandlerFunc
		other    int // status of a tag that is not here
	}{
		"a page for people":       {func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("<html>Please sign in</html>")) }, 503},
		"what cannot be had":      {promise(404), 404},
		"what may not be had yet": {promise(429), 429},
	} {
		t.Run(name, func(t *testing.T) {
			var broken atomic.Bool
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if broken.Load() {
					c.nonsense(w, r)
					return
				}
				up.server.ServeHTTP(w, r)
			}))
			defer s.Close()
			h := mirrorOf(t, mirror.Options{URL: s.URL}, nil, setup{fails: true})
			alice := h.as("alice")
			alice.get("/v2/a/pub/app/manifests/1").want(200, "")
			broken.Store(true)
			alice.get("/v2/a/pub/app/manifests/other").want(c.other, "")
			for range 2 {
				alice.get("/v2/a/pub/app/manifests/1").want(200, "").wantHeader("Docker-Content-Digest", img.manifestDg)
			}
		})
	}
}

// S81: who pulls through gets nothing but what was pulled: no push, no look at what the rules do not show.
func TestS81_NoRights(t *testing.T) {
	up := open(t, setup{})
	img := up.as("admin").pushImage("pub/app", "1", "app")
	h := mirrorOf(t, mirror.Options{URL: up.http.URL}, nil, setup{})
	h.as("alice").get("/v2/a/pub/app/manifests/1").want(200, "")
	h.as("alice").get("/v2/a/pub/app/blobs/"+img.layerD).want(200, "")

	for _, path := range []string{"/v2/a/pub/app/manifests/1", "/v2/a/pub/app/manifests/" + img.manifestDg, "/v2/a/pub/app/blobs/" + img.layerD} {
		h.as("carol").get(path).want(403, "DENIED")
		h.as("").get(path).want(401, "UNAUTHORIZED")
		h.with(h.token("alice", "repository:a/other:pull")).get(path).want(401, "UNAUTHORIZED")
	}
	h.as("carol").get("/v2/a/pub/never/manifests/1").want(403, "DENIED")
	h.as("alice").do("POST", "/v2/a/pub/app/blobs/uploads/", nil).want(403, "DENIED")
	h.as("alice").do("DELETE", "/v2/a/pub/app/manifests/"+img.manifestDg, nil).want(403, "DENIED")
	h.as("alice").do("DELETE", "/v2/a/pub/app/manifests/1", nil).want(403, "DENIED")

	project := h.as("project") // may push, as far as the rules go
	project.do("POST", "/v2/a/pub/app/blobs/uploads/", nil).want(405, "UNSUPPORTED").wantHeader("Allow", "GET, HEAD, DELETE")
	project.do("POST", "/v2/a/pub/app/blobs/uploads/?digest="+digestOf("x"), []byte("x")).want(405, "UNSUPPORTED")
	project.putManifest("a/pub/app", "1", img.manifest).want(405, "UNSUPPORTED")
	if _, err := h.state.Registry.Repository(repoOf(t, "a/pub/app")).PushManifest(t.Context(), registry.Push{Bytes: img.manifest}); !errors.Is(err, &customhouse.Error{Code: customhouse.Unsupported}) {
		t.Errorf("PushManifest = %v, want UNSUPPORTED", err)
	}
	project.do("DELETE", "/v2/a/pub/app/manifests/1", nil).want(202, "")
	project.get("/v2/a/pub/app/manifests/1").want(200, "") // from upstream again
}

func repoOf(t testing.TB, name string) customhouse.Repo {
	t.Helper()
	repo, err := customhouse.ParseRepo(name)
	must(t, err)
	return repo
}

// noise is content of a size.
func noise(size int, seed byte) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// However many clients ask for an absent blob at once, it is fetched once, and goes out to all while it comes.
func TestMirror_OneFetch(t *testing.T) {
	layer := noise(3<<20, 1)
	d := digestOf(layer)
	first := make(chan struct{})
	up := &counting{seen: map[string]int{}, next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(layer)))
		_, _ = w.Write(layer[:len(layer)/2])
		_ = http.NewResponseController(w).Flush()
		<-first // nothing more comes before a client has got what has come
		_, _ = w.Write(layer[len(layer)/2:])
	})}
	s := httptest.NewServer(up)
	defer s.Close()
	h := mirrorOf(t, mirror.Options{URL: s.URL}, nil, setup{})
	const clients = 100
	var once sync.Once
	var wg sync.WaitGroup
	var right atomic.Int64
	for range clients {
		wg.Go(func() {
			r, _ := http.NewRequest("GET", h.http.URL+"/v2/a/app/blobs/"+d, nil)
			r.SetBasicAuth("alice", passwordOf("alice"))
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			hash := sha256.New()
			if _, err := io.CopyN(hash, resp.Body, int64(len(layer)/4)); err != nil {
				t.Error(err)
				return
			}
			once.Do(func() { close(first) })
			if _, err := io.Copy(hash, resp.Body); err != nil {
				t.Error(err)
			}
			if fmt.Sprintf("sha256:%x", hash.Sum(nil)) == d {
				right.Add(1)
			}
		})
	}
	wg.Wait()
	if n := up.count("GET /v2/app/blobs/" + d); n != 1 || right.Load() != clients {
		t.Fatalf("%d fetches and %d clients with the right content, want 1 and %d", n, right.Load(), clients)
	}
	h.as("alice").get("/v2/a/app/blobs/"+d).want(200, "")
	if n := up.count("GET /v2/app/blobs/" + d); n != 1 {
		t.Fatalf("%d fetches after another pull, want 1", n)
	}
}

// What has turned out to be right goes out whole before it is kept: nobody waits for the disk.
func TestMirror_WholeBeforeKept(t *testing.T) {
	layer := noise(3<<20, 2)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(layer)))
		_, _ = w.Write(layer)
	}))
	defer up.Close()
	slow := &slowCommit{asked: make(chan struct{}), may: make(chan struct{})}
	h := mirrorOf(t, mirror.Options{URL: up.URL}, nil, setup{store: func(s blob.Store) blob.Store { slow.Store = s; return slow }})
	kept := sync.OnceFunc(func() { close(slow.may) })
	defer kept()
	timer := time.AfterFunc(30*time.Second, func() { t.Error("nothing more came before the blob was kept"); kept() })
	defer timer.Stop()
	got := h.as("alice").get("/v2/a/app/blobs/"+digestOf(layer)).want(200, "")
	if !bytes.Equal(got.body, layer) {
		t.Fatalf("%d bytes, want the %d of the blob", len(got.body), len(layer))
	}
	<-slow.asked
}

// slowCommit is a store that keeps nothing before it may.
type slowCommit struct {
	blob.Store
	asked, may chan struct{}
}

func (s *slowCommit) Commit(ctx context.Context, id string, d customhouse.Digest) error {
	close(s.asked)
	<-s.may
	return s.Store.Commit(ctx, id, d)
}

// A client that goes does not end the fetch; one that comes later gets the rest of it. Nobody left, it ends in a while.
func TestMirror_Leave(t *testing.T) {
	layer := noise(1<<20, 2)
	d := digestOf(layer)
	more, gone := make(chan struct{}), make(chan struct{}, 10)
	up := &counting{seen: map[string]int{}, next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(layer)))
		_, _ = w.Write(layer[:len(layer)/2])
		_ = http.NewResponseController(w).Flush()
		select {
		case <-more:
			_, _ = w.Write(layer[len(layer)/2:])
		case <-r.Context().Done():
			gone <- struct{}{}
		}
	})}
	s := httptest.NewServer(up)
	defer s.Close()
	linger := time.Minute
	h := mirrorOf(t, mirror.Options{URL: s.URL}, func(src *registry.Source) { src.Linger = linger }, setup{fails: true})
	begin := func() {
		t.Helper()
		r, _ := http.NewRequest("GET", h.http.URL+"/v2/a/app/blobs/"+d, nil)
		r.SetBasicAuth("alice", passwordOf("alice"))
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
		must(t, err)
		_, err = io.CopyN(io.Discard, resp.Body, 1000)
		must(t, err)
		resp.Body.Close()
	}
	linger = time.Millisecond
	begin()
	select {
	case <-gone:
	case <-time.After(20 * time.Second):
		t.Fatal("the fetch goes on though nobody is left")
	}
	linger = time.Minute
	begin()
	close(more)
	if got := h.as("alice").get("/v2/a/app/blobs/"+d).want(200, "").body; !bytes.Equal(got, layer) {
		t.Fatal("other bytes than upstream's")
	}
	if n := up.count("GET /v2/app/blobs/" + d); n != 2 {
		t.Fatalf("%d fetches, want 2", n)
	}
}

// A hostile upstream has answers by the end of the path.
type hostile map[string]http.HandlerFunc

func (h hostile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for end, answer := range h {
		if strings.HasSuffix(r.URL.Path, end) {
			answer(w, r)
			return
		}
	}
	http.NotFound(w, r)
}

// S81: whatever an upstream does wrong, the transfer of every client fails and nothing is kept.
func TestS81_HostileUpstream(t *testing.T) {
	manifest := image([]byte("{}"), []byte("layer"), nil)
	layer := noise(1<<20, 3)
	send := func(declared int, content []byte, hang time.Duration) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(declared))
			_, _ = w.Write(content)
			_ = http.NewResponseController(w).Flush()
			if hang > 0 {
				select {
				case <-r.Context().Done():
				case <-time.After(hang):
				}
			}
			if len(content) < declared {
				panic(http.ErrAbortHandler)
			}
		}
	}
	wrong := bytes.Clone(layer)
	wrong[len(wrong)-1]++
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Error(w, "<html>no</html>", code) }
	}
	flood := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Docker-Content-Digest", digestOf(manifest))
		for range 6 << 10 {
			_, _ = w.Write(bytes.Repeat([]byte(" "), 1<<10))
		}
	}
	lie := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Docker-Content-Digest", digestOf(manifest))
		_, _ = w.Write([]byte(`{"schemaVersion":2}`))
	}
	never := func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	d, m := "/blobs/"+digestOf(layer), "/manifests/"+digestOf(manifest)
	for name, c := range map[string]struct {
		path   string // below the repository
		answer http.HandlerFunc
		status int // 0: the transfer breaks
	}{
		"wrong bytes":           {d, send(len(wrong), wrong, 0), 0},
		"cut at 50 %":           {d, send(len(layer), layer[:len(layer)/2], 0), 0},
		"stalls at 50 %":        {d, send(len(layer), layer[:len(layer)/2], time.Minute), 0},
		"too short":             {d, send(len(layer)-1, layer[:len(layer)-1], 0), 0},
		"too long":              {d, send(len(layer)+1, append(bytes.Clone(layer), 1), 0), 0},
		"blob 401":              {d, status(401), 404},
		"blob 403":              {d, status(403), 404},
		"blob 429":              {d, status(429), 429},
		"blob 500":              {d, status(500), 503},
		"blob that never comes": {d, never, 503},
		"lies about a digest":   {m, lie, 503},
		"lies about a tag":      {"/manifests/1", lie, 404}, // nothing has the digest that it names
		"manifest 429":          {m, status(429), 429},
		"manifest 502":          {m, status(502), 503},
		"HTML for a manifest":   {"/manifests/2", status(200), 404},
		"oversized manifest":    {m, flood, 503},
		"manifest never comes":  {m, never, 503},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(hostile{c.path: c.answer})
			defer s.Close()
			h := mirrorOf(t, mirror.Options{URL: s.URL, Stall: time.Second}, nil, setup{fails: true})
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					r, _ := http.NewRequest("GET", h.http.URL+"/v2/a/app"+c.path, nil)
					r.SetBasicAuth("alice", passwordOf("alice"))
					resp, err := http.DefaultClient.Do(r)
					if err != nil {
						if c.status != 0 {
							t.Error(err)
						}
						return
					}
					defer resp.Body.Close()
					body, err := io.ReadAll(resp.Body)
					switch {
					case c.status != 0 && resp.StatusCode != c.status:
						t.Errorf("GET = %d %s, want %d", resp.StatusCode, clip(body), c.status)
					case c.status == 0 && resp.StatusCode == 200 && err == nil:
						t.Errorf("a whole answer of %d bytes, want a broken one", len(body))
					}
				})
			}
			wg.Wait()
			s.Close()
			repo := h.state.Registry.With(registry.Options{}).Repository(repoOf(t, "a/app")) // without upstream
			for b, err := range repo.Blobs(t.Context()) {
				t.Errorf("blob %v, %v is kept", b, err)
			}
			for b, err := range repo.Manifests(t.Context()) {
				t.Errorf("manifest %v, %v is kept", b, err)
			}
			h.state.Registry.Close()
			if left := files(t, h.dir+"/uploads"); len(left) > 0 {
				t.Errorf("left of uploads: %v", left)
			}
		})
	}
}

// S79: no redirect and no realm leads to where the operator has not named.
func TestS79_Redirects(t *testing.T) {
	var hits atomic.Int64
	inner := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { hits.Add(1) }))
	defer inner.Close()
	d := digestOf("x")
	for _, target := range []string{
		"http://169.254.169.254/latest/meta-data", "http://[::ffff:169.254.169.254]/", "http://0.0.0.0/", inner.URL + "/",
		strings.Replace(inner.URL, "127.0.0.1", "localhost", 1) + "/", "http://[fd00:ec2::254]/", "http://10.0.0.1/", "file:///etc/passwd",
	} {
		s := httptest.NewServer(hostile{
			"/blobs/" + d: func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, target, http.StatusTemporaryRedirect)
			},
			"/manifests/1": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target, http.StatusFound) },
			"/manifests/2": func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("WWW-Authenticate", `Bearer realm="`+target+`",service="x"`)
				w.WriteHeader(401)
			},
		})
		h := mirrorOf(t, mirror.Options{URL: s.URL, Stall: 5 * time.Second}, nil, setup{fails: true})
		h.as("alice").get("/v2/a/app/blobs/"+d).want(503, "UNAVAILABLE")
		h.as("alice").get("/v2/a/app/manifests/1").want(503, "UNAVAILABLE")
		h.as("alice").get("/v2/a/app/manifests/2").want(503, "UNAVAILABLE")
		s.Close()
		host := strings.Trim(strings.TrimPrefix(target, "http:"), "/")
		_, port, _ := strings.Cut(host, ":")
		if told := h.log.contains("; trust " + host + " if "); told != strings.HasSuffix(inner.URL, ":"+port) {
			t.Errorf("the log tells to trust %s: %t", host, told)
		}
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d requests came to a host that nobody named", n)
	}
}

// S80: credentials are seen by the registry that they are for, and by nobody whom it names.
func TestS80_Credentials(t *testing.T) {
	var leaked atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || r.Method == http.MethodPost {
			leaked.Add(1)
		}
		_, _ = io.WriteString(w, "blob")
	}))
	defer elsewhere.Close()
	d, own := digestOf("blob"), atomic.Int64{}
	s := httptest.NewServer(hostile{
		"/manifests/1": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+elsewhere.URL+`/token",service="x"`)
			w.WriteHeader(401)
		},
		"/blobs/" + d: func(w http.ResponseWriter, r *http.Request) {
			if _, password, ok := r.BasicAuth(); !ok || password != "pass-Canary-word" {
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				w.WriteHeader(401)
				return
			}
			own.Add(1)
			http.Redirect(w, r, elsewhere.URL+"/blob", http.StatusTemporaryRedirect)
		},
	})
	defer s.Close()
	options := mirror.Options{URL: s.URL, Username: "puller", Password: "pass-Canary-word"}
	h := mirrorOf(t, options, nil, setup{fails: true})
	h.as("alice").get("/v2/a/app/manifests/1").want(503, "UNAVAILABLE")
	h.as("alice").get("/v2/a/app/blobs/"+d).want(503, "UNAVAILABLE")

	options.Trusted = []string{strings.TrimPrefix(elsewhere.URL, "http://")} // content may come from there; the password still does not go along
	h = mirrorOf(t, options, nil, setup{fails: true})
	if got := h.as("alice").get("/v2/a/app/blobs/"+d).want(200, "").body; string(got) != "blob" {
		t.Errorf("blob is %q", got)
	}
	if leaked.Load() != 0 || own.Load() != 2 {
		t.Errorf("%d requests with a credential came elsewhere, %d to the registry itself; want 0 and 2", leaked.Load(), own.Load())
	}
	if _, err := mirror.New(mirror.Options{URL: "http://hub.example.com", Username: "puller", Password: "x"}); err == nil {
		t.Error("New takes credentials that go by http to another machine")
	}
}

// A registry that asks to wait is left alone meanwhile, and what is here is served.
func TestMirror_RateLimit(t *testing.T) {
	manifest := image([]byte("{}"), []byte("layer"), nil)
	limited := atomic.Bool{}
	up := &counting{seen: map[string]int{}, next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if limited.Load() {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(429)
			return
		}
		w.Header().Set("Docker-Content-Digest", digestOf(manifest))
		_, _ = w.Write(manifest)
	})}
	s := httptest.NewServer(up)
	defer s.Close()
	h := mirrorOf(t, mirror.Options{URL: s.URL}, nil, setup{})
	alice := h.as("alice")
	alice.get("/v2/a/app/manifests/1").want(200, "")
	limited.Store(true)
	for range 5 {
		alice.get("/v2/a/app/manifests/1").want(200, "")
	}
	for i := range 5 {
		alice.get(fmt.Sprintf("/v2/a/app/manifests/new%d", i)).want(429, "TOOMANYREQUESTS")
	}
	if n := up.count("HEAD /v2/app/manifests/1"); n != 2 {
		t.Errorf("%d requests for the tag, want 2", n)
	}
}

// files returns the names in a folder.
func files(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
