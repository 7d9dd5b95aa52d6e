package transfer_test

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"customhouse/transfer"
)

// BenchmarkAdopt takes over repositories of 50 images, each with a tag, a config of its own and four layers that the
// repository shares; then a second pass finds nothing new. CUSTOMHOUSE_ADOPT_REPOSITORIES sets how many, 40 without it.
func BenchmarkAdopt(b *testing.B) {
	repositories := 40
	if n, err := strconv.Atoi(os.Getenv("CUSTOMHOUSE_ADOPT_REPOSITORIES")); err == nil {
		repositories = n
	}
	f := newFolder(b)
	const images = 50
	for i := range repositories {
		repo := fmt.Sprintf("group%d/project%d", i%20, i)
		var layers string
		for l := range 4 {
			content := fmt.Sprintf("layer %d of %s", l, repo)
			layers += fmt.Sprintf(`,{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","size":%d,"digest":"%s"}`, len(content), f.blob(repo, content))
		}
		for n := range images {
			config := fmt.Sprintf(`{"architecture":"amd64","os":"linux","image":"%d of %s"}`, n, repo)
			d := f.manifest(repo, fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",
"config":{"mediaType":"application/vnd.docker.container.image.v1+json","size":%d,"digest":"%s"},"layers":[%s]}`, len(config), f.blob(repo, config), layers[1:]))
			f.tag(repo, fmt.Sprintf("v%d", n), d)
		}
	}
	for _, verify := range []transfer.Depth{transfer.VerifyNone, transfer.VerifyManifests, transfer.VerifyAll} {
		b.Run([]string{"none", "manifests", "all"}[verify], func(b *testing.B) {
			var spent time.Duration
			for b.Loop() {
				h := newHouse(b)
				before := processorTime(b)
				h.adopt(b, f, transfer.AdoptOptions{Verify: verify})
				h.close()
				spent += processorTime(b) - before
			}
			b.ReportMetric(float64(spent.Microseconds())/float64(repositories*images*b.N), "cpu-µs/manifest")
			b.ReportMetric(float64(repositories*images*b.N)/b.Elapsed().Seconds(), "manifests/s")
		})
	}
	b.Run("again", func(b *testing.B) {
		h := newHouse(b)
		defer h.close()
		h.adopt(b, f, transfer.AdoptOptions{Verify: transfer.VerifyManifests})
		for b.Loop() {
			h.adopt(b, f, transfer.AdoptOptions{Verify: transfer.VerifyManifests})
		}
		b.ReportMetric(float64(repositories*images*b.N)/b.Elapsed().Seconds(), "manifests/s")
	})
}

// processorTime is what this process has taken of the processors. It says more than a clock where others take theirs.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
