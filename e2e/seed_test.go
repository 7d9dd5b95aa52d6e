//go:build linux

package e2e_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// seedHost is the name in the files of examples/seed.
const seedHost = "registry.example.com"

// TestSeed runs the recipe of examples/seed, with its files as they are and where they belong: our halves together, each
// with the original of the other, and all of it in one process. docker finds the same everywhere.
func TestSeed(t *testing.T) {
	t.Parallel()
	need(t, "python3")
	w := newSeed(t)
	trust := w.path("ssl/domain.crt")
	daemon := startDockerdUnder(t, w.network(t), "SSL_CERT_FILE="+seedCertificate(t, trust))
	ours := func(t *testing.T) {
		w.await(t, "listening on", nil, "/bin/registry", "serve", "/etc/docker/registry/config.yml")
	}
	service := func(t *testing.T) {
		w.await(t, "listening on", []string{"CICD_SECRET=cicd-secret"},
			"/docker_auth/auth_server", "-alsologtostderr=true", "-log_dir=/logs", "/config/extAuth.yml")
	}
	for _, place := range []struct{ name, addr string }{{"elsewhere", elsewhere}, {"localhost", "127.0.0.1"}} {
		w.resolve(t, seedHost, place.addr)
		for _, combination := range []struct {
			name  string
			start func(*testing.T)
		}{
			{"both", func(t *testing.T) { service(t); ours(t) }},
			{"token service with distribution 2.8", func(t *testing.T) {
				service(t)
				p := w.await(t, "listening on", nil, need(t, "docker-registry"), "serve", "/etc/docker/registry/config.yml")
				t.Cleanup(p.kill) // it ends by the signal
			}},
			{"registry with docker_auth", func(t *testing.T) { startDockerAuth(t, w.world); ours(t) }},
			{"one process", func(t *testing.T) {
				w.await(t, "listening on", []string{"CICD_SECRET=cicd-secret", "HOME=/root"},
					"customhouse", "serve", "-c", "/seed/customhouse.yml", "--data", "/var/lib/customhouse")
			}},
		} {
			t.Run(place.name+"/"+combination.name, func(t *testing.T) {
				for _, data := range []string{"var/lib/registry", "var/lib/customhouse"} {
					must(t, os.RemoveAll(w.path(data)), os.MkdirAll(w.path(data), 0o755))
				}
				combination.start(t)
				w.promises(t, daemon, place.addr)
			})
		}
	}
	log := read(t, w.path("logs/auth_server.log"))
	if !strings.Contains(log, `"account":"cicd"`) {
		t.Errorf("the log does not tell of cicd:\n%.2000s", log)
	}
	for _, secret := range []string{"cicd-secret", "alice-secret", "mistaken", "eyJ"} {
		if strings.Contains(log, secret) {
			t.Errorf("the log has %q in it", secret)
		}
	}
}

// A seed is a world with the recipe's files in it, and the service that knows the accounts.
type seed struct {
	*world
	dir string // examples/seed, with certificates
}

func newSeed(t *testing.T) seed {
	t.Helper()
	w := seed{newWorld(t), exampleOf(t, "seed")}
	dir := w.dir
	made, err := exec.Command(filepath.Join(dir, "certificates")).CombinedOutput()
	if err != nil {
		t.Fatalf("certificates: %v\n%s", err, made)
	}
	native := filepath.Join(dir, "customhouse.yml")
	replace(t, native, strings.NewReplacer("# listen:", "listen:", "# public_url:", "public_url:", "# tls:", "tls:", "listen: 127.0.0.1:5000\n", "").Replace(read(t, native)))

	w.copyIn(t, "ssl", filepath.Join(dir, "auth/ssl"))
	w.copyIn(t, "config", filepath.Join(dir, "auth/config"))
	w.copyIn(t, "extensions", filepath.Join(dir, "auth/extensions"))
	w.copyIn(t, "seed", dir)
	must(t, os.MkdirAll(w.path("etc/docker/registry"), 0o755), os.MkdirAll(w.path("docker_auth"), 0o755), os.MkdirAll(w.path("logs"), 0o755),
		os.Symlink("/usr/bin/customhouse", w.path("usr/bin/registry")), os.Symlink("/usr/bin/customhouse", w.path("docker_auth/auth_server")))
	write(t, w.path("etc/docker/registry"), "config.yml", read(t, filepath.Join(dir, "registry/config.yml")))
	w.await(t, "listening on", nil, "/seed/accounts/server.py")
	return w
}

