package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"customhouse"
	"customhouse/authn"
	"customhouse/index"

	"github.com/spf13/cobra"
)

func userCommand() *cobra.Command {
	var s settings
	cmd := group(&cobra.Command{
		Use:   "user",
		Short: "Keep accounts in the data folder",
		Long: `Accounts that are kept in the data folder may log in unless auth.accounts is false. What they may do is up to
the rules of the configuration; without any, an account labelled role=admin may do everything and others nothing.

A server that runs on the folder takes changes up within a second.`,
		Example: `  customhouse user add alice --label role=admin
  customhouse user list`,
	}, userAddCommand(&s), userListCommand(&s), userPasswdCommand(&s), userRemoveCommand(&s))
	s.addFlags(cmd)
	return cmd
}

func userAddCommand(s *settings) *cobra.Command {
	var labels []string
	var source passwordSource
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add an account",
		Long: `Add makes an account with a password that is asked for at the terminal, read from standard input or made up.
Labels are facts that rules may ask for; a label that is given twice has two values.`,
		Example: `  customhouse user add alice --label role=admin
  customhouse user add ci --label group=ci --label group=nightly --generate`,
		Args: takes(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			account := customhouse.Account{Created: time.Now()}
			var err error
			if account.Name, err = parseAccount(args[0]); err != nil {
				return err
			}
			if account.Labels, err = parseLabels(labels); err != nil {
				return err
			}
			return withIndex(cmd, s, mayMake, func(ctx context.Context, db *index.DB) error {
				switch _, err := db.Account(ctx, account.Name); {
				case err == nil:
					return withHint(fmt.Errorf("there is an account %q", account.Name), "`customhouse user passwd` changes its password")
				case !errors.Is(err, customhouse.ErrNotFound):
					return err
				}
				switch _, err := db.Robot(ctx, account.Name); {
				case err == nil:
					return withHint(fmt.Errorf("there is a robot %q", account.Name), "choose another name, or remove it with `customhouse robot remove`")
				case !errors.Is(err, customhouse.ErrNotFound):
					return err
				}
				return putAccount(ctx, cmd, db, account, source)
			})
		},
	}
	cmd.Flags().StringArrayVar(&labels, "label", nil, "`KEY=VALUE` that rules may ask for; may be repeated")
	source.addFlags(cmd)
	return cmd
}

func userListCommand(s *settings) *cobra.Command {
	var asJSON bool
	return jsonFlag(&cobra.Command{
		Use:   "list",
		Short: "List the accounts",
		Args:  takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withIndex(cmd, s, mustExist, func(ctx context.Context, db *index.DB) error {
				accounts, err := db.Accounts(ctx)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), listed(accounts, func(a customhouse.Account) listedAccount {
						return listedAccount{a.Name, utc(a.Created), a.Labels}
					}))
				}
				return table(cmd.OutOrStdout(), "NAME\tCREATED\tLABELS", func(w io.Writer) {
					for _, a := range accounts {
						fmt.Fprintf(w, "%s\t%s\t%s\n", a.Name, a.Created.UTC().Format(time.RFC3339), formatLabels(a.Labels))
					}
				})
			})
		},
	}, &asJSON, "name, created and labels")
}

func userPasswdCommand(s *settings) *cobra.Command {
	var source passwordSource
	cmd := &cobra.Command{
		Use:     "passwd NAME",
		Short:   "Change the password of an account",
		Example: "  customhouse user passwd alice",
		Args:    takes(1),

		ValidArgsFunction: completeAccounts(s),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withIndex(cmd, s, mustExist, func(ctx context.Context, db *index.DB) error {
				account, err := db.Account(ctx, args[0])
				if err != nil {
					return noAccount(err, args[0])
				}
				return putAccount(ctx, cmd, db, account, source)
			})
		},
	}
	source.addFlags(cmd)
	return cmd
}

