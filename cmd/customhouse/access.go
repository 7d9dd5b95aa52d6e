package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/spf13/cobra"
)

// reached is a page of an answer about access: who may reach something, or what somebody may reach.
type reached struct {
	Accounts     []holder `json:"accounts,omitempty"`
	Repositories []holder `json:"repositories,omitempty"`
	Next         string   `json:"next,omitempty"`
}

// holder is an account or a repository, with the answer "allow" or "maybe".
type holder struct {
	Name   string    `json:"name"`
	Answer string    `json:"answer"`
	Seen   time.Time `json:"seen,omitzero"` // when last, of an account that only the audit log knows by name
}

func accessCommand() *cobra.Command {
	var far farRegistry
	var repo, tag, account, action string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "access [SERVER]",
		Short: "Ask a running registry who can reach a repository, or what an account can reach",
		Long: `Access asks the rules of SERVER, HOST[:PORT], about every account that it knows by name (--repo), or about every
repository that it has (--account), and prints those that are allowed. The answer is maybe where it depends on a tag:
--tag names one. Without SERVER it asks 127.0.0.1:5000. Whoever asks needs the action admin on registry:policy.

Accounts are known by name that stand in the configuration or lie in the data folder, robots included. Those of a
directory, a file of passwords, a program or another issuer are as long as the audit log has an entry of them; SEEN says of when the
last is. What they may today is told by what the directory says of them today or, where it cannot be asked, by the labels and claims
that they were seen with. Who has never come, or has no entry that is kept, is not known: ask about one with --account.`,
		Example: `  customhouse access registry.example.com --repo team/app --tag v1 --action update
  customhouse access registry.example.com --account alice`,
		Args: takesUpTo(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (repo == "") == !cmd.Flags().Changed("account") {
				return errors.New("want --repo, for who can reach it, or --account, for what it can reach")
			}
			host := "127.0.0.1:5000"
			if len(args) == 1 {
				host = args[0]
			}
			if err := far.open(cmd, host, "registry:policy:admin"); err != nil {
				return err
			}
			q := url.Values{"action": {action}}
			if repo != "" {
				q.Set("repo", repo)
			} else {
				q.Set("account", account)
			}
			if tag != "" {
				q.Set("tag", tag)
			}
			all := []holder{}
			for {
				var page reached
				if err := far.get(cmd.Context(), "/api/access", q, &page); err != nil {
					return err
				}
				all = append(append(all, page.Accounts...), page.Repositories...)
				if page.Next == "" {
					break
				}
				q.Set("last", page.Next)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), all)
			}
			heading := "ACCOUNT\tANSWER\tSEEN"
			if repo == "" {
				heading = "REPOSITORY\tANSWER"
			}
			return table(cmd.OutOrStdout(), heading, func(w io.Writer) {
				for _, h := range all {
					fmt.Fprintf(w, "%s\t%s", printable(cmp.Or(h.Name, "(anonymous)")), printable(h.Answer))
					if repo != "" {
						seen := "-"
						if !h.Seen.IsZero() {
							seen = h.Seen.UTC().Format(time.DateTime)
						}
						fmt.Fprintf(w, "\t%s", seen)
					}
					fmt.Fprintln(w)
				}
			})
		},
	}
	far.addFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&repo, "repo", "", "`NAME` of a repository: tell who can reach it")
	flags.StringVar(&account, "account", "", "`NAME` of an account, \"\" for anonymous: tell what it can reach")
	flags.StringVar(&tag, "tag", "", "`TAG` in the repository, or in each of them")
	flags.StringVar(&action, "action", "pull", "`ACTION`: pull, push, create, update, delete, list, tag, referrer, mount or admin")
	flags.BoolVar(&asJSON, "json", false, "print a JSON array")
	cmd.MarkFlagsMutuallyExclusive("repo", "account")
	return cmd
}
