package server_test

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/policy"
)

// next is where the Link of a page leads, "" for nowhere.
func next(a answer) string {
	a.t.Helper()
	link := a.header.Get("Link")
	if link == "" {
		return ""
	}
	m := regexp.MustCompile(`^<(/v2/[^>]*)>; rel="next"$`).FindStringSubmatch(link)
	if m == nil {
		a.t.Fatalf("%s: Link = %q", a.what, link)
	}
	return m[1]
}

// follow reads all pages of a list.
func follow(p person, path string, read func(answer) []string) (all []string) {
	p.t.Helper()
	for pages := 0; path != ""; pages++ {
		if pages > 10_000 {
			p.t.Fatalf("%s has no last page", path)
		}
		a := p.get(path)
		entries := read(a)
		if path = next(a); path != "" && len(entries) == 0 {
			p.t.Fatalf("%s is empty and goes on", a.what)
		}
		all = append(all, entries...)
	}
	return all
}

func repositories(a answer) []string {
	a.t.Helper()
	var v struct{ Repositories []string }
	if a.want(http.StatusOK, "").into(&v); v.Repositories == nil {
		a.t.Errorf("%s: repositories is null: %s", a.what, a.body)
	}
	return v.Repositories
}

func tags(a answer) []string {
	a.t.Helper()
	var v struct {
		Name string
		Tags []string
	}
	if a.want(http.StatusOK, "").into(&v); v.Tags == nil || v.Name == "" {
		a.t.Errorf("%s = %s", a.what, a.body)
	}
	return v.Tags
}

// TestTags: in byte order, in pages, from anywhere.
func TestTags(t *testing.T) {
	admin := open(t, setup{}).as("admin")
	s := admin.pushImage("a/app", "m", "x")
	want := []string{"m", "0.1.2", "0.1.20", "0.1.2-a", "Z", "_x", "a", "a.b", "a-b", "v1", "v10", "v2", strings.Repeat("t", 128)}
	var query []string
	for _, tag := range want {
		query = append(query, "tag="+tag)
	}
	admin.putManifest("a/app", s.manifestDg+"?"+strings.Join(query, "&"), s.manifest).want(http.StatusCreated, "")
	slices.Sort(want)
	for _, n := range []string{"", "?n=1", "?n=2", "?n=5", "?n=13", "?n=1000000"} {
		if diff := cmp.Diff(want, follow(admin, "/v2/a/app/tags/list"+n, tags)); diff != "" {
			t.Errorf("tags by %s (-want +got):\n%s", n, diff)
		}
	}
	path := "/v2/a/app/tags/list"
	for query, entries := range map[string][]string{
		"?n=0": {}, "?n=0&last=a": {}, "?last=v10": {"v2"}, "?last=zzzz": {}, "?n=1&last=a-": {"a-b"}, "?last=%c3%bf&n=1": {}, "?n=1&last=a%00": {"a-b"},
		"?n=": want, "?n=1&last=": {"0.1.2"},
	} {
		if diff := cmp.Diff(entries, tags(admin.get(path+query))); diff != "" {
			t.Errorf("tags with %s (-want +got):\n%s", query, diff)
		}
	}
	admin.get(path+"?n=0").wantHeader("Link", "")
	admin.get(path+"?n=13").wantHeader("Link", "")
	admin.get(path+"?n=12").wantHeader("Link", `</v2/a/app/tags/list?last=v10&n=12>; rel="next"`)
	for _, n := range []string{"-1", "abc", "9223372036854775808", "1.5", "%2B1", "0x10", "1e3", "1%00", "%C2%B2"} {
		admin.get(path+"?n="+n).want(http.StatusBadRequest, "PAGINATION_NUMBER_INVALID")
	}
	admin.get(path+"?n=1&n=2").want(http.StatusBadRequest, "UNSUPPORTED")
	admin.get("/v2/a/none/tags/list").want(http.StatusNotFound, "NAME_UNKNOWN")
	a := admin.get(path)
	admin.head(path).want(http.StatusOK, "").wantHeader("Content-Length", fmt.Sprint(len(a.body))).wantHeader("Content-Type", "application/json")
}

