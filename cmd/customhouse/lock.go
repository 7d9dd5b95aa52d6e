package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// lockFolder makes sure that this is the only server on a data folder. The lock ends with the process, however it ends.
func lockFolder(data string) (*os.File, error) {
	path := filepath.Join(data, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, withHint(fmt.Errorf("lock the data folder: %w", err), "let the account that serves write to it, or name another folder with --data")
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		holder, _ := os.ReadFile(path) // only to help: the lock itself says enough
		f.Close()
		return nil, withHint(fmt.Errorf("another server runs on %s (process %s)", data, strings.TrimSpace(string(holder))),
			"stop it, or name another folder with --data")
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	return f, nil
}
