// Package config reads customhouse.yml: its shape, its defaults and what is wrong with a file, all of it at once and
// each fault with file, line, column and key. Files of policy tests, which are questions to the rules, it reads the same way.
//
// It knows nothing of the components that are built from a Config, it opens nothing but the file and those that it includes,
// and it reads nothing from the environment. A Config is a value: to reload, read a new one.
//
//	c, err := config.Load("customhouse.yml") // err is Errors when the file could be read
package config

import (
	"log/slog"
	"slices"
	"time"

	"customhouse"
	"customhouse/policy"
)

// Config is the whole of customhouse.yml.
type Config struct {
	// The address to listen on, as host:port. An empty host is every address of the machine. unix:PATH is a socket in the
	// file system: who may connect is decided by its folder, and addresses of clients are unknown.
	Listen string `yaml:"listen"`

	// The folder that holds everything the registry keeps. Empty is $STATE_DIRECTORY, else
	// $XDG_DATA_HOME/customhouse, else $HOME/.local/share/customhouse.
	Data string `yaml:"data"`

	// How clients reach this registry, such as https://registry.example.com: the token service is announced there to a
	// client whose Host header is not one of ours.
	PublicURL string `yaml:"public_url"`

	// Host headers (host or host:port) that are ours, beside loopback, the address of listen and the host of public_url.
	Hosts []string `yaml:"hosts"`

	// Whether to serve without TLS beyond loopback, for instance behind a proxy that adds TLS. Passwords and tokens
	// cross the network readable otherwise.
	AllowPlaintext bool `yaml:"allow_plaintext"`

	// The proxies, as addresses or CIDR prefixes, that are believed when they tell the address of a client. Others are
	// clients themselves, whatever they send. Over a unix socket whoever connects counts as one, if there are any.
	TrustedProxies []Prefix `yaml:"trusted_proxies"`

	// Where a trusted proxy tells the address of its client. A request of one without it is refused.
	RealIP RealIP `yaml:"real_ip"`

	// How long requests under way may take after SIGTERM before they are cut off.
	Drain time.Duration `yaml:"drain"`

	// Paths, headers, lists, and an address for operators.
	HTTP HTTP `yaml:"http"`

	// Encryption of connections. The files are read again when they change.
	TLS TLS `yaml:"tls"`

	// The tokens that the built-in token service issues.
	Token Token `yaml:"token"`

	// Who is asking: the sources of accounts, asked in turn.
	Auth Auth `yaml:"auth"`

	// Who may do what: the first rule that matches decides, and nothing is allowed without one. Leaving the key out
	// gives accounts labelled role=admin everything; [] allows nothing to anybody.
	// An entry {include: FILE} stands for the rules of a file, or of all that a pattern names, such as rules.d/*.yml.
	Rules []policy.Rule `yaml:"rules"`

	// The files that rules were included from, and the folders that patterns of files were compared with.
	Included []string `yaml:"-"`

	// Sets of names, patterns or addresses that rules refer to as @NAME wherever they take a value. A set may hold others
	// in the same way; \@ is a plain @.
	Sets map[string]policy.Values `yaml:"sets"`

	SetSources map[string]string `yaml:"-"` // where each of Sets stands, such as customhouse.yml:12

	// A file of rules, or a configuration whose rules are meant, that are asked about every decision beside those that hold
	// and decide nothing: what they would decide otherwise is logged, counted, and listed by customhouse policy shadow.
	// Its rules may refer to the sets of this file.
	Shadow string `yaml:"shadow"`

	// What is in the file shadow; nil without one.
	Shadowed *Config `yaml:"-"`

	// How rules, and the access lists that authorize names, are read: as this page tells (native), or to the letter as
	// cesanta/docker_auth reads its ACL (docker_auth).
	Dialect string `yaml:"dialect" jsonschema:"enum=native,enum=docker_auth"`

	// With dialect docker_auth: whether ${account:1} and ${labels:KEY} put values into patterns as patterns, as docker_auth
	// does. An account named * then owns everything that a rule grants by ${account:1}/*.
	CompatRawPlaceholders bool `yaml:"compat_raw_placeholders"`

	// What an account that is denied something hears of why: what would have been needed, as far as that tells nothing of
	// other accounts and repositories (reason), or the message of the rule, which takes its place; the message of the rule
	// alone (message); or the id of the decision, by which the log has all of it (id). Who has no account hears nothing.
	Denials string `yaml:"denials" jsonschema:"enum=reason,enum=message,enum=id"`

	// Who else decides who may do what, beside rules.
	Authorize Authorize `yaml:"authorize"`

	// What the registry accepts and how it keeps it.
	Storage Storage `yaml:"storage"`

	// Other registries whose repositories can be pulled here, and are kept when they are.
	Mirrors []Mirror `yaml:"mirrors"`

	// Content that is kept the same here and in other registries.
	Replicate []Replicate `yaml:"replicate"`

	// Bounds on what one account or client may use up.
	Limits Limits `yaml:"limits"`

	// What is kept to be accounted for: decisions, logins, tokens, and changes of accounts, rules and keys.
	Audit Audit `yaml:"audit"`

	// Who is told of what happens to content.
	Notify Notify `yaml:"notify"`

	// What readiness depends on beside the registry itself. A check that fails makes /readyz say no, so that a load
	// balancer sends nothing more; who asks all the same is served.
	Health Health `yaml:"health"`

	// What is written to standard error.
	Log Log `yaml:"log"`
}

