package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

	"customhouse"
	"customhouse/audit"
	"customhouse/index"

	"github.com/spf13/cobra"
)

// auditFlags are what entries are asked for by, as people write them.
type auditFlags struct {
	question     audit.Question
	since, until string
	n            int
	json, follow bool
}

func auditCommand() *cobra.Command {
	var s settings
	var f auditFlags
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Look into what is kept to be accounted for",
		Long: `Audit shows who was let through and who was refused, who logged in, which tokens were issued, and what was changed. It
reads the data folder, whether a server runs on it or not. The latest entries come last.

A client that is refused sees the id of the decision; --decision finds it.`,
		Example: `  customhouse audit --denied --since 24h
  customhouse audit --repo team/app --action push
  customhouse audit --decision 7k3m9q2x5v8w1z4t
  customhouse audit --account ci --json --follow`,
		Args: takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.parse(time.Now()); err != nil {
				return err
			}
			return withIndex(cmd, &s, mustExist, func(ctx context.Context, db *index.DB) error {
				return f.show(ctx, audit.NewReader(db), cmd.OutOrStdout(), cmd.ErrOrStderr())
			})
		},
	}
	cmd.AddCommand(auditVerifyCommand(&s), auditLastCommand(&s))
	s.addFlags(cmd)
	flags := cmd.Flags()
	q := &f.question
	flags.StringVar(&q.Account, "account", "", "`NAME` of who did it, or whose account was changed")
	flags.StringVar(&q.Name, "repo", "", "`NAME` of the repository, or of another resource")
	flags.StringVar(&q.Tag, "tag", "", "`TAG` that was asked for")
	flags.StringVar(&q.Digest, "digest", "", "`DIGEST` that was asked for or answered")
	flags.StringVar((*string)(&q.Action), "action", "", "`ACTION` that was asked for, such as pull or push")
	flags.StringVar(&q.Client, "client", "", "`ADDRESS` of the client")
	flags.StringVar(&q.Kind, "kind", "", "`KIND`: "+strings.Join(customhouse.AuditKinds(), ", "))
	flags.StringVar(&q.Decision, "decision", "", "`ID` of a decision, as a client saw it")
	flags.BoolVar(&q.Denied, "denied", false, "what was refused only")
	flags.StringVar(&f.since, "since", "", "`TIME` or how long ago, such as 24h or 2026-05-01")
	flags.StringVar(&f.until, "until", "", "`TIME` or how long ago")
	flags.IntVarP(&f.n, "number", "n", 100, "`N` entries at most, the latest; 0 is all")
	flags.BoolVar(&f.json, "json", false, "print entries as they are kept, one JSON object a line")
	flags.BoolVarP(&f.follow, "follow", "f", false, "go on with what comes")
	cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(customhouse.AuditKinds(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (f *auditFlags) parse(now time.Time) (err error) {
	if f.since != "" {
		if f.question.Since, err = audit.ParseTime(f.since, now); err != nil {
			return fmt.Errorf("--since: %w", err)
		}
	}
	if f.until != "" {
		if f.question.Until, err = audit.ParseTime(f.until, now); err != nil {
			return fmt.Errorf("--until: %w", err)
		}
	}
	if field, want := f.question.Check(); field != "" {
		return fmt.Errorf("--%s: %s", field, want)
	}
	f.question.Decision = strings.ToLower(f.question.Decision)
	if f.n < 0 {
		return errors.New("--number: want 0 or more")
	}
	return nil
}

// show prints what is asked for, and with follow what comes until ctx ends.
func (f *auditFlags) show(ctx context.Context, r *audit.Reader, out, warnings io.Writer) error {
	q := f.question
	end, err := r.Last(ctx) // before they are read: what comes meanwhile is not left out
	if err != nil {
		return err
	}
	q.Down, q.Before = true, 0
	var latest []audit.Line
	for line, err := range r.FindLines(ctx, q) {
		if warned(warnings, err) {
			continue
		}
		if err != nil {
			return err
		}
		latest = append(latest, line)
		if len(latest) == f.n {
			break
		}
	}
	if len(latest) == 0 && q.Decision != "" && !f.follow {
		return withHint(fmt.Errorf("no entry tells of the decision %s", q.Decision),
			"audit.keep says for how long entries are kept, audit.allow which of those that let somebody through")
	}
	slices.Reverse(latest)
	q.Down = false
	q.After = end
	if f.follow { // what has no number yet is shown when it has one
		latest = slices.DeleteFunc(latest, func(l audit.Line) bool { return l.Number == 0 })
	}
	for i := range latest {
		if err := f.print(out, &latest[i]); err != nil {
			return err
		}
		q.After = max(q.After, latest[i].Number)
	}
	if !f.follow {
		return nil
	}
	ticks := time.NewTicker(audit.Flush)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
		for line, err := range r.FindLines(ctx, q) {
			var damage *audit.Damage
			switch {
			case ctx.Err() != nil:
				return nil
			case errors.As(err, &damage):
				warned(warnings, err)
				q.After = damage.Last
				continue
			case err != nil:
				return err
			case line.Number == 0:
				continue
			}
			if err := f.print(out, &line); err != nil {
				return err
			}
			q.After = line.Number
		}
	}
}

// warned tells of what is damaged in the log and is left out, and whether err is that.
func warned(warnings io.Writer, err error) bool {
	if !errors.As(err, new(*audit.Damage)) {
		return false
	}
	fmt.Fprintln(warnings, "warning:", printable(err.Error())+"; they are left out")
	return true
}

func (f *auditFlags) print(out io.Writer, line *audit.Line) error {
	text := string(line.Text)
	if !f.json {
		text = printable(sentence(&line.AuditEntry)) // whoever tried to log in has chosen the name
	}
	_, err := fmt.Fprintln(out, text)
	return err
}

// sentence says what an entry tells, on one line.
func sentence(e *customhouse.AuditEntry) string {
	outcome := "denied "
	if e.Allowed {
		outcome = "allowed"
	}
	if e.Kind != customhouse.AuditDecision && e.Kind != customhouse.AuditLogin {
		outcome = "-      "
	}
	parts := []string{e.Time.Format("2006-01-02T15:04:05.000Z07:00"), fmt.Sprintf("%-8s", e.Kind), outcome, cmp.Or(e.Account, "-"), cmp.Or(e.Client, "-")}
	if e.Name != "" {
		what := e.Name
		if e.Type != customhouse.TypeRepository {
			what = e.Type + ":" + what
		}
		if e.Tag != "" {
			what += ":" + e.Tag
		}
		if e.Digest != "" {
			what += "@" + e.Digest
		}
		parts = append(parts, what)
	}
	if len(e.Actions) > 0 {
		actions := make([]string, len(e.Actions))
		for i, a := range e.Actions {
			actions[i] = string(a)
		}
		parts = append(parts, strings.Join(actions, ","))
	}
	if why := cmp.Or(e.Detail, e.Reason); why != "" && !(e.Kind == customhouse.AuditDecision && e.Allowed && e.Detail == "") {
		parts = append(parts, "("+why+")")
	}
	if e.Count > 0 {
		parts = append(parts, fmt.Sprintf("(counted)  %s until %s", count(int(e.Count), "time"), e.Until.Format(time.RFC3339)))
	}
	if e.Decision != "" {
		parts = append(parts, "decision "+e.Decision)
	}
	return strings.Join(parts, "  ")
}

// printable replaces what controls a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\ufffd'
	}, s)
}

