package config

import (
	"cmp"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"customhouse/policy"
)

// A decoder fills a Config, a list of Questions or a Foreign file from a tree of YAML nodes and collects what is wrong.
// It does what yaml.Load does with known fields only, but its messages name keys instead of Go types and never a value,
// tags and merge keys are refused, and it remembers where each key stood.
type decoder struct {
	file   string
	errs   Errors
	root   reflect.Type // what is filled
	places map[string]place
	values int

	misread Errors // errs as decode left them

	including bool      // whether entries of rules may be includes
	includes  []include // in their order

	foreign *ForeignOptions // nil for our own files
	notes   Errors          // what would be errs if the reading were not lenient
}

// place is where a value stands in a file.
type place struct {
	line, column int
	style        yaml.Style // of a text
}

func newDecoder(file string) *decoder {
	return &decoder{file: file, places: map[string]place{}}
}

// decode fills what v points to from root.
func (d *decoder) decode(root *yaml.Node, v any) {
	d.root = reflect.TypeOf(v).Elem()
	d.value(root, "", reflect.ValueOf(v).Elem())
	d.misread = d.errs
}

// has tells whether the file says something about key.
func (d *decoder) has(key string) bool {
	_, ok := d.places[key]
	return ok
}

// at returns the place of key or, where it is absent, of the innermost section around it.
func (d *decoder) at(key string) place {
	for key != "" && !d.has(key) {
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
	}
	return d.places[key]
}

// report notes what is wrong with the value of key, unless message is "" or may follow from what was misread: the value
// itself, its section, or a key beside it that was meant to be this one.
func (d *decoder) report(key, message string) {
	section, _ := cut(key)
	follows := slices.ContainsFunc(d.misread, func(e *Error) bool {
		return e.Key == key || !d.has(key) && (e.Key == section || strings.HasPrefix(e.Key, section+"."))
	})
	if message != "" && !follows {
		d.fail(d.at(key), key, message)
	}
}

// reportWithin is report for what may be wrong at one place in a text. In a text of one line that stands as it is that is
// a place in the file; in any other the message tells where.
func (d *decoder) reportWithin(key, message string, at place) {
	text := d.at(key)
	switch {
	case at.line == 0 || message == "":
	case d.has(key) && at.line == 1 && text.style&^yaml.SingleQuotedStyle == 0:
		if text.column += at.column - 1; text.style&yaml.SingleQuotedStyle != 0 {
			text.column++
		}
		d.fail(text, key, message)
		return
	default:
		message = fmt.Sprintf("%d:%d: %s", at.line, at.column, message)
	}
	d.report(key, message)
}

// full tells whether enough has been said.
func (d *decoder) full() bool { return len(d.errs) >= maxErrors || d.values > maxValues }

func (d *decoder) fail(at place, key, message string) {
	if len(d.errs) < maxErrors {
		d.errs = append(d.errs, &Error{File: d.file, Line: at.line, Column: at.column, Key: key, Message: message})
	}
}

// value sets v from n, the value of key. Recursion ends where the types do.
func (d *decoder) value(n *yaml.Node, key string, v reflect.Value) {
	at := place{n.Line, n.Column, n.Style}
	d.places[key] = at
	if d.full() {
		return
	}
	if d.values++; d.values > maxValues {
		d.fail(at, key, fmt.Sprintf("more than %d values, counting each use of an alias", maxValues))
		return
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if raw, ok := v.Addr().Interface().(*yaml.Node); ok {
		*raw = *n
		return
	}
	if d.foreign != nil && isNull(n) {
		v.SetZero()
		return
	}
	if v.Kind() == reflect.Pointer {
		if d.foreign == nil || v.IsNil() { // a foreign section that stands twice is one
			v.Set(reflect.New(v.Type().Elem()))
		}
		v = v.Elem()
	}
	switch {
	case n.Style&yaml.TaggedStyle != 0:
		d.fail(at, key, "tags are not supported; quote text that begins with !")
	case isNull(n):
		d.fail(at, key, "no value; leave the key out to get its default")
	case isText(v):
		d.scalar(n, at, key, v)
	case v.Type() == reflect.TypeFor[policy.Values]() && n.Kind != yaml.SequenceNode:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		d.scalar(n, at, key, v.Index(0))
	case v.Kind() == reflect.Interface:
		if plain := d.json(n, key); plain != nil {
			v.Set(reflect.ValueOf(plain))
		}
	case v.Kind() == reflect.Struct:
		d.section(n, at, key, v)
	case v.Kind() == reflect.Map:
		d.table(n, at, key, v)
	case v.Kind() == reflect.Slice:
		d.list(n, at, key, v)
	default:
		d.scalar(n, at, key, v)
	}
}

// section sets the fields of the struct v.
func (d *decoder) section(n *yaml.Node, at place, key string, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.fail(at, key, "want a section of keys and values")
		return
	}
	fields := map[string]reflect.Value{}
	var names []string
	for name, field := range sectionFields(v) {
		fields[name] = field
		names = append(names, name)
	}
	for k, value := range d.pairs(n, key) {
		if field, ok := fields[k.Value]; ok {
			d.value(value, join(key, k.Value), field)
			continue
		}
		message := "unknown key; known are " + strings.Join(names, ", ")
		near := d.suggest(k.Value, key, names)
		if near != "" {
			message = "unknown key; did you mean " + near + "?"
		}
		if d.foreign != nil && d.foreign.Unknown != nil {
			message = cmp.Or(d.foreign.Unknown(key, k.Value, near), message)
		}
		d.tolerate(place{k.Line, k.Column, k.Style}, join(key, k.Value), message)
	}
}

