package policy_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"customhouse"
	"customhouse/policy"
)

// wide makes random policies and queries in which everything is that there is.
type wide struct{ world }

var wideSets = map[string]policy.Values{
	"as": {"a", "a/b", "ab"}, "many": {"b", "ba", "bb", "b/a", "x", "y", "z", "ab"}, "both": {"@as", "[^ab]*", "${account}"}, "nets": {"10.1.0.0/16", "2001:db8::/32"},
}

// values makes the values of a condition; some leave it out.
func (w wide) values(one func() string) policy.Values {
	switch w.IntN(8) {
	case 0:
		return policy.Values{w.pick("@as", "@many", "@both")}
	case 1:
		return policy.Values{one(), one(), "@many"}
	case 2, 3:
		return policy.Values{one()}
	case 4:
		return policy.Values{one(), one()}
	}
	return nil
}

func (w wide) rule() policy.Rule {
	r := policy.Rule{Actions: list{}}
	some := func(n int) bool { return w.IntN(n) == 0 }
	m := &r.Match
	m.Name = w.values(w.pattern)
	if r.Public = some(6); !r.Public {
		m.Account = w.values(func() string { return w.pick("", "a", "b", "a/b", "*", "**", w.pattern()) })
		if some(4) {
			m.Labels = map[string]policy.Values{w.pick("p", "g"): {w.pattern(), "@as"}}
		}
		if some(6) {
			m.Claims = map[string]policy.Values{w.pick("ref", "k8s.io.ns", "n", "list"): {w.pick("a", "7", "v*", "true", "**")}}
		}
		if some(8) {
			m.Method = policy.Values{w.pick("", "ldap", "*")}
		}
	}
	if some(6) {
		m.Type = policy.Values{w.pick("repository", "registry", "re*")}
	}
	if some(6) {
		m.IP = [...]policy.Values{{"10.0.0.0/8"}, {"10.1.0.0/16"}, {"@nets"}, {"192.0.2.0/24", "10.2.0.0/16", "2001:db8::/32"}}[w.IntN(4)]
	}
	if some(4) {
		m.Tag = policy.Values{w.pick("", "v*", "**", "v1", "${labels:p}", "/v[0-9]+/", "latest")}
	}
	if some(12) {
		m.Digest = policy.Values{w.pick("sha256:a*", "sha256:b")}
	}
	if some(12) {
		m.MediaType = policy.Values{w.pick("image/*", "index/*")}
	}
	if some(12) {
		m.ArtifactType = policy.Values{w.pick("", "sbom", "*")}
	}
	if some(10) {
		r.From = w.pick("2026-01-01", "2026-06-15")
	}
	if some(10) {
		r.Expires = w.pick("2026-12-01T00:00:00Z", "2026-07-01T00:00:00Z")
	}
	if some(8) {
		all := slices.Sorted(maps.Keys(expressions))
		if r.When = all[w.IntN(len(all))]; r.Public && strings.Contains(r.When, "identity") {
			r.When = ""
		}
	}
	for range w.IntN(4) {
		r.Actions = append(r.Actions, w.anyAction())
	}
	if some(3) && !r.Public {
		r.Effect = policy.Deny
	}
	if r.Public && len(r.Actions) == 0 {
		r.Actions = list{"pull"}
	}
	return r
}

func (w wide) anyAction() customhouse.Action {
	return customhouse.Action(w.pick("pull", "pull", "list", "push", "push", "create", "update", "mount", "tag", "referrer", "delete", "admin", "*"))
}

func (w wide) rules() []policy.Rule {
	rules := make([]policy.Rule, 1+w.IntN(8))
	for i := range rules {
		rules[i] = w.rule()
	}
	return rules
}

func (w wide) query() policy.Query {
	q := w.world.query()
	q.Action = w.anyAction()
	if q.Identity.Account != "" {
		q.Identity.Method = w.pick("ldap", "users")
		q.Identity.Claims = [...]map[string]any{
			nil, {"ref": "v1", "n": json.Number("7")}, {"ref": "a", "k8s.io": map[string]any{"ns": "a"}, "list": []any{"a", true, "x"}}, {"k8s.io.ns": "x", "n": "a"},
		}[w.IntN(4)]
	}
	q.Target = w.target()
	q.Time = w.time()
	if w.IntN(3) == 0 {
		q.Target.Known = policy.Fact(w.IntN(int(policy.Facts) + 1))
	}
	if w.IntN(4) == 0 {
		q.Time = time.Time{}
	}
	return q
}

// target makes a target of which everything is known.
func (w wide) target() policy.Target {
	return policy.Target{
		Known: policy.Facts, Tag: w.pick("", "v1", "v2", "latest", "a"), Digest: w.pick("sha256:a1", "sha256:b"),
		MediaType: w.pick("image/a", "index/b"), ArtifactType: w.pick("", "sbom", "x"),
	}
}

func (w wide) time() time.Time {
	return [...]time.Time{time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC), time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}[w.IntN(4)]
}

// complete makes known what q leaves unknown.
func (w wide) complete(q policy.Query) policy.Query {
	t := w.target()
	if q.Target.Known&policy.FactTag != 0 {
		t.Tag = q.Target.Tag
	}
	if q.Target.Known&policy.FactDigest != 0 {
		t.Digest = q.Target.Digest
	}
	if q.Target.Known&policy.FactMediaType != 0 {
		t.MediaType = q.Target.MediaType
	}
	if q.Target.Known&policy.FactArtifactType != 0 {
		t.ArtifactType = q.Target.ArtifactType
	}
	if q.Target = t; q.Time.IsZero() {
		q.Time = w.time()
	}
	return q
}
