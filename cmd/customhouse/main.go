// Command customhouse is a container registry whose authorization is yours to define: registry, token service and
// policy in one program.
//
// This package is the command line and the only place that sees the configuration and the components together.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitFailure = 1
	exitUsage   = 2 // the command line makes no sense
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends what does not heed the first
	code := run(ctx, commandLine(os.Args))
	stop()
	os.Exit(code)
}

// commandLine is what follows the program's name. A program that is called registry is CNCF distribution's, and one that
// is called auth_server is docker_auth's.
func commandLine(args []string) []string {
	if len(args) == 0 {
		return nil
	}
	switch filepath.Base(args[0]) {
	case "registry":
		return append([]string{"registry"}, args[1:]...)
	case authServer:
		return append([]string{"auth", "serve"}, args[1:]...)
	}
	return args[1:]
}

// run executes a command line and returns its exit code. ctx ends with SIGINT or SIGTERM.
func run(ctx context.Context, args []string) int {
	syscall.Umask(0o077) // what we write is for nobody else
	understood := false
	root := commands(&understood)
	root.SetArgs(args)

	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	if !understood {
		printError(os.Stderr, defaultHint(err, fmt.Sprintf("`%s --help` shows the usage", cmd.CommandPath())))
		return exitUsage
	}
	printError(os.Stderr, err)
	if own := (exit{}); errors.As(err, &own) {
		return own.code
	}
	return exitFailure
}

// commands returns the whole command line. understood is set when one of them makes sense and is about to be run.
func commands(understood *bool) *cobra.Command {
	root := group(&cobra.Command{
		Use:   "customhouse",
		Short: "A container registry whose authorization is yours to define",
		Long: `Customhouse is a container registry with a token service and a policy engine in one program.

Start one on this machine and log in with the command it prints:

  customhouse serve`,
		Version:       buildVersion(),
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmd.ValidateFlagGroups(); err != nil {
				return err
			}
			*understood = true
			return nil
		},
	}, serveCommand(), adoptCommand(), exportCommand(), importCommand(), authCommand(), registryCommand(), configCommand(), policyCommand(), userCommand(), robotCommand(), tokenCommand(), auditCommand(), whoamiCommand(), accessCommand(), keysCommand(), eventsCommand(), mirrorCommand(), hashCommand(), versionCommand())
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	return root
}

// group makes parent a command that only holds others and prints its help when none of them is named.
func group(parent *cobra.Command, commands ...*cobra.Command) *cobra.Command {
	parent.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		err := fmt.Errorf("unknown command %q", cmd.CommandPath()+" "+args[0])
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			return withHint(err, fmt.Sprintf("did you mean `%s %s`?", cmd.CommandPath(), near[0]))
		}
		return err
	}
	parent.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	parent.DisableFlagsInUseLine = true
	parent.SuggestionsMinimumDistance = 2
	parent.AddCommand(commands...)
	return parent
}

// takes checks that a command gets n arguments.
func takes(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return fmt.Errorf("want `%s`", cmd.UseLine())
		}
		return nil
	}
}

// takesUpTo checks that a command gets no more than n arguments.
func takesUpTo(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return fmt.Errorf("want `%s`", cmd.UseLine())
		}
		return nil
	}
}

// exit is an error with an exit code of its own.
type exit struct {
	error
	code int
}

func (e exit) Unwrap() error { return e.error }

// withExit returns err with an exit code in place of exitFailure.
func withExit(code int, err error) error { return exit{err, code} }

// hinted is an error with a hint at what to do about it.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

// withHint returns err with a hint at what to do about it, for the person at the command line. A nil err stays nil.
func withHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return hinted{err, hint}
}

// defaultHint is withHint for an err that has no hint.
func defaultHint(err error, hint string) error {
	if errors.As(err, new(hinted)) {
		return err
	}
	return withHint(err, hint)
}

// printError writes err, each line of it as an error of its own, and the hint if it has one.
func printError(w io.Writer, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintln(w, "error:", printable(line)) // it may quote a name or an answer that somebody else has chosen
	}
	var h hinted
	if errors.As(err, &h) {
		fmt.Fprintln(w, "hint:", printable(h.hint))
	}
}
