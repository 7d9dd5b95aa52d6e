package main

import (
	"errors"
	"fmt"
	"strings"

	"customhouse/config"

	"github.com/spf13/cobra"
)

func policyTestCommand(file *string) *cobra.Command {
	return &cobra.Command{
		Use:   "test TESTS...",
		Short: "Ask questions whose answers are known",
		Long: `Test asks the questions in files and prints those with another answer than the one that is wanted, and the rules
that decided none of them. It exits with 1 when an answer differs. A file is a list of questions:

  - {account: alice, repo: team/app, action: push, want: allow}
  - {account: bob, labels: {group: [dev]}, ip: 192.0.2.7, repo: team/app, action: push, want: deny}
  - {account: alice, type: registry, name: catalog, action: "*", want: allow, rule: "customhouse.yml:42"}

Without an account the question is about whoever is not logged in; labels are those that auth.users gives the account and
those of the question; rule is the place of the rule that has to decide.`,
		Example: "  customhouse policy test -c customhouse.yml policy_test.yml",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("want `%s`", cmd.UseLine())
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return []cobra.Completion{"yml", "yaml"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, p, err := loadPolicy(*file)
			if err != nil {
				return err
			}
			questions, err := loadQuestions(args)
			if err != nil {
				return err
			}
			var out strings.Builder
			differ, decided := 0, map[int]bool{}
			for _, q := range questions {
				d := p.Decide(c.Query(q))
				decided[d.Rule] = true
				if difference := q.Differs(d); difference != "" {
					differ++
					fmt.Fprintf(&out, "%s: %s\n", q.Source, difference)
				}
			}
			var idle []string
			for i, r := range c.Rules {
				if !decided[i] {
					idle = append(idle, place(i, r))
				}
			}
			if len(idle) > 0 {
				fmt.Fprintf(&out, "rules decided by no question: %s\n", strings.Join(idle, ", "))
			}
			if differ == 0 {
				fmt.Fprintf(&out, "%s, %s: ok\n", count(len(questions), "question"), count(p.Len(), "rule"))
			}
			if _, err := fmt.Fprint(cmd.OutOrStdout(), out.String()); err != nil {
				return err
			}
			if differ > 0 {
				return fmt.Errorf("%d of %s got another answer", differ, count(len(questions), "question"))
			}
			return nil
		},
	}
}

// loadQuestions reads all of files; the error tells what is wrong with any of them.
func loadQuestions(files []string) ([]config.Question, error) {
	var all []config.Question
	var errs []error
	for _, file := range files {
		questions, err := config.LoadQuestions(file)
		all, errs = append(all, questions...), append(errs, err)
	}
	return all, errors.Join(errs...)
}
