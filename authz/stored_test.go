package authz_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"customhouse"
	"customhouse/authz"
	"customhouse/policy"
)

// table is a source in memory.
type table struct {
	mu      sync.Mutex
	entries []authz.Entry
	err     error
	panics  bool
	reads   int
}

func (s *table) Name() string { return "table" }

func (s *table) Entries(context.Context) ([]authz.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if s.panics {
		panic("a driver's mistake")
	}
	return s.entries, s.err
}

func (s *table) set(err error, entries ...authz.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.panics = err, false
	if err == nil {
		s.entries = entries
	}
}

func entry(seq int64, name string, actions ...customhouse.Action) authz.Entry {
	return authz.Entry{Seq: seq, Rule: policy.Rule{Match: policy.Match{Name: policy.Values{name}}, Actions: append(list{}, actions...)}}
}

// pull asks for one action.
func pull(t *testing.T, s *authz.Stored, name string) string {
	t.Helper()
	d, err := s.Authorize(t.Context(), policy.Query{Name: name, Type: "repository"}, list{"pull"})
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(d[0].Allowed, " ", d[0].Source)
}

// pass lets time pass, and what was due in it be done.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// TestS61_Stored lets a source fail in every way: what it said last holds until that is too old, and never more than that.
func TestS61_Stored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &table{}
		source.set(errors.New("connection refused"))
		var log bytes.Buffer
		s := authz.NewStored(source, authz.StoredOptions{Refresh: time.Minute, MaxStale: 5 * time.Minute, Log: slog.New(slog.NewTextHandler(&log, nil))})
		defer s.Close()
		is := func(want string) {
			t.Helper()
			if got := pull(t, s, "a"); got != want {
				t.Fatalf("Authorize = %s, want %s", got, want)
			}
		}
		is("there is no access list yet: connection refused")
		if _, ok := s.Age(); ok {
			t.Fatal("there is an age of no list")
		}

		// Sorted by seq, whatever the order of the source.
		source.set(nil, entry(7, "a", "push"), entry(3, "a", "pull"), entry(9, "b", "pull"))
		pass(time.Minute)
		is("true table:3")

		source.set(nil, entry(3, "["), entry(4, "a", "pull"))
		pass(time.Minute)
		is("true table:3")
		if err := s.Failure(); err == nil || !strings.Contains(err.Error(), "table:3: match.name: a class has no ]") {
			t.Fatalf("Failure = %v, want the entry", err)
		}
		source.mu.Lock()
		source.panics = true
		source.mu.Unlock()
		pass(time.Minute)
		is("true table:3")

		source.set(errors.New("connection refused"))
		pass(time.Minute)
		is("true table:3")
		if age, ok := s.Age(); !ok || age < 2*time.Minute || age > 4*time.Minute {
			t.Fatalf("Age = %v, %v", age, ok)
		}
		pass(5 * time.Minute)
		if got := pull(t, s, "a"); !strings.HasPrefix(got, "the access list is ") || !strings.HasSuffix(got, " old: connection refused") {
			t.Fatalf("Authorize with a stale list = %s", got)
		}

		source.set(nil, entry(1, "a"))
		pass(time.Minute)
		is("false table:1")
		source.set(nil)
		pass(time.Minute)
		is("false ") // nothing to say
		if n := strings.Count(log.String(), "connection refused"); n != 2 {
			t.Errorf("the log has %d lines about the outages, want 2:\n%s", n, log.String())
		}
		s.Close()
		reads := source.reads
		pass(time.Hour)
		if source.reads != reads {
			t.Errorf("a closed list is read")
		}
	})
}

// Who asks before the list has been read waits for it; the list before a reload decides meanwhile.
func TestStoredBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &table{}
		source.set(nil, entry(1, "a", "pull"))
		s := authz.NewStored(source, authz.StoredOptions{Compile: func(r []policy.Rule) (*policy.Policy, error) {
			time.Sleep(time.Second)
			return policy.CompileDockerAuth(r, policy.DockerAuthOptions{})
		}})
		defer s.Close()
		if got := pull(t, s, "a"); got != "true table:1" {
			t.Fatalf("Authorize = %s", got)
		}
		slow := &table{}
		slow.set(errors.New("down"))
		next := authz.NewStored(slow, authz.StoredOptions{Previous: s})
		defer next.Close()
		if got := pull(t, next, "a"); got != "true table:1" {
			t.Fatalf("Authorize after a reload = %s", got)
		}
	})
}

// Entries with the same place come in any order: an operator hears of it, once as long as the list stays.
func TestStoredTies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &table{}
		source.set(nil, entry(1, "a", "pull"), entry(2, "b", "pull"))
		var log bytes.Buffer
		s := authz.NewStored(source, authz.StoredOptions{Refresh: time.Minute, Log: slog.New(slog.NewTextHandler(&log, nil))})
		defer s.Close()
		pull(t, s, "a")
		if strings.Contains(log.String(), "WARN") {
			t.Fatalf("log = %s, want no warning", log.String())
		}
		source.set(nil, entry(3, "b", "pull"), entry(1, "a", "pull"), entry(3, "b"))
		pass(5 * time.Minute)
		if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), "seq=3") {
			t.Fatalf("log = %s, want one warning about seq 3", log.String())
		}
	})
}

// What a list decides is not taken for a decision of the rules, which have the same form; what nobody decides is theirs.
func TestWhoDecides(t *testing.T) {
	p, err := policy.Compile([]policy.Rule{{Match: policy.Match{Name: policy.Values{"a"}}, Actions: list{"pull"}, Source: "c.yml:1"}}, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	source := &table{}
	source.set(nil, authz.Entry{Seq: 1, Rule: policy.Rule{Match: policy.Match{Name: policy.Values{"b"}}, Actions: list{"pull"}, Source: "acl.yml:1"}})
	s := authz.NewStored(source, authz.StoredOptions{})
	defer s.Close()
	for name, want := range map[string]string{"a": "", "b": "table", "c": ""} {
		for _, members := range [][]authz.Authorizer{{authz.NewRules(p), s}, {s, authz.NewRules(p)}} {
			chain, err := authz.NewChain(members...)
			if err != nil {
				t.Fatal(err)
			}
			d, err := chain.Authorize(t.Context(), policy.Query{Name: name, Type: "repository"}, list{"pull"})
			if err != nil {
				t.Fatal(err)
			}
			if d[0].By != want || d[0].Allowed != (name != "c") {
				t.Errorf("%s: decided by %q, allowed %t; want %q", name, d[0].By, d[0].Allowed, want)
			}
		}
	}
}
