package audit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"slices"

	"customhouse"
	"customhouse/index"
)

// Verified is a log that is whole.
type Verified struct {
	Entries     int64
	First, Last customhouse.AuditEntry // zero without any
}

// Break is the first place where a log is not what was written.
type Break struct {
	Line   int64  // from 1; 0 in the index
	Number int64  // of the entry there, as it says
	What   string // what is wrong
}

// Error says where and what.
func (b *Break) Error() string {
	if b.Line == 0 {
		return fmt.Sprintf("entry %d: %s", b.Number, b.What)
	}
	return fmt.Sprintf("line %d: %s", b.Line, b.What)
}

// VerifyFile checks the lines of a file: that each is what was written, that none is missing and that none was put in. What
// came before the first line and what comes behind the last one it cannot tell; a hash that was noted elsewhere can. The
// error is a *Break where the log is not whole.
func VerifyFile(path string) (Verified, error) {
	f, err := os.Open(path)
	if err != nil {
		return Verified{}, err
	}
	defer f.Close()
	return verify(linesOf(f), true, nil)
}

// Verify checks what is kept in the index, beginning with what was forgotten last: the entries, and what is noted of pages so
// that they are found. The error is a *Break where the log is not whole.
func (r *Reader) Verify(ctx context.Context) (Verified, error) {
	for {
		number, hash, err := r.index.AuditPast(ctx)
		if err != nil {
			return Verified{}, err
		}
		v, err := verify(r.wholePages(ctx), false, &customhouse.AuditEntry{Number: number, Hash: hash})
		if !errors.As(err, new(*Break)) {
			return v, err
		}
		if now, _, other := r.index.AuditPast(ctx); other != nil || now == number {
			return v, err
		} // pages were forgotten meanwhile
	}
}

// wholePages yields the lines of all pages, of which each is what is noted of it.
func (r *Reader) wholePages(ctx context.Context) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for at := int64(math.MinInt64); ; {
			p, err := r.index.NextAuditPage(ctx, at)
			if errors.Is(err, customhouse.ErrNotFound) {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
			at = p.First
			text, err := r.unpack(p.Lines)
			if err != nil {
				yield(nil, &Break{Number: p.First, What: err.Error()})
				return
			}
			var last customhouse.AuditEntry
			for line := range each(text) {
				e, err := ParseLine(line)
				if err == nil && !noted(&p, &e) {
					yield(nil, &Break{Number: e.Number, What: "it is not where it is looked for: what is noted of its page was changed"})
					return
				}
				if last = e; !yield(line, nil) {
					return
				}
			}
			if last.Number != p.Last || last.Hash != p.Hash {
				yield(nil, &Break{Number: p.First, What: fmt.Sprintf("its page ends with entry %d, and %d is noted", last.Number, p.Last)})
				return
			}
		}
	}
}

// noted tells whether e is found in p by its number, its time and all that it can be looked for by.
func noted(p *index.AuditPage, e *customhouse.AuditEntry) bool {
	return p.First <= e.Number && e.Number <= p.Last && !e.Time.Before(p.Began) && !lastOf(e).After(p.Ended) &&
		!slices.ContainsFunc(appendKeys(nil, e), func(key uint64) bool { return !mayHold(p.Filter, key) })
}

// verify checks that each line follows the one before; before stands before the first, nil where that is unknown.
func verify(lines iter.Seq2[[]byte, error], numbered bool, before *customhouse.AuditEntry) (Verified, error) {
	var v Verified
	var at int64
	for line, err := range lines {
		if err != nil {
			return v, err
		}
		at++
		e, err := ParseLine(line)
		b := &Break{Number: e.Number}
		if numbered {
			b.Line = at
		}
		switch {
		case err != nil:
			b.What = err.Error()
		case before == nil:
		case e.Number > before.Number+1:
			b.What = fmt.Sprintf("%d entries between %d and %d were removed", e.Number-before.Number-1, before.Number, e.Number)
		case e.Number <= before.Number:
			b.What = fmt.Sprintf("entry %d stands behind entry %d: one of them was put in", e.Number, before.Number)
		case e.Previous != before.Hash:
			b.What = fmt.Sprintf("entry %d does not follow entry %d: one of them was put in the place of another", e.Number, before.Number)
		}
		if b.What != "" {
			return v, b
		}
		if v.Entries++; v.Entries == 1 {
			v.First = e
		}
		v.Last, before = e, &e
	}
	return v, nil
}

// linesOf yields the lines of a file.
func linesOf(f io.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		r := bufio.NewReaderSize(f, maxLine)
		for {
			line, err := r.ReadSlice('\n')
			if len(bytes.TrimSpace(line)) > 0 && !yield(line, nil) {
				return
			}
			switch {
			case errors.Is(err, io.EOF):
				return
			case errors.Is(err, bufio.ErrBufferFull):
				yield(nil, errors.New("a line is too long for one of an audit log"))
				return
			case err != nil:
				yield(nil, err)
				return
			}
		}
	}
}
