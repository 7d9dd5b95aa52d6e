package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"customhouse"
	"customhouse/config"
	"customhouse/index"
	"customhouse/registry"
	"customhouse/transfer"

	"golang.org/x/time/rate"
)

// replicator runs the replications of the configuration that holds: when they are due, when somebody asks, and for what
// was pushed.
type replicator struct {
	log   *slog.Logger
	index *index.DB
	begun time.Time

	mu      sync.Mutex
	rules   []replication
	running map[string]bool
	pushed  map[string]map[customhouse.Repo]bool // repositories that wait for a rule
	rest    map[string]time.Time                 // until when they wait, after a failure
	resumed map[string]bool                      // rules for which it was seen what an earlier process has left
}

// replication is one rule.
type replication struct {
	config.Replicate
	transfer.Replication
}

func newReplicator(log *slog.Logger, db *index.DB) *replicator {
	return &replicator{
		log: log, index: db, begun: time.Now(), running: map[string]bool{},
		pushed: map[string]map[customhouse.Repo]bool{}, rest: map[string]time.Time{}, resumed: map[string]bool{},
	}
}

// replications returns the rules of a configuration. A registry that is read-only has none.
func replications(c *config.Config) (rules []replication, err error) {
	if c.Storage.ReadOnly {
		return nil, nil
	}
	for i, r := range c.Replicate {
		far, err := upstream(r.Far)
		if err != nil {
			return nil, fmt.Errorf("replicate[%d]: %w", i, err)
		}
		var limit *rate.Limiter
		if r.Bandwidth > 0 {
			limit = rate.NewLimiter(rate.Limit(r.Bandwidth), int(max(min(r.Bandwidth/4, 256<<10), 1)))
		}
		rules = append(rules, replication{r, transfer.Replication{
			Far: far, Push: r.Direction == "push", Prefix: r.Prefix, Repositories: r.Repositories, Tags: r.Tags, Delete: r.Delete, Limit: limit,
		}})
	}
	return rules, nil
}

func (p *replicator) set(rules []replication) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = rules
}

// note takes note of a push or of what was deleted.
func (p *replicator) note(repo customhouse.Repo) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.rules {
		if r.OnEvent && r.Push && r.Matches(repo) {
			p.wait(r.Name, repo)
		}
	}
}

// wait makes repositories wait for a rule; mu is held.
func (p *replicator) wait(name string, repos ...customhouse.Repo) {
	if p.pushed[name] == nil {
		p.pushed[name] = map[customhouse.Repo]bool{}
	}
	for _, repo := range repos {
		p.pushed[name][repo] = true
	}
}

// run runs what is due until ctx ends, and waits for it.
func (p *replicator) run(ctx context.Context, current func() *registry.Registry) {
	var runs sync.WaitGroup
	defer runs.Wait()
	for sleep(ctx, time.Second) {
		p.mu.Lock()
		rules := p.rules
		p.mu.Unlock()
		if len(rules) == 0 {
			continue
		}
		last, err := p.last(ctx)
		if err != nil {
			p.log.Error("replications cannot be looked up", "error", err)
			continue
		}
		for _, r := range rules {
			if err := p.resume(ctx, r, last[r.Name]); err != nil {
				p.log.Error("it cannot be seen what a replication has left to do", "name", r.Name, "error", err)
			}
			if whole, only := p.due(r, last[r.Name], time.Now()); whole || len(only) > 0 {
				runs.Go(func() { p.one(ctx, current(), r, whole, only) })
			}
		}
	}
}

func (p *replicator) last(ctx context.Context) (map[string]index.Replication, error) {
	all, err := p.index.Replications(ctx)
	last := map[string]index.Replication{}
	for _, r := range all {
		last[r.Name] = r
	}
	return last, err
}

// resume makes those repositories wait for a rule that were pushed to and not replicated before an earlier process ended.
func (p *replicator) resume(ctx context.Context, r replication, last index.Replication) error {
	if !r.OnEvent || p.resumed[r.Name] {
		return nil
	}
	if last.Sent.Unix() <= 0 { // what was there before the rule was is left to Every
		p.resumed[r.Name] = true
		return p.index.SentReplication(ctx, r.Name, p.begun)
	}
	repos, err := p.index.PushedSince(ctx, last.Sent)
	if err != nil {
		return err
	}
	repos = slices.DeleteFunc(repos, func(repo customhouse.Repo) bool { return !r.Matches(repo) })
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resumed[r.Name] = true
	p.wait(r.Name, repos...)
	return nil
}

// due tells whether a rule is to run, whole or for some repositories, and takes note that it does.
func (p *replicator) due(r replication, last index.Replication, now time.Time) (whole bool, only []customhouse.Repo) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running[r.Name] {
		return false, nil
	}
	brokeOff := last.Started.After(last.Finished) && last.Started.Before(p.begun)
	whole = brokeOff || last.Asked.After(last.Started) || r.Every > 0 && now.Sub(last.Started) >= r.Every
	if whole || now.After(p.rest[r.Name]) {
		only = slices.Collect(maps.Keys(p.pushed[r.Name]))
		delete(p.pushed, r.Name)
	}
	p.running[r.Name] = whole || len(only) > 0
	return whole, only
}

// one is one run of a rule.
func (p *replicator) one(ctx context.Context, reg *registry.Registry, r replication, whole bool, only []customhouse.Repo) {
	const patience = 30 * time.Second
	waited := only
	if whole {
		only = nil
		p.noted(r, p.index.BeginReplication(ctx, r.Name))
	}
	start := time.Now()
	done, err := r.Run(ctx, reg, only)
	if err == nil {
		err = done.Last
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	if ctx.Err() == nil { // one that is ended goes on with the next process
		p.noted(r, p.index.EndReplication(ctx, index.Replication{
			Name: r.Name, Copied: done.Copied, Present: done.Present, Deleted: done.Deleted, Failed: done.Failed, Bytes: done.Bytes, Error: text,
		}))
	}
	if err == nil && r.OnEvent {
		const second = time.Second // what was pushed in it may have been noted a moment later
		p.noted(r, p.index.SentReplication(context.WithoutCancel(ctx), r.Name, start.Add(-second)))
	}
	level := slog.LevelInfo
	if err != nil {
		level = slog.LevelWarn
	}
	p.log.Log(ctx, level, "replicated", "name", r.Name, "copied", done.Copied, "present", done.Present, "deleted", done.Deleted,
		"failed", done.Failed, "bytes", done.Bytes, "duration", time.Since(start).String(), "error", text)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running[r.Name] = false
	if err != nil && len(waited) > 0 {
		p.wait(r.Name, waited...)
		p.rest[r.Name] = time.Now().Add(patience)
	}
}

// noted tells that the state of a rule could not be kept.
func (p *replicator) noted(r replication, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		p.log.Error("a replication cannot be noted", "name", r.Name, "error", err)
	}
}
