package server

import (
	"context"
	"errors"
	"slices"

	"customhouse"
	"customhouse/gate"
	"customhouse/registry"
)

// What callers may change of a repository's content: see content.go.

// mayPush refuses a push whose tags the caller may do nothing about, whatever is there.
func (q *admitted) mayPush(ctx context.Context, tags []customhouse.Tag) error {
	if !q.grant.Partly() {
		return nil
	}
	for _, tag := range tags {
		need := on(q.repoName(), customhouse.Push)
		need.Target, need.Partly = gate.Target{Known: gate.FactTag, Tag: tag.String()}, true
		if err := q.grant.Demand(ctx, need); err != nil {
			return err
		}
	}
	return nil
}

// push takes a manifest, as far as its changes are allowed.
func (q *admitted) push(ctx context.Context, push registry.Push) (registry.Pushed, error) {
	push.Permit, push.Listed = q.permit, q.grant.ByContent()
	whole, err := q.pullsAll(ctx)
	if err != nil {
		return registry.Pushed{}, err
	}
	if !whole {
		push.Known = func(ctx context.Context, d customhouse.Digest, manifest bool) (may bool, err error) {
			if !manifest {
				return q.pullsBlob(ctx, q.repo, d)
			}
			if may, err = q.pullsManifest(ctx, q.repo, d, ""); may || err != nil {
				return may, err
			}
			return q.repo.Brought(ctx, d, q.grant.Identity.Account)
		}
	}
	pushed, err := q.repo.PushManifest(ctx, push)
	if err == nil && !whole {
		err = q.repo.Bring(ctx, pushed.Digest, q.grant.Identity.Account)
	}
	return pushed, err
}

// mayUpload refuses content from those who may do only what brings none of their own: give tags to what is there, and take
// over blobs. An upload begins with any part of push, as a mount does that finds nothing.
func (q *admitted) mayUpload(ctx context.Context) error {
	for _, action := range [...]customhouse.Action{customhouse.Create, customhouse.Update, customhouse.Refer} {
		need := on(q.repoName(), action)
		need.Partly = true
		if may, err := q.grant.Allows(ctx, need); may || err != nil {
			return err
		}
	}
	need := on(q.repoName(), customhouse.Create)
	need.Partly = true
	return q.grant.Demand(ctx, need)
}

// brought notes that the caller has brought content, where that is not theirs to pull anyway.
func (q *admitted) brought(ctx context.Context, d customhouse.Digest) error {
	if whole, err := q.pullsAll(ctx); whole || err != nil {
		return err
	}
	return q.repo.Bring(ctx, d, q.grant.Identity.Account)
}

// permit is the registry.Permit of the caller. A new manifest without a tag is like a blob: what it is for is decided by
// the tags that it gets, or that the index gets which lists it. A refusal says nothing of what the caller has not named and
// may not see.
func (q *admitted) permit(ctx context.Context, c registry.Change) error {
	need := on(q.repoName(), c.Action)
	need.Target = gate.Target{Known: gate.Facts, Tag: c.Tag, Digest: c.Digest.String(), MediaType: c.MediaType, ArtifactType: c.ArtifactType}
	if c.Tag == "" && c.Action != customhouse.Delete {
		need.Target.Known &^= gate.FactTag
		need.Partly = true
	}
	switch {
	case !c.Subject.IsZero():
		return q.permitReferrer(ctx, c, need)
	case c.Action == customhouse.Push:
		return q.permitAgain(ctx, need)
	}
	if c.Absent {
		need.Target.Known, need.Partly = gate.FactTag|gate.FactDigest, true
	}
	if !q.named(c) {
		if may, err := q.grant.Allows(ctx, need); may || err != nil {
			return err
		}
		sees, err := q.reads(func(reader *admitted) (bool, error) { return reader.pullsManifest(ctx, q.repo, c.Digest, c.Tag) })
		if err != nil {
			return err
		}
		need.Veiled = !sees
	}
	return q.grant.Demand(ctx, need)
}

// permitReferrer refuses a manifest that refers to another, without a tag of its own: it has to be allowed for one of the
// tags that stand for what it refers to. Where none does, or it is not there, no tag is known.
func (q *admitted) permitReferrer(ctx context.Context, c registry.Change, need gate.Need) error {
	if may, err := q.grant.Allows(ctx, whole(need)); may || err != nil {
		return err
	}
	s, err := q.repo.Standing(ctx, c.Subject)
	if err != nil && !isUnknown(err) {
		return err
	}
	for _, tag := range s.Tags {
		need.Partly, need.Target.Tag, need.Target.Known = false, tag, gate.Facts
		if may, err := q.grant.Allows(ctx, need); may || err != nil {
			return err
		}
	}
	if len(s.Tags) > 0 {
		sees, err := q.reads(func(reader *admitted) (bool, error) {
			return reader.pullsManifest(ctx, q.repo, c.Subject, need.Target.Tag)
		})
		if err != nil {
			return err
		}
		need.Veiled = !sees
	}
	return q.grant.Demand(ctx, need)
}

