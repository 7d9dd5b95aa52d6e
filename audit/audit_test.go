package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/audit"
	"customhouse/index"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openIndex(t testing.TB, dir string) *index.DB {
	t.Helper()
	db, err := index.Open(context.Background(), filepath.Join(dir, "index.db"), index.Options{})
	must(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

func openLog(t testing.TB, o audit.Options, s audit.Settings) *audit.Log {
	t.Helper()
	l, err := audit.Open(context.Background(), o, s)
	must(t, err)
	return l
}

func openFile(t testing.TB, path string, r audit.Rotation) *audit.File {
	t.Helper()
	f, err := audit.OpenFile(path, r)
	must(t, err)
	return f
}

// all keeps everything.
var all = audit.Settings{Allow: 1}

var day = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// pulled is the entry of a pull, allowed or not.
func pulled(i int, account, repo string, allowed bool) *customhouse.AuditEntry {
	return &customhouse.AuditEntry{
		Time: day.Add(time.Duration(i) * time.Second), Kind: customhouse.AuditDecision, Decision: fmt.Sprintf("decision%08d", i), Allowed: allowed,
		Account: account, Method: "users", Labels: map[string][]string{"group": {"dev", "ops"}}, Client: "192.0.2.7", Service: "r.example",
		Type: "repository", Name: repo, Actions: []customhouse.Action{"pull"}, Tag: "v1", By: customhouse.ByRules, Rule: "c.yml:7", Reason: "rule c.yml:7 allows pull",
	}
}

// found returns what a question finds, in short.
func found(t testing.TB, r *audit.Reader, q audit.Question) (lines []string) {
	t.Helper()
	for e, err := range r.Find(t.Context(), q) {
		must(t, err)
		lines = append(lines, fmt.Sprintf("%d %s %s", e.Number, e.Account, e.Name))
	}
	return lines
}

func TestFind(t *testing.T) {
	db := openIndex(t, t.TempDir())
	l := openLog(t, audit.Options{Index: db}, all)
	const n = 2500 // three pages
	for i := range n {
		account, repo := "alice", fmt.Sprintf("team/app%d", i%7)
		if i%100 == 99 {
			account = "bob"
		}
		must(t, l.Audit(t.Context(), pulled(i, account, repo, i%500 != 0)))
	}
	must(t, l.Close())
	pages, err := db.AuditPages(t.Context(), 0, false, 100)
	must(t, err)
	if len(pages) != 3 || pages[2].Last != n {
		t.Errorf("%d pages, want 3", len(pages))
	}
	r := audit.NewReader(db)
	for name, c := range map[string]struct {
		q    audit.Question
		want []string
	}{
		"a decision":     {audit.Question{Decision: "decision00001234"}, []string{"1235 alice team/app2"}},
		"no decision":    {audit.Question{Decision: "decision99999999"}, nil},
		"denied, latest": {audit.Question{Denied: true, Down: true}, []string{"2001 alice team/app5", "1501 alice team/app2", "1001 alice team/app6", "501 alice team/app3", "1 alice team/app0"}},
		"by time":        {audit.Question{Account: "bob", Since: day.Add(2000 * time.Second), Until: day.Add(2200 * time.Second)}, []string{"2100 bob team/app6", "2200 bob team/app1"}},
		"by number":      {audit.Question{After: 998, Before: 1003}, []string{"999 alice team/app4", "1000 bob team/app5", "1001 alice team/app6", "1002 alice team/app0"}},
		"down":           {audit.Question{After: 998, Before: 1001, Down: true}, []string{"1000 bob team/app5", "999 alice team/app4"}},
		"by repository":  {audit.Question{Name: "team/app1", Account: "bob", Since: day.Add(1500 * time.Second)}, []string{"2200 bob team/app1"}},
		"by action":      {audit.Question{Action: "push"}, nil},
	} {
		if diff := cmp.Diff(c.want, found(t, r, c.q)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if v, err := r.Verify(t.Context(), ""); err != nil || v.Entries != n {
		t.Errorf("Verify = %d entries, %v", v.Entries, err)
	}
}

// What a shadow policy would have decided otherwise is no refusal.
func TestDeniedPassesOverDifferences(t *testing.T) {
	db := openIndex(t, t.TempDir())
	l := openLog(t, audit.Options{Index: db}, all)
	difference := pulled(1, "bob", "team/app", false)
	difference.Kind = customhouse.AuditDifference
	must(t, l.Audit(t.Context(), difference))
	must(t, l.Audit(t.Context(), pulled(2, "eve", "team/app", false)))
	must(t, l.Close())
	if diff := cmp.Diff([]string{"2 eve team/app"}, found(t, audit.NewReader(db), audit.Question{Denied: true})); diff != "" {
		t.Errorf("what was denied (-want +got):\n%s", diff)
	}
}

// An entry is the same whether it is read from its line or as it was handed over, and nothing in a line controls a terminal.
func TestS77_Lines(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "audit.log")
	l := openLog(t, audit.Options{File: openFile(t, file, audit.Rotation{})}, all)
	hostile := "x\n\r\x1b[31m\u2028\u202d\u202e\u200f\U000e0001\x7f\u009b\xff\"\\</script>" + strings.Repeat("y", 1<<20)
	e := *pulled(1, hostile, hostile, true)
	e.Claims = map[string]any{"sub": "repo:org/app:ref:refs/heads/main", "run_id": 12345678901, "nested": map[string]any{"a": []any{true, nil}}, "ref": hostile[:40]}
	e.Reason, e.Detail = hostile, hostile
	e.Labels = map[string][]string{hostile: {hostile}, "group": {}}
	usual := *pulled(2, "alice", "team/app", false)
	first, second := e, usual
	must(t, l.Audit(t.Context(), &first))
	must(t, l.Audit(t.Context(), &second))
	must(t, l.Close())
	text, err := os.ReadFile(file)
	must(t, err)
	for _, c := range string(bytes.ReplaceAll(text, []byte("\n"), nil)) {
		if !unicode.IsPrint(c) {
			t.Fatalf("a line has the raw character %U", c)
		}
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	if len(lines) != 2 || len(lines[0]) > 20<<10 {
		t.Fatalf("%d lines, the first of %d bytes", len(lines), len(lines[0]))
	}
	got, err := audit.ParseLine(lines[1])
	must(t, err)
	usual.Number, usual.Previous, usual.Hash = 2, first.Hash, second.Hash
	if diff := cmp.Diff(usual, got); diff != "" {
		t.Errorf("what was read is not what was handed over (-want +got):\n%s", diff)
	}
	usual.Hash = ""
	want, err := json.Marshal(usual)
	must(t, err)
	if text := string(lines[1][:bytes.LastIndex(lines[1], []byte(`,"hash"`))]) + "}"; text+"" != strings.Replace(string(want), `,"hash":""`, "", 1) {
		t.Errorf("line is not that of the type:\n%s\n%s", text, want)
	}
}

// What is kept otherwise than it came, for it is no text or too long, is found by what is kept, and verifies.
func TestS78_HostileIsFound(t *testing.T) {
	db := openIndex(t, t.TempDir())
	l := openLog(t, audit.Options{Index: db}, all)
	for i, hostile := range []string{"\xff\xfe", "x\n\xff", strings.Repeat("y", 1<<12), strings.Repeat("\x1b", 300), strings.Repeat("é", 600)} {
		must(t, l.Audit(t.Context(), pulled(i, hostile, hostile, true)))
	}
	must(t, l.Close())
	r := audit.NewReader(db)
	if v, err := r.Verify(t.Context(), ""); err != nil || v.Entries != 5 {
		t.Fatalf("Verify = %d entries, %v; want 5", v.Entries, err)
	}
	for e, err := range r.Find(t.Context(), audit.Question{}) {
		must(t, err)
		n := 0
		for same, err := range r.Find(t.Context(), audit.Question{Account: e.Account, Name: e.Name}) {
			if must(t, err); same.Number == e.Number {
				n++
			}
		}
		if n != 1 {
			t.Errorf("entry %d is found %d times by what it says", e.Number, n)
		}
	}
}

// However hostile what is in an entry is, its line is not longer than what the end of a file is found by.
func TestS77_LinesAreBounded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	l := openLog(t, audit.Options{File: openFile(t, file, audit.Rotation{})}, all)
	escapes := strings.Repeat("\x1b\u202e\U000e0001\"", 1<<16)
	e := customhouse.AuditEntry{
		Time: day, Kind: escapes, Decision: escapes, Account: escapes, Method: escapes, Labels: map[string][]string{escapes: {escapes, escapes}, "a": {escapes}},
		Claims: map[string]any{"a": escapes[:1<<10]}, Client: escapes, Service: escapes, Type: escapes, Name: escapes, Tag: escapes, Digest: escapes,
		MediaType: escapes, ArtifactType: escapes, By: escapes, Rule: escapes, Reason: escapes, Detail: escapes,
	}
	for range 100 {
		e.Actions = append(e.Actions, customhouse.Action(escapes))
	}
	must(t, l.Audit(t.Context(), &e))
	must(t, l.Close())
	text, err := os.ReadFile(file)
	must(t, err)
	if len(text) > 48<<10 {
		t.Errorf("a line of %d bytes", len(text))
	}
	l = openLog(t, audit.Options{File: openFile(t, file, audit.Rotation{})}, all)
	must(t, l.Audit(t.Context(), pulled(1, "alice", "team/app", true)))
	must(t, l.Close())
	if v, err := audit.VerifyFiles("", file); err != nil || v.Entries != 2 {
		t.Errorf("VerifyFiles = %d entries, %v", v.Entries, err)
	}
}

// Lines that were written before entries said who decided are read, verified and gone on from.
func TestEarlierLines(t *testing.T) {
	const earlier = `{"number":1,"time":"2026-05-01T12:00:00Z","kind":"decision","decision":"decision00000000","allowed":true,"account":"alice","method":"users","labels":{"group":["dev","ops"]},"client":"192.0.2.7","service":"r.example","type":"repository","name":"team/app","actions":["pull"],"tag":"v1","rule":"c.yml:7","reason":"rule c.yml:7 allows pull","previous":"","hash":"964e137b5088ae19081d99e1268e81deb93c2cffcd3e81b03da7b9b79986986a"}
{"number":2,"time":"2026-05-01T12:00:01Z","kind":"decision","decision":"decision00000001","allowed":false,"account":"alice","method":"users","labels":{"group":["dev","ops"]},"client":"192.0.2.7","service":"r.example","type":"repository","name":"team/app","actions":["pull"],"tag":"v1","rule":"c.yml:7","reason":"rule c.yml:7 allows pull","previous":"964e137b5088ae19081d99e1268e81deb93c2cffcd3e81b03da7b9b79986986a","hash":"e2f1fef984e8ea6e68cb68ef7e7cf99c601e20a49102eb9df65dad69704b48bc"}
`
	file := filepath.Join(t.TempDir(), "audit.log")
	must(t, os.WriteFile(file, []byte(earlier), 0o600))
	l := openLog(t, audit.Options{File: openFile(t, file, audit.Rotation{})}, all)
	must(t, l.Audit(t.Context(), pulled(3, "alice", "team/app", true)))
	must(t, l.Close())
	v, err := audit.VerifyFiles("", file)
	must(t, err)
	if v.Entries != 3 || v.First.By != "" || v.Last.By != customhouse.ByRules || v.Last.Number != 3 {
		t.Errorf("VerifyFiles = %+v", v)
	}
}

// What is changed, removed or put in is found, and the first place of it told.
func TestS78_Verify(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	l := openLog(t, audit.Options{File: openFile(t, file, audit.Rotation{})}, all)
	for i := range 20 {
		must(t, l.Audit(t.Context(), pulled(i, "alice", "team/app", i != 7)))
	}
	must(t, l.Close())
	text, err := os.ReadFile(file)
	must(t, err)
	lines := strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n")
	lines[len(lines)-1] += "\n"
	v, err := audit.VerifyFiles("", file)
	must(t, err)
	if v.Entries != 20 || v.First.Number != 1 || v.Last.Number != 20 {
		t.Errorf("VerifyFiles = %+v", v)
	}
	reseal := func(line string) string { // as somebody does who knows how hashes are made
		var e customhouse.AuditEntry
		must(t, json.Unmarshal([]byte(line), &e))
		e.Account = "mallory"
		forged := filepath.Join(t.TempDir(), "forged")
		l := openLog(t, audit.Options{File: openFile(t, forged, audit.Rotation{})}, all)
		must(t, l.Audit(t.Context(), &e))
		must(t, l.Close())
		text, err := os.ReadFile(forged)
		must(t, err)
		return string(text)
	}
	for name, c := range map[string]struct {
		tamper func(lines []string) []string
		want   string
	}{
		"changed": {func(l []string) []string {
			l[7] = strings.Replace(l[7], `"allowed":false`, `"allowed":true`, 1)
			return l
		}, "line 8: it was changed"},
		"removed":        {func(l []string) []string { return append(l[:7:7], l[8:]...) }, "line 8: 1 entries between 7 and 9 were removed"},
		"put in twice":   {func(l []string) []string { return append(l[:8:8], l[7:]...) }, "line 9: entry 8 stands behind entry 8"},
		"not an entry":   {func(l []string) []string { l[3] = "{}\n"; return l }, "line 4: it does not end with its hash"},
		"no JSON":        {func(l []string) []string { l[3] = "nothing\n"; return l }, "line 4: it is no entry"},
		"swapped":        {func(l []string) []string { l[4], l[5] = l[5], l[4]; return l }, "line 5: 1 entries between 4 and 6 were removed"},
		"another's seal": {func(l []string) []string { l[0] = reseal(l[0]); return l }, "line 2: entry 2 does not follow entry 1"},
	} {
		tampered := filepath.Join(t.TempDir(), "audit.log")
		must(t, os.WriteFile(tampered, []byte(strings.Join(c.tamper(append([]string(nil), lines...)), "")), 0o600))
		_, err := audit.VerifyFiles("", tampered)
		var broken *audit.Break
		if !errors.As(err, &broken) || !strings.HasPrefix(err.Error(), tampered+": "+c.want) {
			t.Errorf("%s: VerifyFiles = %v, want %s", name, err, c.want)
		}
	}
}

// The chain goes on over restarts, over what is forgotten, and over what comes from other processes; a file that missed
// something is given it.
func TestGoesOn(t *testing.T) {
	dir := t.TempDir()
	db := openIndex(t, dir)
	file := filepath.Join(dir, "audit.log")
	for round := range 3 {
		l := openLog(t, audit.Options{Index: db, File: openFile(t, file, audit.Rotation{})}, all)
		for i := range 1500 {
			must(t, l.Audit(t.Context(), pulled(round*1500+i, "alice", "team/app", true)))
		}
		must(t, db.PutAccount(t.Context(), customhouse.Account{Name: fmt.Sprint("new", round)}))
		must(t, l.Close())
		if round == 1 { // as if the process had ended between the index and the file
			text, err := os.ReadFile(file)
			must(t, err)
			must(t, os.WriteFile(file, text[:len(text)-5000], 0o600))
		}
	}
	r := audit.NewReader(db)
	const n = 3*1500 + 3 + 1 // the line that was cut is told of
	if v, err := r.Verify(t.Context(), ""); err != nil || v.Entries != n {
		t.Errorf("Verify = %d entries, %v", v.Entries, err)
	}
	if v, err := audit.VerifyFiles("", file); err != nil || v.Entries != n {
		t.Errorf("VerifyFiles = %d entries, %v", v.Entries, err)
	}
	if got := found(t, r, audit.Question{Kind: customhouse.AuditAccount, Account: "new1"}); len(got) != 1 {
		t.Errorf("the account of another process: %v", got)
	}
	forgotten, err := db.ForgetAudit(t.Context(), time.Unix(0, 0), n-1000, 100)
	must(t, err)
	v, err := r.Verify(t.Context(), "")
	if err != nil || forgotten == 0 || v.First.Number < 2000 || v.Last.Number != n {
		t.Errorf("after %d pages were forgotten: %d to %d, %v", forgotten, v.First.Number, v.Last.Number, err)
	}
}

// A file that goes further than the index is gone on with, so that it stays whole, and what the index lacks is told: be it that
// nothing was kept there, or that its end was cut off.
func TestFileGoesFurther(t *testing.T) {
	dir := t.TempDir()
	db := openIndex(t, dir)
	file := filepath.Join(dir, "audit.log")
	write := func(db *index.DB, n int) {
		t.Helper()
		l := openLog(t, audit.Options{Index: db, File: openFile(t, file, audit.Rotation{})}, all)
		for i := range n {
			must(t, l.Audit(t.Context(), pulled(i, "alice", "team/app", true)))
		}
		must(t, l.Close())
	}
	write(nil, 10)
	write(db, 5) // and one that tells of it
	r := audit.NewReader(db)
	v, err := r.Verify(t.Context(), "")
	if err != nil || v.First.Number != 11 || v.Last.Number != 16 || v.First.Detail != "entries 1 to 10 are in the file alone" {
		t.Errorf("Verify = %+v, %v", v, err)
	}
	tamper(t, dir, "delete from audit_page")
	write(db, 3)
	want := []string{"17  ", "18 alice team/app", "19 alice team/app", "20 alice team/app"}
	if diff := cmp.Diff(want, found(t, r, audit.Question{})); diff != "" {
		t.Errorf("after the end was cut off (-want +got):\n%s", diff)
	}
	if _, err := r.Verify(t.Context(), ""); err == nil || !strings.HasPrefix(err.Error(), "entry 17: 6 entries between 10 and 17 were removed") {
		t.Errorf("Verify = %v", err)
	}
	if v, err := audit.VerifyFiles("", file); err != nil || v.Entries != 20 {
		t.Errorf("VerifyFiles = %d entries, %v", v.Entries, err)
	}
}

// A file that is large is set aside, and no more are kept than are wished.
func TestRotation(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "audit.log")
	f := openFile(t, file, audit.Rotation{Size: 4 << 10, Files: 2})
	for i := range 5 {
		l := openLog(t, audit.Options{File: f}, all)
		for j := range 6 {
			must(t, l.Audit(t.Context(), pulled(i*6+j, "alice", "team/app", true)))
		}
		must(t, l.Close())
		f = openFile(t, file, audit.Rotation{Size: 4 << 10, Files: 2})
	}
	must(t, f.Close())
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) != 3 {
		t.Errorf("%d files, want 3", len(entries))
	}
	var text []byte
	for _, name := range []string{file + ".2", file + ".1", file} {
		part, err := os.ReadFile(name)
		must(t, err)
		text = append(text, part...)
	}
	whole := filepath.Join(dir, "whole")
	must(t, os.WriteFile(whole, text, 0o600))
	for what, files := range map[string][]string{"one file": {whole}, "each": {file + ".2", file + ".1", file}} {
		if v, err := audit.VerifyFiles("", files...); err != nil || v.Last.Number != 30 {
			t.Errorf("VerifyFiles of %s = %d, %v", what, v.Last.Number, err)
		}
	}
	if _, err := audit.VerifyFiles("", file+".2", file); err == nil || !strings.HasPrefix(err.Error(), file+": line 1: ") {
		t.Errorf("VerifyFiles without one of them = %v", err)
	}
	v, err := audit.VerifyFiles("", file)
	must(t, err)
	if _, err := audit.VerifyFiles(v.Last.Hash, file+".2", file+".1"); err == nil || !strings.HasPrefix(err.Error(), "no entry up to ") {
		t.Errorf("VerifyFiles with the end cut off = %v", err)
	}
	if _, err := audit.VerifyFiles(v.First.Hash, file); err != nil {
		t.Errorf("VerifyFiles with what was noted = %v", err)
	}
}

// While nothing can be written, requests go on and what matters is kept, unless nothing may be done that is not.
func TestDiskFails(t *testing.T) {
	full := func() *audit.File { return openFile(t, "/dev/full", audit.Rotation{}) }
	l := openLog(t, audit.Options{File: full()}, all)
	for i := range 100_000 {
		must(t, l.Audit(t.Context(), pulled(i, "alice", "team/app", i%10 != 0)))
	}
	if l.Failing() == nil || l.Counts().Lost.Load() == 0 || l.Counts().Lost.Load() > 90_000 {
		t.Errorf("Failing = %v, %d lost", l.Failing(), l.Counts().Lost.Load())
	}
	if err := l.Close(); err == nil {
		t.Error("Close tells nothing of what is lost")
	}
	l = openLog(t, audit.Options{File: full()}, audit.Settings{Allow: 1, Required: true})
	if err := l.Audit(t.Context(), pulled(1, "alice", "team/app", true)); err == nil {
		t.Error("what is required is lost without an error")
	}
	l.Close()
}

// With Required an entry is on disk when Audit has returned.
func TestRequired(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	l := openLog(t, audit.Options{File: openFile(t, file, audit.Rotation{})}, audit.Settings{Allow: 1, Required: true})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				must(t, l.Audit(t.Context(), pulled(i*20+j, "alice", "team/app", true)))
			}
		})
	}
	wg.Wait()
	if v, err := audit.VerifyFiles("", file); err != nil || v.Entries != 160 {
		t.Errorf("VerifyFiles = %d entries, %v", v.Entries, err)
	}
	must(t, l.Close())
}

