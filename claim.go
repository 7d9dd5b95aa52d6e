package customhouse

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// ClaimValues returns what claims, as ParseJSON reads them, say under name: text, numbers as they are written, true and
// false; of an array each of these. What is empty, null or an object has no value. The name of a claim within another is
// that of both with a full stop between them, such as "kubernetes.io.namespace".
func ClaimValues(claims map[string]any, name string) []string {
	if v, there := claims[name]; there {
		return appendClaim(nil, v)
	}
	for i := len(name) - 1; i > 0; i-- { // names have full stops of their own
		if inner, ok := claims[name[:i]].(map[string]any); ok && name[i] == '.' {
			return ClaimValues(inner, name[i+1:])
		}
	}
	return nil
}

func appendClaim(values []string, v any) []string {
	switch v := v.(type) {
	case string:
		if v != "" {
			values = append(values, v)
		}
	case json.Number:
		values = append(values, v.String())
	case bool:
		values = append(values, fmt.Sprint(v))
	case []any:
		for _, element := range v {
			if _, list := element.([]any); !list {
				values = appendClaim(values, element)
			}
		}
	}
	return values
}

// Template is text in which ${NAME} stands for a claim, such as "${repository}". The zero Template is empty text.
type Template struct {
	written string
	texts   []string // around the claims: one more than those
	claims  []string
}

// ParseTemplate reads a template. Between two claims there is text, so that what they say cannot run together.
func ParseTemplate(s string) (Template, error) {
	if !utf8.ValidString(s) {
		return Template{}, errors.New("not valid UTF-8")
	}
	t := Template{written: s}
	for rest := s; ; {
		text, after, more := strings.Cut(rest, "${")
		if more && text == "" && len(t.claims) > 0 {
			return Template{}, errors.New("two claims stand side by side; put text between them")
		}
		t.texts = append(t.texts, text)
		if !more {
			return t, nil
		}
		name, after, closed := strings.Cut(after, "}")
		if !closed || name == "" {
			return Template{}, errors.New("want the name of a claim as ${NAME}")
		}
		t.claims, rest = append(t.claims, name), after
	}
}

// String returns the template as it was written.
func (t Template) String() string { return t.written }

// Claims returns the names of the claims that stand in t. The caller does not change them.
func (t Template) Claims() []string { return t.claims }

// Texts returns what t makes of claims: one text, or one for each value if it has a single claim, which has several; none
// if a claim is missing. Different values make different texts: where more claims stand in t, none may have several
// values, or the text in it that ends it in t.
func (t Template) Texts(claims map[string]any) []string {
	switch len(t.claims) {
	case 0:
		return []string{t.written}
	case 1:
		values := ClaimValues(claims, t.claims[0])
		for i, v := range values {
			values[i] = t.texts[0] + v + t.texts[1]
		}
		return values
	}
	var b strings.Builder
	for i, name := range t.claims {
		values := ClaimValues(claims, name)
		if len(values) != 1 || i < len(t.claims)-1 && strings.Contains(values[0], t.texts[i+1]) {
			return nil
		}
		b.WriteString(t.texts[i])
		b.WriteString(values[0])
	}
	b.WriteString(t.texts[len(t.claims)])
	return []string{b.String()}
}
