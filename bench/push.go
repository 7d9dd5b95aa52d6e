package main

import "context"

func pushBlobs(size func(*target) int64) workload {
	return func(ctx context.Context, t *target) (work, error) {
		auth, err := t.auth.authorize(ctx, scope(repoPush, "pull,push"))
		if err != nil {
			return work{}, err
		}
		source := newSource(size(t))
		push := func(c *conn, _ int) error {
			b, err := source.next()
			if err != nil {
				return err
			}
			return c.pushBlob(repoPush, auth, b)
		}
		verify := func(ctx context.Context) error {
			b, err := source.next()
			if err != nil {
				return err
			}
			if err := t.parallel(ctx, 1, func(c *conn, _ int) error { return c.pushBlob(repoPush, auth, b) }); err != nil {
				return err
			}
			return t.verify(ctx, blobPath(repoPush, b), auth, b.digest)
		}
		return work{push, verify}, nil
	}
}

// pushImages pushes images none of whose content is there: ten layers, a config and a manifest with a tag.
func pushImages(ctx context.Context, t *target) (work, error) {
	auth, err := t.auth.authorize(ctx, scope(repoPush, "pull,push"))
	if err != nil {
		return work{}, err
	}
	layers, configs := newSource(1<<20), newSource(1<<10)
	push := func(c *conn, n int) error {
		var content []blob // the config is the first
		for i := range 1 + imageLayers {
			from := layers
			if i == 0 {
				from = configs
			}
			b, err := from.next()
			if err != nil {
				return err
			}
			if err := c.pushBlob(repoPush, auth, b); err != nil {
				return err
			}
			content = append(content, b)
		}
		manifest, err := imageManifest(content[0], content[1:], "pushed")
		if err != nil {
			return err
		}
		return c.pushManifest(repoPush, tagName(n), auth, manifest)
	}
	return work{push, func(context.Context) error { return nil }}, nil
}
