package token

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"

	"customhouse"
)

// parts are a token cut at its dots.
type parts struct{ signed, header, payload, signature string }

// split cuts a token, after a look at its length and at every byte: the base64 decoder would pass over line breaks.
func split(token string) (parts, error) {
	if len(token) > MaxLength {
		return parts{}, fmt.Errorf("%w: longer than %d bytes", ErrMalformed, MaxLength)
	}
	var dots [2]int
	n := 0
	for i := range len(token) {
		switch c := token[i]; {
		case c == '.':
			if n == len(dots) {
				return parts{}, fmt.Errorf("%w: more than three parts", ErrMalformed)
			}
			dots[n] = i
			n++
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return parts{}, fmt.Errorf("%w: a byte outside the alphabet", ErrMalformed)
		}
	}
	if n != len(dots) {
		return parts{}, fmt.Errorf("%w: less than three parts", ErrMalformed)
	}
	return parts{token[:dots[1]], token[:dots[0]], token[dots[0]+1 : dots[1]], token[dots[1]+1:]}, nil
}

// verify checks the signature.
func (p *parts) verify(alg Algorithm, key any) error {
	signature, err := decode(p.signature)
	if err != nil {
		return err
	}
	if !alg.verify(key, []byte(p.signed), signature) {
		return fmt.Errorf("%w: wrong signature", ErrUntrusted)
	}
	return nil
}

func decode(s string) ([]byte, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return b, nil
}

// header is what the header of a token says. It is not to be trusted.
type header struct {
	alg   Algorithm
	kid   string
	chain []string // "x5c": certificates in base64, each issued by the next; nil for none
	jwk   map[string]any
}

// dialect is what else may be in the header of a token.
type dialect bool

const (
	ours   dialect = false
	theirs dialect = true // other names of the key are passed over, a copy of it is read
)

// parseHeader reads a header. What it does not know it refuses: it could be critical, or the address of a key.
func parseHeader(s string, d dialect) (header, error) {
	bad := func(format string, args ...any) (header, error) {
		return header{}, fmt.Errorf("%w: header "+format, append([]any{ErrMalformed}, args...)...)
	}
	if len(s) > maxHeader {
		return bad("longer than %d bytes", maxHeader)
	}
	b, err := decode(s)
	if err != nil {
		return header{}, err
	}
	structure := 0
	for _, mark := range []byte("{[,:") {
		structure += bytes.Count(b, []byte{mark})
	}
	if structure > maxStructure {
		return bad("of too many values")
	}
	v, err := customhouse.ParseJSON(b)
	if err != nil {
		return bad("that cannot be read: %w", err)
	}
	object, ok := v.(map[string]any)
	if !ok {
		return bad("that is not an object")
	}
	var h header
	for k, v := range object {
		text, isText := v.(string)
		switch {
		case k == "kid" && isText:
			h.kid = text
		case k == "alg" && isText:
			h.alg = Algorithm(text)
		case k == "typ" && isText && strings.EqualFold(text, "JWT"):
		case k == "x5c":
			list, _ := v.([]any)
			if len(list) == 0 || len(list) > maxChain {
				return bad("x5c: want 1 to %d certificates", maxChain)
			}
			for _, v := range list {
				text, isText := v.(string)
				if !isText {
					return bad("x5c: want text")
				}
				h.chain = append(h.chain, text)
			}
		case k == "jwk" && d == theirs:
			if h.jwk, ok = v.(map[string]any); !ok {
				return bad("jwk: want an object")
			}
		case (k == "x5t" || k == "x5t#S256") && isText && d == theirs:
		default:
			return bad("with %q", k)
		}
	}
	return h, nil
}
