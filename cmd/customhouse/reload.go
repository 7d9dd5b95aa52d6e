package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"reflect"
	"syscall"
	"time"

	"customhouse/config"
)

// lookEvery is how often files are looked at. Looking, not being told, sees every way of changing one: in place, by
// rename, or by another target of a symbolic link. A file counts when two looks have seen it the same: it may still be
// written.
const lookEvery = 400 * time.Millisecond

// retryEvery is how often a configuration that was refused is tried again.
const retryEvery = 5 * time.Second

// reload applies the configuration again at SIGHUP and when a file of it has changed, until ctx ends. It builds all of
// the new before it gives up any of the old; where it cannot, it says so and nothing has changed.
func (h *house) reload(ctx context.Context, c *config.Config) {
	ticks := time.NewTicker(lookEvery)
	defer ticks.Stop()
	applied := h.seen
	last := applied
	var refused error
	var again time.Time // when what was refused is tried again: a file that it names may have come
	for {
		asked := false
		select {
		case <-ctx.Done():
			return
		case <-h.hup:
			asked = true
		case <-ticks.C:
		}
		now := h.look(c)
		settled := maps.Equal(now, last)
		last = now
		retry := refused != nil && time.Now().After(again)
		if !asked && (!settled || maps.Equal(now, applied) && !retry) {
			continue
		}
		applied = now
		next, err := h.apply(ctx, c)
		h.refused.Store(err != nil)
		if err != nil {
			if asked || refused == nil || err.Error() != refused.Error() {
				h.log.Error("the configuration is not taken; the one before stays", "error", err)
			}
			refused, again = err, time.Now().Add(retryEvery)
			continue
		}
		c, refused = next, nil
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
	for _, name := range append(c.Files(), h.role.file) {
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

// apply reads the configuration and puts it into effect, but for what takes a restart: that stays as it is, and the new
// configuration is checked together with it.
func (h *house) apply(ctx context.Context, old *config.Config) (*config.Config, error) {
	c, err := h.role.load()
	if err != nil {
		return nil, err
	}
	tls, err := newEncryption(c.TLS, c.HTTP.HTTP2, h.tls.Load(), h.log)
	if err != nil {
		return nil, err
	}
	wanted := *c
	c.HTTP.Debug, c.HTTP.Metrics, c.HTTP.HTTP2, c.HTTP.H2C = old.HTTP.Debug, old.HTTP.Metrics, old.HTTP.HTTP2, old.HTTP.H2C
	c.Health, c.Storage.Adopt, c.Audit.File, c.Audit.Rotate = old.Health, old.Storage.Adopt, old.Audit.File, old.Audit.Rotate
	c.Listen, c.Data, c.Drain, c.Log.Format, c.Storage.Reserve = old.Listen, old.Data, old.Drain, old.Log.Format, old.Storage.Reserve
	if c.TLS.Enabled() != old.TLS.Enabled() {
		c.TLS, tls = old.TLS, h.tls.Load()
	}
	if err := c.Validate(); err != nil { // what is new has to go together with what stays
		return nil, err
	}
	state, err := h.parts.build(c)
	if err != nil {
		return nil, err
	}
	h.tls.Store(tls)
	h.server.Swap(state)
	if err := h.account(ctx, c, &state); err != nil {
		h.log.Error("what holds now is not in the audit log", "error", err)
	}
	if h.level != nil {
		h.level.Set(c.Log.Threshold())
		if err := h.tell(ctx, c); err != nil {
			h.log.Error("nobody is told of events", "error", err)
		}
	}
	if wanted.Listen != c.Listen || wanted.Data != c.Data || wanted.TLS.Enabled() != c.TLS.Enabled() || wanted.Drain != c.Drain ||
		wanted.Log.Format != c.Log.Format || wanted.Storage.Reserve != c.Storage.Reserve ||
		wanted.Storage.Adopt != c.Storage.Adopt || wanted.Audit.File != c.Audit.File || wanted.Audit.Rotate != c.Audit.Rotate ||
		!reflect.DeepEqual(wanted.HTTP, c.HTTP) || !reflect.DeepEqual(wanted.Health, c.Health) {
		h.log.Warn("listen, data, drain, http2, h2c, debug, metrics, health, tls on or off, log.format, storage.reserve, storage.adopt, audit.file and audit.rotate change with a restart only")
	}
	return c, nil
}
