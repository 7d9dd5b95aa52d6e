package program_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"customhouse"
	"customhouse/outbound"
	"customhouse/program"

	"github.com/google/go-cmp/cmp"
)

func newWebhook(t testing.TB, url string, o program.WebhookOptions) *program.Webhook {
	t.Helper()
	w, err := program.NewWebhook(url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// answering serves f and counts connections.
func answering(t testing.TB, f http.HandlerFunc) (url string, connections *atomic.Int64) {
	t.Helper()
	connections = &atomic.Int64{}
	s := httptest.NewUnstartedServer(f)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s.URL, connections
}

func TestWebhookProtocol(t *testing.T) {
	const secret = "a secret that both know"
	now := time.Unix(1_732_490_000, 0)
	var body, target string
	var header http.Header
	url, connections := answering(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		body, target, header = string(b), r.Method+" "+r.URL.String(), r.Header
		io.WriteString(w, `{"result": "allow", "labels": {"group": ["dev"]}, "actions": ["pull"], "reason": "known"}`)
	})
	w := newWebhook(t, url+"/login?x=1", program.WebhookOptions{
		Secret: secret, Authorization: "Bearer key", Now: func() time.Time { return now },
	})
	a, err := w.Ask(t.Context(), login("alice", "pass word"))
	want := program.Answer{Result: program.Allow, Labels: map[string][]string{"group": {"dev"}}, Reason: "known"}
	if diff := cmp.Diff(want, a); err != nil || diff != "" {
		t.Errorf("Ask = %v (-want +got):\n%s", err, diff)
	}
	if want := `{"type":"authenticate","account":"alice","password":"pass word"}`; body != want || target != "POST /login?x=1" {
		t.Errorf("the webhook has got %s: %s, want %s", target, body, want)
	}
	// As its documentation tells somebody to check it.
	seconds, sum, _ := strings.Cut(strings.TrimPrefix(header.Get("Customhouse-Signature"), "t="), ",v1=")
	m := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(m, "%s.%s", seconds, body)
	got, err := hex.DecodeString(sum)
	if seconds != "1732490000" || err != nil || !hmac.Equal(got, m.Sum(nil)) {
		t.Errorf("the signature is %q", header.Get("Customhouse-Signature"))
	}
	if header.Get("Content-Type") != "application/json" || header.Get("Authorization") != "Bearer key" {
		t.Errorf("the header is %v", header)
	}
	a, err = w.Ask(t.Context(), access("alice", "pull", "push"))
	if want := (program.Answer{Result: program.Allow, Actions: []customhouse.Action{"pull"}, Reason: "known"}); err != nil || !cmp.Equal(want, a) {
		t.Errorf("Ask = %v, %v, want %v", a, err, want)
	}
	for range 10 {
		if _, err := w.Ask(t.Context(), login("alice", "x")); err != nil {
			t.Fatal(err)
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections for 12 questions, want 1", n)
	}
}

// TestS61_WebhookMisbehaves: nothing but status 200 with an answer in it is an answer.
func TestS61_WebhookMisbehaves(t *testing.T) {
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			io.WriteString(w, `{"result":"allow"}`)
		}
	}
	body := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) }
	}
	for name, tt := range map[string]struct {
		f        http.HandlerFunc
		want     string
		attempts int64
	}{
		"201": {status(201), "status 201", 1},
		"204": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, "status 204", 1},
		"101": {upgrade, "another protocol", 3},
		"302": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, "status 302", 1},
		"307": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, "status 307", 1},
		"401":            {status(401), "status 401", 1},
		"500":            {status(500), "status 500", 1},
		"502":            {status(502), "status 502", 3},
		"503":            {status(503), "status 503", 3},
		"429":            {status(429), "status 429", 3},
		"empty":          {body(""), "no JSON object", 1},
		"garbage":        {body("<html>"), "no JSON object", 1},
		"two":            {body(`{"result":"deny"}{"result":"allow"}`), "no JSON object", 1},
		"duplicate keys": {body(`{"result":"deny","result":"allow"}`), "no JSON object", 1},
		"no result":      {body(`{}`), "result is none of", 1},
		"a wrong result": {body(`{"result":"ALLOW"}`), "result is none of", 1},
		"error":          {body(`{"result":"error","reason":"no database"}`), "no database", 1},
		"deep":           {body(strings.Repeat("[", 100_000)), "no JSON object", 1},
		"a gigabyte":     {flood, "longer than 1048576 bytes", 1},
		"long headers":   {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) }, "does not answer", 3},
		"a broken answer": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "{")
		}, "breaks off", 3},
		"a broken line": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "does not answer", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var attempts atomic.Int64
			url, _ := answering(t, func(w http.ResponseWriter, r *http.Request) { attempts.Add(1); tt.f(w, r) })
			a, err := newWebhook(t, url, program.WebhookOptions{Retries: 2}).Ask(t.Context(), login("alice", "hunter2"))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("Ask = %v, %v, want an error with %q", a, err, tt.want)
			}
			if n := attempts.Load(); n != tt.attempts {
				t.Errorf("asked %d times, want %d", n, tt.attempts)
			}
		})
	}
}

