package index_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"customhouse"
	"customhouse/index"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// same compares by == what has no exported fields.
var same = cmp.Options{
	cmp.Comparer(func(a, b customhouse.Digest) bool { return a == b }),
	cmp.Comparer(func(a, b customhouse.Repo) bool { return a == b }),
	cmpopts.EquateEmpty(),
}

func sha(text string) customhouse.Digest {
	return customhouse.DigestOf(customhouse.SHA256, []byte(text))
}

func wantCode(t *testing.T, what string, err error, code customhouse.Code) {
	t.Helper()
	if !errors.Is(err, &customhouse.Error{Code: code}) {
		t.Fatalf("%s = %v, want %s", what, err, code)
	}
}

func wantNotFound(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, customhouse.ErrNotFound) {
		t.Fatalf("%s = %v, want ErrNotFound", what, err)
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "index.db")
	for round := range 3 {
		db, err := index.Open(t.Context(), file, index.Options{})
		must(t, err)
		if round > 0 {
			m, err := db.Manifest(t.Context(), repo(t, "acc/kept"), customhouse.Ref{Tag: parseTag(t, "v1")})
			if err != nil || m.Digest != sha("kept") {
				t.Fatalf("Manifest = %v, %v; want what was put", m.Digest, err)
			}
		}
		put(t, db, "acc/kept", "kept", "v1")
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode = %v, %v; want 0600", info.Mode(), err)
		}
		must(t, db.Ping(t.Context()), db.Close())
	}
}

// Steps of the schema are numbered without gaps, so that their number tells their order.
func TestSteps(t *testing.T) {
	steps, err := filepath.Glob("schema/*.sql")
	must(t, err)
	for i, step := range steps {
		if !strings.HasPrefix(filepath.Base(step), fmt.Sprintf("%04d_", i+1)) {
			t.Errorf("step %d is %s", i+1, step)
		}
	}
}

// A database that a later release has written is refused, and stays as it is.
func TestOpenNewer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "index.db")
	db, err := index.Open(t.Context(), file, index.Options{})
	must(t, err)
	put(t, db, "acc/kept", "kept", "v1")
	const version = 1000
	setVersion := func(x index.Tx) error { return x.Exec("insert into schema_version (version) values (?)", version) }
	must(t, db.Write(t.Context(), true, setVersion), db.Close())
	before, err := os.ReadFile(file)
	must(t, err)
	if _, err := index.Open(t.Context(), file, index.Options{}); err == nil || !strings.Contains(err.Error(), "later release (schema 1000") {
		t.Fatalf("Open = %v, want that a later release has written it", err)
	}
	after, err := os.ReadFile(file)
	must(t, err)
	if string(after) != string(before) {
		t.Fatal("the file has changed")
	}
}

func TestOpenErrors(t *testing.T) {
	if _, err := index.Open(t.Context(), "/nowhere/index.db", index.Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open in no folder = %v, want fs.ErrNotExist", err)
	}
	garbage := filepath.Join(t.TempDir(), "index.db")
	must(t, os.WriteFile(garbage, []byte(strings.Repeat("this is no database ", 500)), 0o600))
	if _, err := index.Open(t.Context(), garbage, index.Options{}); err == nil {
		t.Error("Open of garbage = nil, want an error")
	}
	if b, err := os.ReadFile(garbage); err != nil || !strings.HasPrefix(string(b), "this is no database") {
		t.Errorf("the garbage was changed to %.20q, %v", b, err)
	}
}

// Two that start at the same time do not apply a migration twice.
func TestOpenTwice(t *testing.T) {
	file := filepath.Join(t.TempDir(), "index.db")
	results := make(chan error, 4)
	for range cap(results) {
		go func() {
			db, err := index.Open(t.Context(), file, index.Options{})
			if err == nil {
				err = db.Close()
			}
			results <- err
		}()
	}
	for range cap(results) {
		must(t, <-results)
	}
}

