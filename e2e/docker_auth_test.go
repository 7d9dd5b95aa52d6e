//go:build linux

package e2e_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// dockerAuth stands for cesanta/docker_auth with the rules of examples/seed: its tokens are made as those are, to the
// order of their members. Their key is named as libtrust does, and they carry no certificate.
type dockerAuth struct {
	key *rsa.PrivateKey
	kid string
}

// startDockerAuth starts it in a world, with the certificate and on the port of the recipe.
func startDockerAuth(t *testing.T, w *world) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(w.path("ssl/domain.crt"), w.path("ssl/domain.key"))
	must(t, err)
	key := pair.PrivateKey.(*rsa.PrivateKey)
	s := &http.Server{
		Handler:   &dockerAuth{key, libtrustID(pair.Leaf.RawSubjectPublicKeyInfo)},
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}},
		ErrorLog:  log.New(io.Discard, "", 0),
	}
	l := w.listen(t, ":5001")
	go s.ServeTLS(l, "", "") // until Close
	t.Cleanup(func() { s.Close() })
}

// libtrustID names a public key (PKIX, DER) as libtrust does.
func libtrustID(public []byte) string {
	sum := sha256.Sum256(public)
	text := base32.StdEncoding.EncodeToString(sum[:30])
	var groups []string
	for group := range slices.Chunk([]byte(text), 4) {
		groups = append(groups, string(group))
	}
	return strings.Join(groups, ":")
}

// granted is an entry of a token.
type granted struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

func (d *dockerAuth) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	passwords := map[string]string{"cicd": "cicd-secret", "alice": "alice-secret"}
	account, password, _ := r.BasicAuth()
	if want, ok := passwords[account]; !ok || password != want {
		w.Header().Set("WWW-Authenticate", `Basic realm="Auth Service"`)
		http.Error(w, "Auth failed.", http.StatusUnauthorized)
		return
	}
	all := []granted{}
	for _, scope := range strings.Fields(strings.Join(r.URL.Query()["scope"], " ")) {
		parts := strings.Split(scope, ":")
		asked := strings.Split(parts[2], ",")
		slices.Sort(asked)
		switch {
		case strings.HasPrefix(r.RemoteAddr, "127.0.0.1:"), parts[0] == "registry" && parts[1] == "catalog", account == "cicd":
		case slices.Contains(asked, "pull"):
			asked = []string{"pull"}
		default:
			asked = []string{}
		}
		all = append(all, granted{parts[0], parts[1], asked})
	}
	token, err := d.sign(account, r.FormValue("service"), all)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(struct {
		AccessToken string `json:"access_token"`
		Token       string `json:"token"`
	}{token, token})
}

func (d *dockerAuth) sign(account, service string, all []granted) (string, error) {
	number, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return "", err
	}
	now := time.Now().Unix()
	var parts []string
	for _, part := range []any{
		struct {
			Typ string `json:"typ"`
			Alg string `json:"alg"`
			Kid string `json:"kid"`
		}{"JWT", "RS256", d.kid},
		struct {
			Iss    string    `json:"iss"`
			Sub    string    `json:"sub"`
			Aud    string    `json:"aud"`
			Exp    int64     `json:"exp"`
			Nbf    int64     `json:"nbf"`
			Iat    int64     `json:"iat"`
			Jti    string    `json:"jti"`
			Access []granted `json:"access"`
		}{"Auth Service", account, service, now + 900, now - 10, now, number.String(), all},
	} {
		text, err := json.Marshal(part)
		if err != nil {
			return "", err
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(text))
	}
	text := strings.Join(parts, ".")
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, d.key, crypto.SHA256, sum[:])
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), err
}