func TestSample(t *testing.T) {
	for share, check := range map[float64]func(int64) bool{
		0: func(n int64) bool { return n == 100 }, 0.1: func(n int64) bool { return n > 150 && n < 500 },
	} {
		file := filepath.Join(t.TempDir(), "audit.log")
		l := openLog(t, audit.Options{File: openFile(t, file, audit.Rotation{})}, audit.Settings{Allow: share})
		for i := range 2000 {
			must(t, l.Audit(t.Context(), pulled(i, "alice", "team/app", i%20 != 0)))
		}
		must(t, l.Close())
		if v, err := audit.VerifyFiles("", file); err != nil || !check(v.Entries) {
			t.Errorf("with a share of %v: %d entries, %v", share, v.Entries, err)
		}
	}
}

func BenchmarkAudit(b *testing.B) {
	dir := b.TempDir()
	for name, o := range map[string]audit.Options{
		"index":          {Index: openIndex(b, dir)},
		"file":           {File: openFile(b, filepath.Join(dir, "a.log"), audit.Rotation{})},
		"index and file": {Index: openIndex(b, b.TempDir()), File: openFile(b, filepath.Join(dir, "b.log"), audit.Rotation{})},
	} {
		b.Run(name, func(b *testing.B) {
			l := openLog(b, audit.Options{Index: o.Index, File: o.File}, all)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				must(b, l.Audit(b.Context(), pulled(i, "alice", "team/app", true)))
			}
			for l.Waiting() > 0 {
				time.Sleep(time.Millisecond)
			}
		})
	}
}
