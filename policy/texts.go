package policy

import (
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// What every value that matches a pattern contains is found out here: a set of texts of which each value has one, for as
// many parts of the pattern as there are. Rules are looked up by them before their patterns are tried.

// maxAlternatives is how many texts a set has at the most.
const maxAlternatives = 16

// globTexts returns the texts that a value must contain to match a glob of path.Match, one to a set.
func globTexts(glob string) [][]string {
	var sets [][]string
	var text strings.Builder
	end := func() {
		if text.Len() > 0 {
			sets = append(sets, []string{text.String()})
			text.Reset()
		}
	}
	for i := 0; i < len(glob); i++ {
		switch glob[i] {
		case '*', '?':
			end()
		case '[':
			end()
			return sets // what follows the class is left out
		case '\\':
			if i++; i == len(glob) {
				return nil // malformed
			}
			fallthrough
		default:
			text.WriteByte(glob[i])
		}
	}
	end()
	return sets
}

// requiredTexts returns the sets of texts that a value must contain to match an expression.
func requiredTexts(re *syntax.Regexp) [][]string {
	s := &texts{}
	s.add(re)
	s.end()
	return s.sets
}

// texts collects the sets of an expression, joining texts that stand side by side.
type texts struct {
	sets [][]string
	text strings.Builder
}

func (s *texts) end() {
	if s.text.Len() > 0 {
		s.sets = append(s.sets, []string{s.text.String()})
		s.text.Reset()
	}
}

func (s *texts) add(re *syntax.Regexp) {
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpBeginText, syntax.OpEndText, syntax.OpBeginLine, syntax.OpEndLine,
		syntax.OpWordBoundary, syntax.OpNoWordBoundary: // take no room
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase != 0 {
			s.end()
			return
		}
		for _, r := range re.Rune {
			if r == utf8.RuneError { // matches bytes that are no text too
				s.end()
				continue
			}
			s.text.WriteRune(r)
		}
	case syntax.OpCapture, syntax.OpConcat:
		for _, sub := range re.Sub {
			s.add(sub)
		}
	case syntax.OpPlus:
		s.inner(re.Sub[0])
	case syntax.OpRepeat:
		s.end()
		if re.Min > 0 {
			s.inner(re.Sub[0])
		}
	case syntax.OpAlternate:
		s.end()
		s.alternatives(re.Sub)
	default:
		s.end()
	}
}

// inner adds what is required of an expression that may stand more than once.
func (s *texts) inner(re *syntax.Regexp) {
	s.end()
	s.sets = append(s.sets, requiredTexts(re)...)
}

// alternatives adds one set in which each alternative has its best, if each has one.
func (s *texts) alternatives(all []*syntax.Regexp) {
	var set []string
	for _, re := range all {
		var best []string
		for _, have := range requiredTexts(re) {
			if shortest(have) > shortest(best) {
				best = have
			}
		}
		if set = append(set, best...); len(best) == 0 || len(set) > maxAlternatives {
			return
		}
	}
	s.sets = append(s.sets, set)
}

// shortest returns the length of the shortest text of a set; 0 for an empty set.
func shortest(set []string) int {
	least := 0
	for i, s := range set {
		if i == 0 || len(s) < least {
			least = len(s)
		}
	}
	return least
}
