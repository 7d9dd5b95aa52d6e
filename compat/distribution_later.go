package compat

// unserved names what the file asks for and is not served yet.
func (t *distributionTranslation) unserved() {
	if t.from.Proxy.Remote != "" {
		t.wrong("proxy.remoteurl", "other registries are not mirrored yet; remove it")
	}
}
