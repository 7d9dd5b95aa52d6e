package transfer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"customhouse"
	"customhouse/mirror"
	"customhouse/outbound"
	"customhouse/registry"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/errcode"
	"oras.land/oras-go/v2/registry/remote/retry"
)

// Remote is another registry, a repository of it, or one manifest in that.
type Remote struct {
	Host      string // host[:port]
	Repo      string // "" for all repositories that its catalog shows
	Ref       string // a tag or a digest; "" for all tags
	PlainHTTP bool
	Username  string // "" for the credentials that docker login has left, if any
	Password  customhouse.Secret
	Trusted   []string // hosts beside those of Host's domain that may be given credentials
}

// ParseRemote reads docker://host[:port][/repository[:tag|@digest]].
func ParseRemote(s string) (Remote, error) {
	rest, ok := strings.CutPrefix(s, "docker://")
	if !ok {
		return Remote{}, fmt.Errorf("%q is no file, and not docker://HOST/REPOSITORY[:TAG] either", s)
	}
	host, name, _ := strings.Cut(rest, "/")
	r := Remote{Host: host}
	if _, err := url.Parse("https://" + host + "/"); err != nil || host == "" || strings.ContainsAny(host, "@?#") {
		return r, fmt.Errorf("%q has no valid host", s)
	}
	if repo, digest, ok := strings.Cut(name, "@"); ok {
		if _, err := customhouse.ParseDigest(digest); err != nil {
			return r, fmt.Errorf("%q has no valid digest", s)
		}
		name, r.Ref = repo, digest
	} else if repo, tag, ok := strings.Cut(name, ":"); ok {
		if _, err := customhouse.ParseTag(tag); err != nil {
			return r, fmt.Errorf("%q has no valid tag", s)
		}
		name, r.Ref = repo, tag
	}
	if r.Repo = name; name == "" {
		return r, nil
	}
	if _, err := customhouse.ParseRepo(name); err != nil {
		return r, fmt.Errorf("%q has no valid repository", s)
	}
	return r, nil
}

