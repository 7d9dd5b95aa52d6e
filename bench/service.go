package main

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// serviceCase is a row of the table of the token service that stands in docker_auth's place: what docker_auth's
// configuration has below server and token, and who asks.
type serviceCase struct {
	name   string
	config string // PROGRAM is this program, SCRIPT the script, URL the webhook, HASH a bcrypt of cost 10
	ours   string // more of it that docker_auth ignores, or without which there is nothing to compare
	asks   int    // how many accounts ask in turn; 0 is somebody without one
	most   string // of primitives: what a server cannot exceed; or a row above to compare with
	goal   string // what the project wants to reach
	theirs string // docker_auth's figure on another machine of two cores, for comparison; "none": it has nothing like it
	beside int    // how many accounts log in for the first time meanwhile, eight at once
}

// Primitives that rows are compared with.
const (
	signing  = "ES256 signature"
	hashing  = "bcrypt, cost 10"
	starting = "start of the script"
)

// crowdSize is how many accounts there are to log in for the first time: more than in all rounds.
const crowdSize = 2000

const (
	alone   = "anonymous, ES256"
	oneRule = "regular expressions: one rule"
)

// Without a cache a question by an account that is being asked about already is not asked again, so that many ask.
const many = 64

func serviceCases() []serviceCase {
	const anybody = "users: {\"\": {}}\n"
	const pull = "acl:\n  - {match: {type: repository}, actions: [pull]}\n"
	uncached := func(kind, section string) string {
		return "customhouse: {auth: {" + kind + ": {" + section + "cache: 0s}}}\n"
	}
	rules := func(before int) string {
		var b strings.Builder
		b.WriteString(anybody + "acl:\n")
		for i := range before {
			fmt.Fprintf(&b, "  - {match: {account: \"/^team%d-[a-z]+$/\", name: \"/^team%d/.+$/\"}, actions: [push]}\n", i, i)
		}
		b.WriteString("  - {match: {name: \"/^bench/.+$/\"}, actions: [pull]}\n")
		return b.String()
	}
	var crowd strings.Builder
	crowd.WriteString("users:\n")
	for i := range crowdSize {
		fmt.Fprintf(&crowd, "  %s: {password: \"HASH\"}\n", accountName(i))
	}
	return []serviceCase{
		{alone, anybody + pull, "", 0, signing, "15,000/s", "16,992/s (RSA 1,425)", 0},
		{"repeated login, bcrypt of cost 10", "users: {" + accountName(0) + ": {password: \"HASH\"}}\n" + pull, "", 1, hashing, "10,000/s", "21.5/s", 0},
		{"first login, bcrypt of cost 10", crowd.String() + pull, "", crowdSize, hashing, "the primitive", "21.5/s", 0},
		{"anonymous, beside first logins", crowd.String() + "  \"\": {}\n" + pull, "", 0, alone, "half, as they share the core", "", crowdSize},
		{"ext_auth, a repeated login", "ext_auth: {command: SCRIPT}\n" + pull, "", 1, starting, "10,000/s", "548/s", 0},
		{"ext_auth, without cache", "ext_auth: {command: SCRIPT}\n" + pull, uncached("exec", ""), many, starting, "0.9 of the primitive", "548/s", 0},
		{"worker, without cache", "users: {}\n" + pull, uncached("worker", "command: PROGRAM, args: [-answer-lines], "), many, "", "10,000/s", none, 0},
		{"worker, without cache, pipeline of 16", "users: {}\n" + pull, uncached("worker", "command: PROGRAM, args: [-answer-lines], pipeline: 16, "), many, "", "10,000/s", none, 0},
		{"webhook on loopback, without cache", "users: {}\n" + pull, uncached("webhook", "url: \"URL\", "), many, "", "4,000/s", none, 0},
		{oneRule, rules(0), "", 0, signing, "", "", 0},
		{"regular expressions: 1,000 rules before it", rules(1000), "", 0, oneRule, "0.8 of one rule", "172/s", 0},
	}
}

// none is docker_auth's figure where it has nothing that could be measured.
const none = "none"

func accountName(i int) string { return fmt.Sprintf("account%04d", i) }

const servicePassword = "service-secret"

// serviceScript is an ext_auth as small as one can be that reads what it is asked.
const serviceScript = "#!/bin/sh\nread -r user password\n[ \"$password\" = " + servicePassword + " ]\n"

// serviceRow is what a case has come to.
type serviceRow struct {
	serviceCase
	cell
	peer cell // docker_auth in the same run; empty without it
}

// tokenService measures the token service in docker_auth's place, and docker_auth too where there is its binary.
type tokenService struct {
	customhouse, self string
	dockerAuth        string // "" is none
	dir               string // for what it is started with
	cores             cores
	duration          time.Duration
	rounds            int
	patience          time.Duration
	progress          io.Writer

	script, hash string
	primitives   map[string]float64
	rows         []serviceRow
}

