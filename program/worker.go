package program

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// WorkerOptions are the settings of a Worker.
type WorkerOptions struct {
	Args             []string          // of the program
	Environment      map[string]string // of the program, besides ours
	CleanEnvironment bool              // take nothing of our environment but PATH and LANG
	Timeout          time.Duration     // of a question, waiting for its turn included; 0 is DefaultTimeout
	Processes        int               // that run; 0 is 2
	Pipeline         int               // questions that a process may have at once; 0 is 1
	Log              *slog.Logger      // told when a process ends, and what it complains of; nil is silent
}

// Worker asks programs that keep running: a question is a line of JSON on standard input, its answer a line on standard
// output. A process that hangs, ends, or says what is no answer is killed and started again, after a time that grows
// while it keeps failing.
type Worker struct {
	command command
	o       WorkerOptions
	ids     atomic.Uint64

	life context.Context // of the processes
	end  context.CancelFunc
	kept sync.WaitGroup

	mu      sync.Mutex
	running []*conversation
	waiting []chan *conversation // in the order of their coming
	broken  int                  // processes that have failed so often that nobody waits for them
	changed chan struct{}        // closed when broken grows
}

const (
	defaultWorkers = 2
	brokenAfter    = 3                // failures in a row
	goodAfter      = 10 * time.Second // how long a process that is no failure runs
	firstPause     = 100 * time.Millisecond
	longestPause   = 30 * time.Second
)

var _ Asker = (*Worker)(nil)

// NewWorker starts the program called name, a path or a name in PATH, which has to be there. What it does from then on is
// an outage at most.
func NewWorker(name string, o WorkerOptions) (*Worker, error) {
	c, err := newCommand(name, o.Args, o.CleanEnvironment, o.Environment)
	if err != nil {
		return nil, err
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Processes <= 0 {
		o.Processes = defaultWorkers
	}
	if o.Pipeline <= 0 {
		o.Pipeline = 1
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	w := &Worker{command: c, o: o, changed: make(chan struct{})}
	w.life, w.end = context.WithCancel(context.Background())
	for range o.Processes {
		w.kept.Go(w.keep)
	}
	return w, nil
}

// Close tells the programs that no question follows, and kills those that do not end for it.
func (w *Worker) Close() error {
	w.end()
	w.kept.Wait()
	return nil
}

// keep keeps one process running until the end.
func (w *Worker) keep() {
	failures := 0
	for w.life.Err() == nil {
		began := time.Now()
		err := w.serve()
		if w.life.Err() != nil {
			return
		}
		if time.Since(began) >= goodAfter {
			failures = 0
		}
		pause := min(firstPause<<min(failures, 16), longestPause)
		pause -= rand.N(pause / 4)
		failures++
		w.o.Log.Error("a worker has ended and is started again", "command", w.command.path, "error", err, "pause", pause.String())
		w.rest(pause, failures >= brokenAfter)
	}
}

// rest waits before a process is started again. While all of them rest that have failed often, no question waits.
func (w *Worker) rest(pause time.Duration, broken bool) {
	if broken {
		w.mu.Lock()
		w.broken++
		close(w.changed)
		w.changed = make(chan struct{})
		w.mu.Unlock()
	}
	select {
	case <-w.life.Done():
	case <-time.After(pause):
	}
	if broken {
		w.mu.Lock()
		w.broken--
		w.mu.Unlock()
	}
}

// serve runs one process to its end and returns why it has ended.
func (w *Worker) serve() error {
	c, err := w.converse()
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.running = append(w.running, c)
	for range w.o.Pipeline {
		w.offer(c)
	}
	w.mu.Unlock()
	err = c.run(w.life)
	w.mu.Lock()
	w.running = slices.DeleteFunc(w.running, func(have *conversation) bool { return have == c })
	w.mu.Unlock()
	c.fail()
	return err
}

// Ask implements Asker. A question whose process ends for another reason is asked once more.
func (w *Worker) Ask(ctx context.Context, q Question) (Answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, w.o.Timeout, ErrTimeout)
	defer cancel()
	for try := 1; ; try++ {
		c, err := w.pick(ctx)
		if err != nil {
			return Answer{}, err
		}
		answer, err := c.ask(ctx, &q)
		if errors.Is(err, errNotText) {
			return Answer{Result: Deny, Reason: err.Error()}, nil
		}
		if !errors.Is(err, errEnded) || try == 2 || w.life.Err() != nil {
			return answer, err
		}
	}
}

// pick returns the conversation with the fewest questions, in which the caller has a place then.
func (w *Worker) pick(ctx context.Context) (*conversation, error) {
	w.mu.Lock()
	var best *conversation
	for _, c := range w.running {
		if c.open < w.o.Pipeline && !c.over.Load() && (best == nil || c.open < best.open) {
			best = c
		}
	}
	if best != nil {
		best.open++
		w.mu.Unlock()
		return best, nil
	}
	if len(w.waiting) >= waitingFor*w.o.Processes*w.o.Pipeline {
		w.mu.Unlock()
		return nil, ErrBusy
	}
	place := make(chan *conversation, 1)
	w.waiting = append(w.waiting, place)
	w.mu.Unlock()
	return w.await(ctx, place)
}

// await waits for a place in a conversation.
func (w *Worker) await(ctx context.Context, place chan *conversation) (*conversation, error) {
	for {
		w.mu.Lock()
		broken, changed := w.broken == w.o.Processes, w.changed
		w.mu.Unlock()
		err := errors.New("the program keeps ending")
		if !broken {
			select {
			case c := <-place:
				return c, nil
			case <-changed:
				continue
			case <-ctx.Done():
				err = context.Cause(ctx)
			case <-w.life.Done():
				err = ErrClosed
			}
		}
		w.mu.Lock()
		w.waiting = slices.DeleteFunc(w.waiting, func(have chan *conversation) bool { return have == place })
		w.mu.Unlock()
		select {
		case c := <-place: // it has come at the last moment
			w.release(c)
		default:
		}
		return nil, err
	}
}

// offer gives a free place of c to who waits longest; mu is held.
func (w *Worker) offer(c *conversation) {
	if len(w.waiting) > 0 && c.open < w.o.Pipeline {
		c.open++
		w.waiting[0] <- c
		w.waiting = w.waiting[1:]
	}
}

// release gives up a place in c.
func (w *Worker) release(c *conversation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c.open--
	if !c.over.Load() {
		w.offer(c)
	}
}

// errEnded says that a process has ended before it answered.
var errEnded = errors.New("the program has ended before it answered")
