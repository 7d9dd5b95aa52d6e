package server

import (
	"crypto/x509"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"customhouse"
)

// request is what a URL under /v2/ and a method ask for, every part of it parsed.
type request struct {
	op     operation
	prefix string // of the path, as State has it
	repo   customhouse.Repo
	ref    customhouse.Ref    // manifests; referrers, as a digest
	digest customhouse.Digest // blobs; ?digest= of uploads
	upload string             // id of an upload

	algorithm    customhouse.Algorithm // ?digest-algorithm=
	mount        customhouse.Digest    // ?mount=
	from         customhouse.Repo      // ?from=, zero for anywhere
	tags         []customhouse.Tag     // ?tag=
	page         page
	artifactType string // ?artifactType=
}

// page is the part of a list that a request asks for.
type page struct {
	n    int    // entries; -1: as many as the server likes
	last string // the entry before the first one
}

// Limits of a URL. A client that passes them is not one that can be helped.
const (
	maxURI    = 8 << 10 // bytes
	maxParams = 100
	maxTags   = 50 // ?tag= in one push; the specification asks for at least 10
)

// parse reads a request under prefix and /v2/. Its errors tell nothing but what is wrong with the URL.
func parse(method, prefix string, u *url.URL) (request, error) {
	q := request{prefix: prefix}
	rest := strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(u.EscapedPath(), prefix), "/v2"), "/")
	switch rest {
	case "":
		return choose(q, method, opBase, "GET", "HEAD")
	case "_catalog":
		q, err := choose(q, method, opCatalog, "GET", "HEAD")
		if err != nil {
			return q, err
		}
		return q, q.parseQuery(u.RawQuery)
	}
	name, kind, last, ok := split(rest)
	if !ok {
		return request{}, customhouse.Errorf(customhouse.NotFound, "no such endpoint")
	}
	var err error
	if q.repo, err = customhouse.ParseRepo(name); err != nil {
		return q, err
	}
	if last, err = url.PathUnescape(last); err != nil { // a client may write the ':' of a digest as %3A
		return q, customhouse.Errorf(customhouse.BadRequest, "invalid escape in the path")
	}
	if q, err = q.parseEnd(method, kind, last); err != nil {
		return q, err
	}
	return q, q.parseQuery(u.RawQuery)
}

// split cuts a path into the name of a repository, what is asked of it and the last element. Names may contain the words
// of the protocol; the end of the path decides.
func split(path string) (name, kind, last string, ok bool) {
	if name, ok := strings.CutSuffix(path, "/tags/list"); ok {
		return name, "tags", "", true
	}
	if name, ok := strings.CutSuffix(strings.TrimSuffix(path, "/"), "/blobs/uploads"); ok {
		return name, "uploads", "", true
	}
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", "", "", false
	}
	path, last = path[:i], path[i+1:]
	for _, kind := range [...]string{"manifests", "uploads", "blobs", "referrers"} {
		if name, ok := strings.CutSuffix(path, "/"+kind); ok {
			if kind == "uploads" {
				if name, ok = strings.CutSuffix(name, "/blobs"); !ok {
					continue
				}
			}
			return name, kind, last, last != ""
		}
	}
	return "", "", "", false
}

// parseEnd reads what stands behind the name of the repository.
func (q request) parseEnd(method, kind, last string) (_ request, err error) {
	switch kind {
	case "tags":
		return choose(q, method, opTags, "GET", "HEAD")
	case "manifests":
		if q.ref, err = customhouse.ParseRef(last); err != nil {
			return q, err
		}
		return choose(q, method, opGetManifest, "GET", "HEAD", opPutManifest, "PUT", opDeleteManifest, "DELETE")
	case "referrers":
		if q.ref.Digest, err = customhouse.ParseDigest(last); err != nil {
			return q, err
		}
		return choose(q, method, opReferrers, "GET", "HEAD")
	case "blobs":
		if q.digest, err = customhouse.ParseDigest(last); err != nil {
			return q, err
		}
		return choose(q, method, opGetBlob, "GET", "HEAD", opDeleteBlob, "DELETE")
	}
	if last == "" {
		return choose(q, method, opBeginUpload, "POST")
	}
	q.upload = last
	return choose(q, method, opGetUpload, "GET", "HEAD", opPatchUpload, "PATCH", opPutUpload, "PUT", opCancelUpload, "DELETE")
}

// choose finds the operation that method stands for in a list of operations, each followed by its methods.
func choose(q request, method string, list ...any) (request, error) {
	var allow []string
	for _, entry := range list {
		switch entry := entry.(type) {
		case operation:
			q.op = entry
		case string:
			if entry == method {
				return q, nil
			}
			allow = append(allow, entry)
		}
	}
	return request{}, methodNotAllowed(allow...)
}

