package main

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3/driver"

	"customhouse"
	"customhouse/audit"
	"customhouse/index"
)

// Who pulled last is told also when another part of the log is damaged, with a warning of what may be missing.
func TestAuditDamaged(t *testing.T) {
	data := t.TempDir()
	file := indexFile(data)
	db, err := index.Open(t.Context(), file, index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(context.Background(), audit.Options{Index: db}, audit.Settings{Allow: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1500 {
		account := "early"
		if i >= 1000 {
			account = "late"
		}
		e := &customhouse.AuditEntry{
			Time: time.Now(), Kind: customhouse.AuditDecision, Allowed: true, Account: account,
			Type: customhouse.TypeRepository, Name: "team/app", Actions: []customhouse.Action{customhouse.Pull},
		}
		if err := log.Audit(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(log.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	raw, err := driver.Open("file:" + filepath.ToSlash(file))
	if err != nil {
		t.Fatal(err)
	}
	_, err = raw.Exec("update audit_page set lines = x'00' where first = 1001")
	if err := errors.Join(err, raw.Close()); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"last", "team/app"}, {"-n", "1"}, {"-n", "1", "--json"}} {
		var out, warnings bytes.Buffer
		cmd := auditCommand()
		cmd.SetArgs(append(args, "--data", data))
		cmd.SetOut(&out)
		cmd.SetErr(&warnings)
		if err := cmd.ExecuteContext(t.Context()); err != nil || strings.Count(out.String(), "\n") != 1 || !strings.Contains(out.String(), "early") {
			t.Errorf("audit %q = %q, %v", args, &out, err)
		}
		if !strings.HasPrefix(warnings.String(), "warning: entries 1001 to 1500 of the audit log are damaged: ") {
			t.Errorf("audit %q warns %q", args, &warnings)
		}
	}
}
