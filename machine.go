package customhouse

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Kinds of a MachineCredential.
const (
	RobotSecret   = "robot"    // one of the secrets of a Robot
	PersonalToken = "personal" // of somebody whom another source vouches for
)

// Owner is an account and the authenticator that vouches for it. The zero Owner is nobody.
type Owner struct {
	Account string
	Method  string
}

// Robot is an account of a machine. Its name says nothing about what it may do.
type Robot struct {
	Name     string
	Labels   map[string][]string // facts that rules may ask for
	Owner    Owner               // without whom it is good for nothing; zero for nobody
	Disabled bool
	Created  time.Time
}

// MachineCredential is a secret that we have made for a machine: of a robot, or of a person for their programs. Only its
// hash is kept.
type MachineCredential struct {
	ID       string // for pages and logs; no secret
	Kind     string
	Owner    Owner               // of a personal token whom it stands for, of a secret the robot
	Labels   map[string][]string // of the account when a personal token was made
	Name     string              // what its owner calls it
	Hash     [32]byte            // SHA-256 of the secret
	Scopes   []Scope             // what it is for; nil is all that the account may do
	Networks []netip.Prefix      // where it may be used from; nil is anywhere
	Created  time.Time
	Expires  time.Time // zero is never
	Used     time.Time // about when it was used last; zero is never
	Revoked  time.Time // zero while it is good
}

// Good tells whether the credential may be used at now.
func (c *MachineCredential) Good(now time.Time) bool {
	return c.Revoked.IsZero() && (c.Expires.IsZero() || now.Before(c.Expires))
}

// Limits of what a credential may say.
const (
	MaxScopePatterns = 50  // of one credential
	MaxScopePattern  = 255 // bytes
	MaxNetworks      = 50
)

// scopeActions are those that a Scope may have.
var scopeActions = []Action{All, Pull, List, Push, Create, Update, Mount, PutTag, Refer, Delete}

// ReadScope reads a Scope from REPOSITORY:ACTIONS or REPOSITORY:TAG:ACTIONS, such as team/**:pull and
// team/app:v*:pull,push. The actions are behind the last colon and the tag behind the one before, so that a pattern with
// colons takes an empty tag: /team-(?:a|b)/::pull. Patterns are not compiled here. The error is for a person.
func ReadScope(text string) (Scope, error) {
	rest, actions, ok := cutLast(text, ":")
	if !ok {
		return Scope{}, fmt.Errorf("invalid scope %q: want REPOSITORY:ACTIONS or REPOSITORY:TAG:ACTIONS", clip(text))
	}
	var s Scope
	if s.Repo, s.Tag, ok = cutLast(rest, ":"); !ok {
		s.Repo, s.Tag = rest, ""
	}
	for a := range strings.SplitSeq(actions, ",") {
		s.Actions = append(s.Actions, Action(strings.TrimSpace(a)))
	}
	return s, s.Check()
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return "", s, false
}

// clip bounds what a message repeats.
func clip(s string) string {
	if len(s) > MaxScopePattern {
		return strings.ToValidUTF8(s[:MaxScopePattern], "") + "..."
	}
	return s
}

// String writes s so that ReadScope reads it.
func (s Scope) String() string {
	actions := make([]string, len(s.Actions))
	for i, a := range s.Actions {
		actions[i] = string(a)
	}
	repo := s.Repo
	if s.Tag != "" || strings.Contains(repo, ":") {
		repo += ":" + s.Tag
	}
	return repo + ":" + strings.Join(actions, ",")
}

// Check tells what is wrong with s, but for the syntax of its patterns. The error is for a person.
func (s Scope) Check() error {
	switch {
	case s.Repo == "":
		return fmt.Errorf("the scope has no repository; ** is all of them")
	case len(s.Repo) > MaxScopePattern || len(s.Tag) > MaxScopePattern:
		return fmt.Errorf("a pattern of the scope is longer than %d bytes", MaxScopePattern)
	case len(s.Actions) == 0:
		return fmt.Errorf("the scope of %s has no actions", s.Repo)
	case len(s.Actions) > len(scopeActions):
		return fmt.Errorf("the scope of %s has more actions than there are", s.Repo)
	}
	for _, a := range s.Actions {
		if !slices.Contains(scopeActions, a) {
			names := make([]string, len(scopeActions))
			for i, known := range scopeActions {
				names[i] = string(known)
			}
			return fmt.Errorf("the scope of %s has no action %q; there are %s", s.Repo, clip(string(a)), strings.Join(names, ", "))
		}
	}
	return nil
}

// NewCredential is what a MachineCredential shall be.
type NewCredential struct {
	Name     string
	Scopes   []Scope
	Networks []netip.Prefix
	Lifetime time.Duration // 0 is the usual one, negative is for ever
}

// ParseNetwork reads an address or a prefix in CIDR form, such as 10.1.0.0/16. The error is for a person.
func ParseNetwork(text string) (netip.Prefix, error) {
	network, err := netip.ParsePrefix(text)
	if address, e := netip.ParseAddr(text); e == nil && address.Zone() == "" {
		network, err = netip.PrefixFrom(address, address.BitLen()), nil
	}
	if err != nil || network.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("invalid network %q: want an address or a prefix, such as 10.1.0.0/16", clip(text))
	}
	return network.Masked(), nil
}
