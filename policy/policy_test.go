package policy_test

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/policy"
)

type list = []customhouse.Action

func compile(t testing.TB, rules ...policy.Rule) *policy.Policy {
	t.Helper()
	p, err := policy.Compile(rules, policy.Options{})
	if err != nil {
		t.Fatalf("Compile = %v", err)
	}
	return p
}

func TestDecide(t *testing.T) {
	bob := customhouse.Identity{Account: "bob", Labels: map[string][]string{"group": {"dev", "vip"}, "p": {"web", "api"}, "none": {}}}
	anonymous := customhouse.Identity{}
	one := func(m policy.Match, actions ...customhouse.Action) []policy.Rule {
		return []policy.Rule{{Match: m, Actions: append(list{}, actions...)}}
	}
	for _, tt := range []struct {
		name   string
		rules  []policy.Rule
		who    customhouse.Identity
		repo   string
		action customhouse.Action
		want   bool
	}{
		{"no rules", nil, bob, "a", "pull", false},
		{"everything", one(policy.Match{}, "*"), bob, "a", "pull", true},
		{"unknown action", one(policy.Match{}, "*"), bob, "a", "frobnicate", false},
		{"unlisted", one(policy.Match{}, "pull"), bob, "a", "delete", false},
		{"star needs star", one(policy.Match{}, "pull", "push", "delete"), bob, "a", "*", false},
		{"star by star", one(policy.Match{}, "pull", "*"), bob, "a", "*", true},
		{"push by create", one(policy.Match{}, "create"), bob, "a", "push", true},
		{"push by update", one(policy.Match{}, "update"), bob, "a", "push", true},
		{"create by push", one(policy.Match{}, "push"), bob, "a", "create", true},
		{"update by push", one(policy.Match{}, "push"), bob, "a", "update", true},
		{"update not by create", one(policy.Match{}, "create"), bob, "a", "update", false},
		{"no push by pull", one(policy.Match{}, "pull"), bob, "a", "push", false},
		{"empty list denies", append(one(policy.Match{Account: policy.Values{"bob"}}), one(policy.Match{}, "*")...), bob, "a", "pull", false},
		{"first match wins", append(one(policy.Match{}, "pull"), one(policy.Match{}, "push")...), bob, "a", "push", false},
		{"deny falls through", []policy.Rule{{Effect: "deny", Actions: list{"delete"}}, {Actions: list{"*"}}}, bob, "a", "pull", true},
		{"deny decides", []policy.Rule{{Effect: "deny", Actions: list{"delete"}}, {Actions: list{"*"}}}, bob, "a", "delete", false},
		{"deny of all", []policy.Rule{{Effect: "deny"}, {Actions: list{"*"}}}, bob, "a", "*", false},
		{"deny of one leaves the star", []policy.Rule{{Effect: "deny", Actions: list{"delete"}}, {Actions: list{"*"}}}, bob, "a", "*", true},
		{"deny of update leaves push", []policy.Rule{{Effect: "deny", Actions: list{"update"}}, {Actions: list{"push"}}}, bob, "a", "push", true},
		{"deny of update without create", []policy.Rule{{Effect: "deny", Actions: list{"update"}}, {Actions: list{"update"}}}, bob, "a", "push", false},
		{"deny of both halves", []policy.Rule{{Effect: "deny", Actions: list{"update"}}, {Effect: "deny", Actions: list{"create"}}, {Actions: list{"*"}}}, bob, "a", "push", false},

		{"anonymous by the empty account", one(policy.Match{Account: policy.Values{""}}, "pull"), anonymous, "a", "pull", true},
		{"bob not by the empty account", one(policy.Match{Account: policy.Values{""}}, "pull"), bob, "a", "pull", false},
		{"anonymous not by *", one(policy.Match{Account: policy.Values{"*"}}, "pull"), anonymous, "a", "pull", false},
		{"anonymous not by **", one(policy.Match{Account: policy.Values{"**"}}, "pull"), anonymous, "a", "pull", false},
		{"anonymous not by regex", one(policy.Match{Account: policy.Values{"/.*/"}}, "pull"), anonymous, "a", "pull", false},
		{"anonymous without condition", one(policy.Match{}, "pull"), anonymous, "a", "pull", true},
		{"logged in by **", one(policy.Match{Account: policy.Values{"**"}}, "pull"), customhouse.Identity{Account: "CORP/bob"}, "a", "pull", true},
		{"* stops at a slash", one(policy.Match{Account: policy.Values{"*"}}, "pull"), customhouse.Identity{Account: "CORP/bob"}, "a", "pull", false},

		{"literal", one(policy.Match{Name: policy.Values{"a/b"}}, "pull"), bob, "a/b", "pull", true},
		{"literal is whole", one(policy.Match{Name: policy.Values{"a/b"}}, "pull"), bob, "a/b/c", "pull", false},
		{"* below", one(policy.Match{Name: policy.Values{"a/*"}}, "pull"), bob, "a/b", "pull", true},
		{"* not two below", one(policy.Match{Name: policy.Values{"a/*"}}, "pull"), bob, "a/b/c", "pull", false},
		{"** two below", one(policy.Match{Name: policy.Values{"a/**"}}, "pull"), bob, "a/b/c", "pull", true},
		{"** not itself", one(policy.Match{Name: policy.Values{"a/**"}}, "pull"), bob, "a", "pull", false},
		{"** within", one(policy.Match{Name: policy.Values{"a/**/z"}}, "pull"), bob, "a/b/c/z", "pull", true},
		{"* between", one(policy.Match{Name: policy.Values{"*-prod/*"}}, "pull"), bob, "x-prod/y", "pull", true},
		{"?", one(policy.Match{Name: policy.Values{"a?c"}}, "pull"), bob, "abc", "pull", true},
		{"? no slash", one(policy.Match{Name: policy.Values{"a?c"}}, "pull"), bob, "a/c", "pull", false},
		{"class", one(policy.Match{Name: policy.Values{"app[0-9]"}}, "pull"), bob, "app7", "pull", true},
		{"class not", one(policy.Match{Name: policy.Values{"app[^0-9]"}}, "pull"), bob, "app7", "pull", false},
		{"class no slash", one(policy.Match{Name: policy.Values{"a[^b]c"}}, "pull"), bob, "a/c", "pull", false},
		{"escape", one(policy.Match{Account: policy.Values{`\*`}}, "pull"), bob, "a", "pull", false},
		{"regex", one(policy.Match{Name: policy.Values{"/team-(a|b)/.+/"}}, "pull"), bob, "team-b/x", "pull", true},
		{"regex is whole", one(policy.Match{Name: policy.Values{"/prod/"}}, "pull"), bob, "nonprod-x", "pull", false},
		{"regex alternatives are whole", one(policy.Match{Name: policy.Values{"/a|b/"}}, "pull"), bob, "ax", "pull", false},

		{"type", one(policy.Match{Type: policy.Values{"registry"}}, "*"), bob, "a", "pull", false},
		{"service", one(policy.Match{Service: policy.Values{"r.example"}}, "*"), bob, "a", "pull", true},
		{"ip", one(policy.Match{IP: policy.Values{"192.0.2.0/24"}}, "*"), bob, "a", "pull", true},
		{"ip of others", one(policy.Match{IP: policy.Values{"198.51.100.7"}}, "*"), bob, "a", "pull", false},
		{"v4 is not within v6", one(policy.Match{IP: policy.Values{"::/0"}}, "*"), bob, "a", "pull", false},
		{"mapped prefix", one(policy.Match{IP: policy.Values{"::ffff:192.0.2.0/120"}}, "*"), bob, "a", "pull", true},
		{"label", one(policy.Match{Labels: map[string]policy.Values{"group": {"vip"}}}, "*"), bob, "a", "pull", true},
		{"labels, all of them", one(policy.Match{Labels: map[string]policy.Values{"group": {"vip"}, "tier": {"gold"}}}, "*"), bob, "a", "pull", false},
		{"label in its case", one(policy.Match{Labels: map[string]policy.Values{"group": {"VIP"}}}, "*"), bob, "a", "pull", false},

		{"own namespace", one(policy.Match{Name: policy.Values{"${account}/**"}}, "*"), bob, "bob/x/y", "push", true},
		{"others' namespace", one(policy.Match{Name: policy.Values{"${account}/**"}}, "*"), bob, "bobby/x", "push", false},
		{"anonymous has no namespace", one(policy.Match{Name: policy.Values{"${account}*"}}, "*"), anonymous, "x", "push", false},
		{"label of several values", one(policy.Match{Name: policy.Values{"${labels:p}/*"}}, "*"), bob, "api/x", "push", true},
		{"label twice has one value", one(policy.Match{Name: policy.Values{"${labels:p}/${labels:p}"}}, "*"), bob, "web/api", "push", false},
		{"label twice, the same", one(policy.Match{Name: policy.Values{"${labels:p}/${labels:p}"}}, "*"), bob, "api/api", "push", true},
		{"label without values", one(policy.Match{Name: policy.Values{"${labels:none}**"}}, "*"), bob, "x", "push", false},
		{"label absent", one(policy.Match{Name: policy.Values{"${labels:nope}/**"}}, "*"), bob, "${labels:nope}/x", "push", false},
		{"placeholder in regex", one(policy.Match{Name: policy.Values{"/${account}_.*/"}}, "*"), bob, "bob_x", "push", true},
		{"placeholder in regex keeps its case", one(policy.Match{Name: policy.Values{"/(?i)${account}/"}}, "*"), bob, "BOB", "push", false},
		{"placeholder in regex is one thing", one(policy.Match{Name: policy.Values{"/${account}?x/"}}, "*"), bob, "box", "push", false},
		{"account by name", one(policy.Match{Account: policy.Values{"${name}"}}, "*"), bob, "bob", "push", true},
		{"name in label", one(policy.Match{Labels: map[string]policy.Values{"p": {"${name}"}}}, "*"), bob, "web", "push", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := compile(t, tt.rules...)
			q := policy.Query{
				Identity: tt.who, Client: netip.MustParseAddr("::ffff:192.0.2.7"), Service: "r.example",
				Type: "repository", Name: tt.repo, Action: tt.action,
			}
			if got := p.Decide(q); got.Allowed != tt.want {
				t.Fatalf("Decide = %+v, want allowed %v", got, tt.want)
			}
		})
	}
}

