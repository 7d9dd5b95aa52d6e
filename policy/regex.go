package policy

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// regex is an anchored RE2 expression. With placeholders it is compiled anew for each set of their values, and what was
// compiled is remembered.
type regex struct {
	fixed *regexp.Regexp // without placeholders
	parts []string       // the expression around the placeholders: one more than facts
	facts []fact

	size  int    // how much it expands to
	start string // what every value that it matches begins with

	mu       sync.Mutex
	compiled map[string]*regexp.Regexp // by source
}

// Bounds on what expressions expand to: "a{999}" is short to write and long to match. An element is about what one
// character is.
const (
	maxRegexSize  = 1000      // elements of one expression
	maxPolicySize = 1_000_000 // elements of all
)

// parseRegex reads an expression and tells how many elements it expands to.
func parseRegex(s string) (tree *syntax.Regexp, size int, err error) {
	if tree, err = syntax.Parse(s, syntax.Perl); err != nil {
		return nil, 0, err
	}
	if size = expanded(tree); size > maxRegexSize {
		return nil, 0, fmt.Errorf("the expression expands to more than %d elements; use fewer or smaller repetitions", maxRegexSize)
	}
	return tree, size, nil
}

// literalStart returns the text that an expression begins with.
func literalStart(re *syntax.Regexp) string {
	for re.Op == syntax.OpConcat || re.Op == syntax.OpCapture {
		first := slices.IndexFunc(re.Sub, func(sub *syntax.Regexp) bool { return sub.Op != syntax.OpBeginText })
		if first < 0 {
			return ""
		}
		re = re.Sub[first]
	}
	if re.Op != syntax.OpLiteral || re.Flags&syntax.FoldCase != 0 || slices.Contains(re.Rune, utf8.RuneError) {
		return ""
	}
	return string(re.Rune)
}

func expanded(re *syntax.Regexp) int {
	size := 1
	if re.Op == syntax.OpLiteral {
		size = len(re.Rune)
	}
	times := 1
	if re.Op == syntax.OpRepeat {
		size, times = 0, max(re.Min, re.Max, 1)
	}
	for _, sub := range re.Sub {
		size += expanded(sub)
	}
	return min(size*times, maxPolicySize) // no overflow, however deep
}

// maxCompiled is how many expressions a regex with placeholders remembers.
const maxCompiled = 1024

func compileRegex(s string) (*regex, error) {
	r := &regex{}
	start := 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case strings.HasPrefix(s[i:], "${"):
			f, rest, err := parsePlaceholder(s[i:])
			if err != nil {
				return nil, err
			}
			r.parts = append(r.parts, s[start:i])
			r.facts = append(r.facts, f)
			start = len(s) - len(rest)
			i = start - 1
		}
	}
	r.parts = append(r.parts, s[start:])
	if len(r.facts) == 0 {
		var err error
		var tree *syntax.Regexp
		if tree, r.size, err = parseRegex(s); err != nil { // by itself: "a)|(b" would undo the anchors
			return nil, err
		}
		r.start = literalStart(tree)
		r.fixed, err = regexp.Compile(anchored(s))
		return r, err
	}
	if err := r.checkPlaces(); err != nil {
		return nil, err
	}
	r.compiled = map[string]*regexp.Regexp{}
	return r, nil
}

// checkPlaces refuses placeholders where a value could be more than text, such as in a class of characters: a stand-in
// for each must come out of the parser as a literal.
func (r *regex) checkPlaces() error {
	if slices.ContainsFunc(r.parts, func(p string) bool { return strings.Contains(p, `\Q`) }) {
		return errors.New(`\Q cannot be used together with placeholders`)
	}
	const private = 0xF0000 // a plane of characters that nobody assigns
	standIn := func(i int) string { return strings.Repeat(string(rune(private+i)), 2) }
	tree, size, err := parseRegex(r.source(func(i int) string { return quoted(standIn(i)) }))
	if err != nil {
		return err
	}
	r.size = size
	var literals []string
	var walk func(*syntax.Regexp)
	walk = func(re *syntax.Regexp) {
		if re.Op == syntax.OpLiteral {
			literals = append(literals, string(re.Rune))
		}
		for _, sub := range re.Sub {
			walk(sub)
		}
	}
	walk(tree)
	for i := range r.facts {
		if !slices.ContainsFunc(literals, func(s string) bool { return strings.Contains(s, standIn(i)) }) {
			return fmt.Errorf("placeholder %d stands where it cannot be literal text", i+1)
		}
	}
	return nil
}

// source returns the expression with value(i) in the place of the placeholder i.
func (r *regex) source(value func(i int) string) string {
	var b strings.Builder
	for i := range r.facts {
		b.WriteString(r.parts[i])
		b.WriteString(value(i))
	}
	b.WriteString(r.parts[len(r.facts)])
	return b.String()
}

func anchored(s string) string { return `\A(?:` + s + `)\z` }

// quoted returns an expression that matches any of values and nothing else, in their case.
func quoted(values ...string) string {
	escaped := make([]string, len(values))
	for i, v := range values {
		escaped[i] = regexp.QuoteMeta(v)
	}
	return `(?-i:` + strings.Join(escaped, "|") + `)`
}

func (r *regex) match(value string, q *Query, repeated, pin string) bool {
	if r.fixed != nil {
		return r.fixed.MatchString(value)
	}
	absent := false
	source := r.source(func(i int) string {
		values := slices.Collect(r.facts[i].values(q, repeated, pin))
		absent = absent || len(values) == 0
		return quoted(values...)
	})
	if absent {
		return false
	}
	re := r.compile(source)
	return re != nil && re.MatchString(value)
}

// compile returns the compiled source, or nil if it cannot be compiled, such as when the values make it too large.
func (r *regex) compile(source string) *regexp.Regexp {
	r.mu.Lock()
	defer r.mu.Unlock()
	re, ok := r.compiled[source]
	if ok {
		return re
	}
	re, err := regexp.Compile(anchored(source))
	if err != nil {
		re = nil
	}
	if len(r.compiled) >= maxCompiled {
		clear(r.compiled)
	}
	r.compiled[source] = re
	return re
}
