//go:build linux

package e2e_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A robot made at the command line while the server runs logs in with docker, may do what its secret is for and no more, and
// is out when it is disabled. The refresh token that docker has is good for one pull after another.
func TestDockerAsRobot(t *testing.T) {
	t.Parallel()
	needRoot(t)
	daemon := startDockerd(t)
	config := write(t, t.TempDir(), "customhouse.yml", `
rules:
  - match: {labels: {group: ci}, name: "team/**"}
    actions: [pull, push, delete]
`)
	data := t.TempDir()
	s := serveData(t, data, "-c", config)
	tool := client{path: binary, env: []string{"HOME=" + t.TempDir()}}
	secret := strings.TrimSpace(tool.content(t, "robot", "add", "ci", "--label", "group=ci", "--scope", "team/**:pull", "--scope", "team/app:v*:push",
		"--network", "127.0.0.0/8", "--data", data))

	docker := daemon.newClient(t)
	docker.reads(strings.Replace(secret, "chr_", "chr_0", 1)).refuse(t, unauthorized, "login", "-u", "ci", "--password-stdin", s.host)
	docker.reads(secret).run(t, "login", "-u", "ci", "--password-stdin", s.host)
	app := s.host + "/team/app"
	docker.buildImage(t, app+":v1")
	docker.run(t, "push", app+":v1")
	docker.run(t, "tag", app+":v1", app+":latest")
	docker.refuse(t, []string{"denied"}, "push", app+":latest")
	docker.run(t, "tag", app+":v1", s.host+"/team/other:v1")
	docker.refuse(t, []string{"denied"}, "push", s.host+"/team/other:v1")
	for range 5 {
		docker.run(t, "rmi", app+":v1")
		docker.run(t, "pull", app+":v1")
	}
	if shown := tool.run(t, "robot", "show", "ci", "--data", data); strings.Contains(shown, " never\n") || strings.Contains(shown, secret) {
		t.Errorf("show = %s, want that the secret was used, and not the secret", shown)
	}
	index, err := os.ReadFile(filepath.Join(data, "index.db"))
	if err != nil || strings.Contains(string(index), secret) {
		t.Errorf("the index has the secret, or %v", err)
	}

	// a client of its own gets another refresh token with each use
	form := url.Values{"grant_type": {"password"}, "username": {"ci"}, "password": {secret}, "access_type": {"offline"}, "client_id": {"test"}, "service": {"customhouse"}}
	first := postToken(t, s, form)
	again := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {first}, "client_id": {"test"}, "service": {"customhouse"}}
	if second := postToken(t, s, again); second == "" || second == first {
		t.Errorf("the answer to a refresh token has %q, want another", second)
	}

	second := strings.TrimSpace(tool.content(t, "robot", "rotate", "ci", "--data", data))
	docker.run(t, "pull", app+":v1") // the first is good yet
	docker.reads(second).run(t, "login", "-u", "ci", "--password-stdin", s.host)
	tool.run(t, "robot", "disable", "ci", "--data", data)
	s.await(t, func() bool {
		_, _, err := docker.exec(t, []string{"pull", app + ":v1"})
		return err != nil
	})
}

// postToken asks the token endpoint by POST and returns the refresh token of the answer.
func postToken(t *testing.T, s *server, form url.Values) string {
	t.Helper()
	r, err := http.PostForm(s.url+"/token", form)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var answer struct {
		RefreshToken string `json:"refresh_token"`
		AccessToken  string `json:"access_token"`
	}
	if err := json.NewDecoder(r.Body).Decode(&answer); err != nil || answer.AccessToken == "" {
		t.Fatalf("POST /token = %d, %v", r.StatusCode, err)
	}
	return answer.RefreshToken
}
