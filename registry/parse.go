package registry

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"customhouse"
)

// parsed is what a manifest says that matters to a registry.
type parsed struct {
	mediaType    string
	artifactType string // of an artifact: its own type, or else that of its config
	annotations  map[string]string
	subject      customhouse.Digest
	blobs        []customhouse.Descriptor // that have to be in the repository
	children     []customhouse.Descriptor // of an index
	platforms    []Platform               // of the children, in their order
	urls         []string                 // where foreign layers are
}

// shape tells which fields make a manifest of a type. What belongs to another type makes it ambiguous
// (GHSA-qq97-vm5h-rrhg): two programs could read two images under one digest.
type shape struct {
	config    bool
	list      string // the field that holds its descriptors
	sayItself bool   // whether mediaType has to be there
}

var shapes = map[string]shape{
	customhouse.MediaTypeImageManifest:    {config: true, list: "layers"},
	customhouse.MediaTypeImageIndex:       {list: "manifests"},
	customhouse.MediaTypeArtifactManifest: {list: "blobs", sayItself: true},
	customhouse.MediaTypeDockerManifest:   {config: true, list: "layers", sayItself: true},
	customhouse.MediaTypeDockerList:       {list: "manifests", sayItself: true},
}

// structural are the fields that decide what a manifest is.
var structural = []string{"config", "layers", "manifests", "blobs", "fsLayers", "history", "signatures"}

// IsIndex tells whether a manifest of the type lists other manifests.
func IsIndex(mediaType string) bool { return shapes[mediaType].list == "manifests" }

// parseManifest reads a manifest strictly. contentType is what the client says it is, "" for nothing.
// The error is a MANIFEST_INVALID, or a DIGEST_INVALID or SIZE_INVALID for a descriptor, that says what is wrong.
func parseManifest(contentType string, body []byte, foreignLayers bool) (parsed, error) {
	v, err := customhouse.ParseJSON(body)
	if err != nil {
		return parsed{}, invalid("%v", err)
	}
	o, ok := v.(map[string]any)
	if !ok {
		return parsed{}, invalid("it is not a JSON object")
	}
	f := &fields{object: o, path: "manifest"}
	m := parsed{mediaType: f.text("mediaType"), artifactType: f.text("artifactType"), annotations: f.texts("annotations")}
	sh, err := shapeOf(&m, contentType, o)
	if err != nil {
		return parsed{}, err
	}
	if version := f.integer("schemaVersion"); version != 2 && (sh.list != "blobs" || version != 0) {
		f.fail("schemaVersion is not 2")
	}
	if s := f.child("subject"); s != nil {
		m.subject = s.descriptor().Digest
		s.noURLs()
		f.err(s)
	}
	if sh.config {
		c := f.child("config")
		if c == nil {
			f.fail("config is missing")
			return parsed{}, f.bad
		}
		d := c.descriptor()
		c.noURLs()
		f.err(c)
		m.blobs = append(m.blobs, d)
		if m.artifactType == "" {
			m.artifactType = d.MediaType
		}
	}
	for _, c := range f.children(sh.list) {
		d := c.descriptor()
		if foreignLayers && sh.list == "layers" && isForeign(d.MediaType) && len(c.list("urls")) > 0 {
			f.err(c)
			for _, url := range c.list("urls") {
				s, _ := url.(string)
				m.urls = append(m.urls, s)
			}
			continue // its bytes are elsewhere
		}
		c.noURLs()
		f.err(c)
		if sh.list == "manifests" {
			m.children = append(m.children, d)
			m.platforms = append(m.platforms, c.platform())
			f.err(c)
		} else {
			m.blobs = append(m.blobs, d)
		}
	}
	return m, f.bad
}

// shapeOf decides what a manifest is: what it says itself, what the client says and its fields have to agree.
func shapeOf(m *parsed, contentType string, o map[string]any) (shape, error) {
	says := m.mediaType
	if m.mediaType == "" {
		m.mediaType = contentType
	}
	if contentType != "" && m.mediaType != contentType {
		return shape{}, invalid("mediaType is %s and Content-Type is %s", m.mediaType, contentType)
	}
	sh, ok := shapes[m.mediaType]
	if !ok {
		return sh, invalid("%q is not a type of manifest that this registry takes", m.mediaType)
	}
	if sh.sayItself && says == "" {
		return sh, invalid("mediaType is missing")
	}
	for _, field := range structural {
		if _, there := o[field]; there && field != sh.list && (field != "config" || !sh.config) {
			return sh, invalid("%s does not belong into a manifest of type %s", field, m.mediaType)
		}
	}
	for key := range o {
		for _, field := range append([]string{"mediaType", "schemaVersion", "artifactType", "subject", "annotations"}, structural...) {
			if key != field && strings.EqualFold(key, field) {
				return sh, invalid("key %q differs from %q in case only", key, field)
			}
		}
	}
	return sh, nil
}

// isForeign tells whether layers of the type may not be distributed, and so lie where their urls say (image-spec
// "Non-Distributable Layers").
func isForeign(mediaType string) bool {
	return strings.HasPrefix(mediaType, "application/vnd.oci.image.layer.nondistributable.v1.tar") ||
		mediaType == "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
}

