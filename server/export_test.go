package server

import (
	"net/http"
	"net/netip"
	"net/url"
)

// ParseOperation tells which operation parse makes of a method and a URL.
func ParseOperation(method string, u *url.URL) (string, error) {
	q, err := parse(method, "", u)
	if err != nil {
		return "", err
	}
	return routes[q.op].name, nil
}

// Parsed is what parse reads, in the words of the URL.
type Parsed struct {
	Op, Repo, Ref, Digest, Upload, Algorithm, Mount, From, Last, ArtifactType string
	Tags                                                                      []string
	N                                                                         int
}

// Parse is parse.
func Parse(method string, u *url.URL) (Parsed, error) {
	q, err := parse(method, "", u)
	if err != nil {
		return Parsed{}, err
	}
	p := Parsed{
		Op: routes[q.op].name, Repo: q.repo.String(), Ref: q.ref.String(), Digest: q.digest.String(), Upload: q.upload,
		Algorithm: string(q.algorithm), Mount: q.mount.String(), From: q.from.String(),
		Last: q.page.last, ArtifactType: q.artifactType, N: max(q.page.n, 0),
	}
	for _, t := range q.tags {
		p.Tags = append(p.Tags, t.String())
	}
	return p, nil
}

// Operations names all that can be done under /v2/.
func Operations() []string {
	var names []string
	for _, r := range routes[opNone+1:] {
		names = append(names, r.name)
	}
	return names
}

// ParseRange is parseRange, as the first byte and the number of bytes.
func ParseRange(s string, size int64) (start, length int64, ok bool, err error) {
	part, ok, err := parseRange(s, size)
	return part.start, part.length, ok, err
}

// Client is client.
func (p Proxies) Client(r *http.Request) (netip.Addr, error) { return p.client(r) }
