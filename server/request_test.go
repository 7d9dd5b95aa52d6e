package server_test

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/server"
)

// TestParse reads requests as data.
func TestParse(t *testing.T) {
	d := nowhere
	for _, test := range []struct {
		request string
		want    server.Parsed
	}{
		{"GET /v2", server.Parsed{Op: "base"}},
		{"HEAD /v2/", server.Parsed{Op: "base"}},
		{"GET /v2/_catalog", server.Parsed{Op: "catalog"}},
		{"GET /v2/_catalog?n=7&last=a/b", server.Parsed{Op: "catalog", N: 7, Last: "a/b"}},
		{"GET /v2/a/tags/list", server.Parsed{Op: "tags", Repo: "a"}},
		{"HEAD /v2/a/b/c/tags/list?last=v1", server.Parsed{Op: "tags", Repo: "a/b/c", Last: "v1"}},
		{"GET /v2/tags/list/tags/list", server.Parsed{Op: "tags", Repo: "tags/list"}},
		{"GET /v2/manifests/manifests/manifests", server.Parsed{Op: "get manifest", Repo: "manifests", Ref: "manifests"}},
		{"GET /v2/a/manifests/manifests/v1", server.Parsed{Op: "get manifest", Repo: "a/manifests", Ref: "v1"}},
		{"GET /v2/a/blobs/uploads/manifests/v1", server.Parsed{Op: "get manifest", Repo: "a/blobs/uploads", Ref: "v1"}},
		{"GET /v2/a/manifests/v1", server.Parsed{Op: "get manifest", Repo: "a", Ref: "v1"}},
		{"HEAD /v2/a/manifests/" + d, server.Parsed{Op: "get manifest", Repo: "a", Ref: d}},
		{"GET /v2/a/manifests/" + strings.Replace(d, ":", "%3A", 1), server.Parsed{Op: "get manifest", Repo: "a", Ref: d}},
		{"PUT /v2/a/manifests/v1", server.Parsed{Op: "put manifest", Repo: "a", Ref: "v1"}},
		{"PUT /v2/a/manifests/" + d + "?tag=x&tag=y", server.Parsed{Op: "put manifest", Repo: "a", Ref: d, Tags: []string{"x", "y"}}},
		{"DELETE /v2/a/manifests/v1?tag=x", server.Parsed{Op: "delete manifest", Repo: "a", Ref: "v1"}},
		{"GET /v2/a/referrers/" + d + "?artifactType=x%2Fy%2Bz", server.Parsed{Op: "referrers", Repo: "a", Ref: d, ArtifactType: "x/y+z"}},
		{"GET /v2/a/blobs/" + d, server.Parsed{Op: "get blob", Repo: "a", Digest: d}},
		{"DELETE /v2/a/blobs/" + d, server.Parsed{Op: "delete blob", Repo: "a", Digest: d}},
		{"POST /v2/a/blobs/uploads", server.Parsed{Op: "begin upload", Repo: "a"}},
		{"POST /v2/a/blobs/uploads/", server.Parsed{Op: "begin upload", Repo: "a"}},
		{"POST /v2/a/blobs/uploads/?digest-algorithm=sha512", server.Parsed{Op: "begin upload", Repo: "a", Algorithm: "sha512"}},
		{"POST /v2/a/blobs/uploads/?mount=" + d + "&from=b/c", server.Parsed{Op: "begin upload", Repo: "a", Mount: d, From: "b/c"}},
		{"POST /v2/a/blobs/uploads/?digest=" + d, server.Parsed{Op: "begin upload", Repo: "a", Digest: d}},
		{"GET /v2/a/blobs/uploads/ID", server.Parsed{Op: "get upload", Repo: "a", Upload: "ID"}},
		{"PATCH /v2/a/blobs/uploads/ID", server.Parsed{Op: "patch upload", Repo: "a", Upload: "ID"}},
		{"PUT /v2/a/blobs/uploads/ID?digest=" + d, server.Parsed{Op: "put upload", Repo: "a", Upload: "ID", Digest: d}},
		{"DELETE /v2/a/blobs/uploads/ID", server.Parsed{Op: "cancel upload", Repo: "a", Upload: "ID"}},
		{"GET /v2/" + strings.Repeat("a", 255) + "/tags/list", server.Parsed{Op: "tags", Repo: strings.Repeat("a", 255)}},
	} {
		method, target, _ := strings.Cut(test.request, " ")
		u, err := url.ParseRequestURI(target)
		must(t, err)
		got, err := server.Parse(method, u)
		if err != nil {
			t.Errorf("parse(%s) = %v", test.request, err)
			continue
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("parse(%s) (-want +got):\n%s", test.request, diff)
		}
	}
}

