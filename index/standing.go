package index

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strings"

	"customhouse"
)

// Standing is a manifest of a repository, with the tags that stand for it: those that point to it, and those of the
// indexes that contain it.
type Standing struct {
	Digest       customhouse.Digest
	MediaType    string
	ArtifactType string
	Tags         []string // none where no tag stands for it
}

// maxStanding bounds how many manifests a question is answered by.
const maxStanding = 10_000

// Change is what a write does, in the words that rules have for it.
type Change struct {
	Action       customhouse.Action // Create, Update, PutTag, Refer or Delete; Push for a tag that points there already
	Tag          string             // "" is none
	Digest       customhouse.Digest
	MediaType    string
	ArtifactType string

	Subject customhouse.Digest // of Refer: what the manifest refers to; zero for none

	Listed bool // it is about what an index lists, or lists at last, for which the tag of the index comes to stand
	Absent bool // of what is listed the digest alone is known: it is not in the repository
}

// May tells whether changes may be made: nil, or why one of them may not. It is asked inside of the transaction that makes
// them, and before anything is written, so it answers at once. A nil May permits everything.
type May func([]Change) error

// asks is may.ask where there is somebody to ask.
func (may May) asks(changes func() ([]Change, error)) error {
	if may == nil {
		return nil
	}
	all, err := changes()
	if err != nil {
		return err
	}
	return may(all)
}

const (
	// upwards yields each manifest that a question is about (origin) with those that contain it.
	upwards = `with recursive up (origin, digest) as (select %s union
		select up.origin, c.digest from up join manifest_child c on c.repo_id = ?1 and c.child = up.digest)
		select m.digest, m.media_type, m.artifact_type, string_agg(t.name, ' ') from up
		join manifest m on m.repo_id = ?1 and m.digest = up.origin
		left join tag t on t.repo_id = ?1 and t.digest = up.digest
		group by m.digest, m.media_type, m.artifact_type limit ?3`
)

var (
	ofManifest = strings.Replace(upwards, "%s", "?2, ?2", 1)
	ofBlob     = strings.Replace(upwards, "%s", "digest, digest from manifest_blob where repo_id = ?1 and blob = ?2", 1)
)

// Standing returns how the manifest d of the repository stands. customhouse.ErrNotFound.
func (db *DB) Standing(ctx context.Context, repo customhouse.Repo, d customhouse.Digest) (Standing, error) {
	found, err := db.standing.get(repo.String(), d.String(), func() ([]Standing, error) { return standing(ctx, db, repo, ofManifest, d) })
	if err == nil && len(found) == 0 {
		err = customhouse.ErrNotFound
	}
	if err != nil {
		return Standing{}, err
	}
	return found[0], nil
}

// BlobStanding returns how manifests of the repository stand that name the blob d: some of them where there are very many.
func (db *DB) BlobStanding(ctx context.Context, repo customhouse.Repo, d customhouse.Digest) ([]Standing, error) {
	return db.standing.get(repo.String(), "blob "+d.String(), func() ([]Standing, error) {
		found, err := standing(ctx, db, repo, ofBlob, d)
		if errors.Is(err, errTooMany) {
			found, err = found[:maxStanding], nil
		}
		return found, err
	})
}

// Contained returns the manifests that the index d of the repository lists, and those that they list, be they in the
// repository or not.
func (db *DB) Contained(ctx context.Context, repo customhouse.Repo, d customhouse.Digest) ([]customhouse.Digest, error) {
	return db.contained.get(repo.String(), d.String(), func() (found []customhouse.Digest, err error) {
		err = db.rows(ctx, func(r *sql.Rows) error {
			var text string
			if err := r.Scan(&text); err != nil {
				return err
			}
			child, err := customhouse.ParseDigest(text)
			found = append(found, child)
			return err
		}, `with recursive down (digest) as (select child from manifest_child where repo_id = (select id from repo where name = ?1) and digest = ?2
			union select c.child from down join manifest_child c on c.repo_id = (select id from repo where name = ?1) and c.digest = down.digest)
			select digest from down limit ?3`, repo.String(), d.String(), maxStanding+1)
		return found, enough(len(found), err)
	})
}