func auditVerifyCommand(s *settings) *cobra.Command {
	var noted string
	cmd := &cobra.Command{
		Use:   "verify [FILE...]",
		Short: "Check that no entry was changed, removed or put in",
		Long: `Verify checks the entries in the data folder, or the lines of FILE: that each is what was written, and follows the one
before. It names the first place that is not so, and exits with 1. Several files are those that were set aside, the oldest first.
What the log tells of itself it prints: entries that were lost, or the end of a file that was damaged and the server has set aside.

What was cut off at the end it cannot tell by itself: note the hash that it prints somewhere else, and give it with --hash the next time.`,
		Example: `  customhouse audit verify
  customhouse audit verify --hash 479d51e1...
  customhouse audit verify audit.log.2 audit.log.1 audit.log`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := hex.DecodeString(noted); noted != "" && (err != nil || len(noted) != 2*sha256.Size) {
				return errors.New("--hash: want the hash of an entry in full, 64 hexadecimal digits")
			}
			if len(args) > 0 {
				v, err := audit.VerifyFiles(noted, args...)
				return verified(cmd.OutOrStdout(), strings.Join(args, ", "), v, err)
			}
			return withIndex(cmd, s, mustExist, func(ctx context.Context, db *index.DB) error {
				v, err := audit.NewReader(db).Verify(ctx, noted)
				return verified(cmd.OutOrStdout(), "the audit log", v, err)
			})
		},
	}
	cmd.Flags().StringVar(&noted, "hash", "", "`HASH` that was printed before: of an entry that has to be there")
	return cmd
}

