package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"customhouse/config"
)

// What is wrong with a script is told when the file is read, in words that say what to do.
func TestStartable(t *testing.T) {
	dir := t.TempDir()
	for name, tt := range map[string]struct {
		text string
		mode os.FileMode
		want string // "" for nothing
	}{
		"good":        {"#!/bin/sh\nexit 0\n", 0o755, ""},
		"binary":      {"\x7fELF", 0o755, ""},
		"mode":        {"#!/bin/sh\nexit 0\n", 0o644, "chmod +x"},
		"windows":     {"#!/bin/sh\r\nexit 0\r\n", 0o755, "CR LF"},
		"interpreter": {"#! /no/such/python3 -u\n", 0o755, "interpreter"},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(tt.text), tt.mode); err != nil {
			t.Fatal(err)
		}
		got := config.Startable(path)
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: Startable = %q, want %q in it", name, got, tt.want)
		}
	}
	if got := config.Startable(filepath.Join(dir, "none")); !strings.Contains(got, "no such file") {
		t.Errorf("Startable of no file = %q", got)
	}
	pipe := filepath.Join(dir, "pipe") // which to open would wait for a writer
	if err := syscall.Mkfifo(pipe, 0o755); err != nil {
		t.Fatal(err)
	}
	if got := config.Startable(pipe); !strings.Contains(got, "regular file") {
		t.Errorf("Startable of a pipe = %q", got)
	}
	if got := config.Startable("no-such-program"); !strings.Contains(got, "PATH") {
		t.Errorf("Startable of no name in PATH = %q", got)
	}
}

// A command beside the file stays a path when the file is named without a folder, and is never looked for in PATH.
func TestCommandBesideTheFile(t *testing.T) {
	const text = `
auth:
  exec: {command: ./login.sh}
  worker: {command: worker.py}
mirrors: [{url: "https://hub.example", exec: {command: ./helper}}]
replicate: [{name: a, direction: pull, url: "https://hub.example", every: 1h, exec: {command: bin/helper}}]
`
	for folder, want := range map[string][]string{
		"":     {"./login.sh", "worker.py", "./helper", "bin/helper"},
		"/etc": {"/etc/login.sh", "worker.py", "/etc/helper", "/etc/bin/helper"},
	} {
		c, err := config.Parse(filepath.Join(folder, "customhouse.yml"), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		for i, got := range []string{c.Auth.Exec.Command, c.Auth.Worker.Command, c.Mirrors[0].Exec.Command, c.Replicate[0].Exec.Command} {
			if got != want[i] {
				t.Errorf("in the folder %q a command is %q, want %q", folder, got, want[i])
			}
		}
	}
}
