package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"

	"customhouse"
	"customhouse/audit"
	"customhouse/authn"
	"customhouse/authz"
	"customhouse/config"
	"customhouse/gate"
	"customhouse/index"
	"customhouse/registry"
	"customhouse/server"
	"customhouse/token"
)

// parts are the components that configurations are applied to.
type parts struct {
	log       *slog.Logger
	index     *index.DB // nil without a data folder
	passwords *authn.Passwords
	base      *registry.Registry            // nil for a token service alone
	last      *atomic.Pointer[server.State] // the state built last
	remotes   map[string]*token.Remote      // key sets of others, by URL
	issuers   map[keysOf]*token.Remote      // those of issuers of workloads
	metrics   *server.Metrics
	checks    *server.Checks
	backends  *backends
	ends      *ends      // of what is being built
	audit     *audit.Log // nil where nothing is kept

	shadowed *authz.ShadowCounts

	replicator *replicator
	told       *atomic.Pointer[telling] // nil while nobody is told of events
	chained    *chained                 // of what is being built

	keyFolder *atomic.Pointer[token.Folder] // of the state built last; nil where the key is a file of the operator's
}

func newParts(log *slog.Logger, db *index.DB, health config.Health) parts {
	return parts{
		log: log, index: db, passwords: authn.NewPasswords(authn.PasswordOptions{}),
		remotes: map[string]*token.Remote{}, issuers: map[keysOf]*token.Remote{}, metrics: server.NewMetrics(buildVersion()), checks: newChecks(health),
		last: &atomic.Pointer[server.State]{}, backends: &backends{all: map[string]*backend{}}, ends: &ends{}, told: &atomic.Pointer[telling]{}, keyFolder: &atomic.Pointer[token.Folder]{},
		replicator: newReplicator(log, db), shadowed: &authz.ShadowCounts{},
	}
}

// current returns the registry under the options that hold.
func (p parts) current() *registry.Registry { return p.last.Load().Registry }

// build makes all that a configuration asks for, or nothing.
func (p parts) build(c *config.Config) (st server.State, err error) {
	p.ends, p.chained = &ends{}, &chained{}
	defer func() {
		if err != nil {
			p.ends.end()
		}
	}()
	g, err := p.gate(c)
	if err != nil {
		return server.State{}, err
	}
	pages, err := p.pages(c)
	if err != nil {
		return server.State{}, err
	}
	realm, err := realmOf(c)
	if err != nil {
		return server.State{}, err
	}
	service := announce(c, &realm)
	st = server.State{
		Gate: g, Service: service, Realm: realm, Proxies: proxiesOf(c), Requests: c.Log.Requests,
		Prefix: c.HTTP.Prefix, Headers: c.HTTP.Header(), Lists: server.Lists{Catalog: c.HTTP.CatalogPage, Tags: c.HTTP.TagsPage},
		Metrics: p.metrics, Checks: p.checks, Pages: pages, Release: p.ends.end,
	}
	st.Accounts = p.accountNames(c)
	if p.audit != nil {
		st.Audit = p.audit.Reader()
	}
	if m := p.machines(c); m != nil {
		st.Machines = m
	}
	if p.base == nil {
		st.TokenServer = &server.TokenServer{Issuer: c.Token.Issuer}
	} else {
		foreign, err := foreignURL(c.Storage.ForeignURLs)
		if err != nil {
			return server.State{}, err
		}
		st.Delete, st.ReadOnly, st.Redirect = c.Storage.Delete, c.Storage.ReadOnly, redirect(c)
		st.Events, st.Pulled = len(c.Notify.Endpoints) > 0, p.pulled
		source, err := p.sources(c)
		if err != nil {
			return server.State{}, err
		}
		rules, err := replications(c)
		if err != nil {
			return server.State{}, err
		}
		st.Registry = p.base.With(registry.Options{
			Sparse: sparse[c.Storage.Sparse], ForeignLayers: c.Storage.ForeignLayers, ForeignURL: foreign,
			Platforms: platforms(c.Storage.Platforms), MaxBlobSize: int64(c.Storage.MaxBlobSize),
			UploadsPerAccount: c.Limits.UploadsPerAccount, UploadTTL: c.Limits.UploadTTL,
			ScrubInterval: c.Storage.ScrubInterval, Source: source, Changed: p.replicator.note, Log: p.log,
		})
		p.replicator.set(rules)
	}
	p.keyFolder.Store(p.chained.keys)
	p.last.Store(&st)
	return st, nil
}

// ends are the components that are closed when nobody uses any more what was built from one configuration.
type ends struct{ all []io.Closer }

// close makes component, if it is an io.Closer, be closed at the end.
func (e *ends) close(component any) {
	if c, ok := component.(io.Closer); ok {
		e.all = append(e.all, c)
	}
}

// closes makes a component be closed with the configuration that is being built, unless it may live longer.
func (p parts) closes(component any) {
	if !p.backends.holds(component) {
		p.ends.close(component)
	}
}

// end closes all of them, the latest first.
func (e *ends) end() {
	for _, c := range slices.Backward(e.all) {
		_ = c.Close() // there is nothing left to be done about it
	}
}

