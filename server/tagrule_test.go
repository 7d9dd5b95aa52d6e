package server_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/policy"
	"customhouse/registry"
)

// tagged is a rule about the tags of a/app that match a pattern.
func tagged(account, tag string, actions ...customhouse.Action) policy.Rule {
	r := allow(account, "a/app", actions...)
	r.Match.Tag = policy.Values{tag}
	return r
}

// denied is a rule that denies everybody.
func denied(match policy.Match, actions ...customhouse.Action) policy.Rule {
	return policy.Rule{Match: match, Effect: policy.Deny, Actions: actions}
}

// before puts rules before the usual ones.
func before(rules ...policy.Rule) []policy.Rule { return append(rules, usual()...) }

// listed is an index of two images, each with a layer of its own and one that both have.
type listed struct {
	index, indexD string
	children      [2]stored
}

// pushIndex pushes an index under a tag, and what it lists by digest.
func (p person) pushIndex(repo, tag, text string) (l listed) {
	p.t.Helper()
	var entries []any
	for i, arch := range []string{"amd64", "arm64"} {
		c := stored{config: []byte(`{"os":"linux","architecture":"` + arch + `","text":"` + text + `"}`), layer: []byte("layer of " + text + " for " + arch)}
		c.configD, c.layerD = p.pushBlob(repo, c.config), p.pushBlob(repo, c.layer)
		p.pushBlob(repo, []byte("base"))
		c.manifest = image(c.config, c.layer, object{"layers": []any{descriptor(ociLayer, []byte("base")), descriptor(ociLayer, c.layer)}})
		c.manifestDg = digestOf(c.manifest)
		p.putManifest(repo, c.manifestDg, c.manifest).want(http.StatusCreated, "")
		d := descriptor(ociImage, c.manifest)
		d["platform"] = object{"os": "linux", "architecture": arch}
		entries = append(entries, d)
		l.children[i] = c
	}
	l.index = string(encode(object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": entries}))
	l.indexD = digestOf(l.index)
	p.putManifest(repo, tag, []byte(l.index)).want(http.StatusCreated, "")
	return l
}

// refer pushes a manifest that refers to another.
func (p person) refer(repo string, subject []byte, ref string, change object) answer {
	p.t.Helper()
	p.pushBlob(repo, []byte("{}"))
	m := image([]byte("{}"), []byte("{}"), object{"subject": descriptor(ociImage, subject), "annotations": object{"a": ref}})
	if ref == "" {
		ref = digestOf(m)
	}
	return p.putManifest(repo, ref, m)
}

// TestS9_ImmutableTags: a rule that denies to move tags holds against every way around it.
func TestS9_ImmutableTags(t *testing.T) {
	h := open(t, setup{rules: before(denied(policy.Match{Tag: policy.Values{"v*"}}, customhouse.Update))})
	project := h.as("project")
	image := project.pushImage("a/app", "v1", "first")
	listed := project.pushIndex("a/app", "v2", "second")
	other := project.pushImage("a/app", "dev", "other")
	pushAs := func(ref string, s stored) func(person) answer {
		return func(p person) answer { return p.putManifest("a/app", ref, s.manifest) }
	}
	remove := func(path string) func(person) answer {
		return func(p person) answer { return p.do("DELETE", "/v2/a/app/"+path, nil) }
	}
	ways := map[string]func(person) answer{
		"put":                     pushAs("v1", other),
		"put over an index":       pushAs("v2", other),
		"put by digest":           pushAs(other.manifestDg+"?tag=v1", other),
		"put among others":        pushAs(other.manifestDg+"?tag=v9&tag=v1", other),
		"a child under the tag":   pushAs("v2", listed.children[0]),
		"delete tag":              remove("manifests/v1"),
		"delete by digest":        remove("manifests/" + image.manifestDg),
		"delete index by digest":  remove("manifests/" + listed.indexD),
		"delete what it lists":    remove("manifests/" + listed.children[1].manifestDg),
		"delete layer":            remove("blobs/" + image.layerD),
		"delete config":           remove("blobs/" + image.configD),
		"delete layer of a child": remove("blobs/" + listed.children[0].layerD),
		"delete shared layer":     remove("blobs/" + digestOf("base")),
	}
	people := map[string]person{
		"Basic": project, "token": h.with(h.token("project", "repository:a/app:pull,push,delete")), "admin": h.as("admin"),
		"token for all": h.with(h.token("admin", "repository:a/app:*")),
	}
	for name, who := range people {
		for way, try := range ways {
			t.Run(name+"/"+way, func(t *testing.T) {
				who := who.in(t)
				try(who).want(http.StatusForbidden, "DENIED")
				who.head("/v2/a/app/manifests/v9").want(http.StatusNotFound, "")
			})
		}
	}
	admin := h.as("admin")
	admin.head("/v2/a/app/manifests/v1").want(http.StatusOK, "").wantHeader("Docker-Content-Digest", image.manifestDg)
	admin.head("/v2/a/app/manifests/v2").want(http.StatusOK, "").wantHeader("Docker-Content-Digest", listed.indexD)
	for _, d := range []string{image.layerD, image.configD, listed.children[0].layerD, digestOf("base")} {
		admin.get("/v2/a/app/blobs/"+d).want(http.StatusOK, "")
	}
	for _, c := range listed.children {
		admin.get("/v2/a/app/manifests/"+c.manifestDg).want(http.StatusOK, "")
	}
	// What no such tag stands for is as free as it was.
	project.putManifest("a/app", "v1", image.manifest).want(http.StatusCreated, "")
	project.putManifest("a/app", "v3", other.manifest).want(http.StatusCreated, "")
	project.putManifest("a/app", "dev", image.manifest).want(http.StatusCreated, "")
	project.do("DELETE", "/v2/a/app/manifests/dev", nil).want(http.StatusAccepted, "")
	loose := project.pushImage("a/app", "dev", "loose")
	project.do("DELETE", "/v2/a/app/blobs/"+loose.layerD, nil).want(http.StatusAccepted, "")
	project.do("DELETE", "/v2/a/app/manifests/"+loose.manifestDg, nil).want(http.StatusAccepted, "")
	project.do("DELETE", "/v2/a/app/manifests/dev", nil).want(http.StatusNotFound, "MANIFEST_UNKNOWN")
	project.do("DELETE", "/v2/a/app/manifests/v9", nil).want(http.StatusForbidden, "DENIED")
}

// TestS9_Race: a tag that is set while what it points to is being deleted stays.
func TestS9_Race(t *testing.T) {
	h := open(t, setup{rules: before(denied(policy.Match{Tag: policy.Values{"v*"}}, customhouse.Update, customhouse.Delete))})
	project := h.as("project")
	for round := range 40 {
		s := project.pushImage("a/app", "dev", fmt.Sprint("round ", round))
		tag := fmt.Sprint("v", round)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if a := project.do("DELETE", "/v2/a/app/manifests/"+s.manifestDg, nil); a.status != 202 && a.status != 403 && a.status != 404 {
					t.Errorf("%s = %d %s", a.what, a.status, a.body)
				}
			})
		}
		wg.Go(func() { project.putManifest("a/app", tag, s.manifest).want(http.StatusCreated, "") })
		wg.Wait()
		project.head("/v2/a/app/manifests/"+tag).want(http.StatusOK, "").wantHeader("Docker-Content-Digest", s.manifestDg)
	}
}