func verified(out io.Writer, what string, v audit.Verified, err error) error {
	var broken *audit.Break
	if errors.As(err, &broken) {
		if broken.File == "" {
			err = fmt.Errorf("%s: %w", what, err)
		}
		switch {
		case broken.Number == 0 && broken.File == "":
			return withHint(err, "the end may have been cut off; or it was forgotten, as audit.keep and audit.rotate say: note the last hash anew from time to time")
		case v.Entries == 0:
			return err
		}
		return withHint(err, fmt.Sprintf("the %d before it are whole", v.Entries))
	}
	if err != nil || v.Entries == 0 {
		if err == nil {
			_, err = fmt.Fprintf(out, "%s: no entries\n", what)
		}
		return err
	}
	_, err = fmt.Fprintf(out, "%s: ok, entries %d to %d, the last of %s with hash %s\n",
		what, v.First.Number, v.Last.Number, v.Last.Time.Format(time.RFC3339), v.Last.Hash)
	for _, e := range v.Told {
		_, other := fmt.Fprintf(out, "entry %d of %s tells: %s\n", e.Number, e.Time.Format(time.RFC3339), printable(e.Detail))
		err = errors.Join(err, other)
	}
	return err
}

func auditLastCommand(s *settings) *cobra.Command {
	var action string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "last REPO[:TAG|@DIGEST]",
		Short: "Tell who was the last to pull something",
		Example: `  customhouse audit last team/app:v1
  customhouse audit last team/app --action push`,
		Args: takes(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := lastQuestion(args[0], customhouse.Action(action))
			if err != nil {
				return err
			}
			return withIndex(cmd, s, mustExist, func(ctx context.Context, db *index.DB) error {
				for line, err := range audit.NewReader(db).FindLines(ctx, q) {
					if warned(cmd.ErrOrStderr(), err) {
						continue
					}
					if err != nil {
						return err
					}
					if audit.Answered(&line.AuditEntry) {
						return (&auditFlags{json: asJSON}).print(cmd.OutOrStdout(), &line)
					}
				}
				return withExit(exitFailure, fmt.Errorf("no entry tells of a %s of %s", action, args[0]))
			})
		},
	}
	cmd.Flags().StringVar(&action, "action", "pull", "`ACTION`: who was the last to do that, such as push or delete")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the entry as it is kept")
	return cmd
}

// lastQuestion asks for what was done to REPO[:TAG|@DIGEST], the latest first.
func lastQuestion(of string, action customhouse.Action) (audit.Question, error) {
	q := audit.Question{Kind: customhouse.AuditDecision, Allowed: true, Action: action, Name: of, Down: true}
	var ref string
	var named bool
	if q.Name, ref, named = strings.Cut(of, "@"); !named {
		q.Name, ref, named = strings.Cut(of, ":")
	}
	if _, err := customhouse.ParseRepo(q.Name); err != nil {
		return q, withHint(fmt.Errorf("%q is no repository", q.Name), "want REPO, REPO:TAG or REPO@DIGEST, without the name of the registry")
	}
	if !named {
		return q, nil
	}
	parsed, err := customhouse.ParseRef(ref)
	switch {
	case err != nil:
		return q, fmt.Errorf("%q is no tag and no digest", ref)
	case parsed.Digest.IsZero():
		q.Tag = ref
	default:
		q.Digest = ref
	}
	return q, nil
}
