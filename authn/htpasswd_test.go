package authn_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"customhouse"
	"customhouse/authn"
)

// file is an htpasswd file whose authenticator is asked as if a while had passed.
type file struct {
	t    *testing.T
	path string
	log  bytes.Buffer
	now  time.Time
	*authn.Htpasswd
}

func newFile(t *testing.T, path string) *file {
	t.Helper()
	f := &file{t: t, path: path, now: time.Now()}
	var err error
	f.Htpasswd, err = authn.NewHtpasswd(path, authn.NewPasswords(authn.PasswordOptions{}), authn.HtpasswdOptions{
		Log: slog.New(slog.NewTextHandler(&f.log, nil)), Now: func() time.Time { return f.now },
	})
	if err != nil {
		t.Fatalf("NewHtpasswd = %v", err)
	}
	return f
}

// has fails the test unless the file knows just that user, a second from now.
func (f *file) has(want string) {
	f.t.Helper()
	f.now = f.now.Add(time.Second)
	for _, name := range []string{"alice", "bob"} {
		_, err := f.Lookup(f.t.Context(), name)
		if want := name == want; (err == nil) != want || err != nil && !errors.Is(err, authn.ErrUnknownUser) {
			f.t.Fatalf("Lookup(%s) = %v, want known %v", name, err, want)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestHtpasswdIsReadAnew(t *testing.T) {
	secret := hash(t, "secret", 4)
	alice, bob := fmt.Sprintf("alice:%s\n", string(secret)), fmt.Sprintf("bob:%s\n", string(secret))
	write := func(path, content string) { t.Helper(); must(t, os.WriteFile(path, []byte(content), 0o600)) }

	t.Run("in place", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "htpasswd")
		write(path, alice)
		f := newFile(t, path)
		f.has("alice")
		write(path, bob)
		f.has("bob")
	})
	t.Run("same size and time", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "htpasswd")
		write(path, "#b\n"+alice)
		f := newFile(t, path)
		f.has("alice")
		info, err := os.Stat(path)
		must(t, err)
		write(path, "#\n\n"+bob+"\n")
		must(t, os.Chtimes(path, info.ModTime(), info.ModTime())) // as if within one tick of the clock of the file system
		f.has("bob")
	})
	t.Run("by rename", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "htpasswd")
		write(path, alice)
		f := newFile(t, path)
		f.has("alice")
		write(path+".new", bob)
		must(t, os.Rename(path+".new", path))
		f.has("bob")
	})
	t.Run("as Kubernetes does", func(t *testing.T) {
		dir := t.TempDir()
		for name, content := range map[string]string{"v1": alice, "v2": bob} {
			must(t, os.Mkdir(filepath.Join(dir, name), 0o700))
			write(filepath.Join(dir, name, "htpasswd"), content)
		}
		must(t, os.Symlink("v1", filepath.Join(dir, "..data")))
		must(t, os.Symlink("..data/htpasswd", filepath.Join(dir, "htpasswd")))
		f := newFile(t, filepath.Join(dir, "htpasswd"))
		f.has("alice")
		must(t, os.Symlink("v2", filepath.Join(dir, "..next")))
		must(t, os.Rename(filepath.Join(dir, "..next"), filepath.Join(dir, "..data")))
		f.has("bob")
	})
	t.Run("a bad file changes nothing", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "htpasswd")
		write(path, alice)
		f := newFile(t, path)
		write(path, "# comment\n"+bob+"carol:{SHA}topsecret\n")
		f.has("alice")
		f.has("alice")
		if n := strings.Count(f.log.String(), path+":3: not a bcrypt hash"); n != 1 || strings.Contains(f.log.String(), "topsecret") {
			t.Fatalf("the log tells the mistake %d times, want once:\n%s", n, f.log.String())
		}
		must(t, os.Remove(path))
		f.has("alice")
		write(path, bob)
		f.has("bob")
	})
	t.Run("at most once a second", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "htpasswd")
		write(path, alice)
		f := newFile(t, path)
		f.has("alice")
		write(path, bob)
		f.now = f.now.Add(-time.Second / 2)
		f.has("alice")
		f.has("bob")
	})
}

func TestNewHtpasswdRefuses(t *testing.T) {
	good := string(hash(t, "secret", 4))
	for content, want := range map[string]string{
		"alice":                                         ":1: want name:hash",
		"alice:" + good + "\nalice:" + good:             ":2: stands twice",
		"alice:" + good + ":more":                       ":1: not a bcrypt hash",
		"\nal ice:" + good + "\nbob:plain":              ":2: UNAUTHORIZED: invalid account name",
		"alice:" + strings.Replace(good, "04", "31", 1): ":1: bcrypt cost 31",
	} {
		path := filepath.Join(t.TempDir(), "htpasswd")
		must(t, os.WriteFile(path, []byte(content), 0o600))
		_, err := authn.NewHtpasswd(path, authn.NewPasswords(authn.PasswordOptions{}), authn.HtpasswdOptions{})
		if err == nil || !strings.Contains(err.Error(), path+want) {
			t.Errorf("NewHtpasswd = %v, want %q", err, want)
		}
	}
	if _, err := authn.NewHtpasswd(filepath.Join(t.TempDir(), "none"), nil, authn.HtpasswdOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("NewHtpasswd of no file = %v", err)
	}
}

func TestAccountsRememberForASecond(t *testing.T) {
	now := time.Now()
	s := &store{accounts: map[string]customhouse.Account{"alice": {Name: "alice", Password: hash(t, "secret", 4), Labels: map[string][]string{"group": {"dev"}}}}}
	a := authn.NewAccounts(s, authn.NewPasswords(authn.PasswordOptions{}), authn.AccountsOptions{Now: func() time.Time { return now }})
	for range 10 {
		id, err := a.Lookup(t.Context(), "alice")
		if err != nil || id.Labels["group"][0] != "dev" {
			t.Fatalf("Lookup = %+v, %v", id, err)
		}
	}
	if s.asked != 1 {
		t.Fatalf("the source was asked %d times, want once", s.asked)
	}
	delete(s.accounts, "alice")
	if _, err := a.Authenticate(t.Context(), basic("alice", "secret")); !errors.Is(err, authn.ErrUnknownUser) {
		t.Fatalf("Authenticate = %v, want ErrUnknownUser", err)
	}
	if _, err := a.Lookup(t.Context(), "alice"); !errors.Is(err, authn.ErrUnknownUser) {
		t.Fatalf("Lookup = %v, want ErrUnknownUser", err)
	}
	now = now.Add(time.Second)
	s.err = errors.New("disk on fire")
	if _, err := a.Lookup(t.Context(), "alice"); !errors.Is(err, s.err) {
		t.Fatalf("Lookup = %v, want %v", err, s.err)
	}
}