// TestParseRefuses: what is wrong with a URL has a code that says so.
func TestParseRefuses(t *testing.T) {
	d := nowhere
	for request, want := range map[string]customhouse.Code{
		"GET /v2/a":                customhouse.NotFound,
		"GET /v2/_catalog/":        customhouse.NotFound,
		"GET /v2/a/tags":           customhouse.NotFound,
		"GET /v2/a/tags/list/":     customhouse.NotFound,
		"GET /v2/a/tags/other":     customhouse.NotFound,
		"GET /v2/a/manifests/":     customhouse.NotFound,
		"GET /v2/a/uploads/x":      customhouse.NotFound,
		"GET /v2//":                customhouse.NotFound,
		"GET /v2/manifests/v1":     customhouse.NotFound,
		"GET /v2//tags/list":       customhouse.NameInvalid,
		"GET /v2/A/tags/list":      customhouse.NameInvalid,
		"GET /v2/a//b/tags/list":   customhouse.NameInvalid,
		"GET /v2/../tags/list":     customhouse.NameInvalid,
		"GET /v2/a%2Fb/tags/list":  customhouse.NameInvalid,
		"GET /v2/a%20b/tags/list":  customhouse.NameInvalid,
		"GET /v2/a%00/tags/list":   customhouse.NameInvalid,
		"GET /v2/%C3%A9/tags/list": customhouse.NameInvalid,
		"GET /v2/" + strings.Repeat("a", 256) + "/tags/list":            customhouse.NameInvalid,
		"GET /v2/a/manifests/.hidden":                                   customhouse.TagInvalid,
		"GET /v2/a/manifests/a%2Fb":                                     customhouse.TagInvalid,
		"GET /v2/a/manifests/" + strings.Repeat("t", 129):               customhouse.TagInvalid,
		"GET /v2/a/manifests/sha256:abc":                                customhouse.DigestInvalid,
		"GET /v2/a/manifests/sha1:" + d[7:]:                             customhouse.DigestInvalid,
		"GET /v2/a/blobs/latest":                                        customhouse.DigestInvalid,
		"GET /v2/a/blobs/" + strings.ToUpper(d):                         customhouse.DigestInvalid,
		"GET /v2/a/blobs/" + d + "0":                                    customhouse.DigestInvalid,
		"GET /v2/a/referrers/v1":                                        customhouse.DigestInvalid,
		"POST /v2/":                                                     customhouse.Unsupported,
		"POST /v2/a/manifests/v1":                                       customhouse.Unsupported,
		"PUT /v2/a/blobs/" + d:                                          customhouse.Unsupported,
		"GET /v2/a/blobs/uploads/":                                      customhouse.Unsupported,
		"POST /v2/a/blobs/uploads/ID":                                   customhouse.Unsupported,
		"get /v2/":                                                      customhouse.Unsupported,
		" /v2/":                                                         customhouse.Unsupported,
		"GET /v2/_catalog?n=-1":                                         customhouse.PaginationInvalid,
		"GET /v2/_catalog?n=1&n=1":                                      customhouse.BadRequest,
		"GET /v2/_catalog?n=%zz":                                        customhouse.BadRequest,
		"GET /v2/_catalog?a;b":                                          customhouse.BadRequest,
		"GET /v2/_catalog?" + strings.Repeat("a&", 100):                 customhouse.BadRequest,
		"POST /v2/a/blobs/uploads/?digest=x":                            customhouse.DigestInvalid,
		"POST /v2/a/blobs/uploads/?mount=x":                             customhouse.DigestInvalid,
		"POST /v2/a/blobs/uploads/?mount=" + d + "&from=B":              customhouse.NameInvalid,
		"POST /v2/a/blobs/uploads/?digest-algorithm=md5":                customhouse.DigestInvalid,
		"PUT /v2/a/blobs/uploads/ID?digest=x":                           customhouse.DigestInvalid,
		"PUT /v2/a/manifests/v1?tag=v2":                                 customhouse.BadRequest,
		"PUT /v2/a/manifests/" + d + "?tag=.":                           customhouse.TagInvalid,
		"PUT /v2/a/manifests/" + d + "?" + strings.Repeat("tag=a&", 51): customhouse.URITooLong,
	} {
		method, target, _ := strings.Cut(request, " ")
		u, err := url.ParseRequestURI(target)
		must(t, err)
		got, err := server.Parse(method, u)
		if !errors.Is(err, &customhouse.Error{Code: want}) {
			t.Errorf("parse(%s) = %+v, %v, want %s", request, got, err, want)
		}
	}
}

