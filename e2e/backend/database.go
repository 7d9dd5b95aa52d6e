package backend

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/ncruces/go-sqlite3/driver"
)

// Database is a SQL database of its own.
type Database struct {
	*Process        // nil for SQLite
	Driver   string // docker_auth's word for it: "postgres", "mysql" or "sqlite3"
	Source   string // the data source name that docker_auth takes
	DB       *sql.DB
}

// NewPostgres starts a PostgreSQL server.
func NewPostgres(t testing.TB) *Database {
	t.Helper()
	initdb, postgres := need(t, "initdb"), need(t, "postgres")
	as := unprivileged(t, "postgres", "nobody")
	dir := folder(t, as)
	data, number := filepath.Join(dir, "data"), port(t)
	run(t, command(as, initdb, "-D", data, "-U", "postgres", "-A", "trust", "-N", "--no-instructions", "-E", "UTF8", "--locale=C"))
	d := &Database{Driver: "postgres", Source: fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", number)}
	d.DB = handle(t, "pgx", d.Source)
	d.Process = start(t, func() *exec.Cmd {
		return command(as, postgres, "-D", data, "-p", fmt.Sprint(number), "-k", dir, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "full_page_writes=off")
	}, syscall.SIGQUIT, d.DB.Ping)
	return d
}

// NewMariaDB starts a MariaDB server.
func NewMariaDB(t testing.TB) *Database {
	t.Helper()
	install, mariadbd := need(t, "mariadb-install-db"), need(t, "mariadbd")
	as := unprivileged(t, "mysql", "nobody")
	dir := folder(t, as)
	data, number := filepath.Join(dir, "data"), port(t)
	run(t, command(as, install, "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db"))
	d := &Database{Driver: "mysql", Source: fmt.Sprintf("root@tcp(127.0.0.1:%d)/registry", number)}
	config, err := mysql.ParseDSN(fmt.Sprintf("root@tcp(127.0.0.1:%d)/", number))
	if err != nil {
		t.Fatal(err)
	}
	config.Logger = &mysql.NopLogger{}
	first := handle(t, "mysql", config.FormatDSN())
	d.Process = start(t, func() *exec.Cmd {
		return command(as, mariadbd, "--no-defaults", "--datadir="+data, "--socket="+filepath.Join(dir, "sock"), "--pid-file="+filepath.Join(dir, "pid"),
			fmt.Sprintf("--port=%d", number), "--bind-address=127.0.0.1", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=8M")
	}, syscall.SIGKILL, first.Ping)
	if _, err := first.Exec("CREATE DATABASE registry"); err != nil {
		t.Fatal(err)
	}
	d.DB = handle(t, "mysql", d.Source)
	return d
}

// NewSQLite makes a SQLite file.
func NewSQLite(t testing.TB) *Database {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users #1?.db") // a name that is no URI
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d := &Database{Driver: "sqlite3", Source: "file:" + filepath.Join(filepath.Dir(path), "users%20%231%3f.db")}
	d.DB = handle(t, "sqlite3", d.Source)
	return d
}

func handle(t testing.TB, driver, source string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// Exec runs statements of the database.
func (d *Database) Exec(t testing.TB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := d.DB.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}
