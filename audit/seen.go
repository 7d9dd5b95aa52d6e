package audit

import (
	"cmp"
	"context"
	"slices"

	"customhouse"
	"customhouse/index"
)

// Seen returns who was seen of up to n accounts after one, in their order: each once for every method of login, the latest
// first, as the last entry has it.
func (r *Reader) Seen(ctx context.Context, after string, n int) ([]index.AuditSeen, error) {
	return r.index.AuditSeen(ctx, after, n)
}

// SeenAs returns as whom an account was seen: once for every method of login, the latest first.
func (r *Reader) SeenAs(ctx context.Context, account string) ([]index.AuditSeen, error) {
	return r.index.AuditSeenOf(ctx, account)
}

// seenIn returns who is seen in entries.
func seenIn(entries []*customhouse.AuditEntry) []index.AuditSeen {
	type key struct{ account, method string }
	last := map[key]*customhouse.AuditEntry{}
	for _, e := range entries {
		if proven(e) {
			last[key{e.Account, e.Method}] = e
		}
	}
	seen := make([]index.AuditSeen, 0, len(last))
	for _, e := range last {
		seen = append(seen, index.AuditSeen{
			Identity: customhouse.Identity{Account: e.Account, Method: e.Method, Labels: e.Labels, Claims: e.Claims},
			Number:   e.Number, Time: e.Time,
		})
	}
	slices.SortFunc(seen, func(a, b index.AuditSeen) int { return cmp.Compare(a.Number, b.Number) })
	return seen
}

// proven tells whether an entry is by somebody of whom it is sure who they are: not a name that somebody tried to log in by.
func proven(e *customhouse.AuditEntry) bool {
	switch e.Kind {
	case customhouse.AuditDecision, customhouse.AuditToken:
		return e.Account != ""
	case customhouse.AuditLogin:
		return e.Account != "" && e.Allowed
	}
	return false
}
