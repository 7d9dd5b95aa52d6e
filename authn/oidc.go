package authn

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"customhouse"
)

// OIDCOptions are the settings of an OIDC provider.
type OIDCOptions struct {
	Name  string // of the authenticator; "" is "oidc"
	Title string // for people; "" is the host of the issuer

	Issuer       string // mandatory; exactly as the provider spells it
	ClientID     string // mandatory
	ClientSecret customhouse.Secret
	Scopes       []string // nil is openid and email, and offline_access where the provider has it

	AccountClaim         string            // whose text is the name of the account; "" is "email"
	Labels               map[string]string // label -> claim, whose names of nested claims are joined by a dot
	AllowUnverifiedEmail bool              // take an email claim whose email_verified is not true
	Domain               string            // of the email, in lower case; "" is any
	Hosted               bool              // whether the account has to be one of an organization (Google's claim hd)
	Params               map[string]string // further parameters of the request to sign in

	Client ClientOptions
}

// OIDC signs people in at an OpenID provider (https://openid.net/specs/openid-connect-core-1_0.html): authorization code
// flow with PKCE, state and nonce. What discovery tells is fetched when it is needed and again after an hour.
type OIDC struct {
	o      OIDCOptions
	client *client

	mu    sync.Mutex
	found *discovered
	again time.Time // when discovery may be tried again after a failure
	err   error     // of the last failure
}

var _ Provider = (*OIDC)(nil)

// discovered is what discovery has told.
type discovered struct {
	endpoint endpoint
	userInfo string
	keys     *keySet
	at       time.Time
}

const (
	rediscover  = time.Hour
	retryOutage = 2 * time.Second
)

// NewOIDC returns a provider with these settings, without asking it anything.
func NewOIDC(o OIDCOptions) (*OIDC, error) {
	if o.Name == "" {
		o.Name = "oidc"
	}
	if o.AccountClaim == "" {
		o.AccountClaim = "email"
	}
	c, err := newClient(o.Client, o.Issuer)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	if o.ClientID == "" {
		return nil, errors.New("no client id: every token of the issuer would be good")
	}
	if o.Title == "" {
		u, _ := url.Parse(o.Issuer) // newClient has parsed it
		o.Title = u.Hostname()
	}
	return &OIDC{o: o, client: c}, nil
}

// Name implements Provider.
func (p *OIDC) Name() string { return p.o.Name }

// Title implements Provider.
func (p *OIDC) Title() string { return p.o.Title }

// Issuer implements Provider.
func (p *OIDC) Issuer() string { return p.o.Issuer }

// Begin implements Provider.
func (p *OIDC) Begin(ctx context.Context, a Attempt) (string, error) {
	d, err := p.discover(ctx)
	if err != nil {
		return "", err
	}
	params := []oauth2.AuthCodeOption{oidc.Nonce(a.Nonce)}
	for k, v := range p.o.Params {
		params = append(params, oauth2.SetAuthURLParam(k, v))
	}
	return d.endpoint.begin(a, params...), nil
}

// Finish implements Provider.
func (p *OIDC) Finish(ctx context.Context, a Attempt, code string) (Person, error) {
	d, err := p.discover(ctx)
	if err != nil {
		return Person{}, err
	}
	t, err := d.endpoint.exchange(ctx, a, code)
	if err != nil {
		return Person{}, err
	}
	id, err := p.verify(ctx, d, t)
	if err != nil {
		return Person{}, err
	}
	if id == nil {
		return Person{}, notVouched("the provider sends no ID token")
	}
	if a.Nonce == "" || subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(a.Nonce)) != 1 {
		return Person{}, notVouched("the ID token is of another sign-in")
	}
	return p.person(ctx, d, id, t, Tokens{})
}

// Refresh implements Provider.
func (p *OIDC) Refresh(ctx context.Context, have Tokens) (Person, error) {
	d, err := p.discover(ctx)
	if err != nil {
		return Person{}, err
	}
	t, err := d.endpoint.renew(ctx, have, have.Refresh != "")
	if err != nil {
		return Person{}, err
	}
	var who Person
	id, err := p.verify(ctx, d, t)
	if err == nil {
		who, err = p.person(ctx, d, id, t, have)
	}
	if err != nil {
		return Person{Tokens: tokensOf(t, have)}, err
	}
	return who, nil
}

