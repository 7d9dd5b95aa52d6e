package audit_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ncruces/go-sqlite3/driver"

	"customhouse/audit"
	"customhouse/index"
)

// Whatever somebody does with the pages in the index is found by Verify, be it to hide entries from those who look for them;
// but for an end that is cut off, which the hash of an entry that was noted elsewhere tells.
func TestS78_VerifyIndex(t *testing.T) {
	for name, c := range map[string]struct {
		tamper string // the pages begin with 1, 1001 and 2001
		want   string
	}{
		"whole":                    {"select 1", ""},
		"a page removed":           {"delete from audit_page where first = 1001", "entry 2001: 1000 entries between 1000 and 2001 were removed"},
		"the first page removed":   {"delete from audit_page where first = 1", "entry 1001: 1000 entries between 0 and 1001 were removed"},
		"as if it were forgotten":  {"delete from audit_page where first = 1; update audit_past set number = 1000", "entry 1001: entry 1001 does not follow entry 1000"},
		"pages swapped":            {"update audit_page set lines = (select lines from audit_page b where b.first = 3002 - audit_page.first) where first in (1001, 2001)", "entry 2001: it is not where it is looked for"},
		"pages in another order":   {"update audit_page set first = 1501 where first = 1", "entry 1001: 1000 entries between 0 and 1001 were removed"},
		"a page twice":             {"insert into audit_page select first + 1, last, began, ended, hash, filter, lines from audit_page where first = 1001", "entry 1001: it is not where it is looked for"},
		"a page that is no page":   {"update audit_page set lines = x'00' where first = 1001", "entry 1001: a page of the audit log cannot be read"},
		"a page without lines":     {"update audit_page set lines = x'' where first = 1001", "entry 1001: its page ends with entry 0, and 2000 is noted"},
		"hidden from names":        {"update audit_page set filter = zeroblob(length(filter)) where first = 1001", "entry 1001: it is not where it is looked for"},
		"hidden from names at all": {"update audit_page set filter = x'' where first = 1001", "entry 1001: it is not where it is looked for"},
		"hidden from since":        {"update audit_page set ended = began where first = 1001", "entry 1002: it is not where it is looked for"},
		"hidden from until":        {"update audit_page set began = ended where first = 1001", "entry 1001: it is not where it is looked for"},
		"hidden from numbers":      {"update audit_page set last = 1500 where first = 1001", "entry 1501: it is not where it is looked for"},
		"another end":              {"update audit_page set hash = '' where first = 2001", "entry 2001: its page ends with entry 2500, and"},
		"an end that was cut off":  {"delete from audit_page where first = 2001", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			db := openIndex(t, dir)
			l := openLog(t, audit.Options{Index: db}, all)
			for i := range 2500 {
				must(t, l.Audit(t.Context(), pulled(i, "alice", "team/app", true)))
			}
			must(t, l.Close())
			v, err := l.Reader().Verify(t.Context(), "")
			must(t, err)
			end := v.Last.Hash
			must(t, db.Close())
			tamper(t, dir, c.tamper)
			db, err = index.Open(context.Background(), filepath.Join(dir, "index.db"), index.Options{})
			must(t, err)
			defer db.Close()
			if _, err := audit.NewReader(db).Verify(t.Context(), end); (err == nil) != (name == "whole") {
				t.Errorf("Verify with the hash of the last entry = %v", err)
			}
			v, err = audit.NewReader(db).Verify(t.Context(), "")
			switch {
			case c.want == "" && (err != nil || v.Entries%500 != 0 || v.Entries == 0):
				t.Errorf("Verify = %d entries, %v", v.Entries, err)
			case c.want != "" && (!errors.As(err, new(*audit.Break)) || !strings.HasPrefix(err.Error(), c.want)):
				t.Errorf("Verify = %v, want %s", err, c.want)
			}
		})
	}
}