// runService measures all cases and prints the table.
func runService(ctx context.Context, o options, stdout, stderr io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "customhouse-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.quick {
		o.patience = min(o.patience, time.Second)
	}
	s := &tokenService{
		customhouse: o.customhouse, dockerAuth: o.dockerAuth, self: self, dir: dir, cores: chooseCores(),
		duration: o.duration, rounds: o.rounds, patience: o.patience, progress: stderr,
	}
	if err := s.run(ctx); err != nil {
		return err
	}
	s.write(stdout)
	for _, row := range s.rows {
		if row.err != nil {
			return errors.New("not everything could be measured")
		}
	}
	return nil
}

func (s *tokenService) run(ctx context.Context) error {
	hash, err := bcrypt.GenerateFromPassword([]byte(servicePassword), 10)
	if err != nil {
		return err
	}
	s.hash, s.script = string(hash), filepath.Join(s.dir, "ext_auth.sh")
	if err := os.WriteFile(s.script, []byte(serviceScript), 0o700); err != nil {
		return err
	}
	if err := writeTokenKey(s.dir); err != nil {
		return err
	}
	if err := s.measurePrimitives(ctx); err != nil {
		return err
	}
	for _, c := range serviceCases() {
		row := serviceRow{serviceCase: c, cell: s.measure(ctx, c, c.config+c.ours, s.customhouse, "auth", "serve")}
		fmt.Fprintf(s.progress, "token service: %s: %s\n", c.name, row.describe(perSecond))
		if s.dockerAuth != "" && c.theirs != none && ctx.Err() == nil {
			row.peer = s.measure(ctx, c, c.config, s.dockerAuth)
			fmt.Fprintf(s.progress, "docker_auth: %s: %s\n", c.name, row.peer.describe(perSecond))
		}
		s.rows = append(s.rows, row)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// writeTokenKey makes the key that tokens are signed with, and its certificate.
func writeTokenKey(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "token.key"), block("PRIVATE KEY", private), 0o600),
		os.WriteFile(filepath.Join(dir, "token.crt"), block("CERTIFICATE", certificate), 0o600))
}

// measurePrimitives measures what each case is compared with, on the core that servers have. What is started shares it, as
// it does there. It runs in a goroutine that is not bound to a thread, as a server's.
func (s *tokenService) measurePrimitives(ctx context.Context) (err error) {
	defer s.cores.keepTo(s.cores.server)()
	var measuring sync.WaitGroup
	measuring.Go(func() { err = s.repeatPrimitives(ctx) })
	measuring.Wait()
	return err
}

// repeatPrimitives counts how often each of them can be done in a second, one after the other.
func (s *tokenService) repeatPrimitives(ctx context.Context) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	s.primitives = map[string]float64{}
	for _, p := range []struct {
		name string
		once func() error
	}{
		{signing, func() error {
			_, err := ecdsa.SignASN1(rand.Reader, key, make([]byte, 32))
			return err
		}},
		{hashing, func() error { return bcrypt.CompareHashAndPassword([]byte(s.hash), []byte(servicePassword)) }},
		{starting, func() error {
			cmd := exec.Command(s.script)
			cmd.Stdin = strings.NewReader("account " + servicePassword)
			return cmd.Run()
		}},
	} {
		awaitQuiet(ctx, s.patience)
		n, begin := 0, time.Now()
		for time.Since(begin) < s.duration && ctx.Err() == nil {
			if err := p.once(); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			n++
		}
		s.primitives[p.name] = float64(n) / time.Since(begin).Seconds()
		fmt.Fprintf(s.progress, "primitive: %s: %s/s\n", p.name, number(s.primitives[p.name]))
	}
	return nil
}