// discover returns what the provider says of itself.
func (p *OIDC) discover(ctx context.Context) (*discovered, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.client.now()
	if p.found != nil && now.Before(p.found.at.Add(rediscover)) {
		return p.found, nil
	}
	if p.err != nil && now.Before(p.again) {
		return nil, p.err
	}
	// Whoever comes next needs the answer too.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.client.http.Timeout)
	defer cancel()
	d, err := p.ask(ctx)
	if err != nil {
		p.err, p.again = fmt.Errorf("discover %s: %s", p.o.Issuer, clip(plainURLError(err))), now.Add(retryOutage)
		return nil, p.err
	}
	d.at, p.found, p.err = now, d, nil
	return d, nil
}

func (p *OIDC) ask(ctx context.Context) (*discovered, error) {
	found, err := oidc.NewProvider(p.client.context(ctx), p.o.Issuer)
	if err != nil {
		return nil, err
	}
	var more struct {
		JWKS    string   `json:"jwks_uri"`
		Scopes  []string `json:"scopes_supported"`
		Methods []string `json:"token_endpoint_auth_methods_supported"`
	}
	if err := found.Claims(&more); err != nil {
		return nil, err
	}
	e := found.Endpoint()
	for _, u := range []string{e.AuthURL, e.TokenURL, more.JWKS} {
		if err := p.endpointURL(u); err != nil {
			return nil, err
		}
	}
	userInfo := found.UserInfoEndpoint()
	if userInfo != "" {
		if err := p.endpointURL(userInfo); err != nil {
			return nil, err
		}
	}
	e.AuthStyle = oauth2.AuthStyleInHeader // the default of discovery; guessing would spend the code
	if len(more.Methods) > 0 && !slices.Contains(more.Methods, "client_secret_basic") || p.o.ClientSecret == "" {
		e.AuthStyle = oauth2.AuthStyleInParams
	}
	scopes := p.o.Scopes
	if scopes == nil {
		scopes = []string{oidc.ScopeOpenID, "email"}
		if slices.Contains(more.Scopes, oidc.ScopeOfflineAccess) {
			scopes = append(scopes, oidc.ScopeOfflineAccess)
		}
	}
	return &discovered{
		endpoint: endpoint{p.client, oauth2.Config{ClientID: p.o.ClientID, ClientSecret: string(p.o.ClientSecret), Endpoint: e, Scopes: scopes}},
		userInfo: userInfo,
		keys:     &keySet{client: p.client, url: more.JWKS},
	}, nil
}

// endpointURL refuses what is no place for a secret: another scheme, or one without encryption where the issuer has it.
func (p *OIDC) endpointURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || strings.HasPrefix(p.o.Issuer, "https:")) {
		return errors.New("the provider names an endpoint that is no https URL")
	}
	return nil
}

// algorithms are those that ID tokens may be signed with. None of them takes a secret that clients know.
var algorithms = []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA"}

// verify checks the ID token that came with t; nil if none did.
func (p *OIDC) verify(ctx context.Context, d *discovered, t *oauth2.Token) (*oidc.IDToken, error) {
	text, ok := t.Extra("id_token").(string)
	if !ok || text == "" {
		return nil, nil
	}
	keys := &asking{keySet: d.keys}
	verifier := oidc.NewVerifier(p.o.Issuer, keys, &oidc.Config{ClientID: p.o.ClientID, SupportedSigningAlgs: algorithms, Now: p.client.now})
	id, err := verifier.Verify(ctx, text)
	if keys.outage != nil {
		return nil, keys.outage
	}
	if err != nil {
		return nil, notVouched("the ID token is not valid: %s", clip(err))
	}
	var claims struct {
		AuthorizedParty string `json:"azp"`
	}
	if err := id.Claims(&claims); err != nil {
		return nil, notVouched("the ID token is not valid")
	}
	if claims.AuthorizedParty != "" && claims.AuthorizedParty != p.o.ClientID || claims.AuthorizedParty == "" && len(id.Audience) > 1 {
		return nil, notVouched("the ID token is for another client")
	}
	if id.AccessTokenHash != "" {
		if err := id.VerifyAccessToken(t.AccessToken); err != nil {
			return nil, notVouched("the ID token is of another access token")
		}
	}
	return id, nil
}

