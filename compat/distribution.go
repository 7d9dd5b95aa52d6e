package compat

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"customhouse"
	"customhouse/config"
	"customhouse/policy"

	"go.yaml.in/yaml/v4"
)

// LoadDistribution reads the configuration of CNCF distribution at path and checks it, along with the files that it
// names. Variables of o.Env replace what it says. The error is config.Errors, or that of reading the file. Warnings come
// with an error too.
func LoadDistribution(path string, o Options) (*config.Config, []Warning, error) {
	data, err := config.ReadForeign(path)
	if err != nil {
		return nil, nil, err
	}
	return distributionFrom(path, data, o, true)
}

// ParseDistribution is LoadDistribution of data, the content of a file that messages call name, without a look at the
// files that it names.
func ParseDistribution(name string, data []byte, o Options) (*config.Config, []Warning, error) {
	return distributionFrom(name, data, o, false)
}

// DistributionFolder returns the storage folder of a registry with the configuration of CNCF distribution at path. Of that
// only where content is kept is checked: who may come and how it is served is of no matter.
func DistributionFolder(path string, o Options) (string, error) {
	data, err := config.ReadForeign(path)
	if err != nil {
		return "", err
	}
	c, _, err := translateDistribution(path, data, o, false, func(t *distributionTranslation) { t.version(); t.storage() })
	if err != nil {
		return "", err
	}
	return c.Storage.Adopt, nil
}

func distributionFrom(name string, data []byte, o Options, checkFiles bool) (*config.Config, []Warning, error) {
	return translateDistribution(name, data, o, checkFiles, (*distributionTranslation).translate)
}

func translateDistribution(name string, data []byte, o Options, checkFiles bool, translate func(*distributionTranslation)) (*config.Config, []Warning, error) {
	t := distributionTranslation{
		translation: translation{name: name, dir: o.Dir, checkFiles: checkFiles}, env: newEnvironment(o.Env),
	}
	err := t.begin(data, &t.from, config.ForeignOptions{Lenient: o.Lenient, Unknown: unknownDistributionKey, Edit: t.edit})
	if err != nil {
		return nil, nil, err
	}
	translate(&t)
	c, warnings, err := t.end()
	t.env.blame(err, warnings)
	return c, warnings, err
}

// distributionTranslation is one file of distribution on its way into a Config.
type distributionTranslation struct {
	translation
	from distribution
	env  *environment
}

// edit applies the environment, and writes out what the file may write short.
func (t *distributionTranslation) edit(root *yaml.Node) {
	if root.Kind != yaml.MappingNode {
		return
	}
	t.env.apply(root, reflect.TypeFor[distribution]())
	for i := 0; i+1 < len(root.Content); i += 2 {
		switch key, section := root.Content[i].Value, root.Content[i+1]; key {
		case "storage", "auth", ownKey:
			if section.Kind == yaml.ScalarNode && section.Tag == "!!str" && section.Value != "" && key != ownKey {
				member(section, section.Value)
			}
			for j := 1; key != ownKey && j < len(section.Content); j += 2 {
				if section.Content[j].Tag == "!!null" { // inmemory: is a driver without parameters
					*section.Content[j] = *emptySection(*section.Content[j])
				}
			}
		}
	}
}

func (t *distributionTranslation) translate() {
	t.to.Auth.Accounts = false // nobody but those whom the file knows
	t.to.Rules = []policy.Rule{}
	t.environment()
	t.version()
	t.log()
	t.storage()
	t.auth()
	t.http()
	t.health()
	t.validation()
	t.lists()
	t.notify()
	t.unneeded()
	t.proxy()
	t.overlay(&t.from.Customhouse)
	t.open()
	t.check(distributionOrigins)
}

func (t *distributionTranslation) version() {
	if t.from.Version != "0.1" {
		t.wrong("version", "want 0.1, the only version that there is")
	}
}

// distributionOrigins are the keys of customhouse.yml that come from another key in distribution's file.
var distributionOrigins = []origin{
	{"tls.acme", "http.tls.letsencrypt"},
	{"tls.certificate", "http.tls.certificate"},
	{"tls.key", "http.tls.key"},
	{"tls.minimum", "http.tls.minimumtls"},
	{"tls.cipher_suites", "http.tls.ciphersuites"},
	{"tls.client_cas", "http.tls.clientcas"},
	{"tls.client_auth", "http.tls.clientauth"},
	{"public_url", "http.host"},
	{"listen", "http.addr"},
	{"http.debug", "http.debug.addr"},
	{"http.metrics", "http.debug.prometheus.path"},
	{"health.files", "health.file"},
	{"notify", "notifications"},
	{"limits.upload_ttl", "storage.maintenance.uploadpurging.age"},
	{"storage.foreign_urls", "validation.manifests.urls"},
	{"storage.platforms", "validation.manifests.indexes.platformlist"},
	{"auth.htpasswd", "auth.htpasswd.path"},
	{"token.trust[0].algorithms", "auth.token.signingalgorithms"},
	{"token.trust[0].certificates", "auth.token.rootcertbundle"},
	{"token.trust[0].jwks_url", "auth.token.jwks"},
	{"token.trust[0].autoredirect_path", "auth.token.autoredirectpath"},
	{"token.trust[0]", "auth.token"},
	{"mirrors[0].url", "proxy.remoteurl"},
	{"mirrors[0]", "proxy"},
}

