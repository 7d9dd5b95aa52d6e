//go:build linux

package e2e_test

import (
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A shadow policy changes no answer; what it would have answered otherwise is logged, counted and listed, and forgotten
// when that is asked for. One with a mistake is a mistake of the configuration.
func TestShadow(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	next := write(t, dir, "next.yml", `rules:
  - {match: {account: writer}, actions: ["*"]}
  - {match: {account: reader, name: "new/**"}, actions: [pull]}
`)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	debug := l.Addr().String()
	must(t, l.Close())
	data := t.TempDir()
	config := write(t, dir, "customhouse.yml", "shadow: next.yml\nhttp: {debug: "+debug+"}\n"+read(t, "testdata/people.yml"))
	s := serveData(t, data, "-c", config)
	a := newAPI(t, s.url)
	reader := a.as("reader")
	for path, status := range map[string]int{"/v2/acc/app/tags/list": 404, "/v2/new/app/tags/list": 403, "/v2/other/app/tags/list": 403} {
		got, err := reader.get(path)
		must(t, err)
		must(t, got.is(status))
	}
	list := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(binary, append([]string{"policy", "shadow", "--data", data}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("policy shadow: %v\n%s", err, out)
		}
		return string(out)
	}
	var listed string
	await(t, 10*time.Second, func() bool {
		listed = list()
		return strings.Contains(listed, "new/app") && strings.Contains(listed, "acc/app")
	})
	lost := "allow by " + config + ":18"
	gained := "allow by " + next + ":3"
	if !strings.Contains(listed, lost) || !strings.Contains(listed, "deny by no rule") || !strings.Contains(listed, gained) || strings.Contains(listed, "other/app") {
		t.Errorf("policy shadow prints\n%s", listed)
	}
	if log := s.all.String(); strings.Count(log, "would decide otherwise") != strings.Count(listed, "\n")-1 {
		t.Errorf("each kind of difference is not logged once:\n%s\n%s", listed, log)
	}
	res, err := http.Get("http://" + debug + "/metrics")
	must(t, err)
	body, err := io.ReadAll(res.Body)
	must(t, err, res.Body.Close())
	metrics := string(body)
	for _, want := range []string{"customhouse_shadow_lost_total ", "customhouse_shadow_gained_total ", "customhouse_shadow_skipped_total 0"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if got := list("--json"); !strings.Contains(got, `"live":"deny"`) || !strings.Contains(got, `"shadowRule":"`+next+`:3"`) {
		t.Errorf("policy shadow --json prints\n%s", got)
	}
	if got := list("--reset"); got != "" {
		t.Errorf("policy shadow --reset prints\n%s", got)
	}
	if got := list(); got != "no differences\n" {
		t.Errorf("policy shadow prints\n%s after it was reset", got)
	}
	replace(t, filepath.Join(dir, "next.yml"), "rules: [{actions: [fly]}]\n")
	await(t, 20*time.Second, func() bool {
		return strings.Contains(s.all.String(), "is not taken") && strings.Contains(s.all.String(), next+":1:20: rules[0].actions[0]")
	})
	must(t, s.stop())
}
