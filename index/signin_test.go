package index_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"customhouse"
	"customhouse/index"

	"github.com/google/go-cmp/cmp"
)

func openAt(t *testing.T, now *time.Time) *index.DB {
	t.Helper()
	db, err := index.Open(t.Context(), filepath.Join(t.TempDir(), "index.db"), index.Options{Now: func() time.Time { return *now }})
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	return db
}

func TestSignIns(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	db := openAt(t, &now)
	alice := customhouse.SignIn{
		Provider: "github", Issuer: "https://github.com", Subject: "17", Account: "alice", Labels: map[string][]string{"teams": {"ops"}},
		Tokens: []byte{1, 2, 3}, Checked: now, Due: now.Add(time.Hour), Created: now,
	}
	kept, err := db.PutSignIn(t.Context(), alice, true)
	must(t, err)
	alice.ID = kept.ID
	got, err := db.SignIn(t.Context(), "github", "alice")
	must(t, err)
	if diff := cmp.Diff(alice, got, same); diff != "" {
		t.Fatalf("SignIn (-put +got):\n%s", diff)
	}
	again := alice
	again.ID, again.Labels, again.Ended = 0, nil, ""
	if kept, err = db.PutSignIn(t.Context(), again, true); err != nil || kept.ID != alice.ID {
		t.Fatalf("PutSignIn again = %d, %v, want record %d", kept.ID, err, alice.ID)
	}
	renamed := again
	renamed.Account = "alicia"
	if kept, err = db.PutSignIn(t.Context(), renamed, true); err != nil || kept.ID != alice.ID {
		t.Fatalf("PutSignIn of another name = %d, %v, want record %d", kept.ID, err, alice.ID)
	}
	_, err = db.SignIn(t.Context(), "github", "alice")
	wantNotFound(t, "SignIn under the former name", err)
	kept.Ended = "left"
	must(t, db.UpdateSignIn(t.Context(), kept))
	if got, err := db.SignInByID(t.Context(), kept.ID); err != nil || got.Ended != "left" {
		t.Fatalf("SignInByID = %+v, %v, want it ended", got, err)
	}
	if all, err := db.SignIns(t.Context()); err != nil || len(all) != 1 {
		t.Fatalf("SignIns = %v, %v, want one", all, err)
	}
	must(t, db.DeleteSignIn(t.Context(), kept.ID))
	wantNotFound(t, "DeleteSignIn twice", db.DeleteSignIn(t.Context(), kept.ID))
}

// TestA16_OneOwnerOfAName: an account is one subject's at one provider, unless told otherwise.
func TestA16_OneOwnerOfAName(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	db := openAt(t, &now)
	bob := customhouse.SignIn{Provider: "github", Issuer: "https://github.com", Subject: "1", Account: "bob"}
	_, err := db.PutSignIn(t.Context(), bob, true)
	must(t, err)
	for _, tt := range []struct {
		name  string
		other customhouse.SignIn
		alone bool
		want  error
	}{
		{"another subject", customhouse.SignIn{Provider: "github", Issuer: "https://github.com", Subject: "2", Account: "bob"}, true, customhouse.ErrTaken},
		{"another subject, merging", customhouse.SignIn{Provider: "github", Issuer: "https://github.com", Subject: "2", Account: "bob"}, false, customhouse.ErrTaken},
		{"another issuer", customhouse.SignIn{Provider: "github", Issuer: "https://ghe.example", Subject: "1", Account: "bob"}, false, customhouse.ErrTaken},
		{"another provider", customhouse.SignIn{Provider: "gitlab", Issuer: "https://gitlab.com", Subject: "1", Account: "bob"}, true, customhouse.ErrTaken},
		{"another provider, merging", customhouse.SignIn{Provider: "gitlab", Issuer: "https://gitlab.com", Subject: "1", Account: "bob"}, false, nil},
	} {
		if _, err := db.PutSignIn(t.Context(), tt.other, tt.alone); !errors.Is(err, tt.want) {
			t.Errorf("%s: PutSignIn = %v, want %v", tt.name, err, tt.want)
		}
	}
	carol, err := db.PutSignIn(t.Context(), customhouse.SignIn{Provider: "github", Issuer: "https://github.com", Subject: "3", Account: "carol"}, true)
	must(t, err)
	carol.Account = "bob"
	if _, err := db.PutSignIn(t.Context(), carol, true); !errors.Is(err, customhouse.ErrTaken) {
		t.Fatalf("PutSignIn of carol as bob = %v, want ErrTaken", err)
	}
}

