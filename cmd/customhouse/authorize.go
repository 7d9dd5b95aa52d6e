package main

import (
	"cmp"
	"context"
	"fmt"

	"customhouse"
	"customhouse/authz"
	"customhouse/config"
)

// authorizer builds whoever decides who may do what, in the order in which they are asked.
func (p parts) authorizer(c *config.Config) (*authz.Chain, error) {
	var members []authz.Authorizer
	for _, decider := range c.Authorize.Sequence() {
		build, ok := authorizers[decider]
		if !ok {
			continue
		}
		member, err := build(p, c)
		if err != nil {
			return nil, fmt.Errorf("authorize.%s: %w", decider, err)
		}
		if member != nil {
			p.closes(member)
			members = append(members, member)
		}
	}
	if err := p.shadow(c, members); err != nil {
		return nil, err
	}
	return authz.NewChain(members...)
}

// shadow puts the shadow policy of a configuration beside the rules.
func (p parts) shadow(c *config.Config, members []authz.Authorizer) error {
	if c.Shadowed == nil {
		return nil
	}
	shadow, err := c.Shadowed.Compile(c.Shadowed.Rules)
	if err != nil {
		return fmt.Errorf("shadow: %w", err)
	}
	for i, m := range members {
		rules, ok := m.(authz.Rules)
		if !ok {
			continue
		}
		o := authz.ShadowOptions{Last: i == len(members)-1, Counts: p.shadowed, Log: p.log}
		if p.index != nil {
			o.Store = p.index
		}
		if p.audit != nil {
			o.First = p.accountDifference
		}
		beside := authz.NewShadow(rules, shadow, o)
		p.closes(beside)
		members[i] = beside
	}
	return nil
}

// authorizers build the members of the chain. One returns nil where it is not configured.
var authorizers = map[config.Decider]func(parts, *config.Config) (authz.Authorizer, error){
	"rules":   parts.rules,
	"exec":    accessProgram("exec", func(c *config.Config) config.ExecProgram { return c.Authorize.Exec }, parts.execProgram),
	"worker":  accessProgram("worker", func(c *config.Config) config.WorkerProgram { return c.Authorize.Worker }, parts.workerProgram),
	"webhook": accessProgram("webhook", func(c *config.Config) config.WebhookProgram { return c.Authorize.Webhook }, parts.webhookProgram),
	"plugin":  accessProgram("plugin", func(c *config.Config) config.PluginProgram { return c.Authorize.Plugin }, parts.pluginProgram),
	"casbin":  parts.casbin,
	"sql":     parts.storedSQL,
	"mongo":   parts.storedMongo,
}

func (p parts) rules(c *config.Config) (authz.Authorizer, error) {
	rules, err := c.Compile(c.Rules)
	if err != nil {
		return nil, err
	}
	p.chained.trace = rules.Explain
	return authz.NewRules(rules), nil
}

func (p parts) casbin(c *config.Config) (authz.Authorizer, error) {
	files := c.Authorize.Casbin
	if files.Model == "" {
		return nil, nil
	}
	return authz.NewCasbin(files.Model, files.Policy, authz.CasbinOptions{Log: p.log})
}

// accountDifference keeps in the audit log that the shadow policy differs in some way.
func (p parts) accountDifference(d customhouse.Difference) {
	err := p.audit.Audit(context.Background(), &customhouse.AuditEntry{
		Time: d.First.UTC(), Kind: customhouse.AuditDifference, Allowed: d.Live == customhouse.AnswerAllow,
		Account: d.Account, Type: d.Type, Name: d.Name, Tag: d.Tag, Actions: []customhouse.Action{d.Action}, Rule: d.LiveRule, Stranger: d.Account == "",
		Detail: fmt.Sprintf("the shadow policy says %s by %s", d.Shadow, cmp.Or(d.ShadowRule, "no rule")),
	})
	if err != nil {
		p.log.Error("a difference of the shadow policy is not in the audit log", "error", err)
	}
}
