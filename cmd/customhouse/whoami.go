package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"customhouse"

	"github.com/spf13/cobra"
)

// whoamiActions are the actions that whoami asks about, in the order in which it tells of them.
var whoamiActions = []customhouse.Action{"pull", "push", "create", "update", "delete", "list", "tag", "referrer", "mount", "admin"}

// self is what a registry says of who asks it. Raw is its answer as it came.
type self struct {
	Raw     json.RawMessage     `json:"-"`
	Account string              `json:"account"`
	Method  string              `json:"method"`
	Labels  map[string][]string `json:"labels"`
	Claims  map[string]any      `json:"claims"`
	Scopes  []customhouse.Scope `json:"scopes"`
	Expires *time.Time          `json:"expires"`
	Client  string              `json:"client"`
}

// mayDo is a registry's answer about one action.
type mayDo struct {
	Action  customhouse.Action `json:"action"`
	Answer  string             `json:"answer"`
	Message string             `json:"message,omitempty"`
}

func whoamiCommand() *cobra.Command {
	var far farRegistry
	var repo, tag string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "whoami [SERVER]",
		Short: "Ask a running registry who one is there",
		Long: `Whoami logs in to SERVER, HOST[:PORT], and prints the account that it takes one for, with what rules may ask about:
labels, claims and the method of login; the scopes that the credential is limited to, and when it ends. Without SERVER it
asks 127.0.0.1:5000.

Credentials are those of docker login, from its configuration or a credential helper, or --username with a password on
standard input. A refresh token, which is what docker login leaves where the registry gives one, goes to SERVER alone. As
with docker, a registry on this machine may be without TLS; another needs --plain-http for that.

With --repo it also tells what the rules let one do there. The answer is maybe where it depends on a tag: --tag names one.`,
		Example: `  customhouse whoami registry.example.com
  customhouse whoami registry.example.com --repo team/app --tag v1
  customhouse whoami -u ci --password-stdin <secret`,
		Args: takesUpTo(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if tag != "" && repo == "" {
				return errors.New("--tag is a tag of a repository: name it with --repo")
			}
			host := "127.0.0.1:5000"
			if len(args) == 1 {
				host = args[0]
			}
			if err := far.open(cmd, host, ""); err != nil {
				return err
			}
			me, err := far.whoami(cmd.Context())
			if err != nil {
				return err
			}
			var may []mayDo
			if repo != "" {
				if may, err = far.mayDo(cmd.Context(), repo, tag); err != nil {
					return err
				}
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), struct {
					Self json.RawMessage `json:"self"`
					Repo string          `json:"repo,omitempty"`
					Tag  string          `json:"tag,omitempty"`
					May  []mayDo         `json:"may,omitempty"`
				}{me.Raw, repo, tag, may})
			}
			if err := me.print(cmd.OutOrStdout()); err != nil || repo == "" {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout())
			return table(cmd.OutOrStdout(), "ACTION\tANSWER\tWHY", func(w io.Writer) {
				for _, m := range may {
					fmt.Fprintf(w, "%s\t%s\t%s\n", m.Action, printable(m.Answer), printable(orDash(m.Message)))
				}
			})
		},
	}
	far.addFlags(cmd)
	cmd.Flags().StringVar(&repo, "repo", "", "`NAME` of a repository: tell what one may do there")
	cmd.Flags().StringVar(&tag, "tag", "", "`TAG` in the repository")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return cmd
}

func (s *self) print(out io.Writer) error {
	lines := []string{"account:  (anonymous)"}
	if s.Account != "" {
		lines[0] = "account:  " + s.Account
	}
	add := func(name, value string) {
		if value != "" {
			lines = append(lines, fmt.Sprintf("%-10s%s", name+":", value))
		}
	}
	add("method", s.Method)
	for _, key := range slices.Sorted(maps.Keys(s.Labels)) {
		for _, value := range s.Labels[key] {
			add("label", key+"="+value)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s.Claims)) {
		value, err := json.Marshal(s.Claims[key])
		if err != nil {
			return err
		}
		add("claim", key+"="+string(value))
	}
	for _, scope := range s.Scopes {
		add("scope", scope.String())
	}
	if s.Expires != nil {
		add("expires", s.Expires.UTC().Format(time.RFC3339))
	}
	add("client", s.Client)
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	_, err := fmt.Fprintln(out, strings.Join(lines, "\n"))
	return err
}
