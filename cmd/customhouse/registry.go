package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"

	"customhouse/compat"
	"customhouse/config"
	"customhouse/token"

	"github.com/spf13/cobra"
)

func registryCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "registry",
		Short: "Stand in for CNCF distribution's registry",
		Long: `The commands of registry take the configuration of CNCF distribution ("registry:2", "registry:3") as it is, and the
environment variables (REGISTRY_...) that replace parts of it. What is done otherwise on purpose is told in warnings.

The same commands are there without the word registry where the program is called registry.`,
		Example: "  customhouse registry serve /etc/distribution/config.yml",
		Version: buildVersion(),
	}, registryServeCommand(), interruptible(registryCheckCommand()), registryCollectCommand())
}

func registryServeCommand() *cobra.Command {
	var strict bool
	cmd := &cobra.Command{
		Use:   "serve [CONFIG]",
		Short: "Serve a registry as distribution's configuration says",
		Long: `Serve reads a configuration of distribution and serves what lies in its folder from where it lies: content that is
there is taken over while it is served, and never changed. What is new goes to the folder customhouse in it.

Without CONFIG it is the file that REGISTRY_CONFIGURATION_PATH names, else /etc/distribution/config.yml, else
/etc/docker/registry/config.yml. A changed file is taken up without a restart.`,
		Example:           "  customhouse registry serve /etc/distribution/config.yml",
		Args:              takesUpTo(1),
		ValidArgsFunction: completeYAML,
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := distributionFile(args, os.Getenv)
			if err != nil {
				return err
			}
			return serveRegistry(cmd.Context(), file, strict, cmd.OutOrStdout(), os.Stderr)
		},
	}
	addStrict(cmd, &strict)
	return cmd
}

// serveRegistry serves as the configuration of distribution in file says, until ctx ends.
func serveRegistry(ctx context.Context, file string, strict bool, stdout, stderr io.Writer) error {
	var told []compat.Warning
	r := role{registry: true, file: file, load: func() (c *config.Config, err error) {
		c, told, err = loadDistribution(file, strict)
		return c, err
	}}
	c, err := r.load()
	if err != nil {
		printWarnings(stderr, told)
		return err
	}
	lines := newLineWriter(stderr, flushEvery)
	defer lines.Close()
	level := &slog.LevelVar{}
	level.Set(c.Log.Threshold())
	log := newLog(lines, c.Log, level)
	for _, w := range told {
		log.Warn("the configuration is read otherwise than by distribution", "place", fmt.Sprintf("%s:%d", w.File, w.Line), "key", w.Key, "what", w.Message)
	}
	return r.serve(ctx, c, log, level, stdout)
}

func registryCheckCommand() *cobra.Command {
	var strict bool
	cmd := &cobra.Command{
		Use:   "check [CONFIG]",
		Short: "Tell all that is wrong with a configuration of distribution, and what is done otherwise",
		Long: `Check reads a configuration of distribution, with the environment, and prints everything that is wrong with it, each
fault with its file, line, column and key. Files that it names must be there and readable. Warnings tell what Customhouse
does otherwise.`,
		Example:           "  customhouse registry check /etc/distribution/config.yml",
		Args:              takesUpTo(1),
		ValidArgsFunction: completeYAML,
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := distributionFile(args, os.Getenv)
			if err != nil {
				return err
			}
			c, warnings, err := loadDistribution(file, strict)
			printWarnings(cmd.ErrOrStderr(), warnings)
			if err != nil {
				return err
			}
			p := parts{log: slog.New(slog.DiscardHandler), remotes: map[string]*token.Remote{}}
			for _, t := range c.Token.Trust { // what is in the files of keys
				if _, err := p.trusted(c, t); err != nil {
					return fmt.Errorf("%s: auth.token: %w", file, err)
				}
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", file)
			return err
		},
	}
	addStrict(cmd, &strict)
	return cmd
}

// registryCollectCommand is distribution's command, which needs the registry to stand still.
func registryCollectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "garbage-collect CONFIG",
		Short:   "Not needed: collection is going to run while the registry serves",
		Long:    `Garbage-collect is here so that whoever calls it is told: content that nothing refers to is kept, and nothing is removed.`,
		Example: "  customhouse registry garbage-collect --dry-run /etc/distribution/config.yml",
		Args:    takesUpTo(1),
		RunE: func(*cobra.Command, []string) error {
			return withExit(exitUsage, withHint(errors.New("garbage-collect removes nothing: content is going to be collected while the registry serves, which this release does not do yet"),
				"content that nothing refers to takes up space until then, and does no other harm"))
		},
	}
	cmd.Flags().BoolP("dry-run", "d", false, "as distribution has it; nothing is removed in any case")
	cmd.Flags().BoolP("delete-untagged", "m", false, "as distribution has it; nothing is removed in any case")
	cmd.Flags().BoolP("quiet", "q", false, "as distribution has it; the error is told all the same")
	return cmd
}

// addStrict adds the flag of commands that read a file whose unknown keys are ignored, as by the other program.
func addStrict(cmd *cobra.Command, strict *bool) {
	cmd.Flags().BoolVar(strict, "strict", false, "refuse unknown keys, which distribution ignores")
}

// distributionFiles are where distribution's images have the configuration, 3.x first.
var distributionFiles = []string{"/etc/distribution/config.yml", "/etc/docker/registry/config.yml"}

// distributionFile returns the configuration that the command line names, or else the environment, or else the one that
// is where distribution's images have it.
func distributionFile(args []string, getenv func(string) string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	if file := getenv(compat.ConfigurationPath); file != "" {
		return file, nil
	}
	for _, file := range distributionFiles {
		if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
			return file, nil
		}
	}
	return "", withHint(errors.New("no configuration: none is named, and there is none in /etc/distribution and /etc/docker/registry"),
		"name one, or set "+compat.ConfigurationPath)
}

// loadDistribution reads the configuration of distribution in file. Warnings come with an error too.
func loadDistribution(file string, strict bool) (*config.Config, []compat.Warning, error) {
	c, warnings, err := compat.LoadDistribution(file, compat.Options{Lenient: !strict, Env: os.Environ()})
	if err = whose(file, compat.Distribution, err); errors.As(err, new(foreign)) {
		warnings = nil
	}
	return c, warnings, err
}
