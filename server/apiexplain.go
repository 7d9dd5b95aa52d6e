package server

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"customhouse"
	"customhouse/gate"
	"customhouse/registry"
)

var (
	explainParams = []string{"repo", "type", "name", "action", "tag", "digest", "mediaType", "artifactType", "account", "ip", "trace", "method", "service", "time"}
	accessParams  = []string{"repo", "type", "name", "action", "tag", "digest", "mediaType", "artifactType", "account", "last", "n"}
)

// explainable are the actions that a question may be about: those that rules may name.
var explainable = []customhouse.Action{
	customhouse.Pull, customhouse.List, customhouse.Push, customhouse.Create, customhouse.Update, customhouse.Mount, customhouse.PutTag,
	customhouse.Refer, customhouse.Delete, customhouse.Admin, customhouse.All,
}

// explainsOthers tells whether more is asked for than what somebody may know of themselves.
func explainsOthers(q apiRequest, who customhouse.Identity) bool {
	supposes := slices.ContainsFunc([]string{"label", "claim", "ip", "method", "service", "time"}, q.query.Has)
	return supposes || q.query.Has("account") && q.query.Get("account") != who.Account || q.query.Get("trace") == "true"
}

// explain answers whether somebody may do something: for themselves as much as they would be told if they tried, for
// admins all of it. What is there makes no difference to the answer.
func explain(st *state, w *response, r *http.Request, q apiAdmitted) error {
	question, err := q.policyQuestion()
	if err != nil {
		return err
	}
	if question.Name == "" {
		return customhouse.Errorf(customhouse.BadRequest, "parameter repo is missing")
	}
	if !explainsOthers(q.apiRequest, q.grant.Identity) {
		x, err := q.grant.Explain(r.Context(), question)
		if err != nil {
			return err
		}
		return writeAPI(w, http.StatusOK, x)
	}
	who, err := q.asker()
	if err != nil {
		return err
	}
	x, err := st.Gate.ExplainFor(r.Context(), who, question, q.query.Get("trace") == "true")
	if err != nil {
		return err
	}
	return writeAPI(w, http.StatusOK, x)
}

// asker reads whom a question is about: whoever asks, as far as nothing else is named.
func (q *apiAdmitted) asker() (who gate.Asker, err error) {
	who = gate.Asker{
		Account: q.grant.Identity.Account, Client: q.cred.Client, Method: q.query.Get("method"), Service: q.query.Get("service"),
	}
	if q.query.Has("account") {
		who.Account = q.query.Get("account")
	}
	if who.Labels, err = q.pairs("label"); err != nil {
		return who, err
	}
	claims, err := q.pairs("claim")
	if err != nil {
		return who, err
	}
	who.Claims = map[string]any{}
	for name, values := range claims {
		if who.Claims[name] = values[0]; len(values) > 1 {
			list := make([]any, len(values))
			for i, v := range values {
				list[i] = v
			}
			who.Claims[name] = list
		}
	}
	if q.query.Has("ip") {
		if who.Client, err = netip.ParseAddr(q.query.Get("ip")); err != nil {
			return who, customhouse.Errorf(customhouse.BadRequest, "parameter ip: want an address")
		}
	}
	if text := q.query.Get("time"); q.query.Has("time") {
		if who.Time, err = time.Parse(time.RFC3339, text); err != nil {
			who.Time, err = time.Parse(time.DateOnly, text)
		}
		if err != nil || who.Time.IsZero() {
			return who, customhouse.Errorf(customhouse.BadRequest, "parameter time: want 2026-12-31, or 2026-12-31T18:00:00Z")
		}
	}
	return who, nil
}

// pairs reads a parameter that is KEY=VALUE each time that it is there.
func (q *apiRequest) pairs(param string) (map[string][]string, error) {
	pairs := map[string][]string{}
	for _, pair := range q.query[param] {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" || value == "" {
			return nil, customhouse.Errorf(customhouse.BadRequest, "parameter %s: want KEY=VALUE", param)
		}
		pairs[key] = append(pairs[key], value)
	}
	return pairs, nil
}

// policyQuestion reads what is asked about. What of a target is not named is not known; an empty one is none.
func (q *apiRequest) policyQuestion() (gate.Question, error) {
	get := q.query.Get
	p := gate.Question{Type: cmp.Or(get("type"), customhouse.TypeRepository), Name: cmp.Or(get("repo"), get("name")), Action: customhouse.Action(cmp.Or(get("action"), "pull"))}
	bad := func(key, want string) (gate.Question, error) {
		return p, customhouse.Errorf(customhouse.BadRequest, "parameter %s: %s", key, want)
	}
	if q.query.Has("repo") && (q.query.Has("type") || q.query.Has("name")) {
		return bad("repo", "stands for type and name; use one or the other")
	}
	if !slices.Contains(explainable, p.Action) {
		return bad("action", fmt.Sprintf("want one of %q", explainable))
	}
	if _, err := customhouse.ParseScope(p.Type + ":" + cmp.Or(p.Name, "x") + ":" + string(p.Action)); err != nil {
		return bad(cmp.Or(map[bool]string{true: "repo"}[q.query.Has("repo")], "name"), "want the name of a resource, without a tag")
	}
	t := &p.Target
	if q.query.Has("tag") {
		if t.Tag, t.Known = get("tag"), t.Known|gate.FactTag; t.Tag != "" {
			if ref, err := customhouse.ParseRef(t.Tag); err != nil || !ref.Digest.IsZero() {
				return bad("tag", "want a tag, or nothing for none")
			}
		}
	}
	if q.query.Has("digest") {
		if _, err := customhouse.ParseDigest(get("digest")); err != nil {
			return bad("digest", "want a digest")
		}
		t.Digest, t.Known = get("digest"), t.Known|gate.FactDigest
	}
	if q.query.Has("mediaType") {
		t.MediaType, t.Known = get("mediaType"), t.Known|gate.FactMediaType
	}
	if q.query.Has("artifactType") {
		t.ArtifactType, t.Known = get("artifactType"), t.Known|gate.FactArtifactType
	}
	return p, nil
}

