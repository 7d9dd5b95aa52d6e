package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"customhouse/config"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"
)

func policyFmtCommand(file *string) *cobra.Command {
	var write, differences bool
	cmd := &cobra.Command{
		Use:   "fmt [FILE...]",
		Short: "Write rules and sets in the one way in which they are written",
		Long: `Fmt prints files with their rules and sets written in one way: what is indented how, quoted how, and written in
lines where one line would be too long. Comments, the order of keys and whatever else is in a file stay. What is written
means what it did, or is left as it is.

Without FILE it formats the configuration and the files that it includes. FILE - is the standard input.`,
		Example: `  customhouse policy fmt -w -c customhouse.yml
  customhouse policy fmt -d rules.d/*.yml`,
		ValidArgsFunction: completeYAML,
		RunE: func(cmd *cobra.Command, args []string) error {
			files, err := namedFiles(*file, args)
			if err != nil {
				return err
			}
			var errs []error
			changed := 0
			for _, name := range files {
				before, after, err := formatFile(name, cmd.InOrStdin())
				switch {
				case err != nil:
				case differences || write:
					if bytes.Equal(before, after) {
						break
					}
					changed++
					if differences {
						_, err = cmd.OutOrStdout().Write(diff.Diff(name, before, name+" (formatted)", after))
					}
					if write && err == nil {
						err = overwrite(name, after)
					}
				default:
					_, err = cmd.OutOrStdout().Write(after)
				}
				errs = append(errs, err)
			}
			if err := errors.Join(errs...); err != nil {
				return err
			}
			if differences && !write && changed > 0 {
				return withHint(fmt.Errorf("%s of %d not formatted", count(changed, "file"), len(files)), "`customhouse policy fmt -w` formats them")
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&write, "write", "w", false, "write files in their place, and print nothing")
	cmd.Flags().BoolVarP(&differences, "diff", "d", false, "print what would change, and exit with 1 if anything would")
	return cmd
}

// namedFiles returns the files that a command is about: those that it names, or a configuration and what that includes.
func namedFiles(configuration string, args []string) ([]string, error) {
	if len(args) > 0 {
		return args, nil
	}
	if configuration == "" {
		return nil, withHint(errors.New("no file is named"), "name files, or a configuration with -c")
	}
	c, err := config.LoadRules(configuration)
	if err != nil {
		return nil, err
	}
	files := []string{configuration}
	for _, name := range c.Included {
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
			files = append(files, name)
		}
	}
	return files, nil
}

// formatFile returns what is in a file, or in stdin for the name -, and what it should be.
func formatFile(name string, stdin io.Reader) (before, after []byte, err error) {
	if name == "-" {
		before, err = io.ReadAll(stdin)
	} else {
		before, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, nil, err
	}
	after, err = config.Format(name, before)
	return before, after, err
}

// overwrite replaces a file, or what a symbolic link leads to, in one step.
func overwrite(name string, data []byte) error {
	if name == "-" {
		return errors.New("the standard input cannot be written; leave out -w")
	}
	name, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(info.Mode().Perm()), f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
