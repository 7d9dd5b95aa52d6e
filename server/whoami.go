package server

import (
	"net/http"
	"time"

	"customhouse"
)

// caller is the answer of GET /api/whoami: who is asking, as the gate knows them.
type caller struct {
	Anonymous bool                `json:"anonymous"`
	Account   string              `json:"account"`
	Method    string              `json:"method,omitempty"`  // the authenticator that vouches for the account
	Labels    map[string][]string `json:"labels,omitempty"`  // facts that rules may ask for
	Claims    map[string]any      `json:"claims,omitempty"`  // of the token that proved the account
	Scopes    []customhouse.Scope `json:"scopes,omitempty"`  // what the credential is for, if for less than the account may do
	Expires   *time.Time          `json:"expires,omitempty"` // when the credential ends
	Client    string              `json:"client,omitempty"`  // the address that rules are asked with
	Services  []string            `json:"services"`          // that tokens are issued for, this registry's own first
	Token     *bearer             `json:"token,omitempty"`   // with a token
}

// bearer is what the caller's token says.
type bearer struct {
	Access  []customhouse.Access `json:"access"`
	Expires time.Time            `json:"expires"`
}

func whoami(st *state, w *response, _ *http.Request, q apiAdmitted) error {
	id := q.grant.Identity
	c := caller{
		Anonymous: id.Anonymous(), Account: id.Account, Method: id.Method, Labels: id.Labels, Claims: id.Claims,
		Scopes: id.Scopes, Services: append([]string{}, st.Gate.Services()...),
	}
	if !id.Expires.IsZero() {
		c.Expires = &id.Expires
	}
	if q.cred.Client.IsValid() {
		c.Client = q.cred.Client.String()
	}
	if access, expires, ok := q.grant.Paper(); ok {
		c.Token = &bearer{append([]customhouse.Access{}, access...), expires}
	}
	return writeAPI(w, http.StatusOK, c)
}
