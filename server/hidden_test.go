package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/index"
	"customhouse/policy"
)

// hides are rules by which carol may do everything in a/app but with what has a tag secret-*.
func hides() []policy.Rule {
	return before(
		policy.Rule{
			Match:  policy.Match{Account: policy.Values{"carol"}, Tag: policy.Values{"secret-*"}},
			Effect: policy.Deny, Actions: []customhouse.Action{customhouse.Pull, customhouse.Push, customhouse.Delete}, Message: "ask red",
		},
		allow("carol", "a/app", customhouse.Pull, customhouse.Push, customhouse.Delete),
	)
}

// carols is somebody with each kind of credential.
func (h *house) carols() map[string]person {
	return map[string]person{"Basic": h.as("carol"), "token": h.with(h.token("carol", "repository:a/app:pull,push,delete"))}
}

// TestS3_DenialsDoNotNameWhatIsHidden: who may not delete what has a hidden tag too is not told of the tag.
func TestS3_DenialsDoNotNameWhatIsHidden(t *testing.T) {
	h := open(t, setup{rules: hides()})
	project := h.as("project")
	both := project.pushImage("a/app", "v1", "both")
	project.putManifest("a/app", "secret-name", both.manifest).want(http.StatusCreated, "")
	hidden := image([]byte(`{"os":"linux","text":"both"}`), both.layer, object{"annotations": object{"hidden": "yes"}})
	project.putManifest("a/app", "secret-other", hidden).want(http.StatusCreated, "")
	for name, carol := range h.carols() {
		t.Run(name, func(t *testing.T) {
			carol := carol.in(t)
			for _, path := range []string{"manifests/" + both.manifestDg, "blobs/" + both.layerD, "blobs/" + both.configD} {
				carol.head("/v2/a/app/"+path).want(http.StatusOK, "")
				a := carol.do("DELETE", "/v2/a/app/"+path, nil).want(http.StatusForbidden, "DENIED")
				for _, word := range []string{"secret", "red", digestOf(hidden)} {
					if strings.Contains(string(a.body), word) {
						t.Errorf("%s says %q: %s", a.what, word, a.body)
					}
				}
			}
		})
	}
	// What she names, or sees, she is told of.
	h.swap(append([]policy.Rule{denied(policy.Match{Tag: policy.Values{"v*"}}, customhouse.Delete)}, hides()...))
	plain := project.pushImage("a/app", "v2", "plain")
	for _, path := range []string{"manifests/v2", "manifests/" + plain.manifestDg, "blobs/" + plain.layerD} {
		a := h.as("carol").do("DELETE", "/v2/a/app/"+path, nil).want(http.StatusForbidden, "DENIED")
		if !strings.Contains(string(a.body), "a/app:v2") {
			t.Errorf("%s does not say what is in the way: %s", a.what, a.body)
		}
	}
}

// TestS3_HiddenRepositoryLooksLikeMissing: a repository of which every tag is hidden is like one that is not there.
func TestS3_HiddenRepositoryLooksLikeMissing(t *testing.T) {
	visible := allow("carol", "a/**", customhouse.Pull)
	visible.Match.Tag = policy.Values{"v*"}
	h := open(t, setup{rules: before(visible)})
	h.as("project").pushImage("a/exists", "secret", "hidden")
	for name, carol := range map[string]person{"Basic": h.as("carol"), "token": h.with(h.token("carol", "repository:a/exists:pull", "repository:a/missin:pull"))} {
		for _, method := range []string{"GET", "HEAD"} {
			for _, query := range []string{"", "?n=1", "?n=0", "?last=a", "?last=zzz", "?n=10&last=secret"} {
				there := outward(carol.do(method, "/v2/a/exists/tags/list"+query, nil).want(http.StatusNotFound, ""), "a/exists")
				missing := outward(carol.do(method, "/v2/a/missin/tags/list"+query, nil), "a/missin")
				if diff := cmp.Diff(missing, there); diff != "" {
					t.Errorf("%s, %s %q tells that the repository is there (-missing +there):\n%s", name, method, query, diff)
				}
			}
		}
	}
}

