package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"customhouse"
	"customhouse/index"

	"github.com/spf13/cobra"
)

func robotCommand() *cobra.Command {
	var s settings
	cmd := group(&cobra.Command{
		Use:   "robot",
		Short: "Keep accounts of machines",
		Long: `A robot is an account of a machine. It has labels, and what it may do is up to the rules of the configuration: its
name says nothing. Its secrets are made here and shown once; two are good at a time, so that one takes the place of the
other without a gap.

A server that runs on the folder takes changes up within a second, for tokens already issued too.`,
		Example: `  customhouse robot add ci --label group=ci --scope 'team/**:pull,push' --expires 90d
  customhouse robot rotate ci --grace 7d`,
	}, robotAddCommand(&s), robotListCommand(&s), robotShowCommand(&s), robotRotateCommand(&s), robotRevokeCommand(&s),
		robotDisableCommand(&s, true), robotDisableCommand(&s, false), robotRemoveCommand(&s))
	s.addFlags(cmd)
	return cmd
}

func robotAddCommand(s *settings) *cobra.Command {
	var labels []string
	var owner string
	var n credentialFlags
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Make a robot and print its secret",
		Long: `Add makes a robot under a name that no other account has, as far as the sources of accounts can be asked, and prints
its secret: this once, only a hash is kept. With an owner the robot is good only as long as that account is.`,
		Example: `  customhouse robot add ci --label group=ci
  customhouse robot add puller --scope 'team/**:pull' --network 10.0.0.0/8 --expires 30d --owner alice`,
		Args: takes(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			robot := customhouse.Robot{}
			var err error
			if robot.Name, err = parseAccount(args[0]); err != nil {
				return err
			}
			if robot.Labels, err = parseLabels(labels); err != nil {
				return err
			}
			wanted, err := n.read()
			if err != nil {
				return err
			}
			return withMachines(cmd, s, mayMake, func(ctx context.Context, m *machineRoom) error {
				if owner != "" {
					id, err := m.person(ctx, owner, "")
					if err != nil {
						return err
					}
					robot.Owner = customhouse.Owner{Account: id.Account, Method: id.Method}
				}
				secret, c, err := m.NewRobot(ctx, robot, wanted)
				if err != nil {
					return forPerson(err)
				}
				return m.print(cmd, "Secret", robot.Name, secret, c)
			})
		},
	}
	cmd.Flags().StringArrayVar(&labels, "label", nil, "`KEY=VALUE` that rules may ask for; may be repeated")
	cmd.Flags().StringVar(&owner, "owner", "", "`ACCOUNT` without which the robot is good for nothing")
	n.addFlags(cmd, "first")
	return cmd
}

// robotFields are what a robot has as JSON.
const robotFields = "name, disabled, created, labels, owner (account and method) and secrets, each with " + credentialFields

func robotListCommand(s *settings) *cobra.Command {
	var asJSON bool
	return jsonFlag(&cobra.Command{
		Use:   "list",
		Short: "List the robots",
		Args:  takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withIndex(cmd, s, mustExist, func(ctx context.Context, db *index.DB) error {
				robots, err := db.Robots(ctx)
				if err != nil {
					return err
				}
				secrets, err := db.AllMachineCredentials(ctx, customhouse.RobotSecret)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), listed(robots, func(r customhouse.Robot) listedRobot {
						return listedRobotOf(r, secrets, time.Now())
					}))
				}
				return table(cmd.OutOrStdout(), "NAME\tSTATE\tSECRETS\tLAST USED\tOWNER\tLABELS", func(w io.Writer) {
					for _, r := range robots {
						good, used := 0, time.Time{}
						for _, c := range secrets {
							if c.Owner.Account != r.Name {
								continue
							}
							if c.Good(time.Now()) {
								good++
							}
							if c.Used.After(used) {
								used = c.Used
							}
						}
						fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\n", r.Name, stateOf(r), good, timeOr(used, "never"), orDash(r.Owner.Account), formatLabels(r.Labels))
					}
				})
			})
		},
	}, &asJSON, robotFields)
}

func stateOf(r customhouse.Robot) string {
	if r.Disabled {
		return "disabled"
	}
	return "enabled"
}

