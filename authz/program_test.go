package authz_test

import (
	"context"
	"errors"
	"testing"

	"customhouse"
	"customhouse/authz"
	"customhouse/policy"
)

// says answers as a program would.
type says struct {
	answer authz.ProgramAnswer
	err    error
}

func (s says) AskAccess(context.Context, policy.Query, []customhouse.Action) (authz.ProgramAnswer, error) {
	return s.answer, s.err
}

func TestProgramDecides(t *testing.T) {
	actions := []customhouse.Action{customhouse.Pull, customhouse.Update}
	for _, tt := range []struct {
		answer             authz.ProgramAnswer
		pull, update, none bool // allowed, allowed, undecided
		reason             string
	}{
		{authz.ProgramAnswer{Allowed: actions}, true, true, false, "the program allows it"},
		{authz.ProgramAnswer{Allowed: actions[:1], Reason: "friday"}, true, false, false, "friday"},
		{authz.ProgramAnswer{}, false, false, false, "the program does not allow it"},
		{authz.ProgramAnswer{Undecided: true, Allowed: actions}, false, false, true, "the program has nothing to say"},
	} {
		d, err := authz.NewProgram("webhook", says{answer: tt.answer}).Authorize(t.Context(), policy.Query{}, actions)
		if err != nil || len(d) != 2 {
			t.Fatalf("Authorize = %v, %v", d, err)
		}
		if d[0].Allowed != tt.pull || d[1].Allowed != tt.update || d[0].Undecided() != tt.none || d[0].Reason != tt.reason {
			t.Errorf("Authorize = %+v, want %+v", d, tt)
		}
	}
	outage := errors.New("outage")
	chain, err := authz.NewChain(authz.NewProgram("webhook", says{err: outage}))
	if err != nil {
		t.Fatal(err)
	}
	if d, err := chain.Authorize(t.Context(), policy.Query{}, actions); !errors.Is(err, outage) || d != nil {
		t.Errorf("Authorize = %v, %v, want the outage", d, err)
	}
}
