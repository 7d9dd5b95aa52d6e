package config

import (
	"reflect"
	"slices"
	"strings"
)

// suggest returns the key that was most likely meant by name in the section key, whose keys are names: one that is
// spelled nearly so, or else the same name in another section. It returns "" when nothing is near.
func (d *decoder) suggest(name, key string, names []string) string {
	const furthest = 32
	if len(name) > furthest {
		return ""
	}
	folded := strings.ReplaceAll(strings.ToLower(name), "-", "_")
	best, least := "", 1+max(1, len(name)/3)
	for _, candidate := range names {
		if n := distance(folded, candidate); n < least {
			best, least = candidate, n
		}
	}
	if best != "" {
		return best
	}
	for _, other := range keys(d.root, "") {
		if section, last := cut(other); last == folded && section != key {
			return other
		}
	}
	return ""
}

// keys returns the full keys of the sections within t, outermost first.
func keys(t reflect.Type, prefix string) []string {
	var all, inner []string
	if t.Kind() != reflect.Struct {
		return nil
	}
	for f := range t.Fields() {
		if f.Anonymous {
			all = append(all, keys(f.Type, prefix)...)
			continue
		}
		name := yamlName(f)
		if name == "" {
			continue
		}
		all = append(all, join(prefix, name))
		if f.Type.Kind() == reflect.Struct && !isText(reflect.New(f.Type).Elem()) {
			inner = append(inner, keys(f.Type, join(prefix, name))...)
		}
	}
	return append(all, inner...)
}

func cut(key string) (section, last string) {
	i := strings.LastIndexByte(key, '.')
	return key[:max(i, 0)], key[i+1:]
}

// distance returns how many letters have to be inserted, removed, replaced or swapped with their neighbour to turn a
// into b (optimal string alignment).
func distance(a, b string) int {
	var before, last []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, last = last, row
		row = make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			same := 1
			if a[i] == b[j] {
				same = 0
			}
			row[j+1] = min(last[j]+same, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return row[len(b)]
}

// oneOf tells whether s is one of want, and what to say if not.
func oneOf(s string, want ...string) string {
	if slices.Contains(want, s) {
		return ""
	}
	return "want " + strings.Join(want[:len(want)-1], ", ") + " or " + want[len(want)-1]
}
