package config

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// formatWidth is how many columns a line may have before what is written in brackets is written in lines.
const formatWidth = 110

// formatted are the keys of a file whose values Format writes anew.
var formatted = []string{"rules", "sets"}

// Format writes rules and sets in the one way in which they are written, and leaves whatever else is in the file as it is.
// It keeps comments, the order of keys, and the author's choice between brackets and lines, except where a line is too
// long. What it does not understand, such as rules with aliases, keeps its words and is indented alike. The meaning stays:
// that is checked. The error is Errors when data is no YAML.
func Format(name string, data []byte) ([]byte, error) {
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	root, err := tree(name, data, "nothing is here")
	if err != nil {
		return nil, err
	}
	f := &formatter{lines: strings.Split(strings.TrimRight(string(data), "\n"), "\n")}
	f.scan(root)
	if root.Kind != yaml.MappingNode || root.Style&yaml.FlowStyle != 0 || slices.Contains(f.lines, "...") {
		return data, nil
	}
	next := 1 // the line that is to be copied next
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if !slices.Contains(formatted, key.Value) || key.Column != 1 {
			continue
		}
		end := len(f.lines) + 1
		if i+2 < len(root.Content) {
			end = root.Content[i+2].Line
		}
		end = f.trim(key.Line, end)
		for ; next < key.Line; next++ {
			f.put(f.lines[next-1])
		}
		if mark := len(f.out); !f.section(key, value, end) {
			f.out = append(f.out[:mark], f.lines[key.Line-1:end-1]...)
		}
		next = end
	}
	f.out = append(f.out, f.lines[next-1:]...)
	out := []byte(strings.Join(f.out, "\n") + "\n")
	if err := sameMeaning(name, data, out); err != nil {
		return nil, fmt.Errorf("%s: formatting would change it, so it is left as it is: %w", name, err)
	}
	return out, nil
}

// formatter writes lines anew.
type formatter struct {
	lines   []string // of the file
	remarks map[int]remark
	opaque  map[int][][2]int // columns by line: quoted text and blocks of text, in which # begins no comment
	out     []string
}

func (f *formatter) put(lines ...string) { f.out = append(f.out, lines...) }

// trim returns where a section ends that begins on a line: behind its last content, and the comments that are indented.
func (f *formatter) trim(begin, end int) int {
	for end > begin+1 {
		line := f.lines[end-2]
		if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#") || f.isOpaque(end-1, 1) {
			break
		}
		end--
	}
	return end
}

// section writes a key of the file with its value, up to the line end. It returns false where it cannot.
func (f *formatter) section(key, value *yaml.Node, end int) bool {
	lines := f.between(key.Line, end)
	first := key.Value + ":"
	if value.Kind != yaml.SequenceNode && value.Kind != yaml.MappingNode || value.Anchor != "" {
		return false
	}
	if len(value.Content) == 0 {
		if len(lines) > 0 && (len(lines) > 1 || lines[0].line != key.Line) {
			return false
		}
		f.put(first + " " + flow(value) + remarkAfter(lines, key.Line))
		return true
	}
	isFlow := value.Style&yaml.FlowStyle != 0
	if isFlow && len(lines) > 0 {
		return false
	}
	f.put(first + remarkAfter(lines, key.Line))
	if value.Kind == yaml.MappingNode {
		b := &block{f: f, indent: 2}
		b.out = withoutBlank(b.heads(key.Line+1, value.Content[0].Line, 2))
		if slices.ContainsFunc(value.Content, opaqueNode) || !b.pairs(value, value.Content[0].Line, end) {
			return false
		}
		f.put(b.out...)
		f.put(b.heads(b.last+1, end, 2)...)
		return isFlow || b.used == len(f.between(key.Line+1, end))
	}
	at := key.Line + 1 // the first line that is not written yet
	for i, entry := range value.Content {
		if isFlow {
			b := &block{f: f, indent: 4}
			if opaqueNode(entry) || !b.entry(entry, entry.Line, entry.Line+1) {
				return false
			}
			f.put(b.out...)
			continue
		}
		start, column := f.dash(entry)
		if start == 0 {
			return false
		}
		after := end
		if i+1 < len(value.Content) {
			if after, _ = f.dash(value.Content[i+1]); after == 0 {
				return false
			}
		}
		stop := f.contentEnd(start, after)
		b := &block{f: f, indent: 4}
		heads := b.heads(at, start, 2)
		if b.used = 0; i == 0 {
			heads = withoutBlank(heads)
		}
		f.put(heads...)
		if opaqueNode(entry) || !b.entry(entry, start, stop) || b.used != len(f.between(start, stop)) {
			b.out = f.verbatim(start, stop, 2-column)
		}
		f.put(b.out...)
		at = stop
	}
	if !isFlow {
		f.put((&block{f: f}).heads(at, end, 2)...)
	}
	return true
}

