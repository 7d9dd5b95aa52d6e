package authn

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/oauth2"

	"customhouse"
)

// GitLabOptions are the settings of sign-in at GitLab.
type GitLabOptions struct {
	ClientID     string // mandatory
	ClientSecret customhouse.Secret
	Group        string   // the full path of a group that people have to be in, or in one below it; "" is everybody
	Scopes       []string // nil is openid and read_user; without openid there are no groups
	WebURL       string   // "" is https://gitlab.com
	APIURL       string   // "" is WebURL and /api/v4
	Client       ClientOptions
}

// GitLab signs people in at GitLab (https://docs.gitlab.com/api/oauth2/) under their user name. The label groups has the
// full paths of the groups that they are in.
type GitLab struct {
	o        GitLabOptions
	client   *client
	endpoint endpoint
	groups   bool
}

var _ Provider = (*GitLab)(nil)

// NewGitLab returns a provider called "gitlab".
func NewGitLab(o GitLabOptions) (*GitLab, error) {
	if o.WebURL == "" {
		o.WebURL = "https://gitlab.com"
	}
	o.WebURL = strings.TrimSuffix(o.WebURL, "/")
	if o.APIURL == "" {
		o.APIURL = o.WebURL + "/api/v4"
	}
	o.APIURL = strings.TrimSuffix(o.APIURL, "/")
	if o.Scopes == nil {
		o.Scopes = []string{"openid", "read_user"}
	}
	c, err := newClient(o.Client, o.WebURL, o.APIURL)
	if err != nil {
		return nil, err
	}
	groups := slices.Contains(o.Scopes, "openid")
	if o.ClientID == "" {
		return nil, errors.New("no client id")
	}
	if o.Group != "" && !groups {
		return nil, errors.New("groups are known with the scope openid only")
	}
	return &GitLab{o: o, client: c, groups: groups, endpoint: endpoint{c, oauth2.Config{
		ClientID: o.ClientID, ClientSecret: string(o.ClientSecret), Scopes: o.Scopes,
		Endpoint: oauth2.Endpoint{AuthURL: o.WebURL + "/oauth/authorize", TokenURL: o.WebURL + "/oauth/token", AuthStyle: oauth2.AuthStyleInParams},
	}}}, nil
}

// Name implements Provider.
func (p *GitLab) Name() string { return "gitlab" }

// Title implements Provider.
func (p *GitLab) Title() string { return "GitLab" }

// Issuer implements Provider.
func (p *GitLab) Issuer() string { return p.o.WebURL }

// Begin implements Provider.
func (p *GitLab) Begin(_ context.Context, a Attempt) (string, error) { return p.endpoint.begin(a), nil }

// Finish implements Provider.
func (p *GitLab) Finish(ctx context.Context, a Attempt, code string) (Person, error) {
	t, err := p.endpoint.exchange(ctx, a, code)
	if err != nil {
		return Person{}, err
	}
	return p.person(ctx, t, Tokens{})
}

// Refresh implements Provider. Access tokens live for two hours; each refresh token is good once.
func (p *GitLab) Refresh(ctx context.Context, have Tokens) (Person, error) {
	t, err := p.endpoint.renew(ctx, have, false)
	if err != nil {
		return Person{}, err
	}
	who, err := p.person(ctx, t, have)
	if err != nil {
		return Person{Tokens: tokensOf(t, have)}, err
	}
	return who, nil
}

func (p *GitLab) person(ctx context.Context, t *oauth2.Token, before Tokens) (Person, error) {
	var user struct {
		ID       int64  `json:"id"`
		Username string `json:"username"`
		State    string `json:"state"`
	}
	if err := p.get(ctx, t, p.o.APIURL+"/user", &user); err != nil {
		return Person{}, err
	}
	if _, err := customhouse.ParseAccount(user.Username); err != nil || user.ID == 0 {
		return Person{}, notVouched("GitLab does not say who has signed in")
	}
	if user.State != "active" {
		return Person{}, notVouched("the account is not active at GitLab")
	}
	who := Person{
		Issuer: p.o.WebURL, Subject: strconv.FormatInt(user.ID, 10), Account: user.Username, Labels: map[string][]string{},
		Tokens: tokensOf(t, before),
	}
	if !p.groups {
		return who, nil
	}
	var info struct {
		Subject string   `json:"sub"`
		Groups  []string `json:"groups"`
	}
	if err := p.get(ctx, t, p.o.WebURL+"/oauth/userinfo", &info); err != nil {
		return Person{}, err
	}
	if info.Subject != who.Subject {
		return Person{}, notVouched("the user info is of somebody else")
	}
	in := func(group string) bool {
		return strings.EqualFold(group, p.o.Group) || len(group) > len(p.o.Group) && strings.EqualFold(group[:len(p.o.Group)+1], p.o.Group+"/")
	}
	if p.o.Group != "" && !slices.ContainsFunc(info.Groups, in) {
		return Person{}, notVouched("not a member of the group %s", p.o.Group)
	}
	if len(info.Groups) > 0 {
		who.Labels["groups"] = info.Groups
	}
	return who, nil
}

// get asks the API. When it does not accept the token, the error is a *NotVouched: so it is when the account is blocked.
func (p *GitLab) get(ctx context.Context, t *oauth2.Token, address string, v any) error {
	_, err := p.client.getJSON(ctx, address, t.AccessToken, nil, func(body []byte) error { return json.Unmarshal(body, v) })
	if isStatus(err, http.StatusUnauthorized, http.StatusForbidden) {
		return notVouched("GitLab does not accept its access token any more")
	}
	return err
}