// gate builds the gate of a configuration. What the last one had verified is carried over.
func (p parts) gate(c *config.Config) (*gate.Gate, error) {
	if c.Auth.Off {
		return gate.New(gate.Options{Off: true, Audit: auditor{p.metrics, p.audit}, AuditFirst: c.Audit.Required, Log: p.log})
	}
	chain, err := p.chain(c)
	if err != nil {
		return nil, err
	}
	authorizer, err := p.authorizer(c)
	if err != nil {
		return nil, err
	}
	keys, err := p.keys(c)
	if err != nil {
		return nil, err
	}
	trust, err := p.trust(c)
	if err != nil {
		return nil, err
	}
	workloads, err := p.workloads(c)
	if err != nil {
		return nil, err
	}
	certificates, err := certificatesOf(c)
	if err != nil {
		return nil, err
	}
	var previous *gate.Gate
	if last := p.last.Load(); last != nil {
		previous = last.Gate
	}
	var refresh gate.RefreshStore // none without a data folder: there is nothing to remember them in
	if p.index != nil {
		refresh = p.index
	}
	return gate.New(gate.Options{
		Anonymous: customhouse.Identity{Labels: c.Auth.Users[""].Labels}, AnswerInFull: p.base == nil,
		Chain: chain, Policy: authorizer, Denials: denials[c.Denials], Verbatim: c.Dialect == config.DialectDockerAuth, Issuer: c.Token.Issuer, Service: c.Token.Service,
		Services: c.Token.Services, Keys: keys, Trust: trust, Workloads: workloads, Certificates: certificates,
		AccessTTL: c.Token.Expiration, Refresh: refresh, RefreshTTL: c.Token.RefreshExpiration, Rotation: gate.Rotation(c.Token.RefreshRotation),
		NoAnonymous: !c.Auth.Anonymous, AllowBasic: c.Auth.Basic,
		Excessive: p.metrics.Excessive,
		Limits:    gate.Limits{PerAccount: c.Limits.FailedLogins, PerClient: c.Limits.FailedLogins},
		Trace:     p.chained.trace,
		Rates:     rates(c.Limits.Requests),
		Audit:     auditor{p.metrics, p.audit}, AuditFirst: c.Audit.Required, Log: p.log, Previous: previous,
	})
}

// chain builds the authenticators in the order in which they are asked.
func (p parts) chain(c *config.Config) (*authn.Chain, error) {
	var members []authn.Authenticator
	for _, source := range c.Auth.Sequence() {
		build, ok := authenticators[source]
		if !ok {
			continue
		}
		member, err := build(p, c)
		if err != nil {
			return nil, fmt.Errorf("auth.%s: %w", source, err)
		}
		if member != nil {
			p.closes(member)
			members = append(members, member)
		}
	}
	chain, err := authn.NewChain(p.passwords, members...)
	if err != nil {
		return nil, err
	}
	p.chained.chain = chain
	if len(p.chained.browsers) > 0 && !c.Auth.AppPasswords.MergeIdentities {
		p.warnOfNames(chain, c.Auth.Certificates.Account)
	}
	return chain, nil
}

// warnOfNames tells of sources whose accounts cannot be kept from those who sign in with a browser (A16).
func (p parts) warnOfNames(chain *authn.Chain, ofCertificates string) {
	sources := slices.DeleteFunc(chain.Names(), chain.CanLookUp)
	if ofCertificates != "" && !strings.Contains(ofCertificates, ":") { // that nobody has in their name who signs in
		sources = append(sources, gate.MethodCertificate)
	}
	for _, name := range sources {
		p.log.Warn("nobody can tell which accounts this source has: whoever signs in with a browser under the name of one is taken for it, unless rules ask for the method", "source", name)
	}
}

// authenticators build the members of the chain. One returns nil where its source is not configured.
var authenticators = map[config.Source]func(parts, *config.Config) (authn.Authenticator, error){
	"tokens":   parts.personalTokens,
	"robots":   parts.robots,
	"users":    parts.users,
	"htpasswd": parts.htpasswd,
	"accounts": parts.accounts,
	"exec":     loginProgram("exec", func(c *config.Config) config.ExecProgram { return c.Auth.Exec }, parts.execProgram),
	"worker":   loginProgram("worker", func(c *config.Config) config.WorkerProgram { return c.Auth.Worker }, parts.workerProgram),
	"webhook":  loginProgram("webhook", func(c *config.Config) config.WebhookProgram { return c.Auth.Webhook }, parts.webhookProgram),
	"plugin":   loginProgram("plugin", func(c *config.Config) config.PluginProgram { return c.Auth.Plugin }, parts.pluginProgram),
	"ldap":     parts.ldap,
	"sql":      parts.sql,
	"mongo":    parts.mongo,
	"oidc":     browser("oidc"),
	"github":   browser("github"),
	"gitlab":   browser("gitlab"),
	"google":   browser("google"),
}

