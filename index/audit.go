package index

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"customhouse"
)

// AuditPage is a part of the audit log: lines of entries with consecutive numbers, in a form that the index does not look
// into.
type AuditPage struct {
	First, Last  int64
	Began, Ended time.Time // the earliest and the latest time of an entry
	Hash         string    // of the last entry
	Filter       []byte    // what may be found in the lines
	Lines        []byte
}

// AuditSeen is who has entries in the audit log, as the last of them has it.
type AuditSeen struct {
	Identity customhouse.Identity // account, method, labels and claims
	Number   int64                // of the entry
	Time     time.Time            // of the entry
}

// AuditWriting is what is written to the audit log at once.
type AuditWriting struct {
	Pages  []AuditPage          // each in the place of the one with the same first number
	Seen   []AuditSeen          // in these pages
	Shares map[string]time.Time // until when a kind of entries has used up a share; those that have changed
	Notes  int64                // the last note that stands in these pages; 0 for none: notes up to it are forgotten
}

// PutAudit writes to the audit log.
func (db *DB) PutAudit(ctx context.Context, w AuditWriting) error {
	return db.writer.write(ctx, true, func(t *tx) error {
		for _, p := range w.Pages {
			if err := t.exec(ctx, `insert into audit_page (first, last, began, ended, hash, filter, lines) values (?, ?, ?, ?, ?, ?, ?)
				on conflict (first) do update set last = excluded.last, began = excluded.began, ended = excluded.ended,
				hash = excluded.hash, filter = excluded.filter, lines = excluded.lines`,
				p.First, p.Last, p.Began.UnixNano(), p.Ended.UnixNano(), p.Hash, p.Filter, p.Lines); err != nil {
				return err
			}
		}
		for i := range w.Seen {
			if err := putAuditSeen(ctx, t, &w.Seen[i]); err != nil {
				return err
			}
		}
		for kind, used := range w.Shares {
			if err := t.exec(ctx, "insert into audit_share (kind, used) values (?, ?) on conflict (kind) do update set used = excluded.used", kind, used.UnixNano()); err != nil {
				return err
			}
		}
		if w.Notes == 0 {
			return nil
		}
		return t.exec(ctx, "delete from audit_note where id <= ?", w.Notes)
	})
}

func putAuditSeen(ctx context.Context, t *tx, s *AuditSeen) error {
	labels, err := json.Marshal(s.Identity.Labels)
	if err != nil {
		return err
	}
	claims, err := json.Marshal(s.Identity.Claims)
	if err != nil {
		return err
	}
	return t.exec(ctx, `insert into audit_seen (account, method, number, time, labels, claims) values (?, ?, ?, ?, ?, ?)
		on conflict (account, method) do update set number = excluded.number, time = excluded.time, labels = excluded.labels, claims = excluded.claims`,
		s.Identity.Account, s.Identity.Method, s.Number, s.Time.UnixNano(), string(labels), string(claims))
}

// AuditShares returns until when kinds of entries have used up a share.
func (db *DB) AuditShares(ctx context.Context) (map[string]time.Time, error) {
	shares := map[string]time.Time{}
	err := db.rows(ctx, func(r *sql.Rows) error {
		var kind string
		var used int64
		err := r.Scan(&kind, &used)
		shares[kind] = time.Unix(0, used)
		return err
	}, "select kind, used from audit_share")
	return shares, err
}

// AuditSeen returns who was seen of up to n accounts after one, in their order: each once for every method of login, the
// latest first.
func (db *DB) AuditSeen(ctx context.Context, after string, n int) ([]AuditSeen, error) {
	return db.auditSeen(ctx, "account in (select distinct account from audit_seen where account > ? order by account limit ?)", after, n)
}

// AuditSeenOf returns as whom an account was seen: once for every method of login, the latest first.
func (db *DB) AuditSeenOf(ctx context.Context, account string) ([]AuditSeen, error) {
	return db.auditSeen(ctx, "account = ?", account)
}

