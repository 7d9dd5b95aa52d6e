package compat

import (
	"customhouse"

	"go.yaml.in/yaml/v4"
)

// distribution is the configuration of CNCF distribution 3, key by key, with what only 2.x had. The tag env names a field
// as its environment variables do where that is not the key.
type distribution struct {
	Version string      `yaml:"version"`
	Log     dLog        `yaml:"log"`
	Level   string      `yaml:"loglevel"` // of old
	Storage dStorage    `yaml:"storage"`
	Auth    dAuth       `yaml:"auth"`
	Middle  dMiddleware `yaml:"middleware"`
	HTTP    dHTTP       `yaml:"http"`
	Notify  dNotify     `yaml:"notifications"`
	Redis   *dRedis     `yaml:"redis"`
	Health  dHealth     `yaml:"health"`
	Proxy   dProxy      `yaml:"proxy"`
	Valid   dValidation `yaml:"validation"`
	Catalog dCatalog    `yaml:"catalog"`
	Tags    dTags       `yaml:"tags"`
	Policy  dPolicy     `yaml:"policy"`

	Reporting     *dReporting     `yaml:"reporting"`     // 2.x
	Compatibility *dCompatibility `yaml:"compatibility"` // 2.x

	// A part of a customhouse.yml that is laid over what the rest means. distribution ignores it.
	Customhouse yaml.Node `yaml:"customhouse"`
}

type dLog struct {
	AccessLog    dSwitch           `yaml:"accesslog"`
	Level        string            `yaml:"level"`
	Formatter    string            `yaml:"formatter"`
	Fields       map[string]string `yaml:"fields"`
	Hooks        []dLogHook        `yaml:"hooks"`
	ReportCaller boolean           `yaml:"reportcaller"`
}

type dSwitch struct {
	Disabled boolean `yaml:"disabled"`
}

type dLogHook struct {
	Disabled boolean  `yaml:"disabled"`
	Type     string   `yaml:"type"`
	Levels   []string `yaml:"levels"`
	Options  struct {
		SMTP struct {
			Addr     string             `yaml:"addr"`
			Username string             `yaml:"username"`
			Password customhouse.Secret `yaml:"password"`
			Insecure boolean            `yaml:"insecure"`
		} `yaml:"smtp"`
		From string   `yaml:"from"`
		To   []string `yaml:"to"`
	} `yaml:"options" env:"mailoptions"`
}

// dStorage has a driver, of which there is one, and what goes with any of them.
type dStorage struct {
	Filesystem *dFilesystem `yaml:"filesystem"`
	InMemory   *struct{}    `yaml:"inmemory"`
	S3         *dS3         `yaml:"s3"`
	S3AWS      *dS3         `yaml:"s3aws"`
	GCS        *dGCS        `yaml:"gcs"`
	Azure      *dAzure      `yaml:"azure"`
	Swift      yaml.Node    `yaml:"swift"` // 2.x
	OSS        yaml.Node    `yaml:"oss"`   // 2.x

	Tag struct {
		ConcurrencyLimit integer `yaml:"concurrencylimit"`
	} `yaml:"tag"`
	Delete struct {
		Enabled boolean `yaml:"enabled"`
	} `yaml:"delete"`
	Redirect struct {
		Disable boolean `yaml:"disable"`
	} `yaml:"redirect"`
	Cache struct {
		Blobs     string   `yaml:"blobdescriptor"`
		LayerInfo string   `yaml:"layerinfo"`
		Size      *integer `yaml:"blobdescriptorsize"`
	} `yaml:"cache"`
	Maintenance struct {
		Purging  *dPurging `yaml:"uploadpurging"`
		ReadOnly struct {
			Enabled boolean `yaml:"enabled"`
		} `yaml:"readonly"`
	} `yaml:"maintenance"`
}

type dPurging struct {
	Enabled  *boolean  `yaml:"enabled"`
	Age      *duration `yaml:"age"`
	Interval *duration `yaml:"interval"`
	DryRun   *boolean  `yaml:"dryrun"`
}

