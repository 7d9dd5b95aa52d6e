package config

import (
	"fmt"
	"net/netip"
	"strings"

	"customhouse"
	"customhouse/policy"
)

// Question is an entry of a file of policy tests: an action by somebody on a resource, and the answer that the rules must
// give.
type Question struct {
	Account string              `yaml:"account"` // "" is anonymous
	Labels  map[string][]string `yaml:"labels"`  // beside those that auth.users gives the account
	IP      netip.Addr          `yaml:"ip"`

	Repo string `yaml:"repo"` // short for the name of a resource of type repository
	Type string `yaml:"type"`
	Name string `yaml:"name"`

	Action customhouse.Action `yaml:"action"`

	Want string `yaml:"want"` // policy.Allow or policy.Deny
	Rule string `yaml:"rule"` // where the rule stands that must decide, such as "customhouse.yml:42"; "" is any

	Source string `yaml:"-"` // where the question stands, such as "policy_test.yml:3"
}

// Query returns q as a question to the rules of c.
func (c *Config) Query(q Question) policy.Query {
	id := customhouse.Identity{Account: q.Account, Labels: map[string][]string{}}
	for _, labels := range []map[string][]string{c.Auth.Users[q.Account].Labels, q.Labels} {
		for key, values := range labels {
			id.Labels[key] = append(id.Labels[key], values...)
		}
	}
	query := policy.Query{Identity: id, Client: q.IP, Service: c.Token.Service, Type: q.Type, Name: q.Name, Action: q.Action}
	if q.Repo != "" {
		query.Type, query.Name = customhouse.TypeRepository, q.Repo
	}
	return query
}

// LoadQuestions reads the file of policy tests at path. The error is Errors, or that of reading the file.
func LoadQuestions(path string) ([]Question, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	return ParseQuestions(path, data)
}

// ParseQuestions reads data, the content of a file of policy tests that messages call name: a list of Questions, as
// strictly as a configuration. The error is Errors.
func ParseQuestions(name string, data []byte) ([]Question, error) {
	const none = "no questions are asked here; write them as - {account: alice, repo: team/app, action: pull, want: allow}"
	root, err := tree(name, data, none)
	if err != nil {
		return nil, err
	}
	var questions []Question
	d := newDecoder(name)
	d.decode(root, &questions)
	if len(questions) == 0 {
		d.report("", none)
	}
	for i := range questions {
		key := fmt.Sprintf("[%d]", i)
		questions[i].Source = fmt.Sprintf("%s:%d", name, d.at(key).line)
		for _, e := range questions[i].problems() {
			d.report(join(key, e.Key), e.Message)
		}
		d.report(key+".want", oneOf(questions[i].Want, policy.Allow, policy.Deny))
	}
	if err := d.errs.sorted(); err != nil {
		return nil, err
	}
	return questions, nil
}

// Validate returns what is wrong with q as a question, whatever answer is wanted; the error is Errors without file and
// line.
func (q Question) Validate() error { return q.problems().sorted() }

func (q Question) problems() Errors {
	var p problems
	p.check(q.Account == "" || customhouse.ValidAccount(q.Account), "account", "no name of an account: 1 to 255 bytes without spaces and control characters")
	switch {
	case q.Repo != "":
		_, err := customhouse.ParseRepo(q.Repo)
		p.check(err == nil, "repo", "no name of a repository, such as team/app")
		p.check(q.Type == "" && q.Name == "", "repo", "is short for type: repository and name; remove it or them")
	case q.Type == "" && q.Name == "":
		p.add("repo", "missing; want the name of a repository, or type and name of something else")
	case q.Type == "":
		p.add("type", "missing; want the type of what is named, such as registry")
	case q.Name == "":
		p.add("name", "missing; want a name, such as catalog")
	}
	p.add("action", oneOf(string(q.Action), "pull", "list", "push", "create", "update", "mount", "tag", "referrer", "delete", "admin", "*"))
	return Errors(p)
}

// Differs says how d differs from the answer that q wants; "" if it does not.
func (q Question) Differs(d policy.Decision) string {
	got := policy.Deny
	if d.Allowed {
		got = policy.Allow
	}
	stands := q.Rule == "" || d.Source == q.Rule || strings.HasSuffix(d.Source, "/"+q.Rule)
	switch {
	case got != q.Want:
		return fmt.Sprintf("want %s, got %s: %s", q.Want, got, d.Reason)
	case !stands:
		return fmt.Sprintf("want %s by %s, got %s: %s", q.Want, q.Rule, got, d.Reason)
	}
	return ""
}
