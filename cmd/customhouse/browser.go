package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"customhouse"
	"customhouse/authn"
	"customhouse/config"
	"customhouse/policy"
	"customhouse/server"
	"customhouse/token"
	"customhouse/web"
)

// browsers are the providers where people sign in, by the key in auth.
var browsers = map[config.Source]func(*config.Config) (authn.Provider, config.OAuthClient, error){
	"oidc":   oidcProvider,
	"github": githubProvider,
	"gitlab": gitlabProvider,
	"google": googleProvider,
}

// browser returns what builds the authenticator of those who sign in at a provider.
func browser(source config.Source) func(parts, *config.Config) (authn.Authenticator, error) {
	return func(p parts, c *config.Config) (authn.Authenticator, error) {
		if provider, o, err := browsers[source](c); provider == nil || !o.Enabled() || err != nil {
			return nil, err
		} else {
			return p.browser(c, provider, o)
		}
	}
}

func (p parts) browser(c *config.Config, provider authn.Provider, o config.OAuthClient) (authn.Authenticator, error) {
	if p.index == nil {
		return nil, errors.New("who has signed in is kept in the data folder, and there is none; name one with data")
	}
	seal, err := sealOf(c)
	if err != nil {
		return nil, err
	}
	a := c.Auth.AppPasswords
	options := authn.BrowserOptions{
		RevalidateAfter: o.RevalidateAfter, SignInAgain: cmp.Or(c.Auth.OIDC.SignInAgain, -1), MaxPasswords: a.PerAccount, Log: p.log,
	}
	if !a.MergeIdentities {
		chained := p.chained
		options.Owner = func(ctx context.Context, account string) (string, error) {
			return chained.chain.Owner(ctx, account, provider.Name())
		}
	}
	b := authn.NewBrowser(provider, p.index, seal, p.passwords, options)
	p.chained.browsers = append(p.chained.browsers, b)
	return b, nil
}

// chained is the chain of a configuration once it is made, and those of its members that need more than to be asked.
type chained struct {
	trace    func(policy.Query) policy.Trace // of the rules
	chain    *authn.Chain
	browsers []*authn.Browser
	keys     *token.Folder         // nil where the key is a file of the operator's
	tokens   *authn.PersonalTokens // nil for none
	robots   *authn.Robots         // nil for none
}

// sealOf returns what encrypts the tokens of providers and the sign-ins under way.
func sealOf(c *config.Config) (*authn.Seal, error) {
	file := c.Auth.AppPasswords.Key
	if file == "" {
		file = filepath.Join(c.Data, "keys", "sign-in.key")
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return nil, err
		}
	}
	return authn.LoadOrCreateSeal(file)
}

// clientSecret returns the secret of a client, without the space around it in a file.
func clientSecret(o config.OAuthClient) (customhouse.Secret, error) {
	secret, err := secretOf(o.ClientSecret, o.ClientSecretFile)
	return customhouse.Secret(strings.TrimSpace(string(secret))), err
}

func clientOf(o config.OAuthClient) authn.ClientOptions {
	return authn.ClientOptions{Timeout: o.Timeout, Hosts: o.Hosts}
}

func oidcProvider(c *config.Config) (authn.Provider, config.OAuthClient, error) {
	o := c.Auth.OIDC
	if !o.Enabled() {
		return nil, o.OAuthClient, nil
	}
	secret, err := clientSecret(o.OAuthClient)
	if err != nil {
		return nil, o.OAuthClient, err
	}
	scopes := o.Scopes
	if len(scopes) == 0 {
		scopes = nil
	}
	p, err := authn.NewOIDC(authn.OIDCOptions{
		Title: o.Title, Issuer: o.Issuer, ClientID: o.ClientID, ClientSecret: secret, Scopes: scopes, AccountClaim: o.AccountClaim,
		Labels: o.Labels, AllowUnverifiedEmail: o.AllowUnverifiedEmail, Client: clientOf(o.OAuthClient),
	})
	return p, o.OAuthClient, err
}

func githubProvider(c *config.Config) (authn.Provider, config.OAuthClient, error) {
	o := c.Auth.GitHub
	if !o.Enabled() {
		return nil, o.OAuthClient, nil
	}
	secret, err := clientSecret(o.OAuthClient)
	if err != nil {
		return nil, o.OAuthClient, err
	}
	p, err := authn.NewGitHub(authn.GitHubOptions{
		ClientID: o.ClientID, ClientSecret: secret, Organization: o.Organization, WebURL: o.WebURL, APIURL: o.APIURL, Client: clientOf(o.OAuthClient),
	})
	return p, o.OAuthClient, err
}

func gitlabProvider(c *config.Config) (authn.Provider, config.OAuthClient, error) {
	o := c.Auth.GitLab
	if !o.Enabled() {
		return nil, o.OAuthClient, nil
	}
	secret, err := clientSecret(o.OAuthClient)
	if err != nil {
		return nil, o.OAuthClient, err
	}
	p, err := authn.NewGitLab(authn.GitLabOptions{
		ClientID: o.ClientID, ClientSecret: secret, Group: o.Group, Scopes: o.Scopes, WebURL: o.WebURL, APIURL: o.APIURL, Client: clientOf(o.OAuthClient),
	})
	return p, o.OAuthClient, err
}

