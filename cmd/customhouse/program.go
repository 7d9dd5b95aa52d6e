package main

import (
	"context"
	"net/netip"

	"customhouse"
	"customhouse/authn"
	"customhouse/authz"
	"customhouse/config"
	"customhouse/policy"
	"customhouse/program"
	"customhouse/server"
)

// execProgram builds the program of a section exec, nil if there is none; likewise the three that follow.
func (p parts) execProgram(e config.ExecProgram) (program.Asker, error) {
	if e.Command == "" {
		return nil, nil
	}
	asker, err := program.NewExec(e.Command, program.ExecOptions{
		Args: e.Args, Environment: e.Environment, CleanEnvironment: e.CleanEnvironment, Timeout: e.Timeout,
		Processes: e.MaxProcesses, AllowSpace: e.AllowSpace, Log: p.log,
	})
	if err != nil {
		return nil, err
	}
	return program.NewCache(asker, program.CacheOptions{Allowed: e.Cache, Denied: e.CacheDenied}), nil
}

func (p parts) workerProgram(w config.WorkerProgram) (program.Asker, error) {
	if w.Command == "" {
		return nil, nil
	}
	asker, err := program.NewWorker(w.Command, program.WorkerOptions{
		Args: w.Args, Environment: w.Environment, CleanEnvironment: w.CleanEnvironment, Timeout: w.Timeout,
		Processes: w.Processes, Pipeline: w.Pipeline, Log: p.log,
	})
	if err != nil {
		return nil, err
	}
	return program.NewCache(asker, program.CacheOptions{Allowed: w.Cache, Denied: w.CacheDenied}), nil
}

func (p parts) webhookProgram(w config.WebhookProgram) (program.Asker, error) {
	if w.URL == "" {
		return nil, nil
	}
	var allow []netip.Prefix
	for _, text := range w.AllowAddresses {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, err
		}
		allow = append(allow, prefix)
	}
	asker, err := program.NewWebhook(w.URL, program.WebhookOptions{
		Timeout: w.Timeout, Retries: w.Retries, Secret: w.Secret, Authorization: w.Authorization,
		Certificate: w.Certificate, Key: w.Key, CA: w.CA, Plaintext: w.AllowPlaintext, Allow: allow, Log: p.log,
	})
	if err != nil {
		return nil, err
	}
	return program.NewCache(asker, program.CacheOptions{Allowed: w.Cache, Denied: w.CacheDenied}), nil
}

func (p parts) pluginProgram(g config.PluginProgram) (program.Asker, error) {
	if g.File == "" {
		return nil, nil
	}
	asker, err := program.NewPlugin(context.Background(), g.File, program.PluginOptions{
		Environment: g.Environment, Timeout: g.Timeout, Memory: int64(g.Memory), Instances: g.Instances, Log: p.log,
	})
	if err != nil {
		return nil, err
	}
	return program.NewCache(asker, program.CacheOptions{Allowed: g.Cache, Denied: g.CacheDenied}), nil
}

// loginProgram returns what builds an authenticator of a program, which is nil where none is configured.
func loginProgram[T any](name string, section func(*config.Config) T, build func(parts, T) (program.Asker, error)) func(parts, *config.Config) (authn.Authenticator, error) {
	return func(p parts, c *config.Config) (authn.Authenticator, error) {
		asker, err := build(p, section(c))
		if asker == nil || err != nil {
			return nil, err
		}
		return authn.NewProgram(name, loginAsker{counted{asker, name, p.metrics}}, authn.ProgramOptions{AllowSpace: name == "exec" && c.Auth.Exec.AllowSpace}), nil
	}
}

// accessProgram is loginProgram for authorizers.
func accessProgram[T any](name string, section func(*config.Config) T, build func(parts, T) (program.Asker, error)) func(parts, *config.Config) (authz.Authorizer, error) {
	return func(p parts, c *config.Config) (authz.Authorizer, error) {
		asker, err := build(p, section(c))
		if asker == nil || err != nil {
			return nil, err
		}
		return authz.NewProgram(name, accessAsker{counted{asker, name, p.metrics}}), nil
	}
}

// counted is a program whose failures are counted.
type counted struct {
	program.Asker
	name    string
	metrics *server.Metrics
}

// Ask implements program.Asker. That whoever asked has left is no failure.
func (c counted) Ask(ctx context.Context, q program.Question) (program.Answer, error) {
	answer, err := c.Asker.Ask(ctx, q)
	if err != nil && ctx.Err() == nil {
		c.metrics.ProgramFailed(c.name)
	}
	return answer, err
}

// loginAsker puts a login as a question to a program.
type loginAsker struct{ program.Asker }

// AskLogin implements authn.LoginAsker.
func (a loginAsker) AskLogin(ctx context.Context, cred customhouse.Credential) (map[string][]string, error) {
	answer, err := a.Ask(ctx, program.Question{
		Kind: program.Authenticate, Account: cred.Account, Password: cred.Secret, IP: cred.Client,
	})
	switch {
	case err != nil:
		return nil, err
	case answer.Result == program.NoMatch:
		return nil, authn.ErrUnknownUser
	case answer.Result != program.Allow:
		return nil, authn.ErrWrongPassword
	}
	return answer.Labels, nil
}

// accessAsker puts a query as a question to a program.
type accessAsker struct{ program.Asker }

// AskAccess implements authz.AccessAsker.
func (a accessAsker) AskAccess(ctx context.Context, q policy.Query, actions []customhouse.Action) (authz.ProgramAnswer, error) {
	answer, err := a.Ask(ctx, program.Question{
		Kind: program.Authorize, Account: q.Identity.Account, Labels: q.Identity.Labels, IP: q.Client, Service: q.Service,
		Type: q.Type, Name: q.Name, Actions: actions,
	})
	if err != nil {
		return authz.ProgramAnswer{}, err
	}
	return authz.ProgramAnswer{
		Undecided: answer.Result == program.NoMatch, Allowed: answer.Actions, Reason: answer.Reason, Message: answer.Message,
	}, nil
}
