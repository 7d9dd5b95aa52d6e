package mirror

import (
	"context"
	"sync"

	"oras.land/oras-go/v2/registry/remote/auth"
)

// maxTokens is about how many tokens are remembered: clients choose for how many repositories they are.
const maxTokens = 5_000

// tokens is a bounded auth.Cache: when it is full it begins anew.
type tokens struct {
	mu   sync.Mutex
	now  auth.Cache
	sets int
}

var _ auth.Cache = (*tokens)(nil)

func newTokens() *tokens { return &tokens{now: auth.NewCache()} }

// current returns the cache to use, for n more tokens.
func (t *tokens) current(n int) auth.Cache {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sets += n; t.sets > maxTokens {
		t.now, t.sets = auth.NewCache(), n
	}
	return t.now
}

// GetScheme implements auth.Cache.
func (t *tokens) GetScheme(ctx context.Context, registry string) (auth.Scheme, error) {
	return t.current(0).GetScheme(ctx, registry)
}

// GetToken implements auth.Cache.
func (t *tokens) GetToken(ctx context.Context, registry string, scheme auth.Scheme, key string) (string, error) {
	return t.current(0).GetToken(ctx, registry, scheme, key)
}

// Set implements auth.Cache.
func (t *tokens) Set(ctx context.Context, registry string, scheme auth.Scheme, key string, fetch func(context.Context) (string, error)) (string, error) {
	return t.current(1).Set(ctx, registry, scheme, key, fetch)
}
