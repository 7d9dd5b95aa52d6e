package mirror

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"

	"oras.land/oras-go/v2/registry/remote/auth"
)

// Helper is a program that knows the credential, as `docker-credential-*` do: it is started with the argument get, reads
// the URL of the registry and answers with {"Username": ..., "Secret": ...}.
// https://github.com/docker/docker-credential-helpers
type Helper struct {
	Command  string         // a path, or a name to be found in PATH; "" for none
	Lifetime *time.Duration // how long an answer counts; nil is for ever, 0 asks for each token
}

// credential returns what oras-go asks. For hosts other than the registry's there is none.
func (u *Upstream) credential() auth.CredentialFunc {
	ask := func(context.Context) (auth.Credential, error) {
		return auth.Credential{Username: u.options.Username, Password: string(u.options.Password)}, nil
	}
	if u.options.Helper.Command != "" {
		asked := &helped{helper: u.options.Helper, url: u.origin.String(), now: u.options.Now}
		ask = asked.credential
	}
	if u.options.Ask != nil {
		ask = func(ctx context.Context) (auth.Credential, error) { return u.options.Ask(ctx, u.origin.Host) }
	}
	return func(ctx context.Context, host string) (auth.Credential, error) {
		if !strings.EqualFold(host, u.origin.Host) {
			return auth.EmptyCredential, nil
		}
		return ask(ctx)
	}
}

// helped remembers what a helper has answered.
type helped struct {
	helper Helper
	url    string
	now    func() time.Time

	mu    sync.Mutex
	known auth.Credential
	until time.Time // zero: not known
}

// helperTime is how long a helper may take.
const helperTime = 30 * time.Second

func (h *helped) credential(ctx context.Context) (auth.Credential, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.until.IsZero() && (h.helper.Lifetime == nil || h.now().Before(h.until)) {
		return h.known, nil
	}
	c, err := h.ask(ctx)
	if err != nil {
		return auth.EmptyCredential, fmt.Errorf("credential helper %s: %w", h.helper.Command, err)
	}
	h.known, h.until = c, h.now()
	if h.helper.Lifetime != nil {
		h.until = h.until.Add(*h.helper.Lifetime)
	}
	return c, nil
}

// ask starts the helper. What it prints may be a secret, and is in no message.
func (h *helped) ask(ctx context.Context) (auth.Credential, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), helperTime) // the answer is for all who ask
	defer cancel()
	cmd := exec.CommandContext(ctx, h.helper.Command, "get")
	cmd.WaitDelay = time.Second
	var out bounded
	cmd.Stdin, cmd.Stdout = strings.NewReader(h.url), &out
	if err := cmd.Run(); err != nil {
		return auth.EmptyCredential, err
	}
	var answer struct{ Username, Secret string }
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil || answer.Secret == "" {
		return auth.EmptyCredential, errors.New("its answer is no JSON with Username and Secret")
	}
	if answer.Username == "<token>" {
		return auth.Credential{RefreshToken: answer.Secret}, nil
	}
	return auth.Credential{Username: answer.Username, Password: answer.Secret}, nil
}

// bounded is a buffer that takes an answer and no flood.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	const most = 64 << 10
	if b.Len()+len(p) > most {
		return 0, errors.New("it answers too much")
	}
	return b.Buffer.Write(p)
}
