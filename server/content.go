package server

import (
	"context"
	"encoding/json"
	"errors"

	"customhouse"
	"customhouse/gate"
	"customhouse/registry"
)

// This file and change.go are the one way from a request to what is in a repository. Where the gate has let a request through
// for a part of what it needs (gate.Grant.Partly), each thing is asked about there, with the facts that rules may ask for:
//
//   - A manifest may be pulled by digest for any of the tags that stand for it, or for having none. An index may be pulled
//     where all that it lists may be.
//   - A blob may be pulled where a manifest that names it may be, and by who has brought it.
//   - What may not be pulled is answered like what is not there, and cannot be used in a push.
//   - Each change of a push or a delete is asked about by itself: see registry.Permit.

// pulls tells whether the caller may pull from repo the manifest that stands so.
func (q *admitted) pulls(ctx context.Context, repo registry.Repository, s registry.Standing) (bool, error) {
	need := on(repo.Name(), pull...)
	need.Target = gate.Target{Known: gate.Facts, Digest: s.Digest.String(), MediaType: s.MediaType, ArtifactType: s.ArtifactType}
	if len(s.Tags) == 0 {
		return q.grant.Allows(ctx, need)
	}
	for _, tag := range s.Tags {
		need.Target.Tag = tag
		if may, err := q.grant.Allows(ctx, need); may || err != nil {
			return may, err
		}
	}
	return false, nil
}

