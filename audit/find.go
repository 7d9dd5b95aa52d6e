package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"customhouse"
	"customhouse/index"
)

// Reader finds entries in the index, while another process may write them.
type Reader struct {
	index  *index.DB
	mu     sync.Mutex // of packer
	packer *packer
}

// NewReader returns a reader of what is kept in db.
func NewReader(db *index.DB) *Reader { return &Reader{index: db} }

// Question is what entries are asked for: those for which all that it names holds. "" and zero hold for each.
type Question struct {
	Account  string // who did it, or whose account it was done to
	Kind     string
	Name     string // of the repository, or of another resource
	Tag      string
	Digest   string
	Action   customhouse.Action
	Client   string
	Decision string
	Denied   bool // those that were refused only
	Allowed  bool // those that were not only
	Since    time.Time
	Until    time.Time

	After  int64 // entries with higher numbers
	Before int64 // entries with lower numbers; 0 is all
	Down   bool  // the latest first
}

// Check tells what is wrong with a question: what cannot be the answer is an error, and not an empty answer. The field is
// what people call it.
func (q *Question) Check() (field, want string) {
	if q.Kind != "" && !slices.Contains(customhouse.AuditKinds(), q.Kind) {
		return "kind", "want one of " + strings.Join(customhouse.AuditKinds(), ", ")
	}
	if _, err := netip.ParseAddr(q.Client); q.Client != "" && err != nil {
		return "client", "want an address, such as 192.0.2.7"
	}
	if _, err := customhouse.ParseDigest(q.Digest); q.Digest != "" && err != nil {
		return "digest", "want a digest, such as sha256:e3b0..., in full"
	}
	if !q.Since.IsZero() && !q.Until.IsZero() && !q.Since.Before(q.Until) {
		return "until", "is not after since"
	}
	return "", ""
}

// matches tells whether e is asked for.
func (q *Question) matches(e *customhouse.AuditEntry) bool {
	is := func(want, have string) bool { return want == "" || want == have }
	return is(q.Kind, e.Kind) && is(q.Name, e.Name) && is(q.Tag, e.Tag) && is(q.Digest, e.Digest) && is(q.Client, e.Client) &&
		is(q.Decision, e.Decision) && (is(q.Account, e.Account) || e.Kind == customhouse.AuditAccount && q.Account == e.Name) &&
		(q.Action == "" || slices.Contains(e.Actions, q.Action)) &&
		!(q.Denied && (e.Allowed || e.Kind == customhouse.AuditDifference)) && !(q.Allowed && !e.Allowed) &&
		(q.Since.IsZero() || !lastOf(e).Before(q.Since)) && (q.Until.IsZero() || e.Time.Before(q.Until)) &&
		e.Number > q.After && (q.Before == 0 || e.Number < q.Before)
}

// lastOf returns when what e tells of was last done.
func lastOf(e *customhouse.AuditEntry) time.Time {
	if e.Count > 0 {
		return e.Until
	}
	return e.Time
}

// mayBeIn tells whether a page may hold what is asked for.
func (q *Question) mayBeIn(p *index.AuditPage) bool {
	has := func(field, text string) bool { return text == "" || mayHold(p.Filter, keyOf(field, text)) }
	return (q.Since.IsZero() || !p.Ended.Before(q.Since)) && (q.Until.IsZero() || p.Began.Before(q.Until)) &&
		has("name", q.Name) && has("tag", q.Tag) && has("digest", q.Digest) && has("decision", q.Decision) && has("client", q.Client) &&
		(has("account", q.Account) || has("name", q.Account))
}

// texts are what stands in each line that is asked for, so that the others need not be read as JSON.
func (q *Question) texts() (texts [][]byte) {
	for _, part := range [...]struct{ key, text string }{
		{"kind", q.Kind}, {"name", q.Name}, {"tag", q.Tag}, {"digest", q.Digest}, {"client", q.Client}, {"decision", q.Decision},
	} {
		if part.text != "" {
			texts = append(texts, appendField(nil, part.key, part.text, maxText))
		}
	}
	if q.Account != "" {
		texts = append(texts, appendText(nil, q.Account, maxText))
	}
	if q.Denied {
		texts = append(texts, []byte(`,"allowed":false,`))
	}
	if q.Allowed {
		texts = append(texts, []byte(`,"allowed":true,`))
	}
	return texts
}

// Damage is a part of the log that cannot be read, and that may have what was asked for.
type Damage struct {
	First, Last int64 // numbers of its entries
	Err         error
}

// Error names the entries.
func (d *Damage) Error() string {
	return fmt.Sprintf("entries %d to %d of the audit log are damaged: %v", d.First, d.Last, d.Err)
}

// Unwrap returns what is wrong with them.
func (d *Damage) Unwrap() error { return d.Err }

// Find yields the entries that are asked for, in their order or, with Down, the latest first. Entries without a number,
// which wait for whoever keeps the log, are the latest of all. An error that is a *Damage is yielded in the place of the entries
// that are damaged, and what is behind them follows for who goes on; any other is the end.
func (r *Reader) Find(ctx context.Context, q Question) iter.Seq2[customhouse.AuditEntry, error] {
	return func(yield func(customhouse.AuditEntry, error) bool) {
		for line, err := range r.FindLines(ctx, q) {
			if !yield(line.AuditEntry, err) {
				return
			}
		}
	}
}