func robotShowCommand(s *settings) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "show NAME",
		Short:   "Show a robot and its secrets, but for what is secret of them",
		Example: "  customhouse robot show ci",
		Args:    takes(1),

		ValidArgsFunction: completeRobots(s),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withIndex(cmd, s, mustExist, func(ctx context.Context, db *index.DB) error {
				r, err := db.Robot(ctx, args[0])
				if err != nil {
					return noRobot(err, args[0])
				}
				secrets, err := db.MachineCredentials(ctx, customhouse.RobotSecret, r.Name)
				if err != nil {
					return err
				}
				out := cmd.OutOrStdout()
				if asJSON {
					return printJSON(out, listedRobotOf(r, secrets, time.Now()))
				}
				fmt.Fprintf(out, "name:    %s\nstate:   %s\nowner:   %s\nlabels:  %s\ncreated: %s\n\n",
					r.Name, stateOf(r), orDash(r.Owner.Account), orDash(formatLabels(r.Labels)), timeOr(r.Created, "-"))
				return printCredentials(out, secrets)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object, as one of the array of customhouse robot list --json")
	return cmd
}

func robotRotateCommand(s *settings) *cobra.Command {
	var n credentialFlags
	grace := "7d"
	cmd := &cobra.Command{
		Use:   "rotate NAME",
		Short: "Make another secret of a robot and print it",
		Long: `Rotate makes a second secret, for what the one before is for unless flags say otherwise. The one before is good for as
long as the grace yet: put the new one where it is needed meanwhile, see by "customhouse robot show" that the old one is used no
more, and revoke it or let it end.`,
		Example: `  customhouse robot rotate ci
  customhouse robot rotate ci --grace 0s       # the secret has leaked: the old one ends now`,
		Args: takes(1),

		ValidArgsFunction: completeRobots(s),
		RunE: func(cmd *cobra.Command, args []string) error {
			wanted, err := n.read()
			if err != nil {
				return err
			}
			within, err := parseLifetime(grace)
			if err != nil || within < 0 {
				return withHint(fmt.Errorf("invalid grace %q", grace), "want a time, such as 7d or 0s")
			}
			return withMachines(cmd, s, mustExist, func(ctx context.Context, m *machineRoom) error {
				secret, c, err := m.Rotate(ctx, args[0], within, wanted)
				var no *customhouse.Error
				if errors.As(err, &no) && no.Code == customhouse.Denied {
					return withHint(errors.New(no.Message), fmt.Sprintf("`customhouse robot show %s` tells their ids and `customhouse robot revoke %s ID` ends one", args[0], args[0]))
				}
				if err != nil {
					return noRobot(forPerson(err), args[0])
				}
				return m.print(cmd, "Secret", args[0], secret, c)
			})
		},
	}
	cmd.Flags().StringVar(&grace, "grace", grace, "`TIME` for which the secret before is good yet")
	n.addFlags(cmd, "rotated")
	return cmd
}

func robotRevokeCommand(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:     "revoke NAME ID",
		Short:   "End a secret of a robot",
		Example: "  customhouse robot revoke ci 4kbnf2q7rw5ahx3m",
		Args:    takes(2),

		ValidArgsFunction: completeRobots(s),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withIndex(cmd, s, mustExist, func(ctx context.Context, db *index.DB) error {
				err := db.RevokeMachineCredential(ctx, customhouse.RobotSecret, customhouse.Owner{Account: args[0]}, args[1])
				if errors.Is(err, customhouse.ErrNotFound) {
					return withHint(fmt.Errorf("robot %q has no secret %q", args[0], args[1]), fmt.Sprintf("`customhouse robot show %s` shows those that it has", args[0]))
				}
				return err
			})
		},
	}
}

func robotDisableCommand(s *settings, disable bool) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "disable NAME",
		Short:   "Let a robot in no longer, until it is enabled",
		Example: "  customhouse robot disable ci",
		Args:    takes(1),

		ValidArgsFunction: completeRobots(s),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withIndex(cmd, s, mustExist, func(ctx context.Context, db *index.DB) error {
				return noRobot(db.DisableRobot(ctx, args[0], disable), args[0])
			})
		},
	}
	if !disable {
		cmd.Use, cmd.Short, cmd.Example = "enable NAME", "Let a robot in again", "  customhouse robot enable ci"
	}
	return cmd
}

func robotRemoveCommand(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:     "remove NAME",
		Aliases: []string{"rm"},
		Short:   "Remove a robot with its secrets",
		Example: "  customhouse robot remove ci",
		Args:    takes(1),

		ValidArgsFunction: completeRobots(s),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withIndex(cmd, s, mustExist, func(ctx context.Context, db *index.DB) error {
				return noRobot(db.RemoveRobot(ctx, args[0]), args[0])
			})
		},
	}
}

// completeRobots completes the names of robots in the data folder.
func completeRobots(s *settings) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var names []cobra.Completion
		if len(args) == 0 {
			// Without an index there is nothing to complete, and nobody to tell why.
			_ = withIndex(cmd, s, mustExist, func(ctx context.Context, db *index.DB) error {
				robots, err := db.Robots(ctx)
				for _, r := range robots {
					names = append(names, r.Name)
				}
				return err
			})
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// noRobot explains customhouse.ErrNotFound about the robot called name.
func noRobot(err error, name string) error {
	if !errors.Is(err, customhouse.ErrNotFound) {
		return err
	}
	return withHint(fmt.Errorf("no robot %q", name), "`customhouse robot list` shows them")
}

func orDash(s string) string {
	if strings.TrimSpace(s) == "" {
		return "-"
	}
	return s
}

func timeOr(t time.Time, none string) string {
	if t.IsZero() {
		return none
	}
	return t.UTC().Format(time.RFC3339)
}
