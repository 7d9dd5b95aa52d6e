package compat

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"time"

	"customhouse"
	"customhouse/config"
	"customhouse/policy"
)

// LoadDockerAuth reads the configuration of cesanta/docker_auth at path and checks it, along with the files that it
// names. The error is config.Errors, or that of reading the file. Warnings come with an error too.
func LoadDockerAuth(path string, o Options) (*config.Config, []Warning, error) {
	data, err := config.ReadForeign(path)
	if err != nil {
		return nil, nil, err
	}
	return dockerAuthFrom(path, data, o, true)
}

// ParseDockerAuth is LoadDockerAuth of data, the content of a file that messages call name, without a look at the files
// that it names.
func ParseDockerAuth(name string, data []byte, o Options) (*config.Config, []Warning, error) {
	return dockerAuthFrom(name, data, o, false)
}

func dockerAuthFrom(name string, data []byte, o Options, checkFiles bool) (*config.Config, []Warning, error) {
	t := dockerTranslation{translation: translation{name: name, dir: o.Dir, checkFiles: checkFiles}, lenient: o.Lenient}
	err := t.begin(data, &t.from, config.ForeignOptions{Lenient: o.Lenient, Unknown: unknownDockerKey})
	if err != nil {
		return nil, nil, err
	}
	t.data = t.absolute(o.Data)
	t.translate()
	return t.end()
}

// dockerTranslation is one docker_auth file on its way into a Config.
type dockerTranslation struct {
	translation
	lenient bool
	data    string // the folder that counts before the one that the file names; "" for none
	from    dockerAuth
}

func (t *dockerTranslation) translate() {
	t.to.Auth.Accounts, t.to.Auth.Anonymous = false, false // nobody but those whom the file knows
	t.to.Rules, t.to.Data = []policy.Rule{}, t.data
	t.server()
	t.token()
	t.users()
	t.signIns()
	t.ldap()
	t.mongo()
	t.xorm()
	t.programs()
	t.casbin()
	t.rules()
	t.methods()
	t.overlay(&t.from.Customhouse)
	t.to.Data = cmp.Or(t.data, t.to.Data)
	t.check(dockerOrigins)
	t.lint()
}

// methods checks that somebody is asked who is asking, and what they may, be it in our section alone.
func (t *dockerTranslation) methods() {
	f := &t.from
	own := func(key string) bool { return hasKey(&f.Customhouse, key) }
	if f.Users == nil && f.Google == nil && f.GitHub == nil && f.OIDC == nil && f.GitLab == nil && f.LDAP == nil &&
		f.Mongo == nil && f.XORM == nil && f.Ext == nil && f.PluginN == nil && !own("auth") {
		t.wrong("", "no way to log in is configured; write users: {} to deny everybody")
	}
	if f.ACL == nil && f.ACLMongo == nil && f.ACLXORM == nil && f.ExtZ == nil && f.PluginZ == nil && f.Casbin == nil &&
		!own("authorize") && !own("rules") {
		t.wrong("", "nothing says who may do what; write acl: [] to deny everything")
	}
}

// dockerOrigins are the keys of customhouse.yml that come from another key in docker_auth's file.
var dockerOrigins = []origin{
	{"tls.certificate", "server.certificate"},
	{"tls.key", "server.key"},
	{"tls.minimum", "server.tls_min_version"},
	{"tls.curves", "server.tls_curve_preferences"},
	{"tls.cipher_suites", "server.tls_cipher_suites"},
	{"tls.acme.hosts", "server.letsencrypt.host"},
	{"tls.acme", "server.letsencrypt"},
	{"real_ip.header", "server.real_ip_header"},
	{"http.prefix", "server.path_prefix"},
	{"auth.users", "users"},
	{"auth.exec", "ext_auth"},
	{"auth.google", "google_auth"},
	{"auth.github.web_url", "github_auth.github_web_uri"},
	{"auth.github.api_url", "github_auth.github_api_uri"},
	{"auth.github", "github_auth"},
	{"auth.oidc.account_claim", "oidc_auth.user_claim"},
	{"auth.oidc", "oidc_auth"},
	{"auth.gitlab.web_url", "gitlab_auth.gitlab_web_uri"},
	{"auth.gitlab.api_url", "gitlab_auth.gitlab_api_uri"},
	{"auth.gitlab.redirect_url", "gitlab_auth.redirect_uri"},
	{"auth.gitlab", "gitlab_auth"},
	{"auth.ldap.servers[0]", "ldap_auth.addr"},
	{"auth.ldap", "ldap_auth"},
	{"auth.mongo", "mongo_auth"},
	{"auth.sql", "xorm_auth"},
	{"authorize.exec", "ext_authz"},
	{"authorize.mongo", "acl_mongo"},
	{"authorize.sql", "acl_xorm"},
	{"authorize.casbin.model", "casbin_authz.model_path"},
	{"authorize.casbin.policy", "casbin_authz.policy_path"},
	{"listen", "server.addr"},
	{"rules", "acl"},
}

