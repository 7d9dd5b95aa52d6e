package audit_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"customhouse"
	"customhouse/audit"
)

// Whatever a loss of power leaves behind the last entry of the file, the log opens and goes on behind that entry: what was there
// is set aside as it is, an entry says so, which Verify tells of, and the index gives back what it has.
func TestS78_TornFile(t *testing.T) {
	lines := func(text []byte) [][]byte {
		return bytes.SplitAfter(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	}
	for name, tear := range map[string]func(text []byte) (whole, damage []byte){
		"a line cut short": func(text []byte) ([]byte, []byte) {
			at := bytes.LastIndexByte(text[:len(text)-1], '\n') + 1
			return text[:at], text[at : at+100]
		},
		"a line cut short, with an end": func(text []byte) ([]byte, []byte) {
			at := bytes.LastIndexByte(text[:len(text)-1], '\n') + 1
			return text[:at], append(text[at:at+100:at+100], '\n')
		},
		"zeros":            func(text []byte) ([]byte, []byte) { return text, make([]byte, 100) },
		"zeros for ever":   func(text []byte) ([]byte, []byte) { return text, make([]byte, 300<<10) },
		"zeros and an end": func(text []byte) ([]byte, []byte) { return text, append(make([]byte, 100), '\n') },
		"a line changed": func(text []byte) ([]byte, []byte) {
			l := lines(text)
			return bytes.Join(l[:9], nil), bytes.Replace(append(l[9], '\n'), []byte("alice"), []byte("mallory"), 1)
		},
		"many lines damaged": func(text []byte) ([]byte, []byte) {
			l := lines(text)
			return bytes.Join(l[:4], nil), bytes.ReplaceAll(bytes.Join(l[4:], nil), []byte("al"), []byte{0, 0})
		},
		"nothing is left": func(text []byte) ([]byte, []byte) { return nil, text[:20] },
		"zeros alone":     func(text []byte) ([]byte, []byte) { return nil, make([]byte, 4096) },
	} {
		for _, indexed := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", with an index"}[indexed], func(t *testing.T) {
				dir := t.TempDir()
				file := filepath.Join(dir, "audit.log")
				var o audit.Options
				if indexed {
					o.Index = openIndex(t, dir)
				}
				var told bytes.Buffer
				o.Log = slog.New(slog.NewTextHandler(&told, nil))
				write := func(n int) {
					t.Helper()
					o.File = openFile(t, file, audit.Rotation{})
					l := openLog(t, o, audit.Settings{Allow: 1, Required: true})
					for i := range n {
						must(t, l.Audit(t.Context(), pulled(i, "alice", "team/app", true)))
					}
					must(t, l.Close())
				}
				write(10)
				text, err := os.ReadFile(file)
				must(t, err)
				whole, damage := tear(bytes.Clone(text))
				must(t, os.WriteFile(file, append(bytes.Clone(whole), damage...), 0o600))
				write(3)

				kept := int64(bytes.Count(whole, []byte("\n")))
				want := kept + 4
				if indexed && kept > 0 {
					want = 14
				} else if indexed {
					want = 4 // nothing tells where it began
				}
				v, err := audit.VerifyFiles("", file)
				if err != nil || v.Entries != want {
					t.Fatalf("VerifyFiles = %d entries, %v; want %d", v.Entries, err, want)
				}
				sum := sha256.Sum256(damage)
				if len(v.Told) != 1 || v.Told[0].Kind != customhouse.AuditLog || !strings.Contains(v.Told[0].Detail, hex.EncodeToString(sum[:])) {
					t.Errorf("VerifyFiles tells %v", v.Told)
				}
				aside, err := filepath.Glob(file + ".damaged-*")
				if err != nil || len(aside) != 1 {
					t.Fatalf("set aside are %v, %v", aside, err)
				}
				if got, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(got, damage) || !strings.Contains(v.Told[0].Detail, filepath.Base(aside[0])) {
					t.Errorf("%s has %q, %v; want %q", aside[0], got, err, damage)
				}
				if n := strings.Count(told.String(), "has a damaged end"); n != 1 {
					t.Errorf("the log tells of it %d times:\n%s", n, &told)
				}
				if indexed {
					if v, err := audit.NewReader(o.Index).Verify(t.Context(), ""); err != nil || v.Entries != 14 || len(v.Told) != 1 {
						t.Errorf("Verify = %+v, %v", v, err)
					}
				}
				write(1)
				if again, _ := filepath.Glob(file + ".damaged-*"); len(again) != 1 {
					t.Errorf("what is whole was set aside: %v", again)
				}
			})
		}
	}
}

