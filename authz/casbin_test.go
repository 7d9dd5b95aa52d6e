package authz_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"customhouse"
	"customhouse/authz"
	"customhouse/policy"
)

func TestCasbin(t *testing.T) {
	var log bytes.Buffer
	c, err := authz.NewCasbin("testdata/model.conf", "testdata/policy.csv", authz.CasbinOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	dev := map[string][]string{"group": {"dev", "web"}}
	ops := map[string][]string{"group": {"night", "ops"}}
	for name, tt := range map[string]struct {
		account, repo, client string
		labels                map[string][]string
		want                  string // of pull, push, create, delete
	}{
		"by itself":          {"alice", "alice/app", "192.0.2.7", dev, "[true true true false]"},
		"as IPv4 in IPv6":    {"alice", "alice/app", "::ffff:192.0.2.7", dev, "[true true true false]"},
		"another address":    {"alice", "alice/app", "192.0.2.8", dev, "[false false false false]"},
		"another name":       {"alice", "bob/app", "192.0.2.7", dev, "[false false false false]"},
		"no labels":          {"alice", "alice/app", "192.0.2.7", nil, "[false false false false]"},
		"by a role":          {"bob", "any/thing", "10.1.2.3", ops, "[true false false false]"},
		"one label of two":   {"bob", "any/thing", "10.1.2.3", map[string][]string{"group": {"ops"}}, "[false false false false]"},
		"no labels wanted":   {"bob", "open", "2001:db8::1", nil, "[true false false false]"},
		"before the policy":  {"root", "x", "192.0.2.1", nil, "[true true true true]"},
		"anonymous":          {"", "open", "2001:db8::1", nil, "[false false false false]"},
		"no address":         {"bob", "open", "", nil, "[false false false false]"},
		"a name in the text": {`root" || "1"=="1`, "x", "192.0.2.1", nil, "[false false false false]"},
	} {
		q := policy.Query{Identity: customhouse.Identity{Account: tt.account, Labels: tt.labels}, Service: "r.example", Type: "repository", Name: tt.repo}
		if tt.client != "" {
			q.Client = netip.MustParseAddr(tt.client)
		}
		decisions, err := c.Authorize(t.Context(), q, list{"pull", "push", "create", "delete"})
		if err != nil {
			t.Fatal(err)
		}
		var got []bool
		for _, d := range decisions {
			if got = append(got, d.Allowed); d.Undecided() || d.Source != "casbin" || d.Reason == "" {
				t.Errorf("%s: %+v, want a decision of casbin with its reason", name, d)
			}
		}
		if fmt.Sprint(got) != tt.want {
			t.Errorf("%s: %v, want %s", name, got, tt.want)
		}
	}
	if n := strings.Count(log.String(), "account=bob"); n != 4 || strings.Contains(log.String(), "goroutine") {
		t.Errorf("the log names what could not be evaluated %d times, want 4, without a stack:\n%s", n, log.String())
	}
}

// TestCasbinRefuses has files that docker_auth crashes over, at its start or with each request, or takes for a yes.
func TestCasbinRefuses(t *testing.T) {
	read := func(name string) string {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	model, rules := read("model.conf"), read("policy.csv")
	for name, tt := range map[string]struct{ model, policy, want string }{
		"no model":         {"", rules, "model.conf"},
		"no sections":      {"a = b", rules, "model.conf"},
		"another request":  {strings.Replace(model, "r = account, type, name, service, ip, action, labels", "r = sub, obj, act", 1), rules, "want a request_definition of 7 fields: r = account, type"},
		"bad matcher":      {strings.Replace(model, "labelMatch(", "noSuchFunction(", 1), rules, "a matcher cannot be evaluated"},
		"bad ip":           {model, strings.Replace(rules, "10.0.0.0/8", "10.0.0.*", 1), `policy.csv: p, ops, repository, *, r.example, 10.0.0.*, pull, {"group":["ops","night"]}: ip: "10.0.0.*" is neither an address nor a CIDR prefix`},
		"labels, no JSON":  {model, strings.Replace(rules, "{}", "group=ops", 1), `labels: want labels as JSON`},
		"labels of text":   {model, strings.Replace(rules, "{}", `"{""group"":""ops""}"`, 1), `labels: want labels as JSON`},
		"too few fields":   {model, rules + "\np, bob, repository\n", "policy.csv"},
		"an unclosed text": {model, rules + "\np, \"bob, x\n", "policy.csv"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range map[string]string{"model.conf": tt.model, "policy.csv": tt.policy} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := authz.NewCasbin(filepath.Join(dir, "model.conf"), filepath.Join(dir, "policy.csv"), authz.CasbinOptions{})
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "goroutine") {
				t.Fatalf("NewCasbin = %v, want %s", err, tt.want)
			}
		})
	}
	if _, err := authz.NewCasbin("testdata/none.conf", "testdata/policy.csv", authz.CasbinOptions{}); err == nil || !strings.Contains(err.Error(), "none.conf") {
		t.Errorf("NewCasbin of no file = %v", err)
	}
}

// Requests may come at the same time.
func TestCasbinConcurrently(t *testing.T) {
	c, err := authz.NewCasbin("testdata/model.conf", "testdata/policy.csv", authz.CasbinOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			q := policy.Query{Identity: customhouse.Identity{Account: fmt.Sprint("user", i)}, Name: "x", Client: netip.MustParseAddr("10.0.0.1")}
			if i == 0 {
				q.Identity.Account = "root"
			}
			for range 100 {
				if d, err := c.Authorize(t.Context(), q, list{"pull"}); err != nil || d[0].Allowed != (i == 0) {
					t.Errorf("Authorize = %+v, %v", d, err)
				}
			}
		})
	}
	wg.Wait()
}
