package customhouse

import (
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
	if !json.Valid(data) {
		return nil, errors.New("not a single well-formed JSON value")
	}
	r := jsonReader{text: data}
	return r.value(0)
}

// jsonReader reads a text that follows the grammar.
type jsonReader struct {
	text   []byte
	at     int
	values int
}

// next returns the byte that is next after white space.
func (r *jsonReader) next() byte {
	for {
		switch c := r.text[r.at]; c {
		case ' ', '\t', '\n', '\r':
			r.at++
		default:
			return c
		}
	}
}

func (r *jsonReader) value(depth int) (any, error) {
	if r.values++; r.values > MaxJSONValues {
		return nil, fmt.Errorf("more than %d values", MaxJSONValues)
	}
	switch r.next() {
	case '{', '[':
		if depth++; depth > MaxJSONDepth {
			return nil, fmt.Errorf("nested deeper than %d levels", MaxJSONDepth)
		}
		if r.text[r.at] == '{' {
			return r.object(depth)
		}
		return r.array(depth)
	case '"':
		return r.string()
	case 't':
		r.at += len("true")
		return true, nil
	case 'f':
		r.at += len("false")
		return false, nil
	case 'n':
		r.at += len("null")
		return nil, nil
	}
	return r.number(), nil
}

func (r *jsonReader) object(depth int) (any, error) {
	object := map[string]any{}
	for r.at++; r.next() != '}'; {
		if r.text[r.at] == ',' {
			r.at++
			r.next()
		}
		key, err := r.string()
		if err != nil {
			return nil, err
		}
		if _, twice := object[key]; twice {
			return nil, fmt.Errorf("duplicate key %q", key)
		}
		r.next()
		r.at++ // the colon
		if object[key], err = r.value(depth); err != nil {
			return nil, err
		}
	}
	r.at++
	return object, nil
}

func (r *jsonReader) array(depth int) (any, error) {
	list := []any{}
	for r.at++; r.next() != ']'; {
		if r.text[r.at] == ',' {
			r.at++
		}
		v, err := r.value(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	r.at++
	return list, nil
}

// string reads the string that begins here.
func (r *jsonReader) string() (s string, err error) {
	start, escaped := r.at, false
	for r.at++; r.text[r.at] != '"'; r.at++ {
		if r.text[r.at] == '\\' {
			escaped = true
			r.at++
		}
	}
	r.at++
	if escaped {
		err = json.Unmarshal(r.text[start:r.at], &s)
		return s, err
	}
	return string(r.text[start+1 : r.at-1]), nil
}

func (r *jsonReader) number() json.Number {
	start := r.at
	for ; r.at < len(r.text); r.at++ {
		switch r.text[r.at] {
		case ',', ']', '}', ' ', '\t', '\n', '\r':
			return json.Number(r.text[start:r.at])
		}
	}
	return json.Number(r.text[start:])
}
