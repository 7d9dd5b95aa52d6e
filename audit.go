package customhouse

import "time"

// Kinds of an AuditEntry.
const (
	AuditDecision   = "decision"   // a request was let through or refused
	AuditLogin      = "login"      // a password or another proof was good, or not
	AuditToken      = "token"      // a token was issued
	AuditAccount    = "account"    // an account or a credential of one was made, changed or removed
	AuditPolicy     = "policy"     // other rules hold
	AuditKey        = "key"        // a signing key was made, has begun or ceased to sign, or was removed
	AuditLog        = "log"        // something about the log itself: entries of it are lost
	AuditDifference = "difference" // a shadow policy would have decided otherwise
)

// Who decided, as an AuditEntry tells: one of these, or the key of who has rights beside the rules, such as sql or webhook.
const (
	ByRules   = "rules"   // the rules of the file, be it that none matches
	ByScope   = "scope"   // the scopes of the credential, within what else is allowed
	ByToken   = "token"   // what the token is for, within what else is allowed
	ByIssuer  = "issuer"  // the other issuer of the token, where rules are not asked
	ByAccount = "account" // that there is an account, or none, or that it could not be told
	ByLimit   = "limit"   // how many requests there were, or failed logins
	ByContent = "content" // what is there
	ByOutage  = "outage"  // who was to decide, or to account for it, could not
	ByNobody  = "nobody"  // authorization is off
)

// AuditKinds returns the kinds of entries that there are.
func AuditKinds() []string {
	return []string{AuditDecision, AuditLogin, AuditToken, AuditAccount, AuditPolicy, AuditKey, AuditDifference, AuditLog}
}

// AuditMore is the only label of an entry whose labels were more than is kept, and the only claim in the same way.
const AuditMore = "..."

// PartlyKnown tells whether id, which comes from an entry, had more labels or claims than were kept.
func PartlyKnown(id Identity) bool {
	_, labels := id.Labels[AuditMore]
	_, claims := id.Claims[AuditMore]
	return labels || claims
}

// AuditEntry is something that is kept to be accounted for. Its JSON form is a line of the audit log.
type AuditEntry struct {
	Number   int64     `json:"number"` // from 1, without gaps
	Time     time.Time `json:"time"`
	Kind     string    `json:"kind"`
	Decision string    `json:"decision,omitempty"` // id of the decision
	Allowed  bool      `json:"allowed"`

	Account string              `json:"account,omitempty"` // "" is anonymous
	Method  string              `json:"method,omitempty"`
	Labels  map[string][]string `json:"labels,omitempty"`
	Claims  map[string]any      `json:"claims,omitempty"`
	Client  string              `json:"client,omitempty"` // address

	Service      string   `json:"service,omitempty"`
	Type         string   `json:"type,omitempty"`
	Name         string   `json:"name,omitempty"`
	Actions      []Action `json:"actions,omitempty"`
	Tag          string   `json:"tag,omitempty"`
	Digest       string   `json:"digest,omitempty"`
	MediaType    string   `json:"mediaType,omitempty"`
	ArtifactType string   `json:"artifactType,omitempty"`

	By     string `json:"by,omitempty"`   // who decided
	Rule   string `json:"rule,omitempty"` // where the rule stands that decided
	Reason string `json:"reason,omitempty"`
	Detail string `json:"detail,omitempty"` // of what is no decision: what was made, changed or removed

	// Entries of strangers that were counted and not kept are one, of the first time. Client is their network then.
	Count int64     `json:"count,omitempty"`
	Until time.Time `json:"until,omitzero"` // of the last time

	Previous string `json:"previous"` // Hash of the entry before; "" for the first
	Hash     string `json:"hash"`     // SHA-256, in hexadecimal, of the entry without this

	Stranger bool `json:"-"` // whoever did it has proven nothing, and may do it a million times under other names
}
