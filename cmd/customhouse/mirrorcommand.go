package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"customhouse/config"
	"customhouse/index"

	"github.com/spf13/cobra"
)

func mirrorCommand() *cobra.Command {
	var s settings
	cmd := group(&cobra.Command{
		Use:   "mirror",
		Short: "See how replications went, and run them",
		Long: `The rules under replicate keep content the same here and in other registries. The server runs them; these commands
look at what it has noted in the data folder, and ask it for a run, which it begins within a second.`,
		Example: `  customhouse mirror status -c customhouse.yml
  customhouse mirror run base -c customhouse.yml`,
	}, mirrorStatusCommand(&s), mirrorRunCommand(&s))
	s.addFlags(cmd)
	return cmd
}

func mirrorStatusCommand(s *settings) *cobra.Command {
	var asJSON bool
	return jsonFlag(&cobra.Command{
		Use:   "status",
		Short: "List the rules: how the last run of each went and when the next one is",
		Args:  takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := s.load()
			if err != nil {
				return err
			}
			return withIndex(cmd, s, mustExist, func(ctx context.Context, db *index.DB) error {
				all, err := db.Replications(ctx)
				if err != nil {
					return err
				}
				lastOf := func(r config.Replicate) index.Replication {
					if i := slices.IndexFunc(all, func(p index.Replication) bool { return p.Name == r.Name }); i >= 0 {
						return all[i]
					}
					return index.Replication{Started: time.UnixMilli(0), Finished: time.UnixMilli(0), Asked: time.UnixMilli(0)}
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), listed(c.Replicate, func(r config.Replicate) listedReplication {
						return listedReplicationOf(r, lastOf(r))
					}))
				}
				return table(cmd.OutOrStdout(), "RULE\tDIRECTION\tLAST\tCOPIED\tPRESENT\tDELETED\tFAILED\tNEXT\tERROR", func(w io.Writer) {
					for _, r := range c.Replicate {
						last := lastOf(r)
						fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\n", r.Name, r.Direction, lastRun(last),
							last.Copied, last.Present, last.Deleted, last.Failed, nextRun(r, last), printable(last.Error))
					}
				})
			})
		},
	}, &asJSON, "name, direction, started, finished, copied, present, deleted, failed, next, asked (a run was asked for and has not begun) and error")
}

func lastRun(last index.Replication) string {
	switch {
	case last.Started.UnixMilli() == 0 && last.Finished.UnixMilli() == 0:
		return "never"
	case last.Finished.Before(last.Started):
		return "runs since " + last.Started.UTC().Format(time.DateTime)
	}
	return last.Finished.UTC().Format(time.DateTime)
}

func nextRun(r config.Replicate, last index.Replication) string {
	switch {
	case last.Asked.After(last.Started):
		return "now"
	case r.Every == 0:
		return "-"
	case last.Started.UnixMilli() == 0:
		return "when the server runs"
	}
	return last.Started.Add(r.Every).UTC().Format(time.DateTime)
}

func mirrorRunCommand(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "run NAME",
		Short: "Ask the server for a run of a rule, now",
		Args:  takes(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := s.load()
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(c.Replicate, func(r config.Replicate) bool { return r.Name == args[0] }) {
				return withHint(fmt.Errorf("no rule %q", args[0]), "`customhouse mirror status` lists them; name the configuration with -c")
			}
			return withIndex(cmd, s, mustExist, func(ctx context.Context, db *index.DB) error {
				if err := db.AskReplication(ctx, args[0]); err != nil {
					return err
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s is to run; `customhouse mirror status` tells how it went\n", args[0])
				return err
			})
		},
	}
}
