package server_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/policy"
)

// TestS2_AnonymousSeesNothingOfPrivate knows every digest and gets nothing.
func TestS2_AnonymousSeesNothingOfPrivate(t *testing.T) {
	h := open(t, setup{})
	admin := h.as("admin")
	s := admin.pushImage("a/app", "latest", "private")
	upload := admin.begin("a/app", "")
	paths := []string{
		"/v2/a/app/manifests/latest", "/v2/a/app/manifests/" + s.manifestDg, "/v2/a/app/blobs/" + s.layerD, "/v2/a/app/blobs/" + s.configD,
		"/v2/a/app/tags/list", "/v2/a/app/referrers/" + s.manifestDg, upload,
	}
	for _, who := range []person{h.as(""), h.with(h.token("")), h.with(h.token("", "repository:a/app:pull,push,*"))} {
		for _, path := range paths {
			for _, method := range []string{"GET", "HEAD"} {
				a := who.do(method, path, nil).want(http.StatusUnauthorized, "")
				for _, key := range []string{"Docker-Content-Digest", "Etag", "Content-Range", "Location", "Range", "Link", "Docker-Upload-Uuid", "Oci-Subject"} {
					a.wantHeader(key, "")
				}
				if strings.Contains(string(a.body), string(s.layer)) {
					t.Errorf("%s has content", a.what)
				}
			}
		}
	}
}

// ids are what differs from request to request: ids of decisions and dates.
var ids = regexp.MustCompile(`[0-9a-hjkmnp-tv-z]{16}`)

// outward is all that a client sees of an answer but the id of the decision and the words of its own request.
func outward(a answer, words ...string) string {
	header := a.header.Clone()
	header.Del("Date")
	text := fmt.Sprintln(a.status, slices.Sorted(maps.Keys(header)))
	for _, key := range slices.Sorted(maps.Keys(header)) {
		text += fmt.Sprintln(key, header[key])
	}
	text += string(a.body)
	for _, w := range words {
		text = strings.ReplaceAll(text, w, "WORD")
	}
	return ids.ReplaceAllString(text, "ID")
}

// TestS3_ForbiddenLooksLikeMissing: what is there and forbidden is answered like what is not there.
func TestS3_ForbiddenLooksLikeMissing(t *testing.T) {
	h := open(t, setup{})
	admin := h.as("admin")
	s := admin.pushImage("a/exists", "latest", "private")
	upload := admin.begin("a/exists", "")
	rest := map[string]string{
		"manifests/latest": "GET HEAD PUT DELETE", "manifests/" + s.manifestDg: "GET HEAD PUT DELETE", "tags/list": "GET HEAD",
		"blobs/" + s.layerD: "GET HEAD DELETE", "referrers/" + s.manifestDg: "GET HEAD", "blobs/uploads/": "POST",
		"blobs/uploads/?mount=" + s.layerD: "POST", "blobs/uploads/?digest=" + s.layerD: "POST",
		strings.TrimPrefix(upload, "/v2/a/exists/"): "GET HEAD PATCH PUT DELETE",
	}
	people := []person{h.as(""), h.as("bob"), h.with(h.token("bob", "repository:a/exists:pull,push")), h.with(h.token(""))}
	for path, methods := range rest {
		for method := range strings.FieldsSeq(methods) {
			for _, who := range people {
				exists := outward(who.do(method, "/v2/a/exists/"+path, nil), "a/exists")
				missing := outward(who.do(method, "/v2/a/missin/"+path, nil), "a/missin")
				if diff := cmp.Diff(missing, exists); diff != "" {
					t.Errorf("%s %s tells that the repository is there (-missing +there):\n%s", method, path, diff)
				}
			}
		}
	}
}