// unknownDistributionKey says what is wrong with a key that distribution ignores.
func unknownDistributionKey(_, _, near string) string {
	if near != "" {
		return "unknown key, which distribution ignores; did you mean " + near + "?"
	}
	return ""
}

// environment tells of variables that set nothing.
func (t *distributionTranslation) environment() {
	for _, name := range t.env.unknown {
		t.warnings = append(t.warnings, Warning{File: t.name, Key: name, Message: "an environment variable that sets no key (ignored)"})
	}
	for _, name := range slices.Sorted(maps.Keys(t.env.bad)) {
		t.wrong(name, t.env.bad[name])
	}
}

// log translates the section log.
func (t *distributionTranslation) log() {
	l := t.from.Log
	level := cmp.Or(l.Level, t.from.Level, "info")
	if t.from.Level != "" {
		t.warn("loglevel", "an old name; write log: {level: %s}", level)
	}
	switch level := strings.ToLower(level); level {
	case "error", "warn", "info", "debug":
		t.to.Log.Level = level
	default:
		t.wrong("log.level", "want error, warn, info or debug")
	}
	switch l.Formatter {
	case "", "text", "json", "logstash":
		t.to.Log.Format = cmp.Or(l.Formatter, "text")
	default:
		t.wrong("log.formatter", "want text, json or logstash")
	}
	t.to.Log.Fields = l.Fields
	t.to.Log.Requests = !bool(l.AccessLog.Disabled)
	if l.ReportCaller {
		t.warn("log.reportcaller", "has no effect: lines say what happened, not where in the program")
	}
	for i, h := range l.Hooks {
		if !h.Disabled {
			t.warn(fmt.Sprintf("log.hooks[%d]", i), "no mail is sent; let whatever collects the log do it")
		}
	}
}

// lists translates how long lists may be.
func (t *distributionTranslation) lists() {
	const most = 10_000
	page := func(key string, n integer, to *int, usual int) {
		switch {
		case n < 0:
			t.wrong(key, "must not be negative")
		case n > most:
			t.warn(key, "at most %d", most)
			*to = most
		case n > 0:
			*to = int(n)
		default:
			*to = usual
		}
	}
	page("catalog.maxentries", t.from.Catalog.MaxEntries, &t.to.HTTP.CatalogPage, 1000)
	page("tags.maxtags", t.from.Tags.MaxTags, &t.to.HTTP.TagsPage, most)
}

// health translates the section health.
func (t *distributionTranslation) health() {
	h := t.from.Health
	if t.file.Has("health.storagedriver") {
		t.warn("health.storagedriver", "has no effect: readiness looks at the storage in any case")
	}
	for i, f := range h.Files {
		key := fmt.Sprintf("health.file[%d].", i)
		t.to.Health.Files = append(t.to.Health.Files, config.FileCheck{
			File: f.File, Interval: t.every(key+"interval", f.Interval), Threshold: int(f.Threshold),
		})
	}
	for i, c := range h.HTTP {
		key := fmt.Sprintf("health.http[%d].", i)
		t.to.Health.HTTP = append(t.to.Health.HTTP, config.HTTPCheck{
			URI: c.URI, Headers: c.Headers, Status: int(c.Status), Timeout: t.duration(key+"timeout", c.Timeout, 0),
			Interval: t.every(key+"interval", c.Interval), Threshold: int(c.Threshold),
		})
	}
	for i, c := range h.TCP {
		key := fmt.Sprintf("health.tcp[%d].", i)
		t.to.Health.TCP = append(t.to.Health.TCP, config.TCPCheck{
			Addr: c.Addr, Timeout: t.duration(key+"timeout", c.Timeout, 0), Interval: t.every(key+"interval", c.Interval), Threshold: int(c.Threshold),
		})
	}
	if len(h.Files)+len(h.HTTP)+len(h.TCP) > 0 {
		t.warn("health", "a check that fails makes /readyz say no; distribution answered every request with 503")
	}
}

// every returns the time between two checks: distribution lets one that is meant as seconds run without a pause.
func (t *distributionTranslation) every(key string, d duration) time.Duration {
	every := t.duration(key, d, 0)
	if every > 0 && every < time.Second {
		t.warn(key, "at least 1s")
		every = time.Second
	}
	return every
}

