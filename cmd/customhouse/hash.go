package main

import (
	"fmt"

	"customhouse/authn"

	"github.com/spf13/cobra"
)

func hashCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "hash",
		Short: "Print the bcrypt hash of a password",
		Long: `Hash reads a password, from the terminal without echo or else from the first line of standard input, and prints
its bcrypt hash, which is what auth.users of the configuration and htpasswd files want.`,
		Example: `  customhouse hash
  pass show registry/ci | customhouse hash`,
		Args: takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			source := passwordSource{stdin: terminalOf(cmd) == nil}
			password, err := source.read(cmd)
			if err != nil {
				return err
			}
			hash, err := authn.HashPassword(password)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), string(hash))
			return err
		},
	}
}
