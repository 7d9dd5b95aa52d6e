package index

import (
	"context"
	"database/sql"
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

// Replication is how the last run of a replication went.
type Replication struct {
	Name                             string
	Asked, Started, Finished         time.Time // Finished is before Started while it runs
	Copied, Present, Deleted, Failed int64     // tags
	Bytes                            int64
	Error                            string    // the last one, "" for none
	Sent                             time.Time // until when all that was pushed here is there; 0 for a rule that has not been looked at
}

// Replications returns how the last runs went, by name.
func (db *DB) Replications(ctx context.Context) (all []Replication, err error) {
	err = db.rows(ctx, func(r *sql.Rows) error {
		var p Replication
		var asked, started, finished, sent int64
		err := r.Scan(&p.Name, &asked, &started, &finished, &p.Copied, &p.Present, &p.Deleted, &p.Failed, &p.Bytes, &p.Error, &sent)
		p.Sent = time.Unix(sent, 0)
		p.Asked, p.Started, p.Finished = time.UnixMilli(asked), time.UnixMilli(started), time.UnixMilli(finished)
		all = append(all, p)
		return err
	}, "select name, asked, started, finished, copied, present, deleted, failed, bytes, error, sent from replication order by name")
	return all, err
}

// AskReplication takes note that somebody wants a run.
func (db *DB) AskReplication(ctx context.Context, name string) error {
	return db.replication(ctx, name, "asked = ?", db.now().UnixMilli())
}

// BeginReplication takes note that a run begins.
func (db *DB) BeginReplication(ctx context.Context, name string) error {
	return db.replication(ctx, name, "started = ?", db.now().UnixMilli())
}

// EndReplication takes note of how a run went.
func (db *DB) EndReplication(ctx context.Context, p Replication) error {
	return db.replication(ctx, p.Name, "finished = ?, copied = ?, present = ?, deleted = ?, failed = ?, bytes = ?, error = ?",
		db.now().UnixMilli(), p.Copied, p.Present, p.Deleted, p.Failed, p.Bytes, p.Error)
}

// SentReplication takes note that all that was pushed here before a time is there.
func (db *DB) SentReplication(ctx context.Context, name string, before time.Time) error {
	return db.replication(ctx, name, "sent = max(sent, ?)", before.Unix())
}

// PushedSince returns the repositories in which a manifest or a tag was pushed at a time or later.
func (db *DB) PushedSince(ctx context.Context, at time.Time) (repos []customhouse.Repo, err error) {
	err = db.rows(ctx, func(r *sql.Rows) error {
		var name string
		if err := r.Scan(&name); err != nil {
			return err
		}
		repo, err := customhouse.ParseRepo(name)
		repos = append(repos, repo)
		return err
	}, "select name from repo where id in (select repo_id from manifest where created >= ? union select repo_id from tag where updated >= ?)"+
		" order by name", at.Unix(), at.Unix())
	return repos, err
}

func (db *DB) replication(ctx context.Context, name, set string, args ...any) error {
	return db.writer.write(ctx, true, func(t *tx) error {
		err := t.exec(ctx, "insert into replication (name, asked, started, finished, copied, present, deleted, failed, bytes, error)"+
			" values (?, 0, 0, 0, 0, 0, 0, 0, 0, '') on conflict (name) do nothing", name)
		if err != nil {
			return err
		}
		return t.exec(ctx, "update replication set "+set+" where name = ?", append(args, name)...)
	})
}
