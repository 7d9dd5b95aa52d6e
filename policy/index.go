package policy

import "strings"

// index finds the rules that a query could match without asking all of them: those whose name pattern begins with the
// same path component as the name, those for its account alone, and those that are tied to neither. A rule is in one
// list only, and each list is in the order of the rules.
type index struct {
	byName    map[string][]int32
	byAccount map[string][]int32
	rest      []int32
}

func newIndex(rules []rule) index {
	x := index{byName: map[string][]int32{}, byAccount: map[string][]int32{}}
	for i := range rules {
		r, n := &rules[i], int32(i)
		if first, ok := r.firstComponent(); ok {
			x.byName[first] = append(x.byName[first], n)
		} else if account, ok := r.literalAccount(); ok {
			x.byAccount[account] = append(x.byAccount[account], n)
		} else {
			x.rest = append(x.rest, n)
		}
	}
	return x
}

// firstComponent is that of the names that r matches, if they have it in common.
func (r *rule) firstComponent() (string, bool) {
	p, ok := r.on(onName).alone()
	if !ok {
		return "", false
	}
	return p.firstComponent()
}

// literalAccount is the only account that r matches, if there is one only.
func (r *rule) literalAccount() (string, bool) {
	p, ok := r.on(onAccount).alone()
	if !ok {
		return "", false
	}
	return p.literal()
}

// candidates merges three ascending lists into one.
type candidates struct{ a, b, c []int32 }

func (x *index) candidates(q *Query) candidates {
	first, _, _ := strings.Cut(q.Name, "/")
	return candidates{x.byName[first], x.byAccount[q.Identity.Account], x.rest}
}

// coverers finds the rules that could match all that r matches: their first component, or account, is r's too.
func (x *index) coverers(r *rule) candidates {
	first, _ := r.firstComponent()
	account, _ := r.literalAccount()
	return candidates{x.byName[first], x.byAccount[account], x.rest}
}

// next returns the least rule not returned yet.
func (c *candidates) next() (int32, bool) {
	least := &c.a
	if len(*least) == 0 || len(c.b) > 0 && c.b[0] < (*least)[0] {
		least = &c.b
	}
	if len(*least) == 0 || len(c.c) > 0 && c.c[0] < (*least)[0] {
		least = &c.c
	}
	if len(*least) == 0 {
		return 0, false
	}
	i := (*least)[0]
	*least = (*least)[1:]
	return i, true
}