func (p parts) users(c *config.Config) (authn.Authenticator, error) {
	if len(c.Auth.Users) == 0 {
		return nil, nil
	}
	var accounts, open []customhouse.Account
	for _, name := range slices.Sorted(maps.Keys(c.Auth.Users)) {
		u := c.Auth.Users[name]
		account := customhouse.Account{Name: name, Password: u.Password, Labels: u.Labels}
		switch {
		case name == "": // is asked for by nobody; see gate.Options
		case u.AnyPassword:
			open = append(open, account)
		default:
			accounts = append(accounts, account)
		}
	}
	return authn.NewStatic(accounts, p.passwords, open...)
}

func (p parts) htpasswd(c *config.Config) (authn.Authenticator, error) {
	if c.Auth.Htpasswd == "" {
		return nil, nil
	}
	return authn.NewHtpasswd(c.Auth.Htpasswd, p.passwords, authn.HtpasswdOptions{Log: p.log})
}

func (p parts) accounts(c *config.Config) (authn.Authenticator, error) {
	if !c.Auth.Accounts || p.index == nil {
		return nil, nil
	}
	return authn.NewAccounts(p.index, p.passwords, authn.AccountsOptions{}), nil
}

// denials are the gate's names for the values of denials.
var denials = map[string]gate.Denials{
	config.DenialsReason: gate.TellReason, config.DenialsMessage: gate.TellMessage, config.DenialsID: gate.TellID,
}

// sparse are the registry's names for the values of storage.sparse.
var sparse = map[string]registry.Sparse{
	"none": registry.SparseNone, "indexes": registry.SparseIndexes, "all": registry.SparseAll,
}

// platforms are the registry's words for platforms.
func platforms(all []string) []registry.Platform {
	var converted []registry.Platform
	for _, p := range all {
		os, architecture, _ := strings.Cut(p, "/")
		converted = append(converted, registry.Platform{OS: os, Architecture: architecture})
	}
	return converted
}

// foreignURL returns what tells whether a foreign layer may lie at a URL.
func foreignURL(f config.ForeignURLs) (func(string) bool, error) {
	compile := func(list []string) (all []*regexp.Regexp, err error) {
		for _, s := range list {
			r, err := regexp.Compile(s)
			if err != nil {
				return nil, err
			}
			all = append(all, r)
		}
		return all, nil
	}
	allow, err := compile(f.Allow)
	if err != nil {
		return nil, err
	}
	deny, err := compile(f.Deny)
	return func(url string) bool {
		found := func(r *regexp.Regexp) bool { return r.MatchString(url) }
		return (len(allow) == 0 || slices.ContainsFunc(allow, found)) && !slices.ContainsFunc(deny, found)
	}, err
}

// proxiesOf tells whose word is taken for the address of a client.
func proxiesOf(c *config.Config) server.Proxies {
	p := server.Proxies{Header: c.RealIP.Header, Position: c.RealIP.Position}
	for _, trusted := range c.TrustedProxies {
		p.Trusted = append(p.Trusted, netip.Prefix(trusted))
	}
	return p
}

// redirect returns what tells where clients fetch files of content, nil if that is here.
func redirect(c *config.Config) func(file string) string {
	r := c.Storage.Redirect
	if r.Data == "" && r.Adopted == "" {
		return nil
	}
	return func(file string) string {
		for _, root := range []struct{ folder, url string }{{c.Data, r.Data}, {c.Storage.Adopt, r.Adopted}} { // the first may lie in the second
			if path, ok := strings.CutPrefix(file, root.folder+"/"); ok && root.folder != "" && root.url != "" {
				return strings.TrimSuffix(root.url, "/") + "/" + path
			}
		}
		return ""
	}
}

// realmOf tells by which names the registry is known.
func realmOf(c *config.Config) (server.RealmURL, error) {
	realm := server.RealmURL{Listen: strings.ToLower(c.Listen), Prefix: c.HTTP.Prefix}
	for _, host := range c.Hosts {
		realm.Hosts = append(realm.Hosts, strings.ToLower(host))
	}
	if c.PublicURL == "" {
		return realm, nil
	}
	var err error
	realm.Public, err = url.Parse(c.PublicURL)
	return realm, err
}

// rates are the gate's words for the limits of requests.
func rates(r config.RequestLimits) gate.Rates {
	return gate.Rates{PerAccount: r.Rate, Burst: r.Burst, PerClient: r.AnonymousRate, PerClientBurst: r.AnonymousBurst}
}

// accountNames returns what lists the accounts that are known by name: of the configuration and of the data folder.
func (p parts) accountNames(c *config.Config) func(context.Context) ([]string, error) {
	return func(ctx context.Context) ([]string, error) {
		names := slices.Collect(maps.Keys(c.Auth.Users))
		if p.index != nil {
			kept, err := p.index.Accounts(ctx)
			if err != nil {
				return nil, err
			}
			for _, a := range kept {
				names = append(names, a.Name)
			}
			robots, err := p.index.Robots(ctx)
			if err != nil {
				return nil, err
			}
			for _, r := range robots {
				names = append(names, r.Name)
			}
			seen, err := p.index.SignIns(ctx)
			if err != nil {
				return nil, err
			}
			for _, s := range seen {
				names = append(names, s.Account)
			}
		}
		slices.Sort(names)
		return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == "" }), nil
	}
}
