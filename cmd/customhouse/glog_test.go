package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// glog parses flags and opens the log that they describe.
func glog(t *testing.T, stderr io.Writer, args ...string) (*slog.Logger, io.Closer) {
	t.Helper()
	var g glogFlags
	flags := flag.NewFlagSet("auth_server", flag.ContinueOnError)
	g.addFlags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	log, closer, err := g.open("auth_server", stderr)
	if err != nil {
		t.Fatal(err)
	}
	return log, closer
}

// What reaches standard error and the file, by the flags.
func TestGlogFlags(t *testing.T) {
	for args, want := range map[string][2]string{ // the levels on standard error and in the file
		"":                                         {"INFO WARN ERROR", ""},
		"-v=1":                                     {"DEBUG INFO WARN ERROR", ""},
		"--logtostderr -log_dir=DIR":               {"INFO WARN ERROR", ""},
		"-log_dir=DIR":                             {"ERROR", "INFO WARN ERROR"},
		"-log_dir DIR -v 2":                        {"ERROR", "DEBUG INFO WARN ERROR"},
		"-alsologtostderr=true -log_dir=DIR":       {"INFO WARN ERROR", "INFO WARN ERROR"},
		"-log_dir=DIR -stderrthreshold=WARNING":    {"WARN ERROR", "INFO WARN ERROR"},
		"-log_dir=DIR -stderrthreshold 0":          {"INFO WARN ERROR", "INFO WARN ERROR"},
		"-log_dir=DIR -stderrthreshold=FATAL":      {"", "INFO WARN ERROR"},
		"-vmodule=glog_test=1,other=2":             {"DEBUG INFO WARN ERROR", ""},
		"-vmodule=glog*=2":                         {"DEBUG INFO WARN ERROR", ""},
		"-vmodule=glog_test=0":                     {"INFO WARN ERROR", ""},
		"-vmodule=server=3":                        {"INFO WARN ERROR", ""},
		"-log_dir=DIR -logbufsecs=30 -vmodule=x=1": {"ERROR", "INFO WARN ERROR"},
	} {
		t.Run(args, func(t *testing.T) {
			dir := t.TempDir()
			var stderr bytes.Buffer
			log, closer := glog(t, &stderr, strings.Fields(strings.ReplaceAll(args, "DIR", dir))...)
			log = log.With("a", 1).WithGroup("g")
			log.Debug("a")
			log.Info("b")
			log.Warn("c")
			log.Error("d")
			if err := closer.Close(); err != nil {
				t.Fatal(err)
			}
			file, err := os.ReadFile(filepath.Join(dir, "auth_server.log"))
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			if got := [2]string{levels(stderr.String()), levels(string(file))}; got != want {
				t.Errorf("standard error and file have %q, want %q", got, want)
			}
		})
	}
}

// levels are those of the lines of a log.
func levels(log string) string {
	var all []string
	for line := range strings.Lines(log) {
		_, rest, _ := strings.Cut(line, `"level":"`)
		level, _, _ := strings.Cut(rest, `"`)
		all = append(all, level)
	}
	return strings.Join(all, " ")
}

func TestGlogBacktrace(t *testing.T) {
	var stderr bytes.Buffer
	_, _, line, _ := runtime.Caller(0)
	log, closer := glog(t, &stderr, fmt.Sprintf("-log_backtrace_at=glog_test.go:%d", line+2))
	log.Info("with a stack")
	log.Info("without")
	if err := closer.Close(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(stderr.String(), "TestGlogBacktrace"); n != 1 {
		t.Errorf("%d stack traces, want one:\n%s", n, stderr.String())
	}
}

func TestGlogRefuses(t *testing.T) {
	for _, arg := range []string{"-stderrthreshold=LOUD", "-v=much", "-vmodule=server", "-vmodule=[=1", "-vmodule=server=x", "-log_backtrace_at=server.go", "-log_backtrace_at=server.go:0"} {
		var g glogFlags
		flags := flag.NewFlagSet("auth_server", flag.ContinueOnError)
		flags.SetOutput(io.Discard)
		g.addFlags(flags)
		if err := flags.Parse([]string{arg}); err == nil {
			t.Errorf("Parse(%s) = nil, want an error", arg)
		}
	}
	g := glogFlags{dir: filepath.Join(t.TempDir(), "missing")}
	if _, _, err := g.open("auth_server", io.Discard); err == nil || !strings.Contains(err.Error(), "-log_dir") {
		t.Errorf("open in a folder that is not there = %v, want an error that names the flag", err)
	}
}

// A log file takes no more room than its bounds, however much is written, and what is kept is the latest.
func TestLogFileTurns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth_server.log")
	l, err := openLogFile(path)
	if err != nil {
		t.Fatal(err)
	}
	l.most = 100
	for i := range 100 {
		if _, err := fmt.Fprintf(l, "line %04d of ten bytes and more\n", i); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 1+keptLogs {
		t.Fatalf("%d files, %v, want %d", len(files), err, 1+keptLogs)
	}
	next := 100 - 1
	for i := 0; i <= keptLogs; i++ {
		name := path
		if i > 0 {
			name = fmt.Sprintf("%s.%d", path, i)
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 100 {
			t.Errorf("%s has %d bytes, want 100 at most", name, len(text))
		}
		lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		for j := len(lines) - 1; j >= 0; j-- {
			if want := fmt.Sprintf("line %04d of ten bytes and more", next); lines[j] != want {
				t.Fatalf("%s has %q, want %q", name, lines[j], want)
			}
			next--
		}
	}
	again, err := openLogFile(path)
	if err != nil || again.size == 0 {
		t.Fatalf("openLogFile = size %d, %v, want to go on with the file", again.size, err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

// The program is what it is called.
func TestCommandLine(t *testing.T) {
	for called, want := range map[string]string{
		"/docker_auth/auth_server -v=1 x.yml": "auth serve -v=1 x.yml",
		"auth_server":                         "auth serve",
		"/bin/registry serve x.yml":           "registry serve x.yml",
		"customhouse serve":                   "serve",
		"customhouse":                         "",
		"":                                    "",
	} {
		if got := strings.Join(commandLine(strings.Fields(called)), " "); got != want {
			t.Errorf("commandLine(%s) = %q, want %q", called, got, want)
		}
	}
}
