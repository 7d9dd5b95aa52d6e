package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"customhouse"
	"customhouse/policy"

	"go.yaml.in/yaml/v4"
)

// Question is an entry of a file of policy tests: an action by somebody on a resource, and the answer that the rules must
// give.
type Question struct {
	Account string              `yaml:"account"` // "" is anonymous
	Labels  map[string][]string `yaml:"labels"`  // beside those that auth.users gives the account
	Claims  map[string]any      `yaml:"claims"`  // of the token that proved the account
	Method  string              `yaml:"method"`  // by which the account logged in
	IP      netip.Addr          `yaml:"ip"`
	Service string              `yaml:"service"` // "" is token.service
	Time    Moment              `yaml:"time"`    // zero is unknown

	Repo string `yaml:"repo"` // short for the name of a resource of type repository
	Type string `yaml:"type"`
	Name string `yaml:"name"`

	// What is known of the content; nil is not known, and "" is none.
	Tag          *string `yaml:"tag"`
	Digest       *string `yaml:"digest"`
	MediaType    *string `yaml:"mediaType"`
	ArtifactType *string `yaml:"artifactType"`

	Action customhouse.Action `yaml:"action"`

	Want    string `yaml:"want"`    // policy.Allow, policy.Deny or policy.Maybe
	Rule    string `yaml:"rule"`    // where the rule stands that must decide, such as "customhouse.yml:42"; "" is any
	Message string `yaml:"message"` // that the rule must have; "" is any

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
	id.Method, id.Claims = q.Method, q.Claims
	query := policy.Query{
		Identity: id, Client: q.IP, Service: cmp.Or(q.Service, c.Token.Service), Type: q.Type, Name: q.Name, Action: q.Action,
		Time: q.Time.Time,
	}
	if q.Repo != "" {
		query.Type, query.Name = customhouse.TypeRepository, q.Repo
	}
	t := &query.Target
	for _, known := range []struct {
		fact  policy.Fact
		value *string
		to    *string
	}{
		{policy.FactTag, q.Tag, &t.Tag}, {policy.FactDigest, q.Digest, &t.Digest},
		{policy.FactMediaType, q.MediaType, &t.MediaType}, {policy.FactArtifactType, q.ArtifactType, &t.ArtifactType},
	} {
		if known.value != nil {
			t.Known |= known.fact
			*known.to = *known.value
		}
	}
	return query
}

// Moment is a time as questions tell it.
type Moment struct{ time.Time }

// UnmarshalText reads a time, or the first moment of a day.
func (m *Moment) UnmarshalText(text []byte) error {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, string(text)); err == nil {
			m.Time = t
			return nil
		}
	}
	return errors.New("want a time, such as 2026-12-31T18:00:00Z, or a day, such as 2026-12-31")
}

// MarshalText writes m as UnmarshalText reads it; the zero Moment is "".
func (m Moment) MarshalText() ([]byte, error) {
	if m.IsZero() {
		return nil, nil
	}
	return []byte(m.Format(time.RFC3339)), nil
}

// noQuestions is what is said of a file without any.
const noQuestions = "no questions are asked here; write them as - {account: alice, repo: team/app, action: pull, want: allow}"

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
	root, err := tree(name, data, noQuestions)
	if err != nil {
		return nil, err
	}
	return readQuestions(name, root)
}

// readQuestions reads the list of questions that root is.
func readQuestions(name string, root *yaml.Node) ([]Question, error) {
	var questions []Question
	d := newDecoder(name)
	d.decode(root, &questions)
	if len(questions) == 0 {
		d.report("", noQuestions)
	}
	for i := range questions {
		key := fmt.Sprintf("[%d]", i)
		questions[i].Source = fmt.Sprintf("%s:%d", name, d.at(key).line)
		for _, e := range questions[i].problems() {
			d.report(join(key, e.Key), e.Message)
		}
		d.report(key+".want", oneOf(questions[i].Want, policy.Allow, policy.Deny, policy.Maybe))
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
	if q.Digest != nil && *q.Digest != "" {
		_, err := customhouse.ParseDigest(*q.Digest)
		p.check(err == nil, "digest", "no digest, such as sha256:...")
	}
	if q.Tag != nil && *q.Tag != "" {
		_, err := customhouse.ParseTag(*q.Tag)
		p.check(err == nil, "tag", "no tag, such as v1; nothing is none")
	}
	p.add("action", oneOf(string(q.Action), "pull", "list", "push", "create", "update", "mount", "tag", "referrer", "delete", "admin", "*"))
	return Errors(p)
}

// Differs says how d differs from the answer that q wants; "" if it does not.
func (q Question) Differs(d policy.Decision) string {
	got := d.Answer()
	stands := q.Rule == "" || d.Source == q.Rule || strings.HasSuffix(d.Source, "/"+q.Rule)
	switch {
	case got != q.Want:
		return fmt.Sprintf("want %s, got %s: %s", q.Want, got, d.Reason)
	case !stands:
		return fmt.Sprintf("want %s by %s, got %s: %s", q.Want, q.Rule, got, d.Reason)
	case q.Message != "" && q.Message != d.Message:
		return fmt.Sprintf("want the message %q, got %q", q.Message, d.Message)
	}
	return ""
}
