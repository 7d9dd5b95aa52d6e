package database

import (
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/ncruces/go-sqlite3/driver"
)

// dialect is what differs between databases.
type dialect struct {
	open    func(source string) (*sql.DB, error) // connects to nobody; the error repeats no password
	place   string                               // what stands for a value: $1 or ?1, which may repeat, or ?
	missing func(error) bool                     // whether an error says that a table is not there
	foreign func(error) bool                     // whether an error says that no name in the table has such letters

	// What makes docker_auth's tables, as it makes them itself.
	users, rules string
}

var dialects = map[string]dialect{
	"postgres": {
		open: openPostgres, place: "$1",
		missing: func(err error) bool {
			var answer *pgconn.PgError
			return errors.As(err, &answer) && answer.Code == "42P01" // undefined_table
		},
		foreign: func(err error) bool {
			var answer *pgconn.PgError
			return errors.As(err, &answer) && answer.Code == "22P05" // untranslatable_character
		},
		users: `CREATE TABLE IF NOT EXISTS xorm_user (id BIGSERIAL PRIMARY KEY, username VARCHAR(128) NOT NULL, password_hash VARCHAR(128) NOT NULL, labels JSON)`,
		rules: `CREATE TABLE IF NOT EXISTS xorm_acl_entry (acl_entry JSON, seq INTEGER)`,
	},
	"mysql": {
		open: openMySQL, place: "?",
		missing: func(err error) bool {
			var answer *mysql.MySQLError
			return errors.As(err, &answer) && answer.Number == 1146 // ER_NO_SUCH_TABLE
		},
		foreign: func(err error) bool {
			var answer *mysql.MySQLError
			return errors.As(err, &answer) && answer.Number == 1267 // ER_CANT_AGGREGATE_2COLLATIONS
		},
		users: `CREATE TABLE IF NOT EXISTS xorm_user (id BIGINT AUTO_INCREMENT PRIMARY KEY, username VARCHAR(128) NOT NULL, password_hash VARCHAR(128) NOT NULL, labels JSON)`,
		rules: `CREATE TABLE IF NOT EXISTS xorm_acl_entry (acl_entry JSON, seq INT)`,
	},
	"sqlite3": {
		open: openSQLite, place: "?1",
		missing: func(err error) bool { return strings.Contains(err.Error(), "no such table") },
		foreign: func(error) bool { return false },
		users:   `CREATE TABLE IF NOT EXISTS xorm_user (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, username TEXT NOT NULL, password_hash TEXT NOT NULL, labels TEXT)`,
		rules:   `CREATE TABLE IF NOT EXISTS xorm_acl_entry (acl_entry TEXT, seq INTEGER)`,
	},
}

// bind returns a query with ${account} as the database has values in queries, and how many values it takes.
func (d dialect) bind(query string) (bound string, values int) {
	values = 1
	if d.place == "?" {
		values = strings.Count(query, "${account}")
	}
	return strings.ReplaceAll(query, "${account}", d.place), values
}

// openPostgres opens a source of lib/pq, which docker_auth reads it with: other than to pgx, TLS is required there
// unless sslmode says otherwise.
func openPostgres(source string) (*sql.DB, error) {
	if !strings.Contains(source, "sslmode") {
		if u, err := url.Parse(source); err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql") {
			q := u.Query()
			q.Set("sslmode", "require")
			u.RawQuery = q.Encode()
			source = u.String()
		} else {
			source += " sslmode=require"
		}
	}
	config, err := pgx.ParseConfig(source)
	if err != nil {
		return nil, errors.New("not a data source name of PostgreSQL, such as postgres://USER:PASSWORD@HOST/NAME or host=HOST user=USER dbname=NAME")
	}
	return stdlib.OpenDB(*config), nil
}

func openMySQL(source string) (*sql.DB, error) {
	config, err := mysql.ParseDSN(source)
	if err != nil {
		return nil, errors.New("not a data source name of MySQL, such as USER:PASSWORD@tcp(HOST:3306)/NAME")
	}
	config.Logger = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // what it says is in the errors
	if config.Timeout == 0 {
		config.Timeout = 5 * time.Second
	}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, fmt.Errorf("data source name of MySQL: %w", err)
	}
	return sql.OpenDB(connector), nil
}

func openSQLite(source string) (*sql.DB, error) {
	if !strings.HasPrefix(source, "file:") {
		path, query, _ := strings.Cut(source, "?")
		source = (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: query}).String()
	}
	if !strings.Contains(source, "_pragma=") {
		separator := "?"
		if strings.Contains(source, "?") {
			separator = "&"
		}
		source += separator + "_pragma=busy_timeout(4000)"
	}
	db, err := driver.Open(source)
	if err != nil {
		return nil, fmt.Errorf("data source name of SQLite: %w", err)
	}
	return db, nil
}
