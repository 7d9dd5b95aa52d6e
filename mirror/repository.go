package mirror

import (
	"context"
	"io"
	"net/http"

	"golang.org/x/time/rate"
	"oras.land/oras-go/v2/registry/remote"
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
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, u.origin.String()+"/v2/"+repo+what, nil)
	if err != nil {
		return 0, err
	}
	resp, err := patient{upstream: u}.Do(req)
	if err != nil {
		return 0, unavailable(u.Host(), err)
	}
	return resp.StatusCode, resp.Body.Close()
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
