package server_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"customhouse"
	"customhouse/authn"
	"customhouse/policy"
)

// explained is what GET /api/explain answers.
type explained struct {
	Answer, Message, Account, Name, Reason string
	Rules                                  []struct{ Rule, Text string }
}

// Everybody may ask about themselves, and is told what they would be if they tried; what is about others, or the rules, is
// for admins. What is there makes no difference.
func TestAPIExplain(t *testing.T) {
	h := open(t, setup{})
	h.as("admin").pushImage("a/app", "latest", "explained")
	ask := func(who, query string) (x explained) {
		t.Helper()
		h.as(who).get("/api/explain?"+query).want(http.StatusOK, "").into(&x)
		return x
	}
	if x := ask("alice", "repo=a/app&action=pull"); x.Answer != "allow" || x.Account != "alice" || x.Message != "" || x.Reason != "" || x.Rules != nil {
		t.Errorf("what one may = %+v", x)
	}
	x := ask("alice", "repo=a/app&action=push&tag=v1&account=alice")
	if x.Answer != "deny" || !strings.Contains(x.Message, "alice") || x.Reason != "" || x.Rules != nil {
		t.Errorf("what one may not = %+v", x)
	}
	there, gone := ask("bob", "repo=a/app"), ask("bob", "repo=a/none")
	cut := func(x explained) string {
		message, _, _ := strings.Cut(strings.ReplaceAll(x.Message, x.Name, "R"), "decision")
		return x.Answer + message
	}
	if cut(there) != cut(gone) {
		t.Errorf("what is there is answered %+v, what is not %+v", there, gone)
	}
	if x := ask("", "repo=a/app"); x.Answer != "deny" || x.Message != "" || x.Account != "" {
		t.Errorf("anonymous is told %+v", x)
	}
	if x := ask("", "repo=pub/app"); x.Answer != "allow" {
		t.Errorf("anonymous is told %+v of what is public", x)
	}
	for _, query := range []string{"account=bob", "label=a=b", "ip=192.0.2.1", "claim=a=b", "method=ldap", "service=x", "time=2026-01-01", "trace=true", "account="} {
		h.as("alice").get("/api/explain?repo=a/app&"+query).want(http.StatusForbidden, "DENIED")
		if query != "account=" { // which is who is asking
			h.as("").get("/api/explain?repo=a/app&"+query).want(http.StatusUnauthorized, "UNAUTHORIZED")
		}
	}
	if x := ask("admin", "repo=a/app&account=alice&action=push"); x.Answer != "deny" || x.Reason == "" || len(x.Rules) == 0 {
		t.Errorf("an admin is told of others %+v", x)
	}
	for _, bad := range []string{"", "repo=A", "repo=a/app&action=pull,push", "repo=a/app&action=fly", "repo=a/app:v1", "repo=a/app&tag=%20", "repo=a/app&digest=x", "repo=a&type=registry", "repo=a&what=x", "repo=a/app&ip=x&account=b", "repo=a/app&time=x", "repo=a/app&time=", "repo=a/app&claim=x", "repo=a/app&method=a&method=b"} {
		h.as("admin").get("/api/explain?"+bad).want(http.StatusBadRequest, "")
	}
}

// An admin supposes who is asking, and when: the answer is that of a request by them, and no other request is told it.
func TestAPIExplainSupposes(t *testing.T) {
	rules := []policy.Rule{
		allow("admin", "**", "*"),
		{Match: policy.Match{Claims: map[string]policy.Values{"ref": {"main"}, "groups": {"ops"}}, Method: policy.Values{"workload"}, Service: policy.Values{"next"}}, From: "2040-01-01", Expires: "2040-12-31", Actions: []customhouse.Action{"pull"}},
	}
	h := open(t, setup{rules: rules})
	const all = "&claim=ref=main&claim=groups=dev&claim=groups=ops&method=workload&service=next&time=2040-06-01T12:00:00Z"
	for query, want := range map[string]string{
		all: "allow", "": "deny",
		strings.Replace(all, "ref=main", "ref=fix", 1):                "deny",
		strings.Replace(all, "&claim=groups=ops", "", 1):              "deny",
		strings.Replace(all, "workload", "ldap", 1):                   "deny",
		strings.Replace(all, "service=next", "service=old", 1):        "deny",
		strings.Replace(all, "2040-06-01T12:00:00Z", "2041-01-01", 1): "deny",
		strings.Replace(all, "2040-06-01T12:00:00Z", "2040-12-31", 1): "allow",
	} {
		for range 2 { // the second may be remembered
			var x explained
			h.as("admin").get("/api/explain?repo=b/app&account=bob"+query).want(http.StatusOK, "").into(&x)
			if x.Answer != want {
				t.Errorf("%q = %+v, want %s", query, x, want)
			}
		}
	}
}

// The API answers as `customhouse policy explain --json` does: both give the policy's report.
func TestAPIExplainReports(t *testing.T) {
	h := open(t, setup{})
	p, err := policy.Compile(usual(), policy.Options{})
	must(t, err)
	at := time.Date(2040, 6, 1, 12, 0, 0, 0, time.UTC)
	for _, all := range []bool{false, true} {
		for _, account := range []string{"zoe", "bob"} {
			q := policy.Query{Identity: customhouse.Identity{Account: account}, Type: "repository", Name: "b/app", Action: "push", Time: at, Target: policy.Target{Tag: "v1", Known: policy.FactTag}}
			want, err := json.Marshal(p.Explain(q).Report(q, all))
			must(t, err)
			got := h.as("admin").get(fmt.Sprintf("/api/explain?repo=b/app&tag=v1&action=push&account=%s&time=2040-06-01T12:00:00Z&trace=%v", account, all)).want(http.StatusOK, "").body
			if string(bytes.TrimSpace(got)) != string(want) {
				t.Errorf("the API says\n%s, the policy\n%s", got, want)
			}
		}
	}
}

