package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"customhouse"

	"oras.land/oras-go/v2/registry/remote/auth"
)

// Bounds of what is read of an answer.
const (
	maxManifest = 4 << 20
	maxList     = 4 << 20
)

// accepted are the types of manifests that are asked for.
var accepted = strings.Join([]string{
	customhouse.MediaTypeImageIndex, customhouse.MediaTypeImageManifest, customhouse.MediaTypeDockerList,
	customhouse.MediaTypeDockerManifest, customhouse.MediaTypeArtifactManifest,
}, ", ")

// Resolve returns the digest of the manifest that ref names, without fetching it where the registry tells.
func (u *Upstream) Resolve(ctx context.Context, repo customhouse.Repo, ref customhouse.Ref) (customhouse.Digest, error) {
	resp, err := u.get(ctx, http.MethodHead, manifests, repo, "/manifests/"+ref.String())
	if err != nil {
		return customhouse.Digest{}, err
	}
	resp.Body.Close()
	if d, err := customhouse.ParseDigest(resp.Header.Get("Docker-Content-Digest")); err == nil {
		return d, nil
	}
	b, err := u.Manifest(ctx, repo, ref)
	return customhouse.DigestOf(customhouse.SHA256, b), err
}

// Manifest returns the bytes of the manifest that ref names.
func (u *Upstream) Manifest(ctx context.Context, repo customhouse.Repo, ref customhouse.Ref) ([]byte, error) {
	resp, err := u.get(ctx, http.MethodGet, manifests, repo, "/manifests/"+ref.String())
	if err != nil {
		return nil, err
	}
	return u.readAll(resp, maxManifest)
}

// Blob returns a reader of the blob d, which the caller closes, and its size, -1 if the registry does not say. A read
// that makes no progress fails.
func (u *Upstream) Blob(ctx context.Context, repo customhouse.Repo, d customhouse.Digest) (io.ReadCloser, int64, error) {
	resp, err := u.get(ctx, http.MethodGet, blobs, repo, "/blobs/"+d.String())
	if err != nil {
		return nil, 0, err
	}
	return resp.Body, resp.ContentLength, nil
}

// BlobSize returns the size of the blob d.
func (u *Upstream) BlobSize(ctx context.Context, repo customhouse.Repo, d customhouse.Digest) (int64, error) {
	resp, err := u.get(ctx, http.MethodHead, blobs, repo, "/blobs/"+d.String())
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	if resp.ContentLength < 0 {
		return 0, unavailable(u.Host(), errors.New("it does not tell the size of a blob"))
	}
	return resp.ContentLength, nil
}

// Tags returns, in byte order as far as the registry keeps to it, up to n tags after the given one, and tells whether
// there are more.
func (u *Upstream) Tags(ctx context.Context, repo customhouse.Repo, after string, n int) (tags []string, more bool, err error) {
	q := url.Values{"n": {strconv.Itoa(n)}}
	if after != "" {
		q.Set("last", after)
	}
	resp, err := u.get(ctx, http.MethodGet, manifests, repo, "/tags/list?"+q.Encode())
	if err != nil {
		return nil, false, err
	}
	more = resp.Header.Get("Link") != ""
	b, err := u.readAll(resp, maxList)
	if err != nil {
		return nil, false, err
	}
	var list struct {
		Tags []string `json:"tags"`
	}
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, false, unavailable(u.Host(), fmt.Errorf("its list of tags: %w", err))
	}
	tags = []string{}
	for _, t := range list.Tags {
		if _, err := customhouse.ParseTag(t); err == nil && t > after {
			tags = append(tags, t)
		}
	}
	if len(tags) > n { // it does not know pages
		return tags[:n], true, nil
	}
	return tags, more && len(tags) > 0, nil
}

// get asks for something of a repository. The answer is 200, its body must be closed, and reading it fails when it stalls.
func (u *Upstream) get(ctx context.Context, method string, k kind, repo customhouse.Repo, what string) (*http.Response, error) {
	if err := u.pauses[k].err(u.Host(), u.options.Now()); err != nil {
		return nil, err
	}
	name := u.path(repo)
	ctx, w := watch(auth.WithScopes(ctx, auth.ScopeRepository(name, auth.ActionPull)), u.options.Stall)
	req, err := http.NewRequestWithContext(ctx, method, u.origin.String()+"/v2/"+name+what, nil)
	if err != nil {
		w.end()
		return nil, err
	}
	if k == manifests {
		req.Header.Set("Accept", accepted)
	}
	resp, err := u.client.Do(req)
	if err != nil {
		err = w.explain(ctx, err)
		w.end()
		if !errors.Is(err, context.Canceled) {
			u.pauses[k].failed(u.options.Now())
		}
		return nil, unavailable(u.Host(), err)
	}
	u.pauses[k].answered(resp.Header, resp.StatusCode, u.options.Now())
	if resp.StatusCode == http.StatusOK {
		w.body, resp.Body = resp.Body, w
		return resp, nil
	}
	resp.Body.Close()
	w.end()
	status := fmt.Errorf("%s answers %d to %s /v2/%s%s", u.Host(), resp.StatusCode, method, name, what)
	switch resp.StatusCode {
	case http.StatusNotFound, http.StatusUnauthorized, http.StatusForbidden:
		return nil, fmt.Errorf("%w: %w", customhouse.ErrNotFound, status)
	case http.StatusTooManyRequests:
		if err := u.pauses[k].err(u.Host(), u.options.Now()); err != nil {
			return nil, err
		}
	}
	return nil, unavailable(u.Host(), status)
}

// readAll reads an answer that is bounded.
func (u *Upstream) readAll(resp *http.Response, most int64) ([]byte, error) {
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s sends more than %d bytes", resp.Request.URL.Path, most)
	}
	if err != nil {
		return nil, unavailable(u.Host(), err)
	}
	return b, nil
}

// watched ends a request that makes no progress.
type watched struct {
	body   io.ReadCloser
	timer  *time.Timer
	stall  time.Duration
	cancel context.CancelCauseFunc
	since  int64 // bytes since the timer was set
}

var errStalled = errors.New("the answer stalls")

// minRate is how many bytes a second are progress.
const minRate = 1 << 10

// watch returns a context that ends when nobody tells the watch of progress.
func watch(ctx context.Context, stall time.Duration) (context.Context, *watched) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &watched{timer: time.AfterFunc(stall, func() { cancel(errStalled) }), stall: stall, cancel: cancel}
}

// explain returns what has ended the request, where that is known better than by err.
func (w *watched) explain(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errStalled) {
		return errStalled
	}
	return err
}

func (w *watched) end() {
	w.timer.Stop()
	w.cancel(context.Canceled)
}

// Read implements io.Reader.
func (w *watched) Read(p []byte) (int, error) {
	n, err := w.body.Read(p)
	if w.since += int64(n); w.since >= int64(w.stall/time.Millisecond)*minRate/1000 {
		w.since = 0
		w.timer.Reset(w.stall)
	}
	return n, err
}

// Close implements io.Closer.
func (w *watched) Close() error {
	w.end()
	return w.body.Close()
}
