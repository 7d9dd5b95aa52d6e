package authn_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"customhouse"
	"customhouse/authn"
	"customhouse/database"
	"customhouse/e2e/backend"
)

// databases start each kind of SQL database.
var databases = map[string]func(testing.TB) *backend.Database{
	"SQLite": backend.NewSQLite, "PostgreSQL": backend.NewPostgres, "MariaDB": backend.NewMariaDB,
}

// fillXorm fills docker_auth's table, which is there already.
func fillXorm(t *testing.T, d *backend.Database, people ...person) {
	t.Helper()
	insert := "INSERT INTO xorm_user (username, password_hash, labels) VALUES (?, ?, ?)"
	if d.Driver == "postgres" {
		insert = "INSERT INTO xorm_user (username, password_hash, labels) VALUES ($1, $2, $3)"
	}
	for _, p := range people {
		var labels any
		if p.labels != nil {
			text, err := json.Marshal(p.labels)
			if err != nil {
				t.Fatal(err)
			}
			labels = string(text)
		}
		if _, err := d.DB.Exec(insert, p.name, string(hash(t, p.password, 4)), labels); err != nil {
			t.Fatal(err)
		}
	}
}

// stopping returns what takes a database away.
func stopping(d *backend.Database, db *database.SQL) func() {
	if d.Process == nil {
		return func() { db.Close() }
	}
	return d.Stop
}

// TestContractSQL runs over docker_auth's table, and over tables of somebody else, in each kind of database.
func TestContractSQL(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := start(t)
			t.Run("table", func(t *testing.T) { contractOfTable(t, d) })
			if d.Process != nil {
				d.Start()
			}
			t.Run("query", func(t *testing.T) { contractOfQuery(t, d) })
		})
	}
}

func contractOfTable(t *testing.T, d *backend.Database) {
	db, err := database.OpenSQL(database.SQLOptions{Driver: d.Driver, Source: customhouse.Secret(d.Source)})
	if err != nil {
		t.Fatalf("OpenSQL = %v", err)
	}
	defer db.Close()
	if _, err := db.Account(t.Context(), "alice"); err == nil { // and now there is a table
		t.Fatal("Account of an empty database = nil, want an error")
	}
	meetsContract(t, "sql", func(t *testing.T, p *authn.Passwords, people ...person) party {
		fillXorm(t, d, people...)
		return party{Authenticator: authn.NewAccounts(db, p, authn.AccountsOptions{Method: "sql"}), outage: stopping(d, db)}
	})
}

func contractOfQuery(t *testing.T, d *backend.Database) {
	d.Exec(t,
		"CREATE TABLE people (login VARCHAR(100) PRIMARY KEY, hash VARCHAR(100))",
		"CREATE TABLE memberships (login VARCHAR(100), team VARCHAR(100))",
	)
	db, err := database.OpenSQL(database.SQLOptions{Driver: d.Driver, Source: customhouse.Secret(d.Source), Query: `
		SELECT p.login AS account, p.hash AS password, m.team AS ` + quoted("group", d.Driver) + `
		FROM people p LEFT JOIN memberships m ON m.login = p.login
		WHERE p.login = ${account} AND ${account} <> 'root' ORDER BY m.team`})
	if err != nil {
		t.Fatalf("OpenSQL = %v", err)
	}
	defer db.Close()
	meetsContract(t, "sql", func(t *testing.T, p *authn.Passwords, people ...person) party {
		quote := strings.NewReplacer("'", "''").Replace
		for _, someone := range people {
			d.Exec(t, "INSERT INTO people VALUES ('"+quote(someone.name)+"', '"+string(hash(t, someone.password, 4))+"')")
			for _, team := range someone.labels["group"] {
				d.Exec(t, "INSERT INTO memberships VALUES ('"+quote(someone.name)+"', '"+quote(team)+"')")
			}
		}
		return party{Authenticator: authn.NewAccounts(db, p, authn.AccountsOptions{Method: "sql"}), outage: stopping(d, db)}
	})
}

// quoted returns a name that is a word of SQL.
func quoted(name, driver string) string {
	if driver == "mysql" {
		return "`" + name + "`"
	}
	return `"` + name + `"`
}

func TestContractMongo(t *testing.T) {
	f := backend.NewFerretDB(t)
	db, err := database.OpenMongo(database.MongoOptions{URI: customhouse.Secret(f.URI), Database: "docker_auth", Collection: "users"})
	if err != nil {
		t.Fatalf("OpenMongo = %v", err)
	}
	defer db.Close()
	meetsContract(t, "mongo", func(t *testing.T, p *authn.Passwords, people ...person) party {
		for _, someone := range people {
			document := bson.M{"username": someone.name, "password": string(hash(t, someone.password, 4))}
			if someone.labels != nil {
				document["labels"] = someone.labels
			}
			if _, err := f.Client.Database("docker_auth").Collection("users").InsertOne(t.Context(), document); err != nil {
				t.Fatal(err)
			}
		}
		return party{Authenticator: authn.NewAccounts(db, p, authn.AccountsOptions{Method: "mongo"}), outage: f.Stop}
	})
}

