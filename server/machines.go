package server

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"customhouse"
	"customhouse/gate"
)

// Machines makes and ends personal access tokens, robots and their secrets. Whether somebody may ask for that is decided
// here. Errors that are a *customhouse.Error are for the client; customhouse.ErrNotFound says that there is no such thing.
type Machines interface {
	NewToken(ctx context.Context, owner customhouse.Identity, n customhouse.NewCredential) (customhouse.Secret, customhouse.MachineCredential, error)
	Tokens(ctx context.Context, owner customhouse.Owner) ([]customhouse.MachineCredential, error) // Method "" is any
	RevokeToken(ctx context.Context, owner customhouse.Owner, id string) error

	NewRobot(ctx context.Context, r customhouse.Robot, n customhouse.NewCredential) (customhouse.Secret, customhouse.MachineCredential, error)
	Robots(context.Context) ([]customhouse.Robot, error)
	Robot(ctx context.Context, name string) (customhouse.Robot, []customhouse.MachineCredential, error)
	Rotate(ctx context.Context, name string, grace time.Duration, n customhouse.NewCredential) (customhouse.Secret, customhouse.MachineCredential, error)
	RevokeSecret(ctx context.Context, name, id string) error
	Disable(ctx context.Context, name string, disabled bool) error
	Remove(ctx context.Context, name string) error
}

// machineRoutes are those about tokens and robots.
var machineRoutes = []apiRoute{
	{method: "GET", path: "tokens", reach: forAccount, office: officeAccounts, params: []string{"account"}, others: aboutOthers, kept: true, serve: listTokens},
	{method: "POST", path: "tokens", reach: forAccount, kept: true, serve: makeToken},
	{method: "DELETE", path: "tokens/{}", reach: forAccount, office: officeAccounts, params: []string{"account"}, others: aboutOthers, kept: true, serve: revokeToken},
	{method: "GET", path: "robots", reach: forAccount, office: officeAccounts, params: []string{"all"}, others: aboutAll, kept: true, serve: listRobots},
	{method: "POST", path: "robots", reach: forAdmins, office: officeAccounts, kept: true, serve: makeRobot},
	{method: "GET", path: "robots/{}", reach: forAccount, kept: true, serve: showRobot},
	{method: "PATCH", path: "robots/{}", reach: forAccount, kept: true, serve: changeRobot},
	{method: "DELETE", path: "robots/{}", reach: forAccount, kept: true, serve: removeRobot},
	{method: "POST", path: "robots/{}/secrets", reach: forAccount, kept: true, serve: rotateRobot},
	{method: "DELETE", path: "robots/{}/secrets/{}", reach: forAccount, kept: true, serve: revokeSecret},
}

func aboutOthers(q apiRequest, who customhouse.Identity) bool {
	return q.query.Has("account") && q.query.Get("account") != who.Account
}

func aboutAll(q apiRequest, _ customhouse.Identity) bool { return q.query.Has("all") }

// apiCredential is a credential as the API shows it. The secret is there once, in the answer to what made it.
type apiCredential struct {
	ID       string              `json:"id"`
	Account  string              `json:"account"`
	Method   string              `json:"method,omitempty"` // the source that vouches for the owner of a token
	Name     string              `json:"name"`
	Secret   string              `json:"secret,omitempty"`
	Scopes   []customhouse.Scope `json:"scopes,omitempty"`   // left out where it is for all that the account may do
	Networks []netip.Prefix      `json:"networks,omitempty"` // left out where it may be used from anywhere
	Created  time.Time           `json:"created"`
	Expires  *time.Time          `json:"expires,omitempty"`
	Used     *time.Time          `json:"used,omitempty"`
}

func credentialOf(c customhouse.MachineCredential, secret customhouse.Secret) apiCredential {
	return apiCredential{
		ID: c.ID, Account: c.Owner.Account, Method: c.Owner.Method, Name: c.Name, Secret: string(secret), Scopes: c.Scopes, Networks: c.Networks,
		Created: c.Created.UTC(), Expires: timeOf(c.Expires), Used: timeOf(c.Used),
	}
}

