package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

// driver measures peers in turn, each as a new process with a new folder.
type driver struct {
	peers     []namedPeer
	scenarios []scenario
	modes     []bool // authorization with tokens? in this order
	size      sizes
	duration  time.Duration // of one measurement
	rounds    int           // measurements of a scenario, of which the median counts
	retries   int           // further ones if other programs disturbed some
	patience  time.Duration // how long to wait for a quiet machine before each
	dir       string        // data folders are made in it
	cores     cores
	progress  io.Writer
}

type namedPeer struct {
	name string
	peer peer
}

// cores says where pinned measurements run; empty where the machine does not let us choose.
type cores struct{ all, server, client []int }

// chooseCores gives the server one core and the client another.
func chooseCores() cores {
	all := allowedCores()
	if len(all) < 2 {
		return cores{all: all}
	}
	return cores{all: all, server: all[:1], client: all[1:2]}
}

// keepTo keeps this process on some of the cores (none for all) until back is called. If it does not work the figures are
// worse, and nothing else.
func (c cores) keepTo(some []int) (back func()) {
	if len(some) == 0 {
		return func() {}
	}
	pinSelf(some)
	before := runtime.GOMAXPROCS(len(some))
	return func() {
		runtime.GOMAXPROCS(before)
		pinSelf(c.all)
	}
}

// startup is what is known of a peer's starts.
type startup struct {
	first time.Duration // with an empty folder, until it answers
	again time.Duration // the median of some with the filled folder
	idle  int64         // resident bytes a second later
	fill  time.Duration // how long the content took to push
}

// run measures everything. What fails becomes a cell of the report that says so; the error is that of ctx.
func (d *driver) run(ctx context.Context) (*report, error) {
	dir, err := os.MkdirTemp(d.dir, "customhouse-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	r := newReport(d)
	for _, tokens := range d.modes {
		for _, p := range d.peers {
			if tokens && p.name == nameLimit {
				continue // it knows no tokens
			}
			if err := d.measurePeer(ctx, r, p, tokens, filepath.Join(dir, p.name+"-"+modeName(tokens))); err != nil {
				r.fail(p.name, tokens, err)
				fmt.Fprintf(d.progress, "%s: %v\n", p.name, err)
			}
			if ctx.Err() != nil {
				return r, context.Cause(ctx)
			}
		}
	}
	return r, nil
}

// measurePeer fills a new registry in the new folder dir, measures what is not pinned, starts it again and measures the
// rest.
func (d *driver) measurePeer(ctx context.Context, r *report, p namedPeer, tokens bool, dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o700); err != nil {
		return err
	}
	defer emptyFiles(dir)
	server, t, err := d.start(ctx, p.peer, dir, tokens, nil)
	if err != nil {
		return err
	}
	defer func() { server.stop() }()
	up := startup{first: server.ready}

	var need dataset
	for _, s := range d.scenarios {
		need |= s.needs
	}
	begin := time.Now()
	if err := t.fill(ctx, need); err != nil {
		return err
	}
	up.fill = time.Since(begin)
	fmt.Fprintf(d.progress, "%s, %s: filled in %.0f s\n", p.name, modeName(tokens), up.fill.Seconds())
	d.measureAll(ctx, r, p.name, tokens, t, server, false)

	var starts []time.Duration
	for range 5 {
		server.stop()
		if server, _, err = d.start(ctx, p.peer, dir, tokens, nil); err != nil {
			return err
		}
		starts = append(starts, server.ready)
	}
	slices.Sort(starts)
	up.again = starts[len(starts)/2]
	pause(ctx, time.Second)
	up.idle = residentMemory(server.pid())
	r.startups[peerKey{p.name, tokens}] = up

	server.stop()
	if server, t, err = d.start(ctx, p.peer, dir, tokens, d.cores.server); err != nil {
		return err
	}
	if err := t.fill(ctx, need); err != nil { // nothing to do, but the limit server has forgotten all
		return err
	}
	d.measureAll(ctx, r, p.name, tokens, t, server, true)
	return nil
}

// start runs a peer on the given cores (none for all) until it answers. The process may be stopped even on an error.
func (d *driver) start(ctx context.Context, p peer, dir string, tokens bool, on []int) (*process, *target, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, nil, err
	}
	cmd, auth, err := p.command(dir, addr, tokens)
	if err != nil {
		return nil, nil, err
	}
	server, err := startProcess(ctx, cmd, addr, d.cores, on)
	if err != nil {
		return server, nil, err
	}
	return server, &target{addr: addr, auth: auth, size: d.size}, nil
}

// measureAll measures the scenarios that are, or are not, pinned.
func (d *driver) measureAll(ctx context.Context, r *report, name string, tokens bool, t *target, server *process, pinned bool) {
	if pinned {
		defer d.cores.keepTo(d.cores.client)()
	}
	_, issues := t.auth.(*tokenEndpoint)
	for _, s := range d.scenarios {
		if s.pinned != pinned || s.tokens && !issues || ctx.Err() != nil {
			continue
		}
		c := d.measure(ctx, s, t, server.pid())
		r.cells[cellKey{s.name, name, tokens}] = c
		fmt.Fprintf(d.progress, "%s, %s: %s: %s\n", name, modeName(tokens), s.name, c.describe(s.unit))
	}
}

// measure proves that the server does what the scenario asks for, and measures how fast: the median of the rounds that
// other programs did not disturb, or of all if there are none.
func (d *driver) measure(ctx context.Context, s scenario, t *target, pid int) cell {
	var all, calm []result
	for len(calm) < d.rounds && len(all) < d.rounds+d.retries {
		w, err := s.prepare(ctx, t) // anew for each round: a token is not valid for long
		if err == nil && len(all) == 0 {
			err = w.verify(ctx)
		}
		if err != nil {
			return cell{err: err}
		}
		flush()
		awaitQuiet(ctx, d.patience)
		if s.settle {
			defer warmMemory(expectedBytes(all, d.duration))() // cooled after all rounds: its pages stay for the next
		}
		l := load{addr: t.addr, clients: s.clients, duration: d.duration, op: w.op, settle: s.settle, pid: pid}
		one, err := l.run(ctx)
		if err != nil {
			return cell{err: err}
		}
		all = append(all, one)
		if one.busy <= busyShare {
			calm = append(calm, one)
		}
	}
	if len(calm) > 0 {
		all = calm
	}
	slices.SortFunc(all, func(a, b result) int { return cmp.Compare(s.unit.of(a), s.unit.of(b)) })
	median := all[len(all)/2]
	for _, one := range all {
		median.peak = max(median.peak, one.peak)
	}
	return cell{result: median}
}

// expectedBytes guesses how much page cache the next round will fill: half as much again as the one before, or 1.2 GB/s.
func expectedBytes(before []result, d time.Duration) int64 {
	if len(before) == 0 {
		return int64(1.2e9 * d.Seconds())
	}
	return before[len(before)-1].bytes*3/2 + 256<<20
}

// emptyFiles frees the space of the large files below dir without removing them: ext4 without a journal makes new files
// slowly for minutes after many have been removed (recently_deleted in fs/ext4/ialloc.c), which the next peer would pay.
func emptyFiles(dir string) {
	filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return nil
		}
		if info, err := entry.Info(); err == nil && info.Size() > 64<<10 {
			os.Truncate(path, 0) // what stays is removed in the end
		}
		return nil
	})
}
