package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"

	"customhouse"
	"customhouse/config"
	"customhouse/policy"

	"github.com/spf13/cobra"
)

func policyCommand() *cobra.Command {
	var file string
	cmd := group(&cobra.Command{
		Use:   "policy",
		Short: "Ask, check and test the rules of a configuration",
		Long: `These commands answer from the rules of a configuration as the registry does, without one that runs. They open
the configuration and nothing that it names. 'customhouse config check' tells whether it is valid.`,
		Example: `  customhouse policy explain -c customhouse.yml --account alice --repo team/app --action push
  customhouse policy lint -c customhouse.yml
  customhouse policy test -c customhouse.yml policy_test.yml`,
	}, policyExplainCommand(&file), policyCheckCommand(&file), policyLintCommand(&file), policyTestCommand(&file), policyFmtCommand(&file), policyShadowCommand(&file))
	cmd.PersistentFlags().StringVarP(&file, "config", "c", "", "configuration `FILE`; without it the defaults hold")
	cmd.MarkFlagFilename("config", "yml", "yaml")
	return cmd
}

func policyExplainCommand(file *string) *cobra.Command {
	var q config.Question
	var labels []string
	var all, exitCode bool
	cmd := &cobra.Command{
		Use:   "explain",
		Short: "Tell whether somebody may do something, and why",
		Long: `Explain prints the answer, the rule that gives it, and what the rules that match had to say; where the answer is
no, also the rules that come nearest to a yes, with what they want.

An account has the labels that auth.users gives it and those of --label. What the data folder or another source knows
about an account has to be given by --label. Without --account the question is about whoever is not logged in, without
--ip no condition on ip holds.`,
		Example: `  customhouse policy explain -c customhouse.yml --account alice --repo team/app --action push
  customhouse policy explain -c customhouse.yml --account ci --label group=ci --repo team/app --action delete --all
  customhouse policy explain -c customhouse.yml --account alice --type registry --name catalog --action '*'`,
		Args: takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, p, err := loadPolicy(*file)
			if err != nil {
				return err
			}
			if q.Labels, err = parseLabels(labels); err != nil {
				return err
			}
			if err := inFlags(q.Validate()); err != nil {
				return err
			}
			query := c.Query(q)
			t := p.Explain(query)
			if err := printTrace(cmd.OutOrStdout(), c.Rules, query, t, all); err != nil {
				return err
			}
			if exitCode && !t.Decision.Allowed {
				return errors.New("denied")
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&q.Account, "account", "", "`NAME` of who is asking; without it anonymous")
	flags.StringArrayVar(&labels, "label", nil, "`KEY=VALUE` that the account has; may be repeated")
	flags.TextVar(&q.IP, "ip", netip.Addr{}, "`ADDRESS` of the client")
	flags.StringVar(&q.Repo, "repo", "", "`NAME` of a repository")
	flags.StringVar(&q.Type, "type", "", "`TYPE` of another resource, such as registry")
	flags.StringVar(&q.Name, "name", "", "`NAME` of another resource, such as catalog")
	flags.StringVar((*string)(&q.Action), "action", "", "`ACTION`: pull, list, push, create, update, mount, tag, referrer, delete, admin or *")
	flags.BoolVar(&all, "all", false, "show what every rule has to say")
	flags.BoolVar(&exitCode, "exit-code", false, "exit with 1 when the answer is no")
	cmd.RegisterFlagCompletionFunc("action", cobra.FixedCompletions([]cobra.Completion{"pull", "push", "create", "update", "delete", "*"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func policyLintCommand(file *string) *cobra.Command {
	return &cobra.Command{
		Use:   "lint",
		Short: "Tell which rules are likely not what was meant",
		Long: `Lint prints rules that never decide because of those before them, that let everybody do more than pull, that deny
where nothing is allowed anyway, and expressions that look as if they were searched for. It exits with 1 when it finds
any. What it says is certain; what depends on who asks, it leaves out.`,
		Example: "  customhouse policy lint -c customhouse.yml",
		Args:    takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, p, err := loadPolicy(*file)
			if err != nil {
				return err
			}
			findings := p.Lint()
			for _, f := range findings {
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), f); err != nil {
					return err
				}
			}
			if len(findings) > 0 {
				return fmt.Errorf("%s in %s", count(len(findings), "finding"), count(p.Len(), "rule"))
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", count(p.Len(), "rule"))
			return err
		},
	}
}

// loadPolicy reads the rules in file, or those that hold without one.
func loadPolicy(file string) (*config.Config, *policy.Policy, error) {
	c := config.Default()
	if file != "" {
		var err error
		if c, err = config.LoadRules(file); err != nil {
			if errors.As(err, new(config.Errors)) {
				err = withHint(err, "`customhouse config example` prints every key with its meaning")
			}
			return nil, nil, err
		}
	}
	if c.Auth.Off {
		return nil, nil, fmt.Errorf("%s: auth.off lets everybody do everything; there are no rules to ask", file)
	}
	p, err := c.Compile(c.Rules)
	return c, p, err
}

// inFlags writes what is wrong with a question as something about the flags of explain.
func inFlags(err error) error {
	var errs config.Errors
	if !errors.As(err, &errs) {
		return err
	}
	lines := make([]string, len(errs))
	for i, e := range errs {
		lines[i] = fmt.Sprintf("--%s: %s", e.Key, e.Message)
	}
	return withHint(errors.New(strings.Join(lines, "\n")), "`customhouse policy explain --help` shows examples")
}

// printTrace prints an answer and what led to it: every step, or those that match and those that come nearest to a yes.
func printTrace(out io.Writer, rules []policy.Rule, q policy.Query, t policy.Trace, all bool) error {
	const most = 5 // that come near
	steps, more := t.Steps, 0
	if !all {
		near := t.Nearest()
		more = max(0, len(near)-most)
		steps = slices.Concat(t.Matched(), near[:len(near)-more])
		slices.SortFunc(steps, func(a, b policy.Step) int { return cmp.Compare(a.Rule, b.Rule) })
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, verdict(q, t.Decision))
	fmt.Fprintln(w, t.Decision.Reason)
	if i := t.Decision.Rule; i >= 0 && rules[i].Comment != "" {
		fmt.Fprintln(w, "comment:", rules[i].Comment)
	}
	if len(steps) > 0 {
		fmt.Fprintln(w)
	}
	for _, s := range steps {
		outcome := s.String()
		if s.Helps && !t.Decision.Allowed {
			outcome = "would allow it, but " + outcome
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", place(s.Rule, rules[s.Rule]), says(rules[s.Rule]), outcome)
	}
	if more > 0 {
		fmt.Fprintf(w, "and %s come as near; --all shows every rule\n", count(more, "more rule"))
	}
	return w.Flush()
}

// verdict reads a decision aloud.
func verdict(q policy.Query, d policy.Decision) string {
	answer, may := "denied", "may not"
	if d.Allowed {
		answer, may = "allowed", "may"
	}
	action := string(q.Action)
	if q.Action == customhouse.All {
		action = "do everything"
	}
	return fmt.Sprintf("%s: %s %s %s: %s %s", answer, cmp.Or(q.Identity.Account, "anonymous"), may, action, q.Type, q.Name)
}

// place names a rule by where it stands.
func place(i int, r policy.Rule) string { return cmp.Or(r.Source, fmt.Sprintf("rule %d", i+1)) }

// says returns effect and actions of a rule, such as "allow pull, push".
func says(r policy.Rule) string {
	actions := make([]string, len(r.Actions))
	for i, a := range r.Actions {
		actions[i] = string(a)
	}
	switch effect := cmp.Or(r.Effect, policy.Allow); {
	case len(actions) > 0:
		return effect + " " + strings.Join(actions, ", ")
	case effect == policy.Deny:
		return "deny *"
	}
	return "allow nothing"
}

// count says how many things there are.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
