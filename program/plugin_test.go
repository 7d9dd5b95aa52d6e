package program_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"customhouse"
	"customhouse/program"

	"github.com/google/go-cmp/cmp"
)

func newPlugin(t testing.TB, path string, o program.PluginOptions) *program.Plugin {
	t.Helper()
	p, err := program.NewPlugin(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// goPlugin builds the example in Go.
func goPlugin(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plugin.wasm")
	c := exec.Command("go", "build", "-buildmode=c-shared", "-o", path, "../examples/plugin-go")
	c.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// cPlugin compiles C. What it needs is the compiler and the linker of LLVM.
func cPlugin(t testing.TB, source string) string {
	t.Helper()
	for _, tool := range []string{"clang", "wasm-ld"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CUSTOMHOUSE_REQUIRE_TOOLS") != "" {
				t.Fatalf("%s is missing; e2e/install installs it", tool)
			}
			t.Skipf("%s is missing; e2e/install installs it", tool)
		}
	}
	path := filepath.Join(t.TempDir(), "plugin.wasm")
	c := exec.Command("clang", "--target=wasm32", "-O2", "-nostdlib", "-fno-builtin", "-Wl,--no-entry", "-Wl,--strip-all", "-Wl,--allow-undefined", "-o", path, "-x", "c", "-")
	c.Stdin = strings.NewReader(source)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("clang: %v\n%s", err, out)
	}
	return path
}

// The examples, in two languages, answer alike; that in C as it is kept and as it is compiled now.
func TestPluginExamples(t *testing.T) {
	source := read(t, "../examples/plugin/plugin.c")
	for name, path := range map[string]func() string{
		"go":   func() string { return goPlugin(t) },
		"c":    func() string { return cPlugin(t, source) },
		"kept": func() string { return "../examples/plugin/plugin.wasm" },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlugin(t, path(), program.PluginOptions{Environment: map[string]string{"OTHER": "x", "CICD_SECRET": "s3cret"}})
			ci := access("builder", "pull", "create", "delete")
			ci.Name, ci.Labels = "ci/app", map[string][]string{"a": {"x"}, "group": {"dev", "CICD"}}
			elsewhere := ci
			elsewhere.Name = "team/ci/app"
			other := ci
			other.Labels = map[string][]string{"group": {"CICD2"}, "groups": {"CICD"}}
			none := ci
			none.Labels = nil
			tricky := login("x", "x")
			tricky.Account = `","account":"cicd","password":"s3cret`
			for _, tt := range []struct {
				q    program.Question
				want program.Answer
			}{
				{login("cicd", "s3cret"), program.Answer{Result: program.Allow, Labels: map[string][]string{"group": {"CICD"}}}},
				{login("cicd", "s3cre"), program.Answer{Result: program.Deny, Reason: "wrong password"}},
				{login("cicd", "s3cret2"), program.Answer{Result: program.Deny, Reason: "wrong password"}},
				{login("cicd", ""), program.Answer{Result: program.Deny, Reason: "wrong password"}},
				{login("cicd", `"`), program.Answer{Result: program.Deny, Reason: "wrong password"}},
				{login("alice", "s3cret"), program.Answer{Result: program.NoMatch}},
				{tricky, program.Answer{Result: program.NoMatch}},
				{ci, program.Answer{Result: program.Allow, Actions: []customhouse.Action{"pull", "create"}, Reason: "the group CICD builds here"}},
				{elsewhere, program.Answer{Result: program.NoMatch}},
				{other, program.Answer{Result: program.NoMatch}},
				{none, program.Answer{Result: program.NoMatch}},
			} {
				a, err := p.Ask(t.Context(), tt.q)
				if diff := cmp.Diff(tt.want, a); err != nil || diff != "" {
					t.Errorf("Ask(%+v) = %v (-want +got):\n%s", tt.q, err, diff)
				}
			}
		})
	}
}

