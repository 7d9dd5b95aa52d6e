package server_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"customhouse"
	"customhouse/registry"
)

const (
	dockerImage = customhouse.MediaTypeDockerManifest
	dockerList  = customhouse.MediaTypeDockerList
	artifact    = customhouse.MediaTypeArtifactManifest
)

// TestS63_AmbiguousManifests: a manifest has one meaning or none, and leaves nothing behind when it has none.
func TestS63_AmbiguousManifests(t *testing.T) {
	h := open(t, setup{})
	admin := h.as("admin")
	config, layer := []byte(`{"os":"linux"}`), []byte("a layer")
	admin.pushBlob("a/app", config)
	admin.pushBlob("a/app", layer)
	c, l := descriptor(ociConfig, config), descriptor(ociLayer, layer)
	with := func(d object, key string, value any) object {
		d = maps.Clone(d)
		if value == nil {
			delete(d, key)
		} else {
			d[key] = value
		}
		return d
	}
	child := descriptor(ociImage, []byte("absent"))
	oci := func(change object) []byte { return image(config, layer, change) }
	good := string(oci(nil))
	replace := func(old, new string) []byte {
		if !strings.Contains(good, old) {
			t.Fatalf("the manifest has no %s", old)
		}
		return []byte(strings.Replace(good, old, new, 1))
	}
	layers := func(d ...any) []byte { return oci(object{"layers": append([]any{}, d...)}) }
	list := func(d ...any) []byte {
		return encode(object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": append([]any{}, d...)})
	}
	deep := func(n int) string { return strings.Repeat(`{"x":`, n) + "1" + strings.Repeat("}", n) }

	for name, test := range map[string]struct {
		contentType string
		body        []byte
		code        string
	}{
		"empty":                                {ociImage, nil, "MANIFEST_INVALID"},
		"no JSON":                              {ociImage, []byte("hello"), "MANIFEST_INVALID"},
		"a list":                               {ociImage, []byte("[]"), "MANIFEST_INVALID"},
		"a string":                             {ociImage, []byte(`"x"`), "MANIFEST_INVALID"},
		"null":                                 {ociImage, []byte("null"), "MANIFEST_INVALID"},
		"empty object":                         {ociImage, []byte("{}"), "MANIFEST_INVALID"},
		"layers and manifests":                 {ociImage, oci(object{"manifests": []any{child}}), "MANIFEST_INVALID"},
		"layers and empty manifests":           {ociImage, oci(object{"manifests": []any{}}), "MANIFEST_INVALID"},
		"layers and null manifests":            {ociImage, []byte(good[:len(good)-1] + `,"manifests":null}`), "MANIFEST_INVALID"},
		"layers and blobs":                     {ociImage, oci(object{"blobs": []any{l}}), "MANIFEST_INVALID"},
		"index with layers":                    {ociIndex, encode(object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": []any{child}, "layers": []any{l}}), "MANIFEST_INVALID"},
		"index with config":                    {ociIndex, encode(object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": []any{child}, "config": c}), "MANIFEST_INVALID"},
		"index that says image":                {ociImage, encode(object{"schemaVersion": 2, "mediaType": ociImage, "manifests": []any{child}}), "MANIFEST_INVALID"},
		"image that says index":                {ociIndex, oci(object{"mediaType": ociIndex}), "MANIFEST_INVALID"},
		"schema 1 fields":                      {ociImage, oci(object{"fsLayers": []any{}}), "MANIFEST_INVALID"},
		"schema 1 history":                     {ociImage, oci(object{"history": []any{}}), "MANIFEST_INVALID"},
		"schema 1 signatures":                  {ociImage, oci(object{"signatures": []any{}}), "MANIFEST_INVALID"},
		"schema 1":                             {"application/vnd.docker.distribution.manifest.v1+prettyjws", []byte(`{"schemaVersion":1,"fsLayers":[]}`), "MANIFEST_INVALID"},
		"Content-Type of an index":             {ociIndex, oci(nil), "MANIFEST_INVALID"},
		"Content-Type of Docker":               {dockerImage, oci(nil), "MANIFEST_INVALID"},
		"Content-Type text/html":               {"text/html", oci(object{"mediaType": nil}), "MANIFEST_INVALID"},
		"Content-Type application/json":        {"application/json", oci(nil), "MANIFEST_INVALID"},
		"Content-Type that is none":            {"not a type", oci(nil), "MANIFEST_INVALID"},
		"no type at all":                       {"", oci(object{"mediaType": nil}), "MANIFEST_INVALID"},
		"Docker without mediaType":             {dockerImage, oci(object{"mediaType": nil}), "MANIFEST_INVALID"},
		"Docker list without mediaType":        {dockerList, encode(object{"schemaVersion": 2, "manifests": []any{}}), "MANIFEST_INVALID"},
		"artifact without mediaType":           {artifact, encode(object{"blobs": []any{}}), "MANIFEST_INVALID"},
		"mediaType a number":                   {ociImage, oci(object{"mediaType": 2}), "MANIFEST_INVALID"},
		"mediaType null":                       {ociImage, replace(`"mediaType":"`+ociImage+`"`, `"mediaType":null`), "MANIFEST_INVALID"},
		"duplicate mediaType":                  {ociImage, replace(`"schemaVersion":2`, `"schemaVersion":2,"mediaType":"`+ociImage+`"`), "MANIFEST_INVALID"},
		"duplicate layers":                     {ociImage, replace(`"schemaVersion":2`, `"schemaVersion":2,"layers":[]`), "MANIFEST_INVALID"},
		"duplicate digest in a layer":          {ociImage, replace(`"layers":[{`, `"layers":[{"digest":"`+digestOf(config)+`",`), "MANIFEST_INVALID"},
		"duplicate key by escape":              {ociImage, replace(`"schemaVersion":2`, `"schemaVersion":2,"\u006cayers":[]`), "MANIFEST_INVALID"},
		"duplicate annotation":                 {ociImage, replace(`"schemaVersion":2`, `"schemaVersion":2,"annotations":{"a":"1","a":"2"}`), "MANIFEST_INVALID"},
		"MEDIATYPE":                            {ociImage, oci(object{"MEDIATYPE": ociIndex}), "MANIFEST_INVALID"},
		"Layers":                               {ociImage, oci(object{"Layers": []any{}}), "MANIFEST_INVALID"},
		"Manifests":                            {ociImage, oci(object{"Manifests": []any{}}), "MANIFEST_INVALID"},
		"long s in ſchemaVersion":              {ociImage, oci(object{"\u017fchemaVersion": 1}), "MANIFEST_INVALID"},
		"Subject":                              {ociImage, oci(object{"Subject": child}), "MANIFEST_INVALID"},
		"Annotations":                          {ociImage, oci(object{"Annotations": object{"a": "b"}}), "MANIFEST_INVALID"},
		"ArtifactType":                         {ociImage, oci(object{"ArtifactType": "x/y"}), "MANIFEST_INVALID"},
		"Digest in a layer":                    {ociImage, layers(with(l, "Digest", digestOf(config))), "MANIFEST_INVALID"},
		"SIZE in a layer":                      {ociImage, layers(with(l, "SIZE", 1)), "MANIFEST_INVALID"},
		"Platform in a child":                  {ociIndex, list(with(child, "Platform", object{"os": "windows"})), "MANIFEST_INVALID"},
		"byte order mark":                      {ociImage, []byte("\ufeff" + good), "MANIFEST_INVALID"},
		"trailing bytes":                       {ociImage, []byte(good + "x"), "MANIFEST_INVALID"},
		"trailing object":                      {ociImage, []byte(good + "{}"), "MANIFEST_INVALID"},
		"trailing NUL":                         {ociImage, []byte(good + "\x00"), "MANIFEST_INVALID"},
		"comment":                              {ociImage, []byte(good + "// comment"), "MANIFEST_INVALID"},
		"trailing comma":                       {ociImage, []byte(good[:len(good)-1] + ",}"), "MANIFEST_INVALID"},
		"single quotes":                        {ociImage, []byte(strings.ReplaceAll(good, `"`, "'")), "MANIFEST_INVALID"},
		"invalid UTF-8 in an annotation":       {ociImage, replace(`"schemaVersion":2`, "\"schemaVersion\":2,\"annotations\":{\"a\":\"\xff\"}"), "MANIFEST_INVALID"},
		"UTF-16":                               {ociImage, []byte("\xff\xfe{\x00}\x00"), "MANIFEST_INVALID"},
		"schemaVersion missing":                {ociImage, oci(object{"schemaVersion": nil}), "MANIFEST_INVALID"},
		"schemaVersion 1":                      {ociImage, oci(object{"schemaVersion": 1}), "MANIFEST_INVALID"},
		"schemaVersion a string":               {ociImage, oci(object{"schemaVersion": "2"}), "MANIFEST_INVALID"},
		"schemaVersion a float":                {ociImage, replace(`"schemaVersion":2`, `"schemaVersion":2.0`), "MANIFEST_INVALID"},
		"config missing":                       {ociImage, oci(object{"config": nil}), "MANIFEST_INVALID"},
		"config null":                          {ociImage, []byte(strings.Replace(good, `"config":{`, `"config":null,"x":{`, 1)), "MANIFEST_INVALID"},
		"config a list":                        {ociImage, oci(object{"config": []any{c}}), "MANIFEST_INVALID"},
		"config with urls":                     {ociImage, oci(object{"config": with(c, "urls", []string{"http://evil.test/"})}), "MANIFEST_INVALID"},
		"layers missing":                       {ociImage, oci(object{"layers": nil}), "MANIFEST_INVALID"},
		"layers an object":                     {ociImage, oci(object{"layers": l}), "MANIFEST_INVALID"},
		"layers of strings":                    {ociImage, layers(digestOf(layer)), "MANIFEST_INVALID"},
		"layers of null":                       {ociImage, replace(`"layers":[{`, `"layers":[null,{`), "MANIFEST_INVALID"},
		"manifests missing":                    {ociIndex, encode(object{"schemaVersion": 2, "mediaType": ociIndex}), "MANIFEST_INVALID"},
		"size missing":                         {ociImage, layers(with(l, "size", nil)), "MANIFEST_INVALID"},
		"size negative":                        {ociImage, layers(with(l, "size", -1)), "MANIFEST_INVALID"},
		"size a string":                        {ociImage, layers(with(l, "size", "7")), "MANIFEST_INVALID"},
		"size a float":                         {ociImage, layers(with(l, "size", 7.5)), "MANIFEST_INVALID"},
		"size 7e0":                             {ociImage, []byte(strings.ReplaceAll(string(layers(with(l, "size", 4242))), "4242", "7e0")), "MANIFEST_INVALID"},
		"size 2^63":                            {ociImage, layers(with(l, "size", uint64(1<<63))), "MANIFEST_INVALID"},
		"size 2^64 + right":                    {ociImage, []byte(strings.ReplaceAll(string(layers(with(l, "size", 4242))), "4242", "18446744073709551623")), "MANIFEST_INVALID"},
		"size true":                            {ociImage, layers(with(l, "size", true)), "MANIFEST_INVALID"},
		"size wrong":                           {ociImage, layers(with(l, "size", 999999)), "SIZE_INVALID"},
		"config size wrong":                    {ociImage, oci(object{"config": with(c, "size", 1)}), "SIZE_INVALID"},
		"digest missing":                       {ociImage, layers(with(l, "digest", nil)), "DIGEST_INVALID"},
		"digest short":                         {ociImage, layers(with(l, "digest", digestOf(layer)[:70])), "DIGEST_INVALID"},
		"digest upper case":                    {ociImage, layers(with(l, "digest", strings.ToUpper(digestOf(layer)))), "DIGEST_INVALID"},
		"digest of upper case digits":          {ociImage, layers(with(l, "digest", "sha256:"+strings.ToUpper(digestOf(layer)[7:]))), "DIGEST_INVALID"},
		"digest md5":                           {ociImage, layers(with(l, "digest", "md5:d41d8cd98f00b204e9800998ecf8427e")), "DIGEST_INVALID"},
		"digest ../":                           {ociImage, layers(with(l, "digest", "sha256:../../../../etc/passwd")), "DIGEST_INVALID"},
		"digest with space":                    {ociImage, layers(with(l, "digest", " "+digestOf(layer))), "DIGEST_INVALID"},
		"digest a number":                      {ociImage, layers(with(l, "digest", 1)), ""},
		"child digest bad":                     {ociIndex, list(with(child, "digest", "x")), "DIGEST_INVALID"},
		"layer unknown":                        {ociImage, layers(descriptor(ociLayer, []byte("nobody pushed this"))), "MANIFEST_BLOB_UNKNOWN"},
		"config unknown":                       {ociImage, oci(object{"config": descriptor(ociConfig, []byte("nobody"))}), "MANIFEST_BLOB_UNKNOWN"},
		"layer without mediaType":              {ociImage, layers(with(l, "mediaType", nil)), "MANIFEST_INVALID"},
		"layer with urls":                      {ociImage, layers(with(l, "urls", []string{"https://evil.test/x"})), "MANIFEST_INVALID"},
		"child with urls":                      {ociIndex, list(with(child, "urls", []string{"https://evil.test/x"})), "MANIFEST_INVALID"},
		"foreign layer":                        {ociImage, layers(with(with(l, "urls", []string{"https://evil.test/x"}), "mediaType", "application/vnd.oci.image.layer.nondistributable.v1.tar")), "MANIFEST_INVALID"},
		"urls of numbers":                      {ociImage, layers(with(l, "urls", []int{1})), "MANIFEST_INVALID"},
		"data that differs":                    {ociImage, layers(with(l, "data", base64.StdEncoding.EncodeToString([]byte("another")))), "MANIFEST_INVALID"},
		"data that is no base64":               {ociImage, layers(with(l, "data", "!!!!")), "MANIFEST_INVALID"},
		"subject a string":                     {ociImage, oci(object{"subject": digestOf(layer)}), "MANIFEST_INVALID"},
		"subject without size":                 {ociImage, oci(object{"subject": with(child, "size", nil)}), "MANIFEST_INVALID"},
		"subject with a bad digest":            {ociImage, oci(object{"subject": with(child, "digest", "sha256:../x")}), "DIGEST_INVALID"},
		"annotations a list":                   {ociImage, oci(object{"annotations": []string{"a"}}), "MANIFEST_INVALID"},
		"annotations of numbers":               {ociImage, oci(object{"annotations": object{"a": 1}}), "MANIFEST_INVALID"},
		"artifactType a number":                {ociImage, oci(object{"artifactType": 1}), "MANIFEST_INVALID"},
		"depth 10,000":                         {ociImage, replace(`"schemaVersion":2`, `"schemaVersion":2,"x":`+deep(10_000)), "MANIFEST_INVALID"},
		"depth 65":                             {ociImage, replace(`"schemaVersion":2`, `"schemaVersion":2,"x":`+deep(65)), "MANIFEST_INVALID"},
		"depth 1,000,000 of lists":             {ociImage, bytes.Repeat([]byte("["), 1_000_000), "MANIFEST_INVALID"},
		"empty index":                          {ociIndex, list(), "created"},
		"white space around it":                {ociImage, []byte(" \n" + good + "\r\n\t"), "created"},
		"unknown fields":                       {ociImage, oci(object{"x-note": object{"Layers": 1}}), "created"},
		"data that agrees":                     {ociImage, layers(with(l, "data", base64.StdEncoding.EncodeToString(layer))), "created"},
		"Content-Type with a parameter":        {ociImage + "; charset=utf-8", oci(nil), "created"},
		"Content-Type in upper case":           {strings.ToUpper(ociImage), oci(nil), "created"},
		"no Content-Type, but a mediaType":     {"", oci(nil), "created"},
		"OCI without mediaType":                {ociImage, oci(object{"mediaType": nil}), "created"},
		"sparse index":                         {ociIndex, list(child), "created"},
		"no layers at all":                     {ociImage, layers(), "created"},
		"the same layer twice":                 {ociImage, layers(l, l), "created"},
		"depth 60":                             {ociImage, replace(`"schemaVersion":2`, `"schemaVersion":2,"x":`+deep(60)), "created"},
		"subject that is not there":            {ociImage, oci(object{"subject": child}), "created"},
		"artifact":                             {artifact, encode(object{"mediaType": artifact, "blobs": []any{l}, "artifactType": "x/y"}), "created"},
		"Docker image":                         {dockerImage, oci(object{"mediaType": dockerImage}), "created"},
		"Docker list":                          {dockerList, encode(object{"schemaVersion": 2, "mediaType": dockerList, "manifests": []any{}}), "created"},
		"duplicate annotation in another case": {ociImage, oci(object{"annotations": object{"a": "1", "A": "2"}}), "created"},
	} {
		t.Run(name, func(t *testing.T) {
			admin, d := admin.in(t), digestOf(test.body)
			for _, ref := range []string{"tag", d} {
				var headers []string
				if test.contentType != "" {
					headers = []string{"Content-Type", test.contentType}
				}
				a := admin.do("PUT", "/v2/a/app/manifests/"+ref, test.body, headers...)
				if test.code == "created" {
					a.want(http.StatusCreated, "").wantHeader("Docker-Content-Digest", d)
					got := mustBody(admin.get("/v2/a/app/manifests/" + ref))
					if !bytes.Equal(got, test.body) {
						t.Errorf("what comes back is not what was pushed")
					}
					continue
				}
				a.want(http.StatusBadRequest, test.code)
				var v struct{ Errors []struct{ Detail any } }
				if a.into(&v); v.Errors[0].Detail == nil && test.contentType != "not a type" {
					t.Errorf("no detail says what was wrong: %s", a.body)
				}
				admin.head("/v2/a/app/manifests/"+d).want(http.StatusNotFound, "")
			}
			if test.code == "created" {
				admin.do("DELETE", "/v2/a/app/manifests/"+d, nil).want(http.StatusAccepted, "")
			} else {
				admin.head("/v2/a/app/manifests/tag").want(http.StatusNotFound, "")
			}
		})
	}
}

// TestS63_ForeignLayersByConfig: where the operator says so, foreign layers may lie elsewhere.
func TestS63_ForeignLayersByConfig(t *testing.T) {
	h := open(t, setup{registry: registry.Options{ForeignLayers: true}})
	admin := h.as("admin")
	config := []byte("{}")
	admin.pushBlob("a/app", config)
	layer := func(mediaType string) []byte {
		l := descriptor(mediaType, []byte("elsewhere"))
		l["urls"] = []string{"https://mcr.example/layer"}
		return image(config, config, object{"layers": []any{l}})
	}
	admin.putManifest("a/app", "windows", layer("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")).want(http.StatusCreated, "")
	admin.putManifest("a/app", "linux", layer(ociLayer)).want(http.StatusBadRequest, "MANIFEST_INVALID")
}

// TestS63_ForeignURL: and only where the operator says.
func TestS63_ForeignURL(t *testing.T) {
	admin := open(t, setup{registry: registry.Options{
		ForeignLayers: true, ForeignURL: func(url string) bool { return strings.HasPrefix(url, "https://mcr.example/") },
	}}).as("admin")
	config := []byte("{}")
	admin.pushBlob("a/app", config)
	push := func(urls ...any) answer {
		l := descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", []byte("elsewhere"))
		l["urls"] = urls
		return admin.putManifest("a/app", "windows", image(config, config, object{"layers": []any{l}}))
	}
	push("https://mcr.example/layer").want(http.StatusCreated, "")
	push("https://mcr.example/layer", "https://evil.example/layer").want(http.StatusBadRequest, "MANIFEST_INVALID")
	push("https://mcr.example/layer", 1).want(http.StatusBadRequest, "MANIFEST_INVALID")
}

// TestPlatforms: children for the platforms that the operator names must be there, others may be absent.
func TestPlatforms(t *testing.T) {
	admin := open(t, setup{registry: registry.Options{Platforms: []registry.Platform{{OS: "linux", Architecture: "amd64"}}}}).as("admin")
	config := []byte("{}")
	admin.pushBlob("a/app", config)
	there := image(config, config, nil)
	admin.putManifest("a/app", "there", there).want(http.StatusCreated, "")
	child := func(manifest []byte, platform any) object {
		d := descriptor(ociImage, manifest)
		d["platform"] = platform
		return d
	}
	amd64, arm64 := object{"os": "linux", "architecture": "amd64"}, object{"os": "linux", "architecture": "arm64", "variant": "v8"}
	absent := []byte("absent")
	for _, test := range []struct {
		children []any
		want     int
	}{
		{[]any{child(there, amd64), child(absent, arm64)}, 201},
		{[]any{child(absent, arm64), child(absent, nil)}, 201},
		{[]any{child(absent, amd64)}, 400},
		{[]any{child(there, arm64), child(absent, amd64)}, 400},
		{[]any{child(there, "linux/amd64")}, 400},
		{[]any{child(there, object{"os": 1})}, 400},
	} {
		index := encode(object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": test.children})
		if got := admin.putManifest("a/app", "index", index).status; got != test.want {
			t.Errorf("push of %s = %d, want %d", index, got, test.want)
		}
	}
}

// TestSparse: which content a manifest may name that is not there.
func TestSparse(t *testing.T) {
	absent := []byte("absent")
	for name, test := range map[string]struct {
		sparse       registry.Sparse
		index, image int
	}{
		"indexes": {registry.SparseIndexes, 201, 400},
		"none":    {registry.SparseNone, 400, 400},
		"all":     {registry.SparseAll, 201, 201},
	} {
		t.Run(name, func(t *testing.T) {
			admin := open(t, setup{registry: registry.Options{Sparse: test.sparse}}).as("admin")
			index := encode(object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": []any{descriptor(ociImage, absent)}})
			admin.putManifest("a/app", "index", index).want(test.index, "")
			admin.putManifest("a/app", "image", image(absent, absent, nil)).want(test.image, "")
		})
	}
}

// TestIndexWithWrongChildSize: a child that is there has the size that the index says.
func TestIndexWithWrongChildSize(t *testing.T) {
	admin := open(t, setup{}).as("admin")
	s := admin.pushImage("a/app", "child", "x")
	child := descriptor(ociImage, s.manifest)
	child["size"] = len(s.manifest) + 1
	index := encode(object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": []any{child}})
	admin.putManifest("a/app", "index", index).want(http.StatusBadRequest, "SIZE_INVALID")
}

// TestS65_ManifestSize: 4 MiB are taken and not a byte more.
func TestS65_ManifestSize(t *testing.T) {
	h := open(t, setup{})
	admin := h.as("admin")
	config := []byte("{}")
	admin.pushBlob("a/app", config)
	ofSize := func(n int) []byte {
		m := image(config, config, nil)
		return append(m, bytes.Repeat([]byte(" "), n-len(m))...)
	}
	largest := ofSize(registry.MaxManifestSize)
	admin.putManifest("a/app", "largest", largest).want(http.StatusCreated, "")
	if !bytes.Equal(mustBody(admin.get("/v2/a/app/manifests/largest")), largest) {
		t.Error("the largest manifest comes back changed")
	}
	for _, chunked := range []bool{false, true} {
		r, err := http.NewRequest("PUT", h.http.URL+"/v2/a/app/manifests/large", bytes.NewReader(ofSize(registry.MaxManifestSize+1)))
		must(t, err)
		r.Header.Set("Authorization", admin.auth)
		r.Header.Set("Content-Type", ociImage)
		if chunked {
			r.ContentLength = -1
		}
		admin.send(r).want(http.StatusRequestEntityTooLarge, "SIZE_INVALID")
	}
	admin.head("/v2/a/app/manifests/large").want(http.StatusNotFound, "")
}

// TestS65_AnnouncedGigabytes: 32 who announce 1 GiB and stall are answered at once.
func TestS65_AnnouncedGigabytes(t *testing.T) {
	h := open(t, setup{})
	admin := h.as("admin")
	start := time.Now()
	for range 32 {
		c := h.dial()
		c.send("PUT /v2/a/app/manifests/t HTTP/1.1\r\nHost: x\r\nAuthorization: " + admin.auth + "\r\nContent-Length: 1073741824\r\n\r\n{")
		if got := c.statuses(time.Second); !slices.Equal(got, []int{413}) {
			t.Fatalf("statuses = %v, want 413", got)
		}
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("32 refusals took %v", took)
	}
}

// TestManifestVerbs follows a manifest through its life.
func TestManifestVerbs(t *testing.T) {
	h := open(t, setup{})
	admin := h.as("admin")
	s := admin.pushImage("a/app", "v1", "x")
	path := "/v2/a/app/manifests/"
	etag := `"` + s.manifestDg + `"`
	for _, ref := range []string{"v1", s.manifestDg, strings.Replace(s.manifestDg, ":", "%3A", 1)} {
		get, head := admin.get(path+ref), admin.head(path+ref)
		for _, a := range []answer{get, head} {
			a.want(http.StatusOK, "").wantHeader("Content-Type", ociImage).wantHeader("Docker-Content-Digest", s.manifestDg).
				wantHeader("Etag", etag).wantHeader("Content-Length", fmt.Sprint(len(s.manifest))).
				wantHeader("Docker-Distribution-Api-Version", "registry/2.0")
		}
		if !bytes.Equal(get.body, s.manifest) {
			t.Errorf("GET %s = %s, want what was pushed", ref, get.body)
		}
		for _, condition := range []string{etag, "W/" + etag, `"x", ` + etag, "*"} {
			admin.get(path+ref, "If-None-Match", condition).want(http.StatusNotModified, "").wantHeader("Etag", etag)
			admin.head(path+ref, "If-None-Match", condition).want(http.StatusNotModified, "")
		}
		admin.get(path+ref, "If-None-Match", `"sha256:other"`).want(http.StatusOK, "")
	}
	admin.putManifest("a/app", "v2", s.manifest).want(http.StatusCreated, "").wantHeader("Location", path+s.manifestDg)
	admin.putManifest("a/app", nowhere, s.manifest).want(http.StatusBadRequest, "DIGEST_INVALID")
	admin.do("DELETE", path+"v1", nil).want(http.StatusAccepted, "")
	admin.get(path+"v1").want(http.StatusNotFound, "MANIFEST_UNKNOWN")
	admin.get(path+s.manifestDg).want(http.StatusOK, "")
	admin.get(path+"v2").want(http.StatusOK, "")
	admin.do("DELETE", path+s.manifestDg, nil).want(http.StatusAccepted, "")
	for _, ref := range []string{"v2", s.manifestDg} {
		admin.get(path+ref).want(http.StatusNotFound, "MANIFEST_UNKNOWN")
		admin.do("DELETE", path+ref, nil).want(http.StatusNotFound, "MANIFEST_UNKNOWN")
	}
	admin.do("DELETE", "/v2/a/none/manifests/v1", nil).want(http.StatusNotFound, "MANIFEST_UNKNOWN")
}

// TestSHA512: manifests and blobs go by either algorithm, and children too.
func TestSHA512(t *testing.T) {
	admin := open(t, setup{}).as("admin")
	of := func(b []byte) string { return customhouse.DigestOf(customhouse.SHA512, b).String() }
	config, layer := []byte("{}"), []byte("layer")
	admin.do("POST", "/v2/a/app/blobs/uploads/?digest="+of(config), config).want(http.StatusCreated, "").wantHeader("Docker-Content-Digest", of(config))
	upload := admin.begin("a/app", "?digest-algorithm=sha512")
	admin.do("PATCH", upload, layer).want(http.StatusAccepted, "")
	admin.do("PUT", upload+"?digest="+of(layer), nil).want(http.StatusCreated, "")
	c, l := descriptor(ociConfig, config), descriptor(ociLayer, layer)
	c["digest"], l["digest"] = of(config), of(layer)
	m := image(config, layer, object{"config": c, "layers": []any{l}})
	admin.putManifest("a/app", of(m)+"?tag=v1", m).want(http.StatusCreated, "").wantHeader("Docker-Content-Digest", of(m))
	admin.get("/v2/a/app/manifests/v1").want(http.StatusOK, "").wantHeader("Docker-Content-Digest", of(m))
	admin.get("/v2/a/app/manifests/"+of(m)).want(http.StatusOK, "")
	admin.get("/v2/a/app/manifests/"+digestOf(m)).want(http.StatusNotFound, "MANIFEST_UNKNOWN")
	admin.get("/v2/a/app/blobs/"+of(layer)).want(http.StatusOK, "")
	admin.get("/v2/a/app/blobs/"+digestOf(layer)).want(http.StatusNotFound, "BLOB_UNKNOWN")
	// Begun for one algorithm and ended with the other.
	upload = admin.begin("a/app", "?digest-algorithm=sha512")
	admin.do("PATCH", upload, layer).want(http.StatusAccepted, "")
	admin.do("PUT", upload+"?digest="+digestOf(layer), nil).want(http.StatusCreated, "")
	admin.do("POST", "/v2/a/app/blobs/uploads/?digest-algorithm=md5", nil).want(http.StatusBadRequest, "DIGEST_INVALID")
}

// TestNegotiation: Accept decides what a client gets for a tag, and linux/amd64 stands for an index it does not take.
func TestNegotiation(t *testing.T) {
	admin := open(t, setup{}).as("admin")
	amd, arm := admin.pushImage("a/app", "amd", "amd64"), admin.pushImage("a/app", "arm", "arm64")
	platform := func(s stored, architecture string) object {
		d := descriptor(ociImage, s.manifest)
		d["platform"] = object{"os": "linux", "architecture": architecture}
		return d
	}
	index := encode(object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": []any{platform(arm, "arm64"), platform(amd, "amd64")}})
	admin.putManifest("a/app", "multi", index).want(http.StatusCreated, "")
	armOnly := encode(object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": []any{platform(arm, "arm64")}})
	admin.putManifest("a/app", "arm-only", armOnly).want(http.StatusCreated, "")
	sparse := encode(object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": []any{platform(stored{manifest: []byte("absent")}, "amd64")}})
	admin.putManifest("a/app", "sparse", sparse).want(http.StatusCreated, "")

	for _, test := range []struct {
		ref    string
		accept []string
		want   []byte // nil: 404
	}{
		{"multi", nil, index},
		{"multi", []string{"*/*"}, index},
		{"multi", []string{"application/*"}, index},
		{"multi", []string{ociIndex}, index},
		{"multi", []string{ociImage, ociIndex}, index},
		{"multi", []string{ociImage + ", " + ociIndex + ";q=0.5"}, index},
		{"multi", []string{strings.ToUpper(ociIndex)}, index},
		{"multi", []string{ociImage}, amd.manifest},
		{"multi", []string{ociImage + ";q=0.1"}, amd.manifest},
		{"multi", []string{dockerImage}, nil},
		{"multi", []string{"text/html"}, nil},
		{digestOf(index), []string{ociImage}, nil},
		{"amd", []string{ociImage}, amd.manifest},
		{"amd", []string{dockerImage}, nil},
		{"arm-only", []string{ociImage}, nil},
		{"sparse", []string{ociImage}, nil},
	} {
		var headers []string
		for _, a := range test.accept {
			headers = append(headers, "Accept", a)
		}
		get := admin.get("/v2/a/app/manifests/"+test.ref, headers...)
		head := admin.head("/v2/a/app/manifests/"+test.ref, headers...)
		if test.want == nil {
			get.want(http.StatusNotFound, "MANIFEST_UNKNOWN")
			head.want(http.StatusNotFound, "")
			continue
		}
		if get.want(http.StatusOK, ""); !bytes.Equal(get.body, test.want) {
			t.Errorf("%s with Accept %v = %s, want %s", get.what, test.accept, get.body, test.want)
		}
		head.want(http.StatusOK, "").wantHeader("Docker-Content-Digest", digestOf(test.want)).wantHeader("Content-Type", get.header.Get("Content-Type"))
		if !strings.Contains(get.header.Get("Vary"), "Accept") {
			t.Errorf("%s: Vary = %q", get.what, get.header.Get("Vary"))
		}
	}
}

// TestPushManyTags: one push by digest points many tags, all or none.
func TestPushManyTags(t *testing.T) {
	admin := open(t, setup{}).as("admin")
	s := admin.pushImage("a/app", "first", "x")
	query := func(n int, prefix string) string {
		var tags []string
		for i := range n {
			tags = append(tags, fmt.Sprintf("tag=%s%d", prefix, i))
		}
		return "?" + strings.Join(tags, "&")
	}
	for _, n := range []int{1, 10, 50} {
		prefix := fmt.Sprintf("n%d-", n)
		a := admin.putManifest("a/app", s.manifestDg+query(n, prefix), s.manifest).want(http.StatusCreated, "")
		var want []string
		for i := range n {
			want = append(want, fmt.Sprintf("%s%d", prefix, i))
		}
		if diff := cmp.Diff(want, a.header["Oci-Tag"]); diff != "" {
			t.Errorf("OCI-Tag (-want +got):\n%s", diff)
		}
		for _, tag := range want {
			admin.head("/v2/a/app/manifests/"+tag).want(http.StatusOK, "").wantHeader("Docker-Content-Digest", s.manifestDg)
		}
	}
	admin.putManifest("a/app", s.manifestDg+query(51, "n51-"), s.manifest).want(http.StatusRequestURITooLong, "UNSUPPORTED")
	admin.putManifest("a/app", s.manifestDg+"?tag=good&tag=-bad", s.manifest).want(http.StatusBadRequest, "TAG_INVALID")
	admin.putManifest("a/app", s.manifestDg+"?tag=", s.manifest).want(http.StatusBadRequest, "TAG_INVALID")
	admin.putManifest("a/app", "other?tag=good", s.manifest).want(http.StatusBadRequest, "UNSUPPORTED")
	admin.head("/v2/a/app/manifests/good").want(http.StatusNotFound, "")
	admin.putManifest("a/app", s.manifestDg+"?tag=n10-0&tag=n10-0", s.manifest).want(http.StatusCreated, "")
}

// TestS66_IndexBombs: nesting, diamonds and long lists cost what they weigh.
func TestS66_IndexBombs(t *testing.T) {
	admin := open(t, setup{}).as("admin")
	put := func(ref string, children ...any) []byte {
		m := encode(object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": append([]any{}, children...), "annotations": object{"ref": ref}})
		start := time.Now()
		admin.putManifest("a/app", ref, m).want(http.StatusCreated, "")
		if took := time.Since(start); took > 30*time.Second { // 1 s on an idle machine; a cost that grows faster than the list passes this too
			t.Errorf("an index of %d children took %v", len(children), took)
		}
		return m
	}
	below := put("bottom")
	for range 100 {
		below = put("depth", descriptor(ociIndex, below))
	}
	left, right := put("left"), put("right")
	for i := range 30 {
		both := []any{descriptor(ociIndex, left), descriptor(ociIndex, right)}
		left, right = put(fmt.Sprintf("left%d", i), both...), put(fmt.Sprintf("right%d", i), both...)
	}
	start := time.Now()
	admin.get("/v2/a/app/manifests/left29", "Accept", ociImage).want(http.StatusNotFound, "")
	admin.do("DELETE", "/v2/a/app/manifests/"+digestOf(left), nil).want(http.StatusAccepted, "")
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("a diamond took %v", took)
	}
	var many []any
	for i := range 25_000 { // 4 MiB hold no more
		many = append(many, descriptor(ociImage, fmt.Append(nil, i)))
	}
	put("many", many...)
}

// TestSubjectAndReferrers: what refers to a manifest is listed, by type and in pages, also before the manifest is there.
func TestSubjectAndReferrers(t *testing.T) {
	admin := open(t, setup{}).as("admin")
	admin.pushBlob("a/app", []byte("{}"))
	subject := image([]byte("{}"), []byte("{}"), nil)
	path := "/v2/a/app/referrers/" + digestOf(subject)
	if got := referrers(admin.get(path)); got != nil {
		t.Errorf("referrers of nothing = %v", got)
	}
	push := func(change object) string {
		m := image([]byte("{}"), []byte("{}"), change)
		if change["mediaType"] == ociIndex {
			m = encode(change)
		}
		admin.putManifest("a/app", digestOf(m), m).want(http.StatusCreated, "").wantHeader("Oci-Subject", digestOf(subject))
		return digestOf(m)
	}
	s := descriptor(ociImage, subject)
	typed := push(object{"subject": s, "artifactType": "example/sbom", "annotations": object{"a": "<&\u2028>"}})
	byConfig := push(object{"subject": s, "config": object{"mediaType": "example/config", "digest": digestOf("{}"), "size": 2}})
	index := push(object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": []any{}, "subject": s, "artifactType": "example/sbom"})
	plain := push(object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": []any{}, "subject": s})

	sorted := func(d ...string) []string { slices.Sort(d); return d }
	for query, want := range map[string][]string{
		"":                             sorted(typed, byConfig, index, plain),
		"?artifactType=example/sbom":   sorted(typed, index),
		"?artifactType=example/config": {byConfig},
		"?artifactType=example%2Fsbom": sorted(typed, index),
		"?artifactType=none/such":      nil,
		"?artifactType=":               sorted(typed, byConfig, index, plain),
		"?n=0":                         nil,
	} {
		a := admin.get(path + query)
		if diff := cmp.Diff(want, referrers(a)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
		filter := ""
		if strings.Contains(query, "artifactType=") && query != "?artifactType=" {
			filter = "artifactType"
		}
		a.wantHeader("Oci-Filters-Applied", filter)
		head := admin.head(path+query).want(http.StatusOK, "")
		head.wantHeader("Content-Length", fmt.Sprint(len(a.body))).wantHeader("Content-Type", ociIndex)
	}
	var page struct {
		Manifests []struct {
			MediaType, Digest, ArtifactType string
			Size                            int64
			Annotations                     map[string]string
		}
	}
	admin.get(path + "?artifactType=example/sbom").into(&page)
	for _, m := range page.Manifests {
		if m.ArtifactType != "example/sbom" || m.Size == 0 || m.Digest == typed && m.Annotations["a"] != "<&\u2028>" {
			t.Errorf("descriptor of a referrer = %+v", m)
		}
	}
	if got := follow(admin, path+"?n=1", referrers); !slices.Equal(got, sorted(typed, byConfig, index, plain)) {
		t.Errorf("referrers by pages of one = %v", got)
	}
	if got := follow(admin, path+"?n=1&artifactType=example%2Fsbom", referrers); !slices.Equal(got, sorted(typed, index)) {
		t.Errorf("filtered referrers by pages of one = %v", got)
	}
	admin.get(path+"?last=nonsense").want(http.StatusBadRequest, "DIGEST_INVALID")
	admin.get("/v2/a/app/referrers/latest").want(http.StatusBadRequest, "DIGEST_INVALID")
	admin.do("DELETE", "/v2/a/app/manifests/"+typed, nil).want(http.StatusAccepted, "")
	if got := referrers(admin.get(path)); slices.Contains(got, typed) || len(got) != 3 {
		t.Errorf("after a delete, referrers = %v", got)
	}
}
