// Package mirror reaches other registries as a source: what a tag points to there, manifests and blobs as they come, lists
// of tags. Content is copied from there through it; it knows nothing of what is kept here, of permission or of serving.
//
// What an upstream says is not believed: answers are bounded, an answer that stalls ends, credentials go to the registry
// that they are for and to nobody that it names, and no redirect leads into a network that the operator has not named.
// Whether bytes have the digest that was asked for is seen by whoever takes them.
//
//	up, err := mirror.New(mirror.Options{URL: "https://registry-1.docker.io"})
//	body, size, err := up.Blob(ctx, repo, digest)
package mirror

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"customhouse"

	"oras.land/oras-go/v2/registry/remote/auth"
)

// Options of an Upstream. All but URL may be left out.
type Options struct {
	URL      string // of the registry: scheme, host and port
	Username string
	Password customhouse.Secret
	Helper   Helper              // is asked for the credential, in place of Username and Password
	Ask      auth.CredentialFunc // is asked for it, in place of all of them, with the host of the registry
	Retry    bool                // whether what fails for a moment is tried again
	Insecure bool                // whether credentials may go by http to a host that is not this machine
	Trusted  []string            // hosts, with their ports, that it may send us to: with credentials, and in private networks
	CAs      *x509.CertPool      // who vouches for its certificate; nil is whom the system trusts
	Stall    time.Duration       // how long an answer may make no progress; 0 is 30 seconds
	Now      func() time.Time
}

// Upstream is another registry. Its methods may be called at the same time by many.
//
// Their errors are customhouse.ErrNotFound where the registry says that there is no such thing, or that we may not have
// it; TOOMANYREQUESTS where it asks us to wait; and UNAVAILABLE where it cannot tell.
type Upstream struct {
	origin  *url.URL
	trusted []string
	options Options
	client  *auth.Client
	pauses  [2]pause // by kind
}

// kind is what a request asks for: a registry may limit one and not the other.
type kind int

const (
	manifests kind = iota
	blobs
)

// New returns the registry that o tells of. Nothing is sent to it before there is need.
func New(o Options) (*Upstream, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, errors.New("want a URL of scheme and host only, such as https://registry.example.com")
	}
	if o.Stall == 0 {
		o.Stall = 30 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	secret := o.Username != "" || o.Helper.Command != "" || o.Ask != nil
	if secret && u.Scheme == "http" && !o.Insecure && !isLoopback(u.Hostname()) {
		return nil, fmt.Errorf("credentials would go to %s readable by http", u.Host)
	}
	up := &Upstream{origin: &url.URL{Scheme: u.Scheme, Host: serving(u.Host)}, trusted: o.Trusted, options: o}
	up.client = up.newClient()
	return up, nil
}

// Host is the name of the registry, for messages.
func (u *Upstream) Host() string { return u.origin.Host }

// serving returns the host that serves the content of a registry that people call otherwise.
func serving(host string) string {
	if host == "docker.io" || host == "index.docker.io" {
		return "registry-1.docker.io"
	}
	return host
}

// path returns where the repository is on the registry. On Docker Hub a name of one part is an official image.
func (u *Upstream) path(repo customhouse.Repo) string {
	name := repo.String()
	if u.origin.Hostname() == "registry-1.docker.io" && !strings.Contains(name, "/") {
		name = "library/" + name
	}
	return name
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
