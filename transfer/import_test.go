package transfer_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"customhouse"
	"customhouse/registry"
	"customhouse/transfer"
)

// dockerArchive is what docker save writes of an image of two layers, the second of which is a link to another.
func dockerArchive(t *testing.T) (path, config string) {
	layer := "the bytes of a layer"
	config = fmt.Sprintf(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["%s","%s"]}}`, digestOf(layer), digestOf(layer))
	return tarOf(t,
		tar.Header{Typeflag: tar.TypeDir, Name: "one/"},
		file("one/layer.tar", layer),
		tar.Header{Typeflag: tar.TypeSymlink, Name: "two/layer.tar", Linkname: "../one/layer.tar"},
		file("config.json", config),
		file("manifest.json", `[{"Config":"config.json","RepoTags":["localhost:5000/team/app:v1","tools:latest"],"Layers":["one/layer.tar","two/layer.tar"]}]`),
	), config
}

func TestImportDockerArchive(t *testing.T) {
	h := newHouse(t)
	path, config := dockerArchive(t)
	done, err := transfer.ImportFile(t.Context(), h.Registry, path, transfer.ImportOptions{})
	if err != nil || done.Names != 2 {
		t.Fatalf("ImportFile = %+v, %v; want two names", done, err)
	}
	for repo, name := range map[string]string{"team/app": "v1", "tools": "latest"} {
		p := h.repo(t, repo)
		m, err := p.Manifest(t.Context(), customhouse.Ref{Tag: tag(t, name)})
		must(t, err)
		if m.MediaType != customhouse.MediaTypeDockerManifest || !strings.Contains(string(m.Bytes), digestOf(config).String()) {
			t.Errorf("manifest = %s, want Docker's with the config", m.Bytes)
		}
		if got := h.blob(t, p, digestOf(config)); got != config {
			t.Errorf("config = %q", got)
		}
	}
	again, err := transfer.ImportFile(t.Context(), h.Registry, path, transfer.ImportOptions{Tags: []string{"v*"}})
	if err != nil || again.Names != 1 {
		t.Errorf("import of v* = %+v, %v; want one name", again, err)
	}
}

// S82: what no program writes that writes images is refused with its name, nothing is written anywhere, and memory is
// bounded whatever the headers say.
func TestS82_HostileArchives(t *testing.T) {
	good := []tar.Header{file("oci-layout", `{"imageLayoutVersion":"1.0.0"}`), file("index.json", `{"schemaVersion":2,"manifests":[]}`)}
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	must(t, os.WriteFile(secret, []byte("secret"), 0o600))
	entry := func(kind byte, name, link string) tar.Header {
		return tar.Header{Typeflag: kind, Name: name, Linkname: link}
	}
	cases := map[string]tar.Header{
		"parent":           file("../evil", "x"),
		"parent inside":    file("blobs/../../evil", "x"),
		"dots inside":      file("blobs/./x", "x"),
		"absolute":         file("/etc/evil", "x"),
		"backslash":        file(`..\evil`, "x"),
		"double slash":     file("blobs//x", "x"),
		"dot dot":          file("..", "x"),
		"folder elsewhere": entry(tar.TypeDir, "../evil/", ""),
		"symlink absolute": entry(tar.TypeSymlink, "blobs", secret),
		"symlink up":       entry(tar.TypeSymlink, "blobs/x", "../../evil"),
		"symlink nowhere":  entry(tar.TypeSymlink, "blobs/x", "y"),
		"symlink loop":     entry(tar.TypeSymlink, "blobs/x", "x"),
		"hard link":        entry(tar.TypeLink, "evil", "index.json"),
		"hard link out":    entry(tar.TypeLink, "evil", "/etc/passwd"),
		"device":           entry(tar.TypeBlock, "evil", ""),
		"character device": entry(tar.TypeChar, "evil", ""),
		"pipe":             entry(tar.TypeFifo, "evil", ""),
		"twice":            file("index.json", "{}"),
		"file as folder":   file("index.json/evil", "x"),
		"long name":        file(strings.Repeat("a", 4000), "x"),
		"long link":        entry(tar.TypeSymlink, "evil", strings.Repeat("a", 4000)),
	}
	for name, h := range cases {
		t.Run(name, func(t *testing.T) { refuseArchive(t, tarOf(t, append(good[:2:2], h)...)) })
	}
	t.Run("symlink then write", func(t *testing.T) {
		refuseArchive(t, tarOf(t, append(good[:2:2], entry(tar.TypeSymlink, "blobs", "oci-layout"), file("blobs/evil", "x"))...))
	})
	t.Run("size behind the end", func(t *testing.T) {
		path := tarOf(t, good...)
		b, err := os.ReadFile(path)
		must(t, err)
		var size [12]byte // base 256: 2^62 bytes
		size[0] = 0x80
		binary.BigEndian.PutUint64(size[4:], 1<<62)
		copy(b[124:136], size[:])
		must(t, os.WriteFile(path, b, 0o600))
		refuseArchive(t, path)
	})
	t.Run("sparse", func(t *testing.T) {
		path := tarOf(t, good...)
		b, err := os.ReadFile(path)
		must(t, err)
		b[156] = tar.TypeGNUSparse
		must(t, os.WriteFile(path, b, 0o600))
		refuseArchive(t, path)
	})
	t.Run("very many entries", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "many.tar")
		f, err := os.Create(path)
		must(t, err)
		w := tar.NewWriter(f)
		for i := range 100_100 {
			must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprint("f", i)}))
		}
		must(t, errors.Join(w.Close(), f.Close()))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		refuseArchive(t, path)
		runtime.ReadMemStats(&after)
		if grown := int64(after.Sys) - int64(before.Sys); grown > 256<<20 {
			t.Errorf("took %d MiB", grown>>20)
		}
	})
	t.Run("compressed", func(t *testing.T) {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write(make([]byte, 1<<20))
		must(t, z.Close())
		path := filepath.Join(t.TempDir(), "x.tar.gz")
		must(t, os.WriteFile(path, b.Bytes(), 0o600))
		h := newHouse(t)
		if _, err := transfer.ImportFile(t.Context(), h.Registry, path, transfer.ImportOptions{}); !errors.Is(err, transfer.ErrCompressed) {
			t.Errorf("ImportFile = %v, want ErrCompressed", err)
		}
	})
	if b, err := os.ReadFile(secret); err != nil || string(b) != "secret" {
		t.Errorf("outside lies %q, %v", b, err)
	}
}

// refuseArchive expects an import to fail and to leave the registry and the folder of the archive as they were.
func refuseArchive(t *testing.T, path string) {
	t.Helper()
	h := newHouse(t)
	if _, err := transfer.ImportFile(t.Context(), h.Registry, path, transfer.ImportOptions{}); err == nil {
		t.Error("ImportFile = nil, want an error")
	}
	wantClean(t, path)
	names, _, err := h.Repositories(t.Context(), "", 10, registry.Visible{})
	if err != nil || len(names) > 0 {
		t.Errorf("repositories = %v, %v; want none", names, err)
	}
}

// Tables of contents that lie are refused before anything is taken.
func TestS82_HostileContents(t *testing.T) {
	index := func(entries string) []tar.Header {
		return []tar.Header{file("index.json", `{"schemaVersion":2,"manifests":[`+entries+`]}`)}
	}
	manifest := func(digest, name string) string {
		return fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":2,"digest":%q,"annotations":{"org.opencontainers.image.ref.name":%q}}`, digest, name)
	}
	x, y := digestOf("x").String(), digestOf("y").String()
	for name, entries := range map[string][]tar.Header{
		"digest leads elsewhere":   index(manifest("sha256:../../../../etc/passwd", "a:b")),
		"no digest":                index(manifest("x", "a:b")),
		"absent":                   index(manifest(x, "a:b")),
		"bad repository":           index(manifest(x, "../evil:v1")),
		"bad tag":                  index(manifest(x, "a:..")),
		"no repository":            index(manifest(x, "v1")),
		"one name for two":         index(manifest(x, "a:b") + "," + manifest(y, "a:b")),
		"no type":                  index(`{"size":2,"digest":"` + x + `"}`),
		"not JSON":                 {file("index.json", "index")},
		"keys twice":               {file("index.json", `{"manifests":[],"manifests":[]}`)},
		"docker: config elsewhere": {file("manifest.json", `[{"Config":"/etc/passwd","RepoTags":["a:b"],"Layers":[]}]`)},
		"docker: layer elsewhere": {file("c", `{"rootfs":{"diff_ids":["`+x+`"]}}`),
			file("manifest.json", `[{"Config":"c","RepoTags":["a:b"],"Layers":["../../etc/passwd"]}]`)},
		"docker: another layer": {file("c", `{"rootfs":{"diff_ids":["`+x+`"]}}`), file("l", "y"),
			file("manifest.json", `[{"Config":"c","RepoTags":["a:b"],"Layers":["l"]}]`)},
		"docker: fewer layers": {file("c", `{"rootfs":{"diff_ids":["`+x+`"]}}`),
			file("manifest.json", `[{"Config":"c","RepoTags":["a:b"],"Layers":[]}]`)},
		"neither": {file("something", "x")},
	} {
		t.Run(name, func(t *testing.T) { refuseArchive(t, tarOf(t, entries...)) })
	}
}