// Auth is the section auth.
type Auth struct {
	// Whether everybody may do everything, without an account. Only when listening on loopback or with allow_open, and
	// not together with users, htpasswd or rules.
	Off bool `yaml:"off"`

	// Whether off may hold beyond loopback: for everybody who reaches the address of listen.
	AllowOpen bool `yaml:"allow_open"`

	// Whether requests to the registry may carry a password (Basic) where they usually carry a token (Bearer).
	Basic bool `yaml:"basic"`

	// Whether requests may come without an account; the rules tell what they may do. Otherwise they are all answered with 401.
	Anonymous bool `yaml:"anonymous"`

	// The order in which the sources of accounts are asked; the first that knows an account owns it. Those that the list
	// leaves out follow in the order of the default, but for tokens and robots, which are first.
	Order []Source `yaml:"order"`

	// Accounts that are kept in this file, by name. "" is who comes without a credential: it has labels at most.
	Users map[string]User `yaml:"users"`

	// An htpasswd file with bcrypt hashes. It is read again when it changes.
	Htpasswd string `yaml:"htpasswd"`

	// Whether the accounts that the command customhouse user keeps in the data folder may log in.
	Accounts bool `yaml:"accounts"`

	// A program of yours that is started to ask who somebody is.
	Exec ExecProgram `yaml:"exec"`

	// A program of yours that keeps running and is asked who somebody is.
	Worker WorkerProgram `yaml:"worker"`

	// A URL of yours that is asked who somebody is.
	Webhook WebhookProgram `yaml:"webhook"`

	// A WebAssembly module of yours that is asked who somebody is.
	Plugin PluginProgram `yaml:"plugin"`

	// Accounts of an LDAP directory.
	LDAP LDAP `yaml:"ldap"`

	// Accounts in tables of a SQL database: docker_auth's, or your own.
	SQL SQL `yaml:"sql"`

	// Accounts in a collection of MongoDB, as docker_auth keeps them.
	Mongo Mongo `yaml:"mongo"`

	// An OpenID provider where people sign in with a browser at /ui/ to get app passwords.
	OIDC OIDC `yaml:"oidc"`

	// GitHub as a place where people sign in with a browser.
	GitHub GitHub `yaml:"github"`

	// GitLab as a place where people sign in with a browser.
	GitLab GitLab `yaml:"gitlab"`

	// Google as a place where people sign in with a browser. The names of accounts are email addresses.
	Google Google `yaml:"google"`

	// The passwords that people who sign in with a browser get for their programs.
	AppPasswords AppPasswords `yaml:"app_passwords"`

	// Issuers of JWTs that say which program their bearer is: a job of a CI system, a pod. A JWT is the password of
	// docker login, or goes in the place of one of our tokens, or is exchanged for one.
	Workload []Workload `yaml:"workload"`

	// Who clients are by the certificate that they show, if they present no other credential.
	Certificates Certificates `yaml:"certificates"`

	// Robots and personal access tokens, which are kept in the data folder.
	Machines Machines `yaml:"machines"`
}