// sectionFields yields the fields of the struct v by key, those of embedded structs as its own.
func sectionFields(v reflect.Value) iter.Seq2[string, reflect.Value] {
	return func(yield func(string, reflect.Value) bool) {
		for f, field := range v.Fields() {
			if f.Anonymous {
				for name, inner := range sectionFields(field) {
					if !yield(name, inner) {
						return
					}
				}
			} else if name := yamlName(f); name != "" && !yield(name, field) {
				return
			}
		}
	}
}

// table sets the map v, whose keys are text.
func (d *decoder) table(n *yaml.Node, at place, key string, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.fail(at, key, "want names and values")
		return
	}
	if v.IsNil() { // an overlay adds to what is there
		v.Set(reflect.MakeMap(v.Type()))
	}
	for k, value := range d.pairs(n, key) {
		element := reflect.New(v.Type().Elem()).Elem()
		name := reflect.ValueOf(k.Value).Convert(v.Type().Key())
		if was := v.MapIndex(name); was.IsValid() && d.foreign == nil {
			element.Set(was)
		}
		d.value(value, join(key, k.Value), element)
		v.SetMapIndex(name, element)
	}
}

// list sets the slice v.
func (d *decoder) list(n *yaml.Node, at place, key string, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		d.fail(at, key, "want a list, such as [a, b]")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, element := range n.Content {
		entry := fmt.Sprintf("%s[%d]", key, i)
		if d.including && key == "rules" && isInclude(element) {
			d.include(element, entry, i)
			continue
		}
		d.value(element, entry, v.Index(i))
	}
}

// json returns n as a value of JSON: text, a number, true or false, a list or an object.
func (d *decoder) json(n *yaml.Node, key string) any {
	if d.values++; d.full() {
		return nil
	}
	switch n = resolve(n); {
	case n.Kind == yaml.MappingNode:
		object := map[string]any{}
		for k, v := range d.pairs(n, key) {
			object[k.Value] = d.json(v, join(key, k.Value))
		}
		return object
	case n.Kind == yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, e := range n.Content {
			list[i] = d.json(e, fmt.Sprintf("%s[%d]", key, i))
		}
		return list
	case n.Tag == "!!bool":
		return strings.EqualFold(n.Value, "true")
	case n.Tag == "!!int", n.Tag == "!!float":
		return json.Number(n.Value)
	}
	return n.Value
}

// pairs yields the keys of the mapping n, each once, with their values.
func (d *decoder) pairs(n *yaml.Node, key string) iter.Seq2[*yaml.Node, *yaml.Node] {
	if d.foreign != nil {
		return d.foreignPairs(n, key)
	}
	return func(yield func(k, v *yaml.Node) bool) {
		first := map[string]int{}
		for i := 0; i+1 < len(n.Content) && !d.full(); i += 2 {
			k, v := n.Content[i], n.Content[i+1]
			at := place{k.Line, k.Column, k.Style}
			name, _, colon := strings.Cut(k.Value, ":")
			line, twice := first[k.Value]
			switch {
			case k.Kind != yaml.ScalarNode || k.Style&yaml.TaggedStyle != 0 || k.Tag == "!!null":
				d.fail(at, key, "a key is not text")
			case k.Tag == "!!merge":
				d.fail(at, key, "merge keys (<<) are not supported")
			case colon && v.Tag == "!!null": // {password:secret} is a key without a value to YAML
				d.fail(at, join(key, name), "no value; a space belongs behind the colon")
			case twice:
				d.fail(at, join(key, k.Value), fmt.Sprintf("duplicate key, first on line %d", line))
			default:
				first[k.Value] = k.Line
				if !yield(k, v) {
					return
				}
			}
		}
	}
}

// scalar sets v, which is neither a section, a table nor a list.
func (d *decoder) scalar(n *yaml.Node, at place, key string, v reflect.Value) {
	if err := setScalar(n, v); err != nil {
		d.fail(at, key, err.Error())
	}
}

func setScalar(n *yaml.Node, v reflect.Value) error {
	plain := n.Kind == yaml.ScalarNode
	if len(n.Value) > maxText {
		return fmt.Errorf("longer than %d bytes", maxText)
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if !plain {
			return errors.New("want a single value")
		}
		return u.UnmarshalText([]byte(n.Value))
	}
	switch p := v.Addr().Interface().(type) {
	case *time.Duration:
		t, err := time.ParseDuration(n.Value)
		if !plain || err != nil {
			return errors.New("want a duration, such as 30s, 5m or 24h")
		}
		*p = t
		return nil
	case *bool:
		if !plain || n.Tag != "!!bool" {
			return errors.New("want true or false")
		}
		*p = strings.EqualFold(n.Value, "true")
		return nil
	case *int:
		i, err := strconv.Atoi(n.Value)
		if !plain || n.Tag != "!!int" || err != nil {
			return errors.New("want a whole number")
		}
		*p = i
		return nil
	}
	if v.Kind() != reflect.String {
		return fmt.Errorf("cannot be set from a file: %s", v.Kind())
	}
	if !plain {
		return errors.New("want text")
	}
	v.SetString(n.Value)
	return nil
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func isText(v reflect.Value) bool {
	_, ok := v.Addr().Interface().(encoding.TextUnmarshaler)
	return ok
}

// yamlName returns the key of a field, "" if files cannot set it.
func yamlName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	if name == "-" {
		return ""
	}
	return name
}

// join appends name to a key; a name that is no plain word is quoted and kept short.
func join(key, name string) string {
	const longest = 64
	plain := name != "" && len(name) <= longest && strings.Trim(name, wordChars) == ""
	if !plain {
		if len(name) > longest {
			name = name[:longest] + "..."
		}
		name = strconv.Quote(name)
	}
	if key == "" {
		return name
	}
	return key + "." + name
}

const wordChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-@/+"
