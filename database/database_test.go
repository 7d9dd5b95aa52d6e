package database_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"customhouse"
	"customhouse/database"
	"customhouse/e2e/backend"
)

func openSQL(t testing.TB, o database.SQLOptions) *database.SQL {
	t.Helper()
	db, err := database.OpenSQL(o)
	if err != nil {
		t.Fatalf("OpenSQL = %v", err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

var databases = map[string]func(testing.TB) *backend.Database{
	"SQLite": backend.NewSQLite, "PostgreSQL": backend.NewPostgres, "MariaDB": backend.NewMariaDB,
}

// TestTables shows docker_auth's tables: made where they are missing, read where nothing may be made, of several rows of
// an account the last.
func TestTables(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := start(t)
			db := openSQL(t, database.SQLOptions{Driver: d.Driver, Source: customhouse.Secret(d.Source)})
			for range 2 {
				if _, err := db.Account(t.Context(), "alice"); !errors.Is(err, customhouse.ErrNotFound) {
					t.Fatalf("Account of nobody = %v, want ErrNotFound", err)
				}
				if rules, err := db.Rules(t.Context()); err != nil || len(rules) != 0 {
					t.Fatalf("Rules of an empty table = %v, %v", rules, err)
				}
			}
			d.Exec(t,
				`INSERT INTO xorm_user (username, password_hash, labels) VALUES ('alice', 'old', NULL)`,
				`INSERT INTO xorm_user (username, password_hash, labels) VALUES ('alice', 'new', '{"group": ["ci", "ops", "ci"], "empty": []}')`,
				`INSERT INTO xorm_user (username, password_hash, labels) VALUES ('Bob', 'x', 'null')`,
				`INSERT INTO xorm_user (username, password_hash, labels) VALUES ('carol', 'x', '["ci"]')`,
				`INSERT INTO xorm_acl_entry (acl_entry, seq) VALUES ('{"Match": {"account": "b"}, "Actions": ["pull"]}', 20)`,
				`INSERT INTO xorm_acl_entry (acl_entry, seq) VALUES ('{"match": {"name": "a"}, "actions": []}', 10)`,
				`INSERT INTO xorm_acl_entry (acl_entry, seq) VALUES ('{}', -5)`,
			)
			got, err := db.Account(t.Context(), "alice")
			want := customhouse.Account{Name: "alice", Password: "new", Labels: map[string][]string{"group": {"ci", "ops"}}}
			if diff := cmp.Diff(want, got); diff != "" || err != nil || string(got.Password) != "new" {
				t.Errorf("Account differs (-want +got):\n%s%v", diff, err)
			}
			if got, err := db.Account(t.Context(), "Bob"); err != nil || got.Name != "Bob" || got.Labels != nil {
				t.Errorf("Account(Bob) = %+v, %v", got, err)
			}
			for _, name := range []string{"bob", "BOB", "Bob ", "x' OR '1'='1"} {
				if got, err := db.Account(t.Context(), name); !errors.Is(err, customhouse.ErrNotFound) {
					t.Errorf("Account(%q) = %+v, %v, want ErrNotFound", name, got, err)
				}
			}
			if _, err := db.Account(t.Context(), "carol"); err == nil || errors.Is(err, customhouse.ErrNotFound) || !strings.Contains(err.Error(), `"carol": labels`) {
				t.Errorf("Account with bad labels = %v, want an error that says so", err)
			}
			rules, err := db.Rules(t.Context())
			if err != nil || len(rules) != 3 {
				t.Fatalf("Rules = %v, %v, want 3", rules, err)
			}
			for i, want := range []database.Rule{
				{Seq: -5, Text: []byte(`{}`)},
				{Seq: 10, Text: []byte(`{"match": {"name": "a"}, "actions": []}`)},
				{Seq: 20, Text: []byte(`{"Match": {"account": "b"}, "Actions": ["pull"]}`)},
			} {
				want.Place = fmt.Sprintf("xorm_acl_entry with seq %d", want.Seq)
				if diff := cmp.Diff(want, rules[i]); diff != "" {
					t.Errorf("rule %d differs (-want +got):\n%s", i, diff)
				}
			}
			d.Exec(t, `INSERT INTO xorm_acl_entry (acl_entry) VALUES ('{}')`)
			if rules, err := db.Rules(t.Context()); err == nil || !strings.Contains(err.Error(), "no seq") {
				t.Errorf("Rules with a row without seq = %v, %v, want an error", rules, err)
			}
			if d.Driver != "postgres" {
				return
			}
			d.Exec(t, "CREATE ROLE reader LOGIN", "GRANT SELECT ON xorm_user TO reader", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
			reader := openSQL(t, database.SQLOptions{Driver: d.Driver, Source: customhouse.Secret(strings.Replace(d.Source, "postgres@", "reader@", 1))})
			if got, err := reader.Account(t.Context(), "alice"); err != nil || got.Name != "alice" {
				t.Errorf("Account for one who may read only = %+v, %v", got, err)
			}
			d.Exec(t, "DROP TABLE xorm_user")
			if _, err := reader.Account(t.Context(), "alice"); err == nil || errors.Is(err, customhouse.ErrNotFound) || !strings.Contains(err.Error(), "xorm_user") {
				t.Errorf("Account without a table for one who may make none = %v, want an error that names it", err)
			}
		})
	}
}

// TestQuery shows queries of one's own, and what is wrong with some.
func TestQuery(t *testing.T) {
	d := backend.NewSQLite(t)
	d.Exec(t, "CREATE TABLE p (name TEXT, hash TEXT, team TEXT, labels TEXT)",
		`INSERT INTO p VALUES ('alice', 'h', 'ci', '{"role": ["admin"]}'), ('alice', 'h', 'ops', NULL), ('alice', 'h', NULL, NULL)`,
		`INSERT INTO p VALUES ('bob', 'h', 'ci', NULL), ('bob', 'other', 'ops', NULL)`, `INSERT INTO p VALUES ('carol', NULL, NULL, NULL)`)
	ask := func(query, name string) (customhouse.Account, error) {
		return openSQL(t, database.SQLOptions{Driver: "sqlite3", Source: customhouse.Secret(d.Source), Query: query}).Account(t.Context(), name)
	}
	const query = "SELECT name AS Account, hash AS password, team, labels FROM p WHERE name = ${account}"
	got, err := ask(query, "alice")
	want := customhouse.Account{Name: "alice", Password: "h", Labels: map[string][]string{"team": {"ci", "ops"}, "role": {"admin"}}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("Account differs (-want +got):\n%s%v", diff, err)
	}
	if got, err := ask(query, "carol"); err != nil || got.Password != "" || got.Name != "carol" {
		t.Errorf("Account without a password = %+v, %v", got, err)
	}
	for _, tt := range []struct{ query, name, want string }{
		{query, "bob", "two passwords"},
		{"SELECT name, hash AS password FROM p WHERE name = ${account}", "alice", "want account and password"},
		{"SELECT name AS account FROM p WHERE name = ${account}", "alice", "want account and password"},
		{"SELECT nonsense FROM p WHERE name = ${account}", "alice", "nonsense"},
	} {
		if _, err := ask(tt.query, tt.name); err == nil || errors.Is(err, customhouse.ErrNotFound) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Account = %v, want an error with %q", tt.query, err, tt.want)
		}
	}
	for _, query := range []string{"SELECT 1", "SELECT name FROM p WHERE name = '${account}'"} {
		if _, err := database.OpenSQL(database.SQLOptions{Driver: "sqlite3", Source: customhouse.Secret(d.Source), Query: query}); err == nil {
			t.Errorf("OpenSQL with the query %s = nil, want an error", query)
		}
	}
}