// TestS4_BlobsOfOthersAreUnknown: to know a digest opens nothing.
func TestS4_BlobsOfOthersAreUnknown(t *testing.T) {
	h := open(t, setup{})
	s := h.as("admin").pushImage("secret/y", "latest", "secret")
	bob := h.as("bob")
	other := digestOf("no such content")
	for _, method := range []string{"GET", "HEAD"} {
		known := outward(bob.do(method, "/v2/b/x/blobs/"+s.layerD, nil).want(http.StatusNotFound, ""), s.layerD)
		unknown := outward(bob.do(method, "/v2/b/x/blobs/"+other, nil), other)
		if diff := cmp.Diff(unknown, known); diff != "" {
			t.Errorf("%s of a secret blob differs:\n%s", method, diff)
		}
	}
	bob.do("POST", "/v2/b/x/blobs/uploads/?digest="+s.layerD, nil).want(http.StatusBadRequest, "DIGEST_INVALID")
	upload := bob.begin("b/x", "")
	bob.do("PUT", upload+"?digest="+s.layerD, nil).want(http.StatusBadRequest, "DIGEST_INVALID")
	// A manifest cannot draw in what its repository does not have.
	bob.putManifest("b/x", "latest", s.manifest).want(http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN")
	bob.do("DELETE", "/v2/b/x/blobs/"+s.layerD, nil).want(http.StatusForbidden, "DENIED")
	bob.get("/v2/b/x/blobs/"+s.layerD).want(http.StatusNotFound, "BLOB_UNKNOWN")
}

// TestS5_MountNeedsPullOnSource: a mount from where one may not pull is a mount of what is not there.
func TestS5_MountNeedsPullOnSource(t *testing.T) {
	h := open(t, setup{})
	s := h.as("admin").pushImage("secret/y", "latest", "secret")
	none := digestOf("no such content")
	both := h.token("bob", "repository:b/x:pull,push", "repository:secret/y:pull")
	people := map[string]person{"Basic": h.as("bob"), "token": h.with(h.token("bob", "repository:b/x:pull,push")), "token for both": h.with(both)}
	for name, bob := range people {
		t.Run(name, func(t *testing.T) {
			bob := bob.in(t)
			for i := range 70 {
				from := []string{"&from=secret/y", "&from=secret/z", ""}[i%3]
				secret := bob.do("POST", "/v2/b/x/blobs/uploads/?mount="+s.layerD+from, nil).want(http.StatusAccepted, "")
				missing := bob.do("POST", "/v2/b/x/blobs/uploads/?mount="+none+from, nil)
				got := outward(secret, s.layerD, secret.header.Get("Docker-Upload-Uuid"))
				want := outward(missing, none, missing.header.Get("Docker-Upload-Uuid"))
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("a mount tells of secret content (-missing +secret):\n%s", diff)
				}
				bob.do("DELETE", secret.header.Get("Location"), nil).want(http.StatusNoContent, "")
				bob.do("DELETE", missing.header.Get("Location"), nil).want(http.StatusNoContent, "")
			}
			bob.get("/v2/b/x/blobs/"+s.layerD).want(http.StatusNotFound, "BLOB_UNKNOWN")
		})
	}
}

