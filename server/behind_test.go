package server_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"customhouse/server"
)

// change gives the server a state that differs.
func (h *house) change(differ func(*server.State)) {
	st := h.state
	differ(&st)
	h.server.Swap(st)
}

// With a prefix everything is below it, and every address that a client is told is, too.
func TestPrefix(t *testing.T) {
	h := open(t, setup{})
	h.as("project").pushImage("a/app", "v1", "x")
	h.change(func(st *server.State) { st.Prefix, st.Realm.Prefix = "/registry", "/registry" })
	p := h.as("project")

	p.get("/v2/").want(http.StatusNotFound, "")
	p.get("/token").want(http.StatusNotFound, "")
	p.get("/registryv2/").want(http.StatusNotFound, "")
	p.get("/").want(http.StatusOK, "")
	p.get("/registry/").want(http.StatusOK, "")
	p.get("/registry/livez").want(http.StatusOK, "")
	p.get("/registry/v2/").want(http.StatusOK, "")
	p.get("/registry/v2/a/app/manifests/v1").want(http.StatusOK, "")
	challenge := h.as("").get("/registry/v2/").want(http.StatusUnauthorized, "UNAUTHORIZED").header.Get("WWW-Authenticate")
	if want := `realm="` + h.http.URL + `/registry/token"`; !strings.Contains(challenge, want) {
		t.Errorf("WWW-Authenticate = %s, want %s", challenge, want)
	}
	p.get("/registry/token?service="+service).want(http.StatusOK, "")
	a := p.do("POST", "/registry/v2/a/app/blobs/uploads/", nil).want(http.StatusAccepted, "")
	location := a.header.Get("Location")
	if !strings.HasPrefix(location, "/registry/v2/a/app/blobs/uploads/") {
		t.Fatalf("Location = %s", location)
	}
	p.do("PUT", location+"?digest="+digestOf("hello"), []byte("hello")).want(http.StatusCreated, "").
		wantHeader("Location", "/registry/v2/a/app/blobs/"+digestOf("hello"))
	p.pushTo("/registry", "a/app", "v2", "hello")
	p.get("/registry/v2/a/app/tags/list?n=1").want(http.StatusOK, "").
		wantHeader("Link", `</registry/v2/a/app/tags/list?last=v1&n=1>; rel="next"`)
}

// pushTo pushes an image whose blobs are there below a prefix.
func (p person) pushTo(prefix, repo, tag, content string) {
	p.t.Helper()
	manifest := image([]byte(content), []byte(content), nil)
	p.do("PUT", prefix+"/v2/"+repo+"/manifests/"+tag, manifest, "Content-Type", "application/vnd.oci.image.manifest.v1+json").
		want(http.StatusCreated, "")
}

// Headers of the configuration are on every answer, errors included, and cannot replace what an answer means.
func TestHeaders(t *testing.T) {
	h := open(t, setup{})
	h.change(func(st *server.State) {
		st.Headers = http.Header{"X-Frame-Options": {"deny"}, "Strict-Transport-Security": {"max-age=1", "preload"}}
	})
	for _, a := range []answer{h.as("").get("/v2/"), h.as("admin").get("/v2/"), h.as("").get("/nowhere"), h.as("").get("/livez")} {
		a.wantHeader("X-Frame-Options", "deny").wantHeader("Strict-Transport-Security", "max-age=1, preload")
	}
}

// Read-only: everything can be read, nothing changed; and who may not do something learns nothing new.
func TestReadOnly(t *testing.T) {
	h := open(t, setup{})
	image := h.as("project").pushImage("a/app", "v1", "x")
	h.change(func(st *server.State) { st.ReadOnly = true })
	p := h.as("project")
	p.get("/v2/a/app/manifests/v1").want(http.StatusOK, "")
	for _, request := range []string{
		"PUT /v2/a/app/manifests/v1", "DELETE /v2/a/app/manifests/v1", "DELETE /v2/a/app/manifests/" + image.manifestDg,
		"DELETE /v2/a/app/blobs/" + image.manifestDg, "POST /v2/a/app/blobs/uploads/", "PATCH /v2/a/app/blobs/uploads/X",
		"PUT /v2/a/app/blobs/uploads/X", "DELETE /v2/a/app/blobs/uploads/X",
	} {
		method, path, _ := strings.Cut(request, " ")
		p.do(method, path, nil).want(http.StatusMethodNotAllowed, "UNSUPPORTED").wantHeader("Allow", "GET, HEAD")
		h.as("").do(method, path, nil).want(http.StatusUnauthorized, "UNAUTHORIZED")
	}
	p.get("/v2/a/app/manifests/v1").want(http.StatusOK, "")
}

