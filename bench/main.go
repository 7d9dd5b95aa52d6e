package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	runtime.LockOSThread() // servers are started from this thread: see startProcess
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	customhouse, example string
	only, auth           string
	scenarios            string
	quick                bool
	rounds               int
	duration, patience   time.Duration
	dir                  string

	url, token, user string
	clients, pid     int
	pin              bool

	limitServer string
	service     bool
	dockerAuth  string
	answerLines bool
	answerPosts string
}

func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.customhouse, "customhouse", "customhouse", "the `binary` to measure")
	f.StringVar(&o.example, "config", "examples/two-users/customhouse.yml", "its configuration `file` with tokens")
	f.StringVar(&o.only, "only", "", "measure these `peers`: customhouse,docker-registry,limit")
	f.StringVar(&o.auth, "auth", "both", "measure with authentication off, with tokens, or both")
	f.StringVar(&o.scenarios, "scenarios", "", "measure these `scenarios` (default all)")
	f.StringVar(&o.scenarios, "scenario", "", "same as -scenarios")
	f.BoolVar(&o.quick, "quick", false, "less content, one second, one round")
	f.IntVar(&o.rounds, "rounds", 3, "measurements of which the median counts")
	f.DurationVar(&o.duration, "d", 3*time.Second, "duration of one measurement")
	f.DurationVar(&o.patience, "patience", 5*time.Second, "how long to wait for other programs to pause before one")
	f.StringVar(&o.dir, "dir", "/var/tmp", "`folder` for data; on a disk, or fsync costs nothing")
	f.StringVar(&o.url, "url", "", "measure the registry that runs at this `URL`")
	f.StringVar(&o.token, "token", "", "with -url: the bearer `token` to show")
	f.StringVar(&o.user, "user", "", "with -url: get tokens as `name:password`")
	f.IntVar(&o.clients, "c", 0, "with -url: `clients` (default those of the scenario)")
	f.IntVar(&o.pid, "pid", 0, "with -url: the server's process id, to tell its CPU time and memory")
	f.BoolVar(&o.pin, "pin", false, "with -url: keep the clients on the second core")
	f.StringVar(&o.limitServer, "limit-server", "", "be the limit server on this `address`, with data in -dir")
	f.BoolVar(&o.service, "service", false, "measure the token service in docker_auth's place, and nothing else")
	f.StringVar(&o.dockerAuth, "docker-auth", "", "measure docker_auth's `binary` (auth_server) beside the token service")
	f.BoolVar(&o.answerLines, "answer-lines", false, "be a worker that says yes to everything")
	f.StringVar(&o.answerPosts, "answer-posts", "", "be a webhook on this `address` that says yes to everything")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if o.quick {
		o.duration, o.rounds = time.Second, 1
	}
	if o.rounds < 1 || o.duration <= 0 {
		return o, errors.New("-rounds and -d have to be positive")
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	if o.limitServer != "" {
		return serveLimit(ctx, o.limitServer, o.dir)
	}
	switch {
	case o.answerLines:
		return answerLines(standardStreams())
	case o.answerPosts != "":
		return answerPosts(ctx, o.answerPosts)
	case o.service:
		return runService(ctx, o, stdout, stderr)
	}
	chosen, err := choose(scenarios(), o.scenarios, func(s scenario) string { return s.name })
	if err != nil {
		return err
	}
	size := sizes{tags: 10_000, repos: 2_000, large: 100 << 20}
	if o.quick {
		size.tags, size.repos = 1_000, 200
	}
	if o.url != "" {
		return runSingle(ctx, o, chosen, size, stdout)
	}
	if err := runAll(ctx, o, chosen, size, stdout, stderr); err != nil || o.scenarios != "" || o.auth == "off" || o.only != "" && !strings.Contains(o.only, nameCustomhouse) {
		return err
	}
	return runService(ctx, o, stdout, stderr)
}

// choose returns those of all whose names are in list, which is comma-separated; all if it is empty.
func choose[T any](all []T, list string, name func(T) string) ([]T, error) {
	if list == "" {
		return all, nil
	}
	var chosen []T
	for want := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(all, func(t T) bool { return name(t) == want })
		if i < 0 {
			var names []string
			for _, t := range all {
				names = append(names, name(t))
			}
			return nil, fmt.Errorf("no %q; there are %s", want, strings.Join(names, ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// runAll measures the peers that the machine has.
func runAll(ctx context.Context, o options, chosen []scenario, size sizes, stdout, stderr io.Writer) error {
	peers, err := findPeers(o)
	if err != nil {
		return err
	}
	modes := map[string][]bool{"off": {false}, "tokens": {true}, "both": {false, true}}[o.auth]
	if modes == nil {
		return fmt.Errorf("-auth %q: want off, tokens or both", o.auth)
	}
	d := &driver{
		peers: peers, scenarios: chosen, modes: modes, size: size,
		duration: o.duration, rounds: o.rounds, retries: 2 * o.rounds, patience: o.patience, dir: o.dir,
		cores: chooseCores(), progress: stderr,
	}
	awaitQuiet(ctx, o.patience)
	known, err := primitives(ctx, o.dir, o.duration)
	if err != nil {
		return err
	}
	r, err := d.run(ctx)
	if err != nil {
		return err
	}
	r.machine, r.primitives = describeMachine(), known
	r.write(stdout)
	if !r.complete() {
		return errors.New("not everything could be measured")
	}
	return nil
}

// findPeers returns the peers of -only, or all that there are.
func findPeers(o options) ([]namedPeer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	all := []namedPeer{
		{nameCustomhouse, customhousePeer{binary: o.customhouse, example: o.example}},
		{nameLimit, limitPeer{binary: self}},
	}
	if binary, err := exec.LookPath("docker-registry"); err == nil {
		all = slices.Insert(all, 1, namedPeer{nameDocker, &dockerPeer{binary: binary}})
	}
	return choose(all, o.only, func(p namedPeer) string { return p.name })
}

// runSingle measures a registry that runs already.
func runSingle(ctx context.Context, o options, chosen []scenario, size sizes, stdout io.Writer) error {
	u, err := url.Parse(o.url)
	if err != nil || u.Scheme != "http" || u.Port() == "" {
		return fmt.Errorf("-url %q: want http://HOST:PORT", o.url)
	}
	t := &target{addr: u.Host, auth: nobody{}, size: size}
	if user, password, ok := strings.Cut(o.user, ":"); ok {
		t.auth = &tokenEndpoint{addr: u.Host, user: user, password: password}
	} else if o.token != "" {
		t.auth = bearer(o.token)
	}
	if c := chooseCores(); o.pin && len(c.client) > 0 {
		runtime.GOMAXPROCS(len(c.client))
		if err := pinSelf(c.client); err != nil {
			return err
		}
	}
	d := &driver{duration: o.duration, rounds: 1}
	for _, s := range chosen {
		s.clients = cmp.Or(o.clients, s.clients)
		if err := t.fill(ctx, s.needs); err != nil {
			return err
		}
		for range o.rounds {
			c := d.measure(ctx, s, t, o.pid)
			if c.err != nil {
				return fmt.Errorf("%s: %w", s.name, c.err)
			}
			fmt.Fprintf(stdout, "%s c%d: %s\n", s.name, s.clients, c.describe(s.unit))
		}
	}
	return nil
}
