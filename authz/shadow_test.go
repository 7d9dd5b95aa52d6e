package authz_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"customhouse"
	"customhouse/authz"
	"customhouse/policy"

	gocmp "github.com/google/go-cmp/cmp"
)

// book keeps differences as the index does.
type book struct {
	mu  sync.Mutex
	all []customhouse.Difference
	err error
}

func (b *book) AddDifferences(_ context.Context, differences []customhouse.Difference) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = append(b.all, differences...)
	return 0, b.err
}

// found returns what was kept, without times, in the order of the names.
func (b *book) found() []customhouse.Difference {
	var all []customhouse.Difference
	for _, d := range b.all {
		n := d.Count
		d = d.Kind()
		d.Count = n
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b customhouse.Difference) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Action, b.Action))
	})
	return all
}

func compiled(t testing.TB, rules ...policy.Rule) *policy.Policy {
	t.Helper()
	p, err := policy.Compile(rules, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func named(name string, source string, actions ...customhouse.Action) policy.Rule {
	return policy.Rule{Match: policy.Match{Name: policy.Values{name}}, Actions: append(list{}, actions...), Source: source}
}

// A shadow changes no answer, and tells what it would have answered otherwise: counted by kind, logged once.
func TestShadow(t *testing.T) {
	live := rules(t, named("a/**", "live.yml:1", "pull", "push"), named("b/**", "live.yml:2", "pull"))
	shadow := compiled(t, named("a/**", "next.yml:1", "pull"), named("c/**", "next.yml:2", "pull"))
	var log bytes.Buffer
	var first []string
	var counts authz.ShadowCounts
	kept := &book{}
	s := authz.NewShadow(live, shadow, authz.ShadowOptions{
		Last: true, Store: kept, Counts: &counts, Log: slog.New(slog.NewTextHandler(&log, nil)),
		First: func(d customhouse.Difference) { first = append(first, d.Name) },
	})
	if s.Name() != "rules" {
		t.Errorf("Name = %s, want rules", s.Name())
	}
	for range 3 {
		for _, name := range []string{"a/x", "b/x", "c/x", "d/x"} {
			q := policy.Query{Identity: customhouse.Identity{Account: "alice"}, Type: "repository", Name: name}
			actions := list{"pull", "push"}
			got, err := s.Authorize(t.Context(), q, actions)
			want, _ := live.Authorize(t.Context(), q, list{"pull", "push"})
			if diff := gocmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("Authorize of %s differs, error %v (-want +got):\n%s", name, err, diff)
			}
			actions[0] = "delete" // whoever asks does as it likes with what is its own
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	difference := func(name string, action customhouse.Action, live, liveRule, shadow, shadowRule string) customhouse.Difference {
		return customhouse.Difference{
			Account: "alice", Type: "repository", Name: name, Action: action, Live: live, LiveRule: liveRule, Shadow: shadow, ShadowRule: shadowRule, Count: 3,
		}
	}
	want := []customhouse.Difference{
		difference("a/x", "push", "allow", "live.yml:1", "deny", "next.yml:1"),
		difference("b/x", "pull", "allow", "live.yml:2", "deny", ""),
		difference("c/x", "pull", "deny", "", "allow", "next.yml:2"),
	}
	if diff := gocmp.Diff(want, kept.found()); diff != "" {
		t.Errorf("differences differ (-want +got):\n%s", diff)
	}
	if asked, lost, gained := counts.Asked.Load(), counts.Lost.Load(), counts.Gained.Load(); asked != 24 || lost != 6 || gained != 3 {
		t.Errorf("asked %d, lost %d, gained %d, want 24, 6, 3", asked, lost, gained)
	}
	if n := strings.Count(log.String(), "would decide otherwise"); n != 3 || len(first) != 3 {
		t.Errorf("%d lines in the log and %d first ones, want 3:\n%s", n, len(first), &log)
	}
}

// What the rules leave to others is no denial, and a maybe is compared when more is known.
func TestShadowOpenAndMaybe(t *testing.T) {
	tagged := named("a/**", "next.yml:1", "pull", "push")
	tagged.Match.Tag = policy.Values{"v*"}
	kept := &book{}
	s := authz.NewShadow(rules(t, named("a/**", "live.yml:1", "pull"), named("b/**", "live.yml:2")),
		compiled(t, tagged, named("b/**", "next.yml:2")), authz.ShadowOptions{Store: kept})
	ask := func(name, tag string, known policy.Fact, action customhouse.Action) {
		q := policy.Query{Identity: customhouse.Identity{Account: "alice"}, Type: "repository", Name: name, Target: policy.Target{Known: known, Tag: tag}}
		if _, err := s.Authorize(t.Context(), q, list{action}); err != nil {
			t.Fatal(err)
		}
	}
	ask("a/x", "", 0, "pull")               // allowed, and maybe: a request with the tag follows
	ask("a/x", "v1", policy.Facts, "pull")  // allowed by both
	ask("a/x", "dev", policy.Facts, "pull") // allowed, and left open
	ask("a/x", "", 0, "push")               // denied for good, and maybe
	ask("b/x", "", 0, "pull")               // denied by both
	ask("c/x", "", 0, "pull")               // left open by both
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	want := []customhouse.Difference{
		{Account: "alice", Type: "repository", Name: "a/x", Tag: "dev", Action: "pull", Live: "allow", LiveRule: "live.yml:1", Shadow: "open", Count: 1},
		{Account: "alice", Type: "repository", Name: "a/x", Action: "push", Live: "deny", LiveRule: "live.yml:1", Shadow: "maybe", ShadowRule: "next.yml:1", Count: 1},
	}
	if diff := gocmp.Diff(want, kept.found()); diff != "" {
		t.Errorf("differences differ (-want +got):\n%s", diff)
	}
}

// Whatever a shadow does, the answer stays: a store that fails is told, and too many questions are left out.
func TestShadowFails(t *testing.T) {
	var log bytes.Buffer
	var counts authz.ShadowCounts
	s := authz.NewShadow(rules(t), compiled(t, named("a/**", "next.yml:1", "pull")), authz.ShadowOptions{
		Last: true, Store: &book{err: errors.New("disk full")}, Counts: &counts, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	const asked = 20_000
	for range asked {
		q := policy.Query{Type: "repository", Name: "a/x"}
		if got, err := s.Authorize(t.Context(), q, list{"pull"}); err != nil || got[0].Allowed {
			t.Fatalf("Authorize = %+v, %v, want a denial", got, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "not kept") || !strings.Contains(log.String(), "disk full") {
		t.Errorf("log = %s, want that differences are not kept", &log)
	}
	if n := counts.Asked.Load() + counts.Skipped.Load(); n != asked {
		t.Errorf("%d decisions were compared or skipped, want %d", n, asked)
	}
}

// BenchmarkShadow is what a shadow adds to an answer.
func BenchmarkShadow(b *testing.B) {
	live := rules(b, named("a/**", "live.yml:1", "pull"))
	s := authz.NewShadow(live, compiled(b, named("a/**", "next.yml:1", "pull")), authz.ShadowOptions{Now: time.Now})
	defer s.Close()
	q := policy.Query{Identity: customhouse.Identity{Account: "alice"}, Type: "repository", Name: "a/x"}
	for name, a := range map[string]authz.Authorizer{"without": live, "with": s} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := a.Authorize(b.Context(), q, list{"pull"}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Rules with a shadow tell whoever asks what they tell without: for which names the answer may be yes, and what came nearest.
func TestShadowTellsWhatRulesTell(t *testing.T) {
	p := compiled(t, named("a/**", "c.yml:1", "pull"), policy.Rule{Match: policy.Match{Name: policy.Values{"b"}, Tag: policy.Values{"v*"}}, Actions: list{"pull"}, Source: "c.yml:2"})
	rules := authz.NewRules(p)
	shadow := authz.NewShadow(rules, compiled(t), authz.ShadowOptions{})
	defer shadow.Close()
	plain, err := authz.NewChain(rules)
	if err != nil {
		t.Fatal(err)
	}
	beside, err := authz.NewChain(shadow)
	if err != nil {
		t.Fatal(err)
	}
	q := policy.Query{Type: "repository", Action: "pull"}
	if diff := gocmp.Diff(plain.Ranges(q), beside.Ranges(q)); diff != "" {
		t.Errorf("Ranges (-without a shadow +with one):\n%s", diff)
	}
	q.Name, q.Target = "b", policy.Target{Known: policy.FactTag, Tag: "dev"}
	if diff := gocmp.Diff(plain.Nearest(q), beside.Nearest(q)); diff != "" || len(plain.Nearest(q)) != 1 {
		t.Errorf("Nearest (-without a shadow +with one):\n%s", diff)
	}
}
