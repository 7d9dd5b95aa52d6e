package config_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"customhouse"
	"customhouse/config"
	"customhouse/policy"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "write the golden files and what is generated anew")

// ignoreSource leaves out where rules and sets stand, which Default knows nothing of.
var ignoreSource = cmp.Options{cmpopts.IgnoreFields(config.Default().Rules[0], "Source"), cmpopts.IgnoreFields(config.Config{}, "SetSources")}

func TestDefaultIsValid(t *testing.T) {
	if err := config.Default().Validate(); err != nil {
		t.Fatalf("Validate = %v, want nil", err)
	}
}

func TestExampleIsDefault(t *testing.T) {
	got, err := config.Parse("customhouse.yml", config.Example())
	if err != nil {
		t.Fatalf("Parse(Example) = %v, want nil", err)
	}
	if diff := cmp.Diff(config.Default(), got, ignoreSource, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("the example differs from the default (-default +example):\n%s", diff)
	}
}

// What is commented out in the example is right, too.
func TestExampleComments(t *testing.T) {
	lines := strings.Split(string(config.Example()), "\n")
	sample := regexp.MustCompile(`^( +)# ( *(- )?\w+:.*)$`)
	for i, line := range lines {
		if m := sample.FindStringSubmatch(line); m != nil {
			lines[i] = m[1] + m[2]
		}
	}
	text := strings.NewReplacer("  users: {}\n", "", "  endpoints: []\n", "").Replace(strings.Join(lines, "\n"))
	got, err := config.Parse("customhouse.yml", []byte(text))
	if err != nil {
		t.Fatalf("Parse = %v, want nil for\n%s", err, text)
	}
	if len(got.Auth.Users) != 1 || len(got.Rules) != 6 {
		t.Fatalf("the example in full has %d users and %d rules, want 1 and 6", len(got.Auth.Users), len(got.Rules))
	}
}

func TestExampleHasEveryKey(t *testing.T) {
	for _, key := range schemaKeys(t) {
		if !regexp.MustCompile(`[ {]` + key + `:`).Match(append([]byte(" "), bytes.ReplaceAll(config.Example(), []byte("\n"), []byte(" "))...)) {
			t.Errorf("the example does not show the key %s", key)
		}
	}
}

func TestParse(t *testing.T) {
	const text = `
listen: ":5000"
data: ../data
public_url: https://registry.example.com
hosts: [registry.internal, "10.0.0.1:5000", "[::1]:5000"]
drain: 1m30s
tls: {certificate: tls.crt, key: /ssl/tls.key, minimum: 1.3}
token: {service: Docker registry, algorithm: EdDSA, key: token.pem}
auth:
  users:
    reader: &reader
      password: $2a$10$iLZ65EkAxY2NXudq2jWoOuMZyTPyEs5BgS9yJhOLn1v3aRy8ZPFva
      labels: {group: [ci, "7"]}
    other: *reader
  htpasswd: users
rules:
  - match: {account: "", type: repository, name: "public/**", ip: 10.0.0.0/8}
    actions: [pull]
  - {effect: deny, comment: true, match: {labels: {group: ci}}}
storage: {max_blob_size: 10 GiB, reserve: 20GB}
log: {level: debug}
`
	got, err := config.Parse("/etc/customhouse/customhouse.yml", []byte(text))
	if err != nil {
		t.Fatalf("Parse = %v, want nil", err)
	}
	reader := config.User{Password: "$2a$10$iLZ65EkAxY2NXudq2jWoOuMZyTPyEs5BgS9yJhOLn1v3aRy8ZPFva", Labels: map[string][]string{"group": {"ci", "7"}}}
	want := config.Default()
	want.Listen = ":5000"
	want.Data = "/etc/data"
	want.PublicURL = "https://registry.example.com"
	want.Hosts = []string{"registry.internal", "10.0.0.1:5000", "[::1]:5000"}
	want.Drain = 90 * time.Second
	want.TLS = config.TLS{Certificate: "/etc/customhouse/tls.crt", Key: "/ssl/tls.key", Minimum: "1.3"}
	want.Token.Service, want.Token.Algorithm, want.Token.Key = "Docker registry", "EdDSA", "/etc/customhouse/token.pem"
	want.Auth.Users = map[string]config.User{"reader": reader, "other": reader}
	want.Auth.Htpasswd = "/etc/customhouse/users"
	want.Rules = []policy.Rule{{
		Match:   policy.Match{Account: policy.Values{""}, Type: policy.Values{"repository"}, Name: policy.Values{"public/**"}, IP: policy.Values{"10.0.0.0/8"}},
		Actions: []customhouse.Action{customhouse.Pull},
		Source:  "/etc/customhouse/customhouse.yml:17",
	}, {
		Match:   policy.Match{Labels: map[string]policy.Values{"group": {"ci"}}},
		Effect:  policy.Deny,
		Comment: "true",
		Source:  "/etc/customhouse/customhouse.yml:19",
	}}
	want.Storage.MaxBlobSize = 10 << 30
	want.Storage.Reserve = config.Reserve{Bytes: 20e9}
	want.Log.Level = "debug"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("Parse differs (-want +got):\n%s", diff)
	}
}

