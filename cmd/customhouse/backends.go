package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"sync"
	"time"

	"customhouse"
	"customhouse/authn"
	"customhouse/authz"
	"customhouse/config"
	"customhouse/database"
)

// backends are the connections to directories and databases, by section. One whose settings stay the same lives on through a
// reload, with what it remembers, until nobody uses it.
type backends struct {
	mu  sync.Mutex
	all map[string]*backend
}

type backend struct {
	settings  any
	component any
	users     int // configurations
}

// share returns the component of a section that has these settings, which opens where there is none. It is closed when
// the last configuration that has it ends.
func share[T any](p parts, section string, settings any, open func() (T, error)) (T, error) {
	b := p.backends
	b.mu.Lock()
	defer b.mu.Unlock()
	have, ok := b.all[section]
	if !ok || !reflect.DeepEqual(have.settings, settings) {
		component, err := open()
		if err != nil {
			return component, err
		}
		have = &backend{settings: settings, component: component}
		b.all[section] = have
	}
	have.users++
	p.ends.close(closer(func() error { return b.leave(section, have) }))
	return have.component.(T), nil
}

// leave notes that a configuration has ended.
func (b *backends) leave(section string, one *backend) error {
	b.mu.Lock()
	one.users--
	last := one.users == 0
	if last && b.all[section] == one {
		delete(b.all, section)
	}
	b.mu.Unlock()
	if c, ok := one.component.(io.Closer); last && ok {
		return c.Close()
	}
	return nil
}

// holds tells whether a component is closed by who leaves it.
func (b *backends) holds(component any) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, one := range b.all {
		if one.component == component {
			return true
		}
	}
	return false
}

// oldestList returns how long ago the access list was read that was read longest ago, 0 without any.
func (b *backends) oldestList() (oldest time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, one := range b.all {
		if list, ok := one.component.(*authz.Stored); ok {
			age, _ := list.Age()
			oldest = max(oldest, age)
		}
	}
	return oldest
}

// closer is a function that closes something.
type closer func() error

// Close calls it.
func (c closer) Close() error { return c() }

func (p parts) ldap(c *config.Config) (authn.Authenticator, error) {
	l := c.Auth.LDAP
	if !l.Enabled() {
		return nil, nil
	}
	if l.Plaintext {
		p.log.Warn("auth.ldap.plaintext: passwords cross the network readable", "servers", l.Servers)
	}
	if l.SkipVerify {
		p.log.Warn("auth.ldap.insecure_tls_skip_verify: whoever is on the way can read passwords", "servers", l.Servers)
	}
	return share(p, "auth.ldap", l, func() (authn.Authenticator, error) {
		o := authn.LDAPOptions{
			Servers: l.Servers, Plaintext: l.Plaintext, CA: l.CACertificate, ServerName: l.ServerName, SkipVerify: l.SkipVerify,
			BindDN: l.BindDN, PasswordFile: l.BindPasswordFile, BindAsUser: l.BindAsUser, Base: l.Base, Filter: l.Filter, Account: l.Account,
			Labels: map[string]authn.LDAPLabel{}, Timeout: l.Timeout, Connections: l.Connections, Memory: memory(l.Cache), Grace: l.Grace, Log: p.log,
		}
		for name, label := range l.Labels {
			o.Labels[name] = authn.LDAPLabel(label)
		}
		o.Groups = authn.LDAPGroups(l.Groups)
		return authn.NewLDAP(p.passwords, o)
	})
}

// memory returns a setting where 0 is never as an option where negative is.
func memory[T ~int64](cache T) T {
	if cache == 0 {
		return -1
	}
	return cache
}

func (p parts) sql(c *config.Config) (authn.Authenticator, error) {
	s := c.Auth.SQL
	if !s.Enabled() {
		return nil, nil
	}
	db, settings, err := p.openSQL("auth.sql", s.SQLDatabase, s.Query)
	if err != nil {
		return nil, err
	}
	return p.accountsOf(db, settings, "sql", s.Remembered)
}

func (p parts) mongo(c *config.Config) (authn.Authenticator, error) {
	m := c.Auth.Mongo
	if !m.Enabled() {
		return nil, nil
	}
	db, settings, err := p.openMongo("auth.mongo", m.MongoCollection)
	if err != nil {
		return nil, err
	}
	return p.accountsOf(db, settings, "mongo", m.Remembered)
}