// TestMount goes through the ways to mount a blob.
func TestMount(t *testing.T) {
	rules := append([]policy.Rule{allow("bob", "a/**", customhouse.Pull)}, usual()...)
	h := open(t, setup{rules: rules})
	s := h.as("admin").pushImage("a/app", "latest", "x")
	scopes := func(s ...string) person { return h.with(h.token("bob", s...)) }
	both := scopes("repository:b/x:pull,push", "repository:a/app:pull")
	narrow := scopes("repository:b/x:pull,push")

	a := narrow.do("POST", "/v2/b/x/blobs/uploads/?mount="+s.layerD+"&from=a/app", nil).want(http.StatusUnauthorized, "UNAUTHORIZED")
	for _, part := range []string{"repository:b/x:pull,push", "repository:a/app:pull", `error="insufficient_scope"`} {
		if c := a.header.Get("WWW-Authenticate"); !strings.Contains(c, part) {
			t.Errorf("the challenge %q does not ask for %q", c, part)
		}
	}
	for name, test := range map[string]struct {
		who    person
		repo   string
		query  string
		status int
	}{
		"from":                         {both, "b/x", "mount=" + s.layerD + "&from=a/app", 201},
		"from, with a password":        {h.as("bob"), "b/y", "mount=" + s.layerD + "&from=a/app", 201},
		"anywhere, with a password":    {h.as("bob"), "b/z", "mount=" + s.layerD, 201},
		"anywhere, within the token":   {scopes("repository:b/v:pull,push", "repository:a/app:pull"), "b/v", "mount=" + s.configD, 201},
		"unknown blob":                 {both, "b/x", "mount=" + nowhere + "&from=a/app", 202},
		"unknown source":               {h.as("bob"), "b/x", "mount=" + s.configD + "&from=a/none", 202},
		"from itself, not there":       {h.as("bob"), "b/x", "mount=" + s.configD + "&from=b/x", 202},
		"from itself, there":           {h.as("admin"), "a/app", "mount=" + s.configD + "&from=a/app", 201},
		"an image is no blob":          {h.as("bob"), "b/x", "mount=" + s.manifestDg + "&from=a/app", 202},
		"empty from is none":           {h.as("bob"), "b/w", "mount=" + s.layerD + "&from=", 201},
		"from twice":                   {h.as("bob"), "b/q", "mount=" + s.layerD + "&from=a/app&from=b/x", 400},
		"from in two spellings of one": {h.as("bob"), "b/q", "mount=" + s.layerD + "&from=a%2fapp", 201},
	} {
		t.Run(name, func(t *testing.T) {
			a := test.who.in(t).do("POST", "/v2/"+test.repo+"/blobs/uploads/?"+test.query, nil).want(test.status, "")
			if test.status == http.StatusCreated {
				d := a.header.Get("Docker-Content-Digest")
				a.wantHeader("Location", "/v2/"+test.repo+"/blobs/"+d)
				h.as("admin").in(t).head("/v2/"+test.repo+"/blobs/"+d).want(http.StatusOK, "")
			}
		})
	}
}

// TestS6_TokenNarrowsMountFromAnywhere: a token that is not for a repository does not draw blobs out of it.
func TestS6_TokenNarrowsMountFromAnywhere(t *testing.T) {
	rules := append([]policy.Rule{allow("bob", "a/**", customhouse.Pull)}, usual()...)
	h := open(t, setup{rules: rules})
	s := h.as("admin").pushImage("a/app", "latest", "x")
	narrow := h.with(h.token("bob", "repository:b/x:pull,push"))
	narrow.get("/v2/a/app/blobs/"+s.layerD).want(http.StatusUnauthorized, "")
	narrow.do("POST", "/v2/b/x/blobs/uploads/?mount="+s.layerD, nil).want(http.StatusAccepted, "")
	narrow.get("/v2/b/x/blobs/"+s.layerD).want(http.StatusNotFound, "BLOB_UNKNOWN")
}