// dash returns the line and the column, from 0, of the dash before an entry of a list; line 0 where there is none.
func (f *formatter) dash(entry *yaml.Node) (line, column int) {
	for line = entry.Line; line > 0; line-- {
		text := []rune(f.lines[line-1])
		if line == entry.Line {
			text = text[:min(entry.Column-1, len(text))]
		}
		if i := slices.Index(text, '-'); i >= 0 && strings.TrimSpace(string(text[:i])) == "" {
			return line, i
		}
		if strings.TrimSpace(string(text)) != "" {
			return 0, 0
		}
	}
	return 0, 0
}

// contentEnd returns the line behind the last content of the lines from start to end.
func (f *formatter) contentEnd(start, end int) int {
	for end > start+1 {
		line := end - 1
		blank := strings.TrimSpace(f.lines[line-1]) == ""
		if f.isOpaque(line, 1) || !blank && !f.ownLine(line) {
			break
		}
		end--
	}
	return end
}

// verbatim returns lines indented by more, or less, columns.
func (f *formatter) verbatim(start, end, more int) []string {
	var out []string
	for _, line := range f.lines[start-1 : end-1] {
		switch {
		case strings.TrimSpace(line) == "":
			line = ""
		case more >= 0:
			line = strings.Repeat(" ", more) + line
		default:
			blanks := len(line) - len(strings.TrimLeft(line, " "))
			line = line[min(blanks, -more):]
		}
		out = append(out, line)
	}
	return out
}

// block writes a mapping in lines.
type block struct {
	f      *formatter
	indent int
	out    []string
	used   int // comments
	last   int // line of the file that has been written last
}

// heads returns the comments and the blank lines, one for each run of them, from a line to another.
func (b *block) heads(from, to, indent int) []string {
	var out []string
	blank := false
	for line := from; line < to; line++ {
		own, ok := b.f.own(line)
		switch {
		case ok:
			if blank {
				out = append(out, "")
			}
			out, blank = append(out, strings.Repeat(" ", indent)+own), false
			b.used++
		case strings.TrimSpace(b.f.lines[line-1]) == "":
			blank = true
		}
	}
	if blank && to <= len(b.f.lines) && strings.TrimSpace(b.f.lines[to-1]) != "" {
		out = append(out, "")
	}
	return out
}

// entry writes an entry of the list of rules, which the lines from start to end hold.
func (b *block) entry(n *yaml.Node, start, end int) bool {
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		return false
	}
	if n.Style&yaml.FlowStyle != 0 {
		line := "  - " + flow(n)
		if len([]rune(line)) <= formatWidth {
			remarks := b.f.between(start, end)
			if len(remarks) > 1 || len(remarks) == 1 && remarks[0].line != end-1 {
				return false
			}
			b.used += len(remarks)
			b.out = append(b.out, line+remarkAfter(remarks, end-1))
			return true
		}
		if len(b.f.between(start, end)) > 0 {
			return false
		}
	}
	if !b.pairs(n, start, end) {
		return false
	}
	b.out[0] = "  - " + strings.TrimSpace(b.out[0])
	return true
}

