//go:build linux

package e2e_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// tokenOf asks for a token as writer.
func (a *api) tokenOf(scope string) (string, error) {
	got, err := a.as("writer").get("/token?service=customhouse&scope=" + scope)
	if err == nil {
		err = got.is(http.StatusOK)
	}
	var answer struct{ Token string }
	if err == nil {
		err = json.Unmarshal(got.body, &answer)
	}
	return answer.Token, err
}

// with asks for a path with a token.
func (a *api) with(token, path string) (int, error) {
	r, err := http.NewRequest("GET", a.url+path, nil)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", "*/*")
	res, err := a.http.Do(r)
	if err != nil {
		return 0, err
	}
	res.Body.Close()
	return res.StatusCode, nil
}

// keyIDs returns the names in the key set that is published.
func (a *api) keyIDs(t *testing.T) (ids []string) {
	t.Helper()
	got, err := a.get("/.well-known/jwks.json")
	must(t, err, got.is(http.StatusOK))
	var set struct {
		Keys []struct{ Kid string }
	}
	must(t, json.Unmarshal(got.body, &set))
	for _, k := range set.Keys {
		ids = append(ids, k.Kid)
	}
	return ids
}

// TestR28_Rotation exchanges the key that signs three times during 10,000 loops of token and pull, each by another of two
// servers that share the keys.
func TestR28_Rotation(t *testing.T) {
	t.Parallel()
	first, second := t.TempDir(), t.TempDir()
	must(t, os.Mkdir(filepath.Join(first, "keys"), 0o700), os.Symlink(filepath.Join(first, "keys"), filepath.Join(second, "keys")))
	config := write(t, t.TempDir(), "customhouse.yml", "log: {requests: false}\n"+read(t, "testdata/people.yml"))
	l, crane := newLayout(t), newCrane(t)
	var servers []*api
	for _, data := range []string{first, second} {
		s := serveData(t, data, "-c", config)
		crane.run(t, "auth", "login", s.host, "-u", "writer", "-p", "writer-secret")
		crane.run(t, "push", l.dir, s.host+"/acc/app:v1")
		servers = append(servers, newAPI(t, s.url))
	}
	keys := client{path: binary}
	const loops = 10_000
	var done, failed atomic.Int64
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range loops / 4 {
				from, to := servers[(i+worker)%2], servers[(i+worker+1)%2]
				token, err := from.tokenOf("repository:acc/app:pull")
				status := 0
				if err == nil {
					status, err = to.with(token, "/v2/acc/app/manifests/v1")
				}
				if (err != nil || status != http.StatusOK) && failed.Add(1) == 1 {
					t.Errorf("loop %d: status %d, %v", i, status, err)
				}
				done.Add(1)
			}
		})
	}
	seen := map[string]bool{}
	for turn := range int64(3) {
		await(t, 5*time.Minute, func() bool { return done.Load() > (turn+1)*loops/5 })
		made := strings.Fields(keys.run(t, "keys", "rotate", "--publish", "2s", "--data", first))[1]
		for _, s := range servers {
			await(t, 10*time.Second, func() bool { return len(s.keyIDs(t)) >= 2 && strings.Contains(strings.Join(s.keyIDs(t), " "), made) })
		}
		seen[made] = true
		await(t, 10*time.Second, func() bool { // it signs by now
			return strings.Contains(keys.run(t, "keys", "list", "--data", second), made+"  ES256      signs")
		})
	}
	wg.Wait()
	if n := failed.Load(); n != 0 || done.Load() != loops || len(seen) != 3 {
		t.Errorf("%d of %d loops failed over %d keys, want none over 3", n, done.Load(), len(seen))
	}
	ids := servers[0].keyIDs(t)
	if len(ids) != 4 {
		t.Errorf("the key set lists %v, want the four keys: tokens of all of them are good yet", ids)
	}
}

// TestS35_RemoveKey removes a key from under a server: what it has signed is refused within two seconds, and nothing else.
func TestS35_RemoveKey(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s := serveData(t, data, "-c", people(t))
	a, keys := newAPI(t, s.url), client{path: binary}
	signer := func() string {
		for line := range strings.Lines(keys.run(t, "keys", "list", "--data", data)) {
			if fields := strings.Fields(line); fields[2] == "signs" {
				return fields[0]
			}
		}
		return ""
	}
	status := func(token string) int {
		got, err := a.with(token, "/v2/")
		must(t, err)
		return got
	}
	token := func() string {
		text, err := a.tokenOf("repository:acc/app:pull")
		must(t, err)
		return text
	}
	first, old := signer(), token()
	fresh := strings.Fields(keys.run(t, "keys", "rotate", "--publish", "1s", "--data", data))[1]
	await(t, 10*time.Second, func() bool { return headerKey(token()) == fresh })
	young := token()
	for _, text := range []string{old, young} {
		if got := status(text); got != http.StatusOK {
			t.Fatalf("GET = %d, want 200", got)
		}
	}
	keys.run(t, "keys", "remove", "--data", data, "--", first) // an id may begin with -
	took := await(t, 20*time.Second, func() bool { return status(old) == http.StatusUnauthorized })
	t.Logf("refused after %s", took.Round(time.Millisecond))
	if got := status(young); got != http.StatusOK {
		t.Errorf("the token of another key: GET = %d, want 200", got)
	}
	both, alone := "(published keys: "+fresh+", "+first+"; the first signs)", "(published keys: "+fresh+")"
	await(t, 10*time.Second, func() bool { // the audit log tells of each of it
		told := keys.run(t, "audit", "--kind", "key", "--data", data)
		return strings.Contains(told, both) && strings.HasSuffix(told, alone)
	})
	keys.run(t, "keys", "remove", "--data", data, "--", fresh) // the one that signs
	await(t, 20*time.Second, func() bool { return status(young) == http.StatusUnauthorized })
	await(t, 20*time.Second, func() bool { return status(token()) == http.StatusOK })
	if id := headerKey(token()); id == first || id == fresh {
		t.Errorf("a removed key signs")
	}
	must(t, os.RemoveAll(filepath.Join(data, "keys")), os.Mkdir(filepath.Join(data, "keys"), 0o700)) // by hand, all of them
	await(t, 20*time.Second, func() bool {
		return status(token()) == http.StatusOK && fmt.Sprint(a.keyIDs(t)) == fmt.Sprint([]string{headerKey(token())})
	})
}

// headerKey returns the "kid" of a token.
func headerKey(token string) string {
	encoded, _, _ := strings.Cut(token, ".")
	var header struct{ Kid string }
	text, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil || json.Unmarshal(text, &header) != nil {
		return ""
	}
	return header.Kid
}
