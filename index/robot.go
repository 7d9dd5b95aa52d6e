package index

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"customhouse"
)

const robotColumns = "name, labels, owner, owner_method, disabled, created"

// Robot returns the robot of that name. customhouse.ErrNotFound.
func (db *DB) Robot(ctx context.Context, name string) (customhouse.Robot, error) {
	return scanRobot(db.row(ctx, "select "+robotColumns+" from robot where name = ?", name).scan)
}

// Robots returns all robots in the order of their names.
func (db *DB) Robots(ctx context.Context) ([]customhouse.Robot, error) {
	var all []customhouse.Robot
	err := db.rows(ctx, func(r *sql.Rows) error {
		robot, err := scanRobot(r.Scan)
		all = append(all, robot)
		return err
	}, "select "+robotColumns+" from robot order by name")
	return all, err
}

func scanRobot(scan func(...any) error) (customhouse.Robot, error) {
	var r customhouse.Robot
	var labels string
	var created int64
	if err := scan(&r.Name, &labels, &r.Owner.Account, &r.Owner.Method, &r.Disabled, &created); err != nil {
		return r, err
	}
	r.Created = fromUnix(created)
	return r, json.Unmarshal([]byte(labels), &r.Labels)
}

// AddRobot keeps a new robot and its first secret. The error is customhouse.ErrTaken when the name is that of an account
// or of a robot, or of somebody who has signed in.
func (db *DB) AddRobot(ctx context.Context, r customhouse.Robot, secret customhouse.MachineCredential) error {
	labels, err := json.Marshal(r.Labels)
	if err != nil {
		return err
	}
	return db.writer.write(ctx, true, func(t *tx) error {
		var taken int
		if err := t.row(ctx, `select (select count(*) from account where name = ?1) + (select count(*) from robot where name = ?1) +
			(select count(*) from sign_in where account = ?1)`, r.Name).scan(&taken); err != nil {
			return err
		}
		if taken > 0 {
			return customhouse.ErrTaken
		}
		if err := t.exec(ctx, "insert into robot ("+robotColumns+") values (?, ?, ?, ?, ?, ?)",
			r.Name, string(labels), r.Owner.Account, r.Owner.Method, r.Disabled, toUnix(r.Created)); err != nil {
			return err
		}
		if err := putMachineCredential(ctx, t, secret); err != nil {
			return err
		}
		return db.noteAccount(ctx, t, r.Name, "robot %s made, with labels %s and secret %s", r.Name, labels, describe(secret))
	})
}

// DisableRobot makes a robot good for nothing until it is enabled again. customhouse.ErrNotFound.
func (db *DB) DisableRobot(ctx context.Context, name string, disabled bool) error {
	return db.writer.write(ctx, true, func(t *tx) error {
		if err := found(t.changed(ctx, "update robot set disabled = ? where name = ?", disabled, name)); err != nil {
			return err
		}
		did := "enabled"
		if disabled {
			did = "disabled"
		}
		return db.noteAccount(ctx, t, name, "robot %s %s", name, did)
	})
}

// RemoveRobot removes a robot with its secrets and refresh tokens. customhouse.ErrNotFound.
func (db *DB) RemoveRobot(ctx context.Context, name string) error {
	return db.writer.write(ctx, true, func(t *tx) error {
		if err := found(t.changed(ctx, "delete from robot where name = ?", name)); err != nil {
			return err
		}
		if err := t.exec(ctx, "delete from machine_credential where kind = 'robot' and account = ?", name); err != nil {
			return err
		}
		if err := t.exec(ctx, "delete from refresh_token where account = ? and method = 'robots'", name); err != nil {
			return err
		}
		return db.noteAccount(ctx, t, name, "robot %s removed", name)
	})
}

// liveSecrets is how many secrets of a robot may be good at the same time.
const liveSecrets = 2

// RotateRobot keeps another secret of a robot; those that it has end at the end of the grace at the latest. The error is
// customhouse.ErrNotFound when there is no such robot and a DENIED when two secrets are good already after that.
func (db *DB) RotateRobot(ctx context.Context, secret customhouse.MachineCredential, graceEnds time.Time) error {
	name, now := secret.Owner.Account, db.now().Unix()
	return db.writer.write(ctx, true, func(t *tx) error {
		var one int
		if err := t.row(ctx, "select 1 from robot where name = ?", name).scan(&one); err != nil {
			return err
		}
		if err := t.exec(ctx, `update machine_credential set expires = ?1 where kind = 'robot' and account = ?2 and revoked = 0
			and (expires = 0 or expires > ?1)`, toUnix(graceEnds), name); err != nil {
			return err
		}
		var live int
		if err := t.row(ctx, `select count(*) from machine_credential where kind = 'robot' and account = ? and revoked = 0
			and (expires = 0 or expires > ?)`, name, now).scan(&live); err != nil {
			return err
		}
		if live >= liveSecrets {
			return customhouse.Errorf(customhouse.Denied, "the robot has %d secrets already; revoke one first", live)
		}
		if err := putMachineCredential(ctx, t, secret); err != nil {
			return err
		}
		return db.noteAccount(ctx, t, name, "secret %s of robot %s made; those before end at %s", describe(secret), name, graceEnds.UTC().Format(time.RFC3339))
	})
}

// found is customhouse.ErrNotFound when nothing was changed.
func found(changed int64, err error) error {
	if err == nil && changed == 0 {
		return customhouse.ErrNotFound
	}
	return err
}
