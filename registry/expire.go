package registry

import (
	"context"

	"customhouse"
)

// noteShare is which part of a TTL goes by between two notes that a manifest is asked for.
const noteShare = 8

// used takes note, now and then, that a manifest of a copy is asked for, so that it stays.
func (p Repository) used(ctx context.Context, src *Source, d customhouse.Digest) {
	if src.TTL == 0 {
		return
	}
	if a, known := p.known(d.String()); known && !a.unknown {
		return
	}
	p.remember(d.String(), false, src.TTL/noteShare)
	if err := p.r.index.NoteUse(context.WithoutCancel(ctx), p.name, d); err != nil {
		p.r.opts.Log.Warn("it could not be noted that a manifest is asked for", "repository", p.name.String(), "digest", d.String(), "error", err)
	}
}

// Expire drops from copies what was fetched and what nobody has asked for in the TTL of their source: manifests with their
// tags, and the blobs that no other manifest there names. What was pushed is not touched. The bytes are left to whoever
// collects what nothing names. It returns how many manifests there were.
func (r *Registry) Expire(ctx context.Context) (dropped int, err error) {
	if r.opts.Source == nil {
		return 0, nil
	}
	const page, batch = 1000, 200
	for after := ""; ; {
		names, err := r.index.Fetched(ctx, after, page)
		if err != nil {
			return dropped, err
		}
		for _, name := range names {
			repo, err := customhouse.ParseRepo(name)
			if err != nil {
				return dropped, err
			}
			src := r.opts.Source(repo)
			if src == nil || src.TTL == 0 {
				continue
			}
			for since := r.opts.Now().Add(-src.TTL - src.TTL/noteShare); ; { // the last note may be so old
				n, err := r.index.DropUnused(customhouse.Untold(ctx), repo, since, batch)
				if err != nil {
					return dropped, err
				}
				if dropped += n; n == 0 {
					break
				}
			}
		}
		if len(names) < page {
			return dropped, nil
		}
		after = names[len(names)-1]
	}
}