type dFilesystem struct {
	Root       string  `yaml:"rootdirectory"`
	MaxThreads integer `yaml:"maxthreads"`
}

type dS3 struct {
	AccessKey     customhouse.Secret `yaml:"accesskey"`
	SecretKey     customhouse.Secret `yaml:"secretkey"`
	Region        string             `yaml:"region"`
	Endpoint      string             `yaml:"regionendpoint"`
	Redirect      string             `yaml:"redirectendpoint"`
	PathStyle     boolean            `yaml:"forcepathstyle"`
	Bucket        string             `yaml:"bucket"`
	Encrypt       boolean            `yaml:"encrypt"`
	KeyID         string             `yaml:"keyid"`
	Secure        boolean            `yaml:"secure"`
	SkipVerify    boolean            `yaml:"skipverify"`
	V4Auth        boolean            `yaml:"v4auth"`
	ChunkSize     integer            `yaml:"chunksize"`
	CopyChunk     integer            `yaml:"multipartcopychunksize"`
	CopyMax       integer            `yaml:"multipartcopymaxconcurrency"`
	CopyThreshold integer            `yaml:"multipartcopythresholdsize"`
	Root          string             `yaml:"rootdirectory"`
	Class         string             `yaml:"storageclass"`
	UserAgent     string             `yaml:"useragent"`
	ACL           string             `yaml:"objectacl"`
	DualStack     boolean            `yaml:"usedualstack"`
	Accelerate    boolean            `yaml:"accelerate"`
	FIPS          boolean            `yaml:"usefipsendpoint"`
	LogLevel      string             `yaml:"loglevel"`
}

type dGCS struct {
	Bucket      string    `yaml:"bucket"`
	KeyFile     string    `yaml:"keyfile"`
	Credentials yaml.Node `yaml:"credentials"`
	Root        string    `yaml:"rootdirectory"`
	ChunkSize   integer   `yaml:"chunksize"`
	Concurrency integer   `yaml:"maxconcurrency"`
}

type dAzure struct {
	Account     string             `yaml:"accountname"`
	Key         customhouse.Secret `yaml:"accountkey"`
	Container   string             `yaml:"container"`
	Connection  customhouse.Secret `yaml:"connectionstring"`
	Realm       string             `yaml:"realm"`
	Root        string             `yaml:"rootdirectory"`
	URL         string             `yaml:"serviceurl"`
	Credentials yaml.Node          `yaml:"credentials"`
	Retries     integer            `yaml:"max_retries"`
	RetryDelay  duration           `yaml:"retry_delay"`
	SkipVerify  boolean            `yaml:"skipverify"`
}

// dAuth has one way to authenticate, or none.
type dAuth struct {
	Silly    *dRealm    `yaml:"silly"`
	None     *struct{}  `yaml:"none"`
	Htpasswd *dHtpasswd `yaml:"htpasswd"`
	Token    *dToken    `yaml:"token"`
}

type dRealm struct {
	Realm   string `yaml:"realm"`
	Service string `yaml:"service"`
}

type dHtpasswd struct {
	Realm string `yaml:"realm"`
	Path  string `yaml:"path"`
}

type dToken struct {
	Realm            string   `yaml:"realm"`
	Service          string   `yaml:"service"`
	Issuer           string   `yaml:"issuer"`
	Certificates     string   `yaml:"rootcertbundle"`
	JWKS             string   `yaml:"jwks"`
	AutoRedirect     boolean  `yaml:"autoredirect"`
	AutoRedirectPath string   `yaml:"autoredirectpath"`
	Algorithms       []string `yaml:"signingalgorithms"`
}

type dMiddleware struct {
	Registry   []dPlug `yaml:"registry"`
	Repository []dPlug `yaml:"repository"`
	Storage    []dPlug `yaml:"storage"`
}

