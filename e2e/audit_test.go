//go:build linux

package e2e_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var toldDecision = regexp.MustCompile(`\(decision ([0-9a-z]+)\)`)

// What docker did and what it was refused is found in the audit log, and a change of the log is.
func TestAudit(t *testing.T) {
	t.Parallel()
	needRoot(t)
	daemon := startDockerd(t)
	data, dir := t.TempDir(), t.TempDir()
	file := filepath.Join(dir, "audit.log")
	config := write(t, dir, "customhouse.yml", read(t, tagRules(t))+fmt.Sprintf("audit: {file: %q}\n", file))
	s := serveData(t, data, "-c", config)
	app := s.host + "/acc/audit/app"
	login := func(name string) docker {
		c := daemon.newClient(t)
		c.reads(name+"-secret").run(t, "login", "-u", name, "--password-stdin", s.host)
		return c
	}
	writer, reader, eve := login("writer"), login("reader"), login("eve")
	writer.buildImage(t, app+":v1")
	writer.run(t, "push", app+":v1")
	reader.run(t, "pull", app+":v1")
	eve.run(t, "tag", app+":v1", app+":mine")
	_, out, err := eve.exec(t, []string{"push", app + ":mine"})
	told := toldDecision.FindStringSubmatch(out)
	if err == nil || told == nil {
		t.Fatalf("push by eve = %v, %q, want a failure with the id of a decision", err, out)
	}

	customhouse := client{path: binary}
	audit := func(t *testing.T, args ...string) string {
		return customhouse.run(t, append([]string{"audit", "--data", data}, args...)...)
	}
	has := func(t *testing.T, line string, words ...string) {
		t.Helper()
		for _, word := range words {
			if !strings.Contains(line, word) {
				t.Errorf("audit = %q, want %q in it", line, word)
			}
		}
	}
	t.Run("the decision that docker was told, while the server runs", func(t *testing.T) {
		var line string
		s.await(t, func() bool { // an entry is written a moment after the answer; till then that is an error
			var err error
			line, _, err = customhouse.exec(t, []string{"audit", "--data", data, "--decision", told[1]})
			return err == nil
		})
		if line = strings.TrimSuffix(line, "\n"); strings.Contains(line, "\n") {
			t.Errorf("audit = %q, want one entry", line)
		}
		has(t, line, "denied", "eve", "127.0.0.1", "acc/audit/app", "decision "+told[1])
	})
	if err := s.stop(); err != nil { // now everything is written
		t.Fatal(err)
	}
	t.Run("what was denied", func(t *testing.T) {
		out := audit(t, "--denied", "--account", "eve")
		has(t, out, "decision "+told[1])
		for line := range strings.Lines(audit(t, "--denied")) {
			if !strings.Contains(line, "  denied   ") {
				t.Errorf("audit --denied has %q", line)
			}
		}
	})
	t.Run("who pulled last", func(t *testing.T) {
		has(t, audit(t, "last", "acc/audit/app:v1"), "allowed", "reader", "acc/audit/app:v1", "pull")
		has(t, audit(t, "last", "--action", "push", "acc/audit/app:v1"), "allowed", "writer")
		customhouse.refuse(t, []string{"no entry tells of a pull"}, "audit", "--data", data, "last", "acc/audit/other:v1")
	})
	t.Run("no secret", func(t *testing.T) {
		if strings.Contains(read(t, file), "-secret") {
			t.Error("the file has a password")
		}
	})
	t.Run("verify", func(t *testing.T) {
		has(t, audit(t, "verify"), "the audit log: ok, entries 1 to ")
		has(t, audit(t, "verify", file), file+": ok, entries 1 to ")

		lines := strings.SplitAfter(read(t, file), "\n")
		for i, line := range lines {
			if !strings.Contains(line, told[1]) {
				continue
			}
			changed := strings.Replace(line, `"eve"`, `"bob"`, 1)
			if changed == line {
				t.Fatalf("line %d = %q, want the account eve", i+1, line)
			}
			lines[i] = changed
			tampered := write(t, dir, "tampered.log", strings.Join(lines, ""))
			customhouse.refuse(t, []string{fmt.Sprintf("%s: line %d: it was changed", tampered, i+1)}, "audit", "verify", tampered)
			return
		}
		t.Errorf("no line of the file has the decision %s", told[1])
	})
}

// A server whose audit file a loss of power has damaged starts, though nothing may be done that is not on disk; what was there
// is set aside and told of.
func TestAuditFileIsTorn(t *testing.T) {
	t.Parallel()
	data, dir := t.TempDir(), t.TempDir()
	file := filepath.Join(dir, "audit.log")
	config := write(t, dir, "customhouse.yml", read(t, tagRules(t))+fmt.Sprintf("audit: {file: %q, required: true, keep: {entries: 0}}\n", file))
	run := func() {
		t.Helper()
		if err := serveData(t, data, "-c", config).stop(); err != nil {
			t.Fatal(err)
		}
	}
	run()
	lines := strings.SplitAfter(strings.TrimSuffix(read(t, file), "\n"), "\n")
	if len(lines) < 2 {
		t.Fatalf("the file has %d lines", len(lines))
	}
	damage := lines[len(lines)-1][:50] + "\x00\n"
	write(t, dir, "audit.log", strings.Join(lines[:len(lines)-1], "")+damage)
	customhouse := client{path: binary}
	customhouse.refuse(t, []string{fmt.Sprintf("%s: line %d: it is no entry", file, len(lines))}, "audit", "verify", file)
	run()
	out := customhouse.run(t, "audit", "verify", file)
	told := regexp.MustCompile(fmt.Sprintf(`(?m)^entry %d of .* tells: %d bytes at the end of audit.log, .* set aside in (audit.log.damaged-[0-9TZ]+), `, len(lines), len(damage))).FindStringSubmatch(out)
	if told == nil {
		t.Fatalf("audit verify = %q", out)
	}
	if got := read(t, filepath.Join(dir, told[1])); got != damage {
		t.Errorf("set aside is %q, want %q", got, damage)
	}
}
