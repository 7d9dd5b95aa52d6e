package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime/debug"
)

// A writer carries out writes one after the other on one connection and lets those that wait at the same time share a
// transaction, so that many durable writes cost one sync of the disk. Each write stands or falls alone: it runs in a
// savepoint of its own.
type writer struct {
	db    *sql.DB
	conn  *sql.Conn
	tx    *tx
	queue chan *job
	done  chan struct{}
	full  bool // whether the connection syncs at commit now
}

// job is one write that waits for its commit.
type job struct {
	do      func(*tx) error
	durable bool
	result  chan error
}

// maxBatch is how many writes share a transaction at most.
const maxBatch = 256

var errClosed = errors.New("the index is closed")

func newWriter(ctx context.Context, db *sql.DB) (*writer, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{
		db: db, conn: conn, full: true,
		tx:    &tx{conn: conn, stmts: map[string]*sql.Stmt{}},
		queue: make(chan *job, maxBatch), done: make(chan struct{}),
	}
	go w.run()
	return w, nil
}

// write runs do in a transaction and returns its error or that of the commit. When durable is false the write is kept
// over a crash of the process, but a loss of power may take it back. It does not end early with ctx: a write that has
// begun is one that happens.
func (w *writer) write(ctx context.Context, durable bool, do func(*tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j := &job{do: do, durable: durable, result: make(chan error, 1)}
	select {
	case w.queue <- j:
	case <-w.done:
		return errClosed
	}
	select {
	case err := <-j.result:
		return known(err)
	case <-w.done:
		select {
		case err := <-j.result:
			return known(err)
		default:
			return errClosed
		}
	}
}

// close lets the queued writes end and gives the connection back.
func (w *writer) close() error {
	w.queue <- nil
	<-w.done
	return errors.Join(w.tx.close(), w.conn.Close(), w.db.Close())
}

func (w *writer) run() {
	defer close(w.done)
	var batch []*job
	for {
		batch = batch[:0]
		stop := false
		for j := <-w.queue; ; j = <-w.queue {
			if j == nil {
				stop = true
				break
			}
			batch = append(batch, j)
			if len(batch) == maxBatch || len(w.queue) == 0 {
				break
			}
		}
		if len(batch) > 0 {
			w.commit(batch)
		}
		if stop {
			return
		}
	}
}

// commit runs a batch in one transaction and tells each job how it ended.
func (w *writer) commit(batch []*job) {
	ctx := context.Background()
	durable := false
	for _, j := range batch {
		durable = durable || j.durable
	}
	failed := make([]error, len(batch))
	err := w.sync(ctx, durable)
	if err == nil {
		err = w.tx.exec(ctx, "begin immediate")
	}
	if err == nil {
		if err = w.runJobs(ctx, batch, failed); err == nil {
			err = w.tx.exec(ctx, "commit")
		}
		if err != nil {
			_ = w.tx.exec(ctx, "rollback") // the error that counts is the one before
		}
	}
	for i, j := range batch {
		if failed[i] == nil {
			failed[i] = err
		}
		j.result <- failed[i]
	}
}

// runJobs runs the jobs of a batch and notes which have failed. Some errors, a full disk among them, make the database
// undo the whole transaction: then the jobs before share the failure, and those behind go on in a new transaction.
func (w *writer) runJobs(ctx context.Context, batch []*job, failed []error) error {
	for i, j := range batch {
		var undone bool
		if undone, failed[i] = w.tx.savepoint(ctx, j.do); !undone {
			continue
		}
		for k := range failed[:i] {
			if failed[k] == nil {
				failed[k] = failed[i]
			}
		}
		_ = w.tx.exec(ctx, "rollback") // as a rule there is nothing left to undo
		if err := w.tx.exec(ctx, "begin immediate"); err != nil {
			return err
		}
	}
	return nil
}

// sync makes commits wait for the disk, or not.
func (w *writer) sync(ctx context.Context, full bool) error {
	if w.full == full {
		return nil
	}
	mode := "pragma synchronous = normal"
	if full {
		mode = "pragma synchronous = full"
	}
	if err := w.tx.exec(ctx, mode); err != nil {
		return err
	}
	w.full = full
	return nil
}

// tx is the transaction that a write is part of.
type tx struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
}

// savepoint runs do so that its changes are undone alone when it fails or panics, and tells when all that came before it
// in the transaction is undone too.
func (t *tx) savepoint(ctx context.Context, do func(*tx) error) (undone bool, err error) {
	if err := t.exec(ctx, "savepoint job"); err != nil {
		return true, err
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in a write: %v\n%s", p, debug.Stack())
		}
		if err != nil && t.exec(ctx, "rollback to job") != nil {
			undone = true
			return
		}
		if e := t.exec(ctx, "release job"); e != nil {
			undone, err = true, errors.Join(err, e)
		}
	}()
	return false, do(t)
}

// exec runs a statement.
func (t *tx) exec(ctx context.Context, query string, args ...any) error {
	_, err := t.changed(ctx, query, args...)
	return err
}

// changed runs a statement and returns how many rows it changed.
func (t *tx) changed(ctx context.Context, query string, args ...any) (int64, error) {
	s, err := t.stmt(ctx, query)
	if err != nil {
		return 0, err
	}
	r, err := s.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// row asks for one row; its scan returns customhouse.ErrNotFound when there is none.
func (t *tx) row(ctx context.Context, query string, args ...any) row {
	s, err := t.stmt(ctx, query)
	if err != nil {
		return row{err: err}
	}
	return row{Row: s.QueryRowContext(ctx, args...)}
}

// rows asks for many rows and hands each to scan.
func (t *tx) rows(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) error {
	s, err := t.stmt(ctx, query)
	if err != nil {
		return err
	}
	return scanAll(ctx, s, scan, args...)
}

func (t *tx) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if s, ok := t.stmts[query]; ok {
		return s, nil
	}
	s, err := t.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	t.stmts[query] = s
	return s, nil
}

func (t *tx) close() error {
	var errs []error
	for _, s := range t.stmts {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}