type dPlug struct {
	Name     string  `yaml:"name"`
	Disabled boolean `yaml:"disabled"`
	Options  struct {
		BaseURL    string    `yaml:"baseurl"`
		PrivateKey string    `yaml:"privatekey"`
		KeyPairID  string    `yaml:"keypairid"`
		Duration   duration  `yaml:"duration"`
		FilteredBy string    `yaml:"ipfilteredby"`
		Region     yaml.Node `yaml:"awsregion"`
		Frequency  duration  `yaml:"updatefrequency"`
		Ranges     string    `yaml:"iprangesurl"`
		Scheme     string    `yaml:"scheme"`
		Host       string    `yaml:"host"`
		TrimPrefix string    `yaml:"trimpathprefix"`
	} `yaml:"options"`
}

type dHTTP struct {
	Addr         string              `yaml:"addr"`
	Net          string              `yaml:"net"`
	Host         string              `yaml:"host"`
	Prefix       string              `yaml:"prefix"`
	Secret       customhouse.Secret  `yaml:"secret"`
	RelativeURLs boolean             `yaml:"relativeurls"`
	Drain        duration            `yaml:"draintimeout"`
	TLS          dTLS                `yaml:"tls"`
	Headers      map[string][]string `yaml:"headers"`
	Debug        struct {
		Addr       string `yaml:"addr"`
		Prometheus struct {
			Enabled boolean `yaml:"enabled"`
			Path    string  `yaml:"path"`
		} `yaml:"prometheus"`
	} `yaml:"debug"`
	HTTP2 dSwitch `yaml:"http2"`
	H2C   struct {
		Enabled boolean `yaml:"enabled"`
	} `yaml:"h2c"`
}

type dTLS struct {
	Certificate string   `yaml:"certificate"`
	Key         string   `yaml:"key"`
	ClientCAs   []string `yaml:"clientcas"`
	ClientAuth  string   `yaml:"clientauth"`
	Minimum     string   `yaml:"minimumtls"`
	Suites      []string `yaml:"ciphersuites"`
	LetsEncrypt struct {
		CacheFile string   `yaml:"cachefile"`
		Email     string   `yaml:"email"`
		Hosts     []string `yaml:"hosts"`
		Directory string   `yaml:"directoryurl"`
	} `yaml:"letsencrypt"`
}

type dNotify struct {
	Events struct {
		References boolean `yaml:"includereferences"`
	} `yaml:"events" env:"eventconfig"`
	Endpoints []dEndpoint `yaml:"endpoints"`
}

type dEndpoint struct {
	Name       string              `yaml:"name"`
	Disabled   boolean             `yaml:"disabled"`
	URL        string              `yaml:"url"`
	Headers    map[string][]string `yaml:"headers"`
	Timeout    duration            `yaml:"timeout"`
	Threshold  integer             `yaml:"threshold"`
	Backoff    duration            `yaml:"backoff"`
	MediaTypes []string            `yaml:"ignoredmediatypes"`
	Ignore     struct {
		MediaTypes []string `yaml:"mediatypes"`
		Actions    []string `yaml:"actions"`
	} `yaml:"ignore"`
}