// head is what each of the following modules has.
const head = `
typedef unsigned long long u64; typedef unsigned u32;
#define EXPORT(name) __attribute__((export_name(#name)))
static char question[1 << 20];
static u64 say(const char *text) { u32 n = 0; while (text[n]) n++; return (u64)(u32)text << 32 | n; }
`

const rest = `
EXPORT(customhouse_abi) int abi(void) { return 1; }
EXPORT(customhouse_alloc) char *alloc(u32 size) { return question; }
`

// TestS55_PluginMisbehaves: a module that hangs, traps or talks nonsense is an outage of that question, and the next one is answered.
func TestS55_PluginMisbehaves(t *testing.T) {
	for name, tt := range map[string]struct{ act, want string }{
		"a loop":            {"for (;;) __asm__ volatile(\"\");", "did not answer in time"},
		"a trap":            {"__builtin_trap();", "failed"},
		"a wild write":      {"*(volatile int *)0xfffffff0u = 1;", "failed"},
		"no bottom":         {"return deeper(text, size);", "failed"},
		"no place":          {"return (u64)0xfffffff0u << 32 | 100;", "no place in memory"},
		"a gigabyte":        {"return 0x40000000;", "longer than 1048576 bytes"},
		"garbage":           {`return say("hello");`, "no JSON object"},
		"nothing":           {"return 0;", "no JSON object"},
		"an error":          {`return say("{\"result\":\"error\",\"reason\":\"no idea\"}");`, "no idea"},
		"all of the memory": {"u32 had = 0; while (__builtin_wasm_memory_grow(0, 1) != (__SIZE_TYPE__)-1) had++; if (had < 2000) return say(\"memory is bounded\");", "no JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlugin(t, cPlugin(t, head+`
volatile int depth;
static u64 deeper(char *text, u32 size) { char pad[256]; pad[depth & 255] = depth; depth++; u64 r = deeper(text, size); return r + pad[depth & 255]; }
EXPORT(customhouse_ask) u64 ask(char *text, u32 size) {
  int evil = 0;
  for (u32 i = 0; i + 4 < size; i++) evil |= text[i] == 'e' && text[i+1] == 'v' && text[i+2] == 'i' && text[i+3] == 'l';
  if (evil) { `+tt.act+` }
  return say("{\"result\":\"allow\"}");
}`+rest), program.PluginOptions{Timeout: 2 * time.Second, Memory: 4 << 20})
			for range 3 {
				if a, err := p.Ask(t.Context(), login("evil", "hunter2")); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("Ask = %v, %v, want an error with %q", a, err, tt.want)
				}
				if a, err := p.Ask(t.Context(), login("alice", "x")); err != nil || a.Result != program.Allow {
					t.Errorf("Ask after it = %v, %v, want allow", a, err)
				}
			}
		})
	}
}

// A file that is no plugin is refused when it is loaded, with what it lacks.
func TestPluginRefused(t *testing.T) {
	ask := `EXPORT(customhouse_ask) u64 ask(char *text, u32 size) { return say("{}"); }`
	for want, source := range map[string]string{
		"does not export the function customhouse_ask": head + rest,
		"customhouse_ask has other types":              head + rest + `EXPORT(customhouse_ask) int ask(void) { return 1; }`,
		"the module imports env.system":                head + rest + `int system(const char *); EXPORT(customhouse_ask) u64 ask(char *text, u32 size) { return system(text); }`,
		"version 2 of the interface":                   strings.Replace(head+rest+ask, "return 1;", "return 2;", 1),
		"memory":                                       head + rest + ask + `char much[8 << 20] = {1}; EXPORT(more) char *more(void) { return much; }`,
		"reference-types": head + rest + `__attribute__((target("reference-types"))) EXPORT(customhouse_ask) u64 ask(char *text, u32 size) {
			__asm__ volatile(".tabletype __indirect_function_table, funcref\n ref.null_func\n i32.const 100000000\n table.grow __indirect_function_table\n drop\n");
			return say("{}");
		}`, // memory that the bound of memory is not about
		"failed": head + rest + ask + `EXPORT(_initialize) void init(void) { __builtin_trap(); }`,
	} {
		if _, err := program.NewPlugin(t.Context(), cPlugin(t, source), program.PluginOptions{Memory: 4 << 20}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("NewPlugin = %v, want %q", err, want)
		}
	}
	text := filepath.Join(t.TempDir(), "plugin.wasm")
	if err := os.WriteFile(text, []byte("not wasm"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{text, "/dev/null", "/no/such/file", t.TempDir()} {
		if _, err := program.NewPlugin(t.Context(), path, program.PluginOptions{}); err == nil {
			t.Errorf("NewPlugin(%s) = nil, want an error", path)
		}
	}
}

// A plugin has no file, no network and nothing of our environment.
func TestS56_PluginSandbox(t *testing.T) {
	t.Setenv("CONTROLLING_SECRET", "hunter2")
	p := newPlugin(t, cPlugin(t, head+rest+`
#define WASI(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name)))
WASI(environ_sizes_get) int environ_sizes_get(u32 *count, u32 *bytes);
WASI(fd_prestat_get) int fd_prestat_get(int fd, void *out);
WASI(path_open) int path_open(int dir, int flags, const char *path, u32 len, int oflags, u64 rights, u64 inheriting, int fdflags, int *fd);
WASI(sock_accept) int sock_accept(int fd, int flags, int *out);
EXPORT(customhouse_ask) u64 ask(char *text, u32 size) {
  u32 count = 9, bytes; int fd; char out[8];
  if (environ_sizes_get(&count, &bytes) || count) return say("{\"result\":\"error\",\"reason\":\"environment\"}");
  for (int dir = 0; dir < 100; dir++) {
    if (dir > 2 && !fd_prestat_get(dir, out)) return say("{\"result\":\"error\",\"reason\":\"a folder\"}");
    if (!path_open(dir, 0, "/etc/passwd", 11, 0, -1, -1, 0, &fd)) return say("{\"result\":\"error\",\"reason\":\"a file\"}");
    if (!sock_accept(dir, 0, &fd)) return say("{\"result\":\"error\",\"reason\":\"a connection\"}");
  }
  return say("{\"result\":\"allow\"}");
}`), program.PluginOptions{})
	if a, err := p.Ask(t.Context(), login("alice", "x")); err != nil || a.Result != program.Allow {
		t.Errorf("Ask = %v, %v, want that nothing is there", a, err)
	}
}

// Many ask at once, and Close ends what hangs.
func TestPluginConcurrency(t *testing.T) {
	p := newPlugin(t, "../examples/plugin/plugin.wasm", program.PluginOptions{Environment: map[string]string{"CICD_SECRET": "s3cret"}, Instances: 2})
	var asking sync.WaitGroup
	for i := range 30 {
		asking.Go(func() {
			q, want := login("cicd", "s3cret"), program.Allow
			if i%2 == 0 {
				q, want = login("cicd", "other"), program.Deny
			}
			for range 50 {
				if a, err := p.Ask(t.Context(), q); err != nil || a.Result != want {
					t.Errorf("Ask = %v, %v, want %s", a, err, want)
				}
			}
		})
	}
	asking.Wait()
	hangs := newPlugin(t, cPlugin(t, head+rest+`EXPORT(customhouse_ask) u64 ask(char *text, u32 size) { for (;;) __asm__ volatile(""); }`), program.PluginOptions{})
	failed := make(chan error, 1)
	go func() {
		_, err := hangs.Ask(t.Context(), login("alice", "x"))
		failed <- err
	}()
	time.Sleep(50 * time.Millisecond) // it hangs by now, most likely; Close is right either way
	hangs.Close()
	if err := <-failed; !errors.Is(err, program.ErrClosed) {
		t.Errorf("Ask = %v, want ErrClosed", err)
	}
	if _, err := hangs.Ask(t.Context(), login("alice", "x")); !errors.Is(err, program.ErrClosed) {
		t.Errorf("Ask after Close = %v, want ErrClosed", err)
	}
}
