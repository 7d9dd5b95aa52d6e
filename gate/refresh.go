package gate

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"customhouse"
	"customhouse/authn"
)

// Rotation tells which refresh tokens are replaced when they are used.
type Rotation string

// Docker keeps the refresh token that docker login got by GET for as long as the login lasts, in a file that several
// clients share, and looks at no other. A client that asks for one by POST is an OAuth client, which takes the next from
// each answer (RFC 6749, section 6).
const (
	RotateClient Rotation = "client" // those that were had by POST
	RotateAlways Rotation = "always" // all: docker has to log in again once it has used one
	RotateNever  Rotation = "never"
)

// rotations are all there are.
var rotations = []Rotation{RotateClient, RotateAlways, RotateNever}

// reuseGrace is how long a refresh token that was replaced is good yet: an answer may get lost, and programs that share a
// token ask at the same time.
const reuseGrace = 30 * time.Second

const refreshPrefix = "ch_refresh_" // for scanners of leaked secrets

// RefreshStore keeps refresh tokens. Errors other than those named are outages.
type RefreshStore interface {
	PutRefresh(context.Context, customhouse.RefreshToken) error
	// Refresh returns the token with that hash, be it expired, replaced or not. The error is customhouse.ErrNotFound when
	// there is none.
	Refresh(ctx context.Context, hash [32]byte) (customhouse.RefreshToken, error)
	// RotateRefresh keeps next, which takes the place of the token with that hash from at on, unless it was replaced before.
	// The error is customhouse.ErrNotFound when there is no such token.
	RotateRefresh(ctx context.Context, hash [32]byte, next customhouse.RefreshToken, at time.Time) error
	// DeleteRefreshes forgets the tokens of a family; no error when there are none.
	DeleteRefreshes(ctx context.Context, family string) error
}

var errInvalidRefresh = &OAuthError{Code: InvalidGrant, Description: "the refresh token is not valid"}

// refreshToken returns what an answer to r has as its refresh token, "" for none. The errors are an *OAuthError and those
// of an outage.
func (g *Gate) refreshToken(ctx context.Context, r *TokenRequest, id customhouse.Identity, services []string) (customhouse.Secret, error) {
	switch {
	case r.GrantType == GrantRefresh && g.rotates(r.spent):
		return g.nextRefresh(ctx, r.spent)
	case r.GrantType == GrantRefresh, !r.Offline, g.refresh == nil, !renews(id), len(services) != 1:
		return "", nil
	case !g.chain.CanLookUp(id.Method):
		return "", nil // nobody could tell next time whether the password is still right, and what it is for
	}
	return g.newRefresh(ctx, r, id, services[0])
}

func (g *Gate) rotates(kept *customhouse.RefreshToken) bool {
	return g.rotation == RotateAlways || g.rotation == RotateClient && kept.Posted
}

// newRefresh makes and keeps a refresh token, of which only the hash is kept.
func (g *Gate) newRefresh(ctx context.Context, r *TokenRequest, id customhouse.Identity, service string) (customhouse.Secret, error) {
	text, hash := makeRefresh()
	kept := customhouse.RefreshToken{
		Hash: hash, Family: strings.ToLower(rand.Text()), Service: service, Identity: id, Expires: g.now().Add(g.refreshTTL), Posted: r.GrantType != "",
	}
	if !id.Expires.IsZero() && id.Expires.Before(kept.Expires) {
		kept.Expires = id.Expires
	}
	if kept.Posted {
		// By GET the token is the client's name for the account: docker login puts it into the file that other clients
		// read, each with a client_id of its own. By POST it is the client's own.
		kept.ClientID = r.ClientID
	}
	if err := g.refresh.PutRefresh(ctx, kept); err != nil {
		return "", fmt.Errorf("keep refresh token: %w", err)
	}
	return text, nil
}

// nextRefresh replaces a refresh token by another, which ends when the first of its family would have.
func (g *Gate) nextRefresh(ctx context.Context, spent *customhouse.RefreshToken) (customhouse.Secret, error) {
	text, hash := makeRefresh()
	next := *spent
	next.Hash, next.Rotated = hash, time.Time{}
	err := g.refresh.RotateRefresh(ctx, spent.Hash, next, g.now())
	switch {
	case errors.Is(err, customhouse.ErrNotFound): // its family was revoked meanwhile
		return "", errInvalidRefresh
	case err != nil:
		return "", fmt.Errorf("keep refresh token: %w", err)
	}
	return text, nil
}

func makeRefresh() (text customhouse.Secret, hash [32]byte) {
	var random [32]byte
	rand.Read(random[:])
	s := refreshPrefix + base64.RawURLEncoding.EncodeToString(random[:])
	return customhouse.Secret(s), sha256.Sum256([]byte(s))
}

// exchange tells whose refresh token r holds, if it is for the one service of services, and notes what is kept of it. One
// that comes back after it was replaced is in the hands of two: none of its family is good any more. With that error comes
// who they are.
func (g *Gate) exchange(ctx context.Context, r *TokenRequest, services []string) (customhouse.Identity, error) {
	if g.refresh == nil {
		return customhouse.Identity{}, errInvalidRefresh
	}
	kept, err := g.refresh.Refresh(ctx, sha256.Sum256([]byte(r.RefreshToken)))
	switch {
	case errors.Is(err, customhouse.ErrNotFound):
		return customhouse.Identity{}, errInvalidRefresh
	case err != nil:
		return customhouse.Identity{}, fmt.Errorf("read refresh token: %w", err)
	case len(services) != 1 || kept.Service != services[0] || kept.ClientID != "" && kept.ClientID != r.ClientID:
		return customhouse.Identity{}, errInvalidRefresh
	}
	if !kept.Rotated.IsZero() && g.now().After(kept.Rotated.Add(reuseGrace)) {
		return kept.Identity, g.reused(ctx, &kept)
	}
	if g.now().Before(kept.Expires) && g.chain.CanLookUp(kept.Identity.Method) {
		id, err := g.present(ctx, &kept.Identity)
		switch {
		case err == nil && elsewhere(&id, r.Credential.Client):
			return customhouse.Identity{}, errInvalidRefresh
		case !errors.Is(err, authn.ErrUnknownUser):
			r.spent = &kept
			return id, err
		}
	}
	g.endFamily(ctx, &kept)
	return customhouse.Identity{}, errInvalidRefresh
}

// reused revokes the family of a refresh token that came back after it was replaced.
func (g *Gate) reused(ctx context.Context, kept *customhouse.RefreshToken) error {
	g.log.Warn("a refresh token came back after it was replaced: all that were had for it are revoked",
		"account", kept.Identity.Account, "client_id", kept.ClientID, "family", kept.Family)
	g.endFamily(ctx, kept)
	reuse := *errInvalidRefresh
	reuse.Cause = fmt.Errorf("it came back after it was replaced; all of family %s are revoked", kept.Family)
	return &reuse
}

func (g *Gate) endFamily(ctx context.Context, kept *customhouse.RefreshToken) {
	if err := g.refresh.DeleteRefreshes(ctx, kept.Family); err != nil {
		g.log.Warn("refresh tokens that are no longer valid stay", "account", kept.Identity.Account, "family", kept.Family, "error", err)
	}
}

// rotationOf checks a setting.
func rotationOf(r Rotation) (Rotation, error) {
	if r == "" {
		return RotateClient, nil
	}
	if !slices.Contains(rotations, r) {
		return "", fmt.Errorf("no rotation of refresh tokens is called %q", string(r))
	}
	return r, nil
}
