package index

import (
	"context"
	"database/sql"
	"time"

	"customhouse"
)

// NoteUse takes note that somebody asks for a manifest that was fetched. A loss of power may take the note back.
func (db *DB) NoteUse(ctx context.Context, repo customhouse.Repo, d customhouse.Digest) error {
	return db.writer.write(ctx, false, func(t *tx) error {
		return t.exec(ctx, "update manifest set fetched = ? where repo_id = "+idOf+" and digest = ? and fetched <> 0",
			db.now().Unix(), repo.String(), d.String())
	})
}

// Fetched returns, in byte order, up to n repositories after the given name in which there are manifests that were fetched.
func (db *DB) Fetched(ctx context.Context, after string, n int) ([]string, error) {
	return db.names(ctx, `select name from repo where name > ? and exists
		(select 1 from manifest where repo_id = repo.id and fetched <> 0) order by name limit ?`, after, n)
}

// DropTag removes a tag that points to what was fetched, and leaves the manifest. customhouse.ErrNotFound: there is no such
// tag.
func (db *DB) DropTag(ctx context.Context, repo customhouse.Repo, tag customhouse.Tag) error {
	return db.change(ctx, repo, func(t *tx) error {
		err := found(t.changed(ctx, "delete from tag where repo_id = "+idOf+` and name = ? and exists
			(select 1 from manifest m where m.repo_id = tag.repo_id and m.digest = tag.digest and m.fetched <> 0)`, repo.String(), tag.String()))
		if err != nil {
			return err
		}
		for _, table := range [...]string{"tag_history", "tag_confirmed"} {
			if err := t.exec(ctx, "delete from "+table+" where repo_id = "+idOf+" and name = ?", repo.String(), tag.String()); err != nil {
				return err
			}
		}
		return nil
	})
}

// unused are manifests of a repository that were fetched, that nobody has asked for since a time, and that no other names.
// Where it is not known of one what it names, there are none.
const unused = `select digest from manifest where repo_id = ? and fetched <> 0 and fetched < ?
	and not exists (select 1 from manifest_child c where c.repo_id = manifest.repo_id and c.child = manifest.digest)
	and not exists (select 1 from manifest where repo_id = ? and named <> 1)
	limit ?`

// DropUnused removes up to n manifests that were fetched into the repository and that nobody has asked for since a time,
// with their tags and with the blobs that no other manifest there names. An index goes before what it lists, which is there
// for the next call. What was pushed is not touched. It returns how many there were.
func (db *DB) DropUnused(ctx context.Context, repo customhouse.Repo, since time.Time, n int) (dropped int, err error) {
	id, err := repoID(ctx, db, repo)
	if err != nil {
		return 0, err
	}
	list := func(a asker) (found []customhouse.Digest, err error) {
		err = a.rows(ctx, func(r *sql.Rows) error {
			var s string
			if err := r.Scan(&s); err != nil {
				return err
			}
			d, err := customhouse.ParseDigest(s)
			found = append(found, d)
			return err
		}, unused, id, since.Unix(), id, n)
		return found, err
	}
	if found, err := list(db); err != nil || len(found) == 0 { // as a rule
		return 0, err
	}
	err = db.change(ctx, repo, func(t *tx) error {
		found, err := list(t)
		dropped = len(found)
		for _, d := range found {
			if err == nil {
				err = dropManifest(ctx, t, id, repo, d)
			}
		}
		return err
	})
	return dropped, err
}

// dropManifest removes a manifest, and with it what only it names.
func dropManifest(ctx context.Context, t *tx, id int64, repo customhouse.Repo, d customhouse.Digest) error {
	const named = "repo_id = ? and digest in (select blob from manifest_blob where repo_id = ? and digest = ?)"
	err := t.exec(ctx, "delete from repo_blob where "+named+` and not exists
		(select 1 from manifest_blob other where other.repo_id = repo_blob.repo_id and other.blob = repo_blob.digest and other.digest <> ?)`,
		id, id, d.String(), d.String())
	if err != nil {
		return err
	}
	err = t.exec(ctx, "delete from brought where "+named+` and not exists
		(select 1 from repo_blob b where b.repo_id = brought.repo_id and b.digest = brought.digest)`, id, id, d.String())
	if err != nil {
		return err
	}
	err = t.exec(ctx, "delete from tag_confirmed where repo_id = ? and name in (select name from tag where repo_id = ? and digest = ?)", id, id, d.String())
	if err != nil {
		return err
	}
	return removeManifest(ctx, t, repo, d)
}
