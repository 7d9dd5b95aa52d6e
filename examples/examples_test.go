// Package examples_test checks the configurations in the folders beside it.
package examples_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"customhouse"
	"customhouse/config"
	"customhouse/policy"

	"golang.org/x/crypto/bcrypt"
)

func TestEveryExampleLoads(t *testing.T) {
	files, err := filepath.Glob("*/customhouse.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, file := range files {
		if _, err := config.Load(file); err != nil {
			t.Errorf("Load = %v, want nil", err)
		}
	}
}

// TestEveryQuestion asks the questions beside an example, which between them reach every rule.
func TestEveryQuestion(t *testing.T) {
	files, err := filepath.Glob("*/policy_test.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no questions: %v", err)
	}
	for _, file := range files {
		c, err := config.Load(filepath.Join(filepath.Dir(file), "customhouse.yml"))
		if err != nil {
			t.Fatal(err)
		}
		p, err := policy.Compile(c.Rules, policy.Options{})
		if err != nil {
			t.Fatal(err)
		}
		questions, err := config.LoadQuestions(file)
		if err != nil {
			t.Fatal(err)
		}
		decided := map[int]bool{}
		for _, q := range questions {
			d := p.Decide(c.Query(q))
			decided[d.Rule] = true
			if difference := q.Differs(d); difference != "" {
				t.Errorf("%s: %s", q.Source, difference)
			}
		}
		for i, r := range c.Rules {
			if !decided[i] {
				t.Errorf("%s: no question is decided by this rule", r.Source)
			}
		}
		if findings := p.Lint(time.Now()); len(findings) > 0 {
			t.Errorf("Lint = %v, want nothing", findings)
		}
	}
}

// TestSeedScript asks the script of the seed about answers of the service. A service that sends whoever is not logged in to a
// page has not said that the login is good.
func TestSeedScript(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		account, password, _ := r.BasicAuth()
		switch {
		case r.URL.Path == "/login": // a page for people
		case account == "moved":
			http.Redirect(w, r, "/login", http.StatusFound)
		case account == "broken":
			w.WriteHeader(http.StatusInternalServerError)
		case password != "right":
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer service.Close()
	for line, want := range map[string]int{"alice right": 0, "alice wrong": 1, "alice ": 1, "broken right": 3, "moved right": 3} {
		c := exec.Command("seed/auth/extensions/ext_auth.sh")
		c.Env = append(os.Environ(), "ACCOUNTS_URL="+service.URL+"/session")
		c.Stdin = strings.NewReader(line)
		if err := c.Run(); c.ProcessState.ExitCode() != want {
			t.Errorf("%q: exit code %d, %v, want %d", line, c.ProcessState.ExitCode(), err, want)
		}
	}
}

func TestTwoUsers(t *testing.T) {
	c, err := config.Load("two-users/customhouse.yml")
	if err != nil {
		t.Fatal(err)
	}
	if want := "127.0.0.1:5000"; c.Listen != want || c.Data != "" {
		t.Errorf("it listens on %q and keeps its data in %q, want %q and the default", c.Listen, c.Data, want)
	}
	for _, account := range []string{"writer", "reader", "tenant"} {
		hash := []byte(c.Auth.Users[account].Password)
		if err := bcrypt.CompareHashAndPassword(hash, []byte(account+"-secret")); err != nil {
			t.Errorf("the password of %s: %v", account, err)
		}
		if cost, err := bcrypt.Cost(hash); err != nil || cost != 10 {
			t.Errorf("bcrypt cost of %s = %d, %v, want 10", account, cost, err)
		}
	}

	p, err := policy.Compile(c.Rules, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	every := []customhouse.Action{customhouse.Pull, customhouse.Push, customhouse.Create, customhouse.Update, customhouse.Delete, customhouse.All}
	pullPush := every[:4]
	pull := every[:1]
	allowed := map[string][]customhouse.Action{
		"writer repository acc/app":    every,
		"writer repository acc/a/b":    every,
		"writer repository bench/x":    every,
		"writer registry catalog":      every,
		"reader repository acc/app":    pull,
		"reader repository acc/a/b":    pull,
		"tenant repository u3/app":     pullPush,
		"tenant repository u3/a/b/c":   pullPush,
		"writer registry other":        nil,
		"writer repository acc":        nil,
		"writer repository accent/app": nil,
		"writer repository u3/app":     nil,
	}
	for _, account := range []string{"writer", "reader", "tenant", "admin", ""} {
		for _, resource := range [][2]string{
			{"repository", "acc/app"},
			{"repository", "acc/a/b"},
			{"repository", "bench/x"},
			{"repository", "u3/app"},
			{"repository", "u3/a/b/c"},
			{"repository", "acc"},
			{"repository", "accent/app"},
			{"repository", "other"},
			{"registry", "catalog"},
			{"registry", "other"},
		} {
			want := allowed[account+" "+resource[0]+" "+resource[1]]
			for i, action := range every {
				d := p.Decide(policy.Query{
					Identity: customhouse.Identity{Account: account},
					Type:     resource[0], Name: resource[1], Action: action,
				})
				if d.Allowed != (i < len(want)) {
					t.Errorf("%q %s %s:%s: %s", account, action, resource[0], resource[1], d.Reason)
				}
			}
		}
	}
}
