package index

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"customhouse"
)

// Account returns the account. customhouse.ErrNotFound.
func (db *DB) Account(ctx context.Context, name string) (customhouse.Account, error) {
	return scanAccount(db.row(ctx, "select name, password, labels, created from account where name = ?", name).scan)
}

// Accounts returns all accounts in the order of their names.
func (db *DB) Accounts(ctx context.Context) ([]customhouse.Account, error) {
	var all []customhouse.Account
	err := db.rows(ctx, func(r *sql.Rows) error {
		a, err := scanAccount(r.Scan)
		all = append(all, a)
		return err
	}, "select name, password, labels, created from account order by name")
	return all, err
}

func scanAccount(scan func(...any) error) (customhouse.Account, error) {
	var a customhouse.Account
	var password, labels string
	var created int64
	if err := scan(&a.Name, &password, &labels, &created); err != nil {
		return a, err
	}
	a.Password, a.Created = customhouse.Secret(password), time.Unix(created, 0)
	return a, json.Unmarshal([]byte(labels), &a.Labels)
}

// PutAccount adds the account or replaces its password and labels.
func (db *DB) PutAccount(ctx context.Context, a customhouse.Account) error {
	labels, err := json.Marshal(a.Labels)
	if err != nil {
		return err
	}
	return db.writer.write(ctx, true, func(t *tx) error {
		did := "changed"
		switch err := t.row(ctx, "select 1 from account where name = ?", a.Name).scan(new(int)); {
		case errors.Is(err, customhouse.ErrNotFound):
			did = "made"
		case err != nil:
			return err
		}
		if err := t.exec(ctx, `insert into account (name, password, labels, created) values (?, ?, ?, ?)
			on conflict (name) do update set password = excluded.password, labels = excluded.labels`,
			a.Name, string(a.Password), string(labels), db.now().Unix()); err != nil {
			return err
		}
		return db.noteAccount(ctx, t, a.Name, "account %s %s, with labels %s", a.Name, did, labels)
	})
}

// DeleteAccount removes the account, its refresh tokens and its personal access tokens, and disables its robots, so that
// nothing of it is good for another account of the same name. customhouse.ErrNotFound.
func (db *DB) DeleteAccount(ctx context.Context, name string) error {
	return db.writer.write(ctx, true, func(t *tx) error {
		n, err := t.changed(ctx, "delete from account where name = ?", name)
		if err != nil {
			return err
		}
		if n == 0 {
			return customhouse.ErrNotFound
		}
		for _, end := range []string{
			"delete from refresh_token where account = ? and method = 'accounts'",
			"delete from machine_credential where kind = 'personal' and account = ? and method = 'accounts'",
			"update robot set disabled = 1, owner = '', owner_method = '' where owner = ? and owner_method = 'accounts'",
		} {
			if err := t.exec(ctx, end, name); err != nil {
				return err
			}
		}
		return db.noteAccount(ctx, t, name, "account %s removed", name)
	})
}
