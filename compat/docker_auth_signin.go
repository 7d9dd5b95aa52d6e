package compat

import (
	"cmp"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"customhouse"
	"customhouse/config"
)

// Defaults of docker_auth's sign-in pages.
const (
	dockerHTTPTimeout     = 10 * time.Second
	dockerRevalidateAfter = time.Hour
)

// signIns translates the sections of pages where people sign in.
func (t *dockerTranslation) signIns() {
	t.google()
	t.github()
	t.oidc()
	t.gitlab()
	if !t.to.Auth.Browser() {
		return
	}
	t.to.Auth.AppPasswords.DockerAuthPaths = true
	t.owners()
	if t.to.Data == "" && !hasKey(&t.from.Customhouse, "data") {
		t.wrong("", "who has signed in is kept in a folder, and this file names none: write customhouse: {data: /FOLDER}")
	}
}

// owners warns where a person may sign in under a name that somebody else has elsewhere.
func (t *dockerTranslation) owners() {
	f := &t.from
	var pages []string
	sources := 0
	for _, s := range []struct {
		section     string
		there, page bool
	}{
		{"users", f.Users != nil, false}, {"google_auth", f.Google != nil, true}, {"github_auth", f.GitHub != nil, true},
		{"oidc_auth", f.OIDC != nil, true}, {"gitlab_auth", f.GitLab != nil, true}, {"ldap_auth", f.LDAP != nil, false},
		{"mongo_auth", f.Mongo != nil, false}, {"xorm_auth", f.XORM != nil, false}, {"ext_auth", f.Ext != nil, false}, {"plugin_authn", f.PluginN != nil, false},
	} {
		if s.there {
			sources++
		}
		if s.there && s.page {
			pages = append(pages, s.section)
		}
	}
	if sources < 2 || hasKey(&f.Customhouse, "auth", "app_passwords", "merge_identities") {
		return
	}
	t.deviation("A16", "customhouse: {auth: {app_passwords: {merge_identities: true}}}", pages[0],
		"a name belongs to the first source that knows it, and nobody signs in under it elsewhere; docker_auth took both for one account")
}

// google translates the section google_auth.
func (t *dockerTranslation) google() {
	if g := t.from.Google; g != nil {
		t.client("google_auth", "google", &g.dockerClient, &t.to.Auth.Google.OAuthClient)
		t.to.Auth.Google.Domain = g.Domain
		t.deviation("A14", "", "google_auth", "people sign in by OpenID Connect with state, nonce and PKCE, at a page that Google's library is not needed for: "+
			"register the address of google_auth as a redirect URI at Google")
	}
}

// github translates the section github_auth.
func (t *dockerTranslation) github() {
	g := t.from.GitHub
	if g == nil {
		return
	}
	to := &t.to.Auth.GitHub
	t.client("github_auth", "github", &g.dockerClient, &to.OAuthClient)
	to.RevalidateAfter = t.duration("github_auth.revalidate_after", g.RevalidateAfter, dockerRevalidateAfter)
	to.Organization = g.Organization
	replace(&to.WebURL, g.WebURI)
	replace(&to.APIURL, g.APIURI)
	if g.Organization != "" {
		t.deviation("A15", "", "github_auth.organization", "teams are asked for again after revalidate_after; docker_auth kept those of the sign-in for ever")
	}
}

// gitlab translates the section gitlab_auth.
func (t *dockerTranslation) gitlab() {
	g := t.from.GitLab
	if g == nil {
		return
	}
	to := &t.to.Auth.GitLab
	t.client("gitlab_auth", "gitlab", &g.dockerClient, &to.OAuthClient)
	to.RevalidateAfter = t.duration("gitlab_auth.revalidate_after", g.RevalidateAfter, dockerRevalidateAfter)
	to.RedirectURL = g.RedirectURI
	to.Scopes = []string{"read_user"} // without openid, as there: its applications are registered so
	replace(&to.WebURL, g.WebURI)
	replace(&to.APIURL, g.APIURI)
	if g.Organization != "" {
		t.warn("gitlab_auth.organization", "has no effect, as in docker_auth; write customhouse: {auth: {gitlab: {group: ..., scopes: [openid, read_user]}}} to let in a group only")
	}
	if g.GrantType != "" && g.GrantType != "authorization_code" {
		t.wrong("gitlab_auth.grant_type", "want authorization_code")
	}
}

// oidc translates the section oidc_auth.
func (t *dockerTranslation) oidc() {
	o := t.from.OIDC
	if o == nil {
		return
	}
	to := &t.to.Auth.OIDC
	t.require("oidc_auth.issuer", o.Issuer != "")
	t.require("oidc_auth.redirect_url", o.RedirectURL != "")
	t.client("oidc_auth", "oidc", &o.dockerClient, &to.OAuthClient)
	to.Issuer, to.RedirectURL = o.Issuer, o.RedirectURL
	to.Scopes = o.Scopes
	if o.Scopes == nil {
		to.Scopes = []string{"openid", "email"}
	}
	replace(&to.AccountClaim, o.UserClaim)
	t.labelClaims(o, to)
	if to.AccountClaim == "email" && !hasKey(&t.from.Customhouse, "auth", "oidc", "allow_unverified_email") {
		t.deviation("A14", "customhouse: {auth: {oidc: {allow_unverified_email: true}}}", "oidc_auth",
			"an email address counts only where the provider says that it is verified (email_verified)")
	}
}

