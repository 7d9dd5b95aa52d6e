package main

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"customhouse/compat"
	"customhouse/config"

	"github.com/spf13/cobra"
)

func authCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "auth",
		Short: "Stand in for cesanta/docker_auth",
		Long: `The commands of auth take the configuration of cesanta/docker_auth as it is. What is done otherwise on purpose is
told in warnings.`,
		Example: "  customhouse auth check auth_config.yml\n  customhouse auth serve auth_config.yml",
	}, authServeCommand(), interruptible(authCheckCommand()))
}

func authCheckCommand() *cobra.Command {
	var o compat.Options
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Tell all that is wrong with a file of docker_auth, and what is done otherwise",
		Long: `Check reads a configuration of docker_auth and prints everything that is wrong with it, each fault with its file,
line, column and key: what docker_auth refused, what crashed it, and what it ignored without a word. Files that the
configuration names must be there and readable. Warnings tell what Customhouse does otherwise, and how to have it as it
was.`,
		Example:           "  customhouse auth check auth_config.yml",
		Args:              takes(1),
		ValidArgsFunction: completeYAML,
		RunE: func(cmd *cobra.Command, args []string) error {
			_, warnings, err := loadDockerAuth(args[0], o)
			printWarnings(cmd.ErrOrStderr(), warnings)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", args[0])
			return err
		},
	}
	addLenient(cmd, &o.Lenient)
	cmd.Flags().StringVar(&o.Data, "data", "", "`FOLDER` that auth serve is given with its flag of that name")
	cmd.MarkFlagDirname("data")
	return cmd
}

// addLenient adds the flag of commands that read foreign files.
func addLenient(cmd *cobra.Command, lenient *bool) {
	cmd.Flags().BoolVar(lenient, "lenient", false, "ignore unknown and duplicate keys, as the other program does")
}

// loadDockerAuth reads the configuration of docker_auth in file. Warnings come with an error too.
func loadDockerAuth(file string, o compat.Options) (*config.Config, []compat.Warning, error) {
	c, warnings, err := compat.LoadDockerAuth(file, o)
	if err = whose(file, compat.DockerAuth, err); errors.As(err, new(foreign)) {
		warnings = nil
	}
	return c, warnings, lenientHint(err, o.Lenient)
}

// lenientHint is a hint for the mistakes in a foreign file that was read strictly and need not have been.
func lenientHint(err error, lenient bool) error {
	var all config.Errors
	if errors.As(err, &all) && !lenient && slices.ContainsFunc(all, func(e *config.Error) bool { return e.Tolerable }) {
		return withHint(err, "--lenient ignores unknown and duplicate keys, as the other program does")
	}
	return err
}

// printWarnings tells the person at the command line.
func printWarnings(w io.Writer, warnings []compat.Warning) {
	for _, warning := range warnings {
		fmt.Fprintln(w, "warning:", warning)
	}
}
