//go:build linux

package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tells checks that some lines of out are these, whatever columns they stand in.
func tells(t *testing.T, out string, lines ...string) {
	t.Helper()
	have := map[string]bool{}
	for line := range strings.Lines(out) {
		have[strings.Join(strings.Fields(line), " ")] = true
	}
	for _, line := range lines {
		if !have[line] {
			t.Errorf("%s\nhas no line %q", out, line)
		}
	}
}

// A registry over TLS tells whoever asks from the command line who they are: with what docker login has left, be it a
// password, a refresh token or in the keeping of a credential helper, and with what is typed.
func TestWhoami(t *testing.T) {
	t.Parallel()
	dir, data, home := t.TempDir(), t.TempDir(), t.TempDir()
	ca, certificate, key := issueCertificate(t, dir)
	github := newJobs(t)
	config := write(t, dir, "customhouse.yml", fmt.Sprintf(`
tls: {certificate: %s, key: %s}
token: {refresh_rotation: always}
auth:
  workload:
    - {name: github, issuer: %s, audience: registry.test, account: "${repository}", require: {repository_owner: org}}
rules:
  - {match: {labels: {role: admin}}, actions: ["*"]}
  - {match: {labels: {group: ci}, name: "team/**"}, actions: [pull, push]}
`, certificate, key, github.URL))
	tool := client{path: binary, env: []string{"HOME=" + home, "DOCKER_CONFIG=" + home, "PATH=" + dir + ":" + os.Getenv("PATH")}}
	secret := strings.TrimSpace(tool.content(t, "robot", "add", "ci", "--label", "group=ci", "--scope", "team/app:v*:pull", "--expires", "30d", "--data", data))
	tool.reads("correct-horse").run(t, "user", "add", "ann", "--label", "role=admin", "--password-stdin", "--data", data)
	s := serveData(t, data, "-c", config)

	tool.refuse(t, []string{"certificate signed by unknown authority"}, "whoami", s.host)
	tool.refuse(t, []string{"hint: --ca FILE"}, "whoami", s.host)
	tool.refuse(t, []string{"no such file"}, "whoami", s.host, "--ca", dir+"/none.pem")
	tool.refuse(t, []string{"no certificate in it"}, "whoami", s.host, "--ca", key)
	tool.refuse(t, []string{"speaks tls"}, "whoami", s.host, "--plain-http")
	tells(t, tool.run(t, "whoami", s.host, "--insecure"), "account: (anonymous)")
	ask := func(stdin string, args ...string) string {
		t.Helper()
		return tool.reads(stdin).run(t, append([]string{"whoami", s.host, "--ca", ca}, args...)...)
	}
	tells(t, ask(secret, "-u", "ci", "--password-stdin"),
		"account: ci", "method: robots", "label: group=ci", "scope: team/app:v*:pull")
	if out := ask(secret, "-u", "ci", "--password-stdin"); !strings.Contains(out, "\nexpires:  20") || strings.Contains(out, secret) {
		t.Errorf("whoami = %s, want when the secret ends, and not the secret", out)
	}
	jwt := github.jwt(t, "org/app", "refs/heads/main", "registry.test")
	tells(t, ask(jwt, "-u", "workload", "--password-stdin"),
		"account: github:org/app", "method: workload", `claim: ref="refs/heads/main"`, `claim: repository="org/app"`)

	// docker login has left a refresh token, which is replaced each time that it is used here: both are told
	needRoot(t)
	docker := startDockerd(t).newClient(t).client.with("DOCKER_CONFIG=" + home)
	leaves := func(account, password string) {
		t.Helper()
		docker.reads(password).run(t, "login", "-u", account, "--password-stdin", s.host)
		if left := read(t, filepath.Join(home, "config.json")); !strings.Contains(left, "ch_refresh_") {
			t.Fatalf("docker login leaves %s, want a refresh token", left)
		}
	}
	leaves("ci", secret)
	for range 3 {
		out := ask("", "--repo", "team/app", "--tag", "v1")
		tells(t, out, "account: ci", "scope: team/app:v*:pull")
		if !strings.Contains(out, "\npull      allow") || !strings.Contains(out, "\npush      deny    ci may not push to team/app:v1: it is outside of what the credential is for") {
			t.Errorf("whoami = %s, want what this credential may do", out)
		}
	}
	tool.refuse(t, []string{"may not admin", "denied"}, "access", s.host, "--ca", ca, "--repo", "team/app")
	leaves("ann", "correct-horse")
	tells(t, tool.run(t, "access", s.host, "--ca", ca, "--repo", "team/app"), "ann allow -")
	write(t, home, "config.json", strings.Replace(read(t, filepath.Join(home, "config.json")), "ch_refresh_", "ch_refresh_x", 1))
	tool.refuse(t, []string{"hint: log in again with `docker login " + s.host}, "whoami", s.host, "--ca", ca)

	// a credential helper keeps it
	must(t, os.Chmod(write(t, dir, "docker-credential-test", "#!/bin/sh\nread host\n[ $host = "+s.host+` ] || { echo "credentials not found in native keychain"; exit 1; }
printf '{"ServerURL":"%s","Username":"ann","Secret":"correct-horse"}' $host
`), 0o755))
	write(t, home, "config.json", string(encode(t, map[string]any{"credHelpers": map[string]string{s.host: "test"}})))
	tells(t, ask(""), "account: ann")
	var answer struct {
		Self struct{ Account string }
		May  []struct{ Action, Answer string }
	}
	must(t, json.Unmarshal([]byte(tool.content(t, "whoami", s.host, "--ca", ca, "--repo", "x", "--json")), &answer))
	if answer.Self.Account != "ann" || len(answer.May) != 10 || answer.May[0].Answer != "allow" {
		t.Errorf("whoami --json = %+v", answer)
	}
	write(t, home, "config.json", `{"credsStore": "none-of-this-name"}`)
	tool.refuse(t, []string{"docker-credential-none-of-this-name"}, "whoami", s.host, "--ca", ca)
	write(t, home, "config.json", `{`)
	tool.refuse(t, []string{"error: docker's configuration"}, "whoami", s.host, "--ca", ca)
}