// TestPromotionOnly: who may give tags only brings no content and moves nothing.
func TestPromotionOnly(t *testing.T) {
	h := open(t, setup{rules: before(allow("carol", "a/app", customhouse.Pull, customhouse.PutTag))})
	project := h.as("project")
	s := project.pushImage("a/app", "dev", "first")
	project.pushImage("a/app", "v0", "older")
	for name, carol := range map[string]person{"Basic": h.as("carol"), "token": h.with(h.token("carol", "repository:a/app:pull,push"))} {
		t.Run(name, func(t *testing.T) {
			carol := carol.in(t)
			carol.putManifest("a/app", "v1-"+name, s.manifest).want(http.StatusCreated, "")
			carol.putManifest("a/app", s.manifestDg+"?tag=v2-"+name+"&tag=v3-"+name, s.manifest).want(http.StatusCreated, "")
			fresh := image(s.config, s.layer, object{"annotations": object{"fresh": name}})
			carol.putManifest("a/app", "v4", fresh).want(http.StatusForbidden, "DENIED")
			carol.putManifest("a/app", digestOf(fresh), fresh).want(http.StatusForbidden, "DENIED")
			carol.putManifest("a/app", "v0", s.manifest).want(http.StatusForbidden, "DENIED")
			carol.do("DELETE", "/v2/a/app/manifests/dev", nil).want(http.StatusForbidden, "DENIED")
			carol.do("POST", "/v2/a/app/blobs/uploads/?digest="+digestOf("{}"), []byte("{}")).want(http.StatusForbidden, "DENIED")
			project.pushBlob("a/app", []byte("{}"))
			signature := image([]byte("{}"), []byte("{}"), object{"subject": descriptor(ociImage, s.manifest)})
			carol.putManifest("a/app", digestOf(signature), signature).want(http.StatusForbidden, "DENIED")
		})
	}
}

