package main

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"os"

	"customhouse"
	"customhouse/authn"
	"customhouse/config"

	"github.com/spf13/cobra"
)

func serveCommand() *cobra.Command {
	s := settings{serves: true}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the registry",
		Long: `Serve answers on one address as registry and token service. Without a configuration it listens on
127.0.0.1:5000, keeps everything in a folder that it names, makes an account admin at the first start and prints the
command to log in with.

SIGTERM ends it after the requests under way, SIGHUP reads the configuration again; a changed file is noticed without.
A configuration with a mistake changes nothing: the log says where it is wrong.`,
		Example: `  customhouse serve
  customhouse serve -c customhouse.yml
  customhouse serve --listen 127.0.0.1:8080 --data ./data`,
		Args: takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), &s, cmd.OutOrStdout(), os.Stderr)
		},
	}
	s.addFlags(cmd)
	cmd.Flags().StringVar(&s.adopt, "adopt", "", "storage `FOLDER` of a CNCF distribution registry to take over while serving, in place of storage.adopt in the file")
	cmd.MarkFlagDirname("adopt")
	cmd.Flags().StringVar(&s.listen, "listen", "", "`HOST:PORT` to listen on, in place of listen in the file")
	return cmd
}

// serve runs the registry until ctx ends.
func serve(ctx context.Context, s *settings, stdout, stderr io.Writer) error {
	r := role{registry: true, flags: []string{"--listen", "--data"}, file: s.file, load: func() (*config.Config, error) {
		c, _, err := s.load()
		return c, err
	}}
	c, err := r.load()
	if err != nil {
		return err
	}
	lines := newLineWriter(stderr, flushEvery)
	defer lines.Close()
	level := &slog.LevelVar{}
	level.Set(c.Log.Threshold())
	return r.serve(ctx, c, newLog(lines, c.Log, level), level, stdout)
}

// adminAccount is the account that the first start makes.
const adminAccount = "admin"

// makeAdmin makes the first account where nobody could log in otherwise.
func (h *house) makeAdmin(ctx context.Context, c *config.Config) error {
	if !h.role.registry || c.Auth.Off || !c.Auth.Accounts || len(c.Auth.Users) > 0 || c.Auth.Htpasswd != "" || c.Auth.Programs() {
		return nil
	}
	all, err := h.index.Accounts(ctx)
	if err != nil || len(all) > 0 {
		return err
	}
	password := customhouse.Secret(rand.Text())
	hash, err := authn.HashPassword(password)
	if err != nil {
		return err
	}
	admin := customhouse.Account{Name: adminAccount, Password: hash, Labels: map[string][]string{"role": {"admin"}}}
	if err := h.index.PutAccount(ctx, admin); err != nil {
		return err
	}
	h.newlyMade = password
	return nil
}
