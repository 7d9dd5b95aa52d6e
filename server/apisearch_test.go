package server_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestS13_SearchIsTheCatalog: a search finds what the catalog shows to the same caller, and pages of it tell nothing more.
func TestS13_SearchIsTheCatalog(t *testing.T) {
	h := open(t, setup{})
	all := []string{"a/app", "a/m-app", "a/other", "b/app", "pub/app", "secret/app"}
	for _, repo := range all {
		h.as("admin").pushImage(repo, "latest", repo)
	}
	type found struct {
		Repositories []string
		Next         string
	}
	for account, prefixes := range map[string][]string{"admin": {""}, "alice": {"a/", "pub/"}, "carol": {"pub/"}, "": {"pub/"}} {
		for _, text := range []string{"", "app", "-", "/m", "secret", "none"} {
			want := []string{}
			for _, name := range all {
				visible := slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
				if visible && strings.Contains(name, text) {
					want = append(want, name)
				}
			}
			for _, n := range []string{"1", "2", "1000"} {
				got, last := []string{}, ""
				for pages := 0; pages <= len(all); pages++ {
					var page found
					h.as(account).get("/api/repositories?search="+text+"&n="+n+"&last="+last).want(http.StatusOK, "").into(&page)
					if got = append(got, page.Repositories...); page.Next == "" {
						break
					}
					last = page.Next
				}
				if !slices.Equal(got, want) {
					t.Errorf("%q finds %v for %q in pages of %s, want %v", account, got, text, n, want)
				}
			}
		}
	}
	var page found
	h.as("alice").get("/api/repositories?search=app&last=secret/app").want(http.StatusOK, "").into(&page)
	if len(page.Repositories) > 0 || page.Next != "" {
		t.Errorf("after a hidden name = %+v, want nothing", page)
	}
	for _, query := range []string{"n=0", "n=-1", "n=1001", "n=x", "q=app", "search=a&search=b", "search=" + strings.Repeat("a", 256)} {
		h.as("alice").get("/api/repositories?"+query).want(http.StatusBadRequest, "UNSUPPORTED")
	}
}