// TestS6_RandomPolicies mounts from anywhere under random rules and compares with the words of the item.
func TestS6_RandomPolicies(t *testing.T) {
	h := open(t, setup{})
	admin := h.as("admin")
	random := rand.New(rand.NewPCG(6, 6))
	repos := []string{"m/one", "m/two", "n/one", "n/two/three", "o"}
	holders := map[string][]string{} // digest to repositories
	var digests []string
	for i := range 6 {
		content := fmt.Appendf(nil, "blob %d", i)
		for _, repo := range repos {
			if random.IntN(3) == 0 {
				d := admin.pushBlob(repo, content)
				holders[d] = append(holders[d], repo)
			}
		}
		digests = append(digests, digestOf(content))
	}
	patterns := []string{"m/*", "n/**", "**", "m/one", "n/one", "n/two/*", "o", "?/one"}
	for i := range 200 {
		var rules []policy.Rule
		for range random.IntN(4) {
			r := allow("carol", patterns[random.IntN(len(patterns))], []customhouse.Action{"pull", "push", "delete", "create"}[random.IntN(4)])
			if random.IntN(4) == 0 {
				r.Effect = policy.Deny
			}
			rules = append(rules, r)
		}
		target := fmt.Sprintf("to/x%d", i)
		rules = append(rules, allow("carol", "to/**", "pull", "push"), allow("admin", "**", "*"))
		p, err := policy.Compile(rules, policy.Options{})
		must(t, err)
		st := h.state
		st.Gate = h.gate(setup{rules: rules}, nil)
		h.server.Swap(st)
		mayPull := func(repo string) bool {
			q := policy.Query{Identity: customhouse.Identity{Account: "carol"}, Service: service, Type: "repository", Name: repo, Action: "pull"}
			return p.Decide(q).Allowed
		}
		mayPush := func(action customhouse.Action) bool {
			q := policy.Query{Identity: customhouse.Identity{Account: "carol"}, Service: service, Type: "repository", Name: target, Action: action}
			return p.Decide(q).Allowed
		}
		d := digests[random.IntN(len(digests))]
		want := http.StatusAccepted
		if !mayPush("pull") || !mayPush("push") {
			want = http.StatusForbidden
		} else if slices.ContainsFunc(holders[d], mayPull) && mayPush("mount") {
			want = http.StatusCreated
		}
		h.as("carol").do("POST", "/v2/"+target+"/blobs/uploads/?mount="+d, nil).want(want, "")
		if want == http.StatusCreated {
			holders[d] = append(holders[d], target)
		}
	}
}

// TestS7_ParameterPollution: no way to write the parameters mounts what S5 forbids.
func TestS7_ParameterPollution(t *testing.T) {
	h := open(t, setup{})
	s := h.as("admin").pushImage("secret/y", "latest", "secret")
	bob := h.as("bob")
	bob.pushBlob("b/x", []byte("own"))
	base := "/v2/b/x/blobs/uploads/"
	d := s.layerD
	for query, want := range map[string]int{
		"?mount=" + d + "&from=secret/y&from=b/x":                  400,
		"?mount=" + d + "&from=b/x&from=secret/y":                  400,
		"?mount=" + d + "&mount=" + digestOf("own"):                400,
		"?digest=" + d + "&digest=" + digestOf(""):                 400,
		"?mount=" + d + "&from=b/x":                                202,
		"?mount=" + d + "&from=b/x/../../secret/y":                 400,
		"?mount=" + d + "&from=b/x%2f..%2f..%2fsecret/y":           400,
		"?mount=" + d + "&from=b/x%00secret/y":                     400,
		"?mount=" + d + "&from=b/x%20secret/y":                     400,
		"?mount=" + d + "&from=b/x,secret/y":                       400,
		"?mount=" + d + "&from=SECRET/y":                           400,
		"?mount=" + d + "&from=%73ecret/y":                         202,
		"?mount=" + d + "&from=secret%2fy":                         202,
		"?mount=" + d + "&from=secret%252fy":                       400,
		"?mount=" + d + "&from=/secret/y":                          400,
		"?mount=" + d + "&from=secret/y/":                          400,
		"?mount=" + d + "&FROM=secret/y":                           202,
		"?mount=" + d + "&from[]=secret/y":                         202,
		"?mount=" + d + ";from=secret/y":                           400,
		"?mount=" + d + "%26from=secret/y":                         400,
		"?Mount=" + d + "&from=secret/y":                           202,
		"?mount=" + strings.ToUpper(d) + "&from=secret/y":          400,
		"?mount=" + strings.Replace(d, ":", "%3A", 1) + "&from=":   202,
		"?mount=" + d + "&from=secret/y#x":                         202,
		"?from=secret/y":                                           202,
		"?mount=" + d + "&from=" + strings.Repeat("b", 300):        400,
		"?mount=&from=secret/y":                                    202,
		"?mount=" + d + "&from=b/x?from=secret/y":                  400,
		"?mount=" + d + "&from=secret/y&digest=" + digestOf("own"): 202,
	} {
		a := bob.do("POST", base+query, nil)
		if a.status != want {
			t.Errorf("%s = %d, want %d", a.what, a.status, want)
		}
		bob.head("/v2/b/x/blobs/"+d).want(http.StatusNotFound, "")
	}
	form := []byte("mount=" + d + "&from=secret/y")
	for _, contentType := range []string{"application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json"} {
		bob.do("POST", base, form, "Content-Type", contentType).want(http.StatusAccepted, "")
		bob.do("POST", base+"?from=b/x", form, "Content-Type", contentType).want(http.StatusAccepted, "")
	}
	bob.head("/v2/b/x/blobs/"+d).want(http.StatusNotFound, "")
}

