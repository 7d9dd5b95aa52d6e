package server

import (
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"customhouse"
	"customhouse/registry"
)

func beginUpload(st *state, w http.ResponseWriter, r *http.Request, q admitted) error {
	switch {
	case !q.mount.IsZero():
		mounted, err := mount(st, r, q)
		if err != nil {
			return err
		}
		if mounted {
			created(w, q.repoPath()+"/blobs/"+q.mount.String(), q.mount)
			return nil
		}
	case !q.digest.IsZero():
		if err := q.mayUpload(r.Context()); err != nil {
			return err
		}
		if err := q.repo.Monolithic(r.Context(), q.digest, r.ContentLength, r.Body); err != nil {
			return err
		}
		if err := q.brought(r.Context(), q.digest); err != nil {
			return err
		}
		created(w, q.repoPath()+"/blobs/"+q.digest.String(), q.digest)
		return nil
	}
	u, err := q.repo.BeginUpload(r.Context(), q.grant.Identity.Account, q.algorithm)
	if err != nil {
		return err
	}
	progress(w, q, u, 0)
	w.Header().Set("Oci-Chunk-Min-Length", "1")
	w.Header()["Content-Length"] = []string{"0"}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// mount tries to make a blob of another repository visible in this one, or of any if the request names none.
func mount(st *state, r *http.Request, q admitted) (bool, error) {
	if may, err := q.mayMount(r.Context()); !may || err != nil {
		return false, err
	}
	if !q.from.IsZero() {
		return q.mountFrom(r.Context(), st.Registry.Repository(q.from))
	}
	names, err := st.Registry.Holders(r.Context(), q.mount)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		repo, err := customhouse.ParseRepo(name)
		if err != nil {
			continue
		}
		if mounted, err := q.mountFrom(r.Context(), st.Registry.Repository(repo)); mounted || err != nil {
			return mounted, err
		}
	}
	return false, nil
}

func (q admitted) repoName() customhouse.Repo { return q.request.repo }

func (q admitted) repoPath() string { return q.prefix + "/v2/" + q.request.repo.String() }

// progress sets the headers that tell where an upload stands.
func progress(w http.ResponseWriter, q admitted, u registry.Upload, size int64) {
	h := w.Header()
	h["Location"] = []string{q.repoPath() + "/blobs/uploads/" + u.ID()}
	h["Range"] = []string{"0-" + strconv.FormatInt(max(size-1, 0), 10)}
	h["Docker-Upload-Uuid"] = []string{u.ID()}
	h["Cache-Control"] = noStore
}

// created answers a push.
func created(w http.ResponseWriter, location string, d customhouse.Digest) {
	h := w.Header()
	h["Location"] = []string{location}
	h["Docker-Content-Digest"] = []string{d.String()}
	h["Content-Length"] = []string{"0"}
	h["Cache-Control"] = noStore
	w.WriteHeader(http.StatusCreated)
}

func (q admitted) theUpload() registry.Upload {
	return q.repo.Upload(q.grant.Identity.Account, q.upload)
}

func getUpload(_ *state, w http.ResponseWriter, r *http.Request, q admitted) error {
	u := q.theUpload()
	size, err := u.Size(r.Context())
	if err != nil {
		return err
	}
	progress(w, q, u, size)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func patchUpload(_ *state, w http.ResponseWriter, r *http.Request, q admitted) error {
	if err := q.mayUpload(r.Context()); err != nil {
		return err
	}
	offset, body, err := contentRange(r)
	if err != nil {
		return err
	}
	u := q.theUpload()
	size, err := u.Append(r.Context(), offset, r.ContentLength, body)
	if err != nil {
		return err
	}
	progress(w, q, u, size)
	w.Header()["Content-Length"] = []string{"0"}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func putUpload(_ *state, w http.ResponseWriter, r *http.Request, q admitted) error {
	if q.digest.IsZero() {
		return customhouse.Errorf(customhouse.DigestInvalid, "the parameter digest is missing")
	}
	if err := q.mayUpload(r.Context()); err != nil {
		return err
	}
	offset, body, err := contentRange(r)
	if err != nil {
		return err
	}
	if err := q.theUpload().Finish(r.Context(), q.digest, offset, r.ContentLength, body); err != nil {
		return err
	}
	if err := q.brought(r.Context(), q.digest); err != nil {
		return err
	}
	created(w, q.repoPath()+"/blobs/"+q.digest.String(), q.digest)
	return nil
}

func cancelUpload(_ *state, w http.ResponseWriter, r *http.Request, q admitted) error {
	if err := q.theUpload().Cancel(r.Context()); err != nil {
		return err
	}
	w.Header()["Cache-Control"] = noStore
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// contentRange reads where a chunk goes: "first-last" as the distribution-spec writes it, or as RFC 9110 does. Without
// the header a chunk goes to the end. The body is the request's, of the length that the header gives it.
func contentRange(r *http.Request) (offset int64, body io.Reader, err error) {
	values := r.Header["Content-Range"]
	if len(values) == 0 {
		return registry.AtEnd, r.Body, nil
	}
	s, _, _ := strings.Cut(strings.TrimPrefix(values[0], "bytes "), "/")
	first, last, dash := strings.Cut(s, "-")
	start, err1 := parseOffset(first)
	end, err2 := parseOffset(last)
	if !dash || len(values) > 1 || err1 != nil || err2 != nil || end < start {
		return 0, nil, customhouse.Errorf(customhouse.RangeInvalid, "invalid Content-Range").WithDetail(slices.Clone(values))
	}
	length := end - start + 1 // at most 2^63, which is negative and no body's length
	if r.ContentLength < 0 && length > 0 {
		return start, &exactReader{r: r.Body, want: length, left: length}, nil
	}
	if length != r.ContentLength {
		return 0, nil, wrongLength(length)
	}
	return start, r.Body, nil
}

func wrongLength(want int64) error {
	return customhouse.Errorf(customhouse.SizeInvalid, "the body has another length than Content-Range says").
		WithDetail(map[string]int64{"range": want})
}

// exactReader reads a body whose length only Content-Range tells, and fails where it has another one.
type exactReader struct {
	r          io.Reader
	want, left int64
}

func (e *exactReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p[:min(int64(len(p)), max(e.left, 1))]) // one byte tells whether there are more
	if int64(n) > e.left {
		return 0, wrongLength(e.want)
	}
	if e.left -= int64(n); err == io.EOF && e.left > 0 {
		err = wrongLength(e.want)
	}
	return n, err
}
