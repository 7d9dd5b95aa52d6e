package index

import (
	"context"
	"database/sql"
	"time"

	"customhouse"
)

// Manifests returns, in the order of their digests, up to n manifests of the repository after the given digest.
func (db *DB) Manifests(ctx context.Context, repo customhouse.Repo, after customhouse.Digest, n int) ([]Manifest, error) {
	var found []Manifest
	err := db.rows(ctx, func(r *sql.Rows) error {
		var m Manifest
		err := scanManifest(r.Scan, &m)
		found = append(found, m)
		return err
	}, "select "+manifestColumns+" from manifest m where m.repo_id = "+idOf+" and m.digest > ? order by m.digest limit ?",
		repo.String(), after.String(), n)
	return found, err
}

// Blobs returns, in the order of their digests, digest and size of up to n blobs after the given one that are visible in
// the repository.
func (db *DB) Blobs(ctx context.Context, repo customhouse.Repo, after customhouse.Digest, n int) ([]customhouse.Descriptor, error) {
	var found []customhouse.Descriptor
	err := db.rows(ctx, func(r *sql.Rows) error {
		var digest string
		var d customhouse.Descriptor
		if err := r.Scan(&digest, &d.Size); err != nil {
			return err
		}
		var err error
		d.Digest, err = customhouse.ParseDigest(digest)
		found = append(found, d)
		return err
	}, "select digest, size from repo_blob where repo_id = "+idOf+" and digest > ? order by digest limit ?",
		repo.String(), after.String(), n)
	return found, err
}

// TagsSet returns up to n tags of the repository after the given one, in byte order, with what they point to and since when.
func (db *DB) TagsSet(ctx context.Context, repo customhouse.Repo, after string, n int) ([]TagAt, error) {
	return db.tagsAt(ctx, "select name, digest, updated from tag where repo_id = "+idOf+" and name > ? order by name limit ?", repo.String(), after, n)
}

// History returns what the tag has pointed to, the latest last.
func (db *DB) History(ctx context.Context, repo customhouse.Repo, tag customhouse.Tag) ([]TagAt, error) {
	return db.tagsAt(ctx, "select name, digest, updated from tag_history where repo_id = "+idOf+" and name = ? order by updated, digest",
		repo.String(), tag.String())
}

func (db *DB) tagsAt(ctx context.Context, query string, args ...any) ([]TagAt, error) {
	var found []TagAt
	err := db.rows(ctx, func(r *sql.Rows) error {
		var name, digest string
		var at int64
		if err := r.Scan(&name, &digest, &at); err != nil {
			return err
		}
		t := TagAt{At: time.Unix(at, 0)}
		var err error
		if t.Tag, err = customhouse.ParseTag(name); err != nil {
			return err
		}
		t.Digest, err = customhouse.ParseDigest(digest)
		found = append(found, t)
		return err
	}, query, args...)
	return found, err
}
