package audit_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/audit"
)

// Who has an entry is seen as the last one has them, by each method of login, as long as that is kept. A name that somebody
// tried to log in by is nobody, and so is whose account was changed.
func TestSeen(t *testing.T) {
	db := openIndex(t, t.TempDir())
	l := openLog(t, audit.Options{Index: db}, all)
	seen := func(after string, n int) (all []string) {
		t.Helper()
		must(t, l.Sync())
		people, err := l.Reader().Seen(t.Context(), after, n)
		must(t, err)
		for _, p := range people {
			all = append(all, fmt.Sprintf("%d %v %s %s %v %v", p.Number, p.Time.Sub(day), p.Identity.Account, p.Identity.Method, p.Identity.Labels, p.Identity.Claims))
		}
		return all
	}
	enter := func(i int, account, method, group string, allowed bool) {
		e := pulled(i, account, "", allowed)
		e.Kind, e.Method, e.Labels = customhouse.AuditLogin, method, map[string][]string{"group": {group}}
		must(t, l.Audit(t.Context(), e))
	}
	enter(1, "bob", "exec", "ops", true)
	enter(2, "alice", "exec", "dev", true)
	enter(3, "alice", "exec", "old", false)
	enter(4, "mallory", "password", "", false)
	e := pulled(5, "alice", "team/app", false) // which is denied to her, but is by her
	e.Method, e.Claims = "workload", map[string]any{"ref": "main"}
	must(t, l.Audit(t.Context(), e))
	must(t, l.Audit(t.Context(), &customhouse.AuditEntry{Time: day, Kind: customhouse.AuditAccount, Account: "root", Name: "carol", Allowed: true}))
	enter(6, "bob", "exec", "dev", true)
	want := []string{
		"5 5s alice workload map[group:[dev ops]] map[ref:main]",
		"2 2s alice exec map[group:[dev]] map[]",
		"7 6s bob exec map[group:[dev]] map[]",
	}
	if diff := cmp.Diff(want, seen("", 10)); diff != "" {
		t.Errorf("seen (-want +got):\n%s", diff)
	}
	if one, rest := seen("", 1), seen("alice", 10); len(one) != 2 || len(rest) != 1 {
		t.Errorf("pages of one: %q, %q", one, rest)
	}
	for i := range 3000 {
		must(t, l.Audit(t.Context(), pulled(7+i, "bob", "team/app", true)))
	}
	must(t, l.Sync())
	if _, err := db.ForgetAudit(t.Context(), time.Unix(0, 0), 1500, 100); err != nil {
		t.Fatal(err)
	}
	if got := seen("", 10); len(got) != 1 || got[0] != "3007 50m6s bob users map[group:[dev ops]] map[]" {
		t.Errorf("after what was kept of the others was forgotten: %q", got)
	}
	must(t, l.Close())
}
