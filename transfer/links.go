package transfer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"customhouse"
)

// list lists the links of the repository that are there and reports what is wrong with their names.
func (r *repo) list() {
	r.layers = r.links("_layers")
	for _, name := range r.layout.names(r.name+"/_manifests", r.odd) {
		if name != "revisions" && name != "tags" {
			r.odd(r.name+"/_manifests/"+name, nil)
		}
	}
	r.manifests = r.links("_manifests/revisions")
	dir := r.name + "/_manifests/tags"
	names := r.layout.names(dir, r.odd)
	looked, errs := r.look(len(names), func(i int) string { return dir + "/" + names[i] + "/current/link" })
	for i, name := range names {
		at := dir + "/" + name
		if _, err := customhouse.ParseTag(name); err != nil {
			r.found.add(Finding{Kind: BadName, Repo: r.name, Name: name, Path: "repositories/" + at, Detail: "no client can name this tag"})
			continue
		}
		if err := errs[i]; err != nil {
			f := Finding{Kind: Unreadable, Repo: r.name, Name: name, Path: "repositories/" + at, Detail: err.Error()}
			if errors.Is(err, errDeleted) {
				f.Kind, f.Detail = TagUnset, "it has no current/link"
			} else {
				r.blind = true
			}
			r.found.add(f)
			continue
		}
		r.tags = append(r.tags, tagLink{name, looked[i]})
	}
	r.present = make(map[uint64]bool, len(r.layers)+len(r.manifests)+len(r.tags))
	for _, k := range slices.Concat(r.layers, r.manifests) {
		r.present[nameMark(k.path)] = true
	}
	for _, t := range r.tags {
		r.present[nameMark(t.path)] = true
	}
}

// links lists a folder of links to content.
func (r *repo) links(folder string) []link {
	dir := r.name + "/" + folder
	digests := r.layout.digests(dir, r.odd)
	path := func(i int) string { return linkPath(dir, digests[i]) }
	looked, errs := r.look(len(digests), path)
	found := make([]link, 0, len(digests))
	for i, d := range digests {
		if err := errs[i]; err != nil {
			f := Finding{Kind: Unreadable, Repo: r.name, Name: d.String(), Path: "repositories/" + path(i), Detail: err.Error()}
			if errors.Is(err, errDeleted) {
				f.Kind, f.Detail = DeletedLink, "" // what every deletion leaves
			} else {
				r.blind = true
			}
			r.found.add(f)
			continue
		}
		k := looked[i]
		k.digest = d
		found = append(found, k)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range found {
		r.linked[keyOf(k.digest)] = struct{}{}
	}
	return found
}

// look looks at n links, and reads those that no earlier pass has.
func (r *repo) look(n int, path func(i int) string) ([]link, []error) {
	links, errs := make([]link, n), make([]error, n)
	each(n, r.workers(n), func(i int) {
		links[i], errs[i] = r.layout.look(path(i), func(k link) bool { return r.seen.has(k.mark()) })
	})
	return links, errs
}

// linkPath is where the link to d lies in a folder of links.
func linkPath(dir string, d customhouse.Digest) string {
	return dir + "/" + string(d.Algorithm()) + "/" + d.Hex() + "/link"
}

// unchanged tells whether an earlier pass has left nothing to do.
func (r *repo) unchanged() bool {
	if len(r.present) != len(r.seen) {
		return false
	}
	for _, k := range slices.Concat(r.layers, r.manifests) {
		if !r.seen.has(k.mark()) {
			return false
		}
	}
	return !slices.ContainsFunc(r.tags, func(t tagLink) bool { return !r.seen.has(t.mark()) })
}

// fresh returns the links that no earlier pass has taken over, and calls old with the others.
func (r *repo) fresh(all []link, old func(link)) []link {
	var list []link
	for _, k := range all {
		if m := k.mark(); r.seen.has(m) {
			r.good[m.name] = m.at
			old(k)
		} else {
			list = append(list, k)
		}
	}
	return list
}

// whole tells whether a link names what its folder does, and reports it otherwise.
func (r *repo) whole(k link) bool {
	err := k.torn
	if err == nil && k.to != k.digest {
		err = fmt.Errorf("the link names %s", k.to)
	}
	if err != nil {
		r.found.add(Finding{Kind: TornLink, Repo: r.name, Name: k.digest.String(), Path: "repositories/" + k.path, Detail: err.Error()})
	}
	return err == nil
}

// gone reports, or with Prune removes, what an earlier pass has taken over and is not in the folder any more: tags that
// were not set here since, and manifests that no tag here points to. What stays is gone for the next pass too. Where
// something cannot be read, nothing is taken to be gone.
func (r *repo) gone(ctx context.Context) error {
	missing := func(path string) bool {
		name := nameMark(path)
		_, was := r.earlier[name]
		return was && !r.present[name]
	}
	keep := func(path string) { r.good[nameMark(path)] = r.earlier[nameMark(path)] }
	lost := 0
	for name, at := range r.earlier {
		if !r.present[name] {
			lost++
			if r.blind {
				r.good[name] = at
			}
		}
	}
	if lost == 0 || r.opts.DryRun || r.blind {
		return nil
	}
	tagged := map[customhouse.Digest]bool{}
	for t, err := range r.dest.TagSets(ctx) {
		if err != nil {
			return err
		}
		path := r.name + "/_manifests/tags/" + t.Tag.String() + "/current/link"
		if !missing(path) || time.Unix(0, r.earlier[nameMark(path)]).Unix() != t.At.Unix() {
			tagged[t.Digest] = true
			continue
		}
		if err := r.prune(path, t.Tag.String(), func() error { return r.dest.DeleteTag(ctx, t.Tag, nil) }); err != nil {
			return err
		}
		if !r.opts.Prune {
			tagged[t.Digest] = true
			keep(path)
		}
	}
	for m, err := range r.dest.Manifests(ctx) {
		if err != nil {
			return err
		}
		path := linkPath(r.name+"/_manifests/revisions", m.Digest)
		if !missing(path) {
			continue
		}
		if tagged[m.Digest] {
			keep(path)
			continue
		}
		if err := r.prune(path, m.Digest.String(), func() error { return r.dest.DeleteManifest(ctx, m.Digest, nil) }); err != nil {
			return err
		}
		if !r.opts.Prune {
			keep(path)
		}
	}
	return nil
}

func (r *repo) prune(path, name string, remove func() error) error {
	f := Finding{Kind: GoneAtSource, Repo: r.name, Name: name, Path: "repositories/" + path, Detail: "it is kept here"}
	if r.opts.Prune {
		if err := remove(); err != nil {
			return err
		}
		f.Detail = "it is removed here"
		r.count(func(d *Adopted) { d.Pruned++ })
	}
	r.found.add(f)
	return nil
}
