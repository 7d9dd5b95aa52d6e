package gate_test

import (
	"testing"

	"customhouse"
	"customhouse/authn"
	"customhouse/gate"
)

// Who was seen is supposed to be as they were only where nobody can be asked what they are today, and may do nothing when who
// can be asked knows them no more, or when nobody may log in any more as they did.
func TestAnswerForWhoWasSeen(t *testing.T) {
	h := newHouse(t, func(o *gate.Options) {
		chain, err := authn.NewChain(authn.NewPasswords(authn.PasswordOptions{}), &accounts{byName: map[string]customhouse.Account{
			"alice": {Name: "alice"},
		}}, &counter{name: "program"})
		must(t, err)
		o.Chain = chain
	})
	as := func(account, method, group string) customhouse.Identity {
		return customhouse.Identity{Account: account, Method: method, Labels: map[string][]string{"group": {group}}}
	}
	for _, c := range []struct {
		what string
		who  gate.Asker
		repo string
		want string
	}{
		{"a program's", gate.Asker{Account: "pat", Seen: []customhouse.Identity{as("pat", "program", "dev")}}, "team/app", "allow"},
		{"a program's without the label", gate.Asker{Account: "pat", Seen: []customhouse.Identity{as("pat", "program", "ops")}}, "team/app", "deny"},
		{"the last counts", gate.Asker{Account: "pat", Seen: []customhouse.Identity{as("pat", "program", "ops"), as("pat", "program", "dev")}}, "team/app", "deny"},
		{"gone from a directory", gate.Asker{Account: "pat", Seen: []customhouse.Identity{as("pat", "accounts", "dev")}}, "pat/app", "deny"},
		{"gone there, but not from a program", gate.Asker{Account: "pat", Seen: []customhouse.Identity{as("pat", "accounts", "ops"), as("pat", "program", "dev")}}, "team/app", "allow"},
		{"of a method that is no more", gate.Asker{Account: "pat", Seen: []customhouse.Identity{as("pat", "ldap", "admin")}}, "pat/app", "deny"},
		{"of certificates that are not asked for", gate.Asker{Account: "pat", Seen: []customhouse.Identity{as("pat", gate.MethodCertificate, "admin")}}, "pat/app", "deny"},
		{"of workloads that there are not", gate.Asker{Account: "pat", Seen: []customhouse.Identity{as("pat", gate.MethodWorkload, "admin")}}, "pat/app", "deny"},
		{"who can be asked today", gate.Asker{Account: "alice", Seen: []customhouse.Identity{as("alice", "program", "admin")}}, "other/app", "deny"},
		{"with more labels than are kept", gate.Asker{Account: "pat", Seen: []customhouse.Identity{{
			Account: "pat", Method: "program", Labels: map[string][]string{customhouse.AuditMore: {"more"}},
		}}}, "team/app", "maybe"},
		{"with more claims than are kept", gate.Asker{Account: "pat", Seen: []customhouse.Identity{{
			Account: "pat", Method: "program", Claims: map[string]any{customhouse.AuditMore: "more"},
		}}}, "team/app", "maybe"},
		{"never seen", gate.Asker{Account: "pat"}, "pat/app", "allow"},
	} {
		got, err := h.AnswerFor(t.Context(), c.who, gate.Question{Type: customhouse.TypeRepository, Name: c.repo, Action: customhouse.Pull})
		if err != nil || got != c.want {
			t.Errorf("%s: %s, %v; want %s", c.what, got, err, c.want)
		}
	}
}
