package program_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"customhouse"
	"customhouse/program"

	"github.com/google/go-cmp/cmp"
)

// TestMain makes this test a worker where it is started as one: a fast program that keeps the protocol.
func TestMain(m *testing.M) {
	if os.Getenv("CUSTOMHOUSE_TEST_WORKER") != "" {
		work()
		return
	}
	os.Exit(m.Run())
}

// work answers every question: the password is "secret", and everybody may pull.
func work() {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var q struct {
			ID       uint64
			Type     string
			Password string
		}
		if in.Decode(&q) != nil {
			return
		}
		a := map[string]any{"id": q.ID, "result": "allow"}
		switch {
		case q.Type == "authorize":
			a["actions"] = []string{"pull"}
		case q.Password != "secret":
			a["result"] = "deny"
		}
		if out.Encode(a) != nil {
			return
		}
	}
}

func newWorker(t testing.TB, name string, o program.WorkerOptions) *program.Worker {
	t.Helper()
	w, err := program.NewWorker(name, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// python starts text as a worker, with the lines of it that all of them have.
func python(t testing.TB, text string, o program.WorkerOptions) *program.Worker {
	t.Helper()
	path := filepath.Join(t.TempDir(), "worker.py")
	head := "import sys, json, os, time\ndef say(**answer):\n    print(json.dumps(answer), flush=True)\n"
	if err := os.WriteFile(path, []byte(head+text), 0o600); err != nil {
		t.Fatal(err)
	}
	o.Args = append([]string{"-u", path}, o.Args...)
	return newWorker(t, "python3", o)
}

// The lines that a worker reads are these, and what it answers is understood.
func TestWorkerProtocol(t *testing.T) {
	seen := filepath.Join(t.TempDir(), "seen")
	w := python(t, `
answers = iter([
    {"result": "allow", "labels": {"group": ["dev", "ops"]}, "reason": "known"},
    {"result": "deny", "reason": "locked"},
    {"result": "no_match"},
    {"result": "error", "reason": "the directory is down"},
    {"result": "allow"},
    {"result": "allow", "actions": ["pull", "delete", "dance"]},
    {"result": "allow", "actions": ["push"], "more": [1, {"x": None}]},
    {"result": "allow", "actions": []},
])
for line in sys.stdin:
    with open(sys.argv[1], "w") as f: f.write(line)
    say(id=json.loads(line)["id"], **next(answers))
`, program.WorkerOptions{Args: []string{seen}, Processes: 1})
	all := []customhouse.Action{"pull", "create", "update"}
	for i, tt := range []struct {
		q    program.Question
		line string
		want program.Answer
		err  string
	}{
		{login("alice", "pass word\n<"), `{"id":1,"type":"authenticate","account":"alice","password":"pass word\n\u003c"}`,
			program.Answer{Result: "allow", Labels: map[string][]string{"group": {"dev", "ops"}}, Reason: "known"}, ""},
		{login("alice", "x"), `{"id":2,"type":"authenticate","account":"alice","password":"x"}`, program.Answer{Result: "deny", Reason: "locked"}, ""},
		{login("alice", "x"), `{"id":3,"type":"authenticate","account":"alice","password":"x"}`, program.Answer{Result: "no_match"}, ""},
		{login("alice", "x"), `{"id":4,"type":"authenticate","account":"alice","password":"x"}`, program.Answer{}, "the directory is down"},
		{access("alice", all...),
			`{"id":5,"type":"authorize","account":"alice","service":"customhouse","ip":"127.0.0.1","resource":{"type":"repository","name":"team/app"},"actions":["pull","push"],"labels":{"group":["dev"]}}`,
			program.Answer{Result: "allow", Actions: all}, ""},
		{access("alice", "pull", "push", "delete"),
			`{"id":6,"type":"authorize","account":"alice","service":"customhouse","ip":"127.0.0.1","resource":{"type":"repository","name":"team/app"},"actions":["pull","push","delete"],"labels":{"group":["dev"]}}`,
			program.Answer{Result: "allow", Actions: []customhouse.Action{"pull", "delete"}}, ""},
		{access("alice", "update"),
			`{"id":7,"type":"authorize","account":"alice","service":"customhouse","ip":"127.0.0.1","resource":{"type":"repository","name":"team/app"},"actions":["push"],"push":"update","labels":{"group":["dev"]}}`,
			program.Answer{Result: "allow", Actions: []customhouse.Action{"update"}}, ""},
		{program.Question{Kind: program.Authorize, Type: "registry", Name: "catalog", Actions: []customhouse.Action{"*"}},
			`{"id":8,"type":"authorize","account":"","resource":{"type":"registry","name":"catalog"},"actions":["*"]}`,
			program.Answer{Result: "allow"}, ""},
	} {
		a, err := w.Ask(t.Context(), tt.q)
		if diff := cmp.Diff(tt.want, a); diff != "" || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("question %d: Ask = %v, want %q (-want +got):\n%s", i+1, err, tt.err, diff)
		}
		if got := strings.TrimSuffix(read(t, seen), "\n"); got != tt.line {
			t.Errorf("question %d: the worker has read\n%s, want\n%s", i+1, got, tt.line)
		}
	}
	if a, err := w.Ask(t.Context(), login("alice", "\xff")); err != nil || a.Result != program.Deny {
		t.Errorf("Ask with a password that is not UTF-8 = %v, %v, want a denial", a, err)
	}
}

// TestS55_WorkerMisbehaves: what is no answer is an outage of that question, and the next one is answered.
func TestS55_WorkerMisbehaves(t *testing.T) {
	for name, tt := range map[string]struct{ act, log string }{
		"garbage":         {`print("hello", flush=True)`, "no JSON object"},
		"a list":          {`print("[]", flush=True)`, "no JSON object"},
		"a duplicate key": {`print('{"id":%d,"result":"deny","result":"allow"}' % q["id"], flush=True)`, "no JSON object"},
		"deep":            {`print("["*100000, flush=True)`, "no JSON object"},
		"another id":      {`say(id=q["id"]+1, result="allow")`, "no open question"},
		"no id":           {`say(result="allow")`, "no open question"},
		"a wrong id":      {`say(id="1", result="allow")`, "id is not"},
		"wrong labels":    {`say(id=q["id"], result="allow", labels={"a": "b"})`, "labels is not"},
		"wrong actions":   {`say(id=q["id"], result="allow", actions="pull")`, "actions is not"},
		"a long line":     {`print("x" * (2 << 20), flush=True)`, "longer than 1048576 bytes"},
		"a gigabyte":      {`[os.write(1, b"x" * 65536) for i in range(1 << 14)]`, "longer than 1048576 bytes"},
		"half a line":     {`os.write(1, b'{"id":'); sys.exit(0)`, "exit code 0"},
		"an end":          {`sys.exit(7)`, "exit code 7"},
		"a signal":        {`os.kill(os.getpid(), 11)`, "segmentation fault"},
		"closed output":   {`os.close(1); time.sleep(300)`, "killed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log logs
			w := python(t, `
for line in sys.stdin:
    q = json.loads(line)
    if q["account"] == "evil":
        `+tt.act+`
    else:
        say(id=q["id"], result="allow")
`, program.WorkerOptions{Processes: 2, Log: log.logger()})
			for range 2 {
				a, err := w.Ask(t.Context(), login("evil", "hunter2"))
				if err == nil || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("Ask = %v, %v, want an error", a, err)
				}
				if a, err := w.Ask(t.Context(), login("alice", "x")); err != nil || a.Result != program.Allow {
					t.Errorf("Ask after it = %v, %v, want allow", a, err)
				}
			}
			w.Close()
			if got := log.String(); !strings.Contains(got, tt.log) || strings.Contains(got, "hunter2") {
				t.Errorf("the log has not %q:\n%s", tt.log, got)
			}
		})
	}
	// A result that is none is an outage, but the worker keeps the protocol and stays.
	w := python(t, `
for line in sys.stdin: say(id=json.loads(line)["id"], result="Allow", pid=os.getpid())
`, program.WorkerOptions{})
	if a, err := w.Ask(t.Context(), login("alice", "x")); err == nil {
		t.Errorf("Ask = %v, want an error", a)
	}
}

