package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"customhouse"
	"customhouse/gate"
)

// apiPrefix is the room of the API: questions and changes that are not about content. It speaks JSON, takes passwords and
// our own tokens and looks at no cookie. No other origin may read it with a browser: nothing here allows that, and what
// changes something is refused to pages of others.
const apiPrefix = "/api/"

// reach tells who may use an endpoint of the API.
type reach int

const (
	_          reach = iota // nobody: a route without an access rule does not start
	forAll                  // whoever asks, about themselves, be they anonymous
	forAccount              // whoever is logged in, about themselves
	forAdmins               // whoever has admin on the route's office
)

// Offices are the resources of type registry on which action admin opens what belongs to others.
const (
	officePolicy   = "policy"   // what the rules say about others
	officeAudit    = "audit"    // what is kept to be accounted for
	officeAccounts = "accounts" // accounts, and credentials of others
)

// apiRoute is an endpoint of the API.
type apiRoute struct {
	method string // HEAD goes with GET
	path   string // behind apiPrefix; an element {} stands for any one
	reach  reach
	office string // whose admins may use it: all that it does with forAdmins, else what others is about

	// others tells whether a request by who is about others than themselves: then it is for admins only. nil: none is.
	others func(q apiRequest, who customhouse.Identity) bool

	kept   bool     // whether it is there only where there are Machines
	params []string // that the query may have, each once
	many   []string // that it may have more than once
	serve  func(st *state, w *response, r *http.Request, q apiAdmitted) error
}

// apiRequest is what a method and a URL ask for.
type apiRequest struct {
	route *apiRoute
	args  []string // what stands for the {} of the path
	query url.Values
}

// apiAdmitted is a request to the API that the gate has let pass.
type apiAdmitted struct {
	apiRequest
	cred  customhouse.Credential
	grant gate.Grant
}

// apiRoutes is the one table of what the API has.
var apiRoutes = append([]apiRoute{
	{method: "GET", path: "whoami", reach: forAll, serve: whoami},
	{method: "GET", path: "explain", reach: forAll, office: officePolicy, others: explainsOthers, params: explainParams, many: []string{"label", "claim"}, serve: explain},
	{method: "GET", path: "access", reach: forAdmins, office: officePolicy, params: accessParams, serve: access},
	{method: "GET", path: "repositories", reach: forAll, params: []string{"search", "n", "last"}, serve: search},
	{method: "GET", path: "audit", reach: forAdmins, office: officeAudit, params: auditParams, serve: auditLog},
}, machineRoutes...)

// checkAPI refuses to start with a route that nobody guards.
func checkAPI() error {
	for _, r := range apiRoutes {
		if r.serve == nil || r.reach < forAll || r.reach > forAdmins || r.office == "" && (r.reach == forAdmins || r.others != nil) {
			return fmt.Errorf("%s %s%s has no handler or no access rule", r.method, apiPrefix, r.path)
		}
	}
	return nil
}

// api answers a request under apiPrefix: parse, needs, admit, act.
func (st *state) api(w *response, r *http.Request) error {
	h := w.Header()
	h["Cache-Control"], h["Vary"] = noStore, vary
	q, err := parseAPI(r.Method, st.Prefix, r.URL)
	if err == nil && q.route.kept && st.Machines == nil {
		err = noEndpoint()
	}
	if err != nil {
		return err
	}
	if err := sameOrigin(r); err != nil {
		return err
	}
	cred, err := st.credential(r)
	if err != nil {
		return err
	}
	grant, err := st.enter(r, cred, q)
	if err != nil {
		return err
	}
	w.decision(grant.ID, grant.Identity, grant.Rule, grant.Reason)
	r = r.WithContext(customhouse.WithOrigin(r.Context(), st.origin(r, cred.Client, &grant))) // the audit log has who changes something
	return q.route.serve(st, w, r, apiAdmitted{q, cred, grant})
}

// enter asks the gate, twice where who is asking decides what is needed. What is kept of accounts takes an account, whatever
// the rules say: they may open everything to whoever comes from the machine itself.
func (st *state) enter(r *http.Request, cred customhouse.Credential, q apiRequest) (gate.Grant, error) {
	admin := customhouse.Access{Type: customhouse.TypeRegistry, Name: q.route.office, Actions: []customhouse.Action{customhouse.Admin}}
	if q.route.reach == forAdmins {
		grant, err := st.Gate.Enter(r.Context(), cred, admin)
		if err == nil && q.route.kept && grant.Identity.Anonymous() {
			return gate.Grant{}, st.Gate.LoginRequired(grant)
		}
		return grant, err
	}
	grant, err := st.Gate.Enter(r.Context(), cred)
	switch {
	case err != nil:
		return gate.Grant{}, err
	case q.route.reach == forAccount && grant.Identity.Anonymous():
		return gate.Grant{}, st.Gate.LoginRequired(grant)
	case q.route.others != nil && q.route.others(q, grant.Identity):
		return st.Gate.Enter(r.Context(), cred, admin)
	}
	return grant, nil
}

