package authz

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"customhouse"
	"customhouse/policy"
)

// Defaults of StoredOptions.
const (
	DefaultRefresh = time.Minute
	staleAfter     = 10 // refreshes
	refreshTimeout = 30 * time.Second
	firstWait      = 5 * time.Second // for the first reading, of whoever asks before it is done
)

// StoredOptions are the settings of a Stored.
type StoredOptions struct {
	Refresh  time.Duration // how often the list is read; 0 is DefaultRefresh
	MaxStale time.Duration // how old a list may be and still decide; 0 is ten times Refresh, at least ten minutes
	// Compile makes a policy of the rules; nil is policy.Compile without options.
	Compile func([]policy.Rule) (*policy.Policy, error)
	Log     *slog.Logger     // told when the list changes or cannot be read; nil is silent
	Now     func() time.Time // nil is time.Now

	Previous *Stored // of the same source, whose list is carried over; nil begins without
}

// Stored decides by an access list that is kept elsewhere. It reads the list again and again in the background; when that
// fails, or an entry is bad, the last good list stays, until it is too old to be trusted: then it cannot tell, as before
// there was one. An empty list has nothing to say.
type Stored struct {
	source Source
	o      StoredOptions
	list   atomic.Pointer[storedList] // nil before the first good one
	tried  chan struct{}              // closed when the list has been read, or could not be
	end    context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	failure error // of the last reading
}

// storedList is a list that was good when it was read.
type storedList struct {
	policy  *policy.Policy
	entries []Entry
	read    time.Time
}

var _ Authorizer = (*Stored)(nil)

// NewStored returns an authorizer with the name of source, and begins to read. Close ends it.
func NewStored(source Source, o StoredOptions) *Stored {
	o.Refresh = cmp.Or(o.Refresh, DefaultRefresh)
	o.MaxStale = cmp.Or(o.MaxStale, max(staleAfter*o.Refresh, 10*time.Minute))
	if o.Compile == nil {
		o.Compile = func(rules []policy.Rule) (*policy.Policy, error) { return policy.Compile(rules, policy.Options{}) }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Stored{source: source, o: o, tried: make(chan struct{})}
	if o.Previous != nil {
		if had := o.Previous.list.Load(); had != nil {
			s.list.Store(&storedList{policy: had.policy, read: had.read}) // to be compiled anew, perhaps in another way
		}
		s.o.Previous = nil // or each would hold all those before it
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.end = cancel
	s.done.Go(func() { s.run(ctx) })
	return s
}

// Close ends the reading and waits until it has ended.
func (s *Stored) Close() error {
	s.end()
	s.done.Wait()
	return nil
}

// run reads the list, now and then, until ctx ends. Replicas that start together soon read at different times.
func (s *Stored) run(ctx context.Context) {
	for first := true; ; first = false {
		s.refresh(ctx)
		if first {
			close(s.tried)
		}
		wait := s.o.Refresh - time.Duration(rand.Int64N(int64(s.o.Refresh)/5+1))
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// refresh reads the list once.
func (s *Stored) refresh(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	began := s.o.Now()
	list, err := s.read(bounded)
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.failure
	s.failure = err
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		if before == nil || before.Error() != err.Error() {
			s.o.Log.Error("access list keeps its former content", "source", s.source.Name(), "error", err)
		}
		return
	}
	list.read = began
	had := s.list.Swap(list)
	if had == nil || before != nil || !slices.EqualFunc(had.entries, list.entries, sameEntry) {
		s.o.Log.Info("access list read", "source", s.source.Name(), "entries", len(list.entries))
		for i := 1; i < len(list.entries); i++ {
			if seq := list.entries[i].Seq; seq == list.entries[i-1].Seq {
				s.o.Log.Warn("two entries of the access list have one place: which is asked first is up to the source", "source", s.source.Name(), "seq", seq)
				break
			}
		}
	}
}

// read returns the list as the source has it. A panic of the source is an error of this reading alone.
func (s *Stored) read(ctx context.Context) (list *storedList, err error) {
	defer func() {
		if r := recover(); r != nil {
			list, err = nil, fmt.Errorf("panic: %v", r)
		}
	}()
	entries, err := s.source.Entries(ctx)
	if err != nil {
		return nil, err
	}
	entries = slices.Clone(entries)
	slices.SortStableFunc(entries, func(a, b Entry) int { return cmp.Compare(a.Seq, b.Seq) })
	rules := make([]policy.Rule, len(entries))
	for i := range entries {
		rules[i] = entries[i].Rule
		rules[i].Source = cmp.Or(rules[i].Source, fmt.Sprintf("%s:%d", s.source.Name(), entries[i].Seq))
	}
	if had := s.list.Load(); had != nil && slices.EqualFunc(had.entries, entries, sameEntry) {
		return &storedList{policy: had.policy, entries: entries}, nil
	}
	p, err := s.o.Compile(rules)
	if err != nil {
		return nil, err
	}
	return &storedList{policy: p, entries: entries}, nil
}

// sameEntry tells whether two entries say the same.
func sameEntry(a, b Entry) bool {
	return a.Seq == b.Seq && reflect.DeepEqual(a.Rule, b.Rule)
}

// Name returns the name of the source.
func (s *Stored) Name() string { return s.source.Name() }

// Authorize implements Authorizer. Before the first reading is done it waits a while for that.
func (s *Stored) Authorize(ctx context.Context, q policy.Query, actions []customhouse.Action) ([]policy.Decision, error) {
	list := s.list.Load()
	if list == nil {
		select {
		case <-s.tried:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(firstWait):
		}
		if list = s.list.Load(); list == nil {
			return nil, fmt.Errorf("there is no access list yet: %w", cmp.Or(s.Failure(), errors.New("it is being read")))
		}
	}
	if age := s.o.Now().Sub(list.read); age > s.o.MaxStale {
		return nil, fmt.Errorf("the access list is %v old: %w", age.Truncate(time.Second), cmp.Or(s.Failure(), errors.New("it is being read")))
	}
	decisions := slices.Clone(list.policy.DecideAll(q, actions))
	for i := range decisions {
		if d := &decisions[i]; !d.Undecided() {
			d.By = s.Name()
		}
	}
	return decisions, nil
}

// Age returns how long ago the list that decides was read; false before there is one.
func (s *Stored) Age() (time.Duration, bool) {
	list := s.list.Load()
	if list == nil {
		return 0, false
	}
	return s.o.Now().Sub(list.read), true
}

// Failure returns why the last reading has failed; nil if it has not.
func (s *Stored) Failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}
