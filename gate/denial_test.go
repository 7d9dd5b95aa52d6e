package gate_test

import (
	"errors"
	"strings"
	"testing"

	"customhouse"
	"customhouse/authz"
	"customhouse/gate"
	"customhouse/policy"
)

// What somebody hears of why they are denied: their own labels, tags and times, and nothing of other accounts,
// repositories and networks.
func TestDenialsTellWhatIsNeeded(t *testing.T) {
	v := func(s ...string) policy.Values { return s }
	var some = []policy.Rule{
		{Match: policy.Match{Name: v("told/label"), Labels: map[string]policy.Values{"group": v("release", "admin")}}, Actions: list{"push"}, Source: "secret.yml:1"},
		{Match: policy.Match{Name: v("told/tag"), Tag: v("v*")}, Actions: list{"pull", "create"}},
		{Match: policy.Match{Name: v("told/both"), Tag: v("v*"), Labels: map[string]policy.Values{"team": v("${account}")}}, Actions: list{"create"}},
		{Match: policy.Match{Name: v("told/time")}, Actions: list{"pull"}, Expires: "2020-01-01T00:00:00Z"},
		{Match: policy.Match{Name: v("told/method"), Method: v("oidc")}, Actions: list{"pull"}},
		{Match: policy.Match{Name: v("told/either"), Labels: map[string]policy.Values{"a": v("b")}}, Actions: list{"pull"}},
		{Match: policy.Match{Name: v("told/either"), Method: v("oidc")}, Actions: list{"pull"}},
		{Match: policy.Match{Name: v("hidden/account"), Account: v("eve")}, Actions: list{"pull"}},
		{Match: policy.Match{Name: v("hidden/ip"), IP: v("203.0.113.0/24")}, Actions: list{"pull"}},
		{Match: policy.Match{Name: v("hidden/claim"), Claims: map[string]policy.Values{"repository": v("org/secret")}}, Actions: list{"pull"}},
		{Match: policy.Match{Name: v("hidden/other-repository")}, Actions: list{"pull"}},
		{Match: policy.Match{Name: v("hidden/mixed"), Account: v("eve"), Labels: map[string]policy.Values{"group": v("x")}}, Actions: list{"pull"}},
		{Match: policy.Match{Name: v("words/deny")}, Effect: policy.Deny, Actions: list{"pull"}, Message: "frozen until the audit is over,\nask ops", Source: "secret.yml:99"},
	}
	p, err := policy.Compile(some, policy.Options{})
	must(t, err)
	tagged := func(n gate.Need, tag string) gate.Need {
		n.Target = gate.Target{Known: gate.FactTag, Tag: tag}
		return n
	}
	for _, test := range []struct {
		need                gate.Need
		reason, message, id string // what is told, "" for the same as before it
	}{
		{need: repo("told/label", "push"), reason: "bob may not push to told/label: needs the label group=release or admin", message: "bob may not push to told/label"},
		{need: tagged(repo("told/tag", "pull"), "dev"), reason: "bob may not pull told/tag:dev: needs a tag like v*", message: "bob may not pull told/tag:dev"},
		{need: tagged(repo("told/both", "create"), "dev"), reason: "bob may not push new content to told/both:dev: needs the label team=${account} and a tag like v*", message: "bob may not push new content to told/both:dev"},
		{need: repo("told/time", "pull"), reason: "bob may not pull told/time: needs a time before 2020-01-01T00:00:00Z", message: "bob may not pull told/time"},
		{need: repo("told/method", "pull"), reason: "bob may not pull told/method: needs a login by oidc", message: "bob may not pull told/method"},
		{need: repo("told/either", "pull"), reason: "bob may not pull told/either: needs the label a=b, or a login by oidc", message: "bob may not pull told/either"},
		{need: tagged(repo("told/tag", "update"), "v1"), reason: "bob may not move the tag told/tag:v1"},
		{need: repo("hidden/account", "pull"), reason: "bob may not pull hidden/account"},
		{need: repo("hidden/ip", "pull"), reason: "bob may not pull hidden/ip"},
		{need: repo("hidden/claim", "pull"), reason: "bob may not pull hidden/claim"},
		{need: repo("hidden/mixed", "pull"), reason: "bob may not pull hidden/mixed"},
		{need: repo("hidden/none", "pull"), reason: "bob may not pull hidden/none"},
		{need: repo("words/deny", "pull"), reason: "bob may not pull words/deny: frozen until the audit is over, ask ops"},
	} {
		for mode, want := range map[gate.Denials]string{gate.TellReason: test.reason, gate.TellMessage: test.message, gate.TellID: "denied"} {
			if want == "" {
				want = test.reason
			}
			h := newHouse(t, func(o *gate.Options) { o.Policy, o.Denials = authz.NewRules(p), mode })
			_, err := h.Admit(t.Context(), own("bob"), test.need)
			var r *gate.Refusal
			if !errors.As(err, &r) || r.Err.Code != customhouse.Denied {
				t.Fatalf("Admit(%v) = %v, want DENIED", test.need.Access, err)
			}
			if want += " (decision " + r.ID + ")"; r.Err.Message != want {
				t.Errorf("mode %d: told %q, want %q", mode, r.Err.Message, want)
			}
			for _, secret := range []string{"eve", "203.0.113", "org/secret", "other-repository", "secret.yml", "rule"} {
				if strings.Contains(r.Err.Error(), secret) {
					t.Errorf("%q tells of %s", r.Err.Error(), secret)
				}
			}
			if r.Reason == "" {
				t.Errorf("the log has no reason for %v", test.need.Access)
			}
			_, err = h.Admit(t.Context(), nobody, test.need)
			if !errors.As(err, &r) || r.Err.Message != "login required" {
				t.Errorf("a stranger is told %v", err)
			}
		}
	}
}
