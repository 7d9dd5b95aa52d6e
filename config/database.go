package config

import (
	"path/filepath"
	"strings"
	"time"

	"customhouse"
)

// SQL is the section auth.sql.
type SQL struct {
	SQLDatabase

	// A SELECT that finds the account ${account}, which stands for the name itself, without quotes. Its columns are account, the
	// name as it is kept, password, a bcrypt hash, and labels, as JSON, if there is one; every further column is a label of
	// that name, which has a value for each row. Empty reads docker_auth's table xorm_user.
	Query string `yaml:"query"`

	Remembered
}

// SQLDatabase are the keys that say which SQL database is meant.
type SQLDatabase struct {
	// What kind of database it is: postgres, mysql (MariaDB too) or sqlite3. Empty is none.
	Driver string `yaml:"driver"`

	// The data source name, as docker_auth's conn_string: postgres://USER:PASSWORD@HOST/NAME, USER:PASSWORD@tcp(HOST:3306)/NAME,
	// or the path of a file.
	Source customhouse.Secret `yaml:"source"`

	// A file with the data source name, in place of source. It is read again when it changes.
	SourceFile string `yaml:"source_file"`

	// How long a question may take.
	Timeout time.Duration `yaml:"timeout"`

	// How many connections are used.
	Connections int `yaml:"connections"`
}

// Remembered are the keys that say how long accounts of a database are remembered.
type Remembered struct {
	// How long an account is remembered: a change counts within this time. 0 asks at every request.
	Cache time.Duration `yaml:"cache"`

	// How long it is remembered while the database does not answer.
	Grace time.Duration `yaml:"grace"`
}

// Mongo is the section auth.mongo.
type Mongo struct {
	MongoCollection
	Remembered
}

// MongoCollection are the keys that say which collection of MongoDB is meant.
type MongoCollection struct {
	// Where the database is, such as mongodb://USER:PASSWORD@HOST:27017/?authSource=admin&replicaSet=rs0. Without a user
	// it is asked without an account. Empty is none.
	URI customhouse.Secret `yaml:"uri"`

	// A file with the password of the user in uri. It is read again when it changes.
	PasswordFile string `yaml:"password_file"`

	// Whether connections are encrypted, whatever uri says.
	TLS bool `yaml:"tls"`

	// The name of the database.
	Database string `yaml:"database"`

	// The name of the collection.
	Collection string `yaml:"collection"`

	// How long a question may take.
	Timeout time.Duration `yaml:"timeout"`

	// How many connections are used.
	Connections int `yaml:"connections"`
}

// StoredSQL is the section authorize.sql.
type StoredSQL struct {
	SQLDatabase
	Refreshed
}

// StoredMongo is the section authorize.mongo.
type StoredMongo struct {
	MongoCollection
	Refreshed
}

// Refreshed are the keys that say how long an access list of a database is used.
type Refreshed struct {
	// How often the list is read.
	Refresh time.Duration `yaml:"refresh"`

	// How old the list may be and still decide, when it cannot be read any more. 0 is ten times refresh, at least 10m.
	MaxStale time.Duration `yaml:"max_stale"`
}

// Enabled tells whether a database is asked.
func (d SQLDatabase) Enabled() bool { return d.Driver != "" }

// Enabled tells whether a database is asked.
func (m MongoCollection) Enabled() bool { return m.URI != "" }

// Defaults of sections for databases.
func defaultSQL() SQLDatabase       { return SQLDatabase{Timeout: 5 * time.Second, Connections: 8} }
func defaultMongo() MongoCollection { return MongoCollection{Timeout: 5 * time.Second, Connections: 8} }
func defaultRemembered() Remembered {
	return Remembered{Cache: 5 * time.Second, Grace: 5 * time.Minute}
}
func defaultStoredSQL() StoredSQL { return StoredSQL{defaultSQL(), Refreshed{Refresh: time.Minute}} }
func defaultStoredMongo() StoredMongo {
	return StoredMongo{defaultMongo(), Refreshed{Refresh: time.Minute}}
}

// locate makes the paths of SQLite files, which data source names may be, relative to a folder.
func (c *Config) locate(folder string) {
	for _, d := range []*SQLDatabase{&c.Auth.SQL.SQLDatabase, &c.Authorize.SQL.SQLDatabase} {
		if path := string(d.Source); d.Driver == "sqlite3" && path != "" && !strings.HasPrefix(path, "file:") && !filepath.IsAbs(path) {
			d.Source = customhouse.Secret(filepath.Join(folder, path))
		}
	}
}

func (c *Config) checkDatabases(p *problems) {
	s, m := c.Auth.SQL, c.Auth.Mongo
	if s.SQLDatabase.check(p, "auth.sql") {
		p.check(!c.Auth.Off, "auth.sql", "has no effect with auth.off; remove one of them")
		s.Remembered.check(p, "auth.sql")
		p.check(s.Query == "" || strings.Contains(s.Query, "${account}"), "auth.sql.query", "finds the same for everybody: want ${account} in it")
		p.check(!strings.Contains(s.Query, "'${account}'") && !strings.Contains(s.Query, `"${account}"`), "auth.sql.query", "${account} stands for the name itself, without quotes")
	}
	if m.MongoCollection.check(p, "auth.mongo") {
		p.check(!c.Auth.Off, "auth.mongo", "has no effect with auth.off; remove one of them")
		m.Remembered.check(p, "auth.mongo")
	}
	if c.Authorize.SQL.SQLDatabase.check(p, "authorize.sql") {
		c.Authorize.SQL.Refreshed.check(p, "authorize.sql")
	}
	if c.Authorize.Mongo.MongoCollection.check(p, "authorize.mongo") {
		c.Authorize.Mongo.Refreshed.check(p, "authorize.mongo")
	}
}

// check checks a database, and tells whether there is one.
func (d SQLDatabase) check(p *problems, section string) bool {
	if !d.Enabled() {
		p.check(d.Source == "" && d.SourceFile == "", section+".driver", "missing: postgres, mysql or sqlite3")
		return false
	}
	p.add(section+".driver", oneOf(d.Driver, "postgres", "mysql", "sqlite3"))
	p.check((d.Source == "") != (d.SourceFile == ""), section+".source", "want one of source and source_file")
	checkBounds(p, section, d.Timeout, d.Connections, 0, 0)
	return true
}

// check checks a collection, and tells whether there is one.
func (m MongoCollection) check(p *problems, section string) bool {
	if !m.Enabled() {
		p.check(m.Database == "" && m.Collection == "" && m.PasswordFile == "", section+".uri", "missing, such as mongodb://HOST:27017/")
		return false
	}
	uri := string(m.URI)
	p.check(strings.HasPrefix(uri, "mongodb://") || strings.HasPrefix(uri, "mongodb+srv://"), section+".uri", "want mongodb://[USER[:PASSWORD]@]HOST[:PORT]/[?OPTIONS]")
	p.check(m.PasswordFile == "" || strings.Contains(uri, "@"), section+".password_file", "needs a user in uri, as mongodb://USER@HOST/")
	p.check(m.Database != "", section+".database", "missing")
	p.check(m.Collection != "", section+".collection", "missing")
	checkBounds(p, section, m.Timeout, m.Connections, 0, 0)
	return true
}

func (r Remembered) check(p *problems, section string) {
	checkBounds(p, section, time.Second, 1, r.Cache, r.Grace)
}

func (r Refreshed) check(p *problems, section string) {
	p.check(r.Refresh >= time.Second, section+".refresh", "want at least 1s")
	p.check(r.MaxStale >= 0, section+".max_stale", "must not be negative")
}
