package authz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/casbin/casbin/v2"

	"customhouse"
	"customhouse/policy"
)

// CasbinOptions are the settings of a Casbin.
type CasbinOptions struct {
	Log *slog.Logger // told of what cannot be evaluated; nil is silent
}

// Casbin decides by a model and a policy of Casbin, as docker_auth does: a request is account, type, name, service, ip,
// action and the labels as JSON, in this order, and each action is a request. labelMatch(r.labels, p.labels) tells
// whether the account has, for each label of a policy, all of its values. What cannot be evaluated is denied. It has
// something to say about every action.
//
// The files are read once: what else they say later takes another Casbin.
type Casbin struct {
	enforcer *casbin.Enforcer
	log      *slog.Logger
}

var _ Authorizer = (*Casbin)(nil)

// fields of a request.
var fields = []string{"account", "type", "name", "service", "ip", "action", "labels"}

// NewCasbin reads a model and a policy. It refuses what would fail with each request: a model for other requests, a
// matcher that cannot be evaluated, an ip in the policy that is none, and labels that are no JSON, which docker_auth
// takes for no condition at all.
func NewCasbin(model, policy string, o CasbinOptions) (c *Casbin, err error) {
	defer func() { // Casbin panics on some texts
		if r := recover(); r != nil {
			c, err = nil, fmt.Errorf("%s, %s: %v", model, policy, r)
		}
	}()
	e, err := casbin.NewEnforcer(model, policy)
	if err != nil {
		return nil, fmt.Errorf("%s, %s: %w", model, policy, err)
	}
	c = &Casbin{e, o.Log}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	e.AddFunction("labelMatch", labelMatch)
	if r := e.GetModel()["r"]["r"]; r == nil || len(r.Tokens) != len(fields) {
		return nil, fmt.Errorf("%s: want a request_definition of %d fields: r = %s", model, len(fields), strings.Join(fields, ", "))
	}
	if err := c.checkColumns("ipMatch", isIP); err != nil {
		return nil, fmt.Errorf("%s: %w", policy, err)
	}
	if err := c.checkColumns("labelMatch", isLabels); err != nil {
		return nil, fmt.Errorf("%s: %w", policy, err)
	}
	if _, err := e.Enforce("", "", "", "", "0.0.0.0", "", "{}"); err != nil {
		return nil, fmt.Errorf("%s: a matcher cannot be evaluated: %w", model, shorten(err))
	}
	return c, nil
}

// checkColumns checks the values of the policy that are the second argument of a function in a matcher.
func (c *Casbin) checkColumns(function string, check func(string) error) error {
	m := c.enforcer.GetModel()
	call := regexp.MustCompile(function + `\([^(),]*,\s*(p[0-9]*)_(\w+)\s*\)`)
	for _, matcher := range m["m"] {
		for _, found := range call.FindAllStringSubmatch(matcher.Value, -1) {
			p := m["p"][found[1]]
			if p == nil {
				continue
			}
			column := slices.Index(p.Tokens, found[1]+"_"+found[2])
			for _, rule := range p.Policy {
				if column < 0 || column >= len(rule) {
					continue
				}
				if err := check(rule[column]); err != nil {
					return fmt.Errorf("%s, %s: %s: %w", found[1], strings.Join(rule, ", "), found[2], err)
				}
			}
		}
	}
	return nil
}

func isIP(s string) error {
	if _, _, err := net.ParseCIDR(s); err != nil && net.ParseIP(s) == nil {
		return fmt.Errorf("%q is neither an address nor a CIDR prefix", s)
	}
	return nil
}

func isLabels(s string) error {
	var labels map[string][]string
	if err := json.Unmarshal([]byte(s), &labels); err != nil {
		return errors.New(`want labels as JSON, such as {"group":["dev"]}`)
	}
	return nil
}

// labelMatch tells whether labels have, for each label of want, all of its values; both are JSON.
func labelMatch(args ...any) (any, error) {
	if len(args) != 2 {
		return false, errors.New("labelMatch takes the labels of a request and those of a policy")
	}
	var labels, want map[string][]string
	for i, to := range []*map[string][]string{&labels, &want} {
		text, ok := args[i].(string)
		if !ok || json.Unmarshal([]byte(text), to) != nil {
			return false, errors.New("labelMatch: labels that are no JSON")
		}
	}
	for key, values := range want {
		for _, v := range values {
			if !slices.Contains(labels[key], v) {
				return false, nil
			}
		}
	}
	return true, nil
}

// Name returns "casbin".
func (c *Casbin) Name() string { return "casbin" }

// Authorize implements Authorizer. Parts of actions, of which docker_auth does not know, are asked about as the whole.
func (c *Casbin) Authorize(_ context.Context, q policy.Query, actions []customhouse.Action) ([]policy.Decision, error) {
	labels, err := json.Marshal(q.Identity.Labels)
	if err != nil {
		return nil, err
	}
	decisions := make([]policy.Decision, len(actions))
	for i, action := range actions {
		decisions[i] = c.enforce(&q, action.Whole(), string(labels))
	}
	return decisions, nil
}

// enforce asks about one action.
func (c *Casbin) enforce(q *policy.Query, action customhouse.Action, labels string) (d policy.Decision) {
	d = policy.Decision{Rule: -1, Source: c.Name(), By: c.Name(), Reason: "no policy of casbin allows it"}
	failed := func(err error) {
		d.Allowed, d.Reason = false, "casbin cannot evaluate it"
		c.log.Error("casbin cannot evaluate a request, which is denied", "account", q.Identity.Account, "type", q.Type, "name", q.Name, "action", action, "error", shorten(err))
	}
	defer func() {
		if r := recover(); r != nil {
			failed(fmt.Errorf("panic: %v", r))
		}
	}()
	client := ""
	if q.Client.IsValid() {
		client = q.Client.Unmap().WithZone("").String()
	}
	allowed, by, err := c.enforcer.EnforceEx(q.Identity.Account, q.Type, q.Name, q.Service, client, string(action), labels)
	switch {
	case err != nil:
		failed(err)
	case allowed:
		d.Allowed, d.Reason = true, "allowed by casbin"
		if len(by) > 0 {
			d.Reason += ": " + strings.Join(by, ", ")
		}
	case len(by) > 0:
		d.Reason = "denied by casbin: " + strings.Join(by, ", ")
	}
	return d
}

// shorten leaves out the stack that Casbin appends to the message of a panic.
func shorten(err error) error {
	line, _, more := strings.Cut(err.Error(), "\n")
	if !more {
		return err
	}
	return errors.New(line)
}
