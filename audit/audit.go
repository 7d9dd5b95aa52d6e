// Package audit keeps what is to be accounted for: who was let through and who was not, who logged in, which tokens were
// issued, what was changed. Entries get numbers and are chained by their hashes in one place, so that one that is changed,
// removed or put in is found (Verify), and are written many at a time to the index, to a file, or to both.
//
//	log, err := audit.Open(ctx, options)
//	err = log.Audit(ctx, entry)           // from many at the same time
//	page, err := log.Find(ctx, question)
//
// An entry is on disk a moment (Flush) after Audit has taken it; with Required, Audit waits until it is. Whoever brings
// entries faster than they can be written waits. Only while nothing can be written, entries are lost when there is no more
// room for them, those that let somebody through first, and how many were is an entry itself.
//
// What strangers do has a share of what is kept in the index, or they could push out of it what others did by asking often
// enough; what is above that is counted.
//
// It knows nothing of HTTP and nothing of what a decision is made by.
package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"customhouse"
	"customhouse/index"
)

// Flush is how long an entry waits for others at most before it is written.
const Flush = 500 * time.Millisecond

// Bounds on entries that wait.
const (
	batch   = 4096      // are written without waiting for more
	maxWait = 16 * 1024 // make whoever brings another one wait
	maxKept = 64 * 1024 // while nothing can be written
)

// Options of a Log.
type Options struct {
	Index *index.DB // where pages are kept; nil: nowhere, and nothing can be found
	File  *File     // where lines are written; nil: nowhere
	Log   *slog.Logger
	Now   func() time.Time // nil is time.Now
}

// Settings are what can be changed while a Log is open.
type Settings struct {
	Allow    float64       // which share of the decisions that let somebody through is kept: 1 is all of them
	Required bool          // whether nothing may be done that is not on disk
	Age      time.Duration // how long entries are kept in the index; 0 is for ever
	Entries  int64         // how many are kept there; 0 is all
}

// Log is the audit log of this process, the only one that writes it.
type Log struct {
	reader   *Reader // nil without an index
	index    *index.DB
	file     *File
	log      *slog.Logger
	now      func() time.Time
	settings atomic.Pointer[Settings]

	mu      sync.Mutex
	room    sync.Cond // is told when entries have been written
	queue   []waiting
	failing error // why the last entries could not be written, or not everywhere
	stuck   bool  // whether they could not be written at all
	lost    int64 // entries, since then
	urgent  bool  // whether somebody waits for what is in the queue
	closed  bool
	others  strangers
	wake    chan struct{} // holds one: there is something to do
	stop    chan struct{}
	done    chan struct{}

	chain  // of the goroutine that writes
	writes Counts
}

// waiting is an entry that is to be written, and who waits for that: nobody where done is nil.
type waiting struct {
	entry *customhouse.AuditEntry // nil for Sync
	done  chan error
}

// Counts are what has been kept, for metrics.
type Counts struct{ Written, Lost, Errors atomic.Int64 }

// chain is where the log ends.
type chain struct {
	number int64
	hash   string
	page   page
	filed  int64 // the last entry that is in the file
	notes  int64 // the last note that is in the log
	packer *packer
	lines  []byte // of the last writing, for use again
}

