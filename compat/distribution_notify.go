package compat

import (
	"fmt"
	"slices"
	"time"

	"customhouse"
	"customhouse/config"
)

// notifyTimeout is how long distribution lets an attempt take.
const notifyTimeout = time.Second

// notify translates who is told of events.
func (t *distributionTranslation) notify() {
	t.to.Notify.References = bool(t.from.Notify.Events.References)
	for i, e := range t.from.Notify.Endpoints {
		key := fmt.Sprintf("notifications.endpoints[%d]", i)
		if e.Disabled {
			continue
		}
		t.require(key+".name", e.Name != "")
		headers := map[string][]customhouse.Secret{}
		for name, values := range e.Headers {
			for _, v := range values {
				headers[name] = append(headers[name], customhouse.Secret(v))
			}
		}
		if len(headers) == 0 {
			headers = nil
		}
		t.to.Notify.Endpoints = append(t.to.Notify.Endpoints, config.Endpoint{
			Name: e.Name, URL: e.URL, Headers: headers, Threshold: int(e.Threshold),
			Timeout: t.duration(key+".timeout", e.Timeout, notifyTimeout), Backoff: t.duration(key+".backoff", e.Backoff, 0),
			Ignore: config.Ignore{Actions: e.Ignore.Actions, MediaTypes: slices.Concat(e.MediaTypes, e.Ignore.MediaTypes)},
		})
	}
}
