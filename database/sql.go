package database

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"customhouse"
)

// SQLOptions are the settings of a SQL database.
type SQLOptions struct {
	// Driver is "postgres", "mysql" (MariaDB too) or "sqlite3": docker_auth's words.
	Driver string

	// Source is the data source name in the driver's own form, password and all: that of lib/pq for "postgres", URL or
	// key=value; USER:PASSWORD@tcp(HOST:PORT)/NAME for "mysql"; a path or a file: URI for "sqlite3".
	Source customhouse.Secret

	// Query is what finds an account: a SELECT in which ${account} stands for its name. Its columns are account, the name
	// as it is kept; password, a bcrypt hash; and, where there are, labels, as JSON. Every further column is a label of that
	// name, which has a value for each row. "" reads docker_auth's table xorm_user.
	Query string

	Timeout     time.Duration // of one question; 0 is 5 seconds
	Connections int           // at most; 0 is 8
}

// SQL is a SQL database.
type SQL struct {
	db      *sql.DB
	dialect dialect
	query   string
	repeats int // how often the query names the account
	tables  bool
	timeout time.Duration
}

// OpenSQL opens a database. The error is a mistake in the options.
func OpenSQL(o SQLOptions) (*SQL, error) {
	d, ok := dialects[o.Driver]
	if !ok {
		return nil, errors.New("driver: want postgres, mysql or sqlite3")
	}
	if o.Query != "" {
		if err := checkQuery(o.Query); err != nil {
			return nil, fmt.Errorf("query: %w", err)
		}
	}
	if o.Source == "" {
		return nil, errors.New("no data source name")
	}
	db, err := d.open(string(o.Source))
	if err != nil {
		return nil, err
	}
	connections := cmp.Or(o.Connections, defaultConnections)
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	db.SetConnMaxIdleTime(time.Minute)
	db.SetConnMaxLifetime(30 * time.Minute)
	s := &SQL{db: db, dialect: d, timeout: cmp.Or(o.Timeout, defaultTimeout), tables: o.Query == ""}
	query := cmp.Or(o.Query, "SELECT username AS account, password_hash AS password, labels FROM xorm_user WHERE username = ${account} ORDER BY id DESC")
	s.query, s.repeats = d.bind(query)
	return s, nil
}

// checkQuery tells what is wrong with a query for accounts.
func checkQuery(query string) error {
	if !strings.Contains(query, "${account}") {
		return errors.New("finds the same for everybody: want ${account} in it")
	}
	if strings.Contains(query, "'${account}'") || strings.Contains(query, `"${account}"`) {
		return errors.New("${account} stands for the name itself, without quotes")
	}
	return nil
}

// Close ends the connections.
func (s *SQL) Close() error { return s.db.Close() }

// Account returns the account of that name, as it is kept. The error is customhouse.ErrNotFound when there is none. Of
// several in docker_auth's table that which was made last counts.
func (s *SQL) Account(ctx context.Context, name string) (customhouse.Account, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	account, err := s.account(ctx, name)
	if s.missing(err) {
		if s.make(ctx, s.dialect.users) == nil {
			return customhouse.Account{}, fmt.Errorf("account %q: %w", name, customhouse.ErrNotFound)
		}
	}
	return account, err
}

