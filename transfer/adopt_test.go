package transfer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"customhouse"
	"customhouse/registry"
	"customhouse/transfer"

	"github.com/google/go-cmp/cmp"
)

// Everything that distribution holds is there: repositories, nested ones too, manifests with and without a tag, tags
// with what they have pointed to, blobs from where they lie, and the referrers that it never listed.
func TestAdopt(t *testing.T) {
	f, h := newFolder(t), newHouse(t)
	first, _ := f.image("team/app", "first")
	second, layer := f.image("team/app", "second")
	f.tag("team/app", "latest", first)
	f.tag("team/app", "latest", second)
	f.tag("team/app", "v1", first)
	nested, _ := f.image("team/app/tools", "nested")
	list := f.manifest("team/app", fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[
{"mediaType":"application/vnd.docker.distribution.manifest.v2+json","digest":"%s","size":%d}]}`, first, len(f.read(dataPath(first)))))
	config := f.blob("team/app", "{}")
	signature := f.manifest("team/app", fmt.Sprintf(`{"schemaVersion":2,"artifactType":"application/x.signature",
"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"%s","size":2},"layers":[],
"subject":{"mediaType":"application/vnd.docker.distribution.manifest.v2+json","digest":"%s","size":%d}}`, config, first, len(f.read(dataPath(first)))))
	before := f.inventory()

	done, found := h.adopt(t, f, transfer.AdoptOptions{Verify: transfer.VerifyAll})
	if len(found) > 0 || done.Repositories != 2 || done.Manifests != 5 || done.Tags != 2 || done.Blobs != 7 {
		t.Fatalf("Adopt = %+v, found %v; want 5 manifests, 2 tags and 7 blobs of 2 repositories", done, found)
	}
	names, _, err := h.Repositories(t.Context(), "", 10, registry.Visible{})
	must(t, err)
	if diff := cmp.Diff([]string{"team/app", "team/app/tools"}, names); diff != "" {
		t.Errorf("repositories (-want +got):\n%s", diff)
	}
	app := h.repo(t, "team/app")
	h.wantTag(t, app, "latest", second)
	h.wantTag(t, app, "v1", first)
	for _, d := range []customhouse.Digest{list, signature} {
		m, err := app.Manifest(t.Context(), customhouse.Ref{Digest: d})
		if err != nil || string(m.Bytes) != f.read(dataPath(d)) {
			t.Errorf("Manifest(%s) = %q, %v; want the bytes of the folder", d, m.Bytes, err)
		}
	}
	if m, err := h.repo(t, "team/app/tools").Stat(t.Context(), customhouse.Ref{Digest: nested}); err != nil {
		t.Errorf("nested manifest = %v, %v", m, err)
	}
	referrers, _, err := app.Referrers(t.Context(), first, "", customhouse.Digest{}, 10)
	if err != nil || len(referrers) != 1 || referrers[0].Digest != signature || referrers[0].ArtifactType != "application/x.signature" {
		t.Errorf("Referrers = %v, %v; want %s", referrers, err, signature)
	}
	history, err := app.History(t.Context(), tag(t, "latest"))
	must(t, err)
	var digests []customhouse.Digest
	for _, set := range history {
		digests = append(digests, set.Digest)
	}
	if len(digests) != 2 || !slices.Contains(digests, first) || !slices.Contains(digests, second) {
		t.Errorf("history of latest = %v, want %s and %s", digests, first, second)
	}
	if got := h.blob(t, app, layer); got != "layer of second" {
		t.Errorf("blob = %q, want %q", got, "layer of second")
	}
	if _, err := os.Stat(filepath.Join(h.dir, "blobs", "sha256", layer.Hex()[:2])); !os.IsNotExist(err) {
		t.Errorf("the blob was copied: %v", err)
	}
	if diff := cmp.Diff(before, f.inventory()); diff != "" {
		t.Errorf("the folder has changed (-before +after):\n%s", diff)
	}
}

// What crashes, bugs and people leave in a folder is told by name and path, does no harm to the rest, and stays.
func TestAdoptLeftovers(t *testing.T) {
	f, h := newFolder(t), newHouse(t)
	good, _ := f.image("app", "good")
	f.tag("app", "good", good)
	old := time.Now().Add(-time.Hour)

	wrong, wrongLayer := f.image("app", "wrong")
	f.write(dataPath(wrong), "something else")
	f.write(dataPath(wrongLayer), "Layer of wrong") // of the right size
	f.tag("app", "wrong", wrong)
	torn, tornLayer := f.image("app", "torn")
	f.write(revisionPath("app", torn), "")
	f.write(layerPath("app", tornLayer), "sha256:12")
	f.tag("app", "torn", torn)
	swapped, _ := f.image("app", "swapped")
	f.write(revisionPath("app", swapped), good.String())
	gone, goneLayer := f.image("app", "gone")
	f.remove(dataPath(gone))
	f.remove(dataPath(goneLayer))
	deleted, _ := f.image("app", "deleted")
	f.remove(revisionPath("app", deleted))
	f.tag("app", "deleted", deleted)
	f.tag("app", "empty", good)
	f.write(tagPath("app", "empty"), "")
	f.tag("app", "unset", good)
	f.remove("repositories/app/_manifests/tags/unset/current")
	f.tag("app", "-bad", good)
	unlinked, unlinkedLayer := f.image("app", "unlinked")
	f.remove(layerPath("app", unlinkedLayer))
	cut, cutLayer := f.image("app", "cut")
	f.write(dataPath(cutLayer), "layer")
	absent := digestOf("absent")
	list := f.manifest("app", fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[
{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"%s","size":6}]}`, absent))
	noise := f.manifest("app", "not a manifest")
	schema1 := f.manifest("app", fmt.Sprintf(`{"schemaVersion":1,"name":"app","tag":"v0","fsLayers":[{"blobSum":"%s"}]}`, unlinkedLayer))
	twice := f.manifest("app", `{"schemaVersion":2,"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
	orphan := digestOf("orphan")
	f.write(dataPath(orphan), "orphan")
	must(t, os.Chtimes(filepath.Join(f.v2, dataPath(orphan)), old, old))
	f.image("Upper/Case", "upper")
	f.write("repositories/ghost/_uploads/some-id/startedat", "2026-01-02T03:04:05Z")
	f.write("repositories/app/_uploads/other-id/data", "half")
	f.write("repositories/app/_manifests/revisions/sha256/zz/link", "x")
	f.write("repositories/app/_manifests/note", "x")
	f.write("repositories/app/_strange/file", "x")
	f.blob("blobs/only", "just a blob")
	must(t, syscall.Mkfifo(filepath.Join(f.v2, "repositories/app/_manifests/tags/good/current/pipe"), 0o600))
	before := f.inventory()

	want := func(kind transfer.Kind, repo, name string) string { return fmt.Sprintf("%s|%s|%s", kind, repo, name) }
	wanted := []string{
		want(transfer.WrongBytes, "app", wrong.String()), want(transfer.WrongBytes, "app", wrongLayer.String()),
		want(transfer.TagToNowhere, "app", "wrong"), want(transfer.TagToNowhere, "app", "torn"), want(transfer.TagToNowhere, "app", "deleted"),
		want(transfer.TornLink, "app", torn.String()), want(transfer.TornLink, "app", tornLayer.String()), want(transfer.TornLink, "app", swapped.String()),
		want(transfer.TornLink, "app", "empty"), want(transfer.TagUnset, "app", "unset"), want(transfer.BadName, "app", "-bad"),
		want(transfer.MissingManifest, "app", gone.String()), want(transfer.MissingBlob, "app", goneLayer.String()),
		want(transfer.DeletedLink, "app", deleted.String()), want(transfer.DeletedLink, "app", unlinkedLayer.String()),
		want(transfer.BlobNotLinked, "app", unlinkedLayer.String()), want(transfer.WrongBytes, "app", cutLayer.String()),
		want(transfer.BlobNotLinked, "app", cutLayer.String()),
		want(transfer.MissingChild, "app", absent.String()), want(transfer.NotAManifest, "app", noise.String()),
		want(transfer.RefusedManifest, "app", schema1.String()), want(transfer.RefusedManifest, "app", twice.String()),
		want(transfer.OrphanBlob, "", orphan.String()), want(transfer.OrphanBlob, "", deleted.String()),
		want(transfer.OrphanBlob, "", unlinkedLayer.String()), want(transfer.BadName, "Upper/Case", ""),
		want(transfer.GhostRepository, "ghost", ""), want(transfer.AbandonedUpload, "ghost", "some-id"), want(transfer.AbandonedUpload, "app", "other-id"),
		want(transfer.BadName, "app", ""), want(transfer.Stray, "app", ""), want(transfer.Stray, "", ""), want(transfer.NoManifests, "blobs/only", ""),
	}
	_, found := h.adopt(t, f, transfer.AdoptOptions{Verify: transfer.VerifyAll})
	var got []string
	for _, f := range found {
		if f.Path == "" && f.Kind != transfer.BlobNotLinked && f.Kind != transfer.MissingChild {
			t.Errorf("%v has no path", f)
		}
		got = append(got, want(f.Kind, f.Repo, f.Name))
	}
	slices.Sort(got)
	slices.Sort(wanted)
	if diff := cmp.Diff(slices.Compact(wanted), slices.Compact(got)); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}

	app := h.repo(t, "app")
	h.wantTag(t, app, "good", good)
	tags, _, err := app.Tags(t.Context(), "", 100)
	must(t, err)
	if diff := cmp.Diff([]string{"good"}, tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	for _, d := range []customhouse.Digest{list, schema1, twice, unlinked, cut} { // taken over as they are
		m, err := app.Manifest(t.Context(), customhouse.Ref{Digest: d})
		if err != nil || string(m.Bytes) != f.read(dataPath(d)) {
			t.Errorf("Manifest(%s) = %q, %v; want the bytes of the folder", d, m.Bytes, err)
		}
	}
	for _, d := range []customhouse.Digest{wrong, torn, swapped, gone, deleted, noise} {
		if _, err := app.Stat(t.Context(), customhouse.Ref{Digest: d}); err == nil {
			t.Errorf("Stat(%s) = nil, want an error", d)
		}
	}
	for _, d := range []customhouse.Digest{wrongLayer, tornLayer, goneLayer, cutLayer, orphan} {
		if b, err := app.Blob(t.Context(), d); err == nil {
			b.Close()
			t.Errorf("Blob(%s) = nil, want an error", d)
		}
	}
	if diff := cmp.Diff(before, f.inventory()); diff != "" {
		t.Errorf("the folder has changed (-before +after):\n%s", diff)
	}

	// Another pass finds the same again and takes nothing over.
	done, again := h.adopt(t, f, transfer.AdoptOptions{Verify: transfer.VerifyAll})
	if done.Manifests+done.Tags+done.Blobs != 0 {
		t.Errorf("second pass = %+v, want nothing new", done)
	}
	torns := func(fs []transfer.Finding) (n int) {
		for _, f := range fs {
			if f.Kind == transfer.TornLink {
				n++
			}
		}
		return n
	}
	if torns(again) != torns(found) {
		t.Errorf("second pass finds %d torn links, want %d again", torns(again), torns(found))
	}
}

// Wrong bytes below are found when they are read, never arrive whole, are found no more after a restart either, and a
// push heals them without a change below.
func TestAdoptedWrongBytesHeal(t *testing.T) {
	f, dir := newFolder(t), t.TempDir()
	h := openHouse(t, dir)
	_, layer := f.image("app", "one")
	h.adopt(t, f, transfer.AdoptOptions{})
	f.write(dataPath(layer), "Layer of one")
	app := h.repo(t, "app")
	b, err := app.Blob(t.Context(), layer)
	must(t, err)
	if _, err := b.Section(0, b.Size); err == nil {
		t.Fatal("Section = nil, want an error: the bytes are wrong")
	}
	must(t, b.Close())
	h.close()
	h = openHouse(t, dir)
	app = h.repo(t, "app")
	if _, err := app.Blob(t.Context(), layer); err == nil {
		t.Fatal("Blob = nil after a restart, want an error: the bytes are known to be wrong")
	}
	must(t, app.Monolithic(t.Context(), layer, -1, strings.NewReader("layer of one")))
	if got := h.blob(t, app, layer); got != "layer of one" {
		t.Errorf("healed blob = %q", got)
	}
	if got := f.read(dataPath(layer)); got != "Layer of one" {
		t.Errorf("below lies %q, want what lay there before", got)
	}
}

// A pass that follows another takes over what has changed, and only that; what was changed here later stays.
func TestAdoptAgain(t *testing.T) {
	f, h := newFolder(t), newHouse(t)
	first, _ := f.image("app", "first")
	second, _ := f.image("app", "second")
	f.tag("app", "latest", first)
	f.tag("app", "ours", first)
	f.tag("app", "going", second)
	f.image("other", "other")
	h.adopt(t, f, transfer.AdoptOptions{})
	app := h.repo(t, "app")

	must(t, app.DeleteTag(t.Context(), tag(t, "ours"), nil)) // deleted here: it does not come back
	m, err := app.Manifest(t.Context(), customhouse.Ref{Digest: first})
	must(t, err)
	_, err = app.PushManifest(t.Context(), registry.Push{Bytes: m.Bytes, Tags: []customhouse.Tag{tag(t, "pushed")}})
	must(t, err)
	third, _ := f.image("app", "third")
	f.tag("app", "latest", third)
	f.remove("repositories/app/_manifests/tags/going")
	f.remove(revisionPath("app", second))

	done, found := h.adopt(t, f, transfer.AdoptOptions{})
	if done.Unchanged != 1 || done.Manifests != 1 || done.Tags != 1 || done.Blobs != 2 {
		t.Errorf("second pass = %+v; want one manifest, one tag and two blobs of one repository", done)
	}
	gone := map[string]bool{}
	for _, f := range found {
		if f.Kind == transfer.GoneAtSource {
			gone[f.Name] = true
		}
	}
	if !gone["going"] {
		t.Errorf("findings %v, want that the tag going is gone", found)
	}
	h.wantTag(t, app, "latest", third)
	h.wantTag(t, app, "going", second) // kept without Prune
	h.wantTag(t, app, "pushed", first)
	if _, err := app.Stat(t.Context(), customhouse.Ref{Tag: tag(t, "ours")}); err == nil {
		t.Error("the tag that was deleted here has come back")
	}
}

func TestAdoptPrune(t *testing.T) {
	f, h := newFolder(t), newHouse(t)
	first, _ := f.image("app", "first")
	second, _ := f.image("app", "second")
	f.tag("app", "stays", first)
	f.tag("app", "goes", second)
	h.adopt(t, f, transfer.AdoptOptions{})
	f.remove("repositories/app/_manifests/tags/goes")
	f.remove(revisionPath("app", second))
	done, _ := h.adopt(t, f, transfer.AdoptOptions{Prune: true})
	app := h.repo(t, "app")
	if done.Pruned != 2 {
		t.Errorf("pruned %d, want the tag and its manifest", done.Pruned)
	}
	h.wantTag(t, app, "stays", first)
	if _, err := app.Stat(t.Context(), customhouse.Ref{Digest: second}); err == nil {
		t.Error("the manifest is there, want it gone")
	}
}

// What is gone is removed with Prune, also when passes without it have seen it go, and with its whole repository.
func TestAdoptPruneLater(t *testing.T) {
	f, h := newFolder(t), newHouse(t)
	first, _ := f.image("app", "first")
	second, _ := f.image("app", "second")
	other, _ := f.image("other", "other")
	f.tag("app", "stays", first)
	f.tag("app", "goes", second)
	f.tag("other", "v1", other)
	h.adopt(t, f, transfer.AdoptOptions{Verify: transfer.VerifyManifests})
	f.remove("repositories/app/_manifests/tags/goes")
	f.remove(revisionPath("app", second))
	f.remove("repositories/other")
	for _, opts := range []transfer.AdoptOptions{{}, {Verify: transfer.VerifyManifests}, {Verify: transfer.VerifyAll}, {}} {
		done, _ := h.adopt(t, f, opts)
		if got := done.Findings[transfer.GoneAtSource]; got != 2 || done.Pruned > 0 {
			t.Errorf("a pass without Prune = %+v, want two tags that are gone", done)
		}
	}
	h.wantTag(t, h.repo(t, "app"), "goes", second)
	h.wantTag(t, h.repo(t, "other"), "v1", other)
	done, found := h.adopt(t, f, transfer.AdoptOptions{Prune: true})
	if done.Pruned != 4 {
		t.Errorf("pruned %d, want two tags and two manifests: %v", done.Pruned, found)
	}
	h.wantTag(t, h.repo(t, "app"), "stays", first)
	for repo, d := range map[string]customhouse.Digest{"app": second, "other": other} {
		if _, err := h.repo(t, repo).Stat(t.Context(), customhouse.Ref{Digest: d}); err == nil {
			t.Errorf("the manifest of %s is there, want it gone", repo)
		}
	}
	if done, _ := h.adopt(t, f, transfer.AdoptOptions{Prune: true}); done.Pruned > 0 || done.Unchanged != 1 {
		t.Errorf("a pass after that = %+v", done)
	}
	f.remove("repositories/app") // what is there of a folder that was not mounted
	l, err := transfer.OpenLayout(f.root())
	must(t, err)
	defer l.Close()
	if _, err := transfer.Adopt(t.Context(), h.Registry, l, transfer.AdoptOptions{Prune: true}); err == nil || !strings.Contains(err.Error(), "is it mounted?") {
		t.Errorf("Adopt of nothing with Prune = %v", err)
	}
	h.wantTag(t, h.repo(t, "app"), "stays", first)
}

// What cannot be read is not gone.
func TestAdoptPruneUnreadable(t *testing.T) {
	if os.Getuid() == 0 {
		t.Log("root reads everything: a loop of links stands for what cannot be read")
	}
	f, h := newFolder(t), newHouse(t)
	first, _ := f.image("app", "first")
	nested, _ := f.image("deep/app", "nested")
	f.tag("app", "v1", first)
	f.tag("deep/app", "v1", nested)
	h.adopt(t, f, transfer.AdoptOptions{})
	for _, path := range []string{"repositories/app/_manifests/tags/v1/current/link", "repositories/app/_manifests/revisions"} {
		f.remove(path)
		must(t, os.Symlink(filepath.Base(path), filepath.Join(f.root(), "docker/registry/v2", path)))
		done, found := h.adopt(t, f, transfer.AdoptOptions{Prune: true})
		if done.Pruned > 0 || done.Findings[transfer.Unreadable] == 0 {
			t.Errorf("%s cannot be read: %+v, %v", path, done, found)
		}
		h.wantTag(t, h.repo(t, "app"), "v1", first)
	}
}

// A pass that is to end does not read a large blob to its end, and does not call it unreadable for that.
func TestAdoptEndsWithinABlob(t *testing.T) {
	f, h := newFolder(t), newHouse(t)
	_, layer := f.image("app", "one")
	l, err := transfer.OpenLayout(f.root())
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l.Blobs = endless{l.Blobs, strings.TrimPrefix(dataPath(layer), "blobs/"), cancel}
	var found []transfer.Finding
	_, err = transfer.Adopt(ctx, h.Registry, l, transfer.AdoptOptions{
		Verify: transfer.VerifyAll, Report: func(f transfer.Finding) { found = append(found, f) },
	})
	if !errors.Is(err, context.Canceled) || len(found) > 0 {
		t.Errorf("Adopt = %v, found %v; want %v and no finding", err, found, context.Canceled)
	}
}

// endless are files of which one has no end, and calls read when it is read.
type endless struct {
	fs.FS
	name string
	read func()
}

func (e endless) Open(name string) (fs.File, error) {
	f, err := e.FS.Open(name)
	if err == nil && name == e.name {
		f = endlessFile{f, e.read}
	}
	return f, err
}

// ReadDir implements fs.ReadDirFS.
func (e endless) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(e.FS, name) }

type endlessFile struct {
	fs.File
	read func()
}

func (f endlessFile) Read(p []byte) (int, error) {
	f.read()
	return len(p), nil
}

// A dry run says what would be done and needs no registry.
func TestAdoptDryRun(t *testing.T) {
	f := newFolder(t)
	d, _ := f.image("app", "one")
	f.tag("app", "v1", d)
	l, err := transfer.OpenLayout(f.root())
	must(t, err)
	done, err := transfer.Adopt(t.Context(), nil, l, transfer.AdoptOptions{DryRun: true})
	if err != nil || done.Manifests != 1 || done.Tags != 1 || done.Blobs != 2 {
		t.Errorf("Adopt = %+v, %v; want 1 manifest, 1 tag, 2 blobs", done, err)
	}
}

// S62: names that lead elsewhere are names outside of the grammar; links out of the folder are not followed.
func TestS62_AdoptStaysInside(t *testing.T) {
	f, h := newFolder(t), newHouse(t)
	outside := t.TempDir()
	secret := digestOf("secret")
	must(t, os.WriteFile(filepath.Join(outside, "data"), []byte("secret"), 0o600))
	f.image("app", "one")
	for _, name := range []string{"a..b", "a b", "%2e%2e", "..;", "ａ", "A", "_x", "a__", "-a", strings.Repeat("a", 250) + "/" + strings.Repeat("b", 20)} {
		f.image(name, "in "+name)
	}
	f.write("repositories/app/_manifests/tags/a b/current/link", secret.String())
	must(t, os.MkdirAll(filepath.Dir(filepath.Join(f.v2, dataPath(secret))), 0o755))
	must(t, os.Symlink(filepath.Join(outside, "data"), filepath.Join(f.v2, dataPath(secret))))
	f.write(layerPath("app", secret), secret.String())
	must(t, os.Symlink(outside, filepath.Join(f.v2, "repositories/escape")))
	_, found := h.adopt(t, f, transfer.AdoptOptions{})
	names, _, err := h.Repositories(t.Context(), "", 100, registry.Visible{})
	must(t, err)
	if diff := cmp.Diff([]string{"app"}, names); diff != "" {
		t.Errorf("repositories (-want +got):\n%s", diff)
	}
	if b, err := h.repo(t, "app").Blob(t.Context(), secret); err == nil {
		b.Close()
		t.Error("a link out of the folder was followed")
	}
	bad := 0
	for _, f := range found {
		if f.Kind == transfer.BadName {
			bad++
		}
	}
	if bad < 9 {
		t.Errorf("%d bad names found, want 9 or more: %v", bad, found)
	}
}

func TestOpenLayoutElsewhere(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent")
	for folder, want := range map[string]error{t.TempDir(): transfer.ErrNoLayout, absent: fs.ErrNotExist} {
		if _, err := transfer.OpenLayout(folder); !errors.Is(err, want) {
			t.Errorf("OpenLayout(%s) = %v, want %v", folder, err, want)
		}
	}
}

// A repository that has been read is there while others are still being read.
func TestAdoptOneByOne(t *testing.T) {
	f, h := newFolder(t), newHouse(t)
	first, layer := f.image("aa", "first")
	f.tag("aa", "v1", first)
	last, _ := f.image("zz", "last")
	f.write(revisionPath("zz", last), "torn")
	l, err := transfer.OpenLayout(f.root())
	must(t, err)
	defer l.Close()
	asked := false
	_, err = transfer.Adopt(t.Context(), h.Registry, l, transfer.AdoptOptions{Readers: 1, Report: func(found transfer.Finding) {
		if found.Kind == transfer.TornLink && found.Repo == "zz" { // in the middle of the pass
			asked = true
			h.wantTag(t, h.repo(t, "aa"), "v1", first)
			if got := h.blob(t, h.repo(t, "aa"), layer); got != "layer of first" {
				t.Errorf("blob = %q", got)
			}
		}
	}})
	if err != nil || !asked {
		t.Errorf("Adopt = %v, in the middle of it the first repository was asked for: %t", err, asked)
	}
}

func (h *house) wantTag(t *testing.T, p registry.Repository, name string, want customhouse.Digest) {
	t.Helper()
	d, err := p.Stat(t.Context(), customhouse.Ref{Tag: tag(t, name)})
	if err != nil || d.Digest != want {
		t.Errorf("tag %s = %s, %v; want %s", name, d.Digest, err, want)
	}
}

func (h *house) blob(t *testing.T, p registry.Repository, d customhouse.Digest) string {
	t.Helper()
	b, err := p.Blob(t.Context(), d)
	must(t, err)
	defer b.Close()
	r, err := b.Section(0, b.Size)
	must(t, err)
	content, err := io.ReadAll(io.LimitReader(r, b.Size))
	must(t, err)
	return string(content)
}

func tag(t *testing.T, name string) customhouse.Tag {
	t.Helper()
	tag, err := customhouse.ParseTag(name)
	must(t, err)
	return tag
}

func (f folder) read(path string) string {
	f.t.Helper()
	b, err := os.ReadFile(filepath.Join(f.v2, path))
	if err != nil {
		f.t.Fatal(err)
	}
	return string(b)
}

// inventory is every file below v2 with its size and the time that it was written.
func (f folder) inventory() map[string]string {
	f.t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(f.v2, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil {
			all[path] = fmt.Sprintf("%s %d %d", info.Mode(), info.Size(), info.ModTime().UnixNano())
		}
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return all
}

// A link of one digest to content that the folder keeps by another is what distribution writes for a push by sha512: both
// are there afterwards, and one that lies is not.
func TestAdoptAlias(t *testing.T) {
	f, h := newFolder(t), newHouse(t)
	const layer = "pushed by sha512"
	canonical := f.blob("app", layer)
	alias := customhouse.DigestOf(customhouse.SHA512, []byte(layer))
	f.write(layerPath("app", alias), canonical.String())
	lie := customhouse.DigestOf(customhouse.SHA512, []byte("something else"))
	f.write(layerPath("app", lie), canonical.String())
	lost := customhouse.DigestOf(customhouse.SHA512, []byte("lost"))
	f.write(layerPath("app", lost), digestOf("lost").String())
	image := f.manifest("app", imageManifest(f.blob("app", `{"of":""}`), alias, ""))
	f.tag("app", "v1", image)

	kinds := func(found []transfer.Finding) map[string]transfer.Kind {
		got := map[string]transfer.Kind{}
		for _, f := range found {
			if f.Kind != transfer.WrongSize { // what imageManifest says of it
				got[f.Name] = f.Kind
			}
		}
		return got
	}
	_, found := h.adopt(t, f, transfer.AdoptOptions{DryRun: true})
	if got := kinds(found)[alias.String()]; got != transfer.Alias {
		t.Errorf("a dry run finds %q, want %q", got, transfer.Alias)
	}
	_, found = h.adopt(t, f, transfer.AdoptOptions{})
	got := kinds(found)
	for d, want := range map[customhouse.Digest]transfer.Kind{alias: transfer.Alias, lie: transfer.WrongBytes, lost: transfer.MissingBlob, canonical: ""} {
		if got[d.String()] != want {
			t.Errorf("%s is %q, want %q", d, got[d.String()], want)
		}
	}
	app := h.repo(t, "app")
	for _, d := range []customhouse.Digest{canonical, alias} {
		b, err := app.Blob(t.Context(), d)
		if err != nil || b.Size != int64(len(layer)) {
			t.Errorf("Blob(%s) = %+v, %v", d, b, err)
			continue
		}
		must(t, b.Close())
	}
	if _, err := app.Blob(t.Context(), lie); err == nil {
		t.Error("content is there by a digest that it does not have")
	}
	if done, again := h.adopt(t, f, transfer.AdoptOptions{}); done.Blobs != 0 || kinds(again)[alias.String()] != "" {
		t.Errorf("a second pass = %+v, %v; want the alias known", done, again)
	}
}