// withoutBlank returns lines without the first if that is blank.
func withoutBlank(lines []string) []string {
	if len(lines) > 0 && lines[0] == "" {
		return lines[1:]
	}
	return lines
}

// pairs writes the keys of n with their values, which the lines from start to end hold. It returns false where it cannot.
func (b *block) pairs(n *yaml.Node, start, end int) bool {
	isFlow := n.Style&yaml.FlowStyle != 0
	at := start
	margin := strings.Repeat(" ", b.indent)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
			return false
		}
		stop := end
		if i+2 < len(n.Content) {
			stop = n.Content[i+2].Line
		}
		if !isFlow {
			if i > 0 {
				for _, head := range b.heads(at, key.Line, b.indent) {
					if head != "" || b.indent == 2 { // between the keys of a rule there is no blank line
						b.out = append(b.out, head)
					}
				}
			}
			stop = b.f.contentEnd(key.Line, stop)
		}
		var remarks []remark
		if !isFlow {
			remarks = b.f.between(key.Line, stop)
		}
		head := margin + scalar(key) + ":"
		if ok := b.pair(head, value, remarks, key.Line, stop); !ok {
			return false
		}
		at, b.last = stop, stop-1
	}
	return true
}

// pair writes a key with its value, and the remarks of their lines.
func (b *block) pair(head string, value *yaml.Node, remarks []remark, start, stop int) bool {
	inner := func() *block { return &block{f: b.f, indent: b.indent + 2} }
	isFlow := value.Style&yaml.FlowStyle != 0
	margin := strings.Repeat(" ", b.indent+2)
	switch {
	case value.Kind == yaml.ScalarNode && value.Style&yaml.LiteralStyle != 0:
		text, ok := literal(value.Value, margin)
		if !ok || len(remarks) > 1 || len(remarks) == 1 && remarks[0].line != value.Line {
			return false
		}
		b.used += len(remarks)
		b.out = append(b.out, head+" "+text[0]+remarkAfter(remarks, value.Line))
		b.out = append(b.out, text[1:]...)
		return true
	case value.Kind == yaml.ScalarNode, isFlow, len(value.Content) == 0, strings.HasSuffix(head, "actions:") && isActions(value):
		line := strings.TrimRight(head+" "+flow(value), " ")
		fits := len([]rune(line)) <= formatWidth || value.Kind == yaml.ScalarNode || len(value.Content) == 0
		behind := len(remarks) == 0 || len(remarks) == 1 && remarks[0].line == stop-1
		if fits && behind {
			b.used += len(remarks)
			b.out = append(b.out, line+remarkAfter(remarks, stop-1))
			return true
		}
		if isFlow && len(remarks) > 0 || value.Kind == yaml.ScalarNode || len(value.Content) == 0 {
			return false
		}
	}
	b.out = append(b.out, head+remarkAfter(remarks, start))
	if len(remarks) > 0 && remarks[0].line == start && !remarks[0].own {
		b.used++
	}
	if value.Kind == yaml.MappingNode {
		c := inner()
		if isFlow {
			start--
		}
		c.out = c.heads(start+1, value.Content[0].Line, c.indent)
		if !c.pairs(value, value.Content[0].Line, stop) {
			return false
		}
		b.out, b.used = append(b.out, c.out...), b.used+c.used
		return true
	}
	at := start + 1
	for i, element := range value.Content {
		if element.Kind != yaml.ScalarNode && element.Style&yaml.FlowStyle == 0 || element.Style&yaml.LiteralStyle != 0 {
			return false
		}
		var after []remark
		if !isFlow {
			heads := inner()
			b.out = append(b.out, heads.heads(at, element.Line, b.indent+2)...)
			b.used += heads.used
			until := stop
			if i+1 < len(value.Content) {
				until = value.Content[i+1].Line
			}
			at = b.f.contentEnd(element.Line, until)
			if after = b.f.between(element.Line, at); len(after) > 1 || len(after) == 1 && after[0].line != at-1 {
				return false
			}
			b.used += len(after)
		}
		b.out = append(b.out, margin+"- "+flow(element)+remarkAfter(after, at-1))
	}
	return true
}

