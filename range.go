package customhouse

// Range is a range of names in byte order: from First on and before End, "" being no end. The zero Range is all names.
type Range struct {
	First, End string
	Sure       bool // every name in it is meant; else each has to be asked about
}

// Begins returns the range of all names that begin with prefix, which is no part of a character.
func Begins(prefix string) Range {
	r := Range{First: prefix}
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xff {
			r.End = prefix[:i] + string([]byte{prefix[i] + 1})
			break
		}
	}
	return r
}

// Only returns the range of one name.
func Only(name string) Range { return Range{First: name, End: after(name)} }

// after returns the name that follows in byte order.
func after(name string) string { return name + "\x00" }