// TestPaths: SQLite takes a path as docker_auth takes it, whatever is in it.
func TestPaths(t *testing.T) {
	for _, name := range []string{"users.db", "us%20ers.db", "users #1.db", "ü.db"} {
		path := filepath.Join(t.TempDir(), name)
		db := openSQL(t, database.SQLOptions{Driver: "sqlite3", Source: customhouse.Secret(path)})
		if _, err := db.Account(t.Context(), "alice"); !errors.Is(err, customhouse.ErrNotFound) {
			t.Errorf("Account = %v, want ErrNotFound", err)
		}
		if found, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*.db")); err != nil || len(found) != 1 || found[0] != path {
			t.Errorf("%s was made as %v", path, found)
		}
	}
}

func TestMongo(t *testing.T) {
	f := backend.NewFerretDB(t)
	open := func(collection string) *database.Mongo {
		db, err := database.OpenMongo(database.MongoOptions{URI: customhouse.Secret(f.URI), Database: "d", Collection: collection})
		if err != nil {
			t.Fatalf("OpenMongo = %v", err)
		}
		t.Cleanup(func() { db.Close() })
		return db
	}
	insert := func(collection string, documents ...any) {
		t.Helper()
		if _, err := f.Client.Database("d").Collection(collection).InsertMany(t.Context(), documents); err != nil {
			t.Fatal(err)
		}
	}
	insert("users",
		bson.M{"username": "alice", "password": "h", "labels": bson.M{"group": bson.A{"ci", "ops"}}, "more": 1},
		bson.M{"username": "bob"}, bson.M{"username": "carol", "labels": bson.M{"group": "ci"}},
		bson.M{"username": "dave"}, bson.M{"username": "dave"},
	)
	users := open("users")
	got, err := users.Account(t.Context(), "alice")
	if diff := cmp.Diff(customhouse.Account{Name: "alice", Password: "h", Labels: map[string][]string{"group": {"ci", "ops"}}}, got); diff != "" || err != nil {
		t.Errorf("Account differs (-want +got):\n%s%v", diff, err)
	}
	if got, err := users.Account(t.Context(), "bob"); err != nil || got.Password != "" {
		t.Errorf("Account without a password = %+v, %v", got, err)
	}
	for _, name := range []string{"Alice", "nobody", `{"$ne": ""}`} {
		if _, err := users.Account(t.Context(), name); !errors.Is(err, customhouse.ErrNotFound) {
			t.Errorf("Account(%q) = %v, want ErrNotFound", name, err)
		}
	}
	for _, name := range []string{"carol", "dave"} {
		if got, err := users.Account(t.Context(), name); err == nil || errors.Is(err, customhouse.ErrNotFound) || !strings.Contains(err.Error(), name) {
			t.Errorf("Account(%q) = %+v, %v, want an error that names it", name, got, err)
		}
	}
	beside := customhouse.Secret(strings.Replace(f.URI, ":"+backend.MongoPassword, "", 1))
	for _, password := range []customhouse.Secret{backend.MongoPassword, "wrong-canary"} {
		db, err := database.OpenMongo(database.MongoOptions{URI: beside, Password: password, Database: "d", Collection: "users"})
		if err != nil {
			t.Fatalf("OpenMongo = %v", err)
		}
		t.Cleanup(func() { db.Close() })
		_, err = db.Account(t.Context(), "alice")
		if (err == nil) != (password == backend.MongoPassword) || errors.Is(err, customhouse.ErrNotFound) || err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("Account with the password %q of the reader = %v", string(password), err)
		}
	}
	if rules, err := open("nothing").Rules(t.Context()); err != nil || len(rules) != 0 {
		t.Errorf("Rules of no collection = %v, %v", rules, err)
	}
	insert("acl",
		bson.D{{Key: "seq", Value: 20}, {Key: "match", Value: bson.D{{Key: "account", Value: "b"}, {Key: "labels", Value: bson.M{"x": "y"}}}}, {Key: "actions", Value: bson.A{"pull"}}},
		bson.D{{Key: "seq", Value: int64(5)}, {Key: "match", Value: bson.D{{Key: "name", Value: "<a>"}}}, {Key: "actions", Value: bson.A{}}, {Key: "comment", Value: nil}},
		bson.D{{Key: "seq", Value: 10.0}, {Key: "actions", Value: bson.A{}}},
	)
	rules, err := open("acl").Rules(t.Context())
	if err != nil || len(rules) != 3 {
		t.Fatalf("Rules = %v, %v, want 3", rules, err)
	}
	for i, want := range []database.Rule{
		{Seq: 5, Text: []byte(`{"match":{"name":"<a>"},"actions":[],"comment":null}`)},
		{Seq: 10, Text: []byte(`{"actions":[]}`)},
		{Seq: 20, Text: []byte(`{"match":{"account":"b","labels":{"x":"y"}},"actions":["pull"]}`)},
	} {
		want.Place = fmt.Sprintf("document with seq %d", want.Seq)
		if diff := cmp.Diff(want, rules[i]); diff != "" {
			t.Errorf("rule %d differs (-want +got):\n%s", i, diff)
		}
	}
	for name, seq := range map[string]any{"nil": nil, "text": "1"} {
		insert("acl"+name, bson.M{"seq": seq, "match": bson.M{}, "actions": bson.A{}})
		if rules, err := open("acl" + name).Rules(t.Context()); err == nil || !strings.Contains(err.Error(), "no seq") {
			t.Errorf("Rules with a seq of %s = %v, %v, want an error", name, rules, err)
		}
	}
}

