package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// operation is what a client does again and again: one or several exchanges on its connection. n counts the operations
// of all clients of a load from 0. It adds the body bytes that it sends to c.bytes; those received are counted already.
type operation func(c *conn, n int) error

// load is one measurement.
type load struct {
	addr     string
	clients  int
	duration time.Duration
	op       operation

	// settle says when the measurement ends: false when the time is over, bodies cut off wherever they are; true when
	// every operation begun in that time has ended. Pushes settle: half a blob is no result.
	settle bool

	pid int // the server, for its CPU time and memory; 0 if that is unknown
}

// result is what was done in a measurement.
type result struct {
	ops, bytes int64
	elapsed    time.Duration
	cpu        time.Duration // of the server; 0 if unknown
	peak       int64         // resident bytes of the server; 0 if unknown
	busy       float64       // cores that other programs used
}

func (r result) perSecond() float64 { return float64(r.ops) / r.elapsed.Seconds() }
func (r result) megabytes() float64 { return float64(r.bytes) / 1e6 / r.elapsed.Seconds() }

// run connects, warms up, measures and disconnects. The first error of a client ends it.
func (l load) run(parent context.Context) (result, error) {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	conns := make([]*conn, l.clients)
	var stop atomic.Bool
	for i := range conns {
		c, err := dial(ctx, l.addr)
		if err != nil {
			return result{}, err
		}
		defer c.close()
		c.stop = &stop
		conns[i] = c
	}
	var next atomic.Int64
	var clients sync.WaitGroup
	each := func(client func(c *conn) error) {
		for _, c := range conns {
			clients.Go(func() {
				if err := client(c); err != nil && !errors.Is(err, errStopped) {
					cancel(err)
				}
			})
		}
	}
	once := func(c *conn) error {
		err := l.op(c, int(next.Add(1)-1))
		if err == nil {
			c.ops.Add(1)
		}
		return err
	}
	untilStopped := func(c *conn) error {
		for !stop.Load() {
			if err := once(c); err != nil {
				return err
			}
		}
		return nil
	}

	var from, to snapshot
	if l.settle {
		each(once)
		clients.Wait()
		from = l.snapshot(conns)
		each(untilStopped)
		pause(ctx, l.duration)
		stop.Store(true)
		clients.Wait()
		to = l.snapshot(conns)
	} else {
		each(untilStopped)
		pause(ctx, l.duration/5)
		from = l.snapshot(conns)
		pause(ctx, l.duration)
		to = l.snapshot(conns)
		stop.Store(true)
		clients.Wait()
	}
	if err := context.Cause(ctx); err != nil {
		return result{}, err
	}
	return to.since(from), nil
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// snapshot is a moment of a measurement: the counters so far.
type snapshot struct {
	at         time.Time
	ops, bytes int64
	cpu        time.Duration
	peak       int64
	busy       time.Duration
}

func (l load) snapshot(conns []*conn) snapshot {
	s := snapshot{busy: foreignTime(l.pid, l.settle)}
	if l.pid != 0 {
		s.cpu, s.peak = cpuTime(l.pid), peakMemory(l.pid)
		resetPeakMemory(l.pid)
	}
	for _, c := range conns {
		s.ops += c.ops.Load()
		s.bytes += c.bytes.Load()
	}
	s.at = time.Now()
	return s
}

func (s snapshot) since(from snapshot) result {
	elapsed := s.at.Sub(from.at)
	return result{
		ops:     s.ops - from.ops,
		bytes:   s.bytes - from.bytes,
		elapsed: elapsed,
		cpu:     s.cpu - from.cpu,
		peak:    s.peak,
		busy:    (s.busy - from.busy).Seconds() / elapsed.Seconds(),
	}
}