func TestAppPasswords(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	db := openAt(t, &now)
	s, err := db.PutSignIn(t.Context(), customhouse.SignIn{Provider: "oidc", Issuer: "https://id.example", Subject: "1", Account: "alice"}, true)
	must(t, err)
	put := func(id string, created time.Time) error {
		return db.PutAppPassword(t.Context(), customhouse.AppPassword{ID: id, SignIn: s.ID, Name: id, Hash: "sha256:00", Created: created}, 2)
	}
	must(t, put("one", now), put("two", now.Add(time.Second)))
	wantCode(t, "PutAppPassword beyond the bound", put("three", now), customhouse.Denied)
	must(t, db.UseAppPassword(t.Context(), "one", now.Add(time.Hour)))
	all, err := db.AppPasswords(t.Context(), s.ID)
	must(t, err)
	if len(all) != 2 || all[0].ID != "two" || all[1].Used != now.Add(time.Hour) {
		t.Fatalf("AppPasswords = %+v, want two and one, which was used", all)
	}
	wantNotFound(t, "RevokeAppPassword of another's", db.RevokeAppPassword(t.Context(), s.ID+1, "one"))
	must(t, db.RevokeAppPassword(t.Context(), s.ID, "one"))
	wantNotFound(t, "RevokeAppPassword twice", db.RevokeAppPassword(t.Context(), s.ID, "one"))
	must(t, put("three", now))
}

func TestImportSignIns(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	db := openAt(t, &now)
	_, err := db.PutSignIn(t.Context(), customhouse.SignIn{Provider: "google", Issuer: "i", Subject: "9", Account: "here@x"}, true)
	must(t, err)
	var all []customhouse.ImportedSignIn
	for _, account := range []string{"here@x", "a@x", "b@x"} { // those without a subject are no one subject
		all = append(all, customhouse.ImportedSignIn{
			SignIn:   customhouse.SignIn{Provider: "google", Issuer: "i", Account: account},
			Password: customhouse.AppPassword{ID: account, Name: "docker_auth", Hash: "$2a$"},
		})
	}
	for i, want := range []int{2, 0} {
		if n, err := db.ImportSignIns(t.Context(), "leveldb:/tokens", all); err != nil || n != want {
			t.Fatalf("ImportSignIns %d = %d, %v, want %d", i, n, err, want)
		}
	}
	if done, err := db.Imported(t.Context(), "leveldb:/tokens"); err != nil || !done {
		t.Fatalf("Imported = %t, %v", done, err)
	}
	adopted, err := db.PutSignIn(t.Context(), customhouse.SignIn{Provider: "google", Issuer: "i", Subject: "5", Account: "a@x"}, true)
	must(t, err)
	if passwords, err := db.AppPasswords(t.Context(), adopted.ID); err != nil || len(passwords) != 1 || passwords[0].Name != "docker_auth" {
		t.Fatalf("AppPasswords after the first sign-in = %+v, %v, want the imported one", passwords, err)
	}
}

func TestSessions(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	db := openAt(t, &now)
	must(t, db.PutSession(t.Context(), "a", []byte("1"), now.Add(time.Minute)), db.PutSession(t.Context(), "a", []byte("2"), now.Add(time.Minute)))
	if data, err := db.Session(t.Context(), "a"); err != nil || string(data) != "2" {
		t.Fatalf("Session = %q, %v", data, err)
	}
	must(t, db.PutSession(t.Context(), "b", nil, now.Add(time.Hour)))
	must(t, db.DeleteSession(t.Context(), "b"), db.DeleteSession(t.Context(), "b"))
	_, err := db.Session(t.Context(), "b")
	wantNotFound(t, "Session after its end", err)
	now = now.Add(time.Minute)
	_, err = db.Session(t.Context(), "a")
	wantNotFound(t, "Session after its time", err)
}
