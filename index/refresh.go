package index

import (
	"context"
	"encoding/json"
	"time"

	"customhouse"
)

const refreshColumns = "service, client_id, account, method, stamp, labels, expires, family, posted, rotated"

// PutRefresh remembers a refresh token, and forgets those that have expired.
func (db *DB) PutRefresh(ctx context.Context, r customhouse.RefreshToken) error {
	return db.writer.write(ctx, true, func(t *tx) error { return db.putRefresh(ctx, t, r) })
}

func (db *DB) putRefresh(ctx context.Context, t *tx, r customhouse.RefreshToken) error {
	labels, err := json.Marshal(r.Identity.Labels)
	if err != nil {
		return err
	}
	if err := t.exec(ctx, "delete from refresh_token where expires < ?", db.now().Unix()); err != nil {
		return err
	}
	return t.exec(ctx, "insert into refresh_token (hash, "+refreshColumns+") values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		r.Hash[:], r.Service, r.ClientID, r.Identity.Account, r.Identity.Method, r.Identity.Stamp, string(labels), r.Expires.Unix(),
		r.Family, r.Posted, toUnix(r.Rotated))
}

// Refresh returns the refresh token whose secret has this SHA-256, be it expired, replaced or not. customhouse.ErrNotFound.
func (db *DB) Refresh(ctx context.Context, hash [32]byte) (customhouse.RefreshToken, error) {
	r := customhouse.RefreshToken{Hash: hash}
	var labels string
	var expires, rotated int64
	err := db.row(ctx, "select "+refreshColumns+" from refresh_token where hash = ?", hash[:]).
		scan(&r.Service, &r.ClientID, &r.Identity.Account, &r.Identity.Method, &r.Identity.Stamp, &labels, &expires, &r.Family, &r.Posted, &rotated)
	if err != nil {
		return customhouse.RefreshToken{}, err
	}
	r.Expires, r.Rotated = time.Unix(expires, 0), fromUnix(rotated)
	return r, json.Unmarshal([]byte(labels), &r.Identity.Labels)
}

// RotateRefresh keeps next, which takes the place of the token with that hash from at on, unless it was replaced before.
// customhouse.ErrNotFound.
func (db *DB) RotateRefresh(ctx context.Context, hash [32]byte, next customhouse.RefreshToken, at time.Time) error {
	return db.writer.write(ctx, true, func(t *tx) error {
		err := found(t.changed(ctx, "update refresh_token set rotated = case rotated when 0 then ? else rotated end where hash = ?", toUnix(at), hash[:]))
		if err != nil {
			return err
		}
		return db.putRefresh(ctx, t, next)
	})
}

// DeleteRefreshes forgets the refresh tokens of a family; it is no error when there are none.
func (db *DB) DeleteRefreshes(ctx context.Context, family string) error {
	return db.writer.write(ctx, true, func(t *tx) error {
		return t.exec(ctx, "delete from refresh_token where family = ?", family)
	})
}
