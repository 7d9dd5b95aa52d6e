package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"customhouse"
	"customhouse/authn"
	"customhouse/config"
	"customhouse/index"

	"github.com/spf13/cobra"
)

// machineRoom makes robots and tokens at the command line, by the configuration that holds.
type machineRoom struct {
	*authn.Machines
	chain  *authn.Chain
	config *config.Config
}

// withMachines calls do with what makes robots and tokens in the data folder.
func withMachines(cmd *cobra.Command, s *settings, make bool, do func(context.Context, *machineRoom) error) error {
	c, _, err := s.load()
	if err != nil {
		return err
	}
	if c.Auth.Off {
		return errors.New("auth.off is set: there are no accounts")
	}
	return withIndex(cmd, s, make, func(ctx context.Context, db *index.DB) error {
		p := newParts(slog.New(slog.DiscardHandler), db, c.Health)
		p.ends, p.chained = &ends{}, &chained{}
		defer p.ends.end()
		chain, err := p.chain(c)
		if err != nil {
			return err
		}
		return do(ctx, &machineRoom{p.machines(c), chain, c})
	})
}

// person returns who an account is to the source that vouches for it, which is the first that knows it unless it is named.
func (m *machineRoom) person(ctx context.Context, account, source string) (customhouse.Identity, error) {
	hint := "`customhouse user list` shows the accounts in the data folder; --source names a source that cannot be asked, such as exec"
	if source == "" {
		var err error
		if source, err = m.chain.Owner(ctx, account, ""); err != nil {
			return customhouse.Identity{}, err
		}
	}
	ours := func(source string) bool { return source == authn.RobotsName || source == authn.PersonalTokensName }
	if ours(source) {
		return customhouse.Identity{}, withHint(fmt.Errorf("account %q is a robot", account), "a robot has secrets of its own: `customhouse robot rotate`")
	}
	if names := m.chain.Names(); source != "" && !slices.Contains(names, source) {
		return customhouse.Identity{}, withHint(fmt.Errorf("the configuration has no source of accounts called %q", source), "there are "+strings.Join(slices.DeleteFunc(slices.Clone(names), ours), ", "))
	}
	id, err := m.chain.Lookup(ctx, source, account)
	switch {
	case errors.Is(err, authn.ErrCannotLookUp):
		return customhouse.Identity{Account: account, Method: source}, nil
	case errors.Is(err, authn.ErrUnknownUser):
		return customhouse.Identity{}, withHint(fmt.Errorf("no source of accounts knows %q", account), hint)
	}
	return id, err
}

// print prints a secret alone to standard output, and what to do with it to standard error.
func (m *machineRoom) print(cmd *cobra.Command, what, account string, secret customhouse.Secret, c customhouse.MachineCredential) error {
	host := m.config.Listen
	if _, after, ok := strings.Cut(m.config.PublicURL, "://"); ok {
		host = strings.TrimSuffix(after, "/")
	}
	if strings.HasPrefix(host, ":") {
		host = "127.0.0.1" + host
	}
	fmt.Fprintf(cmd.ErrOrStderr(), `%s %s of %s: for %s, from %s, until %s. It is shown this once.
  docker login %s --username %s --password-stdin
  kubectl create secret docker-registry customhouse --docker-server=%s --docker-username=%s --docker-password=...
`, what, c.ID, account, formatScopes(c.Scopes, "everything that the account may do"), formatNetworks(c.Networks, "anywhere"), timeOr(c.Expires, "it is revoked"),
		host, shellWord(account), host, shellWord(account))
	_, err := fmt.Fprintln(cmd.OutOrStdout(), string(secret))
	return err
}

// shellWord writes a word for a shell.
func shellWord(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@._+-/") == "" && s[0] != '-' {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// credentialFlags are the flags that say what a secret is for.
type credentialFlags struct {
	name             string
	scopes, networks []string
	expires          string
}

func (f *credentialFlags) addFlags(cmd *cobra.Command, name string) {
	cmd.Flags().StringVar(&f.name, "name", name, "`NAME` that tells it from others")
	cmd.Flags().StringArrayVar(&f.scopes, "scope", nil, "what it is for, as `REPOSITORY[:TAG]:ACTIONS`, such as team/**:pull or team/app:v*:pull,push; may be repeated; without it all that the account may do")
	cmd.Flags().StringArrayVar(&f.networks, "network", nil, "`PREFIX` that it may be used from, such as 10.0.0.0/8; may be repeated; without it from anywhere")
	cmd.Flags().StringVar(&f.expires, "expires", "", "`TIME` for which it is good, such as 30d, 12h or never; without it auth.machines.expiration")
}

func (f *credentialFlags) read() (customhouse.NewCredential, error) {
	n := customhouse.NewCredential{Name: f.name}
	for _, text := range f.scopes {
		scope, err := customhouse.ReadScope(text)
		if err != nil {
			return n, withHint(err, "write a scope as team/**:pull or, with a tag, as team/app:v*:pull,push")
		}
		n.Scopes = append(n.Scopes, scope)
	}
	for _, text := range f.networks {
		network, err := customhouse.ParseNetwork(text)
		if err != nil {
			return n, err
		}
		n.Networks = append(n.Networks, network)
	}
	if f.expires == "" {
		return n, nil
	}
	var err error
	if n.Lifetime, err = parseLifetime(f.expires); err != nil || n.Lifetime == 0 {
		return n, withHint(fmt.Errorf("invalid time %q", f.expires), "want days, such as 30d, a time, such as 12h, or never")
	}
	return n, nil
}

// parseLifetime reads days (30d), a time (12h), or never, which is negative.
func parseLifetime(s string) (time.Duration, error) {
	if s == "never" {
		return -1, nil
	}
	if n, ok := strings.CutSuffix(s, "d"); ok {
		days, err := strconv.ParseUint(n, 10, 16)
		return time.Duration(days) * 24 * time.Hour, err
	}
	d, err := time.ParseDuration(s)
	if d < 0 {
		err = errors.New("negative")
	}
	return d, err
}

func formatScopes(scopes []customhouse.Scope, all string) string {
	if scopes == nil {
		return all
	}
	texts := make([]string, len(scopes))
	for i, s := range scopes {
		texts[i] = s.String()
	}
	return strings.Join(texts, " ")
}

func formatNetworks(networks []netip.Prefix, all string) string {
	if networks == nil {
		return all
	}
	texts := make([]string, len(networks))
	for i, n := range networks {
		texts[i] = n.String()
	}
	return strings.Join(texts, " ")
}
