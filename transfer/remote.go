package transfer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"customhouse"
	"customhouse/mirror"
	"customhouse/registry"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/errcode"
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

// ErrCredentials is that of an address with a name or a password in it.
var ErrCredentials = errors.New("credentials do not belong into the address of a registry")

// ParseRemote reads docker://host[:port][/repository[:tag|@digest]]. ErrCredentials.
func ParseRemote(s string) (Remote, error) {
	rest, ok := strings.CutPrefix(s, "docker://")
	if !ok {
		return Remote{}, fmt.Errorf("%q is no file, and not docker://HOST/REPOSITORY[:TAG] either", s)
	}
	host, name, _ := strings.Cut(rest, "/")
	r := Remote{Host: host}
	if strings.Contains(host, "@") {
		return r, ErrCredentials // the rest is in no message
	}
	if _, err := url.Parse("https://" + host + "/"); err != nil || host == "" || strings.ContainsAny(host, "?#") {
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
	far, err := from.registry()
	if err != nil {
		return Imported{}, err
	}
	repos := []string{from.Repo}
	if from.Repo == "" {
		repos = nil
		if !opts.Repo.IsZero() {
			return Imported{}, errors.New("a whole registry does not go into one repository")
		}
		err := far.Repositories(ctx, "", func(page []string) error {
			repos = append(repos, page...)
			return nil
		})
		if err != nil {
			return Imported{}, fmt.Errorf("list the repositories of %s: %w", from.Host, err)
		}
	}
	var done Imported
	for _, name := range repos {
		one, err := from.repository(ctx, far, r, name, opts)
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

func (from Remote) repository(ctx context.Context, far *remote.Registry, r *registry.Registry, name string, opts ImportOptions) (Imported, error) {
	fail := func(err error) (Imported, error) { return Imported{}, fmt.Errorf("%s/%s: %w", from.Host, name, err) }
	repo, err := customhouse.ParseRepo(name)
	if err != nil {
		return fail(explain(err))
	}
	found, err := far.Repository(ctx, name)
	if err != nil {
		return fail(err)
	}
	source := found.(*remote.Repository)
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

// registry returns the registry by the way on which mirrors reach theirs.
func (from Remote) registry() (*remote.Registry, error) {
	o := mirror.Options{
		URL: "https://" + from.Host, Username: from.Username, Password: from.Password, Trusted: from.Trusted, Retry: true,
		Insecure: from.PlainHTTP, // it was asked for
	}
	if from.PlainHTTP {
		o.URL = "http://" + from.Host
	}
	if from.Username == "" {
		store, err := credentials.NewStoreFromDocker(credentials.StoreOptions{})
		if err != nil {
			return nil, fmt.Errorf("read the credentials of docker login: %w", err)
		}
		o.Ask = credentials.Credential(store) // it fails where it cannot look: then nothing is sent
	}
	far, err := mirror.New(o)
	if err != nil {
		return nil, err
	}
	return far.Registry(nil)
}
