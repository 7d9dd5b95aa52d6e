package policy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"customhouse"
	"customhouse/policy"
)

// vector is a question to docker_auth, and what it has answered.
type vector struct {
	N       int    `json:"n"`
	ID      string `json:"id"`
	Rules   string `json:"rules_yaml"`
	Request struct {
		Account, Type, Name, Service string
		IP                           netip.Addr
		Actions                      list
		Labels                       map[string][]string
	} `json:"request"`
	Observed struct {
		Outcome string
		Actions list
	} `json:"observed"`
}

func vectors(t testing.TB, file string) []vector {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	for line := range bytes.Lines(data) {
		var v vector
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	return all
}

// rules reads the rules as docker_auth does, down to the keys that it does not know and does not mind; what made it
// panic is an error.
func (v vector) rules() ([]policy.Rule, error) {
	var entries []struct {
		Match *struct {
			Account, Type, Name, Service, IP *string
			Labels                           map[string]string
		}
		Actions list
	}
	if err := yaml.Unmarshal([]byte(v.Rules), &entries); err != nil {
		return nil, err
	}
	var rules []policy.Rule
	for _, e := range entries {
		if e.Match == nil {
			return nil, fmt.Errorf("no match")
		}
		rules = append(rules, policy.Rule{Match: policy.Match{
			Account: policy.Just(e.Match.Account), Type: policy.Just(e.Match.Type), Name: policy.Just(e.Match.Name),
			Service: policy.Just(e.Match.Service), IP: policy.Just(e.Match.IP), Labels: policy.JustEach(e.Match.Labels),
		}, Actions: e.Actions})
	}
	return rules, nil
}

// answer is what a policy in the dialect of docker_auth says to v, in the words of docker_auth.
func (v vector) answer(o policy.DockerAuthOptions) string {
	rules, err := v.rules()
	if err != nil {
		return "refused"
	}
	p, err := policy.CompileDockerAuth(rules, o)
	if err != nil {
		return "refused"
	}
	return askOf(p, v.query(), v.Request.Actions)
}

// askOf returns the actions that p allows.
func askOf(p *policy.Policy, q policy.Query, actions list) string {
	allowed := list{}
	undecided := 0
	for i, d := range p.DecideAll(q, actions) {
		if d.Allowed {
			allowed = append(allowed, actions[i])
		}
		if d.Undecided() {
			undecided++
		}
	}
	if undecided == len(actions) && undecided > 0 {
		return "no match"
	}
	return fmt.Sprint(allowed)
}

// want is what docker_auth says to v. It sorts what it allows, unless it allows everything; the order of a query is ours.
func (v vector) want() string {
	switch v.Observed.Outcome {
	case "match":
		allowed := list{}
		for _, a := range v.Request.Actions {
			if slices.Contains(v.Observed.Actions, a) {
				allowed = append(allowed, a)
			}
		}
		return fmt.Sprint(allowed)
	case "no_match":
		return "no match"
	}
	return "refused" // it refuses the rules, or they make it panic
}

// hostile are the vectors in which somebody's name or label is a pattern, with what we answer. docker_auth's answer
// takes RawPlaceholders.
var hostile = map[int]string{
	66: "no match", 67: "no match", 68: "no match", 79: "no match", // captures
	94: "no match", 96: "no match", 106: "no match", // labels
}

// TestDockerAuthVectors asks what docker_auth has been asked, and wants its answers.
func TestDockerAuthVectors(t *testing.T) {
	for _, v := range vectors(t, "testdata/docker_auth_acl.jsonl") {
		if got := v.answer(policy.DockerAuthOptions{RawPlaceholders: true}); got != v.want() {
			t.Errorf("%d %s, raw: %s, want %s", v.N, v.ID, got, v.want())
		}
		want, ok := hostile[v.N]
		if !ok {
			want = v.want()
		} else if want == v.want() {
			t.Errorf("%d %s is no deviation", v.N, v.ID)
		}
		if got := v.answer(policy.DockerAuthOptions{}); got != want {
			t.Errorf("%d %s: %s, want %s", v.N, v.ID, got, want)
		}
	}
}

// TestDockerAuthLintsOffices: who may do anything with names on the top may not be meant to keep accounts.
func TestDockerAuthLintsOffices(t *testing.T) {
	repository := policy.Values{"repository"}
	for pattern, want := range map[string]bool{"*": true, "a*": true, "/^p/": true, "accounts": true, "dev-*": false, "*/*": false, "/.*/": false, "/.+/": false, "${account}": false, "${account}/*": false} {
		for _, typ := range []policy.Values{nil, repository} {
			p, err := policy.CompileDockerAuth([]policy.Rule{{Match: policy.Match{Account: policy.Values{"eve"}, Type: typ, Name: policy.Values{pattern}}, Actions: list{"*"}}}, policy.DockerAuthOptions{})
			if err != nil {
				t.Fatal(err)
			}
			got := slices.ContainsFunc(p.Lint(time.Time{}), func(f policy.Finding) bool { return strings.Contains(f.Message, "* is admin of registry:") })
			if got != (want && typ == nil) {
				t.Errorf("Lint of name %s and type %v tells of offices: %v", pattern, typ, got)
			}
		}
	}
}

// Who is logged in is written /.+/ in docker_auth's own examples: there is nothing to anchor.
func TestDockerAuthLintsNoAnything(t *testing.T) {
	for _, pattern := range []string{"/.+/", "/.*/", "/^team-.+/", "/.+@example\\.com$/"} {
		p, err := policy.CompileDockerAuth([]policy.Rule{{Match: policy.Match{Account: policy.Values{pattern}}, Actions: []customhouse.Action{customhouse.Pull}}}, policy.DockerAuthOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if findings := p.Lint(time.Time{}); len(findings) > 0 {
			t.Errorf("Lint of %s = %v, want nothing", pattern, findings)
		}
	}
}
