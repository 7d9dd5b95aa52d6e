package authn

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"

	"customhouse"
)

// SignInStore keeps who has signed in with a browser, and their app passwords. The errors, besides those named, are
// outages.
type SignInStore interface {
	// SignIn returns the error customhouse.ErrNotFound when nobody has.
	SignIn(ctx context.Context, provider, account string) (customhouse.SignIn, error)
	// PutSignIn keeps a sign-in, new or of a subject that it knows, and returns it with its id. The error is
	// customhouse.ErrTaken when the account is another subject's or, if alone, another provider's.
	PutSignIn(ctx context.Context, s customhouse.SignIn, alone bool) (customhouse.SignIn, error)
	// UpdateSignIn replaces the record of that id.
	UpdateSignIn(context.Context, customhouse.SignIn) error
	// AppPasswords returns those that are not revoked.
	AppPasswords(ctx context.Context, signIn int64) ([]customhouse.AppPassword, error)
	// PutAppPassword keeps a new one. The error is a *customhouse.Error when there are most already.
	PutAppPassword(ctx context.Context, p customhouse.AppPassword, most int) error
	// RevokeAppPassword returns the error customhouse.ErrNotFound when the sign-in has no such password.
	RevokeAppPassword(ctx context.Context, signIn int64, id string) error
	// UseAppPassword notes when a password was used.
	UseAppPassword(ctx context.Context, id string, at time.Time) error
}

// BrowserOptions are the settings of a Browser.
type BrowserOptions struct {
	RevalidateAfter time.Duration // how long the provider's word counts before it is asked again; 0 is one hour, negative always
	SignInAgain     time.Duration // how long it counts where the provider cannot be asked again without the person; 0 is 24 hours, negative for ever
	MaxPasswords    int           // of a person; 0 is 50
	Memory          time.Duration // how long an account is remembered; 0 is one second, negative asks the store every time

	// Owner tells which other source of accounts knows a name, "" for none. Who signs in under the name of somebody
	// else is refused. Nil asks nobody: then one name is one account, whoever vouches for it.
	Owner func(ctx context.Context, account string) (method string, err error)

	Log *slog.Logger     // told who is refused and who may sign in no more; nil is silent
	Now func() time.Time // nil is time.Now
}

// Browser vouches for those who have signed in with a browser at a provider, by their app passwords: passwords that we
// make for the programs that they use. It asks the provider again from time to time, so that labels are the present ones
// and who has left is out: then all their passwords stop. While the provider cannot be asked when it should be, nobody
// is let in by its word.
type Browser struct {
	provider  Provider
	store     SignInStore
	seal      *Seal
	passwords *Passwords
	o         BrowserOptions
	log       *slog.Logger
	now       func() time.Time

	known *otter.Cache[string, *known]

	mu      sync.Mutex
	renewal map[int64]*renewal
}

// known is what is remembered of an account.
type known struct {
	signIn    customhouse.SignIn
	passwords []customhouse.AppPassword
	until     time.Time
}

// renewal is a question to the provider that several callers wait for, or its failure that they get for a while.
type renewal struct {
	done  chan struct{}
	have  *known
	err   error
	until time.Time // when the provider may be asked again after an outage
}

var (
	_ Authenticator = (*Browser)(nil)
	_ Directory     = (*Browser)(nil)
	_ Recaller      = (*Browser)(nil)
)

const (
	usedEvery    = time.Hour        // how fine the time of last use is
	renewTimeout = 30 * time.Second // for all the requests that asking a provider takes
	renewRetry   = 5 * time.Second
)

// NewBrowser returns an authenticator that has the name of its provider.
func NewBrowser(provider Provider, store SignInStore, seal *Seal, passwords *Passwords, o BrowserOptions) *Browser {
	b := &Browser{provider: provider, store: store, seal: seal, passwords: passwords, o: o, log: o.Log, now: o.Now, renewal: map[int64]*renewal{}}
	if b.o.RevalidateAfter == 0 {
		b.o.RevalidateAfter = time.Hour
	}
	if b.o.SignInAgain == 0 {
		b.o.SignInAgain = 24 * time.Hour
	}
	if b.o.MaxPasswords == 0 {
		b.o.MaxPasswords = 50
	}
	if b.o.Memory == 0 {
		b.o.Memory = time.Second
	}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if b.now == nil {
		b.now = time.Now
	}
	b.known = otter.Must(&otter.Options[string, *known]{MaximumSize: maxRemembered})
	return b
}

// Name returns the name of the provider.
func (b *Browser) Name() string { return b.provider.Name() }

