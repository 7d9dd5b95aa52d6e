package index

import (
	"context"
	"database/sql"
	"encoding/json"

	"customhouse"
)

// Names is what a manifest names.
type Names struct {
	Blobs    []customhouse.Digest
	Children []customhouse.Digest // manifests that an index lists
}

// noteNames notes what the manifest d of a repository names, unless that is noted.
func noteNames(ctx context.Context, t *tx, id int64, d customhouse.Digest, n Names) error {
	noted, err := t.changed(ctx, "update manifest set named = 1 where repo_id = ? and digest = ? and named <> 1", id, d.String())
	if err != nil || noted == 0 {
		return err
	}
	return insertNames(ctx, t, id, d, n)
}

// insertNames makes the rows of what a manifest names, those of a table in one statement: each has its price.
func insertNames(ctx context.Context, t *tx, id int64, d customhouse.Digest, n Names) error {
	for table, names := range map[string][]customhouse.Digest{"manifest_blob (repo_id, digest, blob)": n.Blobs, "manifest_child (repo_id, digest, child)": n.Children} {
		if len(names) == 0 {
			continue
		}
		list := make([]string, len(names))
		for i, name := range names {
			list[i] = name.String()
		}
		text, err := json.Marshal(list)
		if err != nil {
			return err
		}
		err = t.exec(ctx, "insert into "+table+" select ?, ?, value from json_each(?) where true on conflict do nothing", id, d.String(), string(text))
		if err != nil {
			return err
		}
	}
	return nil
}

// forgetManifest removes what is noted about a manifest that is removed.
func forgetManifest(ctx context.Context, t *tx, repo customhouse.Repo, d customhouse.Digest) error {
	for _, table := range [...]string{"manifest_blob", "manifest_child", "brought"} {
		if err := t.exec(ctx, "delete from "+table+" where repo_id = "+idOf+" and digest = ?", repo.String(), d.String()); err != nil {
			return err
		}
	}
	return nil
}

// Unnamed returns up to n manifests of the repository of which it is not noted what they name, such as those of an
// earlier release.
func (db *DB) Unnamed(ctx context.Context, repo customhouse.Repo, n int) ([]customhouse.Descriptor, error) {
	return db.unnamed.get(repo.String(), "", func() (found []customhouse.Descriptor, err error) {
		err = db.rows(ctx, func(r *sql.Rows) error {
			var digest string
			var d customhouse.Descriptor
			if err := r.Scan(&digest, &d.Size); err != nil {
				return err
			}
			d.Digest, err = customhouse.ParseDigest(digest)
			found = append(found, d)
			return err
		}, "select digest, size from manifest where named = 0 and repo_id = "+idOf+" order by digest limit ?", repo.String(), n)
		return found, err
	})
}

// NoteNames notes what the manifest d of the repository names; nil says that it cannot be read.
func (db *DB) NoteNames(ctx context.Context, repo customhouse.Repo, d customhouse.Digest, n *Names) error {
	return db.change(ctx, repo, func(t *tx) error {
		id, err := repoID(ctx, t, repo)
		if err != nil {
			return err
		}
		if n == nil {
			return t.exec(ctx, "update manifest set named = 2 where repo_id = ? and digest = ? and named = 0", id, d.String())
		}
		return noteNames(ctx, t, id, d, *n)
	})
}

// repoID returns the row id of a repository. customhouse.ErrNotFound.
func repoID(ctx context.Context, a asker, repo customhouse.Repo) (id int64, err error) {
	err = a.row(ctx, "select id from repo where name = ?", repo.String()).scan(&id)
	return id, err
}

// Brought tells whether the account is known to have brought the content d to the repository.
func (db *DB) Brought(ctx context.Context, repo customhouse.Repo, d customhouse.Digest, account string) (bool, error) {
	var n int
	err := db.row(ctx, "select count(*) from brought where repo_id = "+idOf+" and digest = ? and account = ?",
		repo.String(), d.String(), account).scan(&n)
	return n > 0, err
}

// Bring notes that the account has brought the content d to the repository.
func (db *DB) Bring(ctx context.Context, repo customhouse.Repo, d customhouse.Digest, account string) error {
	return db.writer.write(ctx, false, func(t *tx) error {
		return t.exec(ctx, "insert into brought (repo_id, digest, account) select id, ?, ? from repo where name = ? on conflict do nothing",
			d.String(), account, repo.String())
	})
}
