package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"customhouse/compat"
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
	}, policyExplainCommand(&file), policyCheckCommand(&file), policyLintCommand(&file), policyTestCommand(&file), policyFmtCommand(&file), policyDiffCommand(&file), policySimulateCommand(&file), policyShadowCommand(&file))
	cmd.PersistentFlags().StringVarP(&file, "config", "c", "", "configuration `FILE`; without it the defaults hold")
	cmd.MarkFlagFilename("config", "yml", "yaml")
	return interruptible(cmd)
}

func policyLintCommand(file *string) *cobra.Command {
	var at config.Moment
	cmd := &cobra.Command{
		Use:   "lint",
		Short: "Tell which rules are likely not what was meant",
		Long: `Lint prints rules that never decide because of those before them, that let everybody do more than pull, that deny
where nothing is allowed anyway, that have ceased to hold or do not hold yet; expressions that look as if they were
searched for, or have one outcome whatever is asked; and sets that no rule uses. It exits with 1 when it finds any. What
it says is certain; what depends on who asks, it leaves out.`,
		Example: "  customhouse policy lint -c customhouse.yml",
		Args:    takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, p, err := loadPolicy(*file)
			if err != nil {
				return err
			}
			if at.IsZero() {
				at.Time = time.Now()
			}
			findings, err := lint(c, p, at.Time)
			if err != nil {
				return err
			}
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
	cmd.Flags().TextVar(&at, "time", config.Moment{}, "`TIME` at which rules hold or not, as 2026-12-31 or 2026-12-31T18:00:00Z; without it now")
	return cmd
}

// lint returns what is odd about p, the rules of c. Sets that the shadow of c uses are in use.
func lint(c *config.Config, p *policy.Policy, now time.Time) ([]policy.Finding, error) {
	findings := p.Lint(now)
	for i := range findings {
		if f := &findings[i]; f.Set != "" {
			f.Source = c.SetSources[f.Set]
		}
	}
	if c.Shadowed == nil {
		return findings, nil
	}
	shadow, err := c.Shadowed.Compile(c.Shadowed.Rules)
	if err != nil {
		return nil, err
	}
	unused := map[string]bool{}
	for _, f := range shadow.Lint(now) {
		unused[f.Set] = true
	}
	return slices.DeleteFunc(findings, func(f policy.Finding) bool {
		_, own := c.Shadowed.Sets[f.Set]
		return f.Rule < 0 && own && !unused[f.Set]
	}), nil
}

// loadRules reads a configuration for its rules alone: ours, or docker_auth's.
func loadRules(file string) (*config.Config, error) {
	c, err := config.LoadRules(file)
	err = whose(file, compat.Customhouse, err)
	if !errors.Is(err, foreign(compat.DockerAuth)) {
		return c, unknownKeys(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	c, _, err = compat.ParseDockerAuth(file, data, compat.Options{})
	return c, err
}

// loadPolicy reads the rules in file, or those that hold without one.
func loadPolicy(file string) (*config.Config, *policy.Policy, error) {
	c := config.Default()
	if file != "" {
		var err error
		if c, err = loadRules(file); err != nil {
			return nil, nil, err
		}
	}
	if c.Auth.Off {
		return nil, nil, fmt.Errorf("%s: auth.off lets everybody do everything; there are no rules to ask", file)
	}
	p, err := c.Compile(c.Rules)
	return c, p, err
}

// place names a rule by where it stands.
func place(i int, r policy.Rule) string { return cmp.Or(r.Source, fmt.Sprintf("rule %d", i+1)) }

// count says how many things there are.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	if stem, ok := strings.CutSuffix(thing, "y"); ok {
		return fmt.Sprintf("%d %sies", n, stem)
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
