package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"customhouse"
	"customhouse/authn"
	"customhouse/authz"
	"customhouse/gate"
	"customhouse/policy"
	"customhouse/server"
)

// staffed is a house with robots and tokens, in which admin has the office of accounts.
func staffed(t *testing.T, more ...policy.Rule) *house {
	h := open(t, setup{})
	logger := slog.New(slog.NewJSONHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var users []customhouse.Account
	for name, hash := range hashes() {
		users = append(users, customhouse.Account{Name: name, Password: hash})
	}
	passwords := authn.NewPasswords(authn.PasswordOptions{})
	static, err := authn.NewStatic(users, passwords)
	must(t, err)
	var chain *authn.Chain
	o := authn.MachineOptions{Log: logger, Lookup: func(ctx context.Context, method, account string) (customhouse.Identity, error) {
		return chain.Lookup(ctx, method, account)
	}}
	tokens, robots := authn.NewPersonalTokens(h.index, passwords, o), authn.NewRobots(h.index, passwords, o)
	t.Cleanup(func() { tokens.Close(); robots.Close() })
	chain, err = authn.NewChain(passwords, tokens, robots, static)
	must(t, err)
	rules, err := policy.Compile(append(append(usual(), more...), policy.Rule{
		Match: policy.Match{Labels: map[string]policy.Values{"group": {"ci"}}, Name: policy.Values{"team/**"}}, Actions: []customhouse.Action{"pull", "push"},
	}), policy.Options{})
	must(t, err)
	st := h.state
	st.Gate, err = gate.New(gate.Options{
		Chain: chain, Policy: authz.NewRules(rules), Issuer: "customhouse", Service: service, Keys: h.keys, Refresh: h.index, AllowBasic: true, Log: logger,
	})
	must(t, err)
	st.Machines = authn.NewMachines(h.index, authn.MachinesOptions{
		CheckScope: gate.CheckScope, Log: logger, Changed: func(account string) { tokens.Forget(account); robots.Forget(account) },
		Owner: func(ctx context.Context, account string) (string, error) { return chain.Owner(ctx, account, "") },
	})
	var _ server.Machines = st.Machines
	h.server.Swap(st)
	return h
}

// made is what the API says of a credential or a robot.
type made struct {
	ID, Account, Name, Secret, Method string
	Scopes                            []customhouse.Scope
	Networks                          []string
	Expires, Used                     *time.Time
	Disabled                          bool
	Labels                            map[string][]string
	Secrets                           []made
}

func (p person) ask(method, path string, v any) answer {
	p.t.Helper()
	if v == nil {
		return p.do(method, path, nil)
	}
	body, err := json.Marshal(v)
	must(p.t, err)
	return p.do(method, path, body, "Content-Type", "application/json")
}

type doc = map[string]any

// knows returns whoever comes with a name and a password.
func (h *house) knows(account, password string) person {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(account, password)
	return person{h, r.Header.Get("Authorization")}
}

// Whoever has an account makes tokens for their programs, sees them and ends them.
func TestAPITokens(t *testing.T) {
	h := staffed(t)
	alice := h.as("alice")
	var token made
	alice.ask("POST", "/api/tokens", doc{"name": "laptop", "scopes": []doc{{"repo": "a/app", "actions": []string{"pull"}}}, "expires": time.Now().Add(time.Hour).Format(time.RFC3339)}).
		want(http.StatusCreated, "").wantHeader("Cache-Control", "no-store").into(&token)
	if !strings.HasPrefix(token.Secret, "cht_") || token.Account != "alice" || token.Name != "laptop" || len(token.Scopes) != 1 || token.Expires == nil || token.Expires.After(time.Now().Add(time.Hour)) {
		t.Fatalf("made = %+v", token)
	}
	laptop := h.knows("alice", token.Secret)
	laptop.get("/v2/a/app/tags/list").want(http.StatusNotFound, "") // let through, and there is none
	if m := laptop.get("/v2/a/other/tags/list").want(http.StatusForbidden, "DENIED"); !strings.Contains(string(m.body), "outside of what the credential is for") {
		t.Errorf("refusal = %s, want that it is the credential's", m.body)
	}
	for _, p := range []person{alice, laptop} { // what one may do is what one's credential may
		var x explained
		p.get("/api/explain?repo=a/other&action=pull").want(http.StatusOK, "").into(&x)
		if deny := strings.Contains(x.Message, "outside of what the credential is for"); (x.Answer == "deny") != (p == laptop) || deny != (p == laptop) {
			t.Errorf("explain = %+v", x)
		}
	}
	var list struct{ Tokens []made }
	for _, p := range []person{alice, laptop} {
		list.Tokens = nil
		body := p.get("/api/tokens").want(http.StatusOK, "")
		if body.into(&list); len(list.Tokens) != 1 || list.Tokens[0].ID != token.ID || strings.Contains(string(body.body), "cht_") {
			t.Errorf("list = %s", body.body)
		}
	}
	paper := h.with(h.tokenOf(laptop, "repository:a/app:pull"))
	paper.get("/v2/a/app/tags/list").want(http.StatusNotFound, "")

	// nobody makes or ends credentials with one that is for less
	for _, p := range map[string]person{"a token of another": laptop, "paper": paper, "paper of the account": h.with(h.token("alice", "repository:a/app:pull"))} {
		p.ask("POST", "/api/tokens", doc{"name": "more"}).want(http.StatusForbidden, "DENIED")
		p.ask("DELETE", "/api/tokens/"+token.ID, nil).want(http.StatusForbidden, "DENIED")
	}
	h.as("").ask("POST", "/api/tokens", doc{"name": "x"}).want(http.StatusUnauthorized, "UNAUTHORIZED")
	for _, bad := range []doc{
		{}, {"name": "x", "scopes": []doc{}}, {"name": "x", "networks": []string{}}, {"name": "x", "networks": []string{"nowhere"}}, {"name": "x", "expires": "soon"},
		{"name": "x", "expires": "never"}, {"name": "x", "expires": "2001-01-01T00:00:00Z"}, {"name": "x", "expires": "9999-01-01T00:00:00Z"}, {"name": "x", "colour": "blue"},
		{"name": "x", "scopes": []doc{{"repo": "[", "actions": []string{"pull"}}}}, {"name": "x", "scopes": []doc{{"repo": "a", "actions": []string{"admin"}}}},
	} {
		alice.ask("POST", "/api/tokens", bad).want(http.StatusBadRequest, "UNSUPPORTED")
	}

	alice.ask("DELETE", "/api/tokens/"+token.ID, nil).want(http.StatusNoContent, "")
	laptop.get("/v2/a/app/tags/list").want(http.StatusUnauthorized, "UNAUTHORIZED")
	paper.get("/v2/a/app/tags/list").want(http.StatusUnauthorized, "UNAUTHORIZED")
	alice.ask("DELETE", "/api/tokens/"+token.ID, nil).want(http.StatusNotFound, "")
}

// tokenOf fetches a registry token for p.
func (h *house) tokenOf(p person, scope string) string {
	h.t.Helper()
	var v struct{ Token string }
	p.get("/token?service="+service+"&scope="+scope).want(http.StatusOK, "").into(&v)
	return v.Token
}

// What belongs to another is not there, by its id, in a list or in a body, and stays as it is; a name gives nothing.
func TestS18_MachinesOfOthers(t *testing.T) {
	h := staffed(t)
	admin, alice, bob := h.as("admin"), h.as("alice"), h.as("bob")
	var token, robot made
	alice.ask("POST", "/api/tokens", doc{"name": "laptop"}).want(http.StatusCreated, "").into(&token)
	admin.ask("POST", "/api/robots", doc{"name": "ci", "labels": doc{"group": []string{"ci"}}, "owner": doc{"account": "alice", "method": "users"}, "secret": doc{}}).
		want(http.StatusCreated, "").into(&robot)
	secret := robot.Secrets[0]
	before := func() string {
		tokens, err := h.index.AllMachineCredentials(t.Context(), customhouse.PersonalToken)
		must(t, err)
		secrets, err := h.index.AllMachineCredentials(t.Context(), customhouse.RobotSecret)
		must(t, err)
		robots, err := h.index.Robots(t.Context())
		must(t, err)
		return fmt.Sprintf("%+v %+v %+v", tokens, secrets, robots)
	}
	was := before()
	missing := bob.ask("DELETE", "/api/tokens/nothing", nil).want(http.StatusNotFound, "UNSUPPORTED")
	for _, r := range []struct {
		method, path string
		body         any
	}{
		{"DELETE", "/api/tokens/" + token.ID, nil}, {"GET", "/api/robots/ci", nil}, {"PATCH", "/api/robots/ci", doc{"disabled": true}},
		{"DELETE", "/api/robots/ci", nil}, {"POST", "/api/robots/ci/secrets", doc{}}, {"DELETE", "/api/robots/ci/secrets/" + secret.ID, nil},
	} {
		for who, p := range map[string]person{"bob": bob, "alice by paper for something": h.with(h.token("alice", "repository:a/app:pull")), "bob's of the same kind": bob} {
			if strings.HasPrefix(who, "alice") && (r.method == "GET" || r.path == "/api/tokens/"+token.ID) {
				continue // which she may see, or is told that paper is not enough
			}
			got := p.ask(r.method, r.path, r.body)
			if strings.HasPrefix(who, "alice") {
				got.want(http.StatusForbidden, "DENIED")
				continue
			}
			if got.want(http.StatusNotFound, "UNSUPPORTED"); !bytes.Equal(got.body, missing.body) {
				t.Errorf("%s %s by %s = %s, and of what is not there %s", r.method, r.path, who, got.body, missing.body)
			}
			other := p.ask(r.method, strings.NewReplacer("ci", "cd", token.ID, "nothing").Replace(r.path), r.body)
			if !bytes.Equal(got.body, other.body) || got.status != other.status {
				t.Errorf("%s %s by %s = %s, and of what is not there %s", r.method, r.path, who, got.body, other.body)
			}
		}
	}
	bob.get("/api/tokens?account=alice").want(http.StatusForbidden, "DENIED")
	bob.ask("DELETE", "/api/tokens/"+token.ID+"?account=alice", nil).want(http.StatusForbidden, "DENIED")
	bob.get("/api/robots?all=").want(http.StatusForbidden, "DENIED")
	bob.ask("POST", "/api/tokens", doc{"name": "x", "account": "alice"}).want(http.StatusForbidden, "DENIED")
	admin.ask("POST", "/api/tokens", doc{"name": "x", "account": "alice"}).want(http.StatusForbidden, "DENIED")
	alice.ask("POST", "/api/robots", doc{"name": "mine", "labels": doc{"role": []string{"admin"}}, "secret": doc{}}).want(http.StatusForbidden, "DENIED")
	for _, taken := range []string{"alice", "ci", "admin"} {
		admin.ask("POST", "/api/robots", doc{"name": taken, "secret": doc{}}).want(http.StatusBadRequest, "UNSUPPORTED")
	}
	if now := before(); now != was {
		t.Fatalf("what belongs to others has changed:\n%s\n%s", was, now)
	}

	// a name gives nothing
	for _, name := range []string{"robot$scanner-1", "scanner-x", "system", "root", "admin-2", "customhouse", "robot"} {
		if name == "robot" {
			continue // an account of these tests
		}
		var r made
		admin.ask("POST", "/api/robots", doc{"name": name, "secret": doc{}}).want(http.StatusCreated, "").into(&r)
		h.knows(name, r.Secrets[0].Secret).get("/v2/team/app/tags/list").want(http.StatusForbidden, "DENIED")
	}

	// the owner sees and changes it, and cannot make it be for more
	ci := h.knows("ci", secret.Secret)
	ci.get("/v2/team/app/tags/list").want(http.StatusNotFound, "")
	var list struct{ Robots []made }
	alice.get("/api/robots").want(http.StatusOK, "").into(&list)
	if len(list.Robots) != 1 || list.Robots[0].Name != "ci" {
		t.Errorf("robots of alice = %+v", list.Robots)
	}
	alice.ask("POST", "/api/robots/ci/secrets", doc{"scopes": []doc{{"repo": "**", "actions": []string{"*"}}}}).want(http.StatusBadRequest, "UNSUPPORTED")
	var second made
	alice.ask("POST", "/api/robots/ci/secrets", doc{"grace": 0}).want(http.StatusCreated, "").into(&second)
	ci.get("/v2/team/app/tags/list").want(http.StatusUnauthorized, "UNAUTHORIZED")
	ci = h.knows("ci", second.Secret)
	ci.get("/v2/team/app/tags/list").want(http.StatusNotFound, "")
	ci.ask("POST", "/api/tokens", doc{"name": "x"}).want(http.StatusForbidden, "DENIED")
	alice.ask("PATCH", "/api/robots/ci", doc{"disabled": true}).want(http.StatusOK, "")
	alice.ask("PATCH", "/api/robots/ci", doc{"disabled": false}).want(http.StatusForbidden, "DENIED") // an admin might have disabled it
	ci.get("/v2/team/app/tags/list").want(http.StatusUnauthorized, "UNAUTHORIZED")
	admin.ask("PATCH", "/api/robots/ci", doc{"disabled": false}).want(http.StatusOK, "")
	ci.get("/v2/team/app/tags/list").want(http.StatusNotFound, "")
	admin.ask("DELETE", "/api/robots/ci/secrets/"+second.ID, nil).want(http.StatusNoContent, "")
	ci.get("/v2/team/app/tags/list").want(http.StatusUnauthorized, "UNAUTHORIZED")
	alice.ask("DELETE", "/api/robots/ci", nil).want(http.StatusNoContent, "")
	admin.get("/api/robots/ci").want(http.StatusNotFound, "UNSUPPORTED")
	admin.get("/api/tokens?account=alice").want(http.StatusOK, "")
	admin.ask("DELETE", "/api/tokens/"+token.ID+"?account=alice", nil).want(http.StatusNoContent, "")
	h.knows("alice", token.Secret).get("/v2/a/app/tags/list").want(http.StatusUnauthorized, "UNAUTHORIZED")
}

// What a robot is for outlives its secrets: an owner who ends them all does not get one for more.
func TestS18_RotationKeepsWhatASecretIsFor(t *testing.T) {
	h := staffed(t)
	admin, alice := h.as("admin"), h.as("alice")
	var robot, next made
	admin.ask("POST", "/api/robots", doc{
		"name": "ci", "labels": doc{"group": []string{"ci"}}, "owner": doc{"account": "alice", "method": "users"},
		"secret": doc{"scopes": []doc{{"repo": "team/app", "actions": []string{"pull"}}}, "networks": []string{"127.0.0.0/8"}},
	}).want(http.StatusCreated, "").into(&robot)
	alice.ask("DELETE", "/api/robots/ci/secrets/"+robot.Secrets[0].ID, nil).want(http.StatusNoContent, "")
	alice.ask("POST", "/api/robots/ci/secrets", doc{}).want(http.StatusCreated, "").into(&next)
	if len(next.Scopes) != 1 || next.Scopes[0].Repo != "team/app" || len(next.Networks) != 1 {
		t.Errorf("the secret after all were revoked is for %+v from %v, want what the first was for", next.Scopes, next.Networks)
	}
	ci := h.knows("ci", next.Secret)
	ci.get("/v2/team/app/tags/list").want(http.StatusNotFound, "")
	ci.get("/v2/team/other/tags/list").want(http.StatusForbidden, "DENIED")
}

// A rule that opens everything to everybody, as from the machine itself, makes nobody without an account an office of accounts.
func TestS18_NobodyKeepsAccounts(t *testing.T) {
	h := staffed(t, policy.Rule{Match: policy.Match{IP: policy.Values{"127.0.0.0/8", "::1"}}, Actions: []customhouse.Action{"*"}})
	var token made
	h.as("bob").ask("POST", "/api/tokens", doc{"name": "laptop"}).want(http.StatusCreated, "").into(&token)
	nobody := h.as("")
	for path, method := range map[string]string{"/api/tokens?account=bob": "GET", "/api/tokens/" + token.ID + "?account=bob": "DELETE", "/api/robots?all=": "GET"} {
		nobody.ask(method, path, nil).want(http.StatusUnauthorized, "UNAUTHORIZED")
	}
	nobody.ask("POST", "/api/robots", doc{"name": "ci", "labels": doc{"role": []string{"admin"}}, "secret": doc{}}).want(http.StatusUnauthorized, "UNAUTHORIZED")
	h.knows("bob", token.Secret).get("/v2/b/app/tags/list").want(http.StatusNotFound, "")
}

// The audit log has who made and changed robots and tokens, and from where.
func TestS18_ChangesAreAccountedFor(t *testing.T) {
	h := staffed(t)
	admin, alice := h.as("admin"), h.as("alice")
	admin.ask("POST", "/api/robots", doc{"name": "ci", "owner": doc{"account": "alice", "method": "users"}, "secret": doc{}}).want(http.StatusCreated, "")
	alice.ask("POST", "/api/robots/ci/secrets", doc{"grace": 0}).want(http.StatusCreated, "")
	admin.ask("PATCH", "/api/robots/ci", doc{"disabled": true}).want(http.StatusOK, "")
	var token made
	alice.ask("POST", "/api/tokens", doc{"name": "laptop"}).want(http.StatusCreated, "").into(&token)
	admin.ask("DELETE", "/api/tokens/"+token.ID+"?account=alice", nil).want(http.StatusNoContent, "")
	alice.ask("DELETE", "/api/robots/ci", nil).want(http.StatusNoContent, "")
	notes, err := h.index.AuditNotes(t.Context(), 0, 10)
	must(t, err)
	var who []string
	for _, n := range notes {
		who = append(who, n.Entry.Account)
		if n.Entry.Client != "127.0.0.1" || n.Entry.Decision == "" {
			t.Errorf("entry = %+v, want the client and the decision", n.Entry)
		}
	}
	if want := []string{"admin", "alice", "admin", "alice", "admin", "alice"}; !slices.Equal(who, want) {
		t.Errorf("changes by %v, want %v", who, want)
	}
}

// Without a data folder there is nothing of the kind.
func TestAPIWithoutMachines(t *testing.T) {
	h := open(t, setup{})
	for _, path := range []string{"/api/tokens", "/api/robots", "/api/robots/ci"} {
		h.as("alice").get(path).want(http.StatusNotFound, "UNSUPPORTED")
	}
}
