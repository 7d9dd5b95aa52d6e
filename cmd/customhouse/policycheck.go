package main

import (
	"errors"
	"fmt"

	"customhouse/compat"
	"customhouse/config"

	"github.com/spf13/cobra"
)

func policyCheckCommand(file *string) *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE...]",
		Short: "Tell all that is wrong with rules",
		Long: `Check reads rules as serve does and prints everything that is wrong with them, each fault with its file, line,
column and key: keys that there are not, patterns, addresses, expressions in CEL. A FILE is a configuration, with all that
it includes, or a file of rules alone; without one it is that of -c, and beside one, the sets of -c may be referred to and
its dialect holds. Other files that a configuration names, such as
certificates, need not be there.`,
		Example: `  customhouse policy check -c customhouse.yml
  customhouse policy check rules.d/*.yml
  customhouse policy check -c customhouse.yml rules.d/team.yml`,
		ValidArgsFunction: completeYAML,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				if *file == "" {
					return withHint(errors.New("no file is named"), "name files, or a configuration with -c")
				}
				args = []string{*file}
			}
			whole := config.Default()
			if *file != "" {
				var err error
				if whole, err = loadRules(*file); err != nil {
					return err
				}
			}
			var errs []error
			rules := 0
			for _, name := range args {
				c, err := config.LoadPart(name, whole)
				if err != nil {
					errs = append(errs, whose(name, compat.Customhouse, err))
					continue
				}
				rules += len(c.Rules)
			}
			if err := errors.Join(errs...); err != nil {
				return unknownKeys(err)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s, %s: ok\n", count(len(args), "file"), count(rules, "rule"))
			return err
		},
	}
}
