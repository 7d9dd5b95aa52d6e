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

func getManifest(_ *state, w http.ResponseWriter, r *http.Request, q admitted) error {
	d, err := q.repo.Stat(r.Context(), q.ref)
	if err != nil {
		return err
	}
	accept := parseAccept(r.Header["Accept"])
	if !accept.takes(d.MediaType) {
		if d, err = substitute(r, q, d, accept); err != nil {
			return err
		}
	}
	etag := `"` + d.Digest.String() + `"`
	h := w.Header()
	setContent(h, d.Digest, etag, cacheRevalidate)
	if matches(r.Header.Get("If-None-Match"), etag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if r.Method == http.MethodHead {
		h["Content-Type"] = []string{d.MediaType}
		h["Content-Length"] = []string{strconv.FormatInt(d.Size, 10)}
		w.WriteHeader(http.StatusOK)
		return nil
	}
	m, err := q.repo.Manifest(r.Context(), customhouse.Ref{Digest: d.Digest})
	if err != nil {
		h.Del("Docker-Content-Digest")
		h.Del("Etag")
		return err
	}
	writeBody(w, http.StatusOK, m.MediaType, m.Bytes)
	return nil
}

// substitute finds what a client gets that does not take an index: the image for linux/amd64, as old Docker clients
// expect from a tag. By digest there is nothing that could stand for another.
func substitute(r *http.Request, q admitted, d customhouse.Descriptor, accept accepts) (customhouse.Descriptor, error) {
	refused := customhouse.Errorf(customhouse.ManifestUnknown, "the manifest is there, but Accept does not list its type").
		WithDetail(map[string]string{"reference": q.ref.String(), "mediaType": d.MediaType})
	if q.ref.Tag.IsZero() || !registry.IsIndex(d.MediaType) {
		return d, refused
	}
	m, err := q.repo.Manifest(r.Context(), customhouse.Ref{Digest: d.Digest})
	if err != nil {
		return d, err
	}
	child, err := m.Child(func(c customhouse.Descriptor, os, architecture string) bool {
		return os == "linux" && architecture == "amd64" && accept.takes(c.MediaType)
	})
	if err != nil {
		return d, refused
	}
	return q.repo.Stat(r.Context(), customhouse.Ref{Digest: child})
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
	tags := q.tags
	if !q.ref.Tag.IsZero() {
		tags = []customhouse.Tag{q.ref.Tag}
	}
	pushed, err := q.repo.PushManifest(r.Context(), registry.Push{
		MediaType: contentType, Bytes: body, Digest: q.ref.Digest, Tags: tags,
		Create: q.allows(customhouse.Create), Update: q.allows(customhouse.Update),
	})
	if err != nil {
		return err
	}
	for _, tag := range q.tags {
		w.Header().Add("Oci-Tag", tag.String())
	}
	if !pushed.Subject.IsZero() {
		w.Header()["Oci-Subject"] = []string{pushed.Subject.String()}
	}
	created(w, q.repoPath()+"/manifests/"+pushed.Digest.String(), pushed.Digest)
	return nil
}

// allows asks whether the caller may do one more thing with the repository.
func (q admitted) allows(action customhouse.Action) bool {
	return q.grant.Allows(customhouse.Access{
		Type: customhouse.TypeRepository, Name: q.request.repo.String(), Actions: []customhouse.Action{action},
	})
}

func manifestTooLarge() error {
	return customhouse.Errorf(customhouse.ContentTooLarge, "the manifest is larger than this registry takes").
		WithDetail(map[string]int{"limit": registry.MaxManifestSize})
}

func deleteManifest(st *state, w http.ResponseWriter, r *http.Request, q admitted) error {
	if !st.Delete {
		return deletesOff()
	}
	var err error
	if q.ref.Tag.IsZero() {
		err = q.repo.DeleteManifest(r.Context(), q.ref.Digest)
	} else {
		err = q.repo.DeleteTag(r.Context(), q.ref.Tag)
	}
	if err != nil {
		return err
	}
	accepted(w)
	return nil
}
