package index

import (
	"context"
	"database/sql"
	"time"

	"customhouse"
)

const appPasswordColumns = "id, sign_in_id, name, hash, created, expires, used, revoked"

// AppPasswords returns the app passwords of a sign-in that are not revoked, be they expired or not, the newest first.
func (db *DB) AppPasswords(ctx context.Context, signIn int64) ([]customhouse.AppPassword, error) {
	var all []customhouse.AppPassword
	err := db.rows(ctx, func(r *sql.Rows) error {
		var p customhouse.AppPassword
		var hash string
		var created, expires, used, revoked int64
		if err := r.Scan(&p.ID, &p.SignIn, &p.Name, &hash, &created, &expires, &used, &revoked); err != nil {
			return err
		}
		p.Hash = customhouse.Secret(hash)
		p.Created, p.Expires, p.Used, p.Revoked = fromUnix(created), fromUnix(expires), fromUnix(used), fromUnix(revoked)
		all = append(all, p)
		return nil
	}, "select "+appPasswordColumns+" from app_password where sign_in_id = ? and revoked = 0 order by created desc, id", signIn)
	return all, err
}

// keepDead is how long app passwords that are revoked or expired stay on record.
const keepDead = 90 * 24 * time.Hour

// PutAppPassword keeps a new app password unless its sign-in has most already, which is a DENIED.
func (db *DB) PutAppPassword(ctx context.Context, p customhouse.AppPassword, most int) error {
	return db.writer.write(ctx, true, func(t *tx) error {
		dead := db.now().Add(-keepDead).Unix()
		if err := t.exec(ctx, `delete from app_password where sign_in_id = ? and (revoked > 0 and revoked < ? or expires > 0 and expires < ?)`,
			p.SignIn, dead, dead); err != nil {
			return err
		}
		var n int
		if err := t.row(ctx, "select count(*) from app_password where sign_in_id = ? and revoked = 0", p.SignIn).scan(&n); err != nil {
			return err
		}
		if n >= most {
			return customhouse.Errorf(customhouse.Denied, "there are %d passwords already; revoke one first", n)
		}
		if err := putAppPassword(ctx, t, p); err != nil {
			return err
		}
		until := "for ever"
		if !p.Expires.IsZero() {
			until = "until " + p.Expires.UTC().Format(time.RFC3339)
		}
		return db.noteAppPassword(ctx, t, p.SignIn, p.ID, "made, good "+until)
	})
}

func putAppPassword(ctx context.Context, t *tx, p customhouse.AppPassword) error {
	return t.exec(ctx, "insert into app_password ("+appPasswordColumns+") values (?, ?, ?, ?, ?, ?, ?, ?)",
		p.ID, p.SignIn, p.Name, string(p.Hash), toUnix(p.Created), toUnix(p.Expires), toUnix(p.Used), toUnix(p.Revoked))
}

// RevokeAppPassword makes a password of a sign-in good for nothing. customhouse.ErrNotFound when it has no such one.
func (db *DB) RevokeAppPassword(ctx context.Context, signIn int64, id string) error {
	return db.writer.write(ctx, true, func(t *tx) error {
		n, err := t.changed(ctx, "update app_password set revoked = ? where sign_in_id = ? and id = ? and revoked = 0", db.now().Unix(), signIn, id)
		if err == nil && n == 0 {
			return customhouse.ErrNotFound
		}
		if err != nil {
			return err
		}
		return db.noteAppPassword(ctx, t, signIn, id, "revoked")
	})
}

// noteAppPassword keeps that something was done to an app password.
func (db *DB) noteAppPassword(ctx context.Context, t *tx, signIn int64, id, did string) error {
	var account string
	if err := t.row(ctx, "select account from sign_in where id = ?", signIn).scan(&account); err != nil {
		return err
	}
	return db.noteAccount(ctx, t, account, "app password %s %s", id, did)
}

// UseAppPassword notes when a password was used. A loss of power may take it back.
func (db *DB) UseAppPassword(ctx context.Context, id string, at time.Time) error {
	return db.writer.write(ctx, false, func(t *tx) error {
		return t.exec(ctx, "update app_password set used = ? where id = ? and used < ?", at.Unix(), id, at.Unix())
	})
}
