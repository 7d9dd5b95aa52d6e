package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"customhouse/config"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// actionNames are the actions that a question may be about.
var actionNames = []cobra.Completion{"pull", "list", "push", "create", "update", "mount", "tag", "referrer", "delete", "admin", "*"}

func policyExplainCommand(file *string) *cobra.Command {
	var asked asked
	var all, exitCode, asJSON bool
	cmd := &cobra.Command{
		Use:   "explain",
		Short: "Tell whether somebody may do something, and why",
		Long: `Explain prints the answer, the rule that gives it, and what the rules that match had to say; where the answer is
no, also the rules that come nearest to a yes, with what they want.

An account has the labels that auth.users gives it and those of --label. What the data folder or another source knows
about an account has to be given by --label and --claim. Without --account the question is about whoever is not logged in,
without --ip no condition on ip holds.

Without --tag, --digest, --media-type and --artifact-type these are not known, as when a token is asked for: where a rule
asks for one of them the answer may be maybe. --tag '' says that there is none.`,
		Example: `  customhouse policy explain -c customhouse.yml --account alice --repo team/app --action push
  customhouse policy explain -c customhouse.yml --account ci --claim ref=refs/heads/main --repo team/app --tag v1 --action create
  customhouse policy explain -c customhouse.yml --account ci --label group=ci --repo team/app --action delete --all
  customhouse policy explain -c customhouse.yml --account alice --type registry --name catalog --action '*'`,
		Args: takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, p, err := loadPolicy(*file)
			if err != nil {
				return err
			}
			q, err := asked.question(cmd.Flags())
			if err != nil {
				return err
			}
			query := c.Query(q)
			report := p.Explain(query).Report(query, all)
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), report)
			} else {
				report.Time = nil // it is now, unless somebody knows better
				err = report.WriteText(cmd.OutOrStdout())
			}
			if err == nil && exitCode && report.Answer != "allow" {
				err = errors.New(map[string]string{"deny": "denied", "maybe": "maybe"}[report.Answer])
			}
			return err
		},
	}
	asked.addFlags(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "show what every rule has to say")
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 1 unless the answer is yes")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return cmd
}

// asked is a question as flags ask it.
type asked struct {
	q              config.Question
	labels, claims []string
	known          [4]string // tag, digest, media type, artifact type
}

func (a *asked) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&a.q.Account, "account", "", "`NAME` of who is asking; without it anonymous")
	flags.StringArrayVar(&a.labels, "label", nil, "`KEY=VALUE` that the account has; may be repeated")
	flags.StringArrayVar(&a.claims, "claim", nil, "`NAME=VALUE` that the account's token says; may be repeated, which makes a list")
	flags.StringVar(&a.q.Method, "method", "", "`NAME` of what the account logged in by, such as ldap")
	flags.TextVar(&a.q.IP, "ip", netip.Addr{}, "`ADDRESS` of the client")
	flags.StringVar(&a.q.Service, "service", "", "`NAME` of the service that is asked; without it token.service")
	flags.TextVar(&a.q.Time, "time", config.Moment{}, "`TIME` of the request, as 2026-12-31 or 2026-12-31T18:00:00Z; without it now")
	flags.StringVar(&a.q.Repo, "repo", "", "`NAME` of a repository")
	flags.StringVar(&a.q.Type, "type", "", "`TYPE` of another resource, such as registry")
	flags.StringVar(&a.q.Name, "name", "", "`NAME` of another resource, such as catalog")
	flags.StringVar(&a.known[0], "tag", "", "`TAG` that it is about, '' for none; without it unknown")
	flags.StringVar(&a.known[1], "digest", "", "`DIGEST` of the content, as --tag")
	flags.StringVar(&a.known[2], "media-type", "", "`TYPE` of the content, as --tag")
	flags.StringVar(&a.known[3], "artifact-type", "", "`TYPE` of the artifact, as --tag")
	flags.StringVar((*string)(&a.q.Action), "action", "", "`ACTION`: "+strings.Join(actionNames[:len(actionNames)-1], ", ")+" or *")
	cmd.RegisterFlagCompletionFunc("action", cobra.FixedCompletions(actionNames, cobra.ShellCompDirectiveNoFileComp))
}

// question returns what the flags ask, checked.
func (a *asked) question(flags *pflag.FlagSet) (config.Question, error) {
	q := a.q
	var err error
	if q.Labels, err = parseLabels(a.labels); err != nil {
		return q, err
	}
	if q.Claims, err = parseClaims(a.claims); err != nil {
		return q, err
	}
	for i, to := range []**string{&q.Tag, &q.Digest, &q.MediaType, &q.ArtifactType} {
		if flags.Changed([]string{"tag", "digest", "media-type", "artifact-type"}[i]) {
			*to = &a.known[i]
		}
	}
	if q.Time.IsZero() {
		q.Time.Time = time.Now().UTC()
	}
	return q, inFlags(q.Validate())
}

// parseClaims reads claims. One that is given several times is a list.
func parseClaims(all []string) (map[string]any, error) {
	if len(all) == 0 {
		return nil, nil
	}
	claims := map[string]any{}
	for _, s := range all {
		name, value, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return nil, withHint(fmt.Errorf("invalid claim %q", s), "write it as NAME=VALUE, such as ref=refs/heads/main")
		}
		switch was := claims[name].(type) {
		case nil:
			claims[name] = value
		case []any:
			claims[name] = append(was, value)
		default:
			claims[name] = []any{was, value}
		}
	}
	return claims, nil
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