// TestDecideByEverything has one rule after another of what rules can say beside names and accounts.
func TestDecideByEverything(t *testing.T) {
	rule := func(m policy.Match, actions ...customhouse.Action) policy.Rule {
		return policy.Rule{Match: m, Actions: append(list{}, actions...)}
	}
	deny := func(m policy.Match, actions ...customhouse.Action) policy.Rule {
		return policy.Rule{Match: m, Actions: actions, Effect: policy.Deny}
	}
	claim := func(key string, values ...string) policy.Match {
		return policy.Match{Claims: map[string]policy.Values{key: values}}
	}
	all := policy.Rule{Actions: list{"*"}}
	sets := map[string]policy.Values{"admins": {"root", "@ops"}, "ops": {"b*", "carol", "dave", "eve", "frank"}, "office": {"10.1.0.0/16", "192.0.2.1"}}
	unknown, at := policy.Target{}, known().Target
	untagged, v2 := at, at
	untagged.Tag, v2.Tag = "", "latest"
	for name, tt := range map[string]struct {
		rules  []policy.Rule
		target policy.Target
		action customhouse.Action
		want   string // "yes", "maybe", or anything else
	}{
		"one of several":          {[]policy.Rule{rule(policy.Match{Account: policy.Values{"eve", "bob"}}, "pull")}, at, "pull", "yes"},
		"none of several":         {[]policy.Rule{rule(policy.Match{Account: policy.Values{"eve", ""}}, "pull")}, at, "pull", "no"},
		"of a set in a set":       {[]policy.Rule{rule(policy.Match{Account: policy.Values{"@admins"}}, "pull")}, at, "pull", "yes"},
		"a plain @":               {[]policy.Rule{rule(policy.Match{Account: policy.Values{`\@admins`}}, "pull")}, at, "pull", "no"},
		"addresses of a set":      {[]policy.Rule{rule(policy.Match{IP: policy.Values{"@office"}}, "pull")}, at, "pull", "yes"},
		"method":                  {[]policy.Rule{rule(policy.Match{Method: policy.Values{"users", "ldap"}}, "pull")}, at, "pull", "yes"},
		"another method":          {[]policy.Rule{rule(policy.Match{Method: policy.Values{""}}, "pull")}, at, "pull", "no"},
		"a claim":                 {[]policy.Rule{rule(claim("ref", "refs/heads/*"), "pull")}, at, "pull", "yes"},
		"a number":                {[]policy.Rule{rule(claim("run", "7"), "pull")}, at, "pull", "yes"},
		"a boolean":               {[]policy.Rule{rule(claim("ok", "true"), "pull")}, at, "pull", "yes"},
		"of a list":               {[]policy.Rule{rule(claim("environments", "prod"), "pull")}, at, "pull", "yes"},
		"within":                  {[]policy.Rule{rule(claim("kubernetes.io.namespace", "ci"), "pull")}, at, "pull", "yes"},
		"no such claim":           {[]policy.Rule{rule(claim("kubernetes.io.name", "**"), "pull")}, at, "pull", "no"},
		"a tag":                   {[]policy.Rule{rule(policy.Match{Tag: policy.Values{"v*"}}, "pull")}, at, "pull", "yes"},
		"a tag that is not known": {[]policy.Rule{rule(policy.Match{Tag: policy.Values{"v*"}}, "pull")}, unknown, "pull", "maybe"},
		"no tag":                  {[]policy.Rule{rule(policy.Match{Tag: policy.Values{"**"}}, "pull")}, untagged, "pull", "no"},
		"known to be none":        {[]policy.Rule{rule(policy.Match{Tag: policy.Values{""}}, "pull")}, untagged, "pull", "yes"},
		"known to be some":        {[]policy.Rule{rule(policy.Match{Tag: policy.Values{""}}, "pull")}, at, "pull", "no"},
		"in any case":             {[]policy.Rule{rule(policy.Match{Tag: policy.Values{"v*"}}, "pull"), all}, unknown, "pull", "yes"},
		"first maybe not":         {[]policy.Rule{rule(policy.Match{Tag: policy.Values{"v*"}}), all}, unknown, "pull", "maybe"},

		"list by pull":       {[]policy.Rule{rule(policy.Match{}, "pull")}, at, "list", "yes"},
		"no pull by list":    {[]policy.Rule{rule(policy.Match{}, "list")}, at, "pull", "no"},
		"tag by push":        {[]policy.Rule{rule(policy.Match{}, "push")}, at, "tag", "yes"},
		"mount by create":    {[]policy.Rule{rule(policy.Match{}, "create")}, at, "mount", "yes"},
		"push by a referrer": {[]policy.Rule{rule(policy.Match{}, "referrer")}, at, "push", "yes"},
		"no create by parts": {[]policy.Rule{rule(policy.Match{}, "referrer", "mount", "tag")}, at, "create", "no"},
		"no admin by push":   {[]policy.Rule{rule(policy.Match{}, "push", "pull", "delete")}, at, "admin", "no"},
		"admin by star":      {[]policy.Rule{all}, at, "admin", "yes"},

		"a tag does not move":        {[]policy.Rule{deny(policy.Match{Tag: policy.Values{"v*"}}, "update"), all}, at, "update", "no"},
		"nor is it made anew":        {[]policy.Rule{deny(policy.Match{Tag: policy.Values{"v*"}}, "push"), all}, at, "delete", "no"},
		"others move":                {[]policy.Rule{deny(policy.Match{Tag: policy.Values{"v*"}}, "update"), all}, v2, "update", "yes"},
		"others are deleted":         {[]policy.Rule{deny(policy.Match{Tag: policy.Values{"v*"}}, "update"), all}, v2, "delete", "yes"},
		"what has no tag is deleted": {[]policy.Rule{deny(policy.Match{Tag: policy.Values{"v*"}}, "update"), all}, untagged, "delete", "yes"},
		"which tag is it":            {[]policy.Rule{deny(policy.Match{Tag: policy.Values{"v*"}}, "update"), all}, unknown, "delete", "maybe"},
		"new ones are made":          {[]policy.Rule{deny(policy.Match{Tag: policy.Values{"v*"}}, "update"), all}, at, "create", "yes"},
		"tags, not repositories":     {[]policy.Rule{deny(policy.Match{Name: policy.Values{"team/**"}}, "update"), all}, at, "delete", "yes"},

		"public after a whole set":  {[]policy.Rule{rule(policy.Match{Account: policy.Values{"bob"}}, "push"), {Actions: list{"pull"}, Public: true}}, at, "pull", "yes"},
		"not without public":        {[]policy.Rule{rule(policy.Match{Account: policy.Values{"bob"}}, "push"), {Actions: list{"pull"}}}, at, "pull", "no"},
		"public before a whole set": {[]policy.Rule{{Actions: list{"pull"}, Public: true}, rule(policy.Match{Account: policy.Values{"bob"}}, "push")}, at, "push", "yes"},
		"denied before public":      {[]policy.Rule{rule(policy.Match{}, "push"), deny(policy.Match{Account: policy.Values{"bob"}}, "pull"), {Actions: list{"pull"}, Public: true}}, at, "pull", "no"},
		"denied after public":       {[]policy.Rule{{Actions: list{"pull"}, Public: true}, deny(policy.Match{}, "pull")}, at, "pull", "yes"},

		"not begun": {[]policy.Rule{{From: "2026-11-26", Actions: list{"pull"}}}, at, "pull", "no"},
		"last day":  {[]policy.Rule{{From: "2026-11-25", Expires: "2026-11-25", Actions: list{"pull"}}}, at, "pull", "yes"},
		"over":      {[]policy.Rule{{Expires: "2026-11-25T14:30:00Z", Actions: list{"pull"}}}, at, "pull", "no"},
	} {
		p, err := policy.Compile(tt.rules, policy.Options{Sets: sets})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		q := known()
		q.Target, q.Action = tt.target, tt.action
		got := "no"
		switch d := p.Decide(q); {
		case d.Allowed:
			got = "yes"
		case d.Maybe:
			got = "maybe"
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s (%+v)", name, got, tt.want, p.Decide(q))
		}
	}
}

