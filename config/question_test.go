package config_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"customhouse"
	"customhouse/config"
	"customhouse/policy"

	"github.com/google/go-cmp/cmp"
)

func TestParseQuestions(t *testing.T) {
	const text = `# who may what
- {account: writer, repo: acc/app, action: push, want: allow, rule: "customhouse.yml:42"}
-
  type: registry
  name: catalog
  ip: 192.0.2.7
  labels: {group: [dev, "7"]}
  action: "*"
  want: deny
- {account: ci, claims: {repo: org/app, run: 7, main: true, aud: [a, b], more: {x: 1.5}}, method: oidc, service: other, time: 2026-12-31,
   repo: acc/app, tag: v1, digest: "", mediaType: a/b, artifactType: c/d, action: tag, want: maybe, message: ask}
`
	got, err := config.ParseQuestions("policy_test.yml", []byte(text))
	if err != nil {
		t.Fatalf("ParseQuestions = %v, want nil", err)
	}
	want := []config.Question{
		{Account: "writer", Repo: "acc/app", Action: "push", Want: "allow", Rule: "customhouse.yml:42", Source: "policy_test.yml:2"},
		{Type: "registry", Name: "catalog", IP: netip.MustParseAddr("192.0.2.7"), Labels: map[string][]string{"group": {"dev", "7"}}, Action: "*", Want: "deny", Source: "policy_test.yml:4"},
		{
			Account: "ci", Method: "oidc", Service: "other", Time: config.Moment{Time: time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC)},
			Claims: map[string]any{
				"repo": "org/app", "run": json.Number("7"), "main": true, "aud": []any{"a", "b"}, "more": map[string]any{"x": json.Number("1.5")},
			},
			Repo: "acc/app", Tag: new("v1"), Digest: new(""), MediaType: new("a/b"), ArtifactType: new("c/d"), Action: "tag", Want: "maybe",
			Message: "ask", Source: "policy_test.yml:10",
		},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Fatalf("ParseQuestions (-want +got):\n%s", diff)
	}
}

func TestParseQuestionsRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":           "t.yml: no questions are asked here; write them as - {account: alice, repo: team/app, action: pull, want: allow}",
		"# nothing":  "t.yml: no questions are asked here; write them as - {account: alice, repo: team/app, action: pull, want: allow}",
		"[]":         "t.yml:1:1: no questions are asked here; write them as - {account: alice, repo: team/app, action: pull, want: allow}",
		"repo: a":    "t.yml:1:1: want a list, such as [a, b]",
		"- - a":      "t.yml:1:3: [0]: want a section of keys and values",
		"- {repo: a": "t.yml:2:1: not YAML: did not find expected ',' or '}' while parsing a flow mapping from line 1",

		"- {repo: a, action: pull, want: allow, wnat: deny, level: x}": "t.yml:1:40: [0].wnat: unknown key; did you mean want?\n" +
			"t.yml:1:52: [0].level: unknown key; known are account, labels, claims, method, ip, service, time, repo, type, name, tag, digest, mediaType, artifactType, action, want, rule, message",
		"- {account: a b, repo: A/../b, action: fetch, want: never, ip: 300.0.0.1}": "t.yml:1:13: [0].account: no name of an account: 1 to 255 bytes without spaces and control characters\n" +
			"t.yml:1:24: [0].repo: no name of a repository, such as team/app\n" +
			"t.yml:1:40: [0].action: want pull, list, push, create, update, mount, tag, referrer, delete, admin or *\n" +
			"t.yml:1:53: [0].want: want allow, deny or maybe\n" +
			`t.yml:1:64: [0].ip: ParseAddr("300.0.0.1"): IPv4 field has value >255`,
		"- {action: pull, want: deny}\n- {repo: a}": "t.yml:1:3: [0].repo: missing; want the name of a repository, or type and name of something else\n" +
			"t.yml:2:3: [1].action: want pull, list, push, create, update, mount, tag, referrer, delete, admin or *\n" +
			"t.yml:2:3: [1].want: want allow, deny or maybe",
		"- {repo: a, type: repository, action: pull, want: deny}": "t.yml:1:10: [0].repo: is short for type: repository and name; remove it or them",
		"- {repo: a, action: pull, want: deny, time: soon, digest: x, claims: [a]}": "t.yml:1:45: [0].time: want a time, such as 2026-12-31T18:00:00Z, or a day, such as 2026-12-31\n" +
			"t.yml:1:59: [0].digest: no digest, such as sha256:...\n" +
			"t.yml:1:70: [0].claims: want names and values",
		"- {repo: a, action: pull, want: deny, tag: v 1}": "t.yml:1:44: [0].tag: no tag, such as v1; nothing is none",
		"- {type: registry, action: '*', want: deny}":     "t.yml:1:3: [0].name: missing; want a name, such as catalog",
		"- {name: catalog, action: '*', want: deny}":      "t.yml:1:3: [0].type: missing; want the type of what is named, such as registry",
	} {
		_, err := config.ParseQuestions("t.yml", []byte(text))
		if !errors.As(err, new(config.Errors)) {
			t.Errorf("ParseQuestions(%q) = %v, want Errors", text, err)
		} else if diff := cmp.Diff(want, err.Error()); diff != "" {
			t.Errorf("ParseQuestions(%q) (-want +got):\n%s", text, diff)
		}
	}
}