// TestOpenRefuses: a mistake is told at once, without the password that is in it.
func TestOpenRefuses(t *testing.T) {
	for _, o := range []database.SQLOptions{
		{Driver: "oracle", Source: "hunter2"}, {Driver: "postgres"}, {Driver: "postgres", Source: "postgres://u:hunter2@h:x/d"},
		{Driver: "postgres", Source: "host=h password=hunter2 port=x"}, {Driver: "mysql", Source: "u:hunter2@h/d"}, {Driver: "mysql", Source: "u:hunter2@tcp(h/d"},
	} {
		if _, err := database.OpenSQL(o); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("OpenSQL(%s, %s) = %v, want an error without the password", o.Driver, string(o.Source), err)
		}
	}
	for _, o := range []database.MongoOptions{
		{URI: "", Database: "d", Collection: "c"}, {URI: "http://u:hunter2@h", Database: "d", Collection: "c"}, {URI: "mongodb://h", Collection: "c"},
		{URI: "mongodb://h", Database: "d"}, {URI: "mongodb://h", Password: "hunter2", Database: "d", Collection: "c"}, {URI: "mongodb://u:hunter2@h:x/", Database: "d", Collection: "c"},
	} {
		if _, err := database.OpenMongo(o); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("OpenMongo(%s) = %v, want an error without the password", string(o.URI), err)
		}
	}
	db, err := database.OpenMongo(database.MongoOptions{URI: "mongodb://u@127.0.0.1:1/?authSource=admin", Password: "p@ss/word", Database: "d", Collection: "c", TLS: true, Timeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatalf("OpenMongo with a password beside the URI = %v", err)
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := db.Account(ctx, "alice"); err == nil || strings.Contains(err.Error(), "p@ss") || ctx.Err() != nil {
		t.Errorf("Account of a server that is away = %v, want an error without the password", err)
	}
}
