package authn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/oauth2"

	"customhouse"
)

// GitHubOptions are the settings of sign-in at GitHub.
type GitHubOptions struct {
	ClientID     string // mandatory
	ClientSecret customhouse.Secret
	Organization string // that people have to be active members of; "" is everybody who has an account
	WebURL       string // "" is https://github.com
	APIURL       string // "" is https://api.github.com; that of GitHub Enterprise Server ends in /api/v3
	Client       ClientOptions
}

// GitHub signs people in at GitHub (https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps)
// under their login. With an organization, the label teams has the slugs of their teams in it and of those above them.
type GitHub struct {
	o        GitHubOptions
	client   *client
	endpoint endpoint
}

var _ Provider = (*GitHub)(nil)

// NewGitHub returns a provider called "github".
func NewGitHub(o GitHubOptions) (*GitHub, error) {
	if o.WebURL == "" {
		o.WebURL = "https://github.com"
	}
	if o.APIURL == "" {
		o.APIURL = "https://api.github.com"
	}
	o.WebURL, o.APIURL = strings.TrimSuffix(o.WebURL, "/"), strings.TrimSuffix(o.APIURL, "/")
	c, err := newClient(o.Client, o.WebURL, o.APIURL)
	if err != nil {
		return nil, err
	}
	if o.ClientID == "" {
		return nil, errors.New("no client id")
	}
	var scopes []string
	if o.Organization != "" {
		scopes = []string{"read:org"}
	}
	return &GitHub{o: o, client: c, endpoint: endpoint{c, oauth2.Config{
		ClientID: o.ClientID, ClientSecret: string(o.ClientSecret), Scopes: scopes,
		Endpoint: oauth2.Endpoint{
			AuthURL: o.WebURL + "/login/oauth/authorize", TokenURL: o.WebURL + "/login/oauth/access_token", AuthStyle: oauth2.AuthStyleInParams,
		},
	}}}, nil
}

// Name implements Provider.
func (p *GitHub) Name() string { return "github" }

// Title implements Provider.
func (p *GitHub) Title() string { return "GitHub" }

// Issuer implements Provider.
func (p *GitHub) Issuer() string { return p.o.WebURL }

// Begin implements Provider.
func (p *GitHub) Begin(_ context.Context, a Attempt) (string, error) { return p.endpoint.begin(a), nil }

// Finish implements Provider.
func (p *GitHub) Finish(ctx context.Context, a Attempt, code string) (Person, error) {
	t, err := p.endpoint.exchange(ctx, a, code)
	if err != nil {
		return Person{}, err
	}
	return p.person(ctx, t, Tokens{})
}

// Refresh implements Provider. The tokens of an OAuth app do not expire, those of a GitHub app do.
func (p *GitHub) Refresh(ctx context.Context, have Tokens) (Person, error) {
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

func (p *GitHub) person(ctx context.Context, t *oauth2.Token, before Tokens) (Person, error) {
	var user struct {
		ID    int64  `json:"id"`
		Login string `json:"login"`
	}
	if _, err := p.get(ctx, t, "/user", &user); err != nil {
		return Person{}, err
	}
	if _, err := customhouse.ParseAccount(user.Login); err != nil || user.ID == 0 {
		return Person{}, notVouched("GitHub does not say who has signed in")
	}
	who := Person{
		Issuer: p.o.WebURL, Subject: strconv.FormatInt(user.ID, 10), Account: user.Login, Labels: map[string][]string{},
		Tokens: tokensOf(t, before),
	}
	if p.o.Organization == "" {
		return who, nil
	}
	var membership struct {
		State string `json:"state"`
	}
	_, err := p.get(ctx, t, "/user/memberships/orgs/"+url.PathEscape(p.o.Organization), &membership)
	if isStatus(err, http.StatusNotFound, http.StatusForbidden) || err == nil && membership.State != "active" {
		return Person{}, notVouched("not a member of the organization %s", p.o.Organization)
	}
	if err != nil {
		return Person{}, err
	}
	teams, err := p.teams(ctx, t)
	if err != nil {
		return Person{}, err
	}
	if len(teams) > 0 {
		who.Labels["teams"] = teams
	}
	return who, nil
}

// maxPages bounds how far lists are followed.
const maxPages = 50

// teams returns the slugs of the teams in the organization and of those directly above them, sorted.
func (p *GitHub) teams(ctx context.Context, t *oauth2.Token) ([]string, error) {
	var slugs []string
	for page := 1; page <= maxPages; page++ {
		var teams []struct {
			Slug         string `json:"slug"`
			Organization struct {
				Login string `json:"login"`
			} `json:"organization"`
			Parent *struct {
				Slug string `json:"slug"`
			} `json:"parent"`
		}
		header, err := p.get(ctx, t, "/user/teams?per_page=100&page="+strconv.Itoa(page), &teams)
		if err != nil {
			return nil, err
		}
		for _, team := range teams {
			if !strings.EqualFold(team.Organization.Login, p.o.Organization) {
				continue
			}
			slugs = append(slugs, team.Slug)
			if team.Parent != nil {
				slugs = append(slugs, team.Parent.Slug)
			}
		}
		// The Link header says whether there is more; where it leads is not followed.
		if !strings.Contains(header.Get("Link"), `rel="next"`) {
			slices.Sort(slugs)
			return slices.Compact(slugs), nil
		}
	}
	return nil, fmt.Errorf("more than %d teams", maxPages*100)
}

// get asks the API. When it does not accept the token, the error is a *NotVouched.
func (p *GitHub) get(ctx context.Context, t *oauth2.Token, path string, v any) (http.Header, error) {
	header := http.Header{"Accept": {"application/vnd.github+json"}, "X-Github-Api-Version": {"2022-11-28"}}
	h, err := p.client.getJSON(ctx, p.o.APIURL+path, t.AccessToken, header, func(body []byte) error { return json.Unmarshal(body, v) })
	if isStatus(err, http.StatusUnauthorized) {
		return nil, notVouched("GitHub does not accept its access token any more")
	}
	return h, err
}