func TestBlobs(t *testing.T) {
	db := open(t)
	a, b, d := repo(t, "acc/a"), repo(t, "acc/b"), sha("blob")
	_, err := db.Blob(t.Context(), a, d)
	wantNotFound(t, "Blob", err)
	wantNotFound(t, "MountBlob", db.MountBlob(t.Context(), a, b, d))
	wantNotFound(t, "DeleteBlob", db.DeleteBlob(t.Context(), a, d, nil))
	must(t, db.AddBlob(t.Context(), a, d, 4, ""), db.AddBlob(t.Context(), a, d, 4, ""))
	if size, err := db.Blob(t.Context(), a, d); size != 4 || err != nil {
		t.Fatalf("Blob = %d, %v; want 4", size, err)
	}
	_, err = db.Blob(t.Context(), b, d)
	wantNotFound(t, "Blob elsewhere", err)
	must(t, db.MountBlob(t.Context(), a, b, d))
	if size, err := db.Blob(t.Context(), b, d); size != 4 || err != nil {
		t.Fatalf("Blob = %d, %v; want 4", size, err)
	}
	if got, err := db.Holders(t.Context(), d, 10); err != nil || !cmp.Equal(got, []string{"acc/a", "acc/b"}) {
		t.Fatalf("Holders = %v, %v", got, err)
	}
	must(t, db.DeleteBlob(t.Context(), a, d, nil))
	_, err = db.Blob(t.Context(), a, d)
	wantNotFound(t, "Blob after DeleteBlob", err)
	if got, err := db.Holders(t.Context(), d, 10); err != nil || !cmp.Equal(got, []string{"acc/b"}) {
		t.Fatalf("Holders = %v, %v", got, err)
	}
	if got, err := db.Repos(t.Context(), "", 10); err != nil || len(got) != 0 {
		t.Fatalf("Repos = %v, %v; want none: none holds a manifest", got, err)
	}
}

func TestManifests(t *testing.T) {
	db := open(t)
	r, tag := repo(t, "acc/app"), parseTag(t, "v1")
	_, err := db.Manifest(t.Context(), r, customhouse.Ref{Tag: tag})
	wantNotFound(t, "Manifest", err)
	wantNotFound(t, "DeleteTag", db.DeleteTag(t.Context(), r, tag, nil))
	wantNotFound(t, "DeleteManifest", db.DeleteManifest(t.Context(), r, sha("one"), nil))
	_, err = db.Tags(t.Context(), r, "", 10)
	wantNotFound(t, "Tags", err)

	want := index.Manifest{
		Descriptor: customhouse.Descriptor{
			MediaType: customhouse.MediaTypeImageManifest, Digest: sha("one"), Size: 3,
			ArtifactType: "application/test", Annotations: map[string]string{"key": "value"},
		},
		Subject: sha("subject"),
	}
	must(t, db.PutManifest(t.Context(), r, index.Put{Manifest: want, Tags: []customhouse.Tag{tag, parseTag(t, "v2")}}))
	for _, ref := range []customhouse.Ref{{Tag: tag}, {Digest: want.Digest}} {
		got, err := db.Manifest(t.Context(), r, ref)
		must(t, err)
		if diff := cmp.Diff(want, got, same); diff != "" {
			t.Fatalf("Manifest(%s) (-want +got):\n%s", ref, diff)
		}
	}
	if got, err := db.Repos(t.Context(), "", 10); err != nil || !cmp.Equal(got, []string{"acc/app"}) {
		t.Fatalf("Repos = %v, %v", got, err)
	}
	must(t, db.DeleteTag(t.Context(), r, tag, nil))
	if got, err := db.Tags(t.Context(), r, "", 10); err != nil || !cmp.Equal(got, []string{"v2"}) {
		t.Fatalf("Tags = %v, %v; want v2", got, err)
	}
	must(t, db.DeleteManifest(t.Context(), r, want.Digest, nil))
	if got, err := db.Tags(t.Context(), r, "", 10); err != nil || len(got) != 0 {
		t.Fatalf("Tags = %v, %v; want none: their manifest is gone", got, err)
	}
	if got, err := db.Repos(t.Context(), "", 10); err != nil || len(got) != 0 {
		t.Fatalf("Repos = %v, %v; want none", got, err)
	}
}

// only permits changes of these kinds.
func only(actions ...customhouse.Action) index.May {
	return func(changes []index.Change) error {
		for _, c := range changes {
			if !slices.Contains(actions, c.Action) {
				return customhouse.Errorf(customhouse.Denied, "%s may not be done", c.Action)
			}
		}
		return nil
	}
}