func credentialsOf(all []customhouse.MachineCredential) []apiCredential {
	shown := make([]apiCredential, len(all))
	for i, c := range all {
		shown[i] = credentialOf(c, "")
	}
	return shown
}

func timeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// wantedCredential is what a client says about a new credential.
type wantedCredential struct {
	Name     string              `json:"name"`
	Scopes   []customhouse.Scope `json:"scopes"`
	Networks []string            `json:"networks"`
	Expires  string              `json:"expires"` // RFC 3339, or "never"; "" is the usual lifetime
}

func (w *wantedCredential) read() (customhouse.NewCredential, error) {
	n := customhouse.NewCredential{Name: w.Name, Scopes: w.Scopes}
	bad := func(format string, args ...any) (customhouse.NewCredential, error) {
		return n, customhouse.Errorf(customhouse.BadRequest, format, args...)
	}
	if w.Networks != nil {
		n.Networks = []netip.Prefix{}
	}
	for _, text := range w.Networks {
		network, err := customhouse.ParseNetwork(text)
		if err != nil {
			return bad("%v", err)
		}
		n.Networks = append(n.Networks, network)
	}
	switch w.Expires {
	case "":
	case "never":
		n.Lifetime = -1
	default:
		end, err := time.Parse(time.RFC3339, w.Expires)
		if err != nil {
			return bad("expires is not a time of RFC 3339 or never")
		}
		if n.Lifetime = time.Until(end); n.Lifetime <= 0 {
			return bad("expires is in the past")
		}
	}
	return n, nil
}

// firstHand refuses to let credentials be changed by whoever has one that is for less than the account: what is made with
// it would outlive it, or be for more.
func firstHand(q *apiAdmitted) error {
	id := &q.grant.Identity
	_, _, paper := q.grant.Paper()
	if paper || id.Method == "tokens" || id.Scopes != nil || id.Networks != nil || !id.Expires.IsZero() {
		return customhouse.Errorf(customhouse.Denied, "credentials are made and changed with the account's own password, not with a token or a credential that is for less")
	}
	return nil
}

// self is who asks as an owner.
func (q *apiAdmitted) self() customhouse.Owner {
	return customhouse.Owner{Account: q.grant.Identity.Account, Method: q.grant.Identity.Method}
}

// owner is whose tokens a request is about: the caller's, whatever they came with, or those of the account that it names.
func (q *apiAdmitted) owner() customhouse.Owner {
	if account := q.query.Get("account"); account != "" && account != q.grant.Identity.Account {
		return customhouse.Owner{Account: account}
	}
	if q.grant.Identity.Method == "tokens" {
		return customhouse.Owner{Account: q.grant.Identity.Account}
	}
	return q.self()
}

func listTokens(st *state, w *response, r *http.Request, q apiAdmitted) error {
	tokens, err := st.Machines.Tokens(r.Context(), q.owner())
	if err != nil {
		return err
	}
	return writeAPI(w, http.StatusOK, map[string]any{"tokens": credentialsOf(tokens)})
}

func makeToken(st *state, w *response, r *http.Request, q apiAdmitted) error {
	var body struct {
		wantedCredential
		Account string `json:"account"` // the caller, if anybody
	}
	if err := readAPI(r, &body); err != nil {
		return err
	}
	if body.Account != "" && body.Account != q.grant.Identity.Account {
		return customhouse.Errorf(customhouse.Denied, "tokens are made by their owners")
	}
	if err := firstHand(&q); err != nil {
		return err
	}
	n, err := body.read()
	if err != nil {
		return err
	}
	secret, c, err := st.Machines.NewToken(r.Context(), q.grant.Identity, n)
	if err != nil {
		return err
	}
	return writeAPI(w, http.StatusCreated, credentialOf(c, secret))
}

