// Package index is the registry's memory: which repositories there are, what is visible in them, what their tags point
// to, which uploads are under way, which accounts and refresh tokens Customhouse keeps.
//
// It holds facts, not rules: whether somebody may do a thing is asked before, and bytes lie in package blob. It knows
// nothing of HTTP. Everything is in one SQL database; a write that has returned nil survives a loss of power unless its
// comment says otherwise.
package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"customhouse"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/driver"
)

// Options of a DB. The zero value works.
type Options struct {
	Now func() time.Time // nil is time.Now
	Log *slog.Logger     // nil discards
}

// DB is the index in one SQLite file. Its methods may be called at the same time by many.
type DB struct {
	now       func() time.Time
	log       *slog.Logger
	read      *sql.DB
	writer    *writer
	stmts     sync.Map // string -> *sql.Stmt on read
	manifests *view[Manifest]
	blobs     *view[int64]
	tags      *view[[]string]
	standing  *view[[]Standing]
	contained *view[[]customhouse.Digest]
	unnamed   *view[[]customhouse.Descriptor]
	recording atomic.Pointer[Recording] // nil records nothing
}

// oldestSQLite is the first version without the WAL-reset bug, by which two connections that checkpoint at the same
// time could damage a database (https://sqlite.org/wal.html#walresetbug).
const oldestSQLite = "3.51.3"

// Open opens the index in file, makes it where there is none, and brings its schema up to date.
func Open(ctx context.Context, file string, opts Options) (*DB, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if err := private(file); err != nil {
		return nil, fmt.Errorf("open the index: %w", err)
	}
	write, err := connect(ctx, file, "synchronous(full)", "foreign_keys(on)", "journal_size_limit(67108864)",
		"temp_store(memory)") // what savepoints would undo is not worth a file
	if err != nil {
		return nil, err
	}
	if err := errors.Join(checkVersion(ctx, write), migrate(ctx, write)); err != nil {
		write.Close()
		return nil, fmt.Errorf("open the index: %w", err)
	}
	read, err := connect(ctx, file, "query_only(on)")
	if err != nil {
		write.Close()
		return nil, err
	}
	conns := max(2, runtime.GOMAXPROCS(0))
	read.SetMaxOpenConns(conns)
	read.SetMaxIdleConns(conns)
	w, err := newWriter(ctx, write)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the index: %w", err), read.Close(), write.Close())
	}
	makeRoom(file + "-wal")
	changes := newChanges()
	return &DB{
		now: opts.Now, log: opts.Log, read: read, writer: w,
		manifests: newView(changes, Manifest.weigh), blobs: newView(changes, func(int64) int { return 0 }),
		tags: newView(changes, weighNames), standing: newView(changes, weighStanding),
		contained: newView(changes, func(all []customhouse.Digest) int { return 80 * len(all) }),
		unnamed:   newView(changes, func(all []customhouse.Descriptor) int { return 150 * len(all) }),
	}, nil
}

