package config

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"customhouse"
)

// OAuthClient is what the sections of all the places have in common where people sign in with a browser.
type OAuthClient struct {
	// What the provider calls this registry. Empty, with client_secret, does without the provider.
	ClientID string `yaml:"client_id"`

	// The secret that came with client_id.
	ClientSecret customhouse.Secret `yaml:"client_secret"`

	// A file with the secret, in place of client_secret. Space around it does not count.
	ClientSecretFile string `yaml:"client_secret_file"`

	// Where the provider sends browsers back to, as it is registered there. Empty is public_url and
	// /ui/callback/NAME, with the name of the section.
	RedirectURL string `yaml:"redirect_url"`

	// How long a request to the provider may take.
	Timeout time.Duration `yaml:"timeout"`

	// How long the provider's word counts before it is asked again whether it still vouches, and for what groups.
	RevalidateAfter time.Duration `yaml:"revalidate_after"`

	// Hosts beside those of the URLs here that the provider may send us to although they are in a private network.
	Hosts []string `yaml:"hosts"`
}

// Enabled tells whether people sign in there.
func (o OAuthClient) Enabled() bool { return o.ClientID != "" }

// OIDC is the section auth.oidc.
type OIDC struct {
	OAuthClient

	// The issuer, exactly as the provider spells it in its discovery document.
	Issuer string `yaml:"issuer"`

	// What people read on the page. Empty is the host of the issuer.
	Title string `yaml:"title"`

	// What is asked for. Empty is openid, email and, where the provider has it, offline_access, without which it cannot
	// be asked again.
	Scopes []string `yaml:"scopes"`

	// The claim that is the name of the account.
	AccountClaim string `yaml:"account_claim"`

	// Which claims become labels: label: claim. The names of nested claims are joined by dots, such as
	// realm_access.roles. A claim may be a text or a list.
	Labels map[string]string `yaml:"labels"`

	// Whether an email address counts that the provider does not say is verified.
	AllowUnverifiedEmail bool `yaml:"allow_unverified_email"`

	// How long a sign-in counts where the provider gives no refresh token to ask it again with. 0 is for ever.
	SignInAgain time.Duration `yaml:"sign_in_again"`
}

// GitHub is the section auth.github.
type GitHub struct {
	OAuthClient

	// The organization that people have to be members of. Their teams in it become the label teams. Empty is everybody
	// who has an account at GitHub.
	Organization string `yaml:"organization"`

	// Where people sign in.
	WebURL string `yaml:"web_url"`

	// Where GitHub is asked. That of GitHub Enterprise Server ends in /api/v3.
	APIURL string `yaml:"api_url"`
}

// GitLab is the section auth.gitlab.
type GitLab struct {
	OAuthClient

	// The full path of the group that people have to be in, or in one below it. Empty is everybody who has an account.
	Group string `yaml:"group"`

	// What is asked for. The label groups needs openid.
	Scopes []string `yaml:"scopes"`

	// Where people sign in.
	WebURL string `yaml:"web_url"`

	// Where GitLab is asked. Empty is web_url and /api/v4.
	APIURL string `yaml:"api_url"`
}

// Google is the section auth.google.
type Google struct {
	OAuthClient

	// The domain of the organization that people have to be of. Empty is everybody who has an account at Google.
	Domain string `yaml:"domain"`
}

