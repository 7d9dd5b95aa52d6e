package server_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3/driver"

	"customhouse"
	"customhouse/audit"
)

// decisions are the entries of decisions up to now.
func (h *house) decisions(t *testing.T) (all []customhouse.AuditEntry) {
	t.Helper()
	must(t, h.audit.Sync())
	for e, err := range h.audit.Reader().Find(context.Background(), audit.Question{Kind: customhouse.AuditDecision}) {
		must(t, err)
		all = append(all, e)
	}
	return all
}

// A thousand requests of all kinds, by everybody, are a thousand entries, each with who, from where, what and why.
func TestS78_AuditIsComplete(t *testing.T) {
	h := open(t, setup{})
	image := h.as("admin").pushImage("a/app", "latest", "audited")
	token := h.token("alice", "repository:a/app:pull")
	before := len(h.decisions(t))
	people := map[string]person{
		"": h.as(""), "alice": h.as("alice"), "bob": h.as("bob"), "admin": h.as("admin"), "alice by token": h.with(token), "forged": h.with("forged"),
	}
	random := rand.New(rand.NewPCG(1, 2))
	const n = 1000
	for range n {
		var names = []string{"", "alice", "bob", "admin", "alice by token", "forged"}
		who := people[names[random.IntN(len(names))]]
		switch random.IntN(7) {
		case 0:
			who.get("/v2/a/app/manifests/latest")
		case 1:
			who.head("/v2/a/app/manifests/" + image.manifestDg)
		case 2:
			who.get("/v2/a/app/blobs/" + image.layerD)
		case 3:
			who.get("/v2/a/app/tags/list")
		case 4:
			who.putManifest("a/app", "latest", image.manifest)
		case 5:
			who.do("DELETE", "/v2/a/app/manifests/none", nil)
		case 6:
			who.do("POST", "/v2/a/app/blobs/uploads/", nil)
		}
	}
	all := h.decisions(t)[before:]
	if len(all) != n {
		t.Fatalf("%d entries of %d requests", len(all), n)
	}
	denied := 0
	for _, e := range all {
		if e.Decision == "" || e.Client != "127.0.0.1" || e.Name != "a/app" || len(e.Actions) == 0 || e.Reason == "" || e.Service != service || e.Time.IsZero() {
			t.Fatalf("an entry lacks something: %+v", e)
		}
		if e.Allowed && e.Account == "" {
			t.Errorf("somebody without a name was let through: %+v", e)
		}
		if e.Allowed && e.Tag == "latest" && e.Actions[0] == customhouse.Pull && e.Digest != image.manifestDg {
			t.Errorf("a pull by tag does not tell what was pulled: %+v", e)
		}
		if !e.Allowed {
			denied++
		}
	}
	if denied == 0 || denied == n {
		t.Errorf("%d of %d are denied", denied, n)
	}
}

// auditPage is what GET /api/audit answers.
type auditPage struct {
	Entries []customhouse.AuditEntry
	Next    string
	Damaged []struct{ First, Last int64 }
}

func TestAPIAudit(t *testing.T) {
	h := open(t, setup{})
	h.as("admin").pushImage("a/app", "latest", "audited")
	for i := range 25 {
		h.as("alice").get(fmt.Sprint("/v2/a/app/manifests/none", i)).want(http.StatusNotFound, "")
	}
	refused := h.as("bob").get("/v2/a/app/manifests/latest").want(http.StatusForbidden, "DENIED")
	must(t, h.audit.Sync())

	h.as("").get("/api/audit").want(http.StatusUnauthorized, "UNAUTHORIZED")
	h.as("alice").get("/api/audit").want(http.StatusForbidden, "DENIED")
	h.as("alice").get("/api/audit?account=alice").want(http.StatusForbidden, "DENIED")
	h.with(h.token("admin", "repository:a/app:pull")).get("/api/audit").want(http.StatusUnauthorized, "UNAUTHORIZED")
	h.with(h.token("admin", "registry:audit:admin")).get("/api/audit?n=1").want(http.StatusOK, "")

	admin := h.as("admin")
	var page auditPage
	admin.get("/api/audit?decision="+refused.header.Get("X-Request-Id")).want(http.StatusOK, "").into(&page)
	if len(page.Entries) != 1 || page.Entries[0].Account != "bob" || page.Entries[0].Allowed {
		t.Errorf("a decision by the id that the client saw: %+v", page)
	}
	seen := map[int64]bool{}
	path := "/api/audit?account=alice&repo=a/app&kind=decision&n=10"
	for next := path; next != ""; {
		page = auditPage{}
		admin.get(next).want(http.StatusOK, "").into(&page)
		for _, e := range page.Entries {
			if seen[e.Number] || e.Account != "alice" {
				t.Errorf("entry %+v", e)
			}
			seen[e.Number] = true
		}
		if next = ""; page.Next != "" {
			next = path + "&before=" + page.Next
		}
	}
	if len(seen) != 25 {
		t.Errorf("%d entries on all pages, want 25", len(seen))
	}
	for _, bad := range []string{
		"n=0", "n=1001", "n=x", "before=0", "before=-1", "before=x", "since=yesterday", "denied=maybe", "password=~a", "sort=;--", "account=a&account=b", "repo=a&name=b",
	} {
		admin.get("/api/audit?"+bad).want(http.StatusBadRequest, "")
	}
	page = auditPage{}
	admin.get("/api/audit?account='%20or%201=1--").want(http.StatusOK, "").into(&page)
	if len(page.Entries) != 0 {
		t.Errorf("S84: %+v", page)
	}
}

// A page of the log that cannot be read is named, and what else was asked for is answered.
func TestAPIAuditDamaged(t *testing.T) {
	h := open(t, setup{fails: true})
	for i := range 1500 {
		must(t, h.audit.Audit(t.Context(), &customhouse.AuditEntry{Time: time.Now(), Kind: customhouse.AuditAccount, Name: fmt.Sprint("name", i), Account: "alice"}))
	}
	must(t, h.audit.Sync())
	db, err := driver.Open("file:" + filepath.ToSlash(filepath.Join(h.dir, "index.db")))
	must(t, err)
	_, err = db.Exec("update audit_page set lines = x'00' where first = 1")
	must(t, errors.Join(err, db.Close()))
	var page auditPage
	h.as("admin").get("/api/audit?n=1000&account=alice").want(http.StatusOK, "").into(&page)
	if len(page.Damaged) != 1 || page.Damaged[0].First != 1 || page.Damaged[0].Last != 1000 || len(page.Entries) < 400 {
		t.Errorf("%d entries, damaged %v", len(page.Entries), page.Damaged)
	}
}
