package authn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// keySet are the keys of one issuer. They are fetched again when they are five minutes old, so that a key that the issuer
// has removed is not good for longer, and for a key that is not among them, but not more than once in ten seconds.
type keySet struct {
	client *client
	url    string

	mu      sync.Mutex
	keys    []jose.JSONWebKey
	fetched time.Time
	tried   time.Time
}

const (
	keysFor   = 5 * time.Minute
	keysEvery = 10 * time.Second
)

// asking is a key set during one verification. It remembers that the keys could not be had, which go-oidc does not tell
// from a signature that is wrong.
type asking struct {
	*keySet
	outage error
}

var _ oidc.KeySet = (*asking)(nil)

// VerifySignature implements oidc.KeySet.
func (a *asking) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	payload, outage, err := a.verify(ctx, jwt)
	a.outage = outage
	return payload, errors.Join(outage, err)
}

// verify returns the payload of a token that a key of the issuer has signed.
func (s *keySet) verify(ctx context.Context, jwt string) (payload []byte, outage, err error) {
	var algs []jose.SignatureAlgorithm
	for _, a := range algorithms {
		algs = append(algs, jose.SignatureAlgorithm(a))
	}
	jws, err := jose.ParseSignedCompact(jwt, algs)
	if err != nil {
		return nil, nil, errors.New("not a signed token")
	}
	if len(jws.Signatures) != 1 {
		return nil, nil, errors.New("more than one signature")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.client.now()
	if now.Sub(s.fetched) >= keysFor {
		if err := s.fetch(ctx, now); err != nil {
			return nil, err, nil
		}
	}
	payload, known := s.try(jws)
	if payload == nil && !known && now.Sub(s.tried) >= keysEvery {
		if err := s.fetch(ctx, now); err != nil {
			return nil, err, nil
		}
		payload, _ = s.try(jws)
	}
	if payload == nil {
		return nil, nil, errors.New("no key of the issuer has signed it")
	}
	return payload, nil, nil
}

// try returns the payload if a key has signed it, and whether there is a key of that id.
func (s *keySet) try(jws *jose.JSONWebSignature) (payload []byte, known bool) {
	id, alg := jws.Signatures[0].Header.KeyID, jws.Signatures[0].Header.Algorithm
	for _, k := range s.keys {
		if id != "" && k.KeyID != id {
			continue
		}
		known = true
		if k.Algorithm != "" && k.Algorithm != alg {
			continue
		}
		if payload, err := jws.Verify(k.Key); err == nil {
			return payload, true
		}
	}
	return nil, known
}

// fetch replaces the keys by those that the issuer has now.
func (s *keySet) fetch(ctx context.Context, now time.Time) error {
	if now.Sub(s.tried) < keysEvery && s.fetched.Before(s.tried) {
		return errors.New("the keys of the issuer could not be fetched a moment ago")
	}
	s.tried = now
	ctx = context.WithoutCancel(ctx) // who asked may leave; others need them too
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return err
	}
	res, err := s.client.http.Do(r)
	if err != nil {
		return fmt.Errorf("fetch the keys of the issuer: %w", plainURLError(err))
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = &statusError{status: res.StatusCode, host: r.URL.Host}
	}
	if err != nil {
		return fmt.Errorf("fetch the keys of the issuer: %w", err)
	}
	keys, err := parseKeys(body)
	if err != nil {
		return err
	}
	s.keys, s.fetched = keys, now
	return nil
}

// parseKeys returns the public keys for signatures of a JWK set (RFC 7517). What it does not know it leaves out.
func parseKeys(body []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, errors.New("the keys of the issuer are no JWK set")
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		if json.Unmarshal(raw, &k) == nil && k.Valid() && k.IsPublic() && (k.Use == "" || k.Use == "sig") {
			keys = append(keys, k)
		}
	}
	return keys, nil
}