// logs is a log that may be read while it is written.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logs) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(l, nil)) }

// TestS54_WorkerHangs: the worker that hangs is killed with its children, the others go on answering.
func TestS54_WorkerHangs(t *testing.T) {
	m := mark(t, 3)
	w := python(t, `
import subprocess
for line in sys.stdin:
    q = json.loads(line)
    if q["account"] == "evil": subprocess.run(["sleep", sys.argv[1]])
    say(id=q["id"], result="allow")
`, program.WorkerOptions{Args: []string{m}, Timeout: 3 * time.Second})
	var asking sync.WaitGroup
	asking.Go(func() {
		begin := time.Now()
		_, err := w.Ask(t.Context(), login("evil", "x"))
		if took := time.Since(begin); !errors.Is(err, program.ErrTimeout) && !strings.Contains(err.Error(), "ended") || took > 20*time.Second {
			t.Errorf("Ask = %v after %v", err, took)
		}
	})
	for i := range 100 {
		if a, err := w.Ask(t.Context(), login("user"+strconv.Itoa(i), "x")); err != nil || a.Result != program.Allow {
			t.Errorf("Ask beside it = %v, %v", a, err)
		}
	}
	asking.Wait()
	for i := range 4 { // both of them, the one started anew too
		if a, err := w.Ask(t.Context(), login("user"+strconv.Itoa(i), "x")); err != nil || a.Result != program.Allow {
			t.Errorf("Ask after it = %v, %v", a, err)
		}
	}
	w.Close()
	gone(t, m)
}

