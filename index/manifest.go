package index

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"iter"
	"slices"

	"customhouse"
)

// Manifest is what the index knows of a manifest.
type Manifest struct {
	customhouse.Descriptor
	Subject customhouse.Digest // what it refers to; zero for nothing
}

// weigh is about how many bytes m takes.
func (m Manifest) weigh() int {
	bytes := len(m.MediaType) + len(m.ArtifactType)
	for k, v := range m.Annotations {
		bytes += len(k) + len(v)
	}
	return bytes
}

// Put is a manifest on its way into a repository.
type Put struct {
	Manifest Manifest
	Blobs    []customhouse.Descriptor // must be visible in the repository, and of this size
	Children []customhouse.Descriptor // manifests that an index names: of this size where they are in the repository
	Sparse   bool                     // whether children may be absent
	Needed   []customhouse.Descriptor // children that may not, whatever Sparse says
	Tags     []customhouse.Tag        // shall point to the manifest
	Fetched  bool                     // whether it comes from an upstream, and goes when nobody asks for it; see DropUnused
	Names    *Names                   // all that the manifest names, whether it has to be there or not; nil leaves that to NoteNames
	May      May                      // whether the manifest may be new, and tags be made or moved
	Listed   bool                     // whether May is asked about what an index lists, too: tags come to stand for it
}

const manifestColumns = "m.digest, m.media_type, m.size, m.subject, m.artifact_type, m.annotations"

// Manifest returns the manifest that ref names in the repository. customhouse.ErrNotFound.
func (db *DB) Manifest(ctx context.Context, repo customhouse.Repo, ref customhouse.Ref) (Manifest, error) {
	return db.manifests.get(repo.String(), ref.String(), func() (Manifest, error) {
		query := "select " + manifestColumns + " from manifest m where m.repo_id = " + idOf + " and m.digest = ?"
		if ref.Digest.IsZero() {
			query = "select " + manifestColumns + ` from tag t join manifest m on m.repo_id = t.repo_id and m.digest = t.digest
				where t.repo_id = ` + idOf + " and t.name = ?"
		}
		var m Manifest
		err := scanManifest(db.row(ctx, query, repo.String(), ref.String()).scan, &m)
		return m, err
	})
}

func scanManifest(scan func(...any) error, m *Manifest) error {
	var digest, subject, annotations string
	if err := scan(&digest, &m.MediaType, &m.Size, &subject, &m.ArtifactType, &annotations); err != nil {
		return err
	}
	var err error
	if m.Digest, err = customhouse.ParseDigest(digest); err != nil {
		return err
	}
	if subject != "" {
		if m.Subject, err = customhouse.ParseDigest(subject); err != nil {
			return err
		}
	}
	if annotations != "" {
		return json.Unmarshal([]byte(annotations), &m.Annotations)
	}
	return nil
}

// PutManifest makes a manifest visible in the repository and moves its tags, all or nothing. It returns a *Error,
// MANIFEST_BLOB_UNKNOWN and SIZE_INVALID for what the manifest names, or what May does.
func (db *DB) PutManifest(ctx context.Context, repo customhouse.Repo, put Put) error {
	annotations, err := encodeAnnotations(put.Manifest.Annotations)
	if err != nil {
		return err
	}
	return db.change(ctx, repo, func(t *tx) error {
		if err := check(ctx, t, repo, put); err != nil {
			return err
		}
		if err := db.makeRepo(ctx, t, repo); err != nil {
			return err
		}
		id, err := repoID(ctx, t, repo)
		if err != nil {
			return err
		}
		m, now := put.Manifest, db.now().Unix()
		if err := insertManifest(ctx, t, id, m, annotations, now, put.Fetched, put.Names); err != nil {
			return err
		}
		if err := listRepo(ctx, t, repo, true); err != nil {
			return err
		}
		for _, tag := range put.Tags {
			err := t.exec(ctx, "insert into tag (repo_id, name, digest, updated) values ("+
				idOf+", ?, ?, ?) on conflict (repo_id, name) do update set digest = excluded.digest, updated = excluded.updated",
				repo.String(), tag.String(), m.Digest.String(), now)
			if err != nil {
				return err
			}
			if err := remember(ctx, t, repo, tag, m.Digest, now); err != nil {
				return err
			}
		}
		return db.recordPush(ctx, t, repo, put)
	})
}

