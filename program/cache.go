package program

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
)

// CacheOptions are the settings of a Cache.
type CacheOptions struct {
	Allowed time.Duration    // how long an Allow is remembered; 0 is not at all
	Denied  time.Duration    // how long a Deny and a NoMatch are; 0 is not at all
	Now     func() time.Time // nil is time.Now
}

// Cache remembers answers, and asks the same question once for all who ask it at the same time. Questions are kept as
// their HMAC under a secret of the process, so that no password is. Errors are not remembered.
type Cache struct {
	asker  Asker
	o      CacheOptions
	secret [32]byte

	answers *otter.Cache[[sha256.Size]byte, remembered]

	mu      sync.Mutex
	flights map[[sha256.Size]byte]*flight
}

// remembered is an answer, good until a time.
type remembered struct {
	answer Answer
	until  time.Time
}

const maxRemembered = 10_000 // answers

var _ Asker = (*Cache)(nil)

// NewCache returns a cache before asker.
func NewCache(asker Asker, o CacheOptions) *Cache {
	c := &Cache{asker: asker, o: o, flights: map[[sha256.Size]byte]*flight{}}
	if c.o.Now == nil {
		c.o.Now = time.Now
	}
	rand.Read(c.secret[:])
	c.answers = otter.Must(&otter.Options[[sha256.Size]byte, remembered]{MaximumSize: maxRemembered})
	return c
}

// Close closes the asker.
func (c *Cache) Close() error { return c.asker.Close() }

// Ask implements Asker. Who leaves does not end a question that others wait for; the last who leaves does.
func (c *Cache) Ask(ctx context.Context, q Question) (Answer, error) {
	key := c.key(&q)
	if have, ok := c.answers.GetIfPresent(key); ok && c.o.Now().Before(have.until) {
		return have.answer, nil
	}
	f := c.board(ctx, key, q)
	select {
	case <-f.done:
		return f.answer, f.err
	case <-ctx.Done():
		c.leave(key, f)
		return Answer{}, context.Cause(ctx)
	}
}

// flight is a question under way.
type flight struct {
	waiting int // for the answer; guarded by Cache.mu
	cancel  context.CancelFunc

	done   chan struct{} // closed when what follows is there
	answer Answer
	err    error
}

// board joins the flight of key, or begins it.
func (c *Cache) board(ctx context.Context, key [sha256.Size]byte, q Question) *flight {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f, ok := c.flights[key]; ok {
		f.waiting++
		return f
	}
	f := &flight{waiting: 1, done: make(chan struct{})}
	ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	c.flights[key] = f
	go func() {
		defer f.cancel()
		f.answer, f.err = c.asker.Ask(ctx, q)
		if f.err == nil {
			c.remember(key, f.answer)
		}
		c.mu.Lock()
		c.forget(key, f)
		c.mu.Unlock()
		close(f.done)
	}()
	return f
}

// leave gives up waiting for f.
func (c *Cache) leave(key [sha256.Size]byte, f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.waiting--; f.waiting == 0 {
		c.forget(key, f)
		f.cancel()
	}
}

// forget lets the next question of key begin a flight of its own; mu is held.
func (c *Cache) forget(key [sha256.Size]byte, f *flight) {
	if c.flights[key] == f {
		delete(c.flights, key)
	}
}

func (c *Cache) remember(key [sha256.Size]byte, a Answer) {
	keep := c.o.Denied
	if a.Result == Allow {
		keep = c.o.Allowed
	}
	if keep > 0 {
		c.answers.Set(key, remembered{a, c.o.Now().Add(keep)})
	}
}

// key names a question without keeping it.
func (c *Cache) key(q *Question) (sum [sha256.Size]byte) {
	var short [512]byte
	m := hmac.New(sha256.New, c.secret[:])
	m.Write(q.appendKey(short[:0]))
	m.Sum(sum[:0])
	return sum
}