// TestR48_DatabaseOutage: what a database has said holds for the time of grace while it is away.
func TestR48_DatabaseOutage(t *testing.T) {
	d := backend.NewPostgres(t)
	db, err := database.OpenSQL(database.SQLOptions{Driver: d.Driver, Source: customhouse.Secret(d.Source)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Account(t.Context(), "alice"); err == nil {
		t.Fatal("Account = nil, want an error")
	}
	fillXorm(t, d, person{name: "alice", password: "secret"})
	now := time.Now()
	a := authn.NewAccounts(db, authn.NewPasswords(authn.PasswordOptions{}), authn.AccountsOptions{
		Method: "sql", Memory: time.Second, Grace: time.Minute, Now: func() time.Time { return now },
	})
	if _, err := a.Authenticate(t.Context(), basic("alice", "secret")); err != nil {
		t.Fatal(err)
	}
	d.Stop()
	now = now.Add(30 * time.Second)
	if id, err := a.Lookup(t.Context(), "alice"); err != nil || id.Account != "alice" {
		t.Errorf("Lookup within the time of grace = %+v, %v", id, err)
	}
	if _, err := a.Authenticate(t.Context(), basic("alice", "secret")); err == nil || errors.Is(err, authn.ErrWrongPassword) {
		t.Errorf("Authenticate during the outage = %v, want that it cannot tell", err)
	}
	now = now.Add(31 * time.Second)
	if _, err := a.Lookup(t.Context(), "alice"); err == nil || errors.Is(err, authn.ErrUnknownUser) {
		t.Errorf("Lookup after the time of grace = %v, want that it cannot tell", err)
	}
	d.Start()
	if _, err := a.Lookup(t.Context(), "alice"); err != nil {
		t.Errorf("Lookup after the outage = %v", err)
	}
}

// TestR48_HungSource: a source that does not answer holds one request up, and those that follow only now and then.
func TestR48_HungSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung := errors.New("no answer")
		s := &store{accounts: map[string]customhouse.Account{"alice": {Name: "alice", Password: hash(t, "secret", 4)}}}
		slowly := sourceFunc(func(ctx context.Context, name string) (customhouse.Account, error) {
			if s.err != nil {
				time.Sleep(5 * time.Second)
			}
			return s.Account(ctx, name)
		})
		a := authn.NewAccounts(slowly, authn.NewPasswords(authn.PasswordOptions{}), authn.AccountsOptions{Grace: time.Hour})
		if _, err := a.Lookup(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		s.err = hung
		time.Sleep(2 * time.Second)
		for i, want := range []time.Duration{5 * time.Second, 0, 0} {
			begin := time.Now()
			if _, err := a.Lookup(t.Context(), "alice"); err != nil || time.Since(begin) != want {
				t.Errorf("Lookup %d = %v after %v, want what was said last after %v", i, err, time.Since(begin), want)
			}
			if _, err := a.Lookup(t.Context(), "carol"); !errors.Is(err, hung) {
				t.Errorf("Lookup of who was never seen = %v, want that it cannot tell", err)
			}
		}
		s.err = nil
		time.Sleep(2 * time.Second)
		if _, err := a.Lookup(t.Context(), "carol"); !errors.Is(err, authn.ErrUnknownUser) {
			t.Errorf("Lookup after the outage = %v, want ErrUnknownUser", err)
		}
	})
}

// sourceFunc is a function as an AccountSource.
type sourceFunc func(context.Context, string) (customhouse.Account, error)

func (f sourceFunc) Account(ctx context.Context, name string) (customhouse.Account, error) {
	return f(ctx, name)
}

// TestA5_NoPassword: where docker_auth takes any password, an account without one cannot log in.
func TestA5_NoPassword(t *testing.T) {
	s := &store{accounts: map[string]customhouse.Account{"alice": {Name: "alice"}}}
	a := authn.NewAccounts(s, authn.NewPasswords(authn.PasswordOptions{}), authn.AccountsOptions{})
	for _, password := range []string{"", "secret"} {
		if _, err := a.Authenticate(t.Context(), basic("alice", password)); !errors.Is(err, authn.ErrWrongPassword) {
			t.Errorf("Authenticate(%q) = %v, want ErrWrongPassword", password, err)
		}
	}
}
