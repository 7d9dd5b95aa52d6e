package config_test

import (
	"testing"

	"customhouse/config"

	"github.com/google/go-cmp/cmp"
)

func TestParseWorkload(t *testing.T) {
	c, err := config.Parse("/etc/customhouse/customhouse.yml", []byte(`
auth:
  workload:
    - {name: k8s, issuer: "https://k8s.example", audience: r.example, account: "${sub}", require: {sub: "**"}, ca: ca.pem, token_file: ../token, max_age: 1h}
    - {name: ci, issuer: "any text", audience: r.example, account: "${sub}", require: {sub: "**"}, jwks: jwks.json}
token: {verify_keys: [old.pem], rotation: {every: 720h, keep: 10m}}
`))
	if err != nil {
		t.Fatal(err)
	}
	w := c.Auth.Workload[0]
	if diff := cmp.Diff([]string{"/etc/customhouse/ca.pem", "/etc/token"}, []string{w.CA, w.TokenFile}); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"/etc/customhouse/ca.pem", "/etc/customhouse/jwks.json", "/etc/customhouse/old.pem"}, c.Files()); diff != "" {
		t.Errorf("Files, which are read again when they change (-want +got):\n%s", diff)
	}
	if c.Token.Rotation.Publish.Hours() != 1 || c.Token.LongestUse().Minutes() != 7 {
		t.Errorf("rotation = %+v", c.Token.Rotation)
	}
}
