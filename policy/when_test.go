package policy_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"customhouse"
	"customhouse/policy"
)

func when(text string, actions ...customhouse.Action) policy.Rule {
	return policy.Rule{When: text, Actions: append(list{}, actions...)}
}

// known is a query of which everything is known.
func known() policy.Query {
	return policy.Query{
		Identity: customhouse.Identity{
			Account: "bob", Method: "ldap", Labels: map[string][]string{"group": {"dev", "vip"}},
			Claims: map[string]any{"ref": "refs/heads/main", "run": json.Number("7"), "environments": []any{"prod"}, "kubernetes.io": map[string]any{"namespace": "ci"}, "ok": true},
		},
		Client: netip.MustParseAddr("10.1.2.3"), Service: "r.example", Type: "repository", Name: "team/app", Action: "pull",
		Target: policy.Target{Known: policy.Facts, Tag: "v1.2", Digest: "sha256:aa", MediaType: "application/x", ArtifactType: ""},
		Time:   time.Date(2026, 11, 25, 14, 30, 0, 0, time.UTC),
	}
}

func TestWhen(t *testing.T) {
	for text, want := range map[string]string{
		`true`:                           "yes",
		`false`:                          "no",
		`identity.account == "bob"`:      "yes",
		`identity.method == "ldap"`:      "yes",
		`"vip" in identity.labels.group`: "yes",
		`"vip" in identity.labels.tier`:  "fails",
		`has(identity.labels.tier) && "vip" in identity.labels.tier`: "no",
		`"group" in identity.labels`:                                 "yes",
		`identity.labels.group.exists(g, g.startsWith("d"))`:         "yes",
		`identity.claims.ref == "refs/heads/main"`:                   "yes",
		`identity.claims.run > 6`:                                    "yes",
		`identity.claims.run == 7 && identity.claims.ok`:             "yes",
		`"prod" in identity.claims.environments`:                     "yes",
		`identity.claims["kubernetes.io"].namespace == "ci"`:         "yes",
		`identity.claims.nothing == "x"`:                             "fails",
		`identity.claims.ref > 6`:                                    "fails",
		`request.action == "pull" && request.service == "r.example"`: "yes",
		`cidr("10.0.0.0/8").contains(request.ip)`:                    "yes",
		`cidr("192.0.2.1").contains(request.ip)`:                     "no",
		`request.time < timestamp("2027-01-01T00:00:00Z")`:           "yes",
		`request.time.getHours() == 14`:                              "yes",
		`target.type == "repository" && target.name == "team/app"`:   "yes",
		`target.tag.matches("^v[0-9]+")`:                             "yes",
		`target.digest != "" && target.mediaType.endsWith("x")`:      "yes",
		`target.artifactType == ""`:                                  "yes",
		`1/0 == 1`:                                                   "fails",
	} {
		p := compile(t, when(text, "pull"))
		d := p.Decide(known())
		got := "no"
		if d.Allowed {
			got = "yes"
		} else if strings.Contains(d.Reason, "cannot be decided") {
			got = "fails"
		}
		if got != want || d.Maybe {
			t.Errorf("%s: %s, want %s (%+v)", text, got, want, d)
		}
	}
}

// What fails denies every action, also where it stands in a rule that denies another, and what follows is not asked.
func TestS91_WhatFailsDenies(t *testing.T) {
	fails := `identity.labels.nothing == ["x"]`
	for name, rules := range map[string][]policy.Rule{
		"allow":           {when(fails, "pull"), {Actions: list{"*"}}},
		"deny":            {{When: fails, Effect: policy.Deny, Actions: list{"delete"}}, {Actions: list{"*"}}},
		"after not yet":   {{Effect: policy.Deny, Actions: list{"delete"}}, when(fails, "push"), {Actions: list{"*"}}},
		"public":          {{Effect: policy.Deny, When: fails}, {Actions: list{"pull"}, Public: true}},
		"beside a match":  {{Match: policy.Match{Account: policy.Values{"bob"}}, When: fails, Actions: list{"pull"}}, {Actions: list{"*"}}},
		"too much effort": {{When: `identity.claims.many.all(a, identity.claims.many.all(b, a + b != "x"))`, Actions: list{"pull"}}, {Actions: list{"*"}}},
	} {
		q := known()
		many := make([]any, 5000)
		for i := range many {
			many[i] = fmt.Sprint(i)
		}
		q.Identity.Claims["many"] = many
		p := compile(t, rules...)
		d := p.Decide(q)
		if d.Allowed || d.Maybe || !strings.Contains(d.Reason, "cannot be decided") || d.Rule != len(rules)-2 {
			t.Errorf("%s: %+v, want a denial that names the rule", name, d)
		}
		if trace := p.Explain(q); trace.Decision != d {
			t.Errorf("%s: Explain = %+v, want %+v", name, trace.Decision, d)
		}
	}
	// where another condition does not hold the expression is not reached
	p := compile(t, policy.Rule{Match: policy.Match{Name: policy.Values{"other"}}, When: fails, Actions: list{"pull"}}, policy.Rule{Actions: list{"pull"}})
	if d := p.Decide(known()); !d.Allowed {
		t.Errorf("Decide = %+v, want allowed", d)
	}
}