func invalid(format string, args ...any) *customhouse.Error {
	return customhouse.Errorf(customhouse.ManifestInvalid, "manifest invalid").WithDetail(fmt.Sprintf(format, args...))
}

// fields reads the fields of a JSON object, and keeps the first thing that is wrong with them. A null list or object is
// none, as programs write it that leave it empty.
type fields struct {
	object map[string]any
	path   string
	bad    error
}

func (f *fields) fail(format string, args ...any) {
	if f.bad == nil {
		f.bad = invalid(format, args...)
	}
}

func (f *fields) err(child *fields) {
	if f.bad == nil {
		f.bad = child.bad
	}
}

func (f *fields) text(key string) string {
	s, ok := f.object[key].(string)
	if _, there := f.object[key]; there && !ok {
		f.fail("%s.%s is not a string", f.path, key)
	}
	return s
}

func (f *fields) texts(key string) map[string]string {
	v := f.object[key]
	if v == nil {
		return nil
	}
	o, ok := v.(map[string]any)
	if !ok {
		f.fail("%s.%s is not an object", f.path, key)
		return nil
	}
	texts := make(map[string]string, len(o))
	for k, v := range o {
		if texts[k], ok = v.(string); !ok {
			f.fail("%s.%s[%q] is not a string", f.path, key, k)
		}
	}
	return texts
}

// integer returns a number that JSON writes without fraction and exponent and that fits into an int64, 0 if there is none.
func (f *fields) integer(key string) int64 {
	v, there := f.object[key]
	if !there {
		return 0
	}
	number, ok := v.(json.Number)
	n, err := strconv.ParseInt(string(number), 10, 64)
	if !ok || err != nil {
		f.fail("%s.%s is not an integer of 64 bits", f.path, key)
	}
	return n
}

func (f *fields) list(key string) []any {
	list, ok := f.object[key].([]any)
	if f.object[key] != nil && !ok {
		f.fail("%s.%s is not a list", f.path, key)
	}
	return list
}

// child returns the object under key, nil if there is none.
func (f *fields) child(key string) *fields {
	v := f.object[key]
	if v == nil {
		return nil
	}
	o, ok := v.(map[string]any)
	if !ok {
		f.fail("%s.%s is not an object", f.path, key)
		return nil
	}
	return &fields{object: o, path: f.path + "." + key}
}

// children returns the objects in the list under key, which has to be there.
func (f *fields) children(key string) []*fields {
	if _, there := f.object[key]; !there {
		f.fail("%s.%s is missing", f.path, key)
	}
	var all []*fields
	for i, v := range f.list(key) {
		o, ok := v.(map[string]any)
		path := fmt.Sprintf("%s.%s[%d]", f.path, key, i)
		if !ok {
			f.fail("%s is not an object", path)
			continue
		}
		all = append(all, &fields{object: o, path: path})
	}
	return all
}

// platform returns what a child of an index is for, the zero Platform where it does not say.
func (f *fields) platform() Platform {
	o := f.child("platform")
	if o == nil {
		return Platform{}
	}
	p := Platform{OS: o.text("os"), Architecture: o.text("architecture")}
	f.err(o)
	return p
}

// noURLs refuses a descriptor of content that lies elsewhere.
func (f *fields) noURLs() {
	if len(f.list("urls")) > 0 {
		f.fail("%s.urls: content outside of the registry is not accepted", f.path)
	}
}

// descriptor reads the object as a descriptor.
func (f *fields) descriptor() customhouse.Descriptor {
	for key := range f.object {
		for _, field := range []string{"mediaType", "digest", "size", "urls", "data", "platform", "artifactType", "annotations"} {
			if key != field && strings.EqualFold(key, field) {
				f.fail("%s: key %q differs from %q in case only", f.path, key, field)
			}
		}
	}
	d := customhouse.Descriptor{MediaType: f.text("mediaType"), Size: f.integer("size")}
	if d.MediaType == "" {
		f.fail("%s.mediaType is missing", f.path)
	}
	if _, there := f.object["size"]; !there || d.Size < 0 {
		f.fail("%s.size is missing or negative", f.path)
	}
	var err error
	if d.Digest, err = customhouse.ParseDigest(f.text("digest")); err != nil && f.bad == nil {
		f.bad = customhouse.Errorf(customhouse.DigestInvalid, "manifest invalid").WithDetail(fmt.Sprintf("%s.digest: %v", f.path, err))
	}
	if slices.ContainsFunc(f.list("urls"), func(v any) bool { _, ok := v.(string); return !ok }) {
		f.fail("%s.urls is not a list of strings", f.path)
	}
	if data := f.text("data"); data != "" && f.bad == nil {
		b, err := base64.StdEncoding.DecodeString(data)
		if err != nil || int64(len(b)) != d.Size || customhouse.DigestOf(d.Digest.Algorithm(), b) != d.Digest {
			f.fail("%s.data is not the content that the descriptor names", f.path)
		}
	}
	return d
}
