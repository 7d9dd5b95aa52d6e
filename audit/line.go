package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"customhouse"
)

// Bounds on what a client can write into the log, in bytes. A line is longer than its texts together only by its form.
const (
	maxText   = 1 << 10
	maxDetail = 8 << 10
	maxFacts  = 8 << 10 // labels, or claims
	maxLine   = 64 << 10
)

// appendLine appends the line of e, which has its number and the hash of the entry before, seals it and gives e its hash.
func appendLine(b []byte, e *customhouse.AuditEntry) []byte {
	start := len(b)
	b = appendEntry(b, e)
	sum := sha256.Sum256(b[start:])
	var hash [2 * sha256.Size]byte
	hex.Encode(hash[:], sum[:])
	e.Hash = string(hash[:])
	b = append(b[:len(b)-1], hashField...)
	b = append(b, hash[:]...)
	return append(b, "\"}\n"...)
}

// hashField stands before the hash of a line. What is hashed is the line without it: the text before, and a brace.
const hashField = `,"hash":"`

// sealed are the bytes behind the text that is hashed.
const sealed = len(hashField) + 2*sha256.Size + len(`"}`)

// firstField is what a line begins with.
const firstField = `{"number":`

// appendEntry appends e as JSON, without its hash. The order of the fields is that of the type.
func appendEntry(b []byte, e *customhouse.AuditEntry) []byte {
	b = strconv.AppendInt(append(b, firstField...), e.Number, 10)
	b = e.Time.AppendFormat(append(b, `,"time":"`...), time.RFC3339Nano)
	b = append(b, `","kind":`...)
	b = appendText(b, e.Kind, maxText)
	b = appendField(b, "decision", e.Decision, maxText)
	b = strconv.AppendBool(append(b, `,"allowed":`...), e.Allowed)
	b = appendField(b, "account", e.Account, maxText)
	b = appendField(b, "method", e.Method, maxText)
	b = appendFacts(b, e)
	b = appendField(b, "client", e.Client, maxText)
	b = appendField(b, "service", e.Service, maxText)
	b = appendField(b, "type", e.Type, maxText)
	b = appendField(b, "name", e.Name, maxText)
	if len(e.Actions) > 0 {
		b = append(b, `,"actions":`...)
		open, start := byte('['), len(b)
		for _, a := range e.Actions {
			if b = append(b, open); len(b)-start > maxText {
				b = append(b, `"..."`...)
				break
			}
			b = appendText(b, string(a), maxText)
			open = ','
		}
		b = append(b, ']')
	}
	b = appendField(b, "tag", e.Tag, maxText)
	b = appendField(b, "digest", e.Digest, maxText)
	b = appendField(b, "mediaType", e.MediaType, maxText)
	b = appendField(b, "artifactType", e.ArtifactType, maxText)
	b = appendField(b, "by", e.By, maxText)
	b = appendField(b, "rule", e.Rule, maxText)
	b = appendField(b, "reason", e.Reason, maxText)
	b = appendField(b, "detail", e.Detail, maxDetail)
	if e.Count > 0 {
		b = strconv.AppendInt(append(b, `,"count":`...), e.Count, 10)
		b = append(e.Until.AppendFormat(append(b, `,"until":"`...), time.RFC3339Nano), '"')
	}
	b = append(b, `,"previous":"`...)
	b = append(b, e.Previous...)
	return append(b, `"}`...)
}

func appendField(b []byte, key, text string, most int) []byte {
	if text == "" {
		return b
	}
	b = append(append(append(b, `,"`...), key...), `":`...)
	return appendText(b, text, most)
}

// appendFacts appends labels and claims, each if it is not too much.
func appendFacts(b []byte, e *customhouse.AuditEntry) []byte {
	if len(e.Labels) > 0 {
		start := len(b)
		b = append(b, `,"labels":`...)
		open := byte('{')
		for _, key := range slices.Sorted(maps.Keys(e.Labels)) {
			b = append(appendText(append(b, open), key, maxText), ":["...)
			for i, value := range e.Labels[key] {
				if i > 0 {
					b = append(b, ',')
				}
				b = appendText(b, value, maxText)
			}
			b, open = append(b, ']'), ','
		}
		if b = append(b, '}'); len(b)-start > maxFacts {
			b = append(b[:start], `,"labels":{"`+customhouse.AuditMore+`":["more than is kept"]}`...)
		}
	}
	if len(e.Claims) > 0 {
		claims, err := json.Marshal(e.Claims)
		if err != nil || len(claims) > maxFacts {
			claims = []byte(`{"` + customhouse.AuditMore + `":"more than is kept"}`)
		}
		b = appendPrintable(append(b, `,"claims":`...), claims)
	}
	return b
}

const hexDigits = "0123456789abcdef"

// appendText appends s as a JSON string of up to about most bytes, in which nothing controls a terminal.
func appendText(b []byte, s string, most int) []byte {
	b = append(b, '"')
	for start, i := len(b), 0; i < len(s); {
		if len(b)-start >= most {
			b = append(b, "..."...)
			break
		}
		if c := s[i]; c < utf8.RuneSelf {
			switch i++; {
			case c == '"' || c == '\\':
				b = append(b, '\\', c)
			case c < 0x20 || c == 0x7f:
				b = appendEscape(b, rune(c))
			default:
				b = append(b, c)
			}
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if i += size; unicode.IsPrint(r) { // U+FFFD, which stands for what is no text, too
			b = utf8.AppendRune(b, r)
		} else {
			b = appendEscape(b, r)
		}
	}
	return append(b, '"')
}

// appendPrintable appends JSON, in which nothing controls a terminal then. What is not ASCII stands in its strings only.
func appendPrintable(b, json []byte) []byte {
	for _, r := range string(json) {
		if r < 0x7f || unicode.IsPrint(r) {
			b = utf8.AppendRune(b, r)
		} else {
			b = appendEscape(b, r)
		}
	}
	return b
}

// appendEscape appends r as JSON escapes it.
func appendEscape(b []byte, r rune) []byte {
	if high, low := utf16.EncodeRune(r); high != utf8.RuneError {
		return appendEscape(appendEscape(b, high), low)
	}
	return append(b, '\\', 'u', hexDigits[r>>12], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}

// ParseLine reads a line of the log and checks that it is what was sealed. The error says what is wrong with it.
func ParseLine(line []byte) (e customhouse.AuditEntry, err error) {
	line = bytes.TrimRight(line, "\r\n")
	if err := json.Unmarshal(line, &e); err != nil {
		return e, fmt.Errorf("it is no entry: %w", err)
	}
	at := len(line) - sealed
	if at < 1 || !bytes.HasPrefix(line[at:], []byte(hashField)) || !bytes.HasSuffix(line, []byte(e.Hash+`"}`)) {
		return e, errors.New("it does not end with its hash")
	}
	sum := sha256.Sum256(append(line[:at:at], '}'))
	if hex.EncodeToString(sum[:]) != e.Hash {
		return e, errors.New("it was changed: its hash is another")
	}
	return e, nil
}
