package gate_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"customhouse"
	"customhouse/authn"
	"customhouse/gate"
)

// offline returns a refresh token that a client had by a grant; "" is GET.
func (h *house) offline(account, grantType, client string) customhouse.Secret {
	h.t.Helper()
	tok, err := h.Issue(h.t.Context(), gate.TokenRequest{Credential: own(account), Offline: true, GrantType: grantType, ClientID: client})
	if err != nil || tok.RefreshToken == "" {
		h.t.Fatalf("Issue = %q, %v, want a refresh token", string(tok.RefreshToken), err)
	}
	return tok.RefreshToken
}

// next uses a refresh token and returns the one that takes its place, "" for none.
func (h *house) next(refresh customhouse.Secret, client string) customhouse.Secret {
	h.t.Helper()
	tok, err := h.refreshed(refresh, client, "repository:team/a:pull")
	if err != nil || tok.Scope() != "repository:team/a:pull" {
		h.t.Fatalf("Issue = %q, %v", tok.Scope(), err)
	}
	return tok.RefreshToken
}

func (h *house) invalid(what string, refresh customhouse.Secret, client string) {
	h.t.Helper()
	tok, err := h.refreshed(refresh, client)
	var wrong *gate.OAuthError
	if !errors.As(err, &wrong) || wrong.Code != gate.InvalidGrant || tok.Token != "" {
		h.t.Errorf("%s: Issue = %v, want invalid_grant", what, err)
	}
}

// A refresh token that was had by POST is replaced at each use. One that comes back after that ends all of its family and
// nothing else.
func TestS29_RotationAndReuse(t *testing.T) {
	var lines bytes.Buffer
	book := &notebook{}
	h := newHouse(t, func(o *gate.Options) { o.Log, o.Audit = slog.New(slog.NewTextHandler(&lines, nil)), book })
	begin := h.now
	first, other, docker := h.offline("alice", gate.GrantPassword, "ci"), h.offline("alice", gate.GrantPassword, "ci"), h.offline("alice", "", "docker")
	all := []customhouse.Secret{first}
	for range 50 {
		h.now = h.now.Add(time.Minute)
		next := h.next(all[len(all)-1], "ci")
		if next == "" || next == all[len(all)-1] || !strings.HasPrefix(string(next), "ch_refresh_") {
			t.Fatalf("next = %q, want another", string(next))
		}
		all = append(all, next)
	}
	last := all[len(all)-1]
	for _, kept := range h.refreshes.byHash {
		if kept.Expires.After(begin.Add(gate.DefaultRefreshTTL)) {
			t.Errorf("a refresh token is good until %v: replacing one makes it no younger", kept.Expires)
		}
	}
	h.invalid("another client", all[10], "docker") // which tells nothing
	if got := h.next(last, "ci"); got == "" {
		t.Error("after another client came with an old one, the last is good for nothing")
	}
	h.now = h.now.Add(31 * time.Second)
	book.entries = nil
	h.invalid("one that was replaced", all[10], "ci")
	h.invalid("its successor", last, "ci")
	h.invalid("the first", first, "ci")
	if !strings.Contains(lines.String(), "came back after it was replaced") || strings.Contains(lines.String(), string(all[10])) {
		t.Errorf("the log says %q", lines.String())
	}
	if e := book.entries[0]; e.Account != "alice" || e.Allowed || !strings.Contains(e.Reason, "replaced") {
		t.Errorf("the audit log says %+v", e)
	}
	h.next(other, "ci")
	if h.next(docker, "") != "" {
		t.Error("a refresh token that docker login had is replaced, and docker takes no other")
	}
}

// An answer that got lost can be asked for again, and two programs may ask with the same token at the same time.
func TestS29_RotationGrace(t *testing.T) {
	h := newHouse(t, nil)
	first := h.offline("alice", gate.GrantPassword, "ci")
	second := h.next(first, "ci")
	h.now = h.now.Add(29 * time.Second)
	sibling := h.next(first, "ci")
	if sibling == "" || sibling == second {
		t.Fatalf("within the grace the answer has %q", string(sibling))
	}
	h.now = h.now.Add(2 * time.Second) // 31 s after the first use, which is what counts
	third := h.next(second, "ci")
	h.next(sibling, "ci")
	h.invalid("after the grace", first, "ci")
	for what, token := range map[string]customhouse.Secret{"second": second, "third": third, "sibling": sibling} {
		h.invalid(what, token, "ci")
	}
}

func TestRotationIsASetting(t *testing.T) {
	h := newHouse(t, func(o *gate.Options) { o.Rotation = gate.RotateAlways })
	docker := h.offline("alice", "", "docker")
	if h.next(docker, "docker") == "" {
		t.Error("always: a refresh token that was had by GET is not replaced")
	}
	h.now = h.now.Add(time.Minute)
	h.rebuild(func(o *gate.Options) { o.Rotation = gate.RotateNever })
	h.invalid("replaced before the setting was another", docker, "docker")
	ci := h.offline("alice", gate.GrantPassword, "ci")
	for range 3 {
		if h.next(ci, "ci") != "" {
			t.Error("never: a refresh token is replaced")
		}
		h.now = h.now.Add(time.Minute)
	}
	o := h.options
	o.Rotation = "sometimes"
	if _, err := gate.New(o); err == nil {
		t.Error("New takes a rotation that there is not")
	}
}

// Where an account is seen together with its password only, nobody could tell later whether it is there still, and has the
// same: it has no refresh token, and those that it has are good no more.
func TestS29_NoRefreshWithoutLookup(t *testing.T) {
	h := newHouse(t, nil)
	refresh := h.offline("alice", "", "docker")
	h.rebuild(func(o *gate.Options) {
		chain, err := authn.NewChain(authn.NewPasswords(authn.PasswordOptions{}), onlyWithPassword{h.accounts})
		must(t, err)
		o.Chain = chain
	})
	for _, grantType := range []string{"", gate.GrantPassword} {
		tok, err := h.Issue(t.Context(), gate.TokenRequest{Credential: own("alice"), Offline: true, GrantType: grantType, Scopes: []string{"repository:team/a:pull"}})
		if err != nil || tok.RefreshToken != "" || tok.Scope() != "repository:team/a:pull" {
			t.Errorf("Issue = %q, %v, want a token and no refresh token", tok.Scope(), err)
		}
	}
	h.invalid("one from before", refresh, "docker")
}

// onlyWithPassword are accounts that cannot be looked up.
type onlyWithPassword struct{ authn.Authenticator }