func (s *SQL) account(ctx context.Context, name string) (customhouse.Account, error) {
	args := slices.Repeat([]any{name}, s.repeats)
	rows, err := s.db.QueryContext(ctx, s.query, args...)
	if err != nil && s.dialect.foreign(err) {
		return customhouse.Account{}, fmt.Errorf("account %q: %w", name, customhouse.ErrNotFound)
	}
	if err != nil {
		return customhouse.Account{}, fmt.Errorf("ask for an account: %w", err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return customhouse.Account{}, err
	}
	for i := range columns {
		columns[i] = strings.ToLower(columns[i])
	}
	if !slices.Contains(columns, "account") || !slices.Contains(columns, "password") {
		return customhouse.Account{}, fmt.Errorf("the query returns the columns %s; want account and password among them", strings.Join(columns, ", "))
	}
	cells := make([]sql.Null[[]byte], len(columns))
	into := make([]any, len(cells))
	for i := range cells {
		into[i] = &cells[i]
	}
	var found customhouse.Account
	for n := 0; rows.Next(); n++ {
		if n == maxAccountRows {
			return customhouse.Account{}, fmt.Errorf("account %q: more than %d rows", name, maxAccountRows)
		}
		if err := rows.Scan(into...); err != nil {
			return customhouse.Account{}, fmt.Errorf("account %q: %w", name, err)
		}
		row := map[string][]byte{}
		for i, column := range columns {
			if len(cells[i].V) > maxCell {
				return customhouse.Account{}, fmt.Errorf("account %q: %s has more than %d bytes", name, column, maxCell)
			}
			if cells[i].Valid {
				row[column] = cells[i].V
			}
		}
		if string(row["account"]) != name { // the database takes Alice for alice
			continue
		}
		if found.Name != "" && s.tables {
			break
		}
		if err := take(&found, row); err != nil {
			return customhouse.Account{}, fmt.Errorf("account %q: %w", name, err)
		}
	}
	if err := rows.Err(); err != nil {
		return customhouse.Account{}, fmt.Errorf("ask for an account: %w", err)
	}
	if found.Name == "" {
		return customhouse.Account{}, fmt.Errorf("account %q: %w", name, customhouse.ErrNotFound)
	}
	return found, nil
}

// take adds what a row says about an account.
func take(a *customhouse.Account, row map[string][]byte) error {
	password := customhouse.Secret(row["password"])
	if a.Name != "" && password != a.Password {
		return errors.New("has two passwords")
	}
	a.Name, a.Password = string(row["account"]), password
	labels, err := parseLabels(row["labels"])
	if err != nil {
		return err
	}
	for column, value := range row {
		switch column {
		case "account", "password", "labels":
		default:
			if labels == nil {
				labels = map[string][]string{}
			}
			labels[column] = append(labels[column], string(value))
		}
	}
	for name, values := range labels {
		if a.Labels == nil {
			a.Labels = map[string][]string{}
		}
		for _, value := range values {
			if !slices.Contains(a.Labels[name], value) {
				a.Labels[name] = append(a.Labels[name], value)
			}
		}
	}
	return nil
}

// Rules returns docker_auth's table xorm_acl_entry, in the order of seq.
func (s *SQL) Rules(ctx context.Context) ([]Rule, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	rules, err := s.rules(ctx)
	if s.missing(err) && s.make(ctx, s.dialect.rules) == nil {
		return nil, nil
	}
	return rules, err
}

func (s *SQL) rules(ctx context.Context) ([]Rule, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT acl_entry, seq FROM xorm_acl_entry ORDER BY seq")
	if err != nil {
		return nil, fmt.Errorf("ask for rules: %w", err)
	}
	defer rows.Close()
	var rules []Rule
	for rows.Next() {
		var text []byte
		var seq sql.Null[int64]
		if err := rows.Scan(&text, &seq); err != nil {
			return nil, fmt.Errorf("row %d of xorm_acl_entry: %w", len(rules)+1, err)
		}
		if !seq.Valid {
			return nil, fmt.Errorf("row %d of xorm_acl_entry: no seq: its place among the others is not known", len(rules)+1)
		}
		if len(rules) == maxRules {
			return nil, fmt.Errorf("xorm_acl_entry has more than %d rows", maxRules)
		}
		rules = append(rules, Rule{Place: fmt.Sprintf("xorm_acl_entry with seq %d", seq.V), Seq: seq.V, Text: text})
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("ask for rules: %w", err)
	}
	return rules, nil
}

// missing tells whether err says that a table of docker_auth is not there.
func (s *SQL) missing(err error) bool { return err != nil && s.tables && s.dialect.missing(err) }

// make makes a table of docker_auth. Where that is not ours to do, what is missing stays the error.
func (s *SQL) make(ctx context.Context, statement string) error {
	_, err := s.db.ExecContext(ctx, statement)
	return err
}
