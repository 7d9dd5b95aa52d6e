package customhouse

import "time"

// Answers to a question about permission, as people read them.
const (
	AnswerAllow = "allow"
	AnswerDeny  = "deny"
	AnswerMaybe = "maybe" // it depends on what is not known yet
	AnswerOpen  = "open"  // the rules leave it to others
)

// Difference is a kind of decision that a policy beside the one that holds would have made otherwise.
type Difference struct {
	Account string `json:"account"` // "" is anonymous
	Type    string `json:"type"`
	Name    string `json:"name"`
	Tag     string `json:"tag,omitempty"`
	Action  Action `json:"action"`

	Live       string `json:"live"`               // the answer that holds
	LiveRule   string `json:"liveRule,omitempty"` // where the rule stands that gave it; "" where none did
	Shadow     string `json:"shadow"`             // the answer that would
	ShadowRule string `json:"shadowRule,omitempty"`

	Count int64     `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

// Kind is d without its count and its times.
func (d Difference) Kind() Difference {
	d.Count, d.First, d.Last = 0, time.Time{}, time.Time{}
	return d
}