// Title returns the provider's name for people.
func (b *Browser) Title() string { return b.provider.Title() }

// Issuer returns the issuer of the provider's people.
func (b *Browser) Issuer() string { return b.provider.Issuer() }

// Begin returns the URL that a browser is sent to.
func (b *Browser) Begin(ctx context.Context, a Attempt) (string, error) {
	return b.provider.Begin(ctx, a)
}

// Finish keeps who has signed in, given the code with which the browser came back. The error is a *NotVouched when the
// provider does not vouch or the account is somebody else's.
func (b *Browser) Finish(ctx context.Context, a Attempt, code string) (customhouse.SignIn, error) {
	who, err := b.provider.Finish(ctx, a, code)
	if err != nil {
		return customhouse.SignIn{}, err
	}
	if b.o.Owner != nil {
		method, err := b.o.Owner(ctx, who.Account)
		if err != nil {
			return customhouse.SignIn{}, err
		}
		if method != "" {
			return customhouse.SignIn{}, b.taken(who, "owner", method)
		}
	}
	s := customhouse.SignIn{Provider: b.Name(), Issuer: who.Issuer, Created: b.now()}
	if err := b.take(&s, who); err != nil {
		return customhouse.SignIn{}, err
	}
	s, err = b.store.PutSignIn(ctx, s, b.o.Owner != nil)
	if errors.Is(err, customhouse.ErrTaken) {
		return customhouse.SignIn{}, b.taken(who, "owner", "another sign-in")
	}
	b.forget(s.Account)
	return s, err
}

func (b *Browser) taken(who Person, attrs ...any) error {
	b.log.Warn("sign-in refused: the account belongs to somebody else (A16)",
		append([]any{"provider", b.Name(), "issuer", who.Issuer, "subject", who.Subject, "account", who.Account}, attrs...)...)
	return notVouched("the account %s belongs to somebody else here", who.Account)
}

// take writes into s what the provider has said.
func (b *Browser) take(s *customhouse.SignIn, who Person) error {
	s.Subject, s.Account, s.Labels, s.Ended = who.Subject, who.Account, who.Labels, ""
	s.Checked = b.now()
	s.Due = b.due(who.Tokens, s.Checked)
	return b.takeTokens(s, who.Tokens)
}

func (b *Browser) takeTokens(s *customhouse.SignIn, t Tokens) error {
	plain, err := json.Marshal(t)
	if err != nil {
		return err
	}
	s.Tokens = b.seal.Seal(plain, b.about(s))
	return nil
}

// about names what tokens belong to.
func (b *Browser) about(s *customhouse.SignIn) string {
	return "tokens of " + s.Provider + " at " + s.Issuer
}

// due tells when the provider is to be asked again.
func (b *Browser) due(t Tokens, now time.Time) time.Time {
	after := b.o.RevalidateAfter
	if t.Refresh == "" && !t.Expires.IsZero() { // it cannot be asked beyond that
		if b.o.SignInAgain < 0 {
			return time.Time{}
		}
		after = b.o.SignInAgain
	}
	return now.Add(max(after, 0))
}

// Authenticate implements Authenticator.
func (b *Browser) Authenticate(ctx context.Context, cred customhouse.Credential) (customhouse.Identity, error) {
	k, err := b.load(ctx, cred.Account)
	if err != nil {
		return customhouse.Identity{}, err
	}
	p, err := b.match(ctx, k, cred)
	if err != nil {
		return customhouse.Identity{}, err
	}
	if k, err = b.renewed(ctx, k); errors.As(err, new(*NotVouched)) {
		return customhouse.Identity{}, ErrWrongPassword
	}
	if err != nil {
		return customhouse.Identity{}, err
	}
	b.used(ctx, p)
	return b.identity(k, p.Hash), nil
}

// match returns the password that cred holds.
func (b *Browser) match(ctx context.Context, k *known, cred customhouse.Credential) (*customhouse.AppPassword, error) {
	if k.signIn.Ended != "" {
		return nil, b.passwords.refuse(ctx, cred)
	}
	now, computed := b.now(), customhouse.Secret("")
	if isSecret(AppPasswordPrefix, cred.Secret) {
		computed = hashAppPassword(cred.Secret)
	}
	for i := range k.passwords {
		p := &k.passwords[i]
		if computed != "" && p.Good(now) && isHashOf(p.Hash, computed) {
			return p, nil
		}
	}
	for i := range k.passwords { // those that another program has made
		p := &k.passwords[i]
		if !p.Good(now) || !strings.HasPrefix(string(p.Hash), "$2") {
			continue
		}
		hash, err := ParseHash(p.Hash)
		if err != nil {
			return nil, fmt.Errorf("app password %s: %w", p.ID, err)
		}
		b.passwords.expect(hash.cost)
		if err := b.passwords.check(ctx, cred, hash); !errors.Is(err, ErrWrongPassword) {
			return p, err
		}
	}
	return nil, b.passwords.refuse(ctx, cred)
}