// S80: a registry that sends its clients elsewhere to log in gets no credentials of theirs there.
func TestS80_ImportKeepsCredentials(t *testing.T) {
	var stolen atomic.Int64
	thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || r.Method == http.MethodPost {
			stolen.Add(1)
		}
		fmt.Fprint(w, `{"token":"x"}`)
	}))
	defer thief.Close()
	lying := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+strings.Replace(thief.URL, "127.0.0.1", "localhost", 1)+`/token",service="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer lying.Close()
	from, err := transfer.ParseRemote("docker://" + strings.TrimPrefix(lying.URL, "http://") + "/app:v1")
	must(t, err)
	from.PlainHTTP, from.Username, from.Password = true, "me", "a password"
	h := newHouse(t)
	_, err = transfer.ImportRemote(t.Context(), h.Registry, from, transfer.ImportOptions{})
	if err == nil || stolen.Load() > 0 {
		t.Errorf("ImportRemote = %v, credentials sent elsewhere %d times", err, stolen.Load())
	}
	if strings.Contains(err.Error(), "a password") {
		t.Errorf("the error tells the password: %v", err)
	}
}

func TestParseRemote(t *testing.T) {
	d := digestOf("x").String()
	for source, want := range map[string]transfer.Remote{
		"docker://localhost:5000/a/b:v1":  {Host: "localhost:5000", Repo: "a/b", Ref: "v1"},
		"docker://reg.example.com/a@" + d: {Host: "reg.example.com", Repo: "a", Ref: d},
		"docker://reg.example.com/a":      {Host: "reg.example.com", Repo: "a"},
		"docker://reg.example.com":        {Host: "reg.example.com"},
	} {
		got, err := transfer.ParseRemote(source)
		if err != nil || got.Host != want.Host || got.Repo != want.Repo || got.Ref != want.Ref {
			t.Errorf("ParseRemote(%s) = %+v, %v; want %+v", source, got, err, want)
		}
	}
	for _, source := range []string{"a/b", "docker://", "docker://u:p@host/a", "docker://host/A", "docker://host/a:b:c", "docker://host/a@b", "docker://ho st/a"} {
		if got, err := transfer.ParseRemote(source); err == nil {
			t.Errorf("ParseRemote(%s) = %+v, want an error", source, got)
		}
	}
}

// far serves what a registry has below /v2/, by path, and counts requests.
func far(t *testing.T, answers map[string]string) (from transfer.Remote, asked *atomic.Int64) {
	t.Helper()
	asked = &atomic.Int64{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		body, ok := answers[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if strings.Contains(r.URL.Path, "/manifests/") {
			w.Header().Set("Content-Type", customhouse.MediaTypeImageManifest)
			w.Header().Set("Docker-Content-Digest", digestOf(body).String())
		}
		if strings.HasSuffix(r.URL.Path, "/list") || strings.HasSuffix(r.URL.Path, "/_catalog") {
			w.Header().Set("Link", "<"+r.URL.Path+"?n=1>; rel=\"next\"") // the same again, for ever
			if !strings.Contains(body, "round") {
				w.Header().Del("Link")
			}
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		if r.Method != http.MethodHead {
			fmt.Fprint(w, body)
		}
	}))
	t.Cleanup(s.Close)
	from, err := transfer.ParseRemote("docker://" + strings.TrimPrefix(s.URL, "http://"))
	must(t, err)
	from.PlainHTTP, from.Username, from.Password = true, "me", "x"
	return from, asked
}

// One image that cannot be had does not keep the others away, and a registry that fails all the time is left alone.
func TestImportRemotePartly(t *testing.T) {
	config := "{}"
	image := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2},"layers":[]}`,
		customhouse.MediaTypeImageManifest, digestOf(config))
	answers := map[string]string{
		"/v2/_catalog":       `{"repositories":["a","b","UPPER"]}`,
		"/v2/a/tags/list":    `{"tags":["gone","v1"]}`,
		"/v2/b/tags/list":    `{"tags":["v1"]}`,
		"/v2/a/manifests/v1": image, "/v2/b/manifests/v1": image,
		"/v2/a/manifests/" + digestOf(image).String(): image, "/v2/b/manifests/" + digestOf(image).String(): image,
		"/v2/a/blobs/" + digestOf(config).String(): config, "/v2/b/blobs/" + digestOf(config).String(): config,
	}
	from, _ := far(t, answers)
	var failed []string
	opts := transfer.ImportOptions{Failed: func(what string, err error) { failed = append(failed, what) }}
	done, err := transfer.ImportRemote(t.Context(), newHouse(t).Registry, from, opts)
	want := []string{from.Host + "/a:gone", from.Host + "/UPPER"}
	if err != nil || done.Names != 2 || done.Failed != 2 || !slices.Equal(failed, want) {
		t.Errorf("ImportRemote = %+v, %v; failed %v, want %v", done, err, failed, want)
	}
	if _, err := transfer.ImportRemote(t.Context(), newHouse(t).Registry, from, transfer.ImportOptions{}); err == nil || !strings.Contains(err.Error(), "/a:gone") {
		t.Errorf("ImportRemote to whom nobody is told of failures = %v", err)
	}

	var tags []string
	for i := range 100 {
		tags = append(tags, fmt.Sprintf("%q", fmt.Sprint("gone", i)))
	}
	answers["/v2/a/tags/list"] = `{"tags":[` + strings.Join(tags, ",") + `]}`
	failed = nil
	if _, err := transfer.ImportRemote(t.Context(), newHouse(t).Registry, from, opts); err == nil || len(failed) > 10 {
		t.Errorf("ImportRemote = %v after %d failures in a row", err, len(failed))
	}
}

// Lists that go round in circles end.
func TestImportRemoteCircles(t *testing.T) {
	from, asked := far(t, map[string]string{"/v2/_catalog": `{"repositories":["round"]}`, "/v2/a/tags/list": `{"tags":["round"]}`})
	for _, repo := range []string{"", "a"} {
		from.Repo = repo
		asked.Store(0)
		_, err := transfer.ImportRemote(t.Context(), newHouse(t).Registry, from, transfer.ImportOptions{})
		if err == nil || !strings.Contains(err.Error(), "round in circles") || asked.Load() > 10 {
			t.Errorf("ImportRemote of %q = %v, %d requests", repo, err, asked.Load())
		}
	}
}
