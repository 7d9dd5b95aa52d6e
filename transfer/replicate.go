package transfer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"customhouse"
	"customhouse/mirror"
	"customhouse/registry"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/time/rate"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// Replication is which content is kept the same here and in another registry.
type Replication struct {
	Far          *mirror.Upstream
	Push         bool          // from here to there, else from there to here
	Prefix       string        // what names begin with here and not there
	Repositories []string      // patterns of names there, as MatchRepo has them; none is all
	Tags         []string      // patterns, as in package path; none is all
	Delete       bool          // whether tags that are gone at the source are removed
	Limit        *rate.Limiter // bytes a second; nil for no limit
}

// Replicated is what a run has done.
type Replicated struct {
	Copied  int64 // tags that were set
	Present int64 // tags that were the same already
	Deleted int64
	Failed  int64
	Bytes   int64 // of content that was copied to here
	Last    error // why the last one failed; nil if none has
}

// Matches tells whether the replication is of a repository here.
func (p Replication) Matches(repo customhouse.Repo) bool {
	there, ok := strings.CutPrefix(repo.String(), p.Prefix)
	return ok && p.wants(there)
}

func (p Replication) wants(there string) bool {
	return len(p.Repositories) == 0 || slices.ContainsFunc(p.Repositories, func(pattern string) bool { return MatchRepo(pattern, there) })
}

