//go:build linux

package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A replica is a registry of ours with rules of replication.
type replica struct {
	*server
	client     // of its command line
	file, data string
}

// newReplica starts a registry that is open to all, with these elements of replicate.
func newReplica(t *testing.T, rules string) *replica {
	t.Helper()
	r := &replica{client: client{path: binary, env: []string{"HOME=" + t.TempDir()}}, data: t.TempDir()}
	r.file = write(t, t.TempDir(), "customhouse.yml", "auth: {accounts: false}\nrules: [{match: {account: \"\"}, actions: [\"*\"]}]\nreplicate:\n"+rules)
	r.serve(t)
	return r
}

func (r *replica) serve(t *testing.T) {
	t.Helper()
	r.server = serveData(t, r.data, "-c", r.file)
}

// mirror runs `customhouse mirror`.
func (r *replica) mirror(t *testing.T, args ...string) string {
	t.Helper()
	return r.client.run(t, append(append([]string{"mirror"}, args...), "-c", r.file, "--data", r.data)...)
}

// status is what the command tells of a rule.
func (r *replica) status(t *testing.T, rule string) string {
	t.Helper()
	for line := range strings.Lines(r.mirror(t, "status")) {
		if fields := strings.Fields(line); fields[0] == rule {
			return strings.Join(fields, " ")
		}
	}
	t.Fatalf("status has no rule %s", rule)
	return ""
}

// comes waits until something is as it should be.
func (r *replica) comes(t *testing.T, what string, ready func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !ready(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s does not come:\n%s", what, r.mirror(t, "status"))
		}
	}
}

// runs lets a rule run that does nothing by itself, and waits until its status has some words.
func (r *replica) runs(t *testing.T, rule, what, wanted string) {
	t.Helper()
	r.mirror(t, "run", rule)
	r.comes(t, what, func() bool {
		got := r.status(t, rule)
		return strings.Contains(got, wanted) && !strings.Contains(got, "runs since") && !strings.Contains(got, " now")
	})
}

// has tells whether an image has a digest.
func has(t *testing.T, crane client, image, digest string) bool {
	t.Helper()
	got, _, err := crane.exec(t, []string{"digest", image})
	return err == nil && strings.TrimSpace(got) == digest
}

// TestReplication keeps content the same here and in Debian's registry: from there when asked, and to there when something
// is pushed or deleted here.
func TestReplication(t *testing.T) {
	t.Parallel()
	_, hub := openRegistry(t, need(t, "docker-registry"))
	l, crane := newLayout(t), newCrane(t)
	for _, image := range []string{"base/app:v1", "base/app:v2", "base/app:dev", "other/app:v1"} {
		crane.run(t, "push", l.dir, hub+"/"+image)
	}
	s := newReplica(t, fmt.Sprintf(`
- {name: in, direction: pull, url: "http://%[1]s", repositories: ["base/**"], tags: ["v*"], prefix: copy/, delete: true, bandwidth: 100MiB}
- {name: out, direction: push, url: "http://%[1]s", repositories: ["team/**"], on_event: true, delete: true}
- {name: lost, direction: pull, url: "http://127.0.0.1:9", every: 1h}
`, hub))
	if got := s.status(t, "in"); got != "in pull never 0 0 0 0 -" {
		t.Errorf("status = %q before the first run", got)
	}
	s.runs(t, "in", "the first run", " 2 0 0 0 ")
	wantDigest(t, crane.run(t, "digest", s.host+"/copy/base/app:v1"), l.index.Digest)
	pulled := filepath.Join(t.TempDir(), "pulled")
	crane.run(t, "pull", "--format=oci", s.host+"/copy/base/app:v2", pulled)
	l.wantPulled(t, pulled, l.index)
	wantLines(t, crane.run(t, "catalog", s.host), "copy/base/app")
	s.runs(t, "in", "a second run", " 0 2 0 0 ")

	crane.run(t, "push", l.dir, s.host+"/copy/base/app:v9") // is not there
	s.runs(t, "in", "a run that removes", " 0 2 1 0 ")
	wantLines(t, crane.run(t, "ls", s.host+"/copy/base/app"), "v1", "v2")

	t.Run("push", func(t *testing.T) {
		crane.run(t, "push", l.dir, s.host+"/team/app:v1")
		crane.run(t, "tag", s.host+"/team/app:v1", "v2")
		for _, tag := range []string{":v1", ":v2"} {
			s.comes(t, "what was pushed", func() bool { return has(t, crane, hub+"/team/app"+tag, l.index.Digest) })
		}
		s.comes(t, "word of it", func() bool { return !strings.Contains(s.status(t, "out"), "never") })
		sent := regexp.MustCompile(`"name":"out","copied":\d+,[^\n]*"bytes":[1-9]`)
		s.comes(t, "how many bytes went there, in the log", func() bool { return sent.MatchString(s.all.String()) })
	})
	t.Run("deletion of a tag", func(t *testing.T) {
		crane.run(t, "delete", s.host+"/team/app:v2")
		s.comes(t, "the deletion", func() bool {
			return slices.Equal(strings.Fields(crane.run(t, "ls", hub+"/team/app")), []string{"v1"})
		})
		wantDigest(t, crane.run(t, "digest", hub+"/team/app:v1"), l.index.Digest)
	})
	s.comes(t, "the rule whose registry is lost", func() bool { return strings.Contains(s.status(t, "lost"), "refused") })
	s.client.refuse(t, []string{"no rule"}, "mirror", "run", "none", "-c", s.file, "--data", s.data)
}

