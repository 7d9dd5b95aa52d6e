package config

import (
	"fmt"
	"slices"
	"strings"
)

// Authorize is the section authorize.
type Authorize struct {
	// The order in which those who decide are asked, as far as they are configured; the first with something to say about
	// an action decides about it. Those that the list leaves out follow in the order of the default.
	Order []Decider `yaml:"order"`

	// An access list in docker_auth's table xorm_acl_entry of a SQL database.
	SQL StoredSQL `yaml:"sql"`

	// An access list in a collection of MongoDB, as docker_auth keeps it.
	Mongo StoredMongo `yaml:"mongo"`

	// A Casbin model and its policy. It always has something to say: nobody after it is asked.
	Casbin Casbin `yaml:"casbin"`

	// A program of yours that is started to ask who may do what.
	Exec ExecProgram `yaml:"exec"`

	// A program of yours that keeps running and is asked who may do what.
	Worker WorkerProgram `yaml:"worker"`

	// A URL of yours that is asked who may do what.
	Webhook WebhookProgram `yaml:"webhook"`

	// A WebAssembly module of yours that is asked who may do what.
	Plugin PluginProgram `yaml:"plugin"`
}

// Casbin is the section authorize.casbin.
type Casbin struct {
	// The file with the model. A request has account, type, name, service, ip, action and labels (as JSON), in this order;
	// labelMatch(r.labels, p.labels) tells whether the account has all of the labels of a policy. It is read again when it
	// changes.
	Model string `yaml:"model"`

	// The file with the policy, as CSV. It is read again when it changes.
	Policy string `yaml:"policy"`
}

// Decider is a key of the section authorize that permission comes from, or the rules of the file.
type Decider string

// deciders are all there are, in the order in which they are asked unless a file says otherwise: docker_auth's.
var deciders = []Decider{"rules", "mongo", "sql", "exec", "worker", "webhook", "plugin", "casbin"}

// Sequence returns those who decide in the order in which they are asked: those of Order first.
func (a Authorize) Sequence() []Decider {
	all := slices.Clone(a.Order)
	for _, d := range deciders {
		if !slices.Contains(all, d) {
			all = append(all, d)
		}
	}
	return all
}

func (c *Config) checkAuthorize(p *problems) {
	a := c.Authorize
	for i, d := range a.Order {
		key := fmt.Sprintf("authorize.order[%d]", i)
		p.check(!slices.Contains(a.Order[:i], d), key, "stands twice")
		p.check(slices.Contains(deciders, d), key, "want one of "+strings.Join(deciderNames(), ", "))
	}
	p.check(a.Casbin.Model == "" || a.Casbin.Policy != "", "authorize.casbin.model", "needs authorize.casbin.policy beside it")
	p.check(a.Casbin.Policy == "" || a.Casbin.Model != "", "authorize.casbin.policy", "needs authorize.casbin.model beside it")
	if c.Auth.Off {
		p.check(a.Casbin.Model == "", "authorize.casbin", "has no effect with auth.off; remove one of them")
	}
}

func deciderNames() []string {
	names := make([]string, len(deciders))
	for i, d := range deciders {
		names[i] = string(d)
	}
	return names
}