// A question has the labels of its own and those of the account.
func TestQuery(t *testing.T) {
	c := config.Default()
	c.Auth.Users = map[string]config.User{"bob": {Labels: map[string][]string{"group": {"dev"}, "p": {"web"}}}}
	got := c.Query(config.Question{Account: "bob", Labels: map[string][]string{"group": {"ops"}}, Repo: "a/b", Action: "pull"})
	want := policy.Query{
		Identity: customhouse.Identity{Account: "bob", Labels: map[string][]string{"group": {"dev", "ops"}, "p": {"web"}}},
		Service:  "customhouse", Type: "repository", Name: "a/b", Action: "pull",
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Fatalf("Query (-want +got):\n%s", diff)
	}
	got = c.Query(config.Question{Repo: "a/b", Tag: new("v1"), ArtifactType: new(""), Service: "other", Method: "ldap", Claims: map[string]any{"a": "b"}})
	want = policy.Query{
		Identity: customhouse.Identity{Labels: map[string][]string{}, Method: "ldap", Claims: map[string]any{"a": "b"}},
		Service:  "other", Type: "repository", Name: "a/b", Target: policy.Target{Known: policy.FactTag | policy.FactArtifactType, Tag: "v1"},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Fatalf("Query (-want +got):\n%s", diff)
	}
	if groups := c.Auth.Users["bob"].Labels["group"]; len(groups) != 1 {
		t.Fatalf("Query changed the labels of bob to %v", groups)
	}
}

func TestDiffers(t *testing.T) {
	allowed := policy.Decision{Allowed: true, Source: "etc/customhouse.yml:42", Reason: "because"}
	for _, tt := range []struct {
		question config.Question
		decision policy.Decision
		want     string
	}{
		{config.Question{Want: "allow"}, allowed, ""},
		{config.Question{Want: "allow", Rule: "customhouse.yml:42"}, allowed, ""},
		{config.Question{Want: "allow", Rule: "etc/customhouse.yml:42"}, allowed, ""},
		{config.Question{Want: "allow", Rule: "customhouse.yml:4"}, allowed, "want allow by customhouse.yml:4, got allow: because"},
		{config.Question{Want: "allow", Rule: "house.yml:42"}, allowed, "want allow by house.yml:42, got allow: because"},
		{config.Question{Want: "deny", Rule: "customhouse.yml:42"}, allowed, "want deny, got allow: because"},
		{config.Question{Want: "deny"}, policy.Decision{Reason: "no rule matches"}, ""},
	} {
		if got := tt.question.Differs(tt.decision); got != tt.want {
			t.Errorf("Differs(%+v) = %q, want %q", tt.question, got, tt.want)
		}
	}
}

func FuzzParseQuestions(f *testing.F) {
	f.Add([]byte(`- {account: a, labels: {g: [x]}, ip: 10.0.0.1, repo: a/b, action: pull, want: allow, rule: "c.yml:1"}`))
	f.Add([]byte("- &a {type: registry, name: catalog, action: '*', want: deny}\n- *a"))
	f.Fuzz(func(t *testing.T, data []byte) {
		questions, err := config.ParseQuestions("t.yml", data)
		if err != nil && !errors.As(err, new(config.Errors)) {
			t.Fatalf("ParseQuestions = %v (%T), want Errors", err, err)
		}
		if err == nil && len(questions) == 0 {
			t.Fatal("ParseQuestions = nothing, want an error")
		}
		for _, q := range questions {
			if err := q.Validate(); err != nil {
				t.Fatalf("ParseQuestions accepts what Validate refuses: %v", err)
			}
		}
	})
}

func TestLoadPolicyTest(t *testing.T) {
	dir := t.TempDir()
	load := func(text string) (config.PolicyTest, error) {
		t.Helper()
		file := filepath.Join(dir, "team.txtar")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Chdir(dir)
		return config.LoadPolicyTest("team.txtar")
	}
	got, err := load(`Rules of the team.
-- customhouse.yml --
rules:
  - include: rules.d/*.yml
-- rules.d/b.yml --
rules: [{match: {account: "@ops"}, actions: [push]}]
-- rules.d/a.yml --
sets: {ops: [bob]}
rules: [{match: {account: alice}, actions: [pull]}]
-- questions.yml --
- {account: bob, repo: a, action: push, want: allow}
-- more.yml --
- {account: bob, repo: a, action: pull, want: deny}
`)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Questions) != 2 || got.Questions[1].Source != "team.txtar/more.yml:1" {
		t.Errorf("LoadPolicyTest = %d questions, want 2 of questions.yml and more.yml", len(got.Questions))
	}
	if rules := got.Config.Rules; len(rules) != 2 || rules[0].Source != "team.txtar/rules.d/a.yml:2" || rules[1].Source != "team.txtar/rules.d/b.yml:1" {
		t.Errorf("LoadPolicyTest = %+v", rules)
	}
	for text, want := range map[string]string{
		"nothing":                    "team.txtar: an archive has files, each below a line such as -- customhouse.yml --",
		"-- c.yml --\nrules: []\n":   "team.txtar: no questions are asked here; write them as - {account: alice, repo: team/app, action: pull, want: allow}",
		"-- c.yml --\nrules: [{}]\n": "team.txtar/c.yml:1:9: rules[0].actions: is missing; [] allows nothing",
		"-- c.yml --\nrules: [include: d.yml]\n-- q.yml --\n- {repo: a}\n": "team.txtar/c.yml:1:18: rules[0].include: cannot read team.txtar/d.yml: file does not exist\n" +
			"team.txtar/q.yml:1:3: [0].action: want pull, list, push, create, update, mount, tag, referrer, delete, admin or *\n" +
			"team.txtar/q.yml:1:3: [0].want: want allow, deny or maybe",
	} {
		if _, err := load(text); err == nil || err.Error() != want {
			t.Errorf("LoadPolicyTest(%q) = %v, want %s", text, err, want)
		}
	}
}
