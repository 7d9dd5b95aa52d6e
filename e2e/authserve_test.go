//go:build linux

package e2e_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// An authServer is a running customhouse that stands in for docker_auth, and who asks it.
type authServer struct {
	*process
	url  string
	http *http.Client
}

var authListening = regexp.MustCompile(`listening on (https?)(?:\+unix)?://(\S+)`)

// asAuthServer returns the name under which the binary is docker_auth's.
func asAuthServer(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "auth_server")
	must(t, os.Symlink(binary, path))
	return path
}

// serveAuth starts it with the flags and the configuration in args, by the command line of wrapper if there is one.
func serveAuth(t *testing.T, wrapper []string, args ...string) *authServer {
	t.Helper()
	line := append(append([]string{}, wrapper...), asAuthServer(t))
	line = append(line, args...)
	a := &authServer{process: start(t, line[0], line[1:], nil), http: &http.Client{Timeout: 10 * time.Second}}
	var match []string
	a.await(t, func() bool {
		match = authListening.FindStringSubmatch(a.stdout.String())
		return match != nil
	})
	a.url = match[1] + "://" + match[2]
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	if strings.HasPrefix(match[2], "/") {
		a.url = match[1] + "://socket"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", match[2])
		}
	}
	a.http.Transport = transport
	t.Cleanup(transport.CloseIdleConnections)
	return a
}

// authConfig is a configuration of docker_auth in dir: writer, with the password writer-secret, may pull everything, or
// nothing, as the issuer says.
func authConfig(t *testing.T, dir string, open bool, more string) string {
	t.Helper()
	_, rest, _ := strings.Cut(read(t, "testdata/people.yml"), `writer: {password: "`)
	hash, _, _ := strings.Cut(rest, `"`)
	issuer, actions := "closed", "[]"
	if open {
		issuer, actions = "open", "[pull]"
	}
	pair := "  certificate: " + filepath.Join(dir, "server.pem") + "\n  key: " + filepath.Join(dir, "server.key") + "\n"
	if more == "" {
		more = "server:\n  addr: 127.0.0.1:0\n" + pair
	}
	return more + "token:\n  issuer: " + issuer + "\n  expiration: 900\n" + pair +
		"users:\n  writer: {password: \"" + hash + "\"}\nacl:\n  - match: {account: writer}\n    actions: " + actions + "\n"
}

// newAuthDir is a folder with a certificate and a configuration.
func newAuthDir(t *testing.T, open bool) (dir, config string) {
	t.Helper()
	dir = t.TempDir()
	issueCertificate(t, dir)
	return dir, write(t, dir, "auth.yml", authConfig(t, dir, open, ""))
}

// claims are those of a token for two repositories.
type claims struct {
	Issuer string `json:"iss"`
	Access []struct {
		Name    string
		Actions []string
	}
}