// A road leads to a registry and can be watched and closed.
type road struct {
	host string

	mu    sync.Mutex
	seen  map[string]int         // answers that went out whole, by method and path
	holds func(line string) bool // tells which requests are held, nil for none
	held  chan string            // requests that are
	open  chan struct{}          // closed when they may go on
}

func newRoad(t *testing.T, host string) *road {
	t.Helper()
	w := &road{seen: map[string]int{}, held: make(chan string, 100), open: make(chan struct{})}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: host})
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		line := r.Method + " " + r.URL.Path
		w.mu.Lock()
		holds, open := w.holds, w.open
		w.mu.Unlock()
		if holds != nil && holds(line) {
			w.held <- line
			select {
			case <-open:
			case <-r.Context().Done():
				return
			}
		}
		proxy.ServeHTTP(rw, r) // panics where the answer breaks off
		w.mu.Lock()
		defer w.mu.Unlock()
		w.seen[line]++
	}))
	t.Cleanup(s.Close)
	w.host = strings.TrimPrefix(s.URL, "http://")
	return w
}

func (w *road) close(holds func(line string) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holds = holds
}

func (w *road) reopen() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holds = nil
	close(w.open)
	w.open = make(chan struct{})
}

func (w *road) count(line string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[line]
}

// A replication that is killed goes on with the next start, wherever it was, and copies nothing again that is there.
func TestR19_ReplicationKilled(t *testing.T) {
	t.Parallel()
	l, crane := newLayout(t), newCrane(t)
	t.Run("pull", func(t *testing.T) {
		t.Parallel()
		_, hub := openRegistry(t, need(t, "docker-registry"))
		w := newRoad(t, hub)
		crane.run(t, "push", l.dir, hub+"/base/app:v1")
		last := "GET /v2/base/app/manifests/" + l.index.Digest // is asked for first and kept last
		layer := "GET /v2/base/app/blobs/" + l.layer.Digest
		arm := "GET /v2/base/app/manifests/" + l.arm64.Digest
		w.close(func(line string) bool { return line == arm })
		s := newReplica(t, fmt.Sprintf("- {name: in, direction: pull, url: 'http://%s', repositories: [base/app], every: 24h}\n", w.host))
		<-w.held
		s.comes(t, "a layer", func() bool { // is kept, and nothing names it yet
			resp, err := http.Head(s.url + "/v2/base/app/blobs/" + l.layer.Digest)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			return resp.StatusCode == http.StatusOK
		})
		s.kill()
		w.reopen()
		s.serve(t)
		s.comes(t, "the image", func() bool { return has(t, crane, s.host+"/base/app:v1", l.index.Digest) })
		pulled := filepath.Join(t.TempDir(), "pulled")
		crane.run(t, "pull", "--format=oci", s.host+"/base/app:v1", pulled)
		l.wantPulled(t, pulled, l.index)
		if got := w.count(layer); got != 1 {
			t.Errorf("%s was answered %d times, want once", layer, got)
		}
		if got := w.count(last); got != 2 {
			t.Errorf("%s was answered %d times, want twice", last, got)
		}
	})
	t.Run("push", func(t *testing.T) {
		t.Parallel()
		_, hub := openRegistry(t, need(t, "docker-registry"))
		w := newRoad(t, hub)
		s := newReplica(t, fmt.Sprintf("- {name: out, direction: push, url: 'http://%s', on_event: true}\n", w.host))
		manifest := "PUT /v2/team/app/manifests/" + l.arm64.Digest
		w.close(func(line string) bool { return line == manifest })
		crane.run(t, "push", l.dir, s.host+"/team/app:v1")
		<-w.held
		s.kill()
		w.reopen()
		s.serve(t)
		s.comes(t, "the image", func() bool { return has(t, crane, hub+"/team/app:v1", l.index.Digest) })
		pulled := filepath.Join(t.TempDir(), "pulled")
		crane.run(t, "pull", "--format=oci", hub+"/team/app:v1", pulled)
		l.wantPulled(t, pulled, l.index)
	})
	t.Run("push while the other is away", func(t *testing.T) {
		t.Parallel()
		_, hub := openRegistry(t, need(t, "docker-registry"))
		w := newRoad(t, hub)
		s := newReplica(t, fmt.Sprintf("- {name: out, direction: push, url: 'http://%s', on_event: true}\n", w.host))
		w.close(func(string) bool { return true })
		crane.run(t, "push", l.dir, s.host+"/team/app:v1")
		<-w.held
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		w.reopen()
		s.serve(t)
		s.comes(t, "the image", func() bool { return has(t, crane, hub+"/team/app:v1", l.index.Digest) })
	})
}

