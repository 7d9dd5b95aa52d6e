package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"customhouse/compat"
	"customhouse/config"

	"github.com/spf13/cobra"
)

// settings are the flags that say which configuration holds and what replaces parts of it.
type settings struct {
	file   string // -c
	data   string // --data
	listen string // --listen
	adopt  string // --adopt
	serves bool   // whether the file has to be a customhouse.yml; who looks after what another file has served may name that
}

// addFlags adds -c and --data to cmd and the commands below it.
func (s *settings) addFlags(cmd *cobra.Command) {
	flags := cmd.PersistentFlags()
	flags.StringVarP(&s.file, "config", "c", "", "configuration `FILE`; without it the defaults hold")
	flags.StringVar(&s.data, "data", "", "`FOLDER` that holds everything, in place of data in the file")
	cmd.MarkFlagFilename("config", "yml", "yaml")
	cmd.MarkFlagDirname("data")
}

// load returns the configuration with the flags applied. Its Data is an absolute path; named tells whether somebody
// chose it.
func (s *settings) load() (c *config.Config, named bool, err error) {
	c = config.Default()
	if s.file != "" {
		c, err = loadConfig(s.file)
		switch {
		case s.serves:
		case errors.Is(err, foreign(compat.Distribution)):
			c, _, err = loadDistribution(s.file, false)
		case errors.Is(err, foreign(compat.DockerAuth)):
			c, _, err = loadDockerAuth(s.file, compat.Options{Data: s.data})
		}
		if err != nil {
			return nil, false, err
		}
	}
	if s.listen != "" {
		c.Listen = s.listen
	}
	if s.data != "" {
		c.Data = s.data
	}
	if s.adopt != "" {
		c.Storage.Adopt = s.adopt
	}
	if err := c.Validate(); err != nil {
		if s.file == "" {
			err = withHint(err, "keys such as these stand in a file that -c names; `customhouse config example` prints one")
		}
		return nil, false, err
	}
	named = c.Data != ""
	if !named {
		if c.Data, err = defaultData(os.Getenv); err != nil {
			return nil, false, err
		}
	}
	c.Data, err = filepath.Abs(c.Data)
	return c, named, err
}

// defaultData returns the data folder of whoever names none.
func defaultData(getenv func(string) string) (string, error) {
	// systemd sets STATE_DIRECTORY, to several folders if the unit asks for them (systemd.exec(5)).
	if state, _, _ := strings.Cut(getenv("STATE_DIRECTORY"), ":"); state != "" {
		return state, nil
	}
	// A relative path in XDG_DATA_HOME is to be ignored (XDG Base Directory Specification).
	if xdg := getenv("XDG_DATA_HOME"); filepath.IsAbs(xdg) {
		return filepath.Join(xdg, "customhouse"), nil
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".local", "share", "customhouse"), nil
	}
	return "", withHint(errors.New("no data folder: neither STATE_DIRECTORY, XDG_DATA_HOME nor HOME is set"),
		fmt.Sprintf("name one with --data, or with %q in the configuration", "data:"))
}