type dRedis struct {
	Addr     string             `yaml:"addr"` // 2.x
	Addrs    []string           `yaml:"addrs"`
	Client   string             `yaml:"clientname"`
	DB       integer            `yaml:"db"`
	Protocol integer            `yaml:"protocol"`
	Username string             `yaml:"username"`
	Password customhouse.Secret `yaml:"password"`

	SentinelUsername string             `yaml:"sentinelusername"`
	SentinelPassword customhouse.Secret `yaml:"sentinelpassword"`

	MaxRetries      integer   `yaml:"maxretries"`
	MinRetryBackoff duration  `yaml:"minretrybackoff"`
	MaxRetryBackoff duration  `yaml:"maxretrybackoff"`
	DialTimeout     duration  `yaml:"dialtimeout"`
	ReadTimeout     duration  `yaml:"readtimeout"`
	WriteTimeout    duration  `yaml:"writetimeout"`
	ContextTimeout  boolean   `yaml:"contexttimeoutenabled"`
	PoolFIFO        boolean   `yaml:"poolfifo"`
	PoolSize        integer   `yaml:"poolsize"`
	PoolTimeout     duration  `yaml:"pooltimeout"`
	MinIdle         integer   `yaml:"minidleconns"`
	MaxIdle         integer   `yaml:"maxidleconns"`
	MaxActive       integer   `yaml:"maxactiveconns"`
	MaxIdleTime     duration  `yaml:"connmaxidletime"`
	MaxLifetime     duration  `yaml:"connmaxlifetime"`
	MaxRedirects    integer   `yaml:"maxredirects"`
	ReadOnly        boolean   `yaml:"readonly"`
	RouteByLatency  boolean   `yaml:"routebylatency"`
	RouteRandomly   boolean   `yaml:"routerandomly"`
	Master          string    `yaml:"mastername"`
	NoIdentity      boolean   `yaml:"disableidentity"`
	Suffix          string    `yaml:"identitysuffix"`
	UnstableRESP3   boolean   `yaml:"unstableresp3"`
	TLS             yaml.Node `yaml:"tls"`
	Pool            yaml.Node `yaml:"pool"` // 2.x
}

type dHealth struct {
	Storage struct {
		Enabled   boolean  `yaml:"enabled"`
		Interval  duration `yaml:"interval"`
		Threshold integer  `yaml:"threshold"`
	} `yaml:"storagedriver"`
	Files []struct {
		File      string   `yaml:"file"`
		Interval  duration `yaml:"interval"`
		Threshold integer  `yaml:"threshold"`
	} `yaml:"file" env:"filecheckers"`
	HTTP []struct {
		URI       string              `yaml:"uri"`
		Headers   map[string][]string `yaml:"headers"`
		Status    integer             `yaml:"statuscode"`
		Timeout   duration            `yaml:"timeout"`
		Interval  duration            `yaml:"interval"`
		Threshold integer             `yaml:"threshold"`
	} `yaml:"http" env:"httpcheckers"`
	TCP []struct {
		Addr      string   `yaml:"addr"`
		Timeout   duration `yaml:"timeout"`
		Interval  duration `yaml:"interval"`
		Threshold integer  `yaml:"threshold"`
	} `yaml:"tcp" env:"tcpcheckers"`
}

type dProxy struct {
	Remote   string             `yaml:"remoteurl"`
	Username string             `yaml:"username"`
	Password customhouse.Secret `yaml:"password"`
	Exec     *struct {
		Command  string    `yaml:"command"`
		Lifetime *duration `yaml:"lifetime"`
	} `yaml:"exec"`
	TTL          *duration `yaml:"ttl"`
	WriteTimeout duration  `yaml:"cachewritetimeout"`
}

type dValidation struct {
	Enabled   *boolean `yaml:"enabled"` // of old
	Disabled  boolean  `yaml:"disabled"`
	Manifests struct {
		URLs struct {
			Allow []string `yaml:"allow"`
			Deny  []string `yaml:"deny"`
		} `yaml:"urls"`
		Indexes struct {
			Platforms string `yaml:"platforms"`
			List      []struct {
				OS           string `yaml:"os"`
				Architecture string `yaml:"architecture"`
			} `yaml:"platformlist"`
		} `yaml:"indexes"`
	} `yaml:"manifests"`
}

type dCatalog struct {
	MaxEntries integer `yaml:"maxentries"`
}

type dTags struct {
	MaxTags integer `yaml:"maxtags"`
}

type dPolicy struct {
	Repository struct {
		Classes []string `yaml:"classes"`
	} `yaml:"repository"`
}

type dReporting struct {
	Bugsnag  yaml.Node `yaml:"bugsnag"`
	NewRelic yaml.Node `yaml:"newrelic"`
}

type dCompatibility struct {
	Schema1 yaml.Node `yaml:"schema1"`
}