func revokeToken(st *state, w *response, r *http.Request, q apiAdmitted) error {
	owner := q.owner()
	if owner.Account == q.grant.Identity.Account {
		if err := firstHand(&q); err != nil {
			return err
		}
	}
	tokens, err := st.Machines.Tokens(r.Context(), owner)
	if err != nil {
		return err
	}
	for _, c := range tokens {
		if c.ID != q.args[0] {
			continue
		}
		if err := st.Machines.RevokeToken(r.Context(), c.Owner, c.ID); err != nil {
			return notThere(err)
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return notThere(customhouse.ErrNotFound)
}

// notThere is what a client hears of customhouse.ErrNotFound, and of what belongs to others.
func notThere(err error) error {
	if errors.Is(err, customhouse.ErrNotFound) {
		return customhouse.Errorf(customhouse.NotFound, "there is no such thing, or it is not yours")
	}
	return err
}

// apiRobot is a robot as the API shows it.
type apiRobot struct {
	Name     string              `json:"name"`
	Labels   map[string][]string `json:"labels,omitempty"`
	Owner    *apiOwner           `json:"owner,omitempty"`
	Disabled bool                `json:"disabled"`
	Created  time.Time           `json:"created"`
	Secrets  []apiCredential     `json:"secrets,omitempty"`
}

type apiOwner struct {
	Account string `json:"account"`
	Method  string `json:"method"`
}

func robotOf(r customhouse.Robot) apiRobot {
	shown := apiRobot{Name: r.Name, Labels: r.Labels, Disabled: r.Disabled, Created: r.Created.UTC()}
	if r.Owner != (customhouse.Owner{}) {
		shown.Owner = &apiOwner{r.Owner.Account, r.Owner.Method}
	}
	return shown
}

func listRobots(st *state, w *response, r *http.Request, q apiAdmitted) error {
	all, err := st.Machines.Robots(r.Context())
	if err != nil {
		return err
	}
	shown := []apiRobot{}
	for _, robot := range all {
		if q.query.Has("all") || robot.Owner == q.self() {
			shown = append(shown, robotOf(robot))
		}
	}
	return writeAPI(w, http.StatusOK, map[string]any{"robots": shown})
}

func makeRobot(st *state, w *response, r *http.Request, q apiAdmitted) error {
	var body struct {
		Name   string              `json:"name"`
		Labels map[string][]string `json:"labels"`
		Owner  apiOwner            `json:"owner"`
		Secret wantedCredential    `json:"secret"`
	}
	if err := readAPI(r, &body); err != nil {
		return err
	}
	if q.grant.Identity.Method == "tokens" {
		return firstHand(&q)
	}
	n, err := body.Secret.read()
	if err != nil {
		return err
	}
	if (body.Owner.Account == "") != (body.Owner.Method == "") {
		return customhouse.Errorf(customhouse.BadRequest, "an owner has an account and a method: the source that vouches for it")
	}
	robot := customhouse.Robot{Name: body.Name, Labels: body.Labels, Owner: customhouse.Owner{Account: body.Owner.Account, Method: body.Owner.Method}}
	secret, c, err := st.Machines.NewRobot(r.Context(), robot, n)
	if err != nil {
		return err
	}
	robot.Created = c.Created
	shown := robotOf(robot)
	shown.Secrets = []apiCredential{credentialOf(c, secret)}
	return writeAPI(w, http.StatusCreated, shown)
}

// robot returns the robot that a request names, for its owner and for admins. To everybody else it is not there.
func (st *state) robot(r *http.Request, q *apiAdmitted, change bool) (customhouse.Robot, []customhouse.MachineCredential, error) {
	fail := func(err error) (customhouse.Robot, []customhouse.MachineCredential, error) {
		return customhouse.Robot{}, nil, notThere(err)
	}
	robot, secrets, err := st.Machines.Robot(r.Context(), q.args[0])
	if err != nil && !errors.Is(err, customhouse.ErrNotFound) {
		return fail(err)
	}
	if err == nil && robot.Owner == q.self() {
		if change {
			if err := firstHand(q); err != nil {
				return fail(err)
			}
		}
		return robot, secrets, nil
	}
	// Whether it is there or not, the same is asked.
	refused := st.keepsAccounts(r, q)
	var refusal *gate.Refusal
	switch {
	case refused == nil && err == nil:
		if change && q.grant.Identity.Method == "tokens" {
			return fail(firstHand(q))
		}
		return robot, secrets, nil
	case errors.As(refused, &refusal) && refusal.Err.Code == customhouse.Unavailable:
		return fail(refused)
	}
	return fail(customhouse.ErrNotFound)
}

// keepsAccounts refuses who has not the office of accounts.
func (st *state) keepsAccounts(r *http.Request, q *apiAdmitted) error {
	_, err := st.Gate.Enter(r.Context(), q.cred, customhouse.Access{Type: customhouse.TypeRegistry, Name: officeAccounts, Actions: []customhouse.Action{customhouse.Admin}})
	return err
}

func showRobot(st *state, w *response, r *http.Request, q apiAdmitted) error {
	robot, secrets, err := st.robot(r, &q, false)
	if err != nil {
		return err
	}
	shown := robotOf(robot)
	shown.Secrets = credentialsOf(secrets)
	return writeAPI(w, http.StatusOK, shown)
}

func changeRobot(st *state, w *response, r *http.Request, q apiAdmitted) error {
	var body struct {
		Disabled *bool `json:"disabled"`
	}
	if err := readAPI(r, &body); err != nil {
		return err
	}
	if body.Disabled == nil {
		return customhouse.Errorf(customhouse.BadRequest, "nothing is to be changed; there is disabled")
	}
	robot, _, err := st.robot(r, &q, true)
	if err != nil {
		return err
	}
	if !*body.Disabled { // it may be an admin who has disabled it
		if err := st.keepsAccounts(r, &q); err != nil {
			return err
		}
	}
	if err := st.Machines.Disable(r.Context(), robot.Name, *body.Disabled); err != nil {
		return notThere(err)
	}
	robot.Disabled = *body.Disabled
	return writeAPI(w, http.StatusOK, robotOf(robot))
}

func removeRobot(st *state, w *response, r *http.Request, q apiAdmitted) error {
	robot, _, err := st.robot(r, &q, true)
	if err != nil {
		return err
	}
	if err := st.Machines.Remove(r.Context(), robot.Name); err != nil {
		return notThere(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// usualGrace is for how long the secrets before a new one are good yet.
const usualGrace = 7 * 24 * time.Hour

// rotateRobot makes another secret for what the one before is for: an owner cannot make it be for more.
func rotateRobot(st *state, w *response, r *http.Request, q apiAdmitted) error {
	var body struct {
		Name    string `json:"name"`
		Expires string `json:"expires"`
		Grace   *int64 `json:"grace"` // seconds
	}
	if err := readAPI(r, &body); err != nil {
		return err
	}
	wanted := wantedCredential{Name: body.Name, Expires: body.Expires}
	n, err := wanted.read()
	if err != nil {
		return err
	}
	grace := usualGrace
	if body.Grace != nil {
		if *body.Grace < 0 || *body.Grace > int64(366*24*time.Hour/time.Second) {
			return customhouse.Errorf(customhouse.BadRequest, "grace is not between 0 and a year, in seconds")
		}
		grace = time.Duration(*body.Grace) * time.Second
	}
	robot, _, err := st.robot(r, &q, true)
	if err != nil {
		return err
	}
	secret, c, err := st.Machines.Rotate(r.Context(), robot.Name, grace, n)
	if err != nil {
		return notThere(err)
	}
	return writeAPI(w, http.StatusCreated, credentialOf(c, secret))
}

func revokeSecret(st *state, w *response, r *http.Request, q apiAdmitted) error {
	robot, _, err := st.robot(r, &q, true)
	if err != nil {
		return err
	}
	if err := st.Machines.RevokeSecret(r.Context(), robot.Name, q.args[1]); err != nil {
		return notThere(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