// private makes the file, if it is not there, so that nobody else can read it. The log beside it gets its mode from the
// umask of the process: the folder has to be private too.
func private(file string) error {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// logRoom is about how far the write-ahead log grows before SQLite moves its pages and begins it anew, in bytes.
const logRoom = 4 << 20

// makeRoom takes room on the disk for the write-ahead log before there is need of it, so that deleting goes on when the
// disk is full. A file system that cannot do that does without.
func makeRoom(log string) {
	f, err := os.OpenFile(log, os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer f.Close()
	const keepSize = 1 // FALLOC_FL_KEEP_SIZE, fallocate(2)
	_ = syscall.Fallocate(int(f.Fd()), keepSize, 0, logRoom)
}

// busyTime is how long one waits for a lock of another process.
const busyTime = 5 * time.Second

// connect opens the file. SQLite waits for locks by itself, but for the one by which the write-ahead log comes into use.
func connect(ctx context.Context, file string, pragmas ...string) (*sql.DB, error) {
	busy := fmt.Sprintf("busy_timeout(%d)", busyTime.Milliseconds())
	q := url.Values{"_pragma": append([]string{busy, "journal_mode(wal)"}, pragmas...)}
	name := (&url.URL{Scheme: "file", OmitHost: true, Path: file, RawQuery: q.Encode()}).String()
	db, err := driver.Open(name, stablePlans)
	if err != nil {
		return nil, fmt.Errorf("open the index: %w", err)
	}
	for end := time.Now().Add(busyTime); ; {
		err := db.PingContext(ctx)
		if err == nil {
			return db, nil
		}
		if !errors.Is(err, sqlite3.BUSY) || time.Now().After(end) {
			db.Close()
			return nil, fmt.Errorf("open the index: %w", err)
		}
		select {
		case <-ctx.Done():
			db.Close()
			return nil, context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// stablePlans keeps SQLite from planning a prepared query anew for each set of arguments, which would cost more than most
// queries here (https://sqlite.org/queryplanner-ng.html#qpstab).
func stablePlans(c *sqlite3.Conn) error {
	_, err := c.Config(sqlite3.DBCONFIG_ENABLE_QPSG, true)
	return err
}

func checkVersion(ctx context.Context, db *sql.DB) error {
	var have string
	if err := db.QueryRowContext(ctx, "select sqlite_version()").Scan(&have); err != nil {
		return err
	}
	if olderVersion(have, oldestSQLite) {
		return fmt.Errorf("SQLite %s may damage its write-ahead log; this program needs to be built with %s or later", have, oldestSQLite)
	}
	return nil
}

// olderVersion tells whether a comes before b, both of the form 3.51.3.
func olderVersion(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(as), len(bs)) {
		x, _ := strconv.Atoi(as[i])
		y, _ := strconv.Atoi(bs[i])
		if x != y {
			return x < y
		}
	}
	return len(as) < len(bs)
}

// Close waits for the writes under way and closes the file.
func (db *DB) Close() error {
	return errors.Join(db.writer.close(), db.read.Close())
}

// Ping tells whether the index answers.
func (db *DB) Ping(ctx context.Context) error {
	var one int
	return db.row(ctx, "select 1").scan(&one)
}

// row asks for one row. Its scan returns customhouse.ErrNotFound when there is none.
func (db *DB) row(ctx context.Context, query string, args ...any) row {
	stmt, err := db.stmt(ctx, query)
	if err != nil {
		return row{err: err}
	}
	return row{Row: stmt.QueryRowContext(ctx, args...)}
}

// rows asks for many rows and hands each to scan.
func (db *DB) rows(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) error {
	stmt, err := db.stmt(ctx, query)
	if err != nil {
		return err
	}
	return scanAll(ctx, stmt, scan, args...)
}

func scanAll(ctx context.Context, stmt *sql.Stmt, scan func(*sql.Rows) error, args ...any) error {
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return known(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return known(err)
		}
	}
	return known(rows.Err())
}

// stmt prepares query once for the life of the DB.
func (db *DB) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if s, ok := db.stmts.Load(query); ok {
		return s.(*sql.Stmt), nil
	}
	s, err := db.read.PrepareContext(ctx, query)
	if err != nil {
		return nil, known(err)
	}
	if old, there := db.stmts.LoadOrStore(query, s); there {
		s.Close()
		return old.(*sql.Stmt), nil
	}
	return s, nil
}

type row struct {
	*sql.Row
	err error
}

func (r row) scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	return known(r.Scan(dest...))
}

// known turns what the database says into what clients may hear: it is busy, full or cannot be written now.
func known(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return customhouse.ErrNotFound
	case errors.Is(err, sqlite3.FULL):
		return customhouse.Errorf(customhouse.InsufficientStorage, "no space left").WithCause(err)
	case errors.Is(err, sqlite3.BUSY), errors.Is(err, sqlite3.LOCKED), errors.Is(err, sqlite3.READONLY),
		errors.Is(err, sqlite3.IOERR), errors.Is(err, sqlite3.CANTOPEN):
		return customhouse.Errorf(customhouse.Unavailable, "the registry cannot reach its index, try again").WithCause(err)
	}
	return err
}
