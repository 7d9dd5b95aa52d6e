//go:build linux

package e2e_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// openRegistry starts a registry of CNCF distribution that lets everybody do everything.
func openRegistry(t *testing.T, program string) (p *process, host string) {
	t.Helper()
	return openRegistryOver(t, program, "")
}

// openRegistryOver is openRegistry over TLS: what the configuration has of that below http.
func openRegistryOver(t *testing.T, program, tls string) (p *process, host string) {
	t.Helper()
	dir := t.TempDir()
	config := write(t, dir, "config.yml", fmt.Sprintf(`version: 0.1
storage: {filesystem: {rootdirectory: %q}, delete: {enabled: true}}
http: {addr: "127.0.0.1:0"%s}
`, filepath.Join(dir, "data"), tls))
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
	t.Parallel()
	up, hub := openRegistry(t, need(t, "docker-registry"))
	l, crane := newLayout(t), newCrane(t)
	crane.run(t, "push", l.dir, hub+"/team/app:v1")
	crane.run(t, "push", l.dir, hub+"/library/hello:v1")
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
	t.Run("docker", func(t *testing.T) {
		needRoot(t)
		// for the names of Docker Hub, which this one does not reach, the whole copy is asked
		docker := startDockerdWith(t, nil, nil, "--registry-mirror=http://"+whole).newClient(t)
		for _, image := range []string{mine.host + "/hub/team/app:v1", "team/app:v1", "hello:v1"} {
			if out := docker.run(t, "pull", "--platform=linux/arm64", image); !strings.Contains(out, l.index.Digest) {
				t.Errorf("pull = %q, want the digest %s", out, l.index.Digest)
			}
		}
	})
	for round, name := range []string{"miss", "hit", "upstream has stopped"} {
		t.Run(name, func(t *testing.T) {
			for _, image := range []string{mine.host + "/hub/team/app", whole + "/team/app"} {
				wantDigest(t, crane.run(t, "digest", image+":v1"), l.index.Digest)
				pulled := filepath.Join(t.TempDir(), "pulled")
				crane.run(t, "pull", "--format=oci", image+":v1", pulled)
				l.wantPulled(t, pulled, l.index)
				copied := filepath.Join(t.TempDir(), "copied")
				newSkopeo(t).run(t, "copy", "--all", "--src-tls-verify=false", "docker://"+image+":v1", "oci:"+copied+":v1")
				l.wantPulled(t, copied, l.index)
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