// PutManifest refuses what a manifest names wrongly and what the caller may not do, and leaves nothing behind.
func TestPutManifestRefuses(t *testing.T) {
	db := open(t)
	r, tag := repo(t, "acc/app"), parseTag(t, "taken")
	must(t, db.AddBlob(t.Context(), r, sha("blob"), 4, ""), db.AddBlob(t.Context(), repo(t, "acc/other"), sha("foreign"), 7, ""))
	put(t, db, "acc/app", "child", "taken")
	desc := func(text string, size int64) []customhouse.Descriptor {
		return []customhouse.Descriptor{{Digest: sha(text), Size: size}}
	}
	manifest := index.Manifest{Descriptor: customhouse.Descriptor{MediaType: "m", Digest: sha("new"), Size: 3}}
	for _, test := range []struct {
		name string
		put  index.Put
		want customhouse.Code // "" for nothing
	}{
		{"blob is there", index.Put{Blobs: desc("blob", 4)}, ""},
		{"blob is missing", index.Put{Blobs: desc("nobody", 4)}, customhouse.ManifestBlobUnknown},
		{"blob is elsewhere", index.Put{Blobs: desc("foreign", 7)}, customhouse.ManifestBlobUnknown},
		{"sparse is for children only", index.Put{Sparse: true, Blobs: desc("nobody", 4)}, customhouse.ManifestBlobUnknown},
		{"blob has another size", index.Put{Blobs: desc("blob", 5)}, customhouse.SizeInvalid},
		{"child is there", index.Put{Children: desc("child", 5)}, ""},
		{"child is missing", index.Put{Children: desc("nobody", 5)}, customhouse.ManifestBlobUnknown},
		{"child may be missing", index.Put{Sparse: true, Children: desc("nobody", 5)}, ""},
		{"child has another size", index.Put{Sparse: true, Children: desc("child", 6)}, customhouse.SizeInvalid},
		{"nothing may be done", index.Put{May: only()}, customhouse.Denied},
		{"it may be new", index.Put{May: only(customhouse.Create)}, ""},
		{"tag may not be created", index.Put{May: only(customhouse.Update), Tags: []customhouse.Tag{parseTag(t, "free")}}, customhouse.Denied},
		{"tag may not be moved", index.Put{May: only(customhouse.Create), Tags: []customhouse.Tag{parseTag(t, "free"), tag}}, customhouse.Denied},
		{"tag may be moved", index.Put{May: only(customhouse.Update), Tags: []customhouse.Tag{tag}}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.put.Manifest = manifest
			for what, do := range map[string]error{
				"CheckManifest": db.CheckManifest(t.Context(), r, test.put),
				"PutManifest":   db.PutManifest(t.Context(), r, test.put),
			} {
				if test.want == "" {
					must(t, do)
				} else {
					wantCode(t, what, do, test.want)
				}
			}
			_, err := db.Manifest(t.Context(), r, customhouse.Ref{Digest: sha("new")})
			if there := err == nil; there != (test.want == "") {
				t.Fatalf("Manifest = %v, want it there = %v", err, test.want == "")
			}
			if test.want == "" {
				must(t, db.DeleteManifest(t.Context(), r, sha("new"), nil))
				put(t, db, "acc/app", "child", "taken")
			}
			if got, err := db.Tags(t.Context(), r, "", 10); err != nil || !cmp.Equal(got, []string{"taken"}) {
				t.Fatalf("Tags = %v, %v; want taken only", got, err)
			}
		})
	}
	// the same manifest under a tag that points to it already moves nothing, and is a push
	must(t, db.PutManifest(t.Context(), r, index.Put{
		Manifest: index.Manifest{Descriptor: customhouse.Descriptor{MediaType: "m", Digest: sha("child"), Size: 5}},
		Tags:     []customhouse.Tag{tag}, May: only(customhouse.Push),
	}))
}

func TestPages(t *testing.T) {
	db := open(t)
	for _, name := range []string{"b", "a", "a/b", "a-b", "a.b", "c"} {
		put(t, db, name, "x", "10", "9", "A", "a", "_")
	}
	for _, test := range []struct {
		first string
		n     int
		want  []string
	}{
		{"", 10, []string{"a", "a-b", "a.b", "a/b", "b", "c"}},
		{"", 2, []string{"a", "a-b"}},
		{"a-b\x00", 2, []string{"a.b", "a/b"}},
		{"bb", 2, []string{"c"}},
		{"c\x00", 2, nil},
		{"", 0, nil},
	} {
		if got, err := db.Repos(t.Context(), test.first, test.n); err != nil || !cmp.Equal(got, test.want, same) {
			t.Errorf("Repos(%q, %d) = %q, %v; want %q", test.first, test.n, got, err, test.want)
		}
	}
	if got, err := db.Tags(t.Context(), repo(t, "a"), "10", 3); err != nil || !cmp.Equal(got, []string{"9", "A", "_"}) {
		t.Errorf("Tags = %q, %v; want them in byte order", got, err)
	}
}