func googleProvider(c *config.Config) (authn.Provider, config.OAuthClient, error) {
	o := c.Auth.Google
	if !o.Enabled() {
		return nil, o.OAuthClient, nil
	}
	secret, err := clientSecret(o.OAuthClient)
	if err != nil {
		return nil, o.OAuthClient, err
	}
	p, err := authn.NewGoogle(authn.GoogleOptions{ClientID: o.ClientID, ClientSecret: secret, Domain: o.Domain, Client: clientOf(o.OAuthClient)})
	return p, o.OAuthClient, err
}

// pages builds what people see; nil where nobody signs in with a browser.
func (p parts) pages(c *config.Config) (server.Pages, error) {
	if len(p.chained.browsers) == 0 {
		return nil, nil
	}
	if err := p.importTokens(c); err != nil {
		return nil, err
	}
	seal, err := sealOf(c)
	if err != nil {
		return nil, err
	}
	o := web.Options{
		Providers: p.chained.browsers, Sessions: p.index, Seal: seal, Prefix: c.HTTP.Prefix, Secure: c.TLS.Enabled(),
		DockerAuth: c.Auth.AppPasswords.DockerAuthPaths, SessionFor: c.Auth.AppPasswords.Session,
		PasswordFor: c.Auth.AppPasswords.Expiration, LongestFor: c.Auth.AppPasswords.MaxExpiration, Log: p.log,
		Redirects: map[string]string{
			"oidc": c.Auth.OIDC.RedirectURL, "github": c.Auth.GitHub.RedirectURL, "gitlab": c.Auth.GitLab.RedirectURL, "google": c.Auth.Google.RedirectURL,
		},
	}
	if c.PublicURL != "" {
		if o.Public, err = url.Parse(c.PublicURL); err != nil {
			return nil, err
		}
		o.Secure = o.Secure || o.Public.Scheme == "https"
	}
	for _, redirect := range o.Redirects {
		o.Secure = o.Secure || strings.HasPrefix(redirect, "https:")
	}
	return web.New(o)
}

// importTokens takes over, once, who has signed in by docker_auth.
func (p parts) importTokens(c *config.Config) error {
	for i, db := range c.Auth.AppPasswords.Import {
		if err := p.importFrom(db); err != nil {
			return fmt.Errorf("auth.app_passwords.import[%d]: %w", i, err)
		}
	}
	return nil
}

// importTimeout is for all of a database.
const importTimeout = 5 * time.Minute

func (p parts) importFrom(db config.TokenDB) error {
	ctx, cancel := context.WithTimeout(context.Background(), importTimeout)
	defer cancel()
	var from string
	var read func(*authn.Browser) ([]customhouse.ImportedSignIn, error)
	switch {
	case db.LevelDB != "":
		from = "leveldb:" + db.LevelDB
		read = func(b *authn.Browser) ([]customhouse.ImportedSignIn, error) { return b.ReadDockerAuth(db.LevelDB) }
	case db.GCS != "":
		from = "gcs:" + db.GCS
		read = func(b *authn.Browser) ([]customhouse.ImportedSignIn, error) {
			bucket, err := gcsBucket(db)
			if err != nil {
				return nil, err
			}
			return b.ReadDockerAuthGCS(ctx, bucket)
		}
	default:
		address, err := redisAddress(db)
		if err != nil {
			return err
		}
		from = "redis:" + address.String()
		read = func(b *authn.Browser) ([]customhouse.ImportedSignIn, error) {
			return b.ReadDockerAuthRedis(ctx, address)
		}
	}
	source := db.Provider + " " + from
	if done, err := p.index.Imported(ctx, source); done || err != nil {
		return err
	}
	for _, b := range p.chained.browsers {
		if b.Name() != db.Provider {
			continue
		}
		all, err := read(b)
		if err != nil {
			return err
		}
		n, err := p.index.ImportSignIns(ctx, source, all)
		if err != nil {
			return err
		}
		p.log.Info("sign-ins of docker_auth taken over", "provider", db.Provider, "from", from, "taken", n, "found", len(all))
	}
	return nil
}

func gcsBucket(db config.TokenDB) (*authn.GCSBucket, error) {
	key, err := secretOf("", db.GCSKeyFile)
	if err != nil {
		return nil, fmt.Errorf("gcs_key_file: %w", err)
	}
	bucket, err := authn.NewGCSBucket(db.GCS, cmp.Or(db.GCSEndpoint, authn.GCSEndpoint), []byte(key))
	if err != nil {
		return nil, fmt.Errorf("gcs_key_file: %s: %w", db.GCSKeyFile, err)
	}
	return bucket, nil
}

func redisAddress(db config.TokenDB) (a authn.RedisAddress, err error) {
	text := db.Redis
	if db.RedisFile != "" {
		if text, err = secretOf("", db.RedisFile); err != nil {
			return a, fmt.Errorf("redis_file: %w", err)
		}
	}
	if a, err = authn.ParseRedisAddress(customhouse.Secret(strings.TrimSpace(string(text)))); err != nil {
		return a, fmt.Errorf("redis: %w", err)
	}
	return a, nil
}
