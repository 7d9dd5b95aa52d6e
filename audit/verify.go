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
	First, Last customhouse.AuditEntry   // zero without any
	Told        []customhouse.AuditEntry // what the log says of itself, such as that entries are lost: the latest of it
}

// maxTold is how much of what the log says of itself is remembered.
const maxTold = 100

// Break is the first place where a log is not what was written.
type Break struct {
	File   string // "" in the index
	Line   int64  // from 1; 0 for the index, or all of the file
	Number int64  // of the entry there, as it says; 0 for no certain one
	What   string // what is wrong
}

// Error says where and what.
func (b *Break) Error() string {
	var where string
	switch {
	case b.Line > 0:
		where = fmt.Sprintf("%s: line %d: ", b.File, b.Line)
	case b.File != "":
		where = b.File + ": "
	case b.Number > 0:
		where = fmt.Sprintf("entry %d: ", b.Number)
	}
	return where + b.What
}

// VerifyFiles checks the lines of files, of which each goes on where the one before ends: that each is what was written, that
// none is missing and that none was put in. What came before the first line and what comes behind the last one it cannot tell;
// noted can, the hash of an entry that has to be there, "" for none. The error is a *Break where the log is not whole.
func VerifyFiles(noted string, paths ...string) (Verified, error) {
	c := checking{noted: noted}
	for _, path := range paths {
		if err := c.file(path); err != nil {
			return c.Verified, err
		}
	}
	return c.Verified, c.end()
}

// Verify checks what is kept in the index, beginning with what was forgotten last: the entries, and what is noted of pages so
// that they are found. What comes behind the last entry it cannot tell; noted can, as for files. The error is a *Break where the
// log is not whole.
func (r *Reader) Verify(ctx context.Context, noted string) (Verified, error) {
	for {
		number, hash, err := r.index.AuditPast(ctx)
		if err != nil {
			return Verified{}, err
		}
		c := checking{before: &customhouse.AuditEntry{Number: number, Hash: hash}, noted: noted, there: noted == hash}
		err = c.lines(r.wholePages(ctx), "")
		if err == nil {
			err = c.end()
		}
		if !errors.As(err, new(*Break)) {
			return c.Verified, err
		}
		if now, _, other := r.index.AuditPast(ctx); other != nil || now == number {
			return c.Verified, err
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

// checking is a log that is being verified.
type checking struct {
	Verified
	before *customhouse.AuditEntry // stands before the next line; nil where that is unknown
	noted  string                  // the hash of an entry that has to be there; "" for none
	there  bool
}

func (c *checking) file(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := c.lines(linesOf(f), path); err != nil && !errors.As(err, new(*Break)) {
		return fmt.Errorf("%s: %w", path, err)
	} else if err != nil {
		return err
	}
	return nil
}

// lines checks that each line, of a file or of the index, follows the one before.
func (c *checking) lines(lines iter.Seq2[[]byte, error], file string) error {
	var at int64
	for line, err := range lines {
		if err != nil {
			return err
		}
		at++
		e, err := ParseLine(line)
		b := &Break{File: file, Number: e.Number}
		if file != "" {
			b.Line = at
		}
		switch before := c.before; {
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
			return b
		}
		if c.Entries++; c.Entries == 1 {
			c.First = e
		}
		if e.Kind == customhouse.AuditLog {
			c.Told = append(c.Told[max(0, len(c.Told)+1-maxTold):], e)
		}
		c.Last, c.before, c.there = e, &e, c.there || e.Hash == c.noted
	}
	return nil
}

// end checks that what was noted is there.
func (c *checking) end() error {
	if c.noted == "" || c.there {
		return nil
	}
	return &Break{What: fmt.Sprintf("no entry up to %d has the hash %s that was noted", c.Last.Number, c.noted)}
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
