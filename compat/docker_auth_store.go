package compat

import (
	"net/url"
	"strings"
	"time"

	"customhouse"
	"customhouse/config"
)

// mongo translates the sections mongo_auth and acl_mongo.
func (t *dockerTranslation) mongo() {
	if m := t.from.Mongo; m != nil {
		t.collection("mongo_auth", m, &t.to.Auth.Mongo.MongoCollection)
	}
	if m := t.from.ACLMongo; m != nil {
		t.collection("acl_mongo", &m.dockerMongo, &t.to.Authorize.Mongo.MongoCollection)
		t.to.Authorize.Mongo.Refresh = t.ttl("acl_mongo.cache_ttl", m.CacheTTL)
		t.stale("acl_mongo", "authorize: {mongo: {max_stale: 24h}}")
		t.warn("acl_mongo", "rules are asked in the order of seq; docker_auth took them as the database gave them")
	}
}

// collection translates how a collection of MongoDB is reached.
func (t *dockerTranslation) collection(section string, m *dockerMongo, to *config.MongoCollection) {
	t.require(section+".collection", m.Collection != "")
	if m.DialInfo == nil {
		t.wrong(section, "has no dial_info, which crashed docker_auth; write dial_info: {addrs: [...], database: ...}")
		return
	}
	d, key := m.DialInfo, section+".dial_info"
	t.require(key+".addrs", len(d.Addrs) > 0)
	t.require(key+".database", d.Database != "")
	if d.Username == "" {
		t.wrong(key+".username", "is required; docker_auth crashed without it")
	}
	t.duration(key+".timeout", d.Timeout, 0) // docker_auth logs it
	if len(d.Addrs) > 1 {
		t.warn(key+".addrs", "all of them are used, as a replica set; docker_auth used the first alone")
	}
	for _, ignored := range []struct {
		key string
		set bool
	}{
		{"direct", bool(d.Direct)}, {"failfast", bool(d.FailFast)}, {"source", d.Source != ""}, {"service", d.Service != ""}, {"mechanism", d.Mechanism != ""},
	} {
		if ignored.set {
			t.warn(key+"."+ignored.key, "has no effect, as in docker_auth")
		}
	}
	to.Database, to.Collection, to.TLS = d.Database, m.Collection, bool(d.EnableTLS)
	to.PasswordFile = t.path(key+".password_file", d.PasswordFile)
	to.URI = mongoURI(d)
}

// mongoURI returns where d says that MongoDB is. A password file counts before a password.
func mongoURI(d *dockerDial) customhouse.Secret {
	user := url.User(d.Username)
	if d.PasswordFile == "" {
		user = url.UserPassword(d.Username, string(d.Password))
	}
	return customhouse.Secret("mongodb://" + user.String() + "@" + strings.Join(d.Addrs, ",") + "/?authSource=admin")
}

// xorm translates the sections xorm_auth and acl_xorm.
func (t *dockerTranslation) xorm() {
	if x := t.from.XORM; x != nil {
		t.database("xorm_auth", x, &t.to.Auth.SQL.SQLDatabase)
	}
	if x := t.from.ACLXORM; x != nil {
		t.database("acl_xorm", &x.dockerXORM, &t.to.Authorize.SQL.SQLDatabase)
		t.to.Authorize.SQL.Refresh = t.ttl("acl_xorm.cache_ttl", x.CacheTTL)
		t.stale("acl_xorm", "authorize: {sql: {max_stale: 24h}}")
	}
}

// database translates how a database of SQL is reached.
func (t *dockerTranslation) database(section string, x *dockerXORM, to *config.SQLDatabase) {
	switch x.DatabaseType {
	case "mysql", "postgres", "sqlite3":
	default:
		t.wrong(section+".database_type", "want mysql, postgres or sqlite3")
	}
	t.require(section+".conn_string", x.ConnString != "")
	to.Driver, to.Source = x.DatabaseType, x.ConnString
	if file := string(x.ConnString); x.DatabaseType == "sqlite3" && !strings.HasPrefix(file, "file:") {
		to.Source = customhouse.Secret(t.absolute(file))
	}
}

