package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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

// announced is what of a configuration is accounted for when it begins to hold.
type announced struct{ rules, keys string }

// account keeps that other rules hold, or that other keys are published, than before.
func (h *house) account(ctx context.Context, c *config.Config, state *server.State) error {
	if h.parts.audit == nil {
		return nil
	}
	h.parts.audit.Set(auditSettings(c.Audit))
	now := announced{rules: rulesInForce(c), keys: keysInForce(state.Gate.JWKS())}
	if h.announced == nil {
		h.announced = &announced{rules: h.lastDetail(ctx, customhouse.AuditPolicy), keys: h.lastDetail(ctx, customhouse.AuditKey)}
	}
	for kind, detail := range map[string][2]string{
		customhouse.AuditPolicy: {h.announced.rules, now.rules}, customhouse.AuditKey: {h.announced.keys, now.keys},
	} {
		if detail[0] == detail[1] {
			continue
		}
		e := &customhouse.AuditEntry{Time: time.Now().UTC(), Kind: kind, Allowed: true, Detail: detail[1]}
		if err := h.parts.audit.Audit(ctx, e); err != nil {
			return fmt.Errorf("audit log: %w", err)
		}
	}
	h.announced = &now
	return nil
}

// lastDetail returns what the audit log said last about a kind of thing, "" where that is not known.
func (h *house) lastDetail(ctx context.Context, kind string) string {
	if r := h.parts.audit.Reader(); r != nil {
		for e, err := range r.Find(ctx, audit.Question{Kind: kind, Down: true}) {
			if err == nil {
				return e.Detail
			}
			break
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

// keysInForce names the keys of a key set.
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
	slices.Sort(ids)
	return "published keys: " + strings.Join(ids, ", ")
}
