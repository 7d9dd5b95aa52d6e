package index

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"customhouse"
)

// Upload is an upload under way: bytes that have no digest yet.
type Upload struct {
	ID        string
	Repo      customhouse.Repo
	Account   string                // who began it; "" is anonymous
	Algorithm customhouse.Algorithm // by which the client is going to name it, as far as it said
	Size      int64                 // bytes that are there
}

// restingUpload is how long an upload has to rest before it makes room for another one of its account.
const restingUpload = time.Hour

// BeginUpload remembers a new upload. Where its account has limit of them already (0 is no limit), the one that has rested
// longest is forgotten, so that pushes which were broken off do not shut their account out; where all of them are at work:
// TOOMANYREQUESTS. A loss of power may forget uploads and their progress, never what has become a blob.
//
// Busy tells of an upload whether a request is at work on it; it may be nil.
func (db *DB) BeginUpload(ctx context.Context, u Upload, limit int, busy func(id string) bool) error {
	return db.writer.write(ctx, false, func(t *tx) error {
		now := db.now()
		if limit > 0 {
			var open int
			if err := t.row(ctx, "select count(*) from upload where account = ?", u.Account).scan(&open); err != nil {
				return err
			}
			if open >= limit {
				ended, err := endResting(ctx, t, u.Account, now.Add(-restingUpload), busy)
				if err != nil {
					return err
				}
				if !ended {
					return customhouse.Errorf(customhouse.TooManyRequests, "too many uploads under way; finish or cancel some of them").
						WithDetail(map[string]int{"uploads": open, "limit": limit})
				}
			}
		}
		return t.exec(ctx, "insert into upload (id, repo, account, algorithm, size, updated) values (?, ?, ?, ?, ?, ?)",
			u.ID, u.Repo.String(), u.Account, string(u.Algorithm), u.Size, now.Unix())
	})
}

// endResting forgets the upload of an account that has rested longest, since before at least, and tells whether there was
// one. A request may be at work for long on an upload that its row says to rest.
func endResting(ctx context.Context, t *tx, account string, before time.Time, busy func(id string) bool) (bool, error) {
	for i := 0; ; i++ {
		var id string
		err := t.row(ctx, "select id from upload where account = ? and updated < ? order by updated, id limit 1 offset ?", account, before.Unix(), i).scan(&id)
		if errors.Is(err, customhouse.ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if busy == nil || !busy(id) {
			return true, t.exec(ctx, "delete from upload where id = ?", id)
		}
	}
}

// Upload returns the upload id. customhouse.ErrNotFound.
func (db *DB) Upload(ctx context.Context, id string) (Upload, error) {
	u := Upload{ID: id}
	var repo, algorithm string
	err := db.row(ctx, "select repo, account, algorithm, size from upload where id = ?", id).scan(&repo, &u.Account, &algorithm, &u.Size)
	if err != nil {
		return Upload{}, err
	}
	u.Algorithm = customhouse.Algorithm(algorithm)
	u.Repo, err = customhouse.ParseRepo(repo)
	return u, err
}

// GrowUpload remembers how many bytes of the upload are there. customhouse.ErrNotFound.
func (db *DB) GrowUpload(ctx context.Context, id string, size int64) error {
	return db.writer.write(ctx, false, func(t *tx) error {
		n, err := t.changed(ctx, "update upload set size = ?, updated = ? where id = ?", size, db.now().Unix(), id)
		if err == nil && n == 0 {
			return customhouse.ErrNotFound
		}
		return err
	})
}

// EndUpload forgets the upload; it is no error when there is none.
func (db *DB) EndUpload(ctx context.Context, id string) error {
	return db.writer.write(ctx, false, func(t *tx) error {
		return t.exec(ctx, "delete from upload where id = ?", id)
	})
}

// StaleUploads returns up to n uploads that have not grown since before.
func (db *DB) StaleUploads(ctx context.Context, before time.Time, n int) ([]string, error) {
	var ids []string
	err := db.rows(ctx, func(r *sql.Rows) error {
		var id string
		err := r.Scan(&id)
		ids = append(ids, id)
		return err
	}, "select id from upload where updated < ? order by updated limit ?", before.Unix(), n)
	return ids, err
}
