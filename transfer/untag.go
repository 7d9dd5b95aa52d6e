package transfer

import (
	"bytes"
	"context"
	"fmt"
	"net/http"

	"customhouse"

	"oras.land/oras-go/v2/content"
)

// placeholder is the manifest of an image without content. It is never wanted, so nothing is lost when it is deleted.
const placeholder = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",` +
	`"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},` +
	`"layers":[{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}],` +
	`"annotations":{"org.opencontainers.image.description":"stands for a tag that is about to be deleted"}}`

// untag removes a tag there.
func (p *pair) untag(ctx context.Context, tag string) error {
	status, err := p.Far.Delete(ctx, p.name, "/manifests/"+tag)
	switch {
	case err != nil:
		return err
	case status == http.StatusAccepted, status == http.StatusNotFound:
		return nil
	case status != http.StatusBadRequest && status != http.StatusMethodNotAllowed:
		return fmt.Errorf("%s answers %d to deleting a tag", p.Far.Host(), status)
	}
	return p.displace(ctx, tag)
}

// displace removes a tag from a registry that deletes by digest only, as distribution 2.8 does: what the tag points to may
// have other tags, so it is set to a placeholder first, and that is deleted. Whether it can be is tried before.
func (p *pair) displace(ctx context.Context, tag string) error {
	empty, m := []byte("{}"), []byte(placeholder)
	config := content.NewDescriptorFromBytes("application/vnd.oci.empty.v1+json", empty)
	stand := content.NewDescriptorFromBytes(customhouse.MediaTypeImageManifest, m)
	old, err := p.far.Resolve(ctx, tag)
	if err != nil {
		return err
	}
	if there, err := p.far.Exists(ctx, config); err != nil {
		return err
	} else if !there {
		if err := p.far.Push(ctx, config, bytes.NewReader(empty)); err != nil {
			return err
		}
	}
	if err := p.far.Push(ctx, stand, bytes.NewReader(m)); err != nil {
		return err
	}
	if err := p.far.Delete(ctx, stand); err != nil {
		return fmt.Errorf("%s deletes neither tags nor manifests: %w", p.Far.Host(), err)
	}
	if err := p.far.PushReference(ctx, stand, bytes.NewReader(m), tag); err != nil {
		return err
	}
	if err := p.far.Delete(ctx, stand); err != nil {
		if back := p.far.Tag(context.WithoutCancel(ctx), old, tag); back != nil {
			return fmt.Errorf("%w; the tag points to %s now, for it could not be put back: %w", err, stand.Digest, back)
		}
		return err
	}
	return nil
}