// TestS12_Catalog: everybody sees the repositories that they may pull from, and pages are as long as asked for.
func TestS12_Catalog(t *testing.T) {
	h := open(t, setup{})
	admin := h.as("admin")
	all := []string{"a/app", "a/b/c", "a/m", "a/m-a", "a/m/a", "b/one", "pub/x", "secret/0", "secret/1"}
	for _, repo := range all {
		admin.pushImage(repo, "latest", repo)
	}
	admin.pushBlob("a/blobs-only", []byte("x"))
	admin.begin("a/upload-only", "")
	slices.Sort(all)
	visible := func(prefixes ...string) (names []string) {
		for _, name := range all {
			if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
				names = append(names, name)
			}
		}
		return names
	}
	for name, test := range map[string]struct {
		who  person
		want []string
	}{
		"admin":           {admin, all},
		"alice":           {h.as("alice"), visible("a/", "pub/")},
		"bob":             {h.as("bob"), visible("b/", "pub/")},
		"robot":           {h.as("robot"), visible("a/app", "pub/")},
		"carol":           {h.as("carol"), visible("pub/")},
		"anonymous token": {h.with(h.token("")), visible("pub/")},
		"narrow token":    {h.with(h.token("alice", "repository:a/app:pull")), visible("a/", "pub/")},
		"catalog token":   {h.with(h.token("admin", "registry:catalog:*")), all},
		"catalog denied":  {h.with(h.token("bob", "registry:catalog:*")), visible("b/", "pub/")},
	} {
		t.Run(name, func(t *testing.T) {
			who := test.who.in(t)
			for _, n := range []string{"", "?n=1", "?n=2", "?n=3", "?n=2147483647"} {
				if diff := cmp.Diff(test.want, follow(who, "/v2/_catalog"+n, repositories)); diff != "" {
					t.Errorf("catalog by %s (-want +got):\n%s", n, diff)
				}
			}
			// S13: a page is as long as what is visible makes it, wherever it begins.
			for _, last := range []string{"secret/0", "secret/", "a/app", "zzz", "a/%20", "%ff"} {
				unescaped, err := url.QueryUnescape(last)
				must(t, err)
				var want []string
				for _, name := range test.want {
					if name > unescaped {
						want = append(want, name)
					}
				}
				a := who.get("/v2/_catalog?n=2&last=" + last)
				got := repositories(a)
				if !slices.Equal(got, want[:min(2, len(want))]) {
					t.Errorf("catalog after %q = %v, want the first two of %v", last, got, want)
				}
				if (next(a) != "") != (len(want) > 2) {
					t.Errorf("catalog after %q: Link = %q, want one only if more is visible", last, next(a))
				}
			}
			a := who.get("/v2/_catalog?n=0").wantHeader("Link", "")
			if got := repositories(a); len(got) > 0 {
				t.Errorf("n=0 shows %v", got)
			}
		})
	}
	for _, n := range []string{"-1", "abc", "9223372036854775808", "18446744073709551617"} {
		admin.get("/v2/_catalog?n="+n).want(http.StatusBadRequest, "PAGINATION_NUMBER_INVALID")
	}
	h.as("").get("/v2/_catalog").want(http.StatusUnauthorized, "UNAUTHORIZED")
	admin.do("DELETE", "/v2/secret/0/manifests/latest", nil).want(http.StatusAccepted, "")
	if got := repositories(admin.get("/v2/_catalog")); !slices.Contains(got, "secret/0") {
		t.Error("a repository without tags that has a manifest is gone from the catalog")
	}
}

// TestS12_CatalogOfOthers: a page that shows nothing of very many repositories costs no query for each.
func TestS12_CatalogOfOthers(t *testing.T) {
	n := 2000
	if os.Getenv("CUSTOMHOUSE_LONG") == "1" {
		n = 50_000
	}
	h := open(t, setup{})
	seed(t, h, n)
	for _, query := range []string{"?n=0", "?n=1", "?n=10", ""} {
		start := time.Now()
		if got := repositories(h.as("bob").get("/v2/_catalog" + query)); len(got) > 0 {
			t.Errorf("catalog = %v", got)
		}
		if took := time.Since(start); took > time.Second+time.Duration(n)*100*time.Microsecond {
			t.Errorf("%s of %d repositories of others took %v", query, n, took)
		}
	}
}

