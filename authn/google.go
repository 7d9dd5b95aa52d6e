package authn

import (
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"

	"customhouse"
)

// GoogleOptions are the settings of sign-in at Google.
type GoogleOptions struct {
	ClientID     string // mandatory
	ClientSecret customhouse.Secret
	Domain       string // the domain of the organization that accounts have to be of; "" is any account of Google
	Issuer       string // "" is https://accounts.google.com
	Client       ClientOptions
}

// NewGoogle returns a provider called "google", whose accounts are email addresses
// (https://developers.google.com/identity/openid-connect/openid-connect).
func NewGoogle(o GoogleOptions) (*OIDC, error) {
	params := map[string]string{"access_type": "offline", "prompt": "consent"} // a refresh token comes with consent only
	if o.Domain != "" {
		params["hd"] = strings.ToLower(o.Domain)
	}
	if o.Issuer == "" {
		o.Issuer = "https://accounts.google.com"
	}
	return NewOIDC(OIDCOptions{
		Name: "google", Title: "Google", Issuer: o.Issuer, ClientID: o.ClientID, ClientSecret: o.ClientSecret,
		Scopes: []string{oidc.ScopeOpenID, "email"}, Domain: o.Domain, Hosted: o.Domain != "", Params: params, Client: o.Client,
	})
}
