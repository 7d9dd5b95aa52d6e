package main

import (
	"context"
	"crypto/rand"
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
	"sync"
	"syscall"
	"time"

	"customhouse"
	"customhouse/authn"
	"customhouse/blob"
	"customhouse/config"
	"customhouse/index"
	"customhouse/server"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func serveCommand() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the registry",
		Long: `Serve answers on one address as registry and token service. Without a configuration it listens on
127.0.0.1:5000, keeps everything in a folder that it names, makes an account admin at the first start and prints the
command to log in with.

SIGTERM ends it after the requests under way, SIGHUP reads the configuration again; a changed file is noticed without.
A configuration with a mistake changes nothing: the log says where it is wrong.`,
		Example: `  customhouse serve
  customhouse serve -c customhouse.yml
  customhouse serve --listen 127.0.0.1:8080 --data ./data`,
		Args: takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), &s, cmd.OutOrStdout(), os.Stderr)
		},
	}
	s.addFlags(cmd)
	cmd.Flags().StringVar(&s.listen, "listen", "", "`HOST:PORT` to listen on, in place of listen in the file")
	return cmd
}

// Bounds on what a client may hold on to (RFC 9112; net/http answers 431 and 408).
const (
	headerTime = 10 * time.Second
	idleTime   = 2 * time.Minute
	maxHeader  = 28 << 10 // net/http adds 4 KiB
)

// serve runs the server until ctx ends.
func serve(ctx context.Context, s *settings, stdout, stderr io.Writer) error {
	c, _, err := s.load()
	if err != nil {
		return err
	}
	lines := newLineWriter(stderr)
	defer lines.Close()
	h := newHouse(s, lines, c.Log)
	signal.Notify(h.hup, syscall.SIGHUP) // from the start to the end: unheard, it would end the process
	defer signal.Stop(h.hup)
	h.seen = h.look(c)
	if err := h.open(ctx, c); err != nil {
		return errors.Join(err, h.close())
	}
	err = h.run(ctx, c, stdout)
	return errors.Join(err, h.close())
}

// house is a running server: what lives as long as the process, and what a reload exchanges.
type house struct {
	settings *settings
	level    slog.LevelVar
	log      *slog.Logger

	lock      *os.File
	index     *index.DB
	parts     parts
	server    *server.Server
	certs     *certificates     // nil without TLS
	seen      map[string]string // the files of the configuration as they were when it was read
	hup       chan os.Signal
	newlyMade customhouse.Secret
}

func newHouse(s *settings, lines io.Writer, l config.Log) *house {
	h := &house{settings: s, hup: make(chan os.Signal, 1)}
	h.level.Set(l.Threshold())
	h.log = newLog(lines, l, &h.level)
	return h
}

// open opens the data folder and builds the server.
func (h *house) open(ctx context.Context, c *config.Config) (err error) {
	if err := makeFolder(c.Data); err != nil {
		return withHint(fmt.Errorf("make the data folder: %w", err), "name another folder with --data")
	}
	if h.lock, err = lockFolder(c.Data); err != nil {
		return err
	}
	if h.index, err = index.Open(ctx, indexFile(c.Data), index.Options{Log: h.log}); err != nil {
		return err
	}
	store, err := blob.OpenDir(c.Data, blob.Reserve{Bytes: int64(c.Storage.Reserve.Bytes), Percent: c.Storage.Reserve.Percent})
	if err != nil {
		return err
	}
	h.parts = newParts(h.log, h.index, store, c.Health)
	state, err := h.parts.build(c)
	if err != nil {
		return err
	}
	if h.server, err = server.New(state, h.log); err != nil {
		return err
	}
	if c.TLS.Enabled() {
		if h.certs, err = newCertificates(c.TLS); err != nil {
			return err
		}
	}
	return nil
}

// adminAccount is the account that the first start makes.
const adminAccount = "admin"

// makeAdmin makes the first account where nobody could log in otherwise.
func (h *house) makeAdmin(ctx context.Context, c *config.Config) error {
	if c.Auth.Off || !c.Auth.Accounts || len(c.Auth.Users) > 0 || c.Auth.Htpasswd != "" {
		return nil
	}
	all, err := h.index.Accounts(ctx)
	if err != nil || len(all) > 0 {
		return err
	}
	password := customhouse.Secret(rand.Text())
	hash, err := authn.HashPassword(password)
	if err != nil {
		return err
	}
	admin := customhouse.Account{Name: adminAccount, Password: hash, Labels: map[string][]string{"role": {"admin"}}}
	if err := h.index.PutAccount(ctx, admin); err != nil {
		return err
	}
	h.newlyMade = password
	return nil
}

// close ends what open has opened, as far as it got.
func (h *house) close() error {
	var errs []error
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
	listener, err := (&net.ListenConfig{Control: dropStalled}).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return withHint(fmt.Errorf("listen: %w", err), "choose another address with --listen")
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
	if h.certs != nil {
		hs.TLSConfig = &tls.Config{MinVersion: c.TLS.MinVersion(), GetCertificate: h.certs.get}
	}
	var background sync.WaitGroup
	backgroundCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	background.Go(func() { h.reload(backgroundCtx, c) })
	background.Go(func() { h.sweep(backgroundCtx, c.Limits.UploadTTL) })
	background.Go(func() { h.parts.checks.Run(backgroundCtx) })
	if operators != nil {
		background.Go(func() { h.operate(backgroundCtx, operators, c.HTTP.Metrics) })
	}
	defer background.Wait()
	defer stop()

	h.greet(stdout, listener.Addr().String(), c)
	served := make(chan error, 1)
	go func() {
		if h.certs != nil {
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

// stalledTime is how long a client may take nothing of what is sent to it.
const stalledTime = time.Minute

// dropStalled makes the kernel end connections whose client takes nothing: sendfile does not come back to tell of
// progress (tcp(7), TCP_USER_TIMEOUT). Connections inherit it from the listener.
func dropStalled(_, _ string, c syscall.RawConn) error {
	var err error
	return errors.Join(c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(stalledTime.Milliseconds()))
	}), err)
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

// greet tells the person who has started the server where it is and how to log in, in one write.
func (h *house) greet(stdout io.Writer, addr string, c *config.Config) {
	scheme := "http"
	if h.certs != nil {
		scheme = "https"
	}
	text := fmt.Sprintf("customhouse %s listening on %s://%s\ndata folder: %s\n", buildVersion(), scheme, addr, c.Data)
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