// AppPasswords is the section auth.app_passwords.
type AppPasswords struct {
	// The lifetime that the page offers first.
	Expiration time.Duration `yaml:"expiration"`

	// The longest lifetime that can be chosen. 0 is for ever.
	MaxExpiration time.Duration `yaml:"max_expiration"`

	// How many passwords a person may have.
	PerAccount int `yaml:"per_account"`

	// How long a browser stays signed in.
	Session time.Duration `yaml:"session"`

	// A file with the key that encrypts what providers give us: 32 bytes in base 64. Empty makes one in the folder keys of
	// data at the first start.
	Key string `yaml:"key"`

	// Whether accounts of the same name are one account, whichever source or provider vouches for them: the first in
	// auth.order that knows the name checks its password. Otherwise a name belongs to the first who comes with it, and
	// others are refused.
	MergeIdentities bool `yaml:"merge_identities"`

	// Whether the pages answer at docker_auth's paths too, such as /github_auth, and providers send browsers back there.
	DockerAuthPaths bool `yaml:"docker_auth_paths"`

	// Databases in which docker_auth kept who has signed in. Each is read once; the passwords in it stay good.
	Import []TokenDB `yaml:"import"`
}

// TokenDB is an entry of auth.app_passwords.import.
type TokenDB struct {
	// The section of auth whose people are in it.
	Provider string `yaml:"provider" jsonschema:"required,enum=google,enum=github,enum=oidc,enum=gitlab"`

	// The folder of a LevelDB database (level_token_db.path).
	LevelDB string `yaml:"level_db"`

	// A database in Redis (redis_token_db), such as redis://:PASSWORD@HOST:6379/0, with rediss:// for TLS. A cluster may be named
	// by several of its servers: HOST:6379,HOST:6379; a socket as unix://:PASSWORD@/PATH?db=0.
	Redis customhouse.Secret `yaml:"redis"`

	// A file with what redis would have, in its place.
	RedisFile string `yaml:"redis_file"`

	// A bucket in Google Cloud Storage (gcs_token_db).
	GCS string `yaml:"gcs"`

	// The key of a service account that may read the bucket: the JSON file that Google has given for it.
	GCSKeyFile string `yaml:"gcs_key_file"`

	// Where Google Cloud Storage is reached, if not at https://storage.googleapis.com.
	GCSEndpoint string `yaml:"gcs_endpoint"`
}

// clients returns the providers by their key in auth.
func (a *Auth) clients() map[string]*OAuthClient {
	return map[string]*OAuthClient{
		"auth.oidc": &a.OIDC.OAuthClient, "auth.github": &a.GitHub.OAuthClient, "auth.gitlab": &a.GitLab.OAuthClient, "auth.google": &a.Google.OAuthClient,
	}
}

// Browser tells whether anybody signs in with a browser.
func (a *Auth) Browser() bool {
	for _, o := range a.clients() {
		if o.Enabled() {
			return true
		}
	}
	return false
}

// defaultClient is what OAuthClient has without a file.
func defaultClient() OAuthClient {
	return OAuthClient{Timeout: 10 * time.Second, RevalidateAfter: time.Hour}
}