// User is an account of the section auth.users.
type User struct {
	// The bcrypt hash of the password, as customhouse hash prints it.
	Password customhouse.Secret `yaml:"password"`

	// Whether any password is right, and none too. It takes the place of a password.
	AnyPassword bool `yaml:"any_password"`

	// Facts about the account that rules may ask for, such as group: [ci].
	Labels map[string][]string `yaml:"labels"`
}

// Storage is the section storage.
type Storage struct {
	// Whether content may be deleted by those whom a rule allows it. Otherwise DELETE answers 405.
	Delete bool `yaml:"delete"`

	// Whether nothing may be changed at all: PUT, POST, PATCH and DELETE answer 405.
	ReadOnly bool `yaml:"read_only"`

	// What a manifest may name that is not in its repository: none; the manifests that an index names, as a copy of some
	// platforms only does (indexes); or layers too (all), which leaves pulling them to fail.
	Sparse string `yaml:"sparse" jsonschema:"enum=none,enum=indexes,enum=all"`

	// The platforms, such as linux/amd64, whose manifest must be there when an index names it, whatever sparse says.
	Platforms []string `yaml:"platforms"`

	// Whether layers of a non-distributable type may lie where their urls say and not in the registry.
	ForeignLayers bool `yaml:"foreign_layers"`

	// Where foreign layers may lie.
	ForeignURLs ForeignURLs `yaml:"foreign_urls"`

	// Where a web server of yours has the folders of content, so that clients fetch blobs from there (307) and not here.
	// It lets everybody read who can reach it and knows a digest: whom it serves is up to it.
	Redirect Redirect `yaml:"redirect"`

	// The largest blob to accept, such as 10GiB. 0 is no limit.
	MaxBlobSize Size `yaml:"max_blob_size"`

	// The free space below which uploads are refused: a share of the disk, such as 2%, or a size, such as 20GiB.
	Reserve Reserve `yaml:"reserve"`

	// How long a blob counts as good after it was verified. 0 verifies it each time that it is read.
	ScrubInterval time.Duration `yaml:"scrub_interval"`

	// The storage folder of a CNCF distribution registry, which is taken over in place: what it holds is served from where
	// it lies while it is read, and what is pushed to it later is followed. Nothing in it is changed.
	Adopt string `yaml:"adopt"`
}

// Redirect is the section storage.redirect.
type Redirect struct {
	// The URL that has what is in the folder data. Empty sends nobody there.
	Data string `yaml:"data"`

	// The URL that has what is in the folder of adopt. Empty sends nobody there.
	Adopted string `yaml:"adopted"`
}

// ForeignURLs is the section storage.foreign_urls.
type ForeignURLs struct {
	// Regular expressions (RE2) of which one must be found in each URL of a layer; write ^ and $ to bind it to the ends.
	// Empty is any URL.
	Allow []string `yaml:"allow"`

	// Regular expressions of which none may be found in it.
	Deny []string `yaml:"deny"`
}

// Limits is the section limits.
type Limits struct {
	// How many uploads an account may have under way. 0 is no limit.
	UploadsPerAccount int `yaml:"uploads_per_account"`

	// How long an upload may rest before it is thrown away. 0 is for ever.
	UploadTTL time.Duration `yaml:"upload_ttl"`

	// How many wrong passwords a minute are accepted from a client, for one account and for all together; what is over
	// waits, except for logins that are remembered as right. Behind a proxy all clients are one: set it higher. 0 is no
	// limit.
	FailedLogins int `yaml:"failed_logins"`

	// How many requests are answered; what is over gets 429 and when to come again. Health is always answered.
	Requests RequestLimits `yaml:"requests"`
}

