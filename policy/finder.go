package policy

import "slices"

// finder finds the rules of an acl that a query could match without asking all of them. A rule is looked up by one
// condition: by the value that it wants, or by a piece of a text that every value has that matches it. It takes the
// condition that the fewest other rules share. Those without such a condition are asked always.
type finder struct {
	fields [fieldCount]lookup
	labels map[string]*lookup
	always places // the rules that are asked always
}

// lookup is the rules that are found by one fact of a query.
type lookup struct {
	whole  map[string][]int32 // by the whole value
	pieces [len(pieceSizes)]pieces
}

// pieceSizes are the lengths of pieces of text, in bytes. A text is looked up by a piece of the first length that it has.
var pieceSizes = [...]int{8, 4, 2}

// pieces are rules by pieces of one length.
type pieces struct {
	rules map[uint64][]int32
	seen  [64]uint64 // bits of the pieces that are in rules, so that most others are not looked for
}

// key is where a rule could be looked up.
type key struct {
	field aclField
	label string // with a label, which field is not
	whole bool
	size  int // index into pieceSizes
	text  string
	piece uint64
}

func newFinder(rules []aclRule) finder {
	x := finder{labels: map[string]*lookup{}, always: make(places, (len(rules)+63)/64)}
	offers := make([][][]key, len(rules)) // for each rule sets of keys, of which one set is enough
	shared := map[key]int{}
	for i := range rules {
		offers[i] = rules[i].offers()
		for _, k := range slices.Concat(offers[i]...) {
			shared[k]++
		}
	}
	for i, sets := range offers {
		best, least := -1, 0
		for j, set := range sets {
			count := 0
			for _, k := range set {
				count += shared[k]
			}
			if best < 0 || count < least || count == least && longer(set, sets[best]) {
				best, least = j, count
			}
		}
		if best < 0 {
			x.always.add(i)
			continue
		}
		for _, k := range sets[best] {
			x.add(k, int32(i))
		}
	}
	return x
}

// longer tells whether the keys of a are of longer texts than those of b, and so are found less often.
func longer(a, b []key) bool {
	rank := func(set []key) int {
		r := 0
		for _, k := range set {
			if !k.whole {
				r = max(r, 1+k.size)
			}
		}
		return r
	}
	return rank(a) < rank(b)
}

// offers returns the sets of keys by which r could be looked up.
func (r *aclRule) offers() [][]key {
	var sets [][]key
	offer := func(p *aclPattern, k key) {
		if p == nil {
			return
		}
		if p.alone {
			k.whole, k.text = true, p.written
			sets = append(sets, []key{k})
			return
		}
		for _, texts := range p.texts {
			sets = append(sets, pieceKeys(texts, k)...)
		}
	}
	for f, p := range r.fields {
		offer(p, key{field: aclField(f)})
	}
	for _, l := range r.labels {
		offer(l.pattern, key{field: fieldCount, label: l.key})
	}
	return sets
}

// pieceKeys returns the sets of keys for a set of texts: all pieces of a text that is alone, and the first pieces of
// texts of which there are several.
func pieceKeys(texts []string, k key) [][]key {
	if shortest(texts) < pieceSizes[len(pieceSizes)-1] {
		return nil
	}
	var sets [][]key
	var together []key
	for _, s := range texts {
		k.size = slices.IndexFunc(pieceSizes[:], func(n int) bool { return n <= len(s) })
		for at := range len(s) - pieceSizes[k.size] + 1 {
			k.piece = pieceAt(s, at, pieceSizes[k.size])
			if len(texts) == 1 {
				sets = append(sets, []key{k})
			} else if at == 0 {
				together = append(together, k)
			}
		}
	}
	if together != nil {
		sets = append(sets, together)
	}
	return sets
}

func pieceAt(s string, at, size int) uint64 {
	var v uint64
	for i := range size {
		v = v<<8 | uint64(s[at+i])
	}
	return v
}

// bit returns where in seen a piece is.
func bit(piece uint64) (word, mask uint64) {
	h := piece * 0x9E3779B97F4A7C15 >> 52 // 12 bits
	return h >> 6, 1 << (h & 63)
}

func (x *finder) add(k key, rule int32) {
	if k.field == fieldCount && x.labels[k.label] == nil {
		x.labels[k.label] = &lookup{}
	}
	l := x.labels[k.label]
	if k.field < fieldCount {
		l = &x.fields[k.field]
	}
	if k.whole {
		if l.whole == nil {
			l.whole = map[string][]int32{}
		}
		l.whole[k.text] = append(l.whole[k.text], rule)
		return
	}
	p := &l.pieces[k.size]
	if p.rules == nil {
		p.rules = map[uint64][]int32{}
	}
	if have := p.rules[k.piece]; !slices.Contains(have, rule) {
		p.rules[k.piece] = append(have, rule)
	}
	word, mask := bit(k.piece)
	p.seen[word] |= mask
}

// candidates returns the rules that q could match, as a set of their indexes, in room if there is enough.
func (x *finder) candidates(q *Query, room places) places {
	found := append(room[:0], x.always...)
	for f := range x.fields {
		x.fields[f].find(aclField(f).of(q), found)
	}
	for label, l := range x.labels {
		for _, v := range q.Identity.Labels[label] {
			l.find(v, found)
		}
	}
	return found
}

// find adds the rules that a value could match.
func (l *lookup) find(value string, found places) {
	for _, rule := range l.whole[value] {
		found.add(int(rule))
	}
	for i, size := range pieceSizes {
		p := &l.pieces[i]
		if p.rules == nil || len(value) < size {
			continue
		}
		piece, all := pieceAt(value, 0, size), ^uint64(0)>>(64-8*size)
		for at := size; ; at++ {
			if word, mask := bit(piece); p.seen[word]&mask != 0 {
				for _, rule := range p.rules[piece] {
					found.add(int(rule))
				}
			}
			if at == len(value) {
				break
			}
			piece = (piece<<8 | uint64(value[at])) & all
		}
	}
}
