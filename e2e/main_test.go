//go:build linux

package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binary is the program under test and root the folder of its module, both absolute; TestMain sets them.
var binary, root string

func TestMain(m *testing.M) {
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M) (code int, err error) {
	root, err = filepath.Abs("..")
	if err != nil {
		return 0, err
	}
	if binary = os.Getenv("CUSTOMHOUSE_BINARY"); binary != "" {
		return m.Run(), nil
	}
	dir, err := os.MkdirTemp("", "customhouse-e2e-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "customhouse")
	build := exec.Command("go", "build", "-o", binary, "./cmd/customhouse")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build: %w\n%s", err, out)
	}
	return m.Run(), nil
}

// need returns the path of a program that e2e/install installs. Where it is missing the test is skipped,
// or fails if CUSTOMHOUSE_REQUIRE_TOOLS=1 promises that everything is installed.
func need(t *testing.T, name string) string {
	t.Helper()
	if path := filepath.Join(root, ".tools", "bin", name); isFile(path) {
		return path
	}
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	if path := filepath.Join("/usr/sbin", name); isFile(path) { // not in the PATH of every shell of root
		return path
	}
	missing(t, name+" (run e2e/install)")
	return ""
}

// needRoot ends a test that starts a container daemon or mounts something when it does not run as root.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "root, to start a container daemon or to mount")
	}
}

// needLong ends a test whose program takes minutes to build, unless CUSTOMHOUSE_LONG=1 asks for it.
func needLong(t *testing.T) {
	t.Helper()
	if !isLong() {
		t.Skip("long: run make test-long")
	}
}

func isLong() bool { return os.Getenv("CUSTOMHOUSE_LONG") == "1" }

func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CUSTOMHOUSE_REQUIRE_TOOLS") == "1" {
		t.Fatalf("missing: %s", what)
	}
	t.Skipf("missing: %s", what)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
