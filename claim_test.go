package customhouse_test

import (
	"testing"

	"customhouse"

	"github.com/google/go-cmp/cmp"
)

func claimsOf(t testing.TB, text string) map[string]any {
	t.Helper()
	v, err := customhouse.ParseJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return v.(map[string]any)
}

func TestClaimValues(t *testing.T) {
	claims := claimsOf(t, `{"repository":"org/app","run_id":1234567890123456789,"ok":true,"none":null,"empty":"","groups":["a","",1,{"b":1},["c"]],
		"kubernetes.io":{"namespace":"prod","serviceaccount":{"name":"ci"}},"a":{"b":{"c":"deep"}},"a.b":"near"}`)
	for name, want := range map[string][]string{
		"repository": {"org/app"}, "run_id": {"1234567890123456789"}, "ok": {"true"}, "none": nil, "empty": nil, "missing": nil, "": nil,
		"groups": {"a", "1"}, "kubernetes.io": nil, "kubernetes.io.namespace": {"prod"}, "kubernetes.io.serviceaccount.name": {"ci"},
		"kubernetes.io.": nil, ".": nil, "a.b": {"near"}, "a.b.c": {"deep"}, "repository.x": nil,
	} {
		if diff := cmp.Diff(want, customhouse.ClaimValues(claims, name)); diff != "" {
			t.Errorf("ClaimValues(%q) (-want +got):\n%s", name, diff)
		}
	}
}

func TestTemplate(t *testing.T) {
	claims := claimsOf(t, `{"repository":"org/app","ref":"refs/heads/a:b","n":7,"groups":["x","y"],"empty":"","two":["a:","b"]}`)
	for template, want := range map[string][]string{
		"":                          {""},
		"plain":                     {"plain"},
		"${repository}":             {"org/app"},
		"x-${repository}-y":         {"x-org/app-y"},
		"${repository}:${ref}":      {"org/app:refs/heads/a:b"},
		"${ref}:${repository}":      nil, // a:b:org would be a, b:org as well
		"${repository}@${n}":        {"org/app@7"},
		"${missing}":                nil,
		"${empty}":                  nil,
		"${repository}:${missing}":  nil,
		"team-${groups}":            {"team-x", "team-y"},
		"${groups}:${repository}":   nil,
		"${repository}:${groups}":   nil,
		"$repository} {n} $${n}":    {"$repository} {n} $7"},
		"${repository} and ${n} = ": {"org/app and 7 = "},
	} {
		parsed, err := customhouse.ParseTemplate(template)
		if err != nil {
			t.Errorf("ParseTemplate(%q) = %v", template, err)
			continue
		}
		if diff := cmp.Diff(want, parsed.Texts(claims)); diff != "" || parsed.String() != template {
			t.Errorf("%q.Texts (-want +got):\n%s", template, diff)
		}
	}
	for _, template := range []string{"${", "${}", "a${b", "${a}${b}", "\xff", "${a}-${b}${c}"} {
		if _, err := customhouse.ParseTemplate(template); err == nil {
			t.Errorf("ParseTemplate(%q) = nil, want an error", template)
		}
	}
}

func TestValidAccount(t *testing.T) {
	for account, want := range map[string]bool{
		"alice": true, "github:org/app": true, "k8s:ci:build": true, "spiffe://example.org/a": true, "": false, ":a": false, "a b": false, "a\x00": false, "a\u202eb": false,
	} {
		if got := customhouse.ValidAccount(account); got != want {
			t.Errorf("ValidAccount(%q) = %v, want %v", account, got, want)
		}
	}
}
