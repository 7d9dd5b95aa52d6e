package index

import (
	"context"
	"encoding/json"
	"time"

	"customhouse"
)

// PutRefresh remembers a refresh token, and forgets those that have expired.
func (db *DB) PutRefresh(ctx context.Context, r customhouse.RefreshToken) error {
	labels, err := json.Marshal(r.Identity.Labels)
	if err != nil {
		return err
	}
	return db.writer.write(ctx, true, func(t *tx) error {
		if err := t.exec(ctx, "delete from refresh_token where expires < ?", db.now().Unix()); err != nil {
			return err
		}
		return t.exec(ctx, `insert into refresh_token (hash, service, client_id, account, method, stamp, labels, expires)
			values (?, ?, ?, ?, ?, ?, ?, ?)`,
			r.Hash[:], r.Service, r.ClientID, r.Identity.Account, r.Identity.Method, r.Identity.Stamp, string(labels), r.Expires.Unix())
	})
}

// Refresh returns the refresh token whose secret has this SHA-256, expired or not. customhouse.ErrNotFound.
func (db *DB) Refresh(ctx context.Context, hash [32]byte) (customhouse.RefreshToken, error) {
	r := customhouse.RefreshToken{Hash: hash}
	var labels string
	var expires int64
	err := db.row(ctx, "select service, client_id, account, method, stamp, labels, expires from refresh_token where hash = ?", hash[:]).
		scan(&r.Service, &r.ClientID, &r.Identity.Account, &r.Identity.Method, &r.Identity.Stamp, &labels, &expires)
	if err != nil {
		return customhouse.RefreshToken{}, err
	}
	r.Expires = time.Unix(expires, 0)
	return r, json.Unmarshal([]byte(labels), &r.Identity.Labels)
}

// DeleteRefresh forgets a refresh token; it is no error when there is none.
func (db *DB) DeleteRefresh(ctx context.Context, hash [32]byte) error {
	return db.writer.write(ctx, true, func(t *tx) error {
		return t.exec(ctx, "delete from refresh_token where hash = ?", hash[:])
	})
}
