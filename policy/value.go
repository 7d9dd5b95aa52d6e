package policy

import "errors"

// Pattern is a pattern that stands by itself, outside of a rule. The zero Pattern matches "" alone.
type Pattern struct{ p *pattern }

// ParsePattern reads a pattern, which is one without placeholders: there is no query whose facts they could stand for.
func ParsePattern(s string) (Pattern, error) {
	p, err := compilePattern(s)
	if err != nil {
		return Pattern{}, err
	}
	if len(p.facts()) > 0 {
		return Pattern{}, errors.New("a placeholder has no meaning here")
	}
	return Pattern{p}, nil
}

// Match tells whether p matches the whole of value.
func (p Pattern) Match(value string) bool {
	if p.p == nil {
		return value == ""
	}
	return p.p.match(value, &Query{})
}

// String returns the pattern as it was written.
func (p Pattern) String() string {
	if p.p == nil {
		return ""
	}
	return p.p.written
}