// labelClaims translates which claims become labels.
func (t *dockerTranslation) labelClaims(o *dockerOIDC, to *config.OIDC) {
	if o.LabelClaims != nil {
		if o.LabelsClaims != nil {
			t.wrong("oidc_auth.label_claims", "stands beside labels_claims, which means the same; remove one of them")
		}
		t.warn("oidc_auth.label_claims", "docker_auth's documentation has this key and docker_auth ignored it; here it is labels_claims: the claims become labels")
	}
	claims := append(o.LabelsClaims, o.LabelClaims...)
	if len(claims) == 0 {
		return
	}
	to.Labels = map[string]string{}
	for _, claim := range claims {
		to.Labels[claim] = claim
	}
	t.deviation("A15", "", "oidc_auth", "labels are those that the provider has told last, not those of the sign-in; a claim that is a single text is one too")
}

// client translates what the sections of all sign-in pages have in common.
func (t *dockerTranslation) client(section, provider string, from *dockerClient, to *config.OAuthClient) {
	t.require(section+".client_id", from.ClientID != "")
	to.ClientID = from.ClientID
	to.ClientSecretFile = t.path(section+".client_secret_file", from.ClientSecretFile)
	if to.ClientSecretFile == "" { // else the file counts
		to.ClientSecret = from.ClientSecret
	}
	if to.ClientSecret == "" && to.ClientSecretFile == "" {
		t.wrong(section+".client_secret", "is required; or client_secret_file")
	}
	to.Timeout = t.duration(section+".http_timeout", from.HTTPTimeout, dockerHTTPTimeout)
	t.tokenDB(section, provider, from)
}

// tokenDB takes over where docker_auth keeps who has signed in, of its kinds the first that stands there in its order.
func (t *dockerTranslation) tokenDB(section, provider string, from *dockerClient) {
	switch {
	case from.GCS != nil:
		t.require(section+".gcs_token_db.bucket", from.GCS.Bucket != "")
		t.require(section+".gcs_token_db.client_secret_file", from.GCS.ClientSecretFile != "")
		t.to.Auth.AppPasswords.Import = append(t.to.Auth.AppPasswords.Import, config.TokenDB{
			Provider: provider, GCS: from.GCS.Bucket, GCSKeyFile: t.path(section+".gcs_token_db.client_secret_file", from.GCS.ClientSecretFile),
		})
		t.warn(section+".gcs_token_db", importedOnce)
	case from.Redis != nil:
		t.redis(section, provider, from.Redis)
	case from.Level != nil:
		t.require(section+".level_token_db.path", from.Level.Path != "")
		t.levelDB(section, provider, t.absolute(from.Level.Path))
	default:
		t.wrong(section, "has no place for the logins that it makes, which crashed docker_auth; write level_token_db: {path: ...}")
	}
}

// levelDB takes a LevelDB database over, once, if it is there. Our own data goes into the same folder, which is kept where
// docker_auth runs in a container: LevelDB minds its own files only.
func (t *dockerTranslation) levelDB(section, provider, folder string) {
	if folder == "" {
		return
	}
	if t.to.Data == "" {
		t.to.Data = filepath.Join(filepath.Dir(folder), "customhouse") // what is to be remembered goes beside what docker_auth remembers
	}
	if _, err := os.Stat(filepath.Join(folder, "CURRENT")); t.checkFiles && err != nil {
		return // nobody has signed in yet
	}
	t.to.Auth.AppPasswords.Import = append(t.to.Auth.AppPasswords.Import, config.TokenDB{Provider: provider, LevelDB: folder})
	t.warn(section+".level_token_db", "is read once and not changed: passwords in it stay good, new ones are kept in %s", t.to.Data)
}

// importedOnce is said of databases elsewhere.
const importedOnce = "is read once and not changed: passwords in it stay good, new ones are kept in the data folder"

// redis takes a database in Redis over, once. Of both kinds of options those of a cluster count, as there.
func (t *dockerTranslation) redis(section, provider string, from *dockerRedis) {
	key := section + ".redis_token_db"
	var servers []string
	var common dockerRedisCommon
	database := 0
	switch {
	case from.Cluster != nil:
		servers, common = from.Cluster.Addrs, from.Cluster.dockerRedisCommon
		t.require(key+".redis_cluster_options.addrs", len(servers) > 0)
	case from.Options != nil:
		servers, common, database = []string{cmp.Or(from.Options.Addr, "localhost:6379")}, from.Options.dockerRedisCommon, int(from.Options.DB)
	default:
		t.wrong(key, "wants redis_options or redis_cluster_options")
		return
	}
	var tls struct {
		SkipVerify boolean `yaml:"insecureskipverify"`
	}
	u := url.URL{Scheme: "redis", Host: strings.Join(servers, ",")}
	socket := from.Cluster == nil && from.Options.Network == "unix"
	if socket {
		u = url.URL{Scheme: "unix", Path: t.absolute(servers[0])}
	}
	if common.TLS.Kind != 0 && !socket {
		u.Scheme = "rediss"
		if common.TLS.Decode(&tls) == nil && bool(tls.SkipVerify) {
			u.RawQuery = "skip_verify=true"
		}
	}
	if common.Password != "" {
		u.User = url.UserPassword("", string(common.Password))
	}
	switch {
	case database == 0:
	case socket:
		u.RawQuery = "db=" + strconv.Itoa(database)
	default:
		u.Path = "/" + strconv.Itoa(database)
	}
	t.to.Auth.AppPasswords.Import = append(t.to.Auth.AppPasswords.Import, config.TokenDB{Provider: provider, Redis: customhouse.Secret(u.String())})
	t.warn(key, importedOnce)
}

// replace sets what has a default, unless s is "".
func replace(to *string, s string) {
	if s != "" {
		*to = s
	}
}