func TestReferrers(t *testing.T) {
	db := open(t)
	r, subject := repo(t, "acc/app"), sha("subject")
	var all []customhouse.Descriptor
	for i := range 7 {
		m := index.Manifest{
			Descriptor: customhouse.Descriptor{MediaType: "m", Digest: sha(fmt.Sprint(i)), Size: 1, ArtifactType: fmt.Sprint("type", i%2)},
			Subject:    subject,
		}
		must(t, db.PutManifest(t.Context(), r, index.Put{Manifest: m}))
		all = append(all, m.Descriptor)
	}
	put(t, db, "acc/app", "no subject")
	take := func(repo customhouse.Repo, subject customhouse.Digest, artifactType string, after customhouse.Digest, n int) (page []customhouse.Descriptor) {
		for d, err := range db.Referrers(t.Context(), repo, subject, artifactType, after) {
			must(t, err)
			if page = append(page, d); len(page) == n {
				break
			}
		}
		return page
	}
	var got []customhouse.Descriptor
	var after customhouse.Digest
	for page := take(r, subject, "", after, 3); len(page) > 0; page = take(r, subject, "", after, 3) {
		got = append(got, page...)
		after = page[len(page)-1].Digest
	}
	byDigest := cmpopts.SortSlices(func(a, b customhouse.Descriptor) bool { return a.Digest.String() < b.Digest.String() })
	if diff := cmp.Diff(all, got, same, byDigest); diff != "" {
		t.Fatalf("Referrers (-want +got):\n%s", diff)
	}
	if page := take(r, subject, "type1", customhouse.Digest{}, 10); len(page) != 3 {
		t.Fatalf("Referrers of type1 = %d, want 3", len(page))
	}
	for name, repo := range map[string]customhouse.Repo{"no repository": repo(t, "acc/nobody"), "no referrers": r} {
		if page := take(repo, sha("nobody"), "", customhouse.Digest{}, 10); len(page) != 0 {
			t.Fatalf("%s: Referrers = %v, want none", name, page)
		}
	}
}

func TestUploads(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	db, err := index.Open(t.Context(), filepath.Join(t.TempDir(), "index.db"), index.Options{Now: func() time.Time { return now }})
	must(t, err)
	defer db.Close()
	r := repo(t, "acc/app")
	_, err = db.Upload(t.Context(), "a")
	wantNotFound(t, "Upload", err)
	want := index.Upload{ID: "a", Repo: r, Account: "alice", Algorithm: customhouse.SHA512}
	must(t, db.BeginUpload(t.Context(), want, 2, nil))
	must(t, db.BeginUpload(t.Context(), index.Upload{ID: "b", Repo: r, Account: "alice", Algorithm: customhouse.SHA256}, 2, nil))
	wantCode(t, "BeginUpload", db.BeginUpload(t.Context(), index.Upload{ID: "c", Repo: r, Account: "alice"}, 2, nil), customhouse.TooManyRequests)
	must(t, db.BeginUpload(t.Context(), index.Upload{ID: "d", Repo: r, Account: "bob"}, 2, nil))
	must(t, db.BeginUpload(t.Context(), index.Upload{ID: "e", Repo: r, Account: "alice"}, 0, nil))

	now = now.Add(time.Hour)
	want.Size = 7
	must(t, db.GrowUpload(t.Context(), "a", 7))
	wantNotFound(t, "GrowUpload of no upload", db.GrowUpload(t.Context(), "nobody", 7))
	if got, err := db.Upload(t.Context(), "a"); err != nil || !cmp.Equal(got, want, same) {
		t.Fatalf("Upload = %v, %v; want %v", got, err, want)
	}
	if got, err := db.StaleUploads(t.Context(), now.Add(-time.Minute), 10); err != nil || len(got) != 3 {
		t.Fatalf("StaleUploads = %v, %v; want all but a", got, err)
	}
	if got, err := db.StaleUploads(t.Context(), now.Add(-time.Minute), 1); err != nil || len(got) != 1 {
		t.Fatalf("StaleUploads = %v, %v; want one", got, err)
	}
	must(t, db.EndUpload(t.Context(), "b"), db.EndUpload(t.Context(), "b"))
	_, err = db.Upload(t.Context(), "b")
	wantNotFound(t, "Upload", err)
	must(t, db.AddBlob(t.Context(), r, sha("blob"), 7, "a"))
	_, err = db.Upload(t.Context(), "a")
	wantNotFound(t, "Upload that has become a blob", err)
}