// TestS55_WorkerReadsNothing: a worker that leaves its input unread does not block those who ask for longer than a question may take.
func TestS55_WorkerReadsNothing(t *testing.T) {
	w := newWorker(t, "sleep", program.WorkerOptions{Args: []string{"300"}, Timeout: 300 * time.Millisecond, Pipeline: 64})
	q := access("alice", "pull")
	q.Labels = map[string][]string{"group": {strings.Repeat("x", 100_000)}}
	var asking sync.WaitGroup
	begin := time.Now()
	for range 32 {
		asking.Go(func() {
			if a, err := w.Ask(t.Context(), q); err == nil {
				t.Errorf("Ask = %v, want an error", a)
			}
		})
	}
	asking.Wait()
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("they were refused after %v", took)
	}
}

// A worker that cannot run is an outage at once, not after a timeout, and is tried again.
func TestWorkerKeepsFailing(t *testing.T) {
	good := filepath.Join(t.TempDir(), "good")
	w := newWorker(t, script(t, `[ -e "$1" ] && CUSTOMHOUSE_TEST_WORKER=1 exec "$2"; exit 3`),
		program.WorkerOptions{Args: []string{good, os.Args[0]}, Processes: 1})
	for end := time.Now().Add(10 * time.Second); ; {
		_, err := w.Ask(t.Context(), login("alice", "secret"))
		if err == nil {
			t.Fatal("Ask = nil")
		}
		if strings.Contains(err.Error(), "keeps ending") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("Ask = %v, want that the program keeps ending", err)
		}
	}
	if err := os.WriteFile(good, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if a, err := w.Ask(t.Context(), login("alice", "secret")); err == nil && a.Result == program.Allow {
			break
		} else if time.Now().After(end) {
			t.Fatalf("Ask = %v, %v, want that it is back", a, err)
		}
	}
}

// Questions that come at once get each its own answer, whatever the order in which a worker answers.
func TestWorkerPipeline(t *testing.T) {
	w := python(t, `
held = []
for line in sys.stdin:
    held.append(json.loads(line))
    if len(held) == 8:
        for q in reversed(held): say(id=q["id"], result="allow", labels={"you": [q["account"]]})
        held = []
`, program.WorkerOptions{Processes: 1, Pipeline: 8})
	var asking sync.WaitGroup
	for i := range 64 {
		asking.Go(func() {
			account := "user" + strconv.Itoa(i)
			a, err := w.Ask(t.Context(), login(account, "x"))
			if err != nil || len(a.Labels["you"]) != 1 || a.Labels["you"][0] != account {
				t.Errorf("Ask about %s = %v, %v", account, a, err)
			}
		})
	}
	asking.Wait()
}

// Who leaves gets no answer that another asked for, and holds nobody up.
func TestWorkerClientLeaves(t *testing.T) {
	w := python(t, `
for line in sys.stdin:
    q = json.loads(line)
    if q["account"] == "slow":
        open(sys.argv[1], "w").write("x")
        time.sleep(0.3)
    say(id=q["id"], result="allow", labels={"you": [q["account"]]})
`, program.WorkerOptions{Args: []string{filepath.Join(t.TempDir(), "x")}, Processes: 1})
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if a, err := w.Ask(ctx, login("slow", "x")); err == nil {
			t.Errorf("Ask = %v, want an error", a)
		}
		cancel()
		if a, err := w.Ask(t.Context(), login("alice", "x")); err != nil || a.Labels["you"][0] != "alice" {
			t.Errorf("Ask = %v, %v", a, err)
		}
	}
}

// Close lets a worker end by itself, and kills one that does not.
func TestWorkerClose(t *testing.T) {
	m := mark(t, 4)
	said := filepath.Join(t.TempDir(), "said")
	polite := python(t, `
for line in sys.stdin: say(id=json.loads(line)["id"], result="allow")
open(sys.argv[1], "w").write("bye")
`, program.WorkerOptions{Args: []string{said}, Processes: 1})
	stubborn := newWorker(t, "sleep", program.WorkerOptions{Args: []string{m}})
	if _, err := polite.Ask(t.Context(), login("alice", "x")); err != nil {
		t.Fatal(err)
	}
	polite.Close()
	stubborn.Close()
	if got := read(t, said); got != "bye" {
		t.Errorf("the worker said %q at its end", got)
	}
	if n := children(t, m); n != 0 {
		t.Errorf("%d workers are left", n)
	}
	if _, err := polite.Ask(t.Context(), login("alice", "x")); !errors.Is(err, program.ErrClosed) {
		t.Errorf("Ask after Close = %v, want ErrClosed", err)
	}
}
