// Package transfer moves content between this registry and other forms of it: the folder of a CNCF distribution registry,
// which it takes over in place (Adopt) and writes (Export), OCI image layouts and docker archives, and other registries
// by their API (Import).
//
// It knows how others lay content out. What a manifest is and what makes content visible is the business of package
// registry, through which everything comes in and goes out. It asks nobody for permission: it is for the person who owns
// the data folder.
package transfer

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"customhouse"
)

// Finding is something that a person should know about content that was read or written.
type Finding struct {
	Kind   Kind   `json:"kind"`
	Repo   string `json:"repository,omitempty"`
	Name   string `json:"name,omitempty"` // a tag, a digest, the id of an upload
	Path   string `json:"path,omitempty"` // below the folder that was read, with slashes
	Detail string `json:"detail,omitempty"`
}

// Kind is the kind of a Finding.
type Kind string

// The kinds of findings in a folder of distribution. Content of the first group was not adopted; that of the second was.
const (
	TornLink        Kind = "torn link"        // empty, or no digest, or that of something else
	TagToNowhere    Kind = "tag to nowhere"   // its manifest is not in the repository
	TagUnset        Kind = "unset tag"        // it has a history and points to nothing
	MissingBlob     Kind = "missing blob"     // linked, and its bytes are not there
	MissingManifest Kind = "missing manifest" // linked, and its bytes are not there
	WrongBytes      Kind = "wrong bytes"      // they do not have the digest that they are named by
	NotAManifest    Kind = "not a manifest"   // linked as a manifest, and none by any reading
	BadName         Kind = "bad name"         // outside of the grammar of repositories, tags or digests
	OrphanBlob      Kind = "orphan blob"      // no repository links it
	AbandonedUpload Kind = "abandoned upload"
	GhostRepository Kind = "ghost repository" // it holds uploads and nothing else
	Unreadable      Kind = "unreadable"       // the system said no
	Stray           Kind = "stray"            // distribution does not write such a thing

	Alias           Kind = "alias"            // content by a digest that the folder does not keep it by: its bytes are copied
	MissingChild    Kind = "missing child"    // an index names it
	BlobNotLinked   Kind = "blob not linked"  // a manifest names it, and the repository does not show it
	WrongSize       Kind = "wrong size"       // a manifest gives a blob another size than it has
	RefusedManifest Kind = "unusual manifest" // taken over byte for byte; a push of it would be refused
	GoneAtSource    Kind = "gone at source"   // adopted earlier, and no longer in the folder
	DeletedLink     Kind = "deleted link"     // what distribution leaves of a deleted link
	NoManifests     Kind = "no manifests"     // a repository that shows blobs only
)

func (f Finding) String() string {
	s := string(f.Kind) + ":"
	for _, part := range []string{f.Repo, f.Name} {
		if part != "" {
			s += " " + part
		}
	}
	if f.Path != "" {
		s += fmt.Sprintf(" (%s)", f.Path)
	}
	if f.Detail != "" {
		s += ": " + f.Detail
	}
	return s
}

// findings hands findings to one reader, one at a time.
type findings struct {
	mu     sync.Mutex
	report func(Finding)
	counts map[Kind]int
}

func newFindings(report func(Finding)) *findings {
	return &findings{report: report, counts: map[Kind]int{}}
}

func (fs *findings) add(f Finding) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.counts[f.Kind]++
	if fs.report != nil {
		fs.report(f)
	}
}

// readers is how many files are read at the same time, unless somebody says.
func readers(n int) int {
	if n > 0 {
		return n
	}
	return 2 * runtime.GOMAXPROCS(0)
}

// each calls do with 0 to n-1, several at a time, and returns when all calls have.
func each(n, workers int, do func(i int)) {
	var next atomic.Int64
	work := func() {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			do(i)
		}
	}
	var wg sync.WaitGroup
	for range min(n, workers) - 1 { // the caller is one of them
		wg.Go(work)
	}
	work()
	wg.Wait()
}

// digestKey is a digest, cut to what tells any two apart, for sets of very many.
type digestKey [16]byte

func keyOf(d customhouse.Digest) (k digestKey) {
	digits := d.Hex()
	for i := range k {
		k[i] = nibble(digits[2*i])<<4 | nibble(digits[2*i+1])
	}
	return k
}

func nibble(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c - 'a' + 10
}
