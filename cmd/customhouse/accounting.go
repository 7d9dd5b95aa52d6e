package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"customhouse"
	"customhouse/audit"
	"customhouse/config"
	"customhouse/server"
)

// openAudit opens the audit log, if there is somewhere to keep it.
func (h *house) openAudit(ctx context.Context, c *config.Config) error {
	o := audit.Options{Log: h.log}
	if c.Audit.Keep.Entries > 0 {
		o.Index = h.index
	}
	if c.Audit.File != "" {
		var err error
		if o.File, err = auditFile(c.Audit); err != nil {
			return withHint(err, "audit.file names another one")
		}
	}
	if o.Index == nil && o.File == nil {
		return nil
	}
	var err error
	if h.parts.audit, err = audit.Open(ctx, o, auditSettings(c.Audit)); err != nil {
		return err
	}
	counts, m := h.parts.audit.Counts(), h.parts.metrics
	m.Counter("customhouse_audit_entries_total", "Entries of the audit log that were written.", func() float64 { return float64(counts.Written.Load()) })
	m.Counter("customhouse_audit_lost_total", "Entries of the audit log that were lost while it could not be written.", func() float64 { return float64(counts.Lost.Load()) })
	m.Counter("customhouse_audit_errors_total", "Attempts to write the audit log that failed.", func() float64 { return float64(counts.Errors.Load()) })
	m.Gauge("customhouse_audit_waiting", "Entries of the audit log that are not written yet.", func() float64 { return float64(h.parts.audit.Waiting()) })
	h.parts.checks.Add(server.Check{Name: "audit", Every: time.Second, Probe: h.parts.audit.Err})
	return nil
}

func auditFile(a config.Audit) (*audit.File, error) {
	switch a.File {
	case "/dev/stderr": // opened anew, a socket or a log of a service manager would not be the same
		return audit.ToWriter(os.Stderr), nil
	case "/dev/stdout":
		return audit.ToWriter(os.Stdout), nil
	}
	return audit.OpenFile(a.File, audit.Rotation{Size: int64(a.Rotate.Size), Age: a.Rotate.Age, Files: a.Rotate.Files})
}

func auditSettings(a config.Audit) audit.Settings {
	return audit.Settings{Allow: float64(a.Allow), Required: a.Required, Age: a.Keep.Age, Entries: int64(a.Keep.Entries)}
}

// auditor counts what the gate decides and hands it to the audit log, if there is one.
type auditor struct {
	metrics *server.Metrics
	log     *audit.Log
}

func (a auditor) Audit(ctx context.Context, e *customhouse.AuditEntry) error {
	a.metrics.Decided(e)
	if a.log == nil {
		return nil
	}
	return a.log.Audit(ctx, e)
}

// account keeps that other rules hold, or that other keys are published, than before.
func (h *house) account(ctx context.Context, c *config.Config, state *server.State) error {
	if h.parts.audit == nil {
		return nil
	}
	h.parts.audit.Set(auditSettings(c.Audit))
	h.accounts.Lock()
	defer h.accounts.Unlock()
	if err := h.accountFor(ctx, customhouse.AuditPolicy, rulesInForce(c)); err != nil {
		return err
	}
	return h.accountFor(ctx, customhouse.AuditKey, keysInForce(state.Gate.JWKS()))
}

// accountKeys keeps that other keys are published, or another signs, than before.
func (h *house) accountKeys(ctx context.Context, jwks []byte) error {
	if h.parts.audit == nil {
		return nil
	}
	h.accounts.Lock()
	defer h.accounts.Unlock()
	return h.accountFor(ctx, customhouse.AuditKey, keysInForce(jwks))
}

// accountFor keeps detail of a kind of thing, if it is not what was kept last.
func (h *house) accountFor(ctx context.Context, kind, detail string) error {
	last, ok := h.announced[kind]
	if !ok {
		last = h.lastDetail(ctx, kind)
	}
	if detail != last {
		e := &customhouse.AuditEntry{Time: time.Now().UTC(), Kind: kind, Allowed: true, Detail: detail}
		if err := h.parts.audit.Audit(ctx, e); err != nil {
			return fmt.Errorf("audit log: %w", err)
		}
	}
	if h.announced == nil {
		h.announced = map[string]string{}
	}
	h.announced[kind] = detail
	return nil
}

// lastDetail returns what the audit log said last about a kind of thing, "" where that is not known.
func (h *house) lastDetail(ctx context.Context, kind string) string {
	if r := h.parts.audit.Reader(); r != nil {
		for e, err := range r.Find(ctx, audit.Question{Kind: kind, Down: true}) {
			switch {
			case err == nil:
				return e.Detail
			case !errors.As(err, new(*audit.Damage)):
				return ""
			}
		}
	}
	return ""
}

// rulesInForce names the rules of a configuration by what they say.
func rulesInForce(c *config.Config) string {
	if c.Auth.Off {
		return "authorization is off"
	}
	h := sha256.New()
	enc := json.NewEncoder(h)
	for _, r := range c.Rules {
		_ = enc.Encode(r) // of text, numbers and times: there is nothing that cannot be encoded, and a hash takes all
	}
	_ = enc.Encode(c.Authorize)
	detail := fmt.Sprintf("%s with SHA-256 %s", count(len(c.Rules), "rule"), hex.EncodeToString(h.Sum(nil)))
	if files := c.Included; len(files) > 0 {
		detail += " with those of " + strings.Join(files, ", ")
	}
	return detail
}

// keysInForce names the keys of a key set, of which the first signs.
func keysInForce(jwks []byte) string {
	var set struct {
		Keys []struct {
			ID string `json:"kid"`
		}
	}
	if jwks == nil || json.Unmarshal(jwks, &set) != nil {
		return "no keys are published"
	}
	var ids []string
	for _, k := range set.Keys {
		ids = append(ids, k.ID)
	}
	if len(ids) < 2 {
		return "published keys: " + strings.Join(ids, ", ")
	}
	slices.Sort(ids[1:])
	return "published keys: " + strings.Join(ids, ", ") + "; the first signs"
}
