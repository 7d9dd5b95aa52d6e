package compat_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"customhouse/compat"
	"customhouse/config"

	"go.yaml.in/yaml/v4"
)

// What the keys below are set in.
const (
	plainFile = `{version: 0.1, storage: {filesystem: {rootdirectory: /r}}, http: {addr: "127.0.0.1:5000"}, auth: {htpasswd: {path: /h}}}`
	tokenFile = `{version: 0.1, storage: {filesystem: {}}, http: {addr: "127.0.0.1:5000"}, auth: {token: {realm: "https://a.example/token", service: s, issuer: i, rootcertbundle: /c}}}`
	tlsFile   = `{version: 0.1, storage: {filesystem: {}}, http: {addr: ":5000", tls: {certificate: /c, key: /k, clientcas: [/ca]}}, auth: {htpasswd: {path: /h}}}`
	acmeFile  = `{version: 0.1, storage: {filesystem: {}}, http: {addr: ":443", tls: {letsencrypt: {cachefile: /l, hosts: [r.example.com]}}}, auth: {htpasswd: {path: /h}}}`
	debugFile = `{version: 0.1, storage: {filesystem: {}}, http: {addr: "127.0.0.1:5000", debug: {addr: "127.0.0.1:5001", prometheus: {enabled: true}}}, auth: {htpasswd: {path: /h}}}`
	toldFile  = `{version: 0.1, storage: {filesystem: {}}, http: {addr: "127.0.0.1:5000"}, auth: {htpasswd: {path: /h}}, notifications: {endpoints: [{name: a, url: "https://a.example/"}]}}`
	proxyFile = `{version: 0.1, storage: {filesystem: {}}, http: {addr: "127.0.0.1:5000"}, auth: {htpasswd: {path: /h}}, proxy: {remoteurl: "https://up.example", exec: {command: /x}}}`
	userFile  = `{version: 0.1, storage: {filesystem: {}}, http: {addr: "127.0.0.1:5000"}, auth: {htpasswd: {path: /h}}, proxy: {remoteurl: "https://up.example", username: u, password: p}}`
	checkFile = `{version: 0.1, storage: {filesystem: {}}, http: {addr: "127.0.0.1:5000"}, auth: {htpasswd: {path: /h}}, health: {file: [{file: /f}], http: [{uri: "http://127.0.0.1/"}], tcp: [{addr: "127.0.0.1:1"}]}}`
	purgeFile = `{version: 0.1, storage: {filesystem: {}, maintenance: {uploadpurging: {enabled: true, age: 168h, interval: 24h, dryrun: false}}}, http: {addr: "127.0.0.1:5000"}, auth: {htpasswd: {path: /h}}}`
	listFile  = `{version: 0.1, storage: {filesystem: {}}, http: {addr: "127.0.0.1:5000"}, auth: {htpasswd: {path: /h}}, validation: {manifests: {urls: {allow: ["^https://a.example/"]}, indexes: {platforms: list, platformlist: [{os: linux, architecture: amd64}]}}}}`
	redirFile = `{version: 0.1, storage: {filesystem: {}}, http: {addr: "127.0.0.1:5000"}, auth: {htpasswd: {path: /h}}, middleware: {storage: [{name: redirect, options: {baseurl: "https://cdn.example"}}]}}`
	cloudFile = `{version: 0.1, storage: {filesystem: {}}, http: {addr: "127.0.0.1:5000"}, auth: {htpasswd: {path: /h}}, middleware: {storage: [{name: cloudfront, disabled: true}]}}`
	hooksFile = `{version: 0.1, storage: {filesystem: {}}, http: {addr: "127.0.0.1:5000"}, auth: {htpasswd: {path: /h}}, log: {hooks: [{type: mail, disabled: true}]}}`
	noStorage = `{version: 0.1, storage: {}, http: {addr: "127.0.0.1:5000"}, auth: {htpasswd: {path: /h}}}`
	noAuth    = `{version: 0.1, storage: {filesystem: {}}, http: {addr: "127.0.0.1:5000"}}`
)