// claimSet is what a provider says of somebody, with numbers as they are written: two of those that name groups may be one
// float64.
type claimSet map[string]any

// UnmarshalJSON adds the members of an object.
func (c *claimSet) UnmarshalJSON(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode((*map[string]any)(c)); err != nil {
		return err
	}
	if *c == nil {
		return errors.New("no object")
	}
	return nil
}

// person reads who it is from the ID token and from the provider's user info.
func (p *OIDC) person(ctx context.Context, d *discovered, id *oidc.IDToken, t *oauth2.Token, before Tokens) (Person, error) {
	claims := claimSet{}
	if d.userInfo != "" {
		_, err := p.client.getJSON(ctx, d.userInfo, t.AccessToken, nil, func(body []byte) error { return json.Unmarshal(body, &claims) })
		if isStatus(err, http.StatusUnauthorized, http.StatusForbidden) {
			return Person{}, notVouched("the provider does not accept its access token any more")
		}
		if err != nil {
			return Person{}, err
		}
	}
	subject, _ := claims["sub"].(string)
	if id != nil {
		if d.userInfo != "" && subject != id.Subject {
			return Person{}, notVouched("the user info is of somebody else")
		}
		subject = id.Subject
		signed := claimSet{}
		if err := id.Claims(&signed); err != nil {
			return Person{}, notVouched("the ID token is not valid")
		}
		told, unsigned := claims["email"].(string)
		if email, ok := signed["email"].(string); ok && unsigned && email != told {
			delete(claims, "email_verified") // that is of another address
		}
		maps.Copy(claims, signed)
	}
	if subject == "" {
		return Person{}, notVouched("the provider does not say who has signed in")
	}
	account, err := p.account(claims)
	if err != nil {
		return Person{}, err
	}
	labels := map[string][]string{}
	for label, path := range p.o.Labels {
		if values := claimValues(claims, path); len(values) > 0 {
			labels[label] = values
		}
	}
	return Person{Issuer: p.o.Issuer, Subject: subject, Account: account, Labels: labels, Tokens: tokensOf(t, before)}, nil
}

// account returns the name of the account that claims give.
func (p *OIDC) account(claims claimSet) (string, error) {
	value, _ := claim(claims, p.o.AccountClaim)
	name, ok := value.(string)
	if !ok {
		return "", notVouched("the provider does not tell the claim %s", p.o.AccountClaim)
	}
	if _, err := customhouse.ParseAccount(name); err != nil {
		return "", notVouched("the claim %s is no name of an account", p.o.AccountClaim)
	}
	if p.o.AccountClaim != "email" && p.o.Domain == "" {
		return name, nil
	}
	email, ok := claims["email"].(string)
	local, domain, at := strings.Cut(email, "@")
	if !ok || !at || local == "" || domain == "" || strings.Contains(domain, "@") {
		return "", notVouched("the provider does not tell a valid email address")
	}
	if verified, ok := claims["email_verified"].(bool); (!ok || !verified) && !p.o.AllowUnverifiedEmail {
		return "", notVouched("the provider has not verified the email address")
	}
	if p.o.Domain != "" && !strings.EqualFold(domain, p.o.Domain) {
		return "", notVouched("the email address is not one of %s", p.o.Domain)
	}
	if hosted, _ := claims["hd"].(string); p.o.Hosted && hosted == "" {
		return "", notVouched("the account is not one of an organization")
	}
	return name, nil
}

// claim returns the value at a path: a name, or names of nested claims joined by dots. A name may contain dots itself.
func claim(claims map[string]any, path string) (any, bool) {
	if v, ok := claims[path]; ok {
		return v, true
	}
	for i := range len(path) {
		if path[i] != '.' {
			continue
		}
		if inner, ok := claims[path[:i]].(map[string]any); ok {
			if v, ok := claim(inner, path[i+1:]); ok {
				return v, true
			}
		}
	}
	return nil, false
}

// claimValues returns the values of a claim that are text, a number or a truth value: its own, or those of its list.
func claimValues(claims map[string]any, path string) []string {
	v, _ := claim(claims, path)
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var values []string
	for _, v := range list {
		switch v := v.(type) {
		case string:
			values = append(values, v)
		case bool:
			values = append(values, fmt.Sprint(v))
		case json.Number:
			values = append(values, v.String())
		}
	}
	return values
}