// Run brings one side to the state of the other, repository by repository; only, unless nil, are those here that count.
// What is the same already is not copied, so a run that broke off goes on. What fails is counted, and the next is tried;
// the error is for a run that could not begin, or was ended by ctx.
func (p Replication) Run(ctx context.Context, r *registry.Registry, only []customhouse.Repo) (Replicated, error) {
	run := &replicating{Replication: p, registry: r, im: &importing{registry: r}}
	var err error
	if run.far, err = p.Far.Registry(p.Limit); err != nil {
		return run.done, err
	}
	names, err := run.names(ctx, only)
	if err != nil {
		return run.done, err
	}
	for _, there := range names {
		if err := run.repository(ctx, there); err != nil {
			run.failed(there, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	run.done.Bytes = run.im.bytes.Load()
	return run.done, ctx.Err()
}

// replicating is one run.
type replicating struct {
	Replication
	registry *registry.Registry
	far      *remote.Registry
	im       *importing
	done     Replicated
}

func (r *replicating) failed(what string, err error) {
	r.done.Failed++
	r.done.Last = fmt.Errorf("%s: %w", what, explain(err))
}

// names returns the repositories to look at, as they are called there.
func (r *replicating) names(ctx context.Context, only []customhouse.Repo) (names []string, err error) {
	add := func(there string) {
		if r.wants(there) {
			names = append(names, there)
		}
	}
	switch {
	case only != nil:
		for _, repo := range only {
			if there, ok := strings.CutPrefix(repo.String(), r.Prefix); ok {
				add(there)
			}
		}
	case r.Push:
		err = r.here(ctx, add)
	case len(r.Repositories) > 0 && !slices.ContainsFunc(r.Repositories, func(p string) bool { return strings.ContainsAny(p, "*?[") }):
		names = r.Repositories // a registry need not list what it has to everybody
	default:
		err = r.far.Repositories(ctx, "", func(page []string) error {
			for _, there := range page {
				add(there)
			}
			return nil
		})
	}
	return names, err
}

// here tells of the repositories here, by their names there.
func (r *replicating) here(ctx context.Context, add func(there string)) error {
	for after, more := "", true; more; {
		var page []string
		var err error
		if page, more, err = r.registry.Repositories(ctx, after, 1000, registry.Visible{}); err != nil {
			return err
		}
		for _, name := range page {
			if there, ok := strings.CutPrefix(name, r.Prefix); ok {
				add(there)
			}
			after = name
		}
	}
	return nil
}

// repository brings one repository to the state of the other side.
func (r *replicating) repository(ctx context.Context, there string) error {
	repo, err := customhouse.ParseRepo(r.Prefix + there)
	if err != nil {
		return err
	}
	if err := r.registry.Repository(repo).Pushable(); err != nil && !r.Push {
		return err
	}
	far, err := r.far.Repository(ctx, there)
	if err != nil {
		return err
	}
	opts := ImportOptions{Tags: r.Tags}
	here := map[string]string{}
	for t, err := range r.registry.Repository(repo).TagSets(ctx) {
		if err != nil {
			return err
		}
		if opts.wants(t.Tag) {
			here[t.Tag.String()] = t.Digest.String()
		}
	}
	var away []string
	err = far.Tags(ctx, "", func(page []string) error {
		for _, t := range page {
			if tag, err := customhouse.ParseTag(t); err == nil && opts.wants(tag) {
				away = append(away, t)
			}
		}
		return nil
	})
	var answer *errcode.ErrorResponse
	if err != nil && !(r.Push && errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound) { // it is made by the first push
		return fmt.Errorf("list the tags of %s: %w", r.Far.Host(), err)
	}
	near := r.registry.Repository(repo)
	source, sink := away, here
	if r.Push {
		source = nil
		for t := range here {
			source = append(source, t)
		}
		slices.Sort(source)
	}
	for _, t := range source {
		if ctx.Err() != nil {
			return nil
		}
		if err := r.tag(ctx, near, far.(*remote.Repository), t, here[t], slices.Contains(away, t)); err != nil {
			r.failed(r.Prefix+there+":"+t, err)
		}
	}
	if r.Delete {
		r.remove(ctx, near, there, source, away, sink)
	}
	return nil
}

// tag brings one tag to the state of the other side.
func (r *replicating) tag(ctx context.Context, near registry.Repository, far *remote.Repository, t, here string, away bool) error {
	tag, err := customhouse.ParseTag(t)
	if err != nil {
		return err
	}
	var there ocispec.Descriptor
	if away {
		if there, err = far.Resolve(ctx, t); err != nil && !errors.Is(err, errdef.ErrNotFound) {
			return err
		}
		if err == nil && there.Digest.String() == here {
			r.done.Present++
			return nil
		}
	}
	if r.Push {
		err = r.push(ctx, near, far, tag)
	} else {
		d := &destination{Repository: near, im: r.im}
		err = d.copy(ctx, far, named{repo: near.Name(), tag: tag, Descriptor: there})
	}
	if err == nil {
		r.done.Copied++
	}
	return err
}

func (r *replicating) push(ctx context.Context, near registry.Repository, far *remote.Repository, tag customhouse.Tag) error {
	m, err := near.Resolve(ctx, customhouse.Ref{Tag: tag})
	if err != nil {
		return err
	}
	desc := descriptorOf(m)
	opts := oras.ExtendedCopyGraphOptions{CopyGraphOptions: oras.DefaultCopyGraphOptions, Depth: 2}
	opts.Concurrency, opts.MaxMetadataBytes = r.im.opts.parallel(), registry.MaxManifestSize
	if err := oras.ExtendedCopyGraph(ctx, origin{&destination{Repository: near, im: r.im}}, far, desc, opts); err != nil {
		return err
	}
	return far.Tag(ctx, desc, tag.String())
}

// remove removes the tags that the source does not have any more.
func (r *replicating) remove(ctx context.Context, near registry.Repository, there string, source, away []string, here map[string]string) {
	if r.Push {
		for _, t := range away {
			if slices.Contains(source, t) {
				continue
			}
			status, err := r.Far.Delete(ctx, there, "/manifests/"+t)
			if err == nil && status != http.StatusAccepted && status != http.StatusNotFound {
				err = fmt.Errorf("%s answers %d to deleting a tag", r.Far.Host(), status)
			}
			r.removed(there+":"+t, err)
		}
		return
	}
	for t := range here {
		if tag, err := customhouse.ParseTag(t); err == nil && !slices.Contains(source, t) {
			r.removed(r.Prefix+there+":"+t, near.DeleteTag(ctx, tag))
		}
	}
}

func (r *replicating) removed(what string, err error) {
	if err != nil {
		r.failed("remove "+what, err)
		return
	}
	r.done.Deleted++
}

func descriptorOf(d customhouse.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{
		MediaType: d.MediaType, Digest: digest.Digest(d.Digest.String()), Size: d.Size,
		ArtifactType: d.ArtifactType, Annotations: d.Annotations,
	}
}

// origin is a repository as oras sees the place to copy from, with what refers to a manifest.
type origin struct{ *destination }

var _ content.ReadOnlyGraphStorage = origin{}

// Predecessors implements content.PredecessorFinder: referrers, such as signatures.
func (o origin) Predecessors(ctx context.Context, node ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	d, err := customhouse.ParseDigest(node.Digest.String())
	if err != nil || !isManifest(node.MediaType) {
		return nil, err
	}
	var all []ocispec.Descriptor
	var after customhouse.Digest
	for more := true; more; {
		var page []customhouse.Descriptor
		if page, more, err = o.Referrers(ctx, d, "", after, 1000); err != nil {
			return nil, err
		}
		for _, m := range page {
			all = append(all, descriptorOf(m))
			after = m.Digest
		}
	}
	return all, nil
}