// accessAnswer is the answer of GET /api/access: who may do something with a resource, or with what an account may.
type accessAnswer struct {
	Action       customhouse.Action `json:"action"`
	Name         string             `json:"name,omitempty"`
	Account      *string            `json:"account,omitempty"`
	Accounts     []holder           `json:"accounts,omitempty"`
	Repositories []holder           `json:"repositories,omitempty"`
	Next         string             `json:"next,omitempty"` // where the list goes on, as the parameter last
}

// holder is somebody, or something, that the answer is yes for, or maybe.
type holder struct {
	Name   string    `json:"name"` // "" is whoever has no account
	Answer string    `json:"answer"`
	Seen   time.Time `json:"seen,omitzero"` // when last, of an account that only the audit log knows by name
}

// How many accounts or repositories are looked at for one answer.
const (
	usualAccess = 1000
	mostAccess  = 10_000
)

func access(st *state, w *response, r *http.Request, q apiAdmitted) error {
	question, err := q.policyQuestion()
	if err != nil {
		return err
	}
	n := usualAccess
	if text := q.query.Get("n"); text != "" {
		if n, err = strconv.Atoi(text); err != nil || n < 1 || n > mostAccess {
			return customhouse.Errorf(customhouse.BadRequest, "parameter n: want a number from 1 to %d", mostAccess)
		}
	}
	if (question.Name == "") == !q.query.Has("account") {
		return customhouse.Errorf(customhouse.BadRequest, "want repo, for who may reach it, or account, for what it may reach")
	}
	answer := accessAnswer{Action: question.Action, Name: question.Name}
	if question.Name != "" {
		answer.Accounts, answer.Next, err = st.whoMay(r, question, q.query.Get("last"), n)
	} else {
		account := q.query.Get("account")
		answer.Account = &account
		answer.Repositories, answer.Next, err = st.mayWhat(r, account, question, q.query.Get("last"), n)
	}
	if err != nil {
		return err
	}
	return writeAPI(w, http.StatusOK, answer)
}

// whoMay returns which of up to n accounts after last may do something.
func (st *state) whoMay(r *http.Request, question gate.Question, last string, n int) (holders []holder, next string, err error) {
	all, more, err := st.accountsAfter(r.Context(), last, n)
	if err != nil {
		return nil, "", err
	}
	for _, a := range all {
		answer, err := st.Gate.AnswerFor(r.Context(), gate.Asker{Account: a.name, Seen: a.as}, question)
		if err != nil {
			return nil, "", err
		}
		if answer != gate.Deny {
			holders = append(holders, holder{a.name, answer, a.seen})
		}
	}
	if more {
		next = all[len(all)-1].name
	}
	return holders, next, nil
}

// somebody is an account that is known by name: that of nobody is "".
type somebody struct {
	name string
	as   []customhouse.Identity // as whom it was seen
	seen time.Time              // when it was last, where it is known by that alone
}

// accountsAfter returns up to n accounts after last, of those that are known and those that were seen, in their order, and
// whether there are more. Before the first stands nobody.
func (st *state) accountsAfter(ctx context.Context, last string, n int) (all []somebody, more bool, err error) {
	byName := map[string]*somebody{}
	if last == "" {
		byName[""], n = &somebody{}, max(n, 2) // no page ends with "", from which the list would begin anew
	}
	if st.Accounts != nil {
		names, err := st.Accounts(ctx)
		if err != nil {
			return nil, false, err
		}
		for _, name := range names {
			if name > last {
				byName[name] = &somebody{name: name}
			}
		}
	}
	if st.Audit != nil {
		seen, err := st.Audit.Seen(ctx, last, n+1)
		if err != nil {
			return nil, false, err
		}
		for i := range seen {
			name := seen[i].Identity.Account
			if byName[name] == nil {
				byName[name] = &somebody{name: name, seen: seen[i].Time}
			}
			byName[name].as = append(byName[name].as, seen[i].Identity)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		if len(all) == n {
			return all, true, nil
		}
		all = append(all, *byName[name])
	}
	return all, false, nil
}

// mayWhat returns with which of up to n repositories after last an account may do something.
func (st *state) mayWhat(r *http.Request, account string, question gate.Question, last string, n int) (holders []holder, next string, err error) {
	if st.Registry == nil {
		return nil, "", noRepositories()
	}
	names, more, err := st.Registry.Repositories(r.Context(), last, n, registry.Visible{})
	if err != nil {
		return nil, "", err
	}
	who := gate.Asker{Account: account}
	if st.Audit != nil {
		seen, err := st.Audit.SeenAs(r.Context(), account)
		if err != nil {
			return nil, "", err
		}
		for i := range seen {
			who.Seen = append(who.Seen, seen[i].Identity)
		}
	}
	for _, name := range names {
		question.Type, question.Name = customhouse.TypeRepository, name
		answer, err := st.Gate.AnswerFor(r.Context(), who, question)
		if err != nil {
			return nil, "", err
		}
		if answer != gate.Deny {
			holders = append(holders, holder{Name: name, Answer: answer})
		}
	}
	if more && len(names) > 0 {
		next = names[len(names)-1]
	}
	return holders, next, nil
}
