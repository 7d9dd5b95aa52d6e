package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"customhouse/config"
	"customhouse/policy"

	"github.com/spf13/cobra"
)

func policyTestCommand(file *string) *cobra.Command {
	coverage := -1
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "test TESTS...",
		Short: "Ask questions whose answers are known",
		Long: `Test asks the questions in files and prints those with another answer than the one that is wanted, and the rules
that decided none of them. It exits with 1 when an answer differs. A file is a list of questions:

  - {account: alice, repo: team/app, action: push, want: allow}
  - {account: bob, labels: {group: [dev]}, ip: 192.0.2.7, repo: team/app, tag: v1, action: update, want: deny}
  - {account: ci, claims: {ref: refs/heads/main}, method: github, repo: team/app, action: push, want: maybe}
  - {account: alice, type: registry, name: catalog, action: "*", want: allow, rule: "customhouse.yml:42"}

or an archive (txtar), whose first file is the configuration, or rules alone, that its questions are asked of:

  -- rules.yml --
  rules: [{match: {account: alice}, actions: [pull]}]
  -- questions.yml --
  - {account: alice, repo: team/app, action: pull, want: allow}

Without an account the question is about whoever is not logged in; labels are those that auth.users gives the account and
those of the question. What a question does not say of tag, digest, mediaType and artifactType is not known, and "" is
none; without time it is now. rule is the place of the rule that has to decide, message what it says to whom it denies.`,
		Example: `  customhouse policy test -c customhouse.yml policy_test.yml
  customhouse policy test --coverage 100 teams/*.txtar`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("want `%s`", cmd.UseLine())
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return []cobra.Completion{"yml", "yaml", "txtar"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			tests, err := loadTests(*file, args)
			if err != nil {
				return err
			}
			r := tests.run(time.Now().UTC())
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), r)
			} else {
				err = r.print(cmd.OutOrStdout())
			}
			switch {
			case err != nil:
				return err
			case len(r.Differ) > 0:
				return fmt.Errorf("%d of %s got another answer", len(r.Differ), count(r.Questions, "question"))
			case r.Coverage < float64(coverage):
				return fmt.Errorf("%.0f%% of the rules have decided a question, want %d%%", r.Coverage, coverage)
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&coverage, "coverage", -1, "exit with 1 when fewer than `N` per cent of the rules have decided a question")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return cmd
}

// askedOf is questions to the rules of a configuration.
type askedOf struct {
	config    *config.Config
	policy    *policy.Policy
	questions []config.Question
}

// tests are questions to several configurations.
type tests []*askedOf

// loadTests reads all of files. Questions without rules of their own are asked of those in a configuration. The error
// tells what is wrong with any of them.
func loadTests(configuration string, files []string) (tests, error) {
	var all tests
	var named *askedOf
	var errs []error
	for _, file := range files {
		t, err := config.LoadPolicyTest(file)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if t.Config != nil {
			p, err := t.Config.Compile(t.Config.Rules)
			errs = append(errs, err)
			all = append(all, &askedOf{t.Config, p, t.Questions})
			continue
		}
		if named == nil {
			named = &askedOf{}
			if named.config, named.policy, err = loadPolicy(configuration); err != nil {
				return nil, err
			}
			all = append(all, named)
		}
		named.questions = append(named.questions, t.Questions...)
	}
	return all, errors.Join(errs...)
}

// testResult is what came of asking. Its JSON form is printed.
type testResult struct {
	Questions int          `json:"questions"`
	Differ    []difference `json:"differ"`
	Rules     []ruleUse    `json:"rules"`
	Coverage  float64      `json:"coverage"` // per cent of the rules that have decided a question
}

// difference is a question with another answer than the one that is wanted.
type difference struct {
	Question string `json:"question"` // where it stands
	Text     string `json:"text"`
}

// ruleUse is how many questions a rule has decided.
type ruleUse struct {
	Rule    string `json:"rule"` // where it stands
	Decided int    `json:"decided"`
}

// run asks all questions; those that name no time are asked now.
func (t tests) run(now time.Time) testResult {
	r := testResult{Differ: []difference{}, Rules: []ruleUse{}, Coverage: 100}
	used := 0
	for _, a := range t {
		decided := make([]int, a.policy.Len())
		for _, q := range a.questions {
			if q.Time.IsZero() {
				q.Time.Time = now
			}
			d := a.policy.Decide(a.config.Query(q))
			if d.Rule >= 0 {
				decided[d.Rule]++
			}
			if text := q.Differs(d); text != "" {
				r.Differ = append(r.Differ, difference{q.Source, text})
			}
			r.Questions++
		}
		for i, n := range decided {
			r.Rules = append(r.Rules, ruleUse{place(i, a.config.Rules[i]), n})
			if n > 0 {
				used++
			}
		}
	}
	if len(r.Rules) > 0 {
		r.Coverage = 100 * float64(used) / float64(len(r.Rules))
	}
	return r
}

func (r testResult) print(w io.Writer) error {
	var out strings.Builder
	for _, d := range r.Differ {
		fmt.Fprintf(&out, "%s: %s\n", d.Question, d.Text)
	}
	var idle []string
	for _, u := range r.Rules {
		if u.Decided == 0 {
			idle = append(idle, u.Rule)
		}
	}
	if len(idle) > 0 {
		fmt.Fprintf(&out, "rules decided by no question: %s\n", strings.Join(idle, ", "))
	}
	if len(r.Differ) == 0 {
		fmt.Fprintf(&out, "%s, %s: ok\n", count(r.Questions, "question"), count(len(r.Rules), "rule"))
	}
	_, err := io.WriteString(w, out.String())
	return err
}
