package server_test

import (
	"sync"

	"customhouse"
	"customhouse/index"
)

// inParallel calls do for 0 to n-1, many at a time so that writes share commits.
func inParallel(n int, do func(i int)) {
	const workers = 64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				do(i)
			}
		})
	}
	wg.Wait()
}

// put is a manifest for the index, of which no bytes are stored.
func put(content []byte) index.Put {
	return index.Put{Manifest: index.Manifest{Descriptor: customhouse.Descriptor{
		MediaType: ociImage, Digest: customhouse.DigestOf(customhouse.SHA256, content), Size: int64(len(content)),
	}}}
}
