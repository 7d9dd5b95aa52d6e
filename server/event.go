package server

import (
	"net/http"
	"net/netip"

	"customhouse"
	"customhouse/gate"
)

// origin says of a request what events and the audit log tell.
func (st *state) origin(r *http.Request, client netip.Addr, grant *gate.Grant) customhouse.Origin {
	scheme := "http"
	if r.TLS != nil || st.Realm.Public != nil && st.Realm.Public.Scheme == "https" {
		scheme = "https"
	}
	return customhouse.Origin{
		ID: grant.ID, Account: grant.Identity.Account, Client: client, Base: scheme + "://" + clip(r.Host) + st.Prefix,
		Method: r.Method, Agent: clip(r.UserAgent()),
	}
}

// pulled tells of content that goes out, where somebody wants to know: of what is sent, not of a look at it.
func (st *state) pulled(r *http.Request, q *admitted, d customhouse.Descriptor) {
	if st.Pulled == nil || r.Method != http.MethodGet {
		return
	}
	e := customhouse.Event{
		Action: customhouse.EventPull, Repo: q.request.repo.String(), Digest: d.Digest.String(), MediaType: d.MediaType, Size: d.Size,
		Origin: customhouse.OriginOf(r.Context()),
	}
	if !q.ref.Tag.IsZero() {
		e.Tag = q.ref.Tag.String()
	}
	st.Pulled(e)
}
