package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"customhouse/config"
	"customhouse/token"

	"github.com/spf13/cobra"
)

func keysCommand() *cobra.Command {
	var s settings
	cmd := group(&cobra.Command{
		Use:   "keys",
		Short: "Exchange the keys that sign tokens",
		Long: `The keys that sign tokens are files in the folder keys of the data folder. A new key is published first, so that
whoever verifies tokens knows it; then it signs; the one before is good until the tokens that it has signed have ended,
and is removed. token.rotation in the configuration does so by itself.

A server that runs on the folder takes changes up within a second. With token.key in the configuration the key is a file
of your own: name former ones in token.verify_keys.`,
		Example: `  customhouse keys list
  customhouse keys rotate
  customhouse keys remove 0mpKxSgVAbNJ`,
	}, keysListCommand(&s), keysRotateCommand(&s), keysRetireCommand(&s), keysRemoveCommand(&s))
	s.addFlags(cmd)
	return cmd
}

func keysListCommand(s *settings) *cobra.Command {
	var asJSON bool
	return jsonFlag(&cobra.Command{
		Use:   "list",
		Short: "List the keys and what they do",
		Args:  takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withKeys(s, func(folder *token.Folder) error {
				keys, err := folder.List()
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), listed(keys, func(k token.FolderKey) listedKey {
						return listedKey{k.ID(), k.Algorithm(), k.State, utc(k.From), utc(k.Until)}
					}))
				}
				return table(cmd.OutOrStdout(), "KEY\tALGORITHM\tSTATE\tSIGNS FROM\tGOOD UNTIL", func(w io.Writer) {
					for _, k := range keys {
						fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", k.ID(), k.Algorithm(), k.State, instant(k.From), instant(k.Until))
					}
				})
			})
		},
	}, &asJSON, "id, algorithm, state (published, signs, verifies or over), from and until")
}

// instant writes a time, "-" for none.
func instant(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func keysRotateCommand(s *settings) *cobra.Command {
	var publish time.Duration
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Make a key that signs after the present one",
		Long: `Rotate makes a key and publishes it. It signs when it has been published for as long as token.rotation.publish
says; registries that keep the key set for some time have to know it by then.`,
		Example: `  customhouse keys rotate
  customhouse keys rotate --publish 10m`,
		Args: takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withKeysOf(s, func(c *config.Config, folder *token.Folder) error {
				if !cmd.Flags().Changed("publish") {
					publish = c.Token.Rotation.Publish
				}
				if publish < 0 {
					return errors.New("--publish is negative")
				}
				k, err := folder.Rotate(publish)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "key %s signs from %s on\n", k.ID(), instant(k.From))
				return err
			})
		},
	}
	cmd.Flags().DurationVar(&publish, "publish", 0, "how long the key is published before it signs, in place of token.rotation.publish")
	return cmd
}

// byKey makes what is wrong with the flags of a command tell how a key is named whose beginning looks like one.
func byKey(cmd *cobra.Command) *cobra.Command {
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return withHint(err, "write -- before a key that begins with -")
	})
	return cmd
}

func keysRetireCommand(s *settings) *cobra.Command {
	return byKey(&cobra.Command{
		Use:   "retire KEY",
		Short: "Make the key that signs sign no more",
		Long: `Retire makes the next key sign at once: the one that is published, or a new one. What the retired key has signed
stays good. KEY is as list shows it, or its beginning.`,
		Example: "  customhouse keys retire 0mpKxSgVAbNJ",
		Args:    takes(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withKeys(s, func(folder *token.Folder) error {
				if err := folder.Retire(args[0]); err != nil {
					return noKey(err, args[0])
				}
				_, err := fmt.Fprintln(cmd.OutOrStdout(), "the key signs no more; what it has signed stays good")
				return err
			})
		},
	})
}

func keysRemoveCommand(s *settings) *cobra.Command {
	return byKey(&cobra.Command{
		Use:   "remove KEY",
		Short: "Remove a key; the tokens that it has signed are good no more",
		Long: `Remove is for a key that somebody else may know. All tokens that it has signed are refused from the next second on,
and clients fetch others by themselves. If it signs, the next key does so at once: the one that is published, or a new
one. KEY is as list shows it, or its beginning.`,
		Example: "  customhouse keys remove 0mpKxSgVAbNJ",
		Args:    takes(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withKeys(s, func(folder *token.Folder) error {
				if err := folder.Remove(args[0]); err != nil {
					return noKey(err, args[0])
				}
				_, err := fmt.Fprintln(cmd.OutOrStdout(), "the key is gone, and what it has signed is good no more")
				return err
			})
		},
	})
}

// noKey explains that there is no key that is called id.
func noKey(err error, id string) error {
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("no key is called %s", id)
	}
	return withHint(err, "`customhouse keys list` shows the keys")
}

func withKeys(s *settings, do func(*token.Folder) error) error {
	return withKeysOf(s, func(_ *config.Config, folder *token.Folder) error { return do(folder) })
}

// withKeysOf opens the keys in the data folder, which have to be there.
func withKeysOf(s *settings, do func(*config.Config, *token.Folder) error) error {
	c, _, err := s.load()
	if err != nil {
		return err
	}
	if c.Token.Key != "" {
		return withHint(fmt.Errorf("the key that signs tokens is %s (token.key)", c.Token.Key),
			"exchange that file, and name the former one in token.verify_keys until its tokens have ended")
	}
	if _, err := os.Stat(keyFolder(c.Data)); errors.Is(err, fs.ErrNotExist) {
		return withHint(fmt.Errorf("there are no keys in %s", c.Data), "`customhouse serve` makes one at its first start; --data names another folder")
	}
	folder, err := openKeys(c)
	if err != nil {
		return err
	}
	return do(c, folder)
}
