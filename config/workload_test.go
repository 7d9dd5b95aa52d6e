package config_test

import (
	"fmt"
	"os"
	"regexp"
	"testing"

	"customhouse/config"

	"github.com/google/go-cmp/cmp"
)

// What the pages show is a configuration, as it stands there.
func TestPagesAreRight(t *testing.T) {
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```")
	for page, want := range map[string]int{"../docs/workload-identity.md": 4, "../docs/tokens.md": 4} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		found := block.FindAllSubmatch(text, -1)
		if len(found) != want {
			t.Errorf("%s has %d configurations, want %d", page, len(found), want)
		}
		for i, m := range found {
			if _, err := config.Parse(fmt.Sprintf("%s#%d", page, i+1), m[1]); err != nil {
				t.Errorf("Parse = %v for\n%s", err, m[1])
			}
		}
	}
}

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