func (db *DB) auditSeen(ctx context.Context, where string, args ...any) (all []AuditSeen, err error) {
	err = db.rows(ctx, func(r *sql.Rows) error {
		var s AuditSeen
		var at int64
		var labels, claims []byte
		if err := r.Scan(&s.Identity.Account, &s.Identity.Method, &s.Number, &at, &labels, &claims); err != nil {
			return err
		}
		s.Time = time.Unix(0, at).UTC()
		err := errors.Join(json.Unmarshal(labels, &s.Identity.Labels), json.Unmarshal(claims, &s.Identity.Claims))
		all = append(all, s)
		return err
	}, "select account, method, number, time, labels, claims from audit_seen where "+where+" order by account, number desc", args...)
	return all, err
}

// LastAuditPage returns the page that was begun last. customhouse.ErrNotFound when there is none.
func (db *DB) LastAuditPage(ctx context.Context) (AuditPage, error) {
	p, err := scanAuditPage(db.row(ctx, "select first, last, began, ended, hash, filter from audit_page order by first desc limit 1").scan)
	if err != nil {
		return p, err
	}
	p.Lines, err = db.AuditLines(ctx, p.First)
	return p, err
}

// NextAuditPage returns the whole page with the lowest first number above one. customhouse.ErrNotFound when there is none.
func (db *DB) NextAuditPage(ctx context.Context, after int64) (AuditPage, error) {
	var lines []byte
	p, err := scanAuditPage(func(into ...any) error {
		return db.row(ctx, "select first, last, began, ended, hash, filter, lines from audit_page where first > ? order by first limit 1", after).scan(append(into, &lines)...)
	})
	p.Lines = lines
	return p, err
}

// AuditPages returns up to n pages without their lines: those that hold entries after a number in ascending order or, with
// down, before it in descending order.
func (db *DB) AuditPages(ctx context.Context, number int64, down bool, n int) (pages []AuditPage, err error) {
	query := "select first, last, began, ended, hash, filter from audit_page where last > ? order by first limit ?"
	if down {
		query = "select first, last, began, ended, hash, filter from audit_page where first < ? order by first desc limit ?"
	}
	err = db.rows(ctx, func(r *sql.Rows) error {
		p, err := scanAuditPage(r.Scan)
		pages = append(pages, p)
		return err
	}, query, number, n)
	return pages, err
}

func scanAuditPage(scan func(...any) error) (AuditPage, error) {
	var p AuditPage
	var began, ended int64
	err := scan(&p.First, &p.Last, &began, &ended, &p.Hash, &p.Filter)
	p.Began, p.Ended = time.Unix(0, began), time.Unix(0, ended)
	return p, err
}

// AuditLines returns the lines of the page with a first number. customhouse.ErrNotFound when it has been forgotten.
func (db *DB) AuditLines(ctx context.Context, first int64) (lines []byte, err error) {
	err = db.row(ctx, "select lines from audit_page where first = ?", first).scan(&lines)
	return lines, err
}

// AuditPast returns number and hash of the last entry that was forgotten; 0 and "" when none was.
func (db *DB) AuditPast(ctx context.Context) (number int64, hash string, err error) {
	err = db.row(ctx, "select number, hash from audit_past").scan(&number, &hash)
	return number, hash, err
}

// BeginAudit lets an audit log without entries begin behind one, as if those up to it had been forgotten.
func (db *DB) BeginAudit(ctx context.Context, number int64, hash string) error {
	return db.writer.write(ctx, true, func(t *tx) error {
		return t.exec(ctx, "update audit_past set number = ?, hash = ? where number = 0", number, hash)
	})
}

