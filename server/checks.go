package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"customhouse"
)

// Check is something outside of the registry that its readiness depends on. A check that fails makes readiness say no,
// and nothing else: content is served as long as there is any.
type Check struct {
	Name      string
	Every     time.Duration // between two probes; 0 is 10 seconds
	Threshold int           // failures in a row until readiness says no; 0 is 1
	Probe     func(context.Context) error
}

// Checks runs checks and knows how they went.
type Checks struct {
	checks []Check

	mu     sync.Mutex
	failed map[string]failure
	down   bool // somebody has said so by hand
}

type failure struct {
	times int
	err   error
}

// NewChecks returns checks that have not run yet: they count as passed.
func NewChecks(checks []Check) *Checks {
	c := &Checks{failed: map[string]failure{}}
	for _, check := range checks {
		c.Add(check)
	}
	return c
}

// Add adds a check, before Run.
func (c *Checks) Add(check Check) {
	if check.Every <= 0 {
		check.Every = 10 * time.Second
	}
	check.Threshold = max(check.Threshold, 1)
	c.checks = append(c.checks, check)
}

// Run probes until ctx ends.
func (c *Checks) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, check := range c.checks {
		all.Go(func() {
			ticks := time.NewTicker(check.Every)
			defer ticks.Stop()
			for {
				c.note(check.Name, check.probe(ctx))
				select {
				case <-ctx.Done():
					return
				case <-ticks.C:
				}
			}
		})
	}
	all.Wait()
}

func (c Check) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.Every)
	defer cancel()
	return c.Probe(ctx)
}

func (c *Checks) note(name string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		delete(c.failed, name)
		return
	}
	c.failed[name] = failure{c.failed[name].times + 1, err}
}

// Down says by hand that the registry is not to be used, or that it is again.
func (c *Checks) Down(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
}

// Failing returns, by name, why checks fail; none when all is well.
func (c *Checks) Failing() map[string]string {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	failing := map[string]string{}
	for _, check := range c.checks {
		if f, ok := c.failed[check.Name]; ok && f.times >= check.Threshold {
			failing[check.Name] = f.err.Error()
		}
	}
	if c.down {
		failing["manual_http_status"] = "taken down by hand"
	}
	return failing
}

// err is what readiness answers.
func (c *Checks) err() error {
	failing := c.Failing()
	if len(failing) == 0 {
		return nil
	}
	return customhouse.Errorf(customhouse.Unavailable, "a health check fails").WithCause(fmt.Errorf("%v", failing))
}

// ProbeFile fails while there is a file at path: operators take a registry out of service by making it.
func ProbeFile(path string) func(context.Context) error {
	return func(context.Context) error {
		switch _, err := os.Stat(path); {
		case err == nil:
			return errors.New("file exists")
		case errors.Is(err, os.ErrNotExist):
			return nil
		default:
			return err
		}
	}
}

// ProbeHTTP fails unless HEAD of the URL with these headers is answered with the status.
func ProbeHTTP(client *http.Client, url string, headers http.Header, status int) func(context.Context) error {
	return func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodHead, url, nil)
		if err != nil {
			return err
		}
		r.Header = headers.Clone()
		answer, err := client.Do(r)
		if err != nil {
			return err
		}
		answer.Body.Close()
		if answer.StatusCode != status {
			return fmt.Errorf("status %d, want %d", answer.StatusCode, status)
		}
		return nil
	}
}

// ProbeTCP fails unless somebody listens on addr.
func ProbeTCP(addr string) func(context.Context) error {
	return func(ctx context.Context) error {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return c.Close()
	}
}
