package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"customhouse"
	"customhouse/mirror"
	"customhouse/registry"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/time/rate"
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
	Bytes   int64 // of content that was copied
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
		err = r.far.Repositories(ctx, "", pages(add))
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
	p, err := r.pair(ctx, repo, there)
	if err != nil {
		return err
	}
	source, sink := p.there, p.here
	if r.Push {
		source, sink = p.here, p.there
	}
	tags := slices.Sorted(maps.Keys(source))
	opts := ImportOptions{Tags: r.Tags}
	var rest []string
	for _, t := range tags {
		if tag, err := customhouse.ParseTag(t); err != nil || !opts.wants(tag) {
			rest = append(rest, t)
			continue
		}
		p.keep(ctx, t)
	}
	for _, t := range rest {
		if subject, ok := signed(t); ok && p.graph.seen[subject] {
			p.keep(ctx, t)
		}
	}
	if !r.Delete || ctx.Err() != nil {
		return nil
	}
	for _, t := range slices.Sorted(maps.Keys(sink)) {
		if tag, err := customhouse.ParseTag(t); err == nil && opts.wants(tag) && !has(source, t) {
			p.remove(ctx, tag)
		}
	}
	return nil
}

// counted is a place elsewhere, whose content counts for the run as what comes to here does.
type counted struct {
	content.Storage
	im *importing
}

// Push implements content.Storage.
func (c counted) Push(ctx context.Context, d ocispec.Descriptor, r io.Reader) error {
	err := c.Storage.Push(ctx, d, r)
	return c.im.count(d.Size, err)
}

func has(tags map[string]string, t string) bool {
	_, ok := tags[t]
	return ok
}

// pair is a repository on both sides, with the digests that its tags have here; those there are not known.
type pair struct {
	*replicating
	near        registry.Repository
	name        string // there
	far         *remote.Repository
	here, there map[string]string
	lists       bool // whether there is a list of referrers there
	graph       graph
}

func (r *replicating) pair(ctx context.Context, repo customhouse.Repo, there string) (*pair, error) {
	far, err := r.far.Repository(ctx, there)
	if err != nil {
		return nil, err
	}
	p := &pair{
		replicating: r, near: r.registry.Repository(repo), name: there, far: far.(*remote.Repository),
		here: map[string]string{}, there: map[string]string{},
	}
	for t, err := range p.near.TagSets(ctx) {
		if err != nil {
			return nil, err
		}
		p.here[t.Tag.String()] = t.Digest.String()
	}
	err = far.Tags(ctx, "", pages(func(t string) { p.there[t] = "" }))
	var answer *errcode.ErrorResponse
	if err != nil && !(r.Push && errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound) { // it is made by the first push
		return nil, fmt.Errorf("list the tags of %s: %w", r.Far.Host(), err)
	}
	local := &destination{Repository: p.near, im: r.im}
	if r.Push {
		p.graph = graph{from: local, to: counted{p.far, r.im}, near: local, referrers: p.referrersHere}
		return p, nil
	}
	p.graph = graph{from: p.far, to: local, near: local, referrers: p.referrersThere}
	if p.lists, err = r.Far.ListsReferrers(ctx, there); err != nil {
		return nil, err
	}
	return p, p.far.SetReferrersCapability(p.lists)
}

// keep brings one tag to the state of the source, and counts how that went.
func (p *pair) keep(ctx context.Context, t string) {
	if ctx.Err() != nil {
		return
	}
	if err := p.tag(ctx, t); err != nil {
		p.failed(p.near.Name().String()+":"+t, err)
	}
}

func (p *pair) tag(ctx context.Context, t string) (err error) {
	tag, err := customhouse.ParseTag(t)
	if err != nil {
		return err
	}
	var there ocispec.Descriptor
	if has(p.there, t) {
		if there, err = p.far.Resolve(ctx, t); err != nil && (!p.Push || !errors.Is(err, errdef.ErrNotFound)) {
			return err
		}
		if err == nil && there.Digest.String() == p.here[t] {
			p.done.Present++
			return p.graph.follow(ctx, there)
		}
	}
	node := there
	if p.Push {
		m, err := p.near.Resolve(ctx, customhouse.Ref{Tag: tag})
		if err != nil {
			return err
		}
		node = descriptorOf(m)
	}
	if err := p.graph.copy(ctx, node); err != nil {
		return err
	}
	if err := p.graph.follow(ctx, node); err != nil { // a signature is there before the tag is
		return err
	}
	if p.Push {
		err = p.far.Tag(ctx, node, t)
	} else {
		err = p.graph.near.tag(ctx, node, tag)
	}
	if err == nil {
		p.done.Copied++
	}
	return err
}

// remove removes a tag that the source does not have any more.
func (p *pair) remove(ctx context.Context, tag customhouse.Tag) {
	if !p.Push {
		p.removed(p.near.Name().String()+":"+tag.String(), p.near.DeleteTag(ctx, tag, nil))
		return
	}
	p.removed(p.name+":"+tag.String(), p.untag(ctx, tag.String()))
}

func (r *replicating) removed(what string, err error) {
	if err != nil {
		r.failed("remove "+what, err)
		return
	}
	r.done.Deleted++
}