// measure starts a service with a configuration on one core, proves that it issues tokens and measures how many, from the
// other core. What the service asks shares its core.
func (s *tokenService) measure(ctx context.Context, c serviceCase, config string, command ...string) cell {
	addr, err := freeAddr()
	if err != nil {
		return cell{err: err}
	}
	hook, err := freeAddr()
	if err != nil {
		return cell{err: err}
	}
	if strings.Contains(config, "URL") {
		p, err := startProcess(ctx, exec.Command(s.self, "-answer-posts", hook), hook, s.cores, s.cores.server)
		defer p.stop()
		if err != nil {
			return cell{err: err}
		}
	}
	text := strings.NewReplacer("PROGRAM", s.self, "SCRIPT", s.script, "URL", "http://"+hook, "HASH", s.hash).Replace(fmt.Sprintf(
		"server: {addr: %q}\ntoken: {issuer: bench, expiration: 900, key: %q, certificate: %q}\n%s",
		addr, filepath.Join(s.dir, "token.key"), filepath.Join(s.dir, "token.crt"), config))
	file := filepath.Join(s.dir, "auth.yml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return cell{err: err}
	}
	command = append(command, "-stderrthreshold=ERROR", "-log_dir="+s.dir, file)
	server, err := startProcess(ctx, exec.Command(command[0], command[1:]...), addr, s.cores, s.cores.server)
	defer server.stop()
	if err != nil {
		return cell{err: err}
	}
	defer s.cores.keepTo(s.cores.client)()
	exchanges, err := tokenRequests(ctx, addr, c.asks)
	if err != nil {
		return cell{err: err}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if c.beside > 0 {
		first, err := tokenRequests(ctx, addr, c.beside)
		if err != nil {
			return cell{err: err}
		}
		var crowd sync.WaitGroup
		defer crowd.Wait()
		defer cancel()
		crowd.Go(func() {
			load{addr: addr, clients: 8, duration: time.Hour, op: cycle(first)}.run(ctx) // ends with ctx
		})
	}
	var all []result
	for round := range s.rounds {
		awaitQuiet(ctx, s.patience)
		begin := round * len(exchanges) / s.rounds // others than in the round before
		ask := func(conn *conn, n int) error { return conn.do(&exchanges[(begin+n)%len(exchanges)]) }
		one, err := load{addr: addr, clients: 8, duration: s.duration, op: ask, pid: server.pid()}.run(ctx)
		if err != nil {
			return cell{err: err}
		}
		if c.asks == many {
			one.busy = 0 // what the service has started counts as others
		}
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b result) int { return cmp.Compare(a.perSecond(), b.perSecond()) })
	return cell{result: all[len(all)/2]}
}

// tokenRequests are requests for a token, one of each of so many accounts, or of nobody. The last one is tried.
func tokenRequests(ctx context.Context, addr string, accounts int) ([]exchange, error) {
	const path = "/auth?service=bench&scope=repository:bench/blob:pull"
	fields := ""
	var all []exchange
	for i := range max(accounts, 1) {
		if accounts > 0 {
			fields = "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(accountName(i)+":"+servicePassword)) + "\r\n"
		}
		all = append(all, get(path, fields))
	}
	resp, err := httpGet(ctx, "http://"+addr+path, fields)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		return nil, fmt.Errorf("status %d: %.300s, %v", resp.StatusCode, body, err)
	}
	return all, allowsPull(body)
}

// allowsPull checks that an answer has a token that allows something.
func allowsPull(body []byte) error {
	var answer struct{ Token string }
	if err := json.Unmarshal(body, &answer); err != nil {
		return err
	}
	var claims struct{ Access []struct{ Actions []string } }
	if parts := strings.Split(answer.Token, "."); len(parts) == 3 {
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err == nil {
			err = json.Unmarshal(payload, &claims)
		}
		if err != nil {
			return err
		}
	}
	if len(claims.Access) != 1 || !slices.Equal(claims.Access[0].Actions, []string{"pull"}) {
		return fmt.Errorf("the token allows %v, want pull", claims.Access)
	}
	return nil
}

// write prints the table.
func (s *tokenService) write(w io.Writer) {
	rows := [][]string{{"token service in docker_auth's place, /s", "Customhouse", "CPU", "of the primitive", "to reach", "docker_auth"}}
	known := map[string]float64{}
	for name, rate := range s.primitives {
		known[name] = rate
	}
	for _, row := range s.rows {
		share := ""
		if most := known[row.most]; most > 0 && row.err == nil {
			share = fmt.Sprintf("%s of %s (%s/s)", number(row.perSecond()/most), row.most, number(most))
		}
		if row.err == nil {
			known[row.name] = row.perSecond()
		}
		theirs := row.theirs
		if s.dockerAuth != "" {
			theirs = row.peer.figure(perSecond)
		}
		rows = append(rows, []string{row.name, row.figure(perSecond), perSecond.cost(row.result), share, row.goal, theirs})
	}
	writeTable(w, rows, 1)
	fmt.Fprintln(w, "8 clients. The service and what it asks have one core, the clients another; CPU is that of the service, for one token.")
	if s.dockerAuth == "" {
		fmt.Fprintln(w, "The figures of docker_auth are those of another run, on another machine of two cores; -docker-auth BINARY measures it in this one.")
	}
	fmt.Fprintf(w, "\\* Other programs used more than %.0f %% of a core meanwhile.\n", 100*busyShare)
	for _, row := range s.rows {
		if row.err != nil {
			fmt.Fprintf(w, "%s: %v\n", row.name, row.err)
		}
	}
	fmt.Fprintln(w)
}
