package server_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"customhouse/policy"
)

// BenchmarkManifest is what GET of a manifest costs inside of the server, with a token: under the usual rules, and under
// rules on content, where a manifest that is asked for by digest is looked up in what stands for it.
func BenchmarkManifest(b *testing.B) {
	tags := []policy.Rule{tagged("carol", "v*", "pull"), denied(policy.Match{Tag: policy.Values{"v*"}}, "update")}
	all := allow("carol", "a/**", "pull")
	types := append([]policy.Rule{denied(policy.Match{ArtifactType: policy.Values{"application/x.malware"}}, "pull")}, tags...)
	for _, kind := range []struct {
		name  string
		rules []policy.Rule
		many  int
	}{{"usual rules", before(all), 0}, {"10000 rules", before(all), 10_000}, {"rules on tags", before(tags...), 0}, {"rules on types", before(types...), 0}} {
		var filler []policy.Rule
		for i := range kind.many {
			filler = append(filler, allow(fmt.Sprint("user", i), fmt.Sprintf("team%d/**", i), "pull"))
		}
		h := open(b, setup{rules: append(filler, kind.rules...)})
		st := h.state
		st.Requests = false
		h.server.Swap(st)
		s := h.as("project").pushImage("a/app", "v1", "image")
		l := h.as("project").pushIndex("a/app", "v2", "index")
		carol := "Bearer " + h.token("carol", "repository:a/app:pull")
		for what, path := range map[string]string{
			"tag": "manifests/v1", "digest": "manifests/" + s.manifestDg, "index": "manifests/v2", "child": "manifests/" + l.children[0].manifestDg, "layer": "blobs/" + s.layerD,
		} {
			b.Run(kind.name+"/"+what, func(b *testing.B) {
				r := httptest.NewRequest(http.MethodGet, "/v2/a/app/"+path, nil)
				r.Header.Set("Authorization", carol)
				b.ReportAllocs()
				for b.Loop() {
					w := &discard{header: http.Header{}}
					if h.server.ServeHTTP(w, r); w.status != http.StatusOK {
						b.Fatalf("%s = %d", path, w.status)
					}
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
			})
		}
	}
}

// discard is an http.ResponseWriter that keeps the status only.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkS3 measures how much longer what is forbidden takes than what is missing, for who may pull some tags only.
func BenchmarkS3(b *testing.B) {
	h := open(b, setup{rules: before(tagged("carol", "v*", "pull"))})
	st := h.state
	st.Requests = false
	h.server.Swap(st)
	s := h.as("project").pushImage("a/app", "dev", "hidden")
	carol := "Bearer " + h.token("carol", "repository:a/app:pull")
	none := digestOf("no such content")
	for what, paths := range map[string][2]string{
		"tag": {"manifests/dev", "manifests/den"}, "manifest": {"manifests/" + s.manifestDg, "manifests/" + none}, "blob": {"blobs/" + s.layerD, "blobs/" + none},
	} {
		b.Run(what, func(b *testing.B) {
			var took [2][]time.Duration
			for b.Loop() {
				for i, path := range paths {
					r := httptest.NewRequest(http.MethodGet, "/v2/a/app/"+path, nil)
					r.Header.Set("Authorization", carol)
					start := time.Now()
					h.server.ServeHTTP(&discard{header: http.Header{}}, r)
					took[i] = append(took[i], time.Since(start))
				}
			}
			for i := range took {
				slices.Sort(took[i])
			}
			there, missing := took[0][len(took[0])/2], took[1][len(took[1])/2]
			b.ReportMetric(float64(there)/1e3, "there-us")
			b.ReportMetric(float64(missing)/1e3, "missing-us")
		})
	}
}
