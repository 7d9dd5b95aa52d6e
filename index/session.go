package index

import (
	"context"
	"time"
)

// Session returns the data of a browser's session, whose cookie has this hash. customhouse.ErrNotFound when there is none
// or it has expired.
func (db *DB) Session(ctx context.Context, token string) ([]byte, error) {
	var data []byte
	err := db.row(ctx, "select data from web_session where token = ? and expires > ?", token, db.now().Unix()).scan(&data)
	return data, err
}

// PutSession keeps a session, and forgets those that have expired. A loss of power may take it back: then the browser
// signs in again.
func (db *DB) PutSession(ctx context.Context, token string, data []byte, expires time.Time) error {
	return db.writer.write(ctx, false, func(t *tx) error {
		if err := t.exec(ctx, "delete from web_session where expires <= ?", db.now().Unix()); err != nil {
			return err
		}
		return t.exec(ctx, `insert into web_session (token, data, expires) values (?, ?, ?)
			on conflict (token) do update set data = excluded.data, expires = excluded.expires`, token, notNull(data), expires.Unix())
	})
}

// DeleteSession ends a session; it is no error when there is none.
func (db *DB) DeleteSession(ctx context.Context, token string) error {
	return db.writer.write(ctx, true, func(t *tx) error {
		return t.exec(ctx, "delete from web_session where token = ?", token)
	})
}