func TestAPIAccess(t *testing.T) {
	h := open(t, setup{})
	for _, repo := range []string{"a/app", "a/other", "pub/app"} {
		h.as("admin").pushImage(repo, "latest", repo)
	}
	type holders []struct{ Name, Answer string }
	ask := func(query string) string {
		t.Helper()
		var x struct {
			Accounts, Repositories holders
			Next                   string
		}
		h.as("admin").get("/api/access?"+query).want(http.StatusOK, "").into(&x)
		return strings.Join(strings.Fields(fmt.Sprint(x.Accounts, x.Repositories, x.Next)), " ")
	}
	for query, want := range map[string]string{
		"repo=a/app":              "[{alice allow} {robot allow}] []",
		"repo=a/app&action=push":  "[{robot allow}] []",
		"repo=pub/app":            "[{ allow} {alice allow} {bob allow} {robot allow}] []",
		"repo=pub/app&n=1":        "[{ allow} {alice allow}] []alice",
		"repo=pub/app&n=2":        "[{ allow} {alice allow}] []alice",
		"repo=pub/app&last=alice": "[{bob allow} {robot allow}] []",
		"account=alice":           "[] [{a/app allow} {a/other allow} {pub/app allow}]",
		"account=robot":           "[] [{a/app allow} {pub/app allow}]",
		"account=alice&n=1":       "[] [{a/app allow}]a/app",
		"account=":                "[] [{pub/app allow}]",
	} {
		if got := ask(query); got != want {
			t.Errorf("%s = %s, want %s", query, got, want)
		}
	}
	h.as("alice").get("/api/access?account=alice").want(http.StatusForbidden, "DENIED")
	h.as("").get("/api/access?repo=pub/app").want(http.StatusUnauthorized, "")
	h.as("admin").get("/api/access").want(http.StatusBadRequest, "")
	h.as("admin").get("/api/access?repo=a/app&account=alice").want(http.StatusBadRequest, "")
}

// program vouches for those who are in it, and has nothing to look anybody up in.
type program map[string]map[string][]string

func (p program) Name() string { return "program" }

func (p program) Authenticate(_ context.Context, cred customhouse.Credential) (customhouse.Identity, error) {
	labels, ok := p[cred.Account]
	switch {
	case !ok:
		return customhouse.Identity{}, authn.ErrUnknownUser
	case string(cred.Secret) != passwordOf(cred.Account):
		return customhouse.Identity{}, authn.ErrWrongPassword
	}
	return customhouse.Identity{Account: cred.Account, Labels: labels, Method: p.Name()}, nil
}

// Accounts that no list has are known from the audit log, with the labels that they had when they last came: those only that
// have logged in, and that may still come.
func TestAPIAccessKnowsWhoWasSeen(t *testing.T) {
	people := program{"pat": {"group": {"dev"}}, "quinn": nil, "silent": {"group": {"dev"}}}
	rules := append(usual(), policy.Rule{Match: policy.Match{Labels: map[string]policy.Values{"group": {"dev"}}, Name: policy.Values{"a/app"}}, Actions: []customhouse.Action{customhouse.Pull}})
	h := open(t, setup{rules: rules, sources: []authn.Authenticator{people}})
	h.as("admin").pushImage("a/app", "latest", "seen")
	h.as("admin").pushImage("pub/app", "latest", "seen")
	ask := func(query string) string {
		t.Helper()
		must(t, h.audit.Sync())
		var x struct {
			Accounts, Repositories []struct {
				Name, Answer string
				Seen         time.Time
			}
			Next string
		}
		h.as("admin").get("/api/access?"+query).want(http.StatusOK, "").into(&x)
		var text []string
		for _, one := range append(x.Accounts, x.Repositories...) {
			if one.Answer != "allow" {
				t.Errorf("%+v is not allowed", one)
			}
			if text = append(text, one.Name); !one.Seen.IsZero() {
				text[len(text)-1] += "*"
			}
		}
		return strings.Join(append(text, x.Next), " ")
	}
	h.as("pat").get("/v2/").want(http.StatusOK, "")
	h.as("quinn").get("/v2/").want(http.StatusOK, "")
	h.with("Basic "+base64.StdEncoding.EncodeToString([]byte("silent:wrong"))).get("/v2/").want(http.StatusUnauthorized, "")
	for range 3 {
		h.with("Basic "+base64.StdEncoding.EncodeToString([]byte("zzz:wrong"))).get("/v2/pub/app/tags/list").want(http.StatusUnauthorized, "")
	}
	for query, want := range map[string]string{
		"repo=a/app":             "admin* alice pat* robot ",
		"repo=pub/app":           " admin* alice bob pat* quinn* robot ",
		"repo=pub/app&n=3":       " admin* alice alice",
		"repo=pub/app&last=pat":  "quinn* robot ",
		"account=pat":            "a/app pub/app ",
		"account=silent":         "pub/app ",
		"account=quinn&n=1":      "a/app",
		"repo=a/app&action=push": "admin* robot ",
	} {
		if got := ask(query); got != want {
			t.Errorf("%s = %q, want %q", query, got, want)
		}
	}
}
