package gate

import (
	"errors"
	"fmt"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"customhouse"
)

// Rates are how many requests are let through. 0 is no limit, and a burst of 0 is ten seconds of its rate.
type Rates struct {
	PerAccount     int // a second, of one account
	Burst          int // of one account at once
	PerClient      int // a second, without an account, from one client; an IPv6 client is its /64
	PerClientBurst int // of these at once
}

// check tells what is wrong with r.
func (r Rates) check() error {
	if r.PerAccount < 0 || r.Burst < 0 || r.PerClient < 0 || r.PerClientBurst < 0 {
		return errors.New("a limit of requests is negative")
	}
	return nil
}

// pace limits requests by when each may come if all kept the rate (the generic cell rate algorithm): one number for each
// account or client that is ahead of that, and none for the others.
type pace struct {
	rates  Rates
	seed   maphash.Seed
	shards *[paceShards]paceShard
}

type paceShard struct {
	mu  sync.Mutex
	due map[uint64]int64 // Unix nanoseconds, by account or client
	_   [40]byte         // keeps two shards off one cache line
}

const (
	paceShards = 64
	maxPace    = 200_000 // accounts and clients, about 10 MiB
)

func newPace(r Rates) *pace {
	p := &pace{rates: r, seed: maphash.MakeSeed(), shards: &[paceShards]paceShard{}}
	for i := range p.shards {
		p.shards[i].due = map[uint64]int64{}
	}
	return p
}

// carryOver takes over what p's predecessor knows.
func (p *pace) carryOver(before *pace) { p.seed, p.shards = before.seed, before.shards }

// take counts a request of an account, or of a client without one, and returns how long it is to wait, 0 if it is not one
// too many.
func (p *pace) take(account string, client netip.Addr, now time.Time) time.Duration {
	if account != "" {
		return p.request(p.rates.PerAccount, p.rates.Burst, func(h *maphash.Hash) { h.WriteByte('a'); h.WriteString(account) }, now)
	}
	client = clientOf(client)
	return p.request(p.rates.PerClient, p.rates.PerClientBurst, func(h *maphash.Hash) {
		b := client.As16() // the zero Addr is an address like others
		h.WriteByte('c')
		h.Write(b[:])
	}, now)
}

func (p *pace) request(rate, burst int, key func(*maphash.Hash), now time.Time) time.Duration {
	if rate == 0 {
		return 0
	}
	if burst == 0 {
		burst = 10 * rate
	}
	var h maphash.Hash
	h.SetSeed(p.seed)
	key(&h)
	sum := h.Sum64()
	s := &p.shards[sum%paceShards]
	each := int64(time.Second) / int64(rate)
	at := now.UnixNano()
	s.mu.Lock()
	defer s.mu.Unlock()
	due := max(s.due[sum], at)
	if ahead := due - at; ahead > each*int64(burst-1) {
		return time.Duration(ahead - each*int64(burst-1))
	}
	if len(s.due) >= maxPace/paceShards {
		s.makeRoom(at)
	}
	s.due[sum] = due + each
	return 0
}

// makeRoom forgets who is not ahead any more and, if that is not enough, any until an eighth is free.
func (s *paceShard) makeRoom(now int64) {
	const most = maxPace / paceShards
	for key, due := range s.due {
		if due <= now {
			delete(s.due, key)
		}
	}
	for key := range s.due {
		if len(s.due) <= most-most/8 {
			return
		}
		delete(s.due, key)
	}
}

// clientOf is the address that limits count: an IPv6 client has a /64 to choose from.
func clientOf(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		a = netip.PrefixFrom(a, 64).Masked().Addr()
	}
	return a
}

// paced counts a request by who, nobody where that is not known, and refuses it if it is one too many.
func (g *Gate) paced(id string, who customhouse.Identity, cred *customhouse.Credential) *Refusal {
	wait := g.pace.take(who.Account, cred.Client, g.now())
	if wait == 0 {
		return nil
	}
	return &Refusal{
		ID: id, Identity: who, RetryAfter: wait,
		Ground: Ground{By: customhouse.ByLimit, Reason: fmt.Sprintf("too many requests, for another %v", wait)},
		Err:    customhouse.Errorf(customhouse.TooManyRequests, "too many requests"),
	}
}
