package gate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/authz"
	"customhouse/gate"
	"customhouse/policy"
)

// notebook is a gate.Auditor that keeps what it is told.
type notebook struct {
	entries []*customhouse.AuditEntry
	err     error
}

func (n *notebook) Audit(_ context.Context, e *customhouse.AuditEntry) error {
	if n.err == nil {
		n.entries = append(n.entries, e)
	}
	return n.err
}

// take returns what has been kept since, in short.
func (n *notebook) take() (lines []string) {
	for _, e := range n.entries {
		verdict := "deny"
		if e.Allowed {
			verdict = "allow"
		}
		line := []string{e.Kind, verdict, e.Account, e.Method, e.Client}
		if e.Name != "" {
			line = append(line, fmt.Sprintf("%s:%s:%s", e.Type, e.Name, e.Actions))
		}
		if e.By != "" {
			line = append(line, "by", e.By)
		}
		lines = append(lines, strings.Join(append(line, e.Rule), " "))
	}
	n.entries = nil
	return lines
}

// Who is let through and who is not, who logs in and who fails to, and who gets a token: all of it is accounted for.
func TestS78_EveryDecisionIsAccountedFor(t *testing.T) {
	book := &notebook{}
	h := newHouse(t, func(o *gate.Options) { o.Audit, o.Limits = book, gate.Limits{PerAccount: 2} })
	want := func(what string, lines ...string) {
		t.Helper()
		if diff := cmp.Diff(lines, book.take()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	admit := func(cred customhouse.Credential, needs ...gate.Need) {
		t.Helper()
		if grant, err := h.Admit(t.Context(), cred, needs...); err == nil {
			grant.Pending.Settle(t.Context(), "", "", 200, nil)
		}
	}
	admit(own("alice"), repo("team/a", "pull"))
	want("a password that was not known", "login allow alice accounts 192.0.2.7 ", "decision allow alice accounts 192.0.2.7 repository:team/a:[pull] by rules c.yml:4")
	admit(own("alice"), repo("team/a", "delete"))
	want("one that is remembered", "decision deny alice accounts 192.0.2.7 repository:team/a:[delete] by rules c.yml:4")
	admit(nobody, repo("team/a", "pull"))
	want("a stranger", "decision deny   192.0.2.7 repository:team/a:[pull] by rules ")
	admit(basic("alice", "guess-Canary-1"), repo("team/a", "pull"))
	want("a wrong password", "login deny alice password 192.0.2.7 ", "decision deny   192.0.2.7 repository:team/a:[pull] by account ")
	admit(bearer(gate.Token{Token: "eyJ-Canary-2"}), repo("team/a", "pull"))
	want("a forged token", "decision deny   192.0.2.7 repository:team/a:[pull] by account ")

	text := h.issue(own("bob"), "repository:bob/a:pull")
	entry := book.entries[1]
	want("a token", "login allow bob accounts 192.0.2.7 ", "token allow bob accounts 192.0.2.7 repository:bob/a:[pull] ")
	if !strings.HasPrefix(entry.Detail, "token ") || !strings.HasSuffix(entry.Detail, " for repository:bob/a:pull") || entry.Service != service {
		t.Errorf("token entry = %+v", entry)
	}
	admit(bearer(text), repo("bob/a", "pull"), repo("public/b", "pull"))
	if e := book.entries[0]; e.Detail != "with repository:public/b:pull" || e.Decision == "" || e.Time.IsZero() {
		t.Errorf("entry of two needs = %+v", e)
	}
	book.take()
	grant, err := h.Admit(t.Context(), own("alice"), repo("team/a", "pull"))
	must(t, err)
	grant.Pending.Settle(t.Context(), "sha256:abc", "text/plain", 404, nil)
	if e := book.entries[0]; !e.Allowed || e.Digest != "sha256:abc" || e.MediaType != "text/plain" || e.Detail != "answered 404" {
		t.Errorf("entry of what was answered = %+v", e)
	}
	book.take()
	grant, err = h.Admit(t.Context(), own("alice"), repo("team/a", "pull"))
	must(t, err)
	grant.Pending.Settle(t.Context(), "", "", 403, &gate.Refusal{Ground: gate.Ground{By: customhouse.ByRules, Rule: "c.yml:9", Reason: "no"}, Err: customhouse.Errorf(customhouse.Denied, "no")})
	want("what was refused after all", "decision deny alice accounts 192.0.2.7 repository:team/a:[pull] by rules c.yml:9")
	admit(own("alice"), repo("team/a", "pull"))
	all, err := json.Marshal(book.entries)
	must(t, err)
	if strings.Contains(string(all), "Canary") || strings.Contains(string(all), string(text.Token)) || strings.Contains(string(all), "-secret") {
		t.Errorf("S76: an entry has a secret: %s", all)
	}
}

// An entry says who decided: not every decision is up to the rules.
func TestWhoDecided(t *testing.T) {
	book := &notebook{}
	h := newHouse(t, func(o *gate.Options) { o.Audit, o.Rates = book, gate.Rates{PerAccount: 1, Burst: 4} })
	last := func() string { return book.entries[len(book.entries)-1].By }
	token := bearer(h.issue(own("bob"), "repository:bob/a:pull"))
	for _, tt := range []struct {
		what string
		cred customhouse.Credential
		need []gate.Need
		want string
	}{
		{"nothing is needed", token, nil, customhouse.ByAccount},
		{"a token for less", token, []gate.Need{repo("bob/a", "push")}, customhouse.ByToken},
		{"a rule", own("alice"), []gate.Need{repo("team/a", "delete")}, customhouse.ByRules},
		{"no rule", own("alice"), []gate.Need{repo("nobodys/a", "delete")}, customhouse.ByRules},
		{"no such token", bearer(gate.Token{Token: "eyJ"}), []gate.Need{repo("bob/a", "pull")}, customhouse.ByAccount},
		{"too many", token, nil, customhouse.ByAccount},
		{"too many", token, nil, customhouse.ByLimit},
	} {
		if grant, err := h.Admit(t.Context(), tt.cred, tt.need...); err == nil && grant.Pending != nil {
			grant.Pending.Settle(t.Context(), "", "", 200, nil)
		}
		if last() != tt.want {
			t.Errorf("%s: decided by %q, want %q", tt.what, last(), tt.want)
		}
	}
	h = newHouse(t, func(o *gate.Options) { o.Audit, o.Off = book, true })
	_, err := h.Enter(t.Context(), nobody)
	must(t, err)
	if last() != customhouse.ByNobody {
		t.Errorf("without authorization: decided by %q", last())
	}
}

// Strangers are those who have proven nothing, whatever name they use; who is logged in is none.
func TestWhoIsAStranger(t *testing.T) {
	book := &notebook{}
	h := newHouse(t, func(o *gate.Options) { o.Audit = book })
	for _, tt := range []struct {
		cred customhouse.Credential
		want bool
	}{
		{nobody, true}, {basic("alice", "guess"), true}, {basic("nobody-knows", "guess"), true}, {bearer(gate.Token{Token: "eyJ"}), true}, {own("alice"), false},
	} {
		book.entries = nil
		if grant, err := h.Admit(t.Context(), tt.cred, repo("team/none", "delete")); err == nil {
			t.Fatalf("%+v is let through", grant)
		}
		for _, e := range book.entries {
			if e.Stranger != tt.want {
				t.Errorf("%s: a stranger: %t", e.Account, e.Stranger)
			}
		}
	}
	h.issue(nobody, "repository:public/a:pull")
	if e := book.entries[len(book.entries)-1]; e.Kind != customhouse.AuditToken || !e.Stranger {
		t.Errorf("a token without an account = %+v", e)
	}
}

// What is let through at the door and refused when its tag is known is accounted for, where the first entry is kept before.
func TestRefusalAfterTheDoorIsAccountedFor(t *testing.T) {
	p, err := policy.Compile([]policy.Rule{{Match: policy.Match{Tag: policy.Values{"v*"}}, Actions: list{"pull"}}}, policy.Options{})
	must(t, err)
	book := &notebook{}
	h := newHouse(t, func(o *gate.Options) { o.Audit, o.AuditFirst, o.Policy = book, true, authz.NewRules(p) })
	need := repo("a", "pull")
	need.Partly = true
	grant, err := h.Admit(t.Context(), own("bob"), need)
	must(t, err)
	book.take()
	need.Target, need.Partly = gate.Target{Known: gate.FactTag, Tag: "dev"}, false
	if err := grant.Demand(t.Context(), need); err == nil {
		t.Fatal("Demand = nil")
	}
	if len(book.entries) != 1 || book.entries[0].Tag != "dev" || book.entries[0].Allowed || book.entries[0].Decision != grant.ID {
		t.Errorf("entries = %+v, want the refusal", book.entries)
	}
}

// Where nothing may be done that is not kept, nothing is.
func TestAuditRequired(t *testing.T) {
	book := &notebook{}
	h := newHouse(t, func(o *gate.Options) { o.Audit, o.AuditFirst = book, true })
	cred := bearer(h.issue(own("bob"), "repository:bob/a:pull"))
	book.err = errors.New("disk is full")
	var refusal *gate.Refusal
	if _, err := h.Admit(t.Context(), cred, repo("bob/a", "pull")); !errors.As(err, &refusal) || refusal.Err.Code != customhouse.Unavailable || refusal.RetryAfter == 0 {
		t.Errorf("Admit = %v, want UNAVAILABLE", err)
	}
	if _, err := h.Issue(t.Context(), gate.TokenRequest{Credential: cred, Scopes: []string{"repository:bob/a:pull"}}); err == nil {
		t.Error("Issue gives a token that is not accounted for")
	}
	if _, err := h.Issue(t.Context(), gate.TokenRequest{Credential: own("bob")}); !errors.As(err, &refusal) || refusal.Err.Code != customhouse.Unavailable {
		t.Errorf("Issue = %v, want UNAVAILABLE", err)
	}
}
