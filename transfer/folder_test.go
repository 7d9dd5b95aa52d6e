package transfer_test

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"customhouse/transfer"

	"github.com/google/go-cmp/cmp"
)

// Both ways to read a folder read the same, and follow no link out of it (S62).
func TestS62_Folders(t *testing.T) {
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600))
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "a/b"), 0o755))
	must(t, os.Mkdir(filepath.Join(dir, "empty"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "a/b/file"), []byte("content"), 0o640))
	for i := range 2000 { // more than one read of a folder tells
		must(t, os.WriteFile(filepath.Join(dir, "empty", strings.Repeat("x", i%200)+"-"+string(rune('a'+i/200))), nil, 0o600))
	}
	for name, to := range map[string]string{
		"inside": "a/b/file", "a/up": "../a/b", "out": filepath.Join(outside, "secret"), "outdir": outside,
		"a/climb": "../../" + filepath.Base(outside) + "/secret", "absolute": filepath.Join(dir, "a/b/file"), "loop": "loop", "nowhere": "absent",
	} {
		must(t, os.Symlink(to, filepath.Join(dir, name)))
	}
	must(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	socket, err := net.Listen("unix", filepath.Join(dir, "socket"))
	must(t, err)
	defer socket.Close()

	folders, err := transfer.Folders(dir)
	must(t, err)
	read := map[string]map[string]string{}
	for way, folder := range folders {
		defer folder.(io.Closer).Close()
		got := map[string]string{}
		for _, name := range []string{
			"a/b/file", "inside", "a/up/file", "a/up", "out", "outdir", "outdir/secret", "a/climb", "absolute", "loop", "nowhere", "pipe", "socket",
			"a/b/file/below", "absent", "a/absent/file", "..", "../" + filepath.Base(outside) + "/secret", "a/../../" + filepath.Base(outside) + "/secret",
			"/etc/passwd", "a\x00b", "/proc/self/root/etc/passwd",
		} {
			got[name] = try(t, folder, name)
			if strings.Contains(got[name], "secret") || strings.Contains(got[name], "root:") {
				t.Errorf("%s: %q is read: a link out of the folder was followed", way, name)
			}
		}
		for _, name := range []string{".", "a", "a/b", "empty", "a/up", "outdir", "a/b/file", "absent", ".."} {
			entries, err := fs.ReadDir(folder, name)
			text := outcome(err)
			for _, e := range entries {
				text += "\n" + e.Type().String() + " " + e.Name()
				info, err := e.Info()
				if err != nil || info.Mode().Type() != e.Type() || info.Name() != e.Name() {
					t.Errorf("%s: Info of %s = %v, %v", way, e.Name(), info, err)
				}
			}
			got["list "+name] = text
		}
		read[way] = got
	}
	if diff := cmp.Diff(read["os.Root"], read["openat2"]); diff != "" {
		t.Errorf("the ways differ (-os.Root +openat2):\n%s", diff)
	}
	if got := read["openat2"]["a/up/file"]; got != "ok -rw-r----- 7 content" {
		t.Errorf("a file behind a link within the folder = %q", got)
	}
}

// outcome is what kind of error err is.
func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, fs.ErrNotExist):
		return "not there"
	default:
		return "refused"
	}
}

// try reads a file and says what came of it.
func try(t *testing.T, folder fs.FS, name string) string {
	t.Helper()
	info, err := fs.Stat(folder, name)
	if err != nil {
		return outcome(err)
	}
	text := "ok " + info.Mode().String()
	if !info.Mode().IsRegular() {
		return text
	}
	b, err := fs.ReadFile(folder, name)
	return text + " " + string(rune('0'+info.Size())) + " " + string(b) + strings.TrimPrefix(outcome(err), "ok")
}