// Lists are no longer than the operator likes, whatever the client asks for.
func TestLists(t *testing.T) {
	h := open(t, setup{})
	p := h.as("admin")
	for _, repo := range []string{"l/a", "l/b", "l/c"} {
		for _, tag := range []string{"1", "2", "3"} {
			p.pushImage(repo, tag, repo+tag)
		}
	}
	h.change(func(st *server.State) { st.Lists = server.Lists{Catalog: 2, Tags: 1} })
	for path, want := range map[string][]string{
		"/v2/_catalog": {"l/a", "l/b"}, "/v2/_catalog?n=100": {"l/a", "l/b"}, "/v2/_catalog?n=1": {"l/a"},
	} {
		if got := repositories(p.get(path)); !cmp.Equal(got, want) {
			t.Errorf("%s = %v, want %v", path, got, want)
		}
	}
	for path, want := range map[string][]string{"/v2/l/a/tags/list": {"1"}, "/v2/l/a/tags/list?n=100": {"1"}} {
		if got := tags(p.get(path)); !cmp.Equal(got, want) {
			t.Errorf("%s = %v, want %v", path, got, want)
		}
	}
	if got := follow(p, "/v2/l/a/tags/list", tags); !cmp.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("all tags = %v", got)
	}
}

// Metrics count by family, method and status, and have no label that a client can choose (S90).
func TestS90_Metrics(t *testing.T) {
	h := open(t, setup{})
	m := server.NewMetrics("v0")
	m.Gauge("customhouse_answer", "Forty-two.", func() float64 { return 42 })
	h.change(func(st *server.State) { st.Metrics = m })
	h.as("project").pushImage("a/app", "v1", "x")
	for range 3 {
		h.as("alice").get("/v2/a/app/manifests/v1").want(http.StatusOK, "")
	}
	for i := range 200 {
		h.as("").do("FROB", "/v2/repo"+strings.Repeat("x", i)+"/manifests/latest", nil)
		h.as("").get("/" + strings.Repeat("y", i))
	}
	text := read(t, m.Handler(), "/metrics")
	for _, want := range []string{
		`registry_http_requests_total{code="200",handler="manifest",method="GET"} 3`,
		`registry_http_requests_total{code="201",handler="manifest",method="PUT"} 1`,
		`registry_http_request_duration_seconds_count{handler="manifest"} 4`,
		`registry_http_in_flight_requests 0`, `customhouse_build_info{version="v0"} 1`, `customhouse_answer 42`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if n := strings.Count(text, "\n"); n > 600 {
		t.Errorf("%d lines of metrics", n)
	}
}

func read(t *testing.T, h http.Handler, path string) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	body, err := io.ReadAll(w.Result().Body)
	must(t, err)
	return string(body)
}