// parseQuery reads the parameters that q's operation knows. A parameter that may be there once is there once.
func (q *request) parseQuery(raw string) error {
	q.page.n = -1
	if raw == "" {
		return nil
	}
	if strings.Count(raw, "&") >= maxParams {
		return customhouse.Errorf(customhouse.BadRequest, "too many parameters in the URL")
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return customhouse.Errorf(customhouse.BadRequest, "invalid parameters in the URL")
	}
	for _, key := range [...]string{"digest", "digest-algorithm", "mount", "from", "n", "last", "artifactType"} {
		if len(values[key]) > 1 {
			return customhouse.Errorf(customhouse.BadRequest, "parameter %s is given more than once", key)
		}
	}
	switch q.op {
	case opCatalog, opTags, opReferrers:
		q.artifactType = values.Get("artifactType")
		return q.page.parse(values)
	case opBeginUpload:
		return q.parseBegin(values)
	case opPutUpload:
		q.digest, err = optional(values, "digest", customhouse.ParseDigest)
		return err
	case opPutManifest:
		return q.parseTags(values["tag"])
	}
	return nil
}

func (q *request) parseBegin(values url.Values) (err error) {
	if q.digest, err = optional(values, "digest", customhouse.ParseDigest); err != nil {
		return err
	}
	if q.algorithm, err = optional(values, "digest-algorithm", customhouse.ParseAlgorithm); err != nil {
		return err
	}
	if q.mount, err = optional(values, "mount", customhouse.ParseDigest); err != nil {
		return err
	}
	q.from, err = optional(values, "from", customhouse.ParseRepo)
	return err
}

func (q *request) parseTags(tags []string) error {
	if len(tags) > maxTags {
		return customhouse.Errorf(customhouse.URITooLong, "at most %d tags can be pushed at once", maxTags)
	}
	if len(tags) > 0 && q.ref.Digest.IsZero() {
		return customhouse.Errorf(customhouse.BadRequest, "the parameter tag goes with a push by digest")
	}
	for _, s := range tags {
		t, err := customhouse.ParseTag(s)
		if err != nil {
			return err
		}
		q.tags = append(q.tags, t)
	}
	return nil
}

func (p *page) parse(values url.Values) error {
	p.last = values.Get("last")
	s := values.Get("n")
	if s == "" {
		return nil
	}
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return customhouse.Errorf(customhouse.PaginationInvalid, "invalid number of results requested").WithDetail(map[string]string{"n": s})
	}
	p.n = int(n)
	return nil
}

// size is how many entries the page has, where the server likes to give usual and gives most at the most; a most of 0 is
// mostEntries.
func (p page) size(usual, most int) int {
	if most == 0 {
		most = mostEntries
	}
	usual = min(usual, most)
	if p.n < 0 {
		return usual
	}
	return min(p.n, most)
}

func optional[T any](values url.Values, key string, parse func(string) (T, error)) (T, error) {
	if s := values.Get(key); s != "" {
		return parse(s)
	}
	var zero T
	return zero, nil
}

// pushed returns the tags that a push of a manifest is for.
func (q *request) pushed() []customhouse.Tag {
	if !q.ref.Tag.IsZero() {
		return []customhouse.Tag{q.ref.Tag}
	}
	return q.tags
}

// credential reads what the client presents. Authorization is never read from anywhere but its header.
func (st *state) credential(r *http.Request) (c customhouse.Credential, err error) {
	if c.Client, err = st.Proxies.client(r); err != nil {
		return c, err
	}
	c.Certificates = st.certificates(r)
	values := r.Header["Authorization"]
	if len(values) == 0 {
		return c, nil
	}
	if len(values) > 1 {
		return c, customhouse.Errorf(customhouse.BadRequest, "more than one Authorization header")
	}
	scheme, rest, _ := strings.Cut(values[0], " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		c.Scheme, c.Secret = customhouse.Bearer, customhouse.Secret(strings.TrimLeft(rest, " "))
	case strings.EqualFold(scheme, "Basic"):
		account, password, _ := r.BasicAuth() // what it cannot read is an account without a name: refused, not anonymous
		c.Scheme, c.Account, c.Secret = customhouse.Basic, account, customhouse.Secret(password)
	default:
		return c, customhouse.Errorf(customhouse.BadRequest, "this registry takes Basic and Bearer authorization")
	}
	return c, nil
}

// certificates returns what the client has shown when it connected. Those of a trusted proxy are its own and none of the
// client's. Nor do they count where a page of another site makes a browser send the request: it shows a certificate to
// whomever it connects to, whoever asks it to.
func (st *state) certificates(r *http.Request) []*x509.Certificate {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 || st.Proxies.trusts(peerAddr(r)) || !ofItself(r.Header) {
		return nil
	}
	return r.TLS.PeerCertificates
}

// ofItself tells whether no page of another site has made the client send the request (Fetch Metadata Request Headers).
func ofItself(h http.Header) bool {
	switch h.Get("Sec-Fetch-Site") {
	case "":
		return h.Get("Origin") == "" // no program sends it, and old browsers do
	case "same-origin", "none":
		return true
	}
	return false
}
