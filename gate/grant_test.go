package gate_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/authz"
	"customhouse/gate"
	"customhouse/policy"
)

// TestS26_NativeLeastGrant issues 10,000 tokens under random rules for random scopes: each carries what was asked for, as
// far as it is allowed, be it for some tags only. What is allowed, a reading of the rules one by one tells.
func TestS26_NativeLeastGrant(t *testing.T) {
	random := rand.New(rand.NewPCG(26, 26))
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	actions := []customhouse.Action{"pull", "push", "create", "update", "delete", "list", "mount", "tag", "referrer", "*"}
	some := func() list {
		random.Shuffle(len(actions), func(i, j int) { actions[i], actions[j] = actions[j], actions[i] })
		return slices.Clone(actions[:1+random.IntN(3)])
	}
	h := newHouse(t, nil)
	maybes := 0
	for range 1000 {
		var written []policy.Rule
		for range random.IntN(6) {
			r := policy.Rule{Match: policy.Match{Name: policy.Values{pick("a/**", "a/x", "b/*", "**", "${account}/**")}}, Actions: some()}
			if random.IntN(2) == 0 {
				r.Match.Account = policy.Values{pick("bob", "alice", "**")}
			}
			if random.IntN(3) == 0 {
				r.Match.Labels = map[string]policy.Values{"group": {pick("dev", "admin")}}
			}
			if random.IntN(2) == 0 {
				r.Match.Tag = policy.Values{pick("v*", "latest", "")}
			}
			if random.IntN(3) == 0 {
				r.Effect = policy.Deny
			}
			written = append(written, r)
		}
		p, err := policy.Compile(written, policy.Options{})
		must(t, err)
		h.rebuild(func(o *gate.Options) { o.Policy = authz.NewRules(p) })
		for range 10 {
			account := pick("bob", "alice", "root")
			asked := customhouse.Access{Type: customhouse.TypeRepository, Name: pick("a/x", "a/y", "b/x", "bob/x", "c"), Actions: some()}
			id, err := h.accounts.Lookup(t.Context(), account)
			must(t, err)
			allowed := func(a customhouse.Action) bool {
				d := p.Explain(policy.Query{Identity: id, Client: nobody.Client, Service: service, Type: asked.Type, Name: asked.Name, Action: a, Time: h.now}).Decision
				if d.Maybe {
					maybes++
				}
				return d.Allowed || d.Maybe
			}
			var want list
			add := func(a customhouse.Action) {
				if allowed(a) && !slices.Contains(want, a) {
					want = append(want, a)
				}
			}
			pulls := false
			for _, a := range asked.Actions {
				if a == customhouse.All {
					for _, whole := range (list{customhouse.Pull, customhouse.Push, customhouse.Delete}) {
						add(whole)
					}
				}
				pulls = pulls || a == customhouse.All || a == customhouse.Pull
				add(a)
			}
			if pulls && !slices.Contains(want, customhouse.Pull) {
				add(customhouse.List)
			}
			var got list
			for _, a := range h.issue(own(account), asked.String()).Access {
				if a.Type != asked.Type || a.Name != asked.Name {
					t.Fatalf("a token for %v is for %v", asked, a)
				}
				got = append(got, a.Actions...)
			}
			if diff := cmp.Diff(slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(got))); diff != "" {
				t.Fatalf("%s asks for %v under %s (-want +got):\n%s", account, asked, fmt.Sprint(written), diff)
			}
		}
	}
	if maybes == 0 {
		t.Fatal("nothing depended on a tag")
	}
}

// A maybe opens the door only for who asks again, and then what is known decides.
func TestMaybe(t *testing.T) {
	p, err := policy.Compile([]policy.Rule{
		{Match: policy.Match{Name: policy.Values{"a"}, Tag: policy.Values{"v*"}}, Actions: list{"pull", "update"}},
	}, policy.Options{})
	must(t, err)
	h := newHouse(t, func(o *gate.Options) { o.Policy = authz.NewRules(p) })
	for name, cred := range map[string]customhouse.Credential{"password": own("bob"), "token": bearer(h.issue(own("bob"), "repository:a:pull,push"))} {
		t.Run(name, func(t *testing.T) {
			if got := h.verdict(cred, repo("a", "pull")); got.Code != customhouse.Denied {
				t.Errorf("a maybe lets %+v through", got)
			}
			partly := repo("a", "pull", "push")
			partly.Partly = true
			grant, err := h.Admit(t.Context(), cred, partly)
			must(t, err)
			if !grant.Partly() || grant.ByContent() {
				t.Errorf("Partly = %v, ByContent = %v", grant.Partly(), grant.ByContent())
			}
			for _, test := range []struct {
				action customhouse.Action
				target gate.Target
				want   bool
			}{
				{"pull", gate.Target{}, false},
				{"pull", gate.Target{Known: gate.FactTag, Tag: "v1"}, true},
				{"list", gate.Target{Known: gate.FactTag, Tag: "v1"}, true},
				{"pull", gate.Target{Known: gate.FactTag, Tag: "dev"}, false},
				{"pull", gate.Target{Known: gate.FactTag}, false},
				{"update", gate.Target{Known: gate.FactTag, Tag: "v1"}, true},
				{"push", gate.Target{Known: gate.FactTag, Tag: "v1"}, true},
				{"create", gate.Target{Known: gate.FactTag, Tag: "v1"}, false},
				{"delete", gate.Target{Known: gate.FactTag, Tag: "v1"}, false},
			} {
				need := repo("a", test.action)
				need.Target = test.target
				got, err := grant.Allows(t.Context(), need)
				if must(t, err); got != test.want {
					t.Errorf("Allows(%s, %+v) = %v", test.action, test.target, got)
				}
				if test.action != "delete" && (grant.Demand(t.Context(), need) == nil) != test.want {
					t.Errorf("Demand(%s, %+v) says otherwise", test.action, test.target)
				}
			}
		})
	}
}