// insertManifest makes the row of a manifest, if it is not there, and those of what it names. What was fetched and is pushed
// then counts as pushed.
func insertManifest(ctx context.Context, t *tx, id int64, m Manifest, annotations string, created int64, fetched bool, names *Names) error {
	named, asked := 1, int64(0)
	if names == nil {
		named = 0
	}
	if fetched {
		asked = created
	}
	made, err := t.changed(ctx, "insert into manifest (repo_id, digest, media_type, size, subject, artifact_type, annotations, created, named, fetched)"+
		" values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict (repo_id, digest) do nothing",
		id, m.Digest.String(), m.MediaType, m.Size, m.Subject.String(), m.ArtifactType, annotations, created, named, asked)
	if err == nil && made == 0 {
		err = t.exec(ctx, "update manifest set fetched = ? where repo_id = ? and digest = ? and fetched <> 0", asked, id, m.Digest.String())
	}
	switch {
	case err != nil || names == nil:
		return err
	case made == 0:
		return noteNames(ctx, t, id, m.Digest, *names)
	}
	return insertNames(ctx, t, id, m.Digest, *names)
}

func encodeAnnotations(annotations map[string]string) (string, error) {
	if len(annotations) == 0 {
		return "", nil
	}
	b, err := json.Marshal(annotations)
	return string(b), err
}

// recordPush tells of a manifest, once for each of its tags.
func (db *DB) recordPush(ctx context.Context, t *tx, repo customhouse.Repo, put Put) error {
	e := customhouse.Event{
		Action: customhouse.EventPush, Repo: repo.String(), Digest: put.Manifest.Digest.String(),
		MediaType: put.Manifest.MediaType, Size: put.Manifest.Size, References: append(slices.Clone(put.Blobs), put.Children...),
	}
	if len(put.Tags) == 0 {
		return db.record(ctx, t, e)
	}
	for _, tag := range put.Tags {
		e.Tag = tag.String()
		if err := db.record(ctx, t, e); err != nil {
			return err
		}
	}
	return nil
}

// CheckManifest tells what PutManifest would refuse at present, so that nothing is stored for a manifest in vain.
func (db *DB) CheckManifest(ctx context.Context, repo customhouse.Repo, put Put) error {
	return check(ctx, db, repo, put)
}

// asker is the index as it is, or as a transaction sees it.
type asker interface {
	row(ctx context.Context, query string, args ...any) row
	rows(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) error
}

func check(ctx context.Context, a asker, repo customhouse.Repo, put Put) error {
	if err := checkNamed(ctx, a, repo, put); err != nil {
		return err
	}
	return put.May.asks(func() ([]Change, error) { return put.changes(ctx, a, repo) })
}

// checkNamed makes sure that what the manifest names is in the repository, and of the size that it says.
func checkNamed(ctx context.Context, a asker, repo customhouse.Repo, put Put) error {
	var missing []customhouse.Digest
	look := func(table string, d customhouse.Descriptor, mayMiss bool) error {
		var size int64
		err := a.row(ctx, "select size from "+table+" where repo_id = "+idOf+" and digest = ?", repo.String(), d.Digest.String()).scan(&size)
		if errors.Is(err, customhouse.ErrNotFound) {
			if !mayMiss {
				missing = append(missing, d.Digest)
			}
			return nil
		}
		if err == nil && size != d.Size {
			return customhouse.Errorf(customhouse.SizeInvalid, "the manifest gives a wrong size for what it names").
				WithDetail(map[string]any{"digest": d.Digest, "size": d.Size, "actual": size})
		}
		return err
	}
	for _, d := range put.Blobs {
		if err := look("repo_blob", d, false); err != nil {
			return err
		}
	}
	for _, d := range put.Children {
		if err := look("manifest", d, put.Sparse); err != nil {
			return err
		}
	}
	for _, d := range put.Needed {
		if err := look("manifest", d, false); err != nil {
			return err
		}
	}
	if missing != nil {
		return Missing(missing)
	}
	return nil
}