func TestAccounts(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	db, err := index.Open(t.Context(), filepath.Join(t.TempDir(), "index.db"), index.Options{Now: func() time.Time { return now }})
	must(t, err)
	defer db.Close()
	_, err = db.Account(t.Context(), "alice")
	wantNotFound(t, "Account", err)
	wantNotFound(t, "DeleteAccount", db.DeleteAccount(t.Context(), "alice"))
	alice := customhouse.Account{Name: "alice", Password: "hash", Labels: map[string][]string{"group": {"ci", "ops"}}, Created: now}
	bob := customhouse.Account{Name: "Bob", Password: "other", Created: now}
	must(t, db.PutAccount(t.Context(), alice), db.PutAccount(t.Context(), bob))
	got, err := db.Accounts(t.Context())
	must(t, err)
	if diff := cmp.Diff([]customhouse.Account{bob, alice}, got, same); diff != "" {
		t.Fatalf("Accounts (-want +got):\n%s", diff)
	}
	now = now.Add(time.Hour)
	alice.Password, alice.Labels = "changed", nil
	must(t, db.PutAccount(t.Context(), alice))
	if got, err := db.Account(t.Context(), "alice"); err != nil || !cmp.Equal(got, alice, same) {
		t.Fatalf("Account = %v, %v; want %v as old as before", got, err, alice)
	}

	token := customhouse.RefreshToken{
		Hash: [32]byte{1}, Service: "house", ClientID: "docker", Expires: now.Add(time.Hour),
		Identity: customhouse.Identity{Account: "alice", Method: "accounts", Stamp: "s", Labels: map[string][]string{"a": {"b"}}},
	}
	elsewhere := token
	elsewhere.Hash, elsewhere.Identity.Method = [32]byte{2}, "htpasswd"
	must(t, db.PutRefresh(t.Context(), token), db.PutRefresh(t.Context(), elsewhere))
	if got, err := db.Refresh(t.Context(), token.Hash); err != nil || !cmp.Equal(got, token, same) {
		t.Fatalf("Refresh = %v, %v; want %v", got, err, token)
	}
	must(t, db.DeleteAccount(t.Context(), "alice"))
	_, err = db.Refresh(t.Context(), token.Hash)
	wantNotFound(t, "Refresh of a deleted account", err)
	if _, err := db.Refresh(t.Context(), elsewhere.Hash); err != nil {
		t.Fatalf("Refresh of another alice = %v", err)
	}
	now = now.Add(2 * time.Hour)
	later := token
	later.Hash, later.Expires = [32]byte{3}, now.Add(time.Hour)
	must(t, db.PutRefresh(t.Context(), later))
	_, err = db.Refresh(t.Context(), elsewhere.Hash)
	wantNotFound(t, "Refresh that has expired", err)
	must(t, db.DeleteRefreshes(t.Context(), later.Family), db.DeleteRefreshes(t.Context(), later.Family))
	_, err = db.Refresh(t.Context(), later.Hash)
	wantNotFound(t, "Refresh", err)
}

// An account with broken pushes can go on: the upload that has rested longest makes room, one that is at work does not.
func TestS68_RestingUploadMakesRoom(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	db, err := index.Open(t.Context(), filepath.Join(t.TempDir(), "index.db"), index.Options{Now: func() time.Time { return now }})
	must(t, err)
	defer func() { must(t, db.Close()) }()
	atWork := map[string]bool{}
	begin := func(id string) error {
		u := index.Upload{ID: id, Repo: repo(t, "a/b"), Account: "ci", Algorithm: customhouse.SHA256}
		return db.BeginUpload(t.Context(), u, 2, func(id string) bool { return atWork[id] })
	}
	must(t, begin("old"), begin("busy"))
	wantCode(t, "BeginUpload with two at work", begin("new"), customhouse.TooManyRequests)
	now = now.Add(2 * time.Hour)
	must(t, db.GrowUpload(t.Context(), "busy", 1), begin("new"))
	_, err = db.Upload(t.Context(), "old")
	wantNotFound(t, "Upload that rested", err)
	if _, err := db.Upload(t.Context(), "busy"); err != nil {
		t.Fatalf("Upload at work = %v, want it kept", err)
	}
	wantCode(t, "BeginUpload with two at work again", begin("newer"), customhouse.TooManyRequests)
	now = now.Add(2 * time.Hour) // both rest by their rows, but one of them still receives
	atWork["busy"] = true
	must(t, begin("newest"))
	if _, err := db.Upload(t.Context(), "busy"); err != nil {
		t.Fatalf("Upload that receives = %v, want it kept", err)
	}
}