// TestSignerOnly: who may attach only pushes manifests with a subject, and no tags.
func TestSignerOnly(t *testing.T) {
	h := open(t, setup{rules: before(allow("carol", "a/app", customhouse.Pull, customhouse.Refer))})
	s := h.as("project").pushImage("a/app", "v1", "first")
	for name, carol := range map[string]person{"Basic": h.as("carol"), "token": h.with(h.token("carol", "repository:a/app:pull,push"))} {
		t.Run(name, func(t *testing.T) {
			carol := carol.in(t)
			carol.refer("a/app", s.manifest, "", nil).want(http.StatusCreated, "")
			carol.refer("a/app", s.manifest, "signature", nil).want(http.StatusForbidden, "DENIED")
			fresh := image(s.config, s.layer, object{"annotations": object{"fresh": name}})
			carol.putManifest("a/app", digestOf(fresh), fresh).want(http.StatusForbidden, "DENIED")
			carol.putManifest("a/app", "v2", s.manifest).want(http.StatusForbidden, "DENIED")
			carol.putManifest("a/app", "v1", fresh).want(http.StatusForbidden, "DENIED")
		})
	}
}

// TestS5_MountOnly: who may mount only takes over what they may pull, and pushes no manifests.
func TestS5_MountOnly(t *testing.T) {
	h := open(t, setup{rules: before(allow("carol", "b/x", customhouse.Pull, customhouse.Mount), tagged("carol", "v*", customhouse.Pull))})
	seen := h.as("project").pushImage("a/app", "v1", "seen")
	hidden := h.as("project").pushImage("a/app", "dev", "hidden")
	secret := h.as("admin").pushImage("secret/y", "v1", "secret")
	none := digestOf("no such content")
	people := map[string]person{
		"Basic": h.as("carol"), "token": h.with(h.token("carol", "repository:b/x:pull,push", "repository:a/app:pull", "repository:secret/y:pull")),
	}
	for name, carol := range people {
		t.Run(name, func(t *testing.T) {
			carol := carol.in(t)
			for i := range 30 {
				mount := func(d string) answer {
					return carol.do("POST", "/v2/b/x/blobs/uploads/?mount="+d+[]string{"&from=a/app", "&from=secret/y", ""}[i%3], nil).want(http.StatusAccepted, "")
				}
				missing := mount(none)
				want := outward(missing, none, missing.header.Get("Docker-Upload-Uuid"))
				for _, d := range []string{hidden.layerD, secret.layerD} {
					a := mount(d)
					if diff := cmp.Diff(want, outward(a, d, a.header.Get("Docker-Upload-Uuid"))); diff != "" {
						t.Fatalf("a mount tells of what may not be pulled (-missing +hidden):\n%s", diff)
					}
					carol.do("DELETE", a.header.Get("Location"), nil).want(http.StatusNoContent, "")
				}
				carol.do("DELETE", missing.header.Get("Location"), nil).want(http.StatusNoContent, "")
			}
			carol.do("POST", "/v2/b/x/blobs/uploads/?mount="+seen.layerD+"&from=a/app", nil).want(http.StatusCreated, "")
			carol.do("POST", "/v2/b/x/blobs/uploads/?mount="+seen.configD, nil).want(http.StatusCreated, "")
			carol.putManifest("b/x", "v1", seen.manifest).want(http.StatusForbidden, "DENIED")
		})
	}
}