// isActions tells whether n is a list of plain words. A list of actions is written in brackets.
func isActions(n *yaml.Node) bool {
	return n.Kind == yaml.SequenceNode && !slices.ContainsFunc(n.Content, func(e *yaml.Node) bool {
		return e.Kind != yaml.ScalarNode || e.Value != "*" && strings.Trim(e.Value, "abcdefghijklmnopqrstuvwxyz") != ""
	})
}

// flow writes n in brackets, on one line.
func flow(n *yaml.Node) string {
	var parts []string
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			parts = append(parts, scalar(n.Content[i])+": "+flow(n.Content[i+1]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case yaml.SequenceNode:
		for _, e := range n.Content {
			parts = append(parts, flow(e))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return scalar(n)
}

// scalar writes text as it was written, in double quotes if it stood in single ones that it can do without.
func scalar(n *yaml.Node) string {
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0, n.Style&yaml.SingleQuotedStyle != 0 && !strings.ContainsAny(n.Value, `\"`):
		return strconv.Quote(n.Value)
	case n.Style&yaml.SingleQuotedStyle != 0:
		return "'" + strings.ReplaceAll(n.Value, "'", "''") + "'"
	}
	return n.Value
}

// literal writes a block of text that keeps its lines; false where that takes more than a |.
func literal(s, margin string) ([]string, bool) {
	body := strings.TrimRight(s, "\n")
	if body == "" || strings.HasPrefix(body, " ") || strings.HasPrefix(body, "\n") || strings.ContainsAny(s, "\t\u0085\u2028\u2029") {
		return nil, false
	}
	head := "|"
	switch len(s) - len(body) {
	case 0:
		head = "|-"
	case 1:
	default:
		return nil, false
	}
	out := []string{head}
	for line := range strings.SplitSeq(body, "\n") {
		if line != "" {
			line = margin + line
		}
		out = append(out, line)
	}
	return out, true
}

// opaqueNode tells whether n holds what is not written anew: aliases, anchors, tags, and text over several lines that is no
// block of them.
func opaqueNode(n *yaml.Node) bool {
	if n.Anchor != "" || n.Kind == yaml.AliasNode || n.Style&(yaml.TaggedStyle|yaml.FoldedStyle) != 0 {
		return true
	}
	if n.Kind == yaml.ScalarNode && strings.Contains(n.Value, "\n") && n.Style&yaml.LiteralStyle == 0 {
		return true
	}
	return slices.ContainsFunc(n.Content, opaqueNode)
}

// sameMeaning compares two texts: what they say, and their comments.
func sameMeaning(name string, before, after []byte) error {
	a, err := tree(name, before, "")
	if err != nil {
		return err
	}
	b, err := tree(name, after, "")
	if err != nil {
		return err
	}
	if !sameNode(a, b) {
		return errors.New("it would say something else")
	}
	remarks := func(data []byte, root *yaml.Node) []string {
		f := &formatter{lines: strings.Split(string(data), "\n")}
		f.scan(root)
		var all []string
		for _, r := range f.remarks {
			all = append(all, r.text)
		}
		slices.Sort(all)
		return all
	}
	if !slices.Equal(remarks(before, a), remarks(after, b)) {
		return errors.New("a comment would be lost")
	}
	return nil
}

// sameNode tells whether two nodes say the same.
func sameNode(a, b *yaml.Node) bool {
	return a.Kind == b.Kind && a.Tag == b.Tag && a.Value == b.Value && a.Anchor == b.Anchor && slices.EqualFunc(a.Content, b.Content, sameNode)
}
