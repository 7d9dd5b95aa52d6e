package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"customhouse"
	"customhouse/index"

	"github.com/spf13/cobra"
)

func eventsCommand() *cobra.Command {
	var s settings
	cmd := group(&cobra.Command{
		Use:   "events",
		Short: "See how far the endpoints of notify have been told, and tell them again",
		Long: `Events of pushes, pulls, mounts and deletes are kept in the data folder until each endpoint of notify has taken them. What
an endpoint refuses is laid aside after some tries and does not hold up what follows.

A server that runs on the folder takes a replay up within a second.`,
		Example: `  customhouse events status -c customhouse.yml
  customhouse events dead -c customhouse.yml
  customhouse events replay ci -c customhouse.yml`,
	}, eventsStatusCommand(&s), eventsDeadCommand(&s), eventsReplayCommand(&s))
	s.addFlags(cmd)
	return cmd
}

func eventsStatusCommand(s *settings) *cobra.Command {
	var asJSON bool
	return jsonFlag(&cobra.Command{
		Use:   "status",
		Short: "List the endpoints: how many events wait for each, and how many were laid aside",
		Args:  takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withIndex(cmd, s, mustExist, func(ctx context.Context, db *index.DB) error {
				all, err := db.Endpoints(ctx)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), listed(all, func(e index.Endpoint) listedEndpoint {
						return listedEndpoint{e.Name, e.Wait, e.Dead}
					}))
				}
				return table(cmd.OutOrStdout(), "ENDPOINT\tWAITING\tDEAD", func(w io.Writer) {
					for _, e := range all {
						fmt.Fprintf(w, "%s\t%d\t%d\n", e.Name, e.Wait, e.Dead)
					}
				})
			})
		},
	}, &asJSON, "endpoint, waiting and dead")
}

func eventsDeadCommand(s *settings) *cobra.Command {
	var asJSON bool
	return jsonFlag(&cobra.Command{
		Use:               "dead [ENDPOINT]",
		Short:             "List the events that were laid aside, and why",
		Args:              takesUpTo(1),
		ValidArgsFunction: completeEndpoints(s),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withIndex(cmd, s, mustExist, func(ctx context.Context, db *index.DB) error {
				endpoint, err := knownEndpoint(ctx, db, args)
				if err != nil {
					return err
				}
				all, err := db.DeadEvents(ctx, endpoint)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), listed(all, func(e index.DeadEvent) listedDeadEvent {
						return listedDeadEvent{e.Endpoint, e.Number, utc(e.Time), e.Action, e.Repo, e.Tag, e.Digest, e.Reason, e.Again}
					}))
				}
				return table(cmd.OutOrStdout(), "ENDPOINT\tNUMBER\tTIME\tACTION\tREPOSITORY\tREFERENCE\tREASON", func(w io.Writer) {
					for _, e := range all {
						reference, reason := e.Tag, e.Reason
						if reference == "" {
							reference = e.Digest
						}
						if e.Again {
							reason += " (to be told again)"
						}
						fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%s\n", e.Endpoint, e.Number, e.Time.Format(time.RFC3339), e.Action, e.Repo, reference, printable(reason))
					}
				})
			})
		},
	}, &asJSON, "endpoint, number, time, action, repo, tag, digest, reason and again, which is true for one that is to be told again")
}

func eventsReplayCommand(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "replay ENDPOINT [NUMBER...]",
		Short: "Tell an endpoint again of events that were laid aside: of some, or of all",
		Example: `  customhouse events replay ci -c customhouse.yml
  customhouse events replay ci 17 23 -c customhouse.yml`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("want `%s`", cmd.UseLine())
			}
			return nil
		},
		ValidArgsFunction: completeEndpoints(s),
		RunE: func(cmd *cobra.Command, args []string) error {
			var numbers []int64
			for _, arg := range args[1:] {
				n, err := strconv.ParseInt(arg, 10, 64)
				if err != nil {
					return withHint(fmt.Errorf("%q is no number of an event", arg), "`customhouse events dead` lists them")
				}
				numbers = append(numbers, n)
			}
			return withIndex(cmd, s, mustExist, func(ctx context.Context, db *index.DB) error {
				endpoint, err := knownEndpoint(ctx, db, args)
				if err != nil {
					return err
				}
				n, err := db.Replay(ctx, endpoint, numbers)
				if errors.Is(err, customhouse.ErrNotFound) {
					return withHint(fmt.Errorf("not laid aside for %s: %w", endpoint, err), "`customhouse events dead` lists those that were")
				}
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "to be told again: %s\n", count(int(n), "event"))
				return err
			})
		},
	}
}

// knownEndpoint returns the endpoint that args name, "" if they name none.
func knownEndpoint(ctx context.Context, db *index.DB, args []string) (string, error) {
	if len(args) == 0 {
		return "", nil
	}
	all, err := db.Endpoints(ctx)
	if err == nil && !slices.ContainsFunc(all, func(e index.Endpoint) bool { return e.Name == args[0] }) {
		err = withHint(fmt.Errorf("no endpoint %q", args[0]), "`customhouse events status` lists them, as the server that ran last has had them")
	}
	return args[0], err
}

// completeEndpoints completes the names of endpoints.
func completeEndpoints(s *settings) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var names []cobra.Completion
		if len(args) == 0 {
			// Without an index there is nothing to complete, and nobody to tell why.
			_ = withIndex(cmd, s, mustExist, func(ctx context.Context, db *index.DB) error {
				all, err := db.Endpoints(ctx)
				for _, e := range all {
					names = append(names, e.Name)
				}
				return err
			})
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// table writes rows below a heading, in columns.
func table(out io.Writer, heading string, rows func(io.Writer)) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, err := fmt.Fprintln(w, heading)
	rows(w)
	return errors.Join(err, w.Flush())
}
