package transfer

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"customhouse"
	"customhouse/mirror"
	"customhouse/registry"

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
	CAs       *x509.CertPool // who may vouch for its certificate; nil is those of the system
	Trusted   []string       // hosts beside those of Host's domain that may be given credentials
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
		if err := far.Repositories(ctx, "", pages(func(name string) { repos = append(repos, name) })); err != nil {
			return Imported{}, fmt.Errorf("list the repositories of %s: %w", from.Host, err)
		}
	}
	if from.Ref != "" { // there is no other
		opts.Failed = nil
	}
	im := &importing{registry: r, opts: opts}
	names := 0
	for _, name := range repos {
		n, err := from.repository(ctx, far, im, name)
		names += n
		if err != nil {
			return im.done(names), err
		}
	}
	return im.done(names), nil
}

// repository takes the images of one repository that are asked for, and returns how many they are.
func (from Remote) repository(ctx context.Context, far *remote.Registry, im *importing, name string) (names int, err error) {
	fail := func(err error) (int, error) {
		if from.Repo != "" { // there is no other
			return 0, fmt.Errorf("%s/%s: %w", from.Host, name, err)
		}
		return 0, im.fails(ctx, from.Host+"/"+name, err)
	}
	repo, err := customhouse.ParseRepo(name)
	if err != nil {
		return fail(explain(err))
	}
	found, err := far.Repository(ctx, name)
	if err != nil {
		return fail(err)
	}
	source := found.(*remote.Repository)
	if !im.opts.Repo.IsZero() {
		repo = im.opts.Repo
	}
	refs := []string{from.Ref}
	if from.Ref == "" {
		refs = nil
		err := source.Tags(ctx, "", pages(func(tag string) { refs = append(refs, tag) }))
		var answer *errcode.ErrorResponse
		if from.Repo == "" && errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
			return 0, nil // distribution's catalog shows repositories whose last tag is gone
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
		if from.Ref == "" && !im.opts.wants(parsed.Tag) {
			continue
		}
		n := named{repo: repo, tag: parsed.Tag}
		if n.Descriptor, err = source.Resolve(ctx, ref); err == nil {
			all = append(all, n)
		} else if err := im.fails(ctx, from.Host+"/"+name+":"+ref, err); err != nil {
			return 0, err
		}
	}
	return im.take(ctx, source, all)
}

// maxListed is how many names a list of another registry may have.
const maxListed = 1_000_000

// pages returns what takes the pages of a list of another registry, and ends one that goes round in circles or has no end.
func pages(add func(name string)) func(page []string) error {
	seen := map[string]bool{}
	nothing := 0 // pages in a row that bring nothing
	return func(page []string) error {
		before := len(seen)
		for _, name := range page {
			if !seen[name] {
				seen[name] = true
				add(name)
			}
		}
		if nothing++; len(seen) > before {
			nothing = 0
		}
		switch {
		case nothing > 3:
			return errors.New("its list goes round in circles")
		case len(seen) > maxListed:
			return fmt.Errorf("its list has more than %d names", maxListed)
		}
		return nil
	}
}

// registry returns the registry by the way on which mirrors reach theirs.
func (from Remote) registry() (*remote.Registry, error) {
	o := mirror.Options{
		URL: "https://" + from.Host, Username: from.Username, Password: from.Password, Trusted: from.Trusted, CAs: from.CAs, Retry: true,
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
