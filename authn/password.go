package authn

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/bcrypt"

	"customhouse"
)

// Limits of passwords and of the work to check them.
const (
	MaxPasswordLength = 72 // bytes; bcrypt reads no further
	HashCost          = 10 // of new hashes
	MinCost, MaxCost  = 4, 15
)

// ErrBusy says that too many passwords are waiting to be checked.
var ErrBusy = errors.New("too many passwords are being checked")

// Hash is a bcrypt hash of a password.
type Hash struct {
	text  string
	cost  int
	stamp string
}

// ParseHash reads a bcrypt hash ($2a$, $2b$ or $2y$) whose cost is between MinCost and MaxCost. The error does not
// repeat the text.
func ParseHash(s customhouse.Secret) (Hash, error) {
	const alphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	text := string(s)
	if len(text) != 60 || text[:2] != "$2" || !strings.Contains("aby", text[2:3]) || text[3] != '$' || text[6] != '$' ||
		strings.Trim(text[7:], alphabet) != "" {
		return Hash{}, errors.New("not a bcrypt hash ($2a$, $2b$ or $2y$ and 60 characters long), as `customhouse hash` and `htpasswd -B` make them")
	}
	cost, err := strconv.ParseUint(text[4:6], 10, 8)
	if err != nil || cost < MinCost || cost > MaxCost {
		return Hash{}, fmt.Errorf("bcrypt cost %s is not between %d and %d", text[4:6], MinCost, MaxCost)
	}
	sum := sha256.Sum256([]byte("customhouse stamp " + text))
	return Hash{text: text, cost: int(cost), stamp: hex.EncodeToString(sum[:8])}, nil
}

// Cost returns the bcrypt cost.
func (h Hash) Cost() int { return h.cost }

// HashPassword returns a bcrypt hash of password with HashCost. The error is for a person who chose the password.
func HashPassword(password customhouse.Secret) (customhouse.Secret, error) {
	if err := checkPassword(string(password)); err != nil {
		return "", err
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), HashCost)
	return customhouse.Secret(hash), err
}

// checkPassword refuses what bcrypt cannot tell apart: it reads 72 bytes, and repeats shorter passwords with a NUL
// after each round.
func checkPassword(p string) error {
	switch {
	case p == "":
		return errors.New("the password is empty")
	case len(p) > MaxPasswordLength:
		return fmt.Errorf("the password is longer than %d bytes", MaxPasswordLength)
	case strings.IndexByte(p, 0) >= 0:
		return errors.New("the password contains a NUL")
	}
	return nil
}

// PasswordOptions are the limits of Passwords.
type PasswordOptions struct {
	Concurrent int // hashes at once; 0 is one less than GOMAXPROCS, at least one, so that others find a core
	Waiting    int // callers that wait for their turn; beyond them ErrBusy; 0 is 32
}

// Passwords compares passwords with hashes: few at once, the same one once for all who ask at the same time. Every
// refusal takes as long as one with the highest cost that any hash has had, whether the account is known or not and
// whatever its own cost. All authenticators of a process share one.
type Passwords struct {
	slots   chan struct{} // holds a value for each hash being computed
	waiting int
	secret  [32]byte     // under which flights are keyed
	highest atomic.Int32 // cost

	mu      sync.Mutex
	queue   int
	flights map[[32]byte]*flight
}

// flight is one comparison that several callers wait for.
type flight struct {
	done chan struct{}
	err  error
}

// NewPasswords returns Passwords with these limits.
func NewPasswords(o PasswordOptions) *Passwords {
	if o.Concurrent == 0 {
		o.Concurrent = max(1, runtime.GOMAXPROCS(0)-1)
	}
	if o.Waiting == 0 {
		o.Waiting = 32
	}
	p := &Passwords{slots: make(chan struct{}, o.Concurrent), waiting: o.Waiting, flights: map[[32]byte]*flight{}}
	rand.Read(p.secret[:])
	return p
}

