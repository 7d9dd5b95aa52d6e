package audit

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"customhouse"
)

// What strangers do is for anybody to repeat a million times, under other names each time: kept one by one, it would push
// everything else out of what is kept. So entries of strangers have a share of it, and those above are counted.
const (
	share    = 20                  // strangers have one entry in so many of those that are kept, of each kind
	networks = 10                  // use up the share together
	horizon  = 90 * 24 * time.Hour // in which the share is there anew, where entries are kept for ever

	outcomes = 4 // of the requests of a network, which are counted by themselves

	countFor    = time.Hour
	maxNetworks = 10_000 // that are told apart
	sweepEvery  = time.Minute
)

// strangers are the entries of those who have proven nothing of who they are.
type strangers struct {
	ahead   map[bucket]time.Time // until when what was kept in full has used up the share; absent is the past
	changed map[string]struct{}  // kinds whose share was used since it was written down
	counts  map[countKey]*customhouse.AuditEntry
	told    map[string]struct{} // the networks in counts
	ends    time.Time           // when what was counted becomes entries
	swept   time.Time           // when there was last made room
}

// bucket is what has a share: a kind of entry, and a network within it.
type bucket struct {
	kind    string
	network string // "" is all of them
}

// countKey is what is counted together. Nothing of it is for a stranger to make up.
type countKey struct {
	kind, network, by, method string
	allowed                   bool
}

// newStrangers goes on with what was used up of the shares of kinds: a registry that begins anew does not hand them out again.
func newStrangers(used map[string]time.Time) strangers {
	s := strangers{ahead: map[bucket]time.Time{}, changed: map[string]struct{}{}, counts: map[countKey]*customhouse.AuditEntry{}, told: map[string]struct{}{}}
	for kind, until := range used {
		s.ahead[bucket{kind: kind}] = until
	}
	return s
}

// counted tells whether e, which is a stranger's, is counted and not kept. most is how many entries are kept, and age for
// how long.
func (s *strangers) counted(e *customhouse.AuditEntry, now time.Time, most int64, age time.Duration) bool {
	if age <= 0 {
		age = horizon
	}
	network := networkOf(e.Client)
	whole := max(1, most/share)
	if s.take(bucket{e.Kind, network}, now, max(1, whole/networks), age) && s.take(bucket{kind: e.Kind}, now, whole, age) {
		return false
	}
	key := countKey{e.Kind, network, e.By, "", e.Allowed}
	if e.Kind == customhouse.AuditLogin {
		key.method = e.Method
	}
	if _, told := s.told[network]; !told {
		if most := whole / outcomes / max(1, int64(age/countFor)); int64(len(s.told)) < max(1, most) {
			s.told[network] = struct{}{}
		} else {
			key.network = "" // too many to be told apart
		}
	}
	if len(s.counts) == 0 {
		s.ends = now.Add(countFor)
	}
	c := s.counts[key]
	if c == nil {
		c = &customhouse.AuditEntry{Time: e.Time, Kind: e.Kind, Allowed: e.Allowed, By: e.By, Method: key.method, Client: key.network}
		s.counts[key] = c
	}
	c.Count, c.Until = c.Count+1, e.Time
	return true
}

// take uses the share of b, of which there is most at once and as much again in age, and tells whether there was any left
// (the generic cell rate algorithm).
func (s *strangers) take(b bucket, now time.Time, most int64, age time.Duration) bool {
	each := age / time.Duration(most)
	at, ok := s.ahead[b]
	if !ok && len(s.ahead) >= maxNetworks && b.network != "" && !s.makeRoom(now) {
		return false
	}
	switch most := now.Add(age); {
	case at.Before(now):
		at = now
	case at.After(most): // the clock was wrong, or the share was for longer
		at = most
		s.set(b, at)
	}
	if at.Sub(now) > each*time.Duration(most-1) {
		return false
	}
	s.set(b, at.Add(each))
	return true
}

func (s *strangers) set(b bucket, ahead time.Time) {
	if s.ahead[b] = ahead; b.network == "" {
		s.changed[b.kind] = struct{}{}
	}
}

// used returns until when each kind has used up its share, of those that were asked for one since it was asked last.
func (s *strangers) used() map[string]time.Time {
	if len(s.changed) == 0 {
		return nil
	}
	used := make(map[string]time.Time, len(s.changed))
	for kind := range s.changed {
		if at, ok := s.ahead[bucket{kind: kind}]; ok { // else it was forgotten as past
			used[kind] = at
		}
	}
	clear(s.changed)
	return used
}

// makeRoom forgets the networks that have their whole share again, now and then, and tells whether there is room.
func (s *strangers) makeRoom(now time.Time) bool {
	if now.Sub(s.swept) >= sweepEvery {
		s.swept = now
		maps.DeleteFunc(s.ahead, func(_ bucket, at time.Time) bool { return at.Before(now) })
	}
	return len(s.ahead) < maxNetworks
}

// round returns what was counted, if it is time, and begins to count anew.
func (s *strangers) round(now time.Time, closing bool) []*customhouse.AuditEntry {
	if len(s.counts) == 0 || now.Before(s.ends) && !closing {
		return nil
	}
	counts := slices.SortedFunc(maps.Values(s.counts), func(a, b *customhouse.AuditEntry) int {
		if c := a.Time.Compare(b.Time); c != 0 {
			return c
		}
		return strings.Compare(a.Client, b.Client)
	})
	clear(s.counts)
	clear(s.told)
	return counts
}

// networkOf returns the network of a client, as limits count: an IPv6 client has a /64 to choose from.
func networkOf(client string) string {
	a, err := netip.ParseAddr(client)
	if err != nil {
		return ""
	}
	if a = a.Unmap().WithZone(""); a.Is6() {
		return netip.PrefixFrom(a, 64).Masked().String()
	}
	return a.String()
}
