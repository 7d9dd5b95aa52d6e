package compat

import (
	"cmp"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"customhouse/config"

	"go.yaml.in/yaml/v4"
)

// environment is what variables such as REGISTRY_HTTP_ADDR set of a configuration of distribution. Each part of a name is
// a key, in any case; a number is the place in a list, the one behind its end appends; two underscores are one within a
// key. The value is YAML.
type environment struct {
	variables []variable
	set       map[string]string // variables by the key that they set
	unknown   []string          // variables that set nothing
	bad       map[string]string // why a value cannot be taken, by variable
}

type variable struct{ name, value string }

const (
	envPrefix = "REGISTRY_"

	// ConfigurationPath is the variable that names the configuration of distribution where the command line does not.
	ConfigurationPath = "REGISTRY_CONFIGURATION_PATH"
)

// newEnvironment takes variables of the form KEY=value. They apply in the order of their names, so that REGISTRY_AUTH comes
// before REGISTRY_AUTH_HTPASSWD_PATH.
func newEnvironment(all []string) *environment {
	e := &environment{set: map[string]string{}, bad: map[string]string{}}
	for _, entry := range all {
		name, value, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, envPrefix) && name != ConfigurationPath {
			e.variables = append(e.variables, variable{name, value})
		}
	}
	slices.SortFunc(e.variables, func(a, b variable) int { return cmp.Compare(a.name, b.name) })
	return e
}

// apply edits the tree of a file whose shape is t.
func (e *environment) apply(root *yaml.Node, t reflect.Type) {
	for _, v := range e.variables {
		value, err := nodeOf(v.value)
		if err != nil {
			e.bad[v.name] = "the value is not YAML"
			continue
		}
		key, ok := place(root, t, parts(v.name), value)
		if !ok {
			e.unknown = append(e.unknown, v.name)
			continue
		}
		e.set[key] = v.name
	}
}

// parts cuts the name of a variable into keys.
func parts(name string) []string {
	const underscore = "\x00"
	name = strings.ReplaceAll(strings.TrimPrefix(name, envPrefix), "__", underscore)
	keys := strings.Split(name, "_")
	for i := range keys {
		keys[i] = strings.ReplaceAll(keys[i], underscore, "_")
	}
	return keys
}

// nodeOf reads a value; it stands on no line of the file.
func nodeOf(text string) (*yaml.Node, error) {
	if text == "" { // sets what it names back, whatever that is
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}, nil
	}
	var document yaml.Node
	if err := yaml.Load([]byte(text), &document); err != nil || len(document.Content) != 1 {
		return nil, errors.New("not YAML")
	}
	n := document.Content[0]
	var forget func(*yaml.Node)
	forget = func(n *yaml.Node) {
		n.Line, n.Column = 0, 0
		for _, c := range n.Content {
			forget(c)
		}
	}
	forget(n)
	return n, nil
}

func scalar(text string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: text}
}

// place puts value where the keys lead from n, whose shape is t, and returns the key as messages have it. What is missing
// on the way is made.
func place(n *yaml.Node, t reflect.Type, keys []string, value *yaml.Node) (key string, ok bool) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if len(keys) == 0 {
		*n = *value
		return "", true
	}
	join := func(name string, inner reflect.Type, child *yaml.Node) (string, bool) {
		rest, ok := place(child, inner, keys[1:], value)
		if rest != "" && !strings.HasPrefix(rest, "[") {
			rest = "." + rest
		}
		return name + rest, ok
	}
	switch {
	case t == reflect.TypeFor[yaml.Node]():
		name := strings.ToLower(keys[0])
		return join(name, t, member(n, name))
	case t.Kind() == reflect.Struct:
		name, inner := fieldOf(t, keys[0])
		if name == "" || !reaches(inner, keys[1:]) {
			return "", false
		}
		return join(name, inner, member(n, name))
	case t.Kind() == reflect.Map:
		name := strings.ToLower(keys[0])
		return join(name, t.Elem(), member(n, name))
	case t.Kind() == reflect.Slice:
		i, err := strconv.Atoi(keys[0])
		if n.Kind != yaml.SequenceNode {
			*n = yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		}
		if err != nil || i < 0 || i > len(n.Content) {
			return "", false
		}
		if i == len(n.Content) {
			n.Content = append(n.Content, scalar(""))
		}
		return join("["+keys[0]+"]", t.Elem(), n.Content[i])
	}
	return "", false
}

// reaches tells whether keys lead somewhere in a value of type t, so that nothing is made on a way that ends nowhere.
func reaches(t reflect.Type, keys []string) bool {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if len(keys) == 0 || t == reflect.TypeFor[yaml.Node]() {
		return true
	}
	switch t.Kind() {
	case reflect.Struct:
		name, inner := fieldOf(t, keys[0])
		return name != "" && reaches(inner, keys[1:])
	case reflect.Map:
		return reaches(t.Elem(), keys[1:])
	case reflect.Slice:
		_, err := strconv.Atoi(keys[0])
		return err == nil && reaches(t.Elem(), keys[1:])
	}
	return false
}

// fieldOf finds the field that part of a variable's name means: by its key, or by the name that distribution has for it.
func fieldOf(t reflect.Type, part string) (key string, inner reflect.Type) {
	for f := range t.Fields() {
		key := f.Tag.Get("yaml")
		if key != "" && (strings.EqualFold(part, key) || strings.EqualFold(part, f.Tag.Get("env"))) {
			return key, f.Type
		}
	}
	return "", nil
}

// member returns the value of a key of a section, made where it is missing. A section that is a word, such as auth:
// htpasswd, becomes one that has the word as its key.
func member(n *yaml.Node, key string) *yaml.Node {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" && n.Value != "" {
		word := *n
		*n = yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: word.Line, Column: word.Column, Content: []*yaml.Node{&word, emptySection(word)}}
	}
	if n.Kind != yaml.MappingNode {
		*n = yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	child := scalar("")
	n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, child)
	return child
}

func emptySection(at yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: at.Line, Column: at.Column}
}

// blame names the variable in what is said about a key that it has set.
func (e *environment) blame(err error, warnings []Warning) {
	var wrong config.Errors
	errors.As(err, &wrong)
	for _, w := range wrong {
		if name := e.setter(w.Line, w.Key); name != "" {
			w.Message += " (" + name + ")"
		}
	}
	for i := range warnings {
		if name := e.setter(warnings[i].Line, warnings[i].Key); name != "" {
			warnings[i].Message += " (" + name + ")"
		}
	}
}

// setter returns the variable that has set a key, or the section that it is in; "" if the file has.
func (e *environment) setter(line int, key string) string {
	if line != 0 {
		return ""
	}
	for at := key; at != ""; {
		if name := e.set[at]; name != "" {
			return name
		}
		at = at[:max(strings.LastIndexAny(at, ".["), 0)]
	}
	return ""
}
