package server_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"customhouse"
	"customhouse/policy"
)

// TestS16_RecreatedRepository: a repository belongs to nobody, so there is nothing that a token for one that was removed
// and made anew could keep: what the rules say today is what it is good for.
func TestS16_RecreatedRepository(t *testing.T) {
	h := open(t, setup{})
	project := h.as("project")
	s := project.pushImage("a/app", "v1", "first")
	alice := h.with(h.token("alice", "repository:a/app:pull"))
	mount := h.with(h.token("project", "repository:a/app:pull", "repository:a/other:pull,push"))
	alice.get("/v2/a/app/manifests/v1").want(http.StatusOK, "")
	project.do("DELETE", "/v2/a/app/manifests/"+s.manifestDg, nil).want(http.StatusAccepted, "")
	for _, d := range []string{s.layerD, s.configD} {
		project.do("DELETE", "/v2/a/app/blobs/"+d, nil).want(http.StatusAccepted, "")
	}
	alice.get("/v2/a/app/manifests/v1").want(http.StatusNotFound, "MANIFEST_UNKNOWN")
	h.swap([]policy.Rule{allow("admin", "**", customhouse.All)}) // the repository is somebody else's from now on
	h.as("admin").pushImage("a/app", "v1", "second")
	layer := digestOf("layer of second")
	for range 20 {
		alice.get("/v2/a/app/manifests/v1").want(http.StatusForbidden, "DENIED")
		alice.get("/v2/a/app/blobs/"+layer).want(http.StatusForbidden, "DENIED")
		mount.do("POST", "/v2/a/other/blobs/uploads/?mount="+layer+"&from=a/app", nil).want(http.StatusForbidden, "DENIED")
	}
	h.swap(usual())
	alice.get("/v2/a/app/manifests/v1").want(http.StatusOK, "")
}

// TestS17_RulesAreLive: a rule that is removed, added or changed holds for the next request, whatever its token was
// issued for.
func TestS17_RulesAreLive(t *testing.T) {
	h := open(t, setup{rules: before(tagged("carol", "v*", customhouse.Pull, customhouse.Push))})
	h.as("project").pushImage("a/app", "v1", "one")
	h.as("project").pushImage("a/app", "dev", "two")
	carol := h.with(h.token("carol", "repository:a/app:pull,push"))
	carol.get("/v2/a/app/manifests/v1").want(http.StatusOK, "")
	carol.get("/v2/a/app/manifests/dev").want(http.StatusForbidden, "DENIED")
	h.swap(before(tagged("carol", "dev", customhouse.Pull)))
	carol.get("/v2/a/app/manifests/v1").want(http.StatusForbidden, "DENIED")
	carol.get("/v2/a/app/manifests/dev").want(http.StatusOK, "")
	carol.do("POST", "/v2/a/app/blobs/uploads/", nil).want(http.StatusForbidden, "DENIED")
	h.swap(usual())
	carol.get("/v2/a/app/manifests/dev").want(http.StatusForbidden, "DENIED")
	h.swap(before(tagged("carol", "dev", customhouse.Pull, customhouse.Delete)))
	carol.do("DELETE", "/v2/a/app/manifests/dev", nil).want(http.StatusUnauthorized, "UNAUTHORIZED") // a token never widens
}

// TestR25_ReloadsAreAtomic: each of 10,000 answers during 50 reloads between two contradictory configurations is that of
// one of them entirely.
func TestR25_ReloadsAreAtomic(t *testing.T) {
	one := []policy.Rule{allow("alice", "one/**", customhouse.Pull), allow("alice", "two/**", customhouse.Push), allow("admin", "**", customhouse.All)}
	two := []policy.Rule{allow("alice", "two/**", customhouse.Pull), allow("alice", "one/**", customhouse.Push), allow("admin", "**", customhouse.All)}
	for _, rules := range [][]policy.Rule{one, two} { // rules on content do not take away from that
		rules[0].Match.Tag, rules[1].Match.Tag = policy.Values{"v*"}, policy.Values{"v*"}
	}
	h := open(t, setup{rules: one})
	const scopes = "/token?service=" + service + "&scope=repository:one/a:pull,push&scope=repository:two/a:pull,push"
	answerOf := func() string {
		var v struct{ Token string }
		h.as("alice").get(scopes).want(http.StatusOK, "").into(&v)
		return fmt.Sprint(accessOf(t, v.Token))
	}
	states := []func(){func() { h.swap(one) }, func() { h.swap(two) }}
	want := map[string]bool{}
	for _, state := range states {
		state()
		want[answerOf()] = true
	}
	if len(want) != 2 {
		t.Fatalf("the two configurations answer alike: %v", want)
	}
	var asked atomic.Int64
	var wg sync.WaitGroup
	const decisions, reloads, askers = 10_000, 50, 8
	for range askers {
		wg.Go(func() {
			for asked.Add(1) <= decisions {
				if got := answerOf(); !want[got] {
					t.Errorf("an answer is neither of one nor of the other: %s", got)
				}
			}
		})
	}
	for i := range reloads {
		for at := asked.Load(); asked.Load() < min(at+decisions/reloads, decisions); {
			h.as("alice").get("/v2/").want(http.StatusOK, "")
		}
		states[i%2]()
	}
	wg.Wait()
}

// accessOf is what a token of ours says that it is for.
func accessOf(t *testing.T, token string) (access []customhouse.Access) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts in a token", len(parts))
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	must(t, err)
	var v struct{ Access []customhouse.Access }
	must(t, json.Unmarshal(claims, &v))
	return v.Access
}

// Content is reached in two files, which ask about it: one for reading, one for changes. Uploads read nothing that is there.
func TestContentIsReachedInOnePlace(t *testing.T) {
	files, err := filepath.Glob("*.go")
	must(t, err)
	reaches := regexp.MustCompile(`\b(q|act|admitted)\.repo\.(\w+)`)
	for _, file := range files {
		if file == "content.go" || file == "change.go" || strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		must(t, err)
		for _, call := range reaches.FindAllStringSubmatch(string(text), -1) {
			if !slices.Contains([]string{"String", "Monolithic", "BeginUpload", "Upload", "Pushable"}, call[2]) {
				t.Errorf("%s reaches into a repository past content.go and change.go: %s", file, call[0])
			}
		}
	}
}