// upgrade answers that the connection is for another protocol from now on, in which nothing is said.
func upgrade(w http.ResponseWriter, r *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: silence\r\n\r\n")
	io.Copy(io.Discard, conn) // until the client has left
}

func flood(w http.ResponseWriter, _ *http.Request) {
	b := make([]byte, 1<<20)
	for range 1 << 10 {
		if _, err := w.Write(b); err != nil {
			return
		}
	}
}

// Another attempt finds what was away for a moment.
func TestWebhookRetries(t *testing.T) {
	var attempts atomic.Int64
	url, _ := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		switch attempts.Add(1) {
		case 1:
			w.WriteHeader(503)
		case 2:
			panic(http.ErrAbortHandler)
		default:
			io.WriteString(w, `{"result":"allow"}`)
		}
	})
	if a, err := newWebhook(t, url, program.WebhookOptions{Retries: 2}).Ask(t.Context(), login("alice", "x")); err != nil || a.Result != program.Allow {
		t.Errorf("Ask = %v, %v, want allow", a, err)
	}
}

// TestS54_WebhookHangs: a question ends by its timeout, when the client leaves, and when the server stops.
func TestS54_WebhookHangs(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	asked := make(chan struct{}, 1)
	url, _ := answering(t, func(http.ResponseWriter, *http.Request) { asked <- struct{}{}; <-release })
	w := newWebhook(t, url, program.WebhookOptions{Timeout: 100 * time.Millisecond, Retries: 2})
	if _, err := w.Ask(t.Context(), login("alice", "x")); !errors.Is(err, program.ErrTimeout) {
		t.Errorf("Ask = %v, want ErrTimeout", err)
	}
	<-asked
	w = newWebhook(t, url, program.WebhookOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if _, err := w.Ask(ctx, login("alice", "x")); !errors.Is(err, context.Canceled) {
		t.Errorf("Ask of a client that leaves = %v", err)
	}
	go func() { <-asked; w.Close() }()
	if _, err := w.Ask(t.Context(), login("alice", "x")); !errors.Is(err, program.ErrClosed) {
		t.Errorf("Ask while it is closed = %v, want ErrClosed", err)
	}
}

// TestS44_WebhookDown: a webhook that keeps failing is not asked for some seconds, and one account's error is no reason.
func TestS44_WebhookDown(t *testing.T) {
	var attempts atomic.Int64
	var answer atomic.Value
	answer.Store(`{"result":"error"}`)
	url, _ := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		attempts.Add(1)
		io.WriteString(w, answer.Load().(string))
	})
	w := newWebhook(t, url, program.WebhookOptions{})
	ask := func(times int) {
		for range times {
			if a, err := w.Ask(t.Context(), login("alice", "x")); err == nil {
				t.Errorf("Ask = %v, want an error", a)
			}
		}
	}
	ask(20)
	if n := attempts.Load(); n != 20 {
		t.Errorf("asked %d times, want 20", n)
	}
	answer.Store("")
	ask(20)
	if n := attempts.Load(); n != 25 {
		t.Errorf("asked %d times, want 5 times more", n)
	}
	if _, err := w.Ask(t.Context(), login("alice", "x")); err == nil || !strings.Contains(err.Error(), "failed too often") {
		t.Errorf("Ask = %v, want that it has failed too often", err)
	}
}

// TestS80_CredentialsStay: wherever the webhook points, nothing is sent there.
func TestS80_CredentialsStay(t *testing.T) {
	var hits atomic.Int64
	canary, _ := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		hits.Add(1)
		io.WriteString(w, `{"result":"allow"}`)
	})
	t.Setenv("HTTP_PROXY", canary)
	t.Setenv("http_proxy", canary)
	for _, code := range []int{301, 302, 303, 307, 308} {
		url, _ := answering(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, canary, code) })
		if a, err := newWebhook(t, url, program.WebhookOptions{Authorization: "Bearer key"}).Ask(t.Context(), login("alice", "x")); err == nil {
			t.Errorf("Ask of a webhook that answers %d = %v", code, a)
		}
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("the canary was asked %d times", n)
	}
}

