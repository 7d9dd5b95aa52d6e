package config

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// HTTP is the section http.
type HTTP struct {
	// What stands before /v2/ and every other path, such as /registry, where a proxy sends one folder of a site here.
	Prefix string `yaml:"prefix"`

	// Headers that are added to every answer, each a list of values.
	Headers map[string][]string `yaml:"headers"`

	// Whether to speak HTTP/2 with clients that ask for it (over TLS).
	HTTP2 bool `yaml:"http2"`

	// Whether to speak HTTP/2 without TLS too, with clients that know beforehand.
	H2C bool `yaml:"h2c"`

	// How many repositories a page of the catalog has at the most; without an n of the client's, as many.
	CatalogPage int `yaml:"catalog_page"`

	// How many tags a page of a tag list has at the most; without an n of the client's, as many.
	TagsPage int `yaml:"tags_page"`

	// An address of its own for operators, such as 127.0.0.1:5001: profiles, health in detail, metrics. Empty is none.
	// It has no access control: keep it on loopback or in a network of yours.
	Debug string `yaml:"debug"`

	// The path of metrics in the format of Prometheus on the address of debug. Empty is none.
	Metrics string `yaml:"metrics"`
}

// Header returns Headers as net/http has them.
func (h HTTP) Header() http.Header {
	if len(h.Headers) == 0 {
		return nil
	}
	header := http.Header{}
	for name, values := range h.Headers {
		header[http.CanonicalHeaderKey(name)] = values
	}
	return header
}

// owned are the headers whose value is part of what an answer means.
var owned = []string{"Content-Length", "Content-Range", "Content-Type", "Docker-Content-Digest", "Location", "Transfer-Encoding", "Www-Authenticate"}

func (c *Config) checkHTTP(p *problems) {
	h := c.HTTP
	p.check(h.Prefix == "" || isPath(h.Prefix), "http.prefix", "want a path without a slash at its end, such as /registry")
	for _, name := range slices.Sorted(maps.Keys(h.Headers)) {
		key := join("http.headers", name)
		p.check(isToken(name), key, "no name of a header")
		p.check(!slices.Contains(owned, http.CanonicalHeaderKey(name)), key, "is set by the registry itself")
		for i, value := range h.Headers[name] {
			p.check(isFieldValue(value), fmt.Sprintf("%s[%d]", key, i), "no value of a header")
		}
	}
	p.check(h.CatalogPage >= 1 && h.CatalogPage <= maxPage, "http.catalog_page", fmt.Sprintf("want 1 to %d", maxPage))
	p.check(h.TagsPage >= 1 && h.TagsPage <= maxPage, "http.tags_page", fmt.Sprintf("want 1 to %d", maxPage))
	if h.Debug != "" {
		_, ok := splitListen(h.Debug)
		p.check(ok, "http.debug", "want host:port, such as 127.0.0.1:5001")
	}
	p.check(h.Metrics == "" || isPath(h.Metrics) && !strings.HasPrefix(h.Metrics, "/debug"), "http.metrics",
		"want a path that is not below /debug, such as /metrics")
}

const maxPage = 10_000

// isToken matches the name of a header (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	return s != "" && strings.Trim(s, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

// isFieldValue matches the value of a header (RFC 9110 section 5.5).
func isFieldValue(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// isPath matches an absolute path of plain segments.
func isPath(s string) bool {
	segments := strings.Split(s, "/")
	return len(segments) > 1 && segments[0] == "" && !slices.ContainsFunc(segments[1:], func(segment string) bool {
		return segment == "" || segment == "." || segment == ".." || url.PathEscape(segment) != segment
	})
}

// Health is the section health.
type Health struct {
	// Files whose presence takes the registry out of service.
	Files []FileCheck `yaml:"files"`

	// URLs that have to answer.
	HTTP []HTTPCheck `yaml:"http"`

	// Addresses that somebody has to listen on.
	TCP []TCPCheck `yaml:"tcp"`
}

// FileCheck is an entry of health.files.
type FileCheck struct {
	// The file that must not be there.
	File string `yaml:"file" jsonschema:"required"`

	// How long to wait between two looks. 0 is 10s.
	Interval time.Duration `yaml:"interval"`

	// After how many failures in a row the registry counts as not ready. 0 is 1.
	Threshold int `yaml:"threshold"`
}

// HTTPCheck is an entry of health.http.
type HTTPCheck struct {
	// The URL that HEAD is sent to.
	URI string `yaml:"uri" jsonschema:"required"`

	// Headers of the request, each a list of values.
	Headers map[string][]string `yaml:"headers"`

	// The status of a good answer. 0 is 200.
	Status int `yaml:"status"`

	// How long an answer may take. 0 is the interval.
	Timeout time.Duration `yaml:"timeout"`

	// How long to wait between two requests. 0 is 10s.
	Interval time.Duration `yaml:"interval"`

	// After how many failures in a row the registry counts as not ready. 0 is 1.
	Threshold int `yaml:"threshold"`
}

// TCPCheck is an entry of health.tcp.
type TCPCheck struct {
	// The address to connect to, as host:port.
	Addr string `yaml:"addr" jsonschema:"required"`

	// How long connecting may take. 0 is the interval.
	Timeout time.Duration `yaml:"timeout"`

	// How long to wait between two connections. 0 is 10s.
	Interval time.Duration `yaml:"interval"`

	// After how many failures in a row the registry counts as not ready. 0 is 1.
	Threshold int `yaml:"threshold"`
}

func (c *Config) checkHealth(p *problems) {
	timing := func(key string, interval, timeout time.Duration, threshold int) {
		p.check(interval >= 0, key+".interval", "must not be negative")
		p.check(timeout >= 0, key+".timeout", "must not be negative")
		p.check(threshold >= 0, key+".threshold", "must not be negative")
	}
	for i, f := range c.Health.Files {
		key := fmt.Sprintf("health.files[%d]", i)
		p.check(f.File != "", key+".file", "missing")
		timing(key, f.Interval, 0, f.Threshold)
	}
	for i, h := range c.Health.HTTP {
		key := fmt.Sprintf("health.http[%d]", i)
		u, err := url.Parse(h.URI)
		p.check(err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "", key+".uri", "want a URL, such as https://storage.example.com/health")
		p.check(h.Status == 0 || h.Status >= 100 && h.Status < 600, key+".status", "want a status of HTTP, such as 200")
		timing(key, h.Interval, h.Timeout, h.Threshold)
	}
	for i, t := range c.Health.TCP {
		key := fmt.Sprintf("health.tcp[%d]", i)
		_, ok := splitListen(t.Addr)
		p.check(ok, key+".addr", "want host:port, such as 127.0.0.1:6379")
		timing(key, t.Interval, t.Timeout, t.Threshold)
	}
}