func TestDecideExplains(t *testing.T) {
	p := compile(t,
		policy.Rule{Match: policy.Match{Name: policy.Values{"a"}}, Actions: list{"pull"}, Source: "customhouse.yml:3"},
		policy.Rule{Match: policy.Match{Name: policy.Values{"b"}}, Effect: policy.Deny, Actions: list{"push"}},
	)
	for _, tt := range []struct {
		repo   string
		action customhouse.Action
		want   policy.Decision
	}{
		{"a", "pull", policy.Decision{Allowed: true, Rule: 0, Source: "customhouse.yml:3", Reason: "allowed by rule 1 (customhouse.yml:3)"}},
		{"a", "push", policy.Decision{Rule: 0, Source: "customhouse.yml:3", Reason: "rule 1 (customhouse.yml:3) matches and does not list the action"}},
		{"b", "push", policy.Decision{Rule: 1, Reason: "denied by rule 2"}},
		{"c", "pull", policy.Decision{Rule: -1, Reason: "no rule matches"}},
	} {
		got := p.Decide(policy.Query{Type: "repository", Name: tt.repo, Action: tt.action})
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("Decide(%s, %s) (-want +got):\n%s", tt.repo, tt.action, diff)
		}
	}
}

func TestCompileReportsEverything(t *testing.T) {
	_, err := policy.Compile([]policy.Rule{
		{Match: policy.Match{Account: policy.Values{"a["}, Name: policy.Values{""}, IP: policy.Values{"10.0.0.*"}, Labels: map[string]policy.Values{"g": {"${foo}"}}}, Actions: list{"pul"}, Source: "c.yml:7"},
		{Actions: list{"pull"}},
		{Effect: "maybe"},
		{Match: policy.Match{Type: policy.Values{"x"}}},
	}, policy.Options{})
	var errs policy.Errors
	if !errors.As(err, &errs) {
		t.Fatalf("Compile = %v, want Errors", err)
	}
	var got []string
	for _, e := range errs {
		got = append(got, fmt.Sprintf("%d %s", e.Rule, e.Field))
	}
	want := []string{
		"0 match.account", "0 match.ip", "0 match.labels.g", "0 match.name", "0 actions[0]",
		"2 effect", "3 actions",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("Compile (-want +got):\n%s\n%v", diff, err)
	}
	if got, want := errs[0].Error(), "c.yml:7: match.account: a class has no ]"; got != want {
		t.Fatalf("Error = %q, want %q", got, want)
	}
}

