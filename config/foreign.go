package config

import (
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Foreign is the file of another program, one that reads it by gopkg.in/yaml.v2. It is read with the care that
// customhouse.yml gets, and as that library does where somebody could depend on it: a key without a value is absent and
// merge keys (<<) count. What that program ignores without a word, unknown keys and all but the last of duplicate ones, is
// an error.
type Foreign struct{ d *decoder }

// ForeignOptions is how a Foreign file is read.
type ForeignOptions struct {
	// Lenient ignores what the other program ignores: that is then among the Notes.
	Lenient bool

	// Unknown says what is wrong with an unknown key of a section; near is the key that was likely meant, or "". Its "" leaves
	// that to the decoder, as nil does always.
	Unknown func(section, name, near string) string

	// Edit changes what the file says before it is read; nil changes nothing. What it adds stands on line 0.
	Edit func(root *yaml.Node)
}

// ParseForeign fills v, a pointer to a struct whose fields name their keys in yaml tags, from data, the content of a file
// that messages call name. A field of type yaml.Node takes whatever stands there, for Overlay. The error is Errors: data
// is no YAML at all. Whatever else is wrong, Err returns.
func ParseForeign(name string, data []byte, v any, o ForeignOptions) (*Foreign, error) {
	root, err := tree(name, data, "nothing is configured here")
	if err != nil {
		return nil, err
	}
	if o.Edit != nil {
		o.Edit(root)
	}
	d := newDecoder(name)
	d.foreign = &o
	d.decode(root, v)
	return &Foreign{d}, nil
}

// ReadForeign returns the content of the file at path, or as much of it as ParseForeign refuses as too large.
func ReadForeign(path string) ([]byte, error) { return read(path) }

// Has tells whether the file says something about key, be it that it has no value.
func (f *Foreign) Has(key string) bool { return f.d.has(key) }

// At returns where key stands or, where it is absent, the innermost section around it.
func (f *Foreign) At(key string) (line, column int) {
	at := f.d.at(key)
	return at.line, at.column
}

// Report notes what is wrong with the value of key, unless message is "" or may follow from what is wrong already.
func (f *Foreign) Report(key, message string) { f.d.report(key, message) }

// Overlay reads what stands at key, a part of a customhouse.yml, over c. Paths in it are relative to folder, and with
// files what they lead to has to be there.
func (f *Foreign) Overlay(key string, n *yaml.Node, c *Config, folder string, files bool) {
	if n.Kind == 0 || isNull(n) {
		return
	}
	foreign, root := f.d.foreign, f.d.root
	f.d.foreign, f.d.root = nil, reflect.TypeOf(*c)
	f.d.value(n, key, reflect.ValueOf(c).Elem())
	f.d.foreign, f.d.root, f.d.misread = foreign, root, f.d.errs
	c.rebase(folder)
	if c.Shadow != "" {
		f.d.report(key+".shadow", "has no effect but in a customhouse.yml; `customhouse config import` makes one of the rest")
	}
	if files {
		f.d.visit(c, key+".")
	}
}

// Err returns everything that is wrong, as Errors in the order of the file; nil if nothing is.
func (f *Foreign) Err() error { return f.d.errs.sorted() }

// Notes returns what a lenient reading has ignored.
func (f *Foreign) Notes() Errors { return f.d.notes }

// Readable returns why the file at path cannot be read, "" if it can.
func Readable(path string) string { return readable(path) }

// JoinKey appends name to a key of a section; a name that is no plain word is quoted and kept short.
func JoinKey(key, name string) string { return join(key, name) }

// IsBcrypt tells whether s is a bcrypt hash that a login can be checked with in good time.
func IsBcrypt(s string) bool { return isBcrypt(s) }

// tolerate notes what a lenient reading ignores, or fails.
func (d *decoder) tolerate(at place, key, message string) {
	to := &d.errs
	if d.foreign != nil && d.foreign.Lenient {
		to = &d.notes
	}
	if len(*to) < maxErrors {
		*to = append(*to, &Error{File: d.file, Line: at.line, Column: at.column, Key: key, Message: message, Tolerable: d.foreign != nil})
	}
}

// pair is a key of a mapping with its value.
type pair struct {
	key, value *yaml.Node
	merged     bool // by <<
}

// foreignPairs is pairs with merge keys, with null as the key "" and, in a lenient reading, with duplicates: the last
// counts.
func (d *decoder) foreignPairs(n *yaml.Node, key string) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(k, v *yaml.Node) bool) {
		own := map[string]place{} // of the keys that are not merged
		for _, p := range d.flatten(n, key, 0) {
			k, at := *p.key, place{p.key.Line, p.key.Column, p.key.Style}
			if d.full() {
				return
			}
			if k.Kind != yaml.ScalarNode || k.Style&yaml.TaggedStyle != 0 {
				d.fail(at, key, "a key is not text")
				continue
			}
			if isNull(&k) {
				d.tolerate(at, key, `a key is null, which is read as ""; write "" if that is meant`)
				k.Value = ""
			}
			if name, _, colon := strings.Cut(k.Value, ":"); colon && isNull(p.value) { // {account:"bob"}
				d.tolerate(at, join(key, name), "no value; a space belongs behind the colon")
				continue
			}
			switch first, twice := own[k.Value]; {
			case twice && p.merged:
				d.tolerate(first, join(key, k.Value), "is set before << and again by it; put << first")
			case twice:
				d.tolerate(at, join(key, k.Value), fmt.Sprintf("duplicate key, first on line %d", first.line))
			case !p.merged:
				own[k.Value] = at
			}
			if !yield(&k, p.value) {
				return
			}
		}
	}
}

// flatten returns the pairs of the mapping n with those that it merges, in the order in which they count: what comes later
// is what holds.
func (d *decoder) flatten(n *yaml.Node, key string, depth int) []pair {
	var pairs []pair
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode || k.Tag != "!!merge" {
			pairs = append(pairs, pair{k, v, depth > 0})
			continue
		}
		from := []*yaml.Node{v}
		if resolve(v).Kind == yaml.SequenceNode {
			from = slices.Clone(resolve(v).Content)
			slices.Reverse(from) // the first of a list counts most
		}
		for _, m := range from {
			if d.values++; d.full() || depth == maxMerges || resolve(m).Kind != yaml.MappingNode {
				d.fail(place{k.Line, k.Column, k.Style}, key, "a merge key (<<) wants a section, or a list of sections, that is not within itself")
				return pairs
			}
			for _, p := range d.flatten(resolve(m), key, depth+1) {
				d.values++
				pairs = append(pairs, pair{p.key, p.value, true})
			}
		}
	}
	return pairs
}

// maxMerges is how deep merge keys may lie in what they merge.
const maxMerges = 8

// resolve returns what an alias stands for.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}
