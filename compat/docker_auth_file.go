package compat

import (
	"customhouse"

	"go.yaml.in/yaml/v4"
)

// dockerAuth is the configuration of cesanta/docker_auth 1.14, key by key. Pointers and nil tell what is absent.
type dockerAuth struct {
	Server dockerServer `yaml:"server"`
	Token  dockerToken  `yaml:"token"`

	Users   map[string]*dockerUser `yaml:"users"`
	Google  *dockerGoogle          `yaml:"google_auth"`
	GitHub  *dockerGitHub          `yaml:"github_auth"`
	OIDC    *dockerOIDC            `yaml:"oidc_auth"`
	GitLab  *dockerGitLab          `yaml:"gitlab_auth"`
	LDAP    *dockerLDAP            `yaml:"ldap_auth"`
	Mongo   *dockerMongo           `yaml:"mongo_auth"`
	XORM    *dockerXORM            `yaml:"xorm_auth"`
	Ext     *dockerExt             `yaml:"ext_auth"`
	PluginN *dockerPlugin          `yaml:"plugin_authn"`

	ACL      []dockerRule    `yaml:"acl"`
	ACLMongo *dockerACLMongo `yaml:"acl_mongo"`
	ACLXORM  *dockerACLXORM  `yaml:"acl_xorm"`
	ExtZ     *dockerExt      `yaml:"ext_authz"`
	PluginZ  *dockerPlugin   `yaml:"plugin_authz"`
	Casbin   *dockerCasbin   `yaml:"casbin_authz"`

	// A part of a customhouse.yml that is laid over what the rest means. docker_auth ignores it.
	Customhouse yaml.Node `yaml:"customhouse"`
}

type dockerServer struct {
	Addr         string       `yaml:"addr"`
	Net          string       `yaml:"net"`
	PathPrefix   string       `yaml:"path_prefix"`
	RealIPHeader string       `yaml:"real_ip_header"`
	RealIPPos    integer      `yaml:"real_ip_pos"`
	Certificate  string       `yaml:"certificate"`
	Key          string       `yaml:"key"`
	HSTS         boolean      `yaml:"hsts"`
	TLSMinimum   string       `yaml:"tls_min_version"`
	TLSCurves    []string     `yaml:"tls_curve_preferences"`
	TLSSuites    []string     `yaml:"tls_cipher_suites"`
	LetsEncrypt  dockerLetsEn `yaml:"letsencrypt"`
}

type dockerLetsEn struct {
	Email    string `yaml:"email"`
	CacheDir string `yaml:"cache_dir"`
	Host     string `yaml:"host"`
}

type dockerToken struct {
	Issuer             string  `yaml:"issuer"`
	Expiration         integer `yaml:"expiration"` // seconds
	Certificate        string  `yaml:"certificate"`
	Key                string  `yaml:"key"`
	DisableLegacyKeyID boolean `yaml:"disable_legacy_key_id"`
}

type dockerUser struct {
	Password *customhouse.Secret `yaml:"password"`
	Labels   map[string][]string `yaml:"labels"`
}

// dockerClient is what the sections of all sign-in pages have in common.
type dockerClient struct {
	ClientID         string             `yaml:"client_id"`
	ClientSecret     customhouse.Secret `yaml:"client_secret"`
	ClientSecretFile string             `yaml:"client_secret_file"`
	Level            *dockerLevelDB     `yaml:"level_token_db"`
	GCS              *dockerGCS         `yaml:"gcs_token_db"`
	Redis            *dockerRedis       `yaml:"redis_token_db"`
	HTTPTimeout      duration           `yaml:"http_timeout"`
}

type dockerGoogle struct {
	dockerClient
	Domain string `yaml:"domain"`
}

type dockerGitHub struct {
	dockerClient
	Organization    string   `yaml:"organization"`
	RevalidateAfter duration `yaml:"revalidate_after"`
	WebURI          string   `yaml:"github_web_uri"`
	APIURI          string   `yaml:"github_api_uri"`
	RegistryURL     string   `yaml:"registry_url"`
}

type dockerGitLab struct {
	dockerClient
	Organization    string   `yaml:"organization"` // never checked there
	RevalidateAfter duration `yaml:"revalidate_after"`
	WebURI          string   `yaml:"gitlab_web_uri"`
	APIURI          string   `yaml:"gitlab_api_uri"`
	RegistryURL     string   `yaml:"registry_url"`
	GrantType       string   `yaml:"grant_type"`
	RedirectURI     string   `yaml:"redirect_uri"`
}

type dockerOIDC struct {
	dockerClient
	Issuer       string   `yaml:"issuer"`
	RedirectURL  string   `yaml:"redirect_url"`
	RegistryURL  string   `yaml:"registry_url"`
	UserClaim    string   `yaml:"user_claim"`
	LabelsClaims []string `yaml:"labels_claims"`
	LabelClaims  []string `yaml:"label_claims"` // as its documentation spells it
	Scopes       []string `yaml:"scopes"`
}