// TestS8_CreateOnly: whoever may create moves no tag, in none of the ways to name it.
func TestS8_CreateOnly(t *testing.T) {
	h := open(t, setup{})
	admin, creator := h.as("admin"), h.as("creator")
	for _, tag := range []string{"latest", "v1"} {
		admin.pushImage("a/app", tag, "first")
	}
	first := admin.get("/v2/a/app/manifests/latest").header.Get("Docker-Content-Digest")
	config, layer := []byte(`{"os":"linux"}`), []byte("layer")
	creator.pushBlob("a/app", config)
	creator.pushBlob("a/app", layer)
	second := image(config, layer, nil)
	d := digestOf(second)
	people := map[string]person{
		"Basic": creator, "token": h.with(h.token("creator", "repository:a/app:pull,push")),
		"token with *": h.with(h.token("creator", "repository:a/app:*")),
	}
	for name, who := range people {
		t.Run(name, func(t *testing.T) {
			who, admin := who.in(t), admin.in(t)
			for _, tag := range []string{"latest", "v1"} {
				who.putManifest("a/app", tag, second).want(http.StatusForbidden, "DENIED")
				who.putManifest("a/app", d+"?tag="+tag, second).want(http.StatusForbidden, "DENIED")
				who.putManifest("a/app", d+"?tag=new-"+tag+"&tag="+tag, second).want(http.StatusForbidden, "DENIED")
				who.putManifest("a/app", d+"?tag=%6c%61test&tag=v1", second).want(http.StatusForbidden, "DENIED")
				admin.head("/v2/a/app/manifests/new-"+tag).want(http.StatusNotFound, "")
				admin.head("/v2/a/app/manifests/"+tag).want(http.StatusOK, "").wantHeader("Docker-Content-Digest", first)
			}
			admin.head("/v2/a/app/manifests/"+d).want(http.StatusNotFound, "")
		})
	}
	creator.putManifest("a/app", "v1", mustBody(admin.get("/v2/a/app/manifests/v1"))).want(http.StatusCreated, "") // the same once more
	creator.putManifest("a/app", "v2", second).want(http.StatusCreated, "")
	creator.putManifest("a/app", d+"?tag=v3&tag=v4", second).want(http.StatusCreated, "")
}

func mustBody(a answer) []byte { return a.want(http.StatusOK, "").body }

// TestUpdateOnly: whoever may move tags makes none, and no manifest without a tag.
func TestUpdateOnly(t *testing.T) {
	h := open(t, setup{})
	h.as("admin").pushImage("a/app", "latest", "first")
	updater := h.as("updater")
	config, layer := []byte(`{"os":"linux"}`), []byte("layer")
	updater.pushBlob("a/app", config)
	updater.pushBlob("a/app", layer)
	m := image(config, layer, nil)
	updater.putManifest("a/app", "new", m).want(http.StatusForbidden, "DENIED")
	updater.putManifest("a/app", digestOf(m), m).want(http.StatusForbidden, "DENIED")
	updater.putManifest("a/app", digestOf(m)+"?tag=latest&tag=new", m).want(http.StatusForbidden, "DENIED")
	updater.putManifest("a/app", "latest", m).want(http.StatusCreated, "")
}

