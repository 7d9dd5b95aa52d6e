package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"customhouse"
	"customhouse/index"

	"github.com/spf13/cobra"
)

func tokenCommand() *cobra.Command {
	var s settings
	cmd := group(&cobra.Command{
		Use:   "token",
		Short: "Keep personal access tokens",
		Long: `A personal access token is a password that somebody has for a program: the account is theirs, and the token may be for
less than all that they may do. It is good as long as its owner is vouched for by the source of accounts that did so when it
was made. Whoever is logged in makes theirs by the API too: POST /api/tokens.

A server that runs on the folder takes changes up within a second, for tokens already issued too.`,
		Example: `  customhouse token create alice --name laptop --scope 'team/**:pull'
  customhouse token list alice`,
	}, tokenCreateCommand(&s), tokenListCommand(&s), tokenRevokeCommand(&s))
	s.addFlags(cmd)
	return cmd
}

func tokenCreateCommand(s *settings) *cobra.Command {
	var n credentialFlags
	var source string
	cmd := &cobra.Command{
		Use:   "create ACCOUNT",
		Short: "Make a token and print it",
		Long: `Create makes a token for an account that a source of accounts knows and prints it: this once, only a hash is kept. A
source that sees accounts only together with their passwords, such as a program, has to be named; such a token has no labels and
is good until it expires or is revoked, since nobody can be asked about its owner.`,
		Example: `  customhouse token create alice --name laptop
  customhouse token create alice --name ci --scope 'team/app:v*:pull,push' --network 10.0.0.0/8 --expires 30d`,
		Args: takes(1),

		ValidArgsFunction: completeAccounts(s),
		RunE: func(cmd *cobra.Command, args []string) error {
			account, err := parseAccount(args[0])
			if err != nil {
				return err
			}
			wanted, err := n.read()
			if err != nil {
				return err
			}
			return withMachines(cmd, s, mayMake, func(ctx context.Context, m *machineRoom) error {
				owner, err := m.person(ctx, account, source)
				if err != nil {
					return err
				}
				secret, c, err := m.NewToken(ctx, owner, wanted)
				if err != nil {
					return forPerson(err)
				}
				return m.print(cmd, "Token", account, secret, c)
			})
		},
	}
	cmd.Flags().StringVar(&source, "source", "", "`NAME` in auth.order of the source that vouches for the account; without it the first that knows it")
	n.addFlags(cmd, "token")
	return cmd
}

func tokenListCommand(s *settings) *cobra.Command {
	var asJSON bool
	return jsonFlag(&cobra.Command{
		Use:     "list [ACCOUNT]",
		Short:   "List the tokens of an account, or of all, but for what is secret of them",
		Example: "  customhouse token list alice",
		Args:    takesUpTo(1),

		ValidArgsFunction: completeAccounts(s),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withIndex(cmd, s, mustExist, func(ctx context.Context, db *index.DB) error {
				tokens, err := db.AllMachineCredentials(ctx, customhouse.PersonalToken)
				if len(args) > 0 {
					tokens, err = db.MachineCredentials(ctx, customhouse.PersonalToken, args[0])
				}
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), listed(tokens, func(c customhouse.MachineCredential) listedCredential {
						return listedCredentialOf(c, time.Now())
					}))
				}
				return printCredentials(cmd.OutOrStdout(), tokens)
			})
		},
	}, &asJSON, credentialFields)
}

func tokenRevokeCommand(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:     "revoke ACCOUNT ID",
		Short:   "End a token",
		Example: "  customhouse token revoke alice 4kbnf2q7rw5ahx3m",
		Args:    takes(2),

		ValidArgsFunction: completeAccounts(s),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withIndex(cmd, s, mustExist, func(ctx context.Context, db *index.DB) error {
				tokens, err := db.MachineCredentials(ctx, customhouse.PersonalToken, args[0])
				if err != nil {
					return err
				}
				for _, c := range tokens {
					if c.ID == args[1] {
						return db.RevokeMachineCredential(ctx, c.Kind, c.Owner, c.ID)
					}
				}
				return withHint(fmt.Errorf("account %q has no token %q", args[0], args[1]), fmt.Sprintf("`customhouse token list %s` shows those that it has", args[0]))
			})
		},
	}
}

// printCredentials prints a table of credentials.
func printCredentials(w io.Writer, all []customhouse.MachineCredential) error {
	return table(w, "ID\tACCOUNT\tNAME\tFOR\tFROM\tCREATED\tEXPIRES\tLAST USED", func(w io.Writer) {
		for _, c := range all {
			expires := timeOr(c.Expires, "never")
			if !c.Good(time.Now()) {
				expires += " (ended)"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.ID, c.Owner.Account, c.Name, formatScopes(c.Scopes, "everything"),
				formatNetworks(c.Networks, "anywhere"), timeOr(c.Created, "-"), expires, timeOr(c.Used, "never"))
		}
	})
}

// forPerson returns an error that a client may read in the form of one at the command line.
func forPerson(err error) error {
	var e *customhouse.Error
	if errors.As(err, &e) && (e.Code == customhouse.BadRequest || e.Code == customhouse.Denied) {
		return errors.New(e.Message)
	}
	return err
}
