package policy_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/policy"
)

func TestExplain(t *testing.T) {
	p := compile(t,
		policy.Rule{Match: policy.Match{Name: policy.Values{"prod/**"}}, Effect: policy.Deny, Actions: list{"update"}},
		policy.Rule{Match: policy.Match{Account: policy.Values{"ops"}, IP: policy.Values{"10.0.0.0/8"}}, Actions: list{"*"}},
		policy.Rule{Match: policy.Match{Labels: map[string]policy.Values{"group": {"dev"}}, Name: policy.Values{"${labels:group}/${account}/*"}}, Actions: list{"push"}},
		policy.Rule{Match: policy.Match{Account: policy.Values{""}}, Actions: list{"pull"}},
		policy.Rule{Match: policy.Match{Name: policy.Values{"prod/*"}}, Actions: list{"pull", "create"}},
		policy.Rule{Actions: list{"*"}},
	)
	dev := customhouse.Identity{Account: "bob", Labels: map[string][]string{"group": {"dev", "web"}}}
	for name, tt := range map[string]struct {
		who    customhouse.Identity
		client string
		repo   string
		action customhouse.Action
		want   []string
		near   []int
	}{
		"allowed by what is left": {dev, "::ffff:192.0.2.1", "prod/app", "push", []string{
			"matches, and denies update only",
			`account is "bob", want "ops"; ip is "192.0.2.1", want "10.0.0.0/8"`,
			`name is "prod/app", want "${labels:group}/${account}/*" where ${labels:group} is "dev", "web" and ${account} is "bob"`,
			`account is "bob", want anonymous`,
			"decides: allowed",
			"not asked",
		}, nil},
		"denied": {customhouse.Identity{Account: "eve"}, "", "prod/app", "update", []string{
			"decides: denied", "not asked", "not asked", "not asked", "not asked", "not asked",
		}, nil},
		"unlisted": {customhouse.Identity{}, "", "prod/app", "create", []string{
			"matches, and denies other actions only",
			`account is anonymous, want "ops"; ip is unknown, want "10.0.0.0/8"`,
			`labels.group is absent, want "dev"; name is "prod/app", want "${labels:group}/${account}/*" where ${labels:group} is absent and ${account} is absent`,
			"decides: denied, the action is not listed", "not asked", "not asked",
		}, []int{1, 2}},
		"an action that nobody knows": {dev, "", "a", "frobnicate", []string{
			"not asked", "not asked", "not asked", "not asked", "not asked", "not asked",
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			q := policy.Query{Identity: tt.who, Type: "repository", Name: tt.repo, Action: tt.action}
			if tt.client != "" {
				q.Client = netip.MustParseAddr(tt.client)
			}
			trace := p.Explain(q)
			var got []string
			for _, s := range trace.Steps {
				got = append(got, s.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Explain (-want +got):\n%s", diff)
			}
			var near []int
			for _, s := range trace.Nearest() {
				near = append(near, s.Rule)
			}
			if !slices.Equal(near, tt.near) {
				t.Errorf("Nearest = %v, want %v", near, tt.near)
			}
		})
	}
}

// A label with very many values is not spelled out.
func TestExplainKeepsShort(t *testing.T) {
	p := compile(t, policy.Rule{Match: policy.Match{Labels: map[string]policy.Values{"group": {"dev"}}}, Actions: list{"*"}})
	var groups []string
	for i := range 500 {
		groups = append(groups, fmt.Sprint("g", i))
	}
	got := p.Explain(policy.Query{Identity: customhouse.Identity{Account: "bob", Labels: map[string][]string{"group": groups}}, Action: "pull"}).Steps[0].String()
	if len(got) > 200 || !strings.Contains(got, "492 more") {
		t.Fatalf("Explain = %s, want fewer groups", got)
	}
}

// TestExplainAgreesWithDecide compares 20,000 decisions of random policies, and takes Explain at its word: a rule helps if
// and only if the query is allowed once the conditions that are said not to hold are gone.
func TestExplainAgreesWithDecide(t *testing.T) {
	w := world{rand.New(rand.NewPCG(3, 4))}
	helped := 0
	for range 4_000 {
		rules := w.rules()
		p := compile(t, rules...)
		for range 5 {
			q := w.query()
			want, trace := p.Decide(q), p.Explain(q)
			if trace.Decision != want || len(trace.Steps) != len(rules) {
				t.Fatalf("Explain = %+v, want %+v\nrules %s\nquery %+v", trace, want, show(rules), q)
			}
			for _, s := range trace.Steps {
				if decides := s.Outcome == policy.Allows || s.Outcome == policy.Unlisted || s.Outcome == policy.Denies; decides != (s.Rule == want.Rule) {
					t.Fatalf("Explain says of rule %d: %s, and decides %+v\nrules %s\nquery %+v", s.Rule, s, want, show(rules), q)
				}
				if s.Outcome != policy.NoMatch {
					continue
				}
				relaxed := slices.Clone(rules)
				relaxed[s.Rule] = without(rules[s.Rule], s.Unmet)
				if got := compile(t, relaxed...).Explain(q).Steps[s.Rule]; len(s.Unmet) == 0 || len(got.Unmet) > 0 || s.Helps != (got.Outcome == policy.Allows) {
					t.Fatalf("Explain says of rule %d: %s (helps: %v), but without these conditions: %s\nrules %s\nquery %+v", s.Rule, s, s.Helps, got, show(rules), q)
				}
				if s.Helps {
					helped++
				}
			}
		}
	}
	if helped < 4_000 {
		t.Fatalf("only %d rules help; the test says little", helped)
	}
}

// without returns r without conditions.
func without(r policy.Rule, conditions []policy.Condition) policy.Rule {
	r.Match.Labels = nil // random rules have at most one
	for _, c := range conditions {
		switch c.Field {
		case "account":
			r.Match.Account = nil
		case "type":
			r.Match.Type = nil
		case "name":
			r.Match.Name = nil
		case "ip":
			r.Match.IP = nil
		}
	}
	return r
}