func TestParseKeepsDefaults(t *testing.T) {
	tests := map[string]func(*config.Config){
		"{}":                 func(*config.Config) {},
		"rules: []":          func(c *config.Config) { c.Rules = []policy.Rule{} },
		"auth: {off: true}":  func(c *config.Config) { c.Auth.Off, c.Rules = true, nil },
		"\ufeffdrain: 0":     func(c *config.Config) { c.Drain = 0 },
		"listen: '[::1]:80'": func(c *config.Config) { c.Listen = "[::1]:80" },
	}
	for text, change := range tests {
		want := config.Default()
		change(want)
		got, err := config.Parse("customhouse.yml", []byte(text))
		if err != nil {
			t.Errorf("Parse(%q) = %v, want nil", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Parse(%q) differs (-want +got):\n%s", text, diff)
		}
	}
}

// A changed Config is checked without a file.
func TestValidate(t *testing.T) {
	c := config.Default()
	c.Listen = "0.0.0.0:5000"
	c.Auth.Users = map[string]config.User{"alice": {Password: "secret"}}
	var errs config.Errors
	if err := c.Validate(); !errors.As(err, &errs) {
		t.Fatalf("Validate = %v, want Errors", err)
	}
	var keys []string
	for _, e := range errs {
		keys = append(keys, e.Key)
	}
	if want := []string{"listen", "auth.users.alice.password"}; !slices.Equal(keys, want) {
		t.Fatalf("Validate complains about %v, want %v", keys, want)
	}
}

func TestLoadChecksNamedFiles(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("customhouse.yml", "data: not-there-yet\ntls:\n  certificate: there.pem\n  key: .\nauth: {htpasswd: missing}\n")
	write("there.pem", "")
	_, err := config.Load("customhouse.yml")
	const want = "customhouse.yml:4:8: tls.key: cannot read the file: it is a folder\n" +
		"customhouse.yml:5:18: auth.htpasswd: cannot read the file: no such file or directory"
	if err == nil || err.Error() != want {
		t.Fatalf("Load = %v, want %v", err, want)
	}
}

func TestLoadUnreadable(t *testing.T) {
	for _, path := range []string{"testdata", "testdata/missing.yml"} {
		if _, err := config.Load(path); err == nil || errors.As(err, new(config.Errors)) {
			t.Errorf("Load(%s) = %v, want an error of the file system", path, err)
		}
	}
}

func TestTransport(t *testing.T) {
	got, err := config.Parse("/etc/customhouse.yml", []byte(`
listen: unix:/run/customhouse.sock
trusted_proxies: [10.1.2.3/8, 192.0.2.7, "2001:db8::/32"]
real_ip: {header: X-Real-Ip, position: 0}
tls:
  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]
  curves: [P256, X25519]
  acme: {hosts: [registry.example.com], email: ops@example.com, cache: acme}
`))
	if err != nil {
		t.Fatal(err)
	}
	if got.Socket() != "/run/customhouse.sock" || fmt.Sprint(got.TrustedProxies) != "[10.0.0.0/8 192.0.2.7/32 2001:db8::/32]" ||
		got.RealIP != (config.RealIP{Header: "X-Real-Ip"}) || !got.TLS.Enabled() || got.TLS.ACME.Cache != "/etc/acme" {
		t.Errorf("Parse = %+v", got)
	}
	if diff := cmp.Diff([]tls.CurveID{tls.CurveP256, tls.X25519}, got.TLS.CurveIDs()); diff != "" {
		t.Errorf("CurveIDs differ (-want +got):\n%s", diff)
	}
	if ids := got.TLS.CipherSuiteIDs(); len(ids) != 2 {
		t.Errorf("CipherSuiteIDs = %v, want two", ids)
	}
	if len(got.Files()) != 0 {
		t.Errorf("Files = %v, want none", got.Files())
	}
}

func TestAuthSequence(t *testing.T) {
	got, err := config.Parse("customhouse.yml", []byte("auth: {order: [accounts, ldap]}"))
	if err != nil {
		t.Fatal(err)
	}
	want := []config.Source{
		"tokens", "robots", "accounts", "ldap", "users", "exec", "google", "github", "oidc", "gitlab", "mongo", "sql", "worker", "webhook", "plugin", "htpasswd",
	}
	if diff := cmp.Diff(want, got.Auth.Sequence()); diff != "" {
		t.Errorf("Sequence differs (-want +got):\n%s", diff)
	}
	got, err = config.Parse("customhouse.yml", []byte("auth: {order: [accounts, robots]}"))
	if err != nil || !slices.Equal(got.Auth.Sequence()[:3], []config.Source{"tokens", "accounts", "robots"}) {
		t.Errorf("Sequence with robots named = %v, %v, want them where they are named", got.Auth.Sequence(), err)
	}
	_, err = config.Parse("customhouse.yml", []byte("auth: {order: [users, ldapp, users]}"))
	if err == nil || !strings.Contains(err.Error(), "1:23: auth.order[1]: want one of tokens,") || !strings.Contains(err.Error(), "1:30: auth.order[2]: stands twice") {
		t.Errorf("Parse = %v, want both faults", err)
	}
}
