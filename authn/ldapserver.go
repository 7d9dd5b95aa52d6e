package authn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ldapServers are servers with the same content: the first that is well is asked.
type ldapServers struct {
	options *LDAPOptions
	all     []*ldapServer
	finding *ldapPool // of connections that search under our own name
	binding *ldapPool // of connections that check passwords
}

// ldapServer is one of them.
type ldapServer struct {
	options   *LDAPOptions
	url       string
	name      string // in its certificate
	address   string
	encrypted bool
	startTLS  bool

	mu       sync.Mutex
	failures int       // in a row
	until    time.Time // it is not asked before, after a failure
	last     error
}

// How long a server is left alone after its first failure, and at most: an end of its outage is seen within a second.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = time.Second
)

func newLDAPServers(o LDAPOptions) (*ldapServers, error) {
	if len(o.Servers) == 0 {
		return nil, errors.New("no servers")
	}
	l := &ldapServers{options: &o}
	for _, u := range o.Servers {
		host, address, encrypted, err := parseLDAPURL(u)
		if err != nil {
			return nil, fmt.Errorf("server %q: %w", u, err)
		}
		l.all = append(l.all, &ldapServer{
			options: &o, url: u, name: cmp.Or(o.ServerName, host), address: address, encrypted: encrypted, startTLS: !encrypted && !o.Plaintext,
		})
	}
	l.finding, l.binding = newLDAPPool(o.Connections), newLDAPPool(o.Connections)
	return l, nil
}

// search runs op on a connection that is bound under our own name. After a failure of the server it runs again, on the
// next.
func (l *ldapServers) search(ctx context.Context, op func(*ldapConn) error) error {
	return l.on(ctx, l.finding, (*ldapServer).introduce, op)
}

// check runs op on a connection that is bound as anybody.
func (l *ldapServers) check(ctx context.Context, op func(*ldapConn) error) error {
	return l.on(ctx, l.binding, func(*ldapServer, context.Context, *ldapConn) error { return nil }, op)
}

func (l *ldapServers) close() {
	l.finding.close()
	l.binding.close()
}

// on runs op on a connection of a pool to the first server that is well.
func (l *ldapServers) on(ctx context.Context, p *ldapPool, introduce func(*ldapServer, context.Context, *ldapConn) error, op func(*ldapConn) error) error {
	if err := p.enter(ctx); err != nil {
		return err
	}
	defer p.leave()
	var failures error
	for i, s := range l.all {
		if wait := s.ask(l.options.Now(), l.options.Timeout); wait != nil {
			failures = errors.Join(failures, fmt.Errorf("%s: %w", s.url, wait))
			continue
		}
		within, cancel := share(ctx, len(l.all)-i)
		failed, err := s.run(within, p, introduce, op)
		cancel()
		if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) { // the caller has left
			s.forgive()
			return ctx.Err()
		}
		if !failed {
			s.well(l.options)
			return err
		}
		s.ill(l.options, err)
		failures = errors.Join(failures, fmt.Errorf("%s: %w", s.url, err))
		if ctx.Err() != nil {
			break
		}
	}
	return failures
}

// share returns a context with a fair part of the time that is left for so many servers.
func share(ctx context.Context, servers int) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok || servers < 2 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(deadline)/time.Duration(servers))
}

// run runs op on a connection to s, and tells whether s has failed. A connection that has rested may have been closed by
// the server: then it runs on a new one.
func (s *ldapServer) run(ctx context.Context, p *ldapPool, introduce func(*ldapServer, context.Context, *ldapConn) error, op func(*ldapConn) error) (failed bool, err error) {
	for {
		c := p.take(s)
		rested := c != nil
		if !rested {
			if c, err = s.dial(ctx); err != nil {
				return true, err
			}
			if err = introduce(s, ctx, c); err != nil {
				c.end()
				return true, err
			}
		}
		err = op(c)
		switch {
		case !c.failed:
			p.rest(s, c)
			return false, err
		case !rested || ctx.Err() != nil:
			c.end()
			return true, err
		}
		c.end()
	}
}

// ask returns nil if a request may go to s. After a failure one may see whether it is back, while the others do without.
func (s *ldapServer) ask(now time.Time, timeout time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures == 0 {
		return nil
	}
	if now.Before(s.until) {
		return fmt.Errorf("left alone after: %w", s.last)
	}
	s.until = now.Add(timeout)
	return nil
}

// well notes that s has answered.
func (s *ldapServer) well(o *LDAPOptions) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures > 0 {
		o.Log.Info("LDAP server is back", "server", s.url)
	}
	s.failures, s.last = 0, nil
}

// ill notes that s has failed.
func (s *ldapServer) ill(o *LDAPOptions, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures == 0 {
		o.Log.Error("LDAP server has failed", "server", s.url, "error", err)
	}
	s.until = o.Now().Add(min(firstPause<<min(s.failures, 8), longestPause))
	s.failures++
	s.last = err
}

// forgive notes that nothing was learned about s.
func (s *ldapServer) forgive() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = time.Time{}
}

// longestRest is how long a connection may rest.
const longestRest = time.Minute

// ldapPool holds connections of one kind to all servers, those in use and those at rest.
type ldapPool struct {
	places chan struct{} // holds a value for each in use

	mu     sync.Mutex
	rests  map[*ldapServer][]*ldapConn
	closed bool
}

func newLDAPPool(size int) *ldapPool {
	return &ldapPool{places: make(chan struct{}, size), rests: map[*ldapServer][]*ldapConn{}}
}

// enter waits for a place.
func (p *ldapPool) enter(ctx context.Context) error {
	select {
	case p.places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *ldapPool) leave() { <-p.places }

// take returns the connection that has rested least, nil if there is none.
func (p *ldapPool) take(s *ldapServer) *ldapConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for rest := p.rests[s]; len(rest) > 0; rest = p.rests[s] {
		c := rest[len(rest)-1]
		p.rests[s] = rest[:len(rest)-1]
		if !c.IsClosing() && time.Since(c.since) < longestRest {
			return c
		}
		c.end()
	}
	return nil
}

// rest keeps a connection for the next.
func (p *ldapPool) rest(s *ldapServer, c *ldapConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || c.spent || c.IsClosing() {
		c.end()
		return
	}
	c.since = time.Now()
	p.rests[s] = append(p.rests[s], c)
}

// close ends the connections at rest, and lets no more come to rest.
func (p *ldapPool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, rest := range p.rests {
		for _, c := range rest {
			c.end()
		}
	}
	clear(p.rests)
}
