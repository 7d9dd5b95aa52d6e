package index

import (
	"context"
	"time"

	"customhouse"
)

// ConfirmTag takes note that the tag points upstream to what it does here. A loss of power may take the note back.
func (db *DB) ConfirmTag(ctx context.Context, repo customhouse.Repo, tag customhouse.Tag) error {
	return db.writer.write(ctx, false, func(t *tx) error {
		return t.exec(ctx, "insert into tag_confirmed (repo_id, name, at) select id, ?, ? from repo where name = ?"+
			" on conflict (repo_id, name) do update set at = excluded.at", tag.String(), db.now().Unix(), repo.String())
	})
}

// TagConfirmed returns when the upstream has last confirmed the tag. customhouse.ErrNotFound.
func (db *DB) TagConfirmed(ctx context.Context, repo customhouse.Repo, tag customhouse.Tag) (time.Time, error) {
	var at int64
	err := db.row(ctx, "select at from tag_confirmed where repo_id = "+idOf+" and name = ?", repo.String(), tag.String()).scan(&at)
	return time.Unix(at, 0), err
}