// accountsOf returns an authenticator for a database, and keeps what it remembers as long as the database is the same.
func (p parts) accountsOf(db authn.AccountSource, settings any, method string, r config.Remembered) (authn.Authenticator, error) {
	return share(p, "accounts of "+method, []any{settings, r}, func() (authn.Authenticator, error) {
		return authn.NewAccounts(db, p.passwords, authn.AccountsOptions{Method: method, Memory: memory(r.Cache), Grace: r.Grace}), nil
	})
}

// openSQL returns the database of a section, and what makes it another.
func (p parts) openSQL(section string, d config.SQLDatabase, query string) (db *database.SQL, settings any, err error) {
	o := database.SQLOptions{Driver: d.Driver, Query: query, Timeout: d.Timeout, Connections: d.Connections}
	if o.Source, err = secretOf(d.Source, d.SourceFile); err != nil {
		return nil, nil, err
	}
	db, err = share(p, section, o, func() (*database.SQL, error) { return database.OpenSQL(o) })
	return db, o, err
}

// openMongo returns the collection of a section, and what makes it another.
func (p parts) openMongo(section string, m config.MongoCollection) (db *database.Mongo, settings any, err error) {
	o := database.MongoOptions{URI: m.URI, TLS: m.TLS, Database: m.Database, Collection: m.Collection, Timeout: m.Timeout, Connections: m.Connections}
	if o.Password, err = secretOf("", m.PasswordFile); err != nil {
		return nil, nil, err
	}
	db, err = share(p, section, o, func() (*database.Mongo, error) { return database.OpenMongo(o) })
	return db, o, err
}

// secretOf returns a secret, or the content of the file that holds it.
func secretOf(secret customhouse.Secret, file string) (customhouse.Secret, error) {
	if file == "" {
		return secret, nil
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	text := strings.TrimRight(string(content), "\r\n")
	if text == "" {
		return "", fmt.Errorf("%s: is empty", file)
	}
	return customhouse.Secret(text), nil
}

func (p parts) storedSQL(c *config.Config) (authz.Authorizer, error) {
	s := c.Authorize.SQL
	if !s.Enabled() {
		return nil, nil
	}
	db, settings, err := p.openSQL("authorize.sql", s.SQLDatabase, "")
	if err != nil {
		return nil, err
	}
	return p.stored(c, accessList{"sql", db}, settings, s.Refreshed)
}

func (p parts) storedMongo(c *config.Config) (authz.Authorizer, error) {
	m := c.Authorize.Mongo
	if !m.Enabled() {
		return nil, nil
	}
	db, settings, err := p.openMongo("authorize.mongo", m.MongoCollection)
	if err != nil {
		return nil, err
	}
	return p.stored(c, accessList{"mongo", db}, settings, m.Refreshed)
}

// stored returns what decides by an access list, and goes on with the list of one before it.
func (p parts) stored(c *config.Config, list accessList, settings any, r config.Refreshed) (authz.Authorizer, error) {
	return share[authz.Authorizer](p, "access list of "+list.name, []any{settings, r, c.Dialect, c.CompatRawPlaceholders}, func() (authz.Authorizer, error) {
		return authz.NewStored(list, authz.StoredOptions{Refresh: r.Refresh, MaxStale: r.MaxStale, Compile: c.Compile, Log: p.log}), nil
	})
}

// accessList is a database as a source of rules.
type accessList struct {
	name string
	from interface {
		Rules(context.Context) ([]database.Rule, error)
	}
}

// Name returns the key of the database.
func (a accessList) Name() string { return a.name }

// Entries implements authz.Source.
func (a accessList) Entries(ctx context.Context) ([]authz.Entry, error) {
	rules, err := a.from.Rules(ctx)
	if err != nil {
		return nil, err
	}
	entries := make([]authz.Entry, len(rules))
	for i, r := range rules {
		rule, err := authz.ParseEntry(r.Text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.Place, err)
		}
		entries[i] = authz.Entry{Seq: r.Seq, Rule: rule}
	}
	return entries, nil
}