// TestS8_Race: of 50 first creations of one tag by two who may create only, one comes first.
func TestS8_Race(t *testing.T) {
	rules := append([]policy.Rule{allow("carol", "a/**", customhouse.Pull, customhouse.Create)}, usual()...)
	h := open(t, setup{rules: rules})
	config := []byte(`{"os":"linux"}`)
	h.as("admin").pushBlob("a/app", config)
	var manifests [50][]byte
	for i := range manifests {
		manifests[i] = image(config, config, object{"annotations": object{"n": fmt.Sprint(i)}})
	}
	for round := range 4 {
		tag := fmt.Sprintf("v%d", round)
		var wg sync.WaitGroup
		var mu sync.Mutex
		won := []string{}
		for i, m := range manifests {
			wg.Go(func() {
				who := h.as([]string{"creator", "carol"}[i%2])
				ref := []string{tag, digestOf(m) + "?tag=" + tag}[i/2%2]
				a := who.putManifest("a/app", ref, m)
				switch {
				case a.status == http.StatusCreated:
					mu.Lock()
					won = append(won, digestOf(m))
					mu.Unlock()
				case a.status != http.StatusForbidden || a.code() != "DENIED":
					t.Errorf("%s = %d %s, want 403 DENIED", a.what, a.status, a.code())
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			t.Fatalf("%d creations of %s were acknowledged, want 1", len(won), tag)
		}
		h.as("admin").head("/v2/a/app/manifests/"+tag).wantHeader("Docker-Content-Digest", won[0])
	}
}

// TestS9_CreateOnlyMakesTagsImmutable: what a create-only identity has pushed stays as it is.
func TestS9_CreateOnlyMakesTagsImmutable(t *testing.T) {
	h := open(t, setup{})
	creator := h.as("creator")
	s := creator.pushImage("a/app", "v1", "first")
	other := creator.pushImage("a/app", "v2", "second")
	index := encode(object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": []any{descriptor(ociImage, s.manifest)}})
	for _, try := range []func() answer{
		func() answer { return creator.putManifest("a/app", "v1", other.manifest) },
		func() answer { return creator.putManifest("a/app", "v1", index) },
		func() answer { return creator.putManifest("a/app", other.manifestDg+"?tag=v1", other.manifest) },
		func() answer { return creator.do("DELETE", "/v2/a/app/manifests/v1", nil) },
		func() answer { return creator.do("DELETE", "/v2/a/app/manifests/"+s.manifestDg, nil) },
		func() answer { return creator.do("DELETE", "/v2/a/app/blobs/"+s.layerD, nil) },
	} {
		try().want(http.StatusForbidden, "DENIED")
		creator.get("/v2/a/app/manifests/v1").want(http.StatusOK, "").wantHeader("Docker-Content-Digest", s.manifestDg)
		creator.get("/v2/a/app/blobs/"+s.layerD).want(http.StatusOK, "")
	}
}

// TestS10_DeletesDisabled: one switch for tags, manifests and blobs, for everybody.
func TestS10_DeletesDisabled(t *testing.T) {
	h := open(t, setup{noDelete: true})
	admin := h.as("admin")
	s := admin.pushImage("a/app", "latest", "x")
	for _, path := range []string{"manifests/latest", "manifests/" + s.manifestDg, "blobs/" + s.layerD, "manifests/none", "blobs/" + nowhere} {
		admin.do("DELETE", "/v2/a/app/"+path, nil).want(http.StatusMethodNotAllowed, "UNSUPPORTED")
		h.as("alice").do("DELETE", "/v2/a/app/"+path, nil).want(http.StatusForbidden, "DENIED")
	}
	for _, path := range []string{"manifests/latest", "manifests/" + s.manifestDg, "blobs/" + s.layerD} {
		admin.get("/v2/a/app/"+path).want(http.StatusOK, "")
	}
}

// TestS10_DeleteNeedsDelete: the right to push deletes nothing.
func TestS10_DeleteNeedsDelete(t *testing.T) {
	h := open(t, setup{})
	s := h.as("admin").pushImage("a/app", "latest", "x")
	paths := []string{"/v2/a/app/manifests/latest", "/v2/a/app/manifests/" + s.manifestDg, "/v2/a/app/blobs/" + s.layerD}
	for _, name := range []string{"robot", "creator", "alice"} {
		for _, path := range paths {
			h.as(name).do("DELETE", path, nil).want(http.StatusForbidden, "DENIED")
			h.with(h.token(name, "repository:a/app:*")).do("DELETE", path, nil).want(http.StatusForbidden, "DENIED")
		}
	}
	for _, path := range paths {
		h.as("deleter").get(path).want(http.StatusOK, "")
		h.as("deleter").do("DELETE", path, nil).want(http.StatusAccepted, "")
		h.as("deleter").get(path).want(http.StatusNotFound, "")
		h.as("deleter").do("DELETE", path, nil).want(http.StatusNotFound, "")
	}
}

// TestS14_ReferrersStayInTheirRepository: the same subject in two repositories has the referrers of each.
func TestS14_ReferrersStayInTheirRepository(t *testing.T) {
	h := open(t, setup{})
	admin := h.as("admin")
	s := admin.pushImage("a/app", "latest", "subject")
	admin.pushImage("b/app", "latest", "subject")
	refer := func(repo, text string) string {
		admin.pushBlob(repo, []byte("{}"))
		m := image([]byte("{}"), []byte("{}"), object{"subject": descriptor(ociImage, s.manifest), "annotations": object{"text": text}})
		admin.putManifest(repo, digestOf(m), m).want(http.StatusCreated, "").wantHeader("Oci-Subject", s.manifestDg)
		return digestOf(m)
	}
	inA, inB := refer("a/app", "in a"), refer("b/app", "in b")
	for repo, want := range map[string][]string{"a/app": {inA}, "b/app": {inB}, "a/none": nil} {
		got := referrers(admin.get("/v2/" + repo + "/referrers/" + s.manifestDg))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("referrers in %s (-want +got):\n%s", repo, diff)
		}
	}
	h.as("bob").get("/v2/a/app/referrers/"+s.manifestDg).want(http.StatusForbidden, "DENIED")
	h.as("bob").get("/v2/a/none/referrers/"+s.manifestDg).want(http.StatusForbidden, "DENIED")
	h.as("").get("/v2/a/app/referrers/"+s.manifestDg).want(http.StatusUnauthorized, "UNAUTHORIZED")
}

// referrers are the digests in a page of referrers.
func referrers(a answer) []string {
	var v struct {
		SchemaVersion int
		MediaType     string
		Manifests     []struct{ Digest string }
	}
	a.want(http.StatusOK, "").wantHeader("Content-Type", ociIndex).into(&v)
	if v.SchemaVersion != 2 || v.MediaType != ociIndex || v.Manifests == nil {
		a.t.Errorf("%s is no index: %s", a.what, clip(a.body))
	}
	var digests []string
	for _, m := range v.Manifests {
		digests = append(digests, m.Digest)
	}
	return digests
}

// TestS15_DeletedHereAliveThere: with warm caches, what is deleted in one repository stays deleted there.
func TestS15_DeletedHereAliveThere(t *testing.T) {
	h := open(t, setup{})
	admin := h.as("admin")
	for i := range 100 {
		content := fmt.Appendf(nil, "content %d", i)
		d := admin.pushBlob("a/app", content)
		admin.pushBlob("b/app", content)
		for _, repo := range []string{"a/app", "b/app"} {
			admin.get("/v2/"+repo+"/blobs/"+d).want(http.StatusOK, "")
		}
		admin.do("DELETE", "/v2/a/app/blobs/"+d, nil).want(http.StatusAccepted, "")
		admin.head("/v2/b/app/blobs/"+d).want(http.StatusOK, "")
		admin.get("/v2/b/app/blobs/"+d).want(http.StatusOK, "")
		admin.get("/v2/a/app/blobs/"+d).want(http.StatusNotFound, "BLOB_UNKNOWN")
		admin.head("/v2/a/app/blobs/"+d).want(http.StatusNotFound, "")
	}
	s := admin.pushImage("a/img", "latest", "same")
	admin.pushImage("b/img", "latest", "same")
	admin.do("DELETE", "/v2/a/img/manifests/"+s.manifestDg, nil).want(http.StatusAccepted, "")
	admin.get("/v2/b/img/manifests/latest").want(http.StatusOK, "")
	admin.get("/v2/a/img/manifests/latest").want(http.StatusNotFound, "MANIFEST_UNKNOWN")
	admin.get("/v2/a/img/manifests/"+s.manifestDg).want(http.StatusNotFound, "MANIFEST_UNKNOWN")
}

// TestS28_MethodNeedsAction: a token for one action does not serve another, and the challenge names what would.
func TestS28_MethodNeedsAction(t *testing.T) {
	h := open(t, setup{})
	s := h.as("admin").pushImage("a/app", "latest", "x")
	manifest, layer := "/v2/a/app/manifests/latest", "/v2/a/app/blobs/"+s.layerD
	for _, test := range []struct{ scope, method, path, missing string }{
		{"pull", "PUT", manifest, "pull,push"},
		{"pull", "POST", "/v2/a/app/blobs/uploads/", "pull,push"},
		{"pull", "PATCH", "/v2/a/app/blobs/uploads/x", "pull,push"},
		{"pull", "PUT", "/v2/a/app/blobs/uploads/x", "pull,push"},
		{"pull", "GET", "/v2/a/app/blobs/uploads/x", "pull,push"},
		{"pull", "DELETE", "/v2/a/app/blobs/uploads/x", "pull,push"},
		{"pull", "DELETE", manifest, "delete"},
		{"pull,push", "DELETE", manifest, "delete"},
		{"pull,push", "DELETE", layer, "delete"},
		{"push", "GET", manifest, "pull"},
		{"push", "HEAD", layer, "pull"},
		{"push", "GET", "/v2/a/app/tags/list", "pull"},
		{"delete", "GET", manifest, "pull"},
		{"delete", "PUT", manifest, "pull,push"},
	} {
		a := h.with(h.token("project", "repository:a/app:"+test.scope)).do(test.method, test.path, nil).want(http.StatusUnauthorized, "")
		want := `scope="repository:a/app:` + test.missing + `",error="insufficient_scope"`
		if c := a.header.Get("WWW-Authenticate"); !strings.HasSuffix(c, want) {
			t.Errorf("%s with %s: challenge %s, want ... %s", a.what, test.scope, c, want)
		}
	}
	// "*" is never had by asking for it.
	star := h.with(h.token("alice", "repository:a/app:*"))
	star.get(manifest).want(http.StatusOK, "")
	star.do("DELETE", manifest, nil).want(http.StatusForbidden, "DENIED")
	star.putManifest("a/app", "latest", s.manifest).want(http.StatusForbidden, "DENIED")
}

// TestPolicyChangeReachesOldTokens: the present rules decide, whatever a token says.
func TestPolicyChangeReachesOldTokens(t *testing.T) {
	h := open(t, setup{})
	h.as("admin").pushImage("a/app", "latest", "x")
	alice := h.with(h.token("alice", "repository:a/app:pull"))
	alice.get("/v2/a/app/manifests/latest").want(http.StatusOK, "")
	st := h.state
	st.Gate = h.gate(setup{rules: []policy.Rule{allow("admin", "**", "*")}}, nil)
	h.server.Swap(st)
	alice.get("/v2/a/app/manifests/latest").want(http.StatusForbidden, "DENIED")
	h.server.Swap(h.state)
	alice.get("/v2/a/app/manifests/latest").want(http.StatusOK, "")
}

// TestAuthorizationOff: everybody may do everything, and is not asked who they are.
func TestAuthorizationOff(t *testing.T) {
	h := open(t, setup{off: true})
	nobody := h.as("")
	nobody.get("/v2/").want(http.StatusOK, "")
	nobody.pushImage("any/thing", "latest", "x")
	nobody.get("/v2/_catalog").want(http.StatusOK, "")
	nobody.get("/token").want(http.StatusBadRequest, "")
	nobody.get("/.well-known/jwks.json").want(http.StatusNotFound, "")
}