// expect makes refusals take as long as comparisons of that cost.
func (p *Passwords) expect(cost int) {
	for was := p.highest.Load(); int32(cost) > was; was = p.highest.Load() {
		p.highest.CompareAndSwap(was, int32(cost))
	}
}

// check compares the password of cred with h. Passwords that no hash can be of are wrong, whatever their length in the
// same time. The errors are ErrWrongPassword, ErrBusy and the context's.
func (p *Passwords) check(ctx context.Context, cred customhouse.Credential, h Hash) error {
	password := string(cred.Secret)
	if checkPassword(password) != nil {
		return p.refuse(ctx, cred)
	}
	return p.compare(ctx, cred.Account, password, h)
}

// refuse takes as long as a comparison that fails, and returns ErrWrongPassword.
func (p *Passwords) refuse(ctx context.Context, cred customhouse.Credential) error {
	cost := int(p.highest.Load())
	if cost == 0 { // there is no hash to be told from
		return ErrWrongPassword
	}
	password := string(cred.Secret)
	password = password[:min(len(password), MaxPasswordLength)]
	if err := p.compare(ctx, cred.Account, password, nobody(cost)); err != nil {
		return err
	}
	return ErrWrongPassword
}

// nobody returns a hash of that cost whose password cannot be known.
func nobody(cost int) Hash {
	return Hash{text: fmt.Sprintf("$2a$%02d$%s", cost, strings.Repeat(".", 53)), cost: cost}
}

// compare joins the comparison that is under way, or begins one.
func (p *Passwords) compare(ctx context.Context, account, password string, h Hash) error {
	key := p.key(account, h.text, password)
	for {
		p.mu.Lock()
		f, under := p.flights[key]
		if !under {
			f = &flight{done: make(chan struct{})}
			p.flights[key] = f
		}
		p.mu.Unlock()
		if !under {
			f.err = p.hash(ctx, password, h)
			p.mu.Lock()
			delete(p.flights, key)
			p.mu.Unlock()
			close(f.done)
			return f.err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if f.err == nil || errors.Is(f.err, ErrWrongPassword) || errors.Is(f.err, ErrBusy) {
			return f.err
		}
		// Whoever began it has left before it was their turn: begin anew.
	}
}

// hash waits for a slot and compares.
func (p *Passwords) hash(ctx context.Context, password string, h Hash) error {
	p.mu.Lock()
	full := p.queue >= p.waiting+cap(p.slots)
	if !full {
		p.queue++
	}
	p.mu.Unlock()
	if full {
		return ErrBusy
	}
	defer func() {
		p.mu.Lock()
		p.queue--
		p.mu.Unlock()
	}()
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	defer leaveRoom()()
	err := bcrypt.CompareHashAndPassword([]byte(h.text), []byte(password))
	if !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		return err
	}
	// Each cost doubles the work, so one comparison of each from h's up to the highest adds up to one of the highest.
	for cost := h.cost; cost < int(p.highest.Load()); cost++ {
		_ = bcrypt.CompareHashAndPassword([]byte(nobody(cost).text), []byte(password))
	}
	return ErrWrongPassword
}

// leaveRoom lets Go run on two threads where it runs on one, until the function that it returns is called. A hash has a
// thread for itself for ten milliseconds at a time, and whoever waits for the network meanwhile, which is everybody else,
// gets through a tenth of their work. The system shares one core evenly. Two threads always would make requests dearer.
func leaveRoom() (done func()) {
	if runtime.GOMAXPROCS(0) > 1 {
		return func() {} // there is a thread that no hash runs on
	}
	runtime.GOMAXPROCS(2)
	return func() { runtime.GOMAXPROCS(1) }
}

// key names a comparison without keeping its password.
func (p *Passwords) key(account, hash, password string) (sum [32]byte) {
	m := hmac.New(sha256.New, p.secret[:])
	for _, s := range []string{account, hash} { // neither has a NUL
		m.Write([]byte(s))
		m.Write([]byte{0})
	}
	m.Write([]byte(password))
	m.Sum(sum[:0])
	return sum
}
