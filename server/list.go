package server

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"customhouse"
	"customhouse/registry"
)

// How many entries a page has when the client does not say, and at the most.
const (
	usualCatalog   = 1000
	usualReferrers = 1000
	mostEntries    = 10_000
)

func catalog(st *state, w http.ResponseWriter, r *http.Request, q admitted) error {
	n := q.page.size(usualCatalog, st.Lists.Catalog)
	all, err := q.grant.SeesAll(r.Context())
	if err != nil {
		return err
	}
	var outage error // of whoever tells what is visible: then nothing more is
	visible := registry.Visible{Ranges: q.grant.Ranges(), Ask: func(repo customhouse.Repo) bool {
		var sees bool
		if outage == nil {
			sees, outage = q.grant.Sees(r.Context(), repo)
		}
		return sees
	}}
	if all {
		visible = registry.Visible{}
	}
	names, more, err := st.Registry.Repositories(r.Context(), q.page.last, n, visible)
	if err := cmp.Or(outage, err); err != nil {
		return err
	}
	if more && n > 0 {
		link(w, q.prefix+"/v2/_catalog", url.Values{}, n, names[n-1])
	}
	body := make([]byte, 0, 32+32*len(names))
	body = appendNames(append(body, `{"repositories":`...), names)
	writeList(w, "application/json", append(body, '}'))
	return nil
}

func tags(st *state, w http.ResponseWriter, r *http.Request, q admitted) error {
	n := q.page.size(mostEntries, st.Lists.Tags)
	names, more, err := q.tags(r.Context(), q.page.last, n)
	if err != nil {
		return err
	}
	if more && n > 0 {
		link(w, q.repoPath()+"/tags/list", url.Values{}, n, names[n-1])
	}
	body := make([]byte, 0, 64+24*len(names))
	body = append(append(append(body, `{"name":"`...), q.request.repo.String()...), `","tags":`...)
	writeList(w, "application/json", append(appendNames(body, names), '}'))
	return nil
}

// appendNames writes names of repositories or tags, whose grammar has nothing that JSON would escape.
func appendNames(b []byte, names []string) []byte {
	b = append(b, '[')
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = append(b, name...)
		b = append(b, '"')
	}
	return append(b, ']')
}

func referrers(_ *state, w http.ResponseWriter, r *http.Request, q admitted) error {
	var after customhouse.Digest
	if q.page.last != "" {
		var err error
		if after, err = customhouse.ParseDigest(q.page.last); err != nil {
			return err
		}
	}
	n := q.page.size(usualReferrers, mostEntries)
	found, more, err := q.referrers(r.Context(), after, n)
	if err != nil {
		return err
	}
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false) // which would make annotations up to six times longer
	err = encoder.Encode(struct {
		SchemaVersion int                      `json:"schemaVersion"`
		MediaType     string                   `json:"mediaType"`
		Manifests     []customhouse.Descriptor `json:"manifests"`
	}{2, customhouse.MediaTypeImageIndex, found})
	if err != nil {
		return err
	}
	filter := url.Values{}
	if q.artifactType != "" {
		w.Header()["Oci-Filters-Applied"] = []string{"artifactType"}
		filter.Set("artifactType", q.artifactType)
	}
	if more && len(found) > 0 {
		link(w, q.repoPath()+"/referrers/"+q.ref.Digest.String(), filter, n, found[len(found)-1].Digest.String())
	}
	writeList(w, customhouse.MediaTypeImageIndex, body.Bytes())
	return nil
}

// link tells the client where the list goes on (RFC 8288).
func link(w http.ResponseWriter, path string, values url.Values, n int, last string) {
	values.Set("n", strconv.Itoa(n))
	values.Set("last", last)
	w.Header()["Link"] = []string{"<" + path + "?" + values.Encode() + `>; rel="next"`}
}

func writeList(w http.ResponseWriter, contentType string, body []byte) {
	w.Header()["Cache-Control"] = noStore
	writeBody(w, http.StatusOK, contentType, body)
}
