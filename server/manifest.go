package server

import (
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"customhouse"
	"customhouse/registry"
)

func getManifest(st *state, w http.ResponseWriter, r *http.Request, q admitted) error {
	m, err := q.manifest(r.Context(), r.Method == http.MethodHead)
	if err != nil {
		return err
	}
	// Docker's own images go to everybody, as CNCF distribution has it: their clients do not always list them.
	if accept := parseAccept(r.Header["Accept"]); m.MediaType != customhouse.MediaTypeDockerManifest && !accept.takes(m.MediaType) {
		if m, err = substitute(r, q, m.Descriptor, accept); err != nil {
			return err
		}
	}
	etag := `"` + m.Digest.String() + `"`
	h := w.Header()
	setContent(h, m.Digest, etag, cacheRevalidate)
	if matches(r.Header.Get("If-None-Match"), etag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h["Content-Type"] = []string{m.MediaType}
	h["Content-Length"] = []string{strconv.FormatInt(m.Size, 10)}
	st.pulled(r, &q, m.Descriptor)
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(m.Bytes) // a client that has gone is no error of ours
	return nil
}

// substitute finds what a client gets that does not take an index: the image for linux/amd64, as old Docker clients
// expect from a tag. By digest there is nothing that could stand for another.
func substitute(r *http.Request, q admitted, d customhouse.Descriptor, accept accepts) (registry.Manifest, error) {
	refused := customhouse.Errorf(customhouse.ManifestUnknown, "the manifest is there, but Accept does not list its type").
		WithDetail(map[string]string{"reference": q.ref.String(), "mediaType": d.MediaType})
	if q.ref.Tag.IsZero() || !registry.IsIndex(d.MediaType) {
		return registry.Manifest{}, refused
	}
	index, err := q.part(r.Context(), d.Digest)
	if err != nil {
		return index, err
	}
	child, err := index.Child(func(c customhouse.Descriptor, os, architecture string) bool {
		return os == "linux" && architecture == "amd64" && accept.takes(c.MediaType)
	})
	if err != nil {
		return registry.Manifest{}, refused
	}
	return q.part(r.Context(), child)
}

// accepts is the media types that a client takes; empty is all.
type accepts []string

func parseAccept(headers []string) accepts {
	var list accepts
	for _, h := range headers {
		for entry := range strings.SplitSeq(h, ",") {
			mediaType, _, _ := strings.Cut(entry, ";")
			if mediaType = strings.TrimSpace(mediaType); mediaType != "" {
				list = append(list, mediaType)
			}
		}
	}
	return list
}

func (a accepts) takes(mediaType string) bool {
	return len(a) == 0 || slices.ContainsFunc(a, func(t string) bool {
		return t == "*/*" || t == "application/*" || strings.EqualFold(t, mediaType)
	})
}

func putManifest(_ *state, w http.ResponseWriter, r *http.Request, q admitted) error {
	tags := q.pushed()
	if err := q.mayPush(r.Context(), tags); err != nil {
		return err
	}
	if r.ContentLength > registry.MaxManifestSize {
		return manifestTooLarge()
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, registry.MaxManifestSize+1))
	if err != nil {
		return customhouse.Errorf(customhouse.ManifestInvalid, "the manifest did not arrive whole").WithCause(err)
	}
	if len(body) > registry.MaxManifestSize {
		return manifestTooLarge()
	}
	contentType := ""
	if h := r.Header.Get("Content-Type"); h != "" {
		if contentType, _, err = mime.ParseMediaType(h); err != nil {
			return customhouse.Errorf(customhouse.ManifestInvalid, "invalid Content-Type")
		}
	}
	pushed, err := q.push(r.Context(), registry.Push{MediaType: contentType, Bytes: body, Digest: q.ref.Digest, Tags: tags})
	if err != nil {
		return err
	}
	for _, tag := range q.request.tags {
		w.Header().Add("Oci-Tag", tag.String())
	}
	if !pushed.Subject.IsZero() {
		w.Header()["Oci-Subject"] = []string{pushed.Subject.String()}
	}
	created(w, q.repoPath()+"/manifests/"+pushed.Digest.String(), pushed.Digest)
	return nil
}

func manifestTooLarge() error {
	return customhouse.Errorf(customhouse.ContentTooLarge, "the manifest is larger than this registry takes").
		WithDetail(map[string]int{"limit": registry.MaxManifestSize})
}

func deleteManifest(st *state, w http.ResponseWriter, r *http.Request, q admitted) error {
	if !st.Delete {
		return deletesOff("GET", "HEAD", "PUT")
	}
	if err := q.deleteManifest(r.Context()); err != nil {
		return err
	}
	accepted(w)
	return nil
}
