package authn_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/syndtr/goleveldb/leveldb"

	"customhouse"
	"customhouse/authn"
)

// TestReadDockerAuth: who had signed in by docker_auth needs not sign in again, and is asked about as others are.
func TestReadDockerAuth(t *testing.T) {
	f := newForge(t, false)
	f.user, f.access = `{"id":17,"login":"alice"}`, "access-of-docker_auth"
	folder := filepath.Join(t.TempDir(), "tokens")
	db, err := leveldb.OpenFile(folder, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	record := func(account, value string) {
		if err := db.Put([]byte("t:"+account), []byte(value), nil); err != nil {
			t.Fatal(err)
		}
	}
	good := func(password string) string {
		return fmt.Sprintf(`{"token_type":"bearer","access_token":"access-of-docker_auth","valid_until":%q,"docker_password":%q,"labels":{"teams":["ops"]}}`,
			now.Add(time.Hour).Format(time.RFC3339Nano), string(hash(t, password, 4)))
	}
	record("alice", good("abcdefghijklmnop"))
	record("bob", good("qrstuvwxyz012345"))
	record("a b", good("x"))
	record("carol", `{"docker_password":"canary"}`)
	record("dave", `canary`)
	if err := errors.Join(db.Put([]byte("other"), []byte("{}"), nil), db.Close()); err != nil {
		t.Fatal(err)
	}

	p, err := authn.NewGitHub(authn.GitHubOptions{ClientID: "id", ClientSecret: "s&=cret", WebURL: f.URL, APIURL: f.URL})
	if err != nil {
		t.Fatal(err)
	}
	s := &signIns{}
	b := authn.NewBrowser(p, s, newSeal(t), authn.NewPasswords(authn.PasswordOptions{}), authn.BrowserOptions{Memory: -1, Now: func() time.Time { return now }})
	all, err := b.ReadDockerAuth(folder)
	if err != nil || len(all) != 2 {
		t.Fatalf("ReadDockerAuth = %d, %v, want alice and bob", len(all), err)
	}
	for i, n := range all {
		if strings.Contains(string(n.Tokens), "access-of-docker_auth") || n.Subject != "" {
			t.Fatalf("%s is kept with tokens in clear or as the subject %q", n.Account, n.Subject)
		}
		n.ID, n.Password.SignIn = int64(i+1), int64(i+1)
		s.signIns, s.passwords = append(s.signIns, n.SignIn), append(s.passwords, n.Password)
	}
	login := func(account, password string, want error) customhouse.Identity {
		t.Helper()
		id, err := b.Authenticate(t.Context(), basic(account, password))
		if !errors.Is(err, want) {
			t.Fatalf("Authenticate(%s) = %+v, %v, want %v", account, id, err, want)
		}
		return id
	}
	if id := login("alice", "abcdefghijklmnop", nil); id.Labels["teams"][0] != "ops" {
		t.Fatalf("labels = %v", id.Labels)
	}
	login("alice", "qrstuvwxyz012345", authn.ErrWrongPassword)
	now = now.Add(2 * time.Hour)
	login("alice", "abcdefghijklmnop", nil)
	if s.signIns[0].Subject != "17" {
		t.Fatalf("the subject is %q after the provider was asked", s.signIns[0].Subject)
	}
	login("bob", "qrstuvwxyz012345", authn.ErrWrongPassword) // his token is alice's
	if _, err := b.ReadDockerAuth(filepath.Join(folder, "none")); err == nil {
		t.Fatal("ReadDockerAuth of no database = nil, want an error")
	}
}
