package audit_test

import (
	"fmt"
	"testing"
	"time"

	"customhouse"
	"customhouse/audit"
)

// refused is the entry of a request of a stranger, who names what they like.
func refused(i int, client string) *customhouse.AuditEntry {
	e := &customhouse.AuditEntry{
		Time: day.Add(time.Duration(i) * time.Millisecond), Kind: customhouse.AuditDecision, Decision: fmt.Sprintf("decision%08d", i),
		Client: client, Type: "repository", Name: fmt.Sprintf("made/up%d", i), Actions: []customhouse.Action{"pull"},
		By: customhouse.ByRules, Reason: "no rule matches", Stranger: true,
	}
	switch i % 3 {
	case 1:
		e.Kind, e.Account, e.Method, e.By, e.Reason, e.Name = customhouse.AuditLogin, fmt.Sprintf("guess%d", i), "password", "", fmt.Sprintf("for another %ds", i), ""
	case 2:
		e.Kind, e.Allowed = customhouse.AuditToken, true
	}
	return e
}

// Whoever has no account cannot push what insiders did out of the log, however often they ask, under whatever names and from
// however many networks.
func TestS78_StrangersDoNotEraseHistory(t *testing.T) {
	for name, client := range map[string]func(i int) string{
		"one network":     func(i int) string { return fmt.Sprintf("2001:db8::%x:%x", i>>16, i&0xffff) },
		"a few networks":  func(i int) string { return fmt.Sprintf("192.0.2.%d", i%50) },
		"a net of robots": func(i int) string { return fmt.Sprintf("2001:db8:%x:%x::1", i>>16, i&0xffff) },
		"no address":      func(int) string { return "" },
	} {
		t.Run(name, func(t *testing.T) {
			db, now := openIndex(t, t.TempDir()), day
			const kept, insiders, asked = 10_000, 100, 300_000
			l := openLog(t, audit.Options{Index: db, Now: func() time.Time { return now }}, audit.Settings{Allow: 1, Entries: kept, Age: 90 * 24 * time.Hour})
			for i := range insiders {
				must(t, l.Audit(t.Context(), pulled(i, "alice", "team/app", true)))
			}
			for i := range asked {
				must(t, l.Audit(t.Context(), refused(i, client(i))))
			}
			must(t, l.Close())
			r := audit.NewReader(db)
			v, err := r.Verify(t.Context(), "")
			must(t, err)
			if most := int64(insiders + 3*kept/20 + 3*10); v.Entries > most {
				t.Errorf("%d entries are kept of what strangers did, want %d at most", v.Entries-insiders, most)
			}
			if n := len(found(t, r, audit.Question{Account: "alice"})); n != insiders {
				t.Errorf("%d entries of insiders are left, want %d", n, insiders)
			}
			sum := int64(0)
			for e, err := range r.Find(t.Context(), audit.Question{}) {
				must(t, err)
				if e.Account != "alice" {
					sum += max(1, e.Count)
				}
				if e.Count > 0 && name == "one network" && e.Client != "2001:db8::/64" {
					t.Errorf("what was counted is of %q, want the network", e.Client)
				}
				if e.Count > 0 && (e.Name != "" || e.Account != "" || e.Decision != "" || e.Until.Before(e.Time)) {
					t.Errorf("what was counted = %+v", e)
				}
			}
			if sum != asked {
				t.Errorf("the entries account for %d of %d", sum, asked)
			}
		})
	}
}

// Strangers have their share again in the time that entries are kept; what was counted is told in an hour, and found by when
// it was last done.
func TestStrangersShare(t *testing.T) {
	db, now := openIndex(t, t.TempDir()), day
	const kept = 4000 // of which 200 are of strangers, 20 of one network
	l := openLog(t, audit.Options{Index: db, Now: func() time.Time { return now }}, audit.Settings{Allow: 1, Entries: kept, Age: 100 * time.Hour})
	ask := func(n int) (full, counted int64) {
		t.Helper()
		for i := range n {
			e := refused(3*i, "192.0.2.7")
			e.Time = now.Add(time.Duration(i))
			must(t, l.Audit(t.Context(), e))
		}
		must(t, l.Sync())
		now = now.Add(time.Hour)
		must(t, l.Sync())
		for e, err := range audit.NewReader(db).Find(t.Context(), audit.Question{Since: now.Add(-time.Hour)}) {
			must(t, err)
			if counted += e.Count; e.Count == 0 {
				full++
			}
		}
		return full, counted
	}
	for i, want := range [][2]int64{{20, 30}, {0, 50}, {0, 50}, {0, 50}, {0, 50}, {1, 49}} {
		if full, counted := ask(50); full != want[0] || counted != want[1] {
			t.Errorf("in hour %d %d are kept and %d counted, want %d", i, full, counted, want)
		}
	}
	now = now.Add(100 * time.Hour)
	if full, counted := ask(50); full != 20 || counted != 30 {
		t.Errorf("later %d are kept and %d counted, want all of the share", full, counted)
	}
	must(t, l.Close())

	// Where nothing may be done that is not on disk, nothing that is done is counted only.
	l = openLog(t, audit.Options{Index: db, Now: func() time.Time { return now }}, audit.Settings{Allow: 1, Required: true, Entries: 20, Age: time.Hour})
	for i := range 20 {
		must(t, l.Audit(t.Context(), refused(3*i+2, "192.0.2.8")))
	}
	must(t, l.Close())
	if n := len(found(t, audit.NewReader(db), audit.Question{Client: "192.0.2.8"})); n != 20 {
		t.Errorf("%d of 20 that were let through are kept", n)
	}
}

// A registry that begins anew does not hand out the shares anew, and a clock that was wrong for a while withholds them for no
// longer than entries are kept.
func TestS78_StrangersShareOutlivesRestarts(t *testing.T) {
	db, now := openIndex(t, t.TempDir()), day
	settings := audit.Settings{Allow: 1, Entries: 4000, Age: 100 * time.Hour}
	kept := func(restarts int) (n int64) {
		t.Helper()
		before, err := audit.NewReader(db).Last(t.Context())
		must(t, err)
		for i := range restarts {
			l := openLog(t, audit.Options{Index: db, Now: func() time.Time { return now }}, settings)
			for j := range 3000 {
				must(t, l.Audit(t.Context(), refused(3*j, fmt.Sprintf("198.51.%d.%d", i, j%100))))
			}
			must(t, l.Close())
		}
		for e, err := range audit.NewReader(db).Find(t.Context(), audit.Question{After: before}) {
			if must(t, err); e.Count == 0 {
				n++
			}
		}
		return n
	}
	if n := kept(20); n != 200 {
		t.Errorf("%d entries are kept over 20 restarts, want the share of 200", n)
	}
	now = day.AddDate(10, 0, 0) // as a clock may say that is set later
	if n := kept(1); n != 200 {
		t.Errorf("%d entries are kept ten years later, want 200", n)
	}
	now = day
	if n := kept(1); n != 0 {
		t.Errorf("%d entries are kept when the clock is right again, want none at first", n)
	}
	now = day.Add(101 * time.Hour)
	if n := kept(1); n != 200 {
		t.Errorf("%d entries are kept when the share is there again, want 200", n)
	}
}
