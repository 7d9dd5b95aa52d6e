package index

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
)

// The schema, in numbered steps that only go forward: a step that has been released is never changed.
//
//go:embed schema/*.sql
var schema embed.FS

// migrate applies the steps that the database has not seen, each in a transaction with its number. A database that has
// seen more steps than there are was written by a later release and is left alone.
func migrate(ctx context.Context, db *sql.DB) error {
	steps, err := fs.Glob(schema, "schema/*.sql")
	if err != nil {
		return err
	}
	for {
		done, err := step(ctx, db, steps)
		if done || err != nil {
			return err
		}
	}
}

// step applies the next of steps, and tells when there is none left. Its transaction takes the write lock before it
// reads the number, so that two processes that start at the same time do not apply a step twice.
func step(ctx context.Context, db *sql.DB, steps []string) (done bool, err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "create table if not exists schema_version (version integer not null)"); err != nil {
		return false, err
	}
	var version int
	if err := tx.QueryRowContext(ctx, "select coalesce(max(version), 0) from schema_version").Scan(&version); err != nil {
		return false, err
	}
	if version == len(steps) {
		return true, nil
	}
	if version > len(steps) {
		return false, fmt.Errorf("it was written by a later release (schema %d, this release knows %d)", version, len(steps))
	}
	text, err := schema.ReadFile(steps[version])
	if err != nil {
		return false, err
	}
	if _, err := tx.ExecContext(ctx, string(text)); err != nil {
		return false, fmt.Errorf("%s: %w", steps[version], err)
	}
	if _, err := tx.ExecContext(ctx, "insert into schema_version (version) values (?)", version+1); err != nil {
		return false, err
	}
	return false, tx.Commit()
}
