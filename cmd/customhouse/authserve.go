package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"os"

	"customhouse/compat"
	"customhouse/config"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// authServer is what docker_auth's program is called.
const authServer = "auth_server"

// authServe are the flags and the argument of auth serve.
type authServe struct {
	glog    glogFlags
	reading compat.Options
	file    string
	more    []string // arguments behind the file
}

func authServeCommand() *cobra.Command {
	var a authServe
	flags := flag.NewFlagSet(authServer, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	a.glog.addFlags(flags)
	flags.BoolVar(&a.reading.Lenient, "lenient", false, "ignore unknown and duplicate keys, as docker_auth does")
	flags.StringVar(&a.reading.Data, "data", "", "`FOLDER` for what is to be remembered, such as refresh tokens; without it there are none")
	cmd := &cobra.Command{
		Use:   "serve [flags] CONFIG",
		Short: "Serve tokens as docker_auth's configuration says",
		Long: `Serve reads a configuration of docker_auth and answers in its place: at /auth and /auth/token, behind
server.path_prefix. It is also what the program does when it is called auth_server. Flags stand before CONFIG and begin
with one dash or two; they are docker_auth's and two of ours, data and lenient.

The log goes to standard error, or with -log_dir to the file auth_server.log there, of which the last 600 MiB are kept.
Nothing is written to disk without -log_dir and -data, unless the configuration names a folder.

SIGTERM ends it after the requests under way, SIGHUP reads the configuration again; a changed file is noticed without,
whether it is the configuration or one that it names. A configuration with a mistake changes nothing.`,
		Example: `  customhouse auth serve auth_config.yml
  auth_server -alsologtostderr=true -log_dir=/logs /config/auth_config.yml`,
		DisableFlagParsing: true, // flags have one dash here
		Args: func(_ *cobra.Command, args []string) error {
			return a.parse(flags, args)
		},
		ValidArgsFunction: completeYAML,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.serve(cmd.Context(), cmd.OutOrStdout(), os.Stderr)
		},
	}
	cmd.Flags().AddGoFlagSet(flags) // for the help
	cmd.Flags().SortFlags = false
	return cmd
}

// parse reads the command line as Go's flag package does.
func (a *authServe) parse(flags *flag.FlagSet, args []string) error {
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return pflag.ErrHelp
	}
	if err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("want a configuration: `customhouse auth serve [flags] CONFIG`")
	}
	a.file, a.more = flags.Arg(0), flags.Args()[1:]
	return nil
}

// serve runs the token service until ctx ends.
func (a *authServe) serve(ctx context.Context, stdout, stderr io.Writer) error {
	c, warnings, err := loadDockerAuth(a.file, a.reading)
	if err != nil {
		printWarnings(stderr, warnings)
		return err
	}
	log, closer, err := a.glog.open(authServer, stderr)
	if err != nil {
		return err
	}
	defer closer.Close()
	if len(a.more) > 0 {
		log.Warn("arguments behind the configuration are ignored; flags stand before it", "arguments", a.more)
	}
	a.tell(log, warnings)
	if !c.TLS.Enabled() {
		log.Warn("passwords and tokens cross the network readable: there is no TLS")
	}
	r := role{flags: []string{"--data"}, file: a.file, load: func() (*config.Config, error) {
		c, warnings, err := loadDockerAuth(a.file, a.reading)
		a.tell(log, warnings)
		return c, err
	}}
	return r.serve(ctx, c, log, nil, stdout)
}

// tell writes warnings to the log.
func (a *authServe) tell(log *slog.Logger, warnings []compat.Warning) {
	for _, w := range warnings {
		log.Warn(w.String())
	}
}