func (c *Config) checkOAuth(p *problems) {
	clients := c.Auth.clients()
	for _, section := range slices.Sorted(maps.Keys(clients)) {
		o := clients[section]
		p.check(o.Timeout > 0, section+".timeout", "want more than 0s")
		p.check(o.RevalidateAfter > 0, section+".revalidate_after", "want more than 0s")
		p.check(o.ClientSecret == "" || o.ClientSecretFile == "", section+".client_secret_file", "stands beside client_secret; remove one of them")
		p.check(o.RedirectURL == "" || isURL(o.RedirectURL), section+".redirect_url", "want a URL, such as https://registry.example.com/ui/callback/"+strings.TrimPrefix(section, "auth."))
		for i, h := range o.Hosts {
			p.check(isHost(h) && !strings.Contains(h, ":"), fmt.Sprintf("%s.hosts[%d]", section, i), "want the name of a host without a port")
		}
		secret := o.ClientSecret != "" || o.ClientSecretFile != ""
		p.check(o.Enabled() || !secret, section+".client_id", "missing beside client_secret")
		p.check(!o.Enabled() || secret || section == "auth.oidc", section+".client_secret", "missing beside client_id; or name a file with client_secret_file")
		p.check(!o.Enabled() || !c.Auth.Off, section, "has no effect with auth.off; remove one of them")
	}
	a := &c.Auth
	p.check(a.OIDC.Enabled() || a.OIDC.Issuer == "", "auth.oidc.client_id", "missing beside issuer")
	p.check(!a.OIDC.Enabled() || isURL(a.OIDC.Issuer), "auth.oidc.issuer", "want the URL of the provider, such as https://id.example.com")
	p.check(!a.OIDC.Enabled() || len(a.OIDC.Scopes) == 0 || slices.Contains(a.OIDC.Scopes, "openid"), "auth.oidc.scopes", "want openid among them")
	p.check(a.OIDC.AccountClaim != "", "auth.oidc.account_claim", "must not be empty")
	p.check(a.OIDC.SignInAgain >= 0, "auth.oidc.sign_in_again", "must not be negative")
	p.check(isURL(a.GitHub.WebURL), "auth.github.web_url", "want a URL, such as https://github.com")
	p.check(isURL(a.GitHub.APIURL), "auth.github.api_url", "want a URL, such as https://api.github.com")
	p.check(isURL(a.GitLab.WebURL), "auth.gitlab.web_url", "want a URL, such as https://gitlab.com")
	p.check(a.GitLab.APIURL == "" || isURL(a.GitLab.APIURL), "auth.gitlab.api_url", "want a URL, such as https://gitlab.com/api/v4")
	p.check(a.GitLab.Group == "" || slices.Contains(a.GitLab.Scopes, "openid"), "auth.gitlab.group", "needs openid among the scopes: without, groups are not told")
	p.check(!strings.ContainsAny(a.Google.Domain, "@/ "), "auth.google.domain", "want a domain, such as example.com")
	w := a.AppPasswords
	p.check(w.Expiration >= 24*time.Hour, "auth.app_passwords.expiration", "want at least 24h")
	p.check(w.MaxExpiration == 0 || w.MaxExpiration >= 24*time.Hour, "auth.app_passwords.max_expiration", "want 0 or at least 24h")
	p.check(w.PerAccount >= 1 && w.PerAccount <= 1000, "auth.app_passwords.per_account", "want 1 to 1000")
	p.check(w.Session >= time.Minute, "auth.app_passwords.session", "want at least 1m")
	for i, db := range w.Import {
		key := fmt.Sprintf("auth.app_passwords.import[%d]", i)
		o := clients["auth."+db.Provider]
		p.add(key+".provider", oneOf(db.Provider, "google", "github", "oidc", "gitlab"))
		p.check(o == nil || o.Enabled(), key+".provider", "nobody signs in there; it has no client_id")
		kinds := 0
		for _, named := range []bool{db.LevelDB != "", db.Redis != "", db.RedisFile != "", db.GCS != ""} {
			if named {
				kinds++
			}
		}
		p.check(kinds > 0, key+".level_db", "missing; the folder of the database; or redis, redis_file or gcs")
		p.check(kinds < 2, key, "want one of level_db, redis, redis_file and gcs")
		scheme, _, _ := strings.Cut(string(db.Redis), "://")
		p.check(db.Redis == "" || slices.Contains([]string{"redis", "rediss", "unix"}, scheme), key+".redis", "want redis://HOST:PORT, rediss://HOST:PORT or unix:///PATH")
		p.check(db.GCS == "" || db.GCSKeyFile != "", key+".gcs_key_file", "missing; the file with the key of a service account")
		p.check(db.GCSEndpoint == "" || isURL(db.GCSEndpoint), key+".gcs_endpoint", "want a URL, such as https://storage.googleapis.com")
	}
}

// isURL matches a URL of http or https without user, query and fragment.
func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && isHost(u.Host) && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

// oauthPaths adds the values that are paths.
func (a *Auth) oauthPaths(paths map[string]*string) {
	for section, o := range a.clients() {
		paths[section+".client_secret_file"] = &o.ClientSecretFile
	}
	paths["auth.app_passwords.key"] = &a.AppPasswords.Key
}
