package server

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"customhouse"
	"customhouse/gate"
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
	names, more, err := st.repositories(r.Context(), &q.grant, q.page.last, n, "")
	if err != nil {
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

// repositories returns, in byte order, up to n repositories after the given one that the caller may know of and whose names
// contain text, and tells whether there are more.
func (st *state) repositories(ctx context.Context, grant *gate.Grant, after string, n int, text string) (names []string, more bool, err error) {
	all, err := grant.SeesAll(ctx)
	if err != nil {
		return nil, false, err
	}
	v := registry.Visible{}
	if !all {
		v.Ranges = grant.Ranges()
	}
	for i := range v.Ranges {
		v.Ranges[i].Sure = v.Ranges[i].Sure && text == ""
	}
	var outage error // of whoever tells what is visible: then nothing more is
	if !all || text != "" {
		v.Ask = func(repo customhouse.Repo) bool {
			sees := outage == nil && strings.Contains(repo.String(), text)
			if sees && !all {
				sees, outage = st.shows(ctx, grant, repo)
			}
			return sees
		}
	}
	names, more, err = st.Registry.Repositories(ctx, after, n, v)
	return names, more, cmp.Or(outage, err)
}

// shows tells whether the caller may know of a repository: where that depends on its tags, whether they may see one.
func (st *state) shows(ctx context.Context, grant *gate.Grant, repo customhouse.Repo) (bool, error) {
	sees, partly, err := grant.Sees(ctx, repo)
	if err != nil || !sees || !partly {
		return sees, err
	}
	q := admitted{request: request{repo: repo}, grant: grant.Untokened(), repo: st.Registry.Repository(repo)}
	return q.seesAnyTag(ctx)
}

func tags(st *state, w http.ResponseWriter, r *http.Request, q admitted) error {
	n := q.page.size(mostEntries, st.Lists.Tags)
	names, more, err := q.tags(r.Context(), q.page.last, n)
	if err != nil {
		return err
	}
	if more && len(names) > 0 { // fewer than n where an upstream has smaller pages
		link(w, q.repoPath()+"/tags/list", url.Values{}, n, names[len(names)-1])
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
