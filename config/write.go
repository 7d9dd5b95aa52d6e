package config

import (
	"cmp"
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"customhouse/policy"
)

// YAML returns c as a customhouse.yml that Parse reads as c: what differs from Default, passwords as they are, paths as
// they are.
func (c *Config) YAML() ([]byte, error) {
	root, err := written(reflect.ValueOf(*c), reflect.ValueOf(*Default()))
	if err != nil {
		return nil, err
	}
	if len(root.Content) == 0 {
		return []byte("{}\n"), nil
	}
	return yaml.Dump(root, yaml.WithV4Defaults())
}

// written returns v as Parse reads it; fields of a section that are as in byDefault are left out.
func written(v, byDefault reflect.Value) (*yaml.Node, error) {
	switch {
	case v.Kind() == reflect.Pointer:
		return written(v.Elem(), reflect.Zero(v.Type().Elem()))
	case v.Type() == reflect.TypeFor[policy.Values]() && v.Len() == 1:
		return scalarNode("!!str", v.Index(0).String()), nil
	case v.Kind() == reflect.String: // a Secret too
		return scalarNode("!!str", v.String()), nil
	case v.Type() == reflect.TypeFor[time.Duration]():
		return scalarNode("!!str", shortDuration(time.Duration(v.Int()))), nil
	case reflect.PointerTo(v.Type()).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		s, ok := v.Interface().(fmt.Stringer)
		if !ok {
			return nil, fmt.Errorf("%s is read from text and cannot be written as text", v.Type())
		}
		return scalarNode("!!str", s.String()), nil
	}
	switch v.Kind() {
	case reflect.Bool:
		return scalarNode("!!bool", strconv.FormatBool(v.Bool())), nil
	case reflect.Int:
		return scalarNode("!!int", strconv.FormatInt(v.Int(), 10)), nil
	case reflect.Struct:
		n := &yaml.Node{Kind: yaml.MappingNode}
		return n, writeSection(n, v, byDefault)
	case reflect.Map:
		return writeTable(v)
	case reflect.Slice:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range v.Len() {
			element, err := written(v.Index(i), reflect.Zero(v.Type().Elem()))
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, element)
		}
		if isShort(n) {
			n.Style = yaml.FlowStyle
		}
		return n, nil
	}
	return nil, fmt.Errorf("%s cannot be written", v.Type())
}

// writeSection appends to n what in the struct v differs from byDefault.
func writeSection(n *yaml.Node, v, byDefault reflect.Value) error {
	for f, field := range v.Fields() {
		if f.Anonymous {
			if err := writeSection(n, field, byDefault.FieldByIndex(f.Index)); err != nil {
				return err
			}
			continue
		}
		name, usual := yamlName(f), byDefault.FieldByIndex(f.Index)
		if name == "" || alike(field, usual) {
			continue
		}
		value, err := written(field, usual)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		n.Content = append(n.Content, scalarNode("!!str", name), value)
	}
	return nil
}

// alike tells whether leaving a out leaves b, which is as good: nil and empty are the same, but for what replaces a list
// or a section that is there by default.
func alike(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Slice, reflect.Map:
		if a.Len() == 0 && b.Len() == 0 {
			return a.IsNil() || !b.IsNil()
		}
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

func writeTable(v reflect.Value) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.MappingNode}
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return cmp.Compare(a.String(), b.String()) })
	for _, k := range keys {
		value, err := written(v.MapIndex(k), reflect.Zero(v.Type().Elem()))
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, scalarNode("!!str", k.String()), value)
	}
	if len(n.Content) == 0 {
		n.Style = yaml.FlowStyle
	}
	return n, nil
}

func scalarNode(tag, value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
}

// isShort tells whether the list n reads better on one line.
func isShort(n *yaml.Node) bool {
	length := 0
	for _, element := range n.Content {
		if element.Kind != yaml.ScalarNode {
			return false
		}
		length += len(element.Value) + 2
	}
	return length < 80
}

// shortDuration writes d without the zeros that its String ends in.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
