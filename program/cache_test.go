package program_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"customhouse/program"
)

// asked is an asker that counts.
type asked struct {
	count  atomic.Int64
	answer func(context.Context, program.Question) (program.Answer, error)
}

func (a *asked) Ask(ctx context.Context, q program.Question) (program.Answer, error) {
	a.count.Add(1)
	return a.answer(ctx, q)
}

func (a *asked) Close() error { return nil }

func says(r program.Result, err error) *asked {
	return &asked{answer: func(context.Context, program.Question) (program.Answer, error) { return program.Answer{Result: r}, err }}
}

func TestCacheRemembers(t *testing.T) {
	outage := errors.New("outage")
	for _, tt := range []struct {
		name        string
		o           program.CacheOptions
		result      program.Result
		err         error
		soon, later int64 // how often the program was asked after a second asking at once, and after a third a minute later
	}{
		{"allowed", program.CacheOptions{Allowed: time.Minute}, program.Allow, nil, 1, 2},
		{"allowed, longer", program.CacheOptions{Allowed: time.Hour}, program.Allow, nil, 1, 1},
		{"not remembered", program.CacheOptions{}, program.Allow, nil, 2, 3},
		{"denied", program.CacheOptions{Allowed: time.Hour}, program.Deny, nil, 2, 3},
		{"no match", program.CacheOptions{Allowed: time.Hour}, program.NoMatch, nil, 2, 3},
		{"denials too", program.CacheOptions{Denied: time.Minute}, program.Deny, nil, 1, 2},
		{"outage", program.CacheOptions{Allowed: time.Hour, Denied: time.Hour}, "", outage, 2, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Unix(1_000_000, 0)
			tt.o.Now = func() time.Time { return now }
			a := says(tt.result, tt.err)
			c := program.NewCache(a, tt.o)
			ask := func() {
				if got, err := c.Ask(t.Context(), login("alice", "x")); got.Result != tt.result || !errors.Is(err, tt.err) {
					t.Errorf("Ask = %v, %v, want %v, %v", got, err, tt.result, tt.err)
				}
			}
			ask()
			ask()
			if n := a.count.Load(); n != tt.soon {
				t.Errorf("asked %d times, want %d", n, tt.soon)
			}
			now = now.Add(time.Minute)
			ask()
			if n := a.count.Load(); n != tt.later {
				t.Errorf("asked %d times a minute later, want %d", n, tt.later)
			}
		})
	}
}

// TestS55_CacheKeepsApart: everything that a program is told is part of the question.
func TestS55_CacheKeepsApart(t *testing.T) {
	a := says(program.Allow, nil)
	c := program.NewCache(a, program.CacheOptions{Allowed: time.Hour})
	base := access("alice", "pull")
	questions := []program.Question{base, login("lab rest", "x"), login("lab", "rest x"), login("alice", "x"), login("alice", "y")}
	for _, change := range []func(*program.Question){
		func(q *program.Question) { q.Account = "bob" },
		func(q *program.Question) { q.Service = "other" },
		func(q *program.Question) { q.IP = q.IP.Next() },
		func(q *program.Question) { q.Type = "registry" },
		func(q *program.Question) { q.Name = "team/apps" },
		func(q *program.Question) { q.Actions = append(q.Actions[:1:1], "push") },
		func(q *program.Question) { q.Labels = map[string][]string{"group": {"dev", "ops"}} },
		func(q *program.Question) { q.Labels = map[string][]string{"group": {"dev"}, "x": nil} },
		func(q *program.Question) { q.Labels = nil },
	} {
		q := base
		change(&q)
		questions = append(questions, q)
	}
	for range 2 {
		for _, q := range questions {
			if _, err := c.Ask(t.Context(), q); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got, want := a.count.Load(), int64(len(questions)); got != want {
		t.Errorf("asked %d times, want %d", got, want)
	}
}

// Who asks the same at the same time shares an answer; the first may leave; when all have left, the question ends.
func TestCacheSingleFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan program.Result)
		ended := make(chan error, 1)
		a := &asked{answer: func(ctx context.Context, _ program.Question) (program.Answer, error) {
			select {
			case r := <-answer:
				return program.Answer{Result: r}, nil
			case <-ctx.Done():
				ended <- ctx.Err()
				return program.Answer{}, ctx.Err()
			}
		}}
		c := program.NewCache(a, program.CacheOptions{})
		var asking sync.WaitGroup
		ask := func(ctx context.Context, want program.Result, wantErr error) {
			asking.Go(func() {
				if got, err := c.Ask(ctx, login("alice", "x")); got.Result != want || !errors.Is(err, wantErr) {
					t.Errorf("Ask = %v, %v, want %v, %v", got.Result, err, want, wantErr)
				}
			})
			synctest.Wait()
		}
		first, leave := context.WithCancel(t.Context())
		ask(first, "", context.Canceled)
		for range 9 {
			ask(t.Context(), program.Allow, nil)
		}
		leave()
		synctest.Wait()
		answer <- program.Allow
		asking.Wait()
		if n := a.count.Load(); n != 1 {
			t.Errorf("asked %d times, want once", n)
		}

		alone, leave := context.WithCancel(t.Context())
		ask(alone, "", context.Canceled)
		leave()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the question that nobody waits for ended with %v", err)
		}
		ask(t.Context(), program.Deny, nil)
		answer <- program.Deny
		asking.Wait()
	})
}
