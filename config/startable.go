package config

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"
)

// Startable returns why a command, a path or a name in PATH, cannot be started, and what to do about it; "" if it can, as far
// as that can be told without doing so.
func Startable(command string) string {
	const cannot = "cannot be started: "
	path, err := exec.LookPath(command)
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return cannot + "there is no such program in PATH; write a path, such as ./NAME, if it is none of these"
	case errors.Is(err, fs.ErrPermission):
		return cannot + "no permission to execute it; chmod +x gives it"
	case errors.Is(err, fs.ErrNotExist):
		return cannot + "there is no such file"
	case err != nil:
		return cannot + cause(err)
	}
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return cannot + "it is no regular file"
	}
	line, ok := strings.CutPrefix(firstLine(path), "#!")
	if !ok { // a program, or one that cannot be read and may be executed
		return ""
	}
	if strings.HasSuffix(line, "\r") {
		return cannot + "its lines end as those of Windows do (CR LF); take out the CR, such as by sed -i 's/\\r$//' FILE"
	}
	interpreter, _, _ := strings.Cut(strings.TrimSpace(line), " ")
	if _, err := os.Stat(interpreter); err != nil {
		return cannot + "the interpreter that its first line (#!) names is not there"
	}
	return ""
}

// firstLine returns the first line of the file at path without its end, "" if it cannot be read or is no text.
func firstLine(path string) string {
	const longest = 256 // that the kernel looks at
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	line, err := bufio.NewReaderSize(f, longest).ReadSlice('\n')
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(line), "\n")
}

// cause returns err without the command, which an Error does not quote.
func cause(err error) string {
	if e := (*exec.Error)(nil); errors.As(err, &e) {
		err = e.Err
	}
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		err = e.Err
	}
	return err.Error()
}
