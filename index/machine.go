package index

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"customhouse"
)

const machineColumns = "id, kind, account, method, labels, name, hash, scopes, networks, created, expires, used, revoked"

// MachineCredentials returns the credentials of an account that are not revoked, be they expired or not, the newest first:
// those of a kind, whatever source vouches for the account.
func (db *DB) MachineCredentials(ctx context.Context, kind, account string) ([]customhouse.MachineCredential, error) {
	return db.machineCredentials(ctx, "where kind = ? and account = ? and revoked = 0 order by created desc, id", kind, account)
}

// LastRobotSecret returns the newest secret that a robot has had, be it good, expired or revoked: it is on record as long as
// there is none after it. customhouse.ErrNotFound.
func (db *DB) LastRobotSecret(ctx context.Context, robot string) (customhouse.MachineCredential, error) {
	return scanMachineCredential(db.row(ctx, "select "+machineColumns+` from machine_credential where kind = 'robot' and account = ?
		order by created desc, revoked = 0 desc, id limit 1`, robot).scan)
}

// AllMachineCredentials returns the credentials of a kind that are not revoked, by account, the newest first.
func (db *DB) AllMachineCredentials(ctx context.Context, kind string) ([]customhouse.MachineCredential, error) {
	return db.machineCredentials(ctx, "where kind = ? and revoked = 0 order by account, created desc, id", kind)
}

func (db *DB) machineCredentials(ctx context.Context, where string, args ...any) ([]customhouse.MachineCredential, error) {
	var all []customhouse.MachineCredential
	err := db.rows(ctx, func(r *sql.Rows) error {
		c, err := scanMachineCredential(r.Scan)
		all = append(all, c)
		return err
	}, "select "+machineColumns+" from machine_credential "+where, args...)
	return all, err
}

func scanMachineCredential(scan func(...any) error) (customhouse.MachineCredential, error) {
	var c customhouse.MachineCredential
	var labels, scopes, networks string
	var hash []byte
	var created, expires, used, revoked int64
	if err := scan(&c.ID, &c.Kind, &c.Owner.Account, &c.Owner.Method, &labels, &c.Name, &hash, &scopes, &networks,
		&created, &expires, &used, &revoked); err != nil {
		return c, err
	}
	copy(c.Hash[:], hash)
	c.Created, c.Expires, c.Used, c.Revoked = fromUnix(created), fromUnix(expires), fromUnix(used), fromUnix(revoked)
	if err := json.Unmarshal([]byte(labels), &c.Labels); err != nil {
		return c, err
	}
	if err := json.Unmarshal([]byte(scopes), &c.Scopes); err != nil {
		return c, err
	}
	return c, json.Unmarshal([]byte(networks), &c.Networks)
}

// PutMachineCredential keeps a new credential unless its owner has most already, which is a DENIED.
func (db *DB) PutMachineCredential(ctx context.Context, c customhouse.MachineCredential, most int) error {
	return db.writer.write(ctx, true, func(t *tx) error {
		var n int
		if err := t.row(ctx, `select count(*) from machine_credential where kind = ? and account = ? and method = ? and revoked = 0
			and (expires = 0 or expires > ?)`, c.Kind, c.Owner.Account, c.Owner.Method, db.now().Unix()).scan(&n); err != nil {
			return err
		}
		if n >= most {
			return customhouse.Errorf(customhouse.Denied, "there are %d tokens already; revoke one first", n)
		}
		if err := putMachineCredential(ctx, t, c); err != nil {
			return err
		}
		return db.noteAccount(ctx, t, c.Owner.Account, "personal access token %s made", describe(c))
	})
}

// describe tells what a credential is for, for the audit log.
func describe(c customhouse.MachineCredential) string {
	text := fmt.Sprintf("%s (%q)", c.ID, c.Name)
	if !c.Expires.IsZero() {
		text += " until " + c.Expires.UTC().Format(time.RFC3339)
	}
	for i, s := range c.Scopes {
		text += []string{" for ", ", "}[min(i, 1)] + s.String()
	}
	for i, n := range c.Networks {
		text += []string{" from ", ", "}[min(i, 1)] + n.String()
	}
	return text
}

// putMachineCredential keeps c, and forgets what of the same account has been dead for long.
func putMachineCredential(ctx context.Context, t *tx, c customhouse.MachineCredential) error {
	labels, err := json.Marshal(c.Labels)
	if err != nil {
		return err
	}
	scopes, err := json.Marshal(c.Scopes)
	if err != nil {
		return err
	}
	networks, err := json.Marshal(c.Networks)
	if err != nil {
		return err
	}
	dead := c.Created.Add(-keepDead).Unix()
	if err := t.exec(ctx, `delete from machine_credential where kind = ? and account = ?
		and (revoked > 0 and revoked < ? or expires > 0 and expires < ?)`, c.Kind, c.Owner.Account, dead, dead); err != nil {
		return err
	}
	return t.exec(ctx, "insert into machine_credential ("+machineColumns+") values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		c.ID, c.Kind, c.Owner.Account, c.Owner.Method, string(labels), c.Name, c.Hash[:], string(scopes), string(networks),
		toUnix(c.Created), toUnix(c.Expires), toUnix(c.Used), toUnix(c.Revoked))
}

// RevokeMachineCredential makes a credential of an owner good for nothing. customhouse.ErrNotFound when they have no such
// one.
func (db *DB) RevokeMachineCredential(ctx context.Context, kind string, owner customhouse.Owner, id string) error {
	return db.writer.write(ctx, true, func(t *tx) error {
		err := found(t.changed(ctx, "update machine_credential set revoked = ? where kind = ? and account = ? and method = ? and id = ? and revoked = 0",
			db.now().Unix(), kind, owner.Account, owner.Method, id))
		if err != nil {
			return err
		}
		return db.noteAccount(ctx, t, owner.Account, "credential %s revoked", id)
	})
}

// UseMachineCredentials notes when credentials were used, by id. A loss of power may take it back.
func (db *DB) UseMachineCredentials(ctx context.Context, at map[string]time.Time) error {
	return db.writer.write(ctx, false, func(t *tx) error {
		for _, id := range slices.Sorted(maps.Keys(at)) {
			used := at[id].Unix()
			if err := t.exec(ctx, "update machine_credential set used = ? where id = ? and used < ?", used, id, used); err != nil {
				return err
			}
		}
		return nil
	})
}