// distributionKeys are all keys of distribution's configuration, with a value that is not their default.
var distributionKeys = []struct{ file, keys string }{
	{plainFile, `
version 0.2
log.accesslog.disabled true
log.level debug
log.formatter json
log.fields {a: b}
log.reportcaller true
log.hooks [{type: mail}]
loglevel debug
storage.tag.concurrencylimit 8
storage.delete.enabled true
storage.redirect.disable true
storage.cache.blobdescriptor inmemory
storage.cache.layerinfo inmemory
storage.cache.blobdescriptorsize 5
storage.maintenance.readonly.enabled true
storage.filesystem.rootdirectory /other
storage.filesystem.maxthreads 25
auth.htpasswd.realm other
auth.htpasswd.path /other
middleware.registry [{name: mine}]
middleware.repository [{name: mine}]
middleware.storage [{name: rewrite}]
http.addr 127.0.0.1:5001
http.net unix
http.host https://r.example.com
http.prefix /registry/
http.secret s
http.relativeurls false
http.draintimeout 60s
http.headers {X-A: [b]}
http.debug.addr 127.0.0.1:5001
http.http2.disabled true
http.h2c.enabled true
notifications.events.includereferences true
health.storagedriver.enabled true
health.storagedriver.interval 5s
health.storagedriver.threshold 3
proxy.remoteurl https://up.example
validation.disabled true
validation.enabled false
validation.manifests.urls.allow ["^https://a.example/"]
validation.manifests.urls.deny ["^https://a.example/"]
validation.manifests.indexes.platforms none
validation.manifests.indexes.platformlist [{os: linux, architecture: amd64}]
catalog.maxentries 5
tags.maxtags 5
policy.repository.classes [image]
reporting.bugsnag.apikey k
reporting.newrelic.licensekey k
compatibility.schema1.enabled true
redis.addr 127.0.0.1:6379
redis.addrs ["127.0.0.1:6379"]
redis.clientname c
redis.db 1
redis.protocol 3
redis.username u
redis.password p
redis.sentinelusername u
redis.sentinelpassword p
redis.maxretries 3
redis.minretrybackoff 8ms
redis.maxretrybackoff 8ms
redis.dialtimeout 8ms
redis.readtimeout 8ms
redis.writetimeout 8ms
redis.contexttimeoutenabled true
redis.poolfifo true
redis.poolsize 10
redis.pooltimeout 1s
redis.minidleconns 1
redis.maxidleconns 1
redis.maxactiveconns 1
redis.connmaxidletime 1s
redis.connmaxlifetime 1s
redis.maxredirects 3
redis.readonly true
redis.routebylatency true
redis.routerandomly true
redis.mastername m
redis.disableidentity true
redis.identitysuffix s
redis.unstableresp3 true
redis.tls.certificate c
redis.tls.key k
redis.tls.rootcas [c]
redis.pool.maxidle 16
redis.pool.maxactive 16
redis.pool.idletimeout 1s`},
	{hooksFile, `
log.hooks.0.disabled false`},
	{purgeFile, `
storage.maintenance.uploadpurging.enabled false
storage.maintenance.uploadpurging.age 1h
storage.maintenance.uploadpurging.dryrun true`},
	{tokenFile, `
auth.token.realm https://b.example/token
auth.token.service other
auth.token.issuer other
auth.token.rootcertbundle /other
auth.token.jwks /j
auth.token.autoredirect true
auth.token.signingalgorithms [ES256]`},
	{tlsFile, `
http.tls.certificate /other
http.tls.key /other
http.tls.clientcas [/other]
http.tls.clientauth verify-client-cert-if-given
http.tls.minimumtls tls1.3
http.tls.ciphersuites [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]`},
	{acmeFile, `
http.tls.letsencrypt.cachefile /other
http.tls.letsencrypt.email a@b.example
http.tls.letsencrypt.hosts [s.example.com]
http.tls.letsencrypt.directoryurl https://acme.example/dir`},
	{debugFile, `
http.debug.prometheus.enabled false
http.debug.prometheus.path /m`},
	{toldFile, `
notifications.endpoints.0.name b
notifications.endpoints.0.disabled true
notifications.endpoints.0.url https://b.example/
notifications.endpoints.0.headers {Authorization: [Bearer x]}
notifications.endpoints.0.timeout 5s
notifications.endpoints.0.threshold 5
notifications.endpoints.0.backoff 5s
notifications.endpoints.0.ignoredmediatypes [a/b]
notifications.endpoints.0.ignore.mediatypes [a/b]
notifications.endpoints.0.ignore.actions [pull]`},
	{checkFile, `
health.file.0.file /g
health.file.0.interval 5s
health.file.0.threshold 3
health.http.0.uri http://127.0.0.1/other
health.http.0.headers {A: [b]}
health.http.0.statuscode 204
health.http.0.timeout 5s
health.http.0.interval 5s
health.http.0.threshold 3
health.tcp.0.addr 127.0.0.1:2
health.tcp.0.timeout 5s
health.tcp.0.interval 5s
health.tcp.0.threshold 3`},
	{proxyFile, `
proxy.exec.command /y
proxy.exec.lifetime 1h
proxy.ttl 24h
proxy.cachewritetimeout 10m`},
	{userFile, `
proxy.username v
proxy.password q`},
	{listFile, `
validation.manifests.urls.allow ["^https://b.example/"]
validation.manifests.urls.deny ["^https://a.example/secret"]
validation.manifests.indexes.platforms all
validation.manifests.indexes.platformlist.0.os windows
validation.manifests.indexes.platformlist.0.architecture arm64`},
	{redirFile, `
middleware.storage.0.name cloudfront
middleware.storage.0.disabled true
middleware.storage.0.options.baseurl https://other.example`},
	{noStorage, `
storage.filesystem {}
storage.inmemory {}`},
	{noAuth, `
auth.silly {realm: r, service: s}
auth.htpasswd {realm: r, path: /h}
auth.token {realm: "https://a.example", service: s, issuer: i, rootcertbundle: /c}`},
}