// Line is an entry, and the text of it that is kept, without its end. An entry without a number has no hash in it.
type Line struct {
	customhouse.AuditEntry
	Text []byte
}

// FindLines is Find for lines.
func (r *Reader) FindLines(ctx context.Context, q Question) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		if q.Down && !r.findNotes(ctx, q, yield) {
			return
		}
		texts := q.texts()
		var told *index.AuditPage // that something in it is damaged
		for kept, err := range r.lines(ctx, &q) {
			line := Line{Text: kept.text}
			if err == nil {
				if slices.ContainsFunc(texts, func(part []byte) bool { return !bytes.Contains(kept.text, part) }) {
					continue
				}
				if err := json.Unmarshal(kept.text, &line.AuditEntry); err != nil {
					if kept.page != told && !yield(Line{}, kept.damage(err)) {
						return
					}
					told = kept.page
					continue
				}
			}
			switch {
			case err != nil:
				if !yield(Line{}, err) || !errors.As(err, new(*Damage)) {
					return
				}
			case q.matches(&line.AuditEntry):
				if !yield(line, nil) {
					return
				}
			}
		}
		if !q.Down {
			r.findNotes(ctx, q, yield)
		}
	}
}

// Last returns the number of the last entry, 0 if there is none.
func (r *Reader) Last(ctx context.Context) (int64, error) {
	pages, err := r.index.AuditPages(ctx, math.MaxInt64, true, 1)
	if err != nil || len(pages) == 0 {
		return 0, err
	}
	return pages[0].Last, nil
}

// findNotes yields what has no number yet and tells whether to go on.
func (r *Reader) findNotes(ctx context.Context, q Question, yield func(Line, error) bool) bool {
	if q.Before > 0 || q.After > 0 {
		return true // they are no part of what has pages
	}
	notes, err := r.index.AuditNotes(ctx, 0, maxKept)
	if err != nil {
		return yield(Line{}, err)
	}
	if q.Down {
		slices.Reverse(notes)
	}
	q.After = -1
	for i := range notes {
		e := &notes[i].Entry
		if q.matches(e) && !yield(Line{*e, appendEntry(nil, e)}, nil) {
			return false
		}
	}
	return true
}

// keptLine is a line, and the page that it is in.
type keptLine struct {
	text []byte
	page *index.AuditPage
}

// damage is what cannot be read of a line, for which all of its page is named: what it says itself is nothing to go by.
func (k keptLine) damage(err error) *Damage {
	return &Damage{First: k.page.First, Last: k.page.Last, Err: fmt.Errorf("a line is no entry: %w", err)}
}

// lines yields the lines of the pages that may hold what is asked for, and a *Damage in the place of those of a damaged page.
func (r *Reader) lines(ctx context.Context, q *Question) iter.Seq2[keptLine, error] {
	const step = 100 // pages whose filters are read at once
	return func(yield func(keptLine, error) bool) {
		at := q.After
		if q.Down {
			if at = q.Before; at == 0 {
				at = math.MaxInt64
			}
		}
		for {
			pages, err := r.index.AuditPages(ctx, at, q.Down, step)
			if err != nil {
				yield(keptLine{}, err)
				return
			}
			for i := range pages {
				p := &pages[i]
				if at = p.Last; q.Down {
					at = p.First
				}
				if q.Down && p.Last <= q.After || !q.Down && q.Before > 0 && p.First >= q.Before {
					return
				}
				if q.mayBeIn(p) && !r.page(ctx, p, q.Down, yield) {
					return
				}
			}
			if len(pages) < step {
				return
			}
		}
	}
}

// page yields the lines of one page and tells whether to go on.
func (r *Reader) page(ctx context.Context, p *index.AuditPage, down bool, yield func(keptLine, error) bool) bool {
	packed, err := r.index.AuditLines(ctx, p.First)
	if errors.Is(err, customhouse.ErrNotFound) {
		return true // it has been forgotten meanwhile
	}
	var text []byte
	if err == nil {
		text, err = r.unpack(packed)
	}
	switch {
	case ctx.Err() != nil:
		yield(keptLine{}, ctx.Err())
		return false
	case err != nil:
		return yield(keptLine{}, &Damage{First: p.First, Last: p.Last, Err: err})
	}
	lines := slices.Collect(each(text))
	if down {
		slices.Reverse(lines)
	}
	for _, line := range lines {
		if !yield(keptLine{line, p}, nil) {
			return false
		}
	}
	return true
}

func (r *Reader) unpack(lines []byte) (text []byte, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.packer == nil {
		if r.packer, err = newPacker(); err != nil {
			return nil, err
		}
	}
	return r.packer.unpack(lines)
}

// ParseTime reads a time as people write it: a date, a time (RFC 3339), or how long before now, such as 24h or 7d.
func ParseTime(s string, now time.Time) (time.Time, error) {
	for _, layout := range [...]string{time.RFC3339Nano, "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, errors.New("want a time such as 2026-05-01T12:00:00Z or 2026-05-01, or how long ago, such as 24h or 7d")
}

// Answered tells whether e is a decision that let a request through which was then answered, not failed.
func Answered(e *customhouse.AuditEntry) bool {
	return e.Kind == customhouse.AuditDecision && e.Allowed && !strings.Contains(e.Detail, "answered ")
}
