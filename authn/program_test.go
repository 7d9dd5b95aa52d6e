package authn_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"customhouse"
	"customhouse/authn"
)

// asks answers as a program would and counts.
type asks struct {
	count  int
	labels map[string][]string
	err    error
}

func (a *asks) AskLogin(context.Context, customhouse.Credential) (map[string][]string, error) {
	a.count++
	return a.labels, a.err
}

func TestProgramAnswers(t *testing.T) {
	outage := errors.New("outage")
	for _, tt := range []struct {
		asks asks
		want error // nil, one of the package's, or outage for every other
	}{
		{asks{labels: map[string][]string{"group": {"dev"}}}, nil},
		{asks{err: authn.ErrUnknownUser}, authn.ErrUnknownUser},
		{asks{err: authn.ErrWrongPassword}, authn.ErrWrongPassword},
		{asks{err: outage}, outage},
		{asks{labels: map[string][]string{"group": {strings.Repeat("x", 9000)}}}, errors.New("labels")},
	} {
		p := authn.NewProgram("exec", &tt.asks, authn.ProgramOptions{})
		chain, err := authn.NewChain(nil, p)
		if err != nil {
			t.Fatal(err)
		}
		id, err := chain.Authenticate(t.Context(), customhouse.Credential{Scheme: customhouse.Basic, Account: "alice", Secret: "x"})
		known := errors.Is(tt.want, authn.ErrUnknownUser) || errors.Is(tt.want, authn.ErrWrongPassword) || tt.want == outage
		if (err == nil) != (tt.want == nil) || known && !errors.Is(err, tt.want) || err != nil && !id.Anonymous() {
			t.Errorf("Authenticate = %v, %v, want %v", id, err, tt.want)
		}
		if err == nil && (id.Account != "alice" || id.Method != "exec" || id.Labels["group"][0] != "dev") {
			t.Errorf("Authenticate = %+v", id)
		}
	}
	chain, err := authn.NewChain(nil, authn.NewProgram("exec", &asks{}, authn.ProgramOptions{}))
	if err != nil || !chain.Remembers("exec") || chain.Remembers("users") {
		t.Errorf("Remembers = %v for exec and %v for users, want true and false", chain.Remembers("exec"), chain.Remembers("users"))
	}
}

// TestS53_SpacesReachNobodyElse: names with white space are asked about only where that is allowed, and only with spaces.
func TestS53_SpacesReachNobodyElse(t *testing.T) {
	strict, spaces := &asks{}, &asks{}
	chain, err := authn.NewChain(nil,
		authn.NewProgram("worker", strict, authn.ProgramOptions{}),
		authn.NewProgram("exec", spaces, authn.ProgramOptions{AllowSpace: true}))
	if err != nil {
		t.Fatal(err)
	}
	for account, want := range map[string]string{"lab rest": "exec", "lab": "worker", "lab\trest": "", "lab\nrest": "", "lab\x00rest": "", "": ""} {
		id, err := chain.Authenticate(t.Context(), customhouse.Credential{Scheme: customhouse.Basic, Account: account, Secret: "x"})
		if id.Method != want || (err == nil) != (want != "") {
			t.Errorf("Authenticate(%q) = %+v, %v, want it from %q", account, id, err, want)
		}
	}
	if strict.count != 1 || spaces.count != 1 {
		t.Errorf("asked %d and %d times, want once each", strict.count, spaces.count)
	}
}