// ttl returns how often a stored ACL is read.
func (t *dockerTranslation) ttl(key string, d duration) time.Duration {
	if d.Duration <= 0 {
		t.wrong(key, "want a duration above 0, without which docker_auth crashed, such as 1m")
	}
	ttl := t.duration(key, d, time.Minute)
	if 0 < ttl && ttl < time.Second {
		t.warn(key, "is read every second; no more often")
		ttl = time.Second
	}
	return ttl
}

// stale tells what becomes of a stored ACL that cannot be read.
func (t *dockerTranslation) stale(section, sw string) {
	t.deviation("A20", "customhouse: {"+sw+"}", section, "when it cannot be read, the last good one decides for ten times cache_ttl and then nobody is let in; "+
		"docker_auth kept it for ever, and a bad entry ended the server")
}

// casbin translates the section casbin_authz.
func (t *dockerTranslation) casbin() {
	c := t.from.Casbin
	if c == nil {
		return
	}
	t.require("casbin_authz.model_path", c.ModelPath != "")
	t.require("casbin_authz.policy_path", c.PolicyPath != "")
	t.to.Authorize.Casbin = config.Casbin{
		Model: t.path("casbin_authz.model_path", c.ModelPath), Policy: t.path("casbin_authz.policy_path", c.PolicyPath),
	}
}

// ldap translates the section ldap_auth.
func (t *dockerTranslation) ldap() {
	l := t.from.LDAP
	if l == nil {
		return
	}
	t.require("ldap_auth.addr", l.Addr != "")
	t.require("ldap_auth.base", l.Base != "")
	if strings.Contains(l.Addr, "://") {
		t.wrong("ldap_auth.addr", "want host:port without a scheme; tls says whether TLS is spoken")
	}
	if !strings.Contains(l.Filter, "${account}") {
		t.wrong("ldap_auth.filter", "does not name the account: whoever it finds could log in as anybody; write ${account} where its name belongs, such as (uid=${account})")
	}
	to := &t.to.Auth.LDAP
	to.Servers = []string{t.ldapServer(l, to)}
	switch {
	case !to.Plaintext:
		to.CACertificate = t.path("ldap_auth.ca_certificate", l.CACertificate)
	case l.CACertificate != "":
		t.warn("ldap_auth.ca_certificate", "has no effect without TLS, as in docker_auth")
	}
	to.SkipVerify = bool(l.SkipVerify)
	to.Base, to.Filter = l.Base, l.Filter
	if strings.Contains(l.Filter, "${account}") && !to.NamesAccount() && !hasKey(&t.from.Customhouse, "auth", "ldap", "account") {
		t.wrong("ldap_auth.filter", "does not tell which attribute holds the name of the account: name it, such as customhouse: {auth: {ldap: {account: uid}}}")
	}
	to.BindDN, to.BindAsUser = l.BindDN, bool(l.InitialBindAsUser)
	if !to.BindAsUser { // else it has no meaning
		to.BindPasswordFile = t.path("ldap_auth.bind_password_file", l.BindPasswordFile)
	}
	for name, label := range l.Labels {
		t.require(config.JoinKey("ldap_auth.labels", name)+".attribute", label.Attribute != "")
		if to.Labels == nil {
			to.Labels = map[string]config.LDAPLabel{}
		}
		to.Labels[name] = config.LDAPLabel{Attribute: label.Attribute, ParseCN: bool(label.ParseCN), LowerCase: bool(label.LowerCase)}
	}
}

// ldapServer returns the URL of the server, and tells to whether it is spoken to in clear.
func (t *dockerTranslation) ldapServer(l *dockerLDAP, to *config.LDAP) string {
	mode := l.TLS
	if mode == "" && strings.HasSuffix(l.Addr, ":636") {
		mode = "always"
	}
	switch mode {
	case "always":
		return "ldaps://" + l.Addr
	case "starttls":
	case "", "none":
		to.Plaintext = true
		t.deviation("A13", "", "ldap_auth", "passwords cross the network readable, as in docker_auth; write tls: starttls or always")
	default:
		t.wrong("ldap_auth.tls", "want none, starttls or always; docker_auth crashed at every login")
	}
	return "ldap://" + l.Addr
}
