// Package compat reads the configurations of other programs: foreign files become a config.Config and a list of what
// its owner should know.
//
// A file that was served by the other program is served here unchanged. What crashed there, or opened more than its
// author meant, is an error with its place; what is done otherwise on purpose is a Warning that names itself and the
// switch that brings the old behaviour back.
//
// It knows nothing of the components that are built from a Config.
//
//	c, warnings, err := compat.LoadDockerAuth("auth_config.yml", compat.Options{}) // err is config.Errors when the file could be read
package compat

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"customhouse/config"

	"go.yaml.in/yaml/v4"
)

// Options is how a foreign file is read.
type Options struct {
	// Lenient makes warnings of unknown and duplicate keys, which the other program ignores.
	Lenient bool

	// Env is the environment, as KEY=value, for programs that take part of their configuration from there.
	Env []string

	// Dir is the folder that relative paths are relative to. Empty is the working directory.
	Dir string

	// Data is the folder for what a docker_auth is to remember, in place of the one that its file names. Empty leaves that to
	// the file.
	Data string
}

// Warning is one thing that the owner of a foreign file should know.
type Warning struct {
	File         string // as it was named
	Line, Column int    // from 1
	Key          string // in the foreign file
	Message      string // what is done, and why
	Deviation    string // the name under which the documentation has it, such as A4; "" for none
	Switch       string // what to write to have it as it was; "" for nothing
}

// String returns file:line:column: key: message, and behind it the switch and the name of the deviation.
func (w Warning) String() string {
	e := config.Error{File: w.File, Line: w.Line, Column: w.Column, Key: w.Key, Message: w.Message}
	var b strings.Builder
	b.WriteString(e.Error())
	if w.Switch != "" {
		fmt.Fprintf(&b, "; to have it as it was: %s", w.Switch)
	}
	if w.Deviation != "" {
		fmt.Fprintf(&b, " [%s]", w.Deviation)
	}
	return b.String()
}

// Load reads the configuration at path of whichever program it is of. The error is config.Errors, or that of reading the
// file. Warnings come with an error too.
func Load(path string, o Options) (*config.Config, []Warning, error) {
	data, err := config.ReadForeign(path)
	if err != nil {
		return nil, nil, err
	}
	program, err := programOf(path, data)
	if err != nil {
		return nil, nil, err
	}
	switch program {
	case DockerAuth:
		return dockerAuthFrom(path, data, o, true)
	case Distribution:
		return distributionFrom(path, data, o, true)
	case Customhouse:
		return nil, nil, config.Errors{{File: path, Message: "a customhouse.yml already"}}
	}
	return nil, nil, config.Errors{{File: path, Message: "no configuration of a program that is known here, which are: docker_auth, distribution"}}
}

// Program is whose configuration a file is.
type Program string

// Programs whose files are known.
const (
	DockerAuth   Program = "cesanta/docker_auth"
	Distribution Program = "CNCF distribution"
	Customhouse  Program = "Customhouse"
)

// ProgramOf tells whose configuration the file at path is, "" if that cannot be seen.
func ProgramOf(path string) Program {
	data, err := config.ReadForeign(path)
	if err != nil {
		return ""
	}
	program, err := programOf(path, data)
	if err != nil {
		return ""
	}
	return program
}

// programOf tells by the keys that only one of them has whose configuration data is. The error is config.Errors.
func programOf(name string, data []byte) (Program, error) {
	var keys map[string]yaml.Node
	f, err := config.ParseForeign(name, data, &keys, config.ForeignOptions{Lenient: true})
	if err != nil {
		return "", err
	}
	for _, sign := range []struct {
		program Program
		keys    []string
	}{
		{DockerAuth, []string{"server", "acl", "users"}},
		{Distribution, []string{"version"}},
		{Customhouse, []string{"listen", "data", "public_url", "tls", "rules", "sets", "dialect", "mirrors", "replicate", "limits", "audit"}},
	} {
		if slices.ContainsFunc(sign.keys, f.Has) {
			return sign.program, nil
		}
	}
	return "", nil
}

// sortWarnings puts warnings in the order of the file.
func sortWarnings(all []Warning) {
	slices.SortStableFunc(all, func(a, b Warning) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}
