package customhouse

import (
	"crypto/x509"
	"log/slog"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Identity is who is asking. The zero Identity is anonymous.
type Identity struct {
	Account string              // "" is anonymous
	Labels  map[string][]string // facts about the account that rules may ask for, such as its groups; read only
	Method  string              // the authenticator that vouched for it, such as "users" or "htpasswd"; "" when anonymous
	Stamp   string              // changes whenever the account's credential does; "" where that cannot be known

	Claims  map[string]any // what the token says that proved the account, as it says it (JSON); nil without one; read only
	Scopes  []Scope        // what the credential is for, if for less than the account may do; nil is all of that; read only
	Expires time.Time      // when the credential ends, and with it all that was had for it; zero is never

	Networks []netip.Prefix // where the credential may be used from; nil is anywhere; read only
}

// Scope is something that a credential is for. Patterns are those of rules.
type Scope struct {
	Repo    string   `json:"repo"`          // pattern of the names of repositories
	Tag     string   `json:"tag,omitempty"` // pattern of tags; "" is all, and what has none
	Actions []Action `json:"actions"`
}

// Anonymous tells whether nobody has been authenticated.
func (id Identity) Anonymous() bool { return id.Account == "" }

// MaxAccountLength is how many bytes the name of an account may have.
const MaxAccountLength = 255

// ParseAccount checks the name of an account as a client typed it: valid UTF-8 of 1 to MaxAccountLength bytes without
// white space, control or format characters and without ':', which ends the name in a Basic credential (RFC 7617). The
// name is returned as it is: two spellings are two accounts. The error is an UNAUTHORIZED.
func ParseAccount(s string) (string, error) {
	bad := s == "" || len(s) > MaxAccountLength || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool {
		return r == ':' || unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r)
	})
	if bad {
		return "", Errorf(Unauthorized, "invalid account name")
	}
	return s, nil
}

// ValidAccount tells whether somebody may be called s: what can be typed at a login, and what another has vouched for, such
// as github:org/app, in which a ':' keeps it apart from that.
func ValidAccount(s string) bool {
	_, err := ParseAccount(strings.ReplaceAll(s, ":", "_"))
	return err == nil && s[0] != ':'
}

// Account is an account that Customhouse keeps itself.
type Account struct {
	Name     string
	Password Secret              // a bcrypt hash ($2a$, $2b$ or $2y$)
	Labels   map[string][]string // facts that rules may ask for
	Created  time.Time
}

// RefreshToken is what is kept of a refresh token (Docker token spec, "refresh_token"): the SHA-256 of its secret and
// what it may be exchanged for.
type RefreshToken struct {
	Hash     [32]byte
	Service  string
	ClientID string
	Identity Identity // as it was when the token was issued
	Expires  time.Time

	Family  string    // what replaces a token is of its family
	Posted  bool      // had by POST: the client takes what replaces it
	Rotated time.Time // when another took its place; zero while none has
}

// Credential is what a client presented, unverified. Scheme None is anonymous and leaves Account and Secret empty.
type Credential struct {
	Scheme  Scheme
	Account string     // with Basic
	Secret  Secret     // the password with Basic, the token with Bearer
	Client  netip.Addr // where the request came from

	// What the client has shown when the connection was made, its own certificate first, and proved to have the key of.
	// Nobody has looked yet whether it is good. None where somebody else has made the connection for the client.
	Certificates []*x509.Certificate
}

// Scheme is how a credential was presented.
type Scheme int

// The schemes of a credential.
const (
	None   Scheme = iota // no credential: anonymous
	Basic                // RFC 7617
	Bearer               // RFC 6750
)

// Secret is text that never reaches a log, a message or a file by accident: it prints as ***. Convert it to a string
// where it is used.
type Secret string

const redacted = "***"

// String returns ***.
func (Secret) String() string { return redacted }

// GoString returns ***.
func (Secret) GoString() string { return redacted }

// LogValue returns ***.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns ***, for JSON and YAML.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
