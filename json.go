package customhouse

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Limits of ParseJSON: how deep objects and arrays may nest, and how many values there may be, each of which takes many
// times its text in memory.
const (
	MaxJSONDepth  = 64
	MaxJSONValues = 300_000
)

// ParseJSON reads one JSON value as manifests and tokens need it read, with a single meaning: valid UTF-8 without a
// byte order mark, no key twice in an object, at most MaxJSONDepth levels and MaxJSONValues values, nothing but white space
// behind the value.
// Objects become map[string]any, arrays []any, numbers json.Number; keys keep their case. encoding/json alone takes the
// last of duplicate keys and matches keys of any case.
func ParseJSON(data []byte) (any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not valid UTF-8")
	}
	if !json.Valid(data) { // Token below is more lenient than the grammar
		return nil, errors.New("not a single well-formed JSON value")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	values := 0
	return parseValue(d, 0, &values)
}

func parseValue(d *json.Decoder, depth int, values *int) (any, error) {
	if *values++; *values > MaxJSONValues {
		return nil, fmt.Errorf("more than %d values", MaxJSONValues)
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := t.(json.Delim)
	if !ok {
		return t, nil
	}
	if depth++; depth > MaxJSONDepth {
		return nil, fmt.Errorf("nested deeper than %d levels", MaxJSONDepth)
	}
	if delim == '[' {
		list := []any{}
		for d.More() {
			v, err := parseValue(d, depth, values)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	}
	object := map[string]any{}
	for d.More() {
		k, err := d.Token()
		if err != nil {
			return nil, err
		}
		key, ok := k.(string)
		if !ok {
			return nil, errors.New("an object's key is not a string")
		}
		if _, twice := object[key]; twice {
			return nil, fmt.Errorf("duplicate key %q", key)
		}
		if object[key], err = parseValue(d, depth, values); err != nil {
			return nil, err
		}
	}
	_, err = d.Token()
	return object, err
}