// refusedKeys are the keys of what is refused, or switched off, as a whole: of them it is enough that they are known.
var refusedKeys = []struct{ file, keys string }{
	{noStorage, `
storage.s3.accesskey k
storage.s3.secretkey k
storage.s3.region r
storage.s3.regionendpoint e
storage.s3.redirectendpoint e
storage.s3.forcepathstyle true
storage.s3.bucket b
storage.s3.encrypt true
storage.s3.keyid k
storage.s3.secure false
storage.s3.skipverify true
storage.s3.v4auth false
storage.s3.chunksize 10485760
storage.s3.multipartcopychunksize 10485760
storage.s3.multipartcopymaxconcurrency 10
storage.s3.multipartcopythresholdsize 10485760
storage.s3.rootdirectory /r
storage.s3.storageclass STANDARD_IA
storage.s3.useragent a
storage.s3.objectacl public-read
storage.s3.usedualstack true
storage.s3.accelerate true
storage.s3.usefipsendpoint true
storage.s3.loglevel debug
storage.s3aws.bucket b
storage.gcs.bucket b
storage.gcs.keyfile k
storage.gcs.credentials {type: service_account, project_id: p, private_key: k}
storage.gcs.rootdirectory /r
storage.gcs.chunksize 5242880
storage.gcs.maxconcurrency 5
storage.azure.accountname a
storage.azure.accountkey k
storage.azure.container c
storage.azure.connectionstring c
storage.azure.realm r
storage.azure.rootdirectory /r
storage.azure.serviceurl u
storage.azure.credentials {type: client_secret, clientid: c, tenantid: t, secret: s}
storage.azure.max_retries 5
storage.azure.retry_delay 100ms
storage.azure.skipverify true
storage.swift {authurl: a}
storage.oss {bucket: b}`},
	{noAuth, `
auth.none {}
auth.silly.realm r
auth.silly.service s`},
	{tokenFile, `
auth.token.autoredirectpath /other/`}, // without autoredirect
	{purgeFile, `
storage.maintenance.uploadpurging.interval 1h`}, // warned of in any case
	{hooksFile, `
log.hooks.0.type other
log.hooks.0.levels [error]
log.hooks.0.options {from: a, to: [b]}
log.hooks.0.options.smtp {addr: a, username: u, password: p, insecure: true}`},
	{cloudFile, `
middleware.storage.0.options.baseurl b
middleware.storage.0.options.privatekey k
middleware.storage.0.options.keypairid i
middleware.storage.0.options.duration 20m
middleware.storage.0.options.ipfilteredby aws
middleware.storage.0.options.awsregion [us-east-1]
middleware.storage.0.options.updatefrequency 12h
middleware.storage.0.options.iprangesurl u
middleware.storage.0.options.scheme https
middleware.storage.0.options.host h
middleware.storage.0.options.trimpathprefix /a`},
}

