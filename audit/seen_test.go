package audit_test

import (
	"encoding/json"
	"fmt"
	"strings"
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

// What is remembered of who was seen is bounded, whatever a provider says of its accounts, and what is more than that is told.
func TestS77_SeenIsBounded(t *testing.T) {
	db := openIndex(t, t.TempDir())
	l := openLog(t, audit.Options{Index: db}, all)
	much := strings.Repeat("x", 1<<20)
	var many []string
	for i := range 10_000 {
		many = append(many, fmt.Sprint("group", i))
	}
	for i, c := range []struct {
		labels map[string][]string
		claims map[string]any
	}{
		{map[string][]string{"group": many}, nil},
		{map[string][]string{"group": {much}, much: nil}, map[string]any{"ref": much}},
		{map[string][]string{"group": {"dev"}}, map[string]any{"ref": "main"}},
	} {
		e := pulled(i, fmt.Sprint("account", i), "team/app", true)
		e.Labels, e.Claims = c.labels, c.claims
		must(t, l.Audit(t.Context(), e))
	}
	must(t, l.Close())
	people, err := l.Reader().Seen(t.Context(), "", 10)
	must(t, err)
	for i, p := range people {
		labels, err := json.Marshal(p.Identity.Labels)
		must(t, err)
		claims, err := json.Marshal(p.Identity.Claims)
		must(t, err)
		_, more := p.Identity.Labels[customhouse.AuditMore]
		_, moreClaims := p.Identity.Claims[customhouse.AuditMore]
		if len(labels)+len(claims) > 16<<10 || more != (i == 0) || moreClaims != (i == 1) {
			t.Errorf("%s has %d bytes of labels and %d of claims", p.Identity.Account, len(labels), len(claims))
		}
	}
	if len(people) != 3 || people[2].Identity.Labels["group"][0] != "dev" || people[2].Identity.Claims["ref"] != "main" {
		t.Errorf("seen are %d", len(people))
	}
	must(t, db.ForgetSeen(t.Context(), 2))
	if people, err = l.Reader().Seen(t.Context(), "", 10); err != nil || len(people) != 2 || people[0].Identity.Account != "account1" {
		t.Errorf("the latest two are %d, %v", len(people), err)
	}
}
