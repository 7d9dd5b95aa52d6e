package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"customhouse"
)

// authorizer gets what a request to a registry has to show.
type authorizer interface {
	// authorize returns the header line, with its CRLF, for requests that need the given scopes
	// ("repository:bench/blob:pull"); "" where no authorization is asked for.
	authorize(ctx context.Context, scopes ...string) (string, error)
}

var (
	_ authorizer = nobody{}
	_ authorizer = bearer("")
	_ authorizer = (*tokenEndpoint)(nil)
	_ authorizer = (*signer)(nil)
)

// nobody authorizes where authentication is off.
type nobody struct{}

func (nobody) authorize(context.Context, ...string) (string, error) { return "", nil }

// bearer is a token that somebody else has got.
type bearer string

func (b bearer) authorize(context.Context, ...string) (string, error) {
	return "Authorization: Bearer " + string(b) + "\r\n", nil
}

// tokenEndpoint gets tokens as clients do: from the realm that a challenge names, with Basic authentication
// (https://distribution.github.io/distribution/spec/auth/token/).
type tokenEndpoint struct {
	addr           string // the registry
	user, password string
}

var challengeParam = regexp.MustCompile(`(realm|service)="([^"]*)"`)

// request returns the path and query to ask a token for scopes at; the endpoint has to live on the registry's address.
func (e *tokenEndpoint) request(ctx context.Context, scopes ...string) (string, error) {
	resp, err := httpGet(ctx, "http://"+e.addr+"/v2/", "")
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	challenge := resp.Header.Get("WWW-Authenticate")
	param := map[string]string{}
	for _, m := range challengeParam.FindAllStringSubmatch(challenge, -1) {
		param[m[1]] = m[2]
	}
	realm, err := url.Parse(param["realm"])
	if err != nil || realm.Path == "" {
		return "", fmt.Errorf("no realm in the challenge of /v2/: status %d, %q", resp.StatusCode, challenge)
	}
	q := url.Values{"service": {param["service"]}, "scope": scopes}
	return realm.Path + "?" + q.Encode(), nil
}

// basic returns the header line of the account.
func (e *tokenEndpoint) basic() string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(e.user+":"+e.password)) + "\r\n"
}

func (e *tokenEndpoint) authorize(ctx context.Context, scopes ...string) (string, error) {
	path, err := e.request(ctx, scopes...)
	if err != nil {
		return "", err
	}
	resp, err := httpGet(ctx, "http://"+e.addr+path, e.basic())
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct {
		Token string `json:"token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK || answer.Token == "" {
		return "", fmt.Errorf("token endpoint: status %s, %v", resp.Status, err)
	}
	return bearer(answer.Token).authorize(ctx)
}

// Issuer and service in the tokens of a signer.
const (
	issuer  = "bench"
	service = "bench"
)

// signer makes tokens for a registry that trusts its certificate, as a token service beside docker-registry would.
type signer struct {
	key         *rsa.PrivateKey
	certificate []byte // self-signed, DER
	kid         string
}

func newSigner() (*signer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	return &signer{key: key, certificate: certificate, kid: libtrustID(public)}, nil
}

// libtrustID returns the key id that docker-registry 2 looks up: the first 30 bytes of the SHA-256 of the public key
// (PKIX, DER) in base32, in groups of four (github.com/docker/libtrust, keyIDFromCryptoKey).
func libtrustID(public []byte) string {
	sum := sha256.Sum256(public)
	s := base32.StdEncoding.EncodeToString(sum[:30])
	var groups []string
	for ; s != ""; s = s[4:] {
		groups = append(groups, s[:4])
	}
	return strings.Join(groups, ":")
}

// writeCertificate writes the file for rootcertbundle.
func (s *signer) writeCertificate(path string) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.certificate}), 0o600)
}

// authorize signs a token that outlasts every measurement.
func (s *signer) authorize(ctx context.Context, scopes ...string) (string, error) {
	access := make([]customhouse.Access, len(scopes))
	for i, scope := range scopes {
		var err error
		if access[i], err = customhouse.ParseScope(scope); err != nil {
			return "", err
		}
	}
	now := time.Now()
	header := map[string]any{"typ": "JWT", "alg": "RS256", "kid": s.kid}
	claims := map[string]any{
		"iss": issuer, "aud": service, "sub": "bench", "jti": "bench", "access": access,
		"iat": now.Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(6 * time.Hour).Unix(),
	}
	var parts []string
	for _, part := range []any{header, claims} {
		b, err := json.Marshal(part)
		if err != nil {
			return "", err
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(b))
	}
	text := strings.Join(parts, ".")
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", err
	}
	return bearer(text + "." + base64.RawURLEncoding.EncodeToString(signature)).authorize(ctx)
}
