package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"customhouse"
	"customhouse/config"
	"customhouse/index"
	"customhouse/registry"
	"customhouse/server"
)

// Bounds on what a client may hold on to (RFC 9112; net/http answers 431 and 408).
const (
	headerTime = 10 * time.Second
	idleTime   = 2 * time.Minute
	maxHeader  = 28 << 10 // net/http adds 4 KiB
)

// role is what a process serves, and where it has its configuration from.
type role struct {
	registry bool                           // with content; else a token service alone
	flags    []string                       // that replace parts of the configuration
	file     string                         // the configuration; "" for none
	load     func() (*config.Config, error) // reads it
}

// another is the hint that something else is to be named, which the flag does where there is one.
func (r role) another(what, flag string) string {
	if slices.Contains(r.flags, flag) {
		return "name another " + what + " with " + flag
	}
	return "name another " + what + " in " + r.file
}

// house is a running server: what lives as long as the process, and what a reload exchanges.
type house struct {
	role  role
	level *slog.LevelVar
	log   *slog.Logger

	lock      *os.File
	index     *index.DB // nil without a data folder
	parts     parts
	server    *server.Server
	tls       atomic.Pointer[encryption] // nil without TLS
	seen      map[string]string          // the files of the configuration as they were when it was read
	refused   atomic.Bool                // whether the last configuration that was read was not taken
	hup       chan os.Signal
	newlyMade customhouse.Secret
	accounts  sync.Mutex
	announced map[string]string // by kind of audit entry, what was accounted for last; accounts guards it
}

// serve runs a server until ctx ends. level is where a reload puts that of the log, nil if the configuration has no say.
func (r role) serve(ctx context.Context, c *config.Config, log *slog.Logger, level *slog.LevelVar, stdout io.Writer) error {
	h := &house{role: r, level: level, log: log, hup: make(chan os.Signal, 1)}
	signal.Notify(h.hup, syscall.SIGHUP) // from the start to the end: unheard, it would end the process
	defer signal.Stop(h.hup)
	h.seen = h.look(c)
	if err := h.open(ctx, c); err != nil {
		return errors.Join(err, h.close())
	}
	ballast := make([]byte, ballastSize)
	err := h.run(ctx, c, stdout)
	runtime.KeepAlive(ballast)
	return errors.Join(err, h.close())
}

// ballastSize makes the garbage collector wait: it runs when the heap has doubled, and a server that lives on two megabytes
// would have it run every 200 requests, for a tenth of its time. Nobody writes to the ballast, so that it takes no memory.
const ballastSize = 16 << 20

// open opens the data folder and builds the server.
func (h *house) open(ctx context.Context, c *config.Config) error {
	if c.Data != "" {
		if err := h.openData(ctx, c.Data); err != nil {
			return err
		}
	}
	h.parts = newParts(h.log, h.index, c.Health)
	if h.role.registry {
		store, err := openStore(c, h.index)
		if err != nil {
			return err
		}
		h.parts.base = registry.New(h.index, store, registry.Options{Log: h.log})
	}
	tls, err := newEncryption(c.TLS, c.HTTP.HTTP2, nil, h.log)
	if err != nil {
		return err
	}
	h.tls.Store(tls)
	if err := h.openAudit(ctx, c); err != nil {
		return err
	}
	h.measure()
	state, err := h.parts.build(c)
	if err != nil {
		return err
	}
	if err := h.account(ctx, c, &state); err != nil {
		return err
	}
	if h.server, err = server.New(state, h.log); err != nil || !h.role.registry {
		return err
	}
	return h.tell(ctx, c)
}

// measure adds what operators want to be alarmed by to the metrics.
func (h *house) measure() {
	shadowed := h.parts.shadowed
	h.parts.metrics.Counter("customhouse_shadow_decisions_total", "Decisions that were compared with those of the shadow policy.", number(&shadowed.Asked))
	h.parts.metrics.Counter("customhouse_shadow_skipped_total", "Decisions that were not, because too many waited.", number(&shadowed.Skipped))
	h.parts.metrics.Counter("customhouse_shadow_lost_total", "Decisions that allow what the shadow policy would not.", number(&shadowed.Lost))
	h.parts.metrics.Counter("customhouse_shadow_gained_total", "Decisions that deny what the shadow policy would not.", number(&shadowed.Gained))
	h.parts.metrics.Gauge("customhouse_access_list_age_seconds", "How long ago the access list of authorize.sql or authorize.mongo was read that decides, the oldest if there are two; 0 without one.", func() float64 {
		return h.parts.backends.oldestList().Seconds()
	})
	h.parts.metrics.Gauge("customhouse_config_refused", "1 while the configuration that was read last is not taken and the one before serves.", func() float64 {
		if h.refused.Load() {
			return 1
		}
		return 0
	})
	h.parts.metrics.Gauge("customhouse_certificate_expires_seconds", "When the certificate in tls.certificate expires, in seconds since 1970; 0 without one.", func() float64 {
		if e := h.tls.Load(); e != nil && len(e.config.Certificates) > 0 {
			return float64(e.config.Certificates[0].Leaf.NotAfter.Unix())
		}
		return 0
	})
}

// number reads a count as metrics do.
func number(n *atomic.Int64) func() float64 { return func() float64 { return float64(n.Load()) } }

// openData makes the data folder and opens what remembers.
func (h *house) openData(ctx context.Context, data string) error {
	err := makeFolder(data)
	if err != nil {
		return withHint(fmt.Errorf("make the data folder: %w", err), h.role.another("folder", "--data"))
	}
	if h.lock, err = lockFolder(data); err != nil {
		return withHint(err, "stop it, or "+h.role.another("folder", "--data"))
	}
	h.index, err = index.Open(ctx, indexFile(data), index.Options{Log: h.log})
	return err
}

