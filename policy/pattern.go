package policy

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf8"
)

// pattern is a compiled pattern: a regular expression, or a sequence of tokens that is matched by keeping the set of all
// places in the value that may have been reached, so that the cost is at most tokens times length whatever the input.
type pattern struct {
	written  string
	tokens   []token
	regex    *regex
	prefix   string // what a value must begin with
	repeated string // the label whose placeholder stands more than once; "" for none
}

type kind uint8

const (
	text        kind = iota // exactly token.text
	one                     // ?
	class                   // [...]
	component               // *
	anything                // **
	placeholder             // ${...}
)

type token struct {
	kind  kind
	text  string
	class charClass
	fact  fact
}

// charClass is the characters between [ and ].
type charClass struct {
	negated bool
	ranges  [][2]rune
}

func (c *charClass) contains(r rune) bool {
	in := slices.ContainsFunc(c.ranges, func(x [2]rune) bool { return x[0] <= r && r <= x[1] })
	return r != '/' && in != c.negated
}

// size is how much a regular expression expands to; a sequence of tokens costs no more than its text.
func (p *pattern) size() int {
	if p == nil || p.regex == nil {
		return 0
	}
	return p.regex.size
}

func compilePattern(s string) (*pattern, error) {
	var p *pattern
	if len(s) > 2 && s[0] == '/' && s[len(s)-1] == '/' {
		r, err := compileRegex(s[1 : len(s)-1])
		if err != nil {
			return nil, err
		}
		p = &pattern{written: s, regex: r}
	} else {
		tokens, err := parseGlob(s)
		if err != nil {
			return nil, err
		}
		p = &pattern{written: s, tokens: tokens}
		if len(tokens) > 0 && tokens[0].kind == text {
			p.prefix = tokens[0].text
		}
	}
	seen := map[string]bool{}
	for _, f := range p.facts() {
		switch key := f.label; {
		case key == "":
		case !seen[key]:
			seen[key] = true
		case p.repeated == "" || p.repeated == key:
			p.repeated = key
		default:
			return nil, errors.New("more than one label stands repeatedly")
		}
	}
	return p, nil
}

// parseGlob reads a pattern that is no regular expression.
func parseGlob(s string) ([]token, error) {
	var tokens []token
	var literal strings.Builder
	add := func(t token) {
		if literal.Len() > 0 {
			tokens = append(tokens, token{kind: text, text: literal.String()})
			literal.Reset()
		}
		tokens = append(tokens, t)
	}
	if !utf8.ValidString(s) {
		return nil, errors.New("not valid UTF-8")
	}
	for s != "" {
		switch {
		case s[0] == '\\':
			if s = s[1:]; s == "" {
				return nil, errors.New(`ends in a backslash`)
			}
			_, n := utf8.DecodeRuneInString(s)
			literal.WriteString(s[:n])
			s = s[n:]
		case strings.HasPrefix(s, "**"):
			add(token{kind: anything})
			s = s[2:]
		case s[0] == '*':
			add(token{kind: component})
			s = s[1:]
		case s[0] == '?':
			add(token{kind: one})
			s = s[1:]
		case s[0] == '[':
			c, rest, err := parseClass(s)
			if err != nil {
				return nil, err
			}
			add(token{kind: class, class: c})
			s = rest
		case strings.HasPrefix(s, "${"):
			f, rest, err := parsePlaceholder(s)
			if err != nil {
				return nil, err
			}
			add(token{kind: placeholder, fact: f})
			s = rest
		default:
			literal.WriteByte(s[0])
			s = s[1:]
		}
	}
	if literal.Len() > 0 {
		tokens = append(tokens, token{kind: text, text: literal.String()})
	}
	return tokens, nil
}

