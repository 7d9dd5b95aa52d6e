package policy

import (
	"path"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// aclPattern is a pattern of an acl. Without placeholders it is compiled once; with them it is a text for each set of
// their values, which is matched as docker_auth would match it.
type aclPattern struct {
	written string
	regex   bool           // an expression, as it is written
	fixed   *regexp.Regexp // an expression without placeholders
	parts   []aclPart      // a pattern with placeholders
	labels  []string       // those of its placeholders, each once
	raw     bool           // values of captures and labels may be patterns
	plain   bool           // what a label stands for is found in every value that matches, but for alternatives
	texts   [][]string     // each has a text that every value that matches contains, whatever placeholders stand for
	alone   bool           // without placeholders or anything special: matches its own text alone
	size    int            // of the expression

	mu       sync.Mutex
	compiled map[string]*regexp.Regexp // by source
}

// aclPart is text of a pattern, or a placeholder.
type aclPart struct {
	text     string
	variable variable
	quoted   bool // between \Q and \E
}

// variable is what a placeholder stands for.
type variable struct {
	kind    variableKind
	written string
	field   aclField // whole
	capture capture  // captured
	label   string   // labelled
	index   int      // labelled: of the label among those of the pattern
}

type variableKind uint8

const (
	none variableKind = iota
	whole
	captured
	labelled
)

// findCaptures returns the captures that docker_auth would find in the patterns of a rule: it takes ${...:N} from the first
// "${" on, so that a placeholder hides those after it.
func findCaptures(written [fieldCount]*string) []capture {
	var captures []capture
	search := regexp.MustCompile(`\$\{(.+?):(\d+)\}`)
	for _, s := range written {
		if s == nil {
			continue
		}
		for _, found := range search.FindAllStringSubmatch(*s, -1) {
			c := capture{written: found[0]}
			switch found[1] {
			case "account", "Account":
				c.field = accountField
			case "type", "Type":
				c.field = typeField
			case "name", "Name":
				c.field = nameField
			case "service", "Service":
				c.field = serviceField
			default:
				continue
			}
			of := written[c.field]
			if of == nil || !isRegex(*of) || slices.ContainsFunc(captures, func(h capture) bool { return h.written == c.written }) {
				continue
			}
			re, err := regexp.Compile((*of)[1 : len(*of)-1])
			if err != nil {
				continue // is a mistake of that pattern
			}
			group, err := strconv.Atoi(found[2])
			if err != nil || group < 1 || group > re.NumSubexp() {
				continue
			}
			c.from, c.group = re, group
			captures = append(captures, c)
		}
	}
	return captures
}

// isRegex tells whether a pattern is an expression.
func isRegex(s string) bool { return len(s) > 2 && s[0] == '/' && s[len(s)-1] == '/' }

// compileACLPattern reads a pattern, in which ${labels:KEY} is a placeholder if labels is set.
func compileACLPattern(s string, captures []capture, labels, raw bool) (*aclPattern, error) {
	p := &aclPattern{written: s, raw: raw, regex: isRegex(s)}
	body := s
	if p.regex {
		body = s[1 : len(s)-1]
		var err error
		if _, p.size, err = parseRegex(body); err != nil {
			return nil, err
		}
	}
	parts := p.split(body, captures, labels)
	switch {
	case slices.ContainsFunc(parts, func(part aclPart) bool { return part.variable.kind != none }):
		p.parts, p.compiled = parts, map[string]*regexp.Regexp{}
		p.analyze()
	case p.regex:
		var err error
		if p.fixed, err = regexp.Compile(body); err != nil {
			return nil, err
		}
		tree, _, _ := parseRegex(body)
		p.texts = requiredTexts(tree)
	default:
		p.alone = !strings.ContainsAny(s, `*?[\`)
		p.texts = globTexts(s)
	}
	return p, nil
}

// split takes a pattern apart. docker_auth looks for placeholders before anything else: a backslash does not hide them.
func (p *aclPattern) split(body string, captures []capture, labels bool) []aclPart {
	var parts []aclPart
	var text strings.Builder
	quoted, escaped := false, false
	for i := 0; i < len(body); {
		v, n := p.variable(body[i:], captures, labels)
		if n == 0 {
			switch {
			case escaped:
				escaped = false
				quoted = p.regex && body[i] == 'Q'
			case quoted && strings.HasPrefix(body[i:], `\E`):
				quoted = false
			case !quoted && body[i] == '\\':
				escaped = true
			}
			text.WriteByte(body[i])
			i++
			continue
		}
		before := text.String()
		if escaped && !p.raw { // the value is text without it
			before = before[:len(before)-1]
		}
		escaped = false
		text.Reset()
		parts = append(parts, aclPart{text: before}, aclPart{variable: v, quoted: quoted})
		i += n
	}
	return append(parts, aclPart{text: text.String()})
}

// raw tells whether the value of v is a pattern.
func raw(v variable, rawPlaceholders bool) bool { return rawPlaceholders && v.kind != whole }

// variable reads a placeholder at the start of s, of n bytes; none is of 0 bytes.
func (p *aclPattern) variable(s string, captures []capture, labels bool) (v variable, n int) {
	if !strings.HasPrefix(s, "${") {
		return v, 0
	}
	for f := range fieldCount {
		if w := "${" + f.String() + "}"; strings.HasPrefix(s, w) {
			return variable{kind: whole, written: w, field: f}, len(w)
		}
	}
	for _, c := range captures {
		if strings.HasPrefix(s, c.written) {
			return variable{kind: captured, written: c.written, capture: c}, len(c.written)
		}
	}
	rest, ok := strings.CutPrefix(s, "${labels:")
	key, _, closed := strings.Cut(rest, "}")
	if !labels || !ok || !closed || strings.Contains(key, "${") {
		return v, 0
	}
	at := slices.Index(p.labels, key)
	if at < 0 {
		at = len(p.labels)
		p.labels = append(p.labels, key)
	}
	w := s[:len("${labels:}")+len(key)]
	return variable{kind: labelled, written: w, label: key, index: at}, len(w)
}

// analyze finds out what is sure about a pattern with placeholders, by putting characters that nobody assigns in their
// places. Where a value could change how the text around it is read, nothing is.
func (p *aclPattern) analyze() {
	const private = 0xF0000
	if p.raw {
		return
	}
	placeholders := 0
	for i, part := range p.parts {
		if part.variable.kind == none {
			continue
		}
		placeholders++
		after := p.parts[i+1].text
		braced := strings.TrimRight(p.parts[i-1].text, "0123456789,")
		if p.regex && (after != "" && strings.Contains("*+?{", after[:1]) || strings.HasSuffix(braced, "{")) {
			return
		}
	}
	standIn := func(i int) string { return strings.Repeat(string(rune(private+i)), 2) }
	var b strings.Builder
	i := 0
	for _, part := range p.parts {
		if part.variable.kind == none {
			b.WriteString(part.text)
			continue
		}
		b.WriteString(standIn(i))
		i++
	}
	if !p.regex {
		p.texts = globTexts(b.String())
		p.plain = !strings.Contains(b.String(), "[")
	} else {
		tree, _, err := parseRegex(b.String())
		if err != nil {
			return
		}
		literals := unfolded(tree)
		p.plain = true
		for i := range placeholders {
			p.plain = p.plain && slices.ContainsFunc(literals, func(s string) bool { return strings.Contains(s, standIn(i)) })
		}
		if !p.plain {
			return
		}
		p.texts = requiredTexts(tree)
	}
	isStandIn := func(r rune) bool { return r >= private && r < private+rune(placeholders) }
	var texts [][]string
	for _, set := range p.texts {
		var known []string
		for _, s := range set {
			longest := ""
			for piece := range strings.FieldsFuncSeq(s, isStandIn) {
				if len(piece) > len(longest) {
					longest = piece
				}
			}
			known = append(known, longest)
		}
		texts = append(texts, known)
	}
	p.texts = texts
}

// unfolded returns the texts of an expression that are matched in their case.
func unfolded(re *syntax.Regexp) []string {
	var literals []string
	if re.Op == syntax.OpLiteral && re.Flags&syntax.FoldCase == 0 {
		literals = append(literals, string(re.Rune))
	}
	for _, sub := range re.Sub {
		literals = append(literals, unfolded(sub)...)
	}
	return literals
}

// match tells whether p matches value, under b.
func (p *aclPattern) match(value string, b *binding) bool {
	switch {
	case p.alone:
		return value == p.written
	case p.fixed != nil:
		return p.fixed.MatchString(value)
	case p.parts == nil:
		return matchGlob(p.written, value)
	}
	if p.matchWith(value, b, nil) {
		return true
	}
	return p.matchLabels(value, b)
}

// matchGlob is path.Match where a malformed pattern matches nothing.
func matchGlob(pattern, value string) bool {
	ok, err := path.Match(pattern, value)
	return ok && err == nil
}

// maxCombinations is how many combinations of label values are tried.
const maxCombinations = 1000

// matchLabels tries the combinations of values of the labels whose placeholders are in p.
func (p *aclPattern) matchLabels(value string, b *binding) bool {
	sets := make([][]string, len(p.labels))
	total, some := 1, false
	for i, key := range p.labels {
		values, ok := b.query.Identity.Labels[key]
		if !ok {
			continue // remains text
		}
		some = true
		sets[i] = p.possible(values, value)
		if len(sets[i]) == 0 {
			return false
		}
		if total *= len(sets[i]); total > maxCombinations {
			b.excessive = true
			return false
		}
	}
	if !some {
		return false
	}
	for n := range total {
		chosen := make([]*string, len(sets))
		for i, set := range sets {
			if set != nil {
				chosen[i] = &set[n%len(set)]
				n /= len(set)
			}
		}
		if p.matchWith(value, b, chosen) {
			return true
		}
	}
	return false
}

// possible leaves out values of a label that make no difference: where the values are text that a value has to contain,
// those that it does not contain all do the same, so that one of them is enough.
func (p *aclPattern) possible(values []string, value string) []string {
	var some []string
	other := false
	for _, v := range values {
		if p.plain && !strings.Contains(value, v) {
			if other {
				continue
			}
			other = true
		}
		if !slices.Contains(some, v) {
			some = append(some, v)
		}
	}
	return some
}

// matchWith matches with the chosen values of labels; what has none remains text.
func (p *aclPattern) matchWith(value string, b *binding, chosen []*string) bool {
	var room [128]byte
	source, empty := p.source(room[:0], b, chosen)
	if p.raw {
		return p.matchRaw(source, value)
	}
	if !p.regex {
		return matchGlob(string(source), value)
	}
	if empty {
		return value == "//" // to docker_auth it is that text
	}
	re := p.compile(string(source))
	return re != nil && re.MatchString(value)
}

// source appends p with its placeholders replaced to buf: with its slashes, if values may be patterns. empty tells whether
// nothing has come of it.
func (p *aclPattern) source(buf []byte, b *binding, chosen []*string) (source []byte, empty bool) {
	if p.raw && p.regex {
		buf = append(buf, '/')
	}
	for i := range p.parts {
		part := &p.parts[i]
		v := &part.variable
		switch v.kind {
		case none:
			buf = append(buf, part.text...)
		case whole:
			buf = p.insert(buf, part, v.field.of(b.query))
		case captured:
			if s, ok := b.captured(&v.capture); ok {
				buf = p.insert(buf, part, s)
			} else {
				buf = append(buf, v.written...)
			}
		case labelled:
			if chosen != nil && chosen[v.index] != nil {
				buf = p.insert(buf, part, *chosen[v.index])
			} else {
				buf = append(buf, v.written...)
			}
		}
	}
	empty = len(buf) == 0
	if p.raw && p.regex {
		buf = append(buf, '/')
	}
	return buf, empty
}

// insert appends a value as text. docker_auth quotes that of a whole field, be it quoted already or not.
func (p *aclPattern) insert(buf []byte, part *aclPart, value string) []byte {
	switch {
	case raw(part.variable, p.raw):
		return append(buf, value...)
	case p.raw:
		return append(buf, regexp.QuoteMeta(value)...)
	case part.quoted && part.variable.kind == whole:
		return append(appendText(append(buf, `\E`...), regexp.QuoteMeta(value)), `\Q`...)
	case part.quoted:
		return append(appendText(append(buf, `\E`...), value), `\Q`...)
	}
	return appendText(buf, value)
}

// appendText appends a value that is text in globs and expressions, in their classes too.
func appendText(buf []byte, value string) []byte {
	for i := range len(value) {
		if strings.IndexByte(`\.+*?()|[]{}^$-&~:!,=<>#`, value[i]) >= 0 {
			buf = append(buf, '\\')
		}
		buf = append(buf, value[i])
	}
	return buf
}

// matchRaw matches with a pattern that has been put together, which may have become an expression by that.
func (p *aclPattern) matchRaw(source []byte, value string) bool {
	s := string(source)
	if !isRegex(s) {
		return matchGlob(s, value)
	}
	re := p.compile(s[1 : len(s)-1])
	return re != nil && re.MatchString(value)
}

// compile returns the compiled source, or nil if it cannot be compiled, such as when the values make it too large.
func (p *aclPattern) compile(source string) *regexp.Regexp {
	p.mu.Lock()
	defer p.mu.Unlock()
	re, ok := p.compiled[source]
	if ok {
		return re
	}
	if tree, err := syntax.Parse(source, syntax.Perl); err == nil && expanded(tree) <= maxRegexSize+len(source) {
		re, _ = regexp.Compile(source)
	}
	if len(p.compiled) >= maxCompiled {
		clear(p.compiled)
	}
	p.compiled[source] = re
	return re
}
