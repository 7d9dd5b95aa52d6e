//go:build linux

package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Rules in files of their own are looked at like the configuration: a change, a new file and one that is gone are taken up,
// and with a mistake in one, or without it, the rules before decide.
func TestR24_IncludedFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rules := filepath.Join(dir, "rules.d")
	must(t, os.Mkdir(rules, 0o700))
	people := strings.Replace(read(t, "testdata/people.yml"), "rules:\n", "rules:\n  - include: team.yml\n  - include: rules.d/*.yml\n", 1)
	allow := "rules:\n  - {match: {account: reader, type: repository, name: \"toggle/**\"}, actions: [pull]}\n"
	deny := strings.Replace(allow, "actions", "effect: deny, actions", 1)
	team := write(t, dir, "team.yml", deny)
	write(t, rules, "50.yml", "rules: []\n")
	s := serve(t, write(t, dir, "customhouse.yml", people))
	a := newAPI(t, s.url)
	says := func(want ...string) {
		t.Helper()
		await(t, 20*time.Second, func() bool {
			for _, w := range want {
				if !strings.Contains(s.all.String(), w) {
					return false
				}
			}
			return true
		})
	}
	a.awaitOpen(t, false, 20*time.Second)
	replace(t, team, allow)
	a.awaitOpen(t, true, 20*time.Second)

	replace(t, team, "rules:\n  - {actions: [fly]}\n")
	says("is not taken", "team.yml:2:16: rules[0].actions[0]")
	a.awaitOpen(t, true, 0)
	must(t, os.Remove(team))
	says("cannot read " + team)
	a.awaitOpen(t, true, 0)
	replace(t, team, "rules: []\n")
	a.awaitOpen(t, false, 20*time.Second) // what was refused is tried again after a while

	write(t, rules, "10.yml", allow) // a file that was not there
	a.awaitOpen(t, true, 20*time.Second)
	write(t, rules, "05.yml", deny)
	a.awaitOpen(t, false, 20*time.Second)
	must(t, os.Remove(filepath.Join(rules, "05.yml")))
	a.awaitOpen(t, true, 20*time.Second)
	must(t, s.stop())
}
