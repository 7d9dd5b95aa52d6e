package authn_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"customhouse"
	"customhouse/authn"
	"customhouse/e2e/backend"
)

// takingOver returns a provider's people before they are taken over from docker_auth, a record of one of them, and the log.
func takingOver(t *testing.T) (b *authn.Browser, record string, log *strings.Builder) {
	t.Helper()
	f := newForge(t, false)
	p, err := authn.NewGitHub(authn.GitHubOptions{ClientID: "id", ClientSecret: "s&=cret", WebURL: f.URL, APIURL: f.URL})
	if err != nil {
		t.Fatal(err)
	}
	log = &strings.Builder{}
	b = authn.NewBrowser(p, &signIns{}, newSeal(t), authn.NewPasswords(authn.PasswordOptions{}), authn.BrowserOptions{Memory: -1, Log: slog.New(slog.NewTextHandler(log, nil))})
	record = fmt.Sprintf(`{"token_type":"bearer","access_token":"access-canary","valid_until":%q,"docker_password":%q,"labels":{"teams":["ops"]}}`,
		time.Now().Add(time.Hour).Format(time.RFC3339Nano), string(hash(t, "abcdefghijklmnop", 4)))
	return b, record, log
}

// Who had signed in by docker_auth with its records in Redis, on a server or a cluster, with TLS or without, needs not sign
// in again.
func TestReadDockerAuthRedis(t *testing.T) {
	b, record, log := takingOver(t)
	read := func(address string) ([]customhouse.ImportedSignIn, error) {
		t.Helper()
		a, err := authn.ParseRedisAddress(customhouse.Secret(address))
		if err != nil {
			t.Fatal(err)
		}
		return b.ReadDockerAuthRedis(t.Context(), a)
	}

	for _, cluster := range []bool{false, true} {
		r := backend.NewRedis(t, cluster)
		const many = 1200 // more than a page
		for i := range many {
			r.Do(t, "SET", fmt.Sprintf("t:user%d", i), record)
		}
		r.Do(t, "SET", "other", record)
		r.Do(t, "SET", "t:carol", "canary")
		r.Do(t, "SET", "t:a b", record)
		good := ":" + backend.RedisPassword + "@"
		for _, address := range []string{"redis://" + good + r.Addr, "redis://" + good + "127.0.0.1:1," + r.Addr + "/0", "rediss://" + good + r.TLS + "/?skip_verify=true", "unix://" + good + r.Unix} {
			if cluster && !strings.HasPrefix(address, "redis:") {
				continue // whose server tells its usual port
			}
			all, err := read(address)
			if err != nil || len(all) != many || all[0].Account != "user0" || all[0].Labels["teams"][0] != "ops" || all[0].Password.Name != "docker_auth" {
				t.Fatalf("cluster %t, %s: %d records, %v, want %d", cluster, address, len(all), err, many)
			}
			if strings.Contains(string(all[0].Tokens), "canary") {
				t.Fatal("the provider's tokens are in clear")
			}
		}
		for _, address := range []string{"redis://" + r.Addr, "redis://:wrong@" + r.Addr, "rediss://" + good + r.TLS, "redis://" + good + r.TLS, "redis://127.0.0.1:1"} {
			if all, err := read(address); err == nil || strings.Contains(err.Error(), backend.RedisPassword) || !strings.Contains(err.Error(), "Redis at 127.0.0.1:") {
				t.Errorf("%s: %d records, %v, want an error that names the server", address, len(all), err)
			}
		}
		if !cluster {
			if all, err := read("redis://" + good + r.Addr + "/3"); err != nil || len(all) != 0 {
				t.Errorf("another database: %d records, %v", len(all), err)
			}
		}
		r.Do(t, "DEL", "t:user0")
		r.Do(t, "LPUSH", "t:user0", "x")
		if _, err := read("redis://" + good + r.Addr); err == nil || !strings.Contains(err.Error(), `record "t:user0"`) {
			t.Errorf("a record that is no text = %v", err)
		}
	}
	if strings.Contains(log.String(), "canary") || !strings.Contains(log.String(), "carol") {
		t.Errorf("log = %s", log.String())
	}
}

func TestParseRedisAddress(t *testing.T) {
	for text, want := range map[string]string{
		"redis://r": "r:6379/0", "redis://r:1": "r:1/0", "rediss://:p%40x@a:1,b:2/7?skip_verify=true": "a:1,b:2/7", "redis://u:p@[::1]": "[::1]:6379/0", "redis://:p@x@r/": "r:6379/0", "unix://:p@/run/redis.sock?db=3": "/run/redis.sock/3",
	} {
		if a, err := authn.ParseRedisAddress(customhouse.Secret(text)); err != nil || a.String() != want {
			t.Errorf("%s = %s, %v, want %s", text, a, err, want)
		}
	}
	for _, text := range []string{"", "r:6379", "http://r", "redis://", "redis://:canary@", "redis://r/x", "redis://r/-1", "redis://r,", "redis://r?a=b", "redis://r#x", "redis://r:canary", "unix://r/canary", "unix://", "unix:///r?db=canary", "unix:///r?x=1"} {
		if a, err := authn.ParseRedisAddress(customhouse.Secret(text)); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q = %s, %v, want an error that quotes nothing", text, a, err)
		}
	}
}
