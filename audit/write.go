package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"customhouse"
	"customhouse/index"
)

// How often the writer looks for what comes from elsewhere, forgets what is old, and tries again what has failed.
const (
	noteEvery   = time.Second
	forgetEvery = time.Minute
	retryEvery  = time.Second
)

// run writes what waits until the log is closed.
func (l *Log) run() {
	defer close(l.done)
	notes, forget := time.NewTicker(noteEvery), time.NewTicker(forgetEvery)
	defer notes.Stop()
	defer forget.Stop()
	for {
		select {
		case <-l.stop:
			l.flush()
			return
		case <-l.wake:
			l.gather()
		case <-notes.C:
		case <-forget.C:
			l.forget()
			continue
		}
		l.flush()
	}
}

// gather waits a moment for more entries, unless there are many or somebody waits for theirs.
func (l *Log) gather() {
	l.mu.Lock()
	soon := len(l.queue) >= batch || l.urgent
	l.mu.Unlock()
	if soon {
		return
	}
	moment := time.NewTimer(Flush)
	defer moment.Stop()
	select {
	case <-moment.C:
	case <-l.wake: // there are many now
	case <-l.stop:
	}
}

// flush writes what waits. What cannot be written goes on waiting, but for what somebody is told of that it was not.
func (l *Log) flush() {
	l.mu.Lock()
	for _, e := range l.others.round(l.now(), l.closed) {
		l.queue = append(l.queue, waiting{entry: e})
	}
	queue, lost, shares := l.queue, l.lost, l.others.used()
	l.queue, l.lost, l.urgent = nil, 0, false
	l.mu.Unlock()
	entries := make([]*customhouse.AuditEntry, 0, len(queue)+1)
	for _, w := range queue {
		if w.entry != nil {
			entries = append(entries, w.entry)
		}
	}
	if lost > 0 {
		entries = append(entries, &customhouse.AuditEntry{
			Time: l.now().UTC(), Kind: customhouse.AuditLog, Detail: fmt.Sprintf("%d entries were lost while the log could not be written", lost),
		})
	}
	err := l.write(context.Background(), entries, shares)
	var late error // what is in the index goes into the file when it can
	if err == nil && l.file != nil && l.index != nil {
		late = l.catchUp(context.Background())
	}
	for _, w := range queue {
		if w.done != nil {
			w.done <- err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if failing := cmp.Or(err, late); failing != nil {
		l.writes.Errors.Add(1)
		if l.failing == nil {
			l.log.Error("the audit log cannot be written", "error", failing)
		}
		l.failing = failing
	} else if l.failing != nil {
		l.log.Info("the audit log can be written again")
		l.failing = nil
	}
	if l.stuck = err != nil; l.stuck {
		var again []waiting
		for _, w := range queue {
			if w.done == nil {
				again = append(again, w)
			}
		}
		l.queue, l.lost = append(again, l.queue...), l.lost+lost
	} else {
		l.writes.Written.Add(int64(len(entries)))
	}
	l.room.Broadcast()
}

// write numbers entries, and the notes that wait, and writes them: to the index first, which knows then where the log ends.
func (l *Log) write(ctx context.Context, entries []*customhouse.AuditEntry, shares map[string]time.Time) error {
	next := l.chain // its page may grow behind what l.page sees: where nothing is kept, that is written over
	if l.index != nil {
		notes, err := l.index.AuditNotes(ctx, l.notes, batch)
		if err != nil {
			return err
		}
		for i := range notes {
			entries, next.notes = append(entries, &notes[i].Entry), notes[i].ID
		}
	}
	if len(entries) == 0 && len(shares) == 0 {
		return nil
	}
	var pages []index.AuditPage
	lines := next.lines[:0]
	for _, e := range entries {
		e.Number, e.Previous = next.number+1, next.hash
		start := len(lines)
		lines = appendLine(lines, e)
		next.number, next.hash = e.Number, e.Hash
		if l.index == nil {
			continue
		}
		next.page.add(e, lines[start:])
		if next.page.full() {
			pages = append(pages, l.packer.pack(&next.page))
			next.page = page{}
		}
	}
	next.lines = lines
	if l.index != nil {
		if next.page.n > 0 {
			pages = append(pages, l.packer.pack(&next.page))
		}
		w := index.AuditWriting{Pages: pages, Seen: seenIn(entries), Shares: shares}
		if next.notes != l.notes {
			w.Notes = next.notes
		}
		if err := l.index.PutAudit(ctx, w); err != nil {
			return err
		}
	} else if err := l.file.append(lines); err != nil {
		return err
	} else {
		next.filed = next.number
	}
	if l.index != nil && l.file != nil && next.filed == l.number { // as it is in most cases; else it catches up
		if err := l.file.append(lines); err == nil {
			next.filed = next.number
		}
	}
	l.chain = next
	return nil
}

// catchUp gives the file what is kept in the index and could not be written to the file. What is damaged in the index is missing
// there then, and told.
func (l *Log) catchUp(ctx context.Context) error {
	if l.filed >= l.number {
		return nil
	}
	var lines []byte
	var all []*Damage
	last := l.filed
	for kept, err := range l.reader.lines(ctx, &Question{After: l.filed}) {
		var e customhouse.AuditEntry
		if err == nil {
			if e, err = ParseLine(kept.text); err != nil {
				err = kept.damage(err)
			}
		}
		var d *Damage
		switch {
		case errors.As(err, &d):
			if len(all) == 0 || all[len(all)-1].First != d.First {
				all = append(all, d)
			}
			continue
		case err != nil:
			return err
		case e.Number <= last:
			continue
		}
		lines, last = append(append(lines, kept.text...), '\n'), e.Number
		if len(lines) > 1<<20 {
			if err := l.file.append(lines); err != nil {
				return err
			}
			lines, l.filed = lines[:0], last
		}
	}
	if err := l.file.append(lines); err != nil {
		return err
	}
	l.filed = l.number
	for _, d := range all {
		l.log.Error("entries of the audit log are damaged and missing in its file", "first", d.First, "last", d.Last, "error", d.Err)
		l.tell(fmt.Sprintf("of the entries %d to %d, those that are damaged in the data folder are missing in the file", d.First, d.Last))
	}
	return nil
}

// forget forgets what is older, or more, than is kept, in small steps.
func (l *Log) forget() {
	s := l.settings.Load()
	if l.index == nil || s.Age <= 0 && s.Entries <= 0 {
		return
	}
	var before time.Time
	if s.Age > 0 {
		before = l.now().Add(-s.Age)
	} else {
		before = time.Unix(0, 0)
	}
	number := int64(0)
	if s.Entries > 0 {
		number = max(0, l.number-s.Entries)
	}
	if err := l.index.ForgetSeen(context.Background(), maxSeen); err != nil {
		l.log.Warn("who was seen long ago stays in the audit log", "error", err)
	}
	const step = 64 // pages
	for {
		n, err := l.index.ForgetAudit(context.Background(), before, number, step)
		if err != nil {
			l.log.Warn("old entries of the audit log stay", "error", err)
		}
		if n == 0 {
			return
		}
	}
}
