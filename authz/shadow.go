package authz

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"customhouse"
	"customhouse/policy"
)

// Bounds of a Shadow.
const (
	shadowQueue = 1024            // questions that wait; those above are not asked
	shadowKinds = 10_000          // kinds of differences that are told apart
	shadowEvery = 2 * time.Second // differences are kept
)

// A DifferenceStore keeps what a Shadow finds.
type DifferenceStore interface {
	// AddDifferences adds to the counts of differences and returns how many kinds it has no room for.
	AddDifferences(ctx context.Context, differences []customhouse.Difference) (left int, err error)
}

// ShadowCounts is what shadows have done since the process began.
type ShadowCounts struct {
	Asked   atomic.Int64 // decisions that were compared
	Skipped atomic.Int64 // that were not, because too many waited
	Lost    atomic.Int64 // that allow what the other policy would not
	Gained  atomic.Int64 // that deny what the other policy would not
}

// ShadowOptions are the settings of a Shadow.
type ShadowOptions struct {
	Last   bool                         // nobody is asked after the rules: what they leave open is denied
	Store  DifferenceStore              // nil keeps none
	Counts *ShadowCounts                // nil counts for nobody
	First  func(customhouse.Difference) // is told the first of each kind, from one goroutine; nil is not
	Log    *slog.Logger                 // nil is silent
	Now    func() time.Time             // nil is time.Now
}

// Shadow is rules with another policy beside them, which decides nothing. Whoever asks gets the answer of the rules and does
// not wait: what the other would have said is found out afterwards, and told where it differs.
type Shadow struct {
	Rules  // that decide
	policy *policy.Policy
	o      ShadowOptions

	queue chan shadowed
	stop  chan struct{}
	done  chan struct{}
	once  sync.Once

	pending map[customhouse.Difference]*customhouse.Difference // by kind, since they were kept last
	known   map[customhouse.Difference]struct{}                // kinds that were told
}

var _ Authorizer = (*Shadow)(nil)

// shadowed is a question that was answered.
type shadowed struct {
	query   policy.Query
	actions []customhouse.Action
	live    []policy.Decision
}

// NewShadow returns live with p beside it. Close ends it.
func NewShadow(live Rules, p *policy.Policy, o ShadowOptions) *Shadow {
	if o.Counts == nil {
		o.Counts = &ShadowCounts{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Shadow{
		Rules: live, policy: p, o: o,
		queue: make(chan shadowed, shadowQueue), stop: make(chan struct{}), done: make(chan struct{}),
		pending: map[customhouse.Difference]*customhouse.Difference{}, known: map[customhouse.Difference]struct{}{},
	}
	go s.run()
	return s
}

// Authorize answers as the rules do.
func (s *Shadow) Authorize(ctx context.Context, q policy.Query, actions []customhouse.Action) ([]policy.Decision, error) {
	live, err := s.Rules.Authorize(ctx, q, actions)
	if err == nil {
		select {
		case s.queue <- shadowed{q, slices.Clone(actions), live}:
		default:
			s.o.Counts.Skipped.Add(1)
		}
	}
	return live, err
}

// Facts returns what of a target either policy asks about: the other one is to be asked when all of that is known, too.
func (s *Shadow) Facts() policy.Fact {
	return s.policy.Facts() | s.Rules.Facts()
}

// Close compares what waits, keeps the differences and ends.
func (s *Shadow) Close() error {
	s.once.Do(func() { close(s.stop) })
	<-s.done
	return nil
}

// run compares what is asked until Close.
func (s *Shadow) run() {
	defer close(s.done)
	ticks := time.NewTicker(shadowEvery)
	defer ticks.Stop()
	for {
		select {
		case q := <-s.queue:
			s.compare(&q)
		case <-ticks.C:
			s.keep()
		case <-s.stop:
			for len(s.queue) > 0 {
				q := <-s.queue
				s.compare(&q)
			}
			s.keep()
			return
		}
	}
}

// compare asks the other policy what was asked.
func (s *Shadow) compare(q *shadowed) {
	defer func() {
		if p := recover(); p != nil { // what only watches ends nothing
			s.o.Log.Error("the shadow policy could not be asked", "error", p)
		}
	}()
	s.o.Counts.Asked.Add(int64(len(q.actions)))
	for i, would := range s.policy.DecideAll(q.query, q.actions) {
		is := q.live[i]
		live, shadow := s.answer(is), s.answer(would)
		// Who gets a maybe asks again when more is known. What holds then is compared then; a no is final.
		if live == shadow || live == customhouse.AnswerMaybe || live != customhouse.AnswerDeny && shadow == customhouse.AnswerMaybe {
			continue
		}
		s.note(customhouse.Difference{
			Account: q.query.Identity.Account, Type: q.query.Type, Name: q.query.Name, Tag: q.query.Target.Tag, Action: q.actions[i],
			Live: live, LiveRule: is.Source, Shadow: shadow, ShadowRule: would.Source,
		})
	}
}

// answer says what a decision comes to.
func (s *Shadow) answer(d policy.Decision) string {
	switch {
	case d.Allowed:
		return customhouse.AnswerAllow
	case d.Maybe:
		return customhouse.AnswerMaybe
	case d.Undecided() && !s.o.Last:
		return customhouse.AnswerOpen
	}
	return customhouse.AnswerDeny
}

// note counts a difference.
func (s *Shadow) note(kind customhouse.Difference) {
	if kind.Live == customhouse.AnswerAllow {
		s.o.Counts.Lost.Add(1)
	} else {
		s.o.Counts.Gained.Add(1)
	}
	now := s.o.Now()
	if d := s.pending[kind]; d != nil {
		d.Count, d.Last = d.Count+1, now
		return
	}
	_, known := s.known[kind]
	if !known && len(s.known) >= shadowKinds {
		return // it is in the counts
	}
	d := kind
	d.Count, d.First, d.Last = 1, now, now
	s.pending[kind] = &d
	if known {
		return
	}
	s.known[kind] = struct{}{}
	s.o.Log.Info("the shadow policy would decide otherwise", "account", kind.Account, "type", kind.Type, "name", kind.Name,
		"tag", kind.Tag, "action", string(kind.Action), "decision", kind.Live, "rule", kind.LiveRule, "shadow", kind.Shadow, "shadow_rule", kind.ShadowRule)
	if s.o.First != nil {
		s.o.First(d)
	}
	if len(s.known) == shadowKinds {
		s.o.Log.Warn("the shadow policy differs in too many ways; further ones are counted only", "kinds", shadowKinds)
	}
}

// keep adds what was found since the last time to the store.
func (s *Shadow) keep() {
	if len(s.pending) == 0 {
		return
	}
	all := make([]customhouse.Difference, 0, len(s.pending))
	for _, d := range s.pending {
		all = append(all, *d)
	}
	clear(s.pending)
	if s.o.Store == nil {
		return
	}
	// What was found is kept even when everything ends.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	left, err := s.o.Store.AddDifferences(ctx, all)
	if err == nil && left > 0 {
		err = errors.New("there are too many kinds; `customhouse policy shadow --reset` forgets them")
	}
	if err != nil {
		s.o.Log.Error("differences of the shadow policy are not kept", "error", err)
	}
}