func TestWhenDepends(t *testing.T) {
	deny := func(text string) policy.Rule {
		return policy.Rule{When: text, Effect: policy.Deny, Actions: list{"update"}}
	}
	for name, tt := range map[string]struct {
		rules          []policy.Rule
		action         customhouse.Action
		allowed, maybe bool
	}{
		"on the tag":                   {[]policy.Rule{when(`target.tag == "v1"`, "pull")}, "pull", false, true},
		"not on the tag":               {[]policy.Rule{when(`target.tag == "v1" || identity.account == "bob"`, "pull")}, "pull", true, false},
		"never on the tag":             {[]policy.Rule{when(`target.tag == "v1" && identity.account == "eve"`, "pull")}, "pull", false, false},
		"on the time":                  {[]policy.Rule{when(`request.time.getHours() < 8`, "pull")}, "pull", false, true},
		"of others":                    {[]policy.Rule{deny(`target.tag.startsWith("v")`), {Actions: list{"*"}}}, "pull", true, false},
		"of what it denies":            {[]policy.Rule{deny(`target.tag.startsWith("v")`), {Actions: list{"*"}}}, "update", false, true},
		"of deleting what cannot move": {[]policy.Rule{deny(`target.tag.startsWith("v")`), {Actions: list{"*"}}}, "delete", false, true},
		"what may fail of others":      {[]policy.Rule{deny(`target.tag == identity.labels.group[0]`), {Actions: list{"*"}}}, "pull", false, true},
	} {
		q := known()
		q.Target, q.Time, q.Action = policy.Target{}, time.Time{}, tt.action
		if d := compile(t, tt.rules...).Decide(q); d.Allowed != tt.allowed || d.Maybe != tt.maybe {
			t.Errorf("%s: %+v, want allowed %v, maybe %v", name, d, tt.allowed, tt.maybe)
		}
	}
}

func TestWhenRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`identity.acount == "x"`:                    `1:9: unknown name identity.acount; there are identity.account, identity.method, identity.labels, identity.claims`,
		`identity.foo == 1`:                         `1:1: unknown name identity.foo; there are identity.account, `,
		`"日本" == "x" ||  target.foo.bar == 1`:       `1:23: unknown name target.foo; there are target.type`,
		`identity == "x"`:                           `1:1: unknown name identity; there are identity.account`,
		"identity.account == \"x\" &&\n  frob == 1": `2:3: unknown name frob; there are`,
		`identity.account == 1`:                     `1:18: found no matching overload`,
		`identity.account`:                          `is string, and has to be true or false`,
		`identity.account ==`:                       `1:20: Syntax error`,
		`target.tag.matches("(")`:                   `1:19: error parsing regexp`,
		`target.tag.matches("a{999}{999}")`:         `1:19: `,
		`target.tag.matches(identity.account)`:      `must be literal text`,
		`cidr("10.0.0.0/99").contains(request.ip)`:  `neither an address nor a CIDR prefix`,
		`request.time.getHours("Mars/Base") == 1`:   `unknown time zone "Mars/Base"`,
		`identity.claims.a.all(a, identity.claims.b.all(b, identity.claims.c.all(c, identity.claims.d.all(d, a + b + c + d != "x"))))`: `may take too long`,
		strings.Repeat("(", 200) + "true" + strings.Repeat(")", 200):                                                                   `recursion`,
		strings.Repeat("true && ", 600) + "true":                                                                                       `longer than 4096 bytes`,
	} {
		_, err := policy.Compile([]policy.Rule{when(text, "pull")}, policy.Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", text, err, want)
		}
	}
}

func BenchmarkWhen(b *testing.B) {
	for name, text := range map[string]string{
		"labels": `"vip" in identity.labels.group && target.tag.startsWith("v")`,
		"claims": `identity.claims.ref == "refs/heads/main" && target.tag.matches("^v[0-9]+") && cidr("10.0.0.0/8").contains(request.ip)`,
		"time":   `request.time.getHours() >= 8 && identity.labels.group.exists(g, g == "vip")`,
	} {
		b.Run(name, func(b *testing.B) {
			p, q := compile(b, when(text, "pull")), known()
			b.ReportAllocs()
			for b.Loop() {
				if !p.Decide(q).Allowed {
					b.Fatal("Decide = no")
				}
			}
		})
	}
}
