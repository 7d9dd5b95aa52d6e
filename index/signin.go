package index

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"customhouse"
)

const signInColumns = "id, provider, issuer, subject, account, labels, tokens, checked, due, ended, created"

// SignIn returns who has signed in at a provider under an account. customhouse.ErrNotFound.
func (db *DB) SignIn(ctx context.Context, provider, account string) (customhouse.SignIn, error) {
	return scanSignIn(db.row(ctx, "select "+signInColumns+" from sign_in where provider = ? and account = ?", provider, account).scan)
}

// SignInByID returns the sign-in of that id. customhouse.ErrNotFound.
func (db *DB) SignInByID(ctx context.Context, id int64) (customhouse.SignIn, error) {
	return scanSignIn(db.row(ctx, "select "+signInColumns+" from sign_in where id = ?", id).scan)
}

func scanSignIn(scan func(...any) error) (customhouse.SignIn, error) {
	var s customhouse.SignIn
	var labels string
	var checked, due, created int64
	if err := scan(&s.ID, &s.Provider, &s.Issuer, &s.Subject, &s.Account, &labels, &s.Tokens, &checked, &due, &s.Ended, &created); err != nil {
		return s, err
	}
	s.Checked, s.Due, s.Created = fromUnix(checked), fromUnix(due), fromUnix(created)
	return s, json.Unmarshal([]byte(labels), &s.Labels)
}

// PutSignIn keeps that somebody has signed in and returns the record, with its id. Who has signed in before, as the same
// subject, has their account renamed if the provider knows them by another name now. The error is customhouse.ErrTaken
// when the account is another subject's or, if alone, another provider's.
func (db *DB) PutSignIn(ctx context.Context, s customhouse.SignIn, alone bool) (customhouse.SignIn, error) {
	if s.Created.IsZero() {
		s.Created = db.now()
	}
	origin := customhouse.OriginOf(ctx)
	origin.Account = s.Account // who signs in
	ctx = customhouse.WithOrigin(ctx, origin)
	err := db.writer.write(ctx, true, func(t *tx) error {
		s.ID = 0
		var former string
		err := t.row(ctx, "select id, account from sign_in where provider = ? and issuer = ? and subject = ? and subject <> ''",
			s.Provider, s.Issuer, s.Subject).scan(&s.ID, &former)
		if err != nil && !errors.Is(err, customhouse.ErrNotFound) {
			return err
		}
		var owner int64
		var issuer, subject string
		err = t.row(ctx, "select id, issuer, subject from sign_in where provider = ? and account = ?", s.Provider, s.Account).
			scan(&owner, &issuer, &subject)
		switch {
		case errors.Is(err, customhouse.ErrNotFound) || err == nil && owner == s.ID:
		case err != nil:
			return err
		case s.ID == 0 && subject == "" && issuer == s.Issuer:
			s.ID = owner // known by name only until now
		default:
			return customhouse.ErrTaken
		}
		if alone {
			var others int
			if err := t.row(ctx, "select count(*) from sign_in where account = ? and provider <> ?", s.Account, s.Provider).scan(&others); err != nil {
				return err
			}
			if others > 0 {
				return customhouse.ErrTaken
			}
		}
		made := s.ID == 0
		if err := putSignIn(ctx, t, &s); err != nil {
			return err
		}
		switch {
		case made:
			return db.noteAccount(ctx, t, s.Account, "sign-in at %s made", s.Provider)
		case former != "" && former != s.Account:
			return db.noteAccount(ctx, t, s.Account, "sign-in at %s renamed from %s", s.Provider, former)
		}
		return nil
	})
	return s, err
}

// putSignIn updates the record with s.ID, or inserts one when that is 0.
func putSignIn(ctx context.Context, t *tx, s *customhouse.SignIn) error {
	labels, err := json.Marshal(s.Labels)
	if err != nil {
		return err
	}
	if s.ID != 0 {
		// What was had under another name is not for whoever has that name next: tokens end, and robots go along.
		if err := t.exec(ctx, endTokens+" and account <> ?", s.ID, s.Account); err != nil {
			return err
		}
		if err := t.exec(ctx, "update robot set owner = ? where "+ownedBy+" and owner <> ?", s.Account, s.ID, s.Account); err != nil {
			return err
		}
		n, err := t.changed(ctx, `update sign_in set subject = ?, account = ?, labels = ?, tokens = ?, checked = ?, due = ?, ended = ? where id = ?`,
			s.Subject, s.Account, string(labels), notNull(s.Tokens), toUnix(s.Checked), toUnix(s.Due), s.Ended, s.ID)
		if err == nil && n == 0 {
			return customhouse.ErrNotFound
		}
		return err
	}
	return t.row(ctx, `insert into sign_in (provider, issuer, subject, account, labels, tokens, checked, due, ended, created)
		values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) returning id`,
		s.Provider, s.Issuer, s.Subject, s.Account, string(labels), notNull(s.Tokens), toUnix(s.Checked), toUnix(s.Due), s.Ended, toUnix(s.Created)).scan(&s.ID)
}

