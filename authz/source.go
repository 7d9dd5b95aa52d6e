package authz

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"customhouse"
	"customhouse/policy"
)

// Source holds an access list outside the configuration: in a database. It is read as a whole, now and then.
type Source interface {
	// Name is the word for it, such as "sql" or "mongo".
	Name() string
	// Entries returns the whole list, in any order. An entry that cannot be read spoils the list: an access list without
	// one of its rules means something else. The error names the entry then; it holds no password.
	Entries(context.Context) ([]Entry, error)
}

// Entry is a rule of a Source.
type Entry struct {
	Seq  int64       // entries are asked in ascending order of it, equal ones in that of the source
	Rule policy.Rule // its Source may be empty: it is made of the name of the source and Seq
}

// maxEntry is how long the JSON of a rule may be.
const maxEntry = 64 << 10

// ParseEntry reads a rule in the JSON that docker_auth keeps in SQL:
//
//	{"Match": {"account": "bob", "name": "bob/*"}, "Actions": ["*"], "Comment": "his own"}
//
// The case of keys does not matter, as there. What would open a rule to everybody by accident is an error: an unknown or
// repeated key, and a rule without match or actions.
func ParseEntry(text []byte) (policy.Rule, error) {
	var rule policy.Rule
	if len(text) > maxEntry {
		return rule, fmt.Errorf("a rule of more than %d bytes", maxEntry)
	}
	entry, err := members(text, "match", "actions", "comment")
	if err != nil {
		return rule, err
	}
	if entry["match"] == nil || entry["actions"] == nil {
		return rule, errors.New("a rule without match and actions; {} matches everything, and [] allows nothing")
	}
	match, err := members(entry["match"], "account", "type", "name", "service", "ip", "labels")
	if err != nil {
		return rule, fmt.Errorf("match: %w", err)
	}
	for key, to := range map[string]*policy.Values{
		"account": &rule.Match.Account, "type": &rule.Match.Type, "name": &rule.Match.Name,
		"service": &rule.Match.Service, "ip": &rule.Match.IP,
	} {
		var s *string
		if err := value(match[key], &s); err != nil {
			return rule, fmt.Errorf("match.%s: want text", key)
		}
		*to = policy.Just(s)
	}
	var labels map[string]string
	if err := value(match["labels"], &labels); err != nil {
		return rule, errors.New("match.labels: want a text for each label")
	}
	rule.Match.Labels = policy.JustEach(labels)
	if err := value(entry["actions"], &rule.Actions); err != nil {
		return rule, errors.New("actions: want a list of text")
	}
	if err := value(entry["comment"], &rule.Comment); err != nil {
		return rule, errors.New("comment: want text")
	}
	if rule.Actions == nil {
		rule.Actions = []customhouse.Action{}
	}
	return rule, nil
}

// value reads JSON into to, unless there is none.
func value(text json.RawMessage, to any) error {
	if text == nil {
		return nil
	}
	return json.Unmarshal(text, to)
}

// members returns the members of a JSON object by their names in lower case, which are among known. Null is no member.
func members(text []byte, known ...string) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("want a JSON object")
	}
	found, seen := map[string]json.RawMessage{}, map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, errors.New("not JSON")
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, errors.New("not JSON")
		}
		written, _ := t.(string)
		key := strings.ToLower(written)
		switch {
		case !slices.Contains(known, key):
			return nil, fmt.Errorf("unknown key %q; known are %s", written, strings.Join(known, ", "))
		case seen[key]:
			return nil, fmt.Errorf("the key %s stands twice", key)
		}
		if seen[key] = true; string(value) != "null" {
			found[key] = value
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, errors.New("not JSON")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON object")
	}
	return found, nil
}
