package authz_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/authz"
	"customhouse/policy"
)

type list = []customhouse.Action

func rules(t testing.TB, rules ...policy.Rule) authz.Rules {
	t.Helper()
	p, err := policy.Compile(rules, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return authz.NewRules(p)
}

// member is an authorizer that has something to say about some actions only, and keeps what it was asked.
type member struct {
	name  string
	says  map[customhouse.Action]bool
	err   error
	short bool // answers less than it was asked
	asked []string
}

func (m *member) Name() string { return m.name }

func (m *member) Authorize(_ context.Context, q policy.Query, actions []customhouse.Action) ([]policy.Decision, error) {
	m.asked = append(m.asked, fmt.Sprint(q.Name, " ", actions))
	var all []policy.Decision
	for _, a := range actions {
		d := policy.Decision{Rule: -1}
		if allowed, ok := m.says[a]; ok {
			d = policy.Decision{Allowed: allowed, Rule: -1, Source: m.name}
		}
		all = append(all, d)
	}
	if m.short {
		all = all[1:]
	}
	return all, m.err
}

func TestChain(t *testing.T) {
	static := rules(t,
		policy.Rule{Match: policy.Match{Name: policy.Values{"a/*"}}, Actions: list{"pull"}, Source: "c.yml:1"},
		policy.Rule{Match: policy.Match{Name: policy.Values{"b/*"}}, Effect: policy.Deny, Actions: list{"push"}, Source: "c.yml:2"},
	)
	down := errors.New("connection refused")
	for name, tt := range map[string]struct {
		repo          string
		first, second member
		want          string // Source of each decision and whether it allows, or the error
		asked         []string
	}{
		"the first decides": {"a/x", member{err: down}, member{err: down}, "[c.yml:1 true c.yml:1 false c.yml:1 false]", nil},
		"the second decides": {"z", member{says: map[customhouse.Action]bool{"pull": true, "push": false, "delete": true}}, member{err: down},
			"[first true first false first true]", []string{"first z [pull push delete]"}},
		"each a part": {"b/x", member{says: map[customhouse.Action]bool{"pull": true, "push": true}}, member{says: map[customhouse.Action]bool{"push": true, "delete": false}},
			"[first true c.yml:2 false second false]", []string{"first b/x [pull delete]", "second b/x [delete]"}},
		"nobody": {"z", member{}, member{}, "[ false  false  false]", []string{"first z [pull push delete]", "second z [pull push delete]"}},
		"an outage": {"b/x", member{says: map[customhouse.Action]bool{"pull": true}, err: down}, member{},
			"authorize by first: connection refused", []string{"first b/x [pull delete]"}},
		"a truncated answer": {"b/x", member{short: true}, member{},
			"authorize by first: other decisions than were asked for", []string{"first b/x [pull delete]"}},
	} {
		t.Run(name, func(t *testing.T) {
			tt.first.name, tt.second.name = "first", "second"
			chain, err := authz.NewChain(static, &tt.first, &tt.second)
			if err != nil {
				t.Fatal(err)
			}
			q := policy.Query{Type: "repository", Name: tt.repo}
			var got string
			if decisions, err := chain.Authorize(t.Context(), q, list{"pull", "push", "delete"}); err != nil {
				got = err.Error()
			} else {
				var all []string
				for _, d := range decisions {
					all = append(all, fmt.Sprint(d.Source, " ", d.Allowed))
				}
				got = "[" + strings.Join(all, " ") + "]"
			}
			if got != tt.want {
				t.Errorf("Authorize = %s, want %s", got, tt.want)
			}
			var asked []string
			for _, m := range []*member{&tt.first, &tt.second} {
				for _, what := range m.asked {
					asked = append(asked, m.name+" "+what)
				}
			}
			if diff := cmp.Diff(tt.asked, asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
}

// What the chain puts together never changes what a member has handed out.
func TestChainChangesNobodysAnswers(t *testing.T) {
	static := rules(t, policy.Rule{Effect: policy.Deny, Actions: list{"push"}})
	last := &member{name: "last", says: map[customhouse.Action]bool{"pull": true, "push": true}}
	chain, err := authz.NewChain(static, last)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, actions := range []list{{"pull"}, {"push"}, {"pull", "push"}, {"push", "pull"}} {
			decisions, err := chain.Authorize(t.Context(), policy.Query{}, actions)
			if err != nil {
				t.Fatal(err)
			}
			for i, d := range decisions {
				if d.Allowed != (actions[i] == "pull") {
					t.Fatalf("Authorize(%v) = %+v", actions, decisions)
				}
			}
		}
	}
}

func TestChainOfNobody(t *testing.T) {
	decisions, err := (&authz.Chain{}).Authorize(t.Context(), policy.Query{}, list{"pull", "*"})
	if err != nil || len(decisions) != 2 || decisions[0].Allowed || decisions[1].Allowed {
		t.Fatalf("Authorize = %+v, %v", decisions, err)
	}
	if _, err := authz.NewChain(rules(t), rules(t)); err == nil {
		t.Fatal("NewChain takes two members of one name")
	}
}

// BenchmarkChain is what the chain adds where the rules decide.
func BenchmarkChain(b *testing.B) {
	static := rules(b, policy.Rule{Match: policy.Match{Name: policy.Values{"a/*"}}, Actions: list{"pull"}})
	chain, err := authz.NewChain(static, &member{name: "last"})
	if err != nil {
		b.Fatal(err)
	}
	actions := list{"pull"}
	b.ReportAllocs()
	for b.Loop() {
		if d, err := chain.Authorize(b.Context(), policy.Query{Name: "a/x"}, actions); err != nil || !d[0].Allowed {
			b.Fatal(d, err)
		}
	}
}

// Where it depends on the tag whether the rules decide at all, what comes of a chain depends on who is asked next.
func TestChainOfWhatDepends(t *testing.T) {
	tagged := policy.Match{Tag: policy.Values{"v*"}}
	for name, tt := range map[string]struct {
		first, next []policy.Rule
		want        string
	}{
		"allowed or passed on, then allowed": {[]policy.Rule{{Match: tagged, Actions: list{"pull"}}}, []policy.Rule{{Actions: list{"pull"}}}, "allowed"},
		"allowed or passed on, then denied":  {[]policy.Rule{{Match: tagged, Actions: list{"pull"}}}, []policy.Rule{{Actions: list{}}}, "maybe"},
		"allowed or passed on, to nobody":    {[]policy.Rule{{Match: tagged, Actions: list{"pull"}}}, nil, "maybe"},
		"denied or passed on, then allowed":  {[]policy.Rule{{Match: tagged, Effect: policy.Deny}}, []policy.Rule{{Actions: list{"pull"}}}, "maybe"},
		"denied or passed on, then denied":   {[]policy.Rule{{Match: tagged, Effect: policy.Deny}}, []policy.Rule{{Actions: list{}}}, "denied"},
		"denied or passed on, to nobody":     {[]policy.Rule{{Match: tagged, Effect: policy.Deny}}, nil, "denied"},
		"denied or passed on, then maybe":    {[]policy.Rule{{Match: tagged, Effect: policy.Deny}}, []policy.Rule{{Match: tagged, Actions: list{"pull"}}}, "maybe"},
	} {
		next := &member{name: "next"}
		p, err := policy.Compile(tt.next, policy.Options{})
		if err != nil {
			t.Fatal(err)
		}
		chain, err := authz.NewChain(rules(t, tt.first...), renamed{authz.NewRules(p)}, next)
		if err != nil {
			t.Fatal(err)
		}
		decisions, err := chain.Authorize(t.Context(), policy.Query{Name: "a"}, list{"pull"})
		if err != nil {
			t.Fatal(err)
		}
		got := "denied"
		switch d := decisions[0]; {
		case d.Allowed && d.Maybe:
			got = "both"
		case d.Allowed:
			got = "allowed"
		case d.Maybe:
			got = "maybe"
		}
		if got != tt.want {
			t.Errorf("%s: %+v, want %s", name, decisions[0], tt.want)
		}
	}
}

// renamed are rules with a name of their own.
type renamed struct{ authz.Rules }

// Name returns "more rules".
func (renamed) Name() string { return "more rules" }

// With somebody beside the rules, only what those allow for certain need not be asked about.
func TestChainRanges(t *testing.T) {
	first := rules(t,
		policy.Rule{Match: policy.Match{Name: policy.Values{"a/**", "c"}}, Actions: list{"pull"}},
		policy.Rule{Match: policy.Match{Name: policy.Values{"b/*"}}, Actions: list{"pull"}})
	q := policy.Query{Type: "repository", Action: customhouse.Pull}
	a, c := customhouse.Begins("a/"), customhouse.Only("c")
	a.Sure, c.Sure = true, true
	for name, tt := range map[string]struct {
		members []authz.Authorizer
		want    []customhouse.Range
	}{
		"nobody":           {nil, []customhouse.Range{}},
		"the rules":        {[]authz.Authorizer{first}, []customhouse.Range{a, customhouse.Begins("b/"), c}},
		"the rules first":  {[]authz.Authorizer{first, &member{name: "m"}}, []customhouse.Range{{End: "a/"}, a, {First: a.End, End: "c"}, c, {First: c.End}}},
		"somebody else":    {[]authz.Authorizer{&member{name: "m"}, first}, []customhouse.Range{{}}},
		"rules of nothing": {[]authz.Authorizer{rules(t)}, []customhouse.Range{}},
	} {
		chain, err := authz.NewChain(tt.members...)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, chain.Ranges(q)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
