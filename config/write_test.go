package config_test

import (
	"strings"
	"testing"
	"time"

	"customhouse"
	"customhouse/config"
	"customhouse/policy"

	"github.com/google/go-cmp/cmp"
)

// What YAML writes, Parse reads as the same.
func TestYAML(t *testing.T) {
	full := config.Default()
	full.Drain, full.Storage.ScrubInterval = 0, 90*time.Minute
	full.Auth.Accounts = false
	full.Auth.Users = map[string]config.User{"CORP/o'neil": {
		Password: "$2a$10$iLZ65EkAxY2NXudq2jWoOuMZyTPyEs5BgS9yJhOLn1v3aRy8ZPFva",
		Labels:   map[string][]string{"group": {"yes", "7", "~", "!x", "*x", "a: b", "# x", "", "two\nlines", "\x07", " "}, "none": {}},
	}}
	full.Storage.MaxBlobSize, full.Storage.Reserve = 10<<30, config.Reserve{Percent: 0.5}
	full.Rules = []policy.Rule{
		{Match: policy.Match{Account: policy.Values{""}, Name: policy.Values{"/^(.+)@x$/"}, Labels: map[string]policy.Values{"null": {"<<"}}}, Actions: []customhouse.Action{}},
		{Effect: policy.Deny, Comment: "a \"comment\"\n"},
		{
			Match: policy.Match{
				Account: policy.Values{"@admins", "", `\@x`}, Method: policy.Values{"ldap"}, Claims: map[string]policy.Values{"k8s.io.ns": {"1", "true"}},
				IP: policy.Values{"10.0.0.0/8", "::1"}, Tag: policy.Values{""}, Digest: policy.Values{"sha256:*"}, MediaType: policy.Values{"**"}, ArtifactType: policy.Values{"a", "b"},
			},
			Actions: []customhouse.Action{customhouse.Pull, customhouse.PutTag}, When: "target.tag != \"\" &&\n  true", From: "2026-01-01", Expires: "2026-12-31T18:00:00Z", Message: "no: go away",
		},
		{Actions: []customhouse.Action{customhouse.Pull}, Public: true},
	}
	full.Sets = map[string]policy.Values{"admins": {"root", "@ops"}, "ops": {"*"}}
	nothing := config.Default()
	nothing.Rules = []policy.Rule{}
	for name, want := range map[string]*config.Config{"default": config.Default(), "full": full, "no rules": nothing} {
		t.Run(name, func(t *testing.T) {
			text, err := want.YAML()
			if err != nil {
				t.Fatal(err)
			}
			got, err := config.Parse("customhouse.yml", text)
			if err != nil {
				t.Fatalf("Parse = %v, want nil for\n%s", err, text)
			}
			if diff := cmp.Diff(want, got, ignoreSource); diff != "" {
				t.Errorf("Parse differs from what was written (-want +got):\n%s\n%s", diff, text)
			}
		})
	}
	if text, err := nothing.YAML(); err != nil || string(text) != "rules: []\n" {
		t.Errorf("YAML = %q, %v, want what differs from the default alone", text, err)
	}
	if text, err := full.YAML(); err != nil || !strings.Contains(string(text), "scrub_interval: 1h30m\n") {
		t.Errorf("YAML = %s, %v", text, err)
	}
}
