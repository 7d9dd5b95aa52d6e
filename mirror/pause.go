package mirror

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"customhouse"
)

// pause is until when a registry is left alone: it has asked us to wait, or does not answer.
type pause struct {
	mu       sync.Mutex
	until    time.Time
	limited  bool // it has asked for it
	failures int  // in a row
}

// Bounds of a pause.
const (
	usualPause   = time.Minute // of a registry that does not say how long
	longestPause = time.Hour
	failedPause  = 500 * time.Millisecond // after the second failure, then twice as long each time
	longestFail  = 15 * time.Second
)

// err tells with an error that nothing is to be sent at present.
func (p *pause) err(host string, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !now.Before(p.until) {
		return nil
	}
	if p.limited {
		return customhouse.Errorf(customhouse.TooManyRequests, "%s has asked this registry to wait; try again later", host).
			WithDetail(map[string]int64{"retryAfter": int64(p.until.Sub(now)/time.Second) + 1})
	}
	return unavailable(host, fmt.Errorf("%d requests in a row have failed", p.failures))
}

// answered takes note of an answer.
func (p *pause) answered(h http.Header, status int, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures = 0
	remaining, _, _ := strings.Cut(h.Get("Ratelimit-Remaining"), ";")
	switch {
	case status == http.StatusTooManyRequests:
		p.limited, p.until = true, now.Add(wait(h.Get("Retry-After"), now))
	case strings.TrimSpace(remaining) == "0": // the next request would be refused, and might count
		p.limited, p.until = true, now.Add(wait(h.Get("Ratelimit-Reset"), now))
	}
}

// failed takes note of a request without an answer.
func (p *pause) failed(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failures++; p.failures > 1 {
		p.limited, p.until = false, now.Add(min(failedPause<<min(p.failures-2, 10), longestFail))
	}
}

// wait reads for how long to wait: seconds or a date (RFC 9110 section 10.2.3).
func wait(s string, now time.Time) time.Duration {
	d := usualPause
	if n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 31); err == nil {
		d = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(s); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, time.Second), longestPause)
}

func unavailable(host string, cause error) error {
	return customhouse.Errorf(customhouse.Unavailable, "%s, which this is a mirror of, cannot be asked at present", host).WithCause(cause)
}
