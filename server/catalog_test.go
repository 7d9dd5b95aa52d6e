package server_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/index"
	"customhouse/policy"
)

// TestS13_CatalogIsAFilter: the catalog finds its way by ranges of names, and shows what asking about each name would.
func TestS13_CatalogIsAFilter(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 5))
	patterns := []string{"a/**", "a/app1", "a/*", "b/**", "**", "*/app2", "/[ab]/app[0-9]+/", "${account}/**", "${labels:group}/app1", "@some", "c/app?"}
	actions := [][]customhouse.Action{{"pull"}, {"list"}, {"push"}, {}, {"*"}, {"delete", "list"}}
	var all []string
	for _, team := range []string{"a", "b", "c", "alice", "bob", "dev"} {
		for i := range 4 {
			all = append(all, fmt.Sprintf("%s/app%d", team, i))
		}
	}
	slices.Sort(all)
	for range 40 {
		rules := []policy.Rule{allow("admin", "**", "*")}
		for range 1 + random.IntN(5) {
			r := policy.Rule{
				Match:   policy.Match{Type: policy.Values{"repository"}, Name: policy.Values{patterns[random.IntN(len(patterns))]}},
				Actions: actions[random.IntN(len(actions))],
			}
			switch random.IntN(4) {
			case 0:
				r.Effect = policy.Deny
			case 1:
				r.Match.Account = policy.Values{"alice", "robot"}
			case 2:
				r.Match.Tag = policy.Values{"v*"}
			}
			rules = append(rules, r)
		}
		sets := map[string]policy.Values{"some": {"a/app3", "dev/app*"}}
		p, err := policy.Compile(rules, policy.Options{Sets: sets})
		must(t, err)
		h := open(t, setup{rules: rules, sets: sets})
		tags := map[string]string{} // of some repositories
		for i, name := range all {
			repo, err := customhouse.ParseRepo(name)
			must(t, err)
			content := put([]byte(name))
			if i%3 > 0 {
				tags[name] = []string{"", "v1", "dev"}[i%3]
				tag, err := customhouse.ParseTag(tags[name])
				must(t, err)
				content.Tags = []customhouse.Tag{tag}
			}
			must(t, h.index.PutManifest(t.Context(), repo, content))
		}
		for _, account := range []string{"alice", "bob", "robot", "carol"} {
			var want []string
			for _, name := range all {
				q := policy.Query{Identity: customhouse.Identity{Account: account}, Service: service, Type: "repository", Name: name, Action: customhouse.List}
				d := p.Decide(q)
				if d.Maybe && tags[name] != "" { // then it is shown for a tag that may be seen
					q.Target = policy.Target{Known: policy.FactTag, Tag: tags[name]}
					d = p.Decide(q)
				}
				if d.Allowed {
					want = append(want, name)
				}
			}
			for _, n := range []string{"?n=1", "?n=3", ""} {
				if diff := cmp.Diff(want, follow(h.as(account), "/v2/_catalog"+n, repositories)); diff != "" {
					t.Fatalf("the catalog of %s by %q under %+v (-want +got):\n%s", account, n, rules, diff)
				}
			}
		}
	}
}

// A page of 100 out of 100,000 repositories of which the caller sees one in a hundred, by a rule for each of 1,000 teams.
func BenchmarkCatalog(b *testing.B) {
	rules := []policy.Rule{allow("admin", "**", "*")}
	for i := range 1000 {
		rules = append(rules, policy.Rule{
			Match:   policy.Match{Labels: map[string]policy.Values{"team": {fmt.Sprintf("team%d", i/10)}}, Name: policy.Values{fmt.Sprintf("group%03d/**", i)}},
			Actions: []customhouse.Action{customhouse.Pull},
		})
	}
	for name, more := range map[string]policy.Rule{
		"by prefix": {Match: policy.Match{Account: policy.Values{"alice"}, Name: policy.Values{"group500/**", "group900/**"}}, Actions: []customhouse.Action{customhouse.Pull}},
		"by tag":    {Match: policy.Match{Account: policy.Values{"alice"}, Tag: policy.Values{"v*"}}, Actions: []customhouse.Action{customhouse.Pull}},
		"scattered": {Match: policy.Match{Account: policy.Values{"alice"}, Name: scattered()}, Actions: []customhouse.Action{customhouse.Pull}},
	} {
		b.Run(name, func(b *testing.B) {
			h := open(b, setup{rules: append(slices.Clone(rules), more)})
			manifest := index.Loaded{Manifest: put([]byte("x")).Manifest}
			for i := range 100_000 {
				repo, err := customhouse.ParseRepo(fmt.Sprintf("group%03d/app%03d", i/100, i%100))
				must(b, err)
				tag, err := customhouse.ParseTag([]string{"v1", "dev"}[min(i%100, 1)])
				must(b, err)
				tags := []index.TagAt{{Tag: tag, Digest: manifest.Digest}}
				must(b, h.index.Load(context.Background(), repo, index.Load{Manifests: []index.Loaded{manifest}, Tags: tags}))
			}
			alice := h.with(h.token("alice", "repository:group500/app000:pull"))
			for b.Loop() {
				if got := repositories(alice.get("/v2/_catalog?n=100")); len(got) != 100 {
					b.Fatalf("the catalog has %d names", len(got))
				}
			}
		})
	}
}

// scattered are names of one repository in a hundred.
func scattered() (names policy.Values) {
	for i := range 1000 {
		names = append(names, fmt.Sprintf("group%03d/app%03d", i, i%100))
	}
	return names
}