// FuzzParse: whatever is parsed obeys the grammars and means the same when it is written again; nothing else passes.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"/v2/", "/v2/_catalog?n=1&last=x", "/v2/a/b/tags/list", "/v2/a/manifests/v1?tag=x", "/v2/a/manifests/" + nowhere,
		"/v2/a/blobs/uploads/?mount=" + nowhere + "&from=b", "/v2/a/blobs/uploads/ID?digest=" + nowhere, "/v2/a%2fb/../c/blobs/x", "/%76%32/a/tags/list",
	} {
		for _, method := range methods {
			f.Add(method, seed)
		}
	}
	operations := server.Operations()
	f.Fuzz(func(t *testing.T, method, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		p, err := server.Parse(method, u)
		if err != nil {
			var e *customhouse.Error
			if !errors.As(err, &e) {
				t.Fatalf("parse = %v, want an error that clients may read", err)
			}
			return
		}
		if !slices.Contains(operations, p.Op) {
			t.Fatalf("operation %q", p.Op)
		}
		check := func(s string, parse func(string) (string, error)) {
			if got, err := parse(s); s != "" && (err != nil || got != s) {
				t.Errorf("parse(%s %q) has %q in it: %v", method, target, s, err)
			}
		}
		check(p.Repo, func(s string) (string, error) { r, err := customhouse.ParseRepo(s); return r.String(), err })
		check(p.From, func(s string) (string, error) { r, err := customhouse.ParseRepo(s); return r.String(), err })
		check(p.Ref, func(s string) (string, error) { r, err := customhouse.ParseRef(s); return r.String(), err })
		check(p.Digest, func(s string) (string, error) { d, err := customhouse.ParseDigest(s); return d.String(), err })
		check(p.Mount, func(s string) (string, error) { d, err := customhouse.ParseDigest(s); return d.String(), err })
		for _, tag := range p.Tags {
			check(tag, func(s string) (string, error) { t, err := customhouse.ParseTag(s); return t.String(), err })
		}
		if p.Repo == "" && p.Op != "base" && p.Op != "catalog" {
			t.Errorf("parse(%s %q) = %+v without a repository", method, target, p)
		}
	})
}

// traversals are ways out of a folder, each of which may stand where a name, a tag, a digest or an upload does.
func traversals() []string {
	dots := []string{"..", "%2e%2e", "%2E%2e", ".%2e", "%252e%252e", "..%00", "%c0%ae%c0%ae", "%e0%80%ae%e0%80%ae", "%ef%bc%8e%ef%bc%8e", "..;", "...", "....", ".", "%u002e%u002e"}
	slashes := []string{"/", "%2f", "%2F", "%5c", "\\", "%252f", "%c0%af", "%ef%bc%8f", "//", "/./", ";/", "%00/"}
	ends := []string{"etc/passwd", "server.key", "keys", "a/app", "secret/y", "blobs", "uploads", "x%00.json", "%0a", "%0d%0aSet-Cookie:%20x=1", "~", "%7e"}
	var all []string
	for i, d := range dots {
		for j, s := range slashes {
			end := ends[(i+j)%len(ends)]
			all = append(all, d+s+end, strings.Repeat(d+s, 6)+end, "b/x"+s+d+s+d+s+end)
		}
	}
	return append(all, ends...)
}

// TestS62_Traversal: no way to write a name leads anywhere.
func TestS62_Traversal(t *testing.T) {
	h := open(t, setup{})
	h.as("admin").pushImage("secret/y", "latest", "secret")
	bob := h.as("bob")
	corpus := traversals()
	if len(corpus) < 500 {
		t.Errorf("the corpus has %d entries", len(corpus))
	}
	for i, s := range corpus {
		for _, path := range [...][2]string{
			{"GET", "/v2/" + s + "/tags/list"}, {"GET", "/v2/b/" + s + "/manifests/latest"},
			{"GET", "/v2/b/x/manifests/" + s}, {"GET", "/v2/b/x/blobs/" + s}, {"GET", "/v2/b/x/blobs/sha256:" + s},
			{"PATCH", "/v2/b/x/blobs/uploads/" + s}, {"GET", "/" + s}, {"POST", "/v2/b/x/blobs/uploads/?mount=" + nowhere + "&from=" + s},
		} {
			if i%2 == 0 && path[0] == "GET" && strings.Contains(path[1], "blobs/sha256") {
				continue
			}
			u, err := url.Parse(h.http.URL + path[1])
			if err != nil {
				continue // net/http refuses it too
			}
			a := bob.send(&http.Request{Method: path[0], URL: u, Header: http.Header{"Authorization": {bob.auth}}})
			switch a.status {
			case 400, 403, 404, 405:
			case 202:
				if !strings.Contains(path[1], "from=") || a.header.Get("Docker-Content-Digest") != "" {
					t.Errorf("%s = %d", a.what, a.status)
				}
				bob.do("DELETE", a.header.Get("Location"), nil)
			default:
				t.Errorf("%s = %d, want 400, 403, 404 or 405", a.what, a.status)
			}
			for key, values := range a.header {
				if strings.ContainsAny(strings.Join(values, ""), "\r\n") || key == "Set-Cookie" {
					t.Errorf("%s has the header %s: %q", a.what, key, values)
				}
			}
		}
	}
	bob.get("/v2/"+strings.Repeat("a", 256)+"/tags/list").want(http.StatusBadRequest, "NAME_INVALID")
}
