package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"customhouse/config"
	"customhouse/server"
)

// newChecks makes the checks of a configuration.
func newChecks(h config.Health) *server.Checks {
	var checks []server.Check
	client := probing()
	for _, f := range h.Files {
		checks = append(checks, server.Check{Name: f.File, Every: f.Interval, Threshold: f.Threshold, Probe: server.ProbeFile(f.File)})
	}
	for _, u := range h.HTTP {
		status := u.Status
		if status == 0 {
			status = http.StatusOK
		}
		headers := config.HTTP{Headers: u.Headers}.Header()
		checks = append(checks, server.Check{
			Name: u.URI, Every: u.Interval, Threshold: u.Threshold,
			Probe: within(u.Timeout, server.ProbeHTTP(client, u.URI, headers, status)),
		})
	}
	for _, t := range h.TCP {
		checks = append(checks, server.Check{
			Name: t.Addr, Every: t.Interval, Threshold: t.Threshold, Probe: within(t.Timeout, server.ProbeTCP(t.Addr)),
		})
	}
	return server.NewChecks(checks)
}

// within bounds how long a probe may take; 0 leaves it as it is.
func within(timeout time.Duration, probe func(context.Context) error) func(context.Context) error {
	if timeout == 0 {
		return probe
	}
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return probe(ctx)
	}
}

// operate answers on the address for operators until ctx ends. It is nothing that serving depends on: what goes wrong
// with it is logged.
func (h *house) operate(ctx context.Context, listener net.Listener, metrics string) {
	hs := &http.Server{Handler: h.server.Debug(metrics), ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader}
	stop := context.AfterFunc(ctx, func() { _ = hs.Close() })
	defer stop()
	if err := hs.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		h.log.Error("the address for operators is lost", "error", err)
	}
}

// protocols are what is spoken with clients.
func protocols(h config.HTTP) *http.Protocols {
	p := &http.Protocols{}
	p.SetHTTP1(true)
	p.SetHTTP2(h.HTTP2)
	p.SetUnencryptedHTTP2(h.H2C)
	return p
}

// probing is the client of health checks. It follows no redirects: the URL that is named has to answer itself.
func probing() *http.Client {
	return &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}
