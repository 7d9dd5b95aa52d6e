package compat

import (
	"strings"
	"time"

	"customhouse/config"
)

// mongo translates the sections mongo_auth and acl_mongo.
func (t *dockerTranslation) mongo() {
	if m := t.from.Mongo; m != nil {
		t.dial("mongo_auth", m)
	}
	if m := t.from.ACLMongo; m != nil {
		t.dial("acl_mongo", &m.dockerMongo)
		t.ttl("acl_mongo.cache_ttl", m.CacheTTL)
	}
}

// dial checks how a database of MongoDB is reached.
func (t *dockerTranslation) dial(section string, m *dockerMongo) {
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
	t.path(key+".password_file", d.PasswordFile)
	t.duration(key+".timeout", d.Timeout, 10*time.Second)
	if len(d.Addrs) > 1 {
		t.warn(key+".addrs", "all of them are used, as a replica set; docker_auth used the first alone")
	}
	for name, set := range map[string]bool{
		"direct": bool(d.Direct), "failfast": bool(d.FailFast), "source": d.Source != "", "service": d.Service != "", "mechanism": d.Mechanism != "",
	} {
		if set {
			t.warn(key+"."+name, "has no effect, as in docker_auth")
		}
	}
}

// xorm translates the sections xorm_auth and acl_xorm.
func (t *dockerTranslation) xorm() {
	if x := t.from.XORM; x != nil {
		t.database("xorm_auth", x)
	}
	if x := t.from.ACLXORM; x != nil {
		t.database("acl_xorm", &x.dockerXORM)
		t.ttl("acl_xorm.cache_ttl", x.CacheTTL)
	}
}

// databaseTypes are the kinds of SQL databases that docker_auth knows, and our names for them.
var databaseTypes = map[string]string{"mysql": "mysql", "postgres": "postgres", "sqlite3": "sqlite"}

// database checks how a database of SQL is reached.
func (t *dockerTranslation) database(section string, x *dockerXORM) {
	if databaseTypes[x.DatabaseType] == "" {
		t.wrong(section+".database_type", "want mysql, postgres or sqlite3")
	}
	t.require(section+".conn_string", x.ConnString != "")
}

// ttl returns how long a stored ACL counts.
func (t *dockerTranslation) ttl(key string, d duration) time.Duration {
	if d.Duration <= 0 {
		t.wrong(key, "want a duration above 0, without which docker_auth crashed, such as 1m")
	}
	return t.duration(key, d, time.Minute)
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
	switch l.TLS {
	case "", "none", "starttls", "always":
	default:
		t.wrong("ldap_auth.tls", "want none, starttls or always; docker_auth crashed at every login")
	}
	t.path("ldap_auth.ca_certificate", l.CACertificate)
	t.path("ldap_auth.bind_password_file", l.BindPasswordFile)
	if bool(l.InitialBindAsUser) && !strings.Contains(l.BindDN, "${account}") {
		t.wrong("ldap_auth.bind_dn", "wants ${account} with initial_bind_as_user")
	}
	for name, label := range l.Labels {
		t.require(config.JoinKey("ldap_auth.labels", name)+".attribute", label.Attribute != "")
	}
}
