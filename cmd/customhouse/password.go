package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"customhouse"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// passwordSource is where a password comes from; at most one of the flags is set.
type passwordSource struct {
	stdin    bool // --password-stdin
	generate bool // --generate
}

func (p *passwordSource) addFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&p.stdin, "password-stdin", false, "read the password from standard input")
	cmd.Flags().BoolVar(&p.generate, "generate", false, "make a random password and print it")
	cmd.MarkFlagsMutuallyExclusive("password-stdin", "generate")
}

// read returns the password: made, read from standard input, or typed twice at a terminal.
func (p *passwordSource) read(cmd *cobra.Command) (customhouse.Secret, error) {
	if p.generate {
		return customhouse.Secret(rand.Text()), nil
	}
	if p.stdin {
		return await(cmd.Context(), func() (customhouse.Secret, error) { return readPassword(cmd.InOrStdin()) })
	}
	if terminal := terminalOf(cmd); terminal != nil {
		return promptTwice(cmd.Context(), terminal, cmd.ErrOrStderr())
	}
	return "", withHint(errors.New("no password: standard input is no terminal to ask at"), "use --password-stdin or --generate")
}

// terminalOf returns the terminal that cmd reads from, nil if it reads from something else.
func terminalOf(cmd *cobra.Command) *os.File {
	f, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return f
}

// readPassword reads the first line of r.
func readPassword(r io.Reader) (customhouse.Secret, error) {
	const longest = 4096
	text, err := io.ReadAll(io.LimitReader(r, longest))
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	line, rest, _ := strings.Cut(string(text), "\n")
	switch line = strings.TrimSuffix(line, "\r"); {
	case line == "":
		return "", errors.New("the password is empty")
	case rest != "":
		return "", errors.New("more than one line where a password was expected")
	}
	return customhouse.Secret(line), nil
}

// promptTwice asks for a new password until ctx ends.
func promptTwice(ctx context.Context, terminal *os.File, prompts io.Writer) (customhouse.Secret, error) {
	first, err := prompt(ctx, terminal, prompts, "Password: ")
	if err != nil {
		return "", err
	}
	if first == "" {
		return "", errors.New("the password is empty")
	}
	again, err := prompt(ctx, terminal, prompts, "Again: ")
	if err != nil {
		return "", err
	}
	if again != first {
		return "", errors.New("the two passwords differ")
	}
	return first, nil
}

// prompt reads a line without echo, and switches the echo on again when ctx ends first.
func prompt(ctx context.Context, terminal *os.File, prompts io.Writer, text string) (customhouse.Secret, error) {
	fd := int(terminal.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("ask for the password: %w", err)
	}
	fmt.Fprint(prompts, text)
	password, err := await(ctx, func() (customhouse.Secret, error) {
		line, err := term.ReadPassword(fd)
		return customhouse.Secret(line), err
	})
	fmt.Fprintln(prompts)
	if ctx.Err() != nil {
		err = errors.Join(err, term.Restore(fd, before))
	}
	return password, err
}

// await returns what read returns, unless ctx ends first. Then read is left behind: waiting for input cannot be
// interrupted, and the program is about to end.
func await[T any](ctx context.Context, read func() (T, error)) (none T, err error) {
	type answer struct {
		of  T
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		of, err := read()
		answers <- answer{of, err}
	}()
	select {
	case a := <-answers:
		return a.of, a.err
	case <-ctx.Done():
		return none, errors.New("interrupted")
	}
}

// interruptible makes cmd, and the commands in it, end when they are interrupted, whatever they wait for: a file may be a pipe that
// nobody writes to. It is for commands that read and print, and leave nothing half done.
func interruptible(cmd *cobra.Command) *cobra.Command {
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		_, err := await(cmd.Context(), func() (struct{}, error) { return struct{}{}, run(cmd, args) })
		return err
	}
	for _, c := range cmd.Commands() {
		interruptible(c)
	}
	return cmd
}