// used notes that a password was used.
func (b *Browser) used(ctx context.Context, p *customhouse.AppPassword) {
	now := b.now()
	if now.Sub(p.Used) < usedEvery {
		return
	}
	if err := b.store.UseAppPassword(ctx, p.ID, now); err != nil {
		b.log.Warn("the time of last use is not kept", "password", p.ID, "error", err)
	}
}

func (b *Browser) identity(k *known, hash customhouse.Secret) customhouse.Identity {
	return customhouse.Identity{Account: k.signIn.Account, Labels: k.signIn.Labels, Method: b.Name(), Stamp: stampOf(hash)}
}

// Lookup implements Directory: an account is known as long as the provider vouches, whatever passwords it has. The stamp is
// that of the newest one that is good, "" without any.
func (b *Browser) Lookup(ctx context.Context, account string) (customhouse.Identity, error) {
	s, passwords, err := b.SignIn(ctx, account)
	if err != nil {
		return customhouse.Identity{}, err
	}
	id := customhouse.Identity{Account: s.Account, Labels: s.Labels, Method: b.Name()}
	if i := slices.IndexFunc(passwords, func(p customhouse.AppPassword) bool { return p.Good(b.now()) }); i >= 0 {
		id.Stamp = stampOf(passwords[i].Hash)
	}
	return id, nil
}

// Recall implements Recaller: the identity is good as long as the password with which it was had.
func (b *Browser) Recall(ctx context.Context, was customhouse.Identity) (customhouse.Identity, error) {
	s, passwords, err := b.SignIn(ctx, was.Account)
	if err != nil {
		return customhouse.Identity{}, err
	}
	for _, p := range passwords {
		if p.Good(b.now()) && stampOf(p.Hash) == was.Stamp {
			return customhouse.Identity{Account: s.Account, Labels: s.Labels, Method: b.Name(), Stamp: was.Stamp}, nil
		}
	}
	return customhouse.Identity{}, ErrUnknownUser
}

// SignIn returns the present record of somebody who has signed in, with their passwords. The errors are ErrUnknownUser,
// also when the provider does not vouch for them any more, and those of an outage.
func (b *Browser) SignIn(ctx context.Context, account string) (customhouse.SignIn, []customhouse.AppPassword, error) {
	k, err := b.load(ctx, account)
	if err == nil {
		k, err = b.renewed(ctx, k)
	}
	if errors.As(err, new(*NotVouched)) {
		err = ErrUnknownUser
	}
	if err != nil {
		return customhouse.SignIn{}, nil, err
	}
	return k.signIn, k.passwords, nil
}

// NewPassword makes a password of somebody who has signed in, which nobody will see again. Expires zero is never. The
// error is a *customhouse.Error when they have too many.
func (b *Browser) NewPassword(ctx context.Context, s customhouse.SignIn, name string, expires time.Time) (customhouse.Secret, customhouse.AppPassword, error) {
	secret := newSecret(AppPasswordPrefix)
	p := customhouse.AppPassword{
		ID: rand.Text()[:16], SignIn: s.ID, Name: name, Hash: hashAppPassword(secret), Created: b.now(), Expires: expires,
	}
	if err := b.store.PutAppPassword(ctx, p, b.o.MaxPasswords); err != nil {
		return "", p, err
	}
	b.forget(s.Account)
	b.log.Info("app password made", "provider", s.Provider, "account", s.Account, "password", p.ID)
	return secret, p, nil
}

// Revoke makes a password good for nothing. customhouse.ErrNotFound.
func (b *Browser) Revoke(ctx context.Context, s customhouse.SignIn, id string) error {
	if err := b.store.RevokeAppPassword(ctx, s.ID, id); err != nil {
		return err
	}
	b.forget(s.Account)
	b.log.Info("app password revoked", "provider", s.Provider, "account", s.Account, "password", id)
	return nil
}

func (b *Browser) forget(account string) { b.known.Invalidate(account) }

