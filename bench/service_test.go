package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"customhouse/compat"
)

// Every case is a configuration that is taken.
func TestServiceCases(t *testing.T) {
	seen := map[string]bool{signing: true, hashing: true, starting: true, "": true}
	const server = "server: {addr: \"127.0.0.1:5001\"}\ntoken: {issuer: bench, expiration: 900, key: /token.key, certificate: /token.crt}\n"
	fill := strings.NewReplacer("PROGRAM", "/bin/true", "SCRIPT", "/bin/true", "URL", "http://127.0.0.1:5002",
		"HASH", "$2a$10$Q8bOMdYQpwPwF6tVnVvUBuVJd3Vq2oGgkQGmVh1gkOeEJLkqkVb1W")
	for _, c := range serviceCases() {
		if _, _, err := compat.ParseDockerAuth("auth.yml", []byte(server+fill.Replace(c.config+c.ours)), compat.Options{}); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if !seen[c.most] {
			t.Errorf("%s is compared with %s, which is not known yet", c.name, c.most)
		}
		seen[c.name] = true
	}
}

func TestAnswers(t *testing.T) {
	var out strings.Builder
	err := answerLines(strings.NewReader("{\"id\":7,\"type\":\"authenticate\"}\n{\"id\":8}\n"), &out)
	if want := "{\"id\":7,\"result\":\"allow\"}\n{\"id\":8,\"result\":\"allow\"}\n"; err != nil || out.String() != want {
		t.Errorf("answerLines = %q, %v, want %q", out.String(), err, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	addr, err := freeAddr()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- answerPosts(ctx, addr) }()
	var resp *http.Response
	for range 100 {
		if resp, err = http.Post("http://"+addr+"/", "application/json", strings.NewReader("{}")); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != `{"result":"allow"}` {
		t.Errorf("answer = %q, %v", body, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("answerPosts = %v", err)
	}
}

func TestServiceTable(t *testing.T) {
	s := &tokenService{primitives: map[string]float64{hashing: 20}, rows: []serviceRow{
		{serviceCase{name: "login", most: hashing, goal: "10,000/s", theirs: "21.5/s"}, cell{result: result{ops: 12_000, elapsed: time.Second, cpu: time.Second}}, cell{}},
		{serviceCase{name: "again", most: "login"}, cell{result: result{ops: 6_000, elapsed: time.Second, busy: 1}}, cell{}},
		{serviceCase{name: "broken"}, cell{err: errors.New("status 500")}, cell{}},
	}}
	var b strings.Builder
	s.write(&b)
	for _, want := range []string{"12,000", "600 of bcrypt, cost 10 (20.0/s)", "6,000 \\*", "0.50 of login (12,000/s)", "broken: status 500", "21.5/s"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, b.String())
		}
	}
	s.dockerAuth, s.rows[0].peer = "auth_server", cell{result: result{ops: 34, elapsed: time.Second}}
	b.Reset()
	s.write(&b)
	if table := b.String(); !strings.Contains(table, "34.0") || strings.Contains(table, "21.5/s") {
		t.Errorf("the table with docker_auth in the same run is\n%s", table)
	}
}

func TestAllowsPull(t *testing.T) {
	for body, ok := range map[string]bool{
		`{"token":"e30.eyJhY2Nlc3MiOlt7ImFjdGlvbnMiOlsicHVsbCJdfV19.c2ln"}`: true, // {"access":[{"actions":["pull"]}]}
		`{"token":"e30.eyJhY2Nlc3MiOltdfQ.c2ln"}`:                           false,
		`{"token":"none"}`: false, `none`: false,
	} {
		if err := allowsPull([]byte(body)); (err == nil) != ok {
			t.Errorf("allowsPull(%s) = %v, want success to be %v", body, err, ok)
		}
	}
}