// TestTagReader: who may pull some tags only gets what these stand for, and cannot tell what else is there.
func TestTagReader(t *testing.T) {
	h := open(t, setup{rules: before(tagged("carol", "v*", customhouse.Pull))})
	project := h.as("project")
	seen := project.pushIndex("a/app", "v1", "seen")
	plain := project.pushImage("a/app", "v0", "plain")
	hidden := project.pushIndex("a/app", "dev", "hidden")
	project.refer("a/app", plain.manifest, "", nil).want(http.StatusCreated, "")
	tagOfIt := project.refer("a/app", plain.manifest, "v0.sig", nil).want(http.StatusCreated, "").header.Get("Docker-Content-Digest")
	unnamed := project.pushBlob("a/app", []byte("named by nothing"))
	none := digestOf("no such content")
	for name, carol := range map[string]person{"Basic": h.as("carol"), "token": h.with(h.token("carol", "repository:a/app:pull"))} {
		t.Run(name, func(t *testing.T) {
			carol := carol.in(t)
			for _, method := range []string{"GET", "HEAD"} {
				for _, path := range []string{
					"manifests/v1", "manifests/v0", "manifests/" + seen.indexD, "manifests/" + seen.children[0].manifestDg,
					"manifests/" + seen.children[1].manifestDg, "manifests/" + plain.manifestDg, "blobs/" + seen.children[1].layerD,
					"blobs/" + seen.children[0].configD, "blobs/" + plain.layerD, "blobs/" + digestOf("base"),
				} {
					carol.do(method, "/v2/a/app/"+path, nil).want(http.StatusOK, "")
				}
				same := func(path, hiddenName, missingName string, status int) {
					there := carol.do(method, "/v2/a/app/"+path+hiddenName, nil).want(status, "")
					missing := carol.do(method, "/v2/a/app/"+path+missingName, nil)
					if diff := cmp.Diff(outward(missing, missingName), outward(there, hiddenName)); diff != "" {
						t.Errorf("%s tells that it is there (-missing +there):\n%s", there.what, diff)
					}
				}
				same("manifests/", "dev", "den", http.StatusForbidden)
				same("manifests/", hidden.indexD, none, http.StatusNotFound)
				same("manifests/", hidden.children[0].manifestDg, none, http.StatusNotFound)
				same("blobs/", hidden.children[0].layerD, none, http.StatusNotFound)
				same("blobs/", hidden.children[1].configD, none, http.StatusNotFound)
				same("blobs/", unnamed, none, http.StatusNotFound)
				same("referrers/", hidden.indexD, none, http.StatusOK)
			}
			if got := referrers(carol.get("/v2/a/app/referrers/" + plain.manifestDg)); !slices.Equal(got, []string{tagOfIt}) {
				t.Errorf("referrers = %v, want the one with a tag that may be pulled", got)
			}
			carol.get("/v2/a/app/manifests/v9").want(http.StatusNotFound, "MANIFEST_UNKNOWN")
		})
	}
	// As soon as no such tag stands for it any more, it is gone for her.
	carol := h.as("carol")
	project.do("DELETE", "/v2/a/app/manifests/v1", nil).want(http.StatusAccepted, "")
	carol.get("/v2/a/app/manifests/"+seen.children[0].manifestDg).want(http.StatusNotFound, "MANIFEST_UNKNOWN")
	carol.get("/v2/a/app/blobs/"+seen.children[0].layerD).want(http.StatusNotFound, "BLOB_UNKNOWN")
	carol.get("/v2/a/app/manifests/v1").want(http.StatusNotFound, "MANIFEST_UNKNOWN")
}

