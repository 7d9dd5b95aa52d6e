package index

import (
	"context"
	"database/sql"
	"strconv"
	"strings"

	"customhouse"
)

// idOf is the subquery for the row id of the repository named by one argument.
const idOf = "(select id from repo where name = ?)"

// change runs a write that may change what readers of the repository see.
func (db *DB) change(ctx context.Context, repo customhouse.Repo, do func(*tx) error) error {
	defer db.manifests.changes.begin(repo.String())()
	return db.writer.write(ctx, true, do)
}

// makeRepo makes the repository's row where there is none. The catalog does not show it before it is listed.
func (db *DB) makeRepo(ctx context.Context, t *tx, repo customhouse.Repo) error {
	return t.exec(ctx, "insert into repo (name, listed, created) values (?, 0, ?) on conflict (name) do nothing", repo.String(), db.now().Unix())
}

// listRepo makes the repository's row say that it holds a manifest, or that it holds none.
func listRepo(ctx context.Context, t *tx, repo customhouse.Repo, listed bool) error {
	if listed {
		return t.exec(ctx, "update repo set listed = 1 where name = ? and listed = 0", repo.String())
	}
	return t.exec(ctx, "update repo set listed = 0 where name = ? and not exists (select 1 from manifest where repo_id = repo.id)", repo.String())
}

// Repos returns, in byte order, the names of up to n repositories that hold a manifest, from first on.
func (db *DB) Repos(ctx context.Context, first string, n int) ([]string, error) {
	return db.names(ctx, "select name from repo where listed = 1 and name >= ? order by name limit ?", first, n)
}

// Tags returns, in byte order, up to n tags of the repository after the given one; the caller does not change the slice.
// customhouse.ErrNotFound: there is no such repository.
func (db *DB) Tags(ctx context.Context, repo customhouse.Repo, after string, n int) ([]string, error) {
	if len(after) > customhouse.MaxTagLength { // no tag is longer, so what is behind it does not matter
		after = after[:customhouse.MaxTagLength+1]
	}
	return db.tags.get(repo.String(), strconv.Itoa(n)+" "+after, func() ([]string, error) {
		var id int64
		if err := db.row(ctx, "select id from repo where name = ?", repo.String()).scan(&id); err != nil {
			return nil, err
		}
		return db.names(ctx, "select name from tag where repo_id = ? and name > ? order by name limit ?", id, after, n)
	})
}

// Holders returns up to n repositories in which the blob d is visible.
func (db *DB) Holders(ctx context.Context, d customhouse.Digest, n int) ([]string, error) {
	return db.names(ctx, `select repo.name as name from repo_blob join repo on repo.id = repo_blob.repo_id
		where repo_blob.digest = ? order by repo.name limit ?`, d.String(), n)
}

// names returns what query selects as name, none of which has a space. The database joins them into one value: handing
// over a row costs more than finding it.
func (db *DB) names(ctx context.Context, query string, args ...any) ([]string, error) {
	var joined sql.NullString
	err := db.row(ctx, "select string_agg(name, ' ') from ("+query+")", args...).scan(&joined)
	if err != nil || joined.String == "" {
		return []string{}, err
	}
	return strings.Split(joined.String, " "), nil
}

// weighNames is about how many bytes names takes.
func weighNames(names []string) int {
	bytes := 16 * len(names)
	for _, name := range names {
		bytes += len(name)
	}
	return bytes
}
