//go:build linux

package e2e_test

import (
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The OCI conformance suite against the example that the README starts with, as its writer.
func TestConformance(t *testing.T) {
	t.Parallel()
	example := read(t, filepath.Join(root, "examples", "two-users", "customhouse.yml"))
	// The suite's sparse manifests are an index without one of its images, which the example takes,
	// and an image without one of its layers, which a registry takes only when told to.
	sparse := strings.Replace(example, "\nstorage:\n", "\nstorage:\n  sparse: all\n", 1)
	ca, certificate, key := issueCertificate(t, t.TempDir())
	overTLS := example + fmt.Sprintf("\ntls: {certificate: %s, key: %s}\n", certificate, key)
	draft := []string{
		"OCI_API_BLOBS_DIGEST_HEADER=true",
		"OCI_API_BLOBS_UPLOAD_CANCEL=true",
		"OCI_API_MANIFESTS_DIGEST_HEADER=true",
		"OCI_API_MANIFESTS_TAG_PARAM=true",
	}
	for _, profile := range []struct {
		name     string
		version  string
		config   string
		switches []string // beside those in testdata/conformance.yml
		least    int      // tests that pass, so that a suite which stops early does not count as a success
	}{
		{name: "stable", version: "stable", config: example, least: 850},
		{name: "stable over TLS", version: "stable", config: overTLS, switches: []string{"OCI_TLS=enabled", "SSL_CERT_FILE=" + ca}, least: 850},
		{name: "dev", version: "dev", config: example, switches: draft, least: 970},
		{name: "dev and sparse", version: "dev", config: sparse, switches: append(draft, "OCI_DATA_SPARSE=true"), least: 1020},
	} {
		t.Run(profile.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, write(t, t.TempDir(), "customhouse.yml", profile.config))
			dir := t.ArtifactDir() // go test -artifacts keeps report.html, with every request and response
			suite := client{path: need(t, "conformance"), dir: dir, env: append([]string{
				"HOME=" + dir,
				"OCI_CONFIGURATION=" + filepath.Join(root, "e2e", "testdata", "conformance.yml"),
				"OCI_REGISTRY=" + s.host,
				"OCI_VERSION=" + profile.version,
				"OCI_RESULTS_DIR=" + dir,
			}, profile.switches...)}

			// The exit status is 0 when the suite could not run, and 1 for any test that was skipped: the counts tell.
			report, all, _ := suite.exec(t, nil)
			counts, err := parseCounts(report)
			if err != nil {
				t.Fatalf("%v\n%s", err, all)
			}
			t.Logf("%d passed, %d failed, %d errors, %d skipped, %d switched off", counts["Pass"], counts["FAIL"],
				counts["Error"], counts["Skip"], counts["Disabled"])
			unhappy := parseUnhappy(t, filepath.Join(dir, "junit.xml"))
			if counts["FAIL"]+counts["Error"] > 0 {
				t.Errorf("failed:\n%s", strings.Join(append(unhappy["failure"], unhappy["error"]...), "\n"))
			}
			if counts["Skip"] > 0 { // the suite's word for what a registry may leave out, such as mounting
				t.Errorf("skipped:\n%s", strings.Join(unhappy["skipped"], "\n"))
			}
			if counts["Pass"] < profile.least {
				t.Errorf("%d tests passed, want %d at least", counts["Pass"], profile.least)
			}
		})
	}
}

var countLine = regexp.MustCompile(`(?m)^  (Pass|FAIL|Error|Skip|Disabled|Total)\.+: +(\d+)$`)

// parseCounts reads the table of results that the suite ends with.
func parseCounts(report string) (map[string]int, error) {
	counts := make(map[string]int)
	for _, match := range countLine.FindAllStringSubmatch(report, -1) {
		n, err := strconv.Atoi(match[2])
		if err != nil {
			return nil, err
		}
		counts[match[1]] = n
	}
	if len(counts) != 6 {
		return nil, fmt.Errorf("the conformance suite reports no counts")
	}
	return counts, nil
}

// parseUnhappy returns name and reason of the tests that did not pass, by the suite's word for what they did.
func parseUnhappy(t *testing.T, path string) map[string][]string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Tests []struct {
			Name   string `xml:"name,attr"`
			Status string `xml:"status,attr"`
			Reason string `xml:"system-out"`
		} `xml:"testsuite>testcase"`
	}
	if err := xml.Unmarshal(content, &report); err != nil {
		t.Fatal(err)
	}
	unhappy := make(map[string][]string)
	for _, test := range report.Tests {
		name := strings.TrimPrefix(test.Name, "OCI Conformance Test/")
		unhappy[test.Status] = append(unhappy[test.Status], "  "+name+": "+strings.ReplaceAll(test.Reason, "\n", "\n    "))
	}
	return unhappy
}