// ask asks for a token as writer.
func (a *authServer) ask() (claims, error) {
	r, err := http.NewRequest("GET", a.url+"/auth?service=registry&scope=repository:one:pull&scope=repository:two:pull", nil)
	if err != nil {
		return claims{}, err
	}
	r.SetBasicAuth("writer", "writer-secret")
	res, err := a.http.Do(r)
	if err != nil {
		return claims{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 {
		return claims{}, errors.Join(err, fmt.Errorf("status %d: %s", res.StatusCode, body))
	}
	var answer struct{ Token string }
	if err := json.Unmarshal(body, &answer); err != nil {
		return claims{}, err
	}
	parts := strings.Split(answer.Token, ".")
	if len(parts) != 3 {
		return claims{}, fmt.Errorf("token = %s", answer.Token)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return claims{}, err
	}
	var c claims
	return c, json.Unmarshal(payload, &c)
}

// open tells which configuration a token is issued by: the one that lets writer pull or the other, and all of it.
func (a *authServer) open() (bool, error) {
	c, err := a.ask()
	if err != nil {
		return false, err
	}
	text := fmt.Sprint(c)
	switch text {
	case "{open [{one [pull]} {two [pull]}]}":
		return true, nil
	case "{closed [{one []} {two []}]}":
		return false, nil
	}
	return false, errors.New("a token of neither configuration: " + text)
}

func (a *authServer) awaitOpen(t *testing.T, want bool, limit time.Duration) time.Duration {
	t.Helper()
	return await(t, limit, func() bool {
		got, err := a.open()
		must(t, err)
		return got == want
	})
}

// The command line of docker_auth's images works as it is, the log has what it had and no secret, and SIGTERM is no error.
func TestAuthServerCommandLine(t *testing.T) {
	t.Parallel()
	_, config := newAuthDir(t, true)
	logs := t.TempDir()
	a := serveAuth(t, nil, "-alsologtostderr=true", "-log_dir="+logs, "-v", "3", config)
	if open, err := a.open(); !open {
		t.Errorf("open = %v, %v", open, err)
	}
	must(t, a.stop())
	log := read(t, filepath.Join(logs, "auth_server.log"))
	for name, text := range map[string]string{"log file": log, "standard error": a.all.String()} {
		if !strings.Contains(text, `"account":"writer"`) {
			t.Errorf("%s has no line of the request:\n%s", name, text)
		}
		if strings.Contains(text, "writer-secret") || strings.Contains(text, "eyJ") || strings.Contains(text, "Authorization") {
			t.Errorf("%s has a secret:\n%s", name, text)
		}
	}
	quiet := serveAuth(t, nil, "--log_dir", t.TempDir(), config)
	if open, err := quiet.open(); !open {
		t.Errorf("open = %v, %v", open, err)
	}
	must(t, quiet.stop())
	if strings.Contains(quiet.all.String(), `"level":"INFO"`) {
		t.Errorf("below the threshold on standard error where there are files:\n%s", quiet.all.String())
	}
	for _, args := range [][]string{{"-no-such-flag", config}, {}, {"-stderrthreshold=LOUD", config}} {
		out, err := exec.Command(asAuthServer(t), args...).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 2 || !bytes.Contains(out, []byte("hint:")) {
			t.Errorf("auth_server %q = %v, %s, want status 2 and a hint", args, err, out)
		}
	}
}

// A token service writes to no disk that it was not told to write to.
func TestS87_AuthServerOnReadOnlyRoot(t *testing.T) {
	t.Parallel()
	needRoot(t)
	_, config := newAuthDir(t, true)
	a := serveAuth(t, []string{need(t, "unshare"), "-m", "sh", "-c", `mount -o remount,bind,ro / && ! touch /tmp/x 2>/dev/null && exec "$0" "$@"`}, config)
	if open, err := a.open(); !open {
		t.Errorf("open = %v, %v", open, err)
	}
}

// A socket that is left over is taken over, one that is in use or no socket is not, and where no address is known
// requests are answered all the same.
func TestAuthServerOnSocket(t *testing.T) {
	t.Parallel()
	dir, _ := newAuthDir(t, true)
	socket := filepath.Join(shortDir(t), "s")
	config := write(t, dir, "socket.yml", authConfig(t, dir, true, "server:\n  net: unix\n  addr: "+socket+"\n"))
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	must(t, err)
	left.SetUnlinkOnClose(false)
	must(t, left.Close())
	a := serveAuth(t, nil, config)
	if open, err := a.open(); !open {
		t.Errorf("open = %v, %v", open, err)
	}
	refused := func(says string) {
		t.Helper()
		out, err := exec.Command(asAuthServer(t), config).CombinedOutput()
		if err == nil || !bytes.Contains(out, []byte(says)) {
			t.Errorf("auth_server = %v, %s, want %q", err, out, says)
		}
	}
	refused("somebody listens on")
	must(t, a.stop())
	must(t, os.WriteFile(socket, []byte("precious"), 0o600))
	refused("is no socket")
	if read(t, socket) != "precious" {
		t.Error("the file is gone")
	}
}

// R23, R25: reloads cost no request, and each answer is of one configuration. (docker_auth lost 9 of 295 in four.)
func TestR23_AuthServerReloads(t *testing.T) {
	t.Parallel()
	dir, config := newAuthDir(t, false)
	a := serveAuth(t, nil, config)
	l := startLoad(func() error {
		_, err := a.open()
		return err
	})
	for i := range 100 {
		open := i%2 == 0
		replace(t, config, authConfig(t, dir, open, ""))
		must(t, a.cmd.Process.Signal(syscall.SIGHUP))
		a.awaitOpen(t, open, 20*time.Second)
	}
	l.stop(t)
	must(t, a.stop())
}

// R24: a configuration with a mistake, or whose parts cannot be built, leaves the old one serving. (docker_auth ended.)
func TestR24_AuthServerBadReloads(t *testing.T) {
	t.Parallel()
	dir, config := newAuthDir(t, true)
	operators := "127.0.0.1:" + freePort(t)
	good := "customhouse: {http: {debug: \"" + operators + "\"}}\n" + read(t, config)
	replace(t, config, good)
	other, _ := newAuthDir(t, true)
	refused := func(want int) {
		t.Helper()
		res, err := http.Get("http://" + operators + "/metrics")
		must(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		must(t, err)
		if !strings.Contains(string(body), fmt.Sprintf("\ncustomhouse_config_refused %d\n", want)) {
			t.Errorf("customhouse_config_refused is not %d", want)
		}
	}
	a := serveAuth(t, nil, config)
	for _, test := range []struct{ name, content, says string }{
		{"syntax", good + "acl: [", "auth.yml:"},
		{"unknown key", strings.Replace(good, "expiration", "expiratoin", 1), "expiratoin"},
		{"no match", good + "  - actions: [pull]\n", "acl[1]"},
		{"bad pattern", good + "  - match: {name: \"/(/\"}\n    actions: [pull]\n", "acl[1]"},
		{"certificate and key differ", strings.Replace(good, dir+"/server.key", other+"/server.key", 1), "server.pem"},
		{"key of tokens differs", good[:strings.LastIndex(good, dir+"/server.key")] + other + good[strings.LastIndex(good, "/server.key"):], "server.pem"},
		{"a program that is missing", good + "ext_auth: {command: /nowhere/program}\n", "ext_auth"},
		{"empty", "", "auth.yml"},
		{"half written", good[:len(good)-40], "auth.yml"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := len(a.all.String())
			replace(t, config, test.content)
			must(t, a.cmd.Process.Signal(syscall.SIGHUP))
			var said string
			await(t, 20*time.Second, func() bool {
				said = a.all.String()[before:]
				return strings.Contains(said, "is not taken") || strings.Contains(said, "was read again")
			})
			if !strings.Contains(said, "is not taken") || !strings.Contains(said, test.says) {
				t.Errorf("log = %s\nwant that it is not taken because of %q", said, test.says)
			}
			if open, err := a.open(); !open {
				t.Errorf("the old configuration does not hold: %v", err)
			}
			refused(1)
		})
	}
	replace(t, config, authConfig(t, dir, false, ""))
	a.awaitOpen(t, false, 20*time.Second)
	refused(0)
}

// R26: however the configuration or a file that it names changes, the change holds within 2 s.
func TestR26_AuthServerChangeStyles(t *testing.T) {
	t.Parallel()
	t.Run("config", func(t *testing.T) {
		dir, config := newAuthDir(t, false)
		a := serveAuth(t, nil, config)
		for i, change := range changes {
			change.do(t, config, authConfig(t, dir, i%2 == 0, ""))
			t.Logf("%s: %s", change.name, a.awaitOpen(t, i%2 == 0, 20*time.Second))
		}
	})
	// The certificate is that of the server and its key signs tokens, too, so that three things change with it.
	t.Run("certificate and keys", func(t *testing.T) {
		dir, config := newAuthDir(t, true)
		certificate := filepath.Join(dir, "server.pem")
		keys := t.TempDir() // a folder of its own: two files that are changed by links share none
		key := write(t, keys, "server.key", read(t, filepath.Join(dir, "server.key")))
		write(t, dir, "auth.yml", strings.ReplaceAll(read(t, config), filepath.Join(dir, "server.key"), key))
		a := serveAuth(t, nil, config)
		host := strings.TrimPrefix(a.url, "https://")
		set := func() string {
			res, err := a.http.Get(a.url + "/.well-known/jwks.json")
			must(t, err)
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			must(t, err)
			return string(body)
		}
		for _, change := range changes {
			before := set()
			_, nextCertificate, nextKey := issueCertificate(t, t.TempDir())
			change.do(t, certificate, read(t, nextCertificate))
			change.do(t, key, read(t, nextKey))
			want := leaf(t, nextCertificate, nextKey)
			t.Logf("%s: %s", change.name, await(t, 20*time.Second, func() bool {
				got, err := shakeHands(host)
				must(t, err)
				return bytes.Equal(got, want) && set() != before
			}))
		}
	})
}

// R27: new certificates are taken without a handshake that fails.
func TestR27_AuthServerCertificateRotation(t *testing.T) {
	t.Parallel()
	dir, config := newAuthDir(t, true)
	a := serveAuth(t, nil, config)
	a.http.Transport = &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	l := startLoad(func() error {
		_, err := a.open()
		return err
	})
	for range long(5, 20) {
		_, nextCertificate, nextKey := issueCertificate(t, t.TempDir())
		replace(t, filepath.Join(dir, "server.pem"), read(t, nextCertificate))
		replace(t, filepath.Join(dir, "server.key"), read(t, nextKey))
		want := leaf(t, nextCertificate, nextKey)
		await(t, 20*time.Second, func() bool {
			got, err := shakeHands(strings.TrimPrefix(a.url, "https://"))
			must(t, err)
			return bytes.Equal(got, want)
		})
	}
	l.stop(t)
}

// S85: a service with TLS speaks nothing else, and nothing older than it was told to.
func TestS85_AuthServerTLS(t *testing.T) {
	t.Parallel()
	dir, config := newAuthDir(t, true)
	replace(t, config, strings.Replace(read(t, config), "server:\n", "server:\n  tls_min_version: TLS13\n", 1))
	a := serveAuth(t, nil, config)
	host := strings.TrimPrefix(a.url, "https://")
	res, err := http.Get("http://" + host + "/auth")
	must(t, err)
	res.Body.Close()
	if res.StatusCode != 400 {
		t.Errorf("status without TLS = %d, want 400", res.StatusCode)
	}
	shake := func(version uint16) error {
		c, err := tls.Dial("tcp", host, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: version})
		if err == nil {
			c.Close()
		}
		return err
	}
	if shake(tls.VersionTLS12) == nil || shake(tls.VersionTLS13) != nil {
		t.Errorf("TLS 1.2 = %v, 1.3 = %v, want the second only", shake(tls.VersionTLS12), shake(tls.VersionTLS13))
	}
	replace(t, config, authConfig(t, dir, true, "")) // the lowest version changes without a restart, too
	await(t, 20*time.Second, func() bool { return shake(tls.VersionTLS12) == nil })
	if shake(tls.VersionTLS11) == nil {
		t.Error("TLS 1.1 is spoken")
	}
}
