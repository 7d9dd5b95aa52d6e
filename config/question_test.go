package config_test

import (
	"errors"
	"net/netip"
	"testing"

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
`
	got, err := config.ParseQuestions("policy_test.yml", []byte(text))
	if err != nil {
		t.Fatalf("ParseQuestions = %v, want nil", err)
	}
	want := []config.Question{
		{Account: "writer", Repo: "acc/app", Action: "push", Want: "allow", Rule: "customhouse.yml:42", Source: "policy_test.yml:2"},
		{Type: "registry", Name: "catalog", IP: netip.MustParseAddr("192.0.2.7"), Labels: map[string][]string{"group": {"dev", "7"}}, Action: "*", Want: "deny", Source: "policy_test.yml:4"},
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
			"t.yml:1:52: [0].level: unknown key; known are account, labels, ip, repo, type, name, action, want, rule",
		"- {account: a b, repo: A/../b, action: fetch, want: maybe, ip: 300.0.0.1}": "t.yml:1:13: [0].account: no name of an account: 1 to 255 bytes without spaces and control characters\n" +
			"t.yml:1:24: [0].repo: no name of a repository, such as team/app\n" +
			"t.yml:1:40: [0].action: want pull, list, push, create, update, mount, tag, referrer, delete, admin or *\n" +
			"t.yml:1:53: [0].want: want allow or deny\n" +
			`t.yml:1:64: [0].ip: ParseAddr("300.0.0.1"): IPv4 field has value >255`,
		"- {action: pull, want: deny}\n- {repo: a}": "t.yml:1:3: [0].repo: missing; want the name of a repository, or type and name of something else\n" +
			"t.yml:2:3: [1].action: want pull, list, push, create, update, mount, tag, referrer, delete, admin or *\n" +
			"t.yml:2:3: [1].want: want allow or deny",
		"- {repo: a, type: repository, action: pull, want: deny}": "t.yml:1:10: [0].repo: is short for type: repository and name; remove it or them",
		"- {type: registry, action: '*', want: deny}":             "t.yml:1:3: [0].name: missing; want a name, such as catalog",
		"- {name: catalog, action: '*', want: deny}":              "t.yml:1:3: [0].type: missing; want the type of what is named, such as registry",
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
