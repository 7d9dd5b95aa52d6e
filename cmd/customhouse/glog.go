package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"path"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// glogFlags are the flags of the logging library that docker_auth is made with, in its spelling and with its meaning,
// but for one thing: without a folder for files everything goes to standard error and nothing to the folder for temporary
// files.
type glogFlags struct {
	toStderr     bool
	alsoToStderr bool
	dir          string
	threshold    severity
	verbosity    int
	modules      modules
	backtrace    sourceLine
	flushSeconds int
}

// addFlags adds them to the flags of a command.
func (g *glogFlags) addFlags(flags *flag.FlagSet) {
	g.threshold = severity(slog.LevelError)
	flags.BoolVar(&g.toStderr, "logtostderr", false, "log to standard error and to no files")
	flags.BoolVar(&g.alsoToStderr, "alsologtostderr", false, "log to standard error as well as to files")
	flags.StringVar(&g.dir, "log_dir", "", "`FOLDER` for log files; without it the log goes to standard error")
	flags.Var(&g.threshold, "stderrthreshold", "what is at or above this `SEVERITY` (INFO, WARNING, ERROR, FATAL) goes to standard error even where there are files")
	flags.IntVar(&g.verbosity, "v", 0, "1 and more log what helps to find a fault; no `LEVEL` logs a secret")
	flags.Var(&g.modules, "vmodule", "`PATTERN=LEVEL,...`: the level for source files whose name without .go matches")
	flags.Var(&g.backtrace, "log_backtrace_at", "`FILE:LINE` of the source whose log lines come with a stack trace")
	flags.IntVar(&g.flushSeconds, "logbufsecs", 0, "write to log files every so many `SECONDS`; 0 is at once")
}

// open returns the logger that the flags describe, in the program's name, and who ends it.
func (g *glogFlags) open(program string, stderr io.Writer) (*slog.Logger, io.Closer, error) {
	level := slog.LevelInfo
	if g.verbosity > 0 {
		level = slog.LevelDebug
	}
	lines := newLineWriter(stderr, flushEvery)
	fan := &fanHandler{modules: g.modules, backtrace: g.backtrace}
	toStderr := slog.Level(g.threshold)
	if g.toStderr || g.alsoToStderr || g.dir == "" {
		toStderr = level
	}
	fan.add(slog.NewJSONHandler(lines, nil), toStderr)
	closers := closers{lines}
	if g.dir != "" && !g.toStderr {
		file, err := openLogFile(filepath.Join(g.dir, program+".log"))
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("-log_dir: %w", err), lines.Close())
		}
		every := flushEvery
		if g.flushSeconds > 0 {
			every = time.Duration(g.flushSeconds) * time.Second
		}
		files := newLineWriter(file, every)
		fan.add(slog.NewJSONHandler(files, nil), level)
		closers = append(closers, files, file)
	}
	return slog.New(fan), closers, nil
}

// closers are closed in their order.
type closers []io.Closer

// Close closes all of them.
func (c closers) Close() error {
	var errs []error
	for _, each := range c {
		errs = append(errs, each.Close())
	}
	return errors.Join(errs...)
}

// severity is glog's name for a level.
type severity slog.Level

var severities = map[string]slog.Level{
	"INFO": slog.LevelInfo, "WARNING": slog.LevelWarn, "ERROR": slog.LevelError, "FATAL": slog.LevelError + 4,
	"0": slog.LevelInfo, "1": slog.LevelWarn, "2": slog.LevelError, "3": slog.LevelError + 4,
}

func (s *severity) String() string { return slog.Level(*s).String() }

// Set reads a name or a number.
func (s *severity) Set(text string) error {
	level, ok := severities[strings.ToUpper(text)]
	if !ok {
		return errors.New("want INFO, WARNING, ERROR or FATAL")
	}
	*s = severity(level)
	return nil
}

// modules say for which source files more is logged.
type modules []module

type module struct {
	pattern string // of path.Match
	level   int
}

func (m *modules) String() string { return "" }

// Set reads PATTERN=LEVEL,...
func (m *modules) Set(text string) error {
	*m = nil
	for part := range strings.SplitSeq(text, ",") {
		if part == "" {
			continue
		}
		pattern, number, ok := strings.Cut(part, "=")
		level, err := strconv.Atoi(number)
		if _, bad := path.Match(pattern, ""); !ok || err != nil || bad != nil {
			return errors.New("want PATTERN=LEVEL, with commas between several")
		}
		*m = append(*m, module{pattern, level})
	}
	return nil
}

// match tells whether the source file at name is one of them.
func (m modules) match(name string) bool {
	base := strings.TrimSuffix(filepath.Base(name), ".go")
	for _, each := range m {
		if ok, _ := path.Match(each.pattern, base); ok {
			return each.level > 0
		}
	}
	return false
}

// sourceLine is a line of the source; the zero sourceLine is none.
type sourceLine struct {
	file string
	line int
}

func (l *sourceLine) String() string { return "" }

// Set reads FILE:LINE.
func (l *sourceLine) Set(text string) error {
	file, number, ok := strings.Cut(text, ":")
	line, err := strconv.Atoi(number)
	if !ok || err != nil || line <= 0 || !strings.HasSuffix(file, ".go") {
		return errors.New("want FILE.go:LINE")
	}
	*l = sourceLine{file, line}
	return nil
}

// fanHandler gives each record to those of several handlers that want its level, and looks at where in the source it
// comes from if a flag asks for it.
type fanHandler struct {
	modules   modules
	backtrace sourceLine
	to        []slog.Handler
	levels    []slog.Level // from which each of them wants records
}

func (f *fanHandler) add(h slog.Handler, from slog.Level) {
	f.to, f.levels = append(f.to, h), append(f.levels, from)
}

// Enabled tells whether anybody wants records of a level.
func (f *fanHandler) Enabled(_ context.Context, level slog.Level) bool {
	if len(f.modules) > 0 {
		return true
	}
	for _, from := range f.levels {
		if level >= from {
			return true
		}
	}
	return false
}

// Handle hands out a record.
func (f *fanHandler) Handle(ctx context.Context, r slog.Record) error {
	wanted := r.Level
	if len(f.modules) > 0 || f.backtrace.line > 0 {
		frame, _ := runtime.CallersFrames([]uintptr{r.PC}).Next()
		if f.modules.match(frame.File) {
			wanted = max(wanted, slog.LevelInfo)
		}
		if f.backtrace.line == frame.Line && f.backtrace.file == filepath.Base(frame.File) {
			r.AddAttrs(slog.String("stack", string(debug.Stack())))
		}
	}
	var errs []error
	for i, h := range f.to {
		if wanted >= f.levels[i] {
			errs = append(errs, h.Handle(ctx, r.Clone()))
		}
	}
	return errors.Join(errs...)
}

// WithAttrs implements slog.Handler.
func (f *fanHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return f.with(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

// WithGroup implements slog.Handler.
func (f *fanHandler) WithGroup(name string) slog.Handler {
	return f.with(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (f *fanHandler) with(change func(slog.Handler) slog.Handler) slog.Handler {
	changed := &fanHandler{modules: f.modules, backtrace: f.backtrace, levels: f.levels}
	for _, h := range f.to {
		changed.to = append(changed.to, change(h))
	}
	return changed
}
