package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"customhouse"
	"customhouse/server"

	"github.com/spf13/cobra"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
)

// login finds the credential: a password on standard input, or what docker login has left.
func (f *farRegistry) login(cmd *cobra.Command, scope string) error {
	if f.username != "" {
		password, err := await(cmd.Context(), func() (customhouse.Secret, error) { return readPassword(cmd.InOrStdin()) })
		f.credential = auth.Credential{Username: f.username, Password: string(password)}
		return err
	}
	store, err := credentials.NewStoreFromDocker(credentials.StoreOptions{AllowPlaintextPut: true}) // a token goes back to where it was
	if err != nil {
		return fmt.Errorf("docker's configuration: %w", err)
	}
	found, err := credentials.Credential(store)(cmd.Context(), f.host)
	if err != nil {
		return fmt.Errorf("docker's credentials for %s: %w", f.host, err)
	}
	if found.RefreshToken != "" {
		return f.renew(cmd.Context(), store, found, scope)
	}
	f.credential = found
	return nil
}

// renew takes a token for the refresh token that docker login has left. It goes to the registry itself and nowhere else.
func (f *farRegistry) renew(ctx context.Context, store credentials.Store, was auth.Credential, scope string) error {
	resp, _, err := f.send(ctx, http.MethodGet, "/v2/", nil)
	if err != nil {
		return err
	}
	_, service, _ := strings.Cut(resp.Header.Get("WWW-Authenticate"), `service="`)
	service, _, _ = strings.Cut(service, `"`)
	form := url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {was.RefreshToken}, "client_id": {"customhouse"}, "service": {service},
	}
	if scope != "" {
		form.Set("scope", scope)
	}
	resp, body, err := f.send(ctx, http.MethodPost, server.TokenPath, form)
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusBadRequest:
		return withHint(fmt.Errorf("%s does not take what docker login has left: it has ended, or is for another service", f.host),
			fmt.Sprintf("log in again with `docker login %s`, or give --username NAME --password-stdin", f.host))
	case resp.StatusCode != http.StatusOK:
		return f.refused(resp, body)
	}
	var answer struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
	}
	if err := f.read(body, &answer); err != nil {
		return err
	}
	f.credential = auth.Credential{AccessToken: answer.AccessToken}
	if answer.RefreshToken == "" || answer.RefreshToken == was.RefreshToken {
		return nil
	}
	was.RefreshToken = answer.RefreshToken // the one before is good no more
	if err := store.Put(ctx, credentials.ServerAddressFromRegistry(f.host), was); err != nil {
		return fmt.Errorf("leave docker the next refresh token for %s: %w", f.host, err)
	}
	return nil
}