// standing answers by a query about content.
func standing(ctx context.Context, a asker, repo customhouse.Repo, query string, d customhouse.Digest) (found []Standing, err error) {
	id, err := repoID(ctx, a, repo)
	if errors.Is(err, customhouse.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	err = a.rows(ctx, func(r *sql.Rows) error {
		var digest string
		var tags sql.NullString
		var s Standing
		if err := r.Scan(&digest, &s.MediaType, &s.ArtifactType, &tags); err != nil {
			return err
		}
		if tags.String != "" {
			s.Tags = strings.Split(tags.String, " ")
		}
		s.Digest, err = customhouse.ParseDigest(digest)
		found = append(found, s)
		return err
	}, query, id, d.String(), maxStanding+1)
	return found, enough(len(found), err)
}

var errTooMany = errors.New("too many manifests of one repository have to do with it")

// enough refuses an answer by more manifests than are looked at.
func enough(n int, err error) error {
	if err == nil && n > maxStanding {
		err = errTooMany
	}
	return err
}

// weighStanding is about how many bytes all takes.
func weighStanding(all []Standing) int {
	bytes := 0
	for _, s := range all {
		bytes += 150 + len(s.MediaType) + len(s.ArtifactType)
		for _, tag := range s.Tags {
			bytes += 16 + len(tag)
		}
	}
	return bytes
}

// changes are those that removing what stands so would be.
func (s Standing) changes() []Change {
	c := Change{Action: customhouse.Delete, Digest: s.Digest, MediaType: s.MediaType, ArtifactType: s.ArtifactType}
	if len(s.Tags) == 0 {
		return []Change{c}
	}
	var all []Change
	for _, tag := range s.Tags {
		c.Tag = tag
		all = append(all, c)
	}
	return all
}

// removal returns the changes that removing the manifest d would be.
func removal(ctx context.Context, a asker, repo customhouse.Repo, d customhouse.Digest) ([]Change, error) {
	found, err := standing(ctx, a, repo, ofManifest, d)
	if err == nil && len(found) == 0 {
		err = customhouse.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return found[0].changes(), nil
}

// blobRemoval returns the changes that removing the blob d would be: it is part of every manifest that names it.
func blobRemoval(ctx context.Context, a asker, repo customhouse.Repo, d customhouse.Digest) ([]Change, error) {
	found, err := standing(ctx, a, repo, ofBlob, d)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		found = []Standing{{Digest: d, MediaType: customhouse.MediaTypeOctetStream}}
	}
	var all []Change
	for _, s := range found {
		all = append(all, s.changes()...)
	}
	return all, nil
}

// tagRemoval returns the changes that removing a tag would be.
func tagRemoval(ctx context.Context, a asker, repo customhouse.Repo, tag customhouse.Tag) ([]Change, error) {
	var m Manifest
	err := scanManifest(a.row(ctx, "select "+manifestColumns+` from tag t join manifest m on m.repo_id = t.repo_id and m.digest = t.digest
		where t.repo_id = `+idOf+" and t.name = ?", repo.String(), tag.String()).scan, &m)
	if err != nil {
		return nil, err
	}
	return []Change{{Action: customhouse.Delete, Tag: tag.String(), Digest: m.Digest, MediaType: m.MediaType, ArtifactType: m.ArtifactType}}, nil
}

// changes returns those that a put would be. A new manifest that refers to another does so with tags and without. With put.Listed, where an
// index gets a tag all that it lists does, and a manifest that tagged indexes list already gets their tags when it comes.
func (put *Put) changes(ctx context.Context, a asker, repo customhouse.Repo) (all []Change, err error) {
	m := &put.Manifest
	c := Change{Action: customhouse.Create, Digest: m.Digest, MediaType: m.MediaType, ArtifactType: m.ArtifactType}
	var there int
	if len(put.Tags) > 0 || put.Listed { // else it does not matter
		err = a.row(ctx, "select count(*) from manifest where repo_id = "+idOf+" and digest = ?", repo.String(), m.Digest.String()).scan(&there)
		if err != nil {
			return nil, err
		}
	}
	for _, tag := range put.Tags {
		var old string
		err := a.row(ctx, "select digest from tag where repo_id = "+idOf+" and name = ?", repo.String(), tag.String()).scan(&old)
		c.Tag, c.Action = tag.String(), customhouse.Update
		switch {
		case errors.Is(err, customhouse.ErrNotFound) && there == 0:
			c.Action = customhouse.Create
		case errors.Is(err, customhouse.ErrNotFound):
			c.Action = customhouse.PutTag
		case err != nil:
			return nil, err
		case old == m.Digest.String():
			c.Action = customhouse.Push
		}
		all = append(all, c)
	}
	c.Tag = ""
	switch {
	case !m.Subject.IsZero() && (there == 0 || len(put.Tags) == 0):
		c.Action, c.Subject = customhouse.Refer, m.Subject
		all = append(all, c)
	case len(put.Tags) == 0:
		all = append(all, c)
	}
	if !put.Listed {
		return all, nil
	}
	if there == 0 {
		tags, err := tagsAbove(ctx, a, repo, m.Digest)
		if err != nil {
			return nil, err
		}
		c.Listed, c.Action, c.Subject = true, customhouse.Create, customhouse.Digest{}
		for _, c.Tag = range tags {
			all = append(all, c)
		}
	}
	listed, err := put.listed(ctx, a, repo)
	if err = enough(len(all)*len(listed), err); err != nil {
		return nil, err
	}
	for _, c := range all {
		for _, child := range listed {
			if child.Tag, child.Action = c.Tag, c.Action; c.Tag != "" && c.Action != customhouse.Push {
				all = append(all, child)
			}
		}
	}
	return all, nil
}

// listed returns changes without action and tag for all that an index lists, and that is listed there.
func (put *Put) listed(ctx context.Context, a asker, repo customhouse.Repo) (found []Change, err error) {
	if len(put.Children) == 0 {
		return nil, nil
	}
	digests := make([]string, len(put.Children))
	for i, child := range put.Children {
		digests[i] = child.Digest.String()
	}
	list, err := json.Marshal(digests)
	if err != nil {
		return nil, err
	}
	err = a.rows(ctx, func(r *sql.Rows) error {
		var digest string
		var mediaType, artifactType sql.NullString
		if err := r.Scan(&digest, &mediaType, &artifactType); err != nil {
			return err
		}
		d, err := customhouse.ParseDigest(digest)
		found = append(found, Change{Digest: d, MediaType: mediaType.String, ArtifactType: artifactType.String, Listed: true, Absent: !mediaType.Valid})
		return err
	}, `with recursive down (digest) as (select value from json_each(?2)
		union select c.child from down join manifest_child c on c.repo_id = (select id from repo where name = ?1) and c.digest = down.digest)
		select down.digest, m.media_type, m.artifact_type from down
		left join manifest m on m.repo_id = (select id from repo where name = ?1) and m.digest = down.digest limit ?3`,
		repo.String(), string(list), maxStanding+1)
	return found, enough(len(found), err)
}

// tagsAbove returns the tags of the indexes that list d, be it in the repository or not.
func tagsAbove(ctx context.Context, a asker, repo customhouse.Repo, d customhouse.Digest) (tags []string, err error) {
	err = a.rows(ctx, func(r *sql.Rows) error {
		var tag string
		err := r.Scan(&tag)
		tags = append(tags, tag)
		return err
	}, `with recursive up (digest) as (select digest from manifest_child where repo_id = (select id from repo where name = ?1) and child = ?2
		union select c.digest from up join manifest_child c on c.repo_id = (select id from repo where name = ?1) and c.child = up.digest)
		select distinct t.name from up join tag t on t.repo_id = (select id from repo where name = ?1) and t.digest = up.digest limit ?3`,
		repo.String(), d.String(), maxStanding+1)
	return tags, enough(len(tags), err)
}