// load returns what is known of an account. The errors are ErrUnknownUser and those of an outage.
func (b *Browser) load(ctx context.Context, account string) (*known, error) {
	if _, err := customhouse.ParseAccount(account); err != nil {
		return nil, ErrUnknownUser
	}
	now := b.now()
	if k, ok := b.known.GetIfPresent(account); ok && now.Before(k.until) {
		if k.signIn.ID == 0 {
			return nil, ErrUnknownUser
		}
		return k, nil
	}
	k := &known{until: now.Add(b.o.Memory)}
	var err error
	if k.signIn, err = b.store.SignIn(ctx, b.Name(), account); err == nil {
		k.passwords, err = b.store.AppPasswords(ctx, k.signIn.ID)
	}
	missing := errors.Is(err, customhouse.ErrNotFound) || err == nil && k.signIn.Issuer != b.Issuer() // of another provider in former days
	if missing {
		k.signIn, err = customhouse.SignIn{}, ErrUnknownUser
	}
	if err != nil && !missing {
		return nil, err
	}
	b.remember(account, k)
	return k, err
}

func (b *Browser) remember(account string, k *known) {
	if b.o.Memory > 0 {
		b.known.Set(account, k)
	}
}

// renewed returns k after the provider was asked again, if that is due. The errors are a *NotVouched, the context's and
// those of an outage.
func (b *Browser) renewed(ctx context.Context, k *known) (*known, error) {
	if k.signIn.Ended != "" {
		return nil, &NotVouched{k.signIn.Ended}
	}
	now := b.now()
	if k.signIn.Due.IsZero() || now.Before(k.signIn.Due) {
		return k, nil
	}
	b.mu.Lock()
	r, ok := b.renewal[k.signIn.ID]
	if ok && !r.until.IsZero() && !now.Before(r.until) {
		ok = false
	}
	if ok {
		b.mu.Unlock()
		select {
		case <-r.done:
			return r.have, r.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	r = &renewal{done: make(chan struct{})}
	b.renewal[k.signIn.ID] = r
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), renewTimeout) // others wait for it too
	defer cancel()
	r.have, r.err = b.renew(ctx, k)
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.err != nil && !errors.As(r.err, new(*NotVouched)) {
		r.until = b.now().Add(renewRetry)
	} else {
		delete(b.renewal, k.signIn.ID)
	}
	close(r.done)
	return r.have, r.err
}

// renew asks the provider and keeps what it says.
func (b *Browser) renew(ctx context.Context, k *known) (*known, error) {
	s, err := b.store.SignIn(ctx, b.Name(), k.signIn.Account) // the present tokens, and not what is remembered
	if err != nil {
		return nil, err
	}
	if b.now().Before(s.Due) { // somebody was faster
		b.forget(s.Account)
		return &known{signIn: s, passwords: k.passwords}, nil
	}
	who, err := b.refresh(ctx, &s)
	var no *NotVouched
	switch {
	case err == nil:
		if err := b.take(&s, who); err != nil {
			return nil, err
		}
	case errors.As(err, &no):
		s.Ended, s.Checked = no.Reason, b.now()
		b.log.Warn("sign-in ended; its app passwords are no longer good", "provider", b.Name(), "account", s.Account, "reason", no.Reason)
	default:
		b.log.Error("the provider cannot be asked about somebody who has signed in", "provider", b.Name(), "account", s.Account, "error", err)
		return nil, err
	}
	if err := b.store.UpdateSignIn(ctx, s); err != nil {
		return nil, err
	}
	next := &known{signIn: s, passwords: k.passwords, until: b.now().Add(b.o.Memory)}
	b.forget(s.Account)
	if no != nil {
		return nil, no
	}
	return next, nil
}

// refresh asks the provider about s.
func (b *Browser) refresh(ctx context.Context, s *customhouse.SignIn) (Person, error) {
	plain, err := b.seal.Open(s.Tokens, b.about(s))
	if err != nil {
		return Person{}, fmt.Errorf("the tokens of %s %w", b.Name(), err)
	}
	var tokens Tokens
	if err := json.Unmarshal(plain, &tokens); err != nil {
		return Person{}, errors.New("the tokens are damaged")
	}
	who, err := b.provider.Refresh(ctx, tokens)
	switch {
	case err != nil && who.Tokens != (Tokens{}) && who.Tokens != tokens: // those that we have are spent
		kept := b.takeTokens(s, who.Tokens)
		if kept == nil {
			kept = b.store.UpdateSignIn(context.WithoutCancel(ctx), *s)
		}
		return Person{}, errors.Join(err, kept)
	case err != nil:
		return Person{}, err
	case who.Issuer != s.Issuer || s.Subject != "" && who.Subject != s.Subject:
		return Person{}, notVouched("the provider speaks of somebody else")
	case who.Account != s.Account:
		return Person{}, notVouched("the provider knows them by another name now")
	}
	return who, nil
}
