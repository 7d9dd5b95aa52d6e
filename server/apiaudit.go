package server

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"customhouse"
	"customhouse/audit"
)

// How many entries a page of the audit log has.
const (
	usualAudit = 100
	mostAudit  = 1000
)

// auditParams are what entries are looked for by.
var auditParams = []string{"account", "repo", "name", "tag", "digest", "action", "client", "kind", "decision", "denied", "since", "until", "before", "n"}

// auditPage is the answer of GET /api/audit.
type auditPage struct {
	Entries []customhouse.AuditEntry `json:"entries"`           // the latest first
	Next    string                   `json:"next,omitempty"`    // where the list goes on, as the parameter before
	Damaged []damagedEntries         `json:"damaged,omitempty"` // what may have been asked for and cannot be read
}

// damagedEntries are left out of an answer, for they cannot be read.
type damagedEntries struct {
	First int64 `json:"first"`
	Last  int64 `json:"last"`
}

func auditLog(st *state, w *response, r *http.Request, q apiAdmitted) error {
	if st.Audit == nil {
		return customhouse.Errorf(customhouse.NotFound, "this registry keeps no audit log that can be asked")
	}
	question, n, err := q.auditQuestion(time.Now())
	if err != nil {
		return err
	}
	page := auditPage{Entries: []customhouse.AuditEntry{}}
	for e, err := range st.Audit.Find(r.Context(), question) {
		var damage *audit.Damage
		if errors.As(err, &damage) {
			page.Damaged = append(page.Damaged, damagedEntries{damage.First, damage.Last})
			continue
		}
		if err != nil {
			return err
		}
		if len(page.Entries) == n {
			page.Next = strconv.FormatInt(page.Entries[n-1].Number, 10)
			break
		}
		page.Entries = append(page.Entries, e)
	}
	if page.Next == "0" { // entries that have no number yet fill the page
		page.Next = ""
	}
	return writeAPI(w, http.StatusOK, page)
}

// auditQuestion reads what is asked for.
func (q *apiRequest) auditQuestion(now time.Time) (a audit.Question, n int, err error) {
	bad := func(key, want string) (audit.Question, int, error) {
		return a, 0, customhouse.Errorf(customhouse.BadRequest, "parameter %s: %s", key, want)
	}
	get := q.query.Get
	a = audit.Question{
		Account: get("account"), Kind: get("kind"), Name: get("repo"), Tag: get("tag"), Digest: get("digest"),
		Action: customhouse.Action(get("action")), Client: get("client"), Decision: get("decision"), Down: true,
	}
	if name := get("name"); name != "" {
		if a.Name != "" {
			return bad("name", "is the same as repo; use one of them")
		}
		a.Name = name
	}
	switch get("denied") {
	case "", "false":
	case "true":
		a.Denied = true
	default:
		return bad("denied", "want true or false")
	}
	for _, t := range [...]struct {
		key  string
		into *time.Time
	}{{"since", &a.Since}, {"until", &a.Until}} {
		if get(t.key) == "" {
			continue
		}
		if *t.into, err = audit.ParseTime(get(t.key), now); err != nil {
			return bad(t.key, err.Error())
		}
	}
	if before := get("before"); before != "" {
		if a.Before, err = strconv.ParseInt(before, 10, 64); err != nil || a.Before < 1 {
			return bad("before", "want the number of an entry")
		}
	}
	if field, want := a.Check(); field != "" {
		return bad(field, want)
	}
	n = usualAudit
	if text := get("n"); text != "" {
		if n, err = strconv.Atoi(text); err != nil || n < 1 || n > mostAudit {
			return bad("n", "want a number from 1 to "+strconv.Itoa(mostAudit))
		}
	}
	return a, n, nil
}