func TestCompileRefusesPatterns(t *testing.T) {
	for _, s := range []string{
		"app[0-9", "app[]", "[^]", "[z-a]", "[!a]", `a\`, "${account", "${ip}", "${labels:}", "${account:1}", "\xff",
		"/(/", "/a)|(b/", "/foo?*/", "/^(?!x)/", "/[${account}]/", "/[^${account}]/", `/\Q${account}\E/`, "/${labels:a}${labels:/",
		"/a{${account}/x{1,${account}}(/", `/\p{${account}}/`, "/[[:${account}:]]/", `/\x{${account}}/`, "/(?P<${account}>x)/",
		"${labels:a}${labels:a}${labels:b}${labels:b}", "/${account:1}.*/",
	} {
		if _, err := policy.Compile([]policy.Rule{{Match: policy.Match{Name: policy.Values{s}}, Actions: list{"pull"}}}, policy.Options{}); err == nil {
			t.Errorf("Compile(name %q) = nil, want an error", s)
		}
	}
	for _, s := range []string{"", "10.0.0.*", "010.0.0.5", "::/0/0", "fe80::1%eth0", "::ffff:0.0.0.0/90"} {
		if _, err := policy.Compile([]policy.Rule{{Match: policy.Match{IP: policy.Values{s}}, Actions: list{"pull"}}}, policy.Options{}); err == nil {
			t.Errorf("Compile(ip %q) = nil, want an error", s)
		}
	}
}

func TestDecideDoesNotAllocate(t *testing.T) {
	p := compile(t, benchRules(100)...)
	q := benchQuery(99)
	if n := testing.AllocsPerRun(100, func() { p.Decide(q) }); n != 0 {
		t.Fatalf("Decide allocates %v times, want 0", n)
	}
}

// benchRules are n rules of the kinds that people write, none of which matches benchQuery but the last.
func benchRules(n int) []policy.Rule {
	var rules []policy.Rule
	for i := range n - 1 {
		r := policy.Rule{Actions: list{"pull", "push"}}
		switch i % 4 {
		case 0:
			r.Match = policy.Match{Account: policy.Values{fmt.Sprintf("robot%d", i)}, Name: policy.Values{fmt.Sprintf("team%d/**", i)}}
		case 1:
			r.Match = policy.Match{Account: policy.Values{fmt.Sprintf("user%d", i)}}
		case 2:
			r.Match = policy.Match{Labels: map[string]policy.Values{"group": {fmt.Sprintf("group%d", i)}}, Name: policy.Values{"shared/${account}/*"}}
		case 3:
			r.Match = policy.Match{Name: policy.Values{"${account}/private/**"}, IP: policy.Values{"10.0.0.0/8"}}
		}
		rules = append(rules, r)
	}
	return append(rules, policy.Rule{Match: policy.Match{Account: policy.Values{"*"}, Name: policy.Values{"acc/**"}}, Actions: list{"pull"}})
}

func benchQuery(i int) policy.Query {
	return policy.Query{
		Identity: customhouse.Identity{Account: fmt.Sprintf("someone%d", i), Labels: map[string][]string{"group": {"dev", "ops"}}},
		Client:   netip.MustParseAddr("192.0.2.7"), Service: "r.example", Type: "repository", Name: "acc/app/one", Action: customhouse.Pull,
	}
}

// tied are rules that are all tied to one kind of condition, of which the last matches benchQuery.
var tied = map[string]func(i int) policy.Match{
	"names":        func(i int) policy.Match { return policy.Match{Name: policy.Values{fmt.Sprintf("team%d/**", i)}} },
	"account sets": func(i int) policy.Match { return policy.Match{Account: policy.Values{fmt.Sprintf("@set%d", i)}} },
	"labels": func(i int) policy.Match {
		return policy.Match{Labels: map[string]policy.Values{"group": {fmt.Sprintf("g%d", i)}}}
	},
	"tags": func(i int) policy.Match { return policy.Match{Tag: policy.Values{fmt.Sprintf("v%d.*", i)}} },
	"claims": func(i int) policy.Match {
		return policy.Match{Claims: map[string]policy.Values{"repo": {fmt.Sprintf("org/app%d", i)}}}
	},
}

// tiedRules are n rules tied to one kind of condition, and benchQuery's.
func tiedRules(kind string, n int) ([]policy.Rule, policy.Options) {
	rules, sets := make([]policy.Rule, 0, n), map[string]policy.Values{}
	for i := range n - 1 {
		rules = append(rules, policy.Rule{Match: tied[kind](i), Actions: list{"pull", "push"}})
		sets[fmt.Sprintf("set%d", i)] = policy.Values{fmt.Sprintf("a%d", i), fmt.Sprintf("b%d", i), fmt.Sprintf("c%d", i), "carol"}
	}
	return append(rules, policy.Rule{Match: policy.Match{Account: policy.Values{"someone*"}, Name: policy.Values{"acc/**"}}, Actions: list{"pull"}}), policy.Options{Sets: sets}
}

func BenchmarkDecideTied(b *testing.B) {
	for _, kind := range slices.Sorted(maps.Keys(tied)) {
		for _, n := range []int{10, 10_000} {
			for _, known := range []policy.Fact{policy.Facts, 0} {
				name := fmt.Sprintf("%s/%d rules", kind, n)
				if known == 0 {
					name += " without target"
				}
				b.Run(name, func(b *testing.B) {
					rules, o := tiedRules(kind, n)
					p, err := policy.Compile(rules, o)
					if err != nil {
						b.Fatal(err)
					}
					q := benchQuery(n)
					q.Identity.Claims = map[string]any{"repo": "org/other"}
					q.Target = policy.Target{Known: known, Tag: "latest"}
					b.ReportAllocs()
					for b.Loop() {
						if d := p.Decide(q); !d.Allowed {
							b.Fatal("Decide = no")
						}
					}
				})
			}
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	b.Run("mixed", func(b *testing.B) {
		rules := benchRules(10_000)
		for b.Loop() {
			compile(b, rules...)
		}
	})
	for _, kind := range slices.Sorted(maps.Keys(tied)) {
		b.Run(kind, func(b *testing.B) {
			rules, o := tiedRules(kind, 10_000)
			for b.Loop() {
				if _, err := policy.Compile(rules, o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprintf("%d rules", n), func(b *testing.B) {
			p, q := compile(b, benchRules(n)...), benchQuery(n)
			b.ReportAllocs()
			for b.Loop() {
				if !p.Decide(q).Allowed {
					b.Fatal("Decide = no")
				}
			}
		})
	}
	b.Run("regex with placeholder", func(b *testing.B) {
		p := compile(b, policy.Rule{Match: policy.Match{Name: policy.Values{"/${account}-.*/x/"}}, Actions: list{"pull"}})
		q := benchQuery(0)
		q.Name = "someone0-y/x"
		b.ReportAllocs()
		for b.Loop() {
			if !p.Decide(q).Allowed {
				b.Fatal("Decide = no")
			}
		}
	})
}
