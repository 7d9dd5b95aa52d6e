//go:build linux

package e2e_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var exampleID = regexp.MustCompile("such as [0-9a-z]{16}")

// What a registry has decided is asked of other rules from its data folder, while it runs: who gains and who loses. What
// was not up to the rules is no part of it.
func TestPolicyDiffOfWhatWasDecided(t *testing.T) {
	t.Parallel()
	dir, data := t.TempDir(), t.TempDir()
	next := write(t, dir, "next.yml", `rules:
  - {match: {account: writer}, actions: ["*"]}
  - {match: {account: reader, name: "new/**"}, actions: [pull]}
`)
	config := write(t, dir, "customhouse.yml", read(t, "testdata/people.yml"))
	s := serveData(t, data, "-c", config)
	a := newAPI(t, s.url)
	for _, ask := range []struct {
		who, path string
		status    int
	}{
		{"writer", "/v2/acc/app/tags/list", 404}, // writer may still
		{"reader", "/v2/acc/app/tags/list", 404}, // and no more
		{"reader", "/v2/acc/app/tags/list", 404},
		{"reader", "/v2/new/app/tags/list", 403}, // and will
		{"reader", "/v2/other/app/tags/list", 403},
		{"reader", "/v2/", 200}, // whatever the rules say
		{"reader", "/api/audit", 403},
	} {
		got, err := a.as(ask.who).get(ask.path)
		must(t, err)
		must(t, got.is(ask.status))
	}
	want := `reader loses list on acc/app
  was allow by ` + config + `:16, is deny by no rule
  2 decisions, such as ID
reader gains list on new/app
  was deny by no rule, is allow by ` + next + `:3
  1 decision, such as ID
6 decisions: 3 as before, 2 lost, 1 gained; 1 more were not up to the rules`
	customhouse := client{path: binary}
	for _, args := range [][]string{
		{"policy", "diff", config, next, "--data", data, "--since", "1h"},
		{"policy", "simulate", "-c", next, "--data", data},
	} {
		var got string
		await(t, 10*time.Second, func() bool { // entries are written a moment later
			got = exampleID.ReplaceAllString(customhouse.run(t, args...), "such as ID")
			return strings.Contains(got, "6 decisions")
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", args, diff)
		}
	}
	must(t, s.stop())
}