// ForgetAudit forgets up to n of the first pages: those that end before a time, and those that hold no entry after a
// number, and who was seen in no other. It returns how many pages it has forgotten. The last page stays.
func (db *DB) ForgetAudit(ctx context.Context, before time.Time, number int64, n int) (forgotten int64, err error) {
	err = db.writer.write(ctx, false, func(t *tx) error {
		var last int64
		var hash string
		switch err := t.row(ctx, `select last, hash from (select first, last, ended, hash from audit_page
			where first < (select max(first) from audit_page) order by first limit ?)
			where ended < ? or last <= ? order by first desc limit 1`, n, before.UnixNano(), number).scan(&last, &hash); {
		case err == customhouse.ErrNotFound:
			return nil
		case err != nil:
			return err
		}
		if err := t.exec(ctx, "update audit_past set number = ?, hash = ?", last, hash); err != nil {
			return err
		}
		if err := t.exec(ctx, "delete from audit_seen where number <= ?", last); err != nil {
			return err
		}
		forgotten, err = t.changed(ctx, "delete from audit_page where last <= ?", last)
		return err
	})
	return forgotten, err
}

// ForgetSeen forgets who was seen before the last n.
func (db *DB) ForgetSeen(ctx context.Context, n int) error {
	var last int64
	switch err := db.row(ctx, "select number from audit_seen order by number desc limit 1 offset ?", n).scan(&last); {
	case err == customhouse.ErrNotFound:
		return nil
	case err != nil:
		return err
	}
	return db.writer.write(ctx, false, func(t *tx) error {
		return t.exec(ctx, "delete from audit_seen where number <= ?", last)
	})
}

// AuditNote is an entry that has no number yet.
type AuditNote struct {
	ID    int64
	Entry customhouse.AuditEntry
}

// maxNotes is how many notes wait at most, where nobody keeps the audit log.
const maxNotes = 10_000

// Note keeps an entry for whoever keeps the audit log, from a process that does not.
func (db *DB) Note(ctx context.Context, e customhouse.AuditEntry) error {
	return db.writer.write(ctx, true, func(t *tx) error { return db.note(ctx, t, e) })
}

// note keeps an entry in the transaction of the change that it tells of. Who has made the change it has from ctx, and when
// it was made from the clock, if it does not say.
func (db *DB) note(ctx context.Context, t *tx, e customhouse.AuditEntry) error {
	origin := customhouse.OriginOf(ctx)
	if e.Account == "" && e.Client == "" && e.Decision == "" {
		e.Account, e.Decision = origin.Account, origin.ID
		if origin.Client.IsValid() {
			e.Client = origin.Client.String()
		}
	}
	if e.Account == "" && origin.Agent != "" {
		e.Detail += " (" + origin.Agent + ")"
	}
	if e.Time.IsZero() {
		e.Time = db.now()
	}
	e.Time = e.Time.UTC()
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if err := t.exec(ctx, "insert into audit_note (body) values (?)", string(body)); err != nil {
		return err
	}
	return t.exec(ctx, "delete from audit_note where id <= (select max(id) from audit_note) - ?", maxNotes)
}

// noteAccount keeps that an account, or a credential of it, was made, changed or removed.
func (db *DB) noteAccount(ctx context.Context, t *tx, account, format string, args ...any) error {
	return db.note(ctx, t, customhouse.AuditEntry{
		Kind: customhouse.AuditAccount, Allowed: true, Type: "account", Name: account, Detail: fmt.Sprintf(format, args...),
	})
}

// AuditNotes returns up to n notes after one, in their order.
func (db *DB) AuditNotes(ctx context.Context, after int64, n int) (notes []AuditNote, err error) {
	err = db.rows(ctx, func(r *sql.Rows) error {
		var note AuditNote
		var body string
		if err := r.Scan(&note.ID, &body); err != nil {
			return err
		}
		err := json.Unmarshal([]byte(body), &note.Entry)
		notes = append(notes, note)
		return err
	}, "select id, body from audit_note where id > ? order by id limit ?", after, n)
	return notes, err
}
