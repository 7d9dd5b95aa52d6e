package backend

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// GCS is a server with the interface of Google Cloud Storage (fake-gcs-server, which keeps all in memory and asks for no
// token), behind a door that lets in who has a token for a service account.
type GCS struct {
	*Process
	Endpoint string       // https://storage.googleapis.com
	Key      []byte       // of the service account
	Tokens   atomic.Int64 // that were made
	direct   string
}

// gcsToken is the access token that the service account gets.
const gcsToken = "token-canary"

// NewGCS starts the server with an empty bucket of each name.
func NewGCS(t testing.TB, buckets ...string) *GCS {
	t.Helper()
	server := need(t, "fake-gcs-server")
	at := port(t)
	g := &GCS{direct: fmt.Sprintf("http://127.0.0.1:%d", at)}
	door := httptest.NewServer(g.door(t))
	t.Cleanup(door.Close)
	g.Endpoint = door.URL

	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	g.Key, err = json.Marshal(map[string]string{
		"type": "service_account", "client_email": "reader@project.iam.gserviceaccount.com", "private_key_id": "1", "token_uri": door.URL + "/token",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"-scheme", "http", "-host", "127.0.0.1", "-port", strconv.Itoa(at), "-backend", "memory", "-public-host", "127.0.0.1", "-log-level", "error"}
	g.Process = start(t, func() *exec.Cmd { return command(nil, server, args...) }, syscall.SIGKILL, func() error {
		return g.post("/storage/v1/b?project=p", `{"name":"probe"}`)
	})
	for _, name := range buckets {
		if err := g.post("/storage/v1/b?project=p", fmt.Sprintf(`{"name":%q}`, name)); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

// door makes tokens for the service account, and lets in who brings one.
func (g *GCS) door(t testing.TB) http.Handler {
	to, err := url.Parse(g.direct)
	if err != nil {
		t.Fatal(err)
	}
	within := httputil.NewSingleHostReverseProxy(to)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token":
			if strings.Count(r.PostFormValue("assertion"), ".") != 2 {
				http.Error(w, `{"error":"invalid_grant"}`, http.StatusBadRequest)
				return
			}
			g.Tokens.Add(1)
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3600}`, gcsToken)
		case r.Header.Get("Authorization") != "Bearer "+gcsToken:
			http.Error(w, "who are you?", http.StatusUnauthorized)
		default:
			within.ServeHTTP(w, r)
		}
	})
}

// Put makes an object.
func (g *GCS) Put(t testing.TB, bucket, name, content string) {
	t.Helper()
	if err := g.post("/upload/storage/v1/b/"+bucket+"/o?uploadType=media&name="+url.QueryEscape(name), content); err != nil {
		t.Fatal(err)
	}
}

func (g *GCS) post(path, body string) error {
	resp, err := http.Post(g.direct+path, "application/json", strings.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		return fmt.Errorf("POST %s: status %d: %s", path, resp.StatusCode, text)
	}
	return nil
}
