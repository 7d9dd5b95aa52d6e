package transfer_test

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"customhouse"
	"customhouse/registry"
	"customhouse/transfer"

	"github.com/google/go-cmp/cmp"
)

// What goes out as a folder of distribution comes back whole, with the history of tags, and what was adopted with what was
// pushed later.
func TestExportDistribution(t *testing.T) {
	for _, link := range []bool{false, true} {
		f, h := newFolder(t), newHouse(t)
		first, _ := f.image("team/app", "first")
		second, layer := f.image("team/app", "second")
		f.tag("team/app", "latest", first)
		f.tag("team/app", "latest", second)
		h.adopt(t, f, transfer.AdoptOptions{})
		app := h.repo(t, "team/app")
		config := push(t, h, "other", "pushed")
		out := filepath.Join(t.TempDir(), "out")
		done, err := transfer.Export(t.Context(), h.Registry, out, transfer.ExportOptions{Link: link})
		if err != nil || done.Repositories != 2 || done.Manifests != 3 || done.Tags != 2 {
			t.Fatalf("Export = %+v, %v; want 3 manifests and 2 tags of 2 repositories", done, err)
		}
		if link != (done.Linked > 0) {
			t.Errorf("linked %d blobs, want some: %t", done.Linked, link)
		}
		wantClean(t, out)

		back := newHouse(t)
		again, found := back.adopt(t, folder{t, filepath.Join(out, "docker/registry/v2")}, transfer.AdoptOptions{Verify: transfer.VerifyAll})
		if len(found) > 0 || again.Manifests != 3 || again.Tags != 2 || again.Blobs != 6 {
			t.Errorf("adopted again = %+v, found %v", again, found)
		}
		back.wantTag(t, back.repo(t, "team/app"), "latest", second)
		if got := back.blob(t, back.repo(t, "team/app"), layer); got != "layer of second" {
			t.Errorf("blob = %q", got)
		}
		back.wantTag(t, back.repo(t, "other"), "v1", config)
		for _, tagName := range []string{"latest"} {
			want, err := app.History(t.Context(), tag(t, tagName))
			must(t, err)
			got, err := back.repo(t, "team/app").History(t.Context(), tag(t, tagName))
			must(t, err)
			if len(want) != 2 || len(got) != 2 || !got[0].At.Equal(want[0].At) || got[0].Digest != want[0].Digest {
				t.Errorf("history = %v, want %v", got, want)
			}
		}
	}
}

// An image layout holds what is asked for, each blob once, and its names come back by an import.
func TestExportLayout(t *testing.T) {
	h := newHouse(t)
	one, two := push(t, h, "team/one", "same"), push(t, h, "team/two", "same")
	push(t, h, "alone", "else")
	out := filepath.Join(t.TempDir(), "layout")
	done, err := transfer.Export(t.Context(), h.Registry, out, transfer.ExportOptions{Format: transfer.FormatOCI, Patterns: []string{"team/**"}})
	if err != nil || done.Repositories != 2 || done.Manifests != 2 || done.Blobs != 3 {
		t.Fatalf("Export = %+v, %v; want 2 repositories that share 3 pieces of content", done, err)
	}
	tarred := filepath.Join(t.TempDir(), "layout.tar")
	if _, err := transfer.Export(t.Context(), h.Registry, tarred, transfer.ExportOptions{Format: transfer.FormatTar}); err != nil {
		t.Fatal(err)
	}
	wantClean(t, tarred)
	for source, repos := range map[string][]string{out: {"team/one", "team/two"}, tarred: {"alone", "team/one", "team/two"}} {
		back := newHouse(t)
		imported, err := transfer.ImportFile(t.Context(), back.Registry, source, transfer.ImportOptions{})
		if err != nil || imported.Names != len(repos) {
			t.Fatalf("ImportFile = %+v, %v", imported, err)
		}
		names, _, err := back.Repositories(t.Context(), "", 10, registry.Visible{})
		must(t, err)
		if diff := cmp.Diff(repos, names); diff != "" {
			t.Errorf("repositories (-want +got):\n%s", diff)
		}
		back.wantTag(t, back.repo(t, "team/one"), "v1", one)
		back.wantTag(t, back.repo(t, "team/two"), "v1", two)
		again, err := transfer.ImportFile(t.Context(), back.Registry, source, transfer.ImportOptions{})
		if err != nil || again.Pieces != 0 {
			t.Errorf("second import = %+v, %v; want nothing new", again, err)
		}
	}
}

