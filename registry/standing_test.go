package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"customhouse"
	"customhouse/index"
	"customhouse/registry"

	"github.com/google/go-cmp/cmp"
)

// indexOf returns an index of manifests.
func indexOf(t *testing.T, manifests ...[]byte) []byte {
	t.Helper()
	list := []map[string]any{}
	for _, m := range manifests {
		var v struct{ MediaType string }
		must(t, json.Unmarshal(m, &v))
		list = append(list, map[string]any{"mediaType": v.MediaType, "digest": sha(m).String(), "size": len(m)})
	}
	b, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": customhouse.MediaTypeImageIndex, "manifests": list})
	must(t, err)
	return b
}

// The tags that stand for content are those of what contains it, however deep, and go when they do.
func TestStanding(t *testing.T) {
	h := newHouse(t, registry.Options{})
	p := h.repo(t, "acc/app")
	config, shared := bytesOf(10, "config"), bytesOf(10, "shared")
	pushBlob(t, p, config)
	pushBlob(t, p, shared)
	child, plain := imageOf(t, config, shared), imageOf(t, shared)
	inner := indexOf(t, child)
	outer := indexOf(t, inner, plain)
	push := func(body []byte, tags ...string) {
		push := registry.Push{Bytes: body}
		for _, tag := range tags {
			push.Tags = append(push.Tags, tagOf(t, tag))
		}
		_, err := p.PushManifest(t.Context(), push)
		must(t, err)
	}
	push(child)
	push(plain, "plain")
	push(inner, "inner")
	push(outer, "outer", "latest")
	want := func(body []byte, tags ...string) {
		t.Helper()
		s, err := p.Standing(t.Context(), sha(body))
		must(t, err)
		if got := slices.Sorted(slices.Values(s.Tags)); !slices.Equal(got, tags) {
			t.Errorf("Standing = %v, want %v", got, tags)
		}
	}
	want(child, "inner", "latest", "outer")
	want(inner, "inner", "latest", "outer")
	want(plain, "latest", "outer", "plain")
	want(outer, "latest", "outer")
	named, err := p.BlobStanding(t.Context(), sha(config))
	if must(t, err); len(named) != 1 || named[0].Digest != sha(child) || len(named[0].Tags) != 3 {
		t.Errorf("BlobStanding of a config = %+v", named)
	}
	if named, err = p.BlobStanding(t.Context(), sha(shared)); err != nil || len(named) != 2 {
		t.Errorf("BlobStanding of a shared layer = %+v, %v", named, err)
	}
	if got, err := p.Contained(t.Context(), sha(outer)); err != nil || len(got) != 3 {
		t.Errorf("Contained = %v, %v; want three, one of them deep", got, err)
	}
	must(t, p.DeleteManifest(t.Context(), sha(outer), nil))
	want(child, "inner")
	want(plain, "plain")
	must(t, p.DeleteTag(t.Context(), tagOf(t, "inner"), nil))
	want(child)
	_, err = p.Standing(t.Context(), sha(outer))
	wantCode(t, "Standing of what is gone", err, customhouse.ManifestUnknown)
}

// What a manifest of an earlier release names is read when it is first asked for; one whose bytes are lost names nothing
// until it is pushed again.
func TestStandingOfEarlierReleases(t *testing.T) {
	h := newHouse(t, registry.Options{})
	p, old := h.repo(t, "acc/new"), h.repo(t, "acc/old")
	config := bytesOf(10, "config")
	pushBlob(t, p, config)
	child := imageOf(t, config)
	parent := indexOf(t, child)
	lost := imageOf(t, config, config)
	load := index.Load{Blobs: []customhouse.Descriptor{{Digest: sha(config), Size: 10}}}
	for _, body := range [][]byte{child, parent, lost} {
		if !slices.Equal(body, lost) {
			_, err := p.PushManifest(t.Context(), registry.Push{Bytes: body})
			must(t, err)
		}
		m := customhouse.Descriptor{MediaType: customhouse.MediaTypeImageManifest, Digest: sha(body), Size: int64(len(body))}
		load.Manifests = append(load.Manifests, index.Loaded{Manifest: index.Manifest{Descriptor: m}, Created: time.Now()})
	}
	load.Tags = []index.TagAt{{Tag: tagOf(t, "v1"), Digest: sha(parent), At: time.Now()}}
	must(t, h.index.Load(t.Context(), old.Name(), load))
	named, err := old.BlobStanding(t.Context(), sha(config))
	if must(t, err); len(named) != 1 || named[0].Digest != sha(child) || !slices.Equal(named[0].Tags, []string{"v1"}) {
		t.Fatalf("BlobStanding = %+v, want the image that is there, under v1", named)
	}
	_, err = old.PushManifest(t.Context(), registry.Push{Bytes: lost})
	must(t, err)
	if named, err = old.BlobStanding(t.Context(), sha(config)); err != nil || len(named) != 2 {
		t.Fatalf("BlobStanding after healing = %+v, %v", named, err)
	}
}

// Each change is asked about by its name, once, and what comes up while it is asked about is asked about too.
func TestPermit(t *testing.T) {
	h := newHouse(t, registry.Options{})
	p := h.repo(t, "acc/app")
	config := bytesOf(10, "config")
	pushBlob(t, p, config)
	one, two := imageOf(t, config), imageOf(t, config, config)
	type asked struct {
		Action customhouse.Action
		Tag    string
	}
	var said []asked
	meanwhile := func() {}
	permit := func(_ context.Context, c registry.Change) error {
		said = append(said, asked{c.Action, c.Tag})
		meanwhile()
		return nil
	}
	push := func(body []byte, tags ...string) error {
		push := registry.Push{Bytes: body, Permit: permit}
		for _, tag := range tags {
			push.Tags = append(push.Tags, tagOf(t, tag))
		}
		_, err := p.PushManifest(t.Context(), push)
		return err
	}
	want := func(what string, err error, list ...asked) {
		t.Helper()
		must(t, err)
		if diff := cmp.Diff(list, said); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
		said = nil
	}
	want("new", push(one), asked{"create", ""})
	want("a tag for what is there", push(one, "a", "b"), asked{"tag", "a"}, asked{"tag", "b"})
	want("the same again", push(one, "a"), asked{"push", "a"})
	want("new under a tag, and one that moves", push(two, "a", "c"), asked{"update", "a"}, asked{"create", "c"})
	meanwhile = func() { // somebody takes the tag first
		meanwhile = func() {}
		_, err := p.PushManifest(t.Context(), registry.Push{Bytes: one, Tags: []customhouse.Tag{tagOf(t, "d")}})
		must(t, err)
	}
	want("a tag that comes up meanwhile", push(two, "d"), asked{"tag", "d"}, asked{"update", "d"})
	want("delete a tag", p.DeleteTag(t.Context(), tagOf(t, "d"), permit), asked{"delete", "d"})
	want("delete by digest", p.DeleteManifest(t.Context(), sha(two), permit), asked{"delete", "a"}, asked{"delete", "c"})
	want("delete a layer", p.DeleteBlob(t.Context(), sha(config), permit), asked{"delete", "b"})

	no := errors.New("no")
	refuse := func(context.Context, registry.Change) error { return no }
	if err := p.DeleteManifest(t.Context(), sha(one), refuse); !errors.Is(err, no) {
		t.Errorf("DeleteManifest = %v, want what was said", err)
	}
	if _, err := p.Standing(t.Context(), sha(one)); err != nil {
		t.Errorf("what could not be deleted is gone: %v", err)
	}
}