// A check that fails makes readiness say no, not the registry; the reason is told on the debug address only. Profiles are
// there and nowhere else (S20).
func TestS20_Debug(t *testing.T) {
	h := open(t, setup{fails: true})
	stop := filepath.Join(t.TempDir(), "stop")
	asked := make(chan error)
	checks := server.NewChecks([]server.Check{
		{Name: "file", Every: time.Hour, Probe: server.ProbeFile(stop)},
		{Name: "own", Every: time.Millisecond, Threshold: 2, Probe: func(context.Context) error { return <-asked }},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { checks.Run(ctx); close(done) }()
	h.change(func(st *server.State) { st.Checks, st.Metrics = checks, server.NewMetrics("v0") })
	debug := httptest.NewServer(h.server.Debug("/metrics"))
	defer debug.Close()
	get := func(method, path string) (int, string) {
		r, err := http.NewRequest(method, debug.URL+path, nil)
		must(t, err)
		resp, err := http.DefaultClient.Do(r)
		must(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		must(t, err)
		return resp.StatusCode, string(body)
	}
	want := func(ready int, health string) {
		t.Helper()
		h.as("").get("/readyz").want(ready, "")
		h.as("admin").get("/v2/").want(http.StatusOK, "")
		if _, body := get("GET", "/debug/health"); body != health {
			t.Errorf("health = %s, want %s", body, health)
		}
	}
	asked <- nil
	asked <- errors.New("broken")
	want(http.StatusOK, "{}")
	asked <- errors.New("broken")
	asked <- errors.New("broken") // the one before has been noted
	want(http.StatusServiceUnavailable, `{"own":"broken"}`)
	asked <- nil
	asked <- nil
	want(http.StatusOK, "{}")
	get("POST", "/debug/health/down")
	want(http.StatusServiceUnavailable, `{"manual_http_status":"taken down by hand"}`)
	get("POST", "/debug/health/up")
	want(http.StatusOK, "{}")
	for path, status := range map[string]int{
		"/debug/pprof/": 200, "/metrics": 200, "/debug/health/sideways": 405, "/": 404, "/v2/": 404,
	} {
		if got, _ := get("GET", path); got != status {
			t.Errorf("GET %s = %d, want %d", path, got, status)
		}
	}
	for _, path := range []string{"/debug/pprof/", "/debug/health", "/metrics"} {
		h.as("admin").get(path).want(http.StatusNotFound, "")
	}
	cancel()
	close(asked)
	<-done
}

func TestProbes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "stop")
	must(t, server.ProbeFile(file)(t.Context()))
	must(t, os.WriteFile(file, nil, 0o600))
	if err := server.ProbeFile(file)(t.Context()); err == nil {
		t.Error("ProbeFile of a file = nil")
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodHead || r.Header.Get("X-Probe") != "yes" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	headers := http.Header{"X-Probe": {"yes"}}
	must(t, server.ProbeHTTP(s.Client(), s.URL, headers, http.StatusNoContent)(t.Context()))
	if err := server.ProbeHTTP(s.Client(), s.URL, nil, http.StatusNoContent)(t.Context()); err == nil {
		t.Error("ProbeHTTP with another status = nil")
	}
	addr := s.Listener.Addr().(*net.TCPAddr).String()
	must(t, server.ProbeTCP(addr)(t.Context()))
	s.Close()
	if err := server.ProbeTCP(addr)(t.Context()); err == nil {
		t.Error("ProbeTCP of nobody = nil")
	}
}

// Where a web server has the files, clients are sent there for blobs, once these are known to be right; for all else they
// are not.
func TestRedirect(t *testing.T) {
	h := open(t, setup{fails: true})
	image := h.as("project").pushImage("a/app", "v1", "x")
	h.change(func(st *server.State) {
		st.Redirect = func(file string) string {
			if path, ok := strings.CutPrefix(file, h.dir+"/"); ok {
				return "https://cdn.example/" + path
			}
			return ""
		}
	})
	p := h.as("project")
	a := p.get("/v2/a/app/blobs/"+image.layerD).want(http.StatusTemporaryRedirect, "")
	path, ok := strings.CutPrefix(a.header.Get("Location"), "https://cdn.example/")
	if content, err := os.ReadFile(filepath.Join(h.dir, path)); !ok || err != nil || string(content) != string(image.layer) {
		t.Errorf("Location = %s: %v", a.header.Get("Location"), err)
	}
	p.head("/v2/a/app/blobs/"+image.layerD).want(http.StatusOK, "")
	p.get("/v2/a/app/manifests/v1").want(http.StatusOK, "")
	h.as("bob").get("/v2/a/app/blobs/"+image.layerD).want(http.StatusForbidden, "DENIED")
	stored := filepath.Join(h.dir, path)
	must(t, os.WriteFile(stored, []byte(strings.Repeat("z", len(image.layer))), 0o600)) // rot
	p.get("/v2/a/app/blobs/"+image.layerD).want(http.StatusNotFound, "BLOB_UNKNOWN")
}

// visitors are pages that answer where their client comes from.
type visitors struct{}

func (visitors) Owns(path string) bool { return path == "/ui/" }

func (visitors) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, r.RemoteAddr)
}

// The pages log who signs in: behind a proxy the client, and not the proxy.
func TestS60_PagesSeeTheClient(t *testing.T) {
	h := open(t, setup{})
	for _, tt := range []struct{ trusted, want string }{{"127.0.0.0/8", "192.0.2.9"}, {"198.51.100.0/24", "127.0.0.1:"}} {
		h.change(func(st *server.State) {
			st.Pages = visitors{}
			st.Proxies = server.Proxies{Trusted: []netip.Prefix{netip.MustParsePrefix(tt.trusted)}, Header: "X-Forwarded-For", Position: -1}
		})
		a := h.as("").get("/ui/", "X-Forwarded-For", "192.0.2.9").want(http.StatusOK, "")
		if !strings.HasPrefix(string(a.body), tt.want) {
			t.Errorf("with a proxy in %s the client is %s, want %s", tt.trusted, a.body, tt.want)
		}
	}
}