// endTokens removes the personal access tokens of a sign-in.
const endTokens = `delete from machine_credential where kind = 'personal'
	and (account, method) in (select account, provider from sign_in where id = ?)`

// ownedBy finds the robots of a sign-in.
const ownedBy = "(owner, owner_method) in (select account, provider from sign_in where id = ?)"

// UpdateSignIn keeps what the provider has said of somebody who has signed in before. customhouse.ErrNotFound.
func (db *DB) UpdateSignIn(ctx context.Context, s customhouse.SignIn) error {
	return db.writer.write(ctx, true, func(t *tx) error { return putSignIn(ctx, t, &s) })
}

// DeleteSignIn forgets who has signed in, their app passwords and their personal access tokens, and disables their robots,
// so that the account is free. customhouse.ErrNotFound.
func (db *DB) DeleteSignIn(ctx context.Context, id int64) error {
	return db.writer.write(ctx, true, func(t *tx) error {
		var account, provider string
		if err := t.row(ctx, "select account, provider from sign_in where id = ?", id).scan(&account, &provider); err != nil {
			return err
		}
		if err := t.exec(ctx, endTokens, id); err != nil {
			return err
		}
		if err := t.exec(ctx, "update robot set disabled = 1, owner = '', owner_method = '' where "+ownedBy, id); err != nil {
			return err
		}
		if err := t.exec(ctx, "delete from app_password where sign_in_id = ?", id); err != nil {
			return err
		}
		if err := t.exec(ctx, "delete from sign_in where id = ?", id); err != nil {
			return err
		}
		return db.noteAccount(ctx, t, account, "sign-in at %s removed", provider)
	})
}

// SignIns returns everybody who has signed in, in the order of accounts and providers.
func (db *DB) SignIns(ctx context.Context) ([]customhouse.SignIn, error) {
	var all []customhouse.SignIn
	err := db.rows(ctx, func(r *sql.Rows) error {
		s, err := scanSignIn(r.Scan)
		all = append(all, s)
		return err
	}, "select "+signInColumns+" from sign_in order by account, provider")
	return all, err
}

// ImportSignIns takes over, once, what another program has kept in source. Accounts that have signed in at the same
// provider here are left alone, as are all when source has been imported before. It returns how many were taken.
func (db *DB) ImportSignIns(ctx context.Context, source string, all []customhouse.ImportedSignIn) (taken int, err error) {
	err = db.writer.write(ctx, true, func(t *tx) error {
		taken = 0
		n, err := t.changed(ctx, "insert into imported (source, at) values (?, ?) on conflict (source) do nothing", source, db.now().Unix())
		if err != nil || n == 0 {
			return err
		}
		for _, i := range all {
			var have int
			if err := t.row(ctx, "select count(*) from sign_in where account = ?", i.Account).scan(&have); err != nil {
				return err
			}
			if have > 0 {
				continue
			}
			s := i.SignIn
			s.ID = 0
			if s.Created.IsZero() {
				s.Created = db.now()
			}
			if err := putSignIn(ctx, t, &s); err != nil {
				return err
			}
			p := i.Password
			p.SignIn = s.ID
			if err := putAppPassword(ctx, t, p); err != nil {
				return err
			}
			taken++
		}
		return nil
	})
	return taken, err
}

// Imported tells whether source has been imported.
func (db *DB) Imported(ctx context.Context, source string) (bool, error) {
	var n int
	err := db.row(ctx, "select count(*) from imported where source = ?", source).scan(&n)
	return n > 0, err
}

// fromUnix and toUnix keep the zero time as 0.
func fromUnix(s int64) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(s, 0)
}

func toUnix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// notNull keeps no bytes as an empty value.
func notNull(b []byte) []byte { return append([]byte{}, b...) }
