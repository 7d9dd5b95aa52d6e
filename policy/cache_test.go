package policy_test

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"customhouse"
	"customhouse/policy"
)

// 100,000 decisions of random policies come out of a small cache as they come without one: whatever a rule asks about is
// part of what is compared, and so are a letter's case and the form of a character.
func TestS91_CachedDecisionsAreTheSame(t *testing.T) {
	w := wide{world{rand.New(rand.NewPCG(9, 1))}}
	for range 1_000 {
		rules := w.rules()
		p, err := policy.Compile(rules, policy.Options{Sets: wideSets})
		if err != nil {
			t.Fatal(err)
		}
		c := policy.NewCache(p, 16)
		var asked []policy.Query
		for range 20 {
			asked = append(asked, w.query())
		}
		for range 100 {
			q := asked[w.IntN(len(asked))]
			w.disturb(&q)
			if got, want := c.Decide(q), p.Decide(q); got != want {
				t.Fatalf("cached: %+v, want %+v\nrules %s\nquery %+v", got, want, show(rules), q)
			}
		}
	}
}

// disturb changes one thing of q, or nothing.
func (w wide) disturb(q *policy.Query) {
	other := w.query()
	switch w.IntN(12) {
	case 0:
		q.Identity.Account = other.Identity.Account
	case 1:
		q.Identity.Labels = other.Identity.Labels
	case 2:
		q.Identity.Claims = other.Identity.Claims
	case 3:
		q.Identity.Method = other.Identity.Method
	case 4:
		q.Client = other.Client
	case 5:
		q.Name = other.Name
	case 6:
		q.Action = other.Action
	case 7:
		q.Target = other.Target
	case 8:
		q.Time = other.Time
	case 9:
		q.Type = other.Type
	case 10: // the same in other maps
		q.Identity.Labels, q.Identity.Claims = maps.Clone(q.Identity.Labels), maps.Clone(q.Identity.Claims)
	}
}

// A cache is not deceived by what only looks the same.
func TestS91_CacheComparesTextForText(t *testing.T) {
	p := compile(t,
		policy.Rule{Match: policy.Match{Account: policy.Values{"é"}}, Actions: list{"pull"}},
		policy.Rule{Match: policy.Match{Labels: map[string]policy.Values{"g": {"Admin"}}}, Actions: list{"pull"}},
		policy.Rule{Match: policy.Match{Claims: map[string]policy.Values{"n": {"1"}, "s": {"x"}}}, Actions: list{"pull"}},
		policy.Rule{Match: policy.Match{Tag: policy.Values{"V1"}}, Actions: list{"pull"}},
	)
	c := policy.NewCache(p, 2)
	person := func(account, group string, claims map[string]any) policy.Query {
		return policy.Query{
			Identity: customhouse.Identity{Account: account, Labels: map[string][]string{"g": {group}}, Claims: claims},
			Name:     "a", Type: "repository", Action: "pull", Target: policy.Target{Known: policy.Facts, Tag: "v1"},
		}
	}
	upper := person("x", "", nil)
	upper.Target.Tag = "V1"
	for range 3 {
		for i, tt := range []struct {
			q    policy.Query
			want bool
		}{
			{person("\u00e9", "", nil), true}, {person("e\u0301", "", nil), false}, {person("\u00c9", "", nil), false}, {person("", "", nil), false},
			{person("x", "Admin", nil), true}, {person("x", "admin", nil), false}, {person("x", "Admin\x00", nil), false},
			{person("x", "", map[string]any{"n": json.Number("1"), "s": "x"}), true}, {person("x", "", map[string]any{"n": json.Number("2"), "s": "x"}), false},
			{person("x", "", map[string]any{"n": "1"}), false}, {upper, true}, {person("x", "", nil), false},
		} {
			if got := c.Decide(tt.q); got.Allowed != tt.want {
				t.Errorf("question %d: %+v, want %v", i, got, tt.want)
			}
		}
	}
}

// A decision that was remembered is not given when a rule has begun or ceased to hold since.
func TestCacheKeepsTime(t *testing.T) {
	p := compile(t,
		policy.Rule{From: "2026-02-01", Expires: "2026-02-28", Actions: list{"pull"}},
		policy.Rule{When: `request.time.getFullYear() == 2027`, Actions: list{"pull"}},
	)
	c := policy.NewCache(p, 0)
	q := policy.Query{Name: "a", Action: "pull"}
	for at, want := range map[string]bool{
		"2026-01-31T23:59:59Z": false, "2026-02-01T00:00:00Z": true, "2026-02-28T23:59:59Z": true, "2026-03-01T00:00:00Z": false, "2027-01-01T00:00:00Z": true,
		"2026-02-28T23:30:00-01:00": false, "2026-02-01T00:30:00+01:00": false,
	} {
		q.Time, _ = time.Parse(time.RFC3339, at)
		for range 2 {
			if d := c.Decide(q); d.Allowed != want {
				t.Errorf("at %s: %+v, want %v", at, d, want)
			}
		}
	}
	q.Time = time.Time{}
	if d := c.Decide(q); !d.Maybe {
		t.Errorf("at no time: %+v, want maybe", d)
	}
}

func TestCacheIsSafeForConcurrentUse(t *testing.T) {
	rules, o := tiedRules("names", 100)
	p, err := policy.Compile(rules, o)
	if err != nil {
		t.Fatal(err)
	}
	c := policy.NewCache(p, 8)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			w := world{rand.New(rand.NewPCG(uint64(i), 0))}
			for range 2_000 {
				q := benchQuery(w.IntN(20))
				if got, want := c.DecideAll(q, list{"pull", "push"}), p.DecideAll(q, list{"pull", "push"}); !slices.Equal(got, want) {
					t.Errorf("DecideAll = %+v, want %+v", got, want)
				}
			}
		})
	}
	all.Wait()
}

func BenchmarkCache(b *testing.B) {
	rules, o := tiedRules("claims", 10_000)
	rules = append([]policy.Rule{{Match: policy.Match{Tag: policy.Values{"x"}, Labels: map[string]policy.Values{"group": {"y"}}}, Effect: policy.Deny}}, rules...)
	p, err := policy.Compile(rules, o)
	if err != nil {
		b.Fatal(err)
	}
	q := benchQuery(1)
	q.Identity.Claims = map[string]any{"repo": "org/other", "ref": "refs/heads/main", "run_id": "1"}
	q.Target = policy.Target{Known: policy.Facts, Tag: "latest", Digest: "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
	for _, name := range []string{"one identity", "identities that are equal"} {
		b.Run(name, func(b *testing.B) {
			c := policy.NewCache(p, 0)
			c.Decide(q)
			again := q
			if name != "one identity" {
				again.Identity.Labels, again.Identity.Claims = maps.Clone(q.Identity.Labels), maps.Clone(q.Identity.Claims)
			}
			actions := list{"pull"}
			b.ReportAllocs()
			for b.Loop() {
				if !c.DecideAll(again, actions)[0].Allowed {
					b.Fatal("Decide = no")
				}
			}
		})
	}
}
