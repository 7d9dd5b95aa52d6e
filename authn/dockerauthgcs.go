package authn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/jwt"
	"golang.org/x/sync/errgroup"

	"customhouse"
	"customhouse/outbound"
)

// GCSBucket is a bucket in Google Cloud Storage, as a service account sees it.
type GCSBucket struct {
	name     string
	endpoint *url.URL
	account  jwt.Config
}

// GCSEndpoint is where Google Cloud Storage is reached (https://cloud.google.com/storage/docs/json_api).
const GCSEndpoint = "https://storage.googleapis.com"

const (
	gcsScope     = "https://www.googleapis.com/auth/devstorage.read_only"
	gcsTimeout   = 30 * time.Second // of each question
	gcsAtOnce    = 16               // questions
	gcsPage      = 1000             // names, the most that Google lists at once
	maxGCSAnswer = 4 << 20          // bytes
)

// NewGCSBucket returns the bucket of that name for the service account whose key is the JSON that Google has given for it. The
// error quotes nothing of the key.
func NewGCSBucket(name, endpoint string, key []byte) (*GCSBucket, error) {
	var k struct {
		Type     string `json:"type"`
		Email    string `json:"client_email"`
		Private  string `json:"private_key"`
		ID       string `json:"private_key_id"`
		TokenURL string `json:"token_uri"`
	}
	if json.Unmarshal(key, &k) != nil || k.Type != "service_account" || k.Email == "" || k.Private == "" || k.TokenURL == "" {
		return nil, errors.New("want the key of a service account: JSON with type service_account, client_email, private_key and token_uri")
	}
	b := &GCSBucket{name: name, account: jwt.Config{
		Email: k.Email, PrivateKey: []byte(k.Private), PrivateKeyID: k.ID, TokenURL: k.TokenURL, Scopes: []string{gcsScope}, Expires: time.Hour,
	}}
	var err error
	if b.endpoint, err = url.Parse(strings.TrimSuffix(endpoint, "/")); err != nil {
		return nil, err
	}
	return b, nil
}

// ReadDockerAuthGCS is ReadDockerAuth for records in Google Cloud Storage (gcs_token_db), where each is an object with the name
// of the account. The bucket is not changed, and docker_auth may go on with it.
func (b *Browser) ReadDockerAuthGCS(ctx context.Context, g *GCSBucket) ([]customhouse.ImportedSignIn, error) {
	records, err := g.read(ctx)
	if err != nil {
		return nil, fmt.Errorf("read docker_auth's bucket %s: %w", g.name, err)
	}
	return b.importRecords(records, slog.String("bucket", g.name)), nil
}

// read returns all objects by their names.
func (g *GCSBucket) read(ctx context.Context) (map[string][]byte, error) {
	hosts := []string{g.endpoint.Hostname()}
	if u, err := url.Parse(g.account.TokenURL); err == nil {
		hosts = append(hosts, u.Hostname())
	}
	named := outbound.NewNamed(gcsTimeout, "auth.app_passwords.import", hosts...)
	transport := &http.Transport{Proxy: named.Proxy, DialContext: named.DialContext, TLSHandshakeTimeout: gcsTimeout, MaxIdleConnsPerHost: gcsAtOnce, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	stays := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // the token is for nobody else
	base := &http.Client{Transport: transport, Timeout: gcsTimeout, CheckRedirect: stays}
	tokens := g.account.TokenSource(context.WithValue(ctx, oauth2.HTTPClient, base))
	client := &http.Client{Transport: &oauth2.Transport{Source: tokens, Base: transport}, Timeout: gcsTimeout, CheckRedirect: stays}

	records := map[string][]byte{}
	var mu sync.Mutex
	objects := "/storage/v1/b/" + url.PathEscape(g.name) + "/o"
	for next := ""; ; {
		var page struct {
			Items []struct {
				Name string `json:"name"`
			} `json:"items"`
			Next string `json:"nextPageToken"`
		}
		list, there, err := g.get(ctx, client, objects+"?"+url.Values{
			"maxResults": {fmt.Sprint(gcsPage)}, "fields": {"items(name),nextPageToken"}, "pageToken": {next},
		}.Encode())
		if err == nil && !there {
			err = errors.New("there is no such bucket, or it is not for this service account")
		}
		if err == nil {
			err = json.Unmarshal(list, &page)
		}
		if err != nil {
			return nil, err
		}
		reading, ctx := errgroup.WithContext(ctx)
		reading.SetLimit(gcsAtOnce)
		for _, item := range page.Items {
			reading.Go(func() error {
				record, there, err := g.get(ctx, client, objects+"/"+url.PathEscape(item.Name)+"?alt=media")
				if !there || err != nil { // it is gone meanwhile
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				records[item.Name] = record
				return nil
			})
		}
		if err := reading.Wait(); err != nil {
			return nil, err
		}
		if next = page.Next; next == "" {
			return records, nil
		}
	}
}

// get returns what is at a path, and whether there is anything.
func (g *GCSBucket) get(ctx context.Context, client *http.Client, path string) (body []byte, there bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, g.endpoint.String()+path, nil)
	if err != nil {
		return nil, false, err
	}
	resp, err := client.Do(r)
	if refused := (*oauth2.RetrieveError)(nil); errors.As(err, &refused) { // whose text has the whole answer
		return nil, false, fmt.Errorf("the service account gets no token: status %d", refused.Response.StatusCode)
	}
	if err != nil {
		return nil, false, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, false, nil
	default:
		return nil, false, fmt.Errorf("GET %s: status %d", r.URL.Path, resp.StatusCode)
	}
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxGCSAnswer+1))
	if err == nil && len(body) > maxGCSAnswer {
		err = fmt.Errorf("GET %s: more than %d bytes", r.URL.Path, maxGCSAnswer)
	}
	return body, true, err
}
