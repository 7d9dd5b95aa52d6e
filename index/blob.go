package index

import (
	"context"

	"customhouse"
)

// Blob returns the size in bytes of a blob that is visible in the repository. customhouse.ErrNotFound.
func (db *DB) Blob(ctx context.Context, repo customhouse.Repo, d customhouse.Digest) (int64, error) {
	return db.blobs.get(repo.String(), d.String(), func() (size int64, err error) {
		err = db.row(ctx, "select size from repo_blob where repo_id = "+idOf+" and digest = ?", repo.String(), d.String()).scan(&size)
		return size, err
	})
}

// AddBlob makes a blob visible in the repository and ends the upload that brought it, "" for none.
func (db *DB) AddBlob(ctx context.Context, repo customhouse.Repo, d customhouse.Digest, size int64, upload string) error {
	return db.change(ctx, repo, func(t *tx) error {
		if upload != "" {
			if err := t.exec(ctx, "delete from upload where id = ?", upload); err != nil {
				return err
			}
		}
		if err := db.addBlob(ctx, t, repo, d, size); err != nil {
			return err
		}
		return db.record(ctx, t, blobEvent(customhouse.EventPush, repo, d, size))
	})
}

func blobEvent(action string, repo customhouse.Repo, d customhouse.Digest, size int64) customhouse.Event {
	return customhouse.Event{
		Action: action, Repo: repo.String(), Digest: d.String(), MediaType: customhouse.MediaTypeOctetStream, Size: size,
	}
}

func (db *DB) addBlob(ctx context.Context, t *tx, repo customhouse.Repo, d customhouse.Digest, size int64) error {
	if err := db.makeRepo(ctx, t, repo); err != nil {
		return err
	}
	return t.exec(ctx, "insert into repo_blob (repo_id, digest, size) values ("+idOf+", ?, ?) on conflict (repo_id, digest) do update set size = excluded.size",
		repo.String(), d.String(), size)
}

// MountBlob makes a blob that is visible in one repository visible in another.
// customhouse.ErrNotFound: it is not visible in from.
func (db *DB) MountBlob(ctx context.Context, from, to customhouse.Repo, d customhouse.Digest) error {
	return db.change(ctx, to, func(t *tx) error {
		var size int64
		err := t.row(ctx, "select size from repo_blob where repo_id = "+idOf+" and digest = ?", from.String(), d.String()).scan(&size)
		if err != nil {
			return err
		}
		if err := db.addBlob(ctx, t, to, d, size); err != nil {
			return err
		}
		e := blobEvent(customhouse.EventMount, to, d, size)
		e.From = from.String()
		return db.record(ctx, t, e)
	})
}

// DeleteBlob ends a blob's visibility in the repository, if it may. customhouse.ErrNotFound.
func (db *DB) DeleteBlob(ctx context.Context, repo customhouse.Repo, d customhouse.Digest, may May) error {
	return db.change(ctx, repo, func(t *tx) error {
		if err := may.asks(func() ([]Change, error) { return blobRemoval(ctx, t, repo, d) }); err != nil {
			return err
		}
		if err := t.exec(ctx, "delete from brought where repo_id = "+idOf+" and digest = ?", repo.String(), d.String()); err != nil {
			return err
		}
		n, err := t.changed(ctx, "delete from repo_blob where repo_id = "+idOf+" and digest = ?", repo.String(), d.String())
		if err == nil && n == 0 {
			return customhouse.ErrNotFound
		}
		if err != nil {
			return err
		}
		return db.record(ctx, t, customhouse.Event{Action: customhouse.EventDelete, Repo: repo.String(), Digest: d.String()})
	})
}
