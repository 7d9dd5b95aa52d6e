package policy

import (
	"errors"
	"fmt"
	"iter"
	"strings"
)

// fact is what a placeholder stands for: a label if label is set, else the query's field.
type fact struct {
	field string
	label string
}

// parsePlaceholder reads ${...} at the start of s.
func parsePlaceholder(s string) (f fact, rest string, err error) {
	name, rest, ok := strings.Cut(strings.TrimPrefix(s, "${"), "}")
	if !ok {
		return fact{}, "", errors.New("a placeholder has no }")
	}
	switch name {
	case "account", "type", "name", "service":
		return fact{field: name}, rest, nil
	}
	if key, ok := strings.CutPrefix(name, "labels:"); ok && key != "" {
		return fact{label: key}, rest, nil
	}
	return fact{}, "", fmt.Errorf("unknown placeholder ${%s}; use ${account}, ${type}, ${name}, ${service} or ${labels:KEY}", name)
}

// String writes f as it stands in a pattern.
func (f fact) String() string {
	if f.label != "" {
		return "${labels:" + f.label + "}"
	}
	return "${" + f.field + "}"
}

// values yields what f stands for in q, without what is empty. The label repeated has the value pin alone.
func (f fact) values(q *Query, repeated, pin string) iter.Seq[string] {
	return func(yield func(string) bool) {
		switch {
		case f.label != "" && f.label == repeated:
			yield(pin)
		case f.label != "":
			for _, v := range q.Identity.Labels[f.label] {
				if v != "" && !yield(v) {
					return
				}
			}
		default:
			if v := f.of(q); v != "" {
				yield(v)
			}
		}
	}
}

// of returns the field of q that f stands for.
func (f fact) of(q *Query) string {
	switch f.field {
	case "account":
		return q.Identity.Account
	case "type":
		return q.Type
	case "name":
		return q.Name
	}
	return q.Service
}
