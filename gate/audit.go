package gate

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"customhouse"
)

// Auditor keeps what is to be accounted for.
type Auditor interface {
	// Audit keeps e, which is the auditor's own from now on. An error says that nothing may be done that is not kept: the
	// request is refused.
	Audit(ctx context.Context, e *customhouse.AuditEntry) error
}

// unaudited is the Auditor that keeps nothing.
type unaudited struct{}

func (unaudited) Audit(context.Context, *customhouse.AuditEntry) error { return nil }

// silent tells whether nothing is kept, so that no entry need be made.
func (g *Gate) silent() bool {
	_, silent := g.audit.(unaudited)
	return silent
}

// entry begins an entry about id at client.
func (g *Gate) entry(kind, decision string, id *customhouse.Identity, client string) *customhouse.AuditEntry {
	return &customhouse.AuditEntry{
		Time: g.now().UTC(), Kind: kind, Decision: decision, Client: client,
		Account: id.Account, Method: id.Method, Labels: id.Labels, Claims: id.Claims, Stranger: id.Anonymous(),
	}
}

// auditDecision keeps how a request with needs was decided and returns the error that the caller sees. What was let through
// is kept when it is settled, unless nothing may be done that is not kept.
func (g *Gate) auditDecision(ctx context.Context, cred *customhouse.Credential, to door, grant *Grant, needs []Need, err error) error {
	if g.silent() {
		return err
	}
	id, who, ground := grant.ID, &grant.Identity, grant.Ground
	var refusal *Refusal
	if errors.As(err, &refusal) {
		id, who, ground = refusal.ID, &refusal.Identity, refusal.Ground
	}
	e := g.entry(customhouse.AuditDecision, id, who, addressOf(cred))
	e.Allowed, e.By, e.Rule, e.Reason = err == nil, ground.By, ground.Rule, ground.Reason
	if !g.off {
		e.Service = g.authority.Service()
	}
	if len(needs) > 0 {
		e.Type, e.Name, e.Actions = needs[0].Type, needs[0].Name, needs[0].Actions
		t := &needs[0].Target
		e.Tag, e.Digest, e.MediaType, e.ArtifactType = t.Tag, t.Digest, t.MediaType, t.ArtifactType
		if len(needs) > 1 {
			e.Detail = "with " + scopesOf(needs[1:])
		}
	}
	if err == nil && to == toContent && !g.auditFirst {
		grant.Pending = &Pending{g.audit, e}
		return nil
	}
	if lost := g.audit.Audit(ctx, e); lost != nil && err == nil {
		return g.unaccounted(grant.ID, grant.Identity, lost)
	}
	return err
}

// Pending is the entry of a request that was let through, until it is known what came of it.
type Pending struct {
	audit Auditor
	entry *customhouse.AuditEntry
}

// Tag notes which tags a push is for, on which the gate had not to look. p may be nil.
func (p *Pending) Tag(tags ...customhouse.Tag) {
	if p == nil || len(tags) == 0 {
		return
	}
	p.entry.Tag = tags[0].String()
	for _, more := range tags[1:] {
		p.entry.Detail = strings.TrimPrefix(p.entry.Detail+"; and tag "+more.String(), "; ")
	}
}

// Settle keeps the entry, with what content the request was about and what was answered. An err that is a *Refusal makes
// it one of a request that was refused after all. It is called once, before the client sees the answer.
func (p *Pending) Settle(ctx context.Context, digest, mediaType string, status int, err error) {
	e := p.entry
	if e.Digest == "" {
		e.Digest = digest
	}
	if e.MediaType == "" && digest != "" {
		e.MediaType = mediaType
	}
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal):
		e.Allowed, e.By, e.Rule, e.Reason = false, refusal.By, refusal.Rule, refusal.Reason
	case status >= firstFailure:
		e.Detail = strings.TrimPrefix(e.Detail+"; answered "+strconv.Itoa(status), "; ")
	}
	_ = p.audit.Audit(ctx, e) // an error is for who keeps entries first
}

// auditRefusal keeps that what was let through is refused after all, where the entry of it has been kept already.
func (g *Grant) auditRefusal(ctx context.Context, need *Need, refusal *Refusal) {
	if g.gate.silent() || !g.gate.auditFirst {
		return
	}
	e := g.gate.entry(customhouse.AuditDecision, refusal.ID, &refusal.Identity, addressOf(&customhouse.Credential{Client: g.caller.client}))
	e.By, e.Rule, e.Reason, e.Service = refusal.By, refusal.Rule, refusal.Reason, g.caller.service
	e.Type, e.Name, e.Actions = need.Type, need.Name, need.Actions
	e.Tag, e.Digest, e.MediaType, e.ArtifactType = need.Target.Tag, need.Target.Digest, need.Target.MediaType, need.Target.ArtifactType
	_ = g.gate.audit.Audit(ctx, e) // it is refused in any case
}

// firstFailure is the first status that says that a request had no effect.
const firstFailure = 400

// auditLogin keeps how a login as account went, by which err tells.
func (g *Gate) auditLogin(ctx context.Context, method, account string, id *customhouse.Identity, client string, err error) error {
	if g.silent() {
		return err
	}
	e := g.entry(customhouse.AuditLogin, "", id, client)
	e.Allowed = err == nil
	if err != nil {
		e.Account, e.Method, e.Reason = account, method, err.Error()
	}
	if lost := g.audit.Audit(ctx, e); lost != nil && err == nil {
		return fmt.Errorf("%w: %w", errUnaccounted, lost)
	}
	return err
}

// auditToken keeps that a token was issued.
func (g *Gate) auditToken(ctx context.Context, r *TokenRequest, t *Token, services []string, jti string) error {
	if g.silent() {
		return nil
	}
	e := g.entry(customhouse.AuditToken, t.ID, &t.Identity, addressOf(&r.Credential))
	e.Allowed, e.Service = true, strings.Join(services, " ")
	if len(t.Access) == 1 {
		e.Type, e.Name, e.Actions = t.Access[0].Type, t.Access[0].Name, t.Access[0].Actions
	}
	var detail strings.Builder
	fmt.Fprintf(&detail, "token %s until %s", jti, t.IssuedAt.Add(t.ExpiresIn).Format(time.RFC3339))
	if scope := t.Scope(); scope != "" {
		detail.WriteString(" for " + scope)
	}
	if t.RefreshToken != "" {
		sum := sumOf(t.RefreshToken)
		detail.WriteString("; refresh token with SHA-256 " + hex.EncodeToString(sum[:8]) + "...")
	}
	e.Detail = detail.String()
	if err := g.audit.Audit(ctx, e); err != nil {
		return g.unaccounted(t.ID, t.Identity, err)
	}
	return nil
}

var errUnaccounted = errors.New("what cannot be accounted for is not done")

// unaccounted refuses what cannot be kept in the audit log.
func (g *Gate) unaccounted(id string, who customhouse.Identity, err error) *Refusal {
	return &Refusal{
		ID: id, Identity: who, Ground: Ground{By: customhouse.ByOutage, Reason: err.Error()}, RetryAfter: outage,
		Err: customhouse.Errorf(customhouse.Unavailable, "%v", errUnaccounted).WithCause(err),
	}
}

func addressOf(cred *customhouse.Credential) string {
	if !cred.Client.IsValid() {
		return ""
	}
	return cred.Client.String()
}

func scopesOf(needs []Need) string {
	texts := make([]string, len(needs))
	for i, n := range needs {
		texts[i] = n.Access.String()
	}
	return strings.Join(texts, " ")
}