// bandwidth is a limit, whichever way: it takes at least the time that the bytes have a right to.
func TestReplicationBandwidth(t *testing.T) {
	t.Parallel()
	const limit, content = 150 << 10, 2 * noise // a second; of both layers
	const least = (content - limit/4) * time.Second / limit
	_, hub := openRegistry(t, need(t, "docker-registry"))
	l, crane := newLayout(t), newCrane(t)
	crane.run(t, "push", l.dir, hub+"/base/app:v1")
	s := newReplica(t, fmt.Sprintf(`
- {name: in, direction: pull, url: "http://%[1]s", repositories: [base/app], bandwidth: %[2]d}
- {name: out, direction: push, url: "http://%[1]s", repositories: [team/app], bandwidth: %[2]d}
`, hub, limit))
	crane.run(t, "push", l.dir, s.host+"/team/app:v1")
	for rule, image := range map[string]string{"in": s.host + "/base/app:v1", "out": hub + "/team/app:v1"} {
		begin := time.Now()
		s.mirror(t, "run", rule)
		s.comes(t, image, func() bool { return has(t, crane, image, l.index.Digest) })
		if took := time.Since(begin); took < least {
			t.Errorf("%s took %s, want at least %s", rule, took, least)
		}
	}
}

// What refers to an image goes with it, be it made before the image was copied or long after, and refer to an image of an
// index; with a registry that lists referrers, and with one that does not.
func TestReplicationOfReferrers(t *testing.T) {
	t.Parallel()
	l, crane, oras := newLayout(t), newCrane(t), newOras(t).in(t.TempDir())
	write(t, oras.dir, "sbom.json", `{"packages":[]}`)
	attach := func(t *testing.T, image, kind string) {
		t.Helper()
		oras.run(t, "attach", "--plain-http", "--artifact-type="+kind, image, "sbom.json")
	}
	found := func(image string, kinds ...string) func() bool {
		return func() bool {
			out, _, err := oras.exec(t, []string{"discover", "--plain-http", "--format=json", image})
			return err == nil && slices.Equal(referrers(t, out), kinds)
		}
	}
	for name, far := range map[string]func(t *testing.T) string{
		"distribution 2.8": func(t *testing.T) string {
			_, hub := openRegistry(t, need(t, "docker-registry"))
			return hub
		},
		"customhouse": func(t *testing.T) string { return newReplica(t, "  []").host },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hub := far(t)
			s := newReplica(t, fmt.Sprintf(`
- {name: in, direction: pull, url: "http://%[1]s", repositories: [base/app], tags: ["v*"]}
- {name: out, direction: push, url: "http://%[1]s", repositories: [team/app], tags: ["v*"], on_event: true}
`, hub))
			signature := ":" + strings.Replace(l.index.Digest, ":", "-", 1) + ".sig" // as cosign has it
			for _, way := range []struct {
				name, from, to string
				run            func()
			}{
				{"pull", hub + "/base/app", s.host + "/base/app", func() { s.mirror(t, "run", "in") }},
				{"push", s.host + "/team/app", hub + "/team/app", func() {}},
			} {
				crane.run(t, "push", l.dir, way.from+":v1")
				attach(t, way.from+":v1", "application/x-before")
				way.run()
				s.comes(t, way.name+": what was attached before", found(way.to+":v1", "application/x-before"))
				attach(t, way.from+":v1", "application/x-later")
				attach(t, way.from+"@"+l.arm64.Digest, "application/x-arm64")
				crane.run(t, "tag", way.from+"@"+l.amd64.Digest, signature[1:])
				crane.run(t, "tag", way.from+"@"+l.amd64.Digest, "other")
				way.run()
				s.comes(t, way.name+": what was attached later", found(way.to+":v1", "application/x-before", "application/x-later"))
				s.comes(t, way.name+": what an image of the index has", found(way.to+"@"+l.arm64.Digest, "application/x-arm64"))
				s.comes(t, way.name+": a signature in a tag", func() bool { return has(t, crane, way.to+signature, l.amd64.Digest) })
				if has(t, crane, way.to+":other", l.amd64.Digest) {
					t.Errorf("%s: a tag has come that no pattern is of", way.name)
				}
			}
		})
	}
}

