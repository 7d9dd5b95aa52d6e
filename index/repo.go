package index

import (
	"context"
	"database/sql"

	"customhouse"
)

// idOf is the subquery for the row id of the repository named by one argument.
const idOf = "(select id from repo where name = ?)"

// change runs a write that may change what readers of the repository see.
func (db *DB) change(ctx context.Context, repo customhouse.Repo, do func(*tx) error) error {
	defer db.manifests.changes.begin(repo.String())()
	return db.writer.write(ctx, true, do)
}

// makeRepo makes the repository's row where there is none.
func (db *DB) makeRepo(ctx context.Context, t *tx, repo customhouse.Repo) error {
	return t.exec(ctx, "insert into repo (name, created) values (?, ?) on conflict (name) do nothing", repo.String(), db.now().Unix())
}

// Repos returns, in byte order, the names of up to n repositories after the given one that have a manifest.
func (db *DB) Repos(ctx context.Context, after string, n int) ([]string, error) {
	return db.names(ctx, n, `select name from repo where name > ?
		and exists (select 1 from manifest where repo_id = repo.id) order by name limit ?`, after, n)
}

// Tags returns, in byte order, up to n tags of the repository after the given one.
// customhouse.ErrNotFound: there is no such repository.
func (db *DB) Tags(ctx context.Context, repo customhouse.Repo, after string, n int) ([]string, error) {
	var id int64
	if err := db.row(ctx, "select id from repo where name = ?", repo.String()).scan(&id); err != nil {
		return nil, err
	}
	return db.names(ctx, n, "select name from tag where repo_id = ? and name > ? order by name limit ?", id, after, n)
}

// Holders returns up to n repositories in which the blob d is visible.
func (db *DB) Holders(ctx context.Context, d customhouse.Digest, n int) ([]string, error) {
	return db.names(ctx, n, `select repo.name from repo_blob join repo on repo.id = repo_blob.repo_id
		where repo_blob.digest = ? order by repo.name limit ?`, d.String(), n)
}

func (db *DB) names(ctx context.Context, n int, query string, args ...any) ([]string, error) {
	names := make([]string, 0, min(n, 1000))
	err := db.rows(ctx, func(r *sql.Rows) error {
		var name string
		err := r.Scan(&name)
		names = append(names, name)
		return err
	}, query, args...)
	return names, err
}
