package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// longestAnswer is how many bytes of an answer are read.
const longestAnswer = 1 << 20

// farRegistry is a running registry that a command asks by its API.
type farRegistry struct {
	username  string // "" for what docker login has left
	stdin     bool
	ca        string
	insecure  bool
	plainHTTP bool

	host       string
	scheme     string
	credential auth.Credential
	client     *http.Client
}

func (f *farRegistry) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.username, "username", "u", "", "`NAME` of the account, in place of docker's credentials")
	flags.BoolVar(&f.stdin, "password-stdin", false, "read the password from standard input")
	flags.StringVar(&f.ca, "ca", "", "`FILE` with the certificates to trust, in place of the system's")
	flags.BoolVar(&f.insecure, "insecure", false, "take any certificate: whoever is on the way can read the password")
	flags.BoolVar(&f.plainHTTP, "plain-http", false, "speak HTTP without TLS: whoever is on the way can read the password")
	cmd.MarkFlagsRequiredTogether("username", "password-stdin")
	cmd.MarkFlagsMutuallyExclusive("plain-http", "ca")
	cmd.MarkFlagsMutuallyExclusive("plain-http", "insecure")
	cmd.MarkFlagsMutuallyExclusive("ca", "insecure")
	cmd.MarkFlagFilename("ca", "pem", "crt")
}

// open gets ready to ask host. Scope is what a token has to carry for the questions, "" for nothing.
func (f *farRegistry) open(cmd *cobra.Command, host, scope string) error {
	if u, err := url.Parse("https://" + host); err != nil || u.Host != host || u.Hostname() == "" {
		return withHint(fmt.Errorf("%q is no server", host), "want HOST or HOST:PORT")
	}
	f.host, f.scheme = host, "https"
	if f.plainHTTP {
		f.scheme = "http"
	}
	trust := &tls.Config{InsecureSkipVerify: f.insecure}
	if f.ca != "" {
		var err error
		if trust.RootCAs, err = readCAs(f.ca); err != nil {
			return fmt.Errorf("--ca: %w", err)
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = trust
	f.client = &http.Client{Transport: transport, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }} // the password is for this host
	return f.login(cmd, scope)
}

func (f *farRegistry) whoami(ctx context.Context) (me self, err error) {
	if err = f.get(ctx, "/api/whoami", nil, &me.Raw); err == nil {
		err = json.Unmarshal(me.Raw, &me)
	}
	return me, err
}

// mayDo asks what the caller may do in a repository, one action at a time.
func (f *farRegistry) mayDo(ctx context.Context, repo, tag string) ([]mayDo, error) {
	var all []mayDo
	for _, action := range whoamiActions {
		q := url.Values{"repo": {repo}, "action": {string(action)}}
		if tag != "" {
			q.Set("tag", tag)
		}
		var m mayDo
		if err := f.get(ctx, "/api/explain", q, &m); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// get reads the answer to a question into v.
func (f *farRegistry) get(ctx context.Context, path string, query url.Values, v any) error {
	resp, body, err := f.send(ctx, http.MethodGet, path, query)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return f.refused(resp, body)
	}
	return f.read(body, v)
}

func (f *farRegistry) read(body []byte, v any) error {
	if err := json.Unmarshal(body, v); err != nil {
		return withHint(fmt.Errorf("%s answers something else than this API", f.host), "is it a customhouse?")
	}
	return nil
}

// send returns an answer and its body. The values are a query, or the form of a POST. A registry on this machine that turns
// out to be without TLS is asked without.
func (f *farRegistry) send(ctx context.Context, method, path string, values url.Values) (*http.Response, []byte, error) {
	resp, err := f.sendOnce(ctx, method, path, values)
	if f.scheme == "https" && errors.Is(err, http.ErrSchemeMismatch) {
		if !loopback(f.host) || f.ca != "" || f.insecure {
			return nil, nil, withHint(fmt.Errorf("%s speaks HTTP without TLS", f.host), "--plain-http sends it the password all the same")
		}
		f.scheme = "http"
		resp, err = f.sendOnce(ctx, method, path, values)
	}
	if err != nil {
		if failed := (*url.Error)(nil); errors.As(err, &failed) {
			err = failed.Err // without the address that was asked
		}
		err = fmt.Errorf("ask %s: %w", f.host, err)
		if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) {
			err = withHint(err, "--ca FILE names who has issued its certificate")
		}
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, longestAnswer))
	if err != nil {
		return nil, nil, fmt.Errorf("ask %s: %w", f.host, err)
	}
	return resp, body, nil
}

func (f *farRegistry) sendOnce(ctx context.Context, method, path string, values url.Values) (*http.Response, error) {
	u := url.URL{Scheme: f.scheme, Host: f.host, Path: path}
	var form io.Reader
	if method == http.MethodPost {
		form = strings.NewReader(values.Encode())
	} else {
		u.RawQuery = values.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), form)
	if err != nil {
		return nil, err
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	switch c := f.credential; {
	case c.AccessToken != "":
		req.Header.Set("Authorization", "Bearer "+c.AccessToken)
	case c.Username != "":
		req.SetBasicAuth(c.Username, c.Password)
	}
	return f.client.Do(req)
}

// refused is the error of an answer other than 200.
func (f *farRegistry) refused(resp *http.Response, body []byte) error {
	said := resp.Status
	var envelope struct {
		Errors []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &envelope) == nil && len(envelope.Errors) > 0 && envelope.Errors[0].Message != "" {
		said = printable(envelope.Errors[0].Message)
	}
	if f.plainHTTP && strings.Contains(string(body), "HTTP request to an HTTPS server") {
		return withHint(fmt.Errorf("%s speaks TLS", f.host), "leave out --plain-http")
	}
	err := fmt.Errorf("%s: %s", f.host, said)
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		return withHint(err, fmt.Sprintf("log in with `docker login %s`, or give --username NAME --password-stdin", f.host))
	case http.StatusNotFound:
		return withHint(err, "is it a customhouse?")
	}
	return err
}

// loopback tells whether host[:port] is on this machine.
func loopback(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	addr, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return name == "localhost" || err == nil && addr.IsLoopback()
}