// ImportRemote takes images from another registry by its API, with what refers to them, such as signatures. Credentials
// go to that registry, to token services of its domain and to those that are trusted, and to nobody else.
func ImportRemote(ctx context.Context, r *registry.Registry, from Remote, opts ImportOptions) (Imported, error) {
	client, err := from.client()
	if err != nil {
		return Imported{}, err
	}
	repos := []string{from.Repo}
	if from.Repo == "" {
		if !opts.Repo.IsZero() {
			return Imported{}, errors.New("a whole registry does not go into one repository")
		}
		if repos, err = from.catalog(ctx, client); err != nil {
			return Imported{}, fmt.Errorf("list the repositories of %s: %w", from.Host, err)
		}
	}
	var done Imported
	for _, name := range repos {
		one, err := from.repository(ctx, client, r, name, opts)
		done.Names += one.Names
		done.Pieces += one.Pieces
		done.Bytes += one.Bytes
		done.Present += one.Present
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

func (from Remote) catalog(ctx context.Context, client remote.Client) ([]string, error) {
	reg, err := remote.NewRegistry(from.Host)
	if err != nil {
		return nil, err
	}
	reg.Client, reg.PlainHTTP = client, from.PlainHTTP
	var names []string
	err = reg.Repositories(ctx, "", func(page []string) error {
		names = append(names, page...)
		return nil
	})
	return names, err
}

func (from Remote) repository(ctx context.Context, client remote.Client, r *registry.Registry, name string, opts ImportOptions) (Imported, error) {
	fail := func(err error) (Imported, error) { return Imported{}, fmt.Errorf("%s/%s: %w", from.Host, name, err) }
	repo, err := customhouse.ParseRepo(name)
	if err != nil {
		return fail(explain(err))
	}
	source, err := remote.NewRepository(from.Host + "/" + name)
	if err != nil {
		return fail(err)
	}
	source.Client, source.PlainHTTP, source.MaxMetadataBytes = client, from.PlainHTTP, registry.MaxManifestSize
	if !opts.Repo.IsZero() {
		repo = opts.Repo
	}
	refs := []string{from.Ref}
	if from.Ref == "" {
		refs = nil
		err := source.Tags(ctx, "", func(page []string) error {
			refs = append(refs, page...)
			return nil
		})
		var answer *errcode.ErrorResponse
		if from.Repo == "" && errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
			return Imported{}, nil // distribution's catalog shows repositories whose last tag is gone
		}
		if err != nil {
			return fail(fmt.Errorf("list the tags: %w", err))
		}
	}
	var all []named
	for _, ref := range refs {
		parsed, err := customhouse.ParseRef(ref)
		if err != nil {
			return fail(explain(err))
		}
		if from.Ref == "" && !opts.wants(parsed.Tag) {
			continue
		}
		all = append(all, named{repo: repo, tag: parsed.Tag, Descriptor: ocispec.Descriptor{}})
		if all[len(all)-1].Descriptor, err = source.Resolve(ctx, ref); err != nil {
			return fail(fmt.Errorf("%s: %w", ref, err))
		}
	}
	im := &importing{registry: r, opts: opts}
	done, err := im.take(ctx, source, all)
	if err != nil {
		return done, fmt.Errorf("from %s: %w", from.Host, err)
	}
	return done, nil
}

// stallTime is how long a registry may take to begin an answer.
const stallTime = time.Minute

func (from Remote) client() (*auth.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext, transport.ResponseHeaderTimeout = from.dialer(), stallTime
	c := &auth.Client{
		Client: &http.Client{Transport: retry.NewTransport(&guard{from: from, next: transport})},
		Cache:  auth.NewCache(), ClientID: "customhouse",
		Header: http.Header{"User-Agent": {"customhouse"}},
	}
	if from.Username != "" {
		c.Credential = auth.StaticCredential(from.Host, auth.Credential{Username: from.Username, Password: string(from.Password)})
		return c, nil
	}
	store, err := credentials.NewStoreFromDocker(credentials.StoreOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the credentials of docker login: %w", err)
	}
	c.Credential = credentials.Credential(store) // it fails where it cannot look: then nothing is sent
	return c, nil
}

// dialer lets hosts that were named lead to loopback and private networks, and others to which a registry sends us not.
func (from Remote) dialer() func(ctx context.Context, network, address string) (net.Conn, error) {
	named, others := outbound.NewDialer(outbound.Options{Private: true}), outbound.NewDialer(outbound.Options{})
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		if from.named(host) {
			return named.DialContext(ctx, network, address)
		}
		return others.DialContext(ctx, network, address)
	}
}

// named tells whether the host was named by the person who imports, or is of the domain of one that was.
func (from Remote) named(host string) bool {
	return slices.ContainsFunc(append([]string{from.Host}, from.Trusted...), func(name string) bool {
		return strings.EqualFold(hostname(name), host) || mirror.SameDomain(hostname(name), host)
	})
}

func hostname(host string) string {
	if u, err := url.Parse("//" + host); err == nil {
		return u.Hostname()
	}
	return host
}

// guard lets credentials out to those only whom they are for.
type guard struct {
	from Remote
	next http.RoundTripper
}

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	secret := req.Header.Get("Authorization") != "" || req.Method == http.MethodPost // asks for a token, with a password in its body
	if secret && !g.from.trusts(req.URL) {
		return nil, fmt.Errorf("%s wants its credentials sent to %s, which is not of its domain; trust that host if it is right", g.from.Host, req.URL.Host)
	}
	return g.next.RoundTrip(req)
}

// trusts tells whether credentials may be sent to u.
func (from Remote) trusts(u *url.URL) bool {
	if u.Scheme != "https" && !from.PlainHTTP {
		return false
	}
	if strings.EqualFold(u.Host, from.Host) {
		return true
	}
	for _, host := range from.Trusted {
		if strings.EqualFold(u.Host, host) {
			return true
		}
	}
	return u.Scheme == "https" && mirror.SameDomain(hostname(from.Host), u.Hostname())
}
