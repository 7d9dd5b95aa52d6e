package policy_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/policy"
)

func TestLint(t *testing.T) {
	name := func(s string) policy.Match { return policy.Match{Name: policy.Values{s}} }
	bobs := func(s string) policy.Match {
		return policy.Match{Account: policy.Values{"bob"}, Name: policy.Values{s}}
	}
	allow := func(m policy.Match, actions ...customhouse.Action) policy.Rule {
		return policy.Rule{Match: m, Actions: append(list{}, actions...)}
	}
	deny := func(m policy.Match, actions ...customhouse.Action) policy.Rule {
		return policy.Rule{Match: m, Actions: actions, Effect: policy.Deny}
	}
	everything := policy.Match{}
	for what, tt := range map[string]struct {
		rules []policy.Rule
		want  []string
	}{
		"nothing": {nil, nil},
		"good rules": {[]policy.Rule{
			deny(name("prod/**"), "delete"),
			allow(policy.Match{Account: policy.Values{"ops"}}, "*"),
			allow(policy.Match{Account: policy.Values{"**"}, Name: policy.Values{"${account}/**"}}, "*"),
			allow(policy.Match{Name: policy.Values{"/team-(a|b)/.*/"}, Labels: map[string]policy.Values{"group": {"dev"}}}, "push"),
			allow(name("public/**"), "pull"),
		}, nil},

		"covered":  {[]policy.Rule{allow(bobs("a/**"), "pull"), allow(bobs("a/b/*"), "push")}, []string{"rule 2: never decides: rule 1 matches all that it matches"}},
		"repeated": {[]policy.Rule{allow(bobs("a/*"), "push", "pull"), allow(bobs("a/*"), "pull", "create", "update")}, []string{"rule 2: repeats rule 1 and never decides"}},
		"the source": {[]policy.Rule{{Match: bobs("a"), Actions: list{"pull"}, Source: "c.yml:2"}, {Match: bobs("a"), Actions: list{"pull"}, Source: "c.yml:9"}},
			[]string{"c.yml:9: repeats c.yml:2 and never decides"}},
		"by two denials": {[]policy.Rule{deny(name("a/**"), "pull"), deny(name("**"), "push", "delete"), deny(bobs("a/b"), "pull", "create"), allow(bobs("**"), "*")},
			[]string{"rule 3: never decides: rule 2 matches all that it matches"}},
		"by a denial of all": {[]policy.Rule{deny(name("a/**")), allow(bobs("a/x"), "*"), allow(bobs("**"), "*")}, []string{"rule 2: never decides: rule 1 matches all that it matches"}},
		"never allows":       {[]policy.Rule{deny(name("**"), "push"), allow(bobs("a"), "create"), allow(bobs("**"), "*")}, []string{"rule 2: never allows anything: what it lists is denied by rule 1"}},
		"half is enough":     {[]policy.Rule{deny(name("**"), "update"), allow(bobs("a"), "push")}, nil},
		"star is an action":  {[]policy.Rule{deny(everything, "pull", "push", "delete"), allow(bobs("a"), "*")}, nil},
		"addresses": {[]policy.Rule{
			allow(policy.Match{IP: policy.Values{"10.0.0.0/8"}}, "*"), allow(policy.Match{IP: policy.Values{"10.1.0.0/16"}, Name: policy.Values{"a"}}, "pull"), allow(policy.Match{IP: policy.Values{"0.0.0.0/0"}}, "pull"),
		}, []string{"rule 2: never decides: rule 1 matches all that it matches"}},
		"labels": {[]policy.Rule{
			allow(policy.Match{Labels: map[string]policy.Values{"g": {"d*"}}}, "*"),
			allow(policy.Match{Labels: map[string]policy.Values{"g": {"dev"}, "h": {"x"}}}, "*"),
			allow(policy.Match{Labels: map[string]policy.Values{"h": {"x"}}}, "*"),
		}, []string{"rule 2: never decides: rule 1 matches all that it matches"}},

		"everybody":             {[]policy.Rule{allow(name("a/**"), "pull", "push")}, []string{"rule 1: allows push to everybody, without an account: no condition on account, labels or ip stops them"}},
		"anonymous":             {[]policy.Rule{allow(policy.Match{Account: policy.Values{""}}, "*")}, []string{"rule 1: allows push, delete, admin, * to everybody, without an account: no condition on account, labels or ip stops them"}},
		"everybody who is left": {[]policy.Rule{allow(policy.Match{Account: policy.Values{""}}, "pull"), allow(everything, "*")}, nil},
		"everybody who may": {[]policy.Rule{deny(policy.Match{Account: policy.Values{""}}, "push"), allow(everything, "*")},
			[]string{"rule 2: allows delete, admin, * to everybody, without an account: no condition on account, labels or ip stops them"}},

		"offices": {[]policy.Rule{allow(bobs("*"), "*")}, []string{"rule 1: actions: * is admin of registry:accounts, registry:audit, registry:policy too, which match.name matches; add type: repository if repositories are meant"}},
		"no offices": {[]policy.Rule{
			allow(bobs("a*/*"), "*"), allow(bobs("a*"), "pull", "push", "delete"), allow(bobs("${account}"), "*"),
			allow(policy.Match{Account: policy.Values{"eve"}, Type: policy.Values{"registry"}, Name: policy.Values{"a*"}}, "*"), allow(bobs("**"), "*"),
		}, nil},

		"an empty list":       {[]policy.Rule{allow(bobs("a")), allow(bobs("**"), "pull")}, []string{"rule 1: actions: an empty list denies everything; if that is meant, effect: deny says so"}},
		"a denial at the end": {[]policy.Rule{allow(bobs("a"), "pull"), deny(everything)}, []string{"rule 2: no allow rule follows, so the answer is no without this rule too"}},

		"tags that move by being made anew": {[]policy.Rule{deny(name("a/**"), "update"), allow(bobs("**"), "push", "delete")},
			[]string{"rule 1: actions: denies moving tags, but not deleting them, which rule 2 allows: who may both delete and create moves them all the same; add delete"}},
		"tags that stay": {[]policy.Rule{deny(policy.Match{Tag: policy.Values{"v*"}}, "update"), deny(name("a/**"), "update", "delete"), allow(bobs("**"), "push", "delete")}, nil},
		"public and not": {[]policy.Rule{allow(bobs("**"), "push"), {Match: name("a/**"), Actions: list{"list"}, Public: true}, {Match: name("a/**"), Actions: list{"pull"}, Public: true}, {Match: name("a/b"), Actions: list{"pull"}, Public: true}},
			[]string{"rule 4: never decides: rule 3 matches all that it matches"}},
		"sets": {[]policy.Rule{allow(policy.Match{Account: policy.Values{"bob", "eve"}}, "pull"), allow(policy.Match{Account: policy.Values{"eve"}, Tag: policy.Values{"x"}}, "push"), allow(policy.Match{Account: policy.Values{"eve", "bo*"}}, "push")},
			[]string{"rule 2: never decides: rule 1 matches all that it matches"}},
		"when that is true":  {[]policy.Rule{{Match: bobs("a"), When: "1 < 2", Actions: list{"pull"}}}, []string{"rule 1: when: is true whatever is asked; leave it out"}},
		"when that is false": {[]policy.Rule{{Match: bobs("a"), When: `cidr("10.0.0.0/8").contains("192.0.2.1")`, Actions: list{"pull"}}}, []string{"rule 1: when: is false whatever is asked, so that the rule decides nothing"}},
		"when that fails":    {[]policy.Rule{{Match: bobs("a"), When: "[1, 2][2] == 1", Actions: list{"pull"}}}, []string{"rule 1: when: fails whatever is asked, and so denies all that the rest of the rule matches: index out of bounds: 2"}},
		"when that depends":  {[]policy.Rule{{Match: bobs("a"), When: "request.ip == '' || 1 < 2", Actions: list{"pull"}}}, nil},
		"times": {[]policy.Rule{{Match: bobs("**"), Actions: list{"pull"}, Expires: "2026-01-01"}, {Match: bobs("a"), Actions: list{"push"}}, {Match: bobs("a"), Actions: list{"push"}, Expires: "2026-01-01"}},
			[]string{"rule 3: never decides: rule 1 matches all that it matches"}},
		"expressions in CEL": {[]policy.Rule{{Match: bobs("**"), When: "request.ip != ''", Actions: list{"pull"}}, {Match: bobs("a"), When: "request.ip != ''", Actions: list{"push"}}, allow(bobs("a"), "push")},
			[]string{"rule 2: never decides: rule 1 matches all that it matches"}},

		"expressions": {[]policy.Rule{
			allow(policy.Match{Account: policy.Values{"/^bob/"}, Name: policy.Values{"/prod$/"}}, "*"),
			allow(bobs("/prod/"), "*"),
			allow(bobs("/^prod.*/"), "*"),
			allow(bobs("/.*${account}_x/"), "*"),
			allow(policy.Match{Account: policy.Values{"bob"}, Labels: map[string]policy.Values{"g": {"/.*/"}}}, "*"),
		}, []string{
			"rule 1: match.account: begins with ^ and has no $: nothing may follow, since expressions are compared with the whole value; end it in .* if something may",
			"rule 1: match.name: ends in $ and has no ^: nothing may stand before, since expressions are compared with the whole value; begin it with .* if something may",
			`rule 2: match.name: matches "prod" alone, since expressions are compared with the whole value; write it without slashes, or "**prod**" for what contains it`,
			`rule 3: match.name: the plain pattern "prod**" says the same`,
			`rule 4: match.name: the plain pattern "**${account}_x" says the same`,
			`rule 5: match.labels.g: the plain pattern "**" says the same`,
		}},
		"good expressions": {[]policy.Rule{
			allow(bobs("/^prod$/"), "*"), allow(bobs("/^(a|b).*/"), "push"), allow(bobs("/.+-x/"), "*"), allow(bobs("/(?i)prod/"), "*"), allow(bobs("/a.c/"), "*"),
		}, nil},
	} {
		t.Run(what, func(t *testing.T) {
			var got []string
			for _, f := range compile(t, tt.rules...).Lint(time.Time{}) {
				got = append(got, f.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Lint (-want +got):\n%s", diff)
			}
		})
	}
}

// Lint tells of times only what is so at the time that it is asked about, to the instant.
func TestLintOfTimes(t *testing.T) {
	rules := []policy.Rule{
		{Match: policy.Match{Account: policy.Values{"bob"}, Name: policy.Values{"a"}}, Actions: list{"pull"}, Expires: "2026-06-30"},
		{Match: policy.Match{Account: policy.Values{"bob"}, Name: policy.Values{"b"}}, Actions: list{"pull"}, From: "2026-06-30T12:00:00+02:00"},
	}
	ended, early := "rule 1: expires: the rule holds no more, since 2026-07-01T00:00:00Z", "rule 2: from: the rule does not hold yet, until 2026-06-30T10:00:00Z"
	for at, want := range map[string][]string{
		"2026-06-30T09:59:59Z": {early}, "2026-06-30T10:00:00Z": nil, "2026-06-30T23:59:59Z": nil, "2026-07-01T00:00:00Z": {ended},
	} {
		now, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range compile(t, rules...).Lint(now) {
			got = append(got, f.String())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Lint at %s (-want +got):\n%s", at, diff)
		}
	}
	if got := compile(t, rules...).Lint(time.Time{}); got != nil {
		t.Errorf("Lint at no time = %v, want nothing", got)
	}
}

// A set is used by a rule that names it as text or as addresses, or through a set that one uses.
func TestLintOfSets(t *testing.T) {
	p, err := policy.Compile([]policy.Rule{
		{Match: policy.Match{Account: policy.Values{"@used"}, IP: policy.Values{"@inside"}}, Actions: list{"pull"}},
	}, policy.Options{Sets: map[string]policy.Values{
		"used": {"bob", "@within"}, "within": {"eve"}, "inside": {"10.0.0.0/8"}, "left": {"@over", "@within"}, "over": {"x"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range p.Lint(time.Time{}) {
		got = append(got, f.String())
	}
	if diff := cmp.Diff([]string{"set left: no rule uses it", "set over: no rule uses it"}, got); diff != "" {
		t.Errorf("Lint (-want +got):\n%s", diff)
	}
}

// TestLintFindsCovered pairs patterns of which the first covers the second, or does not.
func TestLintFindsCovered(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"a/**", "a/b", true}, {"a/**", "a/**/c", true}, {"a/**", "a/?[xy]*", true}, {"**/c", "a/**/c", true}, {"a/*", "a/b*", true},
		{"**", "/x|y/", true}, {"**", "${account}", true}, {"/a|b/", "a", true}, {"/x.*/", "/x.*/", true}, {"a?", "a[xy]", true}, {"[a-z]", "b", true},
		{"${account}/**", "${account}/x/*", true}, {"**/${account}", "x/${account}", true}, {`a\*`, `a\*`, true}, {"*a*", "*aa*", true},
		{"${labels:p}/**", "${labels:p}/${labels:p}", true}, {"[^a]*", "[^a]x", true},

		{"a/*", "a/**", false}, {"a/**", "a", false}, {"a/*", "a/b/c", false}, {"*", "${account}", false}, {"a?", "a*", false}, {"?", "/", false},
		{"[a-z]", "[a-c]", false}, // is so, and is not seen
		{"${labels:p}/${labels:p}", "${labels:p}/${labels:g}", false}, {"${account}", "bob", false}, {"/a.*/", "/ab.*/", false}, {"*b*a*", "*a*b*", false},
	} {
		p := compile(t,
			policy.Rule{Match: policy.Match{Account: policy.Values{"x"}, Name: policy.Values{tt.a}}, Actions: list{"pull"}},
			policy.Rule{Match: policy.Match{Account: policy.Values{"x"}, Name: policy.Values{tt.b}}, Actions: list{"push"}})
		got := slices.ContainsFunc(p.Lint(time.Time{}), func(f policy.Finding) bool { return strings.Contains(f.Message, "never decides") })
		if got != tt.want {
			t.Errorf("Lint tells %v whether %q covers %q, want %v", got, tt.a, tt.b, tt.want)
		}
	}
}

// TestLintIsSound takes Lint at its word over random policies and queries: a rule that never decides does not, one that
// never allows does not, and without what is useless the answers are the same.
func TestLintIsSound(t *testing.T) {
	w := world{rand.New(rand.NewPCG(6, 7))}
	found := map[string]int{}
	for range 10_000 {
		rules := append(w.rules(), w.rules()...)
		p := compile(t, rules...)
		never := map[int]policy.Finding{}
		for _, f := range p.Lint(time.Time{}) {
			for _, kind := range []string{"never decides", "never allows", "no allow rule follows"} {
				if strings.Contains(f.Message, kind) {
					never[f.Rule] = f
					found[kind]++
				}
			}
		}
		for range 30 {
			q := w.query()
			d := p.Decide(q)
			if f, ok := never[d.Rule]; ok && (strings.Contains(f.Message, "never decides") || d.Allowed) {
				t.Fatalf("Lint = %q, but Decide = %+v\nrules %s\nquery %+v", f, d, show(rules), q)
			}
		}
		var rest []policy.Rule
		for i, r := range rules {
			if f, ok := never[i]; !ok || strings.Contains(f.Message, "never allows") {
				rest = append(rest, r)
			}
		}
		without := compile(t, rest...)
		for range 10 {
			if q := w.query(); p.Decide(q).Allowed != without.Decide(q).Allowed {
				t.Fatalf("the answer changes without rules that Lint finds useless\nrules %s\nrest %s\nquery %+v", show(rules), show(rest), q)
			}
		}
	}
	for _, kind := range []string{"never decides", "never allows", "no allow rule follows"} {
		if found[kind] < 100 {
			t.Errorf("Lint found %q %d times; the test says little", kind, found[kind])
		}
	}
}

// TestLintIsSoundOfAllConditions does the same over policies in which everything is that there is.
func TestLintIsSoundOfAllConditions(t *testing.T) {
	w := wide{world{rand.New(rand.NewPCG(7, 7))}}
	found := 0
	for range 3_000 {
		rules := append(w.rules(), w.rules()...)
		copied := rules[w.IntN(len(rules))] // narrower than one that is there
		copied.Match.Digest, copied.Actions = policy.Values{"sha256:a*"}, append(slices.Clone(copied.Actions), "pull")
		rules = append(rules, copied)
		p, err := policy.Compile(rules, policy.Options{Sets: wideSets})
		if err != nil {
			t.Fatal(err)
		}
		var rest []policy.Rule
		useless := map[int]string{}
		for _, f := range p.Lint(time.Time{}) {
			if strings.Contains(f.Message, "never decides") {
				useless[f.Rule] = f.Message
				found++
			}
		}
		for i, r := range rules {
			if useless[i] == "" {
				rest = append(rest, r)
			}
		}
		without, err := policy.Compile(rest, policy.Options{Sets: wideSets})
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			q := w.complete(w.query())
			if a, b := p.Decide(q), without.Decide(q); a.Allowed != b.Allowed || a.Maybe != b.Maybe {
				t.Fatalf("%+v, but without what Lint finds useless %+v\nrules %s\nuseless %v\nquery %+v", a, b, show(rules), useless, q)
			}
		}
	}
	if found < 1_000 {
		t.Errorf("Lint found %d rules that never decide; the test says little", found)
	}
}

func BenchmarkLint(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("%d rules", n), func(b *testing.B) {
			p := compile(b, benchRules(n)...)
			for b.Loop() {
				p.Lint(time.Time{})
			}
		})
	}
}