func userRemoveCommand(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:     "remove NAME",
		Aliases: []string{"rm"},
		Short:   "Remove an account",
		Long: `Remove removes an account of the data folder or, where there is none of that name, whoever has signed in with a
browser under it: their app passwords and personal access tokens are good no more, their robots are disabled, and the
name is for who signs in under it next.`,
		Example: "  customhouse user remove alice",
		Args:    takes(1),

		ValidArgsFunction: completeAccounts(s),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withIndex(cmd, s, mustExist, func(ctx context.Context, db *index.DB) error {
				err := db.DeleteAccount(ctx, args[0])
				if errors.Is(err, customhouse.ErrNotFound) {
					err = removeSignIns(ctx, db, args[0])
				}
				return noAccount(err, args[0])
			})
		},
	}
}

// removeSignIns removes who has signed in under a name, at whichever provider. customhouse.ErrNotFound.
func removeSignIns(ctx context.Context, db *index.DB, account string) error {
	all, err := db.SignIns(ctx)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(s customhouse.SignIn) bool { return s.Account != account })
	if len(all) == 0 {
		return customhouse.ErrNotFound
	}
	for _, s := range all {
		err = errors.Join(err, db.DeleteSignIn(ctx, s.ID))
	}
	return err
}

// Whether a command may make the index.
const (
	mustExist = false
	mayMake   = true
)

// withIndex calls do with the index of the data folder. With mayMake a folder that somebody named is made where there
// is none, so that accounts can be there before the first start; not so the folder that holds by default, since the
// registry may well run as another user of this machine, with another home.
func withIndex(cmd *cobra.Command, s *settings, make bool, do func(context.Context, *index.DB) error) (err error) {
	c, named, err := s.load()
	if err != nil {
		return err
	}
	file := indexFile(c.Data)
	switch _, err := os.Stat(file); {
	case err == nil:
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case named && make:
		if err := os.MkdirAll(c.Data, 0o700); err != nil {
			return fmt.Errorf("make the data folder: %w", err)
		}
	default:
		return withHint(fmt.Errorf("no registry has been started in %s", c.Data), "name its folder with --data, or its configuration with -c")
	}
	db, err := index.Open(cmd.Context(), file, index.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return do(customhouse.WithOrigin(cmd.Context(), customhouse.Origin{Agent: fmt.Sprintf("%s by uid %d", cmd.CommandPath(), os.Getuid())}), db)
}

// completeAccounts completes the names of accounts in the data folder.
func completeAccounts(s *settings) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var names []cobra.Completion
		if len(args) == 0 {
			// Without an index there is nothing to complete, and nobody to tell why.
			_ = withIndex(cmd, s, mustExist, func(ctx context.Context, db *index.DB) error {
				accounts, err := db.Accounts(ctx)
				for _, a := range accounts {
					names = append(names, a.Name)
				}
				return err
			})
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// putAccount stores account with a new password, which it prints if it was made up.
func putAccount(ctx context.Context, cmd *cobra.Command, db *index.DB, account customhouse.Account, source passwordSource) error {
	password, err := source.read(cmd)
	if err != nil {
		return err
	}
	if account.Password, err = authn.HashPassword(password); err != nil {
		return err
	}
	if err := db.PutAccount(ctx, account); err != nil {
		return err
	}
	if source.generate {
		_, err = fmt.Fprintln(cmd.OutOrStdout(), string(password))
	}
	return err
}

func parseAccount(s string) (string, error) {
	name, err := customhouse.ParseAccount(s)
	if err != nil {
		return "", withHint(fmt.Errorf("invalid account name %q", s),
			fmt.Sprintf("1 to %d bytes without spaces, control characters and ':'", customhouse.MaxAccountLength))
	}
	return name, nil
}

// parseLabels reads KEY=VALUE pairs; a key that stands twice has two values.
func parseLabels(pairs []string) (map[string][]string, error) {
	labels := map[string][]string{}
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" || value == "" {
			return nil, withHint(fmt.Errorf("invalid label %q", pair), "want KEY=VALUE, such as role=admin")
		}
		labels[key] = append(labels[key], value)
	}
	return labels, nil
}

func formatLabels(labels map[string][]string) string {
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		for _, value := range labels[key] {
			pairs = append(pairs, key+"="+value)
		}
	}
	return printable(strings.Join(pairs, " "))
}

// noAccount explains customhouse.ErrNotFound about the account called name.
func noAccount(err error, name string) error {
	if !errors.Is(err, customhouse.ErrNotFound) {
		return err
	}
	return withHint(fmt.Errorf("no account %q", name), "`customhouse user list` shows them")
}
