package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one thing that is wrong with a configuration. It quotes no value outside rules, because a value may be a
// secret that stands in the wrong place.
type Error struct {
	File         string // as it was named; "" when the Config does not come from a file
	Line, Column int    // from 1; 0 when the file as a whole is meant
	Key          string // such as token.expiration or rules[2].match.ip; "" when the text is no YAML
	Message      string // what is wrong and what would be right
	Tolerable    bool   // in a file of another program, which ignores it

	within place // of the mistake in the text of the value, if that is no mistake as a whole
}

// Error returns file:line:column: key: message, without the parts that are unknown.
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		if e.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
		}
		b.WriteString(": ")
	}
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Message)
	return b.String()
}

// Errors is everything that is wrong with a configuration, in the order of the file: one at least, and no more than
// somebody will read.
type Errors []*Error

// Error returns one error a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the errors one by one.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, err := range e {
		errs[i] = err
	}
	return errs
}

// sorted returns e in the order of the file, and nil if there is none.
func (e Errors) sorted() error {
	if len(e) == 0 {
		return nil
	}
	slices.SortStableFunc(e, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return e
}