// parseClass reads [abc], [a-z] or [^a-z] at the start of s.
func parseClass(s string) (c charClass, rest string, err error) {
	rest = s[1:]
	if strings.HasPrefix(rest, "!") {
		return c, "", errors.New(`a class is negated by [^...], not by [!...]; \! is the character itself`)
	}
	rest, c.negated = strings.CutPrefix(rest, "^")
	next := func() (r rune, err error) {
		rest = strings.TrimPrefix(rest, `\`)
		r, n := utf8.DecodeRuneInString(rest)
		if n == 0 {
			return 0, errors.New("a class has no ]")
		}
		rest = rest[n:]
		return r, nil
	}
	for !strings.HasPrefix(rest, "]") || len(c.ranges) == 0 {
		if strings.HasPrefix(rest, "]") {
			return c, "", errors.New("a class is empty")
		}
		lo, err := next()
		if err != nil {
			return c, "", err
		}
		hi := lo
		if strings.HasPrefix(rest, "-") && !strings.HasPrefix(rest, "-]") {
			rest = rest[1:]
			if hi, err = next(); err != nil {
				return c, "", err
			}
		}
		if hi < lo {
			return c, "", fmt.Errorf("a class has the range %c-%c", lo, hi)
		}
		c.ranges = append(c.ranges, [2]rune{lo, hi})
	}
	return c, rest[1:], nil
}

// facts returns the facts that p's placeholders stand for, in their order.
func (p *pattern) facts() []fact {
	if p.regex != nil {
		return p.regex.facts
	}
	var facts []fact
	for _, t := range p.tokens {
		if t.kind == placeholder {
			facts = append(facts, t.fact)
		}
	}
	return facts
}

// literal returns the only value that p matches, if it is such a pattern.
func (p *pattern) literal() (string, bool) {
	switch {
	case p == nil || p.regex != nil || len(p.tokens) > 1:
		return "", false
	case len(p.tokens) == 0:
		return "", true
	}
	return p.tokens[0].text, p.tokens[0].kind == text
}

// match tells whether p matches the whole of value.
func (p *pattern) match(value string, q *Query) bool {
	if !strings.HasPrefix(value, p.prefix) {
		return false
	}
	if p.repeated == "" {
		return p.matchPinned(value, q, "")
	}
	return slices.ContainsFunc(q.Identity.Labels[p.repeated], func(pin string) bool {
		return pin != "" && p.matchPinned(value, q, pin)
	})
}

// matchPinned matches with the repeated label having the value pin alone.
func (p *pattern) matchPinned(value string, q *Query, pin string) bool {
	if p.regex != nil {
		return p.regex.match(value, q, p.repeated, pin)
	}
	var room [5]uint64 // enough for a repository name or an account
	var more [5]uint64
	at, next := places(room[:]), places(more[:])
	if words := len(value)/64 + 1; words > len(room) {
		at, next = make(places, words), make(places, words)
	} else {
		at, next = at[:words], next[:words]
	}
	at.add(0)
	for i := range p.tokens {
		if !p.tokens[i].step(value, q, p.repeated, pin, at, next) {
			return false
		}
		at, next = next, at
		clear(next)
	}
	return at.has(len(value))
}

// step adds to next the places that t leads to from each of at, and tells whether there are any.
func (t *token) step(value string, q *Query, repeated, pin string, at, next places) bool {
	some := false
	reach := func(i int) {
		next.add(i)
		some = true
	}
	for i := range at.all {
		switch t.kind {
		case text:
			if strings.HasPrefix(value[i:], t.text) {
				reach(i + len(t.text))
			}
		case one, class:
			r, n := utf8.DecodeRuneInString(value[i:])
			if n > 0 && r != '/' && (t.kind == one || t.class.contains(r)) {
				reach(i + n)
			}
		case component:
			for end := i; ; end++ {
				reach(end)
				if end == len(value) || value[end] == '/' {
					break
				}
			}
		case anything:
			for end := i; end <= len(value); end++ {
				reach(end)
			}
			return true // what the further places lead to is there already
		case placeholder:
			for v := range t.fact.values(q, repeated, pin) {
				if strings.HasPrefix(value[i:], v) {
					reach(i + len(v))
				}
			}
		}
	}
	return some
}

// places is a set of offsets into a value.
type places []uint64

func (p places) add(i int)      { p[i/64] |= 1 << (i % 64) }
func (p places) has(i int) bool { return p[i/64]&(1<<(i%64)) != 0 }

// all yields the offsets in ascending order.
func (p places) all(yield func(int) bool) {
	for w, word := range p {
		for ; word != 0; word &= word - 1 {
			if !yield(w*64 + bits.TrailingZeros64(word)) {
				return
			}
		}
	}
}
