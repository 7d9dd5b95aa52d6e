package server

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"customhouse"
	"customhouse/registry"
)

// Content of a digest never changes, but who may see it does: only the client itself may keep it.
var (
	cacheImmutable  = []string{"private, max-age=31536000, immutable"}
	cacheRevalidate = []string{"private, no-cache"}
	noStore         = []string{"no-store"}
	octetStream     = []string{customhouse.MediaTypeOctetStream}
	acceptRanges    = []string{"bytes"}
)

func getBlob(st *state, w http.ResponseWriter, r *http.Request, q admitted) error {
	b, err := q.openBlob(r.Context(), r.Method == http.MethodHead)
	if err != nil {
		return err
	}
	defer b.Close()
	etag := `"` + q.digest.String() + `"`
	span, status := section{0, b.Size}, http.StatusOK
	if matches(r.Header.Get("If-None-Match"), etag) {
		setContent(w.Header(), q.digest, etag, cacheImmutable)
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if want := r.Header.Get("If-Match"); want != "" && !matches(want, etag) {
		setContent(w.Header(), q.digest, etag, cacheImmutable)
		w.WriteHeader(http.StatusPreconditionFailed)
		return nil
	}
	if url := st.elsewhere(r, b); url != "" {
		setContent(w.Header(), q.digest, etag, noStore)
		w.Header()["Location"] = []string{url}
		w.Header()["Content-Length"] = []string{"0"}
		w.WriteHeader(http.StatusTemporaryRedirect)
		return nil
	}
	if ranges := r.Header.Get("Range"); ranges != "" && r.Method == http.MethodGet && rangeApplies(r, etag) {
		part, ok, err := parseRange(ranges, b.Size)
		if err != nil {
			w.Header().Set("Content-Range", "bytes */"+strconv.FormatInt(b.Size, 10))
			return err
		}
		if ok {
			span, status = part, http.StatusPartialContent
			w.Header().Set("Content-Range", part.header(b.Size))
		}
	}
	var body = func() error { return nil }
	if r.Method == http.MethodGet {
		src, err := b.Section(span.start, span.length)
		if err != nil {
			w.Header().Del("Content-Range")
			return err
		}
		body = func() error { return w.(*response).copyFrom(src, span.length) }
	}
	h := w.Header()
	setContent(h, q.digest, etag, cacheImmutable)
	h["Accept-Ranges"] = acceptRanges
	h["Content-Type"] = octetStream
	h["Content-Length"] = []string{strconv.FormatInt(span.length, 10)}
	if span.start == 0 { // what goes on where it has broken off is the same pull
		st.pulled(r, &q, customhouse.Descriptor{MediaType: customhouse.MediaTypeOctetStream, Digest: q.digest, Size: b.Size})
	}
	w.WriteHeader(status)
	return body()
}

// elsewhere is the URL where a client fetches a blob in place of here, "" for none.
func (st *state) elsewhere(r *http.Request, b *registry.Blob) string {
	if st.Redirect == nil || r.Method != http.MethodGet {
		return ""
	}
	f := b.File()
	if f == nil || !b.Verified() { // what is not known to be right is not given out by others either
		return ""
	}
	return st.Redirect(f.Name())
}

// setContent sets the headers that every answer about content of a digest has.
func setContent(h http.Header, d customhouse.Digest, etag string, cache []string) {
	h["Docker-Content-Digest"] = []string{d.String()}
	h["Etag"] = []string{etag}
	h["Cache-Control"] = cache
}

// matches tells whether the list of entity tags in a condition has etag (RFC 9110 section 13.1).
func matches(list, etag string) bool {
	if list == "" {
		return false
	}
	for tag := range strings.SplitSeq(list, ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
			return true
		}
	}
	return false
}

// rangeApplies tells whether If-Range, if it is there, names what we have (RFC 9110 section 13.1.5). We have no dates.
func rangeApplies(r *http.Request, etag string) bool {
	want := r.Header.Get("If-Range")
	return want == "" || want == etag
}

// section is a part of content, in bytes.
type section struct{ start, length int64 }

func (s section) header(size int64) string {
	return "bytes " + strconv.FormatInt(s.start, 10) + "-" + strconv.FormatInt(s.start+s.length-1, 10) + "/" + strconv.FormatInt(size, 10)
}

var errRange = customhouse.Errorf(customhouse.RangeInvalid, "the range cannot be served; ask for one range within the content")

// parseRange reads a Range header for content of a size (RFC 9110 section 14.2). A unit that is not bytes is ignored;
// more than one range is refused, so that nobody gets more bytes than there are.
func parseRange(s string, size int64) (part section, ok bool, err error) {
	spec, isBytes := strings.CutPrefix(s, "bytes=")
	if !isBytes {
		return section{}, false, nil
	}
	first, last, dash := strings.Cut(strings.TrimSpace(spec), "-")
	if !dash || strings.Contains(spec, ",") {
		return section{}, false, errRange
	}
	if first == "" {
		n, err := parseOffset(last)
		if err != nil || n == 0 || size == 0 {
			return section{}, false, errRange
		}
		n = min(n, size)
		return section{size - n, n}, true, nil
	}
	start, err := parseOffset(first)
	if err != nil || start >= size {
		return section{}, false, errRange
	}
	end := size - 1
	if last != "" {
		n, err := parseOffset(last)
		if err != nil || n < start {
			return section{}, false, errRange
		}
		end = min(n, end)
	}
	return section{start, end - start + 1}, true, nil
}

// parseOffset reads an offset in bytes: digits and nothing else.
func parseOffset(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || strings.HasPrefix(s, "+") {
		return 0, errors.New("not an offset")
	}
	return int64(n), nil
}

func deleteBlob(st *state, w http.ResponseWriter, r *http.Request, q admitted) error {
	if !st.Delete {
		return deletesOff("GET", "HEAD")
	}
	if err := q.deleteBlob(r.Context()); err != nil {
		return err
	}
	accepted(w)
	return nil
}

func deletesOff(allow ...string) error {
	return errMethod{customhouse.Errorf(customhouse.Unsupported, "deleting is switched off in this registry"), allow}
}

// accepted answers a delete.
func accepted(w http.ResponseWriter) {
	w.Header()["Cache-Control"] = noStore
	w.Header()["Content-Length"] = []string{"0"}
	w.WriteHeader(http.StatusAccepted)
}