// seedCertificate copies the certificate to where dockerd finds it.
func seedCertificate(t *testing.T, file string) string {
	t.Helper()
	return write(t, t.TempDir(), "ca.pem", read(t, file))
}

// await starts a program and waits until it says that it is ready.
func (w seed) await(t *testing.T, ready string, env []string, line ...string) *process {
	t.Helper()
	p := w.start(t, env, line...)
	p.await(t, func() bool { return strings.Contains(p.all.String(), ready) })
	return p
}

// promises checks what the recipe promises to who comes from an address of the world.
func (w seed) promises(t *testing.T, daemon dockerd, addr string) {
	t.Helper()
	home := addr == "127.0.0.1"
	app := seedHost + "/team/app:v1"
	login := func(account, password string) docker {
		t.Helper()
		d := daemon.newClient(t)
		d.reads(password).run(t, "login", "-u", account, "--password-stdin", seedHost)
		return d
	}
	for account, password := range map[string]string{"cicd": "mistaken", "alice": "mistaken", "mallory": "alice-secret"} {
		daemon.newClient(t).reads(password).refuse(t, unauthorized, "login", "-u", account, "--password-stdin", seedHost)
	}
	cicd, alice, anyone := login("cicd", "cicd-secret"), login("alice", "alice-secret"), daemon.newClient(t)

	image := cicd.buildImage(t, app)
	anyone.refuse(t, refused, "push", app)
	if home {
		alice.run(t, "push", app)
	} else {
		alice.refuse(t, refused, "push", app)
		cicd.run(t, "push", app)
	}
	for _, person := range []docker{cicd, alice} {
		person.run(t, "rmi", app)
		person.run(t, "pull", app)
		wantDigest(t, person.imageID(t, app), image)
	}
	anyone.refuse(t, refused, "pull", app)

	for _, step := range []struct {
		account, password string
		status            int // of the registry, or of the token service if it issues no token
	}{
		{"", "", 401}, {"alice", "mistaken", 401}, {"alice", "alice-secret", 200}, {"cicd", "cicd-secret", 200},
	} {
		status, repositories := w.catalog(t, addr, step.account, step.password)
		if status != step.status || status == 200 && !slices.Equal(repositories, []string{"team/app"}) {
			t.Errorf("catalog for %q with %q = %d, %q, want %d and team/app if that is 200", step.account, step.password, status, repositories, step.status)
		}
	}
}

var challenge = regexp.MustCompile(`^Bearer realm="([^"]*)",service="([^"]*)",scope="([^"]*)"`)

// catalog asks for the list of repositories as clients do: with a token from where the challenge says.
func (w seed) catalog(t *testing.T, addr, account, password string) (status int, repositories []string) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(read(t, w.path("ssl/domain.crt"))))
	client := w.client(t, addr, &tls.Config{RootCAs: roots})
	get := func(url string, header func(*http.Request)) (*http.Response, []byte) {
		t.Helper()
		r, err := http.NewRequest("GET", url, nil)
		must(t, err)
		header(r)
		res, err := client.Do(r)
		must(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		must(t, err)
		return res, body
	}
	const list = "https://" + seedHost + "/v2/_catalog"
	res, _ := get(list, func(*http.Request) {})
	match := challenge.FindStringSubmatch(res.Header.Get("WWW-Authenticate"))
	if res.StatusCode != 401 || match == nil || match[3] != "registry:catalog:*" {
		t.Fatalf("catalog = %d, %q, want 401 and a challenge", res.StatusCode, res.Header.Get("WWW-Authenticate"))
	}
	res, body := get(match[1]+"?"+url.Values{"service": {match[2]}, "scope": {match[3]}}.Encode(), func(r *http.Request) {
		if account != "" {
			r.SetBasicAuth(account, password)
		}
	})
	if res.StatusCode != 200 {
		return res.StatusCode, nil
	}
	var issued struct{ Token string }
	must(t, json.Unmarshal(body, &issued))
	res, body = get(list, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+issued.Token) })
	var answer struct{ Repositories []string }
	must(t, json.Unmarshal(body, &answer))
	return res.StatusCode, answer.Repositories
}