// DeleteTag removes a tag, if it may. customhouse.ErrNotFound.
func (db *DB) DeleteTag(ctx context.Context, repo customhouse.Repo, tag customhouse.Tag, may May) error {
	return db.change(ctx, repo, func(t *tx) error {
		if err := may.asks(func() ([]Change, error) { return tagRemoval(ctx, t, repo, tag) }); err != nil {
			return err
		}
		n, err := t.changed(ctx, "delete from tag where repo_id = "+idOf+" and name = ?", repo.String(), tag.String())
		if err != nil {
			return err
		}
		if n == 0 {
			return customhouse.ErrNotFound
		}
		if err := t.exec(ctx, "delete from tag_history where repo_id = "+idOf+" and name = ?", repo.String(), tag.String()); err != nil {
			return err
		}
		return db.record(ctx, t, customhouse.Event{Action: customhouse.EventDelete, Repo: repo.String(), Tag: tag.String()})
	})
}

// DeleteManifest removes a manifest and the tags that point to it, if it may. customhouse.ErrNotFound.
func (db *DB) DeleteManifest(ctx context.Context, repo customhouse.Repo, d customhouse.Digest, may May) error {
	return db.change(ctx, repo, func(t *tx) error {
		if err := may.asks(func() ([]Change, error) { return removal(ctx, t, repo, d) }); err != nil {
			return err
		}
		if err := removeManifest(ctx, t, repo, d); err != nil {
			return err
		}
		return db.record(ctx, t, customhouse.Event{Action: customhouse.EventDelete, Repo: repo.String(), Digest: d.String()})
	})
}

// removeManifest removes a manifest and the tags that point to it. customhouse.ErrNotFound.
func removeManifest(ctx context.Context, t *tx, repo customhouse.Repo, d customhouse.Digest) error {
	if err := t.exec(ctx, "delete from tag where repo_id = "+idOf+" and digest = ?", repo.String(), d.String()); err != nil {
		return err
	}
	if err := t.exec(ctx, "delete from tag_history where repo_id = "+idOf+" and digest = ?", repo.String(), d.String()); err != nil {
		return err
	}
	if err := forgetManifest(ctx, t, repo, d); err != nil {
		return err
	}
	if err := found(t.changed(ctx, "delete from manifest where repo_id = "+idOf+" and digest = ?", repo.String(), d.String())); err != nil {
		return err
	}
	return listRepo(ctx, t, repo, false)
}

// Referrers yields, in the order of their digests, the manifests of the repository after the given digest whose subject is
// d, and of them those of an artifact type unless that is "". They are read while they are taken: with annotations one may
// have megabytes. A repository that is not there has none.
func (db *DB) Referrers(ctx context.Context, repo customhouse.Repo, d customhouse.Digest, artifactType string, after customhouse.Digest) iter.Seq2[customhouse.Descriptor, error] {
	query := "select " + manifestColumns + " from manifest m where m.repo_id = " + idOf + " and m.subject = ? and m.subject <> '' and m.digest > ?"
	args := []any{repo.String(), d.String(), after.String()}
	if artifactType != "" {
		query += " and m.artifact_type = ?"
		args = append(args, artifactType)
	}
	return func(yield func(customhouse.Descriptor, error) bool) {
		err := db.rows(ctx, func(r *sql.Rows) error {
			var m Manifest
			if err := scanManifest(r.Scan, &m); err != nil {
				return err
			}
			if !yield(m.Descriptor, nil) {
				return errEnough
			}
			return nil
		}, query+" order by m.digest", args...)
		if err != nil && err != errEnough {
			yield(customhouse.Descriptor{}, err)
		}
	}
}

// errEnough ends a query whose caller wants no more rows.
var errEnough = errors.New("enough")

// Missing is the MANIFEST_BLOB_UNKNOWN for content that a manifest names and its repository does not have.
func Missing(digests []customhouse.Digest) *customhouse.Error {
	return customhouse.Errorf(customhouse.ManifestBlobUnknown, "the manifest names content that is not in this repository").
		WithDetail(map[string]any{"missing": digests})
}
