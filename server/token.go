package server

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"customhouse"
	"customhouse/gate"
)

// maxForm is how many bytes a form at the token endpoint may have.
const maxForm = 64 << 10

// token answers the token endpoint: by GET as the Docker token specification has it, by POST as OAuth 2
// (https://distribution.github.io/distribution/spec/auth/).
func (st *state) token(w *response, r *http.Request) error {
	w.Header()["Cache-Control"] = noStore
	cred, err := st.credential(r)
	if err != nil {
		return err
	}
	var q gate.TokenRequest
	switch r.Method {
	case http.MethodGet:
		q, err = tokenQuery(r)
	case http.MethodPost:
		q, err = tokenForm(r)
	default:
		return methodNotAllowed("GET", "POST")
	}
	if err != nil {
		return err
	}
	switch {
	case cred.Scheme == customhouse.Bearer && r.Method == http.MethodPost:
		return badTokenRequest("a token is no credential here; use an account and its password")
	case q.Credential.Scheme == customhouse.None && q.GrantType != gate.GrantExchange:
		q.Credential = cred
	}
	q.Credential.Client = cred.Client
	t, err := st.Gate.Issue(r.Context(), q)
	if err != nil {
		var refusal *gate.Refusal
		if errors.As(err, &refusal) && refusal.Err.Code == customhouse.Unauthorized {
			w.Header().Set("WWW-Authenticate", `Basic realm="customhouse", charset="UTF-8"`)
		}
		return err
	}
	w.decision(t.ID, t.Identity, t.Denied.Rule, t.Reason())
	return writeToken(w, r, t, q.GrantType)
}

func writeToken(w http.ResponseWriter, r *http.Request, t gate.Token, grantType string) error {
	answer := struct {
		Token        string `json:"token,omitempty"`
		AccessToken  string `json:"access_token"`
		IssuedType   string `json:"issued_token_type,omitempty"` // RFC 8693, section 2.2.1
		TokenType    string `json:"token_type,omitempty"`
		Scope        string `json:"scope,omitempty"`
		ExpiresIn    int    `json:"expires_in"`
		IssuedAt     string `json:"issued_at"`
		RefreshToken string `json:"refresh_token,omitempty"`
	}{
		AccessToken: string(t.Token), ExpiresIn: int(t.ExpiresIn / time.Second),
		IssuedAt: t.IssuedAt.UTC().Format(time.RFC3339), RefreshToken: string(t.RefreshToken),
	}
	if r.Method == http.MethodPost {
		answer.TokenType, answer.Scope = "Bearer", t.Scope()
		if grantType == gate.GrantExchange {
			answer.IssuedType = gate.TypeAccessToken
		}
	} else {
		answer.Token = answer.AccessToken
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	writeBody(w, http.StatusOK, "application/json", body)
	return nil
}

func tokenQuery(r *http.Request) (gate.TokenRequest, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || len(values) > maxParams {
		return gate.TokenRequest{}, badTokenRequest("invalid parameters in the URL")
	}
	for _, key := range [...]string{"account", "client_id", "offline_token"} {
		if len(values[key]) > 1 {
			return gate.TokenRequest{}, badTokenRequest("parameter " + key + " is given more than once")
		}
	}
	return gate.TokenRequest{
		Services: values["service"], Scopes: scopes(values["scope"]), Account: values.Get("account"),
		Offline: values.Get("offline_token") == "true", ClientID: values.Get("client_id"),
	}, nil
}

func tokenForm(r *http.Request) (gate.TokenRequest, error) {
	values, err := readForm(r)
	if err != nil {
		return gate.TokenRequest{}, err
	}
	for key, list := range values {
		if len(list) > 1 && key != "scope" && key != "service" && key != "audience" && key != "resource" {
			return gate.TokenRequest{}, badTokenRequest("parameter " + key + " is given more than once")
		}
	}
	q := gate.TokenRequest{
		Services: values["service"], Scopes: scopes(values["scope"]), Offline: values.Get("access_type") == "offline",
		ClientID: values.Get("client_id"), GrantType: values.Get("grant_type"), RefreshToken: customhouse.Secret(values.Get("refresh_token")),
	}
	if q.GrantType == gate.GrantPassword {
		q.Credential = customhouse.Credential{
			Scheme: customhouse.Basic, Account: values.Get("username"), Secret: customhouse.Secret(values.Get("password")),
		}
	}
	switch q.GrantType {
	case "":
		return q, badTokenRequest("grant_type is missing")
	case gate.GrantExchange:
		return exchangeForm(q, values)
	}
	return q, nil
}

// exchangeForm reads what is of the token exchange alone (RFC 8693, section 2.1). Audience and resource are both names of
// services here.
func exchangeForm(q gate.TokenRequest, values url.Values) (gate.TokenRequest, error) {
	if wanted := values.Get("requested_token_type"); wanted != "" && wanted != gate.TypeAccessToken && wanted != gate.TypeJWT {
		return q, badTokenRequest("the requested_token_type is not one of those that are issued here")
	}
	if values.Has("actor_token") {
		return q, badTokenRequest("nobody acts for another here: actor_token is not supported")
	}
	for _, s := range slices.Concat(values["audience"], values["resource"]) {
		if !slices.Contains(q.Services, s) {
			q.Services = append(q.Services, s)
		}
	}
	q.Subject, q.SubjectType = customhouse.Secret(values.Get("subject_token")), values.Get("subject_token_type")
	return q, nil
}

// readForm reads a body of a bounded length.
func readForm(r *http.Request) (url.Values, error) {
	if r.ContentLength > maxForm {
		return nil, formTooLarge()
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxForm+1))
	if err != nil {
		return nil, badTokenRequest("the form did not arrive whole")
	}
	if len(body) > maxForm {
		return nil, formTooLarge()
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, badTokenRequest("invalid form")
	}
	return values, nil
}

// scopes takes both spellings of several scopes: one parameter each, or all in one with spaces between them.
func scopes(params []string) []string {
	var all []string
	for _, p := range params {
		all = append(all, strings.Fields(p)...)
	}
	return all
}

func badTokenRequest(description string) error {
	return &gate.OAuthError{Code: gate.InvalidRequest, Description: description}
}

func formTooLarge() error {
	return customhouse.Errorf(customhouse.ContentTooLarge, "the form is larger than %d bytes", maxForm)
}

// writeOAuthError writes the error of RFC 6749 section 5.2, and beside it the envelope that registry clients read.
func writeOAuthError(w http.ResponseWriter, e *gate.OAuthError) {
	body, err := json.Marshal(map[string]any{
		"error": e.Code, "error_description": e.Description,
		"errors": []map[string]string{{"code": string(customhouse.Unsupported), "message": e.Description}},
	})
	if err != nil {
		body = []byte(`{"error":"invalid_request"}`)
	}
	w.Header()["Cache-Control"] = noStore
	writeBody(w, http.StatusBadRequest, "application/json", body)
}

// keys publishes the public keys of our tokens (RFC 7517).
func (st *state) keys(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return methodNotAllowed("GET", "HEAD")
	}
	jwks := st.Gate.JWKS()
	if jwks == nil {
		return customhouse.Errorf(customhouse.NotFound, "no such endpoint")
	}
	w.Header()["Cache-Control"] = []string{"public, max-age=300"}
	writeBody(w, http.StatusOK, "application/jwk-set+json", jwks)
	return nil
}