// parseAPI reads a request. What is not there is not there for everybody.
func parseAPI(method, prefix string, u *url.URL) (apiRequest, error) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	path := strings.Split(strings.TrimPrefix(u.EscapedPath(), prefix+apiPrefix), "/")
	var allow []string
	for i := range apiRoutes {
		q := apiRequest{route: &apiRoutes[i]}
		var ok bool
		if q.args, ok = q.route.match(path); !ok {
			continue
		}
		if q.route.method != method {
			allow = append(allow, q.route.method)
			continue
		}
		return q, q.parseQuery(u.RawQuery)
	}
	if allow != nil {
		if slices.Contains(allow, http.MethodGet) {
			allow = append(allow, http.MethodHead)
		}
		return apiRequest{}, methodNotAllowed(allow...)
	}
	return apiRequest{}, noEndpoint()
}

func noEndpoint() error { return customhouse.Errorf(customhouse.NotFound, "no such endpoint") }

// match tells whether path is the route's, and what stands for each {} of it.
func (r *apiRoute) match(path []string) (args []string, ok bool) {
	pattern := strings.Split(r.path, "/")
	if len(pattern) != len(path) {
		return nil, false
	}
	for i, element := range pattern {
		if element != "{}" {
			if element != path[i] {
				return nil, false
			}
			continue
		}
		arg, err := url.PathUnescape(path[i])
		if err != nil || arg == "" {
			return nil, false
		}
		args = append(args, arg)
	}
	return args, true
}

func (q *apiRequest) parseQuery(raw string) error {
	bad := func(format string, args ...any) error {
		return customhouse.Errorf(customhouse.BadRequest, format, args...)
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return bad("invalid parameters in the URL")
	}
	for key, list := range values {
		switch many := slices.Contains(q.route.many, key); {
		case !many && !slices.Contains(q.route.params, key):
			return bad("unknown parameter %q", clip(key))
		case !many && len(list) > 1:
			return bad("parameter %s is given more than once", key)
		case len(list) > maxParams:
			return bad("parameter %s is given more than %d times", key, maxParams)
		}
	}
	q.query = values
	return nil
}

// sameOrigin refuses what changes something to pages of other origins, which a browser might send a password along for.
func sameOrigin(r *http.Request) error {
	if err := new(http.CrossOriginProtection).Check(r); err != nil {
		return customhouse.Errorf(customhouse.Denied, "this comes from a page of another origin").WithCause(err)
	}
	return nil
}

// maxAPIBody is how many bytes the body of a request to the API may have.
const maxAPIBody = 64 << 10

// readAPI reads the JSON object that a request brings. What it does not know is an error: a client that asks for more
// than there is learns so.
func readAPI(r *http.Request, into any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return customhouse.Errorf(customhouse.UnsupportedMediaType, "want a body of type application/json")
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxAPIBody+1))
	switch {
	case err != nil:
		return customhouse.Errorf(customhouse.BadRequest, "the body did not arrive whole").WithCause(err)
	case len(body) > maxAPIBody:
		return customhouse.Errorf(customhouse.ContentTooLarge, "the body is larger than %d bytes", maxAPIBody)
	}
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return customhouse.Errorf(customhouse.BadRequest, "the body is not what this endpoint takes: %s", inJSON(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return customhouse.Errorf(customhouse.BadRequest, "something stands behind the JSON object of the body")
	}
	return nil
}

// inJSON says what is wrong with JSON in words that carry nothing of what is secret in it: not its values.
func inJSON(err error) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("invalid JSON at byte %d", syntax.Offset)
	case errors.As(err, &kind):
		return fmt.Sprintf("%s is not of type %s", clip(kind.Field), kind.Type)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "it ends too early"
	}
	return clip(strings.TrimPrefix(err.Error(), "json: ")) // of an unknown field, or of a word's own parser
}

// writeAPI answers with a JSON document.
func writeAPI(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	writeBody(w, status, "application/json", append(body, '\n'))
	return nil
}
