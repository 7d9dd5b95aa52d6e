package customhouse

import (
	"errors"
	"time"
)

// SignIn is what is kept of somebody who has signed in with a browser at a provider such as GitHub. To the provider they
// are Issuer and Subject; Account is the name that goes with them here.
type SignIn struct {
	ID       int64  // of the record; 0 before it is kept
	Provider string // the authenticator that vouched, such as "github"
	Issuer   string
	Subject  string // "" until the provider has been asked about somebody whom another program signed in
	Account  string
	Labels   map[string][]string // facts that rules may ask for
	Tokens   []byte              // the provider's, encrypted
	Checked  time.Time           // when the provider vouched last
	Due      time.Time           // when it is to be asked again; zero is never
	Ended    string              // why the provider vouches no more; "" while it does
	Created  time.Time
}

// AppPassword is a password of somebody who has signed in with a browser, for the programs that they use. It is made by
// us and only its hash is kept.
type AppPassword struct {
	ID      string // for pages and logs; no secret
	SignIn  int64
	Name    string // what its owner calls it
	Hash    Secret // "sha256:" and 64 hexadecimal digits, or bcrypt where another program made it
	Created time.Time
	Expires time.Time // zero is never
	Used    time.Time // about when it was used last; zero is never
	Revoked time.Time // zero while it is good
}

// Good tells whether the password may be used at now.
func (p *AppPassword) Good(now time.Time) bool {
	return p.Revoked.IsZero() && (p.Expires.IsZero() || now.Before(p.Expires))
}

// ErrTaken says that an account belongs to somebody else: to another subject of the provider, or to another provider.
var ErrTaken = errors.New("the account belongs to somebody else")

// ImportedSignIn is somebody whom another program signed in, with the password that it gave them.
type ImportedSignIn struct {
	SignIn
	Password AppPassword
}
