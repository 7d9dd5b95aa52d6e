package token

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"customhouse"
)

// latest is the last second that a claim may name: the end of the year 9999.
const latest = 253402300799

// parseClaims reads the claims of a token whose signature is good. iss, sub, aud, exp, nbf, iat, jti and access are
// mandatory and of their exact type; times are whole seconds; what is not known is passed over, so that a replica of a
// newer release may say more.
func parseClaims(payload string) (Claims, error) {
	object, err := claimsOf(payload)
	if err != nil {
		return Claims{}, err
	}
	r := reader{object: object}
	c := Claims{
		Issuer:    r.text("iss"),
		Subject:   r.text("sub"),
		Audience:  r.audience(),
		Expires:   r.time("exp"),
		NotBefore: r.time("nbf"),
		IssuedAt:  r.time("iat"),
		ID:        r.text("jti"),
		Access:    r.access(),
		Method:    r.optional("method"),
		Stamp:     r.optional("stamp"),
		Labels:    r.labels(),
		Vouched:   r.vouched(),
		Bound:     r.bound(),
	}
	if r.wrong != "" {
		return Claims{}, fmt.Errorf("%w: claim %s", ErrMalformed, r.wrong)
	}
	return c, nil
}

// parseForeign reads the claims of another's token whose signature is good: iss, aud and exp are mandatory, the others may
// be missing, and access and its actions may be null, as lists that are empty are in some languages. What is there has its exact type. Of
// labels only well-formed ones are taken: others may mean something else by the word.
func parseForeign(payload string) (Claims, error) {
	object, err := claimsOf(payload)
	if err != nil {
		return Claims{}, err
	}
	r := reader{object: object, foreign: true}
	c := Claims{
		Issuer:    r.text("iss"),
		Subject:   r.optional("sub"),
		Audience:  r.audience(),
		Expires:   r.time("exp"),
		NotBefore: r.optionalTime("nbf"),
		IssuedAt:  r.optionalTime("iat"),
		ID:        r.optional("jti"),
	}
	if object["access"] != nil {
		c.Access = r.access()
	}
	if len(c.Subject) > customhouse.MaxAccountLength || strings.ContainsFunc(c.Subject, unicode.IsControl) {
		r.bad("sub")
	}
	if r.wrong != "" {
		return Claims{}, fmt.Errorf("%w: claim %s", ErrMalformed, r.wrong)
	}
	if labels := (reader{object: object}); object["labels"] != nil {
		if c.Labels = labels.labels(); labels.wrong != "" {
			c.Labels = nil
		}
	}
	return c, nil
}

// claimsOf decodes claims.
func claimsOf(payload string) (map[string]any, error) {
	b, err := decode(payload)
	if err != nil {
		return nil, err
	}
	v, err := customhouse.ParseJSON(b)
	if err != nil {
		return nil, fmt.Errorf("%w: claims: %w", ErrMalformed, err)
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%w: the claims are not an object", ErrMalformed)
	}
	return object, nil
}

// reader takes claims out of an object and remembers the first that is missing or wrong.
type reader struct {
	object  map[string]any
	foreign bool // null is no actions
	wrong   string
}

func (r *reader) bad(claim string) {
	if r.wrong == "" {
		r.wrong = claim
	}
}

func (r *reader) text(claim string) string {
	s, ok := r.object[claim].(string)
	if !ok {
		r.bad(claim)
	}
	return s
}

func (r *reader) optional(claim string) string {
	if _, there := r.object[claim]; !there {
		return ""
	}
	return r.text(claim)
}

func (r *reader) time(claim string) time.Time {
	n, ok := r.object[claim].(json.Number)
	seconds, err := strconv.ParseUint(string(n), 10, 63)
	if !ok || err != nil || seconds > latest {
		r.bad(claim)
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0)
}

func (r *reader) optionalTime(claim string) time.Time {
	if _, there := r.object[claim]; !there {
		return time.Time{}
	}
	return r.time(claim)
}

func (r *reader) audience() []string {
	if s, ok := r.object["aud"].(string); ok {
		return []string{s}
	}
	return r.texts("aud", r.object["aud"])
}

// texts reads an array of strings.
func (r *reader) texts(claim string, v any) []string {
	list, ok := v.([]any)
	if !ok {
		r.bad(claim)
	}
	texts := make([]string, len(list))
	for i, v := range list {
		if texts[i], ok = v.(string); !ok {
			r.bad(claim)
		}
	}
	return texts
}

func (r *reader) access() []customhouse.Access {
	list, ok := r.object["access"].([]any)
	if !ok {
		r.bad("access")
	}
	accesses := make([]customhouse.Access, len(list))
	for i, v := range list {
		object, ok := v.(map[string]any)
		if !ok {
			r.bad("access")
			continue
		}
		element := reader{object: object}
		a := customhouse.Access{Type: element.text("type"), Class: element.optional("class"), Name: element.text("name")}
		if actions, there := object["actions"]; actions != nil || !there || !r.foreign {
			for _, s := range element.texts("actions", actions) {
				a.Actions = append(a.Actions, customhouse.Action(s))
			}
		}
		if element.wrong != "" || a.Type == "" || a.Name == "" {
			r.bad("access")
		}
		accesses[i] = a
	}
	return accesses
}

// bound reads "cnf". A way to confirm that is not known is one that cannot be checked, so the token is not good.
func (r *reader) bound() string {
	v, there := r.object["cnf"]
	if !there {
		return ""
	}
	object, _ := v.(map[string]any)
	thumbprint, _ := object["x5t#S256"].(string)
	if thumbprint == "" || len(object) != 1 {
		r.bad("cnf")
	}
	return thumbprint
}

func (r *reader) labels() map[string][]string {
	v, there := r.object["labels"]
	if !there {
		return nil
	}
	object, ok := v.(map[string]any)
	if !ok {
		r.bad("labels")
	}
	labels := make(map[string][]string, len(object))
	for k, v := range object {
		labels[k] = r.texts("labels", v)
	}
	return labels
}