// Where the file has no entry, the one before says where the log ends, and what is damaged there stays and is told.
func TestTornFileBefore(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	write := func(r audit.Rotation, n int) {
		t.Helper()
		l := openLog(t, audit.Options{File: openFile(t, file, r)}, audit.Settings{Allow: 1, Required: true})
		for i := range n {
			must(t, l.Audit(t.Context(), pulled(i, "alice", "team/app", true)))
		}
		must(t, l.Close())
	}
	write(audit.Rotation{}, 5)
	text, err := os.ReadFile(file)
	must(t, err)
	must(t, os.WriteFile(file+".1", append(text, "damage\n"...), 0o600))
	must(t, os.WriteFile(file, make([]byte, 100), 0o600))
	write(audit.Rotation{}, 2)
	v, err := audit.VerifyFiles("", file)
	if err != nil || v.First.Number != 6 || v.Last.Number != 9 || len(v.Told) != 2 || !strings.Contains(v.Told[1].Detail, "audit.log.1, ") {
		t.Errorf("VerifyFiles = %+v, %v", v, err)
	}
	if _, err := audit.VerifyFiles("", file+".1", file); err == nil || !strings.HasPrefix(err.Error(), file+".1: line 6: it is no entry") {
		t.Errorf("VerifyFiles = %v", err)
	}
}

// What is no audit log is no place for one, and stays as it is.
func TestForeignFile(t *testing.T) {
	for _, text := range []string{"root:x:0:0\n", "root:x:0:0", "{\"level\":\"info\"}\n", strings.Repeat("x", 200<<10)} {
		file := filepath.Join(t.TempDir(), "foreign")
		must(t, os.WriteFile(file, []byte(text), 0o600))
		if _, err := audit.OpenFile(file, audit.Rotation{}); err == nil || !strings.Contains(err.Error(), "foreign is no audit log") {
			t.Errorf("OpenFile = %v", err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != text {
			t.Errorf("%q has become %q, %v", text, got, err)
		}
	}
}

// While what is torn cannot be set aside, the log is open and tells that it cannot be written.
func TestTornFileStays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	must(t, os.Mkdir(dir, 0o700))
	file := filepath.Join(dir, "audit.log")
	must(t, os.WriteFile(file, []byte(`{"number":1`), 0o600))
	f := openFile(t, file, audit.Rotation{})
	must(t, os.Rename(dir, dir+"-elsewhere")) // as if nothing could be written to the folder
	l := openLog(t, audit.Options{File: f}, audit.Settings{Allow: 1, Required: true})
	if err := l.Audit(t.Context(), pulled(1, "alice", "team/app", true)); err == nil || l.Failing() == nil {
		t.Errorf("Audit = %v, Failing = %v", err, l.Failing())
	}
	must(t, os.Rename(dir+"-elsewhere", dir))
	must(t, l.Audit(t.Context(), pulled(2, "alice", "team/app", true)))
	must(t, l.Close())
	if v, err := audit.VerifyFiles("", file); err != nil || v.Entries != 2 || len(v.Told) != 1 {
		t.Errorf("VerifyFiles = %+v, %v", v, err)
	}
}