// Each key of distribution does something here, or something is said of it. A variable sets it as the file does.
func TestDistributionKeys(t *testing.T) {
	for _, list := range distributionKeys {
		without := outcome(t, list.file)
		for key, value := range pairs(list.keys) {
			got := outcome(t, list.file, key, value)
			if got == without {
				t.Errorf("%s: %s changes nothing, and nothing is said of it", key, value)
			}
			known(t, list.file, key, value)
		}
	}
	for _, list := range refusedKeys {
		for key, value := range pairs(list.keys) {
			known(t, list.file, key, value)
		}
	}
}

// A variable that is set to nothing sets its key to nothing, of whatever kind that is, as compose does with variables of
// its own that are not set.
func TestDistributionEmptyVariables(t *testing.T) {
	for _, list := range distributionKeys {
		for key := range pairs(list.keys) {
			got := parse(t, []byte(list.file), variable(key)+"=")
			for line := range strings.Lines(got) {
				if strings.HasPrefix(line, "error: "+key+": want ") && key != "version" {
					t.Errorf("%s= gives %s", variable(key), line)
				}
			}
		}
	}
}

// variable is the name of the variable that sets a key.
func variable(key string) string {
	return "REGISTRY_" + strings.ToUpper(strings.NewReplacer(".", "_", "_", "__").Replace(key))
}

// pairs yields the keys and values of a list.
func pairs(list string) func(yield func(key, value string) bool) {
	return func(yield func(key, value string) bool) {
		for _, line := range strings.Split(strings.TrimSpace(list), "\n") {
			if key, value, _ := strings.Cut(line, " "); !yield(key, value) {
				return
			}
		}
	}
}

// known checks that a key is one, in the file and as a variable.
func known(t *testing.T, file, key, value string) {
	t.Helper()
	inFile := outcome(t, file, key, value)
	if strings.Contains(inFile, "unknown key") {
		t.Errorf("%s: %s", key, inFile)
	}
	name := variable(key)
	byVariable := strings.ReplaceAll(parse(t, []byte(file), name+"="+value), " ("+name+")", "")
	if byVariable != inFile {
		t.Errorf("%s=%s gives\n%s\nand in the file\n%s", name, value, byVariable, inFile)
	}
}

// outcome is what is made of a file in which the key, if there is one, has a value.
func outcome(t *testing.T, file string, pair ...string) string {
	t.Helper()
	var tree any
	if err := yaml.Load([]byte(file), &tree); err != nil {
		t.Fatal(err)
	}
	if len(pair) == 2 {
		var value any
		if err := yaml.Load([]byte(pair[1]), &value); err != nil {
			t.Fatal(err)
		}
		tree = with(tree, strings.Split(pair[0], "."), value)
	}
	data, err := yaml.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, data)
}

// with returns the tree in which what keys lead to has a value.
func with(tree any, keys []string, value any) any {
	if len(keys) == 0 {
		return value
	}
	if list, ok := tree.([]any); ok {
		i, _ := strconv.Atoi(keys[0])
		list[i] = with(list[i], keys[1:], value)
		return list
	}
	section, ok := tree.(map[string]any)
	if !ok {
		section = map[string]any{}
	}
	section[keys[0]] = with(section[keys[0]], keys[1:], value)
	return section
}

// parse returns what is made of a file, without places in it.
func parse(t *testing.T, data []byte, env ...string) string {
	t.Helper()
	c, warnings, err := compat.ParseDistribution("config.yml", data, compat.Options{Dir: "/srv", Lenient: true, Env: env})
	var b strings.Builder
	var wrong config.Errors
	switch {
	case errors.As(err, &wrong):
		for _, e := range wrong {
			fmt.Fprintf(&b, "error: %s: %s\n", e.Key, e.Message)
		}
	case err != nil:
		t.Fatal(err)
	default:
		text, err := c.YAML()
		if err != nil {
			t.Fatal(err)
		}
		b.Write(text)
	}
	var lines []string
	for _, w := range warnings {
		lines = append(lines, fmt.Sprintf("warning: %s: %s\n", w.Key, w.Message))
	}
	slices.Sort(lines)
	for _, line := range lines {
		b.WriteString(line)
	}
	return b.String()
}