// Open goes on with the log where it ended. Close ends it.
func Open(ctx context.Context, o Options, s Settings) (*Log, error) {
	l := &Log{
		index: o.Index, file: o.File, log: o.Log, now: o.Now,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	if l.now == nil {
		l.now = time.Now
	}
	l.room.L = &l.mu
	var used map[string]time.Time
	var err error
	if l.index != nil {
		l.reader = NewReader(l.index)
		if used, err = l.index.AuditShares(ctx); err != nil {
			return nil, err
		}
	}
	l.others = newStrangers(used)
	l.settings.Store(&s)
	if l.packer, err = newPacker(); err != nil {
		return nil, err
	}
	if err := l.resume(ctx); err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	go l.run()
	return l, nil
}

// resume finds the end of the log. Where there is an index, that knows it, and the file is given what it lacks.
func (l *Log) resume(ctx context.Context) error {
	if l.index == nil {
		if l.file == nil {
			return nil
		}
		last, err := l.endOfFile()
		l.number, l.hash, l.filed = last.Number, last.Hash, last.Number
		return err
	}
	last, err := l.index.LastAuditPage(ctx)
	if errors.Is(err, customhouse.ErrNotFound) {
		if l.number, l.hash, err = l.index.AuditPast(ctx); err != nil {
			return err
		}
		return l.resumeFile(ctx)
	}
	if err != nil {
		return err
	}
	l.number, l.hash, l.page.AuditPage = last.Last, last.Hash, last
	l.page.Filter, l.page.Lines = nil, nil
	text, err := l.packer.unpack(last.Lines)
	if err == nil {
		err = l.page.read(text)
	}
	if err != nil { // it stays as it is, for Verify to tell, and a new page begins
		l.log.Error("the last page of the audit log is damaged", "number", last.Last, "error", err)
		l.page = page{}
	}
	if l.page.full() {
		l.page = page{}
	}
	return l.resumeFile(ctx)
}

// resumeFile finds the end of the file. One that is empty begins with what comes. Where it goes further than the index, of which
// the end is lost then, or that nothing was kept in before, the log goes on as the file does, and tells so.
func (l *Log) resumeFile(ctx context.Context) error {
	l.filed = l.number
	if l.file == nil {
		return nil
	}
	last, err := l.endOfFile()
	if err != nil || last.Number == 0 {
		return err
	}
	if last.Number <= l.number {
		l.filed = last.Number
		return nil
	}
	if l.number == 0 {
		if err := l.index.BeginAudit(ctx, last.Number, last.Hash); err != nil {
			return err
		}
	}
	missing := fmt.Sprintf("entries %d to %d are in the file alone", l.number+1, last.Number)
	l.log.Error("the audit log in the data folder ends before the file does", "missing", missing)
	l.tell(missing)
	l.number, l.hash, l.filed, l.page = last.Number, last.Hash, last.Number, page{}
	return nil
}

// endOfFile returns the last entry that is in the file. The log goes on behind it, and tells what else was there.
func (l *Log) endOfFile() (customhouse.AuditEntry, error) {
	last, all, err := l.file.last()
	for _, t := range all {
		l.log.Error("the file of the audit log has a damaged end, and goes on behind its last entry", "file", t.file, "byte", t.at,
			"number", last.Number, "damaged", t.String())
		l.tell(t.String())
	}
	return last, err
}

// tell keeps an entry about the log itself.
func (l *Log) tell(detail string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(l.queue, waiting{entry: &customhouse.AuditEntry{Time: l.now().UTC(), Kind: customhouse.AuditLog, Detail: detail}})
}

// Set changes the settings.
func (l *Log) Set(s Settings) { l.settings.Store(&s) }

// Audit keeps e, which is the log's own from now on. The error says that it is not kept although it must be.
func (l *Log) Audit(ctx context.Context, e *customhouse.AuditEntry) error {
	s := l.settings.Load()
	routine := e.Kind == customhouse.AuditDecision && e.Allowed
	if routine && s.Allow < 1 && (s.Allow <= 0 || rand.Float64() >= s.Allow) {
		return nil
	}
	w := waiting{entry: e}
	if s.Required {
		w.done = make(chan error, 1)
	}
	l.mu.Lock()
	if e.Stranger && l.index != nil && s.Entries > 0 && !(s.Required && e.Allowed) && !l.closed && l.others.counted(e, l.now(), s.Entries, s.Age) {
		l.mu.Unlock()
		return nil
	}
	for len(l.queue) >= maxWait && !l.stuck && !l.closed {
		l.room.Wait()
	}
	switch full := len(l.queue) >= maxWait; {
	case l.closed:
		l.mu.Unlock()
		return errClosed
	case full && (routine || len(l.queue) >= maxKept) && !s.Required:
		l.lost++
		l.writes.Lost.Add(1)
		l.mu.Unlock()
		return nil
	case full && s.Required:
		err := l.failing
		l.mu.Unlock()
		return err
	}
	l.queue, l.urgent = append(l.queue, w), l.urgent || w.done != nil
	wake := len(l.queue) == 1 || len(l.queue) == batch || w.done != nil
	l.mu.Unlock()
	if wake {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
	if w.done == nil {
		return nil
	}
	return <-w.done // that it was written is known a moment later, whoever waits for it or not
}

// Sync waits until what was handed over before is written.
func (l *Log) Sync() error {
	w := waiting{done: make(chan error, 1)}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return errClosed
	}
	l.queue, l.urgent = append(l.queue, w), true
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return <-w.done
}

var errClosed = errors.New("the audit log is closed")

// Close writes what waits and ends.
func (l *Log) Close() error {
	l.mu.Lock()
	l.closed = true
	l.room.Broadcast()
	l.mu.Unlock()
	close(l.stop)
	<-l.done
	var errs []error
	if l.failing != nil {
		errs = append(errs, fmt.Errorf("entries of the audit log are lost: %w", l.failing))
	}
	if l.file != nil {
		errs = append(errs, l.file.Close())
	}
	return errors.Join(errs...)
}

// Counts returns what has been kept.
func (l *Log) Counts() *Counts { return &l.writes }

// Waiting returns how many entries wait.
func (l *Log) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue)
}

// Failing returns why entries cannot be written at present, nil if they can.
func (l *Log) Failing() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failing
}

// Err is Failing, as a check of readiness asks.
func (l *Log) Err(context.Context) error { return l.Failing() }

var _ io.Closer = (*Log)(nil)

// Reader returns a reader of what is kept in the index, nil without one.
func (l *Log) Reader() *Reader { return l.reader }
