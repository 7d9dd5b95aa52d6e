package token

import (
	"encoding/json"
	"errors"
)

// Keys are the keys of an authority: one that signs, and those whose signatures are good, each by both of its names. They
// are immutable; rotation makes new Keys in which the former key only verifies.
type Keys struct {
	signing *Key
	byID    map[string]*Key
	jwks    []byte
}

// NewKeys returns keys in which signing signs, and signing and verifying verify.
func NewKeys(signing *Key, verifying ...*Key) (*Keys, error) {
	if signing == nil || signing.private == nil {
		return nil, errors.New("no key to sign with")
	}
	k := &Keys{signing: signing, byID: map[string]*Key{}}
	set := struct {
		Keys []jwk `json:"keys"`
	}{}
	for _, key := range append([]*Key{signing}, verifying...) {
		if k.byID[key.id] != nil {
			continue
		}
		k.byID[key.id], k.byID[key.libtrust] = key, key
		names := []string{key.id}
		if key.kid != key.id {
			names = append(names, key.kid)
		}
		for _, name := range names {
			public := key.jwk
			public.ID, public.Alg, public.Use = name, key.alg, "sig"
			set.Keys = append(set.Keys, public)
		}
	}
	var err error
	k.jwks, err = json.Marshal(set)
	return k, err
}

// Signing returns the key that signs.
func (k *Keys) Signing() *Key { return k.signing }

// Current implements KeySource.
func (k *Keys) Current() *Keys { return k }

// JWKS returns the public keys as a JWK set (RFC 7517, section 5): each by its thumbprint, and by the other name if its
// tokens carry that. The caller does not change it.
func (k *Keys) JWKS() []byte { return k.jwks }
