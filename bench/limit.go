package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"customhouse"
)

// limitServer is not a registry but the least that Go's net/http lets one do for each request: manifests and names in
// memory, blobs by http.ServeContent on *os.File, pushes streamed through the hash into a file that is synced, and its
// folder too, before the answer. It checks nothing, so what it reaches is what the machine allows.
type limitServer struct {
	dir     string
	buffers sync.Pool // of *[]byte

	mu        sync.RWMutex
	manifests map[string]manifest // by "repo:tag" and "repo@digest"
	tags      map[string][]string // by repository, sorted
	repos     []string            // sorted
}

type manifest struct {
	mediaType, digest string
	body              []byte
}

func newLimitServer(dir string) *limitServer {
	return &limitServer{
		dir:       dir,
		buffers:   sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }},
		manifests: map[string]manifest{},
		tags:      map[string][]string{},
	}
}

// serveLimit serves addr until ctx ends.
func serveLimit(ctx context.Context, addr, dir string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	s := &http.Server{Handler: newLimitServer(dir)}
	context.AfterFunc(ctx, func() { s.Close() })
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (s *limitServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	last := strings.LastIndexByte(path, '/')
	if last < 0 {
		if path == "_catalog" {
			s.list(w, r, "repositories", "")
		}
		return // GET /v2/ is a 200
	}
	object := path[last+1:]
	switch parent := path[:last]; {
	case strings.HasSuffix(parent, "/manifests"):
		s.manifest(w, r, strings.TrimSuffix(parent, "/manifests"), object)
	case strings.HasSuffix(parent, "/blobs/uploads"):
		s.upload(w, r)
	case strings.HasSuffix(parent, "/blobs"):
		s.blob(w, r, object)
	case strings.HasSuffix(parent, "/tags"):
		s.list(w, r, "tags", strings.TrimSuffix(parent, "/tags"))
	default:
		http.NotFound(w, r)
	}
}

func (s *limitServer) manifest(w http.ResponseWriter, r *http.Request, repo, ref string) {
	if r.Method == http.MethodPut {
		s.putManifest(w, r, repo, ref)
		return
	}
	s.mu.RLock()
	m, ok := s.manifests[repo+":"+ref]
	s.mu.RUnlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h["Content-Type"] = []string{m.mediaType}
	h["Docker-Content-Digest"] = []string{m.digest}
	h["Content-Length"] = []string{strconv.Itoa(len(m.body))}
	if r.Method == http.MethodGet {
		w.Write(m.body)
	}
}

func (s *limitServer) putManifest(w http.ResponseWriter, r *http.Request, repo, tag string) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		fail(w, err)
		return
	}
	digest := customhouse.DigestOf(customhouse.SHA256, body)
	if err := s.store(digest, strings.NewReader(string(body))); err != nil {
		fail(w, err)
		return
	}
	s.mu.Lock()
	s.manifests[repo+":"+tag] = manifest{mediaType: r.Header.Get("Content-Type"), digest: digest.String(), body: body}
	s.tags[repo] = insert(s.tags[repo], tag)
	s.repos = insert(s.repos, repo)
	s.mu.Unlock()
	w.WriteHeader(http.StatusCreated)
}

func insert(sorted []string, s string) []string {
	if i, ok := slices.BinarySearch(sorted, s); !ok {
		return slices.Insert(sorted, i, s)
	}
	return sorted
}

func (s *limitServer) blob(w http.ResponseWriter, r *http.Request, digest string) {
	f, err := os.Open(filepath.Join(s.dir, digest))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		fail(w, err)
		return
	}
	h := w.Header()
	h["Content-Type"] = []string{"application/octet-stream"}
	h["Docker-Content-Digest"] = []string{digest}
	http.ServeContent(w, r, "", info.ModTime(), f)
}

func (s *limitServer) upload(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if r.Method == http.MethodPost {
		if q.Has("mount") {
			w.WriteHeader(http.StatusCreated)
			return
		}
		w.Header().Set("Location", r.URL.Path+strconv.FormatUint(rand.Uint64(), 36))
		w.WriteHeader(http.StatusAccepted)
		return
	}
	digest, err := customhouse.ParseDigest(q.Get("digest"))
	if err == nil {
		err = s.store(digest, r.Body)
	}
	if err != nil {
		fail(w, err)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

// store writes a blob so that it is on disk when it returns.
func (s *limitServer) store(digest customhouse.Digest, body io.Reader) error {
	f, err := os.CreateTemp(s.dir, "upload-")
	if err != nil {
		return err
	}
	defer f.Close()
	hash := sha256.New()
	buf := s.buffers.Get().(*[]byte)
	defer s.buffers.Put(buf)
	if _, err := io.CopyBuffer(io.MultiWriter(hash, f), body, *buf); err != nil {
		return err
	}
	if got := customhouse.DigestSum(customhouse.SHA256, hash); got != digest {
		return fmt.Errorf("digest %s, want %s", got, digest)
	}
	return commitFile(f, filepath.Join(s.dir, digest.String()))
}

// commitFile syncs f, gives it its name and syncs the folder.
func commitFile(f *os.File, name string) error {
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// list writes the page that n and last ask for, of the tags of repo or of the repositories.
func (s *limitServer) list(w http.ResponseWriter, r *http.Request, key, repo string) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	names := s.repos
	if repo != "" {
		names = s.tags[repo]
	}
	q := r.URL.Query()
	if i, ok := slices.BinarySearch(names, q.Get("last")); ok {
		names = names[i+1:]
	} else {
		names = names[i:]
	}
	if n, err := strconv.Atoi(q.Get("n")); err == nil {
		names = names[:min(n, len(names))]
	}
	body, err := json.Marshal(map[string][]string{key: names})
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(body)
}

func fail(w http.ResponseWriter, err error) {
	http.Error(w, err.Error(), http.StatusInternalServerError)
}
