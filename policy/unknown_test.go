package policy_test

import (
	"testing"

	"customhouse"
	"customhouse/policy"
)

// What an expression comes to while the tag and the digest are not known holds whatever they turn out to be: an allow that is
// certain is one for each of them, and so is a denial.
func TestWhenOfTheUnknown(t *testing.T) {
	id := customhouse.Identity{Account: "x", Labels: map[string][]string{"g": {"a"}}, Claims: map[string]any{"x": "a"}}
	for _, when := range []string{
		`target.tag == "a" || true`, `target.tag == "a" && false`, `target.tag in ["a", "b"]`, `!(target.tag in ["a"])`, `!("a" in [target.tag])`,
		`[target.tag].exists(x, x == "a")`, `["a"].exists(x, x == target.tag)`, `["a", "b"].all(x, x != target.tag)`, `["a", "b"].exists_one(x, x == target.tag)`,
		`["a", "b"].filter(x, x == target.tag).size() > 0`, `["a"].map(x, x + target.tag)[0] == "aa"`, `[[target.tag]].all(l, l[0] == "a")`, `[target.tag].size() == 1`,
		`[1, 2, 3].exists(i, target.tag == "a" && i == 2)`, `target.tag == "a" ? true : false`, `target.tag == "a" ? true : true`, `(target.tag + "x") == "ax"`,
		`size(target.tag) == 1`, `target.tag.matches("a|b")`, `!target.tag.matches("a")`, `target.tag.startsWith("a")`, `!target.tag.contains("a")`, `target.tag < "b"`,
		`type(target.tag) == string`, `dyn(target.tag) == 1`, `dyn(target.tag) != 1`, `string(target.tag) == "a"`, `bytes(target.tag) == b"a"`, `int(target.tag) == 1 || true`,
		`{target.tag: 1}.exists(k, k == "a")`, `{"a": true}[target.tag]`, `!(target.tag in {"a": 1})`, `{"k": target.tag}.k == "a"`, `has({"k": target.tag}.k)`,
		`target.tag == target.tag`, `target.tag != target.tag`, `target.tag == target.digest`, `target.tag == "a" || target.tag != "a"`, `identity.claims.x == target.tag`,
		`has(identity.labels.g) || target.tag == "a"`, `target.tag in identity.labels.g`, `identity.labels.none == ["a"] || target.tag == "a"`,
		`duration(target.tag) == duration("1s")`, `cidr("10.0.0.0/8").contains(target.tag)`, `timestamp(target.tag) > request.time`,
	} {
		for _, rules := range [][]policy.Rule{
			{{When: when, Actions: list{"pull"}}},
			{{When: when, Effect: policy.Deny, Actions: list{"pull"}}, {Actions: list{"pull"}}},
			{{When: when, Actions: list{"push"}}, {Actions: list{"pull"}, Public: true}},
		} {
			p, err := policy.Compile(rules, policy.Options{})
			if err != nil {
				t.Fatal(err)
			}
			q := policy.Query{Identity: id, Type: "repository", Name: "n", Action: "pull"}
			some, all := false, true
			for _, tag := range []string{"", "a", "b", "1", "10.0.0.1", "1s", "ab"} {
				for _, digest := range []string{"", "a", "b"} {
					known := q
					known.Target = policy.Target{Known: policy.Facts, Tag: tag, Digest: digest}
					d := p.Decide(known)
					some, all = some || d.Allowed, all && d.Allowed
				}
			}
			if d := p.Decide(q); d.Allowed && !all || d.Answer() == policy.Deny && some {
				t.Errorf("%s, %s %s: %s, and when all is known: some are allowed %t, all are %t", when, rules[0].Effect, rules[0].Actions, d.Answer(), some, all)
			}
		}
	}
}