// One repository has plain tags as names, which --repo puts anywhere.
func TestExportOneRepository(t *testing.T) {
	h := newHouse(t)
	d := push(t, h, "team/one", "one")
	out := filepath.Join(t.TempDir(), "layout")
	if _, err := transfer.Export(t.Context(), h.Registry, out, transfer.ExportOptions{Format: transfer.FormatOCI, Patterns: []string{"team/one"}}); err != nil {
		t.Fatal(err)
	}
	var index struct {
		Manifests []struct{ Annotations map[string]string }
	}
	b, err := os.ReadFile(filepath.Join(out, "index.json"))
	must(t, err)
	must(t, json.Unmarshal(b, &index))
	if len(index.Manifests) != 1 || index.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != "v1" {
		t.Errorf("index.json = %s, want one manifest called v1", b)
	}
	back := newHouse(t)
	repo, err := customhouse.ParseRepo("elsewhere")
	must(t, err)
	if _, err := transfer.ImportFile(t.Context(), back.Registry, out, transfer.ImportOptions{Repo: repo}); err != nil {
		t.Fatal(err)
	}
	back.wantTag(t, back.repo(t, "elsewhere"), "v1", d)
}

// What is there is not overwritten; what is wrong is not written; a failure leaves nothing.
func TestExportRefuses(t *testing.T) {
	h := newHouse(t)
	push(t, h, "app", "one")
	there := t.TempDir()
	if _, err := transfer.Export(t.Context(), h.Registry, there, transfer.ExportOptions{}); err == nil {
		t.Error("Export into what is there = nil, want an error")
	}
	if _, err := transfer.Export(t.Context(), h.Registry, filepath.Join(there, "out"), transfer.ExportOptions{Patterns: []string{"absent"}}); err == nil {
		t.Error("Export of no repository = nil, want an error")
	}
	wantEmpty(t, there)

	layer := digestOf("layer of one")
	must(t, os.WriteFile(filepath.Join(h.dir, "blobs/sha256", layer.Hex()[:2], layer.Hex()), []byte("Layer of one"), 0o600))
	var found []transfer.Finding
	opts := transfer.ExportOptions{Report: func(f transfer.Finding) { found = append(found, f) }}
	if _, err := transfer.Export(t.Context(), h.Registry, filepath.Join(there, "out"), opts); !errors.Is(err, transfer.ErrIncomplete) {
		t.Errorf("Export of wrong bytes = %v, want ErrIncomplete", err)
	}
	if len(found) != 1 || found[0].Name != layer.String() {
		t.Errorf("findings = %v, want the layer", found)
	}
	wantEmpty(t, there)
	opts.KeepGoing = true
	if _, err := transfer.Export(t.Context(), h.Registry, filepath.Join(there, "out"), opts); err != nil {
		t.Errorf("Export of what is left = %v", err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := transfer.Export(canceled, h.Registry, filepath.Join(there, "out2"), transfer.ExportOptions{}); err == nil {
		t.Error("Export with an ended context = nil, want an error")
	}
}

func TestMatchRepo(t *testing.T) {
	for _, c := range []struct {
		pattern, repo string
		want          bool
	}{
		{"app", "app", true}, {"app", "app/x", false}, {"app/**", "app/x/y", true}, {"app/**", "app", false}, {"*", "a/b", false},
		{"*/b", "a/b", true}, {"**", "a/b", true}, {"a*/**", "abc/d", true}, {"app/**", "apple/x", false},
	} {
		if got := transfer.MatchRepo(c.pattern, c.repo); got != c.want {
			t.Errorf("MatchRepo(%q, %q) = %t, want %t", c.pattern, c.repo, got, c.want)
		}
	}
}

// push pushes an image of one layer with the tag v1 and returns its digest.
func push(t *testing.T, h *house, repo, name string) customhouse.Digest {
	t.Helper()
	p := h.repo(t, repo)
	config, layer := `{"of":"`+name+`"}`, "layer of "+name
	for _, content := range []string{config, layer} {
		must(t, p.Monolithic(t.Context(), digestOf(content), -1, strings.NewReader(content)))
	}
	pushed, err := p.PushManifest(t.Context(), registry.Push{
		Bytes: []byte(imageManifest(digestOf(config), digestOf(layer), name)), Tags: []customhouse.Tag{tag(t, "v1")},
	})
	must(t, err)
	return pushed.Digest
}

// wantClean checks that nothing lies beside what was written.
func wantClean(t *testing.T, out string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(out))
	must(t, err)
	if len(entries) != 1 || entries[0].Name() != filepath.Base(out) {
		t.Errorf("beside %s lies %v", out, entries)
	}
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) > 0 {
		t.Errorf("%s holds %v, want nothing", dir, entries)
	}
}

// tarOf writes a tar file of these entries; a Size without content is content of zeros.
func tarOf(t *testing.T, entries ...tar.Header) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive.tar")
	f, err := os.Create(path)
	must(t, err)
	w := tar.NewWriter(f)
	for _, h := range entries {
		content := h.PAXRecords["test.content"]
		h.PAXRecords = nil
		if content != "" {
			h.Size = int64(len(content))
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		must(t, w.WriteHeader(&h))
		if content == "" {
			content = strings.Repeat("\x00", int(h.Size))
		}
		_, err := io.WriteString(w, content)
		must(t, err)
	}
	must(t, w.Close())
	must(t, f.Close())
	return path
}

func file(name, content string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, PAXRecords: map[string]string{"test.content": content}}
}
