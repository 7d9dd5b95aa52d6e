package token

import (
	"context"
	"fmt"
	"time"
)

// IssuerOf returns whose a JWT says that it is, "" if text is no JWT. Nobody vouches for the answer: it tells whom to ask.
func IssuerOf(text string) string {
	parts, err := split(text)
	if err != nil {
		return ""
	}
	object, err := claimsOf(parts.payload)
	if err != nil {
		return ""
	}
	issuer, _ := object["iss"].(string)
	return issuer
}

// Assertion verifies a JWT by which the issuer says who its bearer is (RFC 7523, section 3), and returns all that it says
// in Claims.Vouched. Its claims "iss", "aud", "exp" and "iat" are mandatory. What it says is no permission: Access, Method,
// Stamp and Labels stay empty. The errors are those of Verify.
func (t *Trust) Assertion(ctx context.Context, text string, now time.Time) (Claims, Proof, error) {
	payload, proof, err := t.signed(ctx, text, now)
	if err != nil {
		return Claims{}, Proof{}, err
	}
	c, err := parseAssertion(payload)
	if err != nil {
		return Claims{}, Proof{}, err
	}
	if err := t.Validate(ctx, &c, proof, now); err != nil {
		return Claims{}, Proof{}, err
	}
	if now.Add(Leeway).Before(c.IssuedAt) {
		return Claims{}, Proof{}, ErrNotYet
	}
	return c, proof, nil
}

// parseAssertion reads the claims of an assertion whose signature is good.
func parseAssertion(payload string) (Claims, error) {
	object, err := claimsOf(payload)
	if err != nil {
		return Claims{}, err
	}
	r := reader{object: object}
	c := Claims{
		Issuer: r.text("iss"), Subject: r.optional("sub"), Audience: r.audience(), ID: r.optional("jti"),
		Expires: r.time("exp"), NotBefore: r.optionalTime("nbf"), IssuedAt: r.time("iat"), Vouched: object,
	}
	if r.wrong != "" {
		return Claims{}, fmt.Errorf("%w: claim %s", ErrMalformed, r.wrong)
	}
	return c, nil
}

// vouched reads what our own token keeps of another's.
func (r *reader) vouched() map[string]any {
	v, there := r.object["vouched"]
	object, ok := v.(map[string]any)
	if there && !ok {
		r.bad("vouched")
	}
	return object
}
