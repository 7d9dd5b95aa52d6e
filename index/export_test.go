package index

import "context"

// Tx is the transaction that a test's write is part of.
type Tx struct{ t *tx }

// Exec runs a statement.
func (x Tx) Exec(query string, args ...any) error {
	return x.t.exec(context.Background(), query, args...)
}

// Int asks for one number.
func (x Tx) Int(query string, args ...any) (n int, err error) {
	err = x.t.row(context.Background(), query, args...).scan(&n)
	return n, err
}

// Write runs a write as the methods of a DB do.
func (db *DB) Write(ctx context.Context, durable bool, do func(Tx) error) error {
	return db.writer.write(ctx, durable, func(t *tx) error { return do(Tx{t}) })
}

// Queued is how many writes wait.
func (db *DB) Queued() int { return len(db.writer.queue) }