// Log is the section log.
type Log struct {
	// The least level that is written.
	Level string `yaml:"level" jsonschema:"enum=debug,enum=info,enum=warn,enum=error"`

	// One JSON object a line, the same with the names that logstash expects, or text for people.
	Format string `yaml:"format" jsonschema:"enum=json,enum=logstash,enum=text"`

	// What is added to every line, by name.
	Fields map[string]string `yaml:"fields"`

	// Whether each request is logged.
	Requests bool `yaml:"requests"`
}

// Threshold returns Level as log/slog spells it.
func (l Log) Threshold() slog.Level {
	switch l.Level {
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}

// Default returns the configuration that holds without a file.
func Default() *Config {
	c := &Config{
		Listen: "127.0.0.1:5000",
		Drain:  30 * time.Second,
		HTTP:   HTTP{HTTP2: true, CatalogPage: 1000, TagsPage: 10_000, Metrics: "/metrics"},
		TLS:    TLS{Minimum: "1.2"},
		RealIP: RealIP{Header: "X-Forwarded-For", Position: -1},
		Token: Token{
			Issuer:            "customhouse",
			Service:           "customhouse",
			KeyID:             "thumbprint",
			Expiration:        5 * time.Minute,
			RefreshExpiration: 720 * time.Hour,
			Rotation:          Rotation{Publish: time.Hour},
			RefreshRotation:   "client",
		},
		Auth: Auth{
			Basic: true, Anonymous: true, Order: slices.Clone(sources), Accounts: true,
			LDAP: defaultLDAP(), SQL: SQL{SQLDatabase: defaultSQL(), Remembered: defaultRemembered()},
			Mongo:        Mongo{MongoCollection: defaultMongo(), Remembered: defaultRemembered()},
			OIDC:         OIDC{OAuthClient: defaultClient(), AccountClaim: "email", SignInAgain: 24 * time.Hour},
			GitHub:       GitHub{OAuthClient: defaultClient(), WebURL: "https://github.com", APIURL: "https://api.github.com"},
			GitLab:       GitLab{OAuthClient: defaultClient(), WebURL: "https://gitlab.com", Scopes: []string{"openid", "read_user"}},
			Google:       Google{OAuthClient: defaultClient()},
			AppPasswords: AppPasswords{Expiration: 90 * 24 * time.Hour, PerAccount: 50, Session: 12 * time.Hour},
			Machines:     defaultMachines(),
		},
		Rules: []policy.Rule{{
			Match:   policy.Match{Labels: map[string]policy.Values{"role": {"admin"}}},
			Actions: []customhouse.Action{customhouse.All},
			Comment: "accounts labelled role=admin may do everything",
		}},
		Dialect:   DialectNative,
		Denials:   DenialsReason,
		Authorize: Authorize{Order: slices.Clone(deciders), SQL: defaultStoredSQL(), Mongo: defaultStoredMongo()},
		Storage: Storage{
			Delete:        true,
			Sparse:        "indexes",
			Reserve:       Reserve{Percent: 2},
			ScrubInterval: 168 * time.Hour,
		},
		Audit:  Audit{Allow: 1, Rotate: Rotate{Size: 100 << 20, Files: 10}, Keep: AuditKeep{Age: 90 * 24 * time.Hour, Entries: 1_000_000}},
		Notify: Notify{Keep: 64 << 20},
		Limits: Limits{UploadsPerAccount: 100, UploadTTL: 24 * time.Hour, FailedLogins: 20},
		Log:    Log{Level: "info", Format: "json", Requests: true},
	}
	c.programs()["auth"].setDefaults(time.Minute, 0)
	c.programs()["authorize"].setDefaults(10*time.Second, 10*time.Second)
	return c
}
