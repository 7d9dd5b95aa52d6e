package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"customhouse/config"
)

// lookEvery is how often files are looked at. Looking, not being told, sees every way of changing one: in place, by
// rename, or by another target of a symbolic link. A file counts when two looks have seen it the same: it may still be
// written.
const lookEvery = 400 * time.Millisecond

// reload applies the configuration again at SIGHUP and when a file of it has changed, until ctx ends. It builds all of
// the new before it gives up any of the old; where it cannot, it says so and nothing has changed.
func (h *house) reload(ctx context.Context, c *config.Config) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	ticks := time.NewTicker(lookEvery)
	defer ticks.Stop()
	applied := h.seen
	last := applied
	for {
		asked := false
		select {
		case <-ctx.Done():
			return
		case <-hup:
			asked = true
		case <-ticks.C:
		}
		now := h.look(c)
		settled := maps.Equal(now, last)
		last = now
		if !asked && (!settled || maps.Equal(now, applied)) {
			continue
		}
		applied = now
		next, err := h.apply(c)
		if err != nil {
			h.log.Error("the configuration is not taken; the one before stays", "error", err)
			continue
		}
		c = next
		applied = h.look(c)
		for name := range applied {
			if before, ok := now[name]; ok {
				applied[name] = before // what has changed since then is to be read again
			}
		}
		h.log.Info("the configuration was read again")
	}
}

// look returns, by file, what tells whether the files of a configuration have changed.
func (h *house) look(c *config.Config) map[string]string {
	seen := map[string]string{}
	for _, name := range []string{h.settings.file, c.TLS.Certificate, c.TLS.Key, c.Token.Key} {
		if name == "" {
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			seen[name] = err.Error()
			continue
		}
		inode := uint64(0)
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			inode = st.Ino
		}
		seen[name] = fmt.Sprintf("%d %d %d", info.Size(), info.ModTime().UnixNano(), inode)
	}
	return seen
}

// apply reads the configuration and puts it into effect.
func (h *house) apply(old *config.Config) (*config.Config, error) {
	c, _, err := h.settings.load()
	if err != nil {
		return nil, err
	}
	var pair *tls.Certificate
	if c.TLS.Enabled() {
		if pair, err = loadPair(c.TLS); err != nil {
			return nil, err
		}
	}
	state, err := h.parts.build(c)
	if err != nil {
		return nil, err
	}
	if pair != nil && h.certs != nil {
		h.certs.pair.Store(pair)
	}
	h.server.Swap(state)
	h.level.Set(c.Log.Threshold())
	if c.Listen != old.Listen || c.Data != old.Data || c.TLS.Enabled() != old.TLS.Enabled() || c.TLS.Minimum != old.TLS.Minimum ||
		c.Log.Format != old.Log.Format || c.Storage.Reserve != old.Storage.Reserve || c.Drain != old.Drain {
		h.log.Warn("listen, data, drain, tls on or off, tls.minimum, log.format and storage.reserve change with a restart only")
	}
	return c, nil
}

// certificates is the TLS certificate that holds.
type certificates struct {
	pair atomic.Pointer[tls.Certificate]
}

func newCertificates(t config.TLS) (*certificates, error) {
	pair, err := loadPair(t)
	if err != nil {
		return nil, err
	}
	c := &certificates{}
	c.pair.Store(pair)
	return c, nil
}

func loadPair(t config.TLS) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
	if err != nil {
		return nil, fmt.Errorf("load the certificate %s: %w", t.Certificate, err)
	}
	return &pair, nil
}

func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.pair.Load(), nil }
