//go:build linux

package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"golang.org/x/crypto/bcrypt"

	"customhouse/e2e/backend"
)

// TestDirectories runs the server over a real LDAP directory, a PostgreSQL and a MongoDB database: who logs in, what the
// groups and the stored access lists open, and what an outage and a reload do.
func TestDirectories(t *testing.T) {
	slapd, postgres, ferret := backend.NewSlapd(t), backend.NewPostgres(t), backend.NewFerretDB(t)
	alice := slapd.AddPerson("alice", "alice-secret")
	slapd.AddGroup("dev", alice)
	slapd.AddPerson("writer", "WRITER-secret") // whose name is one of the configuration
	hash := func(password string) string {
		h, err := bcrypt.GenerateFromPassword([]byte(password), 4)
		must(t, err)
		return string(h)
	}
	postgres.Exec(t,
		"CREATE TABLE xorm_user (id BIGSERIAL PRIMARY KEY, username VARCHAR(128) NOT NULL, password_hash VARCHAR(128) NOT NULL, labels JSON)",
		"CREATE TABLE xorm_acl_entry (acl_entry JSON, seq INTEGER)",
		fmt.Sprintf(`INSERT INTO xorm_user (username, password_hash, labels) VALUES ('bob', '%s', '{"group": ["ops"]}')`, hash("bob-secret")),
		`INSERT INTO xorm_acl_entry (acl_entry, seq) VALUES ('{"Match": {"account": "carol", "name": "stored/**"}, "Actions": ["pull"]}', 10)`,
	)
	documents := ferret.Client.Database("docker_auth")
	if _, err := documents.Collection("users").InsertOne(t.Context(), bson.M{"username": "carol", "password": hash("carol-secret")}); err != nil {
		t.Fatal(err)
	}
	if _, err := documents.Collection("acl").InsertOne(t.Context(), bson.M{"seq": 1, "match": bson.M{"account": "bob", "name": "mongo/**"}, "actions": bson.A{"pull"}}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, dir, "reader", backend.ReaderPassword+"\n")
	write(t, dir, "source", postgres.Source+"\n")
	text := fmt.Sprintf(`
log: {requests: false}
auth:
  basic: true
  users:
    writer: {password: %q}
  ldap:
    servers: [%s]
    ca_certificate: %s
    bind_dn: %s
    bind_password_file: reader
    base: ou=people,%s
    groups: {base: "ou=groups,%s", filter: "(member=${dn})"}
    cache: 0s
    timeout: 2s
  sql: {driver: postgres, source_file: source, cache: 0s, timeout: 2s}
  mongo: {uri: %q, database: docker_auth, collection: users, timeout: 2s}
authorize:
  sql: {driver: postgres, source_file: source, refresh: 1s}
  mongo: {uri: %q, database: docker_auth, collection: acl, refresh: 1s}
rules:
  - match: {name: "team/**", labels: {group: dev}}
    actions: [pull]
  - match: {name: "team/**", labels: {group: ops}}
    actions: [pull]
  - match: {account: writer}
    actions: [pull]
`, hash("writer-secret"), slapd.URL, slapd.CA, backend.ReaderDN, backend.Suffix, backend.Suffix, ferret.URI, ferret.URI)
	file := write(t, dir, "customhouse.yml", text)
	house := serve(t, file)
	a := newAPI(t, house.url)
	status := func(name, repository string) int {
		t.Helper()
		got, err := a.as(name).get("/v2/" + repository + "/tags/list")
		must(t, err)
		return got.status
	}
	const may, mayNot, unknown, cannotTell = 404, 403, 401, 503 // there are no tags
	expect := func(when, name, repository string, want int) {
		t.Helper()
		if got := status(name, repository); got != want {
			t.Errorf("%s: %s asks for %s: %d, want %d", when, name, repository, got, want)
		}
	}
	for _, name := range []string{"alice", "bob", "writer"} {
		expect("at first", name, "team/app", may)
	}
	expect("at first", "carol", "team/app", mayNot)
	expect("at first", "carol", "stored/app", may)
	expect("at first", "bob", "stored/app", mayNot)
	expect("at first", "bob", "mongo/app", may)
	expect("at first", "alice", "mongo/app", mayNot)
	expect("at first", "nobody", "team/app", unknown)
	expect("at first", "WRITER", "team/app", unknown)

	// What changes in a directory or a list counts at the next request, or the next reading.
	postgres.Exec(t,
		`UPDATE xorm_user SET labels = '{"group": ["sales"]}' WHERE username = 'bob'`,
		`INSERT INTO xorm_acl_entry (acl_entry, seq) VALUES ('{"Match": {"account": "alice", "name": "stored/**"}, "Actions": ["pull"]}', 20)`)
	expect("after a change", "bob", "team/app", mayNot)
	await(t, 10*time.Second, func() bool { return status("alice", "stored/app") == may })

	// A bad list changes nothing.
	postgres.Exec(t, `INSERT INTO xorm_acl_entry (acl_entry, seq) VALUES ('{}', 5)`)
	await(t, 10*time.Second, func() bool { return strings.Contains(house.all.String(), "seq 5") })
	expect("with a bad row", "carol", "stored/app", may)

	// An outage is one for those whom it concerns.
	slapd.Stop()
	expect("without LDAP", "writer", "team/app", may)
	expect("without LDAP", "carol", "stored/app", may)
	if got := status("dave", "team/app"); got != cannotTell {
		t.Errorf("without LDAP: somebody whom only LDAP might know: %d, want %d", got, cannotTell)
	}
	expect("without LDAP, while it holds what it said", "alice", "team/app", may)
	replace(t, file, strings.Replace(text, "log: {requests: false}", "log: {requests: false, level: debug}", 1))
	await(t, 10*time.Second, func() bool { return strings.Contains(house.all.String(), "read again") })
	expect("without LDAP, after a reload", "alice", "team/app", may)
	replace(t, file, strings.Replace(text, "(member=${dn})", "(member=${dn}", 1))
	await(t, 10*time.Second, func() bool { return strings.Contains(house.all.String(), "auth.ldap.groups.filter") })
	slapd.Start()
	await(t, 20*time.Second, func() bool { return status("dave", "team/app") == unknown })
	expect("with LDAP again", "alice", "team/app", may)
	if log := house.all.String(); strings.Contains(log, "-secret") {
		t.Errorf("the log tells a password:\n%s", log)
	}
}
