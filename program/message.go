package program

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"customhouse"
)

// message is a Question as JSON, which Worker, Webhook and Plugin share.
type message struct {
	ID       uint64               `json:"id,omitempty"` // Worker
	Type     Kind                 `json:"type"`
	Account  string               `json:"account"`
	Password string               `json:"password,omitempty"`
	Service  string               `json:"service,omitempty"`
	IP       string               `json:"ip,omitempty"`
	Resource *resource            `json:"resource,omitempty"`
	Actions  []customhouse.Action `json:"actions,omitempty"`
	Push     customhouse.Action   `json:"push,omitempty"` // which half of a push it is, where that is known
	Labels   map[string][]string  `json:"labels,omitempty"`
}

type resource struct {
	Type string `json:"type"`
	Name string `json:"name"`
}

// errNotText refuses a question that JSON cannot carry as it is: it would be another one.
var errNotText = errors.New("the account or password is not UTF-8")

// errCannotTell is the program's own word that it cannot tell.
var errCannotTell = errors.New("the program cannot tell")

// encode writes q as one line of JSON without its end. A password that is not UTF-8 is nobody's.
func encode(q *Question, id uint64) ([]byte, error) {
	if !utf8.ValidString(q.Account) || !utf8.ValidString(string(q.Password)) {
		return nil, errNotText
	}
	m := message{ID: id, Type: q.Kind, Account: q.Account, Password: string(q.Password), Service: q.Service, IP: addr(q.IP)}
	if q.Kind == Authorize {
		m.Resource, m.Actions, m.Labels = &resource{q.Type, q.Name}, words(q.Actions), q.Labels
		create, update := slices.ContainsFunc(q.Actions, creates), slices.Contains(q.Actions, customhouse.Update)
		switch {
		case slices.Contains(q.Actions, customhouse.Push) || create == update:
		case create:
			m.Push = customhouse.Create
		case update:
			m.Push = customhouse.Update
		}
	}
	return json.Marshal(m)
}

// creates tells whether an action makes something new and moves nothing.
func creates(a customhouse.Action) bool {
	return a == customhouse.Create || a == customhouse.Mount || a == customhouse.PutTag || a == customhouse.Refer
}

// decode reads the answer to q, and the id that it carries, 0 if none. Errors quote nothing of it: it may be a secret.
func decode(text []byte, q *Question) (Answer, uint64, error) {
	a, err := parseAnswer(text)
	if err != nil {
		return Answer{}, 0, err
	}
	answer, err := a.of(q)
	return answer, a.id, err
}

// said is what a program said, before it is known to what.
type said struct {
	id      uint64
	result  string
	reason  string
	message string
	labels  map[string][]string
	actions []customhouse.Action // nil is all
}

// parseAnswer reads one JSON object in the one way that it can be read.
func parseAnswer(text []byte) (*said, error) {
	v, err := customhouse.ParseJSON(text)
	if err != nil {
		return nil, fmt.Errorf("the answer is no JSON object: %w", err)
	}
	fields, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("the answer is no JSON object")
	}
	a := &said{}
	for key, value := range fields {
		ok := value == nil // null says nothing
		switch v := value.(type) {
		case json.Number:
			var n int64
			n, err := v.Int64()
			ok, a.id = key == "id" && err == nil && n >= 0, uint64(n)
		case string:
			switch key {
			case "result":
				a.result, ok = v, true
			case "reason":
				a.reason, ok = v, true
			case "message":
				a.message, ok = v, true
			}
		case map[string]any:
			if key == "labels" {
				a.labels, ok = labels(v)
			}
		case []any:
			if key == "actions" {
				a.actions, ok = []customhouse.Action{}, true
				for _, action := range v {
					word, isText := action.(string)
					a.actions, ok = append(a.actions, customhouse.Action(word)), ok && isText
				}
			}
		}
		known := slices.Contains([]string{"id", "result", "reason", "message", "labels", "actions"}, key)
		if known && !ok {
			return nil, fmt.Errorf("the answer's %s is not what it should be", key)
		}
	}
	return a, nil
}

// labels reads an object of lists of text.
func labels(object map[string]any) (map[string][]string, bool) {
	read := make(map[string][]string, len(object))
	for key, value := range object {
		list, ok := value.([]any)
		if !ok {
			return nil, false
		}
		read[key] = make([]string, len(list))
		for i, v := range list {
			if read[key][i], ok = v.(string); !ok {
				return nil, false
			}
		}
	}
	return read, true
}

// maxReason is how many bytes of a reason or a message are kept.
const maxReason = 256

// of returns what a says to q.
func (a *said) of(q *Question) (Answer, error) {
	answer := Answer{Result: Result(a.result), Reason: a.reason[:min(len(a.reason), maxReason)], Message: a.message[:min(len(a.message), maxReason)]}
	switch answer.Result {
	case Allow:
	case Deny, NoMatch:
		return answer, nil
	case "error":
		return Answer{}, fmt.Errorf("%w: %q", errCannotTell, answer.Reason)
	default:
		return Answer{}, errors.New("the answer's result is none of allow, deny, no_match and error")
	}
	switch {
	case q.Kind == Authenticate:
		answer.Labels = a.labels
	case a.actions == nil:
		answer.Actions = q.Actions
	default:
		answer.Actions = of(q.Actions, a.actions)
	}
	return answer, nil
}