// validation translates what manifests may name.
func (t *distributionTranslation) validation() {
	v := t.from.Valid
	if v.Enabled != nil {
		t.warn("validation.enabled", "an old name; write validation: {disabled: %t}", !bool(*v.Enabled))
	}
	if bool(v.Disabled) || v.Enabled != nil && !bool(*v.Enabled) {
		t.to.Storage.Sparse, t.to.Storage.ForeignLayers = "indexes", true
		t.warn("validation", "images need their layers all the same; only foreign layers may lie anywhere, and children of an index may be absent")
		return
	}
	urls := v.Manifests.URLs
	t.to.Storage.ForeignLayers = len(urls.Allow) > 0
	t.to.Storage.ForeignURLs.Allow = urls.Allow
	if len(urls.Allow) > 0 {
		t.to.Storage.ForeignURLs.Deny = urls.Deny
	} else if len(urls.Deny) > 0 {
		t.warn("validation.manifests.urls.deny", "has no effect without allow: no URL is allowed")
	}
	if v.Manifests.Indexes.Platforms != "list" && len(v.Manifests.Indexes.List) > 0 {
		t.warn("validation.manifests.indexes.platformlist", "has no effect unless platforms is list")
	}
	switch i := v.Manifests.Indexes; i.Platforms {
	case "", "all":
		t.to.Storage.Sparse = "none"
	case "none":
		t.to.Storage.Sparse = "indexes"
	case "list":
		t.to.Storage.Sparse = "indexes"
		for _, p := range i.List {
			t.to.Storage.Platforms = append(t.to.Storage.Platforms, p.OS+"/"+p.Architecture)
		}
	default:
		t.wrong("validation.manifests.indexes.platforms", "want all, none or list")
	}
}

// unneeded tells of sections that nothing comes of here, by name.
func (t *distributionTranslation) unneeded() {
	for key, why := range map[string]string{
		"redis":                     "is not needed: what it shared between replicas is in the index",
		"policy.repository.classes": "has no effect: the class of a scope is what a client takes a repository for",
		"reporting":                 "has no effect: reports go to the log",
		"compatibility":             "has no effect: manifests of schema 1 are not taken, and those that are there are served",
	} {
		if t.file.Has(key) {
			t.warn(key, "%s", why)
		}
	}
}

// auth translates who may do what. Whoever distribution lets in may do everything, unless their token says less.
func (t *distributionTranslation) auth() {
	a := t.from.Auth
	var ways []string
	for name, there := range map[string]bool{"silly": a.Silly != nil, "none": a.None != nil, "htpasswd": a.Htpasswd != nil, "token": a.Token != nil} {
		if there {
			ways = append(ways, name)
		}
	}
	slices.Sort(ways)
	if len(ways) > 1 {
		t.wrong("auth", "has "+strings.Join(ways, " and ")+"; distribution takes one")
		return
	}
	switch {
	case a.Silly != nil:
		t.wrong("auth.silly", "lets in whoever sends any Authorization header; it is for development only and not served")
	case a.Htpasswd != nil:
		everybody := "**"
		t.require("auth.htpasswd.path", a.Htpasswd.Path != "")
		if a.Htpasswd.Realm != "" {
			t.warn("auth.htpasswd.realm", "is not shown: clients are sent for a token of this registry, to which they take their password")
		}
		t.to.Auth.Htpasswd = t.path("auth.htpasswd.path", a.Htpasswd.Path)
		t.to.Rules = []policy.Rule{{
			Match: policy.Match{Account: policy.Values{everybody}}, Actions: []customhouse.Action{customhouse.All},
			Comment: "whoever has an account may do everything, as in distribution",
		}}
	case a.Token != nil:
		t.token()
	}
}

// open refuses to serve everything to everybody unless somebody says that this is meant.
func (t *distributionTranslation) open() {
	a := t.from.Auth
	if a.Silly != nil || a.Htpasswd != nil || a.Token != nil || t.file.Has(ownKey+".auth") || t.file.Has(ownKey+".rules") {
		return
	}
	t.wrong("auth", "everybody who reaches the registry could do everything; if that is meant, add the lines `"+
		ownKey+": {auth: {off: true, allow_open: true}}` or set REGISTRY_CUSTOMHOUSE='{auth: {off: true, allow_open: true}}'")
}

// token translates the tokens of another's token service, which say what their bearers may do.
func (t *distributionTranslation) token() {
	k := t.from.Auth.Token
	t.require("auth.token.realm", k.Realm != "" || bool(k.AutoRedirect))
	t.require("auth.token.service", k.Service != "")
	t.require("auth.token.issuer", k.Issuer != "")
	asked := false
	trust := config.Trust{
		Issuer: k.Issuer, Service: k.Service, Realm: k.Realm, Algorithms: k.Algorithms, Rules: &asked,
		Certificates: t.path("auth.token.rootcertbundle", k.Certificates),
		Autoredirect: bool(k.AutoRedirect), AutoredirectPath: k.AutoRedirectPath,
	}
	if strings.Contains(k.JWKS, "://") {
		trust.JWKSURL = k.JWKS
	} else {
		trust.JWKS = t.path("auth.token.jwks", k.JWKS)
	}
	if k.Certificates == "" && k.JWKS == "" {
		t.wrong("auth.token", "has no keys; set rootcertbundle or jwks")
	}
	t.to.Token.Trust = []config.Trust{trust}
	t.to.Auth.Basic = false // nobody has a password here
}