// TestS14_ReferrersOfWhatIsHidden: nobody hears what refers to a manifest that they may not see, or attaches to it; to know
// its digest helps nothing.
func TestS14_ReferrersOfWhatIsHidden(t *testing.T) {
	h := open(t, setup{rules: hides()})
	project := h.as("project")
	hidden := project.pushIndex("a/app", "secret-x", "hidden")
	child := hidden.children[0].manifest
	project.refer("a/app", child, "", nil).want(http.StatusCreated, "")
	project.refer("a/app", []byte(hidden.index), "", nil).want(http.StatusCreated, "")
	seen := project.pushImage("a/app", "v1", "seen")
	project.refer("a/app", seen.manifest, "", nil).want(http.StatusCreated, "")
	none := image([]byte("{}"), []byte("{}"), object{"annotations": object{"none": "such"}})
	for name, carol := range h.carols() {
		t.Run(name, func(t *testing.T) {
			carol := carol.in(t)
			if got := referrers(carol.get("/v2/a/app/referrers/" + seen.manifestDg)); len(got) != 1 {
				t.Errorf("%d referrers of what may be pulled", len(got))
			}
			carol.refer("a/app", seen.manifest, "", nil).want(http.StatusCreated, "")
			for _, m := range [][]byte{child, []byte(hidden.index)} {
				for _, query := range []string{"", "?artifactType=application/vnd.oci.image.config.v1%2Bjson", "?n=0", "?n=1"} {
					there := carol.get("/v2/a/app/referrers/"+digestOf(m)+query).want(http.StatusOK, "")
					missing := carol.get("/v2/a/app/referrers/" + digestOf(none) + query)
					if diff := cmp.Diff(outward(missing, digestOf(none)), outward(there, digestOf(m))); diff != "" {
						t.Errorf("%s tells that there is something hidden (-missing +there):\n%s", there.what, diff)
					}
				}
				for _, ref := range []string{"", "v2"} {
					there := carol.refer("a/app", m, ref, nil).want(http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN")
					missing := carol.refer("a/app", none, ref, nil)
					if diff := cmp.Diff(outward(missing, digestOf(none)), outward(there, digestOf(m))); diff != "" {
						t.Errorf("%s tells that there is something hidden (-missing +there):\n%s", there.what, diff)
					}
				}
			}
			own := carol.pushImage("a/app", "v3", "own")
			carol.do("DELETE", "/v2/a/app/manifests/v3", nil).want(http.StatusAccepted, "")
			carol.refer("a/app", own.manifest, "", nil).want(http.StatusCreated, "")
		})
	}
}

// TestS9_RulesOnTagsBindReferrers: who may attach to some tags attaches to what these stand for, and to nothing else.
func TestS9_RulesOnTagsBindReferrers(t *testing.T) {
	signs := allow("carol", "a/app", customhouse.Pull)
	for name, rules := range map[string][]policy.Rule{
		"allowed": before(tagged("carol", "v*", customhouse.Pull, customhouse.Refer), signs),
		"denied": before(
			policy.Rule{Match: policy.Match{Account: policy.Values{"carol"}, Tag: policy.Values{"dev"}}, Effect: policy.Deny, Actions: []customhouse.Action{customhouse.Refer}},
			allow("carol", "a/app", customhouse.Pull, customhouse.Refer)),
	} {
		h := open(t, setup{rules: rules})
		project := h.as("project")
		released, developed := project.pushIndex("a/app", "v1", "released"), project.pushIndex("a/app", "dev", "developed")
		both := project.pushImage("a/app", "v2", "both")
		project.putManifest("a/app", "dev2", both.manifest).want(http.StatusCreated, "")
		for kind, carol := range h.carols() {
			t.Run(name+"/"+kind, func(t *testing.T) {
				carol := carol.in(t)
				change := object{"annotations": object{"by": kind}}
				attach := func(to []byte) answer {
					change["subject"] = descriptor(ociImage, to)
					m := image([]byte("{}"), []byte("{}"), change)
					return carol.putManifest("a/app", digestOf(m), m)
				}
				project.pushBlob("a/app", []byte("{}"))
				attach([]byte(released.index)).want(http.StatusCreated, "")
				attach(released.children[1].manifest).want(http.StatusCreated, "")
				attach(both.manifest).want(http.StatusCreated, "")
				attach([]byte(developed.index)).want(http.StatusForbidden, "DENIED")
				attach(developed.children[1].manifest).want(http.StatusForbidden, "DENIED")
			})
		}
	}
}

// TestS9_TaggedReferrers: what is attached under a tag is attached all the same.
func TestS9_TaggedReferrers(t *testing.T) {
	h := open(t, setup{rules: before(
		denied(policy.Match{Account: policy.Values{"carol", "updater"}, Tag: policy.Values{"v*"}}, customhouse.Refer),
		allow("carol", "a/app", customhouse.Pull, customhouse.Create),
	)})
	project := h.as("project")
	s := project.pushImage("a/app", "v1", "first")
	project.putManifest("a/app", "mine", s.manifest).want(http.StatusCreated, "")
	project.do("DELETE", "/v2/a/app/manifests/mine", nil).want(http.StatusAccepted, "")
	loose := project.pushImage("a/app", "dev", "loose")
	project.pushBlob("a/app", []byte("{}"))
	h.as("carol").refer("a/app", s.manifest, "mine", nil).want(http.StatusForbidden, "DENIED")
	h.as("carol").refer("a/app", loose.manifest, "mine", nil).want(http.StatusCreated, "")
	h.as("updater").do("PUT", "/v2/a/app/manifests/dev", image([]byte("{}"), []byte("{}"), object{"subject": descriptor(ociImage, s.manifest)}),
		"Content-Type", ociImage).want(http.StatusForbidden, "DENIED")
	if got := referrers(project.get("/v2/a/app/referrers/" + s.manifestDg)); len(got) != 0 {
		t.Errorf("attached: %v", got)
	}
}

// TestS8_PushAgain: who may push a tag in no way does not push it as it is either, of which others would be told.
func TestS8_PushAgain(t *testing.T) {
	for action, may := range map[customhouse.Action]bool{
		customhouse.Create: true, customhouse.Update: true, customhouse.PutTag: true, customhouse.Mount: false, customhouse.Refer: false,
	} {
		h := open(t, setup{rules: before(allow("carol", "a/app", customhouse.Pull, action))})
		s := h.as("project").pushImage("a/app", "v1", "first")
		want := map[bool]int{true: http.StatusCreated, false: http.StatusForbidden}[may]
		for _, carol := range h.carols() {
			carol.putManifest("a/app", "v1", s.manifest).want(want, "")
			carol.putManifest("a/app", s.manifestDg+"?tag=v1", s.manifest).want(want, "")
		}
	}
}

// TestBlobOfVeryManyManifests: what more manifests share than are looked at is still for who may pull one of them.
func TestBlobOfVeryManyManifests(t *testing.T) {
	h := open(t, setup{rules: before(tagged("carol", "v*", customhouse.Pull), tagged("bob", "w*", customhouse.Pull))})
	h.as("project").pushBlob("a/app", []byte("{}"))
	shared, err := customhouse.ParseDigest(digestOf("{}"))
	must(t, err)
	tag, err := customhouse.ParseTag("v1")
	must(t, err)
	var load index.Load
	for i := range 10_001 {
		m := put(fmt.Append(nil, i)).Manifest
		load.Manifests = append(load.Manifests, index.Loaded{Manifest: m, Names: &index.Names{Blobs: []customhouse.Digest{shared}}})
		if i%2 == 0 {
			load.Tags = append(load.Tags, index.TagAt{Tag: tag, Digest: m.Digest})
			tag, err = customhouse.ParseTag(fmt.Sprint("v", i))
			must(t, err)
		}
	}
	repo, err := customhouse.ParseRepo("a/app")
	must(t, err)
	must(t, h.index.Load(t.Context(), repo, load))
	h.as("carol").get("/v2/a/app/blobs/"+shared.String()).want(http.StatusOK, "")
	h.as("bob").get("/v2/a/app/blobs/"+shared.String()).want(http.StatusNotFound, "BLOB_UNKNOWN")
}

// TestS3_HiddenContentLooksLikeMissing: whoever may do everything but with what has some tags cannot tell by any request
// whether something that they name by its digest is there.
func TestS3_HiddenContentLooksLikeMissing(t *testing.T) {
	h := open(t, setup{rules: hides()})
	project := h.as("project")
	hidden := project.pushIndex("a/app", "secret-x", "hidden")
	child := hidden.children[0]
	other := project.pushImage("a/other", "v1", "other")
	none := listed{index: string(encode(object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": []any{}, "annotations": object{"none": "such"}}))}
	none.indexD = digestOf(none.index)
	absent := stored{config: []byte(`{"none":"such"}`), layer: []byte("no such layer")}
	absent.manifest = image(absent.config, absent.layer, nil)
	absent.configD, absent.layerD, absent.manifestDg = digestOf(absent.config), digestOf(absent.layer), digestOf(absent.manifest)
	pairs := [][2]string{{"manifests/" + hidden.indexD, "manifests/" + none.indexD}, {"manifests/" + child.manifestDg, "manifests/" + absent.manifestDg}}
	for _, b := range [][2]string{{child.layerD, absent.layerD}, {child.configD, absent.configD}, {child.manifestDg, absent.manifestDg}, {other.layerD, absent.layerD}} {
		pairs = append(pairs, [2]string{"blobs/" + b[0], "blobs/" + b[1]})
	}
	headers := [][]string{
		nil, {"Range", "bytes=0-0"}, {"Range", "bytes=999999-"}, {"Range", "bytes=0-0,2-3"}, {"If-None-Match", "*"}, {"If-Match", "*"}, {"If-Match", `"x"`},
		{"Accept", "text/plain"}, {"Accept", ociImage}, {"Content-Range", "0-9"}, {"Expect", "100-continue"}, {"Content-Type", ociIndex},
	}
	sized := func(mediaType, digest string, size int) object {
		return object{"mediaType": mediaType, "digest": digest, "size": size}
	}
	for name, carol := range h.carols() {
		t.Run(name, func(t *testing.T) {
			carol := carol.in(t)
			carol.pushBlob("a/app", []byte("{}"))
			same := func(there, missing answer, words ...string) {
				t.Helper()
				if diff := cmp.Diff(outward(missing, words...), outward(there, words...)); diff != "" {
					t.Errorf("%s tells that it is there (-missing +there):\n%s", there.what, diff)
				}
			}
			for _, pair := range pairs {
				d, none := pair[0][strings.Index(pair[0], "/")+1:], pair[1][strings.Index(pair[1], "/")+1:]
				for _, method := range []string{"GET", "HEAD", "DELETE"} {
					for _, header := range append(headers, []string{"If-None-Match", `"` + d + `"`}) {
						same(carol.do(method, "/v2/a/app/"+pair[0], nil, header...), carol.do(method, "/v2/a/app/"+pair[1], nil, header...), d, none)
					}
				}
				for _, query := range []string{"", "&from=a/app", "&from=a/other", "&from=a/app&digest=" + d} {
					there, missing := carol.do("POST", "/v2/a/app/blobs/uploads/?mount="+d+query, nil), carol.do("POST", "/v2/a/app/blobs/uploads/?mount="+none+query, nil)
					same(there, missing, there.header.Get("Docker-Upload-Uuid"), missing.header.Get("Docker-Upload-Uuid"))
					for _, a := range []answer{there, missing} {
						carol.do("DELETE", a.header.Get("Location"), nil).want(http.StatusNoContent, "")
					}
				}
				for _, size := range []int{1, len(child.layer), len(child.manifest)} {
					for what, manifest := range map[string]func(string) []byte{
						"config": func(d string) []byte {
							return image(nil, []byte("{}"), object{"config": sized(ociConfig, d, size)})
						},
						"layer": func(d string) []byte {
							return image([]byte("{}"), nil, object{"layers": []any{sized(ociLayer, d, size)}})
						},
						"subject": func(d string) []byte {
							return image([]byte("{}"), []byte("{}"), object{"subject": sized(ociImage, d, size)})
						},
						"child": func(d string) []byte {
							return encode(object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": []any{sized(ociImage, d, size)}})
						},
					} {
						for _, ref := range []string{"v1", "secret-y", ""} {
							at := func(m []byte) string {
								if ref == "" {
									return digestOf(m)
								}
								return ref
							}
							there, missing := carol.putManifest("a/app", at(manifest(d)), manifest(d)), carol.putManifest("a/app", at(manifest(none)), manifest(none))
							if there.status < 400 {
								t.Errorf("%s of %d bytes under %q = %d", what, size, ref, there.status)
							}
							same(there, missing, d, none)
						}
					}
				}
			}
		})
	}
}
