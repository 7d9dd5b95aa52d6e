package main

import (
	"context"
	"errors"
	"strconv"

	"customhouse"
)

// spread is how many requests of a kind are made in turn where there could be very many.
const spread = 64

// cycle returns the operation that makes the exchanges in turn.
func cycle(exchanges []exchange) operation {
	return func(c *conn, n int) error { return c.do(&exchanges[n%len(exchanges)]) }
}

func get(path, fields string) exchange {
	return exchange{wire: appendRequest(nil, "GET", path, fields, ""), status: 200, length: -1}
}

func getBlobs(size int64, count int) workload {
	return func(ctx context.Context, t *target) (work, error) {
		some, err := fixedBlobs(size, count)
		if err != nil {
			return work{}, err
		}
		auth, err := t.auth.authorize(ctx, scope(repoBlob, "pull"))
		if err != nil {
			return work{}, err
		}
		exchanges := make([]exchange, count)
		for i, b := range some {
			exchanges[i] = get(blobPath(repoBlob, b), auth)
			exchanges[i].length = b.size
		}
		verify := func(ctx context.Context) error {
			for _, b := range some {
				if err := t.verify(ctx, blobPath(repoBlob, b), auth, b.digest); err != nil {
					return err
				}
			}
			return nil
		}
		return work{cycle(exchanges), verify}, nil
	}
}

func getLarge(ctx context.Context, t *target) (work, error) {
	return getBlobs(t.size.large, 1)(ctx, t)
}

func headBlobs(ctx context.Context, t *target) (work, error) {
	some, err := fixedBlobs(4<<10, smallBlobs)
	if err != nil {
		return work{}, err
	}
	auth, err := t.auth.authorize(ctx, scope(repoBlob, "pull"))
	if err != nil {
		return work{}, err
	}
	exchanges := make([]exchange, len(some))
	for i, b := range some {
		wire := appendRequest(nil, "HEAD", blobPath(repoBlob, b), auth, "")
		exchanges[i] = exchange{wire: wire, head: true, status: 200, length: b.size}
	}
	verify := func(ctx context.Context) error {
		return t.verify(ctx, blobPath(repoBlob, some[0]), auth, some[0].digest)
	}
	return work{cycle(exchanges), verify}, nil
}

func blobPath(repo string, b blob) string { return "/v2/" + repo + "/blobs/" + b.digest.String() }

// manifests asks for manifests of repo by tag, spread over its count tags (0 for all in the set tags).
func manifests(method, repo string, count int) workload {
	return func(ctx context.Context, t *target) (work, error) {
		count := count
		if count == 0 {
			count = t.size.tags
		}
		m, err := fixedImage()
		if err != nil {
			return work{}, err
		}
		auth, err := t.auth.authorize(ctx, scope(repo, "pull"))
		if err != nil {
			return work{}, err
		}
		var exchanges []exchange
		digests := map[string]customhouse.Digest{}
		for i := range spread {
			tag := tagName(i * count / spread)
			path := "/v2/" + repo + "/manifests/" + tag
			body, err := imageManifest(m.config, m.layers, tag)
			if err != nil {
				return work{}, err
			}
			digests[path] = customhouse.DigestOf(customhouse.SHA256, body)
			wire := appendRequest(nil, method, path, auth, accept)
			exchanges = append(exchanges, exchange{wire: wire, head: method == "HEAD", status: 200, length: int64(len(body))})
		}
		verify := func(ctx context.Context) error {
			for path, digest := range digests {
				if err := t.verify(ctx, path, auth, digest); err != nil {
					return err
				}
			}
			return nil
		}
		return work{cycle(exchanges), verify}, nil
	}
}

// pageSize is how many names a page of a list has.
const pageSize = 100

func tagPages(ctx context.Context, t *target) (work, error) {
	auth, err := t.auth.authorize(ctx, scope(repoTags, "pull"))
	if err != nil {
		return work{}, err
	}
	return t.pages("/v2/"+repoTags+"/tags/list", auth, t.size.tags, tagName)
}

func catalogPages(ctx context.Context, t *target) (work, error) {
	auth, err := t.auth.authorize(ctx, "registry:catalog:*")
	if err != nil {
		return work{}, err
	}
	return t.pages("/v2/_catalog", auth, t.size.repos, repoName)
}

// pages asks for pages from positions in the middle half of a list of count names.
func (t *target) pages(path, auth string, count int, name func(int) string) (work, error) {
	var exchanges []exchange
	page := func(last int) string { return path + "?n=" + strconv.Itoa(pageSize) + "&last=" + name(last) }
	for i := range spread {
		exchanges = append(exchanges, get(page(count/4+i*count/2/spread), auth))
	}
	verify := func(ctx context.Context) error {
		return t.verifyList(ctx, page(count/2), auth, name(count/2+1), min(pageSize, count-count/2-1))
	}
	return work{cycle(exchanges), verify}, nil
}

func allTags(ctx context.Context, t *target) (work, error) {
	auth, err := t.auth.authorize(ctx, scope(repoTags, "pull"))
	if err != nil {
		return work{}, err
	}
	path := "/v2/" + repoTags + "/tags/list"
	verify := func(ctx context.Context) error {
		return t.verifyList(ctx, path, auth, tagName(t.size.tags-1), t.size.tags)
	}
	return work{cycle([]exchange{get(path, auth)}), verify}, nil
}

// issueTokens asks for a token, anonymously or with the same valid password each time.
func issueTokens(login bool) workload {
	return func(ctx context.Context, t *target) (work, error) {
		endpoint, ok := t.auth.(*tokenEndpoint)
		if !ok {
			return work{}, errors.New("the registry has no token endpoint")
		}
		path, err := endpoint.request(ctx, scope(repoBlob, "pull"))
		if err != nil {
			return work{}, err
		}
		fields := ""
		if login {
			fields = endpoint.basic()
		}
		verify := func(ctx context.Context) error {
			_, err := endpoint.authorize(ctx, scope(repoBlob, "pull"))
			return err
		}
		return work{cycle([]exchange{get(path, fields)}), verify}, nil
	}
}

// pullImages pulls a whole image: manifest, config and layers.
func pullImages(ctx context.Context, t *target) (work, error) {
	m, err := fixedImage()
	if err != nil {
		return work{}, err
	}
	auth, err := t.auth.authorize(ctx, scope(repoImage, "pull"))
	if err != nil {
		return work{}, err
	}
	content := append([]blob{m.config}, m.layers...)
	var exchanges []exchange
	for _, b := range content {
		x := get(blobPath(repoImage, b), auth)
		x.length = b.size
		exchanges = append(exchanges, x)
	}
	pull := func(c *conn, n int) error {
		tag := tagName(n % imageTags)
		c.scratch = appendRequest(c.scratch[:0], "GET", "/v2/"+repoImage+"/manifests/"+tag, auth, accept)
		if err := c.do(&exchange{wire: c.scratch, status: 200, length: -1}); err != nil {
			return err
		}
		for i := range exchanges {
			if err := c.do(&exchanges[i]); err != nil {
				return err
			}
		}
		return nil
	}
	verify := func(ctx context.Context) error {
		for _, b := range content {
			if err := t.verify(ctx, blobPath(repoImage, b), auth, b.digest); err != nil {
				return err
			}
		}
		return nil
	}
	return work{pull, verify}, nil
}
