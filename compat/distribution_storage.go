package compat

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"customhouse/config"
)

// Defaults of distribution.
const (
	distributionRoot = "/var/lib/registry"
	distributionAge  = 168 * time.Hour // of abandoned uploads
)

// ownFolder is where in distribution's root we keep what is ours: the one place that is sure to be kept, and that nobody
// else looks at.
const ownFolder = "customhouse"

// storage translates the section storage.
func (t *distributionTranslation) storage() {
	s := t.from.Storage
	if s.Filesystem != nil {
		root := s.Filesystem.Root
		if root == "" {
			root = distributionRoot
		}
		root = t.absolute(root)
		t.to.Data, t.to.Storage.Adopt = filepath.Join(root, ownFolder), root
		if t.file.Has("storage.filesystem.maxthreads") {
			t.warn("storage.filesystem.maxthreads", "is not needed: what waits for a disk holds no thread that others need")
		}
	}
	t.driver()
	t.to.Storage.Delete = bool(s.Delete.Enabled)
	t.to.Storage.ReadOnly = bool(s.Maintenance.ReadOnly.Enabled)
	for key, why := range map[string]string{
		"storage.tag":      "is not needed: tags are looked up in the index",
		"storage.cache":    "is not needed: what is asked for often is remembered in any case",
		"storage.redirect": "has no effect: content of a file system is sent from here",
	} {
		if t.file.Has(key) {
			t.warn(key, "%s", why)
		}
	}
	t.purging(s.Maintenance.Purging)
	t.middleware()
}

// driver checks that there is one driver, and one that is served.
func (t *distributionTranslation) driver() {
	s := t.from.Storage
	var drivers []string
	for name, there := range map[string]bool{
		"filesystem": s.Filesystem != nil, "inmemory": s.InMemory != nil, "s3": s.S3 != nil, "s3aws": s.S3AWS != nil,
		"gcs": s.GCS != nil, "azure": s.Azure != nil, "swift": t.file.Has("storage.swift"), "oss": t.file.Has("storage.oss"),
	} {
		if there {
			drivers = append(drivers, name)
		}
	}
	slices.Sort(drivers)
	switch {
	case len(drivers) == 0:
		t.wrong("storage", "names no driver; want filesystem: {rootdirectory: /var/lib/registry}")
	case len(drivers) > 1:
		t.wrong("storage", "names "+strings.Join(drivers, " and ")+"; there is one driver")
	case drivers[0] == "inmemory":
		t.wrong("storage.inmemory", "forgets everything at the end, and is not served; name a folder: filesystem: {rootdirectory: /tmp/registry}")
	case drivers[0] != "filesystem":
		t.wrong("storage."+drivers[0], "this driver is not served: Customhouse keeps content in a folder; copy the bucket into one, or import from the running registry by `customhouse import`")
	}
}

// purging translates what becomes of abandoned uploads.
func (t *distributionTranslation) purging(p *dPurging) {
	t.to.Limits.UploadTTL = distributionAge
	if p == nil {
		return
	}
	const key = "storage.maintenance.uploadpurging"
	if p.Enabled != nil && !bool(*p.Enabled) { // of the rest nothing is read
		t.to.Limits.UploadTTL = 0
		return
	}
	if p.Enabled == nil || p.Age == nil || p.Interval == nil || p.DryRun == nil {
		t.wrong(key, "wants all of enabled, age, interval and dryrun")
		return
	}
	t.to.Limits.UploadTTL = t.duration(key+".age", *p.Age, distributionAge)
	if ttl := t.to.Limits.UploadTTL; ttl < time.Minute {
		t.warn(key+".age", "at least 1m: uploads of slow clients rest for moments")
		t.to.Limits.UploadTTL = time.Minute
	}
	if *p.DryRun {
		t.to.Limits.UploadTTL = 0
	}
	if *p.DryRun {
		t.warn(key+".dryrun", "abandoned uploads are kept; nothing tells which would have been removed")
	}
	t.warn(key+".interval", "has no effect: what is abandoned is looked for every minute")
}

// middleware translates the section middleware, of which a drop-in of distribution's own build has little.
func (t *distributionTranslation) middleware() {
	for kind, list := range map[string][]dPlug{"registry": t.from.Middle.Registry, "repository": t.from.Middle.Repository, "storage": t.from.Middle.Storage} {
		for i, m := range list {
			key := fmt.Sprintf("middleware.%s[%d]", kind, i)
			switch {
			case bool(m.Disabled):
			case kind == "storage" && m.Name == "redirect":
				t.require(key+".options.baseurl", m.Options.BaseURL != "")
				base := strings.TrimSuffix(m.Options.BaseURL, "/")
				t.to.Storage.Redirect = config.Redirect{Adopted: base, Data: base + "/" + ownFolder}
			case kind == "storage" && (m.Name == "cloudfront" || m.Name == "rewrite"):
				t.wrong(key, m.Name+" changes where clients fetch blobs, which are sent from here; remove it")
			default:
				t.wrong(key, "a part of a build of your own, which cannot be loaded here; remove it")
			}
		}
	}
}
