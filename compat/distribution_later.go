package compat

import "fmt"

// unserved names what the file asks for and is not served yet.
func (t *distributionTranslation) unserved() {
	for i, e := range t.from.Notify.Endpoints {
		if !e.Disabled {
			t.wrong(fmt.Sprintf("notifications.endpoints[%d]", i), "events are not sent yet; disable it")
		}
	}
	if t.from.Proxy.Remote != "" {
		t.wrong("proxy.remoteurl", "other registries are not mirrored yet; remove it")
	}
}