// TestS79_WebhookAddresses: addresses that nobody means are not reached, unless the operator says so.
func TestS79_WebhookAddresses(t *testing.T) {
	for _, host := range []string{"169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "0.0.0.0", "[fd00:ec2::254]", "100.100.100.200"} {
		w := newWebhook(t, "https://"+host+"/", program.WebhookOptions{Timeout: 5 * time.Second, Retries: 2})
		if _, err := w.Ask(t.Context(), login("alice", "x")); !errors.As(err, new(*outbound.ForbiddenError)) {
			t.Errorf("Ask at %s = %v, want a ForbiddenError", host, err)
		}
	}
	w := newWebhook(t, "https://169.254.1.1/", program.WebhookOptions{Timeout: 200 * time.Millisecond, Allow: []netip.Prefix{netip.MustParsePrefix("169.254.1.1/32")}})
	if _, err := w.Ask(t.Context(), login("alice", "x")); err == nil || errors.As(err, new(*outbound.ForbiddenError)) {
		t.Errorf("Ask at an address that is allowed = %v, want that it does not answer", err)
	}
}

func TestWebhookURL(t *testing.T) {
	for url, want := range map[string]string{
		"":                          "want a URL",
		"auth.example.com":          "want a URL",
		"ftp://auth.example.com":    "want a URL",
		"https://":                  "want a URL",
		"https://u:hunter2@x.test/": "authorization",
		"http://auth.example.com/":  "use https",
		"http://10.0.0.1/":          "use https",
		"http://localhost:1/":       "",
		"http://127.0.0.1:1/":       "",
		"https://auth.example.com/": "",
	} {
		_, err := program.NewWebhook(url, program.WebhookOptions{})
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("NewWebhook(%q) = %v, want %q", url, err, want)
		}
	}
	if _, err := program.NewWebhook("http://auth.example.com/", program.WebhookOptions{Plaintext: true}); err != nil {
		t.Errorf("NewWebhook with plaintext allowed = %v", err)
	}
	if _, err := program.NewWebhook("https://x.test/", program.WebhookOptions{CA: "/dev/null"}); err == nil {
		t.Error("NewWebhook with an empty CA file = nil")
	}
	if _, err := program.NewWebhook("https://x.test/", program.WebhookOptions{Certificate: "/no/such/file", Key: "/no/such/file"}); err == nil {
		t.Error("NewWebhook without its certificate = nil")
	}
}

// Both show a certificate of the same authority, or do not talk.
func TestWebhookMutualTLS(t *testing.T) {
	dir := t.TempDir()
	ca := certificate(t, dir, "ca", nil)
	server := certificate(t, dir, "127.0.0.1", ca)
	certificate(t, dir, "client", ca)
	certificate(t, dir, "stranger", certificate(t, dir, "stranger-ca", nil))
	pool := x509.NewCertPool()
	pool.AddCert(ca.Leaf)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"result":"allow","reason":%q}`, r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{*server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	s.Config.ErrorLog = nil
	s.StartTLS()
	defer s.Close()
	file := func(name string) string { return filepath.Join(dir, name+".pem") }
	for _, tt := range []struct {
		ca, client string
		ok         bool
	}{{"ca", "client", true}, {"", "client", false}, {"stranger-ca", "client", false}, {"ca", "stranger", false}, {"ca", "", false}} {
		o := program.WebhookOptions{Timeout: 5 * time.Second}
		if tt.ca != "" {
			o.CA = file(tt.ca)
		}
		if tt.client != "" {
			o.Certificate, o.Key = file(tt.client), file(tt.client)
		}
		a, err := newWebhook(t, s.URL, o).Ask(t.Context(), login("alice", "x"))
		if (err == nil) != tt.ok || tt.ok && a.Reason != "client" {
			t.Errorf("Ask with CA %q and certificate %q = %v, %v", tt.ca, tt.client, a, err)
		}
	}
}

// certificate makes one, signed by issuer or by itself, and writes it with its key to name.pem.
func certificate(t *testing.T, dir, name string, issuer *tls.Certificate) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true}
	template.Subject.CommonName = name
	parent, signer := template, any(key)
	if issuer == nil {
		template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
	} else {
		parent, signer = issuer.Leaf, issuer.PrivateKey
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})...)
	if err := os.WriteFile(filepath.Join(dir, name+".pem"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		t.Fatal(err)
	}
	return &pair
}

// Many questions at once share few connections.
func TestWebhookConcurrency(t *testing.T) {
	url, connections := answering(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"result":"allow"}`) })
	w := newWebhook(t, url, program.WebhookOptions{})
	var asking sync.WaitGroup
	for range 500 {
		asking.Go(func() {
			if _, err := w.Ask(t.Context(), login("alice", "x")); err != nil {
				t.Errorf("Ask = %v", err)
			}
		})
	}
	asking.Wait()
	if n := connections.Load(); n > 64 {
		t.Errorf("%d connections, want at most 64", n)
	}
}