// close ends what open has opened, as far as it got.
func (h *house) close() error {
	var errs []error
	if h.server != nil {
		h.server.Close()
		h.endTelling()
	}
	if h.parts.base != nil {
		h.parts.base.Close()
	}
	if h.parts.audit != nil {
		errs = append(errs, h.parts.audit.Close())
	}
	if h.index != nil {
		errs = append(errs, h.index.Close())
	}
	if h.lock != nil {
		errs = append(errs, h.lock.Close())
	}
	return errors.Join(errs...)
}

// run serves until ctx ends and then lets the requests under way end.
func (h *house) run(ctx context.Context, c *config.Config, stdout io.Writer) error {
	listener, err := listen(ctx, c)
	if err != nil {
		return withHint(fmt.Errorf("listen: %w", err), h.role.another("address", "--listen"))
	}
	var operators net.Listener
	if c.HTTP.Debug != "" {
		if operators, err = new(net.ListenConfig).Listen(ctx, "tcp", c.HTTP.Debug); err != nil {
			return errors.Join(withHint(fmt.Errorf("listen for operators: %w", err), "choose another address for http.debug"), listener.Close())
		}
	}
	if err := h.makeAdmin(ctx, c); err != nil { // after listening: a start that fails shows no password
		return errors.Join(err, listener.Close())
	}
	hs := &http.Server{
		Handler: h.server, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(h.log.Handler(), slog.LevelDebug), Protocols: protocols(c.HTTP),
	}
	if c.TLS.Enabled() {
		hs.TLSConfig = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return h.tls.Load().config, nil }}
	}
	var background sync.WaitGroup
	backgroundCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	background.Go(func() { h.reload(backgroundCtx, c) })
	background.Go(func() { h.turnKeys(backgroundCtx) })
	if h.role.registry {
		background.Go(func() { h.sweep(backgroundCtx, c.Limits.UploadTTL) })
		background.Go(func() { h.expire(backgroundCtx) })
		background.Go(func() { h.parts.replicator.run(backgroundCtx, h.parts.current) })
		if c.Storage.Adopt != "" {
			background.Go(func() { h.adopt(backgroundCtx, c) })
		}
	}
	background.Go(func() { h.parts.checks.Run(backgroundCtx) })
	if operators != nil {
		background.Go(func() { h.operate(backgroundCtx, operators, c.HTTP.Metrics) })
	}
	defer background.Wait()
	defer stop()

	h.greet(stdout, listener.Addr().String(), c)
	served := make(chan error, 1)
	go func() {
		if c.TLS.Enabled() {
			served <- hs.ServeTLS(listener, "", "")
		} else {
			served <- hs.Serve(listener)
		}
	}()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	h.drain(hs, c.Drain)
	<-served
	return nil
}

// drain ends the server: at once for who asks anew, in time for the requests under way, immediately at a second signal.
func (h *house) drain(hs *http.Server, limit time.Duration) {
	h.log.Info("draining", "limit", limit.String())
	h.server.Drain()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	ctx, cancelLimit := context.WithTimeout(ctx, limit)
	defer cancelLimit()
	if err := hs.Shutdown(ctx); err != nil {
		h.log.Warn("requests were cut off", "error", err)
		_ = hs.Close() // nothing is left to be done about connections that do not close
	}
}

// sweep frees what abandoned uploads hold.
func (h *house) sweep(ctx context.Context, ttl time.Duration) {
	every := min(max(ttl/10, time.Second), time.Minute) // a reload may make ttl shorter
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
			if err := h.parts.current().Sweep(ctx); err != nil && ctx.Err() == nil {
				h.log.Error("abandoned uploads could not be removed", "error", err)
			}
		}
	}
}

// expire drops from mirrors what nobody asks for.
func (h *house) expire(ctx context.Context) {
	for sleep(ctx, time.Minute) {
		dropped, err := h.parts.current().Expire(ctx)
		if err != nil && ctx.Err() == nil {
			h.log.Error("what nobody asks for could not be dropped from mirrors", "error", err)
		}
		if dropped > 0 {
			h.log.Info("dropped from mirrors, for nobody has asked for it in their ttl", "manifests", dropped)
		}
	}
}

// greet tells the person who has started the server where it is and how to log in, in one write.
func (h *house) greet(stdout io.Writer, addr string, c *config.Config) {
	scheme, what := "http", "data folder: "+c.Data
	if c.TLS.Enabled() {
		scheme = "https"
	}
	if c.Socket() != "" {
		scheme += "+unix"
	}
	if !h.role.registry {
		what = "token service for " + h.role.file
	}
	text := fmt.Sprintf("customhouse %s listening on %s://%s\n%s\n", buildVersion(), scheme, addr, what)
	switch {
	case c.Auth.Off:
		text += "authorization is off: everybody may do everything\n"
	case h.newlyMade != "":
		text += fmt.Sprintf("\nAn account was made. Its password is shown this once:\n\n    docker login %s --username %s --password %s\n\n",
			addr, adminAccount, string(h.newlyMade))
	}
	fmt.Fprint(stdout, text)
	h.log.Info("listening", "address", scheme+"://"+addr, "data", c.Data, "version", buildVersion())
}

// makeFolder makes a folder and those above it that are missing, so that a loss of power does not take them back.
func makeFolder(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return os.MkdirAll(path, 0o700) // it is there, or the error says why not
	}
	parent := filepath.Dir(path)
	if err := makeFolder(parent); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	d, err := os.Open(parent)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func indexFile(data string) string { return filepath.Join(data, "index.db") }
