package main

import (
	"context"
	"net/netip"
	"reflect"

	"customhouse"
	"customhouse/config"
	"customhouse/notify"
)

// telling is a notifier at work.
type telling struct {
	section  config.Notify
	notifier *notify.Notifier
	stop     context.CancelFunc
	done     chan struct{}
}

// tell makes the endpoints of a configuration be told of events, in place of those before. It waits until these have
// ended, so that nobody is told of an event by both.
func (h *house) tell(ctx context.Context, c *config.Config) error {
	before := h.parts.told.Load()
	if before != nil && reflect.DeepEqual(before.section, c.Notify) {
		return nil
	}
	h.endTelling()
	n, err := notify.New(ctx, h.index, endpoints(c.Notify), notify.Options{
		Keep: int64(c.Notify.Keep), References: c.Notify.References, Source: c.Listen, Log: h.log,
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	t := &telling{section: c.Notify, notifier: n, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		n.Run(ctx)
	}()
	h.parts.told.Store(t)
	return nil
}

// endTelling makes nobody be told of events any more. They are kept for later.
func (h *house) endTelling() {
	if t := h.parts.told.Swap(nil); t != nil {
		t.stop()
		<-t.done
	}
}

// pulled hands a pull to whoever tells of it at present.
func (p parts) pulled(e customhouse.Event) {
	if t := p.told.Load(); t != nil && t.notifier.WantsPulls() {
		t.notifier.Pulled(e)
	}
}

// endpoints are the notifier's words for those of a configuration.
func endpoints(section config.Notify) []notify.Endpoint {
	formats := map[string]notify.Format{"": notify.Distribution, "distribution": notify.Distribution, "cloudevents": notify.CloudEvents}
	var all []notify.Endpoint
	for _, e := range section.Endpoints {
		var allow []netip.Prefix
		for _, p := range e.Allow {
			allow = append(allow, netip.Prefix(p))
		}
		all = append(all, notify.Endpoint{
			Name: e.Name, URL: e.URL, Headers: e.Headers, Secret: e.Secret, Format: formats[e.Format], Timeout: e.Timeout,
			Threshold: e.Threshold, Backoff: e.Backoff, Tries: e.Tries, Allow: allow,
			Actions: e.Ignore.Actions, MediaTypes: e.Ignore.MediaTypes,
		})
	}
	return all
}