// A last page that is damaged is left for Verify to tell of, and the log goes on behind it.
func TestDamagedEnd(t *testing.T) {
	dir := t.TempDir()
	db := openIndex(t, dir)
	l := openLog(t, audit.Options{Index: db}, all)
	must(t, l.Audit(t.Context(), pulled(1, "alice", "team/app", true)))
	must(t, l.Close())
	tamper(t, dir, "update audit_page set lines = x'28b52ffd00'")
	l = openLog(t, audit.Options{Index: db}, all)
	must(t, l.Audit(t.Context(), pulled(2, "alice", "team/app", true)))
	must(t, l.Close())
	if last, err := l.Reader().Last(t.Context()); err != nil || last != 2 {
		t.Errorf("the last entry is %d, %v", last, err)
	}
	if _, err := l.Reader().Verify(t.Context(), ""); err == nil || !strings.HasPrefix(err.Error(), "entry 1: ") {
		t.Errorf("Verify = %v", err)
	}
}

// What is damaged in the middle is named in its place, and what is before and behind it is found; the file gets all the rest.
func TestDamagedMiddle(t *testing.T) {
	encoder, err := zstd.NewWriter(nil)
	must(t, err)
	for name, page := range map[string][]byte{
		"a page that cannot be read": []byte("\x28\xb5\x2f\xfd\x00"),
		"a page without entries":     encoder.EncodeAll([]byte("no entry\nand another\n"), nil),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			db := openIndex(t, dir)
			l := openLog(t, audit.Options{Index: db}, all)
			for i := range 2500 {
				must(t, l.Audit(t.Context(), pulled(i, "alice", "team/app", true)))
			}
			must(t, l.Close())
			tamper(t, dir, fmt.Sprintf("update audit_page set lines = x'%x' where first = 1001", page))
			for _, down := range []bool{false, true} {
				var n, damaged int
				for e, err := range audit.NewReader(db).Find(t.Context(), audit.Question{Down: down}) {
					var d *audit.Damage
					if errors.As(err, &d) {
						if damaged++; d.First != 1001 || d.Last != 2000 || n != map[bool]int{false: 1000, true: 500}[down] {
							t.Errorf("behind %d entries: %v", n, err)
						}
						continue
					}
					must(t, err)
					if n++; e.Number > 1000 && e.Number <= 2000 {
						t.Errorf("found entry %d", e.Number)
					}
				}
				if n != 1500 || damaged != 1 {
					t.Errorf("down %v: found %d entries, %d damages", down, n, damaged)
				}
			}
			for _, err := range audit.NewReader(db).Find(t.Context(), audit.Question{Account: "bob"}) {
				t.Errorf("of who is in no page: %v", err)
			}

			file := filepath.Join(dir, "audit.log")
			text, err := os.ReadFile(firstLine(t))
			must(t, err)
			must(t, os.WriteFile(file, text, 0o600))
			l = openLog(t, audit.Options{Index: db, File: openFile(t, file, audit.Rotation{})}, audit.Settings{Allow: 1, Required: true})
			must(t, l.Audit(t.Context(), pulled(1, "alice", "team/app", true)))
			must(t, l.Close())
			if l.Failing() != nil {
				t.Errorf("Failing = %v", l.Failing())
			}
			if _, err := audit.VerifyFiles("", file); err == nil || !strings.HasSuffix(err.Error(), "line 1001: 1000 entries between 1000 and 2001 were removed") {
				t.Errorf("VerifyFiles = %v", err)
			}
			if text, err := os.ReadFile(file); err != nil || !strings.Contains(string(text), `"detail":"of the entries 1001 to 2000, those that are damaged`) {
				t.Errorf("the file does not tell what is missing, %v", err)
			}
		})
	}
}

// firstLine returns a file with the first entry of a log.
func firstLine(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "first.log")
	l := openLog(t, audit.Options{File: openFile(t, file, audit.Rotation{})}, all)
	must(t, l.Audit(t.Context(), pulled(0, "alice", "team/app", true)))
	must(t, l.Close())
	return file
}

// tamper changes the index behind everybody's back.
func tamper(t *testing.T, dir, sql string) {
	t.Helper()
	db, err := driver.Open("file:" + filepath.ToSlash(filepath.Join(dir, "index.db")))
	must(t, err)
	defer db.Close()
	_, err = db.Exec(sql)
	must(t, err)
}
