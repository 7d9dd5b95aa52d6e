package config

import (
	"math"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// A remark is a comment of a file.
type remark struct {
	line int
	text string // with the # and without what is blank behind it
	own  bool   // whether nothing else stands on the line
}

// scan finds the comments of a file, whose root is n.
func (f *formatter) scan(n *yaml.Node) {
	f.remarks, f.opaque = map[int]remark{}, map[int][][2]int{}
	f.spans(n, 0)
	for i, line := range f.lines {
		if !strings.Contains(line, "#") {
			continue
		}
		text := []rune(line)
		for column, r := range text {
			if r != '#' || column > 0 && text[column-1] != ' ' && text[column-1] != '\t' || f.isOpaque(i+1, column+1) {
				continue
			}
			own := strings.TrimSpace(string(text[:column])) == ""
			f.remarks[i+1] = remark{i + 1, strings.TrimRight(string(text[column:]), " \t"), own}
			break
		}
	}
}

// spans notes the quoted text and the blocks of text in n, which stands in a section that is indented by some columns.
func (f *formatter) spans(n *yaml.Node, indent int) {
	switch {
	case n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			f.spans(n.Content[i], indent)
			f.spans(n.Content[i+1], n.Content[i].Column)
		}
		return
	case n.Kind == yaml.SequenceNode:
		for _, e := range n.Content {
			f.spans(e, indent)
		}
		return
	case n.Kind != yaml.ScalarNode:
		return
	case n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
		f.quoted(n)
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		f.text(n, indent)
	}
}

// hide notes that the characters of a line from one column to before another, from 1, are no YAML in themselves.
func (f *formatter) hide(line, from, to int) {
	f.opaque[line] = append(f.opaque[line], [2]int{from, to})
}

// quoted notes a text in quotes.
func (f *formatter) quoted(n *yaml.Node) {
	quote := '"'
	if n.Style&yaml.SingleQuotedStyle != 0 {
		quote = '\''
	}
	open := false
	for line, column := n.Line, n.Column-1; line <= len(f.lines); line, column = line+1, 0 {
		text := []rune(f.lines[line-1])
		for begin := column; ; column++ {
			if column >= len(text) {
				f.hide(line, begin+1, math.MaxInt)
				break
			}
			switch {
			case open && quote == '"' && text[column] == '\\':
				column++
			case text[column] != quote:
			case !open:
				open = true
			case quote == '\'' && column+1 < len(text) && text[column+1] == quote:
				column++
			default:
				f.hide(line, begin+1, column+2)
				return
			}
		}
	}
}

// text notes the lines of a block of text under a key that stands in some column.
func (f *formatter) text(n *yaml.Node, indent int) {
	margin := 0
	if head, _, _ := strings.Cut(f.lines[n.Line-1][n.Column-1:], "#"); strings.ContainsAny(head, "123456789") {
		margin = indent // the lines may be indented differently
	}
	end := n.Line
	for line := n.Line + 1; line <= len(f.lines); line++ {
		trimmed := strings.TrimLeft(f.lines[line-1], " ")
		if strings.TrimSpace(trimmed) == "" {
			continue
		}
		depth := len(f.lines[line-1]) - len(trimmed)
		if margin == 0 {
			margin = depth
		}
		if depth < indent || depth < margin {
			break
		}
		end = line
	}
	for line := n.Line + 1; line <= end; line++ {
		f.hide(line, 1, math.MaxInt)
	}
}

// isOpaque tells whether a character belongs to quoted text or a block of text.
func (f *formatter) isOpaque(line, column int) bool {
	return slices.ContainsFunc(f.opaque[line], func(s [2]int) bool { return s[0] <= column && column < s[1] })
}

// between returns the comments on the lines from start to end.
func (f *formatter) between(start, end int) []remark {
	var some []remark
	for line := start; line < end; line++ {
		if r, ok := f.remarks[line]; ok {
			some = append(some, r)
		}
	}
	return some
}

// own returns the comment that has a line for itself.
func (f *formatter) own(line int) (text string, ok bool) {
	r := f.remarks[line]
	return r.text, r.own
}

func (f *formatter) ownLine(line int) bool {
	_, ok := f.own(line)
	return ok
}

// remarkAfter returns what is written behind a line that had one of remarks behind it.
func remarkAfter(remarks []remark, line int) string {
	for _, r := range remarks {
		if r.line == line && !r.own {
			return "  " + r.text
		}
	}
	return ""
}
