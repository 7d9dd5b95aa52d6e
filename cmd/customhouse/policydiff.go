package main

import (
	"fmt"

	"customhouse"
	"customhouse/config"
	"customhouse/policy"

	"github.com/spf13/cobra"
)

func policyDiffCommand(file *string) *cobra.Command {
	var from recording
	var questions []string
	var exitCode, asJSON bool
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Tell who gains and who loses what by other rules",
		Long: `Diff asks the rules in OLD and those in NEW, which are configurations or files of rules, and prints where they
answer differently. What they are asked is what was asked of a registry, as its audit log tells: in the data folder that
the configuration of -c or --data names, or in the files of --audit. With --questions it is what files of policy tests
ask, whatever they want to hear.

Decisions that were not up to the rules, but to a program, a database or a limit, are counted and not asked anew. So are
those whose answer depends on what was not recorded.`,
		Example: `  customhouse policy diff customhouse.yml next.yml -c customhouse.yml --since 168h
  customhouse policy diff old.yml new.yml --audit audit.log --exit-code
  customhouse policy diff old.yml new.yml --questions policy_test.yml`,
		Args:              takes(2),
		ValidArgsFunction: completeYAML,
		RunE: func(cmd *cobra.Command, args []string) error {
			old, err := loadAsked(args[0])
			if err != nil {
				return err
			}
			next, err := loadAsked(args[1])
			if err != nil {
				return err
			}
			r, thing := newReplay(), "question"
			if len(questions) == 0 || len(from.files) > 0 {
				thing = "decision"
				folder := ""
				if *file != "" {
					c, err := loadRules(*file)
					if err != nil {
						return err
					}
					folder = folderOf(c, *file)
				}
				err = from.each(cmd, folder, func(e customhouse.AuditEntry) error {
					if r.others(&e) {
						return nil
					}
					for _, action := range e.Actions {
						q := queryOf(&e, action)
						r.note(q, old.policy.Decide(q), next.policy.Decide(q), e.Decision)
					}
					return nil
				})
				if err != nil {
					return err
				}
			}
			for _, name := range questions {
				asked, err := config.LoadQuestions(name)
				if err != nil {
					return err
				}
				for _, q := range asked {
					r.note(next.config.Query(q), old.policy.Decide(old.config.Query(q)), next.policy.Decide(next.config.Query(q)), q.Source)
				}
			}
			return r.tell(cmd, thing, asJSON, exitCode)
		},
	}
	from.addFlags(cmd)
	cmd.Flags().StringArrayVar(&questions, "questions", nil, "`FILE` of policy tests to ask; may be repeated")
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 1 when somebody loses something")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return cmd
}

func policySimulateCommand(file *string) *cobra.Command {
	var from recording
	var exitCode, asJSON bool
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Ask rules what was asked of a registry, and compare with what it answered",
		Long: `Simulate asks the rules of a configuration, or of a file of rules, what a registry was asked according to its
audit log, and prints which decisions would be others: how many, whose, about what, and examples. The log is that of the
data folder that the configuration or --data names, or is in the files of --audit.

Decisions that were not up to the rules, but to a program, a database or a limit, are counted and not asked anew. So are
those whose answer depends on what was not recorded.`,
		Example: `  customhouse policy simulate -c next.yml --data /var/lib/customhouse --since 24h
  customhouse policy simulate -c next.yml --audit audit.log --json`,
		Args: takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			next, err := loadAsked(*file)
			if err != nil {
				return err
			}
			r := newReplay()
			err = from.each(cmd, folderOf(next.config, *file), func(e customhouse.AuditEntry) error {
				if !r.others(&e) {
					r.again(&e, next.policy)
				}
				return nil
			})
			if err != nil {
				return err
			}
			return r.tell(cmd, "decision", asJSON, exitCode)
		},
	}
	from.addFlags(cmd)
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 1 when somebody loses something")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return cmd
}

// again compares a decision that was made with that of p. What asked for several actions was allowed if all were.
func (r *replay) again(e *customhouse.AuditEntry, p *policy.Policy) {
	was := policy.Decision{Allowed: e.Allowed, Source: e.Rule}
	var worst policy.Query
	var is policy.Decision
	for i, action := range e.Actions {
		q := queryOf(e, action)
		d := p.Decide(q)
		if i == 0 || is.Allowed || is.Maybe && !d.Allowed && !d.Maybe {
			worst, is = q, d
		}
	}
	if len(e.Actions) > 0 {
		r.note(worst, was, is, e.Decision)
	}
}

// tell prints r.
func (r *replay) tell(cmd *cobra.Command, thing string, asJSON, exitCode bool) error {
	r.end()
	var err error
	if asJSON {
		err = printJSON(cmd.OutOrStdout(), r)
	} else {
		err = r.print(cmd.OutOrStdout(), thing)
	}
	if err == nil && exitCode && len(r.Lost) > 0 {
		err = fmt.Errorf("%s would be lost", count(len(r.Lost), "permission"))
	}
	return err
}

// loadAsked reads the rules in a file.
func loadAsked(file string) (*askedOf, error) {
	c, p, err := loadPolicy(file)
	return &askedOf{config: c, policy: p}, err
}