// An upstream whose certificate an authority of its own has signed is reached when that is named, as a mirror and by
// replications.
func TestMirrorTLS(t *testing.T) {
	t.Parallel()
	ca, certificate, key := issueCertificate(t, t.TempDir())
	_, hub := openRegistryOver(t, need(t, "docker-registry"), fmt.Sprintf(", tls: {certificate: %s, key: %s}", certificate, key))
	l, crane := newLayout(t), newCrane(t).with("SSL_CERT_FILE="+ca)
	crane.run(t, "push", l.dir, hub+"/base/app:v1")
	s := newReplica(t, fmt.Sprintf(`
- {name: in, direction: pull, url: "https://%[1]s", cas: %[2]s, repositories: [base/app], every: 1h}
- {name: out, direction: push, url: "https://%[1]s", cas: %[2]s, repositories: [team/app], on_event: true}
- {name: strange, direction: pull, url: "https://%[1]s", repositories: [base/app], every: 1h}
mirrors:
- {prefix: hub/, url: "https://%[1]s", cas: %[2]s}
- {prefix: strange/, url: "https://%[1]s"}
`, hub, ca))
	pulled := filepath.Join(t.TempDir(), "pulled")
	crane.run(t, "pull", "--format=oci", s.host+"/hub/base/app:v1", pulled)
	l.wantPulled(t, pulled, l.index)
	crane.refuse(t, []string{"UNAVAILABLE", "503"}, "digest", s.host+"/strange/base/app:v1")
	crane.run(t, "push", l.dir, s.host+"/team/app:v1")
	s.comes(t, "what is pulled", func() bool { return has(t, crane, s.host+"/base/app:v1", l.index.Digest) })
	s.comes(t, "what is pushed", func() bool { return has(t, crane, hub+"/team/app:v1", l.index.Digest) })
	s.comes(t, "why nothing is pulled", func() bool { return strings.Contains(s.status(t, "strange"), "unknown authority") })
}
