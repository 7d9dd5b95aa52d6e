package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"customhouse"
	"customhouse/index"

	"github.com/spf13/cobra"
)

func policyShadowCommand(file *string) *cobra.Command {
	var data string
	var reset, asJSON bool
	cmd := &cobra.Command{
		Use:   "shadow",
		Short: "List what the shadow policy would have decided otherwise",
		Long: `Shadow lists, the most frequent first, the kinds of decisions that the rules in the file shadow of the configuration
would have made otherwise since the list was begun: whose, about what, and which rules gave which answer. "open" is what the
rules leave to others who decide, "maybe" what depends on more than was asked.

--reset forgets the list, as is wanted when either policy has been changed.`,
		Example: `  customhouse policy shadow -c customhouse.yml
  customhouse policy shadow --data /var/lib/customhouse --json`,
		Args: takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withIndex(cmd, &settings{file: *file, data: data}, mustExist, func(ctx context.Context, db *index.DB) error {
				if reset {
					return db.ForgetDifferences(ctx)
				}
				all, err := db.Differences(ctx)
				if err != nil {
					return err
				}
				if asJSON {
					for _, d := range all {
						if err := printJSON(cmd.OutOrStdout(), d); err != nil {
							return err
						}
					}
					return nil
				}
				return printDifferences(cmd.OutOrStdout(), all)
			})
		},
	}
	cmd.Flags().BoolVar(&reset, "reset", false, "forget the list")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object for each")
	cmd.Flags().StringVar(&data, "data", "", "`FOLDER` that holds everything, in place of data in the file")
	cmd.MarkFlagDirname("data")
	return cmd
}

func printDifferences(out io.Writer, all []customhouse.Difference) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(out, "no differences")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "COUNT\tLAST\tACCOUNT\tACTION\tON\tLIVE\tSHADOW")
	said := func(answer, rule string) string { return answer + " by " + cmp.Or(rule, "no rule") }
	for _, d := range all {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", d.Count, d.Last.UTC().Format(time.DateTime), printable(cmp.Or(d.Account, "anonymous")), printable(string(d.Action)),
			printable(resource(d.Type, d.Name, d.Tag)), printable(said(d.Live, d.LiveRule)), printable(said(d.Shadow, d.ShadowRule)))
	}
	return w.Flush()
}

// resource names what something is about, such as team/app:v1 or registry catalog.
func resource(typ, name, tag string) string {
	if tag != "" {
		name += ":" + tag
	}
	if typ != customhouse.TypeRepository {
		name = typ + " " + name
	}
	return name
}