// users translates the static users.
func (t *dockerTranslation) users() {
	if t.from.Users == nil {
		return
	}
	t.to.Auth.Users = map[string]config.User{}
	for _, name := range slices.Sorted(maps.Keys(t.from.Users)) {
		key := config.JoinKey("users", name)
		u := t.from.Users[name]
		switch {
		case u == nil:
			t.warn(key, "has no value, which makes it no account, as in docker_auth; write {} for one without a password")
		case name == "":
			t.anonymous(key, u)
		case u.Password == nil:
			t.passwordless(key, name, u)
		case bcryptHash.MatchString(string(*u.Password)) && !config.IsBcrypt(string(*u.Password)):
			t.wrong(config.JoinKey(key, "password"), "a bcrypt hash that would take seconds to check; `customhouse hash` makes one that does not")
		case !config.IsBcrypt(string(*u.Password)):
			t.warn(config.JoinKey(key, "password"), "not a bcrypt hash, so that nobody can log in with it, as in docker_auth; `customhouse hash` makes one of a password")
			t.to.Auth.Users[name] = config.User{Password: lockedHash, Labels: u.Labels}
		default:
			t.to.Auth.Users[name] = config.User{Password: *u.Password, Labels: u.Labels}
		}
	}
}

// passwordless translates a named account without a password, whom docker_auth let in with any password and with none.
func (t *dockerTranslation) passwordless(key, name string, u *dockerUser) {
	sw := "customhouse: {auth: {users: {" + strconv.Quote(name) + ": {any_password: true}}}}"
	t.to.Auth.Users[name] = config.User{AnyPassword: t.lenient, Labels: u.Labels}
	switch {
	case t.lenient:
		t.deviation("A5", "", key, "has no password: whoever names this account is let in, with any password or none")
	case !hasKey(&t.from.Customhouse, "auth", "users", name):
		t.wrong(key, "has no password: docker_auth let in whoever names this account, with any password or none; set password or, if that is meant, write "+sw)
	}
}

// lockedHash is well-formed and nobody knows its password: an account that nobody can log in to, rather than none, which
// another source could have.
const lockedHash = "$2b$10$....................................................."

// bcryptHash matches what docker_auth takes for a hash, whatever its cost.
var bcryptHash = regexp.MustCompile(`^\$2[aby]?\$[0-9]{2}\$[./A-Za-z0-9]{53}$`)

// anonymous translates the user "", who needs no account.
func (t *dockerTranslation) anonymous(key string, u *dockerUser) {
	t.to.Auth.Anonymous = true
	if u.Password != nil {
		t.wrong(config.JoinKey(key, "password"), "anonymous has no password; remove it, or name the account")
	}
	if len(u.Labels) > 0 {
		t.to.Auth.Users[""] = config.User{Labels: u.Labels}
	}
}

// rules translates the ACL, which is read as docker_auth reads it.
func (t *dockerTranslation) rules() {
	t.to.Dialect = config.DialectDockerAuth
	for i, r := range t.from.ACL {
		key := fmt.Sprintf("acl[%d]", i)
		line, _ := t.file.At(key)
		rule := policy.Rule{Comment: r.Comment, Source: fmt.Sprintf("%s:%d", t.name, line)}
		if r.Match == nil {
			t.wrong(key+".match", "is missing, which crashed docker_auth; write match: {} to match everybody")
		} else {
			m := *r.Match
			rule.Match = policy.Match{
				Account: policy.Just(m.Account), Type: policy.Just(m.Type), Name: policy.Just(m.Name),
				Service: policy.Just(m.Service), IP: policy.Just(m.IP), Labels: policy.JustEach(m.Labels),
			}
		}
		if r.Actions == nil {
			t.wrong(key+".actions", "is missing, which crashed docker_auth; write actions: [] to deny")
		}
		rule.Actions = []customhouse.Action{}
		for _, a := range r.Actions {
			rule.Actions = append(rule.Actions, customhouse.Action(a))
		}
		t.to.Rules = append(t.to.Rules, rule)
	}
}

// lint warns of rules that are likely not what was meant, and of those that read names and labels as patterns.
func (t *dockerTranslation) lint() {
	if t.file.Err() != nil {
		return
	}
	for i, r := range t.from.ACL {
		if key := fmt.Sprintf("acl[%d].match", i); r.Match.spliced() && !t.to.CompatRawPlaceholders {
			t.deviation("A1", "customhouse: {compat_raw_placeholders: true}", key,
				"what ${labels:KEY} and ${account:1} stand for is text; docker_auth read it as a pattern, so that an account or a label called * was everything")
		}
	}
	p, err := t.to.Compile(t.to.Rules)
	if err != nil || hasKey(&t.from.Customhouse, "rules") {
		return
	}
	for _, f := range p.Lint(time.Time{}) {
		key := fmt.Sprintf("acl[%d]", f.Rule)
		if f.Field != "" {
			key += "." + f.Field
		}
		t.deviation("A2", "", key, "%s", f.Message)
	}
}

// spliced tells whether a pattern of m has a placeholder for a capture or a label.
func (m *dockerMatch) spliced() bool {
	patterns := slices.Collect(maps.Values(m.Labels))
	for _, p := range []*string{m.Account, m.Type, m.Name, m.Service} {
		if p != nil {
			patterns = append(patterns, *p)
		}
	}
	return slices.ContainsFunc(patterns, spliced.MatchString)
}

var spliced = regexp.MustCompile(`\$\{(labels:.+?|.+?:[0-9]+)\}`)