type dockerLevelDB struct {
	Path     string  `yaml:"path"`
	HashCost integer `yaml:"token_hash_cost"`
}

type dockerGCS struct {
	Bucket           string  `yaml:"bucket"`
	ClientSecretFile string  `yaml:"client_secret_file"`
	HashCost         integer `yaml:"token_hash_cost"`
}

type dockerRedis struct {
	Options  *dockerRedisOptions `yaml:"redis_options"`
	Cluster  *dockerRedisCluster `yaml:"redis_cluster_options"`
	HashCost integer             `yaml:"token_hash_cost"`
}

// dockerRedisCommon are the fields of go-redis v6 that both kinds of options have, in lower case.
type dockerRedisCommon struct {
	Password           customhouse.Secret `yaml:"password"`
	MaxRetries         integer            `yaml:"maxretries"`
	MinRetryBackoff    duration           `yaml:"minretrybackoff"`
	MaxRetryBackoff    duration           `yaml:"maxretrybackoff"`
	DialTimeout        duration           `yaml:"dialtimeout"`
	ReadTimeout        duration           `yaml:"readtimeout"`
	WriteTimeout       duration           `yaml:"writetimeout"`
	PoolSize           integer            `yaml:"poolsize"`
	MinIdleConns       integer            `yaml:"minidleconns"`
	MaxConnAge         duration           `yaml:"maxconnage"`
	PoolTimeout        duration           `yaml:"pooltimeout"`
	IdleTimeout        duration           `yaml:"idletimeout"`
	IdleCheckFrequency duration           `yaml:"idlecheckfrequency"`
	TLS                yaml.Node          `yaml:"tlsconfig"`
}

type dockerRedisOptions struct {
	dockerRedisCommon
	Network string  `yaml:"network"`
	Addr    string  `yaml:"addr"`
	DB      integer `yaml:"db"`
}

type dockerRedisCluster struct {
	dockerRedisCommon
	Addrs          []string `yaml:"addrs"`
	MaxRedirects   integer  `yaml:"maxredirects"`
	ReadOnly       boolean  `yaml:"readonly"`
	RouteByLatency boolean  `yaml:"routebylatency"`
	RouteRandomly  boolean  `yaml:"routerandomly"`
}

type dockerLDAP struct {
	Addr              string                 `yaml:"addr"`
	TLS               string                 `yaml:"tls"`
	SkipVerify        boolean                `yaml:"insecure_tls_skip_verify"`
	CACertificate     string                 `yaml:"ca_certificate"`
	Base              string                 `yaml:"base"`
	Filter            string                 `yaml:"filter"`
	BindDN            string                 `yaml:"bind_dn"`
	BindPasswordFile  string                 `yaml:"bind_password_file"`
	InitialBindAsUser boolean                `yaml:"initial_bind_as_user"`
	Labels            map[string]dockerLabel `yaml:"labels"`
}

type dockerLabel struct {
	Attribute string  `yaml:"attribute"`
	ParseCN   boolean `yaml:"parse_cn"`
	LowerCase boolean `yaml:"lower_case"`
}

// dockerDial are the fields of mgo's DialInfo in lower case, and what docker_auth adds.
type dockerDial struct {
	Addrs        []string           `yaml:"addrs"`
	Direct       boolean            `yaml:"direct"`
	Timeout      duration           `yaml:"timeout"`
	FailFast     boolean            `yaml:"failfast"`
	Database     string             `yaml:"database"`
	Source       string             `yaml:"source"`
	Service      string             `yaml:"service"`
	Mechanism    string             `yaml:"mechanism"`
	Username     string             `yaml:"username"`
	Password     customhouse.Secret `yaml:"password"`
	PasswordFile string             `yaml:"password_file"`
	EnableTLS    boolean            `yaml:"enable_tls"`
}

type dockerMongo struct {
	DialInfo   *dockerDial `yaml:"dial_info"`
	Collection string      `yaml:"collection"`
}

type dockerACLMongo struct {
	dockerMongo
	CacheTTL duration `yaml:"cache_ttl"`
}

type dockerXORM struct {
	DatabaseType string             `yaml:"database_type"`
	ConnString   customhouse.Secret `yaml:"conn_string"`
}

type dockerACLXORM struct {
	dockerXORM
	CacheTTL duration `yaml:"cache_ttl"`
}

type dockerExt struct {
	Command string   `yaml:"command"`
	Args    []string `yaml:"args"`
}

type dockerPlugin struct {
	Path string `yaml:"plugin_path"`
}

type dockerCasbin struct {
	ModelPath  string `yaml:"model_path"`
	PolicyPath string `yaml:"policy_path"`
}

type dockerRule struct {
	Match   *dockerMatch `yaml:"match"`
	Actions []string     `yaml:"actions"`
	Comment string       `yaml:"comment"`
}

type dockerMatch struct {
	Account *string           `yaml:"account"`
	Type    *string           `yaml:"type"`
	Name    *string           `yaml:"name"`
	IP      *string           `yaml:"ip"`
	Service *string           `yaml:"service"`
	Labels  map[string]string `yaml:"labels"`
}
