package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

// target is a registry under test and what the bench has put into it. What is put is the same in each run.
type target struct {
	addr string
	auth authorizer
	size sizes
}

// sizes says how much there is to put.
type sizes struct {
	tags, repos int
	large       int64 // bytes of the largest blob
}

// dataset names parts of the content that scenarios read.
type dataset uint

const (
	blobs  dataset = 1 << iota // bench/blob: blobs of 4 KiB, 1 MiB and the large one
	images                     // bench/image: tags of an image of ten layers
	tags                       // bench/tags: many tags, each of its own manifest
	repos                      // bench/repo-0000 and so on: many repositories with one tag each
)

// Repositories; those of the set repos are named by repoName.
const (
	repoBlob  = "bench/blob"
	repoImage = "bench/image"
	repoTags  = "bench/tags"
	repoPush  = "bench/push"
)

const (
	smallBlobs  = 64
	middleBlobs = 16
	imageLayers = 10
	imageTags   = 64
)

func tagName(i int) string  { return fmt.Sprintf("t%05d", i) }
func repoName(i int) string { return fmt.Sprintf("bench/repo-%04d", i) }

func scope(repo, actions string) string { return "repository:" + repo + ":" + actions }

// image is the content of an image: the same in each run.
type image struct {
	config blob
	layers []blob
}

func fixedImage() (image, error) {
	m := image{config: blobOf([]byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`))}
	layers := newSource(1 << 20)
	for i := range imageLayers {
		layer, err := layers.fixed(1000 + i)
		if err != nil {
			return image{}, err
		}
		m.layers = append(m.layers, layer)
	}
	return m, nil
}

// fixedBlobs returns the blobs of one size in bench/blob.
func fixedBlobs(size int64, count int) ([]blob, error) {
	s := newSource(size)
	all := make([]blob, count)
	for i := range all {
		var err error
		if all[i], err = s.fixed(i); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// fill puts the parts of need that are not there yet.
func (t *target) fill(ctx context.Context, need dataset) error {
	for _, part := range []struct {
		set  dataset
		last string // is there when the part is
		fill func(context.Context) error
	}{
		{blobs, repoBlob + "/manifests/done", t.fillBlobs},
		{images, repoImage + "/manifests/" + tagName(imageTags-1), t.fillImages},
		{tags, repoTags + "/manifests/" + tagName(t.size.tags-1), t.fillTags},
		{repos, repoName(t.size.repos-1) + "/manifests/latest", t.fillRepos},
	} {
		if need&part.set == 0 {
			continue
		}
		repo, _, _ := strings.Cut(part.last, "/manifests/")
		auth, err := t.auth.authorize(ctx, scope(repo, "pull"))
		if err != nil {
			return err
		}
		resp, err := httpGet(ctx, "http://"+t.addr+"/v2/"+part.last, auth)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			continue
		}
		if err := part.fill(ctx); err != nil {
			return fmt.Errorf("fill %s: %w", repo, err)
		}
	}
	return nil
}

func (t *target) fillBlobs(ctx context.Context) error {
	auth, err := t.auth.authorize(ctx, scope(repoBlob, "pull,push"))
	if err != nil {
		return err
	}
	var all []blob
	for _, set := range []struct {
		size  int64
		count int
	}{{4 << 10, smallBlobs}, {1 << 20, middleBlobs}, {t.size.large, 1}} {
		some, err := fixedBlobs(set.size, set.count)
		if err != nil {
			return err
		}
		all = append(all, some...)
	}
	err = t.parallel(ctx, len(all), func(c *conn, i int) error { return c.pushBlob(repoBlob, auth, all[i]) })
	if err != nil {
		return err
	}
	done, err := imageManifest(all[0], nil, "done")
	if err != nil {
		return err
	}
	return t.parallel(ctx, 1, func(c *conn, _ int) error { return c.pushManifest(repoBlob, "done", auth, done) })
}

func (t *target) fillImages(ctx context.Context) error {
	return t.fillImage(ctx, repoImage, imageTags)
}

func (t *target) fillTags(ctx context.Context) error {
	return t.fillImage(ctx, repoTags, t.size.tags)
}

// fillImage pushes the image and then a manifest of its own for each of so many tags.
func (t *target) fillImage(ctx context.Context, repo string, count int) error {
	auth, err := t.auth.authorize(ctx, scope(repo, "pull,push"))
	if err != nil {
		return err
	}
	m, err := fixedImage()
	if err != nil {
		return err
	}
	content := append([]blob{m.config}, m.layers...)
	err = t.parallel(ctx, len(content), func(c *conn, i int) error { return c.pushBlob(repo, auth, content[i]) })
	if err != nil {
		return err
	}
	return t.parallel(ctx, count, func(c *conn, i int) error {
		manifest, err := imageManifest(m.config, m.layers, tagName(i))
		if err != nil {
			return err
		}
		return c.pushManifest(repo, tagName(i), auth, manifest)
	})
}

// fillRepos gives each repository a manifest whose only blob is mounted from bench/blob.
func (t *target) fillRepos(ctx context.Context) error {
	if err := t.fill(ctx, blobs); err != nil {
		return err
	}
	some, err := fixedBlobs(4<<10, 1)
	if err != nil {
		return err
	}
	config := some[0]
	return t.parallel(ctx, t.size.repos, func(c *conn, i int) error {
		repo := repoName(i)
		auth, err := t.auth.authorize(ctx, scope(repo, "pull,push"), scope(repoBlob, "pull"))
		if err != nil {
			return err
		}
		if err := c.mountBlob(repo, repoBlob, auth, config.digest); err != nil {
			return fmt.Errorf("mount: %w", err)
		}
		manifest, err := imageManifest(config, nil, repo)
		if err != nil {
			return err
		}
		return c.pushManifest(repo, "latest", auth, manifest)
	})
}

// parallel runs do for 0 to count-1 on eight connections until all are done or one fails.
func (t *target) parallel(parent context.Context, count int, do func(c *conn, i int) error) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(8, count) {
		workers.Go(func() {
			c, err := dial(ctx, t.addr)
			if err != nil {
				cancel(err)
				return
			}
			defer c.close()
			for ctx.Err() == nil {
				i := int(next.Add(1) - 1)
				if i >= count {
					return
				}
				if err := do(c, i); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}
