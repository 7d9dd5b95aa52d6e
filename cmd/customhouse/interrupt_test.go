//go:build unix

package main

import (
	"context"
	"path/filepath"
	"syscall"
	"testing"
)

// Who waits for a pipe that nobody writes to can be interrupted; what waits ends with the process.
func TestInterrupt(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "rules.yml")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"policy", "check", pipe}, {"policy", "lint", "-c", pipe}, {"config", "check", pipe}, {"auth", "check", pipe}, {"registry", "check", pipe}} {
		ctx, interrupt := context.WithCancel(t.Context())
		var understood bool
		root := commands(&understood)
		root.SetArgs(args)
		ended := make(chan error, 1)
		go func() { ended <- root.ExecuteContext(ctx) }()
		interrupt()
		if err := <-ended; err == nil || err.Error() != "interrupted" {
			t.Errorf("%q = %v", args, err)
		}
	}
}
