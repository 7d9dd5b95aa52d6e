// Package database reads the accounts and the access lists that other programs keep in their databases: in tables of
// PostgreSQL, MySQL, MariaDB and SQLite, and in collections of MongoDB. It knows nothing of passwords, of what a rule
// means, or of who asks.
//
//	db, err := database.OpenSQL(database.SQLOptions{Driver: "postgres", Source: "postgres://reader:secret@db/registry"})
//	account, err := db.Account(ctx, "alice")
//	rules, err := db.Rules(ctx)
//
// Opening connects to nobody: a database that is away is an error of whoever asks it, and a mistake in the options is one
// of opening.
package database

import (
	"encoding/json"
	"errors"
	"time"
)

// Rule is an entry of an access list, as it is kept.
type Rule struct {
	Place string // where it stands, for messages
	Seq   int64  // entries are asked in ascending order of it
	Text  []byte // JSON, as docker_auth keeps it
}

// Bounds on what a database may answer.
const (
	maxAccountRows = 10_000  // of one account
	maxRules       = 100_000 // of an access list
	maxCell        = 1 << 20 // bytes
)

const (
	defaultTimeout     = 5 * time.Second
	defaultConnections = 8
)

// parseLabels reads labels in JSON, a list of text for each.
func parseLabels(text []byte) (map[string][]string, error) {
	if len(text) == 0 {
		return nil, nil
	}
	var labels map[string][]string
	if err := json.Unmarshal(text, &labels); err != nil {
		return nil, errors.New(`labels: want JSON such as {"group": ["ci", "ops"]}`)
	}
	if len(labels) == 0 {
		return nil, nil
	}
	return labels, nil
}
