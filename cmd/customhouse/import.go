package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"customhouse/compat"

	"github.com/spf13/cobra"
)

func configImportCommand() *cobra.Command {
	var lenient bool
	var output string
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Write a configuration of ours that does what one of another program does",
		Long: `Import reads the configuration of another program, cesanta/docker_auth or CNCF distribution with its environment
(REGISTRY_...), and writes a customhouse.yml that does the same, to standard output or to a new file that nobody else
can read: what the old file had in it of secrets, the new one has. Warnings tell what is done otherwise. Relative paths
become absolute: the other program takes them from the folder that it is started in, which must be the present one.`,
		Example: `  customhouse config import auth_config.yml --output customhouse.yml
  customhouse config import /etc/distribution/config.yml --lenient`,
		Args: takes(1), ValidArgsFunction: completeYAML,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, warnings, err := compat.Load(args[0], compat.Options{Lenient: lenient, Env: os.Environ()})
			printWarnings(cmd.ErrOrStderr(), warnings)
			if err != nil {
				return lenientHint(err, lenient)
			}
			text, err := c.YAML()
			if err != nil {
				return err
			}
			text = append([]byte("# Written by customhouse config import from "+filepath.Base(args[0])+".\n"), text...)
			if output == "" {
				_, err := cmd.OutOrStdout().Write(text)
				return err
			}
			return writeNew(output, text)
		},
	}
	addLenient(cmd, &lenient)
	cmd.Flags().StringVarP(&output, "output", "o", "", "`FILE` to write, which must not be there")
	return cmd
}

// writeNew writes a file for nobody else, which must not be there yet.
func writeNew(file string, text []byte) (err error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return withHint(err, "name another file, or remove it first")
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil { // half a file is none
			os.Remove(file)
		}
	}()
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}
