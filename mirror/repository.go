package mirror

import (
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"

	"customhouse"

	"golang.org/x/time/rate"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// Registry returns the registry as oras-go sees it. Limit, unless nil, is how many bytes a second content takes.
func (u *Upstream) Registry(limit *rate.Limiter) (*remote.Registry, error) {
	r, err := remote.NewRegistry(u.origin.Host)
	if err != nil {
		return nil, err
	}
	r.Client, r.PlainHTTP, r.MaxMetadataBytes = patient{u, limit}, u.origin.Scheme == "http", maxManifest
	return r, nil
}

// Delete removes a tag, or what else is at a path below a repository.
func (u *Upstream) Delete(ctx context.Context, repo, what string) (status int, err error) {
	resp, err := u.do(ctx, http.MethodDelete, repo, what, auth.ActionDelete)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// ListsReferrers tells whether the registry lists what refers to the manifests of a repository that is there. One that does
// not has tags for that.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#unavailable-referrers-api
func (u *Upstream) ListsReferrers(ctx context.Context, repo string) (bool, error) {
	const none = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	resp, err := u.do(ctx, http.MethodGet, repo, "/referrers/"+none, auth.ActionPull)
	if err != nil {
		return false, err
	}
	if err := resp.Body.Close(); err != nil {
		return false, err
	}
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= http.StatusInternalServerError {
		return false, unavailable(u.Host(), fmt.Errorf("it answers %d to a list of referrers", resp.StatusCode))
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return resp.StatusCode == http.StatusOK && kind == customhouse.MediaTypeImageIndex, nil
}

func (u *Upstream) do(ctx context.Context, method, repo, what, action string) (*http.Response, error) {
	ctx = auth.WithScopes(ctx, auth.ScopeRepository(repo, action))
	req, err := http.NewRequestWithContext(ctx, method, u.origin.String()+"/v2/"+repo+what, nil)
	if err != nil {
		return nil, err
	}
	resp, err := patient{upstream: u}.Do(req)
	if err != nil {
		return nil, unavailable(u.Host(), err)
	}
	return resp, nil
}

// patient is a client that waits for answers as long as there is progress, at a bounded rate.
type patient struct {
	upstream *Upstream
	limit    *rate.Limiter // nil for none
}

var _ remote.Client = patient{}

// Do implements remote.Client.
func (p patient) Do(req *http.Request) (*http.Response, error) {
	ctx, w := watch(req.Context(), p.upstream.options.Stall)
	out := req.WithContext(ctx)
	if req.Body != nil && req.Body != http.NoBody {
		out.Body = &pacing{ReadCloser: req.Body, ctx: ctx, limit: p.limit, watch: w}
	}
	resp, err := p.upstream.client.Do(out)
	if err != nil {
		err = w.explain(ctx, err)
		w.end()
		return nil, err
	}
	w.body = resp.Body
	resp.Body = &pacing{ReadCloser: w, ctx: ctx, limit: p.limit, watch: w}
	return resp, nil
}

// pacing is a body that passes at a bounded rate, and whose waiting for that is no stalling.
type pacing struct {
	io.ReadCloser
	ctx   context.Context
	limit *rate.Limiter
	watch *watched
}

// Read implements io.Reader.
func (b *pacing) Read(p []byte) (int, error) {
	if b.limit != nil {
		p = p[:min(len(p), b.limit.Burst())]
	}
	n, err := b.ReadCloser.Read(p)
	if b.limit != nil && n > 0 {
		if waited := b.limit.WaitN(b.ctx, n); waited != nil && err == nil {
			err = waited
		}
	}
	if n > 0 {
		b.watch.timer.Reset(b.watch.stall)
	}
	return n, err
}