// pullsManifest tells whether the caller may pull the manifest d of repo under a tag, or if that is "" by its digest.
func (q *admitted) pullsManifest(ctx context.Context, repo registry.Repository, d customhouse.Digest, tag string) (bool, error) {
	s, err := repo.Standing(ctx, d)
	if isUnknown(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if tag != "" {
		s.Tags = []string{tag}
	}
	may, err := q.pulls(ctx, repo, s)
	if !may || err != nil || !q.grant.ByContent() || !registry.IsIndex(s.MediaType) {
		return may, err
	}
	children, err := repo.Contained(ctx, d)
	if err != nil {
		return false, err
	}
	for _, child := range children {
		if may, err := q.pullsChild(ctx, repo, child); !may || err != nil {
			return false, err
		}
	}
	return true, nil
}

// pullsChild tells whether the caller may pull what an index lists. Of what is not there the digest alone is known.
func (q *admitted) pullsChild(ctx context.Context, repo registry.Repository, d customhouse.Digest) (bool, error) {
	s, err := repo.Standing(ctx, d)
	if !isUnknown(err) {
		if err != nil {
			return false, err
		}
		return q.pulls(ctx, repo, s)
	}
	need := on(repo.Name(), pull...)
	need.Target, need.Partly = gate.Target{Known: gate.FactDigest, Digest: d.String()}, true
	return q.grant.Allows(ctx, need)
}

// pullsBlob tells whether the caller may pull the blob d of repo.
func (q *admitted) pullsBlob(ctx context.Context, repo registry.Repository, d customhouse.Digest) (bool, error) {
	named, err := repo.BlobStanding(ctx, d)
	if err != nil {
		return false, err
	}
	for _, s := range named {
		if may, err := q.pulls(ctx, repo, s); may || err != nil {
			return may, err
		}
	}
	return repo.Brought(ctx, d, q.grant.Identity.Account)
}

// pullsAll tells whether the caller may pull all that is in the repository, so that nothing of it need be asked about.
func (q *admitted) pullsAll(ctx context.Context) (bool, error) {
	if !q.grant.Partly() {
		return true, nil
	}
	return q.grant.Allows(ctx, on(q.repoName(), pull...))
}

// unseen refuses what the caller may not pull, and what is not there, so that nobody can tell one from the other.
func (q *admitted) unseen(notThere *customhouse.Error) error {
	return q.grant.Unseen(on(q.repoName(), pull...), notThere)
}

// hide is unseen for an err that says that something is not there, and err itself otherwise.
func (q *admitted) hide(err error) error {
	var e *customhouse.Error
	if isUnknown(err) && errors.As(err, &e) && q.grant.Partly() {
		return q.unseen(e)
	}
	return err
}

func isUnknown(err error) bool {
	if err == nil { // as a rule
		return false
	}
	for _, code := range [...]customhouse.Code{customhouse.ManifestUnknown, customhouse.BlobUnknown, customhouse.NameUnknown} {
		if errors.Is(err, &customhouse.Error{Code: code}) {
			return true
		}
	}
	return false
}

// pulled returns a reference to the manifest that is asked for, if the caller may pull it: by digest where it was looked
// at, so that a tag that moves meanwhile changes nothing.
func (q *admitted) pulled(ctx context.Context) (customhouse.Ref, error) {
	if !q.grant.Partly() {
		return q.ref, nil
	}
	d, err := q.repo.Resolve(ctx, q.ref)
	if err != nil {
		return q.ref, q.hide(err)
	}
	may, err := q.pullsManifest(ctx, q.repo, d.Digest, q.ref.Tag.String())
	if err == nil && !may {
		err = q.unseen(registry.ManifestUnknown(q.ref))
	}
	return customhouse.Ref{Digest: d.Digest}, err
}

// manifest returns the manifest that is asked for, if the caller may pull it; alone is for its descriptor alone.
func (q *admitted) manifest(ctx context.Context, alone bool) (m registry.Manifest, err error) {
	ref, err := q.pulled(ctx)
	if err != nil {
		return m, err
	}
	if alone {
		m.Descriptor, err = q.repo.Stat(ctx, ref)
	} else {
		m, err = q.repo.Manifest(ctx, ref)
	}
	return m, q.hide(err)
}

// part returns the index that manifest has returned, or what it lists: all of that was asked about.
func (q *admitted) part(ctx context.Context, d customhouse.Digest) (registry.Manifest, error) {
	m, err := q.repo.Manifest(ctx, customhouse.Ref{Digest: d})
	return m, q.hide(err)
}

// openBlob opens the blob that is asked for, if the caller may pull it; alone is for a look at it.
func (q *admitted) openBlob(ctx context.Context, alone bool) (*registry.Blob, error) {
	if q.grant.Partly() {
		if may, err := q.pullsBlob(ctx, q.repo, q.digest); err != nil {
			return nil, err
		} else if !may {
			return nil, q.unseen(registry.BlobUnknown(q.digest))
		}
	}
	open := q.repo.Blob
	if alone {
		open = q.repo.StatBlob
	}
	b, err := open(ctx, q.digest)
	return b, q.hide(err)
}

// tags returns up to n tags after the given one that the caller may see, and tells whether there are more of them.
func (q *admitted) tags(ctx context.Context, after string, n int) (names []string, more bool, err error) {
	if !q.grant.Partly() {
		return q.repo.Tags(ctx, after, n)
	}
	names, more, err = q.visibleTags(ctx, q.repo.Tags, after, n)
	if err == nil && len(names) == 0 && !more { // a repository of which nothing is visible is none
		var any []string
		if any, _, err = q.visibleTags(ctx, q.repo.Tags, "", 1); err == nil && len(any) == 0 {
			err = registry.NameUnknown(q.repoName())
		}
	}
	return names, more, q.hide(err)
}

// seesAnyTag tells whether the caller may see a tag of what is here of the repository.
func (q *admitted) seesAnyTag(ctx context.Context) (bool, error) {
	names, _, err := q.visibleTags(ctx, q.repo.TagsHere, "", 1)
	if isUnknown(err) { // it has gone
		err = nil
	}
	return len(names) > 0, err
}

// visibleTags returns those that the caller may see of what all returns.
func (q *admitted) visibleTags(
	ctx context.Context, all func(context.Context, string, int) ([]string, bool, error), after string, n int,
) (names []string, more bool, err error) {
	const least, most = 64, 1000
	names = []string{}
	for size := min(max(n+1, least), most); ; size = most {
		batch, rest, err := all(ctx, after, size)
		if err != nil {
			return nil, false, err
		}
		for _, tag := range batch {
			if sees, err := q.seesTag(ctx, tag); err != nil {
				return nil, false, err
			} else if !sees {
				continue
			}
			if len(names) == n {
				return names, true, nil
			}
			names = append(names, tag)
		}
		if !rest || len(batch) == 0 {
			return names, false, nil
		}
		after = batch[len(batch)-1]
	}
}

// seesTag tells whether the caller may see a tag, with a look at what it points to where that matters. Of a tag that is
// known by its name alone, in a copy of another repository, that has to do.
func (q *admitted) seesTag(ctx context.Context, tag string) (bool, error) {
	need := on(q.repoName(), list...)
	need.Target = gate.Target{Known: gate.FactTag, Tag: tag}
	need.Partly = q.grant.ByContent()
	may, err := q.grant.Allows(ctx, need)
	if !may || err != nil || !need.Partly {
		return may, err
	}
	name, err := customhouse.ParseTag(tag)
	if err != nil {
		return false, nil
	}
	d, err := q.repo.Here(ctx, customhouse.Ref{Tag: name})
	if isUnknown(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	need.Partly = false
	need.Target = gate.Target{Known: gate.Facts, Tag: tag, Digest: d.Digest.String(), MediaType: d.MediaType, ArtifactType: d.ArtifactType}
	return q.grant.Allows(ctx, need)
}

// referrers returns up to n manifests that refer to the one that is asked about and that the caller may pull, after the
// given one and as many as fit into a page, and tells whether there are more of them.
func (q *admitted) referrers(ctx context.Context, after customhouse.Digest, n int) (found []customhouse.Descriptor, more bool, err error) {
	if !q.grant.Partly() {
		return q.repo.Referrers(ctx, q.ref.Digest, q.artifactType, after, n)
	}
	found = []customhouse.Descriptor{}
	if hidden, err := q.hides(ctx, q.ref.Digest); hidden || err != nil {
		return found, false, err
	}
	const some = 100
	bytes := 0
	for more = true; more; {
		var batch []customhouse.Descriptor
		if batch, more, err = q.repo.Referrers(ctx, q.ref.Digest, q.artifactType, after, some); err != nil {
			return nil, false, err
		}
		for _, d := range batch {
			after = d.Digest
			if may, err := q.pullsManifest(ctx, q.repo, d.Digest, ""); err != nil {
				return nil, false, err
			} else if !may {
				continue
			}
			b, err := json.Marshal(d)
			if err != nil {
				return nil, false, err
			}
			bytes += len(b)
			if len(found) == n || len(found) > 0 && bytes > registry.MaxReferrersPage {
				return found, true, nil
			}
			found = append(found, d)
		}
		more = more && len(batch) > 0
	}
	return found, false, nil
}

// hides tells whether there is a manifest d that the caller may not pull, so that they do not hear what refers to it.
func (q *admitted) hides(ctx context.Context, d customhouse.Digest) (bool, error) {
	if _, err := q.repo.Here(ctx, customhouse.Ref{Digest: d}); err != nil {
		if isUnknown(err) {
			err = nil
		}
		return false, err
	}
	may, err := q.pullsManifest(ctx, q.repo, d, "")
	return !may && err == nil, err
}
