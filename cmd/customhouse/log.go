package main

import (
	"customhouse/config"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// lineWriter takes log lines without making a request wait for them: it gathers them and writes many at once.
type lineWriter struct {
	w     io.Writer
	every time.Duration // between two writes
	stop  chan struct{}
	done  sync.WaitGroup

	mu      sync.Mutex
	pending []byte
}

const (
	flushEvery = 100 * time.Millisecond
	flushAt    = 64 << 10 // bytes; what is behind it waits for the writer
)

func newLineWriter(w io.Writer, every time.Duration) *lineWriter {
	l := &lineWriter{w: w, every: every, stop: make(chan struct{})}
	l.done.Go(l.run)
	return l
}

// Write takes one line.
func (l *lineWriter) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = append(l.pending, line...)
	if len(l.pending) >= flushAt {
		return len(line), l.flush()
	}
	return len(line), nil
}

// flush writes what is pending; mu is held.
func (l *lineWriter) flush() error {
	if len(l.pending) == 0 {
		return nil
	}
	_, err := l.w.Write(l.pending)
	l.pending = l.pending[:0]
	return err
}

func (l *lineWriter) run() {
	ticks := time.NewTicker(l.every)
	defer ticks.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-ticks.C:
			l.mu.Lock()
			_ = l.flush() // there is nowhere to say that saying failed
			l.mu.Unlock()
		}
	}
}

// Close writes what is pending.
func (l *lineWriter) Close() error {
	close(l.stop)
	l.done.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.flush()
}

// newLog returns the logger that a configuration asks for.
func newLog(w io.Writer, l config.Log, level slog.Leveler) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	var handler slog.Handler
	switch l.Format {
	case "text":
		handler = slog.NewTextHandler(w, opts)
	case "logstash":
		opts.ReplaceAttr = logstashKey
		handler = slog.NewJSONHandler(w, opts).WithAttrs([]slog.Attr{slog.String("@version", "1")})
	default:
		handler = slog.NewJSONHandler(w, opts)
	}
	var fields []slog.Attr
	for _, name := range slices.Sorted(maps.Keys(l.Fields)) {
		fields = append(fields, slog.String(name, l.Fields[name]))
	}
	return slog.New(handler.WithAttrs(fields))
}

// logstashKey gives a field the name that logstash expects (its json_event format, version 1).
func logstashKey(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	switch a.Key {
	case slog.TimeKey:
		a.Key = "@timestamp"
	case slog.MessageKey:
		a.Key = "message"
	case slog.LevelKey:
		a.Value = slog.StringValue(strings.ToLower(a.Value.String()))
	}
	return a
}
