//go:build linux

package e2e_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// openRegistry starts a registry of CNCF distribution that lets everybody do everything.
func openRegistry(t *testing.T, program string) (p *process, host string) {
	t.Helper()
	dir := t.TempDir()
	config := write(t, dir, "config.yml", fmt.Sprintf(`version: 0.1
storage: {filesystem: {rootdirectory: %q}, delete: {enabled: true}}
http: {addr: "127.0.0.1:0"}
`, filepath.Join(dir, "data")))
	p = start(t, program, []string{"serve", config}, []string{"OTEL_TRACES_EXPORTER=none"})
	t.Cleanup(p.kill)
	var match []string
	p.await(t, func() bool {
		match = distributionListens.FindStringSubmatch(p.all.String())
		return match != nil
	})
	return p, match[1]
}

// TestMirror pulls through our registry from Debian's, by prefix and as a whole, by our configuration and by that of
// distribution; what was pulled once is pulled again when the other has stopped.
func TestMirror(t *testing.T) {
	up, hub := openRegistry(t, need(t, "docker-registry"))
	l, crane := newLayout(t), newCrane(t)
	crane.run(t, "push", l.dir, hub+"/team/app:v1")
	crane.run(t, "push", l.dir, hub+"/team/other:v1")

	mine := serve(t, write(t, t.TempDir(), "customhouse.yml", fmt.Sprintf(`
auth: {accounts: false}
rules: [{match: {account: "", name: "hub/team/app"}, actions: [pull]}]
mirrors: [{prefix: hub/, url: "http://%s", tag_ttl: 0}]
`, hub)))
	dir := t.TempDir()
	theirs := write(t, dir, "config.yml", fmt.Sprintf(`version: 0.1
storage: {filesystem: {rootdirectory: %q}}
http: {addr: "127.0.0.1:0"}
proxy: {remoteurl: "http://%s"}
customhouse: {auth: {allow_open: true, "off": true}}
`, dir, hub))
	p := start(t, calledRegistry(t), []string{"serve", theirs}, []string{"HOME=" + dir})
	var match []string
	p.await(t, func() bool {
		match = listening.FindStringSubmatch(p.stdout.String())
		return match != nil
	})
	whole := match[2]

	t.Run("push", func(t *testing.T) {
		crane.refuse(t, []string{"UNSUPPORTED", "405"}, "push", l.dir, whole+"/team/app:v3")
	})
	for round, name := range []string{"miss", "hit", "upstream has stopped"} {
		t.Run(name, func(t *testing.T) {
			for _, image := range []string{mine.host + "/hub/team/app", whole + "/team/app"} {
				wantDigest(t, crane.run(t, "digest", image+":v1"), l.index.Digest)
				pulled := filepath.Join(t.TempDir(), "pulled")
				crane.run(t, "pull", "--format=oci", image+":v1", pulled)
				l.wantPulled(t, pulled, l.index)
			}
		})
		if round == 1 {
			up.kill()
		}
	}
	t.Run("a tag that nobody has pulled", func(t *testing.T) {
		crane.refuse(t, []string{"UNAVAILABLE", "503"}, "digest", whole+"/team/app:v2")
	})
	t.Run("the rules decide", func(t *testing.T) {
		crane.refuse(t, unauthorized, "digest", mine.host+"/hub/team/other:v1")
	})
	if log := mine.all.String(); !strings.Contains(log, "a tag is served as it was") {
		t.Error("the log does not tell that a tag is stale")
	}
}

// TestReplication keeps content the same here and in Debian's registry: from there when asked, and to there when something
// is pushed here.
func TestReplication(t *testing.T) {
	_, hub := openRegistry(t, need(t, "docker-registry"))
	l, crane := newLayout(t), newCrane(t)
	for _, image := range []string{"base/app:v1", "base/app:v2", "base/app:dev", "other/app:v1"} {
		crane.run(t, "push", l.dir, hub+"/"+image)
	}
	file := write(t, t.TempDir(), "customhouse.yml", fmt.Sprintf(`
auth: {accounts: false}
rules: [{match: {account: ""}, actions: ["*"]}]
replicate:
- {name: in, direction: pull, url: "http://%[1]s", repositories: ["base/**"], tags: ["v*"], prefix: copy/, delete: true, bandwidth: 100MiB}
- {name: out, direction: push, url: "http://%[1]s", repositories: ["team/**"], on_event: true}
- {name: lost, direction: pull, url: "http://127.0.0.1:9", every: 1h}
`, hub))
	data := t.TempDir()
	s := serveData(t, data, "-c", file)
	mine := client{path: binary, env: []string{"HOME=" + t.TempDir()}}
	status := func(rule string) string {
		for line := range strings.Lines(mine.run(t, "mirror", "status", "-c", file, "--data", data)) {
			if fields := strings.Fields(line); fields[0] == rule {
				return strings.Join(fields, " ")
			}
		}
		t.Fatalf("status has no rule %s", rule)
		return ""
	}
	await := func(what string, ready func() bool) {
		t.Helper()
		for end := time.Now().Add(60 * time.Second); !ready(); time.Sleep(200 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s does not come: %s", what, mine.run(t, "mirror", "status", "-c", file, "--data", data))
			}
		}
	}
	run := func(what string, wanted string) {
		t.Helper()
		mine.run(t, "mirror", "run", "in", "-c", file, "--data", data)
		await(what, func() bool { got := status("in"); return strings.Contains(got, wanted) && strings.HasSuffix(got, "-") })
	}
	if got := status("in"); got != "in pull never 0 0 0 0 -" {
		t.Errorf("status = %q before the first run", got)
	}
	run("the first run", " 2 0 0 0 ")
	wantDigest(t, crane.run(t, "digest", s.host+"/copy/base/app:v1"), l.index.Digest)
	pulled := filepath.Join(t.TempDir(), "pulled")
	crane.run(t, "pull", "--format=oci", s.host+"/copy/base/app:v2", pulled)
	l.wantPulled(t, pulled, l.index)
	wantLines(t, crane.run(t, "catalog", s.host), "copy/base/app")
	run("a second run", " 0 2 0 0 ")

	crane.run(t, "push", l.dir, s.host+"/copy/base/app:v9") // is not there
	run("a run that removes", " 0 2 1 0 ")
	wantLines(t, crane.run(t, "ls", s.host+"/copy/base/app"), "v1", "v2")

	crane.run(t, "push", l.dir, s.host+"/team/app:v1")
	await("what was pushed", func() bool {
		got, _, err := crane.exec(t, []string{"digest", hub + "/team/app:v1"})
		return err == nil && strings.TrimSpace(got) == l.index.Digest
	})
	await("the rule whose registry is lost", func() bool { return strings.Contains(status("lost"), "refused") })
	mine.refuse(t, []string{"no rule"}, "mirror", "run", "none", "-c", file, "--data", data)
}
