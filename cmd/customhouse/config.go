package main

import (
	"errors"
	"fmt"

	"customhouse/compat"
	"customhouse/config"

	"github.com/spf13/cobra"
)

func configCommand() *cobra.Command {
	return interruptible(group(&cobra.Command{
		Use:   "config",
		Short: "Check, document and import configurations",
		Example: `  customhouse config example > customhouse.yml
  customhouse config check customhouse.yml
  customhouse config import auth_config.yml --output customhouse.yml`,
	}, configCheckCommand(), configImportCommand(), configExampleCommand(), configSchemaCommand()))
}

func configCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Tell all that is wrong with a file",
		Long: `Check reads a configuration as serve does and prints everything that is wrong with it, each fault with its
file, line, column and key. Files that it names, such as certificates, must be there and readable.`,
		Example:           "  customhouse config check customhouse.yml",
		Args:              takes(1),
		ValidArgsFunction: completeYAML,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := loadConfig(args[0]); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", args[0])
			return err
		},
	}
}

// completeYAML completes the names of YAML files.
func completeYAML(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return []cobra.Completion{"yml", "yaml"}, cobra.ShellCompDirectiveFilterFileExt
}

func configExampleCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "example",
		Short:   "Print a commented configuration with every key and its default",
		Example: "  customhouse config example > customhouse.yml",
		Args:    takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(config.Example())
			return err
		},
	}
}

func configSchemaCommand() *cobra.Command {
	var rules bool
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the configuration",
		Long: `Schema prints the JSON Schema of customhouse.yml, or with --rules that of a file that rules are included from.
Editors with a YAML language server check and complete keys when the first line of a file names its schema:

  # yaml-language-server: $schema=schema.json
  # yaml-language-server: $schema=rules.schema.json`,
		Example: `  customhouse config schema > schema.json
  customhouse config schema --rules > rules.schema.json`,
		Args: takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			schema := config.Schema()
			if rules {
				schema = config.RulesSchema()
			}
			_, err := cmd.OutOrStdout().Write(schema)
			return err
		},
	}
	cmd.Flags().BoolVar(&rules, "rules", false, "the schema of included files in place of that of the configuration")
	return cmd
}

// foreign is the error that a file is the configuration of another program than the one that it was taken for.
type foreign compat.Program

func (f foreign) Error() string { return "a configuration of " + string(f) }

// whose returns err, which is of reading file as a configuration of want: a foreign with a hint where it is another's.
func whose(file string, want compat.Program, err error) error {
	of := compat.ProgramOf(file)
	if !errors.As(err, new(config.Errors)) || of == want || of == "" {
		return err
	}
	hint := "`customhouse serve -c %s` serves it"
	switch of {
	case compat.DockerAuth:
		hint = "`customhouse auth serve %s` serves it as it is, `customhouse config import %[1]s` translates it"
	case compat.Distribution:
		hint = "`customhouse registry serve %s` serves it as it is, `customhouse config import %[1]s` translates it"
	}
	return withHint(fmt.Errorf("%s: %w", file, foreign(of)), fmt.Sprintf(hint, file))
}

// loadConfig reads the configuration in file. The error is foreign where it is another program's.
func loadConfig(file string) (*config.Config, error) {
	c, err := config.Load(file)
	return c, unknownKeys(whose(file, compat.Customhouse, err))
}

// unknownKeys hints at what can stand in a customhouse.yml.
func unknownKeys(err error) error {
	if errors.As(err, new(config.Errors)) {
		return withHint(err, "`customhouse config example` prints every key with its meaning")
	}
	return err
}
