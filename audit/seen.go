package audit

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"

	"customhouse"
	"customhouse/index"
)

// maxSeen is how many are remembered as seen, an account once for every method of login: the latest. A provider may invent others
// with every login.
const maxSeen = 100_000

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
		seen = append(seen, index.AuditSeen{Identity: identityOf(e), Number: e.Number, Time: e.Time})
	}
	slices.SortFunc(seen, func(a, b index.AuditSeen) int { return cmp.Compare(a.Number, b.Number) })
	return seen
}

// identityOf is whom e is by, with no more than the line of e has: what a provider says of its accounts knows no bound.
func identityOf(e *customhouse.AuditEntry) customhouse.Identity {
	id := customhouse.Identity{Account: kept(e.Account), Method: kept(e.Method)}
	if facts := appendFacts(nil, e); len(facts) > 0 {
		facts[0] = '{'
		_ = json.Unmarshal(append(facts, '}'), &id) // which is JSON
	}
	return id
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
