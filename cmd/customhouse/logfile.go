package main

import (
	"errors"
	"fmt"
	"os"
)

// Bounds on what log files take.
const (
	maxLogFile = 100 << 20 // bytes; then another one is begun
	keptLogs   = 5         // of those before
)

// logFile is a file that is set aside when it is large: FILE.1 is the latest of those before.
type logFile struct {
	path string
	file *os.File
	size int64
	most int64 // bytes
}

func openLogFile(path string) (*logFile, error) {
	l := &logFile{path: path, most: maxLogFile}
	return l, l.begin()
}

func (l *logFile) begin() (err error) {
	if l.file, err = os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		return err
	}
	info, err := l.file.Stat()
	if err != nil {
		return errors.Join(err, l.file.Close())
	}
	l.size = info.Size()
	return nil
}

// Write writes whole lines.
func (l *logFile) Write(lines []byte) (int, error) {
	if l.size > 0 && l.size+int64(len(lines)) > l.most {
		if err := l.turn(); err != nil {
			return 0, err
		}
	}
	n, err := l.file.Write(lines)
	l.size += int64(n)
	return n, err
}

// turn sets the file aside and begins another one.
func (l *logFile) turn() error {
	for i := keptLogs; i > 1; i-- {
		_ = os.Rename(fmt.Sprintf("%s.%d", l.path, i-1), fmt.Sprintf("%s.%d", l.path, i)) // there may be none yet
	}
	if err := os.Rename(l.path, l.path+".1"); err != nil {
		return err
	}
	return errors.Join(l.file.Close(), l.begin())
}

// Close closes the file.
func (l *logFile) Close() error { return l.file.Close() }