// permitAgain refuses the push of a tag that points there already to who could not have pushed it in any way: others are
// told of it as of each push.
func (q *admitted) permitAgain(ctx context.Context, need gate.Need) error {
	for _, action := range [...]customhouse.Action{customhouse.Create, customhouse.Update} {
		need.Actions = []customhouse.Action{action}
		if may, err := q.grant.Allows(ctx, need); may || err != nil {
			return err
		}
	}
	need.Actions = []customhouse.Action{customhouse.PutTag}
	return q.grant.Demand(ctx, need)
}

// whole is need where a part of it will not do.
func whole(need gate.Need) gate.Need {
	need.Partly = false
	return need
}

// named tells whether a change is of the very thing that the request names, and not of another that it is a part of.
func (q *admitted) named(c registry.Change) bool {
	if c.Action == customhouse.Delete && q.ref.Tag.IsZero() {
		return c.Tag == "" && c.Digest == q.ref.Digest
	}
	return !c.Listed || slices.ContainsFunc(q.pushed(), func(tag customhouse.Tag) bool { return tag.String() == c.Tag })
}

// removes returns what tells which removals are permitted, nil where all are.
func (q *admitted) removes() registry.Permit {
	if !q.grant.Partly() {
		return nil
	}
	return q.permit
}

// deleteManifest removes the manifest or the tag that is asked for. Who may not, and may not pull it either, does not hear
// that it is there.
func (q *admitted) deleteManifest(ctx context.Context) error {
	var err error
	if q.ref.Tag.IsZero() {
		err = q.repo.DeleteManifest(ctx, q.ref.Digest, q.removes())
	} else {
		err = q.repo.DeleteTag(ctx, q.ref.Tag, q.removes())
	}
	if err = q.hide(err); !isDenied(err) {
		return err
	}
	d, lost := q.repo.Here(ctx, q.ref)
	if lost == nil {
		if may, err := q.reads(func(reader *admitted) (bool, error) {
			return reader.pullsManifest(ctx, q.repo, d.Digest, q.ref.Tag.String())
		}); err != nil {
			return err
		} else if !may {
			return q.unseen(registry.ManifestUnknown(q.ref))
		}
	}
	return err
}

// deleteBlob removes the blob that is asked for; see deleteManifest.
func (q *admitted) deleteBlob(ctx context.Context) error {
	err := q.hide(q.repo.DeleteBlob(ctx, q.digest, q.removes()))
	if !isDenied(err) {
		return err
	}
	if may, err := q.reads(func(reader *admitted) (bool, error) { return reader.pullsBlob(ctx, q.repo, q.digest) }); err != nil {
		return err
	} else if !may {
		return q.unseen(registry.BlobUnknown(q.digest))
	}
	return err
}

// reads asks as the caller would with a token to pull: one to delete alone says nothing about what its account may see.
func (q *admitted) reads(ask func(*admitted) (bool, error)) (bool, error) {
	reader := *q
	reader.grant = q.grant.Untokened()
	return ask(&reader)
}

func isDenied(err error) bool {
	var refusal *gate.Refusal
	return errors.As(err, &refusal) && refusal.Err.Code == customhouse.Denied
}

// mountFrom tries to make a blob of another repository visible in this one. What the caller, by policy and by token, may
// not pull is treated as if it were not there.
func (q *admitted) mountFrom(ctx context.Context, from registry.Repository) (bool, error) {
	source := on(from.Name(), pull...)
	if from.Name() != q.repoName() || q.grant.Partly() {
		whole, err := q.grant.Allows(ctx, source)
		if err != nil {
			return false, err
		}
		if !whole {
			source.Partly = true
			if may, err := q.grant.Allows(ctx, source); !may || err != nil {
				return false, err
			}
			if may, err := q.pullsBlob(ctx, from, q.mount); !may || err != nil {
				return false, err
			}
		}
	}
	err := q.repo.Mount(ctx, from, q.mount)
	if errors.Is(err, &customhouse.Error{Code: customhouse.BlobUnknown}) {
		return false, nil
	}
	if err == nil {
		err = q.brought(ctx, q.mount)
	}
	return err == nil, err
}

// mayMount tells whether the caller may take over blobs: otherwise they upload them.
func (q *admitted) mayMount(ctx context.Context) (bool, error) {
	need := on(q.repoName(), customhouse.Mount)
	need.Partly = true
	return q.grant.Allows(ctx, need)
}