// TestS13_TagsThatMayBeSeen: a list of tags has those that may be seen, and pages tell nothing of the others.
func TestS13_TagsThatMayBeSeen(t *testing.T) {
	h := open(t, setup{rules: before(
		tagged("carol", "v*", customhouse.Pull), tagged("carol", "x*", customhouse.List), tagged("bob", "nothing", customhouse.Pull))})
	project := h.as("project")
	s := project.pushImage("a/app", "v0", "first")
	var want []string
	for i := range 120 {
		tags := fmt.Sprintf("?tag=dev-%d&tag=secret-%d", i, i)
		for _, visible := range []string{"v", "x"} {
			name := fmt.Sprintf("%s%03d", visible, i)
			want = append(want, name)
			tags += "&tag=" + name
		}
		project.putManifest("a/app", s.manifestDg+tags, s.manifest).want(http.StatusCreated, "")
	}
	want = append(want, "v0")
	slices.Sort(want)
	for name, carol := range map[string]person{"Basic": h.as("carol"), "token": h.with(h.token("carol", "repository:a/app:pull"))} {
		for _, n := range []int{1, 7, 50, 241, 300} {
			var got []string
			for path := fmt.Sprintf("/v2/a/app/tags/list?n=%d", n); path != ""; {
				var page struct{ Tags []string }
				a := carol.get(path).want(http.StatusOK, "").into(&page)
				got = append(got, page.Tags...)
				path = ""
				if link := a.header.Get("Link"); link != "" {
					if len(page.Tags) != n || strings.Contains(link, "secret") || strings.Contains(link, "dev") {
						t.Fatalf("%s has %d tags and goes on at %s", a.what, len(page.Tags), link)
					}
					path = strings.TrimPrefix(link[:strings.Index(link, ">")], "<")
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%s, pages of %d (-want +got):\n%s", name, n, diff)
			}
		}
		var page struct{ Tags []string }
		carol.get("/v2/a/app/tags/list?n=1&last=secret-5").want(http.StatusOK, "").into(&page)
		if !slices.Equal(page.Tags, []string{"v0"}) {
			t.Errorf("after a hidden tag: %v", page.Tags)
		}
		carol.get("/v2/a/app/tags/list?last=zzz").want(http.StatusOK, "").into(&page)
		if len(page.Tags) != 0 {
			t.Errorf("behind all: %v", page.Tags)
		}
	}
	h.as("carol").get("/v2/a/app/manifests/x001").want(http.StatusForbidden, "DENIED") // to see a name is not to pull
	bob := h.as("bob")
	project.do("DELETE", "/v2/a/app/manifests/none", nil)
	bob.get("/v2/a/app/tags/list").want(http.StatusNotFound, "NAME_UNKNOWN")
	bob.get("/v2/a/app/tags/list?last=q").want(http.StatusNotFound, "NAME_UNKNOWN")
}

// TestListOnly: who may see names only gets a token for that, and for nothing else.
func TestListOnly(t *testing.T) {
	h := open(t, setup{rules: before(allow("carol", "a/app", customhouse.List))})
	s := h.as("project").pushImage("a/app", "v0", "first")
	carol := h.with(h.token("carol", "repository:a/app:pull"))
	for _, who := range []person{carol, h.as("carol")} {
		who.get("/v2/a/app/tags/list").want(http.StatusOK, "")
		who.get("/v2/a/app/manifests/v0").want(http.StatusForbidden, "DENIED")
		who.get("/v2/a/app/blobs/"+s.layerD).want(http.StatusForbidden, "DENIED")
		who.get("/v2/a/app/referrers/"+s.manifestDg).want(http.StatusForbidden, "DENIED")
	}
	h.with(h.token("alice", "repository:a/app:pull")).get("/v2/a/app/tags/list").want(http.StatusOK, "")
}

// TestNothingIsDrawnIn: who may pull some tags only and push others cannot make what is hidden their own.
func TestNothingIsDrawnIn(t *testing.T) {
	h := open(t, setup{rules: before(tagged("carol", "mine-*", customhouse.Pull, customhouse.Push))})
	project := h.as("project")
	hidden := project.pushIndex("a/app", "dev", "hidden")
	child := hidden.children[0]
	for name, carol := range map[string]person{"Basic": h.as("carol"), "token": h.with(h.token("carol", "repository:a/app:pull,push"))} {
		t.Run(name, func(t *testing.T) {
			carol := carol.in(t)
			own := []byte(`{"own":"` + name + `"}`)
			carol.pushBlob("a/app", own)
			carol.get("/v2/a/app/blobs/"+digestOf(own)).want(http.StatusOK, "")
			draw := image(own, child.layer, nil)
			carol.putManifest("a/app", "mine-1", draw).want(http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN")
			carol.putManifest("a/app", digestOf(draw), draw).want(http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN")
			carol.putManifest("a/app", "mine-1", child.manifest).want(http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN")
			carol.putManifest("a/app", "mine-1", []byte(hidden.index)).want(http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN")
			carol.putManifest("a/app", "dev", draw).want(http.StatusForbidden, "DENIED")
			carol.putManifest("a/app", "other", draw).want(http.StatusForbidden, "DENIED")
			carol.get("/v2/a/app/blobs/"+child.layerD).want(http.StatusNotFound, "BLOB_UNKNOWN")
		})
	}
	// Who has the bytes may use them, whoever has pushed them too.
	carol := h.as("carol")
	index := carol.pushIndex("a/app", "mine-2", "hidden")
	if index.indexD != hidden.indexD {
		t.Fatal("the same index has two digests")
	}
	carol.get("/v2/a/app/manifests/mine-2").want(http.StatusOK, "")
	carol.get("/v2/a/app/blobs/"+child.layerD).want(http.StatusOK, "")
}

// TestS91_IndexWithABadChild: an index of which one child may not be pulled may not be, in none of the ways to ask.
func TestS91_IndexWithABadChild(t *testing.T) {
	h := open(t, setup{})
	project := h.as("project")
	l := project.pushIndex("a/app", "v1", "listed")
	good, bad := l.children[0], l.children[1]
	project.putManifest("a/app", "bad", bad.manifest).want(http.StatusCreated, "")
	paths := []string{"manifests/v1", "manifests/" + l.indexD, "manifests/" + bad.manifestDg, "manifests/bad", "blobs/" + bad.layerD}
	project.get("/v2/a/app/manifests/v1").want(http.StatusOK, "")
	token := h.with(h.token("project", "repository:a/app:pull,push"))
	for name, match := range map[string]policy.Match{
		"digest": {Digest: policy.Values{bad.manifestDg}}, "within the index": {Digest: policy.Values{bad.manifestDg}, Name: policy.Values{"a/**"}},
	} {
		t.Run(name, func(t *testing.T) {
			h.swap(before(denied(match, customhouse.Pull)))
			for _, who := range []person{project.in(t), token.in(t)} {
				for _, path := range paths {
					for _, method := range []string{"GET", "HEAD"} {
						for _, accept := range []string{"*/*", ociIndex, ociImage, customhouse.MediaTypeDockerManifest} {
							if a := who.do(method, "/v2/a/app/"+path, nil, "Accept", accept); a.status != http.StatusNotFound {
								t.Errorf("%s, Accept: %s = %d, want 404", a.what, accept, a.status)
							}
						}
					}
				}
				who.get("/v2/a/app/manifests/"+good.manifestDg).want(http.StatusOK, "")
				who.get("/v2/a/app/blobs/"+good.layerD).want(http.StatusOK, "")
				who.get("/v2/a/app/blobs/"+digestOf("base")).want(http.StatusOK, "")
			}
		})
	}
	h.swap(usual())
	project.get("/v2/a/app/manifests/v1").want(http.StatusOK, "")
}

// TestRulesOnTypes: rules on media type and artifact type hold for pulls and pushes.
func TestRulesOnTypes(t *testing.T) {
	const helm = "application/vnd.cncf.helm.config.v1+json"
	h := open(t, setup{rules: before(
		denied(policy.Match{ArtifactType: policy.Values{helm}}, customhouse.Push),
		denied(policy.Match{MediaType: policy.Values{ociIndex}}, customhouse.Pull),
	)})
	project := h.as("project")
	s := project.pushImage("a/app", "v1", "image")
	chart := encode(object{"schemaVersion": 2, "mediaType": ociImage,
		"config": descriptor(helm, s.config), "layers": []any{descriptor(ociLayer, s.layer)}})
	for _, ref := range []string{"v1", "chart", digestOf(chart), digestOf(chart) + "?tag=chart"} {
		project.putManifest("a/app", ref, chart).want(http.StatusForbidden, "DENIED")
	}
	index := encode(object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": []any{descriptor(ociImage, s.manifest)}})
	project.putManifest("a/app", "all", index).want(http.StatusCreated, "")
	project.get("/v2/a/app/manifests/all").want(http.StatusNotFound, "MANIFEST_UNKNOWN")
	project.get("/v2/a/app/manifests/"+digestOf(index)).want(http.StatusNotFound, "MANIFEST_UNKNOWN")
	project.get("/v2/a/app/manifests/v1").want(http.StatusOK, "")
	var page struct{ Tags []string }
	project.get("/v2/a/app/tags/list").want(http.StatusOK, "").into(&page)
	if !slices.Equal(page.Tags, []string{"v1"}) {
		t.Errorf("tags = %v, want what may be pulled", page.Tags)
	}
}

// TestPublicTags: who has no account gets what is public, and is asked for an account where there may be more.
func TestPublicTags(t *testing.T) {
	public := policy.Rule{Public: true, Match: policy.Match{Name: policy.Values{"a/app"}, Tag: policy.Values{"v*"}}, Actions: []customhouse.Action{customhouse.Pull}}
	h := open(t, setup{rules: append(usual(), public)})
	project := h.as("project")
	seen, hidden := project.pushImage("a/app", "v1", "seen"), project.pushImage("a/app", "dev", "hidden")
	for _, who := range []person{h.as(""), h.with(h.token("", "repository:a/app:pull"))} {
		who.get("/v2/a/app/manifests/v1").want(http.StatusOK, "")
		who.get("/v2/a/app/manifests/"+seen.manifestDg).want(http.StatusOK, "")
		who.get("/v2/a/app/blobs/"+seen.layerD).want(http.StatusOK, "")
		for _, path := range []string{"manifests/dev", "manifests/none", "manifests/" + hidden.manifestDg, "manifests/" + nowhere, "blobs/" + hidden.layerD, "blobs/" + nowhere} {
			a := who.get("/v2/a/app/"+path).want(http.StatusUnauthorized, "UNAUTHORIZED")
			if c := a.header.Get("WWW-Authenticate"); !strings.Contains(c, `scope="repository:a/app:pull"`) {
				t.Errorf("%s: challenge %q", a.what, c)
			}
		}
	}
	h.as("bob").get("/v2/a/app/manifests/v1").want(http.StatusOK, "")
	h.as("bob").get("/v2/a/app/manifests/dev").want(http.StatusForbidden, "DENIED")
}

// swap makes other rules hold from the next request on.
func (h *house) swap(rules []policy.Rule) {
	h.t.Helper()
	st := h.state
	st.Gate = h.gate(setup{rules: rules}, nil)
	h.server.Swap(st)
}

// TestS91_IndexThatBringsATagToWhatMayNotHaveIt: what may not have a tag does not get it from an index either.
func TestS91_IndexThatBringsATagToWhatMayNotHaveIt(t *testing.T) {
	const helm = "application/vnd.cncf.helm.config.v1+json"
	layer, config := []byte("layer of a chart"), []byte(`{"name":"chart"}`)
	chart := encode(object{"schemaVersion": 2, "mediaType": ociImage,
		"config": descriptor(helm, config), "layers": []any{descriptor(ociLayer, layer)}})
	lists := func(what ...[]byte) []byte {
		entries := []any{}
		for _, m := range what {
			mediaType := ociImage
			if strings.Contains(string(m), ociIndex) {
				mediaType = ociIndex
			}
			entries = append(entries, descriptor(mediaType, m))
		}
		return encode(object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": entries})
	}
	release := policy.Values{"v*"}
	for name, match := range map[string]policy.Match{
		"artifact type": {Tag: release, ArtifactType: policy.Values{helm}},
		"digest":        {Tag: release, Digest: policy.Values{digestOf(chart)}},
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t, setup{rules: before(denied(match, customhouse.Push))})
			project := h.as("project")
			s := project.pushImage("a/app", "v0", "image")
			project.pushBlob("a/app", config)
			project.pushBlob("a/app", layer)
			project.putManifest("a/app", "dev", chart).want(http.StatusCreated, "")
			direct, nested := lists(s.manifest, chart), lists(lists(chart))
			project.putManifest("a/app", digestOf(lists(chart)), lists(chart)).want(http.StatusCreated, "")
			for _, m := range [][]byte{chart, direct, nested} {
				for _, ref := range []string{"v1", digestOf(m) + "?tag=dev2&tag=v1", "v0"} {
					project.putManifest("a/app", ref, m).want(http.StatusForbidden, "DENIED")
				}
				project.putManifest("a/app", digestOf(m), m).want(http.StatusCreated, "")
				project.putManifest("a/app", "v1", m).want(http.StatusForbidden, "DENIED") // nor once it is there
				project.putManifest("a/app", "dev", m).want(http.StatusCreated, "")
			}
			project.head("/v2/a/app/manifests/v1").want(http.StatusNotFound, "")
			project.putManifest("a/app", "v1", lists(s.manifest)).want(http.StatusCreated, "")
		})
		t.Run(name+", what comes later", func(t *testing.T) {
			h := open(t, setup{rules: before(denied(match, customhouse.Push)), registry: registry.Options{Sparse: registry.SparseIndexes}})
			project := h.as("project")
			project.pushBlob("a/app", config)
			project.pushBlob("a/app", layer)
			a := project.putManifest("a/app", "v1", lists(chart))
			if match.Digest != nil { // which is known before it comes
				a.want(http.StatusForbidden, "DENIED")
				return
			}
			a.want(http.StatusCreated, "")
			for _, ref := range []string{digestOf(chart), "dev", digestOf(chart) + "?tag=dev"} {
				project.putManifest("a/app", ref, chart).want(http.StatusForbidden, "DENIED")
			}
			project.do("DELETE", "/v2/a/app/manifests/v1", nil).want(http.StatusAccepted, "")
			project.putManifest("a/app", "dev", chart).want(http.StatusCreated, "")
		})
	}
}