// seed makes n repositories with a manifest each, straight in the index.
func seed(t *testing.T, h *house, n int) {
	t.Helper()
	inParallel(n, func(i int) {
		repo, err := customhouse.ParseRepo(fmt.Sprintf("secret/%06d", i))
		if err == nil {
			err = h.index.PutManifest(t.Context(), repo, put(fmt.Appendf(nil, "%d", i)))
		}
		if err != nil {
			t.Error(err)
		}
	})
}

// TestS13_CatalogOfDeny: deny rules hide from the catalog too.
func TestS13_CatalogOfDeny(t *testing.T) {
	deny := allow("carol", "a/secret", customhouse.Pull)
	deny.Effect = policy.Deny
	h := open(t, setup{rules: []policy.Rule{allow("admin", "**", "*"), deny, allow("carol", "**", "pull")}})
	for _, repo := range []string{"a/open", "a/secret"} {
		h.as("admin").pushImage(repo, "latest", repo)
	}
	if diff := cmp.Diff([]string{"a/open"}, repositories(h.as("carol").get("/v2/_catalog"))); diff != "" {
		t.Errorf("catalog (-want +got):\n%s", diff)
	}
}

// TestS67_ManyReferrers pages through 2,000 referrers, or 10,000, with 4 KiB of annotations each.
func TestS67_ManyReferrers(t *testing.T) {
	n := 2000
	if os.Getenv("CUSTOMHOUSE_LONG") == "1" {
		n = 10_000
	}
	h := open(t, setup{})
	admin := h.as("admin")
	s := admin.pushImage("a/app", "latest", "subject")
	repo, err := customhouse.ParseRepo("a/app")
	must(t, err)
	subject, err := customhouse.ParseDigest(s.manifestDg)
	must(t, err)
	inParallel(n, func(i int) {
		p := put(fmt.Appendf(nil, "referrer %d", i))
		p.Manifest.Subject, p.Manifest.ArtifactType = subject, "example/sbom"
		p.Manifest.Annotations = map[string]string{"note": strings.Repeat("<", 4096)}
		if err := h.index.PutManifest(t.Context(), repo, p); err != nil {
			t.Error(err)
		}
	})
	path := "/v2/a/app/referrers/" + s.manifestDg
	seen := map[string]bool{}
	for pages := 1; path != ""; pages++ {
		start := time.Now()
		a := admin.get(path)
		if took := time.Since(start); took > 20*time.Second { // 100 ms on an idle machine
			t.Errorf("page %d took %v", pages, took)
		}
		if len(a.body) > 4<<20 {
			t.Fatalf("page %d has %d bytes, more than clients read", pages, len(a.body))
		}
		for _, d := range referrers(a) {
			if seen[d] {
				t.Errorf("%s is on two pages", d)
			}
			seen[d] = true
		}
		path = next(a)
	}
	if len(seen) != n {
		t.Errorf("%d referrers were listed, want %d", len(seen), n)
	}
}

// TestS67_LargeReferrers: pages stay below what clients read also when each entry is large.
func TestS67_LargeReferrers(t *testing.T) {
	admin := open(t, setup{}).as("admin")
	s := admin.pushImage("a/app", "latest", "subject")
	for i := range 12 {
		text := strings.Repeat([]string{"<", "\u2028", "x"}[i%3], 500_000)
		m := image(s.config, s.layer, object{"subject": descriptor(ociImage, s.manifest), "annotations": object{"text": text, "i": fmt.Sprint(i)}})
		admin.putManifest("a/app", digestOf(m), m).want(http.StatusCreated, "")
	}
	found := 0
	for path := "/v2/a/app/referrers/" + s.manifestDg; path != ""; {
		a := admin.get(path)
		found += len(referrers(a))
		if len(a.body) > 4<<20 {
			t.Errorf("a page has %d bytes, more than clients read", len(a.body))
		}
		path = next(a)
	}
	if found != 12 {
		t.Errorf("%d referrers were listed, want 12", found)
	}
}
